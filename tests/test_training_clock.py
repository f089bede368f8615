"""A run keeps to its time, with scoring and saving counted in."""

import math

import pytest

from spanwise.training import clock as clock_module
from spanwise.training.clock import Clock


class Hand:
    """A clock's hand that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    moved = Hand()
    monkeypatch.setattr(clock_module, "time", moved)
    return moved


def test_what_comes_before_the_steps_and_after_them_counts(hand: Hand) -> None:
    clock = Clock(2)
    hand.seconds += 30  # reading and cutting
    clock.reserve = 10
    clock.start_steps()
    assert clock.is_limited
    assert (clock.elapsed(), clock.stepping(), clock.left()) == (30, 0, 80)
    assert clock.share() == 0
    hand.seconds += 20
    assert (clock.elapsed(), clock.stepping(), clock.left()) == (50, 20, 60)
    assert clock.share() == 0.25
    clock.reserve = 30  # scoring took longer than was foreseen
    assert clock.left() == 40
    assert clock.share() == pytest.approx(1 / 3)
    hand.seconds += 45
    assert clock.left() == -5
    assert clock.share() == 1


def test_a_run_may_have_begun_before_its_clock(hand: Hand) -> None:
    clock = Clock(1, began=hand.seconds - 20)
    assert clock.elapsed() == 20
    assert clock.left() == 40


def test_without_a_limit_nothing_is_used_up(hand: Hand) -> None:
    clock = Clock(None)
    clock.start_steps()
    hand.seconds += 10_000
    assert not clock.is_limited
    assert clock.left() == math.inf
    assert clock.share() == 0
    assert clock.elapsed() == 10_000


def test_a_run_that_goes_on_counts_what_it_has_used(hand: Hand) -> None:
    clock = Clock(2)
    hand.seconds += 5
    clock.go_on(elapsed=50, stepping=20)
    clock.start_steps()
    assert (clock.elapsed(), clock.stepping(), clock.left()) == (55, 20, 65)
    hand.seconds += 5
    assert (clock.elapsed(), clock.stepping(), clock.left()) == (60, 25, 60)
