"""Texts are encoded the same whole, in parts and in overlapping pieces."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from spanwise.windows import PairTokenizer, encoding
from spanwise.windows.encoding import encode_texts
from tests.windows_zoo import NAMES, TEXTS, pair

MIXED = " ".join(TEXTS[n % len(TEXTS)] for n in (0, 3, 7, 2, 1, 8, 4, 10, 6, 5, 9) * 3)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes at which a sentence is a long text."""
    monkeypatch.setattr(encoding, "AT_ONCE", 600)
    monkeypatch.setattr(encoding, "_PIECE", 250)
    monkeypatch.setattr(encoding, "_OVERLAP", 160)


def whole(tokenizer: PairTokenizer, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """The twin: the tokenizer's own."""
    found = tokenizer.tokenizer.encode(text, add_special_tokens=False)
    return found.ids, found.offsets


def in_parts(
    tokenizer: PairTokenizer, texts: list[str]
) -> list[tuple[list[int], list[tuple[int, int]]]]:
    return [
        (ids.tolist(), [(start, end) for start, end in offsets.tolist()])
        for ids, offsets in tokenizer.encode_contexts(texts)
    ]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", NAMES)
def test_a_long_text_is_encoded_in_pieces_as_if_whole(name: str) -> None:
    texts = ["the door", MIXED, "", MIXED[300:] + " nine", "at nine", MIXED[7:650]]
    assert in_parts(pair(name), texts) == [whole(pair(name), text) for text in texts]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ["word pieces", "bytes, roberta", "unigram, always"])
@pytest.mark.parametrize(("run", "limit"), [(0, 600), (200, 910), (410, 1160)])
def test_only_pieces_that_disagree_are_encoded_as_one(
    name: str, run: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = 0
    encode = encoding._encode

    def watched(tokenizer: Tokenizer, texts: list[str]) -> encoding.Tokens:
        nonlocal longest
        longest = max([longest, *map(len, texts)])
        return encode(tokenizer, texts)

    monkeypatch.setattr(encoding, "_encode", watched)
    text = (TEXTS[0] + " ") * 20
    text = text[:990] + "a" * run + text[990:]
    assert in_parts(pair(name), [text]) == [whole(pair(name), text)]
    assert longest <= limit


@pytest.mark.usefixtures("small")
def test_a_long_run_is_given_up_in_few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = 0
    seams = encoding._seams

    def counted(*arguments: Any) -> Any:
        nonlocal rounds
        rounds += 1
        return seams(*arguments)

    monkeypatch.setattr(encoding, "_seams", counted)
    text = "nine" + " " * 20_000 + "doors"  # eighty pieces
    assert in_parts(pair("bytes, template"), [text]) == [whole(pair("bytes, template"), text)]
    assert rounds < 10


@given(texts=st.lists(st.text(max_size=60) | st.sampled_from(TEXTS), max_size=9))
def test_parts_equal_one_text_at_a_time(texts: list[str]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(encoding, "AT_ONCE", 70)
        monkeypatch.setattr(encoding, "_PIECE", 40)
        monkeypatch.setattr(encoding, "_OVERLAP", 30)
        tokenizer = pair("words alone")
        assert in_parts(tokenizer, texts) == [whole(tokenizer, text) for text in texts]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("text", ["a" * 3000, "x" + "ab" * 1500, " " * 2000, "nine" + " " * 2000])
@pytest.mark.parametrize("name", NAMES)
def test_a_text_without_a_place_to_cut_is_encoded_whole(name: str, text: str) -> None:
    assert in_parts(pair(name), [text]) == [whole(pair(name), text)]


@pytest.mark.usefixtures("small")
def test_pieces_that_disagree_are_not_joined() -> None:
    # Pairs are merged from the left: where a piece begins decides how the run of letters falls.
    tokenizer = Tokenizer(models.BPE({"a": 0, "aa": 1, "aaa": 2}, [("a", "a"), ("aa", "a")]))
    pieces = [tokenizer.encode("a" * n).ids for n in (409, 410)]
    assert pieces[0][-3:] != pieces[1][-3:]
    for size in (1000, 1001, 1002):
        ((ids, offsets),) = encode_texts(tokenizer, ["a" * size])
        expected = tokenizer.encode("a" * size)
        assert (ids.tolist(), offsets.tolist()) == (expected.ids, list(map(list, expected.offsets)))


def test_tokens_are_items() -> None:
    tokens = pair("word pieces").encode_contexts(["the door", "", "nine"])
    assert len(tokens) == 3
    assert tokens.splits.tolist() == [0, 2, 2, 3]
    assert [len(ids) for ids, _ in tokens] == [2, 0, 1]
    assert tokens[2][1].tolist() == [[0, 4]]
    with pytest.raises(IndexError, match="there is no text 3; there are 3"):
        tokens[3]
    assert tokens.ids.dtype == tokens.offsets.dtype == np.int32
