"""Fitted probabilities against readers made to measure, and measures against brute force."""

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from spanwise.calibration import (
    answered_at,
    brier,
    calibration_range,
    expected_calibration_error,
    fit_probabilities,
    negative_log_likelihood,
    reliability,
    risk_coverage,
    threshold_for_precision,
)
from spanwise.checkpoints import read_settings, write_settings
from spanwise.errors import ConfigError, DataError
from spanwise.schema import Calibration, ReaderSettings

Array = NDArray[np.float64]

PAIRS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.1, 0.5, 0.9, 1.0]), st.sampled_from([0.0, 1.0])),
    min_size=1,
    max_size=30,
)


def reader(true: Calibration, questions: int = 6000) -> tuple[Array, Array, Array, Array]:
    """Scores of a reader whose probabilities are honest under `true`, and what turned out."""
    random = np.random.default_rng(0)
    score = -np.sort(-random.normal(0, 4, (questions, 5)))
    null = score[:, 0] + random.normal(0, 5, questions)
    span, no_answer = true.probabilities(score, null)
    drawn = random.random(questions)
    turned_out = drawn < span[:, 0], drawn > 1 - no_answer
    return score, null, turned_out[0].astype(np.float64), turned_out[1].astype(np.float64)


def test_where_null_is_known_the_temperature_alone_is_fitted() -> None:
    true = Calibration(temperature=3.0, null_scale=0.6, null_bias=0.4)
    score, null, right, no_answer = reader(true)
    some = no_answer == 0  # as where people mark answers alone
    known = Calibration(temperature=1.5, null_scale=0.3, null_bias=0.4, threshold=0.3)
    found = fit_probabilities(score[some], null[some], right[some], no_answer[some], known=known)
    assert found.temperature == pytest.approx(3.0, rel=0.1)
    assert found.null_scale == pytest.approx(0.3 * found.temperature / 1.5)
    assert (found.null_bias, found.threshold) == (0.4, 0.3)


@pytest.mark.parametrize(
    "true",
    [
        Calibration(),
        Calibration(temperature=2.5),
        Calibration(temperature=0.6, null_scale=0.3, null_bias=-1.0),
        Calibration(temperature=1.5, null_scale=2.0, null_bias=0.7),
    ],
)
def test_what_a_reader_was_made_with_is_found(true: Calibration) -> None:
    found = fit_probabilities(*reader(true))
    assert found.temperature == pytest.approx(true.temperature, rel=0.12)
    assert found.null_scale == pytest.approx(true.null_scale, rel=0.12)
    assert found.null_bias == pytest.approx(true.null_bias, abs=0.15)


def test_fitted_probabilities_are_honest_on_other_questions() -> None:
    true = Calibration(temperature=3.0, null_scale=0.4, null_bias=1.0)
    score, null, right, unanswerable = reader(true)
    found = fit_probabilities(score[:3000], null[:3000], right[:3000], unanswerable[:3000])
    for calibration, honest in ((found, True), (Calibration(), False)):
        spans, nulls = calibration.probabilities(score[3000:], null[3000:])
        for stated, turned_out in ((spans[:, 0], right[3000:]), (nulls, unanswerable[3000:])):
            _, high = calibration_range(stated)
            assert (expected_calibration_error(stated, turned_out) <= 1.2 * high) is honest


def test_without_null_only_the_temperature_is_fitted() -> None:
    score, null, _, _ = reader(Calibration())
    true = Calibration(temperature=2.0)
    nothing = np.full(len(null), -np.inf)
    spans, _ = true.probabilities(score, nothing)
    right = (np.random.default_rng(1).random(len(null)) < spans[:, 0]) * 1.0
    found = fit_probabilities(score, nothing, right, np.zeros(len(null)))
    assert found.temperature == pytest.approx(2.0, rel=0.1)
    assert (found.null_scale, found.null_bias) == (1.0, 0.0)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_margins_that_separate_or_say_nothing_stay_finite(share: float) -> None:
    questions = 50
    score = np.tile([2.0, 1.0], (questions, 1))
    unanswerable: Array = (np.arange(questions) < share * questions).astype(np.float64)
    margins: list[Array] = [20 * unanswerable - 10, -unanswerable, np.zeros(questions)]
    for null in margins:
        found = fit_probabilities(score, null, 1 - unanswerable, unanswerable)
        assert 0 < found.null_scale < np.inf
        _, nulls = found.probabilities(score, null)
        assert nulls.mean() == pytest.approx(share, abs=0.05)


def test_a_margin_that_tells_the_contrary_is_ignored() -> None:
    score, null, right, unanswerable = reader(Calibration())
    mirrored = fit_probabilities(score, null, right, 1 - unanswerable)
    _, nulls = mirrored.probabilities(score, null)
    assert nulls.std() < 0.01
    assert nulls.mean() == pytest.approx(1 - unanswerable.mean(), abs=0.01)


def test_questions_without_a_span_do_not_disturb_the_fit() -> None:
    score, null, right, unanswerable = reader(Calibration(temperature=2.0))
    found = fit_probabilities(score, null, right, unanswerable)
    score, right = score.copy(), right.copy()
    score[:20], right[:20] = -np.inf, 0.0
    assert fit_probabilities(score, null, right, unanswerable).temperature == pytest.approx(
        found.temperature, rel=0.05
    )


def test_probabilities_by_the_definition() -> None:
    calibration = Calibration(temperature=2.0, null_scale=0.5, null_bias=1.5)
    spans, null = calibration.probabilities(np.array([[3.0, 1.0, -np.inf]]), np.array([2.0]))
    margin = 2 / 2 - math.log(math.exp(3 / 2) + math.exp(1 / 2))
    expected = 1 / (1 + math.exp(-(0.5 * margin + 1.5)))
    assert null[0] == pytest.approx(expected)
    odds = math.exp(3 / 2) / (math.exp(3 / 2) + math.exp(1 / 2))
    assert spans[0].tolist() == pytest.approx([
        (1 - expected) * odds, (1 - expected) * (1 - odds), 0.0,
    ])  # fmt: skip


@given(
    st.lists(st.floats(-1e4, 1e4), min_size=0, max_size=4),
    st.one_of(st.just(-math.inf), st.floats(-1e4, 1e4)),
    st.floats(0.05, 20),
    st.floats(1e-3, 10),
    st.floats(-50, 50),
)
def test_probabilities_are_some(
    scores: list[float], null: float, temperature: float, scale: float, bias: float
) -> None:
    calibration = Calibration(temperature=temperature, null_scale=scale, null_bias=bias)
    row = np.full((1, 4), -np.inf)
    row[0, : len(scores)] = sorted(scores, reverse=True)
    spans, nulls = calibration.probabilities(row, np.array([null]))
    total = spans.sum() + nulls[0]
    assert np.all(spans >= 0)
    assert 0 <= nulls[0] <= 1
    if null == -math.inf:
        assert nulls[0] == 0
    assert total == pytest.approx(1.0 if scores or null > -math.inf else 0.0)


def twin_error(pairs: list[tuple[float, float]], bins: int) -> float:
    """Bins of equal mass, by hand."""
    rising = sorted(pairs, key=lambda pair: pair[0])
    bins = min(bins, len(rising))
    ends = [len(rising) * n // bins for n in range(bins + 1)]
    total = 0.0
    for first, last in pairwise(ends):
        part = rising[first:last]
        total += abs(sum(stated - right for stated, right in part))
    return total / len(rising)


@given(PAIRS, st.integers(1, 12))
def test_calibration_error_equals_brute_force(pairs: list[tuple[float, float]], bins: int) -> None:
    confidence, right = zip(*pairs, strict=True)
    assert expected_calibration_error(confidence, right, bins=bins) == pytest.approx(
        twin_error(pairs, bins), abs=1e-12
    )
    found = reliability(confidence, right, bins=bins)
    assert found.count.sum() == len(pairs)
    assert found.count.max() - found.count.min() <= 1


@given(PAIRS)
def test_risk_and_coverage_equal_brute_force(pairs: list[tuple[float, float]]) -> None:
    confidence, right = zip(*pairs, strict=True)
    coverage, risk = risk_coverage(confidence, right)
    expected = []
    for least in sorted({*confidence}, reverse=True):
        answered = [outcome for stated, outcome in pairs if stated >= least]
        wrong = 1 - sum(answered) / len(answered)
        expected.append((len(answered) / len(pairs), wrong))
    assert np.allclose(np.array([coverage, risk]).T, expected)
    for accuracy in (0.5, 0.9, 1.0):
        shares = [share for share, wrong in expected if wrong <= 1 - accuracy + 1e-12]
        assert answered_at(accuracy, confidence, right) == pytest.approx(max(shares, default=0.0))


def test_the_range_is_what_honest_readers_show() -> None:
    confidence = np.random.default_rng(3).random(500)
    low, high = calibration_range(confidence, seed=1)
    random = np.random.default_rng(4)
    errors = [
        expected_calibration_error(confidence, random.random(500) < confidence) for _ in range(400)
    ]
    inside = np.mean([low <= error <= high for error in errors])
    assert 0.92 <= inside <= 0.98
    assert expected_calibration_error(confidence, np.zeros(500)) > high


def test_brier_and_likelihood_by_hand() -> None:
    assert brier([0.8, 0.6], [1, 0]) == pytest.approx((0.04 + 0.36) / 2)
    assert negative_log_likelihood([0.8, 0.6], [1, 0]) == pytest.approx(
        -(math.log(0.8) + math.log(0.4)) / 2
    )
    assert negative_log_likelihood([0.0], [1]) == pytest.approx(-math.log(1e-12))


@given(PAIRS, st.sampled_from([0.2, 0.5, 0.75, 1.0]))
def test_threshold_for_precision_equals_brute_force(
    pairs: list[tuple[float, float]], wanted: float
) -> None:
    null, right = zip(*pairs, strict=True)
    best = 0.0
    for threshold in {*null}:
        answered = [outcome for share, outcome in pairs if share <= threshold]
        if sum(answered) / len(answered) >= wanted - 1e-9:
            best = max(best, len(answered) / len(pairs))
    if not best:
        with pytest.raises(ConfigError, match=f"a precision of {wanted:g} is not reached"):
            threshold_for_precision(null, right, wanted)
        return
    threshold, share = threshold_for_precision(null, right, wanted)
    assert share == pytest.approx(best)
    assert np.mean(np.array(null) <= threshold) == pytest.approx(best)


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(DataError, match=r"confidence: \[1\]: 1.5 is not a finite number"):
        brier([0.5, 1.5], [1, 1])
    with pytest.raises(DataError, match=r"right: the shape is \(1,\); give a flat array of 2"):
        expected_calibration_error([0.5, 0.5], [1])
    with pytest.raises(ConfigError, match=r"the precision wanted is 1\.2; give a share"):
        threshold_for_precision([0.5], [1], 1.2)
    with pytest.raises(
        ConfigError,
        match=r"of 0.9 is not reached at any threshold: the best is 0.500, on the 2 of 3 .* 0.300",
    ):
        threshold_for_precision([0.3, 0.2, 0.6], [1, 0, 0], 0.9)
    with pytest.raises(DataError, match="span_right: the shape is"):
        fit_probabilities(np.zeros((0, 1)), np.zeros(0), [], [])


def test_scale_and_bias_leave_the_order_of_questions() -> None:
    score, null, _, _ = reader(Calibration(), questions=200)
    plain = Calibration().probabilities(score, null)[1]
    other = replace(Calibration(), null_scale=0.1, null_bias=-2.0).probabilities(score, null)[1]
    assert np.array_equal(np.argsort(plain, kind="stable"), np.argsort(other, kind="stable"))


def test_margins_that_differ_by_rounding_alone_are_one() -> None:
    for questions in (3, 7, 10, 49):
        score = np.tile([0.1 + 0.2, 0.1], (questions, 1))
        null = np.full(questions, 0.7) + 1e-16 * np.arange(questions)
        found = fit_probabilities(score, null, np.ones(questions), np.arange(questions) % 2.0)
        assert 1e-6 <= found.null_scale < 10
        assert abs(found.null_bias) < 10


def test_what_is_fitted_can_be_stored_however_far_apart_the_kinds_are(tmp_path: Path) -> None:
    for spread, centre in ((1e-9, 0.0), (1e-7, 20.0), (1e-3, 9e4)):
        positive = np.arange(40) % 2.0
        null = np.asarray(centre + spread * positive, np.float64)
        found = fit_probabilities(np.zeros((40, 1)), null, np.ones(40), positive)
        write_settings(tmp_path, replace(ReaderSettings(), calibration=found))
        assert read_settings(tmp_path) is not None
