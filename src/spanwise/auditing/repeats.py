"""Questions and contexts that stand more than once.

Texts are compared as they are: a changed blank makes another text. This module knows nothing about
tokens.
"""

from collections.abc import Mapping, Sequence

from spanwise.auditing.findings import Found, content_of, found
from spanwise.corpus.checks import listing, show
from spanwise.schema import Example


def find_repeats(file: str, examples: Sequence[Example]) -> Found:
    """Questions of one file that stand twice with the same context."""
    first: dict[tuple[object, ...], Example] = {}  # by content
    labelled: dict[tuple[str, str], Example] = {}
    for example in examples:
        twin = first.setdefault(content_of(example), example)
        if twin is not example:
            yield found("duplicate", file, example, _duplicate(example, twin))
        elif example.answers is not None:
            other = labelled.setdefault((example.question, example.context), example)
            if not _agree(example, other):
                yield found("contradiction", file, example, _contradiction(example, other))


def find_shared(examples: Mapping[str, Sequence[Example]]) -> Found:
    """Contexts that stand in two files, once for each later file."""
    first: dict[str, tuple[str, str]] = {}  # file and id by context
    for file, those in examples.items():
        reported = set()
        for example in those:
            there, twin = first.setdefault(example.context, (file, example.id))
            if there != file and example.context not in reported:
                reported.add(example.context)
                message = (
                    f"the context {show(example.context)} is in {there} too (id {twin!r}): what is "
                    "learnt from one is no news in the other; keep it in one of them"
                )
                yield found("shared_context", file, example, message)


def _duplicate(example: Example, twin: Example) -> str:
    return (
        f"{show(example.question)} stands already as {twin.id!r}, with the same context and "
        "answers; --fix drops it"
    )


def _agree(example: Example, other: Example) -> bool:
    """Whether both have no answer, or answers that share a character."""
    golds, others = example.answers or (), other.answers or ()
    return golds == others or any(
        gold.start < that.end and that.start < gold.end for gold in golds for that in others
    )


def _contradiction(example: Example, other: Example) -> str:
    return (
        f"{show(example.question)} has {_answers(example)}, but as {other.id!r}, on the same "
        f"context, {_answers(other)}; keep one of them, with all answers that hold"
    )


def _answers(example: Example) -> str:
    texts = listing(dict.fromkeys(gold.text for gold in example.answers or ()))
    return "no answer" if not example.answers else f"the answers {texts}"
