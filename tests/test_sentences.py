"""Sentences: which one holds a span."""

import pytest

from spanwise.sentences import sentence_around

TEXT = (
    'Ada wrote it. "Why?" asked J. Smith of the U.S. Navy, at 3.5 knots. He left!\n'
    "A line\nof many words\n\nand what follows on"
)


@pytest.mark.parametrize(
    ("span", "sentence"),
    [
        ("Ada", "Ada wrote it. "),
        ("Why", '"Why?" asked J. Smith of the U.S. Navy, at 3.5 knots. '),
        ("Navy", '"Why?" asked J. Smith of the U.S. Navy, at 3.5 knots. '),
        ("left", "He left!\n"),
        ("many", "A line\nof many words\n\n"),
        ("follows", "and what follows on"),
        ('it. "Why?', 'Ada wrote it. "Why?" asked J. Smith of the U.S. Navy, at 3.5 knots. '),
        (TEXT, TEXT),
    ],
)
def test_a_span_is_given_its_sentence(span: str, sentence: str) -> None:
    start = TEXT.index(span)
    assert sentence_around(TEXT, start, start + len(span)) == sentence


def test_a_text_without_an_end_is_one_sentence() -> None:
    assert sentence_around("no end", 0, 2) == "no end"
