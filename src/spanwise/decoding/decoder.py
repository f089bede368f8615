"""Collects the best spans of all windows and says one prediction per question."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from numbers import Integral
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spanwise.decoding.rows import NOTHING, Rows, merged
from spanwise.decoding.search import best_of_windows
from spanwise.errors import ConfigError
from spanwise.schema import Answer, Batch, Calibration, DecodeSettings, Logits, Prediction

_Scores = NDArray[np.float64]

_PILE = 1 << 19  # spans, some 6 MB, that may pile up before those of one example are merged


def check_top_k(top_k: Any) -> None:
    """Refuse a number of answers that is none, before what may take hours.

    Raises:
        ConfigError: it is neither None nor a whole number of at least 1.
    """
    if top_k is not None and (not isinstance(top_k, Integral) or top_k < 1):
        raise ConfigError(f"top_k is {top_k!r}: ask for 1 answer or more")


class Decoder:
    """Reduces logits to the best spans, batch by batch, and then says one prediction per question.

    Batches may come in any order and from several threads, the windows of a question scattered over
    them. What is kept grows with `n_best` per example, not with its windows or their tokens.
    """

    def __init__(self, settings: DecodeSettings, calibration: Calibration) -> None:
        """Take what is saved with the model.

        Raises:
            ConfigError: `n_best`, `max_answer_tokens`, `temperature` or `null_scale` is not a
                number above 0.
        """
        above_zero = {
            "n_best": settings.n_best,
            "max_answer_tokens": settings.max_answer_tokens,
            "temperature": calibration.temperature,
            "null_scale": calibration.null_scale,
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
        self._kept = [Rows.none()]
        self._room = _PILE  # spans that may still be kept as they come
        self._lock = Lock()

    def add(self, batch: Batch, logits: Logits) -> None:
        """Keep the `n_best` best spans and the null score of each window.

        Args:
            batch: its `example` counts over all contexts of all questions: those of the first
                question, then those of the second, and so on.
            logits: read in the context and at the null position; elsewhere they may be anything.

        Raises:
            CheckpointError: a logit that is read is NaN or infinite.
        """
        if not len(batch.example):
            return
        found = best_of_windows(batch, logits, self._settings)
        with self._lock:
            self._kept += found
            self._room -= sum(rows.span.size for rows in found)
            if self._room < 0:
                rows = merged(self._kept, self._settings.n_best)
                self._kept = [rows]
                self._room = max(_PILE, rows.span.size)  # merging stays a small share of the work

    def predictions(
        self,
        ids: Sequence[str],
        contexts: Sequence[Sequence[str]],
        *,
        top_k: int | None = None,
        doubt: ArrayLike = 0.0,
    ) -> list[Prediction]:
        """One prediction per question, in the order given.

        Args:
            ids: of the questions.
            contexts: the texts of each question, usually one.
            top_k: answers per question at most, None for `n_best`. No probability depends on it.
            doubt: (Q,) or a number, added to the null scores.

        Raises:
            ConfigError: as in `check_top_k`.
            ValueError: the windows added are not those of these questions.
        """
        check_top_k(top_k)
        if len(ids) != len(contexts):
            raise ValueError(
                f"{len(ids)} ids are given for the contexts of {len(contexts)} questions"
            )
        texts = _Texts(contexts)
        rows = self._best_of_questions(ids, texts)
        rows = rows._replace(null_score=rows.null_score + np.asarray(doubt, np.float32))
        null_score = rows.null_score if self._settings.use_null else np.full(len(ids), NOTHING)
        probability, null_probability = self._calibration.probabilities(rows.score, null_score)
        is_null = self._settings.use_null & (null_probability > self._calibration.threshold)
        calibrated = bool(self._calibration.fitted_on)
        return [
            Prediction(
                id=id_,
                answers=answers,
                null_score=score,
                null_probability=share,
                best=answers[0] if answers and not refused else None,
                calibrated=calibrated,
            )
            for id_, answers, (score, share, refused) in zip(
                ids,
                texts.quote(rows, probability, top_k),
                _tuples(rows.null_score, null_probability, is_null),
                strict=True,
            )
        ]

    def null_margins(self, count: int) -> _Scores:
        """(Q,) how far null is above the best spans, in logits before any temperature.

        Args:
            count: Q, of questions with one text each.

        Raises:
            ValueError: as in `predictions`.
        """
        rows = self._best_of_questions([str(n) for n in range(count)], _Texts([[""]] * count))
        _, margin = Calibration().share_and_margin(rows.score, rows.null_score)
        return margin

    def _best_of_questions(self, ids: Sequence[str], texts: "_Texts") -> Rows:
        """One row for each question, in order."""
        last = max(rows.owner.max(initial=-1) for rows in self._kept)
        if last >= len(texts.question):
            raise ValueError(
                f"a window of example {last} was added, but only {len(texts.question)} contexts "
                f"are given: give those of every question, in the order that `example` counts"
            )
        parts = [
            Rows(
                texts.question[rows.owner],
                rows.null_score,
                rows.score,
                rows.span + texts.shift[rows.owner, None] * ((1 << 32) + 1),
            )
            for rows in self._kept
        ]
        rows = merged(parts, self._settings.n_best)
        if len(rows.owner) < len(ids):
            missing = np.setdiff1d(np.arange(len(ids)), rows.owner)
            raise ValueError(
                f"no window was added for {len(missing)} of {len(ids)} questions, among them "
                f"{[ids[n] for n in missing[:5]]}: add every batch before asking for predictions"
            )
        return rows


class _Texts:
    """The texts of each question laid end to end, so that its spans compare as if of one text.

    Attributes:
        question: (texts,) whose text each is.
        shift: (texts,) characters of the question's texts before each.
    """

    def __init__(self, contexts: Sequence[Sequence[str]]) -> None:
        self._contexts = contexts
        count = np.fromiter(map(len, contexts), np.int64)
        length = np.fromiter(map(len, chain.from_iterable(contexts)), np.int64)
        self.question = np.repeat(np.arange(len(count)), count)
        self._first = np.cumsum(count) - count  # text of each question
        self._begin = np.cumsum(length) - length  # of each text, where all questions follow on
        self.shift = self._begin - self._begin[self._first[self.question]]

    def quote(
        self, rows: Rows, probability: _Scores, top_k: int | None
    ) -> list[tuple[Answer, ...]]:
        """The `top_k` best spans of each question, as answers."""
        question, rank = np.nonzero(rows.score[:, :top_k] > NOTHING)
        span = rows.span[question, rank]
        start, end = span >> 32, span & (1 << 32) - 1
        first = self._first[question]
        text = np.searchsorted(self._begin, self._begin[first] + start, side="right") - 1
        shift = self.shift[text]
        places = text - first, start - shift, end - shift
        values = rows.score[question, rank], probability[question, rank]
        answers = iter(
            [
                Answer(
                    text=self._contexts[q][c][s:e],
                    start=s,
                    end=e,
                    context=c,
                    score=x,
                    probability=p,
                )
                for q, c, s, e, x, p in _tuples(question, *places, *values)
            ]
        )
        count = np.bincount(question, minlength=len(rows.owner))
        return [tuple(islice(answers, n)) for n in count.tolist()]


def _tuples(*columns: NDArray[Any]) -> Iterator[tuple[Any, ...]]:
    return zip(*(column.tolist() for column in columns), strict=True)
