"""Batches in, logits out: the one place where the ways to run a model differ.

Each loads its engine when it is made, so that none needs another's. This package knows nothing
about text, checkpoints or answers.
"""

from spanwise.backends.fake import FakeBackend
from spanwise.backends.onnx import OnnxBackend
from spanwise.backends.protocol import Backend, read_batches
from spanwise.backends.torch import DTYPES, TorchBackend

__all__ = ["DTYPES", "Backend", "FakeBackend", "OnnxBackend", "TorchBackend", "read_batches"]
