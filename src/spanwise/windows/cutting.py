"""Windows cut from arrays.

Each distinct context and question is tokenised once, without special tokens; every window is then
gathered from those arrays. The result equals the tokenizer's own pair encoding with overflow: ids,
segment ids and offsets. Two differences are meant, both in all windows of a context but the first.
Under `add_prefix_space=True` the reference takes the first context token for the start of a text
and leaves its blank in the offsets; here it is trimmed like any other. And the reference gives the
second text segment 1 where the template says 0, which a model with one segment cannot look up; here
the template holds. This module knows nothing about models or about files.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spanwise.errors import ConfigError, FormatError, Problem
from spanwise.schema import Example, Ints, Windows, WindowSettings
from spanwise.windows.pairing import PairTokenizer

logger = logging.getLogger("spanwise")

Longs = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class _Pool:
    """Tokens of distinct texts, end to end."""

    texts: tuple[str, ...]  # the U distinct texts
    splits: Longs  # (U + 1,) tokens of text u are splits[u]:splits[u + 1]
    ids: Ints  # (P,)
    offsets: Ints  # (P, 2) characters of the token's own text
    text: Longs  # (E,) which text each example has

    @property
    def begin(self) -> Longs:
        """(E,) first token of each example's text."""
        return self.splits[self.text]

    @property
    def size(self) -> Longs:
        """(E,) tokens of each example's text."""
        return np.diff(self.splits)[self.text]

    @property
    def bases(self) -> Longs:
        """(U + 1,) where each text begins when all are joined, one character between them."""
        return np.concatenate([[0], np.cumsum([len(text) + 1 for text in self.texts])])

    @property
    def shifts(self) -> Longs:
        """(P,) base of each token's text."""
        return np.repeat(self.bases[:-1], np.diff(self.splits))


def make_windows(
    examples: Sequence[Example], tokenizer: PairTokenizer, settings: WindowSettings
) -> Windows:
    """Cut examples into overlapping token windows, labelled where they carry answers.

    A window is labelled with the first of its example's answers that lies wholly inside it, else
    with the null position. A context without any token gives one window.

    Args:
        examples: questions with their contexts.
        tokenizer: the tokenizer of the reader.
        settings: lengths in tokens. A stride that leaves a window no room to move on is shrunk, a
            question over the cap is cut; both are warned of once, with a count.

    Returns:
        W windows in the order of the examples.

    Raises:
        ConfigError: lengths that leave no room for a context.
        FormatError: a text that cannot be tokenised, or a question without any token where the
            tokenizer has no special token to stand for "no answer".
    """
    layout = tokenizer.layout
    capacity = settings.max_length - len(layout.ids)  # tokens of question and context together
    _check(settings, capacity=capacity, special=len(layout.ids))
    question = _tokenise(tokenizer, [example.question for example in examples])
    context = _tokenise(tokenizer, [example.context for example in examples])
    question_size = _cut_questions(question.size, settings, capacity=capacity)
    if layout.null is None:
        _need_tokens(examples, question_size)
    room = capacity - question_size  # (E,)
    owner, begin, size = _cut_contexts(context.size, room, settings.stride)

    # Every window is five pieces of one pool: special, first text, special, second text, special.
    asked, read = (3, 1) if settings.context_first else (1, 3)  # columns of question and context
    lengths = np.empty((len(owner), 5), dtype=np.int64)
    sources = np.empty((len(owner), 5), dtype=np.int64)
    lengths[:, ::2], sources[:, ::2] = np.diff(layout.splits), layout.splits[:-1]
    outside = len(layout.ids) + len(question.ids)  # of the context, which comes last in the pool
    lengths[:, asked], lengths[:, read] = question_size[owner], size
    sources[:, asked] = len(layout.ids) + question.begin[owner]
    sources[:, read] = outside + context.begin[owner] + begin
    shift = lengths[:, :read].sum(axis=1)  # (W,) tokens of a window before its context
    if layout.null is None:
        null = lengths[:, :asked].sum(axis=1)  # the first token of the question
    else:  # a special token, and the texts that stand before it
        null = layout.null + lengths[:, 1:4:2] @ (layout.null >= layout.splits[1:3])

    pieces = lengths.ravel()
    row_splits = np.concatenate([[0], np.cumsum(lengths.sum(axis=1))])
    gather = np.repeat(sources.ravel(), pieces) + _count_up(pieces)
    text_types = layout.text_types[::-1] if settings.context_first else layout.text_types
    types = np.repeat(text_types, [len(question.ids), len(context.ids)])
    nowhere = np.full((outside, 2), -1, dtype=np.int32)
    first, last = _label(examples, context, owner=owner, begin=begin, size=size)
    return Windows(
        row_splits=row_splits,
        input_ids=np.concatenate([layout.ids, question.ids, context.ids])[gather],
        type_ids=np.concatenate([layout.types, types])[gather],
        offsets=np.concatenate([nowhere, context.offsets])[gather],
        edges=np.concatenate([nowhere, _edges(context)])[gather],
        example=owner.astype(np.int32),
        null_position=null.astype(np.int32),
        first=np.where(first < 0, null, first + shift).astype(np.int32),
        last=np.where(first < 0, null, last + shift).astype(np.int32),
    )


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


def _label(
    examples: Sequence[Example], context: _Pool, *, owner: Longs, begin: Longs, size: Longs
) -> tuple[Longs, Longs]:
    """(W,) first and last label as tokens of the window's piece of context; -1 for null."""
    golds = [
        (number, gold.start, gold.end)
        for number, example in enumerate(examples)
        for gold in example.answers or ()
        if 0 <= gold.start < gold.end <= len(example.context)  # others would reach into a neighbour
    ]
    example, start, end = np.array(golds, dtype=np.int64).reshape(-1, 3).T  # (G,) in order
    # One search over all contexts: each starts where the one before has ended.
    base = context.bases[context.text[example]]
    first, last = _cover(context.offsets + context.shifts[:, None], base + start, base + end)
    covered = first <= last
    first, last = first - context.begin[example], last - context.begin[example]

    # Every window of an example meets every gold of it; the first that fits labels the window.
    windows = np.bincount(owner, minlength=len(examples))
    gold = np.repeat(np.arange(len(example)), windows[example])
    window = (np.cumsum(windows) - windows)[example[gold]] + _count_up(windows[example])
    low, high = first[gold] - begin[window], last[gold] - begin[window]
    fits = np.flatnonzero(covered[gold] & (low >= 0) & (high < size[window]))[::-1]
    labels = np.full((2, len(owner)), -1, dtype=np.int64)
    labels[:, window[fits]] = low[fits], high[fits]  # golds run backwards: the first one stays
    return labels[0], labels[1]


def _edges(context: _Pool) -> Ints:
    """(P, 2) offsets with blanks trimmed: where an answer at this token would start and end."""
    if not len(context.offsets):
        return context.offsets
    joined = "\0".join([*context.texts, ""])
    codes = np.frombuffer(joined.encode("utf-32-le"), dtype=np.uint32)
    place = np.arange(len(codes))
    solid = ~np.isin(codes, _blanks())
    following = np.minimum.accumulate(np.where(solid, place, len(codes))[::-1])[::-1]
    preceding = np.maximum.accumulate(np.where(solid, place + 1, 0))
    shifts = context.shifts
    start, end = (context.offsets + shifts[:, None]).T
    # The character between two texts is solid, so no search leaves its text forwards; backwards
    # it may stop at that character, whose end is the text's own start.
    trimmed = np.stack([following[start], np.where(end > 0, preceding[end - 1], 0)], axis=1)
    return (trimmed - shifts[:, None]).astype(np.int32)


@cache
def _blanks() -> NDArray[np.uint32]:
    """Code points that `str.strip` takes off; none lies beyond U+3000."""
    codes = [code for code in range(0x3001) if chr(code).isspace()]
    return np.array(codes, dtype=np.uint32)


def _tokenise(tokenizer: PairTokenizer, texts: Sequence[str]) -> _Pool:
    place: dict[str, int] = {}
    text = np.array([place.setdefault(text, len(place)) for text in texts], dtype=np.int64)
    encoded = tokenizer.encode_contexts(list(place))
    ids = [np.empty(0, dtype=np.int32), *(ids for ids, _ in encoded)]
    offsets = [np.empty((0, 2), dtype=np.int32), *(offsets for _, offsets in encoded)]
    return _Pool(
        texts=tuple(place),
        splits=np.cumsum([len(piece) for piece in ids]),
        ids=np.concatenate(ids),
        offsets=np.concatenate(offsets),
        text=text,
    )


def _check(settings: WindowSettings, *, capacity: int, special: int) -> None:
    problems = [
        f"{name} is {value}: it must be at least {least}"
        for name, value, least in (
            ("max_question_tokens", settings.max_question_tokens, 1),
            ("stride", settings.stride, 0),
        )
        if value < least
    ]
    if capacity < 2:
        problems.append(
            f"max_length is {settings.max_length}: {special} special tokens leave no room for a "
            "question and a context; raise it"
        )
    if problems:
        raise ConfigError(problems)


def _cut_questions(size: Longs, settings: WindowSettings, *, capacity: int) -> Longs:
    # A quarter of a small window is kept for the context, or long questions would starve it.
    cap = min(settings.max_question_tokens, capacity - max(1, capacity // 4))
    longer = int((size > cap).sum())
    if longer:
        logger.warning(
            "%d of %d questions are longer than %d tokens and were cut there; raise "
            "max_question_tokens (or max_length) to keep them whole",
            longer,
            len(size),
            cap,
        )
    return np.minimum(size, cap)


def _cut_contexts(total: Longs, room: Longs, stride: int) -> tuple[Longs, Longs, Longs]:
    """(W,) example of each window, its first token of the context and how many tokens it has.

    Neighbours share `stride` tokens, or half the room where `stride` would fill it.
    """
    stuck = (total > room) & (stride >= room)
    if stuck.any():
        logger.warning(
            "stride %d leaves no room to move on in the windows of %d of %d questions; half of "
            "their room is shared instead. Lower stride or raise max_length",
            stride,
            int(stuck.sum()),
            len(room),
        )
    step = room - np.where(stride < room, stride, room // 2)
    count = 1 + np.maximum(0, -(-(total - room) // step))
    owner = np.repeat(np.arange(len(total)), count)
    begin = _count_up(count) * step[owner]
    return owner, begin, np.minimum(room[owner], total[owner] - begin)


def _count_up(sizes: Longs) -> Longs:
    """0, 1, … for each size, up to it, end to end."""
    return np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)


def _need_tokens(examples: Sequence[Example], question_size: Longs) -> None:
    problems = [
        Problem(
            file="",
            place="question",
            id=example.id,
            message=f"{example.question!r} gives no token, and the tokenizer has no special token "
            "that could stand for 'no answer'; reword the question",
        )
        for example, size in zip(examples, question_size, strict=True)
        if size == 0
    ]
    if problems:
        raise FormatError(problems)
