"""`answer` and `evaluate`: what a reader says, and how well."""

import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from spanwise.checkpoints import BUILTIN, fetch_folder
from spanwise.cli.data import (
    Columns,
    Json,
    Language,
    choose_language,
    parse_columns,
    scan_with_report,
    tell_unread,
)
from spanwise.cli.terminal import (
    highlight,
    prepare_file,
    print_json,
    progress_bar,
    score_table,
    stderr,
    stdout,
    visible,
)
from spanwise.errors import ConfigError, FormatError, Problem
from spanwise.schema import Prediction, ReaderSettings

logger = logging.getLogger("spanwise")

Model = Annotated[
    str, typer.Argument(help="Folder or Hub id of a model that reads spans, or builtin.")
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub model.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, …; the fastest there is by default.")]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16 or float16.")]

_ANSWER_EXAMPLES = """\b
Examples:
  spanwise answer -q "When was it built?" -c history.txt
  cat history.txt | spanwise answer deepset/tinyroberta-squad2 -q "Who built it?" -c - --json
"""

_EVALUATE_EXAMPLES = """\b
Examples:
  spanwise evaluate runs/reader dev.json --html report.html
  spanwise evaluate runs/reader dev.json --predictions predictions.json --json
"""


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command(epilog=_ANSWER_EXAMPLES)(answer)
    app.command(epilog=_EVALUATE_EXAMPLES)(evaluate)


def answer(
    questions: Annotated[
        list[str], typer.Option("-q", "--question", metavar="<str>", help="What to ask.")
    ],
    context: Annotated[
        list[str],
        typer.Option(
            "-c", "--context", metavar="<str>", help="Text file, or - for stdin; -c again for more."
        ),
    ],
    model: Model = BUILTIN,
    top_k: Annotated[int, typer.Option(help="How many answers to show.")] = 1,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Answer unless 'not in this text' is likelier; else the stored one."
        ),
    ] = None,
    as_json: Json = False,
    revision: Revision = None,
    device: Device = None,
    dtype: Dtype = "float32",
) -> None:
    """Answer a question from one text, or from the best of several.

    Characters are counted as Unicode has them, from 0; a line end may be two, a mark of byte order
    at the beginning is none.
    """
    question = questions[0]
    if len(questions) > 1:
        raise ConfigError(
            f"-q is given {len(questions)} times; ask one question a call, or a table of them by "
            "'spanwise bulk'"
        )
    if Path(model).is_file():
        raise ConfigError(
            f"{model} is a file, and stands where the model does; give each text its own -c"
        )
    if not question.strip():
        raise ConfigError(f"-q {question!r}: holds nothing to read; ask something")
    texts = [_read_text(file) for file in context]
    if model == BUILTIN:
        _warn_of_language(question, texts)
    from spanwise.reader import Reader

    reader = Reader.from_pretrained(model, revision=revision, device=device, dtype=dtype)
    calibration = reader.settings.calibration
    if threshold is not None:
        warn_of_null(model, reader.settings)
        calibration = replace(calibration, threshold=threshold)
        reader.settings = replace(reader.settings, calibration=calibration)
    with progress_bar("reading", "windows") as advance:
        pair = (question, texts)
        prediction = reader.answer_many([pair], top_k=top_k, progress=advance)[0]
    if as_json:
        print_json(asdict(prediction) | {"threshold": calibration.threshold})
        return
    named = list(zip(context, texts, strict=True))
    show_prediction(prediction, named, threshold=calibration.threshold)
    if prediction.best is None and prediction.answers:
        stderr.print(
            "a higher --threshold answers more often; 'spanwise calibrate' fits it to your own data"
        )


def _warn_of_language(question: str, texts: Sequence[str]) -> None:
    from spanwise.metrics import guess_language
    from spanwise.schema import Example

    asked = [Example(id="", question=question, context=text) for text in texts]
    if (language := guess_language(asked)) != "en":
        logger.warning(
            "the text reads like language %r, and the builtin reader knows English alone; name a "
            "model for it", language,
        )  # fmt: skip


def warn_of_null(model: str, settings: ReaderSettings) -> None:
    """Say of a reader that always answers that it does, where something else is hoped for."""
    if not settings.decode.use_null:
        logger.warning(
            "%s never says 'not in this text': it was trained without (fit.null_windows), and no "
            "threshold changes that", model,
        )  # fmt: skip


def show_prediction(
    prediction: Prediction, named: Sequence[tuple[str, str]], *, threshold: float
) -> None:
    """Print the answers, each marked in its sentence, with its place and probability."""
    mark = "" if prediction.calibrated else " (uncalibrated)"
    if prediction.best is None:
        stdout.print(
            f"[bold]not in this text[/]  probability {prediction.null_probability:.3f}{mark}, "
            f"above the threshold {threshold:.3f}"
        )
    for place, answer in enumerate(prediction.answers):
        if place == 0 and prediction.best is None:
            stdout.print("the nearest that the text has:")
        name, text = named[answer.context]
        source = f"  {name}" if len(named) > 1 else ""
        stdout.print(Text(visible(answer.text), "bold"), end="")
        stdout.print(
            f"  characters {answer.start}–{answer.end}{visible(source)}  "
            f"probability {answer.probability:.2f}{mark}",
            markup=False,
        )
        stdout.print(highlight(text, (answer.start, answer.end)))


def _read_text(name: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise ConfigError(
            f"-c {name}: cannot be read: {error.strerror}; name a text file, or - for stdin"
        ) from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = (
            f"byte {error.start} ({raw[error.start]:#04x}) is not UTF-8; give plain text in UTF-8"
        )
        raise FormatError([Problem(file=name, place="", id=None, message=message)]) from error
    if not text.strip():
        message = "holds nothing to read; give some text"
        raise FormatError([Problem(file=name, place="", id=None, message=message)])
    return text


def evaluate(
    model: Model,
    data: Annotated[
        list[str], typer.Argument(help="Labelled questions in any form spanwise reads.")
    ],
    predictions: Annotated[
        Path | None, typer.Option(help="Write {id: text}, the official form, to this file.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write a page with pictures and every question to this file."),
    ] = None,
    language: Language = None,
    as_json: Json = False,
    columns: Columns = None,
    revision: Revision = None,
    device: Device = None,
    dtype: Dtype = "float32",
) -> None:
    """Score a reader with the SQuAD metrics at its stored threshold, and at the oracle's."""
    if predictions is not None:
        prepare_file("--predictions", predictions, read=data)
    if html is not None:
        prepare_file("--html", html, read=data)
        from spanwise.reporting import evaluation_page, read_log

        log = read_log(fetch_folder(model, revision=revision))
    from spanwise.corpus.writing import write_whole
    from spanwise.evaluation import evaluate as run
    from spanwise.publishing.results import seen_data
    from spanwise.reader import Reader

    examples, unread = scan_with_report(data, parse_columns(columns))
    language = choose_language(language, examples)
    reader = Reader.from_pretrained(model, revision=revision, device=device, dtype=dtype)
    for source, how in zip(data, seen_data(data, reader.settings), strict=True):
        if how:
            logger.warning("%s is data %s: its scores flatter the reader", source, how)
    if any(example.answers == () for example in examples):
        warn_of_null(model, reader.settings)
    with progress_bar("reading", "windows") as advance:
        report = run(reader, examples, language=language, progress=advance)
    scores, threshold = report.overall, report.settings.calibration.threshold
    if as_json:
        told = {"threshold": threshold, "language": report.language, "unread": unread}
        print_json(scores | told)
    else:
        stdout.print(score_table(scores, f"at the stored threshold {threshold:.3f}"))
        tell_unread(unread)
        for line in _judged(scores):
            stdout.print(line, markup=False)
    # After the scores, which a full disk must not take along.
    if predictions is not None:
        texts = {p.id: p.best.text if p.best else "" for p in report.predictions}
        text = json.dumps(texts, ensure_ascii=False, indent=0) + "\n"
        write_whole(predictions, text.encode())
        stderr.print(f"predictions written to {predictions}", markup=False)
    if html is not None:
        name = f"{model}@{revision}" if revision else model
        page = evaluation_page(report, examples, reader.tokenizer, model=name, data=data, log=log)
        write_whole(html, page)
        stderr.print(f"report written to {html}", markup=False)


def _judged(scores: Mapping[str, float]) -> Iterator[str]:
    """What the scores themselves are worth."""
    ends = (scores[f"{name}_{end}"] for name in ("exact", "f1") for end in ("low", "high"))
    yield "95 % intervals over all: EM {:.1f}–{:.1f}, F1 {:.1f}–{:.1f}".format(*ends)
    yield f"answered {scores['answered']:.1f} % of the questions" + (
        f"; AUROC of answerability {scores['auroc']:.3f}" if "auroc" in scores else ""
    )
    yield (
        "calibration error (ECE) {ece:.3f}; by chance a perfectly calibrated reader would show "
        "{ece_low:.3f} to {ece_high:.3f} on these; Brier {brier:.3f}, log-likelihood -{nll:.3f}"
    ).format(**scores)
    yield (
        "were only its surest answers taken, 80 % of them right: {answered_at_80:.1f} % of the "
        "questions; 90 % right: {answered_at_90:.1f} %"
    ).format(**scores)
