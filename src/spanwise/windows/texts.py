"""Texts with their tokens: whole ones, or one stretch after another of a text too long for that.

This module knows nothing about questions, windows or labels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from sys import maxsize
from typing import Self

import numpy as np
from numpy.typing import NDArray

from spanwise.schema import Ints
from spanwise.windows.encoding import Tokens
from spanwise.windows.pairing import PairTokenizer

Longs = NDArray[np.int64]

_AT_ONCE = 1 << 20  # characters looked at in one go


@dataclass(frozen=True, kw_only=True)
class Texts:
    """The text of each of E examples, as U distinct ones with P tokens.

    Attributes:
        texts: the U distinct texts, or one stretch of a long text.
        tokens: their tokens; offsets count from where the stretch begins.
        text: (E,) which text each example has.
        first_character: of the long text, where the stretch begins.
        first_token: likewise.
        begins: the windows to be cut here begin at these tokens of the long text.
    """

    texts: tuple[str, ...]
    tokens: Tokens
    text: Longs
    first_character: int = 0
    first_token: int = 0
    begins: range = range(maxsize)

    @classmethod
    def whole(cls, texts: Sequence[str], tokenizer: PairTokenizer) -> Self:
        """Tokenise each distinct text once."""
        place: dict[str, int] = {}
        text = np.array([place.setdefault(text, len(place)) for text in texts], dtype=np.int64)
        return cls(texts=tuple(place), tokens=tokenizer.encode_contexts(list(place)), text=text)

    @classmethod
    def stretches(
        cls, text: str, tokenizer: PairTokenizer, *, examples: int, reach: int
    ) -> Iterator[Self]:
        """Tokenise one text of so many examples, a stretch at a time.

        Args:
            text: of any length.
            tokenizer: gives the tokens.
            examples: E.
            reach: tokens of a window at most; so many follow on each place in `begins`.
        """
        ids, offsets = np.empty(0, np.int32), np.empty((0, 2), np.int32)
        first = begin = 0
        for more_ids, more_offsets in tokenizer.encode_long(text):
            ids, offsets = np.concatenate([ids, more_ids]), np.concatenate([offsets, more_offsets])
            # A token that is not empty stands before the windows of a stretch, and one behind: an
            # answer that has it goes on outside.
            (solid,) = np.nonzero(offsets[:, 0] < offsets[:, 1])
            end = first + solid.max(initial=-1) - reach + 1
            if end > begin:
                yield cls._stretch(text, ids, offsets, first, range(begin, end), examples)
                begin = end
                done = solid[solid < end - first].max(initial=0)
                first, ids, offsets = first + done, ids[done:].copy(), offsets[done:].copy()
        yield cls._stretch(text, ids, offsets, first, range(begin, maxsize), examples)

    @classmethod
    def _stretch(
        cls, text: str, ids: Ints, offsets: Ints, first: int, begins: range, examples: int
    ) -> Self:
        start, end = (int(offsets.min()), int(offsets.max())) if len(offsets) else (0, 0)
        while start > 0 and text[start - 1].isspace():  # no run of blanks is cut
            start -= 1
        while end < len(text) and text[end].isspace():
            end += 1
        splits = np.array([0, len(ids)])
        return cls(
            texts=(text[start:end],),
            tokens=Tokens(splits=splits, ids=ids, offsets=offsets - np.int32(start)),
            text=np.zeros(examples, dtype=np.int64),
            first_character=start,
            first_token=first,
            begins=begins,
        )

    @property
    def begin(self) -> Longs:
        """(E,) first token of each example's text."""
        return self.tokens.splits[self.text]

    @property
    def size(self) -> Longs:
        """(E,) tokens of each example's text."""
        return np.diff(self.tokens.splits)[self.text]

    @property
    def bases(self) -> Longs:
        """(U + 1,) where each text begins when all are joined, one character before each."""
        return np.cumsum([1, *(len(text) + 1 for text in self.texts)])

    @property
    def places(self) -> Longs:
        """(P, 2) offsets in the joined texts."""
        shifts = np.repeat(self.bases[:-1], np.diff(self.tokens.splits))
        return self.tokens.offsets + shifts[:, None]

    def edges(self) -> Ints:
        """(P, 2) offsets with blanks trimmed: where an answer at this token would start and end."""
        joined = "\0".join(["", *self.texts, ""])
        parts = [joined[n : n + _AT_ONCE] for n in range(0, len(joined), _AT_ONCE)]
        blank = np.concatenate([_is_blank(part) for part in parts])
        run = np.flatnonzero(blank[1:] != blank[:-1]) + 1  # where runs of blanks begin and end
        edges = self.tokens.offsets.copy()
        for side, place in enumerate(self.places.T):
            # A start is moved to the end of the run that it stands in, an end to its beginning. The
            # character between two texts is none, so no run leaves its text.
            (rows,) = np.nonzero(blank[place - side])
            bound = np.searchsorted(run, place[rows] - side, side="right") - side
            edges[rows, side] += (run[bound] - place[rows]).astype(np.int32)
        return edges


def _is_blank(text: str) -> NDArray[np.bool_]:
    """(n,) which characters `str.strip` takes off; none of them lies beyond U+3000."""
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    return _blanks()[np.minimum(codes, 0x3001)]


@cache
def _blanks() -> NDArray[np.bool_]:
    return np.array([chr(code).isspace() for code in range(0x3002)])
