"""`compare` and `calibrate`: which reader is better, and what its probabilities are worth."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from spanwise.checkpoints import (
    BUILTIN,
    atomic_folder,
    check_target,
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
    scan_with_report,
)
from spanwise.cli.reading import Device, Model, Revision
from spanwise.cli.terminal import print_json, progress_bar, stderr, stdout, visible
from spanwise.errors import SHOWN, ConfigError
from spanwise.schema import Example

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

_FEWEST = 10  # questions of a kind that is shown

_MEASURES = {
    "ece": "calibration error (ECE)",
    "brier": "Brier",
    "nll": "negative log-likelihood",
    "exact": "EM",
    "f1": "F1",
    "answered": "answered, %",
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

    examples = scan_with_report([data], parse_columns(columns))
    answers = [_returned(name, examples, device) for name in (first, second)]
    found = compare_answers(examples, *answers, language=choose_language(language, examples))
    if as_json:
        print_json(_named(found))
        return
    _print_comparison(found, (first, second))
    by_id = {example.id: example for example in examples}
    for title, ids in ((f"only {second}", found.gained), (f"only {first}", found.lost)):
        stdout.print(f"{title} is right: {len(ids):,} questions", style="bold", markup=False)
        for id_ in ids[:SHOWN]:
            _print_flip(by_id[id_], *(one.get(id_, "") for one in answers))


def _returned(name: str, examples: Sequence[Example], device: str | None) -> dict[str, str]:
    """Answers by id, of a file, or of a model at its stored threshold."""
    if Path(name).is_file():
        from spanwise.metrics import load_predictions

        return load_predictions(name)
    from spanwise.reader import Reader

    reader = Reader.from_pretrained(name, device=device)
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
            visible(name), *(f"{scores[key]:.2f}" if key in scores else "–" for key in keys)
        )
    stdout.print(table)
    changes = (f"{key} {_change(found.difference, key)}" for key in ("EM", "F1"))
    stdout.print(f"the second over the first: {'; '.join(changes)}", markup=False)
    shown = [one for one in found.slices if one.count >= _FEWEST]
    if not shown:
        return
    table = Table("kind of question", "count", "EM", "p", "F1 [95 %]", "p", box=SIMPLE)
    for one in shown:
        exact, f1 = one.exact, one.f1
        cells = f"{_signed(exact.value)}", f"{exact.p_value:.3f}", _span(f1), f"{f1.p_value:.3f}"
        table.add_row(escape(visible(f"{one.dimension}: {one.label}")), f"{one.count:,}", *cells)
    stdout.print(table)
    stdout.print(
        f"p is how often chance brings such a difference; of these {len(shown)} kinds it alone "
        f"puts some {len(shown) * 0.05:.1f} below 0.05. Kinds of fewer than {_FEWEST} questions "
        "stand in --json"
    )


def _change(one: "SliceDifference", key: str) -> str:
    difference = {"EM": one.exact, "F1": one.f1}[key]
    return f"{_span(difference)}, p {difference.p_value:.4f}"


def _span(difference: "Difference") -> str:
    return f"{_signed(difference.value)} [{_signed(difference.low)}, {_signed(difference.high)}]"


def _signed(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}"  # with no -0.0


def _print_flip(example: Example, first: str, second: str) -> None:
    gold = " | ".join(dict.fromkeys(gold.text for gold in example.answers or ()))
    for text, style in (
        (f"  {example.question}  [{example.id}]", "cyan"),
        (f"    gold    {gold or 'not in this text'}", "dim"),
        (f"    first   {first or 'not in this text'}", ""),
        (f"    second  {second or 'not in this text'}", ""),
    ):
        stdout.print(visible(text), style=style, markup=False)


def calibrate(
    model: Model,
    data: Annotated[list[str], typer.Argument(help="Held-out labelled questions.")],
    target_precision: Annotated[
        float | None,
        typer.Option(help="Share of answers that has to be right; by default the best F1."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the calibrated model; else it is written there.")
    ] = None,
    language: Language = None,
    as_json: Json = False,
    columns: Columns = None,
    revision: Revision = None,
    device: Device = None,
) -> None:
    """Fit what a model's probabilities are worth, and the threshold, and store both with it."""
    if out is None and (model == BUILTIN or not Path(model).is_dir()):
        raise ConfigError(f"{model} is not a folder of yours; say where to write with --out DIR")
    if out is not None:
        check_target(out)
    from spanwise.evaluation import evaluate, fit_calibration, recalibrated, report_predictions
    from spanwise.reader import Reader

    examples = scan_with_report(data, parse_columns(columns))
    language = choose_language(language, examples)
    folder = fetch_folder(model, revision=revision)
    reader = Reader.from_pretrained(folder, device=device)
    with progress_bar("reading", "windows") as advance:
        before = evaluate(reader, examples, language=language, progress=advance)
    use_null = reader.settings.decode.use_null
    calibration = fit_calibration(
        examples,
        before.predictions,
        fitted_on=", ".join(Path(source).name for source in data),
        use_null=use_null,
        target_precision=target_precision,
        language=language,
    )
    settings = replace(reader.settings, calibration=calibration)
    predictions = recalibrated(before.predictions, calibration, use_null=use_null)
    after = report_predictions(examples, predictions, settings=settings, language=language)
    if out is None:
        write_settings(folder, settings)
    else:
        with atomic_folder(out) as fresh:
            for file in checkpoint_files(folder):
                shutil.copy2(file, fresh / file.name)
            write_settings(fresh, settings)
    if as_json:
        print_json({"before": before.overall, "after": after.overall} | asdict(calibration))
        return
    table = Table("on the questions it was fitted on", "before", "after")
    for key, label in _MEASURES.items():
        table.add_row(label, f"{before.overall[key]:.3f}", f"{after.overall[key]:.3f}")
    stdout.print(table)
    stdout.print(
        f"temperature {calibration.temperature:.3f}, null scale {calibration.null_scale:.3f}, null "
        f"bias {calibration.null_bias:+.3f}, threshold {calibration.threshold:.3f}"
    )
    stderr.print(f"written to {out or folder}; score it on other questions", markup=False)
