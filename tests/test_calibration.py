"""Thresholds and AUROC against brute force, at the edges, and what is refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanwise.calibration import auroc, fit_threshold
from spanwise.errors import DataError

SHARES = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1))
ROWS = st.lists(st.tuples(SHARES, SHARES, st.sampled_from([0.0, 1.0])), min_size=1, max_size=12)


def mean_at(threshold: float, rows: list[tuple[float, float, float]]) -> float:
    return math.fsum(
        null if probability > threshold else answer for probability, answer, null in rows
    ) / len(rows)


def every_threshold(rows: list[tuple[float, float, float]]) -> list[tuple[float, float]]:
    """The half-open intervals of [0, 1] on which no question changes sides."""
    ends = sorted({0.0, *(row[0] for row in rows)})
    return list(zip(ends, [*ends[1:], 1.0], strict=True))


@given(ROWS)
def test_threshold_equals_brute_force(rows: list[tuple[float, float, float]]) -> None:
    threshold, mean = fit_threshold(*zip(*rows, strict=True))
    assert 0 <= threshold <= 1
    assert mean == pytest.approx(mean_at(threshold, rows), rel=1e-12)
    scores = {interval: mean_at(interval[0], rows) for interval in every_threshold(rows)}
    best = max(scores.values())
    assert mean == pytest.approx(best, rel=1e-8)

    # Join the best intervals that touch, and look for the widest.
    plateaus: list[list[float]] = []
    for (low, high), score in scores.items():
        if score != pytest.approx(best, rel=1e-9, abs=0):
            continue
        if plateaus and plateaus[-1][1] == low:
            plateaus[-1][1] = high
        else:
            plateaus.append([low, high])
    low, high = max(plateaus, key=lambda plateau: plateau[1] - plateau[0])
    assert low <= threshold <= high
    assert threshold == pytest.approx((low + high) / 2, rel=1e-15)


@pytest.mark.parametrize(
    ("probability", "answer", "null", "threshold", "mean"),
    [
        # One gap parts the answerable from the rest: its middle.
        ([0.1, 0.3, 0.7, 0.9], [1, 1, 0, 0], [0, 0, 1, 1], 0.5, 1.0),
        # A wrong answer that abstaining does not mend widens the gap.
        ([0.1, 0.3, 0.7, 0.9], [1, 0, 0, 0], [0, 0, 0, 1], 0.5, 0.5),
        # Two gaps are as good; the wider one wins, wherever it is.
        ([0.1, 0.2, 0.3, 0.8], [1, 0, 1, 0], [0, 1, 0, 1], 0.55, 0.75),
        ([0.1, 0.7, 0.8, 0.9], [1, 0, 1, 0], [0, 1, 0, 1], 0.4, 0.75),
        # Always answering, up to 1; always abstaining, from 0.
        ([0.2, 0.4], [1, 0.5], [0, 0], 0.7, 0.75),
        ([0.2, 0.4], [0, 0], [1, 1], 0.1, 1.0),
        # A null probability of 0 everywhere cannot be abstained from.
        ([0, 0], [0, 0], [1, 1], 0.5, 0.0),
        ([1, 1], [1, 1], [0, 0], 1.0, 1.0),
        ([0.5], [0], [0], 0.5, 0.0),
    ],
)
def test_thresholds_pinned(
    probability: list[float], answer: list[float], null: list[float], threshold: float, mean: float
) -> None:
    assert fit_threshold(probability, answer, null) == pytest.approx((threshold, mean), rel=1e-15)


def test_threshold_stays_below_a_neighbouring_float() -> None:
    low = 0.5 + 2**-53  # its middle with the next float is rounded to the even one, the upper
    high = math.nextafter(low, 1)
    assert (low + high) / 2 == high
    assert fit_threshold([low, high], [1, 0], [0, 1]) == (low, 1.0)


def test_equal_sums_in_another_order_are_a_tie() -> None:
    # 0.1 + 0.2 + 0.3 and 0.3 + 0.2 + 0.1 differ in the last digit.
    probability = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.9]
    answer = [0.1, 0.2, 0.3, 0.0, 0.0, 0.0, 0.0]
    null = [0.0, 0.0, 0.0, 0.3, 0.2, 0.1, 0.0]
    assert fit_threshold(probability, answer, null)[0] == pytest.approx(0.35)
    answer, null = [0.1, 0.2, 0.3, 0.0, 0.0, 0.3, 0.0], [0.0, 0.0, 0.0, 0.1, 0.2, 0.0, 0.0]
    assert fit_threshold(probability, answer, null)[0] == pytest.approx(0.8)


def test_single_precision_probabilities_keep_their_side() -> None:
    probability = np.array([0.3, np.nextafter(np.float32(0.3), np.float32(1))], dtype=np.float32)
    threshold, mean = fit_threshold(probability, [1, 0], [0, 1])
    assert mean == 1
    assert probability[0].item() <= threshold < probability[1].item()


SCORES = st.lists(
    st.tuples(st.one_of(st.integers(-2, 2).map(float), st.floats(-1e9, 1e9)), st.booleans()),
    min_size=1,
    max_size=12,
)


@given(SCORES)
def test_auroc_equals_brute_force(rows: list[tuple[float, bool]]) -> None:
    score, positive = (np.array(column) for column in zip(*rows, strict=True))
    pairs = [
        (above > below) + (above == below) / 2
        for above, is_positive in rows
        if is_positive
        for below, is_other in rows
        if not is_other
    ]
    expected = math.fsum(pairs) / len(pairs) if pairs else None
    found = auroc(score, positive)
    assert found == (None if expected is None else pytest.approx(expected, rel=1e-14))


def test_auroc_pinned() -> None:
    positive = np.array([False, False, True, True])
    assert auroc([0.1, 0.4, 0.35, 0.8], positive) == 0.75
    assert auroc([0.1, 0.2, 0.3, 0.4], positive) == 1
    assert auroc([0.4, 0.3, 0.2, 0.1], positive) == 0
    assert auroc([0.5, 0.5, 0.5, 0.5], positive) == 0.5
    assert auroc([0.1, 0.2], np.array([True, True])) is None


@pytest.mark.parametrize("value", [-0.25, 1.25, math.nan, math.inf])
def test_probabilities_out_of_range_are_named(value: float) -> None:
    with pytest.raises(DataError, match=rf"null_probability: \[1\]: {value} is not a finite"):
        fit_threshold([0.5, value], [1, 1], [0, 0])


def test_scores_that_are_not_finite_are_named() -> None:
    with pytest.raises(DataError, match=r"null_score: \[0\]: nan is not") as caught:
        fit_threshold([0.5, 0.5, 0.5], [1, 1, 1], [math.nan, 0, math.nan])
    assert [problem.place for problem in caught.value.problems] == ["[0]", "[2]"]
    with pytest.raises(DataError, match=r"score: \[1\]: inf is not"):
        auroc([0.5, math.inf], np.array([True, False]))


def test_shapes_must_agree() -> None:
    with pytest.raises(DataError, match=r"answer_score: the shape is \(3,\); .* 2 values"):
        fit_threshold([0.5, 0.5], [1, 1, 1], [0, 0])
    with pytest.raises(DataError, match=r"null_probability: the shape is \(0,\)"):
        fit_threshold([], [], [])
    with pytest.raises(DataError, match=r"score: the shape is \(1, 2\)"):
        auroc([[0.5, 0.5]], np.array([True, False]))
    with pytest.raises(DataError, match=r"positive: the shape is \(1,\); .* 2 values"):
        auroc([0.5, 0.5], np.array([True]))
