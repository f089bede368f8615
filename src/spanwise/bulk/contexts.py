"""Contexts found by their id, however many there are: an index on disk, in SQLite.

It is built once, beside the answers, in memory that does not grow with the table. Then any number
of processes look things up in it, on every machine that sees the file.
"""

import logging
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from spanwise.bulk.questions import RowError, read_id
from spanwise.bulk.tables import TableFile, read_rows

logger = logging.getLogger("spanwise")

COLUMNS = ("id", "context")
"""The columns of a table of contexts."""


def build_index(file: Path, table: Sequence[TableFile]) -> None:
    """Write the index of a table of contexts to a file that is not there yet.

    A context that is no text is kept as it is: the questions that name it are rejected for it.

    Raises:
        OSError: it cannot be written.
        FormatError: the table is damaged.
    """
    try:
        with closing(sqlite3.connect(file, isolation_level=None)) as index:
            # Nothing to roll back: a file that is not complete is thrown away as a whole.
            index.execute("PRAGMA journal_mode = OFF")
            index.execute("PRAGMA synchronous = OFF")
            index.execute("CREATE TABLE contexts (id TEXT NOT NULL, context BLOB)")
            index.execute("BEGIN")
            index.executemany("INSERT INTO contexts VALUES (?, ?)", _read(table))
            # Afterwards, since it sorts on disk; kept while rows come in, it would seek for each.
            index.execute("CREATE INDEX places ON contexts (id)")
            index.execute("COMMIT")
    except sqlite3.Error as error:  # a full disk above all
        raise OSError(f"SQLite: {error}") from error


def _read(table: Sequence[TableFile]) -> Iterator[tuple[str, bytes | None]]:
    nameless = 0
    for row in read_rows(table, range(sum(file.rows for file in table)), COLUMNS):
        try:
            key = read_id(row.fields, "id")
        except RowError:
            nameless += 1
            continue
        value = row.fields.get("context")
        if isinstance(value, str):
            value = value.encode(errors="surrogatepass")
        yield key, value if isinstance(value, bytes) else None
    if nameless:
        logger.warning(
            "%d rows of %s have no id that can be read, so that no question can name them",
            nameless,
            ", ".join(Path(file.path).name for file in table[:3]),
        )


class ContextIndex:
    """Looks contexts up.

    Args:
        file: written by `build_index`.
    """

    def __init__(self, file: Path) -> None:
        # Immutable: without locks, which file systems of a network often lack.
        uri = f"{file.absolute().as_uri()}?mode=ro&immutable=1"
        self._index = sqlite3.connect(uri, uri=True, check_same_thread=False)

    def __call__(self, keys: set[str]) -> dict[str, list[bytes | None]]:
        """The contexts that each id names; what stands twice with one text counts once."""
        marks = ", ".join("?" * len(keys))
        query = f"SELECT DISTINCT id, context FROM contexts WHERE id IN ({marks})"  # noqa: S608
        found: dict[str, list[bytes | None]] = defaultdict(list)
        for key, context in self._index.execute(query, tuple(keys)):
            found[key].append(context)
        return found
