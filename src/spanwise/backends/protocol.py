"""What every way to run a model has in common."""

from typing import Protocol

from spanwise.schema import Batch, Logits


class Backend(Protocol):
    """Anything that reads a batch: a model, or a rule."""

    def __call__(self, batch: Batch) -> Logits:
        """Give start and end logits, float32, to each of (B, T) tokens."""
        ...
