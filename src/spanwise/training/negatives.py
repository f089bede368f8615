"""Questions that their text does not answer, made from questions that it does.

Data sets have few of them, and a reader that saw few finds something in any text. A question is put
to another paragraph of its document, or is changed a little, so that its own paragraph looks right
and is not: the two ways in which SQuAD 2.0's writers were asked to fool readers. This module knows
nothing about tokens or weights.

Source: P. Rajpurkar, R. Jia, P. Liang, "Know What You Don't Know" (2018).
"""

import logging
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from spanwise.schema import Example
from spanwise.training.config import NegativesConfig

logger = logging.getLogger("spanwise")

_NUMBER = re.compile(r"\b\d[\d,.]*\d\b|\b\d\b")
# One or more capitalised words that do not begin the question.
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][\w'-]+(?: [A-Z][\w'-]+)*")
_AUXILIARY = re.compile(
    r"\b(is|are|was|were|does|do|did|can|could|will|would|has|have|had|should|may|must)\b"
    r"(?! not\b)",
    re.IGNORECASE,
)
_OPPOSITES = """
    first last | largest smallest | biggest smallest | highest lowest | most least | more less
    before after | north south | east west | northern southern | eastern western | oldest newest
    longest shortest | earliest latest | best worst | increase decrease | increased decreased
    begin end | began ended | start stop | started stopped | open close | opened closed | win lose
    won lost | above below | inside outside | old new | large small | high low | long short
    early late | strong weak | rich poor | majority minority | maximum minimum | include exclude
    accepted rejected | allowed forbidden | male female | men women | man woman | fewer more
    always never | public private | internal external | import export | buy sell | bought sold
    upper lower | left right | positive negative | success failure | cheapest dearest | hot cold
"""
_PAIRS = [pair.split() for line in _OPPOSITES.strip().splitlines() for pair in line.split("|")]
_OPPOSITE = {word: other for pair in _PAIRS for word, other in (pair, pair[::-1])}
_WORD = re.compile(r"\b[a-z]+\b")


def add_negatives(
    examples: Sequence[Example], config: NegativesConfig, *, seed: int
) -> list[Example]:
    """The examples, those without an answer repeated, and new ones made without an answer.

    Args:
        examples: labelled.
        config: how many of each kind.
        seed: of the choice.
    """
    draw = random.Random(seed)
    made = list(examples)
    for number in range(1, config.repeat):
        made += [replace(e, id=f"{e.id}#again-{number}") for e in examples if e.answers == ()]
    answerable = [example for example in examples if example.answers]
    paragraphs: dict[str, list[str]] = defaultdict(list)
    for example in {example.context: example for example in examples}.values():
        paragraphs[example.title].append(example.context)
    for share, kind, make in (
        (config.foreign, "foreign", lambda e: _put_elsewhere(e, paragraphs[e.title], draw)),
        (config.changed, "changed", lambda e: _change(e, draw)),
    ):
        chosen = draw.sample(answerable, round(share * len(answerable)))
        found = list(_named(chosen, kind, make))
        if share:
            logger.info("%s questions without an answer were made (%s)", f"{len(found):,}", kind)
        made += found
    return made


def _named(
    examples: Sequence[Example], kind: str, make: Callable[[Example], Example | None]
) -> Iterator[Example]:
    for example in examples:
        negative = make(example)
        if negative is not None:
            yield replace(negative, id=f"{example.id}#{kind}", answers=())


def _put_elsewhere(
    example: Example, paragraphs: Sequence[str], draw: random.Random
) -> Example | None:
    """The question with another paragraph of its document, in which no answer of it stands."""
    golds = {gold.text.casefold() for gold in example.answers or ()}
    for paragraph in draw.sample(paragraphs, min(4, len(paragraphs))):
        text = paragraph.casefold()
        if paragraph != example.context and not any(gold in text for gold in golds):
            return replace(example, context=paragraph)
    return None


def _change(example: Example, draw: random.Random) -> Example | None:
    """The question with a small change after which its paragraph does not answer it."""
    changes = [_swap_number, _swap_name, _swap_opposite, _negate]
    draw.shuffle(changes)
    # A negation fits nearly any question; it must not crowd out the others.
    changes.sort(key=lambda change: change is _negate)
    for change in changes:
        question = change(example, draw)
        if question is not None:
            return replace(example, question=question)
    return None


def _swap_number(example: Example, draw: random.Random) -> str | None:
    """Another number of the paragraph in place of one of the question."""
    return _swap(example, _NUMBER, draw)


def _swap_name(example: Example, draw: random.Random) -> str | None:
    """Another name of the paragraph in place of one of the question."""
    return _swap(example, _NAME, draw)


def _swap(example: Example, pattern: re.Pattern[str], draw: random.Random) -> str | None:
    found = list(pattern.finditer(example.question))
    golds = {gold.text for gold in example.answers or ()}
    others = sorted(
        {match.group() for match in pattern.finditer(example.context)}
        - {match.group() for match in found}
    )
    # Not the answer, nor a part of it: "Who is Ada?" would ask for what it says.
    others = [other for other in others if not any(other in g or g in other for g in golds)]
    if not found or not others:
        return None
    match = draw.choice(found)
    return _replaced(example.question, match, draw.choice(others))


def _swap_opposite(example: Example, draw: random.Random) -> str | None:
    """The opposite of a word."""
    found = [m for m in _WORD.finditer(example.question) if m.group() in _OPPOSITE]
    if not found:
        return None
    match = draw.choice(found)
    return _replaced(example.question, match, _OPPOSITE[match.group()])


def _negate(example: Example, draw: random.Random) -> str | None:
    """A "not" behind an auxiliary: behind its subject would read better, and is hard to place."""
    found = list(_AUXILIARY.finditer(example.question))
    if not found:
        return None
    match = draw.choice(found)
    return _replaced(example.question, match, f"{match.group()} not")


def _replaced(text: str, match: re.Match[str], by: str) -> str:
    return text[: match.start()] + by + text[match.end() :]
