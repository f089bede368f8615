"""The benchmarks notice when the two sides disagree, and the document shows what was measured."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks import inputs, run, usual_way
from benchmarks.measure import compare, interleave
from benchmarks.rows import cutting, shared
from transformers import AutoTokenizer

from spanwise import Example, PairTokenizer, make_windows


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return inputs.one_answer(inputs.spread_out(inputs.read_data(None), 40))


def test_the_usual_windows_are_ours_and_a_difference_is_noticed(examples: list[Example]) -> None:
    folder = str(inputs.encoder())
    features = usual_way.make_features(
        usual_way.to_rows(examples), AutoTokenizer.from_pretrained(folder)
    )
    cut = make_windows(examples, PairTokenizer.from_folder(folder), shared.WINDOW)
    cutting.check_windows(cut, features)
    moved = replace(cut, last=cut.last + 1)
    with pytest.raises(shared.DisagreementError, match="window 0 differs"):
        cutting.check_windows(moved, features)
    with pytest.raises(shared.DisagreementError, match=r"40 windows of ours, 39 of the usual way"):
        cutting.check_windows(cut, features.select(range(39)))


def test_the_usual_answers_are_the_best_spans(examples: list[Example]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(str(inputs.encoder()))
    features = list(usual_way.make_features(usual_way.to_rows(examples), tokenizer))
    logits = np.zeros((2, len(features), usual_way.MAX_LENGTH), np.float32)
    for window, feature in enumerate(features):
        logits[0, window, feature["start_positions"]] = 5
        logits[1, window, feature["end_positions"]] = 5
    answers = usual_way.answer_questions(examples, features, *logits)
    golds = {e.id: e.answers[0].text if e.answers else "" for e in examples}
    assert any(golds.values())
    assert answers == golds


def test_copies_of_the_sample_share_no_text() -> None:
    every = inputs.read_data(None)
    assert len(every) > 10_000
    assert len({example.id for example in every}) == len(every)
    contexts = {example.context for example in every}
    assert len(contexts) > 20 * len({example.context for example in every[:473]})
    for example in every[473:500]:
        for gold in example.answers or ():
            assert example.context[gold.start : gold.end] == gold.text


def test_sides_take_turns_and_ratios_are_of_neighbours() -> None:
    calls: list[str] = []

    def side(name: str, seconds: list[float]) -> float:
        calls.append(name)
        return seconds.pop(0)

    usual, ours = [9.0, 4.0, 8.0], [9.0, 2.0, 1.0]
    rates = interleave(
        {"usual": lambda: side("usual", usual), "ours": lambda: side("ours", ours)},
        amount=8,
        repeats=2,
    )
    assert calls == ["usual", "ours"] * 3
    assert rates == {"usual": [2, 1], "ours": [4, 8]}  # the first round does not count
    ratio = compare(rates, "ours")["ratio"]
    assert (ratio.median, ratio.least, ratio.most) == (5, 2, 8)


def test_the_document_shows_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = run.DOCUMENT.read_text(encoding="utf-8")
    copy = tmp_path / "performance.md"
    copy.write_text(document, encoding="utf-8")
    monkeypatch.setattr(run, "DOCUMENT", copy)
    run.write_table()
    assert copy.read_text(encoding="utf-8") == document
    for file in run.RESULTS.glob("*.json"):
        for entry in json.loads(file.read_text(encoding="utf-8"))["results"]:
            assert f"| {entry['what']} |" in copy.read_text(encoding="utf-8")
