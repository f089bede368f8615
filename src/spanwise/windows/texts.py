"""Texts with their tokens: whole ones, or one stretch after another of a text too long for that.

This module knows nothing about questions, windows or labels.
"""

import unicodedata
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
_LAST_MARK = 0x1E94A  # but for variation selectors beyond U+E0000


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
            # answer that has it goes on outside. That behind ends further, as several may be of one
            # character, and an accent that follows on it belongs to the next.
            (solid,) = np.nonzero(offsets[:, 0] < offsets[:, 1])
            behind = solid[offsets[solid, 1].argmax()] if len(solid) else -1
            end = first + behind - reach + 1
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
        end += _run_behind(text, end)
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
        """(P, 2) where an answer at this token would start and end.

        Offsets, but blanks are trimmed, and an end takes in the marks behind it that no token
        covers: accents that the tokenizer strips, or joins with their letter.
        """
        joined = "\0".join(["", *self.texts, ""])
        blank = _look_up(joined, _blanks())
        run = _borders(blank)
        edges = self.tokens.offsets.copy()
        places = self.places
        for side, place in enumerate(places.T):
            # A start is moved to the end of the run that it stands in, an end to its beginning. The
            # character between two texts is none, so no run leaves its text.
            (rows,) = np.nonzero(blank[place - side])
            bound = np.searchsorted(run, place[rows] - side, side="right") - side
            edges[rows, side] += (run[bound] - place[rows]).astype(np.int32)
        if not joined.isascii():
            edges[:, 1] += _marks_behind(places, joined, blank)
        return edges


def _run_behind(text: str, place: int) -> int:
    """How many characters from here on are blanks or marks."""
    begin, size = place, 64  # most runs are short
    while part := text[begin : begin + size]:
        others = ~(_look_up(part, _blanks()) | _look_up(part, _marks()))
        if others.any():
            return begin + int(others.argmax()) - place
        begin, size = begin + size, _AT_ONCE
    return len(text) - place


def is_mark(character: str) -> bool:
    """Whether a character goes on from the one before it: an accent, a part of a syllable.

    Args:
        character: "" is none.
    """
    return bool(character and _look_up(character, _marks())[0])


def _look_up(text: str, table: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(n,) what a table says of each character; its last entry stands for all beyond."""
    parts = (text[n : n + _AT_ONCE] for n in range(0, len(text), _AT_ONCE))
    codes = (np.frombuffer(part.encode("utf-32-le"), dtype=np.uint32) for part in parts)
    return np.concatenate([table[np.minimum(some, len(table) - 1)] for some in codes])


def _borders(flags: NDArray[np.bool_]) -> Longs:
    """Where runs of equal flags begin, but for the first."""
    return np.flatnonzero(flags[1:] != flags[:-1]) + 1


def _marks_behind(places: Longs, joined: str, blank: NDArray[np.bool_]) -> Ints:
    """(P,) how many marks that no token covers follow on each; none on an empty or blank one."""
    start, end = places.T
    behind = np.zeros(len(places), dtype=np.int32)
    loose = _look_up(joined, _marks())
    if loose.any():
        loose &= ~_is_covered(start, end, size=len(joined))
        run = _borders(loose)
        (rows,) = np.nonzero(loose[end] & (start < end) & ~blank[end - 1])
        behind[rows] = run[np.searchsorted(run, end[rows], side="right")] - end[rows]
    return behind


def _is_covered(start: Longs, end: Longs, *, size: int) -> NDArray[np.bool_]:
    """(size,) which places lie within a token."""
    open_tokens = np.zeros(size, dtype=np.int16)  # few stand over one character
    np.add.at(open_tokens, start, np.int16(1))  # an int of Python's would take ten times as long
    np.add.at(open_tokens, end, np.int16(-1))
    return np.cumsum(open_tokens, out=open_tokens) > 0


@cache
def _blanks() -> NDArray[np.bool_]:
    """What `str.strip` takes off; the last is U+3000."""
    return np.array([chr(code).isspace() for code in range(0x3002)])


@cache
def _marks() -> NDArray[np.bool_]:
    """Combining marks, vowels and finals of Korean syllables, and half-width voicing marks."""
    flags = [unicodedata.category(chr(code)).startswith("M") for code in range(_LAST_MARK + 2)]
    for first, last in ((0x1160, 0x11FF), (0xD7B0, 0xD7FF), (0xFF9E, 0xFF9F)):
        flags[first : last + 1] = [True] * (last + 1 - first)
    return np.array(flags)
