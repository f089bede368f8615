"""A reader becomes a folder with `model.onnx`, whole and checked, or nothing is written."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import nn

from spanwise.backends import OnnxBackend, TorchBackend
from spanwise.checkpoints import (
    BUILTIN,
    EXPORT_FILE,
    atomic_folder,
    check_replaceable,
    fetch_folder,
    is_checkpoint_file,
    write_settings,
)
from spanwise.errors import CheckpointError, ConfigError
from spanwise.exporting.eight_bits import quantize
from spanwise.exporting.fusing import fuse
from spanwise.exporting.graph import match_parameters, quiet, write_graph
from spanwise.exporting.parity import check_logits, compare_logits, recalibrate
from spanwise.model import is_of_head, load_reader_model, position_limit
from spanwise.reader import Reader
from spanwise.schema import Example

logger = logging.getLogger("spanwise")


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written.

    Attributes:
        folder: holds `model.onnx`, the tokenizer, `config.json` and `spanwise.json`.
        size: of `model.onnx`, bytes.
        apart: largest difference of the float32 graph's logits from PyTorch's, as a share of the
            largest logit.
        f1: on the examples given, in eight bits and in PyTorch, each at a threshold fitted on them
            if the reader's was fitted; None where there were none.
    """

    folder: Path
    size: int
    apart: float
    f1: tuple[float, float] | None


def export_model(
    model: str | Path,
    out: str | Path,
    *,
    int8: bool = False,
    dev: Sequence[Example] | None = None,
    dev_name: str = "held-out questions",
    max_f1_drop: float = 0.5,
    revision: str | None = None,
    token: str | None = None,
) -> Exported:
    """Write a reader for ONNX Runtime, which needs no PyTorch to answer.

    Args:
        model: folder or Hub id of a model that reads spans.
        out: folder to write; an older export there is replaced.
        int8: store weights in eight bits, and compute in them; the head stays as it is.
        dev: labelled examples that the eight bits are tried on, with distinct ids; probabilities
            and threshold, where they were fitted, are fitted anew on them.
        dev_name: how `spanwise.json` calls them.
        max_f1_drop: F1, in percent, that they may cost there.
        revision: branch, tag or commit on the Hub.
        token: for private and gated models on the Hub.

    Raises:
        CheckpointError: no reader, or of a family that cannot be exported.
        ConfigError: `dev` without `int8`, the builtin reader, or something else than an
            export is at `out`.
        ParityError: it would answer otherwise than the model; nothing is written.
    """
    if dev is not None and not int8:
        raise ConfigError("dev says what eight bits cost; it is of no use without int8")
    folder = fetch_folder(model, revision=revision, token=token)
    if model == BUILTIN:
        raise ConfigError(f"{model} is an export in eight bits itself: copy its folder, {folder}")
    check_replaceable(Path(out), folder, mark=EXPORT_FILE, is_ours=_is_exported, what="export")
    reader = Reader.from_pretrained(folder, device="cpu", backend="torch")
    network = load_reader_model(folder, reader.settings.head)
    longest = position_limit(network)
    with atomic_folder(out) as fresh:
        file = fresh / EXPORT_FILE
        write_graph(network, file, name=str(model))
        apart_from = partial(
            compare_logits,
            vocabulary=network.config.vocab_size,  # type: ignore[union-attr,arg-type]
            longest=longest,
        )
        theirs = TorchBackend(network, device="cpu")
        try:
            apart = apart_from(OnnxBackend(file), theirs)
        except CheckpointError as error:
            raise CheckpointError(
                f"{model}: models of type {network.config.model_type!r} "  # type: ignore[union-attr]
                "cannot be exported: ONNX Runtime does not run what PyTorch wrote: "
                f"{error.__cause__}; use it with torch"
            ) from error
        check_logits(apart, str(model))
        parameters = match_parameters(network, file)
        logger.info("logits in float32 are within %.0e of PyTorch's", apart)
        if int8:
            with quiet():
                quantize(file, kept=_layers_of_head(network))
                steps = OnnxBackend(file)
                fuse(file)
            check_logits(apart_from(OnnxBackend(file), steps), f"{model}, attention joined")
        precision = "int8" if int8 else "float32"
        export = {"precision": precision, "positions": longest, "parameters": parameters}
        settings = replace(reader.settings, export=export)
        f1 = None
        if dev is not None:
            exported = Reader(OnnxBackend(file), reader.tokenizer, settings)
            calibration, f1 = recalibrate(exported, reader, dev, name=dev_name, most=max_f1_drop)
            settings = replace(settings, calibration=calibration)
        network.config.save_pretrained(fresh)  # type: ignore[union-attr,operator]
        reader.tokenizer.save(fresh)
        write_settings(fresh, settings)
        size = file.stat().st_size
    return Exported(folder=Path(out), size=size, apart=apart, f1=f1)


def _is_exported(name: str) -> bool:
    """Whether a file of this name may be an export's; weights that can be trained are not."""
    return is_checkpoint_file(name) and ".safetensors" not in name


def _layers_of_head(network: nn.Module) -> int:
    modules = network.named_modules()
    return sum(isinstance(m, nn.Linear) and is_of_head(network, name) for name, m in modules)
