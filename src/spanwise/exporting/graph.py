"""A model becomes an ONNX graph, whose weights are named.

This module knows nothing about tokenizers, settings or accuracy.
"""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from spanwise.errors import CheckpointError
from spanwise.model import accepts_type_ids


class _Positional(nn.Module):
    """The model as a function of arrays to arrays."""

    def __init__(self, model: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.model = model
        self._names = names

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        output = self.model(**dict(zip(self._names, inputs, strict=True)))
        return output.start_logits, output.end_logits


def write_graph(model: nn.Module, file: Path, *, name: str) -> None:
    """Write a model in evaluation mode as ONNX, with batch and length left open.

    Args:
        model: from `load_reader_model`; its attention is switched to the plain kind in place.
        file: to write.
        name: how messages call the model.

    Raises:
        CheckpointError: PyTorch cannot export a model of this family.
    """
    config: Any = model.config
    # The fused kind guards against rows that see nothing, of which we have none.
    config._attn_implementation = "eager"  # noqa: SLF001 - what set_attn_implementation sets
    ids = torch.arange(18).remainder(config.vocab_size).reshape(2, 9)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    inputs["attention_mask"][1, 7:] = 0  # or a mask might be taken for a constant
    if accepts_type_ids(model):
        inputs["token_type_ids"] = torch.zeros_like(ids)
    axes = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("tokens", min=2)}
    try:
        with quiet():
            torch.onnx.export(
                _Positional(model, list(inputs)).eval(),
                tuple(inputs.values()),
                file,
                input_names=list(inputs),
                output_names=["start_logits", "end_logits"],
                dynamic_shapes={"inputs": tuple(axes for _ in inputs)},
                opset_version=21,  # of scales for parts of a row, which eight bits need
                external_data=False,
                dynamo=True,
                verbose=False,
            )
    except OSError:  # a full disk says nothing of the family
        raise
    except Exception as error:
        raise CheckpointError(
            f"{name}: PyTorch {torch.__version__} cannot export models of type "
            f"{config.model_type!r} to ONNX: {_reason(error)}; use it with torch"
        ) from error
    _forget_origins(file)


def _reason(error: BaseException) -> str:
    """The first line of what an error began with; the exporter wraps it in steps of its own."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()  # it colours them
    return f"{type(error).__name__}: {text.partition(chr(10))[0]}"


def _forget_origins(file: Path) -> None:
    """Take out where the exporter says that each node came from: paths of this machine."""
    model = onnx.load(file)
    graph = model.graph
    values = (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for part in (model, graph, *graph.node, *values):
        del part.metadata_props[:]
    onnx.save(model, file)


def match_parameters(model: nn.Module, file: Path) -> dict[str, list[Any]]:
    """Say which initialiser of a graph is which parameter.

    The exporter transposes and renames weights, so they are found by their values.

    Returns:
        Name of each parameter → name of the initialiser, and whether it is transposed.

    Raises:
        CheckpointError: a parameter that no initialiser holds.
    """
    held = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(file).graph.initializer
    }
    found: dict[str, list[Any]] = {}
    for name, parameter in model.named_parameters():
        if ".pooler." in f".{name}":
            continue  # it takes no part in reading spans, and is not asked for at loading
        values = parameter.detach().numpy()
        same = f"model.{name}"
        candidates = [same, *held] if same in held else list(held)
        for candidate in candidates:
            if np.array_equal(held[candidate], values):
                found[name] = [candidate, False]
            elif values.ndim == 2 and np.array_equal(held[candidate], values.T):
                found[name] = [candidate, True]
            if name in found:
                break
        else:
            raise CheckpointError(
                f"parameter {name!r} is nowhere in the exported graph, so the model could not be "
                "trained on; this is a fault of the export, please report the model"
            )
    return found


@contextmanager
def quiet() -> Iterator[None]:
    """The exporters tell of their own progress and of what they look for in vain."""
    loggers = [logging.getLogger(name) for name in (None, "torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
