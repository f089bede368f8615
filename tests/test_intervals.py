"""Bootstrap intervals against known spreads, and paired differences at the edges."""

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


def test_memory_does_not_grow_with_resamples_times_questions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    column = np.random.default_rng(0).random(50)
    at_once = bootstrap_mean(column, resamples=200)
    monkeypatch.setattr("spanwise.intervals._AT_ONCE", 50 * 7)
    assert bootstrap_mean(column, resamples=200) == pytest.approx(at_once)


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
    with pytest.raises(DataError, match="3 and 2 questions; compare the same ones"):
        paired_bootstrap([0, 1, 1], [0, 1])
