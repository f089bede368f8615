"""What is wrong with examples, predictions and probabilities that are to be scored.

This module knows nothing about scores, and nothing about files but their names.
"""

import reprlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from numbers import Real
from typing import Literal, cast

from spanwise.errors import DataError, Problem
from spanwise.schema import Example

Rules = Literal["1.1", "2.0"]

_EXAMPLES = "examples"
_ANSWERS = "predictions"
_PROBABILITIES = "no-answer probabilities"


def check_data(
    examples: Sequence[Example],
    answers: Mapping[str, object],
    probabilities: Mapping[str, object] | None,
    *,
    rules: Rules | None,
) -> None:
    """Refuse what cannot be scored.

    Raises:
        DataError: every example, id, text and probability at fault.
    """
    known = Counter(example.id for example in examples)
    problems = [
        *_example_problems(examples, known, rules),
        *answer_problems(answers, _ANSWERS),
        *_unknown(answers, known, _ANSWERS),
    ]
    if probabilities is not None:
        problems += probability_problems(probabilities, _PROBABILITIES)
        problems += _unknown(probabilities, known, _PROBABILITIES)
        problems += (
            problem(_PROBABILITIES, key, "none for this question, which has a prediction; add it")
            for key in known
            if key in answers and key not in probabilities
        )
    if problems:
        raise DataError(problems)


def problem(file: str, key: str | None, message: str) -> Problem:
    """A fault of a file as a whole, or of one question."""
    return Problem(file=file, place="", id=key, message=message)


def _example_problems(
    examples: Sequence[Example], known: Mapping[str, int], rules: Rules | None
) -> Iterator[Problem]:
    if not examples:
        yield problem(_EXAMPLES, None, "0 questions: there is nothing to score; give at least one")
    for key, count in known.items():
        if count > 1:
            yield problem(_EXAMPLES, key, f"{count} questions have this id; make ids unique")
    for example in examples:
        if example.answers is None:
            message = (
                "is unlabelled, its answers are None: label it, with () or [] if there is no "
                "answer; a table's column of another name is read by --columns answers=NAME"
            )
            yield problem(_EXAMPLES, example.id, message)
        elif rules == "1.1" and not example.answers:
            message = "has no answer, which the rules 1.1 do not know; use the rules 2.0"
            yield problem(_EXAMPLES, example.id, message)


def _unknown(keys: Iterable[str], known: Collection[str], file: str) -> Iterator[Problem]:
    message = "no question has this id; remove it, or score against the data it was made for"
    return (problem(file, key, message) for key in keys if key not in known)


def answer_problems(answers: Mapping[str, object], file: str) -> Iterator[Problem]:
    """Values that are no texts."""
    for key, value in answers.items():
        if not isinstance(value, str):
            message = f'{shown(value)} is not text; give the answer, or "" for "no answer"'
            yield problem(file, key, message)


def probability_problems(probabilities: Mapping[str, object], file: str) -> Iterator[Problem]:
    """Values that are no probabilities."""
    for key, value in probabilities.items():
        # Score differences, which some tools write as "null odds", come this way too. NaN is not
        # between 0 and 1 either.
        number = isinstance(value, Real) and not isinstance(value, bool)
        if not (number and 0 <= cast("float", value) <= 1):
            message = (
                f"{shown(value)} is not a probability between 0 and 1; a score difference x"
                " becomes one by 1 / (1 + exp(-x))"
            )
            yield problem(file, key, message)


def shown(value: object) -> str:
    """A value as a message quotes it, cut where it is long."""
    return "null" if value is None else reprlib.repr(value)
