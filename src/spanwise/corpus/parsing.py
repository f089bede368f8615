"""Bytes into text, and text into JSON values or rows; strict, and never beyond Python's stack.

Whatever cannot be read is an `UnreadableError` that says where. This module knows nothing about
questions.
"""

import ast
import csv
import gzip
import io
import json
import re
import sys
import warnings
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from spanwise.corpus.checks import UnreadableError, show
from spanwise.errors import MissingExtra

Rows = Iterable[tuple[str, object]]  # place in the file, value

PARQUET = b"PAR1"
_GZIP = b"\x1f\x8b"
_JSON_BLANKS = " \t\r\n"
_FIELD_LIMIT = min(sys.maxsize, 2**31 - 1)  # a C long, which has 32 bits on Windows
# What `json` accepts or chokes on and JSON has not; strings are matched first, to be passed over.
_FOREIGN = re.compile(r'"(?:[^"\\]++|\\.)*+"|(NaN|-?Infinity|\d{4301,})', re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows with named columns.

    Attributes:
        names: of the columns, as the file gives them.
        rows: place and value; a value that is no dict is a faulty row.
    """

    names: list[str]
    rows: Rows


def gunzipped(data: bytes) -> bytes:
    """The data, decompressed if it is gzip."""
    if not data.startswith(_GZIP):
        return data
    try:
        return gzip.decompress(data)
    except EOFError:
        message = "is a gzip file that was cut short: copy or download it again"
        raise UnreadableError("", message) from None
    except (OSError, zlib.error) as error:
        raise UnreadableError("", f"is a damaged gzip file: {error}") from None


def decoded(data: bytes) -> str:
    """The data as text: UTF-8, with or without a byte order mark, line ends as they are."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = f"byte {data[error.start]:#04x} at {error.start}"
        raise UnreadableError("", f"is binary or not in UTF-8: {byte}; save it as UTF-8") from None
    if (null := text.find("\0")) >= 0:
        raise UnreadableError("", f"is binary or not in UTF-8: a null character at {null}")
    if not text or text.isspace():
        raise UnreadableError("", "is empty" if not data else "is empty but for blanks")
    return text


def is_json(text: str) -> bool:
    """Whether a text begins as a JSON object or list does."""
    return text.lstrip(_JSON_BLANKS).startswith(("{", "["))


def load_json(text: str) -> object:
    """A JSON value.

    Raises:
        UnreadableError: with line and column; for NaN and Infinity too, which JSON has not.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        rest = text[error.pos : error.pos + 100]
        there = f"where it reads {show(rest)}" if rest else "where the text ends: is it cut short?"
        raise UnreadableError(
            f"line {error.lineno} column {error.colno}", f"is not JSON: {error.msg}, {there}"
        ) from None
    except RecursionError:
        raise UnreadableError("", "is nested too deeply to be read") from None
    except ValueError as error:
        found = next((match for match in _FOREIGN.finditer(text) if match[1]), None)
        if found is None:
            raise UnreadableError("", f"is not JSON: {error}") from None
        line = text.count("\n", 0, found.start(1)) + 1
        column = found.start(1) - text.rfind("\n", 0, found.start(1))
        message = f"is not JSON, which has no {show(found[1])}: write null or a common number"
        raise UnreadableError(f"line {line} column {column}", message) from None


def json_lines(text: str) -> list[tuple[int, str]]:
    """Number and text of each line that is not blank."""
    # Not splitlines(): JSON strings may hold U+2028 and other line ends of Unicode as they are.
    lines = enumerate(text.split("\n"), start=1)
    return [(number, line) for number, line in lines if line.strip(_JSON_BLANKS)]


def load_literal(text: str) -> object:
    """The value of a cell that holds JSON or a Python literal."""
    try:
        return load_json(text)
    except UnreadableError:
        pass  # pandas writes dicts into CSV as Python prints them
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the compiler, about the user's escapes
            return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise UnreadableError("", "is neither JSON nor a Python literal") from None


def csv_table(text: str) -> Table:
    """The rows of a CSV or TSV file with a header; faults of syntax come up when reached."""
    # Contexts outgrow the module's limit of 128 KiB. The limit belongs to the process: it is only
    # ever raised, since putting it back would pull it from under another thread.
    csv.field_size_limit(max(csv.field_size_limit(), _FIELD_LIMIT))
    rows = _csv_rows(text)
    _, names = next(rows, ("", []))
    return Table(names=names, rows=_named_rows(names, rows))


def parquet_table(data: bytes, wanted: frozenset[str]) -> Table:
    """The rows of a Parquet file, of the columns in `wanted` that it has."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtra("pyarrow", "data") from error
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        names = list(file.schema_arrow.names)
        columns = [name for name in names if name in wanted]
        rows = [row for batch in file.iter_batches(columns=columns) for row in batch.to_pylist()]
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise UnreadableError("", f"is a damaged Parquet file: {show(str(error))}") from None
    return Table(names=names, rows=[(f"row {n}", row) for n, row in enumerate(rows, start=1)])


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _csv_rows(text: str) -> Iterator[tuple[str, list[str]]]:
    # Spreadsheets put semicolons where a comma is part of numbers; then the header has no comma.
    header = text.partition("\n")[0]
    delimiter = next((mark for mark in ",;\t|" if mark in header), ",")
    # newline="" keeps \r\n inside a quoted field; strict tells a file that was cut in a field.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        place = f"line {reader.line_num + 1}"
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UnreadableError(place, f"is not CSV: {error}; see to its quotes") from None
        if row:
            yield place, row


def _named_rows(names: list[str], rows: Iterable[tuple[str, list[str]]]) -> Rows:
    for place, row in rows:
        yield place, dict(zip(names, row, strict=True)) if len(row) == len(names) else row
