"""Windows read without padding: end to end in one row, each attending to itself alone.

The usual attention functions of transformers would attend across such a row without a word, so
there is one of its own here, which fails rather than do that. This module knows nothing about text,
batches or the loss.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface

from spanwise.errors import ConfigError
from spanwise.model.heads import SpanLogits, SpanModel, base_of, config_of

logger = logging.getLogger("spanwise")

PACKABLE = ("bert", "camembert", "distilbert", "electra", "modernbert", "roberta", "xlm-roberta")
"""Model types proven to read a packed row as they read its windows one by one."""

_NAME = "spanwise_packed"  # of the attention function, in the registry of transformers
_switch = threading.Lock()


class PackedModel(nn.Module):
    """Reads a padded batch as one row without padding, to the same logits.

    Called like the span model that it wraps; parameters, gradients and mode are that model's. On
    CUDA, in bfloat16 or float16, attention is one kernel over all windows. That kernel has no
    dropout: attention dropout that the model asks for is left out there, and this is logged once.
    Elsewhere attention goes from window to window, with the model's dropout.

    The model itself can be called too, but not while another thread calls this: that raises.

    Args:
        model: a span model of one of the types `PACKABLE`.

    Raises:
        ConfigError: a model of another type, or one whose tokens do not see those after them.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.config = config = config_of(model)
        if config.model_type not in PACKABLE or getattr(config, "is_decoder", False):
            raise ConfigError(
                f"windows cannot be packed for {type(model).__name__} (model type "
                f"{config.model_type!r}): that is proven only for encoders of type "
                f"{', '.join(PACKABLE)}; pad the windows instead"
            )
        AttentionInterface.register(_NAME, _attend)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
    ) -> SpanLogits:
        """Logits of (B, T) tokens, 0 in padding; `accepts_type_ids` tells whether to give types.

        Raises:
            ConfigError: training with gradient checkpointing, which would run the layers again
                when they are no longer kept from attending across windows.
        """
        if any(m.training and getattr(m, "gradient_checkpointing", 0) for m in self.modules()):
            raise ConfigError(
                f"gradient checkpointing is on in {type(self.model).__name__}, and windows cannot "
                "be packed with it; turn it off, or pad the windows"
            )
        real = attention_mask.bool()
        places = real.flatten().nonzero().squeeze(1)  # (N,) in the flattened (B, T)
        padded = {"input_ids": input_ids, "position_ids": self._positions(input_ids)}
        if token_type_ids is not None:
            padded["token_type_ids"] = token_type_ids
        row: dict[str, Any] = {
            name: values.flatten()[places][None] for name, values in padded.items()
        }  # (1, N) each
        row["cu_seq_lens_q"] = nn.functional.pad(real.sum(1).cumsum(0), (1, 0)).int()  # (B + 1,)
        row["max_length_q"] = real.shape[1]  # the true maximum would have to be waited for
        with _attending_within_windows(self.config):
            start, end = self._read(row)  # (1, N) each

        def unpack(logits: torch.Tensor) -> torch.Tensor:  # (1, N) to (B, T)
            empty = logits.new_zeros(real.numel())
            return empty.index_copy(0, places, logits[0]).view(real.shape)

        return SpanLogits(start_logits=unpack(start), end_logits=unpack(end))

    def _positions(self, input_ids: torch.Tensor) -> torch.Tensor:
        """(B, T) positions, from 0 in each window; RoBERTa's kind counts on from its padding id."""
        table = getattr(base_of(self.model).embeddings, "position_embeddings", None)
        padding: int | None = getattr(table, "padding_idx", None)
        if padding is None:
            columns = torch.arange(input_ids.shape[1], device=input_ids.device)
            return columns.expand_as(input_ids)
        counted = input_ids.ne(padding)  # not the mask: a text may hold the padding token
        return counted.cumsum(1) * counted + padding

    def _read(self, row: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        if isinstance(self.model, SpanModel):  # it hands on none but the usual inputs
            states = self.model.encoder(**row).last_hidden_state  # (1, N, H)
            start, end = self.model.head(states).unbind(-1)
            return start, end
        output = self.model(**row)
        return output.start_logits, output.end_logits


@contextmanager
def _attending_within_windows(config: Any) -> Iterator[None]:
    """Have the layers, which share `config`, take the attention function of this module.

    By its name transformers also knows to build no (N, N) mask. Only one thread at a time: another
    would give the layers back their own function in the middle of the row.
    """
    with _switch:
        usual = config._attn_implementation  # noqa: SLF001 - what the layers look at, in each call
        config._attn_implementation = _NAME  # noqa: SLF001
        try:
            yield
        finally:
            config._attn_implementation = usual  # noqa: SLF001


def _attend(
    _module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: None,
    *,
    cu_seq_lens_q: torch.Tensor,
    max_length_q: int,
    scaling: float,
    dropout: float,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention within each window of a row: (1, heads, N, width) to (1, N, heads, width).

    Called by the layers of transformers, in their way; they hand on what the row came with.
    """
    reach = -1 if sliding_window is None else sliding_window - 1  # tokens seen on either side
    if _has_kernel(query):
        if dropout and not torch.compiler.is_compiling():
            _tell_of_dropout(dropout)
        q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
        splits, longest = cu_seq_lens_q, max_length_q
        output: Any = varlen_attn(
            q, k, v, splits, splits, longest, longest, scale=scaling, window_size=(reach, reach)
        )
        return output[None], None
    lengths = cu_seq_lens_q.diff().tolist()
    outputs = [
        nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=_near(q, reach), dropout_p=dropout, scale=scaling
        )
        for q, k, v in zip(
            *(torch.split(tensor, lengths, dim=2) for tensor in (query, key, value)), strict=True
        )
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2), None


def _has_kernel(query: torch.Tensor) -> bool:
    return query.is_cuda and query.dtype in (torch.bfloat16, torch.float16)


def _near(query: torch.Tensor, reach: int) -> torch.Tensor | None:
    """(tokens, tokens) of one window: whether they are at most `reach` apart; None: all are."""
    tokens = torch.arange(query.shape[2], device=query.device)
    if reach < 0 or len(tokens) <= reach + 1:
        return None
    return (tokens - tokens[:, None]).abs() <= reach


@cache
def _tell_of_dropout(share: float) -> None:
    logger.info("attention dropout, %s here, is left out: packed attention has none", share)
