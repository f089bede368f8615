"""From examples to scores and a fitted threshold."""

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest

from spanwise.errors import DataError
from spanwise.evaluation import evaluate, fit_calibration, score_spans
from spanwise.schema import Answer, Example, Gold, Prediction, ReaderSettings


def example(key: str, gold: str = "") -> Example:
    answers = (Gold(text=gold, start=4, end=4 + len(gold)),) if gold else ()
    return Example(id=key, question="which ?", context="the red lamp", answers=answers)


def prediction(key: str, text: str, null: float) -> Prediction:
    answer = Answer(text=text, start=4, end=4 + len(text), score=1.0, probability=1 - null)
    return Prediction(
        id=key,
        answers=(answer,),
        null_score=0.0,
        null_probability=null,
        best=answer,
        calibrated=False,
    )


EXAMPLES = [example("a", "red"), example("b", "red lamp"), example("c"), example("d")]
PREDICTIONS = [
    prediction("a", "red", 0.1),
    prediction("b", "lamp", 0.3),
    prediction("c", "red", 0.6),
    prediction("d", "red", 0.2),
]


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
    fitted = score_spans(EXAMPLES, PREDICTIONS, threshold=calibration.threshold)["f1"]
    others = [score_spans(EXAMPLES, PREDICTIONS, threshold=t / 100)["f1"] for t in range(101)]
    assert math.isclose(fitted, max(others))


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
