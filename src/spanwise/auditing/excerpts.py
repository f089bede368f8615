"""Random questions with the piece of context around their answer, for a person to look at.

Knows nothing about how they are shown.
"""

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spanwise.auditing.findings import stands
from spanwise.errors import ConfigError
from spanwise.schema import Example

_AROUND = 200  # characters of context on either side of an answer
_BLANK = re.compile(r"\s")


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """One question, and its context cut around the first answer that stands where it is said to.

    Attributes:
        id: of the question.
        question: as the user wrote it.
        title: of the document; may be empty.
        answers: texts as published, each once; None where unlabelled, () where unanswerable.
        text: a piece of the context, cut between words where there are blanks.
        highlights: starts and ends of answers in `text`, in order, without overlap.
        cut_before: whether the context goes on before `text`.
        cut_after: whether it goes on after it.
    """

    id: str
    question: str
    title: str
    answers: tuple[str, ...] | None
    text: str
    highlights: tuple[tuple[int, int], ...]
    cut_before: bool
    cut_after: bool


def sample_examples(examples: Sequence[Example], k: int, *, seed: int) -> tuple[Excerpt, ...]:
    """Draw up to `k` examples, in the order of the data.

    Raises:
        ConfigError: `k` is negative.
    """
    if k < 0:
        raise ConfigError(f"k is {k}: draw 0 examples or more")
    chosen = random.Random(seed).sample(range(len(examples)), min(k, len(examples)))
    return tuple(_excerpt(examples[number]) for number in sorted(chosen))


def _excerpt(example: Example) -> Excerpt:
    context = example.context
    golds = [gold for gold in example.answers or () if stands(gold, context)]
    centre = (golds[0].start, golds[0].end) if golds else (0, 0)
    start, end = _cut(context, *centre)
    spans = [(gold.start, gold.end) for gold in golds if start <= gold.start and gold.end <= end]
    texts = dict.fromkeys(gold.text for gold in example.answers or ())
    return Excerpt(
        id=example.id,
        question=example.question,
        title=example.title,
        answers=None if example.answers is None else tuple(texts),
        text=context[start:end],
        highlights=_merge((first - start, last - start) for first, last in sorted(spans)),
        cut_before=start > 0,
        cut_after=end < len(context),
    )


def _cut(context: str, start: int, end: int) -> tuple[int, int]:
    """Start and end of the piece around `start:end`, between words where there are blanks."""
    low, high = max(start - _AROUND, 0), min(end + _AROUND, len(context))
    if low > 0 and (blank := _BLANK.search(context, low - 1, start)):
        low = blank.end()
    if high < len(context):
        blanks = _BLANK.finditer(context, end, high + 1)
        high = max((blank.start() for blank in blanks), default=high)
    return low, high


def _merge(spans: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    for start, end in spans:
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return tuple(merged)
