"""What is written is read again as it was, and a file is whole or not there."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spanwise.corpus import read_examples, scan_examples, write_examples
from spanwise.errors import ConfigError, FormatError
from spanwise.schema import Example, Gold

Form = Literal["squad", "jsonl"]
FORMS: tuple[Form, ...] = ("squad", "jsonl")


def visible(**limits: Any) -> st.SearchStrategy[str]:
    return st.text(**limits).filter(lambda text: text.strip() != "")


@st.composite
def splits(draw: st.DrawFn) -> list[Example]:
    """Few contexts and titles, so that they come again; answers in place and out of it."""
    contexts = draw(st.lists(visible(min_size=1, max_size=20), min_size=1, max_size=3))
    ids = draw(st.lists(visible(min_size=1, max_size=8), unique=True, min_size=1, max_size=6))
    return [draw(examples(name, draw(st.sampled_from(contexts)))) for name in ids]


@st.composite
def examples(draw: st.DrawFn, name: str, context: str) -> Example:
    starts = st.integers(-3, len(context) + 3) | st.integers(-(2**53) + 1, 2**53 - 1)
    placed = st.integers(0, len(context) - 1).map(lambda at: (context[at:], at))
    pairs = (st.tuples(visible(min_size=1, max_size=4), starts) | placed).filter(
        lambda pair: pair[0].strip() != ""
    )
    golds = pairs.map(lambda pair: Gold(text=pair[0], start=pair[1], end=pair[1] + len(pair[0])))
    return Example(
        id=name,
        question=draw(visible(min_size=1, max_size=20)),
        context=context,
        title=draw(st.sampled_from(["", "a", "b\r\n"])),
        answers=draw(st.none() | st.lists(golds, max_size=3).map(tuple)),
    )


@given(splits(), st.sampled_from(FORMS))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)
def test_reading_gives_back_what_was_written(
    tmp_path: Path, written: list[Example], form: Form
) -> None:
    path = tmp_path / "out"
    write_examples(path, written, form=form)
    first = scan_examples(path)
    assert first.examples == tuple(written)
    assert all(problem.alignment for problem in first.problems)
    write_examples(path, first.examples, form=form)
    assert scan_examples(path).examples == tuple(written)


def example(name: str, *, title: str = "t", context: str = "c") -> Example:
    return Example(id=name, question="q?", context=context, title=title, answers=())


def test_squad_is_grouped_by_title_and_context_and_order_is_restored(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.json"
    mixed = [
        example("0", context="one"),
        example("1", context="two"),
        example("2", title="u", context="one"),
        example("3", context="one"),
        example("4", context="two"),
    ]
    write_examples(path, mixed, form="squad")
    data = json.loads(path.read_text())["data"]
    grouped = [
        (article["title"], paragraph["context"], [question["id"] for question in paragraph["qas"]])
        for article in data
        for paragraph in article["paragraphs"]
    ]
    assert grouped == [("t", "one", ["0", "3"]), ("t", "two", ["1", "4"]), ("u", "one", ["2"])]
    assert list(read_examples(path)) == mixed
    # A question that someone adds by hand has no place in the old order: the file's order holds.
    data[0]["paragraphs"][0]["qas"].append({"id": "new", "question": "q?"})
    path.write_text(json.dumps({"data": data}))
    assert [one.id for one in read_examples(path)] == ["0", "3", "new", "1", "4", "2"]


def test_order_is_restored_among_the_usable(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    mixed = [example(str(n), context="ab"[n % 2]) for n in range(6)]
    write_examples(path, mixed, form="squad")
    document = json.loads(path.read_text())
    document["data"][0]["paragraphs"][0]["qas"][1]["question"] = ""
    path.write_text(json.dumps(document))
    assert [one.id for one in scan_examples(path).examples] == ["0", "1", "3", "4", "5"]


def test_squad_is_what_others_expect(tmp_path: Path) -> None:
    gold = Gold(text="c", start=0, end=1)
    labelled = Example(id="a", question="q?", context="c", answers=(gold,))
    unlabelled = Example(id="b", question="q?", context="c")
    path = tmp_path / "out.json"
    write_examples(path, [labelled, unlabelled], form="squad")
    document = json.loads(path.read_text())
    assert document["version"] == "1.1"
    assert document["data"][0]["paragraphs"][0]["qas"] == [
        {"id": "a", "question": "q?", "answers": [{"text": "c", "answer_start": 0}]},
        {"id": "b", "question": "q?"},
    ]
    write_examples(path, [labelled, example("u", title="")], form="squad")
    document = json.loads(path.read_text())
    assert document["version"] == "v2.0"
    impossible = [one["is_impossible"] for one in document["data"][0]["paragraphs"][0]["qas"]]
    assert impossible == [False, True]


def test_jsonl_is_one_row_a_line(tmp_path: Path) -> None:
    gold = Gold(text="ç\u2028", start=0, end=2)
    one = Example(id="a", question="q?\n", context="ç\u2028", title="t", answers=(gold,))
    write_examples(tmp_path / "out.jsonl", [one, example("b")], form="jsonl")
    data = (tmp_path / "out.jsonl").read_bytes()
    first, second, rest = data.decode().split("\n")
    assert json.loads(first) == {
        "id": "a",
        "title": "t",
        "context": "ç\u2028",
        "question": "q?\n",
        "answers": {"text": ["ç\u2028"], "answer_start": [0]},
    }
    assert json.loads(second)["answers"] == {"text": [], "answer_start": []}
    assert rest == ""


@pytest.mark.parametrize("form", FORMS)
def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Form
) -> None:
    path = tmp_path / "out"
    write_examples(path, [example("old")], form=form)

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left on device"):
        write_examples(path, [example("new")], form=form)
    assert [one.id for one in read_examples(path)] == ["old"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("form", FORMS)
def test_lone_surrogates_are_refused_before_anything_is_written(tmp_path: Path, form: Form) -> None:
    with pytest.raises(FormatError, match=r"out: cannot be written: .* around .*ab\\ud800"):
        write_examples(tmp_path / "out", [example("x", context="ab\ud800")], form=form)
    assert list(tmp_path.iterdir()) == []


def test_other_forms_are_refused(tmp_path: Path) -> None:
    form: Any = "csv"
    with pytest.raises(ConfigError, match="form: 'csv' is none of squad, jsonl"):
        write_examples(tmp_path / "out.csv", [], form=form)
