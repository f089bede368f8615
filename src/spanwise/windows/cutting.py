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
from itertools import pairwise

import numpy as np

from spanwise.errors import ConfigError, FormatError, Problem
from spanwise.schema import Example, Ints, Windows, WindowSettings
from spanwise.windows.encoding import AT_ONCE
from spanwise.windows.labelling import count_up, label_windows
from spanwise.windows.pairing import PairTokenizer
from spanwise.windows.texts import Longs, Texts

logger = logging.getLogger("spanwise")

_CHARACTERS = 1 << 20  # of distinct contexts, cut together when windows are streamed
_EXAMPLES = 1 << 14  # likewise, where one context has many questions
_MOST = 2**31 - 1  # tokens of a window, which no text has
_TOKENS = 1 << 18  # of the windows that are in memory at once when they are streamed


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
        gather = np.repeat(self.sources[rows].ravel(), sizes) + count_up(sizes)
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
        for begin, end in pairwise(bounds if len(filled) else []):
            yield self.gather(slice(begin, end), shift=shift)


def make_windows(
    examples: Iterable[Example], tokenizer: PairTokenizer, settings: WindowSettings
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
    examples = list(examples)
    cutter = _Cutter(tokenizer, settings)
    contexts = Texts.whole([example.context for example in examples], tokenizer)
    (plan,) = cutter.plans(examples, [contexts])
    cutter.warn()
    return plan.gather(slice(None))


def stream_windows(
    examples: Iterable[Example],
    tokenizer: PairTokenizer,
    settings: WindowSettings,
    *,
    warns: bool = True,
) -> Iterator[Windows]:
    """Cut examples into the windows that `make_windows` gives, a part of them at a time.

    Memory depends neither on the number of examples nor on the length of a context.

    Args:
        examples: as in `make_windows`; read as far as they are needed.
        tokenizer: as in `make_windows`.
        settings: as in `make_windows`; warned of when all is cut.
        warns: False for what was warned of before.

    Yields:
        The next windows, their `example` counted over all examples. A long context is cut stretch
        by stretch, each for all questions in a row that ask about it; otherwise the order is that
        of the examples.

    Raises:
        ConfigError: as in `make_windows`.
        FormatError: as in `make_windows`, when the example's turn comes.
    """
    cutter = _Cutter(tokenizer, settings)
    shift = 0
    for chunk in _chunks(examples):
        contexts = [example.context for example in chunk]
        if _is_long(contexts[0]):
            texts = Texts.stretches(
                contexts[0], tokenizer, examples=len(chunk), reach=cutter.capacity
            )
        else:
            texts = iter([Texts.whole(contexts, tokenizer)])
        for plan in cutter.plans(chunk, texts):
            yield from plan.parts(shift=shift)
        shift += len(chunk)
    if warns:
        cutter.warn()


def _chunks(examples: Iterable[Example]) -> Iterator[list[Example]]:
    """Examples in a row; a long context has no other beside it."""
    chunk: list[Example] = []
    contexts: set[str] = set()
    size = 0
    for example in examples:
        is_new = example.context not in contexts
        is_over = is_new and (size >= _CHARACTERS or _is_long(example.context))
        if chunk and (is_over or len(chunk) == _EXAMPLES):
            yield chunk
            chunk, contexts, size = [], set(), 0
        if example.context not in contexts:
            contexts.add(example.context)
            size += _CHARACTERS if _is_long(example.context) else len(example.context)
        chunk.append(example)
    if chunk:
        yield chunk


def _is_long(context: str) -> bool:
    return len(context) > AT_ONCE


class _Cutter:
    """Decides where questions and contexts are cut, and counts what it had to do to them."""

    def __init__(self, tokenizer: PairTokenizer, settings: WindowSettings) -> None:
        self._tokenizer = tokenizer
        self._context_first = settings.context_first
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
                "a question and a context; raise it (max_seq_len of a pipeline)"
            )
        if problems:
            raise ConfigError(problems)
        # Tokens of question and context together.
        self.capacity = min(settings.max_length, _MOST) - special
        self.stride = settings.stride
        # A quarter of a small window is kept for the context, or long questions would starve it.
        most = self.capacity - max(1, self.capacity // 4)
        self.question_cap = min(settings.max_question_tokens, most)
        self.questions = self.cut = self.stuck = 0

    def plans(self, examples: Sequence[Example], contexts: Iterable[Texts]) -> Iterator[_Plan]:
        """The windows of some examples, of one part of their contexts after another."""
        question = Texts.whole([example.question for example in examples], self._tokenizer)
        question_size = np.minimum(question.size, self.question_cap)
        if self._tokenizer.layout.null is None:
            _need_tokens(examples, question_size)
        self.questions += len(examples)
        self.cut += int((question.size > self.question_cap).sum())
        for context in contexts:
            yield self._plan(examples, question, question_size, context)

    def _plan(
        self, examples: Sequence[Example], question: Texts, question_size: Longs, context: Texts
    ) -> _Plan:
        layout = self._tokenizer.layout
        owner, begin, size = self._cut(context, question_size)
        asked, read = (3, 1) if self._context_first else (1, 3)  # pieces of question and context
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

        text_types = layout.text_types[::-1] if self._context_first else layout.text_types
        types = np.repeat(text_types, [len(question.tokens.ids), len(context.tokens.ids)])
        nowhere = np.full((outside, 2), -1, dtype=np.int32)
        places = np.int32(context.first_character)
        first, last = label_windows(examples, context, owner=owner, begin=begin, size=size)
        return _Plan(
            ids=np.concatenate([layout.ids, question.tokens.ids, context.tokens.ids]),
            types=np.concatenate([layout.types, types]),
            offsets=np.concatenate([nowhere, context.tokens.offsets + places]),
            edges=np.concatenate([nowhere, context.edges() + places]),
            sources=sources,
            lengths=lengths,
            example=owner,
            null=null,
            first=np.where(first < 0, null, first + shift),
            last=np.where(first < 0, null, last + shift),
        )

    def _cut(self, context: Texts, question_size: Longs) -> tuple[Longs, Longs, Longs]:
        """(W,) example of each window, its first token of the text and how many tokens it has.

        Neighbours share `stride` tokens, or half the room where `stride` would fill it.
        """
        room = self.capacity - question_size
        total = context.first_token + context.size  # of a stretch: as far as it is known
        stride = min(self.stride, self.capacity)
        step = room - np.where(stride < room, stride, room // 2)
        if context.begins.start == 0:
            self.stuck += int(((total > room) & (stride >= room)).sum())
        # Numbers of the first window here and of the first beyond; the last of a text ends it.
        low, high = (-(-bound // step) for bound in (context.begins.start, context.begins.stop))
        count = np.maximum(0, np.minimum(high, 1 + np.maximum(0, -(-(total - room) // step))) - low)
        owner = np.repeat(np.arange(len(total)), count)
        begin = (low[owner] + count_up(count)) * step[owner]
        size = np.minimum(room[owner], total[owner] - begin)
        return owner, begin - context.first_token, size

    def warn(self) -> None:
        """Say what was cut or shrunk."""
        if self.cut:
            logger.warning(
                "%d of %d questions are longer than %d tokens and were cut there; raise "
                "max_question_tokens (max_question_len of a pipeline), or max_length, to keep them "
                "whole",
                self.cut, self.questions, self.question_cap,
            )  # fmt: skip
        if self.stuck:
            logger.warning(
                "stride %d leaves no room to move on in the windows of %d of %d questions; half of "
                "their room is shared instead. Lower stride (doc_stride of a pipeline) or raise "
                "max_length",
                self.stride, self.stuck, self.questions,
            )  # fmt: skip


def _take_pairs(pairs: Ints, rows: Longs) -> Ints:
    """`pairs[rows]`, each pair moved as one number of 64 bits, which is faster."""
    return pairs.view(np.int64)[rows].view(np.int32)


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
