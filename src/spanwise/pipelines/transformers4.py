"""Spans and scores as the `question-answering` pipeline of transformers 4.57.6 gave them.

Its faults are kept, so that nothing changes for those who rely on them: a softmax for each window,
scores of equal texts summed, even beyond 1 and from other places, a question that is never cut, a
context-first tokenizer whose question may be quoted. What it crashed on is an error here too.

Source: transformers 4.57.6, `pipelines/question_answering.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from spanwise.backends import Backend
from spanwise.errors import ConfigError
from spanwise.schema import Batch, Floats
from spanwise.windows import PairTokenizer

_MASKED = np.float32(-10_000)

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


def read(
    question: str, context: str, options: Options, *, backend: Backend, tokenizer: PairTokenizer
) -> list[Result]:
    """Answer one question, best first.

    Raises:
        ConfigError: the question leaves no room for a context, or the stride none to move on.
    """
    question_first = tokenizer.padding_side == "right"
    windows = _encode(question, context, options, tokenizer)
    answers: list[Result] = []
    null_score = 1e6
    cls_token_id = tokenizer.token_id("cls_token")
    for encoding, *logits in _logits(windows, backend, context=int(question_first)):
        desired = _desired(encoding, cls_token_id, question_first=question_first)
        start, end = (_softmax(side, desired) for side in logits)
        null_score = min(null_score, float(start[0] * end[0]))
        start[0] = end[0] = 0
        for first, last, score in _best(start, end, desired, options):
            span = _characters(encoding, first, last, int(question_first), options)
            _add(answers, context[slice(*span)], span, score)
    if options.handle_impossible_answer:
        answers.append({"score": null_score, "start": 0, "end": 0, "answer": ""})
    return sorted(answers, key=lambda answer: -answer["score"])[: options.top_k]


def _encode(
    question: str, context: str, options: Options, tokenizer: PairTokenizer
) -> list[Encoding]:
    rust = Tokenizer.from_str(tokenizer.tokenizer.to_str())
    question_first = tokenizer.padding_side == "right"
    special = rust.num_special_tokens_to_add(is_pair=True)
    asked = len(rust.encode(question, add_special_tokens=False))
    room = options.max_seq_len - special - asked
    pair = (question, context) if question_first else (context, question)
    if room <= options.doc_stride:
        if len(rust.encode(context, add_special_tokens=False)) <= room:
            return [rust.encode(*pair)]  # there is nothing to cut
        raise ConfigError(
            f"max_seq_len is {options.max_seq_len}: {special} special tokens and the {asked} of "
            f"the question leave {max(room, 0)} for the context, which doc_stride "
            f"{options.doc_stride} fills; raise max_seq_len, lower doc_stride, or use "
            "scoring='spanwise', which cuts questions at max_question_len"
        )
    rust.enable_truncation(
        options.max_seq_len,
        stride=options.doc_stride,
        strategy="only_second" if question_first else "only_first",
    )
    encoding = rust.encode(*pair)
    return [encoding, *encoding.overflowing]


def _logits(
    windows: list[Encoding], backend: Backend, *, context: int
) -> Iterator[tuple[Encoding, Floats, Floats]]:
    """Start and end logits of each window, which the model is given alone and unpadded."""
    for encoding in windows:
        ids = np.array([encoding.ids], dtype=np.int32)
        edges = [
            offsets if owner == context else (-1, -1)
            for offsets, owner in zip(encoding.offsets, encoding.sequence_ids, strict=True)
        ]
        zero = np.zeros(1, dtype=np.int32)
        batch = Batch(
            input_ids=ids,
            attention_mask=np.ones_like(ids),
            type_ids=np.array([encoding.type_ids], dtype=np.int32),
            edges=np.array([edges], dtype=np.int32),
            example=zero,
            null_position=zero,
            first=zero,
            last=zero,
        )
        logits = backend(batch)
        yield encoding, logits.start_logits[0], logits.end_logits[0]


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
    best = np.argsort(-flat, kind="stable")[:count]
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
