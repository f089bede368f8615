"""Which language a data set is in, as far as that decides how its answers are compared.

This module knows nothing about how they are.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from spanwise.schema import Example

_QUESTIONS = 200  # looked at, spread over the whole set
_CHARACTERS = 500  # of each question and of its context

# A character of a script without blanks, or else a word.
_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\d_\u3040-\u30ff\u3400-\u9fff]+")

# Language → the tokens that speak for it, and the share of all tokens that they must pass: less
# than its texts have, more than its neighbours have. Words that are frequent in Dutch, Danish,
# Portuguese, Italian or French are left out; Arabic is told from Persian and Urdu by its article.
_EVIDENCE = {
    "de": (r"der|das|und|ist|nicht|mit|ein|eine|einen|auf|dem|im|zu|wird|wurde|für|bei|sich", 0.1),
    "es": (r"el|los|las|y|en|es|su|fue|más", 0.1),
    "vi": (r".*[ăđơư\u1ea0-\u1ef9].*", 0.3),
    "ar": (r"[وفبك]?ال.+", 0.1),
    "hi": (r"[\u0900-\u097f].*", 0.5),
    "ko": (r"[\uac00-\ud7a3].*", 0.5),
    "ja": (r"[\u3040-\u30ff]", 0.2),
    "zh": (r"[\u3400-\u9fff]", 0.5),
}


def guess_language(examples: Sequence[Example]) -> str:
    """The language of questions and contexts; "en" unless there is clear evidence of another.

    The beginnings of at most 200 are looked at, the same ones each time.

    Returns:
        A key of `LANGUAGES`; for Chinese "zh".
    """
    step = len(examples) // _QUESTIONS + 1
    texts = [text for one in examples[::step] for text in (one.question, one.context)]
    text = " ".join(text[:_CHARACTERS] for text in texts)
    counts = Counter(_TOKEN.findall(unicodedata.normalize("NFC", text).lower()))
    for language, (pattern, share) in _EVIDENCE.items():
        speaks = re.compile(pattern).fullmatch
        found = sum(count for token, count in counts.items() if speaks(token))
        if found > share * counts.total():
            return language
    return "en"
