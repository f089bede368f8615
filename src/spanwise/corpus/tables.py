"""Flat tables: one question a row, whatever file or Hub data set the rows come from.

Knows nothing about files.
"""

from collections.abc import Mapping

from spanwise.corpus.checks import Entry, Intake, UnreadableError, listing, read_golds, show
from spanwise.corpus.parsing import Table, load_literal
from spanwise.corpus.subjqa import SUBJQA_COLUMNS, SUBJQA_TITLE, read_subjqa
from spanwise.errors import ConfigError
from spanwise.schema import Gold

_REQUIRED = ("id", "question", "context")
_FIELDS = (*_REQUIRED, "title", "answers")


def checked_columns(columns: Mapping[str, str] | None) -> dict[str, str]:
    """The mapping from our names to those of a table.

    Raises:
        ConfigError: if it maps anything else.
    """
    columns = columns or {}
    if unknown := [name for name in columns if name not in _FIELDS]:
        ours = ", ".join(_FIELDS)
        raise ConfigError([f"columns: {show(name)} is none of {ours}" for name in unknown])
    return dict(columns)


def wanted_columns(columns: Mapping[str, str]) -> frozenset[str]:
    """The names of all columns that `read_table` may look at."""
    ours = {columns.get(field, field) for field in _FIELDS}
    return frozenset(ours) | SUBJQA_COLUMNS | {SUBJQA_TITLE}


def read_table(table: Table, intake: Intake, columns: Mapping[str, str]) -> None:
    """Read every row; `columns` maps our names to those of the table."""
    if not columns and set(table.names) >= SUBJQA_COLUMNS:
        read_subjqa(table, intake)
        return
    names = {field: columns.get(field, field) for field in _FIELDS}
    _check_header(table, names, {*_REQUIRED, *columns})
    for place, value in table.rows:
        entry = Entry(intake, place)
        if not isinstance(value, dict):
            entry.fault(f"is {show(value)}, not a row with a value for each column")
            continue
        entry.identify(value, names["id"])
        entry.keep(
            question=entry.text(value, names["question"]),
            context=entry.text(value, names["context"]),
            title=entry.title(value, names["title"]),
            answers=_read_answers(value.get(names["answers"]), entry),
        )


def _check_header(table: Table, names: Mapping[str, str], needed: set[str]) -> None:
    missing = [name for field, name in names.items() if field in needed and name not in table.names]
    if missing:
        without_ids = "; without ids, number the rows in a column" if names["id"] in missing else ""
        raise UnreadableError(
            "",
            f"has no column {listing(missing)}; its columns are {listing(table.names)}. "
            "Name those that stand for id, question, context, title or answers: "
            f"--columns question=NAME,context=NAME{without_ids}",
        )
    if twice := [name for name in names.values() if table.names.count(name) > 1]:
        raise UnreadableError("", f"has more than one column {listing(twice)}: rename all but one")


def _read_answers(value: object, entry: Entry) -> tuple[Gold, ...] | None:
    if isinstance(value, str):
        if not value.strip():
            return None
        form = '{"text": ["…"], "answer_start": [0]}; spanwise audit --fix then finds its place'
        try:
            read = load_literal(value)
        except UnreadableError as error:
            entry.fault(f"'answers' is {show(value)}, which {error}: write it as {form}")
            return None
        if not isinstance(read, list | dict | None):  # an answer by itself that is a number
            entry.fault(f"'answers' is {show(value)}: write it as {form}")
            return None
        value = read
    return read_golds(value, entry)
