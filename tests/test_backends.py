"""The torch backend gives a model what it takes, no more; the fake one finds its strings."""

import os
import subprocess
import sys
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from torch import nn
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    RobertaConfig,
    RobertaForQuestionAnswering,
)

from spanwise.backends import FakeBackend, TorchBackend, read_batches
from spanwise.backends.fake import _find
from spanwise.batching import collate
from spanwise.errors import ConfigError
from spanwise.model import PackedModel
from spanwise.schema import Batch, Example, Ints, Logits, WindowSettings
from spanwise.windows import PairTokenizer, make_windows

SIZES = {
    "vocab_size": 64,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}


def make_batch(rows: int = 2, tokens: int = 6, *, seed: int = 0) -> Batch:
    """Random ids; the second half of each row is context, and the last row is one token shorter."""
    random = np.random.default_rng(seed)
    mask = np.ones((rows, tokens), dtype=np.int32)
    mask[-1, -1] = 0
    types = (np.arange(tokens) >= tokens // 2) * mask
    edges = np.where(types[..., None] == 1, np.arange(tokens)[:, None], -1).repeat(2, axis=-1)
    zeros = np.zeros(rows, dtype=np.int32)
    return Batch(
        input_ids=(random.integers(2, 64, (rows, tokens)) * mask).astype(np.int32),
        attention_mask=mask,
        type_ids=types.astype(np.int32),
        edges=edges.astype(np.int32),
        example=np.arange(rows, dtype=np.int32),
        null_position=zeros,
        first=zeros,
        last=zeros,
    )


# -- torch ---------------------------------------------------------------------------------------


class Recorder(nn.Module):
    """Notes how it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.config = SimpleNamespace()
        self.calls: list[dict[str, torch.Tensor]] = []
        self.modes: list[tuple[bool, bool]] = []

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        self.calls.append({"input_ids": input_ids, "attention_mask": attention_mask})
        self.modes.append((self.training, torch.is_inference_mode_enabled()))
        logits = input_ids.to(self.weight.dtype) * self.weight
        return SimpleNamespace(start_logits=logits, end_logits=-logits)


def test_a_model_is_run_without_gradients_in_evaluation_mode() -> None:
    model, batch = Recorder().train(), make_batch()
    logits = TorchBackend(model, device="cpu")(batch)
    assert model.modes == [(False, True)]
    (call,) = model.calls
    assert set(call) == {"input_ids", "attention_mask"}
    for name, tensor in call.items():
        assert tensor.dtype == torch.int64
        np.testing.assert_array_equal(tensor.numpy(), getattr(batch, name))
    assert logits.start_logits.dtype == logits.end_logits.dtype == np.float32
    np.testing.assert_array_equal(logits.start_logits, batch.input_ids)
    np.testing.assert_array_equal(logits.end_logits, -batch.input_ids)


def test_a_packed_model_gives_the_logits_of_a_padded_one() -> None:
    torch.manual_seed(0)
    model, batch = BertForQuestionAnswering(BertConfig(**SIZES)), make_batch()
    padded = TorchBackend(model, device="cpu")(batch)
    backend = TorchBackend(model, device="cpu", packing=True)
    assert isinstance(backend.model, PackedModel)
    packed, real = backend(batch), batch.attention_mask == 1
    assert not real.all()
    for side in ("start_logits", "end_logits"):
        expected = getattr(padded, side)[real]
        np.testing.assert_allclose(getattr(packed, side)[real], expected, atol=1e-5)


def test_a_model_that_cannot_be_packed_is_refused() -> None:
    model = Recorder()
    model.config.model_type = "recorder"
    with pytest.raises(ConfigError, match="cannot be packed for Recorder"):
        TorchBackend(model, device="cpu", packing=True)


def test_segment_ids_reach_a_model_that_has_them() -> None:
    torch.manual_seed(0)
    model, batch = BertForQuestionAnswering(BertConfig(**SIZES)).eval(), make_batch()
    logits = TorchBackend(model, device="cpu")(batch)
    ids, mask = torch.tensor(batch.input_ids), torch.tensor(batch.attention_mask)
    with torch.inference_mode():
        expected = model(ids, mask, token_type_ids=torch.tensor(batch.type_ids))
        without = model(ids, mask)
    np.testing.assert_allclose(logits.start_logits, expected.start_logits.numpy(), atol=1e-6)
    np.testing.assert_allclose(logits.end_logits, expected.end_logits.numpy(), atol=1e-6)
    assert np.abs(logits.start_logits - without.start_logits.numpy()).max() > 1e-3


def test_segment_ids_are_kept_from_a_model_that_has_one_kind_of_segment() -> None:
    # RoBERTa's forward takes token_type_ids, and its table of them has one row: id 1 would crash.
    model = RobertaForQuestionAnswering(RobertaConfig(**SIZES, type_vocab_size=1))
    batch = make_batch()
    assert batch.type_ids.max() == 1
    logits = TorchBackend(model, device="cpu")(batch)
    assert logits.start_logits.shape == batch.input_ids.shape


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_smaller_dtype_casts_the_weights_and_gives_float32_logits(dtype: str) -> None:
    torch.manual_seed(0)
    model, batch = BertForQuestionAnswering(BertConfig(**SIZES)), make_batch()
    exact = TorchBackend(model, device="cpu")(batch)
    rough = TorchBackend(model, device="cpu", dtype=dtype)(batch)
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype)}
    assert rough.start_logits.dtype == np.float32
    error = np.abs(rough.start_logits - exact.start_logits).max()
    assert 0 < error < 0.05


def test_few_kernels_are_kept_unless_the_user_says_how_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each shape of batch has its own, and hardly two batches are of one shape."""
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "100")
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    TorchBackend(Recorder(), device="cpu")
    assert os.environ["LRU_CACHE_CAPACITY"] == "100"
    assert int(os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]) < 100


def test_without_a_device_an_accelerator_is_taken_where_there_is_one() -> None:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    expected = "cpu" if accelerator is None else accelerator.type
    assert TorchBackend(Recorder()).device == expected


def test_accelerators_are_numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: cuda)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match=r"device is 'cuda:2'; .* cuda, cuda:0, cuda:1, cpu$"):
        TorchBackend(Recorder(), device="cuda:2")


def test_an_unknown_device_or_dtype_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"device is 'gpu'; on this machine it can be .*cpu"):
        TorchBackend(Recorder(), device="gpu")
    with pytest.raises(ConfigError, match=r"dtype is 'fp8'; .* float32, bfloat16, float16"):
        TorchBackend(Recorder(), dtype="fp8")


def test_too_large_a_batch_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    model = Recorder()
    monkeypatch.setattr(model, "forward", fail)
    backend = TorchBackend(model, device="cpu")
    with pytest.raises(ConfigError, match=r"a batch of 2 windows of 6 tokens; .* below 12"):
        backend(make_batch())


# -- one batch after another ---------------------------------------------------------------------


class Diary:
    """A backend that can begin, and notes what it does; it fails on some sizes of batches."""

    def __init__(self, *fails: int) -> None:
        self.events: list[str] = []
        self.fails = fails

    def __call__(self, batch: Batch) -> Logits:
        return self.begin(batch).result()

    def begin(self, batch: Batch) -> "Entry":
        self.events.append(f"begin {len(batch.example)}")
        return Entry(self, batch)


class Entry:
    """A batch that is being read."""

    def __init__(self, diary: Diary, batch: Batch) -> None:
        self.diary, self.batch = diary, batch
        self.rows = len(batch.example)

    def result(self) -> Logits:
        self.diary.events.append(f"wait {self.rows}")
        if self.rows in self.diary.fails:
            raise ArithmeticError
        values = np.full(self.batch.input_ids.shape, self.rows, np.float32)
        return Logits(start_logits=values, end_logits=-values)

    def cancel(self) -> None:
        self.diary.events.append(f"cancel {self.rows}")


class Wrapper:
    """Hands on what it is not asked itself."""

    def __init__(self, backend: Diary) -> None:
        self.backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def __call__(self, batch: Batch) -> Logits:
        return self.backend(batch)


@pytest.mark.parametrize("can_begin", [True, False])
def test_batches_are_read_in_order_and_begun_one_ahead_where_that_is_possible(
    *, can_begin: bool
) -> None:
    diary = Diary()
    sizes = [3, 1, 2]
    found = []
    for batch, logits in read_batches(
        diary if can_begin else Wrapper(diary), (make_batch(rows) for rows in sizes)
    ):
        diary.events.append(f"got {len(batch.example)}")
        found.append(float(logits.start_logits[0, 0]))
    assert found == sizes
    one_by_one = [f"{step} {size}" for size in sizes for step in ("begin", "wait", "got")]
    ahead = ["begin 3", "begin 1", "wait 3", "got 3", "begin 2", "wait 1", "got 1", "wait 2"]
    assert diary.events == ([*ahead, "got 2"] if can_begin else one_by_one)
    assert list(read_batches(diary, [])) == []


def test_what_is_begun_ahead_is_given_up_when_reading_ends_early() -> None:
    diary = Diary()
    with closing(read_batches(diary, (make_batch(rows) for rows in (3, 1, 2)))) as read:
        next(read)
    assert diary.events == ["begin 3", "begin 1", "wait 3", "cancel 1"]
    diary = Diary(3)
    with pytest.raises(ArithmeticError):
        list(read_batches(diary, (make_batch(rows) for rows in (3, 1, 2))))
    assert diary.events == ["begin 3", "begin 1", "wait 3", "cancel 1"]


# -- fake ----------------------------------------------------------------------------------------


def byte_level_tokenizer() -> PairTokenizer:
    """Words after a blank have other tokens than at the start of a text; no merges but these."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["Paris is in Paris", "the city of Paris"] * 3, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    return PairTokenizer(tokenizer, {"cls_token": "<s>"})


TOKENIZER = byte_level_tokenizer()


def read(scores: dict[str, float], question: str, context: str) -> tuple[Batch, Ints, Ints]:
    """The batch, and (n, 2) characters where start and end logits are above the null's."""
    example = Example(id="0", question=question, context=context)
    windows = make_windows([example], TOKENIZER, WindowSettings(max_length=64, stride=8))
    batch = collate(windows, np.arange(len(windows)), pad_token_id=0)
    logits = FakeBackend(scores, TOKENIZER, null=1.0)(batch)
    assert logits.start_logits.dtype == logits.end_logits.dtype == np.float32
    start = batch.edges[logits.start_logits > 1.0][:, 0]
    end = batch.edges[logits.end_logits > 1.0][:, 1]
    rows = np.arange(len(windows))
    assert set(logits.start_logits[rows, batch.null_position].tolist()) == {0.5}
    assert set(logits.end_logits[rows, batch.null_position].tolist()) == {0.5}
    return batch, start, end


def test_a_string_is_found_wherever_it_stands_in_the_context() -> None:
    context = "Paris is not in the city of Paris"
    _, start, end = read({"Paris": 8.0}, "Where is Paris", context)
    assert start.tolist() == [0, 28]
    assert end.tolist() == [5, 33]


def test_of_several_tokens_the_first_starts_and_the_last_ends() -> None:
    _, start, end = read({"city of Paris": 8.0}, "Where", "the city of Paris is in the city")
    assert (start.tolist(), end.tolist()) == ([4], [17])


def test_a_string_that_is_not_there_is_not_found() -> None:
    _, start, end = read({"London": 8.0}, "London", "the city of Paris")
    assert len(start) == len(end) == 0


def test_the_higher_score_counts_where_strings_share_a_token() -> None:
    example = Example(id="0", question="Where", context="Paris is")
    windows = make_windows([example], TOKENIZER, WindowSettings())
    batch = collate(windows, [0], pad_token_id=0)
    logits = FakeBackend({"Paris is": 6.0, "Paris": 4.0}, TOKENIZER)(batch)
    edges = batch.edges[0]
    assert logits.start_logits[0, edges[:, 0] == 0].tolist() == [3.0]
    assert logits.end_logits[0, edges[:, 1] == 5].tolist() == [2.0]
    assert logits.end_logits[0, edges[:, 1] == 8].tolist() == [3.0]


def test_a_string_without_a_token_is_refused() -> None:
    with pytest.raises(ConfigError, match="the answer '' has no token"):
        FakeBackend({"Paris": 1.0, "": 2.0}, TOKENIZER)


@settings(deadline=None)  # a busy machine is no fault
@given(data=st.data())
def test_the_search_equals_its_twin(data: st.DataObject) -> None:
    rows, tokens = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 8))
    cells = st.lists(st.integers(0, 1), min_size=rows * tokens, max_size=rows * tokens)
    input_ids = np.array(data.draw(cells), dtype=np.int32).reshape(rows, tokens)
    context = np.array(data.draw(cells), dtype=np.int32).reshape(rows, tokens)
    ids = np.array(data.draw(st.lists(st.integers(0, 1), min_size=1, max_size=9)), dtype=np.int32)
    zeros = np.zeros(rows, dtype=np.int32)
    batch = Batch(
        input_ids=input_ids,
        attention_mask=np.ones_like(input_ids),
        type_ids=context,
        edges=np.stack([context - 1, context - 1], axis=-1),
        example=zeros,
        null_position=zeros,
        first=zeros,
        last=zeros,
    )
    expected = [
        (row, column)
        for row in range(rows)
        for column in range(tokens - len(ids) + 1)
        if all(
            input_ids[row, column + n] == ids[n] and context[row, column + n]
            for n in range(len(ids))
        )
    ]
    found = np.transpose(_find(ids, batch)).tolist()
    assert [tuple(place) for place in found] == expected


def test_a_fake_needs_no_torch() -> None:
    program = "import sys, spanwise.reader; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
