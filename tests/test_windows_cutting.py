"""Windows against a twin in plain Python: where they are cut, and what they are labelled with."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from operator import itemgetter
from typing import Any

import numpy as np
import pytest
from hypothesis import example as case
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from spanwise.errors import ConfigError, FormatError
from spanwise.schema import Example, Gold, Ints, Windows, WindowSettings
from spanwise.windows import (
    PairTokenizer,
    cutting,
    encoding,
    label_tokens,
    make_windows,
    stream_windows,
)
from spanwise.windows import texts as texts_module
from spanwise.windows.encoding import Tokens
from spanwise.windows.texts import Texts
from tests.windows_zoo import ALONE, NAMES, TEXTS, pair

SETTINGS = WindowSettings(max_length=24, stride=4)
OF_TOKENS = ("input_ids", "type_ids", "offsets", "edges")
OF_WINDOWS = ("example", "null_position", "first", "last")
DTYPES = {"row_splits": "int64"}  # of `Windows`; all others are int32


def ask(context: str, *spans: tuple[int, int], question: str = "Where is it?") -> Example:
    """A question whose answers are said to stand at the given characters."""
    golds = tuple(Gold(text=context[start:end], start=start, end=end) for start, end in spans)
    return Example(id="1", question=question, context=context, answers=golds)


@dataclass(frozen=True, kw_only=True)
class Cut:
    """One window: which tokens of its context it holds, and which of them are labelled."""

    example: int
    tokens: range
    label: tuple[int, int] | None


def cut_slowly(
    examples: list[Example], tokenizer: PairTokenizer, settings: WindowSettings
) -> Iterator[Cut]:
    """The twin of `make_windows`: one example, one window, one answer after the other."""
    capacity = settings.max_length - len(tokenizer.layout.ids)
    cap = min(settings.max_question_tokens, capacity - max(1, capacity // 4))
    for number, example in enumerate(examples):
        room = capacity - min(cap, len(tokens_of(tokenizer, example.question)))
        stride = settings.stride if settings.stride < room else room // 2
        offsets = [offset for _, offset in tokens_of(tokenizer, example.context)]
        begin = 0
        while True:
            tokens = range(begin, min(begin + room, len(offsets)))
            labels = (
                label_slowly(offsets, gold.start, gold.end)
                for gold in example.answers or ()
                if gold.start >= 0 and gold.end <= len(example.context)
            )
            inside = [label for label in labels if label and {*label} <= {*tokens}]
            yield Cut(example=number, tokens=tokens, label=inside[0] if inside else None)
            if tokens.stop == len(offsets):
                break
            begin += room - stride


def tokens_of(tokenizer: PairTokenizer, text: str) -> list[tuple[int, tuple[int, int]]]:
    encoding = tokenizer.tokenizer.encode(text, add_special_tokens=False)
    return list(zip(encoding.ids, encoding.offsets, strict=True))


def label_slowly(offsets: list[tuple[int, int]], start: int, end: int) -> tuple[int, int] | None:
    """The twin of `label_tokens`: all tokens that hold a character of the span."""
    held = [
        token
        for token, (first, last) in enumerate(offsets)
        if any(start <= character < end for character in range(first, last))
    ]
    return (held[0], held[-1]) if held else None


def trim_slowly(text: str, start: int, end: int) -> tuple[int, int]:
    while start < len(text) and text[start].isspace():
        start += 1
    while end > 0 and text[end - 1].isspace():
        end -= 1
    return start, end


def edges_slowly(tokenizer: PairTokenizer, text: str) -> Iterator[tuple[int, int]]:
    offsets = [offset for _, offset in tokens_of(tokenizer, text)]
    held = {place for start, end in offsets for place in range(start, end)}
    for offset in offsets:
        start, end = trim_slowly(text, *offset)
        if offset[0] < offset[1] == end:
            while end < len(text) and end not in held and goes_on(text[end]):
                end += 1
        yield start, end


def goes_on(character: str) -> bool:
    syllable = "\u1160" <= character <= "\u11ff" or "\ud7b0" <= character <= "\ud7ff"
    return unicodedata.category(character)[0] == "M" or syllable or character in "\uff9e\uff9f"


def slices(windows: Windows) -> list[slice]:
    return [slice(start, end) for start, end in pairwise(windows.row_splits.tolist())]


def context_of(windows: Windows, row: slice) -> list[int]:
    """Tokens of the context, counted within their window."""
    return np.flatnonzero(windows.offsets[row, 0] >= 0).tolist()


@dataclass(frozen=True, kw_only=True)
class Task:
    name: str
    examples: list[Example]
    settings: WindowSettings

    def windows(self) -> Windows:
        return make_windows(self.examples, pair(self.name), self.settings)


_words = st.lists(st.sampled_from(" ".join(TEXTS).split(" ")), max_size=20).map(" ".join)
_texts = st.text(max_size=40) | _words


@st.composite
def _examples(draw: st.DrawFn) -> Example:
    context = draw(st.sampled_from(TEXTS) | _texts)
    places = st.tuples(st.integers(-3, len(context) + 5), st.integers(-2, 30))
    spans = [(start, start + size) for start, size in draw(st.lists(places, max_size=4))]
    # A letter, as a tokenizer without special tokens needs a token in each question.
    return ask(context, *spans, question="a" + draw(_texts))


@st.composite
def _tasks(draw: st.DrawFn) -> Task:
    name = draw(st.sampled_from(NAMES))
    examples = draw(st.lists(_examples(), max_size=4))
    again = draw(st.lists(st.sampled_from(examples), max_size=2)) if examples else []
    settings = WindowSettings(
        max_length=len(pair(name).layout.ids) + draw(st.integers(2, 40)),
        stride=draw(st.integers(0, 20)),
        max_question_tokens=draw(st.integers(1, 20)),
        context_first=draw(st.booleans()),
    )
    return Task(name=name, examples=[*examples, *again], settings=settings)


@effort(max_examples=200, deadline=None)
@given(task=_tasks())
def test_windows_equal_those_of_a_loop(task: Task) -> None:
    windows, tokenizer = task.windows(), pair(task.name)
    cuts = list(cut_slowly(task.examples, tokenizer, task.settings))
    assert windows.example.tolist() == [cut.example for cut in cuts]
    for number, (row, cut) in enumerate(zip(slices(windows), cuts, strict=True)):
        context = task.examples[cut.example].context
        tokens = tokens_of(tokenizer, context)[cut.tokens.start : cut.tokens.stop]
        inside = context_of(windows, row)
        assert windows.input_ids[row][inside].tolist() == [token for token, _ in tokens]
        assert windows.offsets[row][inside].tolist() == [list(offset) for _, offset in tokens]
        edges = [list(edge) for edge in edges_slowly(tokenizer, context)]
        edges = edges[cut.tokens.start : cut.tokens.stop]
        assert windows.edges[row][inside].tolist() == edges
        label = (int(windows.first[number]), int(windows.last[number]))
        if cut.label is None:
            assert label == (windows.null_position[number],) * 2
        else:
            shift = cut.tokens.start - inside[0]
            assert (label[0] + shift, label[1] + shift) == cut.label


@pytest.mark.parametrize(
    ("text", "offsets", "edges"),
    [
        ("e\u0301\u0323x", [(0, 1), (3, 4)], [(0, 3), (3, 4)]),
        ("e\u0301x", [(0, 1), (1, 2), (2, 3)], [(0, 1), (1, 2), (2, 3)]),  # a token of its own
        ("e\u0301x", [(0, 1), (0, 2), (2, 3)], [(0, 1), (0, 2), (2, 3)]),  # in the next one's
        ("e\u200dx", [(0, 1), (2, 3)], [(0, 1), (2, 3)]),  # no mark
        ("a \u0301b", [(0, 1), (1, 2), (3, 4)], [(0, 1), (2, 1), (3, 4)]),  # a mark on a blank
        ("\u0301b", [(0, 0), (1, 2)], [(0, 0), (1, 2)]),  # on an empty token
        ("ᄀ\u1161\u11a8ᄀ", [(0, 1), (3, 4)], [(0, 3), (3, 4)]),  # a Korean syllable in parts
        ("ｶ\uff9e", [(0, 1)], [(0, 2)]),
    ],
)
def test_an_answer_ends_behind_the_marks_that_no_token_covers(
    text: str, offsets: list[tuple[int, int]], edges: list[tuple[int, int]]
) -> None:
    tokens = Tokens(
        splits=np.array([0, len(offsets)]),
        ids=np.zeros(len(offsets), dtype=np.int32),
        offsets=np.array(offsets, dtype=np.int32),
    )
    found = Texts(texts=(text,), tokens=tokens, text=np.zeros(1, dtype=np.int64)).edges()
    assert [tuple(edge) for edge in found.tolist()] == edges


@effort(max_examples=100, deadline=None)
@given(task=_tasks())
def test_null_is_a_special_token_or_the_first_of_the_question(task: Task) -> None:
    windows, layout = task.windows(), pair(task.name).layout
    for number, row in enumerate(slices(windows)):
        null = int(windows.null_position[number])
        inside = context_of(windows, row)
        assert null not in inside
        if layout.null is not None:
            assert windows.input_ids[row][null] == layout.ids[layout.null]
        else:
            assert null == (len(inside) if task.settings.context_first else 0)


@effort(max_examples=100, deadline=None)
@given(task=_tasks())
def test_no_window_is_too_long_and_none_leaves_a_token_out(task: Task) -> None:
    windows = task.windows()
    assert windows.lengths.max(initial=0) <= task.settings.max_length
    assert (windows.edges[windows.offsets[:, 0] < 0] == -1).all()
    for number, example in enumerate(task.examples):
        rows = [slices(windows)[window] for window in np.flatnonzero(windows.example == number)]
        held: set[int] = set()
        for row in rows:
            offsets, edges = (
                array[row][context_of(windows, row)] for array in (windows.offsets, windows.edges)
            )
            held.update(*(range(start, end) for start, end in offsets.tolist()))
            assert ((edges >= 0) & (edges <= len(example.context))).all()
        covered = [offset for _, offset in tokens_of(pair(task.name), example.context)]
        assert held == {place for start, end in covered for place in range(start, end)}


@effort(max_examples=100, deadline=None)
@given(task=_tasks())
def test_a_label_quotes_every_letter_of_its_answer(task: Task) -> None:
    windows = task.windows()
    for number in np.flatnonzero(windows.has_answer):
        example = task.examples[windows.example[number]]
        edges = windows.edges[slices(windows)[number]]
        start, end = edges[windows.first[number], 0], edges[windows.last[number], 1]
        offsets = [offset for _, offset in tokens_of(pair(task.name), example.context)]
        held = {place for first, last in offsets for place in range(first, last)}
        quoted = [
            all(
                start <= place < end
                for place in range(gold.start, gold.end)
                if place in held and not example.context[place].isspace()
            )
            for gold in example.answers or ()
            if 0 <= gold.start < gold.end <= len(example.context)
        ]
        assert any(quoted)


@given(
    offsets=st.lists(
        st.tuples(st.integers(0, 12), st.integers(0, 4)).map(lambda x: (x[0], x[0] + x[1])),
        max_size=8,
    ),
    start=st.integers(-2, 16),
    size=st.integers(-2, 6),
)
@case(offsets=[(0, 1), (1, 1), (1, 2)], start=1, size=1)  # an empty token before the one that holds
@case(offsets=[(5, 8), (0, 2)], start=3, size=1)  # out of order, and none holds the character
@case(offsets=[(0, 3), (0, 3), (2, 5)], start=2, size=1)  # three hold it
def test_label_tokens_equals_its_twin(
    offsets: list[tuple[int, int]], start: int, size: int
) -> None:
    array = np.array(offsets, dtype=np.int32).reshape(-1, 2)
    assert label_tokens(array, start, start + size) == label_slowly(offsets, start, start + size)


def quotes(examples: list[Example], name: str, settings: WindowSettings) -> list[str]:
    """What the label of each window quotes; empty for a null window."""
    windows = make_windows(examples, pair(name), settings)
    found = []
    for number, row in enumerate(slices(windows)):
        edges = windows.edges[row]
        start, end = edges[windows.first[number], 0], edges[windows.last[number], 1]
        context = examples[windows.example[number]].context
        found.append(context[start:end] if windows.has_answer[number] else "")
    return found


def test_the_first_answer_that_fits_wholly_labels_a_window() -> None:
    context = "the keeper of the library opens the door at nine"
    answers = [
        "the keeper of the library opens the door",
        "keeper of the library",
        "library",
        "nine",
    ]
    spans = [(context.index(answer), context.index(answer) + len(answer)) for answer in answers]
    settings = WindowSettings(max_length=7, stride=2)  # the question, and six words of the context
    example = ask(context, *spans, question="nine")
    found = quotes([example], "words alone", settings)
    assert found == ["keeper of the library", "library"]


@pytest.mark.parametrize(
    "span", [(-3, 4), (-1, 0), (4, 4), (6, 4), (10, 13), (10, 40), (13, 20), (10**30, 10**30 + 2)]
)
def test_an_answer_outside_its_context_labels_nothing(span: tuple[int, int]) -> None:
    neighbours = [ask("at nine", (3, 7)), ask("The library.", span), ask("  one", (2, 5))]
    for examples in (neighbours, neighbours[1:], neighbours[:2]):
        given_ = [example.answers != neighbours[1].answers for example in examples]
        found = quotes(examples, "word pieces", SETTINGS)
        assert [bool(quote) for quote in found] == given_


def test_equal_texts_give_equal_windows() -> None:
    examples = [ask(TEXTS[0], (4, 14)), ask(TEXTS[1]), ask(TEXTS[0], (4, 14)), ask(TEXTS[0])]
    windows = make_windows(examples, pair("unigram, first"), SETTINGS)
    rows = [np.flatnonzero(windows.example == number) for number in range(4)]
    assert len(rows[0]) == len(rows[2]) == len(rows[3]) > 1
    for one, two, unlabelled in zip(rows[0], rows[2], rows[3], strict=True):
        for array in (windows.input_ids, windows.type_ids, windows.offsets, windows.edges):
            assert (array[slices(windows)[one]] == array[slices(windows)[two]]).all()
            assert (array[slices(windows)[one]] == array[slices(windows)[unlabelled]]).all()
        assert windows.first[one] == windows.first[two]
        assert not windows.has_answer[unlabelled]
    assert windows.has_answer[rows[0]].any()


@pytest.mark.parametrize("name", NAMES)
def test_no_examples_give_no_windows(name: str) -> None:
    windows = make_windows([], pair(name), SETTINGS)
    one = make_windows([ask("The library", (4, 11))], pair(name), SETTINGS)
    assert len(windows) == 0
    assert windows.row_splits.tolist() == [0]
    for field in fields(Windows):
        empty, filled = getattr(windows, field.name), getattr(one, field.name)
        assert empty.dtype == filled.dtype == getattr(np, DTYPES.get(field.name, "int32"))
        assert empty.shape[1:] == filled.shape[1:]
        assert len(empty) == (field.name == "row_splits")


@pytest.mark.parametrize("name", ALONE)
def test_a_question_without_a_token_needs_a_special_token(name: str) -> None:
    examples = [ask("The library"), replace(ask("The library"), id="q7", question="")]
    with pytest.raises(FormatError, match=r"question \(id 'q7'\): '' gives no token"):
        make_windows(examples, pair(name), SETTINGS)


def test_a_question_without_a_token_is_read_where_a_special_token_stands_for_null() -> None:
    windows = make_windows([ask("The door", question=" ")], pair("word pieces"), SETTINGS)
    tokens = [pair("word pieces").tokenizer.id_to_token(token) for token in windows.input_ids]
    assert tokens == ["[CLS]", "[SEP]", "the", "door", "[SEP]"]


def test_long_questions_are_cut_and_counted_once(caplog: pytest.LogCaptureFixture) -> None:
    long = ask("the library", question="nine " * 9)
    examples = [long, ask("the door", question="nine nine"), long]
    settings = WindowSettings(max_length=24, stride=4, max_question_tokens=5)
    windows = make_windows(examples, pair("word pieces"), settings)
    nine = pair("word pieces").tokenizer.token_to_id("nine")
    assert [(windows.input_ids[row] == nine).sum() for row in slices(windows)] == [5, 2, 5]
    (message,) = caplog.messages
    assert message.startswith("2 of 3 questions are longer than 5 tokens and were cut there")


def test_a_question_is_cut_at_64_tokens_by_default() -> None:
    windows = make_windows([ask("", question="nine " * 200)], pair("word pieces"), WindowSettings())
    assert windows.lengths.tolist() == [64 + 3]


@pytest.mark.parametrize(("capacity", "asked"), [(2, 1), (3, 2), (8, 6), (84, 63), (86, 64)])
def test_a_quarter_of_a_small_window_is_kept_for_the_context(capacity: int, asked: int) -> None:
    example = ask("door " * 500, question="nine " * 200)
    windows = make_windows(
        [example], pair("word pieces"), WindowSettings(max_length=capacity + 3, stride=0)
    )
    tokens = pair("word pieces").tokenizer
    first = windows.input_ids[slices(windows)[0]]
    assert (first == tokens.token_to_id("nine")).sum() == asked
    assert (first == tokens.token_to_id("door")).sum() == capacity - asked


def test_a_stride_that_fills_the_room_is_shrunk_and_counted_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    short, long = ask("the door"), ask("door " * 20, question="nine")
    settings = WindowSettings(max_length=12, stride=8)  # the question leaves room for 8 tokens
    windows = make_windows([long, short, long], pair("word pieces"), settings)
    assert (windows.example == 0).sum() == 4  # of 8 tokens, 4 of them shared
    (message,) = caplog.messages
    assert message.startswith("stride 8 leaves no room to move on in the windows of 2 of 3")


def test_a_stride_does_not_matter_to_contexts_of_one_window(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = WindowSettings(max_length=24, stride=128)
    assert len(make_windows([ask("The library")], pair("word pieces"), settings)) == 1
    assert caplog.messages == []


def test_all_faulty_settings_are_named() -> None:
    settings = WindowSettings(max_length=4, stride=-1, max_question_tokens=0)
    with pytest.raises(ConfigError) as caught:
        make_windows([], pair("word pieces"), settings)
    starts = ("max_question_tokens is 0: ", "stride is -1: ", "max_length is 4: 3 special tokens")
    assert len(caught.value.problems) == 3
    for problem, start in zip(caught.value.problems, starts, strict=True):
        assert problem.startswith(start)


def test_lengths_beyond_any_text_are_as_good_as_endless() -> None:
    endless = WindowSettings(max_length=10**30, stride=10**29, max_question_tokens=10**30)
    windows = make_windows([ask(text) for text in TEXTS], pair("word pieces"), endless)
    assert len(windows) == len(TEXTS)
    filled = WindowSettings(max_length=24, stride=10**30)
    half = make_windows([ask(text) for text in TEXTS], pair("word pieces"), filled)
    assert len(half) > len(TEXTS)


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 70, 71, 72, 200])
def test_runs_of_blanks_and_marks_are_followed_to_their_end(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        texts_module, "_AT_ONCE", 7
    )  # characters looked at together, after the first 64
    run = "".join("\u0301 \u1161\n"[n % 4] for n in range(count))
    for rest in ("", "x", "x\u0301"):
        assert texts_module._run_behind(f"e{run}{rest}", 1) == count


def test_a_lone_surrogate_is_no_text() -> None:
    example = ask("Half of a smiley: \ud83d, and the rest of the text")
    with pytest.raises(FormatError, match=r"smiley: \\ud83d.* lone surrogate"):
        make_windows([ask("fine"), example], pair("word pieces"), SETTINGS)


# -- streaming -----------------------------------------------------------------------------------


def as_rows(parts: list[Windows]) -> list[dict[str, Any]]:
    """All that is known of each window, those of each example in a row."""
    rows = [
        {name: getattr(part, name)[number].item() for name in OF_WINDOWS}
        | {name: getattr(part, name)[tokens].tolist() for name in OF_TOKENS}
        for part in parts
        for number, tokens in enumerate(slices(part))
    ]
    return sorted(rows, key=itemgetter("example"))


@given(task=_tasks(), size=st.integers(1, 200), tokens=st.integers(1, 100))
def test_streamed_windows_are_those_made_at_once(task: Task, size: int, tokens: int) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(cutting, "_CHARACTERS", size)
        monkeypatch.setattr(cutting, "_TOKENS", tokens)
        parts = list(stream_windows(iter(task.examples), pair(task.name), task.settings))
        assert [n for part in parts for n in part.example] == task.windows().example.tolist()
        assert as_rows(parts) == as_rows([task.windows()])


_ENDS_IN_A_STRIPPED_ACCENT = Task(
    name="word pieces", examples=[ask("the cafe\u0301")], settings=SETTINGS
)

# Of the letter are two tokens, of the accent one.
_LETTER_OF_BYTES = Task(
    name="prepended, bytes unknown",
    examples=[ask("\u0416\u0301")],
    settings=WindowSettings(max_length=4, stride=0, max_question_tokens=1),
)


@effort(max_examples=300, deadline=None)
@case(task=_ENDS_IN_A_STRIPPED_ACCENT, long=0, size=1)
@case(task=_LETTER_OF_BYTES, long=0, size=1)
@case(task=_LETTER_OF_BYTES, long=0, size=3)
@given(task=_tasks(), long=st.integers(0, 60), size=st.integers(1, 30))
def test_stretches_of_long_contexts_give_the_same_windows(task: Task, long: int, size: int) -> None:
    def a_few_at_a_time(self: PairTokenizer, text: str) -> Iterator[tuple[Ints, Ints]]:
        ids, offsets = self.encode_contexts([text])[0]
        for begin in range(0, len(ids), size):
            yield ids[begin : begin + size], offsets[begin : begin + size]

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(cutting, "AT_ONCE", long)
        monkeypatch.setattr(PairTokenizer, "encode_long", a_few_at_a_time)
        parts = list(stream_windows(iter(task.examples), pair(task.name), task.settings))
        assert as_rows(parts) == as_rows([task.windows()])


def test_a_long_context_is_never_held_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "AT_ONCE", 600)
    monkeypatch.setattr(encoding, "AT_ONCE", 600)
    monkeypatch.setattr(encoding, "_PIECE", 250)
    monkeypatch.setattr(encoding, "_OVERLAP", 160)
    texts: list[int] = []
    stretch = Texts._stretch

    def watched(text: str, ids: Ints, *rest: Any) -> Texts:
        texts.append(len(ids))
        return stretch(text, ids, *rest)

    monkeypatch.setattr(Texts, "_stretch", watched)
    examples = [ask((TEXTS[0] + " ") * 100, (1000, 1020)), ask("the door")]
    parts = list(stream_windows(examples, pair("word pieces"), SETTINGS))
    windows = make_windows(examples, pair("word pieces"), SETTINGS)
    assert as_rows(parts) == as_rows([windows])
    assert len(texts) > 30
    assert max(texts) < 250


@pytest.mark.parametrize("name", ["bytes, roberta", "bytes, trimmed", "word pieces"])
def test_an_answer_that_goes_on_in_another_stretch_labels_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Some tokenizers trim blanks to nothing, so that the token at a border covers no character.
    context = ("door " + " " * 30 + "key ") * 60
    tokenizer = pair(name)
    monkeypatch.setattr(cutting, "AT_ONCE", 600)
    for module_name, value in {"AT_ONCE": 600, "_PIECE": 250, "_OVERLAP": 160}.items():
        monkeypatch.setattr(encoding, module_name, value)
    settings = WindowSettings(max_length=len(tokenizer.layout.ids) + 24, stride=21)
    doors = [n for n in range(len(context)) if context.startswith("door", n)]
    for door in doors:
        examples = [ask(context, (door, door + 38), question="key")]
        parts = list(stream_windows(examples, tokenizer, settings))
        assert as_rows(parts) == as_rows([make_windows(examples, tokenizer, settings)])


def test_questions_about_a_long_context_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "AT_ONCE", 100)
    examples = [ask("the door"), *[ask("nine doors " * 100, question=q) for q in "abc"], ask("a")]
    parts = list(stream_windows(examples, pair("word pieces"), SETTINGS))
    windows = make_windows(examples, pair("word pieces"), SETTINGS)
    assert as_rows(parts) == as_rows([windows])


def test_a_long_context_warns_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cutting, "AT_ONCE", 100)
    settings = WindowSettings(max_length=24, stride=20, max_question_tokens=5)
    examples = [ask("nine doors " * 100, question="nine " * 9)] * 2
    assert len(list(stream_windows(examples, pair("word pieces"), settings))) > 0
    assert [message.split(";")[0].split(".")[0] for message in caplog.messages] == [
        "2 of 2 questions are longer than 5 tokens and were cut there",
        "stride 20 leaves no room to move on in the windows of 2 of 2 questions",
    ]


def test_a_part_holds_few_tokens_and_no_window_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "_TOKENS", 100)
    parts = list(stream_windows([ask("the door " * 500)], pair("word pieces"), SETTINGS))
    assert len(parts) > 10
    assert all(part.lengths.sum() < 100 + SETTINGS.max_length for part in parts)


def test_examples_are_read_as_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "_CHARACTERS", 40)
    asked: list[int] = []

    def examples() -> Iterator[Example]:
        for number in range(100):
            asked.append(number)
            yield ask(f"the door {number} opens")

    stream = stream_windows(examples(), pair("word pieces"), SETTINGS)
    next(stream)
    assert len(asked) == 4  # the fourth began the next part
    assert sum(map(len, stream)) == 97


def test_questions_of_one_context_are_cut_in_parts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "_EXAMPLES", 4)
    parts = list(stream_windows([ask("the door")] * 10, pair("word pieces"), SETTINGS))
    assert [part.example.tolist() for part in parts] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_stream_warns_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cutting, "_EXAMPLES", 1)
    settings = WindowSettings(max_length=24, stride=4, max_question_tokens=5)
    examples = [ask("the library", question="nine " * 9), ask("the door", question="nine nine")] * 3
    assert len(list(stream_windows(examples, pair("word pieces"), settings))) == 6
    (message,) = caplog.messages
    assert message.startswith("3 of 6 questions are longer than 5 tokens and were cut there")
