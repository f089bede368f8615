"""The kinds of findings, and how single ones are gathered.

Knows nothing about how a finding is made.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from spanwise.errors import Problem
from spanwise.schema import Example, Gold

Kind = Literal[
    "format",
    "misaligned",
    "blank_edges",
    "duplicate",
    "contradiction",
    "shared_context",
    "tokenless",
    "long_question",
    "long_answer",
    "cut_answer",
    "token_edge",
    "uncovered",
]
Found = Iterator[tuple[Kind, Problem]]

_TITLES: dict[Kind, str] = {
    "format": "faults of the file; what they stand in was not read",
    "misaligned": "answers that are not where they are said to be",
    "blank_edges": "answers with blanks around them",
    "duplicate": "questions that stand twice, with the same context and answers",
    "contradiction": "questions that stand twice, with the same context but answers elsewhere",
    "shared_context": "contexts that stand in two of the data sets",
    "tokenless": "questions and answers that give no token",
    "long_question": "questions that windows cut",
    "long_answer": "answers longer than max_answer_tokens",
    "cut_answer": "questions without a window that holds an answer whole",
    "token_edge": "answers that begin or end inside a token, or where no token stands",
    "uncovered": "answers with characters inside that no token covers",
}
# A reader still quotes such an answer whole: it only does not see all of it.
_NOTES: frozenset[Kind] = frozenset({"uncovered"})


@dataclass(frozen=True, kw_only=True)
class Finding:
    """All findings of one kind.

    Attributes:
        kind: its name in JSON.
        title: what is found, in words.
        fault: True where data or settings want mending; False for a note.
        problems: each one, with the value and the mend.
    """

    kind: Kind
    title: str
    fault: bool
    problems: tuple[Problem, ...]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.problems)


def gather(found: Iterable[tuple[Kind, Problem]]) -> tuple[Finding, ...]:
    """One finding for each kind that occurs, in the order of `Kind`."""
    problems: dict[Kind, list[Problem]] = {kind: [] for kind in get_args(Kind)}
    for kind, problem in found:
        problems[kind].append(problem)
    return tuple(
        Finding(kind=kind, title=_TITLES[kind], fault=kind not in _NOTES, problems=tuple(those))
        for kind, those in problems.items()
        if those
    )


def found(kind: Kind, file: str, example: Example, message: str) -> tuple[Kind, Problem]:
    """One finding about an example, whose place in its file is not known any more."""
    return kind, Problem(file=file, place="", id=example.id, message=message)


def stands(gold: Gold, context: str) -> bool:
    """Whether an answer is where it is said to be."""
    # A negative start would count from the end of the context.
    return gold.start >= 0 and context[gold.start : gold.end] == gold.text


def trim(gold: Gold) -> Gold:
    """An answer without the blanks around it."""
    text = gold.text.strip()
    start = gold.start + len(gold.text) - len(gold.text.lstrip())
    return Gold(text=text, start=start, end=start + len(text))


def content_of(example: Example) -> tuple[object, ...]:
    """What makes two examples the same: id, title and the order of answers do not count."""
    label = None if example.answers is None else frozenset(example.answers)
    return example.question, example.context, label
