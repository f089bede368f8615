"""Parts of an encoder taken out of training: no gradient, no dropout.

This module knows nothing about optimizers or files.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import nn

from spanwise.errors import ConfigError
from spanwise.model.heads import base_of, config_of, is_of_head
from spanwise.model.traits import evaluating, few_tokens

Freeze = int | Literal["none", "embeddings", "encoder"]


def freeze(model: nn.Module, part: Freeze) -> None:
    """Take a part of the encoder out of training: no gradient, no dropout.

    Args:
        model: from `load_training_model`.
        part: "none", "embeddings", "encoder", or so many of the lowest layers and whatever comes
            before them. The layers of an encoder-decoder are those of its encoder, "encoder" is all
            but the span head.

    Raises:
        ConfigError: another word, more layers than there are, or layers that cannot be told apart.
    """
    config, base = config_of(model), base_of(model)
    encoder = base.get_encoder() if config.is_encoder_decoder else base
    layers = _layers(encoder, config.num_hidden_layers)
    count = len(layers) if len(layers) == config.num_hidden_layers else 0
    number = part if type(part) is int and 0 < part <= count else None  # True is an int too
    if part == "encoder":
        _freeze_all(child for name, child in model.named_children() if not is_of_head(model, name))
    elif number is not None and number == count:
        _freeze_all([encoder])
    elif number is not None or (part == "embeddings" and layers):
        _freeze_below(model, encoder, layers[: (number or 0) + 1])
    elif part != "none":
        numbers = (
            f"or a number of layers from 1 to {count}"
            if count
            else "and no number: its layers share weights or do not stand in one row"
        )
        raise ConfigError(
            f"freeze is {part!r}: for {type(model).__name__} it must be none, embeddings, encoder, "
            f"{numbers}"
        )


def _layers(encoder: nn.Module, count: int) -> list[nn.Module]:
    """The stack of `count` layers; where there is none, as in ALBERT, the first stack."""
    stacks = [list(module) for module in encoder.modules() if isinstance(module, nn.ModuleList)]
    return next((stack for stack in stacks if len(stack) == count), [*stacks, []][0])


def _freeze_all(modules: Iterable[nn.Module]) -> None:
    def stay(module: nn.Module, _: Any) -> None:
        # `model.train()` comes before every step and reaches frozen parts too.
        module.eval()

    for module in modules:
        module.requires_grad_(requires_grad=False)
        module.register_forward_pre_hook(stay)


def _freeze_below(model: nn.Module, encoder: nn.Module, layers: Sequence[nn.Module]) -> None:
    """Freeze all but the last of `layers`, and all else that the states which enter it depend on.

    In this way nothing is left out, whatever its class calls it (ALBERT's projection of the
    embeddings, BART's norm of them, DeBERTa's relative positions once a layer has used them), and
    the states stay what they are.
    """
    *below, layer = layers
    entry = next(part for part in layer.modules() if not isinstance(part, nn.ModuleList))
    entered: list[torch.Tensor] = []

    def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        entered.extend(x for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor))

    handle = entry.register_forward_pre_hook(note, with_kwargs=True)
    with evaluating(model), torch.enable_grad():
        encoder(**few_tokens(model))
    handle.remove()
    sources = _sources(entered[0]) if entered else set()
    if not sources:
        raise ConfigError(
            f"{type(model).__name__} does not show what comes before its layers (SqueezeBERT and "
            "Reformer call them in ways of their own); set freeze to none or encoder"
        )
    # Also what the few tokens did not need, such as XLNet's segments and unused experts.
    for parameter in {*sources, *(p for frozen in below for p in frozen.parameters())}:
        parameter.requires_grad = False

    # By the module in which it happens, dropout cannot be told apart: XLNet has one dropout module
    # for its embeddings and for its output. So all is in evaluation mode until the layer's turn.
    def begin(*_: Any) -> None:
        encoder.eval()

    def end(*_: Any) -> None:
        encoder.train(model.training)

    encoder.register_forward_pre_hook(begin)
    entry.register_forward_pre_hook(end)


def _sources(tensor: torch.Tensor) -> set[nn.Parameter]:
    """The parameters that a tensor was computed from: the leaves of its autograd graph."""
    nodes: list[Any] = [tensor.grad_fn]
    seen: set[Any] = set()
    leaves: set[nn.Parameter] = set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves.add(node.variable)
        nodes += [before for before, _ in node.next_functions]
    return leaves
