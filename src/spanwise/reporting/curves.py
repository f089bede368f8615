"""The pictures of an evaluation.

This module knows nothing about questions or pages: it draws arrays.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter
from numpy.typing import NDArray

from spanwise.calibration import Reliability
from spanwise.reporting.log import RunLog
from spanwise.reporting.pages import Html
from spanwise.reporting.pictures import INK, ONE, OTHER, SHEET, SOFT, draw

_Floats = NDArray[np.float64]

_POINTS = 400  # of a curve, more than a picture has pixels to show


def draw_losses(log: RunLog) -> Html:
    """The loss of a run: what was logged, and its mean over a twentieth of the run."""
    epoch, loss = np.array(log.losses).T
    width = max(1, len(loss) // 20)
    total = np.cumsum(np.concatenate([[0.0], loss]))
    smooth = (total[width:] - total[:-width]) / width

    def paint(axes: Axes) -> None:
        axes.plot(epoch, loss, color=SOFT, linewidth=0.8, alpha=0.6)
        axes.plot(epoch[width - 1 :], smooth, color=ONE)
        axes.set(xlabel="epochs", ylim=(0, None))

    ends = f"from {smooth[0]:.2f} to {smooth[-1]:.2f}"
    return draw(paint, key="loss", title="Loss of the training steps", describes=f"Loss, {ends}")


def draw_dev_scores(log: RunLog) -> Html:
    """EM and F1 on the dev set after each epoch."""
    epoch, exact, f1 = np.array(log.scores).T

    def paint(axes: Axes) -> None:
        axes.plot(epoch, f1, "o-", color=ONE, label="F1")
        axes.plot(epoch, exact, "s--", color=OTHER, label="EM")
        axes.set(xlabel="epochs")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}%"))
        axes.margins(y=0.25)
        axes.legend()

    describes = f"F1 {', '.join(f'{value:.1f}' for value in f1)} after the epochs"
    return draw(paint, key="dev", title="EM and F1 on the dev set", describes=describes)


class Answering(NamedTuple):
    """Answering more and more questions, those first that most surely have an answer.

    Attributes:
        null: (n,) distinct null probabilities, rising: thresholds.
        precision: (n,) summed score of the answers over the questions answered.
        recall: (n,) the same over the questions that have an answer.
    """

    null: _Floats
    precision: _Floats
    recall: _Floats

    def at(self, threshold: float) -> tuple[float, float] | None:
        """Recall and precision at a threshold; None where nothing is answered."""
        place = int(np.searchsorted(self.null, threshold, side="right")) - 1
        return None if place < 0 else (self.recall[place], self.precision[place])


def answering(null: _Floats, score: _Floats, answerable: NDArray[np.bool_]) -> Answering:
    """Precision and recall at each threshold.

    Args:
        null: (Q,) null probabilities.
        score: (Q,) of the best span, 0 where there is no answer.
        answerable: (Q,) of which at least one is True.
    """
    order = np.argsort(null, kind="stable")
    rising = null[order]
    last = np.flatnonzero(np.diff(rising, append=np.inf))  # questions of one probability together
    found = np.cumsum(np.where(answerable, score, 0.0)[order])[last]
    return Answering(rising[last], found / (last + 1), found / answerable.sum())


def draw_precision_recall(f1: Answering, exact: Answering, *, stored: float, oracle: float) -> Html:
    """Precision over recall as the threshold rises, and where two thresholds stand."""

    def paint(axes: Axes) -> None:
        for curve, style, colour, name in ((f1, "-", ONE, "F1"), (exact, "--", OTHER, "EM")):
            some = _some(len(curve.null))
            axes.plot(curve.recall[some], curve.precision[some], style, color=colour, label=name)
        for threshold, ground, name in ((stored, ONE, "stored"), (oracle, SHEET, "oracle")):
            point = f1.at(threshold)
            if point is not None:
                label = f"{name} threshold"
                axes.plot(*point, "o", color=ONE, mfc=ground, ms=8, mew=1.5, ls="none", label=label)
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
        _in_percent(axes)
        axes.legend(loc="lower left")

    point = f1.at(stored)
    at = (
        "nothing is answered"
        if point is None
        else f"precision {point[1]:.0%}, recall {point[0]:.0%}"
    )
    return draw(
        paint,
        key="precision",
        title="Precision over recall",
        describes=f"At the stored threshold {at} by F1",
    )


def draw_reliability(before: Reliability | None, after: Reliability) -> Html:
    """Accuracy over confidence; `before` is None where nothing was fitted."""

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=":")
        if before is not None:
            axes.plot(
                before.confidence, before.accuracy, "s--", color=OTHER, ms=4, label="plain softmax"
            )
        label = "as stored" if before is None else "calibrated"
        axes.plot(after.confidence, after.accuracy, "o-", color=ONE, ms=5, label=label)
        axes.set(xlabel="confidence", ylabel="share that was right", xlim=(0, 1.02), ylim=(0, 1.02))
        _in_percent(axes)
        axes.legend(loc="upper left")

    pairs = zip(after.confidence.tolist(), after.accuracy.tolist(), strict=True)
    describes = "Confidence and accuracy: " + ", ".join(f"{c:.0%} {a:.0%}" for c, a in pairs)
    return draw(
        paint, key="reliability", title="What is right over what was promised", describes=describes
    )


def draw_risk(coverage: _Floats, risk: _Floats, accuracies: Sequence[tuple[float, float]]) -> Html:
    """Wrong answers over questions answered.

    Args:
        coverage: (n,) share answered, rising.
        risk: (n,) share of those that is wrong.
        accuracies: an accuracy, and the share of questions that can be answered with it.
    """

    def paint(axes: Axes) -> None:
        some = _some(len(coverage))
        for accuracy, _ in accuracies:
            axes.axhline(1 - accuracy, color=SOFT, linewidth=1, linestyle=":")
        axes.plot(coverage[some], risk[some], color=ONE)
        for accuracy, share in accuracies:
            axes.plot(share, 1 - accuracy, "o", color=ONE, ms=7)
            axes.annotate(
                f"{accuracy:.0%} right",
                (share, 1 - accuracy),
                xytext=(7, -13),
                textcoords="offset points",
                color=INK,
            )
        axes.set(xlabel="questions answered", ylabel="answers that are wrong")
        axes.set(xlim=(0, 1.02), ylim=(0, max(0.3, risk[coverage > 0.02].max() * 1.1)))
        _in_percent(axes)

    told = ", ".join(f"{share:.0%} at {accuracy:.0%} right" for accuracy, share in accuracies)
    return draw(
        paint,
        key="risk",
        title="Wrong answers over questions answered",
        describes=f"Questions that can be answered: {told}",
    )


def _some(count: int) -> NDArray[np.int64]:
    """Positions of as many points as a curve needs, the ends among them."""
    return np.unique(np.linspace(0, count - 1, min(count, _POINTS)).astype(np.int64))


def _in_percent(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
