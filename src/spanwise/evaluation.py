"""Examples become predictions, predictions become scores, and a calibration is fitted.

This module knows nothing about training, files or how a report is shown.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spanwise import calibration as measure
from spanwise.corpus.scanning import distinct_names
from spanwise.errors import ConfigError, DataError, Problem
from spanwise.intervals import Interval, bootstrap_mean
from spanwise.metrics import Scores, guess_language, score_predictions
from spanwise.metrics.checks import check_data
from spanwise.reader import Reader
from spanwise.schema import Calibration, Example, Prediction, ReaderSettings, Report
from spanwise.slices import each_slice

Progress = Callable[[int, int], None]

ACCURACIES = (80, 90)
"""Percent of answers right, at which it is said how many questions can be answered."""
_FOLDS = 5


def evaluate(
    reader: Reader,
    examples: Sequence[Example],
    *,
    language: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Score a reader on labelled examples at its stored threshold.

    Besides what `score_spans` gives, `overall` has `brier`, `nll` and `ece` of what is returned,
    an answer or null, with `ece_low` and `ece_high` as in `calibration_range` and
    `ece_uncalibrated`, that of the plain softmax for the same decisions; `answered_at_80` and
    `answered_at_90`: percent of the questions whose best spans, were only the likeliest of them
    returned, would be right in so many percent.

    Args:
        reader: its calibration gives the threshold.
        examples: labelled, with distinct ids.
        language: whose rules answers are compared by; None guesses.
        progress: called with windows done and windows known of.

    Raises:
        ConfigError: an unknown language.
        DataError: examples that cannot be scored, each one named.
    """
    examples = list(examples)  # a generator would be spent before the scores
    check_data(examples, {}, None, rules=None)
    predictions = reader.predict(examples, progress=progress)
    return report_predictions(examples, predictions, settings=reader.settings, language=language)


def report_predictions(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    *,
    settings: ReaderSettings,
    language: str | None = None,
) -> Report:
    """Score what a reader said, as `evaluate` does.

    Args:
        examples: labelled, with distinct ids.
        predictions: one for each example, in their order, with all their answers.
        settings: of the reader, its calibration as the predictions were made with.
        language: whose rules answers are compared by; None guesses.

    Raises:
        ConfigError: an unknown language.
        DataError: examples that cannot be scored, each one named.
    """
    language = language or guess_language(examples)
    threshold = settings.calibration.threshold
    spans = _score(examples, predictions, language)
    scores = _score(examples, predictions, language, threshold=threshold)
    return Report(
        overall=_overall(examples, predictions, scores, spans, threshold=threshold)
        | _worth(predictions, scores, spans, use_null=settings.decode.use_null),
        exact=tuple(scores.exact.values()),
        f1=tuple(scores.f1.values()),
        span_exact=tuple(spans.exact.values()),
        span_f1=tuple(spans.f1.values()),
        language=language,
        settings=settings,
        predictions=tuple(predictions),
    )


def score_spans(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    *,
    threshold: float,
    language: str | None = None,
) -> dict[str, float]:
    """Official scores of predictions at a threshold, and what does not depend on one.

    Args:
        examples: labelled, with distinct ids.
        predictions: one for each example, in their order.
        threshold: null probability above which a question counts as unanswerable.
        language: whose rules answers are compared by; None guesses.

    Returns:
        Percent under the official keys; `answerable_exact` and `answerable_f1`: of the questions
        that have an answer, were the reader never to abstain; `answered`: percent of questions
        answered at the threshold; `auroc` of answerability, between 0 and 1, where both kinds
        occur; `exact_low`, `exact_high`, `f1_low`, `f1_high`: 95 % intervals.
    """
    language = language or guess_language(examples)
    spans = _score(examples, predictions, language)
    scores = _score(examples, predictions, language, threshold=threshold)
    return _overall(examples, predictions, scores, spans, threshold=threshold)


def fitted_name(data: Sequence[str]) -> str:
    """How `spanwise.json` calls the data that something was fitted on."""
    return ", ".join(distinct_names(data))


def fit_calibration(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    *,
    fitted_on: str,
    use_null: bool = True,
    known: Calibration | None = None,
    target_precision: float | None = None,
    language: str | None = None,
) -> Calibration:
    """Fit probabilities by maximum likelihood, then the threshold, on held-out examples.

    Args:
        examples: labelled, with distinct ids; not those that the reader learnt from.
        predictions: of `Reader.predict`: one for each example, in their order, with all answers.
        fitted_on: how the data is called where the calibration is kept.
        use_null: False for a reader that was never trained on null.
        known: of a reader that knows null: where no example is unanswerable, which would teach it
            to answer always, what null is worth and the threshold stay as they are here.
        target_precision: share of the answers that has to be right; None takes the threshold with
            the best F1.
        language: whose rules answers are compared by; None guesses.

    Returns:
        What `Reader(backend, tokenizer, replace(settings, calibration=…))` and `recalibrated` take.

    Raises:
        ConfigError: `target_precision` is not reached.
        DataError: examples that cannot be scored, or not as many predictions.
    """
    language = language or guess_language(examples)
    spans = _score(examples, predictions, language)
    right = np.array(list(spans.exact.values()))
    unanswerable = np.array([float(not example.answers) for example in examples])
    known = None if unanswerable.any() or not use_null else known
    calibration = measure.fit_probabilities(
        *stacked_scores(predictions, use_null=use_null), right, unanswerable, known=known
    )
    if known is not None:
        return replace(calibration, fitted_on=fitted_on)
    predictions = recalibrated(predictions, calibration, use_null=use_null)
    null = [p.null_probability for p in predictions]
    if target_precision is not None:
        threshold, _ = measure.threshold_for_precision(null, right, target_precision)
    else:
        f1 = np.array(list(spans.f1.values()))
        threshold, _ = measure.fit_threshold(null, f1, unanswerable)
    return replace(calibration, threshold=threshold, fitted_on=fitted_on)


def cross_validate(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    fit: Callable[[Sequence[Example], Sequence[Prediction]], Calibration],
    *,
    settings: ReaderSettings,
    language: str | None = None,
) -> dict[str, float]:
    """What a calibration is worth on questions that it was not fitted on.

    Each fifth is judged with what the other four give. Neighbours, which may share a text, stay
    together.

    Args:
        examples: labelled, with distinct ids.
        predictions: of `Reader.predict`: one for each example, in their order, with all answers.
        fit: `fit_calibration` with all that it needs besides.
        settings: of the reader.
        language: whose rules answers are compared by; None guesses.

    Returns:
        `exact` and `f1` in percent, `brier` and `nll`, over all questions; nothing where a fit
        fails, or there are too few of them.
    """
    language = language or guess_language(examples)
    rows = np.arange(len(examples))
    totals = dict.fromkeys(("exact", "f1", "brier", "nll"), 0.0)
    for judged in np.array_split(rows, _FOLDS):
        rest = np.setdiff1d(rows, judged)
        if not len(judged) or not len(rest):
            return {}
        try:
            calibration = fit([examples[n] for n in rest], [predictions[n] for n in rest])
        except ConfigError:  # a precision that is not reached
            return {}
        report = report_predictions(
            [examples[n] for n in judged],
            recalibrated(
                [predictions[n] for n in judged], calibration, use_null=settings.decode.use_null
            ),
            settings=replace(settings, calibration=calibration),
            language=language,
        )
        for name in totals:
            totals[name] += len(judged) * report.overall[name]
    return {name: total / len(rows) for name, total in totals.items()}


def recalibrated(
    predictions: Sequence[Prediction], calibration: Calibration, *, use_null: bool = True
) -> list[Prediction]:
    """The same predictions under another calibration, without reading the texts again.

    Args:
        predictions: of `Reader.predict`, whatever calibration they were made with.
        calibration: to apply.
        use_null: False for a reader that was never trained on null.
    """
    shares, nulls = calibration.probabilities(*stacked_scores(predictions, use_null=use_null))
    fresh = []
    for prediction, share, null in zip(predictions, shares.tolist(), nulls.tolist(), strict=True):
        answers = tuple(
            replace(answer, probability=probability)
            for answer, probability in zip(prediction.answers, share, strict=False)
        )
        refused = use_null and null > calibration.threshold
        fresh.append(
            replace(
                prediction,
                answers=answers,
                null_probability=null,
                best=answers[0] if answers and not refused else None,
                calibrated=bool(calibration.fitted_on),
            )
        )
    return fresh


def stacked_scores(
    predictions: Sequence[Prediction], *, use_null: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(Q, K) scores of the answers, -inf after the last, and (Q,) null scores."""
    widest = max((len(p.answers) for p in predictions), default=0)
    scores = np.full((len(predictions), max(widest, 1)), -np.inf)
    for row, prediction in zip(scores, predictions, strict=True):
        row[: len(prediction.answers)] = [answer.score for answer in prediction.answers]
    null = [p.null_score if use_null else -np.inf for p in predictions]
    return scores, np.array(null, dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class SliceScore:
    """Scores of the questions of one kind, in percent, with 95 % intervals.

    Attributes:
        dimension: what the questions were told apart by.
        label: which of them these are.
        count: questions.
        exact: exact match.
        f1: F1.
    """

    dimension: str
    label: str
    count: int
    exact: Interval
    f1: Interval


def slice_scores(
    labels: Mapping[str, Sequence[str]], report: Report, *, fewest: int = 1
) -> list[SliceScore]:
    """Score each slice at the stored threshold, the lowest F1 first.

    Args:
        labels: dimension → label of each question, "" for none, as `slice_questions` gives them.
        report: of the same questions.
        fewest: slices of fewer questions are left out.
    """
    exact, f1 = 100 * np.array(report.exact), 100 * np.array(report.f1)
    found = [
        SliceScore(
            dimension=dimension,
            label=label,
            count=int(chosen.sum()),
            exact=bootstrap_mean(exact[chosen]),
            f1=bootstrap_mean(f1[chosen]),
        )
        for dimension, label, chosen in each_slice(labels, fewest=fewest)
    ]
    return sorted(found, key=lambda one: one.f1.value)


def returned_confidence(predictions: Sequence[Prediction]) -> NDArray[np.float64]:
    """(Q,) probability of what is returned: of the best answer, or of null where abstaining."""
    return np.array([p.best.probability if p.best else p.null_probability for p in predictions])


def uncalibrated_confidence(
    predictions: Sequence[Prediction], *, use_null: bool = True
) -> NDArray[np.float64]:
    """(Q,) as `returned_confidence`, of the same decisions, had nothing been fitted."""
    plain, null = Calibration().probabilities(*stacked_scores(predictions, use_null=use_null))
    return np.where([p.best is None for p in predictions], null, plain[:, 0])


def span_confidence(predictions: Sequence[Prediction]) -> NDArray[np.float64]:
    """(Q,) probability of each best span, returned or not; 0 where there is none."""
    return np.array([p.answers[0].probability if p.answers else 0.0 for p in predictions])


def _score(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    language: str,
    *,
    threshold: float | None = None,
) -> Scores:
    """At a threshold; None: were the reader never to abstain."""
    if [p.id for p in predictions] != [example.id for example in examples]:
        message = (
            f"{len(predictions)} predictions are not those of the {len(examples)} examples, in "
            "their order and with their ids; give what `Reader.predict` made of them"
        )
        raise DataError([Problem(file="predictions", place="", id=None, message=message)])
    spans = {p.id: p.answers[0].text if p.answers else "" for p in predictions}
    if threshold is None:
        return score_predictions(examples, spans, language=language)
    nulls = {p.id: p.null_probability for p in predictions}
    return score_predictions(
        examples, spans, no_answer_probabilities=nulls, threshold=threshold, language=language
    )


def _overall(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    scores: Scores,
    spans: Scores,
    *,
    threshold: float,
) -> dict[str, float]:
    overall = dict(scores.overall) | _intervals(scores)
    if "HasAns_exact" in spans.overall:
        overall["answerable_exact"] = spans.overall["HasAns_exact"]
        overall["answerable_f1"] = spans.overall["HasAns_f1"]
    null = np.array([p.null_probability for p in predictions])
    overall["answered"] = 100 * float(np.mean(null <= threshold))
    area = measure.auroc(null, np.array([not example.answers for example in examples]))
    return overall if area is None else overall | {"auroc": area}


def _intervals(scores: Scores) -> dict[str, float]:
    ends = {}
    for name, values in (("exact", scores.exact), ("f1", scores.f1)):
        _, ends[f"{name}_low"], ends[f"{name}_high"] = bootstrap_mean(
            100 * np.array(list(values.values()))
        )
    return ends


def _worth(
    predictions: Sequence[Prediction], scores: Scores, spans: Scores, *, use_null: bool
) -> dict[str, float]:
    """What the probabilities are worth."""
    right, span_right = (list(found.exact.values()) for found in (scores, spans))
    confidence = returned_confidence(predictions)
    low, high = measure.calibration_range(confidence)
    uncalibrated = uncalibrated_confidence(predictions, use_null=use_null)
    return {
        "ece": measure.expected_calibration_error(confidence, right),
        "ece_low": low,
        "ece_high": high,
        "ece_uncalibrated": measure.expected_calibration_error(uncalibrated, right),
        "brier": measure.brier(confidence, right),
        "nll": measure.negative_log_likelihood(confidence, right),
    } | {
        f"answered_at_{percent}": 100
        * measure.answered_at(percent / 100, span_confidence(predictions), span_right)
        for percent in ACCURACIES
    }
