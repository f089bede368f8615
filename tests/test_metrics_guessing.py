"""Which language a set is in: told by its own words, and English where they do not tell."""

import unicodedata

import pytest

from spanwise.metrics import LANGUAGES, guess_language
from spanwise.schema import Example

# Language → a question, and what it is asked about; all written for this test.
QUESTIONS = {
    "en": "When does the library open?",
    "de": "Wann öffnet die Bücherei der Stadt?",
    "es": "¿A qué hora abre la biblioteca?",
    "ar": "متى تفتح مكتبة المدينة؟",
    "vi": "Thư viện mở cửa lúc mấy giờ?",
    "hi": "पुस्तकालय कब खुलता है?",
    "zh": "图书馆几点开门?",
    "ja": "図書館は何時に開きますか?",
    "ko": "도서관은 몇 시에 문을 엽니까?",
}
CONTEXTS = {
    "en": "The library of the town opens at nine in the morning and closes at six. On Sundays it "
    "is open for readers who bring their own books, and a baker sells bread in the yard.",
    "de": "Die Bücherei der Stadt öffnet um neun Uhr und wird um sechs geschlossen. Sonntags ist "
    "sie für Leser offen, die eigene Bücher mitbringen, und ein Bäcker verkauft im Hof frisches "
    "Brot, das er in der Nacht gebacken hat.",
    "es": "La biblioteca del pueblo abre a las nueve de la mañana y cierra a las seis. Los "
    "domingos entran los lectores que llevan sus libros, y en el patio un panadero vende el pan "
    "que hace por la noche. Su hija es la más joven de los aprendices.",
    "ar": "تفتح مكتبة المدينة أبوابها في التاسعة صباحا وتغلق في السادسة مساء. ويأتي إليها يوم "
    "الأحد القراء الذين يحملون كتبهم، ويبيع الخباز في الساحة الخبز الذي يصنعه ليلا.",
    "vi": "Thư viện của thị trấn mở cửa lúc chín giờ sáng và đóng cửa lúc sáu giờ. Chủ nhật, những "
    "người đọc mang sách của mình đến, còn người thợ làm bánh bán bánh mì ngoài sân.",
    "hi": "शहर का पुस्तकालय सुबह नौ बजे खुलता है और शाम छह बजे बंद होता है। रविवार को वे पाठक आते हैं जो "
    "अपनी पुस्तकें साथ लाते हैं, और आँगन में एक नानबाई रोटी बेचता है।",
    "zh": "镇上的图书馆早上九点开门,晚上六点关门。星期天,自己带书来的读者也可以进去,"
    "院子里有一位面包师在卖他夜里烤好的面包。馆里的 WiFi 和 Internet 都是免费的。",
    "ja": "町の図書館は朝九時に開き、夕方六時に閉まります。日曜日には自分の本を"
    "持って来る人も入ることができ、庭ではパン屋が夜に焼いたパンを売っています。館内ではWi-Fiが使えます。",
    "ko": "마을 도서관은 아침 아홉 시에 문을 열고 저녁 여섯 시에 닫는다. 일요일에는 책을 "
    "가져온 사람도 들어갈 수 있고, 마당에서는 빵집 주인이 밤에 구운 빵을 판다.",
}

# What no script of ours is for, near ones above all.
OTHERS = {
    "Dutch": "De bibliotheek van de stad gaat om negen uur open en sluit om zes uur. Op zondag is "
    "het voor lezers die hun eigen boeken meenemen, en in de tuin is een bakker die zijn brood "
    "verkoopt. Was het de dag van de markt, dan is er ook kaas.",
    "Danish": "Byens bibliotek åbner klokken ni og lukker klokken seks. Om søndagen er det åbent "
    "for læsere, der har deres egne bøger med, og i gården sælger en bager det brød, som han har "
    "bagt den nat. Den yngste af dem er hans datter.",
    "Swedish": "Stadens bibliotek öppnar klockan nio och stänger klockan sex. På söndagar är det "
    "öppet för läsare som har med sig egna böcker, och på gården säljer en bagare det bröd som han "
    "har bakat under natten.",
    "French": "La bibliothèque de la ville ouvre à neuf heures et ferme à six heures. Le dimanche, "
    "les lecteurs y entrent avec leurs livres, et dans la cour un boulanger vend le pain des "
    "villages qu'il a fait en une nuit. Elle en est la plus jeune.",
    "Portuguese": "A biblioteca da cidade abre às nove da manhã e fecha às seis. Aos domingos "
    "entram os leitores que trazem os seus livros, e no pátio um padeiro vende o pão que faz de "
    "noite. A sua filha é a mais nova das aprendizes.",
    "Italian": "La biblioteca della città apre alle nove del mattino e chiude alle sei. La "
    "domenica entrano i lettori che portano i loro libri, e nel cortile un fornaio vende il pane "
    "che fa di notte. Su questo si regge il paese, con una festa al mese.",
    "Catalan": "La biblioteca del poble obre a les nou del matí i tanca a les sis. Els diumenges "
    "hi entren els lectors que porten els seus llibres, i al pati un forner ven el pa que fa a la "
    "nit. El cap del poble en té cura.",
    "Persian": "کتابخانه شهر ساعت نه صبح باز می‌شود و ساعت شش بسته می‌شود. یکشنبه‌ها خوانندگانی "
    "می‌آیند که کتاب‌های خود را می‌آورند و در حیاط نانوایی نان می‌فروشد.",
    "Urdu": "شہر کی لائبریری صبح نو بجے کھلتی ہے اور شام چھ بجے بند ہوتی ہے۔ اتوار کو وہ "
    "پڑھنے والے آتے ہیں جو اپنی کتابیں ساتھ لاتے ہیں۔",
    "Thai": "ห้องสมุดของเมืองเปิดเวลาเก้าโมงเช้าและปิดเวลาหกโมงเย็น",
    "Russian": "Городская библиотека открывается в девять утра и закрывается в шесть вечера.",
    "numbers": "1914 1918 3.14 – 2.71 …",
    "nothing": "",
}


def ask(question: str, context: str) -> Example:
    return Example(id="x", question=question, context=context)


def questions(language: str, count: int = 1) -> list[Example]:
    return [ask(QUESTIONS[language], CONTEXTS[language])] * count


@pytest.mark.parametrize("language", QUESTIONS)
def test_a_language_is_told_by_its_words(language: str) -> None:
    assert guess_language(questions(language)) == language
    assert language in LANGUAGES


@pytest.mark.parametrize("language", QUESTIONS)
def test_contexts_are_enough(language: str) -> None:
    assert guess_language([ask("", CONTEXTS[language])]) == language


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_clear_is_english(name: str) -> None:
    assert guess_language([ask("", OTHERS[name])]) == "en"


def test_no_questions_are_english() -> None:
    assert guess_language([]) == "en"


@pytest.mark.parametrize("language", QUESTIONS)
def test_english_texts_with_a_few_words_of_another_language_are_english(language: str) -> None:
    assert guess_language(questions("en", 9) + questions(language)) == "en"


@pytest.mark.parametrize("language", QUESTIONS)
def test_questions_on_english_texts_do_not_make_a_set_foreign(language: str) -> None:
    assert guess_language([ask(QUESTIONS[language], 3 * CONTEXTS["en"])]) == "en"


@pytest.mark.parametrize("language", QUESTIONS)
def test_a_few_english_texts_do_not_make_a_set_english(language: str) -> None:
    assert guess_language(questions("en") + questions(language, 9)) == language


def test_case_and_decomposed_letters_do_not_matter() -> None:
    for language, context in CONTEXTS.items():
        shouted = unicodedata.normalize("NFD", context.upper())
        assert guess_language([ask("", shouted)]) == language


def test_a_sorted_set_is_looked_at_from_end_to_end() -> None:
    assert guess_language(questions("en", 500) + questions("de", 2500)) == "de"
    assert guess_language(questions("de", 500) + questions("en", 2500)) == "en"


def test_only_the_beginning_of_a_long_context_is_looked_at() -> None:
    beginning = (CONTEXTS["en"] + " ") * 3
    assert guess_language([ask("", beginning + CONTEXTS["de"] * 50)]) == "en"
