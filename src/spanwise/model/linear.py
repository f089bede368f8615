"""Products in float32 by oneDNN, where PyTorch would take MKL.

MKL leaves half of an AMD processor unused. This module knows nothing about files, tokenizers or
training.
"""

import platform
from typing import Any

import torch
from torch import nn

_X86 = ("x86_64", "AMD64")
# What torch.compile makes of a linear layer on a processor. Public functions reach it only through
# tensors in oneDNN's own layout, whose conversion takes half of the gain.
_KERNEL: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


class FastLinear(nn.Linear):
    """`nn.Linear`, by other kernels where it is run on a processor in float32."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(…, in) to (…, out)."""
        if not self._fits(states):
            return super().forward(states)
        product: torch.Tensor = _Affine.apply(  # type: ignore[no-untyped-call]
            states, self.weight, self.bias
        )
        return product

    def _fits(self, states: torch.Tensor) -> bool:
        """Whether the kernel takes this; all else is left to PyTorch, its errors included."""
        if torch.compiler.is_compiling() or torch._C._get_tracing_state():  # noqa: SLF001
            return False
        return (
            states.dtype == self.weight.dtype == torch.float32
            and states.device.type == "cpu"
            and states.layout == self.weight.layout == torch.strided
            and states.ndim > 1
            and states.shape[-1] == self.in_features
            and 0 not in (states.numel(), self.weight.numel())
            and not torch.is_autocast_enabled("cpu")
        )


class _Affine(torch.autograd.Function):
    """`states @ weight.T + bias`, with its gradients."""

    @staticmethod
    def forward(
        states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        return _product(states, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = gradients
        states, weight = ctx.saved_tensors
        rows, columns = gradient.flatten(end_dim=-2), states.flatten(end_dim=-2)  # (N, out or in)
        # Of these gradients others may be asked for, which the kernel has not.
        product = torch.nn.functional.linear if torch.is_grad_enabled() else _product
        of_states, of_weight, of_bias = ctx.needs_input_grad
        return (
            product(gradient, weight.T) if of_states else None,
            product(rows.T, columns.T) if of_weight else None,
            rows.sum(dim=0) if of_bias else None,
        )


def _product(
    states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    product: torch.Tensor = _KERNEL(states.contiguous(), weight.contiguous(), bias, "none", [], "")
    return product


def quicken_linear(model: nn.Module) -> None:
    """Make every `nn.Linear` a `FastLinear`, where there are such kernels; weights stay as is."""
    if platform.machine() in _X86 and _KERNEL is not None:
        for module in model.modules():
            if type(module) is nn.Linear:
                module.__class__ = FastLinear
