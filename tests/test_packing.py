"""Windows packed end to end are read as one by one, or not at all."""

import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from torch._subclasses import FakeTensorMode
from transformers import AutoModel, AutoModelForQuestionAnswering

from spanwise.errors import ConfigError
from spanwise.model import (
    PACKABLE,
    MlpHead,
    PackedModel,
    SpanModel,
    accepts_type_ids,
    freeze,
    packing,
    save_model,
)
from spanwise.model.heads import base_of

Inputs = dict[str, torch.Tensor]

LENGTHS = (1, 23, 9, 40, 2, 40, 10)
PAD = 1  # as RoBERTa's kind has it
SIZES: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40 + PAD + 1,
    "pad_token_id": PAD,
    "initializer_range": 0.3,  # at the usual 0.02 a tiny model hardly attends to anything
}
DISTILBERT = {"dim": 16, "n_layers": 4, "n_heads": 2, "hidden_dim": 32}
MODERNBERT = dict.fromkeys(("bos_token_id", "cls_token_id", "eos_token_id", "sep_token_id"), 2)
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": SIZES,
    "roberta": SIZES | {"type_vocab_size": 1},
    "xlm-roberta": SIZES | {"type_vocab_size": 1},
    "camembert": SIZES | {"type_vocab_size": 1},
    "distilbert": SIZES | DISTILBERT,
    "electra": SIZES | {"embedding_size": 8},
    "modernbert": SIZES | MODERNBERT | {"local_attention": 16},  # 8 tokens on either side
}


def make_model(family: str, *, head: str = "linear", **changes: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, **FAMILIES[family], **changes)
    if head == "linear":
        return AutoModelForQuestionAnswering.from_config(config).eval()
    model = SpanModel(AutoModel.from_config(config), MlpHead(16, width=8, dropout=0.0))
    return model.eval()


def make_batch(model: nn.Module) -> Inputs:
    """Windows of `LENGTHS`, padded; one of them holds the padding token as a token of its own."""
    draw = torch.Generator().manual_seed(1)
    shape = len(LENGTHS), max(LENGTHS)
    mask = torch.arange(shape[1]) < torch.tensor(LENGTHS)[:, None]
    ids = torch.randint(5, 50, shape, generator=draw).where(mask, PAD)
    ids[3, 20] = PAD
    batch = {"input_ids": ids, "attention_mask": mask.long()}
    if accepts_type_ids(model):
        batch["token_type_ids"] = torch.randint(0, 2, shape, generator=draw) * mask
    return batch


def logits_of(model: nn.Module, inputs: Inputs) -> torch.Tensor:
    output = model(**inputs)
    return torch.stack([output.start_logits, output.end_logits])  # (2, B, T)


def one_by_one(model: nn.Module, batch: Inputs) -> torch.Tensor:
    """(2, N) logits of the windows, each run alone and without padding."""
    return torch.cat(
        [
            logits_of(model, {name: rows[window, None, :length] for name, rows in batch.items()})
            for window, length in enumerate(LENGTHS)
        ],
        dim=2,
    )[:, 0]


def as_row(model: Any, batch: Inputs) -> dict[str, Any]:
    """The packed row, written down without the code under test."""
    row = {
        name: torch.cat([rows[window, :length] for window, length in enumerate(LENGTHS)])[None]
        for name, rows in batch.items()
        if name != "attention_mask"
    }
    positions: list[int] = []
    for ids, length in zip(batch["input_ids"].tolist(), LENGTHS, strict=True):
        counted = 0
        for column, token in enumerate(ids[:length]):
            if model.config.model_type in {"roberta", "xlm-roberta", "camembert"}:
                counted += token != PAD
                positions.append(PAD + counted if token != PAD else PAD)
            else:
                positions.append(column)
    return row | {"position_ids": torch.tensor([positions])}


def block_masked(model: Any, batch: Inputs) -> torch.Tensor:
    """(2, N) logits of the packed row under an (N, N) mask that keeps the windows apart."""
    owner = [(window, n) for window, length in enumerate(LENGTHS) for n in range(length)]
    same = torch.tensor([[w == v for v, _ in owner] for w, _ in owner])
    near = torch.tensor([[abs(n - m) <= 8 for _, m in owner] for _, n in owner])
    mask: Any = same[None, None]
    if model.config.model_type == "modernbert":
        mask = {"full_attention": mask, "sliding_attention": (same & near)[None, None]}
    return logits_of(model, as_row(model, batch) | {"attention_mask": mask})[:, 0]


def packed(model: nn.Module, batch: Inputs) -> torch.Tensor:
    """(2, N) logits of the code under test."""
    return logits_of(PackedModel(model), batch)[:, batch["attention_mask"].bool()]


def gradients(model: nn.Module, logits: torch.Tensor) -> Inputs:
    """Gradients of a sum of the logits in which each has a weight of its own."""
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2))
    model.zero_grad()
    torch.autograd.backward((logits * weights).mean())
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_equal(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("head", ["linear", "mlp"])
@pytest.mark.parametrize("family", PACKABLE)
def test_a_packed_row_is_read_as_its_windows_one_by_one(family: str, head: str) -> None:
    model = make_model(family, head=head)
    batch = make_batch(model)
    alone = one_by_one(model, batch)
    expected = gradients(model, alone)
    together = packed(model, batch)
    assert_equal(together, alone)
    found = gradients(model, together)
    assert max(float(gradient.abs().max()) for gradient in expected.values()) > 0.01
    assert_equal(found, expected)


@pytest.mark.parametrize("family", PACKABLE)
def test_a_packed_row_is_read_as_under_a_mask_of_blocks(family: str) -> None:
    model = make_model(family)
    batch = make_batch(model)
    masked = block_masked(model, batch)
    expected = gradients(model, masked)
    together = packed(model, batch)
    assert_equal(together, masked)
    assert_equal(gradients(model, together), expected)


@pytest.mark.parametrize("family", PACKABLE)
def test_a_row_without_protection_would_be_read_across_windows(family: str) -> None:
    model = make_model(family)
    batch = make_batch(model)
    unprotected = logits_of(model, as_row(model, batch))[:, 0]
    assert (unprotected - packed(model, batch)).abs().max() > 0.1


def test_padding_gets_finite_logits_whatever_stands_there() -> None:
    model = make_model("bert")
    batch = make_batch(model)
    other = batch | {"input_ids": batch["input_ids"].where(batch["attention_mask"].bool(), 7)}
    logits = logits_of(PackedModel(model), batch)
    assert logits.shape == (2, len(LENGTHS), max(LENGTHS))
    assert logits.isfinite().all()
    assert torch.equal(logits, logits_of(PackedModel(model), other))


@pytest.mark.parametrize("family", PACKABLE)
def test_no_mask_of_all_tokens_is_built(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    masks, attend = [], packing._attend

    def spy(module: Any, q: Any, k: Any, v: Any, mask: Any, **others: Any) -> Any:
        masks.append(mask)
        return attend(module, q, k, v, mask, **others)

    monkeypatch.setattr(packing, "_attend", spy)
    model = make_model(family)
    packed(model, make_batch(model))
    assert masks == [None] * 4


@pytest.mark.parametrize("family", PACKABLE)
def test_a_model_is_afterwards_what_it_was(family: str, tmp_path: Path) -> None:
    model = make_model(family)
    batch = make_batch(model)
    before, usual = logits_of(model, batch), model.config._attn_implementation
    save_model(model, tmp_path / "before")
    reader = PackedModel(model)
    logits_of(reader, batch)
    with pytest.raises(IndexError):
        reader(batch["input_ids"] + 1000, batch["attention_mask"])
    assert model.config._attn_implementation == usual
    assert torch.equal(logits_of(model, batch), before)
    save_model(model, tmp_path / "after")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "before" / name).read_bytes() == (tmp_path / "after" / name).read_bytes()


@pytest.mark.parametrize(
    "family",
    [
        *("albert", "bart", "big_bird", "convbert", "deberta", "deberta-v2", "gpt2", "longformer"),
        *("mobilebert", "mpnet", "roberta-prelayernorm", "xlm-roberta-xl", "xlnet"),
    ],
)
def test_any_other_family_is_refused_by_name(family: str) -> None:
    config = transformers.AutoConfig.for_model(family, num_hidden_layers=1)
    with torch.device("meta"):
        model = AutoModelForQuestionAnswering.from_config(config)
    name = type(model).__name__
    with pytest.raises(ConfigError, match=rf"{name} \(model type '{family}'\).*bert, camembert"):
        PackedModel(model)


def test_a_decoder_is_refused() -> None:
    model = make_model("bert", is_decoder=True)
    with pytest.raises(ConfigError, match="BertForQuestionAnswering"):
        PackedModel(model)


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_gradient_checkpointing_is_refused_in_training(head: str) -> None:
    model = make_model("bert", head=head)
    batch = make_batch(model)
    expected = packed(model, batch)
    base_of(model).encoder.layer[0].gradient_checkpointing = True
    assert_equal(packed(model, batch), expected)  # no layer is run again
    with pytest.raises(ConfigError, match=f"checkpointing is on in {type(model).__name__}"):
        packed(model.train(), batch)


@pytest.mark.parametrize("family", PACKABLE)
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_segments_are_given_to_it_where_the_model_takes_them(family: str, head: str) -> None:
    model = make_model(family, head=head)
    assert accepts_type_ids(PackedModel(model)) == accepts_type_ids(model)


def test_training_has_the_model_s_dropout_and_parts_that_are_frozen_have_none() -> None:
    model = make_model("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.5)
    batch = make_batch(model)
    calm = packed(model, batch)
    reader = PackedModel(model).train()
    first, second = logits_of(reader, batch), logits_of(reader, batch)
    assert (first - second).abs().max() > 0.1
    assert_equal(logits_of(reader.eval(), batch)[:, batch["attention_mask"].bool()], calm)
    freeze(model, "encoder")
    logits = logits_of(reader.train(), batch)[:, batch["attention_mask"].bool()]
    assert_equal(logits, calm)
    assert set(gradients(model, logits)) == {"qa_outputs.weight", "qa_outputs.bias"}


def test_threads_take_turns() -> None:
    model = make_model("bert")
    batch = make_batch(model)
    expected = packed(model, batch)
    with ThreadPoolExecutor() as pool:
        others: list[Future[torch.Tensor]] = []

        def begin_another(*_: Any) -> None:
            handle.remove()
            others.append(pool.submit(packed, model, batch))
            with pytest.raises(NotYet):
                others[0].result(timeout=0.2)

        handle = model.bert.encoder.register_forward_pre_hook(begin_another)
        assert_equal(packed(model, batch), expected)
        assert_equal(others[0].result(), expected)


def test_the_model_itself_raises_while_it_reads_a_packed_row() -> None:
    model = make_model("bert")
    batch = make_batch(model)

    def read_padded(*_: Any) -> None:
        handle.remove()
        with pytest.raises(TypeError, match="cu_seq_lens_q"):
            model(**batch)

    handle = model.bert.encoder.register_forward_pre_hook(read_padded)
    packed(model, batch)


def stand_in(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
) -> torch.Tensor:
    """What `varlen_attn` promises, token by token."""
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert cu_seq_q.tolist() == cu_seq_k.tolist()
    assert max_q == max_k >= cu_seq_q.diff().max()
    left, right = window_size
    output = []
    for start, end in zip(cu_seq_q[:-1].tolist(), cu_seq_q[1:].tolist(), strict=True):
        for token in range(start, end):
            low = start if left < 0 else max(start, token - left)
            high = end if right < 0 else min(end, token + right + 1)
            scores = torch.einsum("hd,thd->ht", query[token], key[low:high])
            shares = (scores * float(scale or 0)).softmax(-1)
            output.append(torch.einsum("ht,thd->hd", shares, value[low:high]))
    return torch.stack(output)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take the way of an accelerator, with a stand-in for its kernel."""
    monkeypatch.setattr(packing, "_has_kernel", lambda _: True)
    monkeypatch.setattr(packing, "varlen_attn", stand_in)
    packing._tell_of_dropout.cache_clear()
    yield
    packing._tell_of_dropout.cache_clear()


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("family", PACKABLE)
def test_the_kernel_is_asked_for_the_same(family: str) -> None:
    model = make_model(family)
    batch = make_batch(model)
    alone = one_by_one(model, batch)
    expected = gradients(model, alone)
    together = packed(model, batch)
    assert_equal(together, alone)
    assert_equal(gradients(model, together), expected)


@pytest.mark.usefixtures("kernel")
def test_dropout_that_the_kernel_leaves_out_is_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "spanwise")
    model = make_model("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.25)
    batch = make_batch(model)
    calm = packed(model, batch)
    assert not caplog.messages
    reader = PackedModel(model).train()
    for _ in range(2):
        assert_equal(logits_of(reader, batch)[:, batch["attention_mask"].bool()], calm)
    assert len(caplog.messages) == 1
    assert "attention dropout, 0.25 here, is left out" in caplog.messages[0]


@pytest.mark.parametrize(
    ("device", "dtype", "has"),
    [
        ("cuda", torch.bfloat16, True),
        ("cuda", torch.float16, True),
        ("cuda", torch.float32, False),
        ("cpu", torch.bfloat16, False),
    ],
)
def test_the_kernel_takes_half_precision_on_an_accelerator(
    device: str, dtype: torch.dtype, has: bool
) -> None:
    with FakeTensorMode():
        assert packing._has_kernel(torch.empty(1, dtype=dtype, device=device)) == has
