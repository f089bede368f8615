"""Answers compared by language: pairs worked out by hand, twins, and what holds of any text."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanwise.errors import ConfigError
from spanwise.metrics import LANGUAGES, exact_match, f1, normalize_answer, score_predictions
from spanwise.schema import Example, Gold

# Answer, gold, exact match, F1: 2 × shared / (tokens of the answer + tokens of the gold).
PAIRS: dict[str, list[tuple[str, str, int, int | str]]] = {
    "de": [
        ("der Turm", "Turm", 1, 1),
        ("die alte Brücke", "alte Brücke", 1, 1),
        ("eine rote Tür", "Die rote Tür", 1, 1),
        ("„Faust“", "Faust", 1, 1),
        ("1914–1918", "19141918", 1, 1),
        ("an der Elbe", "an Elbe", 1, 1),  # "an" is no article
        ("the Beatles", "Beatles", 0, "2/3"),  # nor is "the"
        ("den Rhein", "am Rhein", 0, "2/3"),
        ("dem Dom zu Köln", "Kölner Dom", 0, "2/5"),
        ("des Königs von Preußen", "König von Preußen", 0, "2/3"),
        ("am Fuß des Berges", "der Fuß eines Berges", 0, "4/5"),
    ],
    "es": [
        ("el río", "río", 1, 1),
        ("La Habana", "Habana", 1, 1),
        ("¿quién?", "Quién", 1, 1),
        ("¡Viva!", "viva", 1, 1),
        ("«Guernica»", "Guernica", 1, 1),
        ("un puente y una torre", "puente y torre", 1, 1),
        ("A Coruña", "Coruña", 0, "2/3"),  # "a" is a preposition
        ("del siglo", "el siglo", 0, "2/3"),
        ("las tres carabelas", "tres carabelas de Colón", 0, "2/3"),
        ("unos mil soldados", "mil", 0, "2/3"),
        ("la una de la tarde", "una tarde", 0, "2/3"),
    ],
    "ar": [
        ("القاهرة", "قاهرة", 1, 1),
        ("في المدينة", "في مدينة", 1, 1),
        ("البيت الكبير", "بيت كبير", 1, 1),
        ("مكة،", "مكة", 1, 1),
        ("متى؟", "متى", 1, 1),
        ("«ألف ليلة»", "ألف ليلة", 1, 1),
        ("والشمس", "شمس", 0, "2/3"),  # "and the sun" becomes two words
        ("رسالة", "مقالة", 0, "1/2"),  # as does each word that holds the article's letters
        ("نهر النيل", "نيل", 0, "2/3"),
        ("الملك فاروق الأول", "ملك مصر فاروق", 0, "2/3"),
        ("ثلاثة كتب؛ الأول", "ثلاثة كتب", 0, "4/5"),
    ],
    "vi": [
        ("của nhà vua", "nhà vua", 1, 1),
        ("những ngôi sao", "ngôi sao", 1, 1),
        ("chiếc thuyền", "Cái thuyền", 1, 1),
        ("là Hà Nội", "Hà Nội", 1, 1),
        ("“Truyện Kiều”", "Truyện Kiều", 1, 1),
        ("1945–1975", "19451975", 1, 1),
        ("những năm của chiến tranh", "năm chiến tranh", 1, 1),
        ("là cái gì", "gì", 1, 1),
        ("An Giang", "Giang", 0, "2/3"),  # a province, not an article
        ("thành phố của tôi", "thành phố", 0, "4/5"),
        ("cái cây cao", "cây", 0, "2/3"),
    ],
    "hi": [
        ("दिल्ली।", "दिल्ली", 1, 1),
        ("“गोदान”", "गोदान", 1, 1),
        ("राम, सीता।", "राम सीता", 1, 1),
        ("गंगा नदी।", "गंगा नदी", 1, 1),
        ("पाँच नदियाँ॥", "पाँच नदियाँ", 1, 1),
        ("डॉ॰ अम्बेडकर", "डॉ अम्बेडकर", 1, 1),
        ("हिंदी… उर्दू।", "हिंदी उर्दू", 1, 1),
        ("1947–1950", "19471950", 1, 1),
        ("the ताजमहल", "ताजमहल", 0, "2/3"),
        ("नमक।", "नमक सत्याग्रह", 0, "2/3"),
        ("रेल, a बस", "रेल बस", 0, "4/5"),
    ],
    "zh": [
        ("北京。", "北京", 1, 1),
        ("《红楼梦》", "红楼梦", 1, 1),
        ("北 京", "北京", 1, 1),
        ("京北", "北京", 0, 1),
        ("中国人民", "人民中国", 0, 1),
        ("北京大学", "北京", 0, "2/3"),
        ("1949年", "1949", 0, "2/3"),
        ("NBA总决赛", "总决赛", 0, "6/7"),
        ("的士的", "的", 0, "1/2"),
        ("Level 3公司", "level 3", 0, "2/3"),
        ("𠮷野家", "野家", 0, "4/5"),
        ("𠮷𠮷", "𠮷", 0, 0),  # not among what the script calls Chinese: one word
        ("the 长城", "长城", 0, "4/5"),
    ],
    "zh-cmrc": [
        ("《红楼梦》", "红楼梦", 1, 1),
        ("（1949年）", "1949年", 1, 1),
        ("约翰·史密斯", "约翰史密斯", 1, 1),
        ("北 京", "北京", 0, 1),  # blanks go before F1 only
        ("北京…", "北京", 0, "4/5"),  # the ellipsis stays
        ("北京大学", "北京", 0, "2/3"),
        ("京北", "北京", 0, "1/2"),  # the longest run is one character
        ("中国人民", "人民中国", 0, "1/2"),
        ("NBA总决赛", "nba", 0, "2/5"),
        ("3.5公里", "3.5", 0, "1/2"),
        ("1,000元", "1,000", 0, "2/3"),
        ("Tom's 店", "Tom", 0, "1/2"),  # tom, 's, 店
        ("(1949)", "1949", 0, "1/2"),  # only full-width brackets go
    ],
    "ja": [
        ("東 京", "東京", 1, 1),
        ("東京\u3000タワー", "東京タワー", 1, 1),
        ("1998年", "1989年", 1, 1),  # the same characters: an exact match is an F1 of 1
        ("東京都", "東京", 0, "4/5"),
        ("東京。", "東京", 0, "4/5"),
        ("「坊っちゃん」", "坊っちゃん", 0, "5/6"),
        ("NASA", "nasa", 0, 0),
        ("U.S.", "US", 0, "2/3"),
        ("か\u3099く", "がく", 0, "2/5"),
        ("富士山の山頂", "富士山", 0, "2/3"),
        ("京都", "東京都庁", 0, "2/3"),
        ("the 乱", "乱", 0, "2/5"),
    ],
    "ko": [
        ("《무정》", "무정", 1, 1),
        ("‘광장’", "광장", 1, 1),
        ("이순신(장군)", "이순신 장군", 1, 1),
        ("세종 대왕", "세종대왕", 0, 1),
        ("울서", "서울", 0, 1),
        ("서울시", "서울", 0, "4/5"),
        ("서울에서", "서울", 0, "2/3"),
        ("1945년", "1945", 0, "8/9"),
        ("김구 선생님", "김구", 0, "4/7"),
        ("〈기생충〉과 봉준호", "기생충", 0, "3/5"),
        ("NBA 팀", "nba", 0, "6/7"),
        ("the 자이언츠", "자이언츠", 0, "8/11"),
        ("“독립”", "독립", 0, "2/3"),  # of curly quotes only single ones go
    ],
}

TEXTS = st.text(
    alphabet=st.sampled_from("der la ال của là 北京年かが서울।“。·…《'a1.,B"), max_size=12
)


def ask(key: str, *golds: str) -> Example:
    answers = tuple(Gold(text=gold, start=0, end=len(gold)) for gold in golds)
    return Example(id=key, question="?", context="", answers=answers)


@pytest.mark.parametrize(
    ("language", "text", "gold", "exact", "score"),
    [(language, *pair) for language, pairs in PAIRS.items() for pair in pairs],
)
def test_pairs_worked_out_by_hand(
    language: str, text: str, gold: str, exact: int, score: int | str
) -> None:
    assert exact_match(text, gold, language=language) == exact
    for rules in ("1.1", "2.0"):
        found = f1(text, gold, rules=rules, language=language)
        assert found == pytest.approx(float(Fraction(score)), rel=1e-14)


@pytest.mark.parametrize("language", PAIRS)
def test_ten_pairs_of_each_language_differ_from_english(language: str) -> None:
    differing = [
        text
        for text, gold, exact, score in PAIRS[language]
        if exact_match(text, gold) != exact
        or f1(text, gold) != pytest.approx(float(Fraction(score)))
    ]
    assert len(differing) >= 10


def test_every_language_but_english_has_its_pairs() -> None:
    assert list(LANGUAGES) == ["en", *PAIRS]


@pytest.mark.parametrize(
    ("language", "text", "normal"),
    [
        ("de", " Die »Brücke«,\u00a0der  Turm ", "brücke turm"),
        ("es", "¡El (gran) río!", "gran río"),
        ("ar", "الرسالة، والكتاب", "رس ة و كتاب"),
        ("vi", "Những CÁI mũ", "mũ"),
        ("hi", "नमस्ते। The End", "नमस्ते the end"),
        ("zh", "第3届NBA，总决赛", "第 3 届 nba 总 决 赛"),
        ("zh-cmrc", " 第3届 NBA，总决赛！ ", "第3届 nba总决赛"),
        ("ja", "「NHK」 の\u3000。", "「NHK」の。"),
        ("ko", " <A.B.> '서울' (시청)", "ab 서울 시청"),
    ],
)
def test_normalisation_by_language_pinned(language: str, text: str, normal: str) -> None:
    assert normalize_answer(text, language=language) == normal


@pytest.mark.parametrize(
    ("latin", "tokens"),
    [
        ("don't", 2),  # do, n't
        ("it's mary's", 4),
        ("u.s.", 2),  # the last full stop is one of a sentence
        ("3.5", 1),
        ("1,000", 1),
        ("a, b", 3),
        ("wait...", 2),
        ("$5 & 10%", 5),
        ("who?!", 3),
        ("(x) [y]", 6),
        ("end.)", 3),
        ('"x"', 3),
    ],
)
def test_latin_runs_of_cmrc_are_cut_as_the_penn_treebank_is(latin: str, tokens: int) -> None:
    # One Chinese character more: of `tokens` + 1 tokens, all but one are the gold's.
    assert f1(f"{latin}中", latin, language="zh-cmrc") == pytest.approx(
        2 * tokens / (2 * tokens + 1)
    )


@given(st.text(alphabet="中国人", max_size=8), st.text(alphabet="中国人", max_size=8))
def test_f1_of_cmrc_equals_a_plain_twin(text: str, gold: str) -> None:
    runs = {text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)}
    longest = max((len(run) for run in runs if run in gold), default=0)
    expected = Fraction(2 * longest, len(text) + len(gold)) if text or gold else Fraction(1)
    assert f1(text, gold, language="zh-cmrc") == pytest.approx(float(expected), rel=1e-14)


@given(text=TEXTS, gold=TEXTS, language=st.sampled_from(list(LANGUAGES)))
def test_what_holds_in_every_language(text: str, gold: str, language: str) -> None:
    score = f1(text, gold, language=language)
    assert 0 <= score <= 1
    assert score == pytest.approx(f1(gold, text, language=language))
    assert exact_match(text, text, language=language) == f1(text, text, language=language) == 1
    if exact_match(text, gold, language=language):
        assert score == 1


@pytest.mark.parametrize("language", ["de", "es", "ar", "vi"])
def test_two_articles_are_two_empty_texts(language: str) -> None:
    articles = {"de": ("der", "ein"), "es": ("el", "una"), "ar": ("ال", "ال"), "vi": ("là", "của")}
    pair = articles[language]
    assert exact_match(*pair, language=language) == 1
    assert f1(*pair, language=language) == 1
    assert f1(*pair, language=language, rules="1.1") == 0


def test_scores_are_those_of_the_language() -> None:
    examples = [ask("article", "der Turm", "Dom"), ask("part", "am Rhein")]
    answers = {"article": "Ein Turm", "part": "den Rhein"}
    scores = score_predictions(examples, answers, language="de")
    assert (scores.language, scores.rules) == ("de", "1.1")
    assert scores.exact == {"article": 1, "part": 0}
    assert scores.f1 == {"article": 1, "part": pytest.approx(2 / 3)}
    assert scores.overall["exact"] == 50
    assert score_predictions(examples, answers).overall["exact"] == 0


def test_a_gold_that_is_an_article_of_the_language_is_no_gold_under_2_0() -> None:
    examples = [ask("article", "die"), ask("none")]
    answers = {"article": "", "none": "die"}
    assert score_predictions(examples, answers, language="de").overall["exact"] == 100
    assert score_predictions(examples, answers, language="en").overall["exact"] == 0


def test_an_unknown_language_is_named_with_those_there_are() -> None:
    message = r"language='fr': there are 'en', 'de', .*, 'zh', 'zh-cmrc', 'ja', 'ko'; texts of"
    with pytest.raises(ConfigError, match=message):
        normalize_answer("", language="fr")
    with pytest.raises(ConfigError, match=message):
        exact_match("", "", language="fr")
    with pytest.raises(ConfigError, match=message):
        f1("", "", language="fr")
    with pytest.raises(ConfigError, match=message) as caught:
        score_predictions([ask("x")], {}, language="fr", threshold=2)
    assert "threshold=2" in str(caught.value)
