"""Span models of many families: loaded whole or not at all, frozen where asked."""

import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModel, AutoModelForQuestionAnswering
from transformers.utils import logging as transformers_logging

from spanwise.checkpoints import read_settings, write_settings
from spanwise.errors import CheckpointError, ConfigError, MissingExtra
from spanwise.model import (
    HEADS,
    Freeze,
    MlpHead,
    SpanModel,
    accepts_type_ids,
    count_parameters,
    freeze,
    is_causal,
    load_reader_model,
    load_training_model,
    position_limit,
    save_model,
)
from spanwise.schema import ReaderSettings

LINEAR = {"kind": "linear"}
MLP = {"kind": "mlp", "depth": 2, "width": 8, "dropout": 0.5}

SIZES: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}
BERT_DROPOUT = ("hidden_dropout_prob", "attention_probs_dropout_prob")
LLAMA = SIZES | {"num_key_value_heads": 2, "head_dim": 8, "initializer_range": 0.2}
DEBERTA = SIZES | {
    "relative_attention": True,
    "position_buckets": 8,
    "pos_att_type": ["p2c", "c2p"],
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
    "conv_kernel_size": 3,
}
BART: dict[str, Any] = {
    "vocab_size": 50,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": 40,
}


@dataclass(frozen=True, kw_only=True)
class Family:
    """A kind of encoder, and what is known of it from reading its class.

    Attributes:
        config: name of its configuration class, without "Config".
        sizes: what makes it tiny.
        dropout: the settings of its dropout.
        layers: path to its layers, in the model without the head.
        embeddings: beginnings of the names of what comes before its layers, likewise.
        limit: tokens that it has positions for.
        type_ids: whether segments tell it something.
        causal: whether a token sees only those before it.
    """

    config: str
    sizes: dict[str, Any]
    dropout: tuple[str, ...] = BERT_DROPOUT
    layers: str = "encoder.layer"
    embeddings: tuple[str, ...] = ("embeddings.",)
    limit: int | None = 40
    type_ids: bool = False
    causal: bool = False


FAMILIES = {
    "bert": Family(config="Bert", sizes=SIZES, type_ids=True),
    "roberta": Family(
        config="Roberta",
        sizes=SIZES | {"max_position_embeddings": 42, "type_vocab_size": 1},
    ),
    "xlm-roberta": Family(
        config="XLMRoberta",
        sizes=SIZES | {"max_position_embeddings": 42, "type_vocab_size": 1},
    ),
    "mpnet": Family(config="MPNet", sizes=SIZES | {"max_position_embeddings": 42}),
    "distilbert": Family(
        config="DistilBert",
        sizes={
            "vocab_size": 50,
            "dim": 16,
            "n_layers": 2,
            "n_heads": 2,
            "hidden_dim": 32,
            "max_position_embeddings": 40,
        },
        dropout=("dropout", "attention_dropout"),
        layers="transformer.layer",
    ),
    "electra": Family(
        config="Electra",
        sizes=SIZES | {"embedding_size": 8},
        embeddings=("embeddings.", "embeddings_project."),
        type_ids=True,
    ),
    "albert": Family(
        config="Albert",
        sizes=SIZES | {"embedding_size": 8},
        layers="encoder.albert_layer_groups",
        embeddings=("embeddings.", "encoder.embedding_hidden_mapping_in."),
        type_ids=True,
    ),
    "deberta-v2": Family(config="DebertaV2", sizes=DEBERTA),
    "modernbert": Family(
        config="ModernBert",
        sizes=SIZES
        | dict.fromkeys(("pad_token_id", "bos_token_id", "cls_token_id", "eos_token_id"), 1)
        | {"sep_token_id": 2},
        dropout=("embedding_dropout", "mlp_dropout", "attention_dropout"),
        layers="layers",
    ),
    "bart": Family(
        config="Bart",
        sizes=BART,
        dropout=("dropout",),
        layers="encoder.layers",
        embeddings=(
            *("shared.", "encoder.embed_positions.", "encoder.layernorm_embedding."),
            *("encoder.embed_tokens.", "decoder.embed_tokens."),
        ),
    ),
    "t5": Family(
        config="T5",
        sizes={
            "vocab_size": 50,
            "d_model": 16,
            "d_ff": 32,
            "d_kv": 8,
            "num_layers": 2,
            "num_heads": 2,
            "decoder_start_token_id": 0,
        },
        dropout=("dropout_rate",),
        layers="encoder.block",
        embeddings=("shared.", "encoder.embed_tokens.", "decoder.embed_tokens."),
        limit=None,
    ),
    "xlnet": Family(
        config="XLNet",
        sizes={"vocab_size": 50, "d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32},
        dropout=("dropout",),
        layers="layer",
        embeddings=("word_embedding.",),
        limit=None,
        type_ids=True,
    ),
    "xlm": Family(
        config="XLM",
        sizes={
            "vocab_size": 50,
            "emb_dim": 16,
            "n_layers": 2,
            "n_heads": 2,
            "max_position_embeddings": 40,
        },
        dropout=("dropout", "attention_dropout"),
        layers="attentions",
        embeddings=("embeddings.", "position_embeddings.", "layer_norm_emb."),
    ),
    "gpt2": Family(
        config="GPT2",
        sizes={
            "vocab_size": 50,
            "n_embd": 16,
            "n_layer": 2,
            "n_head": 2,
            "n_positions": 40,
            "bos_token_id": 1,
            "eos_token_id": 1,
            "initializer_range": 0.2,
        },
        dropout=("embd_pdrop", "resid_pdrop", "attn_pdrop"),
        layers="h",
        embeddings=("wte.", "wpe."),
        causal=True,
    ),
    "llama": Family(
        config="Llama",
        sizes=LLAMA,
        dropout=("attention_dropout",),
        layers="layers",
        embeddings=("embed_tokens.",),
        causal=True,
    ),
    "qwen3": Family(
        config="Qwen3",
        sizes=LLAMA,
        dropout=("attention_dropout",),
        layers="layers",
        embeddings=("embed_tokens.",),
        causal=True,
    ),
}
ALL = pytest.mark.parametrize("family", FAMILIES)
ONE_STACK = [name for name in FAMILIES if name not in {"bart", "t5"}]
COUNTABLE = [name for name in FAMILIES if name != "albert"]


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """One thread, the same random numbers, and none of transformers' own talk."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    transformers_logging.disable_progress_bar()
    yield
    torch.set_num_threads(threads)


def config_of(family: str, **changes: Any) -> Any:
    kind = getattr(transformers, f"{FAMILIES[family].config}Config")
    return kind(**(FAMILIES[family].sizes | changes))


def save_as(suffix: str, family: str, folder: Path, **changes: Any) -> Path:
    """Save a random model of the family's class with this suffix, such as ForMaskedLM."""
    name = f"{FAMILIES[family].config}{suffix}"
    getattr(transformers, name)(config_of(family, **changes)).save_pretrained(folder)
    return folder


def some_tokens(rows: int = 2, tokens: int = 12) -> dict[str, torch.Tensor]:
    ids = 5 + torch.arange(rows * tokens).remainder(45).reshape(rows, tokens)  # none is special
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def logits_of(model: nn.Module) -> torch.Tensor:
    """(2, 2, 12): start and end logits of some tokens, in the mode that the model is in."""
    output = model(**some_tokens())
    return torch.stack([output.start_logits, output.end_logits])


def same(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[n], theirs[n]) for n in mine)


def base_of(model: nn.Module) -> nn.Module:
    base: nn.Module = model.encoder if isinstance(model, SpanModel) else model.base_model  # type: ignore[assignment]
    return base


def edit(folder: Path, **changes: Any) -> Path:
    """Change the configuration of a saved model."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_bytes()) | changes), encoding="utf-8")
    return folder


# -- linear heads --------------------------------------------------------------------------------


@ALL
def test_a_bare_encoder_gets_a_linear_head_that_anyone_can_load(
    family: str, tmp_path: Path
) -> None:
    bare = AutoModel.from_config(config_of(family))
    bare.save_pretrained(tmp_path / "bare")
    model = load_training_model(tmp_path / "bare", LINEAR)
    assert all(module.training for module in model.modules())
    theirs, ours = bare.state_dict(), base_of(model).state_dict()
    kept = [name for name in theirs if "pooler" not in name]  # it takes no part
    assert len(kept) > 5
    assert all(torch.equal(theirs[name], ours[name]) for name in kept)

    save_model(model, tmp_path / "reader")
    names = {path.name for path in (tmp_path / "reader").iterdir()}
    assert names == {"config.json", "model.safetensors"}
    plain = AutoModelForQuestionAnswering.from_pretrained(tmp_path / "reader")
    assert type(plain) is type(model)
    assert same(plain, model)
    reader = load_reader_model(tmp_path / "reader", LINEAR)
    assert not any(module.training for module in reader.modules())
    with torch.no_grad():
        expected = logits_of(model.eval())
        assert expected.shape == (2, 2, 12)
        torch.testing.assert_close(logits_of(plain.eval()), expected, rtol=0, atol=0)
        torch.testing.assert_close(logits_of(reader), expected, rtol=0, atol=0)
    assert same(load_training_model(tmp_path / "reader", LINEAR), model)  # to go on from


def test_attention_dropout_is_left_out_and_saved_as_it_was(tmp_path: Path) -> None:
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(vocab_size=20, intermediate_size=8, **size)
    transformers.BertModel(config).save_pretrained(tmp_path / "bare")
    for head in (LINEAR, MLP):
        for kept, rates in (True, {0.1}), (False, {0.0, 0.1}):
            model = load_training_model(tmp_path / "bare", head, attention_dropout=kept)
            encoder = base_of(model)
            assert {m.p for m in encoder.modules() if isinstance(m, nn.Dropout)} == rates
            attention = encoder.get_submodule("encoder.layer.0.attention.self.dropout")
            assert (attention.p == 0) is not kept
            save_model(model, tmp_path / "saved")
            saved = json.loads((tmp_path / "saved" / "config.json").read_text())
            assert saved["attention_probs_dropout_prob"] == 0.1


def test_a_fresh_head_is_drawn_from_torch_s_random_numbers(tmp_path: Path) -> None:
    save_as("Model", "bert", tmp_path)
    heads = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        heads.append(load_training_model(tmp_path, LINEAR).state_dict()["qa_outputs.weight"])
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


@pytest.mark.parametrize("labels", [1, 2, 3])
def test_a_classifier_becomes_an_encoder_with_a_fresh_head(labels: int, tmp_path: Path) -> None:
    save_as("ForSequenceClassification", "bert", tmp_path, num_labels=labels)
    model = load_training_model(tmp_path, LINEAR)
    kept = load_file(tmp_path / "model.safetensors")
    name = "bert.encoder.layer.1.output.dense.weight"
    assert torch.equal(model.state_dict()[name], kept[name])
    assert logits_of(model).shape == (2, 2, 12)  # not as many as there were labels


def test_a_head_of_another_task_and_shape_is_no_fault_of_an_encoder(tmp_path: Path) -> None:
    # ModernBERT calls every head `classifier`: this one has 3 rows where a span head has 2.
    save_as("ForTokenClassification", "modernbert", tmp_path, num_labels=3)
    model = load_training_model(tmp_path, LINEAR)
    assert model.state_dict()["classifier.weight"].shape == (2, 16)
    with pytest.raises(CheckpointError, match=r"no span head.*ForTokenClassification"):
        load_reader_model(tmp_path, LINEAR)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra", "modernbert"])
@pytest.mark.parametrize("head", [LINEAR, MLP], ids=["linear", "mlp"])
def test_a_masked_language_model_is_an_encoder(
    family: str, head: dict[str, Any], tmp_path: Path
) -> None:
    save_as("ForMaskedLM", family, tmp_path)  # no pooler in it, and a head of its own
    model = load_training_model(tmp_path, head)
    kept = load_file(tmp_path / "model.safetensors")
    ours = base_of(model).state_dict()
    theirs = {name.partition(".")[2]: tensor for name, tensor in kept.items()}
    names = [name for name in ours if "pooler" not in name]
    assert names
    assert all(torch.equal(theirs[name], ours[name]) for name in names)


def test_a_checkpoint_of_shards_loads(tmp_path: Path) -> None:
    whole = AutoModelForQuestionAnswering.from_config(config_of("bert"))
    whole.save_pretrained(tmp_path, max_shard_size="8KB")
    assert len([*tmp_path.glob("model-*.safetensors")]) > 1
    assert same(load_reader_model(tmp_path, LINEAR), whole)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("head", [LINEAR, MLP], ids=["linear", "mlp"])
def test_half_precision_is_loaded_as_float32(
    dtype: torch.dtype, head: dict[str, Any], tmp_path: Path
) -> None:
    save_as("Model", "bert", tmp_path / "bare")
    save_model(load_training_model(tmp_path / "bare", head).to(dtype), tmp_path / "half")
    stored = load_file(tmp_path / "half" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {dtype}
    model = load_reader_model(tmp_path / "half", head)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    assert model.config.dtype == torch.float32
    save_model(model, tmp_path / "whole")
    stored = load_file(tmp_path / "whole" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}


def test_a_checkpoint_that_asks_for_tuples_gives_names_all_the_same(tmp_path: Path) -> None:
    edit(save_as("ForQuestionAnswering", "bert", tmp_path), return_dict=False)
    assert logits_of(load_reader_model(tmp_path, LINEAR)).shape == (2, 2, 12)


# -- custom heads --------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ONE_STACK)
def test_a_custom_head_is_saved_beside_a_plain_encoder(family: str, tmp_path: Path) -> None:
    bare = AutoModel.from_config(config_of(family))
    bare.save_pretrained(tmp_path / "bare")
    model = load_training_model(tmp_path / "bare", MLP)
    assert isinstance(model, SpanModel)
    assert all(module.training for module in model.modules())
    assert same(base_of(model), bare)

    folder = tmp_path / "reader"
    save_model(model, folder)
    write_settings(folder, ReaderSettings(head=MLP))
    names = {path.name for path in folder.iterdir()}
    assert names == {"config.json", "model.safetensors", "head.safetensors", "spanwise.json"}
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1  # readable by the same
    plain, info = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())  # nothing missing, unexpected or misshapen
    assert same(plain, bare)
    settings = read_settings(folder)
    assert settings is not None
    reader = load_reader_model(folder, settings.head)
    assert not any(module.training for module in reader.modules())
    with torch.no_grad():
        expected = logits_of(model.eval())
        torch.testing.assert_close(logits_of(reader), expected, rtol=0, atol=0)
    assert same(load_training_model(folder, MLP), model)  # to go on from


def test_an_mlp_head_has_the_sizes_that_it_is_given() -> None:
    head = MlpHead(16, depth=3, width=5, dropout=0.25)
    shapes = [tuple(layer.weight.shape) for layer in head.layers if isinstance(layer, nn.Linear)]
    assert shapes == [(5, 16), (5, 5), (5, 5), (2, 5)]
    assert [layer.p for layer in head.layers if isinstance(layer, nn.Dropout)] == [0.25] * 3
    # The last layer's rows are start and end, in this order.
    model = SpanModel(AutoModel.from_config(config_of("bert")), head).eval()
    with torch.no_grad():
        states = model.encoder(**some_tokens()).last_hidden_state
        output = model(**some_tokens())
        torch.testing.assert_close(output.start_logits, head(states)[..., 0])
        torch.testing.assert_close(output.end_logits, head(states)[..., 1])


class ScaledHead(nn.Module):
    def __init__(self, hidden: int, *, scale: float = 1.0) -> None:
        super().__init__()
        self.last = nn.Linear(hidden, 2)
        self.scale = scale

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.last(states) * self.scale
        return logits


def test_a_new_head_is_one_class_and_one_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(HEADS, "scaled", ScaledHead)
    save_as("Model", "bert", tmp_path / "bare")
    model = load_training_model(tmp_path / "bare", {"kind": "scaled", "scale": 2.5})
    save_model(model, tmp_path / "reader")
    reader = load_reader_model(tmp_path / "reader", {"kind": "scaled", "scale": 2.5})
    assert isinstance(reader, SpanModel)
    assert isinstance(reader.head, ScaledHead)
    with torch.no_grad():
        assert torch.equal(logits_of(reader), logits_of(model.eval()))
    with pytest.raises(ConfigError, match=r"'biaffine': it must be one of linear, mlp, scaled$"):
        load_training_model(tmp_path / "bare", {"kind": "biaffine"})
    with pytest.raises(ConfigError, match=r"head.scaled does not take .*'width': 8"):
        load_training_model(tmp_path / "bare", {"kind": "scaled", "width": 8})


def test_heads_that_cannot_be_made_are_refused(tmp_path: Path) -> None:
    save_as("Model", "bert", tmp_path)
    with pytest.raises(ConfigError, match=r"head.kind is None"):
        load_training_model(tmp_path, {})
    with pytest.raises(ConfigError, match=r"head.mlp does not take .*'widht': 8"):
        load_training_model(tmp_path, {"kind": "mlp", "widht": 8})
    with pytest.raises(ConfigError, match=r"head.mlp does not take .*'depth': 'two'"):
        load_training_model(tmp_path, {"kind": "mlp", "depth": "two"})
    wrong = {"kind": "mlp", "depth": 0, "width": -3, "dropout": 1.0}
    with pytest.raises(ConfigError, match=r"head.depth is 0.*") as caught:
        load_training_model(tmp_path, wrong)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "head.depth is 0",
        "head.width is -3",
        "head.dropout is 1.0",
    ]


def test_a_custom_head_needs_one_state_a_token(tmp_path: Path) -> None:
    save_as("Model", "t5", tmp_path / "t5")
    with pytest.raises(ConfigError, match=r"'mlp'.*model type 't5' is none: use the head linear"):
        load_training_model(tmp_path / "t5", MLP)


def test_a_custom_head_s_file_must_be_there_and_fit(tmp_path: Path) -> None:
    save_as("Model", "bert", tmp_path / "bare")
    with pytest.raises(CheckpointError, match=r"no span head: head.safetensors is missing"):
        load_reader_model(tmp_path / "bare", MLP)
    folder = tmp_path / "reader"
    save_model(load_training_model(tmp_path / "bare", MLP), folder)
    with pytest.raises(CheckpointError, match=r"5 of 6 tensors .*'layers.0.bias'.* fresh head"):
        load_training_model(folder, MLP | {"width": 9})


# -- freezing ------------------------------------------------------------------------------------


def entering(model: nn.Module, family: str, layer: int) -> torch.Tensor:
    """The states that enter a layer, in the mode that the model is in."""
    found: list[torch.Tensor] = []
    module = base_of(model).get_submodule(f"{FAMILIES[family].layers}.{layer}")
    handle = module.register_forward_pre_hook(
        lambda _, args, kwargs: found.append((*args, *kwargs.values())[0].detach().clone()),
        with_kwargs=True,
    )
    logits_of(model)
    handle.remove()
    return found[0]


def noisy(family: str, head: nn.Module | None = None) -> nn.Module:
    """A model of which dropout leaves little, in training mode."""
    config = config_of(family, **dict.fromkeys(FAMILIES[family].dropout, 0.9))
    if head is not None:
        return SpanModel(AutoModel.from_config(config), head).train()
    model: nn.Module = AutoModelForQuestionAnswering.from_config(config)
    return model.train()


@pytest.mark.parametrize(
    ("family", "part"),
    [(name, "embeddings") for name in FAMILIES] + [(name, 1) for name in COUNTABLE],
)
def test_what_is_frozen_stays_as_it_is_and_has_no_dropout(family: str, part: Freeze) -> None:
    model = noisy(family)
    first = 0 if part == "embeddings" else 1  # layer that is trained
    if not {"attention_dropout"} & {*FAMILIES[family].dropout} or first:
        assert not torch.equal(entering(model, family, first), entering(model, family, first))
    freeze(model, part)
    assert all(module.training for module in model.modules())
    model.train()  # as the Trainer does before each step
    before = entering(model, family, first)
    torch.testing.assert_close(entering(model, family, first), before, rtol=0, atol=0)
    assert not torch.equal(logits_of(model), logits_of(model))

    torch.autograd.backward(logits_of(model).square().sum())
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert trained
    assert frozen
    assert not trained & frozen
    stays, prefix = before, f".{FAMILIES[family].layers}."
    assert any(f"{prefix}1." in f".{name}" for name in trained) or family == "albert"
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    torch.testing.assert_close(entering(model, family, first), stays, rtol=0, atol=0)

    model.eval()
    assert torch.equal(logits_of(model), logits_of(model))
    assert not any(module.training for module in model.modules())


@ALL
def test_the_embeddings_are_all_that_comes_before_the_layers(family: str) -> None:
    model = noisy(family)
    freeze(model, "embeddings")
    named = base_of(model).named_parameters(remove_duplicate=False)
    for name, parameter in named:
        known = name.startswith(FAMILIES[family].embeddings)
        assert parameter.requires_grad != known, name
    torch.autograd.backward(logits_of(model).sum())
    first = base_of(model).get_submodule(f"{FAMILIES[family].layers}.0")
    assert any(parameter.grad is not None for parameter in first.parameters())


@pytest.mark.parametrize("family", COUNTABLE)
def test_a_number_counts_the_lowest_layers(family: str) -> None:
    model = noisy(family)
    freeze(model, 1)
    layers = base_of(model).get_submodule(FAMILIES[family].layers)
    lowest, highest = layers.children()
    assert not any(parameter.requires_grad for parameter in lowest.parameters())
    assert all(parameter.requires_grad for parameter in highest.parameters())
    named = base_of(model).named_parameters(remove_duplicate=False)
    embeddings = [p for name, p in named if name.startswith(FAMILIES[family].embeddings)]
    assert embeddings
    assert not any(parameter.requires_grad for parameter in embeddings)


def test_what_a_frozen_layer_shares_with_those_above_is_frozen_too() -> None:
    # DeBERTa's layers share a table of relative positions: were it trained, frozen layers would
    # change. Its convolution stands between the first layer and the second.
    model = noisy("deberta-v2")
    freeze(model, 1)
    frozen = {n for n, p in base_of(model).named_parameters() if not p.requires_grad}
    assert {
        name for name in frozen if not name.startswith(("embeddings.", "encoder.layer.0."))
    } == {
        "encoder.rel_embeddings.weight",
        "encoder.LayerNorm.weight",
        "encoder.LayerNorm.bias",
        "encoder.conv.conv.weight",
        "encoder.conv.conv.bias",
        "encoder.conv.LayerNorm.weight",
        "encoder.conv.LayerNorm.bias",
    }


@ALL
def test_a_frozen_encoder_leaves_the_head_alone(family: str) -> None:
    model = noisy(family)
    assert not torch.equal(logits_of(model), logits_of(model))
    freeze(model, "encoder")
    model.train()
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    expected = {"qa_outputs.weight", "qa_outputs.bias"}
    if family == "modernbert":  # its head has a layer of its own, trained with the language model
        expected = {"classifier.weight", "classifier.bias", "head.dense.weight", "head.norm.weight"}
    assert names == expected
    states: list[torch.Tensor] = []
    head = model.get_submodule("head" if family == "modernbert" else "qa_outputs")
    head.register_forward_pre_hook(lambda _, args: states.append(args[0].detach()))
    for _ in range(2):
        torch.autograd.backward(logits_of(model).sum())
    if family != "distilbert":  # the class has a dropout of its own before the head
        assert torch.equal(*states)
    assert {name for name, p in model.named_parameters() if p.grad is not None} == expected


def test_a_custom_head_is_trained_over_a_frozen_encoder() -> None:
    model = noisy("bert", MlpHead(16, dropout=0.9))
    assert isinstance(model, SpanModel)
    freeze(model, "encoder")
    states: list[torch.Tensor] = []
    model.train().head.register_forward_pre_hook(lambda _, args: states.append(args[0]))
    assert not torch.equal(logits_of(model), logits_of(model))  # the head's own dropout
    assert torch.equal(*states)
    head = sum(parameter.numel() for parameter in model.head.parameters())
    whole = sum(parameter.numel() for parameter in model.parameters())
    assert count_parameters(model) == (head, whole)


@pytest.mark.parametrize("part", ["embeddings", 1])
def test_layers_are_frozen_under_a_custom_head_too(part: Freeze) -> None:
    model = noisy("electra", MlpHead(16))
    freeze(model, part)
    first = 0 if part == "embeddings" else 1
    states = [entering(model.train(), "electra", first) for _ in range(2)]
    assert torch.equal(*states)
    layer = base_of(model).get_submodule(f"encoder.layer.{first}")
    assert all(parameter.requires_grad for parameter in layer.parameters())


@pytest.mark.parametrize("family", ["bert", "llama", "bart", "t5", "modernbert"])
def test_all_layers_frozen_are_the_whole_encoder(family: str) -> None:
    model = noisy(family)
    freeze(model, 2)
    base: Any = base_of(model)
    encoder = base.get_encoder() if family in {"bart", "t5"} else base
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    decoder = base.get_submodule("decoder") if family in {"bart", "t5"} else model
    assert any(parameter.requires_grad for parameter in decoder.parameters())
    states: list[torch.Tensor] = []
    encoder.register_forward_hook(lambda *x: states.append(x[-1].last_hidden_state.detach()))
    for _ in range(2):
        logits_of(model.train())
    assert torch.equal(*states)


def test_nothing_is_frozen_by_none() -> None:
    model = noisy("bert")
    freeze(model, "none")
    trained, total = count_parameters(model)
    assert trained == total == sum(parameter.numel() for parameter in model.parameters())
    assert not torch.equal(entering(model, "bert", 0), entering(model, "bert", 0))


@pytest.mark.parametrize("part", [0, -1, 3, True, False, 1.0, "1", "head", None])
def test_a_part_that_is_not_there_is_refused(part: Any) -> None:
    model = noisy("bert")
    message = re.escape(
        f"freeze is {part!r}: for BertForQuestionAnswering it must be none, embeddings, encoder, "
        "or a number of layers from 1 to 2"
    )
    with pytest.raises(ConfigError, match=f"^{message}$"):
        freeze(model, part)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_layers_that_share_their_weights_cannot_be_counted_off() -> None:
    model = noisy("albert")
    with pytest.raises(ConfigError, match=r"freeze is 1: for Albert.* encoder, and no number"):
        freeze(model, 1)


def test_a_stack_of_other_things_is_no_stack_of_layers() -> None:
    config = transformers.MarkupLMConfig(**SIZES, max_depth=3, pad_token_id=1)
    model = transformers.MarkupLMForQuestionAnswering(config)
    freeze(model, 1)  # three tables of embeddings stand in a row before the two layers
    lowest, highest = base_of(model).get_submodule("encoder.layer").children()
    assert not any(parameter.requires_grad for parameter in lowest.parameters())
    assert all(parameter.requires_grad for parameter in highest.parameters())


def squeezebert() -> Any:
    groups = ("q", "k", "v", "post_attention", "intermediate", "output")
    config = transformers.SqueezeBertConfig(
        **SIZES, embedding_size=16, **{f"{name}_groups": 1 for name in groups}
    )
    return transformers.SqueezeBertForQuestionAnswering(config)


def reformer() -> Any:
    config = transformers.ReformerConfig(
        vocab_size=50,
        hidden_size=16,
        attention_head_size=8,
        num_attention_heads=2,
        feed_forward_size=32,
        axial_pos_shape=[4, 4],
        axial_pos_embds_dim=[8, 8],
        attn_layers=["local", "local"],
        local_attn_chunk_length=4,
        max_position_embeddings=16,
    )
    return transformers.ReformerForQuestionAnswering(config)


@pytest.mark.parametrize("make", [squeezebert, reformer])
def test_layers_that_hide_what_enters_them_are_refused(make: Callable[[], Any]) -> None:
    model = make()
    match = rf"^{type(model).__name__} does not show .* set freeze to none or encoder$"
    with pytest.raises(ConfigError, match=match):
        freeze(model, "embeddings")
    assert all(parameter.requires_grad for parameter in model.parameters())
    freeze(model, "encoder")
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {
        name for name, _ in model.named_parameters() if name.startswith("qa_outputs.")
    }


def test_freezing_draws_no_random_numbers_and_keeps_each_mode() -> None:
    model = noisy("bert")
    base_of(model).get_submodule("encoder.layer.1").eval()
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    freeze(model, 1)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes


# -- the load audit ------------------------------------------------------------------------------


@pytest.mark.parametrize("head", [LINEAR, MLP], ids=["linear", "mlp"])
@pytest.mark.parametrize("suffix", ["Model", "ForQuestionAnswering"])
def test_a_checkpoint_of_another_type_is_refused(
    head: dict[str, Any], suffix: str, tmp_path: Path
) -> None:
    save_as(suffix, "distilbert", tmp_path)
    edit(tmp_path, model_type="bert", **SIZES)
    requested = "BertModel" if head is MLP else "BertForQuestionAnswering"
    tensors = len(load_file(tmp_path / "model.safetensors"))
    begins = "'transformer' (32)" if suffix == "Model" else f"'distilbert' ({tensors - 2})"
    with pytest.raises(
        CheckpointError, match=r"encoder tensors of Bert.* would be random"
    ) as caught:
        load_training_model(tmp_path, head)
    message = str(caught.value)
    for part in (f"of {requested}", "model_type 'bert'", f"DistilBert{suffix}", begins, "mend"):
        assert part in message
    counts = re.search(r"(\d+) of (\d+) encoder .* random: (\d+) missing, (\d+) of", message)
    assert counts is not None
    random, total, missing, misshapen = map(int, counts.groups())
    assert total == 37 + 2 * (head is MLP)  # the pooler
    assert random == missing + misshapen
    assert random == (33 if suffix == "Model" else 37)  # four names of both types are the same
    assert "none in the file" in message


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_a_causal_model_is_refused_by_name_and_loads_under_a_custom_head(
    family: str, tmp_path: Path
) -> None:
    save_as("ForCausalLM", family, tmp_path)
    name = FAMILIES[family].config
    match = (
        rf"(\d+) of \1 encoder tensors of {name}ForQuestionAnswering would be random: \1 missing, "
        rf"0 of another shape .*model_type '{family}' and \['{name}ForCausalLM'\]; the "
        r"checkpoint's tensors begin with 'model' .*--head.kind mlp$"
    )
    with pytest.raises(CheckpointError, match=match):
        load_training_model(tmp_path, LINEAR)
    model = load_training_model(tmp_path, MLP)
    kept = load_file(tmp_path / "model.safetensors")
    ours = base_of(model).state_dict()
    assert all(torch.equal(ours[name], kept[f"model.{name}"]) for name in ours)


@pytest.mark.parametrize("head", [LINEAR, MLP], ids=["linear", "mlp"])
def test_misshapen_tensors_are_refused(head: dict[str, Any], tmp_path: Path) -> None:
    edit(save_as("Model", "bert", tmp_path), vocab_size=60, max_position_embeddings=41)
    match = (
        r"2 of \d+ encoder tensors of Bert.* 0 missing, 2 of another shape .*the first: "
        r"'(bert.)?embeddings.position_embeddings.weight', \(40, 16\) in the file, \(41, 16\) by"
    )
    with pytest.raises(CheckpointError, match=match):
        load_training_model(tmp_path, head)


def test_one_missing_tensor_is_enough(tmp_path: Path) -> None:
    file = save_as("ForQuestionAnswering", "bert", tmp_path) / "model.safetensors"
    tensors = load_file(file)
    del tensors["bert.encoder.layer.1.output.dense.weight"]
    save_file(tensors, file, {"format": "pt"})
    save_file({"layers.0.bias": torch.ones(2)}, tmp_path / "head.safetensors")  # not of the encoder
    match = (
        r"1 of 37 .*1 missing, 0 of .*'bert.encoder.layer.1.output.dense.weight', none in .*"
        r"begin with 'bert' \(36\), 'qa_outputs' \(2\)\. "
    )
    with pytest.raises(CheckpointError, match=match):
        load_reader_model(tmp_path, LINEAR)
    with pytest.raises(CheckpointError, match=match):
        load_training_model(tmp_path, LINEAR)


@pytest.mark.parametrize("suffix", ["Model", "ForMaskedLM", "ForSequenceClassification"])
def test_reading_needs_a_span_head(suffix: str, tmp_path: Path) -> None:
    save_as(suffix, "bert", tmp_path)
    match = (
        rf"no span head; train one first with 'spanwise train --model {tmp_path}' .*Bert{suffix}"
    )
    with pytest.raises(CheckpointError, match=match):
        load_reader_model(tmp_path, LINEAR)


def test_a_head_that_the_config_names_must_be_there(tmp_path: Path) -> None:
    # XLNet has two heads of spans; transformers loads the simple one, and this is the other.
    save_as("ForQuestionAnswering", "xlnet", tmp_path)
    match = r"no span head: qa_outputs.bias, qa_outputs.weight would be random; train one first"
    with pytest.raises(CheckpointError, match=match):
        load_reader_model(tmp_path, LINEAR)
    assert logits_of(load_training_model(tmp_path, LINEAR)).shape == (2, 2, 12)


def test_tensors_of_other_heads_are_no_fault(tmp_path: Path) -> None:
    whole = transformers.BertForQuestionAnswering(config_of("bert"))
    tensors = whole.state_dict() | {"cls.predictions.bias": torch.ones(50)}
    tensors |= {"bert.pooler.dense.bias": torch.ones(16)}
    whole.save_pretrained(tmp_path, state_dict=tensors)
    assert "cls.predictions.bias" in load_file(tmp_path / "model.safetensors")
    assert same(load_reader_model(tmp_path, LINEAR), whole)


def test_a_type_without_a_class_for_questions_is_named(tmp_path: Path) -> None:
    config = transformers.BertGenerationConfig(**SIZES)
    transformers.BertGenerationEncoder(config).save_pretrained(tmp_path)
    match = r"no AutoModelForQuestionAnswering class .*'bert-generation'.*--head.kind mlp"
    with pytest.raises(CheckpointError, match=match):
        load_training_model(tmp_path, LINEAR)
    assert logits_of(load_training_model(tmp_path, MLP)).shape == (2, 2, 12)


# -- files ---------------------------------------------------------------------------------------


def test_pickled_weights_are_refused_with_a_command_that_converts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = transformers.BertForQuestionAnswering(config_of("bert"))
    whole.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(whole.state_dict(), tmp_path / "pytorch_model.bin")
    torch.save({}, tmp_path / "training_args.bin")
    match = r"has only pytorch_model.bin; .*python -c \"from transformers import BertForQuestionAns"
    with pytest.raises(CheckpointError, match=match) as caught:
        load_reader_model(tmp_path, LINEAR)
    command = re.search('python -c "(.*)"', str(caught.value))
    assert command is not None
    monkeypatch.setattr(sys, "argv", ["-c"])
    exec(command[1], {})  # noqa: S102 - what the message tells users to run
    assert same(load_reader_model(tmp_path, LINEAR), whole)


def test_a_folder_without_weights_says_so(tmp_path: Path) -> None:
    (save_as("Model", "bert", tmp_path) / "model.safetensors").unlink()
    torch.save({}, tmp_path / "training_args.bin")
    save_file({"layers.0.bias": torch.ones(2)}, tmp_path / "head.safetensors")
    save_file({"lora": torch.ones(2)}, tmp_path / "adapter_model.safetensors")
    for head in (LINEAR, MLP):
        with pytest.raises(CheckpointError, match=r"neither model.safetensors nor .*no weights"):
            load_training_model(tmp_path, head)


@pytest.mark.parametrize("keep", [0, 5, 100, -10])
@pytest.mark.parametrize("name", ["model.safetensors", "head.safetensors"])
def test_a_cut_file_is_named(keep: int, name: str, tmp_path: Path) -> None:
    save_as("Model", "bert", tmp_path / "bare")
    save_model(load_training_model(tmp_path / "bare", MLP), tmp_path / "reader")
    file = tmp_path / "reader" / name
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=rf"{tmp_path}.* cannot be loaded: Safetensor.* anew"):
        load_reader_model(tmp_path / "reader", MLP)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"metadata": {}, "weight_map": {"a": "model-1.safetensors"}}']
)
def test_a_broken_index_of_shards_is_named(text: str, tmp_path: Path) -> None:
    (save_as("Model", "bert", tmp_path) / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=rf"{tmp_path}: cannot be loaded: \w+: .*anew"):
        load_training_model(tmp_path, LINEAR)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "not a valid JSON"),
        ("null", "NoneType"),
        ("[1]", "model_type"),
        ("{}", "model_type"),
        ('{"model_type": "brent"}', "brent"),
        ('{"model_type": "bert", "hidden_size": "wide"}', "wide"),
    ],
)
def test_a_broken_config_is_named(text: str, match: str, tmp_path: Path) -> None:
    save_as("Model", "bert", tmp_path)
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    for head in (LINEAR, MLP):
        with pytest.raises(CheckpointError, match=rf"config.json: cannot be used: .*{match}"):
            load_training_model(tmp_path, head)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"num_attention_heads": 3}, "multiple .* heads .3"),
        ({"num_attention_heads": 0}, "ZeroDivisionError"),
        ({"hidden_act": "hum"}, "KeyError: 'hum'"),
        ({"vocab_size": -1}, "negative dimension -1"),
    ],
)
def test_a_config_that_makes_no_model_is_named(
    wrong: dict[str, Any], match: str, tmp_path: Path
) -> None:
    edit(save_as("Model", "bert", tmp_path), **wrong)
    with pytest.raises(CheckpointError, match=rf"cannot be loaded: .*{match}"):
        load_training_model(tmp_path, LINEAR)


def test_a_folder_without_a_config_says_so(tmp_path: Path) -> None:
    (save_as("Model", "bert", tmp_path) / "config.json").unlink()
    with pytest.raises(CheckpointError, match=rf"{tmp_path}: has no config.json"):
        load_reader_model(tmp_path, LINEAR)


def test_code_from_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    save_as("ForQuestionAnswering", "bert", tmp_path)
    (tmp_path / "theirs.py").write_text("raise SystemExit('their code was run')\n")
    remote = {"AutoConfig": "theirs.A", "AutoModelForQuestionAnswering": "theirs.B"}
    remote |= {"AutoModel": "theirs.C"}
    edit(tmp_path, auto_map=remote)  # a type that transformers has is loaded by transformers
    assert type(load_reader_model(tmp_path, LINEAR)).__module__.startswith("transformers.")
    assert load_training_model(tmp_path, MLP)
    edit(tmp_path, model_type="theirs")
    for head in (LINEAR, MLP):
        with pytest.raises(CheckpointError, match="code of its own, which spanwise never runs"):
            load_training_model(tmp_path, head)


# -- quiet ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", [LINEAR, MLP], ids=["linear", "mlp"])
def test_nothing_is_printed_and_transformers_keeps_its_own_settings(
    head: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save_as("ForMaskedLM", "bert", tmp_path / "bare")  # a report of missing and extra tensors
    level = transformers_logging.get_verbosity()
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign, assignment]
    transformers_logging.add_handler(handler)
    try:
        transformers_logging.set_verbosity_info()
        transformers_logging.enable_progress_bar()
        capfd.readouterr()
        save_model(load_training_model(tmp_path / "bare", head), tmp_path / "reader")
        load_reader_model(tmp_path / "reader", head)
        with pytest.raises(CheckpointError, match="no span head"):
            load_reader_model(tmp_path / "bare", head)
        assert capfd.readouterr() == ("", "")
        assert not records
        assert transformers_logging.get_verbosity() == logging.INFO
        assert transformers_logging.is_progress_bar_enabled()
        AutoModel.from_pretrained(tmp_path / "bare")
        assert capfd.readouterr().err  # so the silence above was ours
        assert records
    finally:
        transformers_logging.remove_handler(handler)
        transformers_logging.set_verbosity(level)
        transformers_logging.disable_progress_bar()


@pytest.mark.parametrize("ours", [False, True])
@pytest.mark.parametrize("the_hubs", [False, True])
def test_progress_bars_stay_as_they_were(tmp_path: Path, ours: bool, the_hubs: bool) -> None:
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    save_as("ForQuestionAnswering", "bert", tmp_path)
    set_ours = {True: "enable_progress_bar", False: "disable_progress_bar"}[ours]
    try:
        getattr(transformers_logging, set_ours)()  # the Hub's go with them
        (enable_progress_bars if the_hubs else disable_progress_bars)()
        load_reader_model(tmp_path, LINEAR)
        assert transformers_logging.is_progress_bar_enabled() == ours
        assert are_progress_bars_disabled() != the_hubs
    finally:
        transformers_logging.disable_progress_bar()


# -- traits --------------------------------------------------------------------------------------


def both_kinds(family: str, **changes: Any) -> Iterator[nn.Module]:
    """The family under its own linear head and, where it may stand, under a custom one."""
    config = config_of(family, **changes)
    yield AutoModelForQuestionAnswering.from_config(config)
    if family in ONE_STACK:
        yield SpanModel(AutoModel.from_config(config), MlpHead(16))


@ALL
def test_positions_are_counted_and_are_as_many_as_that(family: str) -> None:
    limit = FAMILIES[family].limit
    for model in both_kinds(family):
        assert position_limit(model) == limit
        with torch.no_grad():
            output = model.eval()(**some_tokens(1, limit or 100))
        assert output.start_logits.shape == (1, limit or 100)


@pytest.mark.parametrize("family", ["bert", "roberta", "mpnet", "distilbert", "bart", "gpt2"])
def test_a_table_of_positions_holds_no_more_than_the_limit(family: str) -> None:
    model = AutoModelForQuestionAnswering.from_config(config_of(family)).eval()
    with torch.no_grad(), pytest.raises((IndexError, RuntimeError), match=r"index|size|expand"):
        model(**some_tokens(1, 41))


@pytest.mark.parametrize(
    ("family", "changes", "limit"),
    [
        ("roberta", {"max_position_embeddings": 514}, 512),
        ("xlm-roberta", {"max_position_embeddings": 514}, 512),
        ("mpnet", {"max_position_embeddings": 514}, 512),
        ("bert", {"max_position_embeddings": 512}, 512),
        ("distilbert", {"max_position_embeddings": 512, "sinusoidal_pos_embds": True}, 512),
        ("bart", {"max_position_embeddings": 1024}, 1024),
        ("modernbert", {"max_position_embeddings": 8192}, 8192),
    ],
)
def test_limits_of_the_usual_sizes(family: str, changes: dict[str, Any], limit: int) -> None:
    assert [position_limit(model) for model in both_kinds(family, **changes)] in (
        [limit],
        [limit, limit],
    )


def test_the_smaller_of_two_tables_of_positions_is_the_limit() -> None:
    sizes = BART | {"max_encoder_position_embeddings": 64, "max_decoder_position_embeddings": 24}
    del sizes["max_position_embeddings"]
    config = transformers.LEDConfig(**sizes, attention_window=4)
    assert position_limit(transformers.LEDForQuestionAnswering(config)) == 24


@ALL
def test_a_causal_model_is_known_by_what_it_sees(family: str) -> None:
    for model in both_kinds(family):
        model.train()
        base_of(model).eval()
        modes = [module.training for module in model.modules()]
        state = torch.get_rng_state()
        assert is_causal(model) == FAMILIES[family].causal
        assert [module.training for module in model.modules()] == modes
        assert torch.equal(torch.get_rng_state(), state)


def test_the_last_digits_do_not_hide_that_a_model_is_causal() -> None:
    def round_otherwise(_: nn.Module, _args: Any, output: Any) -> None:
        output.last_hidden_state[1] *= 1 + 1e-6

    model = AutoModelForQuestionAnswering.from_config(config_of("llama"))
    base_of(model).register_forward_hook(round_otherwise)
    assert is_causal(model)


@ALL
def test_segments_are_given_to_models_that_tell_them_apart(family: str) -> None:
    for model in both_kinds(family):
        model.eval()
        assert accepts_type_ids(model) == FAMILIES[family].type_ids
        if accepts_type_ids(model):
            types = {"token_type_ids": (torch.arange(12) > 5).long().repeat(2, 1)}
            with torch.no_grad():
                told, untold = model(**some_tokens(), **types), model(**some_tokens())
            assert not torch.equal(told.start_logits, untold.start_logits)


@pytest.mark.parametrize(
    ("family", "kinds", "accepts"),
    [
        ("roberta", 2, True),
        ("bert", 1, False),
        ("deberta-v2", 0, False),
        ("deberta-v2", 2, True),
        ("distilbert", 2, False),  # whatever its config says, its class takes none
    ],
)
def test_one_kind_of_segment_is_none(family: str, kinds: int, accepts: bool) -> None:
    for model in both_kinds(family, type_vocab_size=kinds):
        assert accepts_type_ids(model) == accepts


def test_words_are_not_mistaken_for_segments() -> None:
    # GPT-2 has no table of segments: it would look ids up among the words.
    model = AutoModelForQuestionAnswering.from_config(config_of("gpt2")).eval()
    types = {"token_type_ids": torch.zeros(2, 12, dtype=torch.int64)}
    with torch.no_grad():
        told, untold = model(**some_tokens(), **types), model(**some_tokens())
    assert not torch.equal(told.start_logits, untold.start_logits)
    assert not accepts_type_ids(model)


# -- what is not installed -----------------------------------------------------------------------


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_a_missing_package_is_named_with_its_extra(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("spanwise.model")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"'{package}' is not .*'spanwise\[torch\]'"):
        import_module("spanwise.model")
