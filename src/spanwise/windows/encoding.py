"""Texts become arrays of tokens, in memory that grows with the tokens alone, or not at all.

The tokenizer's own result takes some 160 bytes a character. So it is asked for a part of the texts
at a time, and a long text is cut into pieces that overlap: where both pieces agree on the tokens in
the middle of their overlap, one goes on where the other ends. Beyond that middle a cut is not felt,
as tokenizers look at a word and its surroundings; where they do look further (a word as long as the
overlap) the pieces disagree, and become one. This module knows nothing about questions, special
tokens or windows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from spanwise.schema import Ints

AT_ONCE = 1 << 18
"""Characters given to the tokenizer in one call; a text is long where it has more."""

_PIECE = 1 << 16  # characters from one piece of a long text to the next
_OVERLAP = 1 << 11  # characters that two pieces share

_Piece = tuple[Ints, Ints]  # ids (n,) and offsets (n, 2)


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Tokens of U texts, end to end; item u is the (n,) ids and (n, 2) offsets of text u.

    Attributes:
        splits: (U + 1,) text u has the tokens `splits[u]:splits[u + 1]`.
        ids: (P,) token ids.
        offsets: (P, 2) characters of the token's own text.
    """

    splits: NDArray[np.int64]
    ids: Ints
    offsets: Ints

    def __len__(self) -> int:
        """The number of texts, U."""
        return len(self.splits) - 1

    def __getitem__(self, text: int) -> tuple[Ints, Ints]:
        """Ids and offsets of one text."""
        if not 0 <= text < len(self):
            raise IndexError(f"there is no text {text}; there are {len(self)}")
        tokens = slice(self.splits[text], self.splits[text + 1])
        return self.ids[tokens], self.offsets[tokens]

    def __iter__(self) -> Iterator[tuple[Ints, Ints]]:
        """Ids and offsets of one text after the other."""
        return map(self.__getitem__, range(len(self)))


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str]) -> Tokens:
    """Tokenise U texts without special tokens; what the tokenizer raises passes through."""
    parts = [_encode(tokenizer, [])]
    for part in _parts(texts):
        if len(part[0]) > AT_ONCE:
            ids, offsets = map(np.concatenate, zip(*encode_long(tokenizer, part[0]), strict=True))
            parts.append(Tokens(splits=np.array([0, len(ids)]), ids=ids, offsets=offsets))
        else:
            parts.append(_encode(tokenizer, part))
    return _join(parts)


def encode_long(tokenizer: Tokenizer, text: str) -> Iterator[_Piece]:
    """Ids and offsets of one text, a piece at a time.

    The text is tokenised twice, first to see whether its pieces agree, so that no more than a few
    of them are ever in memory. Where some do not, as in a long run of blanks, the places where they
    begin are given up, with ever more of those behind them.
    """
    begins = list(range(0, max(len(text) - _OVERLAP, 1), _PIECE))
    reach = 1
    while None in (seams := _seams(tokenizer, text, begins)):
        begins = [b for n, b in enumerate(begins) if None not in seams[max(0, n - reach) : n]]
        reach *= 2
    starts = [0, *(right for _, right in filter(None, seams))]
    ends = [*(left for left, _ in filter(None, seams)), None]
    pieces = _pieces(tokenizer, text, begins)
    for (ids, offsets), start, end in zip(pieces, starts, ends, strict=True):
        yield ids[start:end], offsets[start:end]


def _parts(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Neighbouring texts, of `AT_ONCE` characters at most or a single longer one."""
    start = size = 0
    for position, text in enumerate(texts):
        size += len(text)
        if size > AT_ONCE and position > start:
            yield texts[start:position]
            start, size = position, len(text)
    if start < len(texts):
        yield texts[start:]


def _encode(tokenizer: Tokenizer, texts: Sequence[str]) -> Tokens:
    encodings = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    splits = np.cumsum([0, *map(len, encodings)])
    ids = chain.from_iterable(encoding.ids for encoding in encodings)
    offsets = chain.from_iterable(encoding.offsets for encoding in encodings)
    return Tokens(
        splits=splits,
        ids=np.fromiter(ids, np.int32, splits[-1]),
        offsets=np.fromiter(chain.from_iterable(offsets), np.int32, 2 * splits[-1]).reshape(-1, 2),
    )


def _pieces(tokenizer: Tokenizer, text: str, begins: Sequence[int]) -> Iterator[_Piece]:
    """Tokens from each beginning to the next, and as far beyond as pieces overlap."""
    bounds = list(pairwise([*begins, len(text)]))
    for n in range(0, len(bounds), AT_ONCE // _PIECE):
        some = bounds[n : n + AT_ONCE // _PIECE]
        pieces = _encode(tokenizer, [text[begin : end + _OVERLAP] for begin, end in some])
        for (ids, offsets), (begin, _) in zip(pieces, some, strict=True):
            yield ids, offsets + np.int32(begin)


def _seams(tokenizer: Tokenizer, text: str, begins: Sequence[int]) -> list[tuple[int, int] | None]:
    """Between neighbours: the token from which on they agree, counted in either, if they do."""
    pieces = pairwise(_pieces(tokenizer, text, begins))
    return [_seam(*two, begin) for two, begin in zip(pieces, begins[1:], strict=True)]


def _seam(left: _Piece, right: _Piece, begin: int) -> tuple[int, int] | None:
    found = []
    for ids, offsets in left, right:
        place = offsets[:, 0] - begin  # in the overlap
        (middle,) = np.nonzero((place >= _OVERLAP // 4) & (place < _OVERLAP * 3 // 4))
        found.append((middle, ids[middle], offsets[middle]))
    (first, *one), (second, *other) = found
    agree = len(first) > 0 and all(map(np.array_equal, one, other))
    in_a_row = agree and all(np.ptp(middle) == len(middle) - 1 for middle in (first, second))
    return (int(first[0]), int(second[0])) if in_a_row else None


def _join(parts: Sequence[Tokens]) -> Tokens:
    sizes = np.concatenate([np.diff(part.splits) for part in parts])
    return Tokens(
        splits=np.concatenate([[0], np.cumsum(sizes)]),
        ids=np.concatenate([part.ids for part in parts]),
        offsets=np.concatenate([part.offsets for part in parts]),
    )
