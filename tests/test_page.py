"""The page in a real browser, against the real server: what people see, press and drop."""

import base64
import hashlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.resources import files
from threading import Thread
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Page,
    Request,
    Route,
    expect,
)

from spanwise import FakeBackend, Reader
from spanwise.schema import Calibration, ReaderSettings
from spanwise.serving.app import Service, make_app
from spanwise.serving.gate import Limits
from spanwise.windows import PairTokenizer
from tests.conftest import make_tokenizer

TEXT = "The red lamp hangs on the old tower, and the blue valve is under the bridge."
PROBABILITIES = {"red lamp": 8.0, "blue valve": 6.5, "21:40": 8.0, "eighteen months": 8.0}
BUSY = "The server has too many questions at once. Ask again"
FAILED = "The server could not answer"
LIMITS = Limits(body=200_000, question=200, context=20_000)
# What is read on what.
COLOURS = [
    *("ground", "sheet", "ink", "soft", "edge", "act", "on-act", "mark", "mark-ink", "faint"),
    "bad",
]
READ = [
    *(("ink", "ground"), ("ink", "sheet"), ("ink", "faint"), ("soft", "ground"), ("soft", "sheet")),
    *(("soft", "faint"), ("act", "ground"), ("bad", "ground"), ("on-act", "act")),
    ("mark-ink", "mark"),
]

Open = Callable[..., AbstractContextManager[Page]]
expect.set_options(timeout=20_000)  # a busy machine is no fault of the page


def make_reader(*, fitted_on: str = "") -> Reader:
    tokenizer = PairTokenizer(make_tokenizer(), {"cls_token": "[CLS]", "pad_token": "[PAD]"})
    settings = ReaderSettings(calibration=Calibration(fitted_on=fitted_on, threshold=0.4))
    return Reader(FakeBackend(PROBABILITIES, tokenizer, null=2.0), tokenizer, settings)


@contextmanager
def serving(reader: Reader | None, *, token: str | None = None) -> Iterator[str]:
    """The real application on a free port; without a reader as while it is loaded."""
    service = Service("tiny", LIMITS)
    if reader is not None:
        service.start(reader)
    app = make_app(service, token=token)
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()
        service.stop()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(make_reader()) as url:
        yield url


@pytest.fixture(scope="module")
def visit(browser: Browser, address: str) -> Open:
    """Open the page; at the end nothing was written to the console or asked of anybody else."""

    @contextmanager
    def open_page(url: str = address, **options: Any) -> Iterator[Page]:
        seen: list[str] = []

        def listen(message: ConsoleMessage) -> None:
            # Chromium itself notes each refused request; no page can prevent that.
            if not message.text.startswith("Failed to load resource"):
                seen.append(f"{message.type}: {message.text}")

        def watch(request: Request) -> None:
            if not request.url.startswith((url, "data:")):
                seen.append(f"asked {request.url}")

        context = browser.new_context(**options)
        context.on("request", watch)
        context.on("console", listen)
        context.on("weberror", lambda error: seen.append(str(error.error)))
        page = context.new_page()
        page.goto(url)
        yield page
        assert page.context.pages == [page]
        assert page.url == url
        context.close()
        assert seen == []

    return open_page


@pytest.fixture
def page(visit: Open) -> Iterator[Page]:
    with visit() as page:
        yield page


def ask(page: Page, text: str, question: str = "which ?") -> None:
    page.get_by_label("Text", exact=True).fill(text)
    page.get_by_label("Question").fill(question)
    page.get_by_label("Question").press("Enter")


def sentence(page: Page, text: str | re.Pattern[str]) -> None:
    """The page says this and nothing else: no answer stands beside it."""
    expect(page.get_by_role("alert")).to_have_text(text)
    expect(page.get_by_role("status")).to_be_empty()
    expect(page.locator("#others li")).to_have_count(0)


def marked(page: Page) -> tuple[int, int]:
    """Where the strong mark stands in the text that is shown, in code points."""
    before, inside = page.locator("#sheet .chosen").evaluate(
        """mark => {
            const before = document.createRange();
            before.selectNodeContents(document.getElementById("sheet"));
            before.setEndBefore(mark);
            return [before.toString(), mark.textContent];
        }"""
    )
    return len(before), len(before) + len(inside)


def drop(page: Page, content: bytes, *names: str) -> None:
    """Drop files, all with the same content."""
    transfer = page.evaluate_handle(
        """([content, names]) => {
            const transfer = new DataTransfer();
            for (const name of names) transfer.items.add(new File([new Uint8Array(content)], name));
            return transfer;
        }""",
        [list(content), names],
    )
    page.dispatch_event("body", "dragover", {"dataTransfer": transfer})
    expect(page.locator("body")).to_have_class("dropping")
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    expect(page.locator("body")).not_to_have_class("dropping")


# Answers


@pytest.mark.parametrize(
    "before",
    [
        pytest.param("", id="nothing"),
        pytest.param("🦊🦊 👩‍👩‍👧 ", id="emoji"),
        pytest.param("cafe\u0301 n\u0303 \u0928\u093f ", id="combining marks"),
        pytest.param("a\n\n  b\tc\u2028d ", id="blanks and lines"),
        pytest.param("\U00020000\U0001f600\u05d0\u05d1 ", id="beyond the basic plane"),
    ],
)
def test_an_answer_is_marked_where_it_stands(page: Page, before: str) -> None:
    text = f"{before}{TEXT} 🦊"
    start = text.index("red lamp")
    ask(page, text)
    expect(page.get_by_role("status")).to_contain_text(
        f"red lampProbability 59%, characters {start}–{start + 8}"
    )
    assert marked(page) == (start, start + 8)
    assert page.locator("#sheet").text_content() == text
    assert page.locator("#about").text_content() == f"{len(text)} characters"
    mark = page.locator("#sheet .chosen")
    assert mark.get_attribute("data-probability") == "59%"
    content = mark.evaluate("mark => getComputedStyle(mark, '::after').content")
    assert "data-probability" in content or "59%" in content


def test_runner_ups_are_listed_and_come_into_sight(page: Page) -> None:
    text = "\n".join(["The red lamp hangs here.", *["It was quiet."] * 300, "See the blue valve."])
    ask(page, text)
    expect(page.get_by_role("heading", name="Less probable")).to_be_visible()
    other = page.get_by_role("button", name="blue valve 18%", exact=False)
    expect(other).to_have_attribute("aria-pressed", "false")
    valve = page.locator("mark", has_text="blue valve")
    expect(valve).not_to_be_in_viewport()
    other.click()
    expect(other).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#sheet .chosen")).to_have_text("blue valve")
    expect(valve).to_be_in_viewport()
    page.get_by_role("button", name="red lamp", exact=True).click()
    assert marked(page) == (4, 12)
    expect(page.locator("#sheet .chosen")).to_be_in_viewport()


def test_overlapping_answers_leave_the_chosen_one_whole(page: Page) -> None:
    ask(page, TEXT)
    long = TEXT[TEXT.index("red") : TEXT.index(" is under")]
    expect(page.locator("mark")).to_have_count(2)
    page.get_by_role("button", name=long).click()
    expect(page.locator("mark")).to_have_text([long])
    assert page.locator("#sheet").text_content() == TEXT


def test_a_faint_mark_can_be_chosen_with_the_mouse(page: Page) -> None:
    ask(page, "A blue valve. " * 3 + "A red lamp.")
    page.locator("mark:not(.chosen)").first.click()
    expect(page.locator("#sheet .chosen")).not_to_have_text("red lamp")


def test_what_is_not_there_is_said_with_the_nearest(page: Page) -> None:
    ask(page, "The engine was small and the harbour quiet.")
    expect(page.get_by_role("status")).to_have_text("Not in this textProbability > 99%")
    expect(page.get_by_role("heading", name="The nearest that the text has")).to_be_visible()
    expect(page.locator("#others li")).to_have_count(5)
    expect(page.locator(".chosen")).to_have_count(0)
    expect(page.locator("#note")).to_contain_text("This reader says so from a probability of 40%")
    expect(page.locator("#note")).to_contain_text("Probabilities are uncalibrated")
    page.locator("#others button").first.click()
    expect(page.locator(".chosen")).to_have_count(1)


def test_calibrated_probabilities_are_not_called_otherwise(visit: Open) -> None:
    with serving(make_reader(fitted_on="dev.json")) as url, visit(url) as page:
        ask(page, TEXT)
        expect(page.locator("#note")).to_have_text("That the text does not say: < 1%.")


def test_examples_ask_at_once(page: Page) -> None:
    examples = page.locator("#examples button")
    expect(examples).to_have_count(3)
    for number, answer in enumerate(["21:40", "eighteen months"]):
        examples.nth(number).click()
        expect(page.locator("#sheet .chosen")).to_have_text(answer)
    examples.nth(2).click()
    assert page.get_by_label("Question").input_value() == examples.nth(2).text_content()


def test_a_quote_that_is_none_is_refused(page: Page) -> None:
    found = {"text": "lamp", "start": 0, "end": 4, "context": 0, "score": 1, "probability": 1}
    reply = {
        "id": "0", "answers": [found], "best": found, "calibrated": True, "threshold": 0.5,
        "null_score": 0, "null_probability": 0,
    }  # fmt: skip
    page.route("**/v1/answer", lambda route: route.fulfill(json=reply))
    ask(page, TEXT)
    sentence(page, "The server quotes “lamp”, which is not at 0–4 of this text.")


def test_the_newer_question_wins(page: Page) -> None:
    held: list[Route] = []
    page.route("**/v1/answer", lambda route: held.append(route), times=1)  # noqa: PLW0108
    ask(page, TEXT, "slow ?")
    expect(page.locator("#found")).to_have_attribute("aria-busy", "true")
    ask(page, "A blue valve.", "quick ?")
    expect(page.locator("#sheet .chosen")).to_have_text("blue valve")
    assert len(held) == 1
    expect(page.get_by_role("alert")).to_be_empty()
    expect(page.locator("#found")).to_have_attribute("aria-busy", "false")


# The text


def test_editing_takes_the_answer_away(page: Page) -> None:
    ask(page, TEXT)
    page.get_by_role("button", name="Edit").click()
    area = page.get_by_label("Text", exact=True)
    expect(area).to_be_focused()
    assert area.input_value() == TEXT
    expect(page.get_by_role("status")).to_be_empty()
    ask(page, TEXT)
    page.get_by_role("button", name="Clear").click()
    assert area.input_value() == ""
    expect(page.get_by_role("status")).to_be_empty()
    expect(page.get_by_role("button", name="Clear")).to_be_hidden()


def test_a_dropped_file_is_read_as_it_is(page: Page) -> None:
    text = "🦊 One\r\ntwo\rthree\r\n\r\nA red lamp.\r\n"
    drop(page, text.encode(), "notes.md")
    expect(page.locator("#about")).to_have_text(f"notes.md, {len(text)} characters")
    expect(page.get_by_label("Question")).to_be_focused()
    with page.expect_request("**/v1/answer") as sent:
        page.keyboard.type("which ?")
        page.keyboard.press("Enter")
    assert sent.value.post_data_json == {"question": "which ?", "context": text, "top_k": 5}
    start = text.index("red lamp")
    expect(page.get_by_role("status")).to_contain_text(f"characters {start}–{start + 8}")
    assert marked(page) == (start, start + 8)
    assert page.locator("#sheet").text_content() == text

    # An edited file is another text: its lines now end as the browser has them.
    page.get_by_role("button", name="Edit").click()
    page.keyboard.press("Control+End")
    page.keyboard.type("!")
    with page.expect_request("**/v1/answer") as sent:
        page.keyboard.press("Control+Enter")
    body = sent.value.post_data_json
    assert body is not None
    assert body["context"] == "🦊 One\ntwo\nthree\n\nA red lamp.\n!"


def test_a_file_can_be_opened_from_a_button(page: Page) -> None:
    for _ in range(2):  # the same file again is read again
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Open a file").press("Enter")
        file = {"name": "a.txt", "mimeType": "text/plain", "buffer": TEXT.encode()}
        chooser.value.set_files(file)  # type: ignore[arg-type]  # a TypedDict that is not public
        expect(page.locator("#about")).to_have_text(f"a.txt, {len(TEXT)} characters")
        assert page.get_by_label("Text", exact=True).input_value() == TEXT
        page.get_by_role("button", name="Clear").click()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"caf\xe9 red lamp", "a.txt is not text in UTF-8; save it as plain text and open that."),
        (b"x" * 2_000_001, "a.txt is larger than 2 MB; open a part of it."),
    ],
    ids=["other encoding", "too large"],
)
def test_a_file_that_cannot_be_taken(page: Page, content: bytes, says: str) -> None:
    page.get_by_label("Text", exact=True).fill(TEXT)
    page.locator("#file").set_input_files(
        {"name": "a.txt", "mimeType": "text/plain", "buffer": content}
    )
    sentence(page, says)
    assert page.get_by_label("Text", exact=True).input_value() == TEXT


def test_an_empty_file_is_called_empty(page: Page) -> None:
    drop(page, b"", "a.txt")
    expect(page.locator("#about")).to_have_text("a.txt is empty")


def test_several_files_are_no_text(page: Page) -> None:
    page.get_by_label("Text", exact=True).fill(TEXT)
    drop(page, b"A blue box.", "a.txt", "b.txt")
    sentence(page, "A question is asked of one text: drop a single file.")
    assert page.get_by_label("Text", exact=True).input_value() == TEXT


def test_half_a_surrogate_pair_does_not_shift_the_answer(page: Page) -> None:
    page.get_by_label("Text", exact=True).evaluate(
        "(area, text) => { area.value = '\\ud83e ' + text; }", TEXT
    )
    page.get_by_label("Question").fill("which ?")
    page.get_by_label("Question").press("Enter")
    expect(page.get_by_role("status")).to_contain_text("characters 6–14")
    assert marked(page) == (6, 14)


# Nobody's text is markup


def test_texts_questions_names_and_errors_are_only_text(page: Page) -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    drop(page, f"{evil} red lamp {evil}".encode(), f"{evil}.txt".replace("/", ""))
    expect(page.locator("#about")).to_contain_text("<img src=x onerror=alert(1)>")
    page.get_by_label("Question").fill(evil)
    page.get_by_label("Question").press("Enter")
    expect(page.get_by_role("status")).to_contain_text("red lamp")
    assert page.locator("#sheet").text_content() == f"{evil} red lamp {evil}"
    ask_again = page.get_by_role("button", name="Ask")
    page.route("**/v1/answer", lambda route: route.fulfill(status=422, json={"error": evil}))
    ask_again.click()
    sentence(page, f"{evil}.")
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 1


def test_the_policy_holds(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.goto(address)
    refused = page.evaluate(
        """async () => {
            const seen = [];
            const note = event => seen.push(event.effectiveDirective);
            addEventListener("securitypolicyviolation", note);
            await fetch("http://127.0.0.2:9/").catch(() => {});
            const image = new Image();
            await new Promise(done => { image.onerror = done; image.src = "http://127.0.0.2:9/"; });
            const script = document.createElement("script");
            script.append("self.hurt = true");
            document.body.append(script);
            try { document.body.innerHTML = "<p>"; } catch (error) { seen.push(error.name); }
            await new Promise(done => setTimeout(done, 50));
            return { seen, hurt: self.hurt };
        }"""
    )
    page.close()
    assert {"connect-src", "img-src", "TypeError"} <= set(refused["seen"])
    assert refused["hurt"] is None


def test_the_script_is_the_one_that_the_policy_names() -> None:
    html = (files("spanwise.serving") / "page.html").read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    named = re.search(r"script-src '(.*?)'", html)
    assert named
    assert named[1] == f"sha256-{digest}", "the script has changed: name its new hash in page.html"
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)
    assert not re.search(r"(src|href)=[\"']?(https?:|//)", html)


# What can go wrong


def test_what_is_missing_is_asked_for(page: Page) -> None:
    page.get_by_role("button", name="Ask").click()
    sentence(page, "Give a text first: paste one, or open a file.")
    expect(page.get_by_label("Text", exact=True)).to_be_focused()
    page.keyboard.type(TEXT)
    page.keyboard.press("Control+Enter")
    sentence(page, "Write a question first.")
    expect(page.get_by_label("Question")).to_be_focused()


@pytest.mark.parametrize(
    ("text", "question", "says"),
    [
        (TEXT, "?" * 201, r"201 characters in a question; .*takes 200 .*\.$"),
        ("a " * 10_001, "which ?", r"20002 characters of context.*20000 .*\.$"),
        ("a " * 150_000, "which ?", r"The text is too long .*more than 200000 bytes.*\.$"),
    ],
    ids=["question", "text", "body"],
)
def test_too_much_is_refused_in_a_sentence(page: Page, text: str, question: str, says: str) -> None:
    page.get_by_label("Text", exact=True).evaluate("(area, text) => { area.value = text; }", text)
    page.get_by_label("Question").fill(question)
    page.get_by_label("Question").press("Enter")
    sentence(page, re.compile(says))


def test_a_server_that_is_gone(visit: Open) -> None:
    with serving(make_reader()) as url:
        opened = visit(url)
        page = opened.__enter__()
        ask(page, TEXT)
        expect(page.locator("#sheet .chosen")).to_have_text("red lamp")
    page.get_by_role("button", name="Ask").click()
    says = (
        "The server does not answer. Start it with “spanwise serve” where it runs, then ask again."
    )
    sentence(page, says)
    opened.__exit__(None, None, None)


def test_a_token_is_asked_for_and_kept_nowhere(visit: Open) -> None:
    with serving(make_reader(), token="open sesame") as url, visit(url) as page:
        ask(page, TEXT)
        sentence(page, "This server asks for a token.")
        field = page.get_by_label("Token of this server")
        expect(field).to_be_focused()
        assert field.get_attribute("type") == "password"
        page.keyboard.type("open barley")
        page.keyboard.press("Enter")
        sentence(page, "The server does not accept this token.")
        field.fill("offene Tür")
        field.press("Enter")
        sentence(page, "This can not be the token: it has unusual letters.")
        field.fill("open sesame")
        field.press("Enter")
        expect(page.locator("#sheet .chosen")).to_have_text("red lamp")
        expect(field).to_be_hidden()
        ask_again = page.get_by_role("button", name="Ask")
        with page.expect_response("**/v1/answer") as answered:
            ask_again.click()
        assert answered.value.ok
        assert page.context.storage_state() == {"cookies": [], "origins": []}
        assert page.evaluate("localStorage.length + sessionStorage.length") == 0
        page.reload()
        ask(page, TEXT)
        sentence(page, "This server asks for a token.")


def test_a_server_that_is_not_ready(visit: Open) -> None:
    with serving(None) as url, visit(url) as page:
        ask(page, TEXT)
        sentence(page, re.compile(r"^The model is not loaded yet.*\. Ask again in 1 second\.$"))


@pytest.mark.parametrize(
    ("status", "headers", "body", "says"),
    [
        (429, {"Retry-After": "7"}, '{"error": "full"}', f"{BUSY} in 7 seconds."),
        (429, {"Retry-After": "1"}, "", f"{BUSY} in 1 second."),
        (429, {}, "", f"{BUSY} in a moment."),
        (413, {}, "<html>proxy</html>", "The text is too long for this server; give a part of it."),
        (500, {}, '{"error": "it failed"}', "It failed."),
        (502, {}, "<html>proxy</html>", f"{FAILED} (status 502). Its log says why."),
        (200, {}, '{"status": "alive"}', f"{FAILED} (status 200). Its log says why."),
    ],
)
def test_refusals_are_told_in_sentences(
    page: Page, status: int, headers: dict[str, str], body: str, says: str
) -> None:
    def refuse(route: Route) -> None:
        route.fulfill(status=status, headers=headers, body=body)

    page.route("**/v1/answer", refuse)
    ask(page, TEXT)
    sentence(page, says)
    page.unroute("**/v1/answer")
    page.get_by_role("button", name="Ask").click()  # nothing has to be put in again
    expect(page.locator("#sheet .chosen")).to_have_text("red lamp")
    expect(page.get_by_role("alert")).to_be_empty()


# By hand


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    def tab_to(name: str, *, back: bool = False) -> None:
        for _ in range(15):
            page.keyboard.press("Shift+Tab" if back else "Tab")
            focused = page.locator(":focus")
            if not focused.count():  # the browser's own bar lies between the last and the first
                continue
            assert focused.evaluate("it => getComputedStyle(it).outlineStyle") == "solid"
            label = "it => it.ariaLabel ?? it.labels?.[0]?.textContent ?? it.textContent"
            if focused.evaluate(label).strip() == name:
                return
        pytest.fail(f"{name!r} is not reached")

    tab_to("Text")
    page.keyboard.insert_text(TEXT)
    tab_to("Question")
    page.keyboard.type("which ?")
    tab_to("Text", back=True)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#sheet .chosen")).to_have_text("red lamp")
    expect(page.locator("#sheet")).to_be_focused()  # its place is where the text area was
    tab_to("blue valve13%")
    page.keyboard.press("Enter")
    expect(page.locator("#sheet .chosen")).to_have_text("blue valve")
    tab_to("red lamp", back=True)
    page.keyboard.press("Space")
    expect(page.locator("#sheet .chosen")).to_have_text("red lamp")
    tab_to("Edit", back=True)
    page.keyboard.press("Enter")
    expect(page.get_by_label("Text", exact=True)).to_be_focused()


@pytest.mark.parametrize("width", [320, 360])
def test_a_phone_shows_all_without_scrolling_sideways(visit: Open, width: int) -> None:
    size = {"width": width, "height": 700}
    with visit(viewport=size, is_mobile=True, has_touch=True) as page:

        def fits() -> None:
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate("innerWidth") == width  # it was not laid out wider and shrunk
            for button in page.locator("button:visible").all():
                box = button.bounding_box()
                assert box is not None
                assert box["x"] >= 0
                assert box["x"] + box["width"] <= width
                assert box["height"] >= 24

        fits()
        word = "red" + "x" * 300
        drop(page, f"{word} red lamp {word} blue valve".encode(), f"{word}.txt")
        fits()
        page.get_by_label("Question").fill(word[:150])
        page.get_by_role("button", name="Ask").tap()
        expect(page.locator("#sheet .chosen")).to_have_text("red lamp")
        fits()
        page.get_by_role("button", name="blue valve").last.tap()
        expect(page.locator("#sheet .chosen")).to_be_in_viewport()
        page.route("**/v1/answer", lambda route: route.fulfill(status=422, json={"error": word}))
        page.get_by_role("button", name="Ask").tap()
        sentence(page, re.compile("^Redx+"))
        fits()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_told_apart(visit: Open, scheme: str) -> None:
    with visit(color_scheme=scheme) as page:
        values = page.evaluate(
            """names => {
                const style = getComputedStyle(document.documentElement);
                return names.map(name => style.getPropertyValue(`--${name}`));
            }""",
            COLOURS,
        )
    colour = dict(zip(COLOURS, values, strict=True))
    assert (_light(colour["ground"]) > 0.5) == (scheme == "light")
    for upper, lower in READ:
        assert _contrast(colour[upper], colour[lower]) >= 4.5, (upper, lower)
    assert _contrast(colour["edge"], colour["sheet"]) >= 3


def _light(colour: str) -> float:
    """Relative luminance. Source: WCAG 2.2."""
    digits = colour.strip().removeprefix("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _contrast(one: str, other: str) -> float:
    darker, lighter = sorted([_light(one), _light(other)])
    return (lighter + 0.05) / (darker + 0.05)
