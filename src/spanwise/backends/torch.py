"""Models run by PyTorch."""

import os
from typing import TYPE_CHECKING

from spanwise.errors import ConfigError
from spanwise.schema import Batch, Logits

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16", "float16")
"""Number formats that a model can be run in."""

# oneDNN compiles its kernels for each shape of batch, of which hardly two are alike, and keeps as
# many as this of each; by default 1,024, some MB each. It asks when it is first used.
_KERNELS_KEPT = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "16", "LRU_CACHE_CAPACITY": "16"}


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

        from spanwise.model import PackedModel, accepts_type_ids, position_limit, quicken_linear

        if dtype not in DTYPES:
            raise ConfigError(f"dtype is {dtype!r}; it must be one of {', '.join(DTYPES)}")
        self.device = _choose_device(device)
        model = model.to(device=self.device, dtype=getattr(torch, dtype)).eval()
        if self.device == "cpu":
            for name, number in _KERNELS_KEPT.items():
                os.environ.setdefault(name, number)
            quicken_linear(model)
        self.model = PackedModel(model) if packing else model
        self.longest = position_limit(model)
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
