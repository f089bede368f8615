"""A reader quotes what its backend points at, the same in any company and at any length."""

import logging
import re
import tracemalloc
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertModel,
    LlamaConfig,
    LlamaForQuestionAnswering,
    PreTrainedModel,
    RobertaConfig,
    RobertaForQuestionAnswering,
)

from spanwise.backends import Backend, FakeBackend, TorchBackend
from spanwise.checkpoints import write_settings
from spanwise.errors import CheckpointError, ConfigError, DataError
from spanwise.matching import clip_window
from spanwise.reader import Reader
from spanwise.schema import (
    Answer,
    Batch,
    Calibration,
    DecodeSettings,
    Example,
    Gold,
    Logits,
    Prediction,
    ReaderSettings,
    WindowSettings,
)
from spanwise.sentences import sentence_around
from spanwise.windows import PairTokenizer, cutting

TEXTS = [
    "The Eiffel Tower stands in Paris and was finished in 1889.",
    "The Normans gave their name to Normandy, a region in France.",
    "Warsaw lies on the Vistula, some 300 km from the Baltic Sea.",
]
QUESTION = "Where does the tower stand?"
SETTINGS = ReaderSettings(window=WindowSettings(max_length=32, stride=8, max_question_tokens=12))
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "initializer_range": 0.5,  # so that the logits of random weights differ
}


def word_pieces() -> PairTokenizer:
    """Words of the texts above, letters for all others; training one would number them anew."""
    words = sorted(
        {word.strip(",.?").lower() for text in [*TEXTS, QUESTION] for word in text.split()}
    )
    letters = "abcdefghijklmnopqrstuvwxyz0123456789,.?"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words, *letters, *(f"##{x}" for x in letters)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PairTokenizer(tokenizer, {"cls_token": "[CLS]", "pad_token": "[PAD]"})


def bytes_alone() -> PairTokenizer:
    """RoBERTa's kind, without any merge."""
    pieces = ["<s>", "<pad>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return PairTokenizer(tokenizer, {"cls_token": "<s>", "pad_token": "<pad>"})


TOKENIZER = word_pieces()
BYTES = bytes_alone()


def fake_reader(
    scores: dict[str, float],
    *,
    null: float = 0.0,
    settings: ReaderSettings = SETTINGS,
    batch_tokens: int = 200,
) -> Reader:
    backend = FakeBackend(scores, TOKENIZER, null=null)
    return Reader(backend, TOKENIZER, settings, batch_tokens=batch_tokens)


def quoted(prediction: Prediction) -> Answer:
    assert prediction.best is not None
    return prediction.best


def save_checkpoint(
    folder: Path, model: PreTrainedModel, tokenizer: PairTokenizer, **config: Any
) -> Path:
    model.save_pretrained(folder)
    PairTokenizer(tokenizer.tokenizer, tokenizer.config | config).save(folder)
    return folder


def bert(**sizes: int) -> BertForQuestionAnswering:
    torch.manual_seed(0)
    config = BertConfig(vocab_size=200, **(SIZES | {"max_position_embeddings": 64} | sizes))
    return BertForQuestionAnswering(config)


# -- one question --------------------------------------------------------------------------------


def test_an_answer_is_a_quote_of_the_text() -> None:
    prediction = fake_reader({"Paris": 8.0}).answer(QUESTION, TEXTS[0])
    best = quoted(prediction)
    assert (best.text, best.start, best.end, best.context) == ("Paris", 27, 32, 0)
    assert best.score == 8.0
    assert best.probability == pytest.approx(1 / (1 + 2.718281828**-8), abs=1e-6)
    assert (prediction.null_score, prediction.calibrated) == (0.0, False)


def test_offsets_count_code_points() -> None:
    context = "🗼 é\u0301 — " + TEXTS[0]
    best = quoted(fake_reader({"Paris": 8.0}).answer(QUESTION, context))
    assert context[best.start : best.end] == best.text == "Paris"


def test_where_null_is_likelier_than_the_threshold_there_is_no_answer() -> None:
    prediction = fake_reader({"Paris": 2.0}, null=6.0).answer(QUESTION, TEXTS[0])
    assert prediction.best is None
    assert prediction.answers[0].text == "Paris"
    assert prediction.null_probability > 0.9
    lenient = replace(SETTINGS, calibration=Calibration(threshold=0.999, fitted_on="dev"))
    prediction = fake_reader({"Paris": 2.0}, null=6.0, settings=lenient).answer(QUESTION, TEXTS[0])
    assert quoted(prediction).text == "Paris"
    assert prediction.calibrated


def test_answers_from_several_texts_share_one_softmax() -> None:
    reader = fake_reader({"Paris": 8.0, "Vistula": 7.0}, null=1.0)
    prediction = reader.answer(QUESTION, TEXTS)
    first, second = prediction.answers[:2]
    assert (first.text, first.context, second.text, second.context) == ("Paris", 0, "Vistula", 2)
    assert first.probability / second.probability == pytest.approx(2.718281828, rel=1e-5)
    total = sum(answer.probability for answer in prediction.answers) + prediction.null_probability
    assert total == pytest.approx(1.0)
    for answer in prediction.answers:
        assert TEXTS[answer.context][answer.start : answer.end] == answer.text


def test_a_list_of_one_text_is_that_text() -> None:
    reader = fake_reader({"Paris": 8.0})
    assert reader.answer(QUESTION, [TEXTS[0]]) == reader.answer(QUESTION, TEXTS[0])


def test_top_k_limits_the_answers_and_leaves_their_probabilities() -> None:
    reader = fake_reader({"Paris": 8.0, "1889": 7.0})
    every, two = reader.answer(QUESTION, TEXTS[0]), reader.answer(QUESTION, TEXTS[0], top_k=2)
    assert len(every.answers) == SETTINGS.decode.n_best
    assert two.answers == every.answers[:2]
    assert two.null_probability == every.null_probability


@pytest.mark.parametrize("top_k", [0, -1, 1.5, "2"])
def test_top_k_is_looked_at_before_anything_is_read(top_k: Any) -> None:
    reader = fake_reader({"Paris": 8.0})
    with pytest.raises(ConfigError, match=f"top_k is {top_k!r}: ask for 1 answer or more"):
        reader.answer(QUESTION, "", top_k=top_k)  # nor is the text, which is faulty as well


def test_a_text_without_a_token_has_no_answer() -> None:
    prediction = fake_reader({"Paris": 8.0}, null=1.0).answer(QUESTION, "\x00\x01")
    assert (prediction.answers, prediction.best) == ((), None)
    assert prediction.null_probability == 1.0


# -- many questions ------------------------------------------------------------------------------


def test_many_pairs_come_back_in_their_order() -> None:
    reader = fake_reader({"Paris": 8.0, "Normandy": 8.0, "Vistula": 8.0}, batch_tokens=60)
    texts = [TEXTS[1], " ".join(TEXTS[2:] * 9), TEXTS[0], TEXTS]
    predictions = reader.answer_many((QUESTION, text) for text in texts)
    assert [prediction.id for prediction in predictions] == ["0", "1", "2", "3"]
    assert [quoted(p).text for p in predictions] == ["Normandy", "Vistula", "Paris", "Paris"]
    alone = [reader.answer(QUESTION, text) for text in texts]
    assert [replace(prediction, id="0") for prediction in predictions] == alone


def test_no_pairs_give_no_predictions() -> None:
    assert fake_reader({"Paris": 8.0}).answer_many([]) == []
    assert fake_reader({"Paris": 8.0}).predict([]) == []


def test_examples_keep_their_ids_and_their_answers_are_not_looked_at() -> None:
    faulty = (Gold(text="London", start=9_999_999, end=-3),)
    examples = [
        Example(id="b", question=QUESTION, context=TEXTS[1], answers=faulty),
        Example(id="a", question=QUESTION, context=TEXTS[0]),
    ]
    predictions = fake_reader({"Paris": 8.0, "Normandy": 8.0}).predict(examples, top_k=1)
    assert [(p.id, quoted(p).text) for p in predictions] == [("b", "Normandy"), ("a", "Paris")]
    assert [len(prediction.answers) for prediction in predictions] == [1, 1]


@pytest.mark.parametrize(
    ("question", "context", "match"),
    [
        ("", TEXTS[0], "question: '' holds nothing to read; give some text"),
        (" \n\u3000", TEXTS[0], r"question: ' \\n\\u3000' holds nothing to read"),
        (None, TEXTS[0], "question: None is NoneType; give a string"),
        ("Who\ud800?", TEXTS[0], r"question: .* lone surrogate, '\\ud800', at character 3"),
        (QUESTION, "\t", r"context: '\\t' holds nothing to read"),
        (QUESTION, b"Paris", "context: b'Paris' is bytes; give a string"),
        (QUESTION, {"text": "Paris"}, "context: {'text': 'Paris'} is dict; give a string"),
        (QUESTION, [], "context: there is no text; give at least one"),
        (QUESTION, [TEXTS[0], ""], r"contexts\[1\]: '' holds nothing to read"),
        (QUESTION, [TEXTS[0], 5], r"contexts\[1\]: 5 is int; give a string"),
    ],
)
def test_what_cannot_be_read_is_named(question: Any, context: Any, match: str) -> None:
    reader = fake_reader({"Paris": 8.0})
    with pytest.raises(DataError, match=f"^answer: {match}"):
        reader.answer(question, context)
    with pytest.raises(DataError, match=rf"^pairs\[1\]: {match}"):
        reader.answer_many([(QUESTION, TEXTS[0]), (question, context)])


def test_every_faulty_question_is_named() -> None:
    reader = fake_reader({"Paris": 8.0})
    examples = [
        Example(id="a", question="", context=" "),
        Example(id="b", question=QUESTION, context=TEXTS[0]),
        Example(id="c", question=QUESTION, context=""),
    ]
    with pytest.raises(DataError, match=r"examples\[2\]: context \(id 'c'\)") as caught:
        reader.predict(examples)
    places = [(problem.id, problem.place) for problem in caught.value.problems]
    assert places == [("a", "question"), ("a", "context"), ("c", "context")]


@pytest.mark.parametrize("pair", ["ab", ("a",), ("a", "b", "c"), {"question": "a", "context": "b"}])
def test_what_is_no_pair_is_refused(pair: Any) -> None:
    with pytest.raises(DataError, match=r"^pairs\[1\]: .*a.* is no pair; give \(question, text\)"):
        fake_reader({"Paris": 8.0}).answer_many([(QUESTION, TEXTS[0]), pair])


@pytest.mark.parametrize("examples", ["dev.json", [(QUESTION, TEXTS[0])], [None]])
def test_what_is_no_example_is_refused(examples: Any) -> None:
    with pytest.raises(DataError, match=r"^examples\[0\]: .* is no Example; read_examples makes"):
        fake_reader({"Paris": 8.0}).predict(examples)


# -- length and memory ---------------------------------------------------------------------------


def long_text(characters: int) -> str:
    """One needle in so many characters, three quarters down."""
    sentence = TEXTS[2] + " "
    filler = sentence * (characters // len(sentence))
    cut = len(filler) * 3 // 4 // len(sentence) * len(sentence)
    return filler[:cut] + TEXTS[0] + " " + filler[cut:]


def test_a_needle_is_found_in_two_megabytes() -> None:
    context = long_text(2_000_000)
    best = quoted(roomy_reader().answer(QUESTION, context))
    assert (best.text, best.start) == ("Paris", context.index("Paris"))


@pytest.mark.parametrize("limit", [0, -5, 2.5, float("nan"), "4096"])
def test_a_budget_that_is_no_number_above_zero_is_refused_at_once(limit: Any) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"batch_tokens is {limit!r}; it must be")):
        fake_reader({}, batch_tokens=limit)


def test_memory_does_not_grow_with_the_length_of_a_text() -> None:
    reader = roomy_reader()
    # What grows until it is merged are the best spans of each window, a byte for four characters.
    assert peak_of(reader, [long_text(1_500_000)]) < peak_of(reader, [long_text(500_000)]) + 2e6


def roomy_reader() -> Reader:
    """Reads windows of the usual length."""
    return fake_reader({"Paris": 8.0}, settings=replace(SETTINGS, window=WindowSettings()))


def peak_of(reader: Reader, texts: list[str]) -> int:
    """Bytes beside the texts."""
    tracemalloc.start()
    reader.answer(QUESTION, texts)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_number_of_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "_CHARACTERS", 20_000)
    reader = roomy_reader()
    texts = [long_text(20_000) + str(n) for n in range(8)]
    assert peak_of(reader, texts) < 1.5 * peak_of(reader, texts[:2])


def test_slices_change_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = fake_reader({"Paris": 8.0, "Normandy": 7.0, "Vistula": 6.0}, null=5.0)
    pairs = [(QUESTION, [text, long_text(600)]) for text in [*TEXTS, " ".join(TEXTS * 9)]]
    together = reader.answer_many(pairs)
    for size in (1, 100, 700):
        monkeypatch.setattr(cutting, "_CHARACTERS", size)
        monkeypatch.setattr(cutting, "_TOKENS", size)
        assert reader.answer_many(pairs) == together


@pytest.mark.parametrize("slice_size", [1, 200, 1_000_000])
def test_progress_counts_windows_and_foresees_how_many_they_will_be(
    monkeypatch: pytest.MonkeyPatch, slice_size: int
) -> None:
    monkeypatch.setattr(cutting, "_CHARACTERS", slice_size)
    monkeypatch.setattr(cutting, "_TOKENS", max(slice_size, 500))
    reader = fake_reader({"Paris": 8.0}, batch_tokens=150)
    batches: list[int] = []
    backend = reader.backend

    def counting(batch: Batch) -> Logits:
        batches.append(len(batch.example))
        return backend(batch)

    reader.backend = counting
    examples = [
        Example(id=str(n), question=QUESTION, context=" ".join(TEXTS * n)) for n in range(1, 6)
    ]
    calls: list[tuple[int, int]] = []
    reader.predict(examples, progress=lambda done, total: calls.append((done, total)))
    assert [done for done, _ in calls] == [sum(batches[:n]) for n in range(1, len(batches) + 1)]
    assert all(done <= total for done, total in calls)
    assert all(total == pytest.approx(sum(batches), rel=0.3) for _, total in calls)
    assert calls[-1] == (sum(batches), sum(batches))


def test_what_is_begun_is_given_up_when_the_caller_stops() -> None:
    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    reader = fake_reader({"Paris": 8.0}, batch_tokens=1)
    backend = Ahead(reader.backend)
    reader.backend = backend
    with pytest.raises(KeyboardInterrupt) as kept:
        reader.answer_many([(QUESTION, text) for text in TEXTS], progress=stop)
    assert kept.tb is not None  # its frames live on
    assert backend.events == ["begin", "begin", "result", "cancel"]


class Ahead:
    """Notes what becomes of batches."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.events: list[str] = []

    def __call__(self, batch: Batch) -> Logits:
        self.events.append("call")
        return self.backend(batch)

    def begin(self, batch: Batch) -> SimpleNamespace:
        self.events.append("begin")

        def result() -> Logits:
            self.events.append("result")
            return self.backend(batch)

        return SimpleNamespace(result=result, cancel=lambda: self.events.append("cancel"))


# -- the text around the best span ---------------------------------------------------------------


def looking(settings: ReaderSettings, weight: float) -> ReaderSettings:
    return replace(settings, decode=replace(settings.decode, second_look=weight))


def test_a_second_look_adds_the_margin_of_null_in_the_sentence_of_the_best_span() -> None:
    backend = TorchBackend(bert(), device="cpu")
    texts = [TEXTS, " ".join(TEXTS), "", " ".join(reversed(TEXTS)) + " Warsaw"]
    pairs = [(QUESTION, text or "\u200b") for text in texts]  # one has no token
    plain = Reader(backend, TOKENIZER, SETTINGS)
    twice = Reader(backend, TOKENIZER, looking(SETTINGS, 2.0))
    firsts, seconds = plain.answer_many(pairs), twice.answer_many(pairs)
    for (question, context), first, second in zip(pairs, firsts, seconds, strict=True):
        doubt = 0.0
        if first.answers:
            best = first.answers[0]
            text = context if isinstance(context, str) else context[best.context]
            sentence = plain.answer(question, sentence_around(text, best.start, best.end))
            scores = np.array([answer.score for answer in sentence.answers])
            doubt = 2 * (sentence.null_score - np.log(np.exp(scores).sum()))
        assert second.null_score == pytest.approx(first.null_score + doubt, abs=1e-4)
        assert_same_spans(first, second)


def test_a_second_look_repeats_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    settings = looking(replace(SETTINGS, window=replace(SETTINGS.window, max_question_tokens=1)), 1)
    assert Reader(TorchBackend(bert(), device="cpu"), TOKENIZER, settings).answer(QUESTION, TEXTS)
    assert len([message for message in caplog.messages if "were cut there" in message]) == 1


def assert_same_spans(one: Prediction, other: Prediction) -> None:
    assert [(a.text, a.score) for a in one.answers] == [(a.text, a.score) for a in other.answers]


def test_names_that_the_text_around_lacks_are_added_to_null() -> None:
    text = "Anna was there. She left Paris in May. Then she saw Rome in 1901. Tom wrote."
    question = "Where was Anna, or Tom, in 1901?"
    decode = replace(SETTINGS.decode, missing_name=1.5)
    readers = [
        fake_reader({"Paris": 8.0}, settings=replace(SETTINGS, decode=settings))
        for settings in (SETTINGS.decode, decode, replace(decode, second_look=2.0))
    ]
    plain, named, both = (reader.answer(question, text) for reader in readers)
    assert plain.answers[0].text == "Paris"
    assert named.null_score == pytest.approx(plain.null_score + 2 * 1.5)  # Tom and 1901
    assert_same_spans(plain, named)
    looked = fake_reader({"Paris": 8.0}, settings=looking(SETTINGS, 2.0)).answer(question, text)
    assert both.null_score == pytest.approx(looked.null_score + 2 * 1.5)


def test_without_null_the_text_around_says_nothing() -> None:
    settings = replace(SETTINGS, decode=DecodeSettings(use_null=False, missing_name=1.0))
    once = replace(settings, decode=DecodeSettings(use_null=False))
    plain, twice = (fake_reader({"Paris": 8.0}, settings=s) for s in (once, looking(settings, 1.0)))
    question = "Where did Anna go?"
    assert plain.answer(question, TEXTS) == twice.answer(question, TEXTS)


# -- real models ---------------------------------------------------------------------------------


def test_an_answer_does_not_depend_on_its_company() -> None:
    network = bert()
    pairs: list[tuple[str, str]] = [
        (question, " ".join(TEXTS[n:] + TEXTS * (n * repeats)))
        for question in (QUESTION, "Who gave the region its name in France?")
        for n in range(3)
        for repeats in (0, 1, 5)
    ]

    def reader(batch_tokens: int) -> Reader:
        backend = TorchBackend(network, device="cpu")
        return Reader(backend, TOKENIZER, SETTINGS, batch_tokens=batch_tokens)

    alone = [reader(1).answer(*pair) for pair in pairs]
    assert len({prediction.answers[0].text for prediction in alone}) > 3
    for batch_tokens in (150, 5000):
        for one, other in zip(alone, reader(batch_tokens).answer_many(pairs), strict=True):
            assert_same(one, other)


def assert_same(one: Prediction, other: Prediction) -> None:
    assert one.null_probability == pytest.approx(other.null_probability, abs=1e-5)
    first, second = one.answers[0], other.answers[0]
    assert (first.start, first.end, first.context) == (second.start, second.end, second.context)
    assert first.probability == pytest.approx(second.probability, abs=1e-5)


def test_a_checkpoint_of_plain_transformers_is_read_uncalibrated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_checkpoint(tmp_path / "bert", bert(), TOKENIZER)
    with caplog.at_level(logging.WARNING, logger="spanwise"):
        reader = Reader.from_pretrained(folder, device="cpu")
        first = reader.answer(QUESTION, TEXTS[0])
        assert reader.answer(QUESTION, TEXTS[0]) == first
    (record,) = caplog.records
    assert f"{folder} has no spanwise.json" in record.getMessage()
    assert "uncalibrated; 'spanwise evaluate" in record.getMessage()
    assert not first.calibrated
    # 64 positions are fewer than a window has by default.
    window = WindowSettings(max_length=64, stride=21)
    assert reader.settings == ReaderSettings(window=window)
    direct = Reader(TorchBackend(bert(), device="cpu"), TOKENIZER, reader.settings)
    assert_same(first, direct.answer(QUESTION, TEXTS[0]))
    answer = first.answers[0]
    assert TEXTS[0][answer.start : answer.end] == answer.text


def roberta() -> RobertaForQuestionAnswering:
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=259,
        max_position_embeddings=42,
        type_vocab_size=1,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        **SIZES,
    )
    return RobertaForQuestionAnswering(config)


def test_a_checkpoint_of_spanwise_is_read_with_what_it_stores(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_checkpoint(tmp_path / "roberta", roberta(), BYTES)
    stored = ReaderSettings(
        window=WindowSettings(max_length=40, stride=10, max_question_tokens=9),
        decode=DecodeSettings(n_best=5, max_answer_tokens=4),
    )
    context = " ".join(TEXTS)
    null = Reader(TorchBackend(roberta(), device="cpu"), BYTES, stored).answer(QUESTION, context)
    assert 0 < null.null_probability < 1
    for threshold, answered in (
        (null.null_probability + 1e-3, True),
        (null.null_probability - 1e-3, False),
    ):
        calibration = Calibration(threshold=threshold, fitted_on="dev.json")
        settings = replace(stored, calibration=calibration)
        write_settings(folder, settings)
        with caplog.at_level(logging.WARNING, logger="spanwise"):
            reader = Reader.from_pretrained(str(folder), device="cpu", batch_tokens=99)
        assert reader.settings == settings
        prediction = reader.answer(QUESTION, context)
        assert prediction.calibrated
        assert len(prediction.answers) == 5
        assert (prediction.best is not None) is answered
        assert prediction.null_probability == pytest.approx(null.null_probability, abs=1e-5)
        for answer in prediction.answers:
            assert context[answer.start : answer.end] == answer.text == answer.text.strip()
    assert "spanwise.json" not in caplog.text


def test_only_an_encoder_that_pads_on_the_left_reads_the_context_first(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = SIZES | {"num_key_value_heads": 2, "max_position_embeddings": 64}
    causal = LlamaForQuestionAnswering(LlamaConfig(vocab_size=200, **sizes))
    for name, network, side, expected in (
        ("left", bert(), "left", True),
        ("right", bert(), "right", False),
        ("causal", causal, "left", False),
    ):
        folder = save_checkpoint(tmp_path / name, network, TOKENIZER, padding_side=side)
        reader = Reader.from_pretrained(folder, device="cpu")
        assert reader.settings.window.context_first is expected, name
        assert reader.answer(QUESTION, TEXTS[0]).answers, name


def test_the_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    known = TOKENIZER.tokenizer.get_vocab_size(with_added_tokens=False)
    narrow = BertForQuestionAnswering(BertConfig(vocab_size=known - 1, **SIZES))
    folder = save_checkpoint(tmp_path / "narrow", narrow, TOKENIZER)
    message = f"{folder} knows {known} tokens, and the model has embeddings of {known - 1}: "
    with pytest.raises(CheckpointError, match=message):
        Reader.from_pretrained(folder, device="cpu")
    with pytest.raises(CheckpointError, match=f"has embeddings of {known - 1}"):
        Reader.from_model(narrow, TOKENIZER, device="cpu")
    added = Tokenizer.from_str(TOKENIZER.tokenizer.to_str())
    added.add_tokens(["[NEVER]"])
    whole = BertForQuestionAnswering(BertConfig(vocab_size=known, **SIZES))
    reader = Reader.from_model(whole, PairTokenizer(added, TOKENIZER.config), device="cpu")
    assert reader.answer(QUESTION, TEXTS[0]).answers


def test_a_model_in_memory_without_a_span_head_is_refused() -> None:
    known = TOKENIZER.tokenizer.get_vocab_size()
    encoder = BertModel(BertConfig(vocab_size=known, **SIZES))
    with pytest.raises(CheckpointError, match="a BertModel gives no start and end logits; load"):
        Reader.from_model(encoder, TOKENIZER, device="cpu")


def test_windows_are_cut_to_what_the_model_has_positions_for() -> None:
    assert clip_window(WindowSettings(max_length=64), 64) == WindowSettings(max_length=64)
    longer = WindowSettings(max_length=65, stride=10, context_first=True)
    assert clip_window(longer, 64) == replace(longer, max_length=64)
    assert clip_window(longer, None) == longer


def test_a_hub_id_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_checkpoint(tmp_path / "bert", bert(), TOKENIZER)
    asked: list[tuple[str, Any, Any]] = []

    def snapshot_download(repo_id: str, *, revision: str, token: str, **_: Any) -> str:
        asked.append((repo_id, revision, token))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    Reader.from_pretrained("owner/name", revision="v2", token="hf_x", device="cpu")
    assert asked == [("owner/name", "v2", "hf_x")]


def test_what_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "bert", bert(), TOKENIZER)
    with pytest.raises(ConfigError, match="dtype is 'int4'"):
        Reader.from_pretrained(folder, dtype="int4")
    save_checkpoint(tmp_path / "bare", bert().bert, TOKENIZER)
    with pytest.raises(CheckpointError, match="bare: has no span head; train one first"):
        Reader.from_pretrained(tmp_path / "bare")
