"""`audit` and `score`: what is in a file, what is wrong with it, what predictions are worth."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from spanwise.cli.terminal import prepare_file, print_json, score_table, stderr, stdout, visible
from spanwise.errors import SHOWN, ConfigError, DataError, FormatError, Problem
from spanwise.metrics import (
    LANGUAGES,
    guess_language,
    load_predictions,
    load_probabilities,
    score_predictions,
)
from spanwise.schema import Example, ReaderSettings

if TYPE_CHECKING:
    from spanwise.auditing import Audit, Excerpt
    from spanwise.windows import PairTokenizer

logger = logging.getLogger("spanwise")

_SEED = 0  # of the examples shown: the same ones each time, so that two people see the same

Columns = Annotated[
    str | None, typer.Option(help="Names of a table's columns: question=…,context=…")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def _check_language(language: str | None) -> str | None:
    if language is not None and language not in LANGUAGES:
        known = ", ".join(LANGUAGES)
        raise typer.BadParameter(f"{language!r}: there are {known}; compare others as 'en'")
    return language


Language = Annotated[
    str | None,
    typer.Option(
        callback=_check_language,
        help=f"How answers are compared: {', '.join(LANGUAGES)}; by default as the data suggests.",
    ),
]

_AUDIT_EXAMPLES = """\b
Examples:
  spanwise audit train.json dev.json --model sentence-transformers/all-MiniLM-L6-v2 --show 3
  spanwise audit train.json --html audit.html --fix repaired.json --strict
"""

_SCORE_EXAMPLES = """\b
Examples:
  spanwise score dev.json predictions.json
  spanwise score dev.json predictions.json --no-answer-probabilities null.json --json
"""


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command(epilog=_AUDIT_EXAMPLES)(audit)
    app.command(epilog=_SCORE_EXAMPLES)(score)


def audit(
    data: Annotated[list[str], typer.Argument(help="Files, folders or hub:OWNER/NAME.")],
    model: Annotated[
        str | None, typer.Option(help="Whose tokenizer to count with; without one, no tokens.")
    ] = None,
    show: Annotated[int, typer.Option(min=0, help="Print so many random examples.")] = 0,
    fix: Annotated[
        Path | None, typer.Option(help="Write repaired data here: SQuAD JSON, or *.jsonl.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with pictures and all findings to this file.")
    ] = None,
    as_json: Json = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 on findings.")] = False,
    columns: Columns = None,
    max_length: Annotated[int | None, typer.Option(help="Tokens of a window.")] = None,
    stride: Annotated[int | None, typer.Option(help="Tokens that windows share.")] = None,
) -> None:
    """Count what is in question-answer files and find what is wrong with them."""
    from spanwise.auditing import audit_examples, sample_examples
    from spanwise.corpus import scan_examples
    from spanwise.corpus.writing import write_whole

    if show and as_json:
        raise typer.BadParameter("--show is for people; leave it out, or --json")
    if fix is not None:
        _prepare_fix(fix, data)
    if html is not None:
        prepare_file("--html", html, read=data)
        from spanwise.reporting import audit_page
    names = parse_columns(columns)
    scans = {source: scan_examples(source, columns=names) for source in data}
    examples = [example for scan in scans.values() for example in scan.examples]
    if not examples:
        raise DataError.of(problem for scan in scans.values() for problem in scan.problems)
    tokenizer, settings = _load_tokenizer(model) if model is not None else (None, ReaderSettings())
    window = replace(
        settings.window,
        max_length=settings.window.max_length if max_length is None else max_length,
        stride=settings.window.stride if stride is None else stride,
    )
    found = audit_examples(
        scans,
        tokenizer=tokenizer,
        window=window,
        decode=settings.decode,
    )
    if as_json:
        print_json(asdict(found))
    else:
        _print_audit(found, data)
    for excerpt in sample_examples(examples, show, seed=_SEED) if show else ():
        _print_excerpt(excerpt)
    if html is not None:
        page = audit_page(found, scans, model=model, window=window, decode=settings.decode)
        write_whole(html, page)
        stderr.print(f"report written to {html}", markup=False)
    if fix is not None:
        _check_distinct(examples)
        unread = sum(not problem.alignment for scan in scans.values() for problem in scan.problems)
        _write_repaired(examples, fix, unread=unread)
    if strict and found.has_faults:
        raise typer.Exit(1)


def _prepare_fix(fix: Path, data: Sequence[str]) -> None:
    prepare_file("--fix", fix, read=data)
    if fix.suffix not in {".json", ".jsonl"}:
        raise ConfigError(
            f"--fix {str(fix)!r}: repaired data is SQuAD JSON or JSONL; let the name end in .json "
            "or .jsonl"
        )


def _check_distinct(examples: Sequence[Example]) -> None:
    twice = [id_ for id_, count in Counter(example.id for example in examples).items() if count > 1]
    if twice:
        raise ConfigError(
            f"--fix: {len(twice)} ids stand in several of the files, {twice[0]!r} first, and one "
            "file cannot hold both; fix each by itself"
        )


def _write_repaired(examples: Sequence[Example], file: Path, *, unread: int) -> None:
    from spanwise.auditing import repair_examples
    from spanwise.corpus import write_examples

    repair = repair_examples(examples)
    write_examples(file, repair.examples, form="jsonl" if file.suffix == ".jsonl" else "squad")
    for change in repair.changes:
        stderr.print(f"{change.id}: {change.message}", markup=False, highlight=False)
    stderr.print(
        f"{len(repair.changes)} changes; {len(repair.examples)} questions in {file}", markup=False
    )
    if unread:
        stderr.print(f"what could not be read is not in it: {unread} problems")


def _load_tokenizer(model: str) -> "tuple[PairTokenizer, ReaderSettings]":
    from spanwise.checkpoints import fetch_folder, read_settings
    from spanwise.windows import PairTokenizer

    folder = fetch_folder(model, weights=False)
    return PairTokenizer.from_folder(folder), read_settings(folder) or ReaderSettings()


def _print_audit(found: "Audit", data: Sequence[str]) -> None:
    table = Table("what", "count", title=Text(", ".join(data)), title_justify="left")
    for row in _rows(found):
        table.add_row(*row)
    stdout.print(table)
    if not found.findings:
        stdout.print("no findings")
    for finding in found.findings:
        kind = "" if finding.fault else " (a note)"
        stdout.print(f"{finding.count:,} {finding.title}{kind}", style="bold", markup=False)
        for problem in finding.problems[:SHOWN]:
            stdout.print(f"  {problem}", markup=False)
        if finding.count > SHOWN:
            stdout.print(f"  … and {finding.count - SHOWN:,} more")


def _rows(found: "Audit") -> Iterator[tuple[str, str]]:
    counts, tokens = found.counts, found.tokens
    yield "questions", f"{counts.questions:,}"
    yield "  unanswerable", f"{counts.unanswerable:,}"
    yield "  unlabelled", f"{counts.unlabelled:,}"
    for number, questions in counts.answers_per_question.items():
        if number:
            yield f"  with {number} answer{'s' if number > 1 else ''}", f"{questions:,}"
    yield "contexts", f"{counts.contexts:,}"
    yield "documents", f"{counts.documents:,}"
    if tokens is not None:
        lengths = {"question": tokens.question, "context": tokens.context, "answer": tokens.answer}
        for name, spread in lengths.items():
            numbers = f"{spread.p50:g} / {spread.p95:g} / {spread.max}"
            yield f"{name} tokens, p50 / p95 / max", numbers
        yield "windows", f"{tokens.windows:,}"
        yield "windows per question, mean", f"{tokens.windows_per_question:.2f}"
        yield "windows per question, most", f"{tokens.most_windows}"
    if found.oracle is not None:
        scores = f"{found.oracle['exact']:.2f} / {found.oracle['f1']:.2f}"
        yield "oracle: EM / F1 of a perfect reader", scores


def _print_excerpt(excerpt: "Excerpt") -> None:
    text = Text(visible(excerpt.text))
    for start, end in excerpt.highlights:
        text.stylize("bold green reverse", start, end)
    stdout.print()
    stdout.print(visible(f"{excerpt.question}  [{excerpt.id}]"), style="bold cyan", markup=False)
    before, after = "…" * excerpt.cut_before, "…" * excerpt.cut_after
    stdout.print(Text(before) + text + Text(after))
    if excerpt.answers is not None:
        golds = " | ".join(excerpt.answers) or "not in this text"
        stdout.print(visible(f"answer: {golds}"), style="dim", markup=False)


def score(
    data: Annotated[
        str, typer.Argument(help="Labelled questions: file, folder or hub:OWNER/NAME.")
    ],
    predictions: Annotated[Path, typer.Argument(help="The official form {id: text}.")],
    no_answer_probabilities: Annotated[
        Path | None, typer.Option(help="Official form {id: probability of no answer}.")
    ] = None,
    threshold: Annotated[
        float, typer.Option(help="Above this probability a question counts as unanswerable.")
    ] = 1.0,
    rules: Annotated[str | None, typer.Option(help="1.1 or 2.0; by the data if left out.")] = None,
    language: Language = None,
    as_json: Json = False,
    columns: Columns = None,
) -> None:
    """Score a file of predictions, {id: text}, as the official scripts of its language do."""
    if rules not in {None, "1.1", "2.0"}:
        raise typer.BadParameter(f"--rules {rules!r}: there are 1.1 and 2.0")
    examples, unread = scan_with_report([data], parse_columns(columns))
    nulls = load_probabilities(no_answer_probabilities) if no_answer_probabilities else None
    scores = score_predictions(
        examples,
        load_predictions(predictions),
        no_answer_probabilities=nulls,
        threshold=threshold,
        rules=rules,  # type: ignore[arg-type]
        language=choose_language(language, examples),
    )
    if scores.missing:
        official = ", ".join(f"{name} {value:g}" for name, value in scores.official.items())
        stderr.print(
            f"{len(scores.missing)} questions have no prediction and count as wrong, "
            f"{', '.join(scores.missing[:3])} first; the official script would say: "
            f"{official or 'nothing'}",
            markup=False,
        )
    if as_json:
        told = {"threshold": threshold, "language": scores.language, "unread": unread}
        print_json(scores.overall | told)
    else:
        stdout.print(f"rules of SQuAD {scores.rules}, texts compared as {scores.language}")
        which = "as they were given" if nulls is None else f"at threshold {threshold:g}"
        stdout.print(score_table(scores.overall, which))
        tell_unread(unread)


def choose_language(language: str | None, examples: Sequence[Example]) -> str:
    """The language asked for, or the one that the data suggests, which is then said on stderr."""
    if language is None:
        language = guess_language(examples)
        logger.info("language: %s (guessed from the data; --language sets it)", language)
    return language


def parse_columns(text: str | None) -> dict[str, str] | None:
    """`question=q,context=text` as a mapping from our name of a column to theirs.

    Raises:
        ConfigError: a part that is no pair, or a column named twice.
    """
    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    wrong = ["".join(pair) for pair in pairs if not all(pair)]
    if wrong:
        raise ConfigError(f"--columns {wrong[0]!r}: write OURS=THEIRS, separated by commas")
    names = {ours.strip(): theirs.strip() for ours, _, theirs in pairs}
    if len(names) < len(pairs):
        raise ConfigError(f"--columns {text!r}: name each column once")
    return names


def scan_with_report(
    sources: Sequence[str], columns: dict[str, str] | None
) -> tuple[list[Example], int]:
    """Read as far as the files can be read, and say on stderr what is wrong with them.

    Returns:
        The questions, and how many faults others were left out for.

    Raises:
        DataError: nothing in them can be scored.
    """
    from spanwise.corpus import scan_examples

    scan = scan_examples(sources, columns=columns)
    unread = sum(not problem.alignment for problem in scan.problems)
    if not scan.examples:
        raise DataError.of(scan.problems)
    for problem in scan.problems[:SHOWN]:
        logger.warning("%s", problem)
    if len(scan.problems) > SHOWN:
        logger.warning("… and %d more problems", len(scan.problems) - SHOWN)
    if unread:
        logger.warning("what cannot be read is left out: %d questions are used", len(scan.examples))
    return list(scan.examples), unread


def read_whole(sources: Sequence[str], columns: dict[str, str] | None) -> list[Example]:
    """As `scan_with_report`, for what is kept of a model: no question is left out.

    Raises:
        DataError: something cannot be read.
    """
    examples, unread = scan_with_report(sources, columns)
    if unread:
        message = (
            f"{unread} faults leave questions out, and what is fitted or published has to rest on "
            "all: mend them, or write what can be read by 'spanwise audit … --fix OUT.json'"
        )
        raise FormatError([Problem(file=", ".join(sources), place="", id=None, message=message)])
    return examples


def tell_unread(count: int) -> None:
    """Say beside scores, on stdout, that they are not of all questions."""
    if count:
        stdout.print(f"not of all questions: {count} faults left others out", markup=False)
