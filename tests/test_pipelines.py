"""The old call, its forms and results; spanwise's scores, and those of transformers 4."""

import random
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForQuestionAnswering, PreTrainedTokenizerFast

from spanwise.backends import FakeBackend, TorchBackend
from spanwise.errors import ConfigError, DataError
from spanwise.pipelines import QuestionAnsweringPipeline
from spanwise.pipelines.calling import SCORINGS
from spanwise.pipelines.words import widen_to_words
from spanwise.reader import Reader
from spanwise.schema import Batch, Calibration, Logits, ReaderSettings, WindowSettings
from spanwise.windows import PairTokenizer
from tests.conftest import make_colours, make_tokenizer
from tests.windows_zoo import NAMES, TEXTS, pair

QUESTION, CONTEXT = "which lamp ?", "the old lamp was red and the small lamp is green"
TOKENIZER = PairTokenizer(
    make_tokenizer(), {"cls_token": "[CLS]", "pad_token": "[PAD]", "model_max_length": 48}
)
SETTINGS = ReaderSettings(window=WindowSettings(max_length=48, stride=16, max_question_tokens=8))


def fake(scores: dict[str, float], *, null: float = 0.0, threshold: float = 0.5) -> Reader:
    settings = replace(SETTINGS, calibration=Calibration(threshold=threshold))
    return Reader(FakeBackend(scores, TOKENIZER, null=null), TOKENIZER, settings)


def qa(**options: Any) -> QuestionAnsweringPipeline:
    return QuestionAnsweringPipeline(fake({"red": 8.0, "green": 7.0}), **options)


# -- forms of the call ---------------------------------------------------------------------------


def test_one_question_gives_a_dict() -> None:
    for found in (
        qa()(question=QUESTION, context=CONTEXT),
        qa()(QUESTION, CONTEXT),
        qa()({"question": QUESTION, "context": CONTEXT}),
        qa()(X={"question": QUESTION, "context": CONTEXT}),
        qa()(qa().create_sample(QUESTION, CONTEXT)),
        qa().predict({"question": QUESTION, "context": CONTEXT}),
        qa().transform({"question": QUESTION, "context": CONTEXT}),
    ):
        assert found.keys() == {"score", "start", "end", "answer"}
        assert (found["answer"], found["start"], found["end"]) == ("red", 17, 20)
        assert CONTEXT[found["start"] : found["end"]] == "red"
        assert 0 < found["score"] <= 1


def test_many_questions_give_a_list_in_their_order() -> None:
    other = "the valve was green"
    expected = ["red", "green"]
    item = {"question": QUESTION, "context": CONTEXT}
    columns = datasets.Dataset.from_dict({"question": [QUESTION] * 2, "context": [CONTEXT, other]})
    for found in (
        qa()(question=[QUESTION] * 2, context=[CONTEXT, other]),
        qa()(question=columns["question"], context=columns["context"]),
        qa()(question=np.array([QUESTION] * 2), context=np.array([CONTEXT, other])),
        qa()([item, {"question": QUESTION, "context": other}]),
        qa()(item, {"question": QUESTION, "context": other}),
        qa()(data=[item, {"question": QUESTION, "context": other}]),
        qa()(X=(item, {"question": QUESTION, "context": other})),
        qa()(qa().create_sample([QUESTION] * 2, [CONTEXT, other])),
        qa()({"question": [QUESTION] * 2, "context": [CONTEXT, other], "id": ["a", "b"]}),
        qa()([item, {"question": QUESTION, "context": other}], batch_size=2, num_workers=1),
    ):
        assert [one["answer"] for one in found] == expected
    with pytest.raises(DataError, match=r"pipeline: \[1\]: context is nan; give some text"):
        qa()([item, {"question": QUESTION, "context": float("nan")}])
    shared = qa()(question=[QUESTION, "what ?"], context=CONTEXT)
    assert [one["answer"] for one in shared] == ["red", "red"]
    assert [one["answer"] for one in qa()(question=[QUESTION], context=[CONTEXT])] == ["red"]
    for scoring in SCORINGS:
        assert qa(scoring=scoring)([]) == []


def test_a_generator_is_answered_as_it_goes() -> None:
    asked: list[int] = []

    def questions() -> Iterator[dict[str, str]]:
        for number in range(3):
            asked.append(number)
            yield {"question": QUESTION, "context": CONTEXT}

    found = qa()(questions())
    assert next(found)["answer"] == "red"
    assert asked == [0]
    assert len(list(found)) == 2
    asked.clear()
    assert next(qa()(questions(), batch_size=2))["answer"] == "red"
    assert asked == [0, 1]


def test_more_answers_come_as_a_list_best_first() -> None:
    ask = {"question": QUESTION, "context": CONTEXT, "max_answer_len": 1}
    found = qa()(**ask, top_k=2)
    assert [one["answer"] for one in found] == ["red", "green"]
    assert found[0]["score"] > found[1]["score"]
    assert qa(top_k=2)(**ask) == found
    assert qa()(**ask, topk=2) == qa()(**ask, top_k=np.int64(2)) == found
    assert isinstance(qa(top_k=3)(question="what ?", context="a"), list)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"question": "", "context": CONTEXT}, DataError, "question is ''; give some text"),
        ({"question": QUESTION, "context": None}, DataError, "context is None; give some text"),
        ({"question": QUESTION}, DataError, "no dict with the keys 'question' and 'context'"),
        (
            {"question": ["a", "b"], "context": ["c"]},
            ConfigError,
            "2 questions and 1 contexts: give as many of both",
        ),
        ({"question": "a", "context": "b", "topic": 1}, ConfigError, "topic is unknown; known"),
        ({"question": "a", "context": "b", "top_k": 0}, ConfigError, "top_k is 0: it must be"),
        ({"question": "a", "context": "b", "doc_stride": 1.5}, ConfigError, "doc_stride is 1.5"),
        ({"question": "a", "context": "b", "batch_size": 0}, ConfigError, "batch_size is 0"),
        ({"question": "a", "context": ["b"]}, DataError, r"a list of 1 beside one question; give"),
        ({"data": "a question"}, DataError, "'a question' is no dict with the keys 'question'"),
        ({"data": 5}, DataError, "5 is no dict with the keys 'question' and 'context'"),
        ({"data": [], "question": "a"}, ConfigError, "give question= and context=, or"),
    ],
)
def test_what_cannot_be_asked_is_named(
    arguments: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        qa()(**arguments)


def test_the_parameters_have_the_old_names_and_defaults() -> None:
    from spanwise.pipelines.calling import _Parameters

    assert asdict(_Parameters()) == {
        "top_k": 1,
        "doc_stride": None,
        "max_answer_len": 15,
        "max_seq_len": None,
        "max_question_len": 64,
        "handle_impossible_answer": False,
        "align_to_words": True,
        "batch_size": None,
    }


# -- parameters ----------------------------------------------------------------------------------


def test_impossible_is_an_answer_where_it_is_asked_for() -> None:
    reader = fake({"red": 2.0}, null=4.0)
    sure = QuestionAnsweringPipeline(reader)(question=QUESTION, context=CONTEXT)
    assert sure["answer"] == "red"
    ask = {"question": QUESTION, "context": CONTEXT, "handle_impossible_answer": True}
    found = QuestionAnsweringPipeline(reader)(**ask)
    assert (found["answer"], found["start"], found["end"]) == ("", 0, 0)
    assert found["score"] > 0.5
    both = QuestionAnsweringPipeline(reader)(**ask, top_k=2)
    assert [one["answer"] for one in both] == ["", "red"]


def test_impossible_is_judged_at_the_readers_threshold() -> None:
    ask = {"question": QUESTION, "context": CONTEXT, "handle_impossible_answer": True, "top_k": 2}
    for threshold, first in ((0.99, "red"), (0.01, "")):
        reader = fake({"red": 4.0}, null=5.0, threshold=threshold)
        found = QuestionAnsweringPipeline(reader)(**ask)
        assert found[0]["answer"] == first
        assert {one["answer"] for one in found} == {"red", ""}


def test_answers_are_as_long_as_they_may_be() -> None:
    reader = fake({"red and the small lamp": 9.0, "old": 1.0})
    ask = {"question": QUESTION, "context": CONTEXT}
    long = QuestionAnsweringPipeline(reader)(**ask)
    assert long["answer"] == "red and the small lamp"
    short = QuestionAnsweringPipeline(reader)(**ask, max_answer_len=2)
    assert len(short["answer"].split()) <= 2


def test_windows_are_as_long_as_they_may_be() -> None:
    lengths: list[int] = []
    reader = fake({"red": 8.0})
    backend = reader.backend

    def watched(batch: Any) -> Any:
        lengths.append(int(batch.attention_mask.sum(axis=1).max()))
        return backend(batch)

    reader.backend = watched
    ask = {"question": QUESTION, "context": " ".join([CONTEXT] * 9)}
    for length in (20, 32):
        lengths.clear()
        QuestionAnsweringPipeline(reader)(**ask, max_seq_len=length, doc_stride=4)
        assert max(lengths) == length
    assert QuestionAnsweringPipeline(reader, batch_size=2)(**ask)["answer"] == "red"


def test_spans_that_become_one_word_add_their_probabilities() -> None:
    reader = fake({"re": 6.0, "r": 5.0})  # parts of a word, as the vocabulary has no "re"
    apart = QuestionAnsweringPipeline(reader)(
        question=QUESTION, context="the rex lamp", align_to_words=False, top_k=20
    )
    found = QuestionAnsweringPipeline(reader)(question=QUESTION, context="the rex lamp", top_k=20)
    whole = next(one for one in found if one["answer"] == "rex")
    inside = [one["score"] for one in apart if one["start"] >= 4 and one["end"] <= 7]
    assert whole["score"] == pytest.approx(sum(inside))
    assert len({(one["start"], one["end"]) for one in found}) == len(found)
    assert sum(one["score"] for one in found) <= 1 + 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_words_are_widened_to_and_blanks_are_not(name: str) -> None:
    text = "the lighthouse of Łódź  was painted;  by whom?"
    start = text.index("house")
    (found,) = widen_to_words(text, [(start, start + 3)], pair(name))
    assert found in {(4, 14), (4, 17), (start, start + 3), (0, len(text)), (4, len(text))}
    for context in TEXTS:
        for begin in range(0, len(context) - 5, 7):
            if context[begin].isspace() or context[begin + 4].isspace():
                continue
            ((first, last),) = widen_to_words(context, [(begin, begin + 5)], pair(name))
            assert 0 <= first <= begin < begin + 5 <= last <= len(context)
            assert context[first:last].strip() == context[first:last]


def test_spans_are_widened_together_as_they_are_alone() -> None:
    context = " ".join(f"{word}s, {word}-house" for word in ["river", "lamp", "tower"] * 99)
    draw = random.Random(0)
    starts = [draw.randrange(len(context) - 9) for _ in range(12)]
    spans = [(start, start + draw.randrange(1, 9)) for start in [*starts, starts[0]]]
    tokenizer = pair(NAMES[0])
    assert widen_to_words(context, spans, tokenizer) == [
        widen_to_words(context, [span], tokenizer)[0] for span in spans
    ]
    assert widen_to_words(context, [], tokenizer) == []


# -- as transformers 4 ---------------------------------------------------------------------------


def random_model() -> BertForQuestionAnswering:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=make_tokenizer().get_vocab_size(),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=48,
        initializer_range=0.6,
    )
    return BertForQuestionAnswering(config).eval()


def answers_slowly(
    question: str, context: str, *, top_k: int, impossible: bool, length: int, stride: int
) -> list[dict[str, Any]]:
    """The twin: what transformers 4.57.6 did, one span after the other, without words."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=make_tokenizer(), cls_token="[CLS]", pad_token="[PAD]"
    )
    encoded = tokenizer(
        question,
        context,
        truncation="only_second",
        max_length=length,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_token_type_ids=True,
    )
    model, null = random_model(), 1e6
    answers: list[dict[str, Any]] = []
    for window, ids in enumerate(encoded["input_ids"]):
        with torch.no_grad():
            types = torch.tensor([encoded["token_type_ids"][window]])
            output = model(torch.tensor([ids]), token_type_ids=types)
        sequence = encoded.sequence_ids(window)
        open_ = [n == 1 or token == 2 for n, token in zip(sequence, ids, strict=True)]
        sides = []
        for logits in (output.start_logits[0].tolist(), output.end_logits[0].tolist()):
            weights = [np.exp(x) if yes else 0.0 for x, yes in zip(logits, open_, strict=True)]
            sides.append([weight / sum(weights) for weight in weights])
        null = min(null, sides[0][0] * sides[1][0])
        spans = [
            (sides[0][s] * sides[1][e], s, e)
            for s in range(1, len(ids))
            for e in range(s, min(s + 15, len(ids)))
            if open_[s] and open_[e]
        ]
        for score, s, e in sorted(spans, reverse=True)[:top_k]:
            offsets = encoded["offset_mapping"][window]
            start, end = offsets[s][0], offsets[e][1]
            same = [a for a in answers if a["answer"].lower() == context[start:end].lower()]
            if same:
                same[0]["score"] += score
            else:
                text = context[start:end]
                answers.append({"score": score, "start": start, "end": end, "answer": text})
    if impossible:
        answers.append({"score": null, "start": 0, "end": 0, "answer": ""})
    return sorted(answers, key=lambda answer: -answer["score"])[:top_k]


@pytest.mark.parametrize("impossible", [False, True])
@pytest.mark.parametrize("top_k", [1, 4])
def test_scores_of_transformers_4_are_given_on_request(top_k: int, impossible: bool) -> None:
    reader = Reader(TorchBackend(random_model(), device="cpu"), TOKENIZER, SETTINGS)
    before = QuestionAnsweringPipeline(reader, scoring="transformers4", align_to_words=False)
    for example in make_colours(12, seed=4):
        context = " ".join([example.context] * 3)
        found = before(
            question=example.question,
            context=context,
            top_k=top_k,
            handle_impossible_answer=impossible,
            max_seq_len=30,
            doc_stride=8,
        )
        found = [found] if isinstance(found, dict) else found
        expected = answers_slowly(
            example.question, context, top_k=top_k, impossible=impossible, length=30, stride=8
        )
        assert [one["score"] for one in found] == pytest.approx(
            [one["score"] for one in expected], abs=1e-6
        )
        assert [(one["start"], one["end"], one["answer"]) for one in found] == [
            (one["start"], one["end"], one["answer"]) for one in expected
        ]


def test_windows_are_cut_from_the_side_that_the_tokenizer_says() -> None:
    context = "the red lamp is old and small " * 9
    for side in ("right", "left"):
        config = TOKENIZER.config | {"truncation_side": side}
        tokenizer = PairTokenizer(TOKENIZER.tokenizer, config)
        backend = FakeBackend({"red": 8.0}, tokenizer)
        places: list[list[int]] = []

        def read(batch: Batch, backend: FakeBackend = backend) -> Logits:
            places.append(batch.edges[batch.edges >= 0].tolist())  # noqa: B023 - read at once
            return backend(batch)

        reader = Reader(read, tokenizer, SETTINGS)
        before = QuestionAnsweringPipeline(reader, scoring="transformers4")
        assert before(QUESTION, context, max_seq_len=30, doc_stride=8)["answer"] == "red"
        at_the_edge = [0 in places[0], len(context) - 1 in places[0]]  # of the first window
        assert at_the_edge == [side == "right", side == "left"]


def test_scores_of_transformers_4_are_those_of_each_question_alone() -> None:
    reader = Reader(TorchBackend(random_model(), device="cpu"), TOKENIZER, SETTINGS)
    before = QuestionAnsweringPipeline(reader, scoring="transformers4")
    asked = [
        {"question": example.question, "context": " ".join([example.context] * (1 + number % 4))}
        for number, example in enumerate(make_colours(70, seed=5))  # more than are cut at a time
    ]
    for length in (30, 40, 30):  # which the tokenizer has to be told anew
        alone = [
            QuestionAnsweringPipeline(reader, scoring="transformers4")(one, max_seq_len=length)
            for one in asked
        ]
        assert before(asked, max_seq_len=length) == alone
