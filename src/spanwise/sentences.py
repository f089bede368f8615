"""Where sentences end.

The rule is for scripts with capitals; in others it finds empty lines alone. This module knows
nothing about questions or tokens.
"""

import re

# Not after an initial: "U.S. Army", "by J. Smith".
_END = re.compile(r"(?<=[.!?])(?<![\s.(][A-Z]\.)[\"')\]]*\s+(?=[A-Z\"'(\[])|\n\s*\n\s*")


def sentence_around(text: str, start: int, end: int, *, before: int = 0) -> str:
    """The sentence that holds a span, or the sentences that it reaches into.

    Args:
        text: any.
        start: first character of the span.
        end: one past its last character.
        before: so many sentences before are taken along, as far as there are any.
    """
    ends = [match.end() for match in _END.finditer(text)]
    firsts = [0, *(place for place in ends if place <= start)]
    last = min((place for place in ends if place >= end), default=len(text))
    return text[firsts[max(0, len(firsts) - 1 - before)] : last]
