"""What differs from transformers 4.57.6 on purpose: a test for each line of docs/migrating.md."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import ByT5Tokenizer

from spanwise.backends import Backend, FakeBackend, TorchBackend
from spanwise.errors import CheckpointError, ConfigError, DataError
from spanwise.pipelines import QuestionAnsweringPipeline, pipeline
from spanwise.pipelines.calling import SCORINGS
from spanwise.reader import Reader
from spanwise.schema import Batch, Logits, ReaderSettings, WindowSettings
from spanwise.windows import PairTokenizer
from tests.conftest import make_tokenizer
from tests.test_pipelines import CONTEXT, QUESTION, SETTINGS, TOKENIZER, fake, random_model
from tests.windows_zoo import kind, pair

TABLE = Path(__file__).parent.parent / "docs" / "migrating.md"
TESTED: list[str] = []

Test = Callable[..., None]


def row(name: str) -> Callable[[Test], Test]:
    """Say which line of the table a test is for."""
    TESTED.append(name)
    return lambda test: test


def ways(reader: Reader, **ask: Any) -> tuple[Any, Any]:
    """The answer by spanwise, and as transformers 4.57.6 gave it."""
    first, second = (QuestionAnsweringPipeline(reader, scoring=scoring) for scoring in SCORINGS)
    ask = {"question": QUESTION, "context": CONTEXT} | ask
    return first(**ask), second(**ask)


def of_zoo(name: str, backend: Backend | dict[str, float]) -> Reader:
    """A reader with a tokenizer of the zoo; strings are found by a fake."""
    tokenizer = pair(name)
    window = WindowSettings(max_length=1024, stride=128, context_first=kind(name).context_first)
    if isinstance(backend, dict):
        backend = FakeBackend(backend, tokenizer)
    return Reader(backend, tokenizer, ReaderSettings(window=window))


def peak(place: Callable[[Batch], Any]) -> Backend:
    """A backend that is sure of one token in each window."""

    def read(batch: Batch) -> Logits:
        logits = np.zeros(batch.input_ids.shape, np.float32)
        logits[np.arange(len(logits)), place(batch)] = 12
        return Logits(start_logits=logits, end_logits=logits.copy())

    return read


def lengths_of(reader: Reader, **ask: Any) -> tuple[int, int]:
    """The longest windows by spanwise, and as transformers 4.57.6 gave it."""
    longest = []
    backend = reader.backend
    for scoring in SCORINGS:
        seen: list[int] = []

        def watched(batch: Batch, seen: list[int] = seen) -> Logits:
            seen.append(int(batch.attention_mask.sum(axis=1).max()))
            return backend(batch)

        if hasattr(backend, "longest"):
            watched.longest = backend.longest  # type: ignore[attr-defined]
        other = Reader(watched, reader.tokenizer, reader.settings)
        QuestionAnsweringPipeline(other, scoring=scoring)(**ask)
        longest.append(max(seen))
    return longest[0], longest[1]


def test_each_line_of_the_table_has_a_test() -> None:
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line[:2] == "| "]
    assert sorted(TESTED) == sorted(line.split(" | ")[0][2:] for line in lines[1:])


# -- scores --------------------------------------------------------------------------------------


@row("a text of several windows")
def test_windows_share_one_softmax_and_places_are_answers_of_their_own() -> None:
    context = " ".join(["red lamp and old bridge on the river"] * 12)
    ask = {"context": context, "max_seq_len": 24, "doc_stride": 4, "max_answer_len": 1, "top_k": 5}
    ours, before = ways(fake({"red": 30.0}, null=-30.0), **ask)
    assert len({one["start"] for one in ours}) == 5
    assert {one["answer"] for one in ours} == {"red"}
    assert sum(one["score"] for one in ours) <= 1
    assert before[0]["score"] > 3
    assert [one["answer"] for one in before].count("red") == 1


@row("texts that differ in case")
def test_texts_that_differ_in_case_are_two_answers() -> None:
    ask = {"context": "the red lamp was RED", "max_answer_len": 1, "top_k": 2}
    ours, before = ways(fake({"red": 9.0}), **ask)
    assert [(one["answer"], one["start"]) for one in ours] == [("red", 4), ("RED", 17)]
    (one,) = [one for one in before if one["answer"].lower() == "red"]
    assert one["start"] in {4, 17}  # which of two equals comes first, nobody promised


@row("`handle_impossible_answer`")
def test_impossible_is_judged_by_the_reader_and_lost_to_sums_before() -> None:
    context = " ".join(["red lamp and old bridge on the river"] * 12)
    ask = {"max_seq_len": 24, "doc_stride": 4, "handle_impossible_answer": True}
    reader = fake({"red": 4.0}, null=5.0, threshold=0.1)
    ours, before = ways(reader, context=context, **ask)
    assert ours["answer"] == ""
    assert 0.1 < ours["score"] <= 1
    assert before["answer"] == "red"
    assert before["score"] > 1


@row('the token that stands for "no answer"')
def test_no_answer_is_read_where_the_tokenizer_puts_it() -> None:
    cls_token_id = pair("left-padded").token_id("cls_token")
    reader = of_zoo("left-padded", peak(lambda b: (b.input_ids == cls_token_id).argmax(axis=1)))
    ours, before = ways(reader, handle_impossible_answer=True, top_k=20, align_to_words=False)
    assert ours[0]["answer"] == ""
    assert ours[0]["score"] > 0.99
    # What it took for the span of cls is sure; what it took for "no answer" is another token's.
    assert min(one["score"] for one in before if one["answer"] == "") < 0.01


# -- windows -------------------------------------------------------------------------------------


@row("a question longer than the window")
def test_a_long_question_is_cut_and_refused_as_before() -> None:
    reader = fake({"red": 8.0})
    ask = {"question": "which lamp " * 20, "context": CONTEXT, "max_seq_len": 16, "doc_stride": 4}
    assert QuestionAnsweringPipeline(reader)(**ask)["answer"] == "red"
    with pytest.raises(ConfigError, match="leave 0 for the context, which doc_stride 4 fills"):
        QuestionAnsweringPipeline(reader, scoring="transformers4")(**ask)


@row("`max_question_len`")
def test_questions_are_cut_at_max_question_len_and_were_not_before() -> None:
    ask = {"question": "which lamp is it of the old lamp ?", "context": "red"}
    assert lengths_of(fake({"red": 8.0}), **ask, max_question_len=2) == (2 + 1 + 3, 10 + 1 + 3)


@row("a stride that fills the window")
def test_a_stride_that_fills_the_window_is_halved_and_refused_as_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reader = fake({"red": 8.0})
    ask = {"question": "which ?", "context": CONTEXT, "max_seq_len": 15, "doc_stride": 10}
    assert QuestionAnsweringPipeline(reader)(**ask)["answer"] == "red"
    assert "stride 10 leaves no room to move on" in caplog.text
    short = ask | {"context": "the red lamp"}  # in a window of its own a stride has no part
    assert QuestionAnsweringPipeline(reader, scoring="transformers4")(**short)["answer"] == "red"
    with pytest.raises(ConfigError, match="leave 10 for the context, which doc_stride 10 fills"):
        QuestionAnsweringPipeline(reader, scoring="transformers4")(**ask)


@row("`max_seq_len` that is not given")
def test_windows_are_as_long_as_in_training_where_nothing_is_said() -> None:
    settings = replace(SETTINGS, window=replace(SETTINGS.window, max_length=24, stride=8))
    reader = Reader(TorchBackend(random_model(), device="cpu"), TOKENIZER, settings)
    ask = {"question": QUESTION, "context": " ".join([CONTEXT] * 9)}
    assert lengths_of(reader, **ask) == (24, 48)  # 48 by the tokenizer's model_max_length


@row("`max_seq_len` beyond the model's positions")
@pytest.mark.parametrize(("export", "longest"), [({}, 48), ({"positions": 40}, 40)])
def test_windows_are_cut_to_the_positions(export: dict[str, Any], longest: int) -> None:
    settings, torch_backend = replace(SETTINGS, export=export), not export
    backend = (
        TorchBackend(random_model(), device="cpu")
        if torch_backend
        else FakeBackend({"red": 8.0}, TOKENIZER)
    )
    reader = Reader(backend, TOKENIZER, settings)
    ask = {"question": QUESTION, "context": " ".join([CONTEXT] * 9)}
    assert lengths_of(reader, **ask, max_seq_len=4000, doc_stride=8) == (longest, longest)
    assert lengths_of(reader, **ask, max_seq_len=30, doc_stride=8) == (30, 30)


@row("tokens that share a place, as the bytes of an emoji")
def test_tokens_of_one_place_count_once() -> None:
    reader = of_zoo("bytes, roberta", {"🦉🦉🦉": 9.0})
    ours, before = ways(reader, context="the 🦉🦉🦉 sleep", max_answer_len=3, align_to_words=False)
    assert ours["answer"] == "🦉🦉🦉"
    assert before["answer"] != "🦉🦉🦉"


@row("blanks at the edges of an answer")
def test_blanks_at_the_edges_are_cut_off_and_were_kept() -> None:
    reader = of_zoo("bytes, roberta, untrimmed", {"lighthouse": 9.0})
    ours, before = ways(reader, context="the lighthouse was red", align_to_words=False)
    assert (ours["answer"], ours["start"]) == ("lighthouse", 4)
    assert (before["answer"], before["start"]) == (" lighthouse", 3)


@row('a "word" of more than 256 characters (Japanese, by some tokenizers)')
def test_a_word_without_end_is_not_the_answer() -> None:
    sentence = "東京の図書館には約三百万冊の本があります。"
    text = sentence * 40
    reader = of_zoo("unigram, always", peak(lambda b: (b.edges[..., 0] >= 420).argmax(axis=1)))
    ours, before = ways(reader, context=text, max_seq_len=1024)
    assert len(before["answer"]) > len(text) - 10
    assert 2 * 256 <= len(ours["answer"]) <= 2 * 256 + len(sentence)  # a token between them
    assert text[ours["start"] : ours["end"]] == ours["answer"]


@row("a question beside a context-first (left-padding) tokenizer")
def test_a_question_is_never_quoted() -> None:
    find = FakeBackend({"lighthouse": 6.0}, pair("left-padded"))

    def read(batch: Batch) -> Logits:
        logits = find(batch)
        last = batch.context_mask.cumsum(axis=1).argmax(axis=1)  # of the context
        for side in (logits.start_logits, logits.end_logits):
            side[np.arange(len(side)), last + 2] = 12  # the first of the question, after <sep>
        return logits

    ask = {"question": "harbour where ?", "context": "by night the lighthouse shines"}
    ours, before = ways(of_zoo("left-padded", read), **ask, align_to_words=False)
    assert ours["answer"] == "lighthouse"
    assert before["score"] > 0.9
    assert (before["start"], before["answer"]) == (0, ask["context"][: before["end"]])


# -- what comes back -----------------------------------------------------------------------------


@row("a list of one question")
def test_a_list_of_one_is_a_list_and_was_none() -> None:
    reader = fake({"red": 8.0})
    item = {"question": QUESTION, "context": CONTEXT}
    asks: tuple[dict[str, Any], ...] = (
        {"question": [QUESTION], "context": [CONTEXT]},
        {"data": [item]},
    )
    for ask in asks:
        ours, before = (QuestionAnsweringPipeline(reader, scoring=s)(**ask) for s in SCORINGS)
        assert [one["answer"] for one in ours] == ["red"]
        assert before["answer"] == "red"


@row(
    "what a `tokenizer_config.json` says against its `tokenizer.json` (`do_lower_case`, "
    "`split_special_tokens`)"
)
def test_the_tokenizer_goes_and_its_config_went() -> None:
    config = TOKENIZER.config | {"do_lower_case": False, "split_special_tokens": True}
    tokenizer = PairTokenizer(TOKENIZER.tokenizer, config)
    reader = Reader(FakeBackend({"red": 9.0}, tokenizer), tokenizer, SETTINGS)
    for found in ways(reader, context="the RED lamp"):  # this tokenizer ignores case
        assert (found["answer"], found["start"]) == ("RED", 4)


@row("`top_k` above 1, one answer found")
def test_one_of_several_is_a_list_and_was_none() -> None:
    ask = {"context": "red red", "top_k": 2, "max_answer_len": 1, "align_to_words": False}
    ours, before = ways(fake({"red": 9.0}), **ask)
    assert [one["start"] for one in ours] == [0, 4]
    assert before["answer"] == "red"
    assert before["start"] in {0, 4}
    assert (
        len(QuestionAnsweringPipeline(fake({}))(**ask | {"question": "?", "context": "red"})) == 1
    )


@row("`top_k` above 20")
def test_at_most_those_that_share_the_softmax_are_given() -> None:
    reader = Reader(TorchBackend(random_model(), device="cpu"), TOKENIZER, SETTINGS)
    ours, before = ways(reader, context=" ".join([CONTEXT] * 3), top_k=40, align_to_words=False)
    assert len(ours) == 20
    assert len(before) > 20


@row("a text without a token")
def test_a_text_without_a_token_is_an_empty_answer() -> None:
    empty = {"score": 0.0, "start": 0, "end": 0, "answer": ""}
    without_cls = PairTokenizer(make_tokenizer(), {"pad_token": "[PAD]"})
    for tokenizer, expected in ((without_cls, []), (TOKENIZER, empty)):
        reader = Reader(FakeBackend({}, tokenizer), tokenizer, SETTINGS)
        assert ways(reader, context="\u200b") == (empty, expected)


@row("a `Dataset` of torch")
def test_a_dataset_of_torch_is_answered_as_a_list() -> None:
    class Questions(torch.utils.data.Dataset[dict[str, str]]):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, number: int) -> dict[str, str]:  # never an IndexError
            return {"question": QUESTION, "context": CONTEXT}

    for scoring in SCORINGS:
        found = QuestionAnsweringPipeline(fake({"red": 8.0}), scoring=scoring)(Questions())
        assert [one["answer"] for one in found] == ["red"] * 3


# -- what is refused -----------------------------------------------------------------------------


@row("a blank question or context")
@pytest.mark.parametrize("scoring", SCORINGS)
def test_blank_texts_are_refused(scoring: str) -> None:
    ask = QuestionAnsweringPipeline(fake({}), scoring=scoring)
    with pytest.raises(DataError, match="question is '  '; give some text"):
        ask(question="  ", context=CONTEXT)
    with pytest.raises(DataError, match=r"context is '\\n'; give some text"):
        ask(question=QUESTION, context="\n")


@row("a dict with other keys, as a row of a data set has")
@pytest.mark.parametrize("scoring", SCORINGS)
def test_other_keys_are_left_alone(scoring: str) -> None:
    ask = {"id": "1", "question": QUESTION, "context": CONTEXT, "answers": []}
    found = QuestionAnsweringPipeline(fake({"red": 8.0}), scoring=scoring)(ask)
    assert found["answer"] == "red"


@row("parameters that there are not")
@pytest.mark.parametrize("scoring", SCORINGS)
def test_parameters_that_there_are_not_are_refused(scoring: str) -> None:
    with pytest.raises(ConfigError, match=r"max_answer_length is unknown; known are .*_answer_len"):
        pipeline(model=fake({}), scoring=scoring, max_answer_length=3)
    with pytest.raises(ConfigError, match="topic is unknown"):
        QuestionAnsweringPipeline(fake({}), scoring=scoring)(QUESTION, CONTEXT, topic=1)


@row("slow (Python) tokenizers")
@pytest.mark.parametrize("scoring", SCORINGS)
def test_slow_tokenizers_are_refused_by_name(scoring: str, tmp_path: Path) -> None:
    slow = ByT5Tokenizer()
    with pytest.raises(CheckpointError, match="ByT5Tokenizer is a slow tokenizer: it gives no"):
        pipeline(model=random_model(), tokenizer=slow, scoring=scoring)
    random_model().save_pretrained(tmp_path)
    slow.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="ByT5Tokenizer is a slow tokenizer: it gives no"):
        pipeline(model=tmp_path, scoring=scoring)


@row("no model named")
def test_the_builtin_reader_is_chosen() -> None:
    made = pipeline("question-answering")
    assert made.reader.settings == Reader.from_pretrained("builtin").settings
    found = made(question="Who built the mill?", context="The mill was built by Ada Green.")
    assert found["answer"] == "Ada Green"


@row(
    "`config`, `device_map`, `model_kwargs`, `trust_remote_code=True`, `use_fast=False`, "
    '`framework="tf"`'
)
@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"config": "bert"}, "config is 'bert': load the model with it, then give model="),
        ({"device_map": "auto"}, "device_map is 'auto': name one device="),
        ({"model_kwargs": {"attn": 1}}, "model_kwargs is {'attn': 1}: load the model with them"),
        ({"trust_remote_code": True}, "trust_remote_code is True: no code .* leave it out"),
        ({"use_fast": False}, "use_fast is False: a slow tokenizer gives no character offsets"),
        ({"framework": "tf"}, "framework is 'tf': there is PyTorch alone"),
    ],
)
def test_arguments_without_a_place_are_refused_with_the_mend(
    arguments: dict[str, Any], match: str
) -> None:
    with pytest.raises(ConfigError, match=match):
        pipeline(model=fake({}), **arguments)


@row('`dtype` that is not given, or "auto"')
def test_weights_are_float32_unless_asked(tmp_path: Path) -> None:
    random_model().half().save_pretrained(tmp_path)
    PairTokenizer(make_tokenizer(), {"cls_token": "[CLS]", "pad_token": "[PAD]"}).save(tmp_path)
    for dtype, expected in (
        (None, torch.float32),
        ("auto", torch.float32),
        ("float16", torch.float16),
        (torch.bfloat16, torch.bfloat16),
    ):
        made = pipeline(model=tmp_path, device="cpu", dtype=dtype)
        assert isinstance(made.reader.backend, TorchBackend)
        assert {p.dtype for p in made.reader.backend.model.parameters()} == {expected}


@row("`device=0` without CUDA")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"device is 'cuda:99'; on this machine it can be .*cpu"):
        pipeline(model=random_model(), tokenizer=TOKENIZER, device=99)
