"""From examples to scores and a fitted threshold."""

import math
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from spanwise.backends import FakeBackend
from spanwise.errors import ConfigError, DataError
from spanwise.evaluation import (
    cross_validate,
    evaluate,
    fit_calibration,
    recalibrated,
    report_predictions,
    score_spans,
    slice_scores,
)
from spanwise.reader import Reader
from spanwise.schema import (
    Answer,
    Calibration,
    DecodeSettings,
    Example,
    Gold,
    Prediction,
    ReaderSettings,
)
from spanwise.windows import PairTokenizer
from tests.conftest import make_colours, make_tokenizer


def example(key: str, gold: str = "") -> Example:
    answers = (Gold(text=gold, start=4, end=4 + len(gold)),) if gold else ()
    return Example(id=key, question="which ?", context="the red lamp", answers=answers)


def prediction(key: str, text: str, null: float) -> Prediction:
    answer = Answer(text=text, start=4, end=4 + len(text), score=1.0, probability=1 - null)
    return Prediction(
        id=key,
        answers=(answer,),
        null_score=1.0 + math.log(null / (1 - null)),  # what makes null as probable
        null_probability=null,
        best=answer if null <= 0.5 else None,
        calibrated=False,
    )


EXAMPLES = [example("a", "red"), example("b", "red lamp"), example("c"), example("d")]
PREDICTIONS = [
    prediction("a", "red", 0.1),
    prediction("b", "lamp", 0.3),
    prediction("c", "red", 0.6),
    prediction("d", "red", 0.2),
]


def test_a_calibration_is_judged_on_what_it_was_not_fitted_on() -> None:
    generator = np.random.default_rng(0)
    examples, predictions = [], []
    for number, null in enumerate(generator.uniform(0.05, 0.95, 52)):
        is_null = bool(generator.uniform() < null)
        examples.append(example(f"{number}", "" if is_null else "red"))
        predictions.append(prediction(f"{number}", "red", float(null)))
    fit = partial(fit_calibration, fitted_on="dev.json", language="en")
    found = cross_validate(examples, predictions, fit, settings=ReaderSettings(), language="en")
    parts = []
    for judged in np.array_split(np.arange(52), 5):
        rest = [n for n in range(52) if n not in judged]
        calibration = fit([examples[n] for n in rest], [predictions[n] for n in rest])
        settings = ReaderSettings(calibration=calibration)
        chosen = [predictions[n] for n in judged]
        parts.append(
            report_predictions(
                [examples[n] for n in judged], recalibrated(chosen, calibration), settings=settings
            )
        )
    for name in ("exact", "f1", "brier", "nll"):
        values = [part.overall[name] for part in parts for _ in part.exact]
        assert found[name] == pytest.approx(np.mean(values))
    whole = fit(examples, predictions)
    flattered = report_predictions(
        examples, recalibrated(predictions, whole), settings=ReaderSettings(calibration=whole)
    )
    assert found["nll"] > flattered.overall["nll"]
    assert cross_validate(EXAMPLES, PREDICTIONS, fit, settings=ReaderSettings()) == {}
    strict = partial(fit, target_precision=1.0)
    wrong = [example(f"{n}") for n in range(52)]  # no precision is reached
    assert cross_validate(wrong, predictions, strict, settings=ReaderSettings()) == {}


def test_examples_may_come_from_a_generator() -> None:
    reader = cast("Any", SimpleNamespace(predict=lambda _, **__: PREDICTIONS))
    reader.settings = ReaderSettings()
    assert evaluate(reader, cast("Any", (one for one in EXAMPLES))).overall["total"] == 4


def test_scores_at_a_threshold_by_hand() -> None:
    scores = score_spans(EXAMPLES, PREDICTIONS, threshold=0.5)
    assert scores["exact"] == 50.0  # a is right, c is rightly given up
    assert scores["f1"] == pytest.approx(100 * (1 + 2 / 3 + 1 + 0) / 4)
    assert (scores["HasAns_exact"], scores["NoAns_exact"]) == (50.0, 50.0)
    assert scores["answered"] == 75.0


def test_never_abstaining_does_not_depend_on_the_threshold() -> None:
    for threshold in (0.0, 0.5, 1.0):
        scores = score_spans(EXAMPLES, PREDICTIONS, threshold=threshold)
        assert scores["answerable_exact"] == 50.0
        assert scores["answerable_f1"] == pytest.approx(100 * (1 + 2 / 3) / 2)
        assert scores["auroc"] == 0.75  # c above a and b; d above a, below b


def test_one_kind_of_question_has_no_auroc() -> None:
    scores = score_spans(EXAMPLES[:2], PREDICTIONS[:2], threshold=0.5)
    assert "auroc" not in scores
    assert "answerable_f1" not in score_spans(EXAMPLES[2:], PREDICTIONS[2:], threshold=0.5)


def test_the_fitted_threshold_has_the_best_f1_of_all() -> None:
    calibration = fit_calibration(EXAMPLES, PREDICTIONS, fitted_on="dev.json")
    assert calibration.fitted_on == "dev.json"
    fitted = recalibrated(PREDICTIONS, calibration)
    best = score_spans(EXAMPLES, fitted, threshold=calibration.threshold)["f1"]
    others = [score_spans(EXAMPLES, fitted, threshold=t / 100)["f1"] for t in range(101)]
    assert math.isclose(best, max(others))


def test_the_fitted_threshold_has_the_precision_asked_for() -> None:
    calibration = fit_calibration(EXAMPLES, PREDICTIONS, fitted_on="dev.json", target_precision=1)
    fitted = recalibrated(PREDICTIONS, calibration)
    assert [p.best is not None for p in fitted] == [True, False, False, False]
    with pytest.raises(ConfigError, match=r"a precision of 0\.9 is not reached"):
        fit_calibration(EXAMPLES[1:], PREDICTIONS[1:], fitted_on="", target_precision=0.9)


def test_other_calibrations_need_no_second_reading() -> None:
    """As a decoder that had the calibration from the start would say it."""
    other = Calibration(
        temperature=1.7, null_scale=0.6, null_bias=-0.4, threshold=0.35, fitted_on="dev.json"
    )
    examples = make_colours(20, seed=1, unanswerable=0.5)
    for use_null in (True, False):
        plain, wanted = (read(examples, one, use_null=use_null) for one in (Calibration(), other))
        found = recalibrated(plain, other, use_null=use_null)
        assert {p.best is None for p in wanted} == ({True, False} if use_null else {False})
        for ours, theirs in zip(found, wanted, strict=True):
            assert ours == theirs
        assert recalibrated(found, Calibration(), use_null=use_null) == plain


def read(examples: list[Example], calibration: Calibration, *, use_null: bool) -> list[Prediction]:
    """What a reader says that takes words for answers which are none."""
    tokenizer = PairTokenizer(make_tokenizer(), {"cls_token": "[CLS]", "pad_token": "[PAD]"})
    scores = {"red": 3.0, "green": 2.5, "blue": 1.0, "the": 0.5, "lamp": 0.3}
    settings = ReaderSettings(
        calibration=calibration, decode=DecodeSettings(n_best=4, use_null=use_null)
    )
    return Reader(FakeBackend(scores, tokenizer, null=1.5), tokenizer, settings).predict(examples)


def test_a_report_says_what_probabilities_are_worth() -> None:
    reader = cast("Any", SimpleNamespace(predict=lambda *_, **__: PREDICTIONS))
    reader.settings = ReaderSettings()
    report = evaluate(reader, EXAMPLES)
    assert list(report.exact) == [1, 0, 1, 0]
    assert list(report.f1) == pytest.approx([1, 2 / 3, 1, 0])
    assert list(report.span_exact) == [1, 0, 0, 0]
    overall = report.overall
    confidence, right = [0.9, 0.7, 0.6, 0.8], [1, 0, 1, 0]  # of c: that of null
    gaps = [abs(stated - was) for stated, was in zip(confidence, right, strict=True)]
    assert overall["ece"] == pytest.approx(sum(gaps) / 4)  # every question is a bin of its own
    assert overall["ece_uncalibrated"] == pytest.approx(overall["ece"])
    assert overall["brier"] == pytest.approx(sum(gap**2 for gap in gaps) / 4)
    assert 0 <= overall["ece_low"] < overall["ece_high"]
    assert overall["exact_low"] <= overall["exact"] <= overall["exact_high"]
    assert overall["f1_low"] < overall["f1"] < overall["f1_high"]
    assert overall["answered_at_80"] == overall["answered_at_90"] == 25.0  # a alone


def test_calibration_error_before_is_of_the_same_decisions() -> None:
    calibration = Calibration(temperature=3.0, null_bias=-2.0, threshold=0.1, fitted_on="dev")
    predictions = recalibrated(PREDICTIONS, calibration)
    report = report_predictions(
        EXAMPLES, predictions, settings=ReaderSettings(calibration=calibration)
    )
    plain = [
        p.answers[0].probability if new.best else p.null_probability
        for p, new in zip(PREDICTIONS, predictions, strict=True)
    ]
    gaps = [abs(stated - was) for stated, was in zip(plain, report.exact, strict=True)]
    assert report.overall["ece_uncalibrated"] == pytest.approx(sum(gaps) / 4)
    assert report.overall["ece"] != report.overall["ece_uncalibrated"]


def test_slices_are_scored_worst_first() -> None:
    report = report_predictions(EXAMPLES, PREDICTIONS, settings=ReaderSettings())
    labels = {"colour": ("red", "red", "blue", ""), "size": ("big",) * 4}
    found = slice_scores(labels, report)
    assert [(one.dimension, one.label, one.count) for one in found] == [
        ("size", "big", 4), ("colour", "red", 2), ("colour", "blue", 1),
    ]  # fmt: skip
    assert found[1].f1.value == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert found[1].exact.value == 50.0
    assert [one.count for one in slice_scores(labels, report, fewest=2)] == [4, 2]


def test_a_question_without_any_span_counts_as_given_up() -> None:
    empty = Prediction(
        id="c", answers=(), null_score=0.0, null_probability=1.0, best=None, calibrated=False
    )
    scores = score_spans(EXAMPLES[2:3], [empty], threshold=0.5)
    assert scores["exact"] == 100.0


def test_unlabelled_examples_are_named() -> None:
    unlabelled = Example(id="x7", question="which ?", context="the red lamp")
    with pytest.raises(DataError, match="x7"):
        score_spans([unlabelled], [prediction("x7", "red", 0.1)], threshold=0.5)
    reads_nothing = cast(Any, SimpleNamespace())  # they are looked at first
    with pytest.raises(DataError, match="x7"):
        evaluate(reads_nothing, [unlabelled])


@pytest.mark.parametrize("predictions", [PREDICTIONS[::-1], PREDICTIONS[:3], []])
def test_predictions_of_other_questions_are_refused(predictions: list[Prediction]) -> None:
    told = f"{len(predictions)} predictions are not those of the 4 examples"
    with pytest.raises(DataError, match=told):
        report_predictions(EXAMPLES, predictions, settings=ReaderSettings())
    with pytest.raises(DataError, match=told):
        fit_calibration(EXAMPLES, predictions, fitted_on="dev.json")
