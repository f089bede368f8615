"""Official scores: hand-worked cases with pinned digits, plain twins, and what is refused."""

import json
import math
import random
import string
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanwise.errors import ConfigError, DataError, FormatError
from spanwise.metrics import (
    Rules,
    exact_match,
    f1,
    load_predictions,
    load_probabilities,
    normalize_answer,
    score_predictions,
)
from spanwise.schema import Example, Gold

WORDS = ["a", "an", "The", "theatre", "U.S.", "don't", "-", "Straße", "1066", "«x»", "x", "_the_"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join)
GOLDS = st.lists(TEXTS, max_size=3)
RULES: tuple[Rules, Rules] = ("1.1", "2.0")


def question(key: str, *golds: str) -> Example:
    answers = tuple(Gold(text=gold, start=0, end=len(gold)) for gold in golds)
    return Example(id=key, question="Which?", context="", answers=answers)


EXAMPLES = (
    question("best gold counts", "Norman", "the Normans"),
    question("partly right", "King William of Normandy"),
    question("abstained", *()),
    question("answered in vain", *()),
    question("gold is an article", "the"),
    question("said an article", *()),
)
ANSWERS = dict(
    zip(
        [example.id for example in EXAMPLES],
        ["The Normans!", "William, the King", "", "1066", "a", "the"],
        strict=True,
    )
)
PROBABILITIES = dict(zip(ANSWERS, [0.1, 0.25, 0.9, 0.3, 0.2, 0.95], strict=True))


def answerable(count: int) -> tuple[list[Example], dict[str, str]]:
    draw = random.Random(5)
    examples = [
        question(str(number), " ".join(draw.choices(WORDS, k=5)), "x " * draw.randint(1, 9))
        for number in range(count)
    ]
    answers = {example.id: " ".join(draw.choices(WORDS, k=4)) for example in examples}
    return examples, answers


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Norman\tConquest.", "norman conquest"),
        ("U.S.", "us"),
        ("the-a", "thea"),  # punctuation goes first, so no article is left
        ("an–a «the»", "– « »"),  # only ASCII punctuation goes
        ("_a_", ""),
        ("éa the\u00a0ä", "éa ä"),
        ("İ", "i̇"),
        (" a an ", ""),
    ],
)
def test_normalisation_pinned(text: str, normal: str) -> None:
    assert normalize_answer(text) == normal


@given(st.text(alphabet=st.sampled_from("aAnNtThHeE. -_'ß\u00a0\u2003é"), max_size=20))
def test_normalisation_equals_a_plain_twin(text: str) -> None:
    kept = "".join(character for character in text.lower() if character not in string.punctuation)
    # An article is a run of letters: what is left of these texts is letters and blanks.
    words = [word for word in kept.split() if word not in {"a", "an", "the"}]
    assert normalize_answer(text) == " ".join(words)


@pytest.mark.parametrize(
    ("text", "gold", "exact", "score"),
    [
        ("The Normans!", "normans", 1, 1.0),
        ("William, the King", "King William of Normandy", 0, 0.6666666666666666),
        ("x x y", "x y y y", 0, 0.5714285714285715),
        ("x y z u v w s", "x", 0, 0.25),
        ("x", "y", 0, 0.0),
        ("", "x", 0, 0.0),
        ("x", "the", 0, 0.0),
    ],
)
def test_exact_match_and_f1_pinned(text: str, gold: str, exact: int, score: float) -> None:
    assert exact_match(text, gold) == exact
    assert [f1(text, gold, rules=rules) for rules in RULES] == [score, score]


def test_rules_differ_where_both_texts_normalise_to_nothing() -> None:
    assert exact_match("a", "the") == 1
    assert (f1("a", "the"), f1("a", "the", rules="1.1")) == (1, 0)
    # An int, as in the script: from Python 3.12 on `sum` rounds ints and floats differently.
    assert type(f1("", "")) is int


@given(TEXTS, TEXTS)
def test_f1_equals_a_plain_twin(text: str, gold: str) -> None:
    said, left = normalize_answer(text).split(), normalize_answer(gold).split()
    total, same = len(said) + len(left), 0
    for word in said:
        if word in left:
            left.remove(word)
            same += 1
    expected = Fraction(2 * same, total) if total else Fraction(1)
    assert f1(text, gold) == pytest.approx(float(expected), rel=1e-14)
    assert f1(gold, text) == pytest.approx(float(expected), rel=1e-14)
    assert f1(text, gold, rules="1.1") == (f1(text, gold) if total else 0)


def test_scores_pinned_under_the_rules_of_2_0() -> None:
    scores = score_predictions(EXAMPLES, ANSWERS)
    assert scores.rules == "2.0"
    assert list(scores.overall.items()) == [
        ("exact", 66.66666666666667),
        ("f1", 77.77777777777777),
        ("total", 6),
        ("HasAns_exact", 66.66666666666667),
        ("HasAns_f1", 88.88888888888887),
        ("HasAns_total", 3),
        ("NoAns_exact", 66.66666666666667),
        ("NoAns_f1", 66.66666666666667),
        ("NoAns_total", 3),
    ]
    assert list(scores.exact.items()) == list(zip(ANSWERS, [1, 0, 1, 0, 1, 1], strict=True))
    assert list(scores.f1.items()) == list(
        zip(ANSWERS, [1, 0.6666666666666666, 1, 0, 1, 1], strict=True)
    )
    assert scores.missing == ()


def test_thresholded_scores_pinned() -> None:
    scores = score_predictions(
        EXAMPLES, ANSWERS, no_answer_probabilities=PROBABILITIES, threshold=0.22
    )
    assert list(scores.overall.items()) == [
        ("exact", 83.33333333333333),
        ("f1", 83.33333333333333),
        ("total", 6),
        ("HasAns_exact", 66.66666666666667),
        ("HasAns_f1", 66.66666666666667),
        ("HasAns_total", 3),
        ("NoAns_exact", 100.0),
        ("NoAns_f1", 100.0),
        ("NoAns_total", 3),
        ("best_exact", 83.33333333333333),
        ("best_exact_thresh", 0.2),
        ("best_f1", 94.44444444444446),
        ("best_f1_thresh", 0.25),
    ]
    assert list(scores.f1.values()) == [1, 0, 1, 1, 1, 1]


def test_scores_pinned_under_the_rules_of_1_1() -> None:
    examples = [example for example in EXAMPLES if example.answers]
    answers = {example.id: ANSWERS[example.id] for example in examples}
    scores = score_predictions(examples, answers)
    assert scores.rules == "1.1"
    assert list(scores.overall.items()) == [
        ("exact", 66.66666666666667),
        ("f1", 55.55555555555555),
        ("total", 3),
        ("HasAns_exact", 66.66666666666667),
        ("HasAns_f1", 55.55555555555555),
        ("HasAns_total", 3),
    ]


def test_the_same_data_by_the_other_rules() -> None:
    examples = [example for example in EXAMPLES if example.answers]
    answers = {example.id: ANSWERS[example.id] for example in examples}
    scores = score_predictions(examples, answers, rules="2.0")
    assert scores.rules == "2.0"
    assert scores.overall["f1"] == 88.88888888888887
    assert "NoAns_total" not in scores.overall


def test_no_questions_with_an_answer_give_no_such_keys() -> None:
    scores = score_predictions([question("x")], {"x": ""})
    assert list(scores.overall) == [
        "exact", "f1", "total", "NoAns_exact", "NoAns_f1", "NoAns_total",
    ]  # fmt: skip


@given(st.lists(st.tuples(GOLDS, TEXTS), min_size=1, max_size=8))
def test_overall_equals_a_plain_twin(rows: list[tuple[list[str], str]]) -> None:
    examples = [question(str(number), *golds) for number, (golds, _) in enumerate(rows)]
    answers = {str(number): text for number, (_, text) in enumerate(rows)}
    scores = score_predictions(examples, answers, rules="2.0")

    def mean(metric: str, rows: Sequence[tuple[list[str], str]]) -> float:
        function = exact_match if metric == "exact" else f1
        best = []
        for golds, text in rows:
            usable = [gold for gold in golds if normalize_answer(gold) != ""]
            best.append(max(function(text, gold) for gold in usable) if usable else f1(text, ""))
        return 100 * math.fsum(best) / len(best)

    groups = {
        "": rows,
        "HasAns_": [row for row in rows if row[0]],
        "NoAns_": [row for row in rows if not row[0]],
    }
    expected = {
        f"{prefix}{metric}": mean(metric, group)
        for prefix, group in groups.items()
        if group
        for metric in ("exact", "f1")
    }
    totals = {f"{prefix}total": len(group) for prefix, group in groups.items() if group}
    assert scores.overall == pytest.approx(expected | totals, rel=1e-12)


@pytest.mark.parametrize("rules", RULES)
def test_f1_is_added_up_as_the_script_does(rules: Rules) -> None:
    examples, answers = answerable(300)
    scores = score_predictions(examples, answers, rules=rules)
    if rules == "2.0":
        total = sum(scores.f1.values())
    else:
        total = 0.0
        for value in scores.f1.values():
            total += value
    assert scores.overall["f1"] == 100.0 * total / 300


def test_threshold_is_passed_only_by_greater_probabilities() -> None:
    pair = [question("x", "yes"), question("y")]
    answers = {"x": "yes", "y": "no"}
    equal = {"x": 0.5, "y": 0.5}
    scores = score_predictions(pair, answers, no_answer_probabilities=equal, threshold=0.5)
    assert scores.exact == {"x": 1, "y": 0}
    greater = {key: math.nextafter(0.5, 1) for key in answers}
    scores = score_predictions(pair, answers, no_answer_probabilities=greater, threshold=0.5)
    assert scores.exact == {"x": 0, "y": 1}


def test_numpy_probabilities_do_not_round_the_threshold() -> None:
    probabilities: dict[str, Any] = {"x": np.float32(0.3)}  # 0.30000001192…
    scores = score_predictions(
        [question("x", "yes")], {"x": "yes"}, no_answer_probabilities=probabilities, threshold=0.3
    )
    assert scores.exact == {"x": 0}


def test_best_scores_within_a_tie_follow_the_order_of_the_probabilities() -> None:
    pair = [question("x", "yes"), question("y")]
    answers = {"x": "yes", "y": "no"}
    first = score_predictions(pair, answers, no_answer_probabilities={"x": 0.5, "y": 0.5})
    assert (first.overall["best_exact"], first.overall["best_exact_thresh"]) == (100.0, 0.5)
    last = score_predictions(pair, answers, no_answer_probabilities={"y": 0.5, "x": 0.5})
    assert (last.overall["best_exact"], last.overall["best_exact_thresh"]) == (50.0, 0.0)


@given(
    st.lists(
        st.tuples(GOLDS, st.sampled_from(["", "x", "x 1066", "U.S."])), min_size=1, max_size=6
    ),
    st.randoms(use_true_random=False),
)
def test_best_scores_are_those_of_the_best_threshold(
    rows: list[tuple[list[str], str]], draw: random.Random
) -> None:
    examples = [question(str(number), *golds) for number, (golds, _) in enumerate(rows)]
    answers = {str(number): text for number, (_, text) in enumerate(rows)}
    steps = draw.sample(range(1, 100), len(rows))
    probabilities = {key: step / 100 for key, step in zip(answers, steps, strict=True)}

    def scores_at(threshold: float) -> dict[str, float]:
        return score_predictions(
            examples,
            answers,
            no_answer_probabilities=probabilities,
            threshold=threshold,
            rules="2.0",
        ).overall

    tried = {threshold: scores_at(threshold) for threshold in (0.0, *probabilities.values())}
    for name in ("exact", "f1"):
        best = max(overall[name] for overall in tried.values())
        found = tried[0.0]
        assert found[f"best_{name}"] == pytest.approx(best, rel=1e-12)
        at_threshold = tried[found[f"best_{name}_thresh"]][name]
        assert at_threshold == pytest.approx(best, rel=1e-12)


def test_missing_predictions_are_wrong_and_reported() -> None:
    answers = {key: text for key, text in ANSWERS.items() if "gold" not in key}
    del answers["abstained"]
    scores = score_predictions(EXAMPLES, answers)
    assert scores.missing == ("best gold counts", "abstained", "gold is an article")
    assert list(scores.exact.values()) == [0, 0, 0, 0, 0, 1]
    assert scores.overall["exact"] == 16.666666666666668
    assert scores.overall["NoAns_exact"] == 33.333333333333336
    assert scores.overall["total"] == 6
    assert scores.official == {"exact": 33.333333333333336, "f1": 55.55555555555555, "total": 3}


def test_missing_predictions_stay_wrong_above_the_threshold() -> None:
    scores = score_predictions(
        [question("x"), question("y")],
        {"x": ""},
        no_answer_probabilities={"x": 0.9, "y": 0.9},
        threshold=0.5,
    )
    assert scores.exact == {"x": 1, "y": 0}
    assert scores.overall["best_exact"] == 50.0


def test_missing_predictions_count_under_1_1_as_in_the_script() -> None:
    pair = [question("x", "yes"), question("y", "no")]
    scores = score_predictions(pair, {"x": "yes"})
    assert scores.official == {"exact": 50.0, "f1": 50.0, "total": 2}
    assert scores.missing == ("y",)


def test_nothing_predicted() -> None:
    scores = score_predictions([question("x")], {})
    assert (scores.overall["exact"], scores.official) == (0.0, {})


def test_nothing_missing_makes_no_difference_to_the_script() -> None:
    scores = score_predictions(
        EXAMPLES, ANSWERS, no_answer_probabilities=PROBABILITIES, threshold=0.22
    )
    assert scores.official == {key: scores.overall[key] for key in ("exact", "f1", "total")}


def test_unknown_ids_are_named_and_counted() -> None:
    strangers = {f"stranger {number}": "" for number in range(23)}
    with pytest.raises(DataError, match=r"predictions: \(id 'stranger 0'\)") as caught:
        score_predictions(EXAMPLES, ANSWERS | strangers)
    assert "'stranger 19'" in str(caught.value)
    assert str(caught.value).endswith("… and 3 more")
    assert [problem.id for problem in caught.value.problems] == list(strangers)


def test_probabilities_belong_to_the_questions() -> None:
    probabilities = {"stranger": 0.5} | PROBABILITIES
    del probabilities["abstained"]
    with pytest.raises(DataError, match=r"no-answer probabilities: \(id 'stranger'\)") as caught:
        score_predictions(EXAMPLES, ANSWERS, no_answer_probabilities=probabilities)
    assert [problem.id for problem in caught.value.problems] == ["stranger", "abstained"]


@pytest.mark.parametrize("value", [-0.5, 1.5, math.nan, math.inf, None, "0.5", True])
def test_probabilities_lie_between_0_and_1(value: float) -> None:
    shown = "null" if value is None else repr(value)
    with pytest.raises(DataError, match=rf"\(id 'abstained'\): {shown} is not a probability"):
        score_predictions(
            EXAMPLES, ANSWERS, no_answer_probabilities=PROBABILITIES | {"abstained": value}
        )


@pytest.mark.parametrize("value", [None, 7, ["x"], b"x"])
def test_predictions_are_text(value: str) -> None:
    with pytest.raises(DataError, match=r"predictions: \(id 'abstained'\): .+ is not text; give"):
        score_predictions(EXAMPLES, ANSWERS | {"abstained": value})


def test_examples_must_be_labelled_and_distinct() -> None:
    unlabelled = Example(id="unlabelled", question="Which?", context="")
    with pytest.raises(DataError, match=r"\(id 'twice'\): 2 questions have this id") as caught:
        score_predictions([question("twice"), question("twice"), unlabelled], {})
    assert "(id 'unlabelled'): is unlabelled, its answers are None" in str(caught.value)
    with pytest.raises(DataError, match="examples: 0 questions"):
        score_predictions([], {})


def test_rules_1_1_need_answers() -> None:
    with pytest.raises(DataError, match=r"\(id 'abstained'\): has no answer, .* rules 2.0"):
        score_predictions(EXAMPLES, ANSWERS, rules="1.1")


def test_settings_that_cannot_work_are_all_named() -> None:
    with pytest.raises(ConfigError, match=r"rules='1.2'") as caught:
        score_predictions(EXAMPLES, ANSWERS, rules="1.2", threshold=-0.5)  # type: ignore[arg-type]
    assert "threshold=-0.5: give a probability" in str(caught.value)
    with pytest.raises(ConfigError, match="threshold=nan"):
        score_predictions(EXAMPLES, ANSWERS, threshold=math.nan)
    with pytest.raises(ConfigError, match=r"threshold=0.5 has nothing to act on"):
        score_predictions(EXAMPLES, ANSWERS, threshold=0.5)


def test_official_files_are_read(tmp_path: Path) -> None:
    predictions, probabilities = tmp_path / "predictions.json", tmp_path / "na_prob.json"
    predictions.write_text('{"x": "Straße", "y": ""}', encoding="utf-8")
    probabilities.write_text('{"y": 1, "x": 0.25}', encoding="utf-8")
    assert load_predictions(predictions) == {"x": "Straße", "y": ""}
    assert list(load_probabilities(str(probabilities)).items()) == [("y", 1), ("x", 0.25)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"x": "a", "y": "b", "x": "c", "x": "c"}', r"\(id 'x'\): stands 3 times"),
        ('{"x": null}', r"\(id 'x'\): null is not text; give the answer, or \"\""),
        ('{"x": {"text": "a"}}', r"\(id 'x'\): {'text': 'a'} is not text"),
        ('{"x": [{"text": "a"}, {"text": "b"}]}', r"\(id 'x'\): \[{'text': 'a'}, .* is not text"),
        ('[{"id": "x"}]', r"\[{'id': 'x'}\] is not an object"),
        ('{"x": "a"', r"not JSON: Expecting ',' delimiter: line 1 column 10"),
        ("\xff", "not JSON: 'utf-8' codec can't decode byte 0xff.*; give {"),
        ("[" * 100_000, "not JSON: maximum recursion depth"),
    ],
)
def test_faulty_prediction_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "dev.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(FormatError, match=rf"dev\.json: {message}"):
        load_predictions(path)


def test_all_faults_of_a_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "na_prob.json"
    path.write_text('{"x": NaN, "y": -3.5, "z": 0.5, "z": 0.5}', encoding="utf-8")
    with pytest.raises(FormatError, match=r"\(id 'x'\): nan is not a probability") as caught:
        load_probabilities(path)
    assert [problem.id for problem in caught.value.problems] == ["z", "x", "y"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"nowhere\.json: No such file or directory; check"):
        load_predictions(tmp_path / "nowhere.json")


def test_overall_is_json() -> None:
    overall = score_predictions(EXAMPLES, ANSWERS, no_answer_probabilities=PROBABILITIES).overall
    assert json.loads(json.dumps(overall, allow_nan=False)) == overall
