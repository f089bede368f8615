"""Do two readers differ, or is it chance? The same questions, answered by both.

This module knows nothing about models: it compares the texts that were returned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spanwise.intervals import Difference, paired_bootstrap
from spanwise.metrics import Scores, guess_language, score_predictions
from spanwise.schema import Example
from spanwise.slices import each_slice, slice_questions


@dataclass(frozen=True, kw_only=True)
class SliceDifference:
    """What the second reader has over the first on questions of one kind, in percent.

    Attributes:
        dimension: what the questions were told apart by; "" for all of them.
        label: which of them these are.
        count: questions.
        exact: exact match.
        f1: F1.
    """

    dimension: str
    label: str
    count: int
    exact: Difference
    f1: Difference


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two readers beside each other.

    Attributes:
        language: whose rules answers were compared by.
        first: official scores of the one, in percent.
        second: of the other.
        difference: of the second over the first, on all questions.
        slices: the same for each kind of question, the greatest loss of F1 first.
        gained: ids that only the second answers exactly, in the order of the data.
        lost: ids that only the first does.
    """

    language: str
    first: dict[str, float]
    second: dict[str, float]
    difference: SliceDifference
    slices: tuple[SliceDifference, ...]
    gained: tuple[str, ...]
    lost: tuple[str, ...]


def compare_answers(
    examples: Sequence[Example],
    first: Mapping[str, str],
    second: Mapping[str, str],
    *,
    language: str | None = None,
    fewest: int = 10,
    seed: int = 0,
) -> Comparison:
    """Compare what two readers returned, by paired bootstrap over the questions.

    Args:
        examples: labelled, with distinct ids.
        first: id → answer, "" for none; a question that is missing counts as wrong.
        second: likewise.
        language: whose rules answers are compared by; None guesses.
        fewest: kinds of fewer questions are left out.
        seed: of the resampling.

    Raises:
        ConfigError: an unknown language.
        DataError: examples or answers that cannot be scored, each one named.
    """
    language = language or guess_language(examples)
    scores = [
        score_predictions(examples, answers, language=language) for answers in (first, second)
    ]
    exact, f1 = (np.array([_column(one, name) for one in scores]) for name in ("exact", "f1"))

    def difference(dimension: str, label: str, chosen: NDArray[np.bool_]) -> SliceDifference:
        return SliceDifference(
            dimension=dimension,
            label=label,
            count=int(chosen.sum()),
            exact=paired_bootstrap(*exact[::-1, chosen], seed=seed),
            f1=paired_bootstrap(*f1[::-1, chosen], seed=seed),
        )

    labels = slice_questions(examples, language=language)
    slices = [difference(*kind) for kind in each_slice(labels, fewest=fewest)]
    ids = np.array([example.id for example in examples], dtype=object)
    return Comparison(
        language=language,
        first=scores[0].overall,
        second=scores[1].overall,
        difference=difference("", "all", np.ones(len(examples), dtype=np.bool_)),
        slices=tuple(sorted(slices, key=lambda one: one.f1.value)),
        gained=tuple(ids[exact[1] > exact[0]]),
        lost=tuple(ids[exact[1] < exact[0]]),
    )


def _column(scores: Scores, name: str) -> list[float]:
    return [100.0 * value for value in getattr(scores, name).values()]
