"""A checkpoint folder becomes a model, and back; whatever would be random instead is refused.

This module knows nothing about tokenizers or settings.
"""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.utils import logging as transformers_logging

from spanwise.checkpoints import EXPORT_FILE
from spanwise.errors import CheckpointError, ConfigError
from spanwise.model.heads import HEAD_FILE, HEADS, SpanModel, base_of, config_of, is_of_head

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")

# What configs call it; the modules read it when they are made.
_ATTENTION_DROPOUTS = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")

# What transformers raises over files that it cannot use: it looks at little before it uses it.
_UNUSABLE = (
    *(ArithmeticError, AttributeError, ImportError, LookupError, OSError, RuntimeError),
    *(SafetensorError, StrictDataclassError, TypeError, ValueError),
)


def load_reader_model(folder: str | Path, head: Mapping[str, Any]) -> nn.Module:
    """Load a model that already reads spans, in float32 and evaluation mode.

    Args:
        folder: a checkpoint folder.
        head: `ReaderSettings.head`.

    Raises:
        CheckpointError: no span head, a tensor missing or misshapen, or a file that is broken.
        ConfigError: an unknown head, or a size that it does not take.
    """
    return _load(Path(folder), head, fresh=False).eval()


def load_training_model(
    folder: str | Path,
    head: Mapping[str, Any],
    *,
    keep_head: bool = True,
    attention_dropout: bool = True,
) -> nn.Module:
    """Load an encoder for fine-tuning, in float32 and training mode.

    Args:
        folder: a checkpoint folder: a reader to go on from, or an encoder, whose span head is then
            drawn from torch's random numbers.
        head: kind of head and its sizes.
        keep_head: False draws a custom head even where the folder has one, which may be another.
        attention_dropout: False leaves out the dropout of attention weights, whatever the config
            says, which is saved as it was. Only without it can attention be computed without ever
            holding its weights: on a processor a step then takes two thirds of the time.

    Raises:
        CheckpointError: a tensor of the encoder missing or misshapen, or a file that is broken.
        ConfigError: an unknown head, or a size that it does not take.
    """
    return _load(
        Path(folder), head, fresh=True, keep_head=keep_head, attention_dropout=attention_dropout
    ).train()


def save_model(model: nn.Module, folder: str | Path) -> None:
    """Write `config.json` and `model.safetensors`, and a custom head beside them."""
    with _quiet():
        if isinstance(model, SpanModel):
            base_of(model).save_pretrained(folder)
            save_file(model.head.state_dict(), Path(folder) / HEAD_FILE)
        else:
            model.save_pretrained(folder)  # type: ignore[operator]
    for file in Path(folder).glob("*.safetensors"):
        # safetensors makes files for their owner alone; the others follow the umask.
        shutil.copymode(Path(folder) / "config.json", file)


def _load(
    folder: Path,
    head: Mapping[str, Any],
    *,
    fresh: bool,
    keep_head: bool = True,
    attention_dropout: bool = True,
) -> nn.Module:
    with _quiet():
        config = _read_config(folder)
        _need_safetensors(folder, config)
        names = [name for name in _ATTENTION_DROPOUTS if hasattr(config, name)]
        saved = {name: getattr(config, name) for name in names}
        if not attention_dropout:
            config.update(dict.fromkeys(names, 0.0))
        model: nn.Module
        if head.get("kind") != "linear":
            made = _load_head(folder, config, head, fresh=fresh, keep=keep_head)
            encoder = _from_pretrained(folder, config, transformers.AutoModel, fresh=fresh)
            model = SpanModel(encoder, made)
        elif fresh or _names_span_head(config):
            auto = transformers.AutoModelForQuestionAnswering
            model = _from_pretrained(folder, config, auto, fresh=fresh)
        else:
            raise CheckpointError(
                f"{folder}: has no span head; train one first with 'spanwise train --model "
                f"{folder}' (its config.json names {config.architectures})"
            )
        config_of(model).update(saved)
        return model


def _read_config(folder: Path) -> Any:
    file = folder / "config.json"
    if not file.is_file():
        raise CheckpointError(f"{folder}: has no config.json; name a checkpoint's folder")
    try:
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except _UNUSABLE as error:
        reason = f"{_in_one_line(error)}; mend the file, or fetch it anew"
        if "trust_remote_code" in reason:
            reason = (
                "its model type is code of its own, which spanwise never runs; use a checkpoint of "
                "a type that transformers has"
            )
        raise CheckpointError(f"{file}: cannot be used: {reason}") from error
    config.num_labels = 2  # start and end; a classifier's number would give so many logits
    config.return_dict = True  # some old checkpoints say otherwise
    return config


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split()).rstrip('.')}"


def _names_span_head(config: Any) -> bool:
    return any("QuestionAnswering" in str(name) for name in config.architectures or ())


def _need_safetensors(folder: Path, config: Any) -> None:
    if any((folder / name).is_file() for name in _WEIGHTS):
        return
    if (folder / EXPORT_FILE).is_file():
        raise CheckpointError(
            f"{folder}: is an export, whose weights are in {EXPORT_FILE} alone; name the model "
            "that it was exported from"
        )
    pickled = sorted(path.name for path in folder.glob("pytorch_model*.bin"))
    if not pickled:
        raise CheckpointError(
            f"{folder}: has neither {' nor '.join(_WEIGHTS)}, so there are no weights to load; "
            "name a folder that has them (older kinds of weights are not read)"
        )
    known = [name for name in config.architectures or () if hasattr(transformers, name)]
    raise CheckpointError(
        f"{folder}: has only {', '.join(pickled)}; pickled weights can run code when they are "
        "read, so spanwise reads safetensors alone. If you trust this checkpoint, convert it: "
        f'python -c "from transformers import {[*known, "AutoModel"][0]} as M; '
        f'M.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r})"'
    )


def _from_pretrained(folder: Path, config: Any, auto: Any, *, fresh: bool) -> nn.Module:
    """Load through transformers and refuse whatever it would only have printed a table about."""
    mapping = auto._model_mapping  # noqa: SLF001 - the only list of the classes that exist
    if type(config) not in mapping:
        raise CheckpointError(
            f"{folder}: transformers has no {auto.__name__} class for model type "
            f"{config.model_type!r}; use another encoder, or a custom head: --head.kind mlp"
        )
    try:
        model, info = auto.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that the audit below names all of them
        )
    except _UNUSABLE as error:
        reason = f"{_in_one_line(error)}; fetch or write its files anew"
        raise CheckpointError(f"{folder}: cannot be loaded: {reason}") from error
    _audit(folder, model, info, fresh=fresh)
    return model  # type: ignore[no-any-return]


def _audit(folder: Path, model: nn.Module, info: Mapping[str, Any], *, fresh: bool) -> None:
    """Every tensor of the encoder must come from the checkpoint; a fresh head only for training."""
    shapes = {name: (tuple(old), tuple(new)) for name, old, new in info["mismatched_keys"]}
    random = sorted({*info["missing_keys"], *shapes})
    head = [name for name in random if is_of_head(model, name)]
    # A pooler that the checkpoint lacks takes no part in reading spans.
    encoder = [name for name in random if name not in head and ".pooler." not in f".{name}"]
    if encoder:
        config, first = config_of(model), encoder[0]
        total = sum(not is_of_head(model, name) for name in model.state_dict())
        misshapen = sum(name in shapes for name in encoder)
        found = "{} in the file, {} by config.json".format(*shapes.get(first, ("none", "due")))
        begin = Counter(name.split(".")[0] for name in _tensor_names(folder)).most_common(4)
        raise CheckpointError(
            f"{folder}: {len(encoder)} of {total} encoder tensors of {type(model).__name__} would "
            f"be random: {len(encoder) - misshapen} missing, {misshapen} of another shape (the "
            f"first: {first!r}, {found}). config.json says model_type {config.model_type!r} and "
            f"{config.architectures}; the checkpoint's tensors begin with "
            f"{', '.join(f'{name!r} ({count})' for name, count in begin)}. {_mend(model)}"
        )
    if head and not fresh:
        raise CheckpointError(
            f"{folder}: has no span head: {', '.join(head)} would be random; train one first with "
            f"'spanwise train --model {folder}'"
        )


def _tensor_names(folder: Path) -> Iterator[str]:
    for file in sorted(folder.glob("model*.safetensors")):
        with safe_open(file, framework="np") as tensors:
            yield from tensors.keys()


def _mend(model: nn.Module) -> str:
    name = type(model).__name__
    if "QuestionAnswering" in name and "CausalLM" in str(config_of(model).architectures):
        return (
            f"transformers gives {name} other tensor names than the causal model has; use a custom "
            "head, which loads the encoder itself: --head.kind mlp"
        )
    return "Weights and config.json are not of one model: mend config.json, or fetch both anew."


def _load_head(
    folder: Path, config: Any, head: Mapping[str, Any], *, fresh: bool, keep: bool
) -> nn.Module:
    """A custom head: with the weights beside the encoder's, or a fresh one for training."""
    kind = head.get("kind")
    sizes = {name: value for name, value in head.items() if name != "kind"}
    if kind not in HEADS:
        choices = ", ".join(["linear", *HEADS])
        raise ConfigError(f"head.kind is {kind!r}: it must be one of {choices}")
    if config.is_encoder_decoder or not hasattr(config, "hidden_size"):
        raise ConfigError(
            f"head.kind is {kind!r}, which needs an encoder with one state for each token; model "
            f"type {config.model_type!r} is none: use the head linear, or another model"
        )
    try:
        made = HEADS[str(kind)](config.hidden_size, **sizes)
    except TypeError as error:
        raise ConfigError(f"head.{kind} does not take these sizes: {sizes}: {error}") from error
    if keep and (folder / HEAD_FILE).is_file():
        _fill_head(made, folder / HEAD_FILE)
    elif not fresh:
        raise CheckpointError(
            f"{folder}: has no span head: {HEAD_FILE} is missing; fetch it, or train one first "
            f"with 'spanwise train --model {folder} --head.kind {kind}'"
        )
    return made


def _fill_head(head: nn.Module, file: Path) -> None:
    try:
        tensors, wanted = load_file(file), head.state_dict()
    except (OSError, SafetensorError) as error:
        reason = f"{_in_one_line(error)}; fetch or write it anew"
        raise CheckpointError(f"{file}: cannot be loaded: {reason}") from error
    wrong = sorted(
        name
        for name in {*tensors, *wanted}
        if name not in tensors or name not in wanted or tensors[name].shape != wanted[name].shape
    )
    if wrong:
        raise CheckpointError(
            f"{file}: {len(wrong)} of {len(wanted)} tensors are missing, unexpected or of another "
            f"shape (the first: {wrong[0]!r}); give the kind and sizes of head that spanwise.json "
            "beside it names, or move this file away to train a fresh head"
        )
    head.load_state_dict(tensors)


@contextmanager
def _quiet() -> Iterator[None]:
    """Transformers prints tables and bars while it works; the audit says what matters."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    hub_bars = not are_progress_bars_disabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()  # and the Hub's with it
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
        # Those of the Hub went with them, and came back with them.
        if hub_bars:
            enable_progress_bars()
        else:
            disable_progress_bars()
