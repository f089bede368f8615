"""What probabilities are worth, on questions whose answers are known.

Q is the number of questions. A confidence is the probability of what was returned; it was right
where it matches exactly. This module knows nothing about text or models.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spanwise.columns import column

BINS = 10
"""Bins of equally many questions that reliability is shown in."""

_TINY = 1e-12  # a probability of 0 that was wrong would cost infinitely much


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Questions by rising confidence, in bins of equal mass.

    Attributes:
        confidence: (bins,) mean of each.
        accuracy: (bins,) share that was right.
        count: (bins,) questions.
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    count: NDArray[np.int64]


def reliability(confidence: ArrayLike, right: ArrayLike, *, bins: int = BINS) -> Reliability:
    """Compare confidence with accuracy in bins of equally many questions.

    Args:
        confidence: (Q,) between 0 and 1.
        right: (Q,) 1 where it was right, else 0.
        bins: so many, or one for each question where there are fewer.

    Raises:
        DataError: no questions, unequal lengths, or values out of range.
    """
    stated, was_right = _pair(confidence, right)
    order = np.argsort(stated, kind="stable")
    first = np.linspace(0, len(order), min(bins, len(order)) + 1).astype(np.int64)[:-1]
    count = np.diff(first, append=len(order))
    return Reliability(
        confidence=np.add.reduceat(stated[order], first) / count,
        accuracy=np.add.reduceat(was_right[order], first) / count,
        count=count,
    )


def expected_calibration_error(
    confidence: ArrayLike, right: ArrayLike, *, bins: int = BINS
) -> float:
    """Give the mean distance of confidence and accuracy over bins of equal mass, between 0 and 1.

    Never 0 on finitely many questions: `calibration_range` says what chance alone brings about.
    """
    found = reliability(confidence, right, bins=bins)
    return float(np.average(np.abs(found.confidence - found.accuracy), weights=found.count))


def calibration_range(
    confidence: ArrayLike, *, bins: int = BINS, seed: int = 0, draws: int = 1000
) -> tuple[float, float]:
    """Give the 95 % range of the calibration error that a perfectly calibrated reader would show.

    Args:
        confidence: (Q,) of the reader to be judged; each is right with just that probability.
        bins: as in `expected_calibration_error`.
        seed: of the draws.
        draws: so many times it is drawn who is right.
    """
    stated = np.sort(column("confidence", confidence, lowest=0.0, highest=1.0))
    random = np.random.default_rng(seed)
    errors = [
        expected_calibration_error(stated, random.random(len(stated)) < stated, bins=bins)
        for _ in range(draws)
    ]
    low, high = np.quantile(errors, [0.025, 0.975])
    return float(low), float(high)


def brier(confidence: ArrayLike, right: ArrayLike) -> float:
    """Give the mean squared distance of confidence from 1 where right, from 0 where wrong."""
    stated, was_right = _pair(confidence, right)
    return float(np.mean((stated - was_right) ** 2))


def negative_log_likelihood(confidence: ArrayLike, right: ArrayLike) -> float:
    """Give the mean surprise at what was right and wrong, in nats."""
    stated, was_right = _pair(confidence, right)
    told = np.where(was_right == 1, stated, 1 - stated)
    return float(-np.mean(np.log(np.maximum(told, _TINY))))


def risk_coverage(
    confidence: ArrayLike, right: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Answer more and more questions, the surest first.

    Args:
        confidence: (Q,) probability of each question's best span.
        right: (Q,) 1 where that span is right, else 0.

    Returns:
        (n,) share of the questions answered, and (n,) share of those that are wrong, for each of
        the n distinct confidences: questions of one confidence are answered together.

    Raises:
        DataError: as `reliability`.

    Source: Geifman and El-Yaniv 2017.
    """
    stated, was_right = _pair(confidence, right)
    order = np.argsort(-stated, kind="stable")
    last = np.flatnonzero(np.diff(stated[order], append=-1.0))  # of each distinct confidence
    answered = last + 1
    wrong = np.cumsum(1 - was_right[order])[last]
    return answered / len(order), wrong / answered


def answered_at(accuracy: float, confidence: ArrayLike, right: ArrayLike) -> float:
    """Give the largest share of questions that can be answered with such an accuracy.

    Args:
        accuracy: share of the answers that has to be right.
        confidence: as in `risk_coverage`.
        right: likewise.
    """
    coverage, risk = risk_coverage(confidence, right)
    return float(coverage[risk <= 1 - accuracy + 1e-12].max(initial=0.0))


def auroc(score: ArrayLike, positive: NDArray[np.bool_]) -> float | None:
    """Probability that a positive question has a higher score than a negative one.

    Equal scores count one half. 1 separates the two perfectly, 0.5 is chance.

    Args:
        score: (Q,) such as the null probability.
        positive: (Q,) True where the score should be high, such as where there is no answer.

    Returns:
        The area under the ROC curve, between 0 and 1; None where all questions are of one kind,
        for which it does not exist.

    Raises:
        DataError: no questions, unequal lengths, or a score that is not finite.

    Source: Hanley and McNeil 1982, by the rank sum of Mann and Whitney.
    """
    scores = column("score", score)
    chosen = column("positive", positive, length=len(scores)).astype(np.bool_)
    positives, negatives = int(chosen.sum()), int((~chosen).sum())
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle_rank = np.cumsum(counts) - (counts - 1) / 2  # (V,) ranks from 1, ties share their middle
    rank_sum = middle_rank[inverse][chosen].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))


def _pair(
    confidence: ArrayLike, right: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    stated = column("confidence", confidence, lowest=0.0, highest=1.0)
    return stated, column("right", right, length=len(stated), lowest=0.0, highest=1.0)
