"""The pages in a real browser, from a file and without a network: what people see and press."""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, Locator, Page, expect

from spanwise.auditing import audit_examples
from spanwise.corpus import Scan
from spanwise.evaluation import report_predictions
from spanwise.reporting import audit_page, evaluation_page
from spanwise.schema import Example, Gold
from tests.conftest import make_colours
from tests.reporting_shared import (
    CONTEXT,
    EXAMPLES,
    HOSTILE,
    LOG,
    OUTCOMES,
    PREDICTIONS,
    SETTINGS,
    SURROGATE,
    TOKENIZER,
    make_example,
    make_page,
    make_prediction,
)
from tests.test_page import _contrast, _light

Show = Callable[..., AbstractContextManager[Page]]
# What is read on what, and what is only told apart.
COLOURS = [
    *("ground", "sheet", "ink", "soft", "edge", "act", "other", "mark", "mark-ink", "gold"),
    "faint",
]
READ = [
    *(("ink", "ground"), ("ink", "sheet"), ("ink", "faint"), ("soft", "ground"), ("soft", "sheet")),
    *(("soft", "faint"), ("act", "ground"), ("act", "sheet"), ("mark-ink", "mark")),
]
TOLD_APART = [("edge", "sheet"), ("other", "sheet"), ("gold", "sheet"), ("act", "sheet")]
expect.set_options(timeout=20_000)  # a busy machine is no fault of the page


@pytest.fixture(scope="module")
def show(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Show:
    """Open a page; at the end nothing was written to the console or asked of anybody."""
    folder = tmp_path_factory.mktemp("pages")

    @contextmanager
    def open_page(content: bytes, **options: Any) -> Iterator[Page]:
        file = folder / "page.html"
        file.write_bytes(content)
        seen: list[str] = []

        def refuse(dialog: Dialog) -> None:
            seen.append(f"a dialog: {dialog.message}")
            dialog.dismiss()

        context = browser.new_context(offline=True, **options)
        context.on("request", lambda request: seen.append(request.url))
        context.on("console", lambda message: seen.append(f"{message.type}: {message.text}"))
        context.on("weberror", lambda error: seen.append(str(error.error)))
        context.on("dialog", refuse)
        page = context.new_page()
        page.goto(file.as_uri())
        yield page
        assert context.pages == [page]
        context.close()
        assert {url for url in seen if not url.startswith("data:")} == {file.as_uri()}

    return open_page


@pytest.fixture(scope="module")
def report() -> bytes:
    return make_page(log=LOG)


@pytest.fixture(scope="module")
def audit() -> bytes:
    lost = replace(EXAMPLES[0], id="lost", answers=(Gold(text="tower", start=0, end=5),))
    scans = {"tiny.json": Scan(examples=(*EXAMPLES, lost), problems=())}
    return audit_page(audit_examples(scans, tokenizer=TOKENIZER), scans, model="tiny")


def marks(item: Locator) -> list[tuple[int, int, str, str]]:
    """Start and end in the text that is shown, in code points, with name and text of each mark."""
    found = item.locator(".context mark").evaluate_all(
        """marks => marks.map(mark => {
            const before = document.createRange();
            before.selectNodeContents(mark.closest(".context"));
            before.setEndBefore(mark);
            return [before.toString(), mark.className, mark.textContent];
        })"""
    )
    return [(len(a), len(a) + len(text), name, text) for a, name, text in found]


def ids(page: Page) -> list[str]:
    """Of the questions that are shown: the third fact of each, after its kind and title."""
    return page.locator(".item .soft:nth-of-type(2) bdi:nth-of-type(3)").all_inner_texts()


def choose(page: Page, kind: str) -> None:
    page.get_by_role("radio", name=re.compile(rf"^{kind} \d")).check()


# Evaluations


def test_every_question_is_shown_with_its_marks(show: Show, report: bytes) -> None:
    with show(report) as page:
        expect(page.get_by_role("status")).to_have_text("6 questions")
        items = page.locator(".item")
        assert items.count() == 6
        for item, example, prediction in zip(items.all(), EXAMPLES, PREDICTIONS, strict=True):
            expect(item.locator(".asked")).to_have_text(example.question)
            expect(item.locator(".context")).to_have_text(CONTEXT)
            name = "span" if prediction.best else "near"
            wanted = {(a.start, a.end, name) for a in prediction.answers}
            wanted |= {(gold.start, gold.end, "gold") for gold in example.answers or ()}
            covered: Counter[str] = Counter()
            for start, end, names, text in marks(item):
                assert CONTEXT[start:end] == text  # the emoji before is one character
                covered.update(names.split())
                for one in names.split():
                    spans = [(s, e) for s, e, name in wanted if name == one]
                    assert any(s <= start and end <= e for s, e in spans)
            assert covered.keys() == {each for _, _, each in wanted}
        boundary = marks(items.nth(1))
        assert [(names, text) for _, _, names, text in boundary] == [
            *(("gold", "red "), ("gold span", "lamp"), ("span", " hangs")),
        ]
        told = items.nth(3).locator("p").all_inner_texts()
        assert told[3:] == ["Gold: “blue valve”", "Nearest, not returned: “bridge”"]


def test_kinds_and_words_choose_questions(show: Show, report: bytes) -> None:
    with show(report) as page:
        for kind, count in Counter(OUTCOMES).items():
            expect(page.get_by_role("radio", name=f"{kind} {count}", exact=True)).to_have_count(1)
            choose(page, kind)
            wanted = [x.id for x, name in zip(EXAMPLES, OUTCOMES, strict=True) if name == kind]
            assert ids(page) == wanted
            expect(page.get_by_role("status")).to_have_text(f"{count} questions")
        search = page.get_by_role("searchbox", name="Search")
        search.fill("BOUNDARY")
        assert ids(page) == []
        expect(page.get_by_role("status")).to_have_text("0 questions")
        choose(page, "all")
        assert ids(page) == ["boundary"]
        search.fill("Blue Valve is")  # in the context
        assert len(ids(page)) == 6
        search.fill("")
        assert len(ids(page)) == 6


@pytest.mark.parametrize(
    "before",
    [
        pytest.param("🦊🦊 👩‍👩‍👧 ", id="emoji"),
        pytest.param("cafe\u0301 n\u0303 \u0928\u093f ", id="combining marks"),
        pytest.param("\U00020000\U0001f600\u05d0\u05d1 ", id="beyond the basic plane"),
        pytest.param("a\r\n\n  b\tc\u2028d\x00 ", id="blanks, lines and controls"),
    ],
)
def test_marks_stand_at_the_right_characters(show: Show, before: str) -> None:
    context = f"{before * 60}{CONTEXT}{'🦊' * 500}"
    example = make_example("a", "red lamp", context=context)
    with show(make_page([example], [make_prediction(example, "lamp", null=0.1)])) as page:
        item = page.locator(".item")
        assert [text for *_, text in marks(item)] == ["red ", "lamp"]
        assert "\ufffd" not in item.inner_text()  # no emoji is cut in half
        expect(item.locator(".cut")).to_have_count(2)
        button = item.get_by_role("button", name="Whole text")
        button.click()
        expect(button).to_have_attribute("aria-expanded", "true")
        expect(item.locator(".cut")).to_have_count(0)
        assert item.locator(".context").evaluate("it => it.textContent") == context
        start = context.index("red lamp")
        assert [mark[:2] for mark in marks(item)] == [(start, start + 4), (start + 4, start + 8)]
        button.click()
        expect(item.locator(".cut")).to_have_count(2)


def test_published_answers_within_one_another_are_one_mark(show: Show) -> None:
    golds = make_example("a", "red lamp").answers, make_example("a", "lamp").answers
    example = replace(make_example("a"), answers=(*(golds[0] or ()), *(golds[1] or ())))
    with show(make_page([example], [make_prediction(example, "tower", null=0.1)])) as page:
        item = page.locator(".item")
        assert [text for *_, text in marks(item)] == ["red lamp", "tower"]
        expect(item).to_contain_text("Gold: “red lamp” or “lamp”")


def test_marks_far_apart_are_shown_in_pieces(show: Show) -> None:
    context = f"{CONTEXT} {'small quiet river ' * 100} the market"
    example = make_example("a", "market", context=context)
    with show(make_page([example], [make_prediction(example, "red lamp", null=0.1)])) as page:
        shown = page.locator(".item .context").inner_text()
        assert shown.startswith(CONTEXT)
        assert " … " in shown
        assert shown.endswith("the market")
        assert len(shown) < 700


def test_hostile_texts_are_shown_and_do_nothing(show: Show) -> None:
    context = HOSTILE + CONTEXT
    start = HOSTILE.index("<b>")
    golds = (Gold(text="<b>", start=start, end=start + 3), Gold(text=HOSTILE, start=900, end=950))
    example = Example(
        id=HOSTILE, question=HOSTILE, context=context, title=HOSTILE + SURROGATE, answers=golds
    )
    examples = [example, *(replace(x, title=HOSTILE) for x in make_colours(12, seed=1))]
    predictions = [make_prediction(example, "red", null=0.2)]
    predictions += [make_prediction(x, x.context[:3], null=0.2) for x in examples[1:]]
    with show(make_page(examples, predictions, model=HOSTILE)) as page:
        item = page.locator(".item").first
        assert item.locator(".asked").evaluate("it => it.textContent") == HOSTILE
        assert item.locator(".context").evaluate("it => it.textContent") == context
        assert [text for *_, text in marks(item)] == ["<b>", "red"]
        assert page.locator("main img, main b, main script").count() == 0
        page.get_by_role("searchbox").fill("onerror=alert")
        assert page.locator(".item").count() == 13
        assert page.evaluate("document.scripts.length") == 2
    scans = {HOSTILE: Scan(examples=(replace(example, context=context + SURROGATE),), problems=())}
    with show(audit_page(audit_examples(scans), scans)) as page:
        assert page.locator(".item").count() == 2  # a misplaced answer, and an example
        assert page.locator("main img, main b, main script").count() == 0


# Audits


def test_an_audit_shows_the_place_of_each_finding(show: Show, audit: bytes) -> None:
    with show(audit) as page:
        findings = page.get_by_role("region", name="What is wrong")
        choose(page, "answers that are not where they are said to be")
        item = findings.locator(".item")
        assert item.count() == 1
        assert [mark for mark in marks(item) if "lost" in mark[2]] == [(0, 5, "lost", CONTEXT[:5])]
        expect(item).to_contain_text("Gold, not where it is said to be: “tower”")
        examples = page.get_by_role("region", name="Examples")
        expect(examples.get_by_role("status")).to_have_text("7 questions, drawn at random")
        expect(examples.get_by_role("radio")).to_have_count(0)


# By hand, eye and paper


def test_the_keyboard_alone_is_enough(show: Show, report: bytes) -> None:
    with show(report) as page:
        page.get_by_role("link", name="Every question").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Every question")).to_be_in_viewport()
        page.keyboard.press("Tab")  # from the place that the link led to
        expect(page.get_by_role("radio", name="all 6")).to_be_focused()
        page.keyboard.press("ArrowRight")
        assert ids(page) == ["wrong"]
        outline = "it => getComputedStyle(it.parentElement).outlineStyle"
        assert page.locator(":focus").evaluate(outline) == "solid"
        page.keyboard.press("Tab")
        expect(page.get_by_role("searchbox")).to_be_focused()
        page.keyboard.press("Enter")  # sends nothing, as there is nobody to send it to
        assert ids(page) == ["wrong"]


def test_those_who_do_not_see_are_told_all(show: Show, report: bytes) -> None:
    with show(report) as page:
        pictures = page.get_by_role("img")
        assert pictures.count() == 5
        assert all(picture.get_attribute("aria-label") for picture in pictures.all())
        for table in page.get_by_role("table").all():
            expect(table.locator("caption")).to_have_count(1)
            assert table.locator("thead th:not([scope=col])").count() == 0
            assert table.locator("tbody tr:not(:has(> th[scope=row]))").count() == 0
        for section in page.locator("section").all():
            expect(section.locator(".how")).not_to_be_empty()
            assert page.get_by_role("region", name=section.locator("h2").inner_text()).count() == 1
        assert page.locator("nav a").count() == page.locator("section").count()


@pytest.mark.parametrize("width", [320, 380])
@pytest.mark.parametrize("which", ["report", "audit"])
def test_a_phone_shows_all_without_scrolling_sideways(
    show: Show, request: pytest.FixtureRequest, which: str, width: int
) -> None:
    phone = {"viewport": {"width": width, "height": 700}, "is_mobile": True, "has_touch": True}
    with show(request.getfixturevalue(which), **phone) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("innerWidth") == width  # it was not laid out wider and shrunk
        for table in page.locator(".scroll").all():
            assert table.evaluate("it => it.scrollWidth <= it.clientWidth") or width < 380
        for label in page.locator("fieldset label:visible, .more:visible").all():
            box = label.bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
            assert box["height"] >= 24


def test_long_words_stay_inside_a_phone(show: Show) -> None:
    word = "x" * 300
    example = make_example("a", "red lamp", context=f"{word} {CONTEXT}", question=word, title=word)
    page_of_words = make_page([example], [make_prediction(example, "lamp", null=0.1)], model=word)
    with show(page_of_words, viewport={"width": 380, "height": 700}, is_mobile=True) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 380


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_told_apart(show: Show, report: bytes, scheme: str) -> None:
    with show(report, color_scheme=scheme) as page:
        values = page.evaluate(
            """names => {
                const style = getComputedStyle(document.documentElement);
                return names.map(name => style.getPropertyValue(`--${name}`));
            }""",
            COLOURS,
        )
        ink = page.locator("svg text").first.evaluate("it => getComputedStyle(it).fill")
    colour = dict(zip(COLOURS, values, strict=True))
    assert (_light(colour["ground"]) > 0.5) == (scheme == "light")
    digits = [int(colour["soft"].strip()[n : n + 2], 16) for n in (1, 3, 5)]
    assert ink == f"rgb({', '.join(map(str, digits))})"  # pictures follow
    for upper, lower in READ:
        assert _contrast(colour[upper], colour[lower]) >= 4.5, (upper, lower)
    for upper, lower in TOLD_APART:
        assert _contrast(colour[upper], colour[lower]) >= 3, (upper, lower)
    assert _contrast("#17704f", colour["mark"]) >= 3  # the line under what was answered rightly


def test_paper_is_white_and_has_no_buttons(show: Show, report: bytes) -> None:
    with show(report, color_scheme="dark") as page:
        page.emulate_media(media="print", color_scheme="dark")
        ground = "getComputedStyle(document.body).backgroundColor"
        assert page.evaluate(ground) == "rgb(255, 255, 255)"
        for selector in ("nav", "form", "button"):
            assert page.locator(f"{selector}:visible").count() == 0
        assert page.locator(".item:visible").count() == 6


# Size


def make_many(count: int) -> tuple[list[Example], bytes]:
    """Questions on contexts of 800 characters, five on each, as in the usual sets."""
    draw = random.Random(0)
    words = [x.context for x in make_colours(400, seed=9)]
    contexts = [f"{n} red {' '.join(draw.choices(words, k=15))[:800]}" for n in range(count // 5)]
    kinds = ["red", ""]
    examples = [
        make_example(f"{n:024d}", kinds[n % 2], context=contexts[n // 5], question="which red ?")
        for n in range(count)
    ]
    predictions = [make_prediction(x, "red", null=(n % 7) / 7) for n, x in enumerate(examples)]
    report = report_predictions(examples, predictions, settings=SETTINGS, language="en")
    return examples, evaluation_page(report, examples, TOKENIZER, model="m", data=["d"])


@pytest.mark.slow
def test_twelve_thousand_questions_are_small_and_smooth(show: Show) -> None:
    examples, content = make_many(12_000)
    assert len(content) < 15e6
    with show(content) as page:
        expect(page.get_by_role("status")).to_have_text("12,000 questions, the first 50 shown")
        assert page.locator(".item").count() == 50
        page.get_by_role("button", name="Show more").click()
        assert page.locator(".item").count() == 100
        page.get_by_role("searchbox").fill(examples[-1].id)
        assert ids(page) == [examples[-1].id]
        page.get_by_role("searchbox").fill("")
        choose(page, "answered the unanswerable")
        wanted = [x.id for n, x in enumerate(examples) if not x.answers and (n % 7) / 7 <= 0.5]
        assert ids(page) == wanted[:50]
        expect(page.get_by_role("status")).to_have_text(
            f"{len(wanted):,} questions, the first 50 shown"
        )
