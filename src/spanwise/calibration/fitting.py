"""What held-out questions say of probabilities and thresholds: arrays in, arrays out.

Q is the number of questions. This module knows nothing about text, models or files.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spanwise.calibration.measures import negative_log_likelihood
from spanwise.columns import column
from spanwise.errors import ConfigError
from spanwise.schema import Calibration

_TIE = 1e-9  # relative; the same scores added in another order differ by less
_STEPS = 25
_TEMPERATURES = np.geomspace(0.05, 20, _STEPS)
_ROUNDING = 1e-6  # relative
_LEAST_SCALE = 1e-6  # that a checkpoint may hold
_MOST = 5e5  # of scale and of what it brings to the bias, together within what one may hold
_FLATTEST = 1e-3  # null scale, for a margin with the spread of 1, where margins tell nothing


def fit_probabilities(
    score: NDArray[np.float64],
    null_score: NDArray[np.float64],
    span_right: ArrayLike,
    unanswerable: ArrayLike,
    *,
    known: Calibration | None = None,
) -> Calibration:
    """Find temperature, null scale and null bias by maximum likelihood.

    What is likely are two facts about each question: whether its best span is right, told by the
    probability of that span, and whether it is unanswerable, told by that of null. Given the
    temperature, scale and bias are Platt's logistic regression on null's margin; the temperature is
    the best of all. Null scores of -inf, of a reader that was never trained on null, leave the
    temperature alone to be fitted.

    Args:
        score: (Q, K) of the best spans, the best first; -inf after the last.
        null_score: (Q,).
        span_right: (Q,) 1 where the best span is right, else 0.
        unanswerable: (Q,) 1 where there is no answer, else 0.
        known: what null is worth, where these questions cannot tell: the temperature alone is
            fitted, on the spans among themselves, and the scale follows it, as margins shrink
            with it.

    Returns:
        A calibration with these three values; all else is that of `known`.

    Raises:
        DataError: no questions, unequal lengths, or values out of range.

    Source: Guo et al. 2017; Platt 1999.
    """
    right = column("span_right", span_right, lowest=0.0, highest=1.0)
    no_answer = column("unanswerable", unanswerable, length=len(right), lowest=0.0, highest=1.0)
    has_null = bool((null_score > -np.inf).all())

    def fitted(temperature: float) -> tuple[float, Calibration]:
        calibration = Calibration(temperature=temperature)
        share, margin = calibration.share_and_margin(score, null_score)
        if known is not None:
            scale = known.null_scale * temperature / known.temperature
            calibration = replace(known, temperature=temperature, null_scale=scale)
            return negative_log_likelihood(share[:, 0], right), calibration
        if has_null:
            scale, bias = _platt(margin, no_answer)
            calibration = replace(calibration, null_scale=scale, null_bias=bias)
        span, null = calibration.probabilities(score, null_score)
        surprise = negative_log_likelihood(span[:, 0], right)
        if has_null:
            surprise += negative_log_likelihood(null, no_answer)
        return surprise, calibration

    best = int(np.argmin([fitted(float(temperature))[0] for temperature in _TEMPERATURES]))
    around = _TEMPERATURES[max(best - 1, 0)], _TEMPERATURES[min(best + 1, _STEPS - 1)]
    finer = [fitted(float(temperature)) for temperature in np.geomspace(*around, _STEPS)]
    return min(finer, key=lambda pair: pair[0])[1]


def _platt(margin: NDArray[np.float64], positive: NDArray[np.float64]) -> tuple[float, float]:
    """Scale and bias of the sigmoid that makes a margin a probability, by Newton's method.

    Platt's targets, which are not quite 0 and 1, keep both finite where the margin separates all.
    """
    some = np.isfinite(margin)
    if not some.any():
        return 1.0, 0.0
    centre, spread = margin[some].mean(), margin[some].std()
    if spread <= _ROUNDING * max(1.0, abs(centre)):
        spread = 1.0  # all margins are one, but for the last bits
    inputs = np.stack([(margin[some] - centre) / spread, np.ones(some.sum())], axis=1)  # (Q, 2)
    positives, negatives = positive[some].sum(), (1 - positive[some]).sum()
    high, low = (positives + 1) / (positives + 2), 1 / (negatives + 2)
    target = np.where(positive[some] == 1, high, low)

    def loss(weights: NDArray[np.float64]) -> float:
        logit = inputs @ weights
        return float(np.sum(np.logaddexp(0, logit) - target * logit))

    weights = np.zeros(2)
    for _ in range(100):
        chance = 1 / (1 + np.exp(-(inputs @ weights)))
        gradient = inputs.T @ (target - chance)
        curvature = (inputs * (chance * (1 - chance))[:, None]).T @ inputs
        step = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
        while loss(weights + step) > loss(weights):  # Newton's step may overshoot
            step /= 2
        weights += step
        if np.abs(step).max() < 1e-9:
            break
    if weights[0] < _FLATTEST:  # the margin tells nothing, or the contrary
        share = target.mean()
        weights = np.array([_FLATTEST, np.log(share / (1 - share))])
    scale = np.clip(weights[0] / spread, _LEAST_SCALE, _MOST / max(1.0, abs(centre)))
    return float(scale), float(weights[1] - scale * centre)


def fit_threshold(
    null_probability: ArrayLike, answer_score: ArrayLike, null_score: ArrayLike
) -> tuple[float, float]:
    """Find the null probability above which abstaining scores better than answering.

    A question whose null probability is greater than the threshold counts its null score, any other
    its answer score. All thresholds between two neighbouring probabilities score the same, so the
    best ones form intervals; returned is the middle of the widest, the choice that new data upsets
    least. Of equally wide ones it is the lowest. Where it is best to abstain never, the interval
    ends at 1; where always, it begins at 0.

    Args:
        null_probability: (Q,) probability of "no answer", between 0 and 1.
        answer_score: (Q,) score of the best span, such as its F1.
        null_score: (Q,) score of abstaining: 1 where there is no answer, else 0.

    Returns:
        The threshold, between 0 and 1, and the mean score at it, in the unit of the scores.

    Raises:
        DataError: no questions, unequal lengths, or values out of range.
    """
    probability = column("null_probability", null_probability, lowest=0.0, highest=1.0)
    answering = column("answer_score", answer_score, length=len(probability))
    abstaining = column("null_score", null_score, length=len(probability))

    values, counts = np.unique(probability, return_counts=True)  # (V,)
    gains = (answering - abstaining)[np.argsort(probability, kind="stable")]  # (Q,)
    # Interval i holds the thresholds low[i] <= t < high[i], at which the questions of the i lowest
    # values are answered. The last one includes 1; the first is empty where a probability is 0.
    low = np.concatenate([[0.0], values])  # (V + 1,)
    high = np.concatenate([values, [1.0]])  # (V + 1,)
    answered = np.concatenate([[0], np.cumsum(counts)])  # (V + 1,) questions
    totals = abstaining.sum() + np.concatenate([[0.0], np.cumsum(gains)])[answered]  # (V + 1,)
    if values[0] == 0:
        low, high, totals = low[1:], high[1:], totals[1:]

    best = np.isclose(totals, totals.max(), rtol=_TIE, atol=0.0)
    turns = np.flatnonzero(np.diff(best, prepend=False, append=False))  # begin, end, begin, end, …
    low, high = low[turns[::2]], high[turns[1::2] - 1]  # neighbouring intervals are one
    widest = np.argmax(high - low)
    middle = (low[widest] + high[widest]) / 2
    # Between two neighbouring floats the middle may be rounded up to the end, which is outside.
    threshold = float(middle if middle < high[widest] else low[widest])
    return threshold, float(np.where(probability > threshold, abstaining, answering).mean())


def threshold_for_precision(
    null_probability: ArrayLike, span_right: ArrayLike, precision: float
) -> tuple[float, float]:
    """Find the null probability up to which answers are right as often as wanted.

    Args:
        null_probability: (Q,) between 0 and 1.
        span_right: (Q,) 1 where the best span is right, else 0.
        precision: share of the answers that has to be right, above 0 and at most 1.

    Returns:
        The threshold that answers most questions, and the share of the questions it answers.

    Raises:
        ConfigError: no threshold reaches it; the message says what the best does.
        DataError: no questions, unequal lengths, or values out of range.
    """
    if not 0 < precision <= 1:
        raise ConfigError(f"the precision wanted is {precision}; give a share above 0, up to 1")
    null = column("null_probability", null_probability, lowest=0.0, highest=1.0)
    right = column("span_right", span_right, length=len(null), lowest=0.0, highest=1.0)
    order = np.argsort(null, kind="stable")
    rising = null[order]
    last = np.flatnonzero(np.diff(rising, append=2.0))  # of each distinct probability
    found = np.cumsum(right[order])[last] / (last + 1)
    enough = np.flatnonzero(found >= precision - _TIE)
    if not len(enough):
        most = int(np.argmax(found))
        raise ConfigError(
            f"a precision of {precision:g} is not reached at any threshold: the best is "
            f"{found[most]:.3f}, on the {last[most] + 1} of {len(null)} questions whose null "
            f"probability is at most {rising[last[most]]:.3f}; ask for less, or train further"
        )
    end = last[enough[-1]]
    after = rising[end + 1] if end + 1 < len(rising) else 1.0
    middle = float((rising[end] + after) / 2)
    return (middle if middle < after else float(rising[end])), float((end + 1) / len(null))
