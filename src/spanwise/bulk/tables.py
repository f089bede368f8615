"""Tables of any size: their files, what they hold, and any run of rows out of their middle.

A table is one file or many, Parquet or JSONL, which their content tells. Each is read through once
before the work begins, for its rows and its sha256; of JSONL that also leaves where every
thousandth line begins, so that rows are found without reading those before them. A row that cannot
be read is still a row. This module knows nothing about questions.
"""

import glob
import gzip
import hashlib
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np

from spanwise.corpus.checks import UnreadableError, listing, show
from spanwise.corpus.parsing import PARQUET, load_json
from spanwise.errors import FormatError, MissingExtra, Problem

_GZIP = b"\x1f\x8b"
_SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
_STEP = 1000  # lines between two whose place is kept
_BLOCK = 1 << 20  # bytes read at a time
_LONGEST = 1 << 26  # bytes of a line; a file without line ends must not fill the memory
_AT_ONCE = 256  # rows of Parquet decoded at a time


@dataclass(frozen=True, kw_only=True)
class TableFile:
    """One file of a table.

    Attributes:
        path: where it is.
        rows: of Parquet, or lines, blank ones too.
        sha256: of its bytes.
        stamp: its size and the nanosecond of its last change, before it was read.
        starts: byte, of the text where the file is gzip, at which every thousandth line begins;
            None for Parquet.
    """

    path: str
    rows: int
    sha256: str
    stamp: tuple[int, int]
    starts: tuple[int, ...] | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row as it was read; text of Parquet is still bytes, as it may be no UTF-8.

    Attributes:
        number: its position in the table, 0 for the first.
        fields: name of a column → value; empty where there is a fault.
        fault: what kept it from being read.
    """

    number: int
    fields: dict[str, object]
    fault: str = ""


def scan_table(source: str, columns: Collection[str]) -> tuple[TableFile, ...]:
    """Find the files of a table and read each through once.

    Args:
        source: a file, a folder, whose data files are taken in the order of their names, or a
            pattern such as `day-*.parquet`.
        columns: that Parquet must have; a line of JSONL is looked at only when its turn comes.

    Raises:
        FormatError: no such file, no rows, a damaged file, or columns that are missing or no text.
        MissingExtra: Parquet without pyarrow.
    """
    paths = _find(source)
    with ThreadPoolExecutor() as pool:  # hashing lets other threads run
        files = tuple(pool.map(lambda path: _scan(path, columns), paths))
    if not any(file.rows for file in files):
        raise _fault(source, "holds no rows")
    return files


def read_rows(files: Sequence[TableFile], rows: range, columns: Collection[str]) -> Iterator[Row]:
    """Yield the rows of a range, out of the files one after another."""
    begin = 0  # of the file, in the table
    for file in files:
        inside = range(max(rows.start - begin, 0), min(rows.stop - begin, file.rows))
        if inside:
            lines = file.starts is not None
            values = _read_lines(file, inside) if lines else _read_parquet(file, inside, columns)
            for number, (fields, fault) in enumerate(values, begin + inside.start):
                yield Row(number=number, fields=fields, fault=fault)
        begin += file.rows


def _find(source: str) -> list[str]:
    folder = Path(source)
    if folder.is_file():
        return [source]
    if folder.is_dir():
        found = [
            str(path)
            for path in sorted(folder.iterdir())
            if path.name.lower().endswith(_SUFFIXES)
            and not path.name.startswith((".", "_"))
            and path.is_file()
        ]
        if not found:
            raise _fault(source, f"is a folder without data files ({', '.join(_SUFFIXES)})")
        return found
    found = sorted(path for path in glob.glob(source) if Path(path).is_file())  # noqa: PTH207
    if not found:
        raise _fault(source, "does not exist; name a file, a folder or a pattern such as '*.jsonl'")
    return found


def _scan(path: str, columns: Collection[str]) -> TableFile:
    if Path(path).suffix.lower() in {".csv", ".tsv"}:  # of which every row would be rejected
        raise _fault(
            path,
            "is CSV by its name; bulk reads JSONL and Parquet. pandas turns one into the other: "
            "pandas.read_csv('IN.csv').to_json('OUT.jsonl', orient='records', lines=True)",
        )
    stamp = _stamp(path)
    with Path(path).open("rb") as file:
        is_parquet = file.read(len(PARQUET)) == PARQUET
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if is_parquet:
        rows = _parquet_size(path, columns)
        return TableFile(path=path, rows=rows, sha256=sha256, stamp=stamp, starts=None)
    try:
        with _open_lines(path) as lines:
            rows, starts = _count_lines(lines)
    except EOFError:
        raise _fault(path, "is a gzip file that was cut short: copy it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise _fault(path, f"is a damaged gzip file: {error}") from None
    return TableFile(path=path, rows=rows, sha256=sha256, stamp=stamp, starts=starts)


def check_unchanged(files: Iterable[TableFile]) -> None:
    """See that files are those that were scanned.

    Raises:
        FormatError: one was written to since.
    """
    for file in files:
        if not Path(file.path).is_file() or _stamp(file.path) != file.stamp:
            raise _fault(
                file.path,
                "was changed while it was read, so that some answers may be of other texts; run it "
                "again with another OUT",
            )


def _stamp(path: str) -> tuple[int, int]:
    status = Path(path).stat()
    return status.st_size, status.st_mtime_ns


def _parquet_size(path: str, columns: Collection[str]) -> int:
    pa, pq = load_pyarrow()
    try:
        with pq.ParquetFile(path) as file:
            schema, rows = file.schema_arrow, int(file.metadata.num_rows)
    except (pa.ArrowException, OSError) as error:
        raise _fault(path, f"is a damaged Parquet file: {show(str(error))}") from None
    if missing := [name for name in columns if name not in schema.names]:
        raise _fault(
            path,
            f"has no column {listing(missing)}; its columns are {listing(schema.names)}. Name "
            "those that stand for ours: --columns question=NAME,context=NAME",
        )
    return rows


def load_pyarrow() -> tuple[Any, Any]:
    """`pyarrow` and `pyarrow.parquet`.

    Raises:
        MissingExtra: they are not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtra("pyarrow", "data") from error
    return pa, pq


def _read_parquet(
    file: TableFile, rows: range, columns: Collection[str]
) -> Iterator[tuple[dict[str, object], str]]:
    pa, pq = load_pyarrow()
    try:
        # Buffered, or the column of a whole row group, which may be gigabytes, is read at once. And
        # a group at a time, as a reader of several keeps what it read of those before.
        with pq.ParquetFile(file.path, buffer_size=_BLOCK) as table:
            begin = 0  # of the row group, in the file
            for group in range(table.num_row_groups):
                end = begin + table.metadata.row_group(group).num_rows
                inside = range(max(rows.start, begin) - begin, min(rows.stop, end) - begin)
                if inside:
                    yield from _read_group(table, group, inside, columns)
                begin = end
    except (pa.ArrowException, OSError) as error:
        message = f"is damaged within rows {rows.start} to {rows.stop}: {show(str(error))}"
        raise _fault(file.path, message) from None


def _read_group(
    table: Any, group: int, rows: range, columns: Collection[str]
) -> Iterator[tuple[dict[str, object], str]]:
    batches = table.iter_batches(
        _AT_ONCE, row_groups=[group], columns=list(columns), use_threads=False
    )
    begin = 0
    for batch in batches:
        inside = range(max(rows.start - begin, 0), min(rows.stop - begin, len(batch)))
        if inside:
            for fields in _fields(batch.slice(inside.start, len(inside))):
                yield fields, ""
        begin += len(batch)
        if begin >= rows.stop:
            return


def _fields(batch: Any) -> list[dict[str, object]]:
    """The rows of a record batch, with text as bytes: one that is no UTF-8 must not hide others."""
    pa, _ = load_pyarrow()
    columns = []
    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()  # noqa: PLW2901
        kind = column.type
        if pa.types.is_string_view(kind):
            column = column.cast(pa.binary_view())  # noqa: PLW2901
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
            column = column.cast(pa.large_binary())  # noqa: PLW2901
        columns.append(_values(column))
    names = batch.schema.names
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _values(column: Any) -> list[object]:
    """What a column holds; one cell that Python has no value for must not hide others."""
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):  # of Unicode, dates, time zones
        return [_value(cell) for cell in column]


def _value(cell: Any) -> object:
    try:
        return cell.as_py()
    except (ValueError, OverflowError) as error:
        return [f"{cell.type} without a value in Python: {error}"]  # no text, as any list


def _open_lines(path: str) -> BufferedIOBase:
    with Path(path).open("rb") as file:
        is_gzip = file.read(len(_GZIP)) == _GZIP
    return gzip.open(path) if is_gzip else Path(path).open("rb")


def _count_lines(file: BufferedIOBase) -> tuple[int, tuple[int, ...]]:
    """Lines of a file and where every thousandth begins."""
    ends = size = 0
    last = b"\n"
    starts = [0]
    while block := file.read(_BLOCK):
        places = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n"))
        # The line behind end n has the number n + 1.
        starts += (places[-(ends + 1) % _STEP :: _STEP] + size + 1).tolist()
        ends, size, last = ends + len(places), size + len(block), block[-1:]
    return ends + (last != b"\n"), tuple(starts)


def _read_lines(file: TableFile, rows: range) -> Iterator[tuple[dict[str, object], str]]:
    starts = file.starts or ()
    with _open_lines(file.path) as lines:
        lines.seek(starts[rows.start // _STEP])
        for _ in range(rows.start % _STEP):
            _next_line(lines)
        for _ in rows:
            if not (line := _next_line(lines)):
                raise _fault(file.path, "has lost lines since this run began")
            yield _parse(line)


def _next_line(file: BufferedIOBase) -> bytes:
    """The next line; of one too long, its beginning."""
    line = file.readline(_LONGEST)
    rest = line
    while len(rest) == _LONGEST and not rest.endswith(b"\n"):
        rest = file.readline(_LONGEST)
    return line


def _parse(line: bytes) -> tuple[dict[str, object], str]:
    if len(line) == _LONGEST:
        return {}, f"is longer than {_LONGEST >> 20} MiB"
    try:
        text = line.decode("utf-8-sig").strip(" \t\r\n")
    except UnicodeDecodeError as error:
        return {}, f"is not UTF-8: byte {line[error.start]:#04x} at {error.start} of the line"
    if not text:
        return {}, "is a blank line"
    try:
        value = load_json(text)
    except UnreadableError as error:
        return {}, str(error)
    return (value, "") if isinstance(value, dict) else ({}, f"is {show(value)}, not an object")


def describe_files(files: Iterable[TableFile]) -> list[dict[str, object]]:
    """The files as the manifest keeps them: by name, since a table may be moved."""
    return [
        {"file": Path(file.path).name, "rows": file.rows, "sha256": file.sha256} for file in files
    ]


def _fault(path: str, message: str) -> FormatError:
    return FormatError([Problem(file=path, place="", id=None, message=message)])
