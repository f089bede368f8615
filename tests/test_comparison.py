"""Two readers beside each other: scores, flips, slices, and chance."""

import pytest

from spanwise.comparison import compare_answers
from spanwise.errors import ConfigError, DataError
from spanwise.intervals import Difference
from spanwise.schema import Example
from tests.conftest import make_colours

EXAMPLES = make_colours(60, seed=3, unanswerable=0.4)
GOLD = {one.id: one.answers[0].text if one.answers else "" for one in EXAMPLES}


def but(count: int, answer: str = "tower") -> dict[str, str]:
    """The gold answers, the first so many replaced."""
    return GOLD | dict.fromkeys(list(GOLD)[:count], answer)


def test_a_better_reader_is_seen_with_its_flips() -> None:
    found = compare_answers(EXAMPLES, but(20), but(4))
    assert found.first["exact"] == pytest.approx(100 * 40 / 60)
    assert found.second["exact"] == pytest.approx(100 * 56 / 60)
    assert found.difference.count == 60
    assert found.difference.exact.value == pytest.approx(100 * 16 / 60)
    assert 0 < found.difference.exact.low < found.difference.exact.high
    assert found.difference.exact.p_value < 0.001
    assert found.gained == tuple(list(GOLD)[4:20])
    assert found.lost == ()


def test_the_other_way_round_is_the_mirror_image() -> None:
    first, second = but(5), GOLD | dict.fromkeys(list(GOLD)[40:43], "lamp")
    forth, back = compare_answers(EXAMPLES, first, second), compare_answers(EXAMPLES, second, first)
    assert (forth.gained, forth.lost) == (back.lost, back.gained)
    assert forth.difference.f1.value == pytest.approx(-back.difference.f1.value)
    assert forth.difference.f1.p_value == back.difference.f1.p_value
    assert forth.difference.f1.p_value > 0.05


def test_a_reader_is_not_better_than_itself() -> None:
    found = compare_answers(EXAMPLES, but(7), but(7))
    assert found.difference.f1 == Difference(0.0, 0.0, 0.0, 1.0)
    assert {one.exact.value for one in found.slices} == {0.0}


def test_slices_begin_with_the_greatest_loss() -> None:
    careless = {key: answer or "tower" for key, answer in GOLD.items()}  # answers everything
    found = compare_answers(EXAMPLES, GOLD, careless)
    assert (found.slices[0].dimension, found.slices[0].label) == ("kind", "unanswerable")
    assert found.slices[0].f1.value == -100.0
    assert sum(one.count for one in found.slices if one.dimension == "kind") == 60
    values = [one.f1.value for one in found.slices]
    assert values == sorted(values)


def test_answers_are_compared_by_the_rules_of_the_language() -> None:
    examples: list[Example] = EXAMPLES[:3]
    first = {one.id: GOLD[one.id] for one in examples}
    second = {one.id: f"der {GOLD[one.id]}".strip() for one in examples}
    assert compare_answers(examples, first, second, language="de").lost == ()
    assert compare_answers(examples, first, second, language="en").lost != ()
    assert compare_answers(examples, first, second).language == "en"
    with pytest.raises(ConfigError, match="'xx'"):
        compare_answers(examples, first, second, language="xx")


def test_what_is_missing_is_wrong_and_what_is_unknown_is_named() -> None:
    first = next(iter(GOLD))
    found = compare_answers(EXAMPLES, GOLD, {k: v for k, v in GOLD.items() if k != first})
    assert found.lost == (first,)
    with pytest.raises(DataError, match="nobody"):
        compare_answers(EXAMPLES, GOLD, GOLD | {"nobody": "red"})
