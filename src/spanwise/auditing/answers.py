"""What the tokens of a context make of one answer.

Knows nothing about windows.
"""

from collections.abc import Iterator
from typing import NamedTuple

from spanwise.auditing.findings import Kind
from spanwise.corpus.checks import show
from spanwise.schema import Gold, Ints
from spanwise.windows import is_mark, label_tokens


class Covered(NamedTuple):
    """An answer and the tokens that cover it.

    Attributes:
        gold: without blanks around it.
        tokens: how many cover it, as the decoder counts: by distinct starts, blanks trimmed.
        quote: start and end of what a reader returns that picks these tokens.
        unseen: its characters, blanks left out, that no token covers.
    """

    gold: Gold
    tokens: int
    quote: tuple[int, int]
    unseen: str


def cover(gold: Gold, context: str, offsets: Ints) -> Covered | None:
    """Find the tokens that cover an answer; None where there are none.

    Args:
        gold: an answer that stands where it is said to.
        context: what it stands in.
        offsets: (n, 2) characters of each token of the context.
    """
    tokens = label_tokens(offsets, gold.start, gold.end)
    if tokens is None:
        return None
    pieces = offsets[tokens[0] : tokens[1] + 1].tolist()
    start, end = pieces[0][0], pieces[-1][1]
    end -= len(context[start:end]) - len(context[start:end].rstrip())
    while is_mark(context[end : end + 1]) and label_tokens(offsets, end, end + 1) is None:
        end += 1
    seen = set().union(*(range(*piece) for piece in pieces))
    unseen = [character for at, character in enumerate(gold.text, gold.start) if at not in seen]
    return Covered(
        gold=gold,
        tokens=len({_solid(context, piece[0]) for piece in pieces}),
        quote=(_solid(context, start), end),
        unseen="".join("".join(unseen).split()),
    )


def answer_faults(answer: Covered, context: str, *, limit: int) -> Iterator[tuple[Kind, str]]:
    """Say what is wrong with an answer, where at most `limit` tokens may be returned."""
    shown = show(answer.gold.text)
    start, end = answer.quote
    if answer.tokens > limit:
        message = f"has {answer.tokens} tokens, max_answer_tokens is {limit}; raise it"
        yield "long_answer", f"answer {shown} {message}, or shorten the answer"
    if (start, end) != (answer.gold.start, answer.gold.end):
        message = f"can only be quoted as {show(context[start:end])}; move its edges to tokens"
        yield "token_edge", f"answer {shown} {message}, or take a tokenizer that cuts there"
    elif answer.unseen:
        message = f"is read without {show(answer.unseen)}, which give no token; if they matter"
        yield "uncovered", f"answer {shown} {message}, take a tokenizer that knows them"


def _solid(context: str, place: int) -> int:
    """The first character from `place` on that is no blank."""
    rest = context[place : place + 1]
    while rest.isspace():
        place += 1
        rest = context[place : place + 1]
    return place
