"""Bootstrap intervals against known spreads, and paired differences at the edges."""

import tracemalloc
from itertools import product

import numpy as np
import pytest

from spanwise.errors import DataError
from spanwise.intervals import Difference, Interval, bootstrap_mean, paired_bootstrap


@pytest.mark.parametrize("values", ["shares", "floats"])
def test_the_interval_is_that_of_the_mean(values: str) -> None:
    random = np.random.default_rng(1)
    column = (random.random(900) < 0.3) * 1.0 if values == "shares" else random.random(900)
    found = bootstrap_mean(column, seed=3)
    error = column.std() / np.sqrt(len(column))
    assert found.value == column.mean()
    assert found.low == pytest.approx(column.mean() - 1.96 * error, abs=0.2 * error)
    assert found.high == pytest.approx(column.mean() + 1.96 * error, abs=0.2 * error)
    assert bootstrap_mean(column, seed=3) == found
    assert bootstrap_mean(column, seed=4) != found


@pytest.mark.parametrize("digits", [1, 8], ids=["few values", "all differ"])
def test_memory_does_not_grow_with_resamples_times_questions(
    digits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = np.random.default_rng(0).random((2, 400)).round(digits)

    def resample() -> tuple[Interval, Difference]:
        return bootstrap_mean(pair[0], resamples=4000), paired_bootstrap(*pair, resamples=4000)

    at_once = resample()
    monkeypatch.setattr("spanwise.intervals._AT_ONCE", 400 * 7)
    tracemalloc.start()
    try:
        found = resample()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 500_000  # 4,000 x 400 numbers would be 12.8 MB, 4,000 x 20 values 0.6
    for one, other in zip(found, at_once, strict=True):
        assert one == pytest.approx(other)


def test_values_that_are_all_equal_have_no_spread() -> None:
    assert bootstrap_mean([1.0] * 20) == Interval(1.0, 1.0, 1.0)
    assert bootstrap_mean([0.25]) == Interval(0.25, 0.25, 0.25)


def test_pairs_are_compared_as_pairs() -> None:
    """Questions differ far more than readers: unpaired, this difference would drown."""
    random = np.random.default_rng(2)
    hard = random.random(400)
    better = np.minimum(1.0, hard + 0.05 * random.random(400))
    found = paired_bootstrap(better, hard)
    assert found.value == pytest.approx((better - hard).mean())
    assert 0 < found.low < found.value < found.high
    assert found.p_value == 1 / 10_001
    mirrored = paired_bootstrap(hard, better)
    assert mirrored == Difference(-found.value, -found.high, -found.low, found.p_value)


@pytest.mark.parametrize("questions", [1, 3, 10, 150])
def test_a_difference_by_chance_is_seldom_significant(questions: int) -> None:
    random = np.random.default_rng(5)
    values = [paired_bootstrap(*(random.random((2, questions)) < 0.5), resamples=500).p_value
              for _ in range(200)]  # fmt: skip
    assert np.mean(np.array(values) < 0.05) <= 0.08
    if questions == 150:
        assert np.mean(np.array(values) < 0.05) >= 0.01
        assert 0.4 < np.mean(values) < 0.7


def test_p_values_by_trying_all_ways_to_swap() -> None:
    ours, theirs = np.array([1.0, 1, 0.4, 1, 0]), np.array([0.0, 0.5, 0.6, 0, 0])
    differences = ours - theirs
    ways = np.array(list(product([1, -1], repeat=5))) * differences
    exact = np.mean(np.abs(ways.sum(1)) >= differences.sum() - 1e-9)
    assert paired_bootstrap(ours, theirs).p_value == pytest.approx(exact, abs=0.02)


def test_equal_readers_do_not_differ() -> None:
    assert paired_bootstrap([0, 1, 1], [0, 1, 1]) == Difference(0.0, 0.0, 0.0, 1.0)


def test_what_cannot_be_resampled_is_refused() -> None:
    with pytest.raises(DataError, match=r"values: the shape is \(0,\); give a flat array"):
        bootstrap_mean([])
    with pytest.raises(DataError, match=r"theirs: the shape is \(2,\); give .* of 3 values"):
        paired_bootstrap([0, 1, 1], [0, 1])
    with pytest.raises(DataError, match=r"ours: \[1\]: nan is not a finite number"):
        paired_bootstrap([1, np.nan], [0, 1])
