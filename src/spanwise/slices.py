"""Kinds of questions that a reader may be better or worse at. Knows nothing about answers given.

Lengths are in characters, which every language has, and their bounds are the quartiles of the data.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from spanwise.schema import Example

_QUESTION_WORDS = re.compile(
    r"\b(how many|how much|how|who|whom|whose|what|when|where|which|why)\b", re.IGNORECASE
)
_SAME = {"whom": "who", "whose": "who"}
_QUARTERS = ("first quarter", "second quarter", "third quarter", "last quarter")


def slice_questions(
    examples: Sequence[Example], *, windows: Sequence[int] | None = None, language: str = "en"
) -> dict[str, tuple[str, ...]]:
    """Label every question on each dimension that the data can be told apart by.

    Args:
        examples: labelled.
        windows: of each question; None leaves this dimension out.
        language: of the questions; they begin with question words only in English.

    Returns:
        Dimension → one label for each question, "" where it has none.
    """
    golds = [example.answers[0] if example.answers else None for example in examples]
    labels = {
        "kind": ["answerable" if gold else "unanswerable" for gold in golds],
        "question characters": _by_length([len(example.question) for example in examples]),
        "context characters": _by_length([len(example.context) for example in examples]),
        "answer characters": _by_length([len(gold.text) if gold else None for gold in golds]),
        "answer position": [
            _QUARTERS[min(3, 4 * gold.start // len(example.context))] if gold else ""
            for gold, example in zip(golds, examples, strict=True)
        ],
        "document": [example.title for example in examples],
    }
    if language == "en":
        labels["question word"] = [_question_word(example.question) for example in examples]
    if windows is not None:
        labels["windows"] = [_window_label(count) for count in windows]
    return {name: tuple(column) for name, column in labels.items() if len({*column} - {""}) > 1}


def each_slice(
    labels: Mapping[str, Sequence[str]], *, fewest: int = 1
) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Go through the kinds of questions.

    Args:
        labels: as `slice_questions` gives them.
        fewest: kinds of fewer questions are left out.

    Yields:
        Dimension, label, and (Q,) True where a question has it.
    """
    for dimension, row in labels.items():
        names, which, count = np.unique(
            np.array(row, dtype=object), return_inverse=True, return_counts=True
        )
        for number, name in enumerate(names):
            if name and count[number] >= fewest:
                yield dimension, name, which == number


def _question_word(question: str) -> str:
    found = _QUESTION_WORDS.search(question)
    word = found.group().lower() if found else "none"
    return _SAME.get(word, word)


def _window_label(count: int) -> str:
    return "1 window" if count == 1 else f"{count} windows" if count < 4 else "4 windows or more"


def _by_length(lengths: Sequence[int | None]) -> list[str]:
    """The quarter of the data that each length falls into; "" for None."""
    known = [length for length in lengths if length is not None]
    if not known:
        return [""] * len(lengths)
    ends = np.unique(np.quantile(known, [0.25, 0.5, 0.75, 1.0], method="lower")).tolist()
    starts = [min(known), *(end + 1 for end in ends[:-1])]
    labels = [
        f"{low}" if low == high else f"{low}–{high}" for low, high in zip(starts, ends, strict=True)
    ]
    return [
        "" if length is None else labels[int(np.searchsorted(ends, length))] for length in lengths
    ]
