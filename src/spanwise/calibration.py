"""What held-out questions say about null probabilities: arrays in, arrays out.

Q is the number of questions. This module knows nothing about text, models or files.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spanwise.errors import DataError, Problem

_TIE = 1e-9  # relative; the same scores added in another order differ by less


def fit_threshold(
    null_probability: ArrayLike, answer_score: ArrayLike, null_score: ArrayLike
) -> tuple[float, float]:
    """Find the null probability above which abstaining scores better than answering.

    A question whose null probability is greater than the threshold counts its null score, any other
    its answer score. All thresholds between two neighbouring probabilities score the same, so the
    best ones form intervals; returned is the middle of the widest, the choice that new data upsets
    least. Of equally wide ones it is the lowest. Where it is best to abstain never, the interval
    ends at 1; where always, it begins at 0.

    Args:
        null_probability: (Q,) probability of "no answer", between 0 and 1.
        answer_score: (Q,) score of the best span, such as its F1.
        null_score: (Q,) score of abstaining: 1 where there is no answer, else 0.

    Returns:
        The threshold, between 0 and 1, and the mean score at it, in the unit of the scores.

    Raises:
        DataError: no questions, unequal lengths, or values out of range.
    """
    probability = _column("null_probability", null_probability, lowest=0.0, highest=1.0)
    answering = _column("answer_score", answer_score, length=len(probability))
    abstaining = _column("null_score", null_score, length=len(probability))

    values, counts = np.unique(probability, return_counts=True)  # (V,)
    gains = (answering - abstaining)[np.argsort(probability, kind="stable")]  # (Q,)
    # Interval i holds the thresholds low[i] <= t < high[i], at which the questions of the i lowest
    # values are answered. The last one includes 1; the first is empty where a probability is 0.
    low = np.concatenate([[0.0], values])  # (V + 1,)
    high = np.concatenate([values, [1.0]])  # (V + 1,)
    answered = np.concatenate([[0], np.cumsum(counts)])  # (V + 1,) questions
    totals = abstaining.sum() + np.concatenate([[0.0], np.cumsum(gains)])[answered]  # (V + 1,)
    if values[0] == 0:
        low, high, totals = low[1:], high[1:], totals[1:]

    best = np.isclose(totals, totals.max(), rtol=_TIE, atol=0.0)
    turns = np.flatnonzero(np.diff(best, prepend=False, append=False))  # begin, end, begin, end, …
    low, high = low[turns[::2]], high[turns[1::2] - 1]  # neighbouring intervals are one
    widest = np.argmax(high - low)
    middle = (low[widest] + high[widest]) / 2
    # Between two neighbouring floats the middle may be rounded up to the end, which is outside.
    threshold = float(middle if middle < high[widest] else low[widest])
    return threshold, float(np.where(probability > threshold, abstaining, answering).mean())


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
    scores = _column("score", score)
    chosen = _column("positive", positive, length=len(scores)).astype(np.bool_)
    positives, negatives = int(chosen.sum()), int((~chosen).sum())
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle_rank = np.cumsum(counts) - (counts - 1) / 2  # (V,) ranks from 1, ties share their middle
    rank_sum = middle_rank[inverse][chosen].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))


def _column(
    name: str,
    values: ArrayLike,
    *,
    length: int | None = None,
    lowest: float = -np.inf,
    highest: float = np.inf,
) -> NDArray[np.float64]:
    """`values` as a (Q,) array, or a DataError that names each value which cannot be used."""
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1 or not column.size or length not in {None, column.size}:
        wanted = "at least one value" if length is None else f"{length} values, as in the first"
        message = f"the shape is {column.shape}; give a flat array of {wanted}"
        raise DataError([Problem(file=name, place="", id=None, message=message)])
    usable = np.isfinite(column) & (column >= lowest) & (column <= highest)
    message = (
        f"is not a finite number between {lowest:g} and {highest:g}; compute it anew, or leave its"
        " question out"
    )
    if not usable.all():
        raise DataError(
            Problem(file=name, place=f"[{index}]", id=None, message=f"{column[index]} {message}")
            for index in np.flatnonzero(~usable)
        )
    return column
