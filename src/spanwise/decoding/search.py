"""Finds the best spans of the windows of a batch.

A window becomes a row of columns such that the ends open to a start are its own column and a fixed
number of neighbours: the best end of each start is then a sliding maximum. The tokens of ordinary
text are such columns as they stand; those of other windows are rearranged.

The K best spans of a row start at its K best starts, each counted with its best end, since any
other start has K spans before its own. What is open to these falls into parts of equal size, and
for the same reason the K best spans end in the K best parts. What those hold is little.
"""

from math import isqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spanwise.decoding.rows import NOTHING, Indices, Rows, chosen, is_new, rank_in_run, ranked
from spanwise.errors import CheckpointError
from spanwise.schema import Batch, DecodeSettings, Floats, Ints, Logits

_CHARACTER_BITS = 32  # a place is window << 32 | character: one sorted array serves all windows
_LAST_CHARACTER = np.iinfo(np.int32).max
_LOGIT_LIMIT = np.finfo(np.float32).max / 2  # below it, the sum of two logits is finite


class _Columns(NamedTuple):
    """The starts (side 0) and the ends (side 1) of B windows in C columns.

    Attributes:
        character: (2, B, C) `start` and `end` of the spans that start or end in a column.
        score: (2, B, C) `NOTHING` where nothing starts or ends; never -0.0.
        reach: how many columns are open to a start, its own included.
    """

    character: Ints
    score: Floats
    reach: int

    def take(self, windows: NDArray[np.bool_]) -> "_Columns":
        """The windows where True."""
        return _Columns(self.character[:, windows], self.score[:, windows], self.reach)


def best_of_windows(batch: Batch, logits: Logits, settings: DecodeSettings) -> list[Rows]:
    """The `n_best` best spans of each window, windows in any order; owners are examples.

    Raises:
        CheckpointError: a logit that is read is NaN or infinite.
    """
    character = np.ascontiguousarray(batch.edges.transpose(2, 0, 1))
    score = np.stack([logits.start_logits, logits.end_logits], dtype=np.float32)
    is_context = character[0] >= 0
    null = np.arange(len(is_context)), batch.null_position
    is_read = is_context.copy()
    is_read[null] = True
    _check(score, is_read, batch.example)
    null_score = score[0][null] + score[1][null]

    outside = ~is_context
    score += 0.0  # -0.0 becomes 0.0
    score[0][outside] = NOTHING
    score[1][outside] = NOTHING
    tokens = _Columns(character, score, min(settings.max_answer_tokens, score.shape[2]))
    example, n_best = batch.example.astype(np.int64), settings.n_best
    is_ordinary = _is_ordinary(tokens)
    if is_ordinary.all():
        return [Rows(example, null_score, *_best_spans(tokens, n_best))]
    kinds = (
        (is_ordinary, tokens.take(is_ordinary)),
        (~is_ordinary, _places(tokens.take(~is_ordinary))),
    )
    return [
        Rows(example[windows], null_score[windows], *_best_spans(columns, n_best))
        for windows, columns in kinds
    ]


def _check(score: Floats, is_read: NDArray[np.bool_], example: Ints) -> None:
    is_fine = np.abs(score) < _LOGIT_LIMIT  # so put, NaN is not
    is_fine |= ~is_read
    if not is_fine.all():
        side, row, token = np.argwhere(~is_fine)[0]
        raise CheckpointError(
            f"the model returned {score[side, row, token]:g} as {('start', 'end')[side]} logit of "
            f"token {token} in a window of example {example[row]}: check its dtype; float16 "
            f"overflows in some models, float32 does not"
        )


def _is_ordinary(tokens: _Columns) -> NDArray[np.bool_]:
    """(B,) True for windows of which each token is a start and an end, one after the other."""
    start, end = tokens.character
    is_context = start >= 0
    is_whole = ((start < end) == is_context).all(axis=1)
    # Outside the context characters are -1, so that where it ends is a step back as well.
    steps_back = np.count_nonzero(end[:, :-1] > start[:, 1:], axis=1)
    is_ordinary: NDArray[np.bool_] = is_whole & (steps_back + is_context[:, -1] < 2)
    return is_ordinary


def _places(tokens: _Columns) -> _Columns:
    """Columns of windows whose tokens repeat, overlap, stand out of order or are blank.

    Each distinct start takes as many columns as any start has distinct ends before the next start,
    and these ends fill them.
    """
    starts, start_score = _distinct(tokens, 0)
    ends, end_score = _distinct(tokens, 1)
    after = np.searchsorted(starts, ends) - 1  # the last start before each end
    follows = (after >= 0) & (starts[after] >> _CHARACTER_BITS == ends >> _CHARACTER_BITS)
    after, ends, end_score = after[follows], ends[follows], end_score[follows]

    window = starts >> _CHARACTER_BITS
    slot, nth = rank_in_run(window), rank_in_run(after)
    width = 1 + int(nth.max(initial=0))
    length = (1 + int(slot.max(initial=0))) * width
    shape = 2, tokens.score.shape[1] * length
    character, score = np.zeros(shape, np.int32), np.full(shape, NOTHING)
    start_at = window * length + slot * width
    end_at = start_at[after] + nth
    character[0, start_at], score[0, start_at] = starts & _LAST_CHARACTER, start_score
    character[1, end_at], score[1, end_at] = ends & _LAST_CHARACTER, end_score
    return _Columns(
        character.reshape(2, -1, length),
        score.reshape(2, -1, length),
        min(tokens.reach * width, length),
    )


def _distinct(tokens: _Columns, side: int) -> tuple[Indices, Floats]:
    """Distinct places on one side of all windows, in order, and the best score of each."""
    character, score = tokens.character[side], tokens.score[side]
    is_place = (score > NOTHING) & (character >= 0)
    window = np.repeat(np.arange(len(score)), np.count_nonzero(is_place, axis=1))
    place = (window << _CHARACTER_BITS) + character[is_place]
    order = np.argsort(place, kind="stable")  # linear where places are in order: nearly always
    place = place[order]
    first = np.flatnonzero(is_new(place))
    return place[first], np.maximum.reduceat(score[is_place][order], first)


def _best_spans(columns: _Columns, n_best: int) -> tuple[Floats, Indices]:
    """Scores and spans as in `Rows`."""
    start_score, end_score = columns.score
    rows, length = start_score.shape
    # All rows on one line, so far apart that no start reaches the next row, and one more row for
    # the last to reach into.
    stride = length + columns.reach - 1
    line = np.full((rows + 1, stride), NOTHING)
    line[:-1, :length] = end_score
    line = line.ravel()
    # Parts of some square root of the reach, so that both the parts and what they hold are few.
    size = max(n for n in range(1, isqrt(columns.reach) + 1) if columns.reach % n == 0)
    parts = columns.reach // size
    best_of_part = _sliding_maximum(line, size, 1)
    best_end = _sliding_maximum(best_of_part, parts, size)[: rows * stride].reshape(rows, stride)

    row = np.arange(rows)[:, None]
    start = chosen(start_score + best_end[:, :length], n_best)
    place = start + row * stride  # on the line: the first end of what is open
    for values, ahead, pick in (
        (best_of_part, np.arange(0, columns.reach, size), chosen),
        (line, np.arange(size), ranked),
    ):
        n = len(ahead)
        places = np.repeat(place, n, axis=1) + np.tile(ahead, place.shape[1])
        score = values[places] + np.repeat(start_score[row, start], n, axis=1)
        column = pick(score, n_best)
        start, place = start[row, column // n], places[row, column]

    score = score[row, column]
    end = np.minimum(place - row * stride, length - 1)  # beyond, there is nothing
    span = columns.character[0][row, start].astype(np.int64) << 32
    span |= columns.character[1][row, end]
    span[score == NOTHING] = -1
    return score, span


def _sliding_maximum(line: Floats, count: int, step: int) -> Floats:
    """At each place the highest of `count` values, each `step` after the one before."""
    done = 1
    while done < count:
        more = min(done, count - done)
        line = np.maximum(line[: -more * step], line[more * step :])
        done += more
    return line
