"""Batches in, logits out: the one place where the ways to run a model differ.

This module knows nothing about text, checkpoints or answers.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from spanwise.errors import ConfigError
from spanwise.schema import Batch, Ints, Logits
from spanwise.windows import PairTokenizer

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16", "float16")
"""Number formats that a model can be run in."""

_NEVER = np.float32(-100)  # a logit that no softmax gives a share


class Backend(Protocol):
    """Anything that reads a batch: a model, or a rule."""

    def __call__(self, batch: Batch) -> Logits:
        """Give start and end logits, float32, to each of (B, T) tokens."""
        ...


class TorchBackend:
    """Runs a PyTorch model.

    Args:
        model: called with `input_ids`, `attention_mask` and, where it takes them,
            `token_type_ids`, it returns an object with `start_logits` and `end_logits` (B, T). In
            place it is put into evaluation mode, moved, cast and, on a processor, given faster
            kernels.
        device: "cpu", "cuda", "cuda:1", "mps", …; None takes an accelerator where there is one.
        dtype: one of `DTYPES`. The weights are cast, not only the sums done on them, so that memory
            halves as well. Below float32 some answers change, and float16 overflows in some models.
        packing: run the windows of a batch end to end, without padding; it pays on CUDA in 16 bits.

    Raises:
        ConfigError: a device that is not here, an unknown dtype, or a model that cannot be packed.
    """

    def __init__(
        self,
        model: "torch.nn.Module",
        *,
        device: str | None = None,
        dtype: str = "float32",
        packing: bool = False,
    ) -> None:
        import torch

        from spanwise.model import PackedModel, accepts_type_ids, quicken_linear

        if dtype not in DTYPES:
            raise ConfigError(f"dtype is {dtype!r}; it must be one of {', '.join(DTYPES)}")
        self.device = _choose_device(device)
        model = model.to(device=self.device, dtype=getattr(torch, dtype)).eval()
        if self.device == "cpu":
            quicken_linear(model)
        self.model = PackedModel(model) if packing else model
        self._takes_type_ids = accepts_type_ids(model)

    def __call__(self, batch: Batch) -> Logits:
        """Run the model on a batch.

        Raises:
            ConfigError: the accelerator's memory is too small for it.
        """
        import torch

        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        if self._takes_type_ids:
            inputs["token_type_ids"] = batch.type_ids
        try:
            with torch.inference_mode():
                output = self.model(
                    **{
                        # int64: some models gather by these, which int32 cannot do.
                        name: torch.as_tensor(values, dtype=torch.int64, device=self.device)
                        for name, values in inputs.items()
                    }
                )
                start, end = output.start_logits.float(), output.end_logits.float()
        except torch.OutOfMemoryError as error:
            rows, tokens = batch.input_ids.shape
            raise ConfigError(
                f"{self.device} has too little memory for a batch of {rows} windows of {tokens} "
                f"tokens; set batch_tokens below {rows * tokens}"
            ) from error
        return Logits(start_logits=start.cpu().numpy(), end_logits=end.cpu().numpy())


def _choose_device(name: str | None) -> str:
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    here = ["cpu"]
    if accelerator is not None:
        kind = accelerator.type
        here = [kind, *(f"{kind}:{n}" for n in range(torch.accelerator.device_count())), "cpu"]
    if name is not None and name not in here:
        raise ConfigError(f"device is {name!r}; on this machine it can be {', '.join(here)}")
    return name or here[0]


class FakeBackend:
    """Finds given strings in the context: a stand-in for a model in tests, without PyTorch.

    Wherever the tokens of a string stand in a context, its first token gets half of its score as
    start logit and its last token the other half as end logit, so that the answer that quotes it
    has this score. Among several strings the start of one also pairs with the end of another.

    Example:
        ```python
        reader = Reader(FakeBackend({"Paris": 8.0}, tokenizer, null=2.0), tokenizer, settings)
        ```

    Args:
        scores: string to quote → its score.
        tokenizer: that of the reader.
        null: score of "not in this text", in every window.

    Raises:
        ConfigError: a string that has no token.
    """

    def __init__(
        self, scores: Mapping[str, float], tokenizer: PairTokenizer, *, null: float = 0.0
    ) -> None:
        self.null = null
        self._patterns: list[tuple[Ints, float]] = []
        for text, score in scores.items():
            # Some tokenizers give a word other tokens after a blank than at the start of a text.
            for ids, _ in tokenizer.encode_contexts([text, f" {text}"]):
                if not len(ids):
                    raise ConfigError(f"the answer {text!r} has no token; give a visible one")
                self._patterns.append((ids, score))

    def __call__(self, batch: Batch) -> Logits:
        """Give the strings their scores."""
        start = np.full(batch.input_ids.shape, _NEVER)
        end = start.copy()
        for ids, score in self._patterns:
            rows, columns = _find(ids, batch)
            np.maximum.at(start, (rows, columns), np.float32(score / 2))
            np.maximum.at(end, (rows, columns + len(ids) - 1), np.float32(score / 2))
        null = np.arange(len(start)), batch.null_position
        start[null] = end[null] = self.null / 2
        return Logits(start_logits=start, end_logits=end)


def _find(ids: Ints, batch: Batch) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns where `ids` begin in the context."""
    places = max(0, batch.input_ids.shape[1] - len(ids) + 1)
    found = np.ones((len(batch.input_ids), places), dtype=np.bool_)
    for n, token in enumerate(ids):
        span = slice(n, n + places)
        found &= (batch.input_ids[:, span] == token) & batch.context_mask[:, span]
    rows, columns = np.nonzero(found)
    return rows, columns
