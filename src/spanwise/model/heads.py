"""Span heads, and the model that puts one over any encoder.

This module knows nothing about files.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from spanwise.errors import ConfigError

HEAD_FILE = "head.safetensors"
"""Holds the weights of a custom head, beside those of its encoder."""


@dataclass(frozen=True, kw_only=True)
class SpanLogits:
    """What every span model returns, plain transformers classes included.

    Attributes:
        start_logits: (B, T).
        end_logits: (B, T).
    """

    start_logits: torch.Tensor
    end_logits: torch.Tensor


class MlpHead(nn.Module):
    """Hidden layers with GELU and dropout, then two logits a token.

    Args:
        hidden: width of the encoder, H.
        depth: hidden layers, at least 1.
        width: units of each, at least 1.
        dropout: share of units dropped in training, below 1.

    Raises:
        ConfigError: sizes that make no network; all of them.
    """

    def __init__(
        self, hidden: int, *, depth: int = 1, width: int = 384, dropout: float = 0.1
    ) -> None:
        super().__init__()
        problems = [
            f"head.{name} is {value}: it must be at least 1"
            for name, value in {"depth": depth, "width": width}.items()
            if value < 1
        ]
        if not 0 <= dropout < 1:
            problems.append(f"head.dropout is {dropout}: it must be at least 0 and below 1")
        if problems:
            raise ConfigError(problems)
        layers: list[nn.Module] = []
        for size in [hidden, *[width] * (depth - 1)]:
            layers += [nn.Linear(size, width), nn.GELU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(width, 2))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(B, T, H) states to (B, T, 2) start and end logits."""
        logits: torch.Tensor = self.layers(states)
        return logits


HEADS: dict[str, type[nn.Module]] = {"mlp": MlpHead}
"""Custom heads by kind: each takes the encoder's width and its own sizes by keyword."""


class SpanModel(nn.Module):
    """A custom head over any encoder.

    Args:
        encoder: a transformers model that returns `last_hidden_state` (B, T, H).
        head: (B, T, H) to (B, T, 2).
    """

    base_model_prefix = "encoder"  # where the encoder is, as transformers classes say it

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.config = encoder.config

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
    ) -> SpanLogits:
        """Logits of (B, T) tokens; `accepts_type_ids` tells whether to give `token_type_ids`."""
        type_ids = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **type_ids)
        logits = self.head(output.last_hidden_state)
        return SpanLogits(start_logits=logits[..., 0], end_logits=logits[..., 1])


def config_of(model: nn.Module) -> Any:
    """The transformers configuration; `nn.Module` does not declare it."""
    return model.config


def base_of(model: nn.Module) -> Any:
    """The encoder without its head; the model itself where they are one, as in T5's kind."""
    return getattr(model, getattr(model, "base_model_prefix", ""), model)


def is_of_head(model: nn.Module, name: str) -> bool:
    """Whether a tensor or module, by its name in the model, is of the span head."""
    top = name.partition(".")[0]
    return top == "qa_outputs" if base_of(model) is model else top != model.base_model_prefix
