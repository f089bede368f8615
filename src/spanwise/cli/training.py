"""`train`: a recipe, flags over it, and a live line."""

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from spanwise.cli.data import Columns, parse_columns
from spanwise.cli.terminal import is_first_process, score_table, stderr, stdout
from spanwise.errors import ConfigError

if TYPE_CHECKING:
    from spanwise.training import Trained

logger = logging.getLogger("spanwise")

_EXAMPLES = """\b
Examples:
  spanwise train --model microsoft/MiniLM-L12-H384-uncased --train t.json --dev d.json --out runs/r
  spanwise train recipe.toml --max-time 30m --fit.learning_rate 1e-4 --window.max_length 256
"""

_SILENCE = 30.0  # seconds after which a log file, where no bar is drawn, gets a line

_UNITS = {"s": 1 / 60, "m": 1.0, "h": 60.0}


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog=_EXAMPLES, context_settings={"ignore_unknown_options": True})(train)


def train(
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RECIPE.toml] [--section.key VALUE]...",
            help="A recipe, and any of its settings as flags.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Folder or Hub id of an encoder or reader; the builtin one by default."),
    ] = None,
    train: Annotated[list[str] | None, typer.Option(help="Data to learn from; repeatable.")] = None,
    dev: Annotated[
        list[str] | None,
        typer.Option(help="Data to choose the epoch and threshold on; repeatable."),
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="Run folder: a new one, or that of a run to go on with.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the run in --out, by its own recipe; never begin anew."
        ),
    ] = False,
    columns: Columns = None,
    revision: Annotated[str | None, typer.Option(help="Of a Hub model.")] = None,
    max_time: Annotated[
        str | None, typer.Option(help="Stop in time, epochs allowing: 90s, 30m, 1.5h.")
    ] = None,
    list_settings: Annotated[
        bool, typer.Option("--settings", help="List every --section.key and stop.")
    ] = False,
) -> None:
    """Fine-tune a span reader. Every setting of a recipe is a flag too: --section.key VALUE.

    The same command again, or --resume --out DIR, goes on with a run that was stopped or killed.
    Started as `torchrun --nproc-per-node N -m spanwise train ...`, N processes share it.
    """
    if list_settings:
        _list_settings()
        return
    began = time.monotonic()  # before PyTorch is loaded, which takes seconds
    if "RANK" in os.environ:  # each process would be warned that all its parameters are used
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    flags = {
        "model": model,
        "train": train,
        "dev": dev,
        "out": out,
        "columns": parse_columns(columns),
        "revision": revision,
    }
    changes: dict[str, Any] = {name: value for name, value in flags.items() if value}
    if max_time is not None:
        changes["fit.max_minutes"] = _minutes(max_time)
    recipe, dotted = _split(settings or [])
    from spanwise.training import read_stages
    from spanwise.training.recipes import STAGE

    if resume and recipe is None and out is not None:
        recipe = str(Path(out) / "recipe.toml")
        if not Path(recipe).is_file():
            if any(Path(out).glob(f"{STAGE}*")):
                raise ConfigError(f"--out {out!r}: give the recipe whose stages began there again")
            raise ConfigError(f"--out {out!r}: no run has begun there; leave out --resume")
    stages = read_stages(recipe, changes | dotted)
    if len(stages) > 1 and (resume or max_time is not None):
        raise ConfigError(
            f"{recipe} has {len(stages)} stages: --resume and --max-time are for a single run. The "
            "same command again goes on, and fit.max_minutes is the time of each stage"
        )
    trained = _run_stages(stages, resume=resume, began=began)
    if not is_first_process():
        return
    stdout.print(f"reader of epoch {trained.epoch} in {trained.folder}", markup=False)
    if trained.scores:
        fitted_on = trained.calibration.fitted_on
        stdout.print(f"on {fitted_on}, where its threshold was fitted:", markup=False)
        threshold = trained.calibration.threshold
        stdout.print(score_table(trained.scores, f"at the stored threshold {threshold:.3f}"))
    else:
        stdout.print(
            "its probabilities are uncalibrated: --dev, or 'spanwise calibrate', fits them"
        )


def _run_stages(stages: Sequence[Any], *, resume: bool, began: float) -> "Trained":
    """All stages in turn; the reader of the last."""
    from spanwise.training import plan_stages

    left = plan_stages(stages) if len(stages) > 1 else stages
    for config in left:
        if len(stages) > 1:
            number = stages.index(config) + 1
            logger.info("stage %d of %d, into %s", number, len(stages), config.out)
        trained = run(config, resume=resume, began=began)
        began = time.monotonic()
    return trained


def _list_settings() -> None:
    from spanwise.training import list_settings

    table = Table("setting", "default", "meaning")
    for row in list_settings():
        table.add_row(*map(escape, row))
    stdout.print(table)


def run(config: Any, *, resume: bool = False, began: float | None = None) -> "Trained":
    """Train with a live line of step, loss, pace and time left; in a log, with one now and then."""
    from spanwise.training import Progress as Step
    from spanwise.training import train as fit

    columns = [TextColumn("step"), BarColumn(), TextColumn("{task.description}")]
    hidden = not (stderr.is_terminal and is_first_process())
    with Progress(*columns, console=stderr, transient=True, disable=hidden) as bar:
        task = bar.add_task("preparing", total=None)
        told = time.monotonic()

        def show(step: Step) -> None:
            nonlocal told
            loss = "–" if step.loss is None else f"{step.loss:.3f}"
            minutes, seconds = divmod(round(step.seconds_left), 60)
            line = (
                f"{step.step}/{step.steps}  loss {loss}  {step.windows_per_second:.1f} windows/s  "
                f"{minutes}:{seconds:02d} left"
            )
            bar.update(task, completed=step.step, total=step.steps, description=line)
            if hidden and time.monotonic() - told >= _SILENCE:
                logger.info("step %s", line)
                told = time.monotonic()

        return fit(config, resume=resume, progress=show, began=began)


def _minutes(text: str) -> float:
    try:
        value = float(text[:-1]) * _UNITS[text[-1:]]
    except (KeyError, ValueError):
        value = 0.0
    if not 0 < value < float("inf"):
        raise ConfigError(f"--max-time {text!r}: give a time above 0, as 90s, 30m or 1.5h")
    return value


def _split(arguments: list[str]) -> tuple[str | None, dict[str, str]]:
    """A recipe, and `--section.key value` or `--section.key=value` as a mapping."""
    recipe: str | None = None
    changes: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        name, has_value, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") and recipe is None:
            recipe = argument
        elif not argument.startswith("--") or "." not in name:
            message = f"{argument!r} is no option; settings read --section.key VALUE"
            raise typer.BadParameter(message)
        else:
            changes[name] = value if has_value else next(rest, "")
            if not changes[name]:
                raise typer.BadParameter(f"--{name} needs a value")
    return recipe, changes
