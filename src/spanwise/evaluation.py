"""Examples become predictions, predictions become scores, and a threshold is fitted.

This module knows nothing about training, files or how a report is shown.
"""

from collections.abc import Callable, Sequence

import numpy as np

from spanwise.calibration import auroc, fit_threshold
from spanwise.metrics import score_predictions
from spanwise.reader import Reader
from spanwise.schema import Calibration, Example, Prediction, Report

Progress = Callable[[int, int], None]


def evaluate(
    reader: Reader, examples: Sequence[Example], *, progress: Progress | None = None
) -> Report:
    """Score a reader on labelled examples at its stored threshold.

    Args:
        reader: its calibration gives the threshold.
        examples: labelled, with distinct ids.
        progress: called with windows done and windows known of.

    Raises:
        DataError: examples that cannot be scored, each one named.
    """
    examples = list(examples)  # a generator would be spent before the scores
    predictions = reader.predict(examples, progress=progress)
    threshold = reader.settings.calibration.threshold
    return Report(
        overall=score_spans(examples, predictions, threshold=threshold),
        threshold=threshold,
        provenance=dict(reader.settings.provenance),
        predictions=tuple(predictions),
    )


def score_spans(
    examples: Sequence[Example], predictions: Sequence[Prediction], *, threshold: float
) -> dict[str, float]:
    """Official scores of predictions at a threshold, and what does not depend on one.

    Args:
        examples: labelled, with distinct ids.
        predictions: one for each example, in their order.
        threshold: null probability above which a question counts as unanswerable.

    Returns:
        Percent under the official keys; `answerable_exact` and `answerable_f1`: of the questions
        that have an answer, were the reader never to abstain; `answered`: percent of questions
        answered at the threshold; `auroc` of answerability, between 0 and 1, where both kinds
        occur.
    """
    spans = {p.id: p.answers[0].text if p.answers else "" for p in predictions}
    nulls = {p.id: p.null_probability for p in predictions}
    scores = score_predictions(
        examples, spans, no_answer_probabilities=nulls, threshold=threshold
    ).overall
    answerable = [example for example in examples if example.answers]
    if answerable:
        best = score_predictions(
            answerable, {example.id: spans[example.id] for example in answerable}
        ).overall
        scores |= {"answerable_exact": best["exact"], "answerable_f1": best["f1"]}
    null = np.array([nulls[example.id] for example in examples])
    scores["answered"] = 100 * float(np.mean(null <= threshold))
    area = auroc(null, np.array([not example.answers for example in examples]))
    return scores if area is None else scores | {"auroc": area}


def fit_calibration(
    examples: Sequence[Example], predictions: Sequence[Prediction], *, fitted_on: str
) -> Calibration:
    """Choose the threshold with the best F1 on held-out examples.

    Args:
        examples: labelled, with distinct ids; not those that the reader learnt from.
        predictions: one for each example, in their order.
        fitted_on: how the data is called where the calibration is kept.
    """
    spans = {p.id: p.answers[0].text if p.answers else "" for p in predictions}
    answering = score_predictions(examples, spans).f1
    threshold, _ = fit_threshold(
        np.array([p.null_probability for p in predictions]),
        np.array([answering[example.id] for example in examples]),
        np.array([float(not example.answers) for example in examples]),
    )
    return Calibration(threshold=threshold, fitted_on=fitted_on)
