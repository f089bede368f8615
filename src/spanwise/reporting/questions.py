"""What a reader made of each question: its kind of error, and what a page shows of it.

This module knows nothing about pages.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from spanwise.auditing.findings import stands
from spanwise.reporting.pages import Listing, Shelf
from spanwise.schema import Example, Prediction, ReaderSettings, Report
from spanwise.windows import PairTokenizer

Outcome = Literal[
    "wrong span",
    "boundary off",
    "answered the unanswerable",
    "missed the answerable",
    "right",
]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


def outcome(example: Example, prediction: Prediction, *, exact: float) -> Outcome:
    """What became of a question.

    A boundary is off where an answer shares a character with a published one without matching any.

    Args:
        example: labelled.
        prediction: of the reader.
        exact: its exact match, 1 or 0.
    """
    best = prediction.best
    if exact:
        return "right"
    if best is None:
        return "missed the answerable"
    if not example.answers:
        return "answered the unanswerable"
    placed = [gold for gold in example.answers if stands(gold, example.context)]
    touches = any(best.start < gold.end and gold.start < best.end for gold in placed)
    return "boundary off" if touches else "wrong span"


class Evaluated:
    """A report with its questions, and what several sections need of both.

    Attributes:
        report: of the questions.
        examples: they, in the order of the report.
        tokenizer: of the reader.
        null: (Q,) null probabilities.
        answerable: (Q,) whether each has an answer.
        span_exact: (Q,) exact match of the best span, returned or not.
        span_f1: (Q,) its F1.
        outcomes: what became of each.
    """

    def __init__(
        self, report: Report, examples: Sequence[Example], tokenizer: PairTokenizer
    ) -> None:
        self.report, self.examples, self.tokenizer = report, examples, tokenizer
        self.null = np.array([p.null_probability for p in report.predictions])
        self.answerable = np.array([bool(example.answers) for example in examples])
        self.span_exact = np.array(report.span_exact)
        self.span_f1 = np.array(report.span_f1)
        columns = zip(examples, report.predictions, report.exact, strict=True)
        self.outcomes = [outcome(x, prediction, exact=exact) for x, prediction, exact in columns]

    @property
    def scores(self) -> dict[str, float]:
        """Of all questions."""
        return self.report.overall

    @property
    def settings(self) -> ReaderSettings:
        """Of the reader."""
        return self.report.settings


def list_outcomes(of: Evaluated, *, contexts: Shelf, titles: Shelf) -> Listing:
    """Every question with what was published, what was returned and how sure the reader was."""
    listing = Listing(what="questions", kinds=OUTCOMES)
    for example, prediction, f1, kind in zip(
        of.examples, of.report.predictions, of.report.f1, of.outcomes, strict=True
    ):
        nearest = prediction.answers[0] if prediction.answers else None
        sure = f"probability {nearest.probability:.2f}, " if nearest else ""
        answered = "span" if prediction.best else "near"
        listing.items.append(
            list_item(example, contexts=contexts, titles=titles)
            | {
                "kind": OUTCOMES.index(kind),
                "note": f"{sure}of no answer {prediction.null_probability:.2f} · F1 {100 * f1:.0f}",
            }
            | ({answered: [[nearest.start, nearest.end]]} if nearest else {})
        )
    return listing


def list_item(example: Example, *, contexts: Shelf, titles: Shelf) -> dict[str, Any]:
    """A question with its published answers, as `Listing.items` has it."""
    golds = dict.fromkeys(example.answers or ())
    inside = [gold for gold in golds if 0 <= gold.start < gold.end <= len(example.context)]
    spans: Mapping[str, list[Any]] = {
        "gold": [[g.start, g.end] for g in inside if stands(g, example.context)],
        "lost": [[g.start, g.end] for g in inside if not stands(g, example.context)],
        "elsewhere": [g.text for g in golds if not stands(g, example.context)],
    }
    return {
        "id": example.id,
        "question": example.question,
        "context": contexts.number(example.context),
        "title": titles.number(example.title),
    } | {name: places for name, places in spans.items() if places}
