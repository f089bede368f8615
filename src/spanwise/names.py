"""Names and numbers that a question asks about.

The rule is for scripts with capitals; in others it finds numbers alone. This module knows nothing
about answers or tokens.
"""

import re

_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d]+")


def missing_names(question: str, text: str) -> int:
    """How many names and numbers of a question a text does not hold, in whatever letters.

    A name is a word with a capital that is not the first. Where all words have one, as in a
    headline, it says nothing.
    """
    words = _WORD.findall(question)
    capitals_tell = any(word[0].islower() for word in words)
    names = {
        word.casefold()
        for word in words[1:]
        if word[0].isdigit() or (capitals_tell and len(word) > 1 and word[0].isupper())
    }
    held = text.casefold()
    return sum(name not in held for name in names)
