"""Logits in, ranked quotes out: the best spans of a question over all its windows and contexts.

What is decoded, exactly:

- `Batch.edges` say where an answer starts that starts at a token, and where one ends that ends
  there. A *start* of a window is a distinct `edges[..., 0]`, scored by the highest start logit of
  its tokens; an *end* is a distinct `edges[..., 1]`, likewise. So the byte pieces of one emoji are
  one place, and a blank token lends its logits to the words on either side.
- A *span* is a start before an end. It is as long as the starts it holds, its own included: at most
  `max_answer_tokens`. In ordinary text that is its number of tokens; where tokens repeat, overlap,
  stand out of order or are blank it is still well defined, because only characters count.
- Its score is the float32 sum of its start and end scores. Equal spans of two windows of a context
  are one span with the higher score. Best is the highest score; of equal scores the earlier
  context, then the earlier start, then the shorter span.
- The null score of a question is the lowest over its windows.
- Probabilities are one softmax over the `n_best` best spans of the question and null.

Measured so, the ends open to a start are neighbours among the sorted ends, and the best of them is
a range maximum. The K best spans of a window start at its K best starts, since any other start has
K spans before its own; and each of the K best of a question is among the K best of some window.

This module knows nothing about tokenizers and models, and of a text only its offsets.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spanwise.errors import CheckpointError, ConfigError
from spanwise.schema import Answer, Batch, Calibration, DecodeSettings, Floats, Logits, Prediction

_Indices = NDArray[np.int64]
_Scores = NDArray[np.float64]

_CHARACTER_BITS = 32  # a place is window << 32 | character: one sorted array serves all windows
_LAST_CHARACTER = np.iinfo(np.int32).max
_LOGIT_LIMIT = np.finfo(np.float32).max / 2  # below it, the sum of two logits is finite


class _Spans(NamedTuple):
    """Spans as columns, each (n,)."""

    example: _Indices
    start: _Indices
    end: _Indices
    score: Floats

    def take(self, which: NDArray[Any]) -> "_Spans":
        return _Spans(*(column[which] for column in self))


class Decoder:
    """Reduces logits to the best spans, batch by batch, and then says one prediction per question.

    Batches may come in any order, the windows of a question scattered over them. What is kept grows
    with `n_best` per window, not with the tokens of a window.
    """

    def __init__(self, settings: DecodeSettings, calibration: Calibration) -> None:
        """Take what is saved with the model.

        Raises:
            ConfigError: `n_best`, `max_answer_tokens` or `temperature` is not above 0.
        """
        above_zero = {
            "n_best": settings.n_best,
            "max_answer_tokens": settings.max_answer_tokens,
            "temperature": calibration.temperature,
        }
        problems = [
            f"{name} is {value}: give a finite number above 0"
            for name, value in above_zero.items()
            if not 0 < value < np.inf
        ]
        if problems:
            raise ConfigError(problems)
        self._settings = settings
        self._calibration = calibration
        nothing, no_score = np.empty(0, np.int64), np.empty(0, np.float32)
        self._spans = [_Spans(nothing, nothing, nothing, no_score)]
        self._null = [(nothing, no_score)]  # example and null score of every window

    def add(self, batch: Batch, logits: Logits) -> None:
        """Keep the `n_best` best spans and the null score of each window.

        Args:
            batch: its `example` counts over all contexts of all questions: those of the first
                question, then those of the second, and so on.
            logits: read in the context and at the null position; elsewhere they may be anything.

        Raises:
            CheckpointError: a logit that is read is NaN or infinite.
        """
        example = batch.example.astype(np.int64)
        null = np.arange(len(example)), batch.null_position
        is_read = batch.context_mask
        is_read[null] = True
        for side, values in ("start", logits.start_logits), ("end", logits.end_logits):
            wrong = np.argwhere(is_read & ~(np.abs(values) < _LOGIT_LIMIT))  # so put, NaN is wrong
            if len(wrong):
                row, token = wrong[0]
                raise CheckpointError(
                    f"the model returned {values[row, token]:g} as {side} logit of token {token} "
                    f"in a window of example {example[row]}: check its dtype; float16 overflows "
                    f"in some models, float32 does not"
                )
        self._null.append((example, logits.start_logits[null] + logits.end_logits[null]))
        spans = _best_of_windows(batch, logits, self._settings)
        self._spans.append(spans._replace(example=example[spans.example]))

    def predictions(
        self,
        ids: Sequence[str],
        contexts: Sequence[Sequence[str]],
        *,
        top_k: int | None = None,
    ) -> list[Prediction]:
        """One prediction per question, in the order given.

        Args:
            ids: of the questions.
            contexts: the texts of each question, usually one.
            top_k: answers per question at most, None for `n_best`. No probability depends on it.

        Raises:
            ConfigError: `top_k` is below 1.
            ValueError: the windows added are not those of these questions.
        """
        if top_k is not None and top_k < 1:
            raise ConfigError(f"top_k is {top_k}: ask for 1 answer or more")
        if len(ids) != len(contexts):
            raise ValueError(
                f"{len(ids)} ids are given for the contexts of {len(contexts)} questions"
            )
        sizes = np.array([len(texts) for texts in contexts], np.int64)
        question = np.repeat(np.arange(len(sizes)), sizes)  # of each example
        null_score = self._null_scores(ids, question)
        spans = self._best_of_questions(question)
        owner = question[spans.example]  # ascending
        probability, null_probability = self._softmax(owner, spans.score, null_score)

        shown = _rank_in_run(owner) < (top_k or self._settings.n_best)
        context = _rank_in_run(question)[spans.example]
        columns = (owner, context, spans.start, spans.end, spans.score, probability)
        rows = zip(*(column[shown].tolist() for column in columns), strict=True)
        answers = [
            Answer(text=contexts[q][c][s:e], start=s, end=e, context=c, score=x, probability=p)
            for q, c, s, e, x, p in rows
        ]
        bounds = np.searchsorted(owner[shown], np.arange(len(ids) + 1)).tolist()
        null = zip(null_score.tolist(), null_probability.tolist(), strict=True)
        return [
            self._prediction(id_, tuple(answers[first:last]), scores)
            for id_, (first, last), scores in zip(ids, pairwise(bounds), null, strict=True)
        ]

    def _null_scores(self, ids: Sequence[str], question: _Indices) -> _Scores:
        """(questions,) the lowest over the windows of each."""
        example, score = (np.concatenate(column) for column in zip(*self._null, strict=True))
        if example.max(initial=-1) >= len(question):
            raise ValueError(
                f"a window of example {example.max()} was added, but only {len(question)} contexts "
                f"are given: give those of every question, in the order that `example` counts"
            )
        lowest = np.full(len(ids), np.inf)
        np.minimum.at(lowest, question[example], score)
        missing = [id_ for id_, score in zip(ids, lowest, strict=True) if score == np.inf]
        if missing:
            raise ValueError(
                f"no window was added for {len(missing)} of {len(ids)} questions, among them "
                f"{missing[:5]}: add every batch before asking for predictions"
            )
        return lowest

    def _best_of_questions(self, question: _Indices) -> _Spans:
        """The `n_best` best spans of each question: questions in order, the best first."""
        spans = _Spans(*(np.concatenate(column) for column in zip(*self._spans, strict=True)))
        spans = spans.take(np.lexsort((-spans.score, spans.end, spans.start, spans.example)))
        spans = spans.take(_is_new(spans.example) | _is_new(spans.start) | _is_new(spans.end))
        return spans.take(_best(question[spans.example], spans.score, self._settings.n_best))

    def _softmax(
        self, owner: _Indices, score: Floats, null_score: _Scores
    ) -> tuple[_Scores, _Scores]:
        """Probabilities of the spans (n,) and of null (questions,)."""
        use_null, temperature = self._settings.use_null, self._calibration.temperature
        peak = null_score.copy() if use_null else np.full_like(null_score, -np.inf)
        np.maximum.at(peak, owner, score)
        weight = np.exp((score - peak[owner]) / temperature)
        null_weight = np.exp((null_score - peak) / temperature) if use_null else np.zeros(len(peak))
        total = null_weight + np.bincount(owner, weight, minlength=len(peak))
        total = np.maximum(total, 1.0)  # the best weighs 1; only where there is nothing, 0 is less
        return weight / total[owner], null_weight / total

    def _prediction(
        self, id_: str, answers: tuple[Answer, ...], null: tuple[float, float]
    ) -> Prediction:
        null_score, null_probability = null
        is_null = self._settings.use_null and null_probability > self._calibration.threshold
        return Prediction(
            id=id_,
            answers=answers,
            null_score=null_score,
            null_probability=null_probability,
            best=answers[0] if answers and not is_null else None,
            calibrated=bool(self._calibration.fitted_on),
        )


def _best_of_windows(batch: Batch, logits: Logits, settings: DecodeSettings) -> _Spans:
    """The `n_best` best spans of each window; `example` is the row of the window in the batch."""
    rows, tokens = batch.context_mask.shape
    starts, start_score = _places(batch, 0, logits.start_logits)
    ends, end_score = _places(batch, 1, logits.end_logits)

    # The ends open to a start, ends[low:high], lie after it, within its window, and not after the
    # start that would be one too many.
    reach = settings.max_answer_tokens
    low = np.searchsorted(ends, starts, side="right")
    high = np.searchsorted(ends, np.arange(rows) << _CHARACTER_BITS | _LAST_CHARACTER, side="right")
    high = high[starts >> _CHARACTER_BITS]
    high[:-reach] = np.minimum(high[:-reach], low[reach:])
    has_end = np.flatnonzero(low < high)
    starts, start_score = starts[has_end], start_score[has_end]
    low, high = low[has_end], high[has_end]

    # The K-th best start of a window sets a floor under its K best spans, -inf where there are
    # fewer starts: at most T of them fill T + 1 columns.
    window = starts >> _CHARACTER_BITS
    best = start_score + _range_maximum(end_score, low, high)
    grid = np.full((rows, tokens + 1), -np.inf, np.float32)
    grid[window, _rank_in_run(window)] = best
    k = min(settings.n_best, tokens + 1)
    floor = np.partition(grid, -k, axis=1)[:, -k]
    chosen = np.flatnonzero(best >= floor[window])
    chosen = np.sort(chosen[_best(window[chosen], best[chosen], k)])

    start = np.repeat(chosen, (high - low)[chosen])  # in order, so that ties go to the earlier
    end = low[start] + _rank_in_run(start)
    score = start_score[start] + end_score[end]
    kept = np.flatnonzero(score >= floor[window[start]])
    kept = kept[_best(window[start[kept]], score[kept], settings.n_best)]
    start, end = starts[start[kept]], ends[end[kept]]
    return _Spans(
        example=start >> _CHARACTER_BITS,
        start=start & _LAST_CHARACTER,
        end=end & _LAST_CHARACTER,
        score=score[kept],
    )


def _places(batch: Batch, side: int, logits: Floats) -> tuple[_Indices, Floats]:
    """Distinct places on one side of the edges of all windows, in order, and the best logits."""
    is_context = batch.context_mask
    window = np.repeat(np.arange(len(is_context)), is_context.sum(axis=1))
    place = (window << _CHARACTER_BITS) + batch.edges[..., side][is_context]
    order = np.argsort(place, kind="stable")  # linear where places are in order: nearly always
    place = place[order]
    first = np.flatnonzero(_is_new(place))
    return place[first], np.maximum.reduceat(logits[is_context][order], first)


def _range_maximum(values: Floats, low: _Indices, high: _Indices) -> Floats:
    """The highest of each `values[low:high]`, none of them empty.

    Row n of the table holds the highest of the 2**n values from each place on. Two entries of one
    row, overlapping, cover any range.
    """
    level = np.frexp(high - low)[1] - 1  # log2, rounded down
    table = [values]
    for step in 1 << np.arange(level.max(initial=0)):
        row = table[-1].copy()
        np.maximum(row[:-step], row[step:], out=row[:-step])
        table.append(row)
    levels = np.stack(table)
    highest: Floats = np.maximum(levels[level, low], levels[level, high - (1 << level)])
    return highest


def _best(group: _Indices, score: Floats, k: int) -> _Indices:
    """Indices of the k best of each group: groups in order, best first, ties as they stand."""
    order = np.lexsort((-score, group))
    return order[_rank_in_run(group[order]) < k]


def _rank_in_run(values: _Indices) -> _Indices:
    """(n,) how many equal values stand directly before each."""
    place = np.arange(len(values))
    return place - np.maximum.accumulate(np.where(_is_new(values), place, 0))


def _is_new(values: _Indices) -> NDArray[np.bool_]:
    """(n,) True where a value differs from the one before it."""
    is_new = np.ones(len(values), np.bool_)
    is_new[1:] = values[1:] != values[:-1]
    return is_new
