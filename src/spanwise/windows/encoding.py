"""Texts become arrays of tokens, in memory that grows with the tokens alone.

The tokenizer's own result takes some 160 bytes a character. So it is asked for a part of the texts
at a time, and a long text is cut into pieces that overlap: where both pieces agree on the tokens in
the middle of their overlap, one goes on where the other ends. Beyond that middle a cut is not felt,
as tokenizers look at a word and its surroundings; where they do look further (a word as long as the
overlap) the pieces disagree, and the text is encoded whole. This module knows nothing about
questions, special tokens or windows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from spanwise.schema import Ints

_AT_ONCE = 1 << 18  # characters given to the tokenizer in one call
_PIECE = 1 << 16  # characters from one piece of a long text to the next
_OVERLAP = 1 << 11  # characters that two pieces share


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
    for *short, last in _parts(texts):
        if len(last) > _AT_ONCE:
            parts += [_encode(tokenizer, short), _encode_long(tokenizer, last)]
        else:
            parts.append(_encode(tokenizer, [*short, last]))
    return _join(parts)


def _parts(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Neighbouring texts; only the last of a part makes it longer than `_AT_ONCE`."""
    start = size = 0
    for position, text in enumerate(texts, start=1):
        size += len(text)
        if size >= _AT_ONCE or position == len(texts):
            yield texts[start:position]
            start, size = position, 0


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


def _encode_long(tokenizer: Tokenizer, text: str) -> Tokens:
    begins = range(0, len(text) - _OVERLAP, _PIECE)
    pieces = encode_texts(tokenizer, [text[n : n + _PIECE + _OVERLAP] for n in begins])
    seams = [_seam(left, right) for left, right in pairwise(pieces)]
    if None in seams:
        return _encode(tokenizer, [text])
    ends = [left for left, _ in filter(None, seams)]
    starts = [right for _, right in filter(None, seams)]
    kept = [
        (ids[start:end], offsets[start:end] + np.int32(begin))
        for (ids, offsets), begin, start, end in zip(
            pieces, begins, [0, *starts], [*ends, None], strict=True
        )
    ]
    ids, offsets = (np.concatenate(column) for column in zip(*kept, strict=True))
    return Tokens(splits=np.array([0, len(ids)]), ids=ids, offsets=offsets)


def _seam(left: tuple[Ints, Ints], right: tuple[Ints, Ints]) -> tuple[int, int] | None:
    """The token from which on two pieces agree in the middle of their overlap, in both counts."""
    found = []
    for (ids, offsets), begin in (left, 0), (right, _PIECE):
        place = offsets[:, 0] + begin - _PIECE  # in the overlap
        (middle,) = np.nonzero((place >= _OVERLAP // 4) & (place < _OVERLAP * 3 // 4))
        found.append((middle, ids[middle], offsets[middle] + begin))
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
