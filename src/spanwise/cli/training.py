"""`train`: a recipe, flags over it, and a live line."""

import logging
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from spanwise.cli.data import Columns, parse_columns
from spanwise.cli.terminal import score_table, stderr, stdout
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
    out: Annotated[str | None, typer.Option(help="Run folder; must not hold anything.")] = None,
    columns: Columns = None,
    revision: Annotated[str | None, typer.Option(help="Of a Hub model.")] = None,
    max_time: Annotated[
        str | None, typer.Option(help="Stop in time, epochs allowing: 90s, 30m, 1.5h.")
    ] = None,
    list_settings: Annotated[
        bool, typer.Option("--settings", help="List every --section.key and stop.")
    ] = False,
) -> None:
    """Fine-tune a span reader. Every setting of a recipe is a flag too: --section.key VALUE."""
    if list_settings:
        _list_settings()
        return
    began = time.monotonic()  # before PyTorch is loaded, which takes seconds
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
    from spanwise.training import read_recipe

    trained = run(read_recipe(recipe, changes | dotted), began=began)
    stdout.print(f"reader of epoch {trained.epoch} in {trained.folder}", markup=False)
    if trained.scores:
        fitted_on = trained.calibration.fitted_on
        stdout.print(f"on {fitted_on}, where its threshold was fitted:", markup=False)
        threshold = trained.calibration.threshold
        stdout.print(score_table(trained.scores, f"the stored threshold {threshold:.3f}"))


def _list_settings() -> None:
    from spanwise.training import list_settings

    table = Table("setting", "default", "meaning")
    for row in list_settings():
        table.add_row(*map(escape, row))
    stdout.print(table)


def run(config: Any, *, began: float | None = None) -> "Trained":
    """Train with a live line of step, loss, pace and time left; in a log, with one now and then."""
    from spanwise.training import Progress as Step
    from spanwise.training import train as fit

    columns = [TextColumn("step"), BarColumn(), TextColumn("{task.description}")]
    hidden = not stderr.is_terminal
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

        try:
            trained = fit(config, progress=show, began=began)
        except KeyboardInterrupt:
            kept = f"{config.out}/checkpoints"
            stderr.print(f"interrupted; complete epochs are readers in {kept}", markup=False)
            raise
    return trained


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
