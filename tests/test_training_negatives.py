"""Questions are made by rule: those without an answer have none, those with one have the same."""

import random
from dataclasses import replace
from typing import Any

import pytest

from spanwise.errors import ConfigError
from spanwise.schema import Example, Gold
from spanwise.training import FitConfig, NegativesConfig, TrainConfig
from spanwise.training.negatives import (
    _choose,
    _Document,
    _remove_sentence,
    _swap,
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


def made(kind: str, seed: int = 0, **config: Any) -> list[Example]:
    found = add_negatives(EXAMPLES, NegativesConfig(**config), seed=seed)
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


def test_what_the_data_answers_is_not_said_to_have_no_answer() -> None:
    rooms = [
        ask(
            "How is the room?",
            f"{number} and dark",
            context=f"We stayed {number} nights by the sea. The room was {number} and dark.",
            id_=number,
        )
        for number in "89"
    ]
    facts = "Last year Ada Green visited Rome in spring. Then Bob Stone visited Paris in autumn."
    rooms += [
        ask(f"Who visited {city}?", who, context=facts, id_=city)
        for city, who in (("Rome", "Ada Green"), ("Paris", "Bob Stone"))
    ]
    known = {(example.question, example.context) for example in rooms}
    for seed in range(20):
        made = add_negatives(rooms, NegativesConfig(foreign=1.0, exchanged=1.0), seed=seed)
        none = [(one.question, one.context) for one in made if not one.answers]
        assert not {*none} & known


def test_an_answer_stands_where_it_has_another_article() -> None:
    rest = "every morning before she went to work, and again in the evening when all was quiet"
    for again, is_left in ("harp", False), ("Harps", False), ("the organ", True):
        context = f"Ada Green played the harp. She practised {again} {rest} in the town by the sea."
        found = _remove_sentence(ask("What did Ada Green play?", "the harp", context=context))
        assert (found is not None) == is_left


def test_a_document_of_one_paragraph_has_no_other() -> None:
    alone = [replace(EXAMPLES[0], title="other")]
    assert add_negatives(alone, NegativesConfig(foreign=1.0), seed=0) == alone


def test_a_paragraph_loses_the_sentence_of_the_answer() -> None:
    context = (
        "The mill stands by the river, where the town has had one since the days of the duke. "
        "It was built in 1854. Mr. Brown (a friend of hers) owned it! Its wheel is still there."
    )
    asked = ask("When was it built?", "1854", context=context)
    removed = _remove_sentence(asked)
    assert removed is not None
    assert removed.context == context.replace("It was built in 1854. ", "")
    assert (removed.question, removed.answers) == (asked.question, ())
    twice = replace(asked, context=context + " In 1854 it rained.")
    assert _remove_sentence(twice) is None  # it stands elsewhere too
    assert _remove_sentence(EXAMPLES[0]) is None  # nothing is left
    assert [e.id for e in add_negatives([asked], NegativesConfig(removed=1.0), seed=0)] == [
        "1", "1#removed"
    ]  # fmt: skip


def test_an_exchange_on_one_side_leaves_no_answer_and_on_both_sides_the_same() -> None:
    for example in made("exchanged", exchanged=1.0):
        (source,) = (e for e in EXAMPLES if e.id == example.id.split("#")[0])
        assert (example.context == source.context) != (example.question == source.question)
        assert example.answers == ()
    renamed = [e for seed in range(40) for e in made("renamed", exchanged=1.0, seed=seed)]
    assert len(renamed) > 10
    for example in renamed:
        (source,) = (e for e in EXAMPLES if e.id == example.id.split("#")[0])
        assert example.context != source.context
        assert example.question != source.question
        assert [gold.text for gold in example.answers or ()] == [
            gold.text for gold in source.answers or ()
        ]
        for gold in example.answers or ():
            assert example.context[gold.start : gold.end] == gold.text
    assert len({example.context for example in renamed}) >= 3


def test_what_is_exchanged() -> None:
    document = _Document()
    for paragraph in [*PARAGRAPHS, "In 1777 and 17 the nation met Ian Grey by the station."]:
        document.add(paragraph)

    def pairs(example: Example) -> set[tuple[str, str] | None]:
        return {_choose(example, document, random.Random(seed)) for seed in range(60)}

    assert pairs(EXAMPLES[0]) == {("1854", "1901"), ("1854", "1777")}  # no 17, and a year is none
    assert pairs(EXAMPLES[1]) == {
        ("Ada Green", "Tom Brown"), ("Ada Green", "Mary Field"), ("Ada Green", "Ian Grey")
    }  # fmt: skip
    assert pairs(ask("What did Tom Brown own?", "Brown")) == {None}  # nor what has the answer in it
    assert pairs(ask("Who?", "Ada Green")) == {None}
    union = "The nation joined the union, and the region signed; they opened a station."
    document.add(union)
    words = ask("Which union did the nation join?", "region", context=union)
    assert pairs(words) - {None} == {("union", "station"), ("nation", "station")}


def test_exchanged_texts_change_places() -> None:
    text = "Ada met Tom; Tom and Adam left Ada in May."
    golds = [Gold(text=word, start=text.index(word), end=text.index(word) + len(word))
             for word in ("met", "left", "May")]  # fmt: skip
    swapped, moved = _swap(text, ("Ada", "Thomas"), golds)
    assert swapped == "Thomas met Tom; Tom and Adam left Thomas in May."
    assert [swapped[gold.start : gold.end] for gold in moved] == ["met", "left", "May"]
    assert _swap(swapped, ("Ada", "Thomas"), moved) == (text, tuple(golds))
    assert _swap(text, ("Ada", "Tom"))[0] == "Tom met Ada; Ada and Adam left Tom in May."


def test_a_mill_that_is_also_written_small_is_no_name() -> None:
    document = _Document()
    document.add("We met Ada Green. Then the Mill burnt; a mill of Tom Brown.")
    assert document.all["name"] == ["Ada Green", "Tom Brown"]


def test_a_paragraph_may_belong_to_two_documents() -> None:
    twice = [EXAMPLES[0], replace(EXAMPLES[1], title="Fire")]
    config = NegativesConfig(exchanged=1.0, foreign=1.0, removed=1.0)
    assert len(add_negatives(twice, config, seed=0)) > 2


def test_a_seed_gives_one_choice() -> None:
    config = NegativesConfig(foreign=0.5, exchanged=0.5)
    one, same, other = (add_negatives(EXAMPLES, config, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"repeat": 0}, "negatives.repeat is 0: it must be at least 1"),
        ({"foreign": 1.5}, r"negatives.foreign is 1.5: it must be from 0 to 1"),
        ({"exchanged": -0.1}, r"negatives.exchanged is -0.1: it must be from 0 to 1"),
        ({"removed": 2}, r"negatives.removed is 2: it must be from 0 to 1"),
    ],
)
def test_shares_that_are_none_are_refused(values: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        TrainConfig(
            model="m", train=("t",), out="o", fit=FitConfig(), negatives=NegativesConfig(**values)
        )
