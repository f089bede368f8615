"""The best quote that a reader could return: what its windows and its decoding leave of a gold.

This module knows nothing about tokenizers, and of windows only where answers can start and end.
"""

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from spanwise.metrics import exact_match, f1, normalize_answer
from spanwise.schema import Ints

Longs = NDArray[np.int64]

_CHUNK = re.compile(r"\S+")
_NO_LIMIT = np.iinfo(np.int64).max


class _Chunks:
    """The pieces of a context between its blanks, as places where words of a gold may stand.

    Attributes:
        words: what each piece normalises to.
    """

    def __init__(self, context: str, gold: Collection[str]) -> None:
        """Cut a context that holds at least one piece; `gold` are normalised words."""
        places = [chunk.span() for chunk in _CHUNK.finditer(context)]
        self.words = [normalize_answer(context[start:end]).split() for start, end in places]
        self._starts = [start for start, _ in places]
        self._ends = [end for _, end in places]
        self._context = context
        letters = [_letters(character) for character in context]
        self._letters = "".join(letters)
        self._before = [0, *accumulate(map(len, letters))]  # letters before each character
        self._gold = tuple(filter(None, map(_letters, gold)))
        self._has_symbols = len(self._gold) < len(gold)  # a word such as "–" has no letter

    def of_start(self, place: int) -> int:
        """The chunk of an answer's first character."""
        return max(bisect_right(self._starts, place) - 1, 0)

    def of_end(self, place: int) -> int:
        """The chunk of an answer's last character, `place` being one past it."""
        return min(bisect_left(self._ends, place), len(self._ends) - 1)

    # Letters are compared, not normalised texts: of "the", which normalises to nothing, a token may
    # be a word of its own.

    def opens(self, place: int) -> bool:
        """Whether a word of the gold can begin at `place`; True for some where none does."""
        return self._letters.startswith(self._gold, self._before[place]) or (
            self._has_symbols and not self._context[place : place + 1].isalnum()
        )

    def closes(self, place: int) -> bool:
        """Whether a word of the gold can end before `place`; True for some where none does."""
        return self._letters.endswith(self._gold, 0, self._before[place]) or (
            self._has_symbols and not self._context[max(place - 1, 0) : place].isalnum()
        )


def _letters(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())


def best_quote(
    context: str, golds: Iterable[str], windows: Sequence[Ints], *, max_answer_tokens: int
) -> str:
    """The quote with the highest F1, and of those with the highest EM; "" where all have none.

    One quote has both: an exact match has an F1 of 1. It is found among all spans that the decoder
    may return from these windows, not only near the published places, so no reader can do better.
    Two things keep the search short. A span may be taken to begin and to end in a word of a gold:
    any other word at its edge can be left off, and precision rises. And spans are tried from the
    highest bound on their F1 downwards, until the best found reaches the bound. The result is a
    maximum where each token lies within one word; a token of two words, which can only be left off
    together, makes it a lower bound.

    Args:
        context: what is quoted from.
        golds: texts of the published answers.
        windows: (n, 2) first character and end of an answer that starts, or ends, at each context
            token of each window, as in `Windows.edges`.
        max_answer_tokens: longest answer, counted as the decoder does: by the starts it holds.
    """
    normal = {words: None for words in map(normalize_answer, golds) if words}
    if not normal or not context.strip():
        return ""
    chunks = _Chunks(context, {word for gold in normal for word in gold.split()})
    spans = _open_spans(windows, chunks, max_answer_tokens=max_answer_tokens)
    bounds = np.max([_bounds(spans, chunks, gold.split()) for gold in normal], axis=0)
    best, quote = (0.0, 0), ""
    for number in np.argsort(-bounds, kind="stable"):
        bound = float(bounds[number])
        if (bound, int(bound >= 1)) <= best:
            break
        start, end = spans[number]
        text = context[start:end]
        score = max((f1(text, gold), exact_match(text, gold)) for gold in normal)
        if score > best:
            best, quote = score, text
    return quote


def _open_spans(windows: Iterable[Ints], chunks: _Chunks, *, max_answer_tokens: int) -> Longs:
    """(n, 2) distinct spans that the decoder may return, between words of a gold.

    A span starts before it ends, and holds at most `max_answer_tokens` starts of its window.
    """
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for edges in windows:
        starts, ends = np.unique(edges[:, 0]).astype(np.int64), np.unique(edges[:, 1])
        limits = np.full(len(starts), _NO_LIMIT)  # an end beyond it would hold one start too many
        limits[:-max_answer_tokens] = starts[max_answer_tokens:]
        chosen = np.array([chunks.opens(place) for place in starts.tolist()], dtype=bool)
        ends = ends[np.array([chunks.closes(place) for place in ends.tolist()], dtype=bool)]
        starts, limits = starts[chosen], limits[chosen]
        low = np.searchsorted(ends, starts, side="right")
        count = np.maximum(np.searchsorted(ends, limits, side="right") - low, 0)
        nth = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        end = ends[np.repeat(low, count) + nth]
        pairs.append(np.stack([np.repeat(starts, count), end], axis=1))
    spans: Longs = np.unique(np.concatenate(pairs), axis=0)
    return spans


def _bounds(spans: Longs, chunks: _Chunks, gold: Sequence[str]) -> NDArray[np.float64]:
    """(n,) the highest F1 that each span could have with the words of one gold.

    Inner chunks are counted exactly. The chunks at both edges may be cut, to any word of the gold.
    """
    first = np.array([chunks.of_start(start) for start in spans[:, 0].tolist()], dtype=np.int64)
    last = np.array([chunks.of_end(end) for end in spans[:, 1].tolist()], dtype=np.int64)
    edges = np.where(first == last, 1, 2)
    most = np.array([max(len(words), 1) for words in chunks.words])  # words of a piece of a chunk
    same = np.where(first == last, most[first], most[first] + most[last])
    for word, number in Counter(gold).items():
        inner = _between(first, last, [words.count(word) for words in chunks.words])
        same += np.minimum(number, inner)
    same = np.minimum(same, len(gold))
    size = edges + _between(first, last, [len(words) for words in chunks.words])
    bounds: NDArray[np.float64] = 2 * same / (np.maximum(size, same) + len(gold))
    return bounds


def _between(first: Longs, last: Longs, counts: Sequence[int]) -> Longs:
    """(n,) sum of `counts` over the chunks after `first` and before `last`."""
    total = np.concatenate([[0], np.cumsum(counts)])
    inner: Longs = total[last] - total[np.minimum(first + 1, last)]
    return inner
