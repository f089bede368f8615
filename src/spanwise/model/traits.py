"""What a model takes and does, found by looking at it rather than by a list of names.

This module knows nothing about files or tokenizers.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from spanwise.model.heads import base_of, config_of


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Trainable and all parameters."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(size for size, trainable in sizes if trainable), sum(size for size, _ in sizes)


def accepts_type_ids(model: nn.Module) -> bool:
    """Whether `token_type_ids` tell the model something: RoBERTa takes them, and has only one."""
    for module in (model, base_of(model)):
        if "token_type_ids" not in inspect.signature(module.forward).parameters:
            return False
    config = config_of(model)
    if getattr(config, "model_type", "") == "xlnet":
        return True  # it compares the segments of two tokens, and so needs no table of them
    # Without a table, GPT-2 and XLM would add the embeddings of the *words* 0 and 1.
    return getattr(config, "type_vocab_size", 0) > 1


def position_limit(model: nn.Module) -> int | None:
    """Most tokens that fit the model's positions; None where they are not limited.

    RoBERTa's kind keeps `padding_idx + 1` of its positions for padding: 514 means 512.
    """
    limit: int | None = getattr(config_of(model), "max_position_embeddings", None)
    for name, module in model.named_modules():
        table = getattr(module, "weight", None)
        if name.endswith(("position_embeddings", "embed_positions")) and table is not None:
            padding = getattr(module, "padding_idx", None)
            free = len(table) - (0 if padding is None else padding + 1)
            limit = min(limit or free, free)
    return limit if limit and limit > 0 else None  # XLNet says -1


def is_causal(model: nn.Module) -> bool:
    """Whether a token sees only those before it: found by changing the last of a few tokens."""
    if config_of(model).is_encoder_decoder:
        return False  # the encoder reads all of the text before the decoder begins
    with evaluating(model), torch.no_grad():
        first, second = base_of(model)(**few_tokens(model)).last_hidden_state  # (T, H) each
    change = (first - second).abs().amax(-1)  # (T,)
    # Not compared with 0: two rows of a batch may be summed in different orders.
    return bool(change[:-1].max() <= 1e-5 * change[-1])


def gives_spans(model: nn.Module) -> bool:
    """Whether its output has start and end logits: found by reading a few tokens."""
    with evaluating(model), torch.no_grad():
        output = model(**few_tokens(model))
    return hasattr(output, "start_logits") and hasattr(output, "end_logits")


def few_tokens(model: nn.Module) -> dict[str, torch.Tensor]:
    """Two short rows of tokens, (2, 8), that differ in the last one."""
    ids = torch.arange(8).remainder(config_of(model).vocab_size).repeat(2, 1)
    ids[1, -1] = 0
    ids = ids.to(next(model.parameters()).device)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a moment; each module gets back the mode that it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
