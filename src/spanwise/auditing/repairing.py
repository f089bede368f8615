"""Repairs what has one obvious repair, drops what has none, and lists both.

Knows nothing about files.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from spanwise.auditing.findings import content_of, trim
from spanwise.corpus.checks import nearest_place, show
from spanwise.schema import Example, Gold


@dataclass(frozen=True, kw_only=True)
class Change:
    """One difference between the data before and after.

    Attributes:
        id: of the question.
        kind: what was done.
        message: the same in words, with the values.
    """

    id: str
    kind: Literal["moved", "trimmed", "dropped_answer", "dropped_question", "dropped_duplicate"]
    message: str


@dataclass(frozen=True, kw_only=True)
class Repair:
    """What `repair_examples` made.

    Attributes:
        examples: without misplaced answers, blanks around answers and exact duplicates.
        changes: in the order of the examples.
    """

    examples: tuple[Example, ...]
    changes: tuple[Change, ...]


def repair_examples(examples: Iterable[Example]) -> Repair:
    """Repair what has one obvious repair; drop what has none.

    An answer loses the blanks around it, its place moved accordingly, and goes to the nearest place
    where its text stands, the earlier of two. Where the context does not hold it, it is dropped,
    and the question with it if no other answer is left. The later of two questions with the same
    text, context and answers is dropped.
    """
    repaired: list[Example] = []
    changes: list[Change] = []
    first: dict[tuple[object, ...], Example] = {}
    for published in examples:
        example = published
        if example.answers:
            golds, done = _repair_golds(example.answers, example)
            changes += done
            if not golds:
                message = f"{show(example.question)} dropped: none of its answers is in the context"
                changes.append(Change(id=example.id, kind="dropped_question", message=message))
                continue
            example = replace(example, answers=golds)
        twin = first.setdefault(content_of(example), example)
        if twin is example:
            repaired.append(example)
        else:
            message = f"{show(example.question)} dropped: it stands already as {twin.id!r}"
            changes.append(Change(id=example.id, kind="dropped_duplicate", message=message))
    return Repair(examples=tuple(repaired), changes=tuple(changes))


def _repair_golds(
    golds: Sequence[Gold], example: Example
) -> tuple[tuple[Gold, ...], Iterable[Change]]:
    kept = []
    changes: dict[Gold, Change] = {}  # annotators often agree on a fault: it is listed once
    for gold in golds:
        trimmed = trim(gold)
        place = nearest_place(trimmed, example.context)
        if place is None:
            message = f"answer {show(gold.text)} dropped: it is not in the context"
            changes[gold] = Change(id=example.id, kind="dropped_answer", message=message)
            continue
        mended = replace(trimmed, start=place, end=place + len(trimmed.text))
        kept.append(mended)
        if mended != gold:
            changes[gold] = Change(
                id=example.id,
                kind="trimmed" if place == trimmed.start and mended.text != gold.text else "moved",
                message=f"answer {show(gold.text)} at [{gold.start}:{gold.end}] is now "
                f"{show(mended.text)} at [{mended.start}:{mended.end}]",
            )
    return tuple(kept), changes.values()
