"""Ranks scores, and merges the best spans of many windows into those of their owner."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from spanwise.schema import Floats

Indices = NDArray[np.int64]

NOTHING = np.float32(-np.inf)  # the score of what is no start, no end or no span

_LOW_BITS = (1 << 32) - 1


class Rows(NamedTuple):
    """The K best spans of a window, or of all windows of an owner, in each of R rows.

    Attributes:
        owner: (R,) what the spans belong to: an example or a question.
        null_score: (R,) the lowest of the windows.
        score: (R, K) the best first; `NOTHING` after the last.
        span: (R, K) start << 32 | end, in characters; after the last, what sorts before them all.
    """

    owner: Indices
    null_score: Floats
    score: Floats
    span: Indices

    @classmethod
    def none(cls) -> Self:
        """No rows."""
        owner, score = np.empty(0, np.int64), np.empty(0, np.float32)
        return cls(owner, score, score[:, None], owner[:, None])

    def take(self, which: NDArray[Any]) -> "Rows":
        """The rows at these positions, or where True."""
        return Rows(*(column[which] for column in self))


def ranked(score: Floats, k: int) -> Indices:
    """(R, k) columns of the k best of each row (R, C): the best first, ties to the lower column."""
    return np.sort(_ranks(score, k), axis=1) & _LOW_BITS


def chosen(score: Floats, k: int) -> Indices:
    """(R, k) the columns that `ranked` gives, in ascending order."""
    return np.sort(_ranks(score, k) & _LOW_BITS, axis=1)


def _ranks(score: Floats, k: int) -> Indices:
    """(R, k) the k lowest ranks of each row, k cut to C; the low bits of a rank are its column.

    The score must be free of -0.0, which would rank behind 0.0.
    """
    # Read as integers, floats are in order once the bits of negative ones are flipped.
    bits = score.view(np.int32)
    flipped = bits >> 31
    flipped &= 0x7FFFFFFF
    flipped ^= bits
    rank = flipped.astype(np.int64)
    rank <<= 32
    np.subtract(np.arange(score.shape[1]), rank, out=rank)
    k = min(k, score.shape[1])
    rank.partition(k - 1, axis=1)
    return rank[:, :k]


def merged(parts: Sequence[Rows], n_best: int) -> Rows:
    """One row for each owner, in their order, with the best distinct spans of its rows."""
    owner = np.concatenate([part.owner for part in parts])
    order = np.argsort(owner, kind="stable")
    nth = rank_in_run(owner[order])
    last = int(nth.max(initial=0))
    width = min(n_best, max(part.span.shape[1] for part in parts) * (last + 1))
    score, span = np.full((len(owner), width), NOTHING), np.full((len(owner), width), -1)
    done = 0
    for part in parts:
        there = slice(done, done + len(part.owner)), slice(part.span.shape[1])
        score[there], span[there] = part.score, part.span
        done += len(part.owner)

    step = 1
    while step <= last:  # neighbours become one row, then such rows, and so on
        second = np.flatnonzero(nth % (2 * step) == step)
        pair = order[np.stack([second - step, second], axis=1)]  # (pairs, 2)
        both = score[pair].reshape(len(pair), -1), span[pair].reshape(len(pair), -1)
        score[pair[:, 0]], span[pair[:, 0]] = _union(*both, width)
        step *= 2
    first = np.flatnonzero(nth == 0)
    null_score = np.concatenate([part.null_score for part in parts])[order]
    lowest = np.minimum.reduceat(null_score, first)
    return Rows(owner, null_score, score, span).take(order[first])._replace(null_score=lowest)


def _union(score: Floats, span: Indices, k: int) -> tuple[Floats, Indices]:
    """The k best of the spans of each row, where a span may stand twice."""
    order = np.argsort(span, axis=1)
    score, span = np.take_along_axis(score, order, 1), np.take_along_axis(span, order, 1)
    twice = span[:, 1:] == span[:, :-1]
    higher = np.maximum(score[:, 1:], score[:, :-1])
    score[:, 1:][twice] = higher[twice]
    score[:, :-1][twice] = NOTHING
    # What fills a row up stands before its spans in this order, so it fills the union up as well,
    # and no span that stood twice comes back.
    column = ranked(score, k)
    return np.take_along_axis(score, column, 1), np.take_along_axis(span, column, 1)


def rank_in_run(values: NDArray[Any]) -> Indices:
    """(n,) how many equal values stand directly before each."""
    first = np.flatnonzero(is_new(values))
    return np.arange(len(values)) - np.repeat(first, np.diff(first, append=len(values)))


def is_new(values: NDArray[Any]) -> NDArray[np.bool_]:
    """(n,) True where a value differs from the one before it."""
    new = np.ones(len(values), np.bool_)
    new[1:] = values[1:] != values[:-1]
    return new
