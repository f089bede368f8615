"""Questions that their text does not answer, made from questions that it does.

Data sets have few of them, and a reader that saw few finds something in any text. A question is put
to another paragraph of its document, or is changed a little, so that its own paragraph looks right
and is not: the two ways in which SQuAD 2.0's writers were asked to fool readers. The rules are for
English. This module knows nothing about tokens or weights.

Source: P. Rajpurkar, R. Jia, P. Liang, "Know What You Don't Know" (2018), whose Table 1 counts the
kinds of change.
"""

import logging
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from spanwise.schema import Example
from spanwise.training.config import NegativesConfig

logger = logging.getLogger("spanwise")

_NUMBER = re.compile(r"\b\d[\d,.]*\d\b|\b\d\b")
# One or more capitalised words that do not begin a sentence.
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z][\w-]+(?: [A-Z][\w-]+)*")
# Where a "not" behind it reads well: "was built", "can be", but neither "did Ada" nor "is the".
_AUXILIARY = re.compile(
    r"\b(is|are|was|were|can|could|will|would|has|have|had|should|may|must)"
    r"(?= (?:be|been|have|\w+ed|\w+(?<!th)ing|known|made|given|found|seen|used|built|held)\b)",
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
    join leave | joined left | gain lose | gained lost | rise fall | rose fell | enter leave
    support oppose | supported opposed | create destroy | created destroyed | attack defend
    smaller larger | lower higher | slower faster | weaker stronger | older younger | fast slow
    hard soft | easy difficult | common rare | modern ancient | urban rural | local foreign
    day night | summer winter | parent child | father mother | son daughter | king queen
    husband wife | boy girl | under over | without with | near far | rarely often
    similar different | simple complex | good bad | added removed | raised lowered
    success defeat | victory defeat | enemy ally | cause prevent | caused prevented
    legal illegal | likely unlikely | known unknown | necessary unnecessary | previous next
    former later | beginning end | minimum average | top bottom | front back
"""
_PAIRS = [pair.split() for line in _OPPOSITES.strip().splitlines() for pair in line.split("|")]
_OPPOSITE = {word: other for pair in _PAIRS for word, other in (pair, pair[::-1])}
_WORD = re.compile(r"\b[a-z]+\b")
_LONG = 5  # letters of a word that carries meaning
_TRIED = 50  # names of a document that may have thousands


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
    names = {title: _names(" ".join(texts)) for title, texts in paragraphs.items()}
    for share, kind, make in (
        (config.foreign, "foreign", lambda e: _put_elsewhere(e, paragraphs[e.title], draw)),
        (config.changed, "changed", lambda e: _change(e, names[e.title], draw)),
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


def _change(example: Example, names: Sequence[str], draw: random.Random) -> Example | None:
    """The question with a small change after which its paragraph does not answer it."""
    changes: list[Callable[[], str | None]] = [
        lambda: _swap_number(example, draw),
        lambda: _swap_name(example, names, draw),
        lambda: _swap_opposite(example, draw),
        lambda: _swap_word(example, draw),
        lambda: _negate(example, draw),
    ]
    draw.shuffle(changes)
    for change in changes:
        question = change()
        if question is not None:
            return replace(example, question=question)
    return None


def _names(text: str) -> list[str]:
    """Names of a document; capitalised words that it also writes small are none."""
    small = set(re.findall(r"\b[a-z]\w+", text))
    found = {match.group() for match in _NAME.finditer(text)}
    return sorted(name for name in found if name.casefold() not in small)


def _swap_number(example: Example, draw: random.Random) -> str | None:
    """Another number in place of one of the question: of the paragraph, or a slip in its digits."""
    found = list(_NUMBER.finditer(example.question))
    if not found:
        return None
    match = draw.choice(found)
    digits = list(match.group())
    place = draw.choice([n for n, digit in enumerate(digits) if digit.isdigit()][-2:])
    digits[place] = draw.choice(sorted(set("123456789") - {digits[place]}))
    numbers = {m.group() for m in _NUMBER.finditer(example.context)}
    alike = [number for number in numbers if len(number) == len(digits)]  # a year for a year
    others = _unasked(example, alike) or ["".join(digits)]
    return _replaced(example.question, match, draw.choice([*others, "".join(digits)]))


def _swap_name(example: Example, names: Sequence[str], draw: random.Random) -> str | None:
    """Another name in place of one of the question: of the paragraph, or of the document."""
    found = list(_NAME.finditer(example.question))
    if not found:
        return None
    match = draw.choice(found)
    likely = draw.sample(names, min(_TRIED, len(names)))
    others = [name for name in _unasked(example, likely) if match.group() not in name]
    near = [name for name in others if name in example.context]
    others = draw.choice([near or others, others])
    return _replaced(example.question, match, draw.choice(others)) if others else None


def _swap_word(example: Example, draw: random.Random) -> str | None:
    """A word of the paragraph in place of another, which stands in the question as well.

    Words that end alike are mostly of one kind: "signed" for "opened", "nation" for "region".
    """
    words = {word for word in _WORD.findall(example.context) if len(word) >= _LONG}
    found = [m for m in _WORD.finditer(example.question) if m.group() in words]
    draw.shuffle(found)
    for match in found:
        word = match.group()
        alike = {w for w in words if w[-2:] == word[-2:] and w[:4] != word[:4]}
        others = _unasked(example, alike)
        if others:
            return _replaced(example.question, match, draw.choice(others))
    return None


def _unasked(example: Example, texts: Iterable[str]) -> list[str]:
    """Those that neither the question says nor an answer: "Who is Ada?" would ask for itself."""
    told = [example.question, *(gold.text for gold in example.answers or ())]
    answers = [text.casefold() for text in told[1:]]
    return sorted(
        text
        for text in texts
        if not any(text.casefold() in one.casefold() for one in told)
        and not any(answer in text.casefold() for answer in answers)
    )


def _swap_opposite(example: Example, draw: random.Random) -> str | None:
    """The opposite of a word."""
    found = [m for m in _WORD.finditer(example.question) if m.group().casefold() in _OPPOSITE]
    if not found:
        return None
    match = draw.choice(found)
    return _replaced(example.question, match, _OPPOSITE[match.group().casefold()])


def _negate(example: Example, draw: random.Random) -> str | None:
    """A "not", or "never", behind an auxiliary that a verb follows."""
    found = list(_AUXILIARY.finditer(example.question))
    if not found:
        return None
    match = draw.choice(found)
    return _replaced(example.question, match, f"{match.group()} {draw.choice(['not', 'never'])}")


def _replaced(text: str, match: re.Match[str], by: str) -> str:
    return text[: match.start()] + by + text[match.end() :]
