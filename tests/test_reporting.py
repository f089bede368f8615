"""What the pages say: every number against the slow and obvious way."""

import json
import re
from collections import Counter
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spanwise.auditing import audit_examples
from spanwise.corpus import Scan
from spanwise.errors import FormatError, Problem
from spanwise.intervals import bootstrap_mean
from spanwise.reporting import RunLog, audit_page, curves, evaluation_page, lengths, read_log
from spanwise.reporting.curves import answering
from spanwise.reporting.pages import Html, safe, table
from spanwise.reporting.questions import OUTCOMES as KINDS
from spanwise.reporting.questions import outcome
from spanwise.schema import Calibration, DecodeSettings, Example, Gold, WindowSettings
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
    make_reader,
    make_report,
)
from tests.test_public import run_python


class Outline(HTMLParser):
    """Headings, and the tables below each, as rows of texts."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.rows: dict[str, list[list[str]]] = {}
        self.texts: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, _attrs: Any) -> None:
        self._open.append(tag)
        if tag == "h2":
            self.headings.append("")
        elif tag == "tr":
            self.rows.setdefault(self.headings[-1], []).append([])
        elif tag in {"th", "td"}:
            self.rows[self.headings[-1]][-1].append("")
        elif tag in {"meta", "link"}:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        while self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "h2" in self._open:
            self.headings[-1] += data
        elif {"th", "td"} & {*self._open}:
            self.rows[self.headings[-1]][-1][-1] += data
        if self.headings:
            self.texts[self.headings[-1]] = self.texts.get(self.headings[-1], "") + data


def data_of(page: bytes) -> dict[str, Any]:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page.decode())
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.fixture(scope="module")
def pages() -> list[str]:
    """A page with all its pictures, made twice."""
    return [make_page(log=LOG).decode() for _ in range(2)]


@pytest.fixture(autouse=True)
def painted(monkeypatch: pytest.MonkeyPatch) -> dict[str, Axes]:
    """What is drawn is kept as axes: as SVG it would take seconds."""
    kept: dict[str, Axes] = {}

    def keep(paint: Any, *, key: str, title: str, describes: str) -> Html:
        kept[key] = Figure().add_subplot()
        paint(kept[key])
        return Html(f"<figure>{safe(title)}: {safe(describes)}</figure>")

    monkeypatch.setattr(curves, "draw", keep)
    monkeypatch.setattr(lengths, "draw", keep)
    return kept


# Questions


def test_the_kind_of_every_error() -> None:
    report = make_report(EXAMPLES, PREDICTIONS)
    found = [
        outcome(example, prediction, exact=exact)
        for example, prediction, exact in zip(EXAMPLES, PREDICTIONS, report.exact, strict=True)
    ]
    assert tuple(found) == OUTCOMES


def test_a_boundary_is_off_only_where_a_placed_answer_is_touched() -> None:
    example = make_example("a", "red lamp")
    beside = make_prediction(example, " hangs", null=0.1)  # begins where the answer ends
    assert outcome(example, beside, exact=0) == "wrong span"
    lost = replace(example, answers=(Gold(text="red lamp", start=0, end=8),))  # stands elsewhere
    assert outcome(lost, make_prediction(lost, "The", null=0.1), exact=0) == "wrong span"


def test_every_question_is_in_the_page_once_and_each_context_too() -> None:
    data = data_of(make_page())
    items = data["lists"]["questions"]["items"]
    assert [item["id"] for item in items] == [example.id for example in EXAMPLES]
    assert [KINDS[item["kind"]] for item in items] == list(OUTCOMES)
    assert data["contexts"] == [CONTEXT]
    assert data["titles"] == ["Towers"]
    for item, example, prediction in zip(items, EXAMPLES, PREDICTIONS, strict=True):
        context = data["contexts"][item["context"]]
        golds = [context[start:end] for start, end in item.get("gold", [])]
        assert golds == [gold.text for gold in example.answers or ()]
        shown = item["span" if prediction.best else "near"]
        assert [context[start:end] for start, end in shown] == [prediction.answers[0].text]
        assert ("span" in item) == (prediction.best is not None)
    assert items[0]["note"] == "probability 0.90, of no answer 0.10 · F1 0"


def test_answers_that_have_no_place_are_told_by_their_text() -> None:
    golds = (
        Gold(text="red lamp", start=6, end=14),
        Gold(text="red lamp", start=6, end=14),
        Gold(text="tower", start=0, end=5),
        Gold(text="nowhere", start=900, end=907),
        Gold(text="before", start=-3, end=3),
    )
    example = replace(make_example("a"), answers=golds)
    (item,) = data_of(make_page([example], [make_prediction(example, "lamp", null=0.1)]))["lists"][
        "questions"
    ]["items"]
    assert item["gold"] == [[6, 14]]
    assert item["lost"] == [[0, 5]]
    assert item["elsewhere"] == ["tower", "nowhere", "before"]


def test_an_empty_prediction_is_shown_without_a_span() -> None:
    nothing = replace(PREDICTIONS[2], answers=(), best=None, null_probability=0.9)
    data = data_of(make_page(EXAMPLES[2:3], [nothing]))
    (item,) = data["lists"]["questions"]["items"]
    assert not {"span", "near", "gold"} & item.keys()
    assert item["note"] == "of no answer 0.90 · F1 100"


# Numbers


def test_the_sections_stand_in_their_order() -> None:
    wanted = [
        "Scores",
        "How it was trained",
        "Answered or abstained",
        "Precision and recall",
        "Reliability",
        "Risk and coverage",
        "Where it goes worst",
        "What the settings allow",
        "Every question",
    ]
    assert Outline(make_page(log=LOG)).headings == wanted
    wanted.remove("How it was trained")
    assert Outline(make_page()).headings == wanted
    assert Outline(make_page(log=RunLog(losses=(), scores=()))).headings == wanted


def test_the_confusion_adds_up() -> None:
    examples = make_colours(60, seed=3, unanswerable=0.4)
    report = make_reader().predict(examples)
    rows = Outline(make_page(examples, report)).rows["Answered or abstained"]
    counts = {
        name: [int(re.split(r"[ ·]", cell)[0]) for cell in cells] for name, *cells in rows[1:]
    }
    cells = Counter(
        (bool(x.answers), p.best is not None) for x, p in zip(examples, report, strict=True)
    )
    for name, has_answer in (("answerable", True), ("unanswerable", False)):
        answered, abstained = cells[has_answer, True], cells[has_answer, False]
        assert counts[name] == [answered, abstained, answered + abstained]
    assert counts["all"] == [a + b for a, b in zip(*[*counts.values()][:2], strict=True)]
    assert counts["all"][-1] == len(examples)


def test_the_kinds_add_up_too() -> None:
    told = Outline(make_page()).texts["Answered or abstained"]
    for name, count in Counter(OUTCOMES).items():
        assert f"{name} {count}" in told


def test_scores_stand_with_their_intervals() -> None:
    report = make_report(EXAMPLES, PREDICTIONS)
    rows = Outline(make_page()).rows["Scores"]
    cells = {name: rest for name, *rest in rows[1:]}

    def shown(values: Any, value: float | None = None) -> str:
        mean, low, high = bootstrap_mean(100 * np.array(values, dtype=float))
        return f"{mean if value is None else value:.1f} ({low:.1f}–{high:.1f})"

    exact, f1 = report.exact, report.f1
    assert cells["all, at the stored threshold 0.500 6"] == [shown(exact), shown(f1)]
    answerable = [n for n, example in enumerate(EXAMPLES) if example.answers]
    some = [shown([values[n] for n in answerable]) for values in (exact, f1)]
    assert cells["answerable (HasAns) 4"] == some
    assert report.overall["HasAns_f1"] == pytest.approx(100 * np.mean([f1[n] for n in answerable]))
    unanswerable = [n for n, example in enumerate(EXAMPLES) if not example.answers]
    some = [shown([values[n] for n in unanswerable]) for values in (exact, f1)]
    assert cells["unanswerable (NoAns) 2"] == some
    best = report.overall["best_f1_thresh"]
    at_best = [
        float(not example.answers) if prediction.null_probability > best else score
        for example, prediction, score in zip(EXAMPLES, PREDICTIONS, report.span_f1, strict=True)
    ]
    assert np.mean(at_best) == pytest.approx(report.overall["best_f1"] / 100)
    both = f"{report.overall['best_exact_thresh']:.3f} and {best:.3f}"
    assert cells[f"all, at the oracle thresholds {both} 6"][1] == shown(at_best)


def test_slices_come_worst_first_and_need_ten_questions() -> None:
    examples = [
        replace(example, title="few" if n < 5 else "many")
        for n, example in enumerate(make_colours(60, seed=3, unanswerable=0.4))
    ]
    rows = Outline(make_page(examples, make_reader().predict(examples))).rows["Where it goes worst"]
    names = [row[0] for row in rows]
    assert "document many" in names
    assert "document few" not in names
    values = [float(row[3].split()[0]) for row in rows if row[0] != "questions"]
    assert values == sorted(values)
    assert all(int(row[1]) >= 10 for row in rows if row[0] != "questions")


def test_few_questions_have_no_slices() -> None:
    outline = Outline(make_page())
    assert "Where it goes worst" not in outline.rows
    assert "too few questions" in outline.texts["Where it goes worst"]


def test_the_oracle_is_that_of_the_audit() -> None:
    long = " ".join(["small quiet river"] * 20) + " red lamp"
    tight = replace(SETTINGS, decode=DecodeSettings(max_answer_tokens=1))
    examples = [make_example("a", "red lamp", context=long), *EXAMPLES]
    predictions = [make_prediction(examples[0], "red", null=0.1), *PREDICTIONS]
    report = replace(make_report(examples, predictions), settings=tight)
    page = evaluation_page(report, examples, TOKENIZER, model="m", data=["d"])
    rows = Outline(page).rows["What the settings allow"]
    oracle = audit_examples(
        {"d": Scan(examples=tuple(examples), problems=())},
        tokenizer=TOKENIZER,
        window=tight.window,
        decode=tight.decode,
    ).oracle
    assert oracle is not None
    assert oracle["exact"] < 100
    assert rows[1] == ["a perfect reader", f"{oracle['exact']:.2f}", f"{oracle['f1']:.2f}"]
    assert rows[2][0] == "this reader"


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.35, 0.5, 0.99, 1.0])
def test_precision_and_recall_at_a_threshold(threshold: float) -> None:
    random = np.random.default_rng(0)
    null = np.round(random.random(50), 1)  # with ties
    score, answerable = random.random(50), random.random(50) < 0.6
    answered = [n for n in range(50) if null[n] <= threshold]
    found = sum(score[n] for n in answered if answerable[n])
    wanted = (found / sum(answerable), found / len(answered)) if answered else None
    point = answering(null, score, answerable).at(threshold)
    assert (point is None) == (wanted is None)
    if wanted is not None:
        assert point == pytest.approx(wanted)


def test_the_calibration_error_is_judged_against_chance() -> None:
    report = make_report(EXAMPLES, PREDICTIONS)
    told = Outline(make_page()).texts["Reliability"]
    assert f"(ECE) is {report.overall['ece']:.1%}" in told
    ends = f"{report.overall['ece_low']:.1%} to {report.overall['ece_high']:.1%}"
    assert ends in told
    assert f"Without calibration it would be {report.overall['ece_uncalibrated']:.1%}" in told
    for ece, verdict in ((0.0, "below it"), (1.0, "above it")):
        other = replace(report, overall=report.overall | {"ece": ece, "ece_low": 0.1})
        page = evaluation_page(other, EXAMPLES, TOKENIZER, model="m", data=["d"])
        assert f"this one is {verdict}" in Outline(page).texts["Reliability"]


def test_without_a_calibration_there_is_no_before(painted: dict[str, Axes]) -> None:
    make_page()
    assert painted["reliability"].get_legend_handles_labels()[1] == ["plain softmax", "calibrated"]
    report = make_report(EXAMPLES, PREDICTIONS)
    threshold_only = Calibration(threshold=0.3, fitted_on="dev")
    plain = replace(report, settings=replace(SETTINGS, calibration=threshold_only))
    page = evaluation_page(plain, EXAMPLES, TOKENIZER, model="m", data=["d"])
    assert "Without calibration" not in Outline(page).texts["Reliability"]
    assert painted["reliability"].get_legend_handles_labels()[1] == ["as stored"]


def test_data_of_one_kind_has_its_page_too() -> None:
    for one_kind in (EXAMPLES[2:3], EXAMPLES[:1]):
        predictions = [p for p in PREDICTIONS if p.id == one_kind[0].id]
        outline = Outline(make_page(one_kind, predictions))
        assert ("Precision and recall" in outline.headings) == bool(one_kind[0].answers)
        assert "Every question" in outline.headings


def test_a_reader_without_null_always_answers() -> None:
    settings = replace(SETTINGS, decode=DecodeSettings(use_null=False))
    predictions = [
        replace(p, null_probability=0.0, best=p.answers[0], null_score=-1.0) for p in PREDICTIONS
    ]
    report = replace(make_report(EXAMPLES, predictions), settings=settings)
    page = evaluation_page(report, EXAMPLES, TOKENIZER, model="m", data=["d"])
    assert "it always answers" in Outline(page).texts["Precision and recall"]


# The run's log


def test_a_log_is_read_as_training_writes_it(tmp_path: Path) -> None:
    assert read_log(tmp_path) is None
    lines = [
        '{"step": 10, "seconds": 2.0, "loss": 2.5, "learning_rate": 1e-5, "epoch": 0.5}',
        '{"step": 20, "seconds": 3.0, "loss": NaN, "learning_rate": 1e-5, "epoch": 1.0}',
        '{"epoch": 1, "seconds": 4.0, "dev": {"exact": 40.0, "f1": 50.0, "total": 3}}',
        '{"epoch": 2, "seconds": 5.0, "dev": {}}',
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    log = read_log(tmp_path)
    assert log is not None
    assert log.losses[0] == (0.5, 2.5)
    assert np.isnan(log.losses[1][1])
    assert log.scores == ((1.0, 40.0, 50.0),)


@pytest.mark.parametrize("line", ["{", "7", '{"epoch": 1}', '{"loss": "x", "epoch": 1}'])
def test_a_line_that_is_no_entry_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 2, "dev": {}}\n' + line)
    with pytest.raises(FormatError, match=f"metrics.jsonl: line 2: {re.escape(repr(line))}"):
        read_log(tmp_path)


# Pictures


def test_pictures_share_no_names_and_take_the_colours_of_the_page(pages: list[str]) -> None:
    page = pages[0]
    names = re.findall(r'\bid="([^"]+)"', page)
    assert len(names) == len({*names})
    used = re.findall(r'(?:\bhref="#|url\(#)([^")]+)', page)
    assert {*used} <= {*names}
    assert page.count("<svg ") == page.count('role="img" aria-label="') == 5
    pictures = "".join(re.findall(r"<svg .*?</svg>", page, flags=re.DOTALL))
    assert not re.findall(r"#[0-9a-f]{6}\b", pictures)
    assert not re.findall(r"<(?:style|metadata|script|image)", pictures)
    assert "http" not in pictures.replace("http://www.w3.org", "")
    assert ">precision</text>" in pictures  # letters, not outlines


def test_the_same_report_gives_the_same_page(pages: list[str]) -> None:
    assert pages[0] == pages[1]


def test_no_length_is_left_out_of_a_histogram(painted: dict[str, Axes]) -> None:
    counts = dict.fromkeys(range(3, 400), 5) | {90_000: 1}
    lengths.draw_lengths(counts, key="k", title="t", limit=("max_length", 384))
    (bars,) = painted["k"].patches
    values, edges, _ = bars.get_data()  # type: ignore[attr-defined]
    assert sum(values) == sum(counts.values())
    assert edges[-1] < 500  # one long text does not squeeze all others into one bar
    assert values[-1] > 0
    (line,) = painted["k"].lines
    assert np.ravel(line.get_xdata()).tolist() == [384, 384]
    for few in ({}, {0: 2}, {1: 1}, {7: 3}):
        lengths.draw_lengths(few, key="k", title="t")
        values, edges, _ = painted["k"].patches[0].get_data()  # type: ignore[attr-defined]
        assert sum(values) == sum(few.values())


def test_every_number_of_windows_has_its_bar(painted: dict[str, Axes]) -> None:
    lengths.draw_windows({1: 20, 2: 3, 7: 1})
    bars = {round(bar.get_center()[0]): bar.get_height() for bar in painted["windows"].patches}  # type: ignore[attr-defined]
    assert bars == {1: 20, 2: 3, 7: 1}


# Audits


def make_scan(*examples: Example, problems: tuple[Problem, ...] = ()) -> Scan:
    return Scan(examples=examples, problems=problems)


def test_an_audit_has_all_findings_with_their_questions(painted: dict[str, Axes]) -> None:
    misplaced = replace(EXAMPLES[0], id="lost", answers=(Gold(text="tower", start=0, end=5),))
    fault = Problem(file="a.json", place="data[3]", id=None, message="is 7; give an object")
    scans = {
        "a.json": make_scan(EXAMPLES[0], EXAMPLES[2], misplaced, problems=(fault,)),
        "b.json": make_scan(replace(EXAMPLES[4], id="wrong")),  # ids repeat between sets
    }
    window = WindowSettings(max_length=24, stride=6, max_question_tokens=2)
    audit = audit_examples(scans, tokenizer=TOKENIZER, window=window)
    page = audit_page(audit, scans, model="tiny", window=window)
    outline = Outline(page)
    assert outline.headings == [
        *("What is in it", "What the settings allow", "How long it is", "What is wrong"),
        "Examples",
    ]
    data = data_of(page)
    found = data["lists"]["findings"]
    assert found["kinds"] == [finding.title for finding in audit.findings]
    assert Counter(item["kind"] for item in found["items"]) == {
        kind: finding.count for kind, finding in enumerate(audit.findings)
    }
    rows = outline.rows["What is wrong"][1:]
    assert [row[:2] for row in rows] == [[f.title, str(f.count)] for f in audit.findings]
    first = found["items"][0]
    assert (first["id"], first["note"]) == ("data[3]", "a.json: is 7; give an object")
    (lost,) = [item for item in found["items"] if item["id"] == "lost" and item["kind"] == 1]
    assert lost["lost"] == [[0, 5]]
    assert lost["elsewhere"] == ["tower"]
    theirs = [item for item in found["items"] if item["note"].startswith("b.json: question")]
    assert [item["question"] for item in theirs] == ["which right ?"]
    assert [item["id"] for item in data["lists"]["examples"]["items"]] == [
        *("wrong", "unanswerable", "lost", "wrong"),
    ]
    counts = dict(outline.rows["What is in it"][1:])
    assert counts["questions"] == "4"
    assert counts["labelled as unanswerable"] == "1"
    assert painted["Contexts"].get_xlabel() == "dashed: max_length = 24"


def test_findings_of_a_folder_have_their_questions() -> None:
    problem = Problem(file="set/a.json", place="", id="right", message="is off", alignment=True)
    scans = {"set": make_scan(EXAMPLES[4], problems=(problem,))}
    (item,) = data_of(audit_page(audit_examples(scans), scans))["lists"]["findings"]["items"]
    assert (item["question"], item["note"]) == ("which right ?", "set/a.json: is off")


def test_a_repeated_id_does_not_show_the_question_that_had_it_first() -> None:
    problem = Problem(file="set/a.json", place="line 6", id="right", message="stands twice")
    scans = {"set": make_scan(EXAMPLES[4], problems=(problem,))}
    (item,) = data_of(audit_page(audit_examples(scans), scans))["lists"]["findings"]["items"]
    assert (item["id"], item["question"]) == ("line 6 right", "")


def test_an_audit_without_a_tokenizer_counts_characters(painted: dict[str, Axes]) -> None:
    scans = {"a.json": make_scan(*EXAMPLES)}
    page = audit_page(audit_examples(scans), scans)
    outline = Outline(page)
    assert "What the settings allow" not in outline.headings
    assert "No findings." in outline.texts["What is wrong"]
    assert painted.keys() == {"Questions", "Contexts", "Answers"}
    longest = max(len(example.question) for example in EXAMPLES)
    assert f"Questions, in characters: the longest {longest}" in page.decode()


def test_random_examples_are_the_same_each_time() -> None:
    scans = {"a.json": make_scan(*make_colours(300, seed=2))}
    audit = audit_examples(scans)
    items = data_of(audit_page(audit, scans))["lists"]["examples"]["items"]
    assert items == data_of(audit_page(audit, scans))["lists"]["examples"]["items"]
    assert len({item["id"] for item in items}) == 20
    assert [item["id"] for item in items] != [x.id for x in scans["a.json"].examples[:20]]


# Hostile texts


def test_no_text_becomes_markup() -> None:
    example = Example(
        id=HOSTILE,
        question=HOSTILE,
        context=HOSTILE + CONTEXT,
        title=HOSTILE + SURROGATE,
        answers=(Gold(text="<b>", start=HOSTILE.index("<b>"), end=HOSTILE.index("<b>") + 3),),
    )
    examples = [replace(example, id=f"{HOSTILE} {n}") for n in range(12)]
    others = [replace(x, title="other") for x in make_colours(12, seed=1)]
    predictions = [make_prediction(x, "red", null=0.2) for x in examples]
    predictions += [make_prediction(x, x.context[:3], null=0.2) for x in others]
    page = make_page([*examples, *others], predictions, model=HOSTILE)
    clean = make_page()
    for markup in (b"<script", b"</script", b"<img", b"<b>"):
        assert page.count(markup) == clean.count(markup), markup
    data = data_of(page)
    assert data["contexts"][0] == HOSTILE + CONTEXT  # not a character is lost
    assert data["titles"][0] == HOSTILE + SURROGATE
    assert "&lt;b&gt;bold" in page.decode()  # the document is a slice


def test_half_a_character_is_kept_where_no_tokenizer_reads_it() -> None:
    example = replace(EXAMPLES[0], context=CONTEXT + SURROGATE, question=SURROGATE)
    scans = {"a.json": make_scan(example)}
    data = data_of(audit_page(audit_examples(scans), scans))
    assert data["contexts"] == [CONTEXT + SURROGATE]
    assert data["lists"]["examples"]["items"][0]["question"] == SURROGATE


def test_tables_escape_whatever_is_no_markup() -> None:
    made = table("<c>", ["<h>"], [("<n>", "<t>", Html("<i>yes</i>"))])
    assert "<c>" not in made
    assert "<h>" not in made
    assert "<n>" not in made
    assert "<t>" not in made
    assert "<i>yes</i>" in made
    assert unescape(safe("<&\"'>")) == "<&\"'>"


def test_without_matplotlib_the_extra_is_named() -> None:
    code = (
        "import sys\nsys.modules['matplotlib'] = None\n"
        "from spanwise.errors import MissingExtra\n"
        "try: import spanwise.reporting\nexcept MissingExtra as error: print(error)\n"
    )
    assert "pip install 'spanwise[report]'" in run_python(code)


def test_what_the_reader_warned_of_is_not_said_again(caplog: pytest.LogCaptureFixture) -> None:
    examples = [make_example("a " * 20, "red lamp")]
    make_reader().predict(examples)
    assert "longer than 8 tokens" in caplog.text
    caplog.clear()
    make_page(examples, [make_prediction(examples[0], "lamp", null=0.1)])
    assert not caplog.text
    make_reader().predict(examples)
    assert caplog.text
