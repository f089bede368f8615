"""The weights of an exported reader, taken back out of its graph to be trained further.

This module knows nothing about tokenizers or how a graph is run.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from spanwise.checkpoints import EXPORT_FILE
from spanwise.errors import CheckpointError
from spanwise.model.heads import HEAD_FILE


@contextmanager
def unexported(folder: Path, parameters: Mapping[str, Any]) -> Iterator[Path]:
    """Give a folder with weights as safetensors: that of an export only while the block lasts.

    Weights in eight bits become floats again, as near to the first ones as eight bits are.

    Args:
        folder: a checkpoint; one that has safetensors, or no export, is given as it is.
        parameters: `ReaderSettings.export["parameters"]`.

    Raises:
        CheckpointError: the graph cannot be read, or lacks a tensor that is named.
    """
    if not (folder / EXPORT_FILE).is_file() or any(folder.glob("*.safetensors")):
        yield folder
        return
    if not parameters:
        raise CheckpointError(
            f"{folder}: holds an exported model alone, and nothing says which of its tensors is "
            "which weight; train on the checkpoint that it was exported from"
        )
    tensors = _read(folder / EXPORT_FILE, parameters)
    custom = all(name.startswith(("encoder.", "head.")) for name in tensors)  # of a `SpanModel`
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copy(folder / "config.json", scratch)
        for file, prefix in (
            ("model.safetensors", "encoder." if custom else ""), (HEAD_FILE, "head.")
        ):  # fmt: skip
            part = {
                name.removeprefix(prefix): np.ascontiguousarray(values)
                for name, values in tensors.items()
                if name.startswith(prefix)
            }
            if part and (custom or file != HEAD_FILE):
                save_file(part, Path(scratch) / file, metadata={"format": "pt"})
        yield Path(scratch)


def _read(file: Path, parameters: Mapping[str, Any]) -> dict[str, NDArray[np.float32]]:
    import onnx
    from onnx import numpy_helper

    try:
        graph = onnx.load(file).graph
    except Exception as error:  # protobuf's own, which has no name in common with others
        raise CheckpointError(f"{file}: cannot be read: {error}; fetch it anew") from error
    held = {tensor.name: tensor for tensor in graph.initializer}

    def array(name: str) -> NDArray[Any]:
        if name not in held:
            raise CheckpointError(
                f"{file}: has no tensor {name!r}, which spanwise.json names; the two are not of "
                "one export: fetch or write both anew"
            )
        return numpy_helper.to_array(held[name])

    tensors = {}
    for name, (source, transposed) in parameters.items():
        if source in held:
            values = array(source)
        else:  # in eight bits around zero, with a scale for each column or row
            values = array(f"{source}_quantized") * array(f"{source}_scale")
        tensors[name] = values.T if transposed else values
    return tensors
