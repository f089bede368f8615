"""Dropout that does not keep a processor waiting for random numbers.

PyTorch draws one number from a sequential generator for each value, which takes a tenth of a
fine-tuning step on two cores. This module knows nothing about files, tokenizers or training.
"""

import torch
from torch import nn

_DRAWS = 4  # numbers of 16 bits in one of 64
_SCALE = 1 << 16


class FastDropout(nn.Module):
    """`nn.Dropout` on a processor, from a quarter of the random numbers.

    The share that is dropped is rounded to 1 / 65,536; all else is as with `nn.Dropout`, torch's
    generator included.

    Args:
        p: share of the values that are dropped, from 0 to below 1.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Drop some of the values and scale the others up, in training mode."""
        if not self.training or not self.p:
            return values
        count = values.numel()
        draws = torch.empty(-(-count // _DRAWS), dtype=torch.int64).random_(-(2**63), None)
        numbers = draws.view(torch.int16)[:count].view(values.shape)
        first = min(round(self.p * _SCALE), _SCALE - 1) - _SCALE // 2  # or it would wrap around
        kept = numbers >= first
        return values * kept.to(values.dtype).mul_(1 / (1 - self.p))


def quicken_dropout(model: nn.Module) -> None:
    """Put `FastDropout` in place of every `nn.Dropout`; for a model that stays on a processor."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout and child.p < 1:
                setattr(module, name, FastDropout(child.p).train(child.training))
