"""Questions by kind: words, lengths, places, documents; and what has only one kind is left out."""

import pytest

from spanwise.schema import Example, Gold
from spanwise.slices import slice_questions


def asked(question: str, *, answer: str = "", start: int = 0, title: str = "") -> Example:
    golds = (Gold(text=answer, start=start, end=start + len(answer)),) if answer else ()
    return Example(id=question, question=question, context="x" * 100, title=title, answers=golds)


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("How many towers are there?", "how many"),
        ("How did it end?", "how"),
        ("In WHICH year?", "which"),
        ("To whom was it given?", "who"),
        ("Whose was it?", "who"),
        ("He showed what?", "what"),  # "showed" holds "how"
        ("Name the tower.", "none"),
    ],
)
def test_question_words(question: str, word: str) -> None:
    examples = [asked(question), asked("Why?")]
    assert slice_questions(examples)["question word"] == (word, "why")
    assert "question word" not in slice_questions(examples, language="de")


def test_lengths_fall_into_quarters_of_the_data() -> None:
    examples = [asked("w" * length) for length in (1, 2, 3, 4, 5, 6, 7, 8)]
    labels = slice_questions(examples)["question characters"]
    assert labels == tuple(f"{low}–{low + 1}" for low in (1, 3, 5, 7) for _ in range(2))


def test_lengths_that_repeat_make_fewer_quarters() -> None:
    examples = [asked("w" * length) for length in (4, 4, 4, 4, 4, 9)]
    labels = slice_questions(examples)["question characters"]
    assert labels == ("4",) * 5 + ("5–9",)


def test_answers_have_a_length_and_a_place() -> None:
    examples = [
        asked("a", answer="xx", start=0),
        asked("b", answer="xxxx", start=49),
        asked("c", answer="x", start=99),
        asked("d"),
    ]
    labels = slice_questions(examples)
    assert labels["answer position"] == (
        "first quarter", "second quarter", "last quarter", "",
    )  # fmt: skip
    assert labels["answer characters"][3] == ""
    assert len({*labels["answer characters"]}) == 4
    assert labels["kind"] == ("answerable",) * 3 + ("unanswerable",)


def test_windows_and_documents() -> None:
    examples = [
        asked(name, title=title) for name, title in zip("abcd", ["A", "B", "", "A"], strict=True)
    ]
    labels = slice_questions(examples, windows=[1, 2, 3, 9])
    assert labels["windows"] == ("1 window", "2 windows", "3 windows", "4 windows or more")
    assert labels["document"] == ("A", "B", "", "A")


def test_what_does_not_tell_questions_apart_is_left_out() -> None:
    examples = [asked("Who?", title="A"), asked("Who!", title="A")]
    assert slice_questions(examples, windows=[1, 1]) == {}
