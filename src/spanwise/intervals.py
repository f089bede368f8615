"""How far a mean may be off by chance, by resampling the questions. Knows nothing about text.

Source: Efron 1979; paired, for system comparison, Koehn 2004; p-values by Fisher's signs, 1935.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spanwise.errors import DataError, Problem

_AT_ONCE = 1 << 22  # questions drawn at a time, some 64 MB
_ROUNDING = 1e-9  # of a mean in percent, added in another order


class Interval(NamedTuple):
    """A mean, and where 95 % of the means of as many questions lie.

    Attributes:
        value: the mean.
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float


class Difference(NamedTuple):
    """A difference of two means over the same questions.

    Attributes:
        value: the difference.
        low: lower end of its 95 % interval.
        high: upper end.
        p_value: how often chance alone would bring a difference as large, either way.
    """

    value: float
    low: float
    high: float
    p_value: float


def bootstrap_mean(values: ArrayLike, *, seed: int = 0, resamples: int = 2000) -> Interval:
    """Give a mean with its 95 % percentile interval.

    Args:
        values: (Q,) one for each question.
        seed: of the resampling.
        resamples: so many sets of Q questions are drawn.

    Raises:
        DataError: no questions.
    """
    column = _column(values)
    means = _means(column, seed, resamples)
    return Interval(float(column.mean()), *_ends(means))


def paired_bootstrap(
    ours: ArrayLike, theirs: ArrayLike, *, seed: int = 0, resamples: int = 10_000
) -> Difference:
    """Give the difference of two readers' means, with interval and two-sided p-value.

    The interval is that of resampled questions. The p-value is the share of differences as far from
    0 as the one found, were it drawn by lot for each question which reader is which: on few
    questions resampling would call any difference significant. It is at least 1 / (resamples + 1).

    Args:
        ours: (Q,) one for each question.
        theirs: (Q,) for the same questions.
        seed: of the resampling.
        resamples: so many sets of Q questions are drawn.

    Raises:
        DataError: no questions, or not the same number.
    """
    pair = _column(ours), _column(theirs)
    if len(pair[0]) != len(pair[1]):
        message = f"{len(pair[0])} and {len(pair[1])} questions; compare the same ones"
        raise DataError([Problem(file="values", place="", id=None, message=message)])
    if pair[0].mean() < pair[1].mean():  # the same draws, so that who comes first changes a sign
        value, low, high, p_value = paired_bootstrap(theirs, ours, seed=seed, resamples=resamples)
        return Difference(-value, -high, -low, p_value)
    differences = pair[0] - pair[1]
    value = float(differences.mean())
    by_lot = _swapped_means(np.abs(differences), seed, resamples)
    as_far = int(np.sum(np.abs(by_lot) >= value - _ROUNDING))
    ends = _ends(_means(differences, seed, resamples))
    return Difference(value, *ends, (as_far + 1) / (resamples + 1))


def _means(column: NDArray[np.float64], seed: int, resamples: int) -> NDArray[np.float64]:
    random = np.random.default_rng(seed)
    values, count = np.unique(column, return_counts=True)
    # Drawing how often each distinct value comes is the same as drawing questions, and cheaper.
    if len(values) <= len(column) // 8:
        return (
            random.multinomial(len(column), count / len(column), resamples) @ values / len(column)
        )
    rows = max(1, _AT_ONCE // len(column))
    return np.concatenate(
        [
            column[
                random.integers(0, len(column), (min(rows, resamples - done), len(column)))
            ].mean(1)
            for done in range(0, resamples, rows)
        ]
    )


def _swapped_means(sizes: NDArray[np.float64], seed: int, resamples: int) -> NDArray[np.float64]:
    """Means of differences of these sizes, (Q,), whose signs are drawn."""
    random = np.random.default_rng(seed)
    values, count = np.unique(sizes, return_counts=True)
    rows = max(1, _AT_ONCE // len(values))
    plus = [
        random.binomial(count, 0.5, (min(rows, resamples - done), len(values)))
        for done in range(0, resamples, rows)
    ]
    return (2 * np.concatenate(plus) - count) @ values / len(sizes)


def _ends(means: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _column(values: ArrayLike) -> NDArray[np.float64]:
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1 or not column.size:
        message = f"the shape is {column.shape}; give a flat array of at least one value"
        raise DataError([Problem(file="values", place="", id=None, message=message)])
    return column
