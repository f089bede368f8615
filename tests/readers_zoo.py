"""Tiny readers of many families, and exports of them that need no exporter."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers.utils import logging

from spanwise.checkpoints import write_settings
from spanwise.exporting import exporting
from spanwise.schema import ReaderSettings, WindowSettings
from spanwise.windows import PairTokenizer
from tests.conftest import make_colours, make_tokenizer

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 80,
    "initializer_range": 0.3,  # so that the logits of random weights differ
}
BART = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 80,
    "init_std": 0.3,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
DISTILBERT = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "initializer_range": 0.3}
MODERNBERT = {
    "global_attn_every_n_layers": 2,
    "local_attention": 16,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "cls_token_id": 2,
    "sep_token_id": 3,
}
DEBERTA = {
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_buckets": 16,
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
    "type_vocab_size": 0,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": SIZES,
    "roberta": SIZES,
    "distilbert": DISTILBERT,
    "electra": SIZES | {"embedding_size": 16},
    "modernbert": SIZES | MODERNBERT,
    "deberta-v2": SIZES | DEBERTA,
    "albert": SIZES | {"embedding_size": 16},
    "mpnet": SIZES,
    "xlm-roberta": SIZES,
    "bart": BART,
}
SETTINGS = ReaderSettings(window=WindowSettings(max_length=24, stride=6, max_question_tokens=8))
EXAMPLES = make_colours(30, seed=5, unanswerable=0.3)
PAIRS = [
    (example.question, " ".join([example.context] * (1 + number % 4)))
    for number, example in enumerate(EXAMPLES)
]


def save_reader(folder: Path, family: str = "bert", **changes: Any) -> Path:
    """A reader with random weights."""
    logging.disable_progress_bar()
    tokenizer = make_tokenizer()
    sizes = FAMILIES[family] | {"vocab_size": tokenizer.get_vocab_size(), "pad_token_id": 0}
    config = transformers.AutoConfig.for_model(family, **(sizes | changes))
    torch.manual_seed(0)
    model = transformers.AutoModelForQuestionAnswering.from_config(config)
    for parameter in model.parameters():  # fresh biases are all 0, and fresh scales 1
        parameter.data += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    PairTokenizer(tokenizer, {"cls_token": "[CLS]", "pad_token": "[PAD]"}).save(folder)
    write_settings(folder, SETTINGS)
    return folder


@contextmanager
def graph_at_hand(file: Path) -> Iterator[None]:
    """Exports take this graph for the model's: PyTorch's exporter needs ten seconds for one."""

    def copy(_model: torch.nn.Module, out: Path, *, name: str) -> None:
        shutil.copy(file, out)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "write_graph", copy)
        yield
