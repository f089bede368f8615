"""What a reader reached, in tables: scores, confusion, slices.

This module knows nothing about probabilities.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spanwise.evaluation import SliceScore, slice_scores
from spanwise.intervals import Interval, bootstrap_mean
from spanwise.reporting.pages import Html, Section, safe, table
from spanwise.reporting.questions import OUTCOMES, Evaluated
from spanwise.slices import slice_questions
from spanwise.windows import stream_windows

_FEWEST = 10  # questions of a slice: of fewer an interval says nothing
_WORST = 15  # slices shown at once


def headline(of: Evaluated) -> Section:
    """EM and F1, by kind of question and at both thresholds."""
    scores, threshold = of.scores, of.settings.calibration.threshold
    exact, f1 = np.array(of.report.exact), np.array(of.report.f1)
    big = "".join(
        f"<div><strong>{scores[key]:.1f}</strong>{name}, 95% interval "
        f"{scores[f'{key}_low']:.1f}–{scores[f'{key}_high']:.1f}</div>"
        for key, name in (("f1", "F1"), ("exact", "EM"))
    )
    rows = [_score_row(f"all, at the stored threshold {threshold:.3f}", exact, f1)]
    for name, chosen in (("answerable", of.answerable), ("unanswerable", ~of.answerable)):
        if chosen.any():
            prefix = {"answerable": "HasAns", "unanswerable": "NoAns"}[name]
            rows.append(_score_row(f"{name} ({prefix})", exact[chosen], f1[chosen]))
    best = "{best_exact_thresh:.3f} and {best_f1_thresh:.3f}".format(**scores)
    rows.append(
        (
            _counted(f"all, at the oracle thresholds {best}", len(of.examples)),
            _interval_text(_at_oracle(of, "exact"), scores["best_exact"]),
            _interval_text(_at_oracle(of, "f1"), scores["best_f1"]),
        )
    )
    if of.answerable.any():
        spans = of.span_exact[of.answerable], of.span_f1[of.answerable]
        rows.append(_score_row("answerable, never abstaining", *spans))
    how = (
        "EM is the share of questions answered exactly, F1 the overlap with the best published "
        "answer, both in percent. In brackets: where 95% of the scores lie if as many questions "
        "are drawn anew from these. The oracle thresholds are the best of each score for these "
        "very questions, chosen after looking: a limit for the stored one, and no result."
    )
    body = f'<div class="numbers">{big}</div>' + table(
        "Scores in percent", ["questions", "EM", "F1"], rows
    )
    return Section(key="scores", title="Scores", how=how, body=Html(body), wide=True)


def _at_oracle(of: Evaluated, name: str) -> Interval:
    spans = {"exact": of.span_exact, "f1": of.span_f1}[name]
    abstains = of.null > of.scores[f"best_{name}_thresh"]
    return bootstrap_mean(100 * np.where(abstains, ~of.answerable, spans))


def confusion(of: Evaluated) -> Section:
    """What was answered, against what can be."""
    answered = np.array([p.best is not None for p in of.report.predictions])

    def row(name: str, chosen: NDArray[np.bool_]) -> tuple[str, ...]:
        count = int(chosen.sum())
        counts = (int((chosen & answered).sum()), int((chosen & ~answered).sum()))
        return (name, *(_share(number, count) for number in counts), f"{count:,}")

    rows = [
        row("answerable", of.answerable),
        row("unanswerable", ~of.answerable),
        row("all", np.ones_like(answered)),
    ]
    auroc = of.scores.get("auroc")
    ranks = (
        ""
        if auroc is None
        else " An unanswerable question has a higher probability of no answer than an "
        f"answerable one {auroc:.1%} of the time (AUROC; 50% is chance)."
    )
    how = (
        "A good reader answers what can be answered and abstains elsewhere: first row left, "
        f"second row right. Shares are of the row.{ranks}"
    )
    body = table("How many", ["questions", "answered", "abstained", "all"], rows)
    kinds = Counter(of.outcomes)
    told = "; ".join(f"{name} {kinds[name]:,}" for name in OUTCOMES)
    return Section(
        key="confusion",
        title="Answered or abstained",
        how=how,
        body=Html(f'{body}<p class="soft">{safe(told)}.</p>'),
    )


def slices(of: Evaluated) -> Section:
    """Where it goes worst."""
    windows = np.zeros(len(of.examples), dtype=np.int64)
    for part in stream_windows(of.examples, of.tokenizer, of.settings.window):
        np.add.at(windows, part.example, 1)
    labels = slice_questions(of.examples, windows=windows.tolist(), language=of.report.language)
    labels.pop("kind", None)  # which stands among the scores
    found = slice_scores(labels, of.report, fewest=_FEWEST)
    body = _slice_table(found[:_WORST]) if found else Html("<p>There are too few questions.</p>")
    if found[_WORST:]:
        rest = _slice_table(found[_WORST:])
        body = Html(f"{body}<details><summary>All others</summary>{rest}</details>")
    how = (
        f"Kinds of questions, the lowest F1 first, each with at least {_FEWEST} questions. The "
        "band is the 95% interval, from 0 to 100: where two bands overlap much, the "
        "difference may be chance."
    )
    return Section(key="slices", title="Where it goes worst", how=how, body=body, wide=True)


def _score_row(
    name: str, exact: NDArray[np.float64], f1: NDArray[np.float64]
) -> tuple[Html, Html, Html]:
    intervals = [_interval_text(bootstrap_mean(100 * values)) for values in (exact, f1)]
    return _counted(name, len(exact)), intervals[0], intervals[1]


def _counted(name: str, count: int) -> Html:
    return Html(f'{safe(name)} <span class="soft">{count:,}</span>')


def _interval_text(interval: Interval, value: float | None = None) -> Html:
    mean = interval.value if value is None else value
    ends = f'<span class="soft">({interval.low:.1f}–{interval.high:.1f})</span>'
    return Html(f"{mean:.1f} {ends}")


def _share(number: int, total: int) -> Html:
    share = number / total if total else 0.0
    return Html(
        f'<span class="share" style="--share:{100 * share:.1f}">{number:,} '
        f'<span class="soft">{share:.0%}</span></span>'
    )


def _slice_table(slices: Sequence[SliceScore]) -> Html:
    rows = [
        (
            Html(f'<span class="soft">{safe(one.dimension)}</span> <bdi>{safe(one.label)}</bdi>'),
            f"{one.count:,}",
            f"{one.exact.value:.1f}",
            Html(_interval_text(one.f1) + _band(one.f1)),
        )
        for one in slices
    ]
    return table("Scores in percent", ["questions", "count", "EM", "F1"], rows)


def _band(interval: Interval) -> Html:
    places = f"--low:{interval.low:.1f};--value:{interval.value:.1f};--high:{interval.high:.1f}"
    return Html(f'<span class="interval" style="{places}"></span>')
