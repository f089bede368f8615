"""Sources into examples: finds the files, tells their format, and gathers what they yield.

Knows nothing about what a format looks like inside.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spanwise.checkpoints import hash_file
from spanwise.corpus.checks import Intake, UnreadableError, listing, show
from spanwise.corpus.hub import PREFIX, hub_table, is_saved
from spanwise.corpus.mrqa import read_mrqa
from spanwise.corpus.parsing import (
    PARQUET,
    Table,
    csv_table,
    decoded,
    gunzipped,
    is_json,
    json_lines,
    load_json,
    parquet_table,
)
from spanwise.corpus.squad import read_paragraphs, read_squad
from spanwise.corpus.tables import checked_columns, read_table, wanted_columns
from spanwise.errors import ConfigError, DataError, Problem
from spanwise.schema import Example

# In a folder a suffix tells data from a README; what the data is, its content tells.
_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".gz")


Sources = str | Path | Iterable[str | Path | Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Scan:
    """All that one or several files yield.

    Attributes:
        examples: every question with a usable text, context and label, in the order of the
            files; answers as published, even where they are misplaced.
        problems: every fault found, in the order of the files.
    """

    examples: tuple[Example, ...]
    problems: tuple[Problem, ...]


def scan_examples(sources: Sources, *, columns: Mapping[str, str] | None = None) -> Scan:
    """Read files as one split, as far as they can be read, and report what is wrong with them.

    Args:
        sources: files, folders, whose data files are read in the order of their names, or Hub
            data sets: `hub:OWNER/NAME[/CONFIG][:SPLIT][@REVISION]` or `hub:./FOLDER[:SPLIT]`.
            Or rows in memory, as a `Dataset` or a list of dicts is.
        columns: for flat tables, our name of a column → theirs; ours are id, question, context,
            title and answers.

    Raises:
        ConfigError: if `sources` is empty or `columns` names a column that we don't have.
        MissingExtra: if a source needs pyarrow or datasets and they are not installed.
    """
    columns = checked_columns(columns)
    if isinstance(sources, Mapping):
        raise ConfigError(f"sources has {listing(sources)}: give one of them, or name files")
    given: list[Any] = [sources] if isinstance(sources, str | Path) else list(sources)
    if not given or "" in given:
        raise ConfigError(f"sources: {show(given)}; name files, folders or hub:OWNER/NAME")
    if isinstance(given[0], Mapping):
        intake = Intake("rows", {})
        rows = [(f"[{number}]", _plain(row)) for number, row in enumerate(given)]
        _read_rows(rows, intake, columns)
        return Scan(examples=tuple(intake.examples), problems=tuple(intake.problems))
    files = [file for source in given for file in list_files(str(source))]
    seen: dict[str, str] = {}
    intakes = [_read_source(file, Intake(file, seen), columns) for file in files]
    return Scan(
        examples=tuple(example for intake in intakes for example in intake.examples),
        problems=tuple(problem for intake in intakes for problem in intake.problems),
    )


def read_examples(
    sources: Sources, *, columns: Mapping[str, str] | None = None
) -> tuple[Example, ...]:
    """Read files as one split; arguments as for `scan_examples`.

    Raises:
        FormatError: if a file is not what it says; `problems` holds every fault of all files.
        AlignmentError: if all that is wrong are answers that are not where they are said to be.
        ConfigError: if `sources` is empty or `columns` names a column that we don't have.
        MissingExtra: if a source needs pyarrow or datasets and they are not installed.
    """
    scan = scan_examples(sources, columns=columns)
    if scan.problems:
        raise DataError.of(scan.problems)
    return scan.examples


def list_files(source: str) -> list[str]:
    """The data files of a folder; of anything else, and of a folder without any, itself."""
    try:
        is_whole = source.startswith(PREFIX) or is_saved(Path(source))
        inside = [] if is_whole else sorted(Path(source).iterdir())
    except (OSError, ValueError):
        inside = []  # no folder: opening it will say what it is
    files = [
        str(file)
        for file in inside
        if file.is_file() and not file.name.startswith(".") and file.suffix.lower() in _SUFFIXES
    ]
    return files or [source]


def hash_source(source: str) -> str | None:
    """The sha256 of a file; None of a folder, or of a data set of the Hub."""
    return hash_file(source) if Path(source).is_file() else None


def file_name(source: str) -> str:
    """The last part of a path of any system; a data set of the Hub as it is."""
    if source.startswith(PREFIX) and not source.startswith((f"{PREFIX}.", f"{PREFIX}/")):
        return source
    parts = [part for part in re.split(r"[/\\]", source) if part.strip(".")]
    return parts[-1] if parts else "a folder"


def distinct_names(sources: Iterable[str]) -> list[str]:
    """The name of each source; two files of one name are numbered."""
    seen: Counter[str] = Counter()
    names = []
    for name in map(file_name, map(str, sources)):
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return names


def _read_source(source: str, intake: Intake, columns: Mapping[str, str]) -> Intake:
    try:
        if source.startswith(PREFIX):
            read_table(hub_table(source), intake, columns)
        else:
            _read_file(source, intake, columns)
    except UnreadableError as error:
        intake.report(error.place, str(error))
    if not intake.examples and not intake.problems:
        intake.report("", "holds no questions")
    return intake


def _read_file(source: str, intake: Intake, columns: Mapping[str, str]) -> None:
    try:
        data = Path(source).read_bytes()
    except FileNotFoundError:
        raise UnreadableError("", "does not exist") from None
    except IsADirectoryError:
        if is_saved(Path(source)):
            message = f"was written by save_to_disk: name it {PREFIX}./FOLDER[:SPLIT]"
            raise UnreadableError("", message) from None
        suffixes = ", ".join(_SUFFIXES)
        raise UnreadableError("", f"is a folder without data files ({suffixes})") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise UnreadableError("", f"cannot be opened: {error}") from None
    data = gunzipped(data)
    if data.startswith(PARQUET):
        read_table(parquet_table(data, wanted_columns(columns)), intake, columns)
        return
    text = decoded(data)
    if is_json(text):
        _read_json(text, intake, columns)
    else:
        read_table(csv_table(text), intake, columns)


def _read_json(text: str, intake: Intake, columns: Mapping[str, str]) -> None:
    try:
        document = load_json(text)
    except UnreadableError:
        lines = json_lines(text)
        if not _are_objects(lines[:2]):
            raise
        values = list(_line_rows(lines, intake))
    else:
        values = _document_rows(document)
    rows = [value for _, value in values if isinstance(value, dict)]
    if any("paragraphs" in row for row in rows):
        read_squad(values, intake)
    elif any(_is_paragraph(row) for row in rows):
        read_paragraphs(values, intake)
    elif any("qas" in row or row.keys() == {"header"} for row in rows):
        read_mrqa(values, intake)
    elif values:
        _read_rows(values, intake, columns)


def _is_paragraph(row: Mapping[str, Any]) -> bool:
    """Whether a row has questions as SQuAD has them; those of MRQA have a `qid`."""
    questions = row.get("qas")
    return isinstance(questions, list) and any(
        isinstance(question, dict) and "id" in question and "qid" not in question
        for question in questions
    )


def _plain(value: Any) -> Any:
    """A value as a file would hold it: frames of pandas have arrays, and NaN for nothing."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _read_rows(
    rows: Sequence[tuple[str, object]], intake: Intake, columns: Mapping[str, str]
) -> None:
    names = dict.fromkeys(name for _, row in rows if isinstance(row, Mapping) for name in row)
    read_table(Table(names=list(names), rows=rows), intake, columns)


def _document_rows(document: object) -> list[tuple[str, object]]:
    """The elements of the list that a JSON document is or has under 'data', or its one row."""
    if isinstance(document, list):
        return [(f"[{number}]", value) for number, value in enumerate(document)]
    # A row, of which a file of JSONL may have one alone, may have a column of that name.
    if not isinstance(document, dict) or "data" not in document or "question" in document:
        return [("line 1", document)]
    data = document["data"]
    if not isinstance(data, list):
        raise UnreadableError("data", f"is {show(data)}, not a list of articles or rows")
    return [(f"data[{number}]", value) for number, value in enumerate(data)]


def _are_objects(lines: Sequence[tuple[int, str]]) -> bool:
    """Whether one of these lines is an object by itself, as in JSONL; one may be broken."""
    for _, line in lines:
        try:
            if isinstance(load_json(line), dict):
                return True
        except UnreadableError:
            continue
    return False


def _line_rows(lines: Sequence[tuple[int, str]], intake: Intake) -> Iterator[tuple[str, object]]:
    for number, line in lines:
        try:
            yield f"line {number}", load_json(line)
        except UnreadableError as error:
            _, _, column = error.place.partition(" column ")
            place = f"line {number} column {column}" if column else f"line {number}"
            intake.report(place, str(error))
