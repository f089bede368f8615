"""Questions that their text does not answer, made from questions that it does.

Data sets have few of them, and a reader that saw few finds something in any text. A question is put
to another paragraph of its document, or to its own without the sentence that answers it; or a name,
a number or a word is exchanged for another, on one side alone, so that its paragraph looks right
and is not. The same exchange on both sides leaves the answer where it was: a reader has to compare
question and paragraph, as an odd word by itself tells nothing. The rules are for English.

This module knows nothing about tokens or weights.
"""

import logging
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from spanwise.metrics.languages import normalize_answer
from spanwise.schema import Example, Gold
from spanwise.training.config import NegativesConfig

logger = logging.getLogger("spanwise")

_CAPITALS = r"[A-Z][a-z][\w-]+(?: [A-Z][\w-]+)*"
_KINDS = {
    "number": re.compile(r"\b(\d[\d,.]*\d|\d)\b"),
    # Capitalised words; those that begin a sentence are passed over.
    "name": re.compile(rf"(?:^|[.!?:][\"')\]]*\s){_CAPITALS}|\b({_CAPITALS})"),
    "word": re.compile(r"\b([a-z]{5,})\b"),  # shorter ones carry little meaning
}
_SENTENCE = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[A-Z\"'(\[])")  # what stands between two
_TRIED = 60  # of a document that may have thousands
_LEFT = 100  # characters of a paragraph without its sentence: less is no text to look into

_Pair = tuple[str, str]


def add_negatives(
    examples: Sequence[Example], config: NegativesConfig, *, seed: int
) -> list[Example]:
    """The examples, those without an answer repeated, and new ones.

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
    documents: dict[str, _Document] = defaultdict(_Document)
    for title, context in dict.fromkeys((e.title, e.context) for e in examples):
        documents[title].add(context)

    known = {(example.question, example.context) for example in answerable}

    def exchanged(example: Example, how: str) -> Example | None:
        return _exchange(example, documents[example.title], draw, how)

    for share, kind, make in (
        (config.foreign, "foreign", lambda e: _put_elsewhere(e, documents[e.title], draw)),
        (config.removed, "removed", _remove_sentence),
        (config.exchanged, "exchanged", lambda e: exchanged(e, draw.choice(["asked", "read"]))),
        (config.exchanged / 2, "renamed", lambda e: exchanged(e, "both")),
    ):
        chosen = draw.sample(answerable, round(share * len(answerable)))
        found = [
            replace(one, id=f"{example.id}#{kind}")
            for example in chosen
            if (one := make(example)) is not None
            # Parallel facts and questions that are asked of many texts are answered elsewhere.
            if one.answers or (one.question, one.context) not in known
        ]
        if share:
            logger.info("%s questions were made (%s)", f"{len(found):,}", kind)
        made += found
    return made


class _Document:
    """The paragraphs of a document, and what of each kind stands in them."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.paragraphs: dict[str, dict[str, list[str]]] = {}
        self.all: dict[str, list[str]] = {kind: [] for kind in _KINDS}
        self._known: set[str] = set()

    def add(self, paragraph: str) -> None:
        own = {kind: sorted({*which.findall(paragraph)} - {""}) for kind, which in _KINDS.items()}
        small = set(re.findall(r"\b[a-z]\w+", paragraph))  # "Mill" is no name where a "mill" is
        own["name"] = [name for name in own["name"] if name.casefold() not in small]
        self.texts.append(paragraph)
        self.paragraphs[paragraph] = own
        for kind, found in own.items():
            self.all[kind] += [text for text in found if text not in self._known]
            self._known.update(found)


def _put_elsewhere(example: Example, document: _Document, draw: random.Random) -> Example | None:
    """The question with another paragraph of its document, in which no answer of it stands."""
    for paragraph in draw.sample(document.texts, min(4, len(document.texts))):
        if paragraph != example.context and not _stands_in(example, paragraph):
            return replace(example, context=paragraph, answers=())
    return None


def _remove_sentence(example: Example) -> Example | None:
    """The question with its paragraph but for the sentences of its answers."""
    context = example.context
    ends = [match.end() for match in _SENTENCE.finditer(context)]
    rest = "".join(
        context[begin:end]
        for begin, end in zip([0, *ends], [*ends, len(context)], strict=True)
        if not any(begin < gold.end and gold.start < end for gold in example.answers or ())
    )
    if len(rest) < _LEFT or _stands_in(example, rest):
        return None
    return replace(example, context=rest, answers=())


def _stands_in(example: Example, text: str) -> bool:
    """Whether one of the answers is in a text, but for case, punctuation and articles."""
    plain = normalize_answer(text)
    return any(
        gold.text.casefold() in text.casefold() or (normalize_answer(gold.text) or "\n") in plain
        for gold in example.answers or ()
    )


def _exchange(
    example: Example, document: _Document, draw: random.Random, how: str
) -> Example | None:
    """Two names, numbers or words exchanged in the question ("asked"), the text ("read") or both.

    Only with both is there an answer still, and it has moved.
    """
    pair = _choose(example, document, draw)
    if pair is None:
        return None
    question, _ = _swap(example.question, pair)
    context, moved = _swap(example.context, pair, example.answers or ())
    if how == "asked":
        return replace(example, question=question, answers=())
    if how == "read":
        return replace(example, context=context, answers=())
    cut = any(
        context[gold.start : gold.end] != gold.text for gold in moved
    )  # "Green" of "Ada Green"
    return None if cut else replace(example, question=question, context=context, answers=moved)


def _choose(example: Example, document: _Document, draw: random.Random) -> _Pair | None:
    """What stands in both question and paragraph, and what it may be taken for."""
    here = document.paragraphs[example.context]
    shared = [
        (text, kind)
        for kind, which in _KINDS.items()
        for text in which.findall(example.question)
        if text and _standing(text).search(example.context)
    ]
    draw.shuffle(shared)
    for text, kind in shared:
        near = draw.random() < 1 / 2
        others = here[kind] if near else document.all[kind]
        alike = draw.sample(others, min(_TRIED, len(others)))
        if kind == "number":  # a year for a year
            alike = [other for other in alike if len(other) == len(text)]
        if kind == "word":  # mostly of one kind: "signed" for "opened", "nation" for "region"
            alike = [o for o in alike if o[-2:] == text[-2:] and o[:4] != text[:4]]
        alike = [o for o in alike if near or o not in example.context]
        if alike := list(_unasked(example, text, alike)):
            return text, draw.choice(alike)
    return None


def _unasked(example: Example, text: str, others: Iterable[str]) -> Iterator[str]:
    """Those that neither question nor answers have: "Who is Ada?" would ask for itself."""
    golds = [gold.text for gold in example.answers or ()]
    if any(text in gold or gold in text for gold in golds):
        return
    for other in others:
        told = any(other in one for one in (example.question, text, *golds)) or text in other
        if not told and not any(gold.casefold() in other.casefold() for gold in golds):
            yield other


def _standing(*texts: str) -> re.Pattern[str]:
    """Any of these, where it is no part of a longer word."""
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, texts))})(?!\w)")


def _swap(text: str, pair: _Pair, golds: Sequence[Gold] = ()) -> tuple[str, tuple[Gold, ...]]:
    """Each of a pair in place of the other, and where answers that hold neither are then."""
    one, other = pair
    either = _standing(*pair)
    found = list(either.finditer(text))
    swapped = either.sub(lambda match: other if match.group() == one else one, text)
    moved = []
    for gold in golds:
        before = [match.group() for match in found if match.end() <= gold.start]
        by = (before.count(one) - before.count(other)) * (len(other) - len(one))
        moved.append(replace(gold, start=gold.start + by, end=gold.end + by))
    return swapped, tuple(moved)
