"""What the probabilities of a reader are worth, in pictures.

This module knows nothing about texts.
"""

from collections.abc import Iterator
from dataclasses import replace

from spanwise import calibration as measure
from spanwise.evaluation import (
    ACCURACIES,
    returned_confidence,
    span_confidence,
    uncalibrated_confidence,
)
from spanwise.reporting.curves import (
    answering,
    draw_precision_recall,
    draw_reliability,
    draw_risk,
)
from spanwise.reporting.pages import Html, Section
from spanwise.reporting.questions import Evaluated
from spanwise.schema import Calibration


def precision_recall(of: Evaluated) -> Iterator[Section]:
    """What more answers cost; nothing where no question has an answer."""
    if not of.answerable.any():
        return
    curves = [answering(of.null, score, of.answerable) for score in (of.span_f1, of.span_exact)]
    oracle = of.scores["best_f1_thresh"]
    point = curves[0].at(of.settings.calibration.threshold)
    now = (
        "At the stored threshold nothing is answered."
        if point is None
        else f"At the stored threshold precision is {point[1]:.1%} and recall {point[0]:.1%} by F1."
    )
    how = (
        "Every point is a threshold: further right more questions are answered. Precision is "
        "the score of the answers given, recall that score over all questions that have an "
        f"answer. {now}"
    )
    if not of.settings.decode.use_null:
        how += " This reader was not trained on “no answer”: it always answers."
    body = draw_precision_recall(*curves, stored=of.settings.calibration.threshold, oracle=oracle)
    yield Section(key="precision", title="Precision and recall", how=how, body=body)


def reliability(of: Evaluated) -> Section:
    """Whether probabilities are what they say."""
    scores = of.scores
    confidence = returned_confidence(of.report.predictions)
    after = measure.reliability(confidence, of.report.exact)
    before = None
    fitted = replace(of.settings.calibration, threshold=Calibration().threshold, fitted_on="")
    if fitted != Calibration():
        use_null = of.settings.decode.use_null
        plain = uncalibrated_confidence(of.report.predictions, use_null=use_null)
        before = measure.reliability(plain, of.report.exact)
    low, high = scores["ece_low"], scores["ece_high"]
    inside = low <= scores["ece"] <= high
    verdict = "within it" if inside else "above it" if scores["ece"] > high else "below it"
    how = (
        "Questions in ten groups by confidence: on the dotted line a reader is right as often "
        f"as it says. The mean distance from it (ECE) is {scores['ece']:.1%}. By chance alone "
        "a reader whose probabilities are exactly right would show "
        f"{low:.1%} to {high:.1%} on these questions: this one is {verdict}."
    )
    if before is not None:
        how += f" Without calibration it would be {scores['ece_uncalibrated']:.1%}."
    body = (
        f'{draw_reliability(before, after)}<p class="soft">Brier score {scores["brier"]:.4f}, '
        f"negative log-likelihood {scores['nll']:.4f}: lower is better.</p>"
    )
    return Section(key="reliability", title="Reliability", how=how, body=Html(body))


def risk(of: Evaluated) -> Section:
    """How many questions can be answered well."""
    coverage, wrong = measure.risk_coverage(
        span_confidence(of.report.predictions), of.report.span_exact
    )
    shares = [(a / 100, of.scores[f"answered_at_{a}"] / 100) for a in ACCURACIES]
    told = ", ".join(f"{share:.1%} at {accuracy:.0%} right" for accuracy, share in shares)
    how = (
        "If only the surest answers are given, fewer are wrong: going right, more and more "
        "questions are answered, the surest first. The dots are the most that can be answered "
        f"while so many of the answers are right: {told}."
    )
    return Section(
        key="risk", title="Risk and coverage", how=how, body=draw_risk(coverage, wrong, shares)
    )
