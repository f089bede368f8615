"""How far a mean may be off by chance, by resampling the questions. Knows nothing about text.

Source: Efron 1979; paired, for system comparison, Koehn 2004; p-values by Fisher's signs, 1935.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spanwise.columns import column

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
        DataError: no questions, or a value that is not finite.
    """
    array = column("values", values)
    return Interval(float(array.mean()), *_ends(_means(array, seed, resamples)))


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
        DataError: no questions, not the same number, or a value that is not finite.
    """
    first = column("ours", ours)
    second = column("theirs", theirs, length=len(first))
    if first.mean() < second.mean():  # the same draws, so that who comes first changes a sign
        value, low, high, p_value = paired_bootstrap(second, first, seed=seed, resamples=resamples)
        return Difference(-value, -high, -low, p_value)
    differences = first - second
    value = float(differences.mean())
    by_lot = _swapped_means(np.abs(differences), seed, resamples)
    as_far = int(np.sum(np.abs(by_lot) >= value - _ROUNDING))
    ends = _ends(_means(differences, seed, resamples))
    return Difference(value, *ends, (as_far + 1) / (resamples + 1))


def _means(array: NDArray[np.float64], seed: int, resamples: int) -> NDArray[np.float64]:
    random = np.random.default_rng(seed)
    values, count = np.unique(array, return_counts=True)
    size, share = len(array), count / len(array)
    # Drawing how often each distinct value comes is the same as drawing questions, and cheaper.
    if len(values) <= size // 8:
        return _in_parts(
            lambda rows: random.multinomial(size, share, rows) @ values / size,
            resamples, width=len(values),
        )  # fmt: skip
    return _in_parts(
        lambda rows: array[random.integers(0, size, (rows, size))].mean(1), resamples, width=size
    )


def _swapped_means(sizes: NDArray[np.float64], seed: int, resamples: int) -> NDArray[np.float64]:
    """Means of differences of these sizes, (Q,), whose signs are drawn."""
    random = np.random.default_rng(seed)
    values, count = np.unique(sizes, return_counts=True)
    return _in_parts(
        lambda rows: (
            (2 * random.binomial(count, 0.5, (rows, len(values))) - count) @ values / len(sizes)
        ),
        resamples, width=len(values),
    )  # fmt: skip


def _in_parts(
    draw: Callable[[int], NDArray[np.float64]], resamples: int, *, width: int
) -> NDArray[np.float64]:
    """The means that `draw` makes of so many rows of `width` numbers, without all rows at once."""
    rows = max(1, _AT_ONCE // width)
    parts = [draw(min(rows, resamples - done)) for done in range(0, resamples, rows)]
    return np.concatenate(parts)


def _ends(means: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
