"""How two answers are compared in each language: as texts for EM, as tokens for F1.

Each language follows the script that its scores are published with, its oddities included. This
module knows nothing about questions, nor what several golds or two empty texts are worth.

Sources:
    en: Rajpurkar et al. 2016, SQuAD, `evaluate-v1.1.py` and `evaluate-v2.0.py`.
    de, es, ar, vi, hi, zh: Lewis et al. 2020, MLQA, `mlqa_evaluation_v1.py`.
    zh-cmrc: Cui et al. 2019, CMRC 2018, `cmrc2018_evaluate.py`.
    ja: So et al. 2022, JaQuAD, `JaQuAD.ipynb`.
    ko: Lim, Kim and Lee 2019, KorQuAD 1.0, `evaluate-v1.0.py`.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from spanwise.errors import ConfigError

_DROP_ASCII_MARKS = str.maketrans("", "", string.punctuation)
_CHINESE = re.compile("[\u4e00-\u9fa5]")  # what both Chinese scripts take for it: not all of Han

# The script's list has "……", which as two characters never equals one: "…" stays.
_DROP_CMRC_MARKS = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")

# What a tokeniser by the rules of the Penn Treebank cuts off a word.
_PENN_CUTS = re.compile(
    r"""
    [;@#$%&?!"()\[\]{}<>«»‘„] | \.{2,}
    | [,:](?!\d)                                  # but not in 1,000
    | (?<=[^.])\.(?=[\])}>"'»\s]*$)               # but not in 3.5 or within e.g.
    | (?<=[^'\s])(?:'(?:s|m|d|ll|re|ve)?|n't)(?![\w'])
    """,
    re.VERBOSE,
)

_KORQUAD_BLANKS = str.maketrans(dict.fromkeys("'\"《》<>〈〉()‘’", " "))


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """When two answers of a language are equal, and what they share where they are not.

    Attributes:
        normalize: text → what EM compares.
        tokens: normalised text → what F1 counts.
        shared: tokens of two texts → how many they share.
        any_order: EM asks for the same characters, in whatever order.
    """

    normalize: Callable[[str], str]
    tokens: Callable[[str], list[str]]
    shared: Callable[[Sequence[str], Sequence[str]], int]
    any_order: bool = False

    def equal(self, normal: str, gold: str) -> bool:
        """Whether two normalised texts are an exact match."""
        return sorted(normal) == sorted(gold) if self.any_order else normal == gold


def _one_blank(text: str) -> str:
    return " ".join(text.split())


def _squad(text: str) -> str:
    return _one_blank(re.sub(r"\b(?:a|an|the)\b", " ", text.lower().translate(_DROP_ASCII_MARKS)))


def _mlqa(text: str, *, articles: str | None = None) -> str:
    bare = "".join(
        character
        for character in text.lower().translate(_DROP_ASCII_MARKS)
        if not unicodedata.category(character).startswith("P")
    )
    return _one_blank(bare if articles is None else re.sub(articles, " ", bare))


def _mlqa_chinese(text: str) -> str:
    return _one_blank(_CHINESE.sub(r" \g<0> ", _mlqa(text)))


def _cmrc(text: str) -> str:
    return text.lower().strip().translate(_DROP_CMRC_MARKS)


def _jaquad(text: str) -> str:
    return "".join(text.split())


def _korquad(text: str) -> str:
    return _one_blank(text.translate(_KORQUAD_BLANKS).lower().translate(_DROP_ASCII_MARKS))


def _words(normal: str) -> list[str]:
    return normal.split()


def _characters(normal: str) -> list[str]:
    return list("".join(normal.split()))


def _chinese_and_words(normal: str) -> list[str]:
    pieces = re.split(f"({_CHINESE.pattern})", normal)
    return [token for piece in pieces for token in _PENN_CUTS.sub(r" \g<0> ", piece).split()]


def _in_any_place(tokens: Sequence[str], gold: Sequence[str]) -> int:
    """The number of tokens that both have, wherever they stand."""
    return (Counter(tokens) & Counter(gold)).total()


def _in_a_row(tokens: Sequence[str], gold: Sequence[str]) -> int:
    """The length of the longest run of tokens that both have."""
    longest = 0
    runs = [0] * (len(gold) + 1)  # that end just before each token of the gold, and at its end
    for token in tokens:
        runs = [0, *(runs[n] + 1 if token == other else 0 for n, other in enumerate(gold))]
        longest = max(longest, *runs)
    return longest


def _mlqa_words(articles: str | None) -> Comparison:
    return Comparison(
        normalize=partial(_mlqa, articles=articles), tokens=_words, shared=_in_any_place
    )


LANGUAGES: Mapping[str, Comparison] = MappingProxyType(
    {
        "en": Comparison(normalize=_squad, tokens=_words, shared=_in_any_place),
        "de": _mlqa_words(r"\b(?:der|die|das|den|dem|des|ein|eine|einen|einem|einer|eines)\b"),
        "es": _mlqa_words(r"\b(?:el|la|los|las|un|una|unos|unas)\b"),
        "ar": _mlqa_words("ال"),  # anywhere: the script asks for no boundary
        "vi": _mlqa_words(r"\b(?:của|là|cái|chiếc|những)\b"),
        "hi": _mlqa_words(None),
        "zh": Comparison(normalize=_mlqa_chinese, tokens=_words, shared=_in_any_place),
        "zh-cmrc": Comparison(normalize=_cmrc, tokens=_chinese_and_words, shared=_in_a_row),
        "ja": Comparison(
            normalize=_jaquad, tokens=_characters, shared=_in_any_place, any_order=True
        ),
        "ko": Comparison(normalize=_korquad, tokens=_characters, shared=_in_any_place),
    }
)


def comparison_of(language: str) -> Comparison:
    """How answers of a language are compared.

    Raises:
        ConfigError: no such language.
    """
    if language not in LANGUAGES:
        raise ConfigError(unknown_language(language))
    return LANGUAGES[language]


def unknown_language(language: str) -> str:
    """What to say of a language that is not in `LANGUAGES`."""
    known = ", ".join(map(repr, LANGUAGES))
    return f"language={language!r}: there are {known}; texts of others can be compared as 'en'"


def normalize_answer(text: str, *, language: str = "en") -> str:
    """What exact match compares: which case, punctuation, articles and blanks go, by language.

    Raises:
        ConfigError: no such language.
    """
    return comparison_of(language).normalize(text)
