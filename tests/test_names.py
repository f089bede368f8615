"""Names and numbers of a question that a text lacks."""

import pytest

from spanwise.names import missing_names

TEXT = "In 1854 the engineers of ADA Green's firm sold 3,500 mills to Zürich."


@pytest.mark.parametrize(
    ("question", "missing"),
    [
        ("Who sold the mills?", 0),
        ("How many mills did Ada Green sell in 1854?", 0),
        ("How many mills did Ada Brown sell in 1855?", 2),
        ("Did the firm of Green sell 3,500 or 3,600?", 1),
        ("Did Brown & Brown sell mills to BROWN?", 1),  # each once
        ("Brown's mills were sold to whom?", 0),  # the first word has a capital anyway
        ("What does Ada think of I and X?", 0),  # single letters are no names
        ("Was it sold to ZÜRICH or to Örebro?", 1),
        ("WHO BUILT THE MILLS IN 1854?", 0),  # capitals say nothing here
        ("WHO BUILT THE MILLS IN 1855?", 1),
        ("", 0),
        ("?", 0),
    ],
)
def test_names_are_counted_that_a_text_lacks(question: str, missing: int) -> None:
    assert missing_names(question, TEXT) == missing


def test_scripts_without_capitals_have_numbers_alone() -> None:
    assert missing_names("磨坊1854年在哪里建成?", "磨坊建于1855年") == 1
    assert missing_names("磨坊在哪里建成?", "别的") == 0
