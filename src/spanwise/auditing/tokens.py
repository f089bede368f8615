"""What tokens and windows make of the data: lengths, answers that are lost, the oracle score.

Windows are those of `make_windows` itself, so an audit cannot disagree with a reader. This module
knows nothing about models.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from spanwise.auditing.answers import Covered, answer_faults, cover
from spanwise.auditing.ceiling import best_quote
from spanwise.auditing.findings import Kind, found, stands, trim
from spanwise.corpus.checks import listing, show
from spanwise.errors import ConfigError, Problem
from spanwise.metrics import normalize_answer, score_predictions
from spanwise.schema import DecodeSettings, Example, Ints, Windows, WindowSettings
from spanwise.windows import PairTokenizer, make_windows

# Characters of context whose windows are held at a time, some 8 million tokens: memory does not
# grow with the data. A context that two parts share is tokenised twice.
_PART = 2**25


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Median, 95th percentile and maximum of lengths in tokens; 0 where there are none.

    Attributes:
        counts: length → how many have it, the shortest first.
    """

    p50: float
    p95: float
    max: int
    counts: dict[int, int]


@dataclass(frozen=True, kw_only=True)
class TokenCounts:
    """Lengths in tokens, special ones left out, and windows.

    Attributes:
        question: of each question, before it is cut.
        context: of each distinct context.
        answer: of each distinct answer of a question that stands where it is said to and has a
            token, counted as `max_answer_tokens` counts.
        windows: of all questions.
        windows_per_question: mean.
        most_windows: of one question.
        questions_by_windows: number of windows → questions that have so many, the fewest first.
    """

    question: Spread
    context: Spread
    answer: Spread
    windows: int
    windows_per_question: float
    most_windows: int
    questions_by_windows: dict[int, int]


class _Asked(NamedTuple):
    example: Example
    tokens: int  # of the question
    answers: tuple[Covered, ...]  # distinct, in place, with a token


class TokenAudit:
    """Gathers, data set after data set, what a tokenizer and its settings make of the data.

    Args:
        tokenizer: of the reader.
        window: its settings.
        decode: likewise.

    Attributes:
        problems: single findings.

    Raises:
        ConfigError: `max_answer_tokens` is below 1.
    """

    def __init__(
        self, tokenizer: PairTokenizer, window: WindowSettings, decode: DecodeSettings
    ) -> None:
        if decode.max_answer_tokens < 1:
            raise ConfigError(f"max_answer_tokens is {decode.max_answer_tokens}: give 1 or more")
        self.problems: list[tuple[Kind, Problem]] = []
        self._tokenizer = tokenizer
        self._window = window
        self._decode = decode
        self._question: list[int] = []  # tokens of each
        self._context: dict[str, int] = {}  # tokens of each distinct one
        self._answer: list[int] = []  # tokens of each
        self._windows: list[int] = []  # of each question
        self._quotes: list[tuple[Example, str]] = []  # the best for each labelled question

    def add(self, file: str, examples: Sequence[Example]) -> None:
        """Audit the examples of one data set.

        Raises:
            ConfigError: window lengths that leave no room for a context.
        """
        for part in _parts(examples):
            asked = list(self._ask(file, part))
            self._question += [one.tokens for one in asked]
            self._answer += [answer.tokens for one in asked for answer in one.answers]
            # Without a special token, a question must have a token that stands for "no answer".
            if self._tokenizer.layout.null is None:
                mute = [one.example for one in asked if not one.tokens]
                self._quotes += [(example, "") for example in mute if example.answers is not None]
                asked = [one for one in asked if one.tokens]
            self._add_windows(file, asked)

    def counts(self) -> TokenCounts:
        """Lengths and windows of all that was added."""
        return TokenCounts(
            question=_spread(self._question),
            context=_spread(list(self._context.values())),
            answer=_spread(self._answer),
            windows=sum(self._windows),
            windows_per_question=sum(self._windows) / max(len(self._windows), 1),
            most_windows=max(self._windows, default=0),
            questions_by_windows=_count(self._windows),
        )

    def oracle(self) -> dict[str, float] | None:
        """The official scores of the best quotes, in percent; None without a labelled question."""
        # Ids may repeat from one data set to the next.
        examples = [replace(x, id=str(number)) for number, (x, _) in enumerate(self._quotes)]
        quotes = {str(number): quote for number, (_, quote) in enumerate(self._quotes)}
        return score_predictions(examples, quotes).overall if examples else None

    def _ask(self, file: str, examples: Sequence[Example]) -> Iterator[_Asked]:
        """Measure questions and answers, and report what is wrong with them."""
        questions = self._offsets([example.question for example in examples])
        contexts = self._offsets([example.context for example in examples])
        self._context.update((text, len(offsets)) for text, offsets in contexts.items())
        for example in examples:
            tokens = len(questions[example.question])
            if not tokens:
                message = f"question {show(example.question)} gives no token; reword it"
                self.problems.append(found("tokenless", file, example, message))
            answers = tuple(self._cover(file, example, contexts[example.context]))
            for answer in answers:
                limit = self._decode.max_answer_tokens
                for kind, message in answer_faults(answer, example.context, limit=limit):
                    self.problems.append(found(kind, file, example, message))
            yield _Asked(example=example, tokens=tokens, answers=answers)

    def _offsets(self, texts: Sequence[str]) -> dict[str, Ints]:
        """(n, 2) token offsets of each distinct text."""
        distinct = list(dict.fromkeys(texts))
        encoded = self._tokenizer.encode_contexts(distinct)
        return {text: offsets for text, (_, offsets) in zip(distinct, encoded, strict=True)}

    def _cover(self, file: str, example: Example, offsets: Ints) -> Iterator[Covered]:
        context = example.context
        golds = [trim(gold) for gold in example.answers or () if stands(gold, context)]
        for gold in dict.fromkeys(gold for gold in golds if gold.text):  # annotators often agree
            answer = cover(gold, context, offsets)
            if answer is None:
                message = f"answer {show(gold.text)} gives no token; remove it, or quote more"
                self.problems.append(found("tokenless", file, example, message))
            else:
                yield answer

    def _add_windows(self, file: str, asked: Sequence[_Asked]) -> None:
        """Cut windows, and look what is left of questions and answers in them."""
        if not asked:
            return
        # Misplaced answers must not label a window.
        placed = [
            replace(one.example, answers=tuple(answer.gold for answer in one.answers))
            for one in asked
        ]
        windows = make_windows(placed, self._tokenizer, self._window)
        count = np.bincount(windows.example, minlength=len(asked))
        self._windows += count.tolist()
        first = np.cumsum(count) - count  # window of each example
        context_tokens = np.add.reduceat(windows.edges[:, 0] >= 0, windows.row_splits[:-1])
        kept = (windows.lengths - context_tokens - len(self._tokenizer.layout.ids))[first]
        is_held = np.bincount(windows.example[windows.has_answer], minlength=len(asked)) > 0
        for one, tokens, held in zip(asked, kept.tolist(), is_held.tolist(), strict=True):
            if one.tokens > tokens:
                message = (
                    f"question {show(one.example.question)} has {one.tokens} tokens and is cut to "
                    f"{tokens}; shorten it, or raise max_question_tokens or max_length"
                )
                self.problems.append(found("long_question", file, one.example, message))
            if one.answers and not held:
                texts = listing(answer.gold.text for answer in one.answers)
                message = (
                    f"no window of {self._window.max_length} tokens holds {texts} whole; raise "
                    "stride or max_length, or shorten the answer"
                )
                self.problems.append(found("cut_answer", file, one.example, message))
        limit = self._decode.max_answer_tokens
        self._quotes += _best_quotes([one.example for one in asked], windows, limit=limit)


def _parts(examples: Sequence[Example]) -> Iterator[list[Example]]:
    part: list[Example] = []
    size = 0
    for example in examples:
        part.append(example)
        size += len(example.context)
        if size >= _PART:
            yield part
            part, size = [], 0
    yield part


def _spread(lengths: Sequence[int]) -> Spread:
    if not lengths:
        return Spread(p50=0.0, p95=0.0, max=0, counts={})
    median, high = np.percentile(lengths, [50, 95]).tolist()
    return Spread(p50=median, p95=high, max=max(lengths), counts=_count(lengths))


def _count(numbers: Sequence[int]) -> dict[int, int]:
    return dict(sorted(Counter(numbers).items()))


def _best_quotes(
    examples: Sequence[Example], windows: Windows, *, limit: int
) -> Iterator[tuple[Example, str]]:
    """The best quote for each labelled example, "" where there is none."""
    labelled = _labelled_quotes(examples, windows, limit=limit)
    rows = np.searchsorted(windows.example, np.arange(len(examples) + 1))
    bounds = windows.row_splits
    for number, example in enumerate(examples):
        if not example.answers:
            if example.answers is not None:
                yield example, ""
            continue
        quote = labelled.get(number)
        if quote is None:
            pieces = [
                windows.edges[bounds[row] : bounds[row + 1]]
                for row in range(rows[number], rows[number + 1])
            ]
            quote = best_quote(
                example.context,
                [gold.text for gold in example.answers],
                [edges[edges[:, 0] >= 0] for edges in pieces],
                max_answer_tokens=limit,
            )
        yield example, quote


def _labelled_quotes(
    examples: Sequence[Example], windows: Windows, *, limit: int
) -> dict[int, str]:
    """Number of an example → what its label quotes, where that is an exact match: nearly always."""
    rows = np.flatnonzero(windows.has_answer & (windows.last - windows.first < limit))
    starts = windows.edges[windows.row_splits[rows] + windows.first[rows], 0]
    ends = windows.edges[windows.row_splits[rows] + windows.last[rows], 1]
    quotes: dict[int, str] = {}
    columns = windows.example[rows].tolist(), starts.tolist(), ends.tolist()
    for number, start, end in zip(*columns, strict=True):
        if number not in quotes:
            example = examples[number]
            quote = example.context[start:end]
            normal = normalize_answer(quote)
            golds = example.answers or ()
            if normal and any(normal == normalize_answer(gold.text) for gold in golds):
                quotes[number] = quote
    return quotes
