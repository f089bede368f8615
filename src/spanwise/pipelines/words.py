"""Spans widened to whole words, as the tokenizer tells words apart.

This module knows nothing about scores.
"""

from spanwise.windows import PairTokenizer

_AROUND = 256  # characters on either side that are looked at: no word that one reads is longer


def widen_to_words(context: str, start: int, end: int, tokenizer: PairTokenizer) -> tuple[int, int]:
    """Characters of the words that the span begins and ends in, blanks trimmed."""
    low = max(0, start - _AROUND)
    piece = context[low : end + _AROUND]
    encoding = tokenizer.tokenizer.encode(piece, add_special_tokens=False)
    words = [encoding.char_to_word(place - low) for place in (start, end - 1)]
    spans = [None if word is None else encoding.word_to_chars(word) for word in words]
    first, last = spans
    if first is not None:
        begin = first[0] + len(piece[first[0] :]) - len(piece[first[0] :].lstrip())
        start = min(start, low + begin)
    if last is not None:
        end = max(end, low + len(piece[: last[1]].rstrip()))
    return start, end
