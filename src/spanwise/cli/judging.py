"""`compare` and `calibrate`: which reader is better, and what its probabilities are worth."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from spanwise.checkpoints import (
    BUILTIN,
    atomic_folder,
    checkpoint_files,
    fetch_folder,
    write_settings,
)
from spanwise.cli.data import (
    Columns,
    Json,
    Language,
    choose_language,
    parse_columns,
    read_whole,
    scan_with_report,
    tell_unread,
)
from spanwise.cli.reading import Device, Model, Revision, warn_of_null
from spanwise.cli.terminal import print_json, progress_bar, stderr, stdout, visible
from spanwise.errors import ConfigError
from spanwise.schema import Example, Report

logger = logging.getLogger("spanwise")

if TYPE_CHECKING:
    from spanwise.comparison import Comparison, SliceDifference
    from spanwise.intervals import Difference

_COMPARE_EXAMPLES = """\b
Examples:
  spanwise compare dev.json runs/first runs/second
  spanwise compare dev.json deepset/tinyroberta-squad2 predictions.json --json
"""

_CALIBRATE_EXAMPLES = """\b
Examples:
  spanwise calibrate runs/reader dev.json
  spanwise calibrate deepset/tinyroberta-squad2 dev.json --target-precision 0.9 --out runs/careful
"""

_KINDS = 10  # of questions that are shown
_FLIPS = 5  # shown, of either way
_FEW = 100  # questions to fit on

_MEASURES = {
    "ece": "calibration error (ECE)",
    "brier": "Brier",
    "nll": "negative log-likelihood",
    "exact": "EM",
    "f1": "F1",
    "auroc": "AUROC of answerability",
}


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command(epilog=_COMPARE_EXAMPLES)(compare)
    app.command(epilog=_CALIBRATE_EXAMPLES)(calibrate)


def compare(
    data: Annotated[str, typer.Argument(help="Labelled questions that both have not learnt from.")],
    first: Annotated[str, typer.Argument(help="A model, or a file of predictions {id: text}.")],
    second: Annotated[str, typer.Argument(help="Likewise: is it better than the first?")],
    language: Language = None,
    as_json: Json = False,
    columns: Columns = None,
    device: Device = None,
) -> None:
    """Say whether a reader is better than another, or whether it is chance."""
    from spanwise.comparison import compare_answers

    examples, unread = scan_with_report([data], parse_columns(columns))
    answers = [_returned(name, examples, data=data, device=device) for name in (first, second)]
    found = compare_answers(examples, *answers, language=choose_language(language, examples))
    for name, given in zip((first, second), answers, strict=True):
        if missing := [example.id for example in examples if example.id not in given]:
            logger.warning(
                "%d questions have no prediction in %s and count as wrong, %s first",
                len(missing), name, ", ".join(missing[:3]),
            )  # fmt: skip
    if as_json:
        print_json(_named(found) | {"unread": unread})
        return
    _print_comparison(found, (first, second))
    tell_unread(unread)
    by_id = {example.id: example for example in examples}
    for title, ids in ((f"only {second}", found.gained), (f"only {first}", found.lost)):
        stdout.print(f"{title} is right: {len(ids):,} questions", style="bold", markup=False)
        for id_ in ids[:_FLIPS]:
            _print_flip(by_id[id_], *(one.get(id_) for one in answers))
        if len(ids) > _FLIPS:
            stdout.print(f"  … and {len(ids) - _FLIPS:,} more, whose ids stand in --json")


def _returned(
    name: str, examples: Sequence[Example], *, data: str, device: str | None
) -> dict[str, str]:
    """Answers by id, of a file, or of a model at its stored threshold."""
    if Path(name).is_file():
        from spanwise.metrics import load_predictions

        return load_predictions(name)
    from spanwise.publishing.results import seen_data
    from spanwise.reader import Reader

    reader = Reader.from_pretrained(name, device=device)
    (how,) = seen_data([data], reader.settings)
    if how:
        logger.warning("%s is data %s: its scores flatter %s", data, how, name)
    with progress_bar(f"reading with {name}", "windows") as advance:
        predictions = reader.predict(examples, top_k=1, progress=advance)
    return {p.id: p.best.text if p.best else "" for p in predictions}


def _named(found: "Comparison") -> dict[str, object]:
    """The comparison as JSON: named tuples by their names."""

    def row(one: "SliceDifference") -> dict[str, object]:
        return asdict(one) | {"exact": one.exact._asdict(), "f1": one.f1._asdict()}

    return asdict(found) | {
        "difference": row(found.difference),
        "slices": [row(one) for one in found.slices],
    }


def _print_comparison(found: "Comparison", names: tuple[str, str]) -> None:
    table = Table("reader", "EM", "F1", "answerable F1", "unanswerable F1")
    for name, scores in zip(names, (found.first, found.second), strict=True):
        keys = ("exact", "f1", "HasAns_f1", "NoAns_f1")
        table.add_row(
            escape(visible(name)), *(f"{scores[key]:.2f}" if key in scores else "–" for key in keys)
        )
    stdout.print(table)
    exact, f1 = (
        f"{_span(one)}, p {_chance(one)}" for one in (found.difference.exact, found.difference.f1)
    )
    stdout.print(f"the second over the first: EM {exact}; F1 {f1}", markup=False)
    surest = sorted(found.slices, key=lambda one: one.f1.p_value)[:_KINDS]
    if not any(one.f1.value or one.exact.value for one in surest):
        return
    table = Table("kind of question", "count", "EM", "p", "F1 [95 %]", "p", box=SIMPLE)
    for one in sorted(surest, key=lambda one: one.f1.value):
        cells = _signed(one.exact.value), _chance(one.exact), _span(one.f1), _chance(one.f1)
        table.add_row(escape(visible(f"{one.dimension}: {one.label}")), f"{one.count:,}", *cells)
    stdout.print(table)
    kinds = len(found.slices)
    stdout.print(
        f"p is how often chance brings such a difference: of the {kinds} kinds it alone puts some "
        f"{kinds * 0.05:.1f} below 0.05. Shown: the {len(surest)} with the lowest; --json has all"
    )


def _chance(difference: "Difference") -> str:
    return "<0.001" if difference.p_value < 0.001 else f"{difference.p_value:.3f}"


def _span(difference: "Difference") -> str:
    return f"{_signed(difference.value)} [{_signed(difference.low)}, {_signed(difference.high)}]"


def _signed(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}"  # with no -0.0


def _print_flip(example: Example, first: str | None, second: str | None) -> None:
    gold = " | ".join(dict.fromkeys(gold.text for gold in example.answers or ()))
    first, second = ("(no prediction)" if one is None else one for one in (first, second))
    nothing = "not in this text"
    for text, style in (
        (f"  {example.question}  [{example.id}]", "cyan"),
        (f"    gold    {gold or nothing}", "dim"),
        (f"    first   {first or nothing}", ""),
        (f"    second  {second or nothing}", ""),
    ):
        stdout.print(visible(text), style=style, markup=False)


def calibrate(
    model: Model,
    data: Annotated[list[str], typer.Argument(help="Held-out labelled questions.")],
    target_precision: Annotated[
        float | None,
        typer.Option(help="Share of answers that must match exactly; by default, the best F1."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="New folder for the calibrated model; else it is kept in its own."),
    ] = None,
    language: Language = None,
    as_json: Json = False,
    columns: Columns = None,
    revision: Revision = None,
    device: Device = None,
) -> None:
    """Fit what a model's probabilities are worth, and the threshold, and store both with it."""
    if target_precision is not None and not 0 < target_precision <= 1:
        raise ConfigError(f"--target-precision {target_precision}: give a share above 0, up to 1")
    _check_place(model, out)
    from spanwise.evaluation import (
        cross_validate,
        evaluate,
        fit_calibration,
        fitted_name,
        recalibrated,
        report_predictions,
    )
    from spanwise.publishing.results import LEARNT, seen_data
    from spanwise.reader import Reader

    examples = read_whole(data, parse_columns(columns))
    language = choose_language(language, examples)
    folder = fetch_folder(model, revision=revision)
    reader = Reader.from_pretrained(folder, device=device)
    for source, how in zip(data, seen_data(data, reader.settings), strict=True):
        if how == LEARNT:
            logger.warning(
                "%s is data %s, and surer of than of any other: take other data", source, how
            )
    if any(example.answers == () for example in examples):
        warn_of_null(model, reader.settings)
    with progress_bar("reading", "windows") as advance:
        before = evaluate(reader, examples, language=language, progress=advance)
    use_null = reader.settings.decode.use_null
    fit = partial(
        fit_calibration,
        fitted_on=fitted_name(data),
        use_null=use_null,
        target_precision=target_precision,
        language=language,
    )
    calibration = fit(examples, before.predictions)
    settings = replace(reader.settings, calibration=calibration)
    predictions = recalibrated(before.predictions, calibration, use_null=use_null)
    after = report_predictions(examples, predictions, settings=settings, language=language)
    left_out = cross_validate(
        examples, before.predictions, fit, settings=settings, language=language
    )
    _warn_of_data(examples, before, left_out)
    if out is None:
        write_settings(folder, settings)
    else:
        with atomic_folder(out) as fresh:
            for file in checkpoint_files(folder):
                shutil.copy2(file, fresh / file.name)
            write_settings(fresh, settings)
    if as_json:
        told = {"before": before.overall, "after": after.overall, "left_out": left_out}
        print_json(told | asdict(calibration))
        return
    _print_calibrated(before, after, left_out)
    stderr.print(f"written to {out or folder}; score it on other questions", markup=False)


def _check_place(model: str, out: Path | None) -> None:
    if out is None and (model == BUILTIN or not Path(model).is_dir()):
        raise ConfigError(f"{model} is not a folder of yours; say where to write with --out DIR")
    if out is not None and out.is_file():
        raise ConfigError(f"--out {out} is a file; name a new folder")
    if out is not None and out.is_dir() and any(out.iterdir()):
        raise ConfigError(f"--out {out} is not empty; name a new folder")


def _warn_of_data(
    examples: Sequence[Example], before: Report, left_out: Mapping[str, float]
) -> None:
    """Say what such questions cannot tell."""
    if len({bool(example.answers) for example in examples}) == 1:
        logger.warning(
            "all %d questions are of one kind, answerable or not, which does not tell what null is "
            "worth; add questions of the other", len(examples),
        )  # fmt: skip
    is_worse = any(left_out.get(name, 0.0) > before.overall[name] for name in ("brier", "nll"))
    if is_worse or len(examples) < _FEW:
        logger.warning(
            "%d questions are too few to be sure that probabilities are worth more on others than "
            "they were: see the last column, and give some hundred", len(examples),
        )  # fmt: skip


def _print_calibrated(before: Report, after: Report, left_out: Mapping[str, float]) -> None:
    table = Table("on these questions", "before", "after", "after, each fifth left out of the fit")
    for key, label in _MEASURES.items():
        if key in after.overall:
            columns = before.overall, after.overall, left_out
            table.add_row(label, *(f"{of[key]:.3f}" if key in of else "–" for of in columns))
    stdout.print(table)
    given = [right for right, p in zip(after.exact, after.predictions, strict=True) if p.best]
    share = f", of which {100 * sum(given) / len(given):.1f} % match exactly" if given else ""
    stdout.print(f"answers {len(given):,} of {len(after.exact):,} questions{share}")
    calibration = after.settings.calibration
    stdout.print(
        f"temperature {calibration.temperature:.3f}, null scale {calibration.null_scale:.3g}, null "
        f"bias {calibration.null_bias:+.3f}, threshold {calibration.threshold:.3f}"
    )
