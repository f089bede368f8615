"""Questions without an answer are made by rule, and none of them has one."""

import random
import re
from dataclasses import replace
from typing import Any

import pytest

from spanwise.errors import ConfigError
from spanwise.schema import Example, Gold
from spanwise.training import FitConfig, NegativesConfig, TrainConfig
from spanwise.training.negatives import (
    _change,
    _names,
    _negate,
    _swap_name,
    _swap_number,
    _swap_opposite,
    _swap_word,
    add_negatives,
)

PARAGRAPHS = [
    "Ada Green built the mill in 1854 for Tom Brown; it burnt down in 1901, three years after him.",
    "The largest bridge was opened before the war by Mary Field, and sold to the town.",
    "Nothing is known of the harbour, though Ada Green wrote of it.",
]


def ask(question: str, answer: str, *, context: str = PARAGRAPHS[0], id_: str = "1") -> Example:
    start = context.index(answer)
    gold = Gold(text=answer, start=start, end=start + len(answer))
    return Example(id=id_, question=question, context=context, title="Mill", answers=(gold,))


EXAMPLES = [
    ask("Who built the mill in 1854?", "Ada Green"),
    ask("When did the mill of Ada Green burn down?", "1901", id_="2"),
    ask("What was opened before the war?", "The largest bridge", context=PARAGRAPHS[1], id_="3"),
    ask("Of what is nothing known?", "the harbour", context=PARAGRAPHS[2], id_="4"),
    replace(ask("Who sold the mill?", "Ada Green", id_="5"), answers=()),
]


def made(kind: str, **config: Any) -> list[Example]:
    found = add_negatives(EXAMPLES, NegativesConfig(**config), seed=0)
    assert found[: len(EXAMPLES)] == EXAMPLES
    assert len({example.id for example in found}) == len(found)
    return [example for example in found if f"#{kind}" in example.id]


def test_by_default_nothing_is_made() -> None:
    assert add_negatives(EXAMPLES, NegativesConfig(), seed=0) == EXAMPLES


def test_unanswerable_questions_are_repeated() -> None:
    again = made("again", repeat=3)
    assert [example.question for example in again] == ["Who sold the mill?"] * 2
    assert all(example.answers == () for example in again)


def test_a_question_is_put_to_a_paragraph_that_does_not_hold_its_answer() -> None:
    foreign = made("foreign", foreign=1.0)
    assert len(foreign) == 4
    for example in foreign:
        (source,) = (e for e in EXAMPLES if e.id == example.id.split("#")[0])
        assert example.question == source.question
        assert example.context in set(PARAGRAPHS) - {source.context}
        assert not any(gold.text in example.context for gold in source.answers or ())
        assert example.answers == ()
    assert len(made("foreign", foreign=0.5)) == 2


def test_a_document_of_one_paragraph_has_no_other() -> None:
    alone = [replace(EXAMPLES[0], title="other")]
    assert add_negatives(alone, NegativesConfig(foreign=1.0), seed=0) == alone


def test_a_question_is_changed_and_its_paragraph_stays() -> None:
    for example in made("changed", changed=1.0):
        (source,) = (e for e in EXAMPLES if e.id == example.id.split("#")[0])
        assert example.context == source.context
        assert example.question != source.question
        assert example.answers == ()


def test_a_number_is_swapped_for_one_of_the_paragraph_or_for_a_slip() -> None:
    seen = {_swap_number(EXAMPLES[0], random.Random(seed)) for seed in range(50)}
    assert "Who built the mill in 1901?" in seen
    assert "Who built the mill in 1854?" not in seen
    for question in seen:
        assert question is not None
        assert re.fullmatch(r"Who built the mill in \d{4}\?", question)
        if "1901" not in question:  # one of the last two digits differs
            assert sum(a != b for a, b in zip("1854", question[-5:-1], strict=True)) == 1
            assert question[-5:-3] == "18"
    asked = ask("What burnt down in 1902?", "the mill")
    seen = {_swap_number(asked, random.Random(seed)) for seed in range(50)}
    assert {"What burnt down in 1901?", "What burnt down in 1854?"} <= seen
    gold = ask("In which year after 1854 did it burn down?", "1901")
    assert "1901" not in {_swap_number(gold, random.Random(seed)) for seed in range(50)}


def test_a_name_is_swapped_for_another_that_is_no_answer() -> None:
    names = ["Ada Green", "Green", "Mary Field", "Tom Brown"]
    seen = {_swap_name(EXAMPLES[1], names, random.Random(seed)) for seed in range(50)}
    assert seen == {
        "When did the mill of Tom Brown burn down?", "When did the mill of Mary Field burn down?"
    }  # fmt: skip
    by_ada = ask("Who had Tom Brown for a friend?", "Ada Green")
    seen = {_swap_name(by_ada, names, random.Random(seed)) for seed in range(50)}
    assert seen == {"Who had Mary Field for a friend?"}
    assert _swap_name(EXAMPLES[0], names, random.Random(0)) is None  # the question has no name


def test_names_of_a_document() -> None:
    text = "We met Ada Green. Then the Mill burnt; a mill of Tom Brown, not I'm or Ada Green's."
    assert _names(text) == ["Ada Green", "Tom Brown"]


def test_a_word_is_swapped_for_one_that_ends_alike() -> None:
    context = "The nation joined the union, and the region signed; they opened a station."
    asked = ask("Which union did the nation join?", "region", context=context)
    seen = {_swap_word(asked, random.Random(seed)) for seed in range(50)}
    assert seen == {
        "Which station did the nation join?", "Which union did the station join?"
    }  # fmt: skip
    assert _swap_word(replace(asked, question="Who was it?"), random.Random(0)) is None


def test_an_opposite_and_a_negation() -> None:
    draw = random.Random(0)
    assert _swap_opposite(EXAMPLES[2], draw) in {
        "What was closed before the war?", "What was opened after the war?"
    }  # fmt: skip
    seen = {_negate(EXAMPLES[2], random.Random(seed)) for seed in range(9)}
    assert seen == {"What was not opened before the war?", "What was never opened before the war?"}
    for question in ("Of what is nothing known?", "Which harbour?", "What did he not see?"):
        assert _negate(replace(EXAMPLES[3], question=question), draw) is None
    assert _change(replace(EXAMPLES[3], question="Which bridge?"), [], draw) is None


def test_a_seed_gives_one_choice() -> None:
    config = NegativesConfig(foreign=0.5, changed=0.5)
    one, same, other = (add_negatives(EXAMPLES, config, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"repeat": 0}, "negatives.repeat is 0: it must be at least 1"),
        ({"foreign": 1.5}, r"negatives.foreign is 1.5: it must be from 0 to 1"),
        ({"changed": -0.1}, r"negatives.changed is -0.1: it must be from 0 to 1"),
    ],
)
def test_shares_that_are_none_are_refused(values: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        TrainConfig(
            model="m", train=("t",), out="o", fit=FitConfig(), negatives=NegativesConfig(**values)
        )
