"""Names and numbers that a question asks about.

A name is known by its capital. Scripts without capitals have numbers alone; in German every noun
counts. This module knows nothing about answers or tokens.
"""

import re
import unicodedata
from collections.abc import Iterator

_WORD = re.compile(r"\d+|[^\W\d_]+")
_WITHIN_NUMBER = re.compile(r"(?<=\d)[.,](?=\d)")


def missing_names(question: str, text: str) -> int:
    """How many names and numbers of a question a text does not hold.

    Capitals, accents and separators in numbers make no difference, and a name may be a part of a
    word, as "Norman" of "Normans".
    """
    held = _plain(text).casefold()
    numbers = set(re.findall(r"\d+", held))
    wanted = {word.casefold() for word in _names(_plain(question))}
    return sum(word not in (numbers if word[0].isdigit() else held) for word in wanted)


def _names(question: str) -> Iterator[str]:
    """Numbers, and words with a capital that are not the first of a sentence or clause."""
    words = list(_WORD.finditer(question))
    # Where all words have one, as in a headline, it says nothing.
    capitals_tell = any(word[0].islower() and len(word[0]) > 1 for word in words)
    end, before = 0, ""
    for word in words:
        gap = question[end : word.start()]
        # After a capital a full stop rather ends an initial or a title: "J. Smith", "St. Louis".
        is_first = not before or re.search(r"[?!:;]", gap) or ("." in gap and before.islower())
        end, before = word.end(), word[0]
        is_name = capitals_tell and len(before) > 1 and before[0].isupper() and not is_first
        if is_name or before[0].isdigit():
            yield before


def _plain(text: str) -> str:
    """Without accents, and with numbers in one piece."""
    letters = unicodedata.normalize("NFKD", text)
    bare = "".join(letter for letter in letters if unicodedata.category(letter) != "Mn")
    return _WITHIN_NUMBER.sub("", bare)
