"""Spans and scores as the `question-answering` pipeline of transformers 4.57.6 gave them.

Its faults are kept, so that nothing changes for those who rely on them: a softmax for each window,
scores of equal texts summed, even beyond 1 and from other places, a question that is never cut, a
context-first tokenizer whose question may be quoted. What it crashed on is an error here too.

Source: transformers 4.57.6, `pipelines/question_answering.py`.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from spanwise.backends import Backend, read_batches
from spanwise.errors import ConfigError
from spanwise.schema import Batch, Floats, Logits
from spanwise.windows import PairTokenizer

_MASKED = np.float32(-10_000)
_CHUNK = 64  # questions whose windows are held at a time

Result = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What that pipeline took, under its names.

    Attributes:
        top_k: answers at most.
        max_seq_len: tokens of a window.
        doc_stride: tokens that neighbouring windows share.
        max_answer_len: tokens of an answer at most.
        handle_impossible_answer: whether "" is among the answers.
        align_to_words: whether answers are widened to whole words.
    """

    top_k: int
    max_seq_len: int
    doc_stride: int
    max_answer_len: int
    handle_impossible_answer: bool
    align_to_words: bool


class Cutter:
    """Cuts a question and its context into windows as that pipeline did.

    The Rust tokenizer has to be told the length of windows, so a copy of it is; making one takes as
    long as a question, and it is kept until another length is asked for.
    """

    def __init__(self, tokenizer: PairTokenizer) -> None:
        self.tokenizer = tokenizer
        self.question_first = tokenizer.padding_side == "right"
        self._copy: tuple[tuple[int, int], Tokenizer] | None = None

    def __call__(self, question: str, context: str, options: Options) -> list[Encoding]:
        """The windows.

        Raises:
            ConfigError: the question leaves no room for a context, or the stride none to move on.
        """
        rust = self.tokenizer.tokenizer
        special = rust.num_special_tokens_to_add(is_pair=True)
        asked = len(rust.encode(question, add_special_tokens=False))
        room = options.max_seq_len - special - asked
        pair = (question, context) if self.question_first else (context, question)
        if room <= options.doc_stride:
            if len(rust.encode(context, add_special_tokens=False)) <= room:
                return [rust.encode(*pair)]  # there is nothing to cut
            raise ConfigError(
                f"max_seq_len is {options.max_seq_len}: {special} special tokens and the {asked} "
                f"of the question leave {max(room, 0)} for the context, which doc_stride "
                f"{options.doc_stride} fills; raise max_seq_len, lower doc_stride, or use "
                "scoring='spanwise', which cuts questions at max_question_len"
            )
        encoding = self._told(options).encode(*pair)
        return [encoding, *encoding.overflowing]

    def _told(self, options: Options) -> Tokenizer:
        lengths = options.max_seq_len, options.doc_stride
        copy = self._copy  # another thread may ask for others
        if copy is None or copy[0] != lengths:
            rust = Tokenizer.from_str(self.tokenizer.tokenizer.to_str())
            rust.enable_truncation(
                lengths[0],
                stride=lengths[1],
                strategy="only_second" if self.question_first else "only_first",
                direction=self.tokenizer.config.get("truncation_side", "right"),
            )
            self._copy = copy = lengths, rust
        return copy[1]


def read(
    pairs: Sequence[tuple[str, str]], options: Options, *, backend: Backend, cutter: Cutter
) -> Iterator[list[Result]]:
    """Answer questions about their contexts in turn, the best answer of each first.

    Args:
        pairs: a question and a context each.
        options: as that pipeline took them.
        backend: reads each window by itself, unpadded.
        cutter: with the tokenizer of the reader.

    Raises:
        ConfigError: as in `Cutter`.
    """
    for begin in range(0, len(pairs), _CHUNK):
        chunk = pairs[begin : begin + _CHUNK]
        cut = [cutter(*pair, options) for pair in chunk]
        context_at = int(cutter.question_first)
        batches = (
            _batch(window, context_at, typed=cutter.tokenizer.has_type_ids)
            for windows in cut
            for window in windows
        )
        with closing(read_batches(backend, batches)) as logits:
            for (_, context), windows in zip(chunk, cut, strict=True):
                found = ((window, *next(logits)) for window in windows)
                yield _answers(context, found, options, cutter)


def _answers(
    context: str,
    windows: Iterable[tuple[Encoding, Batch, Logits]],
    options: Options,
    cutter: Cutter,
) -> list[Result]:
    question_first, cls_token_id = cutter.question_first, cutter.tokenizer.token_id("cls_token")
    answers: list[Result] = []
    null_score = 1e6
    for encoding, _, logits in windows:
        desired = _desired(encoding, cls_token_id, question_first=question_first)
        start, end = (
            _softmax(side[0], desired) for side in (logits.start_logits, logits.end_logits)
        )
        null_score = min(null_score, float(start[0] * end[0]))
        start[0] = end[0] = 0
        for first, last, score in _best(start, end, desired, options):
            span = _characters(encoding, first, last, int(question_first), options)
            _add(answers, context[slice(*span)], span, score)
    if options.handle_impossible_answer:
        answers.append({"score": null_score, "start": 0, "end": 0, "answer": ""})
    return sorted(answers, key=lambda answer: -answer["score"])[: options.top_k]


def _batch(encoding: Encoding, context: int, *, typed: bool) -> Batch:
    """A window by itself; the context is the first or the second text of its pair."""
    ids = np.array([encoding.ids], dtype=np.int32)
    edges = [
        offsets if owner == context else (-1, -1)
        for offsets, owner in zip(encoding.offsets, encoding.sequence_ids, strict=True)
    ]
    zero = np.zeros(1, dtype=np.int32)
    return Batch(
        input_ids=ids,
        attention_mask=np.ones_like(ids),
        type_ids=np.array([encoding.type_ids], dtype=np.int32) * typed,
        edges=np.array([edges], dtype=np.int32),
        example=zero,
        null_position=zero,
        first=zero,
        last=zero,
    )


def _desired(
    encoding: Encoding, cls_token_id: int | None, *, question_first: bool
) -> NDArray[np.bool_]:
    """(T,) the tokens that take part; with the context first, that pipeline took all."""
    sequence = np.array([-1 if n is None else n for n in encoding.sequence_ids])
    is_cls = np.array(encoding.ids) == cls_token_id
    desired: NDArray[np.bool_] = is_cls | (sequence == 1) | (not question_first)
    return desired


def _softmax(logits: Floats, desired: NDArray[np.bool_]) -> Floats:
    masked = np.where(desired, logits, _MASKED)
    weights: Floats = np.exp(masked - masked.max())
    weights /= weights.sum()
    return weights


def _best(
    start: Floats, end: Floats, desired: NDArray[np.bool_], options: Options
) -> Iterator[tuple[int, int, float]]:
    """First and last token and score of the best spans; those that are not desired are lost."""
    # Some candidates may become one when they are widened to words.
    count = 2 * options.top_k + 10 if options.align_to_words else options.top_k
    score = np.tril(np.triu(np.outer(start, end)), options.max_answer_len - 1)
    flat = score.ravel()
    # As it chose, since the order of equal scores is seen: where all are 0, they fill the list.
    if count == 1:
        best = np.array([flat.argmax()])
    elif flat.size <= count:
        best = np.argsort(-flat)
    else:
        best = np.argpartition(-flat, count)[:count]
        best = best[np.argsort(-flat[best])]
    for first, last in zip(*np.unravel_index(best, score.shape), strict=True):
        if desired[first] and desired[last]:
            yield int(first), int(last), float(score[first, last])


def _characters(
    encoding: Encoding, first: int, last: int, sequence: int, options: Options
) -> tuple[int, int]:
    start, end = encoding.offsets[first][0], encoding.offsets[last][1]
    if not options.align_to_words:
        return start, end
    words = [encoding.token_to_word(token) for token in (first, last)]
    spans = [None if word is None else encoding.word_to_chars(word, sequence) for word in words]
    begin, stop = spans
    return (start, end) if begin is None or stop is None else (begin[0], stop[1])


def _add(answers: list[Result], text: str, span: tuple[int, int], score: float) -> None:
    for answer in answers:
        if answer["answer"].lower() == text.lower():
            answer["score"] += score
            return
    answers.append({"score": score, "start": span[0], "end": span[1], "answer": text})
