"""Which tokens an answer covers, and which answer a window is labelled with.

This module knows nothing about tokenizers or models.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spanwise.schema import Example, Ints
from spanwise.windows.texts import Longs, Texts


def label_tokens(offsets: Ints, start: int, end: int) -> tuple[int, int] | None:
    """First and last token that cover characters `start:end`; None where no token does.

    Args:
        offsets: (n, 2) characters of each token of a context.
        start: first character of the answer.
        end: one past its last character.
    """
    first, last = _cover(offsets, np.array([start]), np.array([end]))
    return (int(first[0]), int(last[0])) if first[0] <= last[0] else None


def _cover(offsets: NDArray[np.integer[Any]], start: Longs, end: Longs) -> tuple[Longs, Longs]:
    """First and last token that cover a character of each span; first is greater where none do."""
    starts, ends = offsets.T
    first = np.searchsorted(np.maximum.accumulate(ends), start, side="right")
    last = np.searchsorted(np.minimum.accumulate(starts[::-1])[::-1], end) - 1
    # Exact where tokens stand in order and none is empty. Else, as with blanks of byte-level
    # tokenizers, what was found may be too wide by some tokens, never too narrow.
    for token, step in ((first, 1), (last, -1)):
        rows = np.arange(len(token))
        while len(rows):
            rows = rows[first[rows] <= last[rows]]
            at = token[rows]
            rows = rows[np.minimum(ends[at], end[rows]) <= np.maximum(starts[at], start[rows])]
            token[rows] += step
    return first, last


def label_windows(
    examples: Sequence[Example], context: Texts, *, owner: Longs, begin: Longs, size: Longs
) -> tuple[Longs, Longs]:
    """(W,) first and last label as tokens of the window's piece of context; -1 for null."""
    lengths = [len(text) for text in context.texts]
    golds = [
        (number, begins, ends)
        for number, (example, text) in enumerate(zip(examples, context.text.tolist(), strict=True))
        for gold in example.answers or ()
        if 0 <= gold.start < gold.end <= len(example.context)  # others would reach into a neighbour
        if (begins := max(gold.start - context.first_character, 0))
        < (ends := min(gold.end - context.first_character, lengths[text]))
    ]
    example, start, end = np.array(golds, dtype=np.int64).reshape(-1, 3).T  # (G,) in order
    if not golds:
        return np.full(len(owner), -1), np.full(len(owner), -1)
    # One search over all contexts: each starts where the one before has ended.
    base = context.bases[context.text[example]]
    first, last = _cover(context.places, base + start, base + end)
    covered = first <= last
    first, last = first - context.begin[example], last - context.begin[example]

    # Every window of an example meets every gold of it; the first that fits labels the window.
    windows = np.bincount(owner, minlength=len(examples))
    gold = np.repeat(np.arange(len(example)), windows[example])
    window = (np.cumsum(windows) - windows)[example[gold]] + count_up(windows[example])
    low, high = first[gold] - begin[window], last[gold] - begin[window]
    fits = np.flatnonzero(covered[gold] & (low >= 0) & (high < size[window]))[::-1]
    labels = np.full((2, len(owner)), -1, dtype=np.int64)
    labels[:, window[fits]] = low[fits], high[fits]  # golds run backwards: the first one stays
    return labels[0], labels[1]


def count_up(sizes: Longs) -> Longs:
    """0, 1, … for each size, up to it, end to end."""
    return np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
