"""Readers become folders that need no PyTorch, and are refused where they would answer otherwise.

    exporting ─┬─ graph       a model as `model.onnx`
               ├─ eight_bits  its weights and products in eight bits
               ├─ fusing      its steps joined, where one operator does as much
               └─ parity      how far what was written is from the model

This package knows nothing about how an export is served or trained further.
"""

from spanwise.errors import MissingExtra

try:
    import onnxscript  # noqa: F401 - PyTorch's exporter needs it, and says so late

    from spanwise.exporting.exporting import Exported, export_model
except ModuleNotFoundError as error:
    if error.name in {"onnx", "onnxscript", "torch", "transformers"}:
        raise MissingExtra(error.name, "torch") from None
    raise

__all__ = ["Exported", "export_model"]
