"""Encoders with a span head: made, loaded under audit, frozen, saved.

A linear head is the plain transformers `…ForQuestionAnswering` class, which anyone can load. Any
other head is a row of `HEADS` over an `AutoModel` encoder; its weights lie beside the encoder's in
`head.safetensors`. This module knows nothing about text, batches or training.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from spanwise.errors import CheckpointError, ConfigError, MissingExtra

try:
    import torch
    from torch import nn
except ImportError:
    raise MissingExtra("torch", "torch") from None

if TYPE_CHECKING:
    from transformers import PretrainedConfig

logger = logging.getLogger("spanwise")

HEAD_FILE = "head.safetensors"
Freeze = int | Literal["none", "embeddings", "encoder"]


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
        width: units of each.
        dropout: share of units dropped in training.
    """

    def __init__(
        self, hidden: int, *, depth: int = 1, width: int = 384, dropout: float = 0.1
    ) -> None:
        super().__init__()
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
        """Logits of (B, T) tokens."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None and accepts_type_ids(self.encoder):
            inputs["token_type_ids"] = token_type_ids
        logits = self.head(self.encoder(**inputs).last_hidden_state)
        return SpanLogits(start_logits=logits[..., 0], end_logits=logits[..., 1])


def load_reader_model(folder: str | Path, head: Mapping[str, Any]) -> nn.Module:
    """Load a model that already reads spans, in float32 and evaluation mode.

    Args:
        folder: a checkpoint folder.
        head: `ReaderSettings.head`.

    Raises:
        CheckpointError: it has no span head, or a tensor is missing or misshapen.
    """
    return _load(Path(folder), head, fresh=False).eval()


def load_training_model(folder: str | Path, head: Mapping[str, Any]) -> nn.Module:
    """Load an encoder for fine-tuning; a span head that the checkpoint lacks is made anew.

    Args:
        folder: a checkpoint folder: a bare encoder, or a reader to go on from.
        head: kind of head and its sizes.

    Raises:
        CheckpointError: a tensor of the encoder is missing or misshapen.
        ConfigError: an unknown head or a size that it does not take.
    """
    return _load(Path(folder), head, fresh=True)


def save_model(model: nn.Module, folder: str | Path) -> None:
    """Write `config.json` and `model.safetensors`, and a custom head beside them."""
    from safetensors.torch import save_file

    folder = Path(folder)
    with _quiet():
        if isinstance(model, SpanModel):
            model.encoder.save_pretrained(folder)  # type: ignore[operator]
            save_file(model.head.state_dict(), folder / HEAD_FILE)
        else:
            model.save_pretrained(folder)  # type: ignore[operator]


def _load(folder: Path, head: Mapping[str, Any], *, fresh: bool) -> nn.Module:
    import transformers

    _need_safetensors(folder)
    try:
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{folder}: config.json cannot be used: {error}") from error
    if head.get("kind") == "linear":
        if not fresh and not _names_span_head(config):
            message = (
                f"{folder}: has no span head; train one first with 'spanwise train --model "
                f"{folder}' (its config.json names {config.architectures})"
            )
            raise CheckpointError(message)
        return _from_pretrained(folder, config, transformers.AutoModelForQuestionAnswering, fresh)
    made = _make_head(config, head)
    encoder = _from_pretrained(folder, config, transformers.AutoModel, fresh)
    if (folder / HEAD_FILE).is_file():
        _fill_head(made, folder / HEAD_FILE)
    elif not fresh:
        raise CheckpointError(f"{folder}: {HEAD_FILE} is missing; train the head anew")
    return SpanModel(encoder, made)


def _names_span_head(config: "PretrainedConfig") -> bool:
    return any("QuestionAnswering" in name for name in config.architectures or ())


def _need_safetensors(folder: Path) -> None:
    if any(folder.glob("*.safetensors")):
        return
    pickled = [path.name for path in sorted(folder.glob("*.bin"))]
    if pickled:
        message = (
            f"{folder}: has only {', '.join(pickled)}; pickled weights can run code when they are "
            "read, so spanwise reads safetensors alone. Convert a checkpoint that you trust: "
            f"AutoModel.from_pretrained({str(folder)!r}).save_pretrained(NEW_FOLDER)"
        )
    else:
        message = f"{folder}: has no *.safetensors file, so there are no weights to load"
    raise CheckpointError(message)


def _from_pretrained(
    folder: Path,
    config: "PretrainedConfig",
    auto: Any,
    fresh: bool,  # noqa: FBT001
) -> nn.Module:
    """Load through transformers and refuse whatever it would only have printed a table about."""
    mapping = auto._model_mapping  # noqa: SLF001 - the only list of the classes that exist
    if type(config) not in mapping:
        message = (
            f"{folder}: transformers has no {auto.__name__} class for model type "
            f"{config.model_type!r}; use another encoder, or a custom head: --head.kind mlp"
        )
        raise CheckpointError(message)
    with _quiet():
        model, info = auto.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that the audit below names all of them
        )
    _audit(folder, model, info, fresh=fresh)
    return model  # type: ignore[no-any-return]


def _audit(folder: Path, model: nn.Module, info: Mapping[str, Any], *, fresh: bool) -> None:
    """Every tensor of the encoder must come from the checkpoint; a fresh head only for training."""
    prefix = f"{model.base_model_prefix}."
    bare = not any(name.startswith(prefix) for name in model.state_dict())  # an AutoModel class
    missing = sorted(info["missing_keys"])
    misshapen = sorted(str(name) for name, *_ in info["mismatched_keys"])
    # A pooler that the checkpoint lacks takes no part in reading spans.
    absent = [
        name
        for name in [*missing, *misshapen]
        if (bare or name.startswith(prefix)) and ".pooler." not in f".{name}"
    ]
    head = [name for name in [*missing, *misshapen] if not bare and not name.startswith(prefix)]
    if absent:
        config = _config(model)
        total = sum(bare or name.startswith(prefix) for name in model.state_dict())
        kept = Counter(name.split(".")[0] for name in _tensor_names(folder))
        message = (
            f"{folder}: {len(absent)} of {total} encoder tensors of {type(model).__name__} would "
            f"be random: {len(missing)} missing, {len(misshapen)} of another shape (first: "
            f"{absent[0]!r}). config.json says model_type {config.model_type!r} and "
            f"{config.architectures}; the checkpoint's tensors begin with "
            f"{', '.join(f'{name!r} ({count})' for name, count in kept.most_common(4))}. "
            + _mend(model)
        )
        raise CheckpointError(message)
    if head and not fresh:
        message = (
            f"{folder}: has no span head: {', '.join(head)} would be random; train one first with "
            f"'spanwise train --model {folder}'"
        )
        raise CheckpointError(message)


def _mend(model: nn.Module) -> str:
    if any("CausalLM" in name for name in _config(model).architectures or ()):
        return (
            f"transformers gives {type(model).__name__} other tensor names than the causal model "
            "has; use a custom head, which loads the encoder itself: --head.kind mlp"
        )
    return "Use a checkpoint of the type that its config.json names, or mend model_type there."


def _config(model: nn.Module) -> Any:
    """The transformers configuration; `nn.Module` does not declare it."""
    return model.config


def _tensor_names(folder: Path) -> Iterator[str]:
    from safetensors import safe_open

    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="np") as tensors:
            yield from tensors.keys()


def _make_head(config: "PretrainedConfig", head: Mapping[str, Any]) -> nn.Module:
    sizes = {name: value for name, value in head.items() if name != "kind"}
    kind = head.get("kind")
    if kind not in HEADS:
        choices = ", ".join(["linear", *HEADS])
        raise ConfigError(f"head.kind is {kind!r}: it must be one of {choices}")
    if config.is_encoder_decoder:
        message = f"model type {config.model_type!r} has a decoder: use its own head, linear"
        raise ConfigError(message)
    try:
        return HEADS[str(kind)](config.hidden_size, **sizes)
    except TypeError as error:
        raise ConfigError(f"head.{kind} does not take these sizes: {sizes}: {error}") from error


def _fill_head(head: nn.Module, file: Path) -> None:
    from safetensors.torch import load_file

    tensors, wanted = load_file(file), head.state_dict()
    wrong = sorted(
        name
        for name in {*tensors, *wanted}
        if name not in tensors or name not in wanted or tensors[name].shape != wanted[name].shape
    )
    if wrong:
        message = (
            f"{file}: {len(wrong)} of {len(wanted)} tensors are missing, unexpected or of another "
            f"shape (first: {wrong[0]!r}); spanwise.json and this file are not of one model"
        )
        raise CheckpointError(message)
    head.load_state_dict(tensors)


def freeze(model: nn.Module, part: Freeze) -> None:
    """Take a part of the encoder out of training: no gradient, no dropout.

    Args:
        model: from `load_training_model`.
        part: "none", "embeddings", "encoder", or so many of the lowest layers (embeddings too).

    Raises:
        ConfigError: another word, or more layers than there are.
    """
    encoder: Any = model.encoder if isinstance(model, SpanModel) else model.base_model
    embeddings = getattr(encoder, "embeddings", None) or encoder.get_input_embeddings()
    stacks = [module for module in encoder.modules() if isinstance(module, nn.ModuleList)]
    layers = list(max(stacks, key=len, default=[]))
    if part == "none":
        frozen = []
    elif part == "embeddings":
        frozen = [embeddings]
    elif part == "encoder":
        frozen = [encoder]
    elif isinstance(part, int) and not isinstance(part, bool) and 0 < part <= len(layers):
        frozen = [embeddings, *layers[:part]]
    else:
        message = (
            f"freeze is {part!r}: it must be none, embeddings, encoder, or a number of layers from "
            f"1 to {len(layers)}"
        )
        raise ConfigError(message)
    for module in frozen:
        module.requires_grad_(requires_grad=False)
        module.register_forward_pre_hook(_stay_in_evaluation)


def _stay_in_evaluation(module: nn.Module, _: Any) -> None:
    # `model.train()` reaches frozen parts too, at every step; dropout there would be noise that
    # nothing can learn from.
    module.eval()


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Trainable and all parameters."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(size for size, trainable in sizes if trainable), sum(size for size, _ in sizes)


def accepts_type_ids(model: nn.Module) -> bool:
    """Whether the model takes `token_type_ids`: RoBERTa's class does, and has only one of them."""
    import inspect

    named = "token_type_ids" in inspect.signature(model.forward).parameters
    return named and getattr(_config(model), "type_vocab_size", 2) > 1


def position_limit(model: nn.Module) -> int | None:
    """Most tokens that fit the model's positions; None where they are not limited.

    RoBERTa's kind keeps `padding_idx + 1` of its positions for padding: 514 means 512.
    """
    limit = getattr(_config(model), "max_position_embeddings", None)
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and name.endswith("position_embeddings"):
            reserved = 0 if module.padding_idx is None else module.padding_idx + 1
            limit = min(limit or module.num_embeddings, module.num_embeddings - reserved)
    return limit if limit and limit > 0 else None


def is_causal(model: nn.Module) -> bool:
    """Whether a token sees only those before it: found by changing the last of a few tokens."""
    vocabulary = _config(model).vocab_size
    ids = torch.arange(8).remainder(vocabulary).repeat(2, 1)
    ids[1, -1] = (ids[1, -1] + 1) % vocabulary
    device = next(model.parameters()).device
    training = model.training
    with torch.inference_mode():
        inputs = {"input_ids": ids.to(device), "attention_mask": torch.ones_like(ids).to(device)}
        logits = model.eval()(**inputs).start_logits
    model.train(training)
    return bool(torch.equal(logits[0, :-1], logits[1, :-1]))


@contextmanager
def _quiet() -> Iterator[None]:
    """Transformers prints tables and bars while it loads; the audit says what matters."""
    from transformers.utils import logging as transformers_logging

    level, bars = (
        transformers_logging.get_verbosity(),
        transformers_logging.is_progress_bar_enabled(),
    )
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
