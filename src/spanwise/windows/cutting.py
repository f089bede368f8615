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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spanwise.errors import ConfigError, FormatError, Problem
from spanwise.schema import Example, Ints, Windows, WindowSettings
from spanwise.windows.encoding import Tokens
from spanwise.windows.pairing import PairTokenizer

logger = logging.getLogger("spanwise")

Longs = NDArray[np.int64]

_CHARACTERS = 1 << 20  # of distinct contexts, cut together when windows are streamed
_EXAMPLES = 1 << 14  # likewise, where one context has many questions
_TOKENS = 1 << 18  # of the windows that are in memory at once when they are streamed


@dataclass(frozen=True, kw_only=True)
class _Pool:
    """Distinct texts and their tokens."""

    texts: tuple[str, ...]  # the U distinct texts
    tokens: Tokens  # P tokens of them
    text: Longs  # (E,) which text each example has

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


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Windows that are decided on, and the tokens that they are gathered from.

    Every window is five pieces of the pool: special, first text, special, second text, special.
    """

    ids: Ints  # (P,) the pool: special tokens, questions, contexts
    types: Ints  # (P,)
    offsets: Ints  # (P, 2)
    edges: Ints  # (P, 2)
    sources: Longs  # (W, 5) where each piece begins in the pool
    lengths: Longs  # (W, 5) and how many tokens it has
    example: Longs  # (W,)
    null: Longs  # (W,) null position
    first: Longs  # (W,) labels
    last: Longs  # (W,)

    def gather(self, rows: slice, *, shift: int = 0) -> Windows:
        """The windows of some rows; `shift` is added to the number of their examples."""
        sizes = self.lengths[rows].ravel()
        gather = np.repeat(self.sources[rows].ravel(), sizes) + _count_up(sizes)
        return Windows(
            row_splits=np.concatenate([[0], np.cumsum(self.lengths[rows].sum(axis=1))]),
            input_ids=self.ids[gather],
            type_ids=self.types[gather],
            offsets=_take_pairs(self.offsets, gather),
            edges=_take_pairs(self.edges, gather),
            example=(self.example[rows] + shift).astype(np.int32),
            null_position=self.null[rows].astype(np.int32),
            first=self.first[rows].astype(np.int32),
            last=self.last[rows].astype(np.int32),
        )

    def parts(self, *, shift: int) -> Iterator[Windows]:
        """All windows in their order, some `_TOKENS` tokens at a time."""
        filled = np.cumsum(self.lengths.sum(axis=1)) // _TOKENS
        bounds = [0, *(np.flatnonzero(np.diff(filled)) + 1).tolist(), len(filled)]
        for begin, end in pairwise(bounds):
            yield self.gather(slice(begin, end), shift=shift)


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
    cutter = _Cutter(tokenizer, settings)
    windows = _plan(examples, tokenizer, settings, cutter=cutter).gather(slice(None))
    cutter.warn()
    return windows


def stream_windows(
    examples: Iterable[Example], tokenizer: PairTokenizer, settings: WindowSettings
) -> Iterator[Windows]:
    """Cut examples into the windows that `make_windows` gives, a part of them at a time.

    Memory depends neither on the number of examples nor, but for the token arrays of the longest
    context, on the length of one.

    Args:
        examples: as in `make_windows`; read as far as they are needed.
        tokenizer: as in `make_windows`.
        settings: as in `make_windows`; warned of when all is cut.

    Yields:
        The next windows, their `example` counted over all examples. The windows of a long context
        may stand in several parts.

    Raises:
        ConfigError: as in `make_windows`.
        FormatError: as in `make_windows`, when the example's turn comes.
    """
    cutter = _Cutter(tokenizer, settings)
    shift = 0
    for chunk in _chunks(examples):
        # No name holds a plan, so that it goes before the next one comes.
        yield from _plan(chunk, tokenizer, settings, cutter=cutter).parts(shift=shift)
        shift += len(chunk)
    cutter.warn()


def _chunks(examples: Iterable[Example]) -> Iterator[list[Example]]:
    chunk: list[Example] = []
    contexts: set[str] = set()
    size = 0
    for example in examples:
        if example.context not in contexts:
            contexts.add(example.context)
            size += len(example.context)
        chunk.append(example)
        if size >= _CHARACTERS or len(chunk) >= _EXAMPLES:
            yield chunk
            chunk, contexts, size = [], set(), 0
    if chunk:
        yield chunk


def _plan(
    examples: Sequence[Example],
    tokenizer: PairTokenizer,
    settings: WindowSettings,
    *,
    cutter: "_Cutter",
) -> _Plan:
    layout = tokenizer.layout
    question = _tokenise(tokenizer, [example.question for example in examples])
    context = _tokenise(tokenizer, [example.context for example in examples])
    question_size = cutter.cut_questions(question.size)
    if layout.null is None:
        _need_tokens(examples, question_size)
    owner, begin, size = cutter.cut_contexts(context.size, question_size)

    asked, read = (3, 1) if settings.context_first else (1, 3)  # pieces of question and context
    lengths = np.empty((len(owner), 5), dtype=np.int64)
    sources = np.empty((len(owner), 5), dtype=np.int64)
    lengths[:, ::2], sources[:, ::2] = np.diff(layout.splits), layout.splits[:-1]
    outside = len(layout.ids) + len(question.tokens.ids)  # of the context, which comes last
    lengths[:, asked], lengths[:, read] = question_size[owner], size
    sources[:, asked] = len(layout.ids) + question.begin[owner]
    sources[:, read] = outside + context.begin[owner] + begin
    shift = lengths[:, :read].sum(axis=1)  # (W,) tokens of a window before its context
    if layout.null is None:
        null = lengths[:, :asked].sum(axis=1)  # the first token of the question
    else:  # a special token, and the texts that stand before it
        null = layout.null + lengths[:, 1:4:2] @ (layout.null >= layout.splits[1:3])

    text_types = layout.text_types[::-1] if settings.context_first else layout.text_types
    types = np.repeat(text_types, [len(question.tokens.ids), len(context.tokens.ids)])
    nowhere = np.full((outside, 2), -1, dtype=np.int32)
    first, last = _label(examples, context, owner=owner, begin=begin, size=size)
    return _Plan(
        ids=np.concatenate([layout.ids, question.tokens.ids, context.tokens.ids]),
        types=np.concatenate([layout.types, types]),
        offsets=np.concatenate([nowhere, context.tokens.offsets]),
        edges=np.concatenate([nowhere, _edges(context)]),
        sources=sources,
        lengths=lengths,
        example=owner,
        null=null,
        first=np.where(first < 0, null, first + shift),
        last=np.where(first < 0, null, last + shift),
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
    window = (np.cumsum(windows) - windows)[example[gold]] + _count_up(windows[example])
    low, high = first[gold] - begin[window], last[gold] - begin[window]
    fits = np.flatnonzero(covered[gold] & (low >= 0) & (high < size[window]))[::-1]
    labels = np.full((2, len(owner)), -1, dtype=np.int64)
    labels[:, window[fits]] = low[fits], high[fits]  # golds run backwards: the first one stays
    return labels[0], labels[1]


def _edges(context: _Pool) -> Ints:
    """(P, 2) offsets with blanks trimmed: where an answer at this token would start and end."""
    joined = "\0".join(["", *context.texts, ""])
    parts = [joined[n : n + _CHARACTERS] for n in range(0, len(joined), _CHARACTERS)]
    blank = np.concatenate([_is_blank(part) for part in parts])
    run = np.flatnonzero(blank[1:] != blank[:-1]) + 1  # where runs of blanks begin and end, in turn
    edges = context.tokens.offsets.copy()
    for side, place in enumerate(context.places.T):
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


def _tokenise(tokenizer: PairTokenizer, texts: Sequence[str]) -> _Pool:
    place: dict[str, int] = {}
    text = np.array([place.setdefault(text, len(place)) for text in texts], dtype=np.int64)
    return _Pool(texts=tuple(place), tokens=tokenizer.encode_contexts(list(place)), text=text)


class _Cutter:
    """Decides where questions and contexts are cut, and counts what it had to do to them."""

    def __init__(self, tokenizer: PairTokenizer, settings: WindowSettings) -> None:
        special = len(tokenizer.layout.ids)
        problems = [
            f"{name} is {value}: it must be at least {least}"
            for name, value, least in (
                ("max_question_tokens", settings.max_question_tokens, 1),
                ("stride", settings.stride, 0),
            )
            if value < least
        ]
        if settings.max_length - special < 2:
            problems.append(
                f"max_length is {settings.max_length}: {special} special tokens leave no room for "
                "a question and a context; raise it"
            )
        if problems:
            raise ConfigError(problems)
        self.capacity = settings.max_length - special  # tokens of question and context together
        self.stride = settings.stride
        # A quarter of a small window is kept for the context, or long questions would starve it.
        most = self.capacity - max(1, self.capacity // 4)
        self.question_cap = min(settings.max_question_tokens, most)
        self.questions = self.cut = self.stuck = 0

    def cut_questions(self, size: Longs) -> Longs:
        """(E,) tokens of each question that are kept."""
        self.questions += len(size)
        self.cut += int((size > self.question_cap).sum())
        return np.minimum(size, self.question_cap)

    def cut_contexts(self, total: Longs, question_size: Longs) -> tuple[Longs, Longs, Longs]:
        """(W,) example of each window, its first token of the context and how many tokens it has.

        Neighbours share `stride` tokens, or half the room where `stride` would fill it.
        """
        room = self.capacity - question_size
        self.stuck += int(((total > room) & (self.stride >= room)).sum())
        step = room - np.where(self.stride < room, self.stride, room // 2)
        count = 1 + np.maximum(0, -(-(total - room) // step))
        owner = np.repeat(np.arange(len(total)), count)
        begin = _count_up(count) * step[owner]
        return owner, begin, np.minimum(room[owner], total[owner] - begin)

    def warn(self) -> None:
        """Say what was cut or shrunk."""
        if self.cut:
            logger.warning(
                "%d of %d questions are longer than %d tokens and were cut there; raise "
                "max_question_tokens (or max_length) to keep them whole",
                self.cut, self.questions, self.question_cap,
            )  # fmt: skip
        if self.stuck:
            logger.warning(
                "stride %d leaves no room to move on in the windows of %d of %d questions; half of "
                "their room is shared instead. Lower stride or raise max_length",
                self.stride, self.stuck, self.questions,
            )  # fmt: skip


def _take_pairs(pairs: Ints, rows: Longs) -> Ints:
    """`pairs[rows]`, each pair moved as one number of 64 bits, which is faster."""
    return pairs.view(np.int64)[rows].view(np.int32)


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
