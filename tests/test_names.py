"""Names and numbers of a question that a text lacks."""

import pytest

from spanwise.names import missing_names

TEXT = "In 1854 the engineers of ADA Green's firm sold 3,500 mills to Zu\u0308rich and the Normans."


@pytest.mark.parametrize(
    ("question", "missing"),
    [
        ("Who sold the mills?", 0),
        ("How many mills did Ada Green sell in 1854?", 0),
        ("How many mills did Ada Brown sell in 1855?", 2),
        ("Did the firm of Green sell 3,500, 3500 or 3.500?", 0),
        ("Did the firm sell 3,600, or 4, in 185?", 3),
        ("1855 was the year of what?", 1),
        ("Did Brown & Brown sell mills to BROWN?", 1),  # each once
        ("Did a Norman buy _Brown_?", 1),
        ("What does Ada think of I and X?", 0),  # single letters are no names
        ("Was it sold to ZÜRICH, to Zurich or to Örebro?", 1),
        ("WHO BUILT THE MILLS IN 1854?", 0),  # capitals say nothing here
        ("WHO BUILT THE MILLS IN THE 1850s?", 1),
        # The first word of a sentence or clause has a capital anyway.
        ("Brown's mills were sold to whom?", 0),
        ("Mills were sold. Which? Please say: Who bought them; Whom for!", 0),
        ("Was it J. Brown of St. Louis?", 3),
        ("", 0),
        ("?!", 0),
    ],
)
def test_names_are_counted_that_a_text_lacks(question: str, missing: int) -> None:
    assert missing_names(question, TEXT) == missing


def test_scripts_without_capitals_have_numbers_alone() -> None:
    assert missing_names("磨坊1854年在哪里建成?", "磨坊建于1855年") == 1
    assert missing_names("磨坊在哪里建成?", "别的") == 0
