"""What a row asks: its id, question and context, or why it is rejected.

This module knows nothing about files or models.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from spanwise.bulk.tables import Row
from spanwise.corpus.checks import show, text_fault
from spanwise.errors import ConfigError
from spanwise.schema import Example

FindContexts = Callable[[set[str]], Mapping[str, Sequence[bytes | None]]]
"""Gives for context ids the contexts that each names: none, one or, by mistake, several."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A row that can be answered.

    Attributes:
        row: its position in the table.
        example: with the id that the table gives it.
    """

    row: int
    example: Example


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """A row that is not answered.

    Attributes:
        row: its position in the table.
        id: None where it has none that can be read.
        reason: what is wrong with it.
    """

    row: int
    id: str | None
    reason: str


class RowError(Exception):
    """What keeps a row from being answered."""


def column_names(columns: Mapping[str, str] | None, *, by_id: bool) -> dict[str, str]:
    """Our name of each column that is read → theirs.

    Args:
        columns: those that have another name than ours.
        by_id: contexts are named, and stand in a table of their own.

    Raises:
        ConfigError: a name that is none of ours.
    """
    ours = ("id", "question", "context_id" if by_id else "context")
    columns = columns or {}
    if unknown := [name for name in columns if name not in ours]:
        hint = "" if by_id else "; context_id goes with --contexts TABLE"
        raise ConfigError(
            f"columns: {show(name)} is none of {', '.join(ours)}{hint}" for name in unknown
        )
    return {name: columns.get(name, name) for name in ours}


def sort_rows(
    rows: Sequence[Row], names: Mapping[str, str], find_contexts: FindContexts | None
) -> tuple[list[Question], list[Rejected]]:
    """Tell the rows that can be answered from those that cannot."""
    contexts: Mapping[str, Sequence[bytes | None]] = {}
    if find_contexts is not None:
        contexts = find_contexts({key for row in rows if (key := _key(row, names["context_id"]))})
    questions: list[Question] = []
    rejected: list[Rejected] = []
    for row in rows:
        if row.fault:
            rejected.append(Rejected(row=row.number, id=None, reason=row.fault))
            continue
        try:
            example = Example(
                id=read_id(row.fields, names["id"]),
                question=read_text(row.fields, names["question"]),
                context=read_text(row.fields, names["context"])
                if find_contexts is None
                else _pick_context(read_id(row.fields, names["context_id"]), contexts),
            )
            questions.append(Question(row=row.number, example=example))
        except RowError as error:
            key = _key(row, names["id"])
            rejected.append(Rejected(row=row.number, id=key, reason=str(error)))
    return questions, rejected


def read_text(fields: Mapping[str, object], name: str) -> str:
    """The text of a column.

    Raises:
        RowError: there is none that could be answered, or answered from.
    """
    value = fields.get(name)
    if value is None:
        raise RowError(f"has no {name!r}" + ("" if name in fields else _keys(fields)))
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError as error:
            byte = f"byte {value[error.start]:#04x} at {error.start}"
            raise RowError(f"{name!r} is not UTF-8: {byte}") from None
    if fault := text_fault(value):
        raise RowError(f"{name!r} {fault}")
    text = str(value)
    if not text.strip():
        raise RowError(f"{name!r} is {show(text)}: it must not be {'blank' if text else 'empty'}")
    return text


def read_id(fields: Mapping[str, object], name: str) -> str:
    """The id in a column; a whole number counts as its digits.

    Raises:
        RowError: there is none.
    """
    value = fields.get(name)
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        value = int(value)  # as databases export whole numbers
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return read_text(fields, name)


def _key(row: Row, name: str) -> str | None:
    try:
        return read_id(row.fields, name)
    except RowError:
        return None


def _keys(fields: Mapping[str, object]) -> str:
    return f"; its keys are {', '.join(map(show, fields)) or 'none'}"


def _pick_context(key: str, contexts: Mapping[str, Sequence[bytes | None]]) -> str:
    found = contexts.get(key, ())
    if len(found) != 1:
        count = len(found) or "no"
        raise RowError(f"'context_id' {show(key)} names {count} contexts; it must name one")
    return read_text({"context": found[0]}, "context")
