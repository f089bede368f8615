"""Attention in float32, where mixed precision would slow a processor down.

The gradient of PyTorch's attention kernel takes four times as long in bfloat16 as in float32. This
module knows nothing about files, tokenizers or training.
"""

from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from spanwise.model.heads import config_of

_NAME = "spanwise_float32"  # of the attention function, in the registry of transformers


def quicken_attention(model: nn.Module) -> None:
    """Keep attention in float32 under autocast; for a model that stays on a processor.

    Models that do not attend by `scaled_dot_product_attention` stay as they are.
    """
    config = config_of(model)
    if getattr(config, "_attn_implementation", None) != "sdpa":
        return
    AttentionInterface.register(_NAME, _attend)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    config._attn_implementation = _NAME  # noqa: SLF001 - what the layers look at, in each call


def _attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as the layers of transformers call it.

    In the type that it comes in outside of autocast, and with dropout, for which there is no
    kernel.
    """
    if options.get("dropout") or not torch.is_autocast_enabled("cpu"):
        output, _ = sdpa_attention_forward(module, query, key, value, mask, **options)
        return output, None
    with torch.autocast("cpu", enabled=False):
        output, _ = sdpa_attention_forward(
            module, query.float(), key.float(), value.float(), mask, **options
        )
    return output.to(query.dtype), None
