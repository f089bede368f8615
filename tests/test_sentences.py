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


def test_sentences_before_are_taken_along_as_far_as_there_are_any() -> None:
    start = TEXT.index("left")
    around = [sentence_around(TEXT, start, start + 4, before=count) for count in range(4)]
    assert around[0] == "He left!\n"
    assert around[1].startswith('"Why?"')
    assert around[2] == around[3] == TEXT[: TEXT.index("A line")]


def test_a_text_without_an_end_is_one_sentence() -> None:
    assert sentence_around("no end", 0, 2) == "no end"
