"""Spans widened to whole words, as the tokenizer tells words apart.

This module knows nothing about scores.
"""

from collections.abc import Iterator, Sequence

from tokenizers import Encoding

from spanwise.windows import PairTokenizer

Span = tuple[int, int]

_AROUND = 256  # characters on either side that are looked at: no word that one reads is longer


def widen_to_words(context: str, spans: Sequence[Span], tokenizer: PairTokenizer) -> list[Span]:
    """Characters of the words that each span begins and ends in, blanks trimmed."""
    widened: dict[Span, Span] = {}
    for low, high, members in _pieces(spans, len(context)):
        piece = context[low:high]
        # Once for all spans in it: the best ones of a text mostly stand together.
        encoding = tokenizer.tokenizer.encode(piece, add_special_tokens=False)
        for start, end in members:
            first, last = _widen(piece, start - low, end - low, encoding)
            widened[start, end] = first + low, last + low
    return [widened[span] for span in spans]


def _pieces(spans: Sequence[Span], length: int) -> Iterator[tuple[int, int, list[Span]]]:
    """Parts of the context that hold spans with what is around them, and those spans."""
    low = high = 0
    members: list[Span] = []
    for start, end in sorted(set(spans)):
        if members and start - _AROUND > high:
            yield low, high, members
            members = []
        if not members:
            low = max(0, start - _AROUND)
        high = min(length, max(high, end + _AROUND))
        members.append((start, end))
    if members:
        yield low, high, members


def _widen(piece: str, start: int, end: int, encoding: Encoding) -> Span:
    words = [encoding.char_to_word(place) for place in (start, end - 1)]
    first, last = (None if word is None else encoding.word_to_chars(word) for word in words)
    if first is not None:
        begin = first[0] + len(piece[first[0] :]) - len(piece[first[0] :].lstrip())
        start = min(start, begin)
    if last is not None:
        end = max(end, len(piece[: last[1]].rstrip()))
    return start, end
