"""What a training run is told, all that cannot work reported at once.

This module knows nothing about files, flags or how a run is carried out.
"""

import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from math import inf
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from spanwise.checkpoints import BUILTIN, MOST_DOUBT
from spanwise.errors import ConfigError
from spanwise.schema import WindowSettings
from spanwise.toml import write_toml


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """The span head; `depth`, `width` and `dropout` are those of `mlp`.

    Attributes:
        kind: "linear" is the plain transformers class; "mlp" is spanwise's own.
        depth: hidden layers.
        width: units of each.
        dropout: share of units dropped in training.
    """

    kind: str = "linear"
    depth: int = 1
    width: int = 384
    dropout: float = 0.1

    def sizes(self) -> dict[str, Any]:
        """The head as `spanwise.json` keeps it."""
        return {"kind": "linear"} if self.kind == "linear" else asdict(self)


@dataclass(frozen=True, kw_only=True)
class DecodeConfig:
    """How answers are read off, as in `DecodeSettings`; whether null counts follows from the data.

    Attributes:
        n_best: spans, besides null, that share the softmax.
        max_answer_tokens: longest answer, in tokens.
        second_look: how much counts what the sentence of the best span, read by itself, says of
            null; 0: it is not read. None: as in the reader that the run begins with.
        missing_name: logits for null for each name or number of the question that stands neither in
            that sentence nor in the one before it. None: as in the reader that the run begins with.
    """

    n_best: int = 20
    max_answer_tokens: int = 30
    second_look: float | None = None
    missing_name: float | None = None


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How weights are fitted.

    Attributes:
        learning_rate: of AdamW, at its peak.
        epochs: passes over the windows; may be a fraction.
        batch_size: windows in a batch of each process.
        batch_tokens: tokens in a batch of each process at most, padding included; in place of
            `batch_size`.
        accumulation: batches in a step.
        warmup: share of the run in which the learning rate rises; it falls linearly after.
        weight_decay: on weights, not on biases and norms.
        max_grad_norm: where the gradient is clipped.
        freeze: "none", "embeddings", "encoder", or so many of the lowest layers.
        cache_gb: GB of disk that the states of a frozen encoder may take, for train and for dev
            each, every window being encoded once; 0: it runs in every step.
        attention_dropout: keep the encoder's dropout of attention weights. Its other dropout stays
            either way; without this one a step takes two thirds of the time on a processor.
        packing: run the windows of a batch end to end, without padding; for BERT, RoBERTa,
            DistilBERT, ELECTRA, ModernBERT and their kin.
        precision: "auto" takes bf16 where the machine computes in it, else fp32.
        null_windows: windows without an answer, which teach "not in this text": "keep", "drop", or
            "auto": keep where train or dev has unanswerable questions, or the run begins with a
            reader that says so of texts.
        patience: stop after so many epochs without a better dev F1, or, where it is equal, a better
            one of the answerable; 0 never does.
        max_minutes: of the whole run, reading, scoring and saving included; the learning rate comes
            down in time. None: no limit.
        checkpoint_minutes: minutes from one checkpoint within an epoch to the next; each epoch ends
            with one. A run that was killed goes on from the newest.
        keep_checkpoints: newest checkpoints that are kept, besides the best.
        seed: of the fresh head, the order and dropout.
        report_to: where the Trainer logs, "tensorboard" for one; empty: only `metrics.jsonl`.
    """

    learning_rate: float = 3e-5
    epochs: float = 2.0
    batch_size: int = 16
    batch_tokens: int | None = None
    accumulation: int = 1
    warmup: float = 0.1
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    freeze: Literal["none", "embeddings", "encoder"] | int = "none"
    cache_gb: float = 20.0
    attention_dropout: bool = False
    packing: bool = False
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    null_windows: Literal["auto", "keep", "drop"] = "auto"
    patience: int = 0
    max_minutes: float | None = None
    checkpoint_minutes: float = 10.0
    keep_checkpoints: int = 2
    seed: int = 0
    report_to: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NegativesConfig:
    """Questions made for training beside those that the data has, most without an answer.

    Attributes:
        repeat: how often each unanswerable question of the data is learnt in an epoch.
        foreign: such a share of the answerable questions is also put to another paragraph of its
            document.
        removed: such a share is also put to its paragraph without the sentence of the answer.
        exchanged: such a share is also asked with a name, number or word exchanged for another, in
            the question or in the paragraph; and half as many with it exchanged in both, which
            leaves them their answer.
    """

    repeat: int = 1
    foreign: float = 0.0
    removed: float = 0.0
    exchanged: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training run.

    Attributes:
        train: files to learn from, in any form that `corpus` reads.
        out: the run folder: new, or that of the same run, which then goes on.
        model: folder or Hub id of an encoder, or of a reader to go on from; "builtin", the reader
            that the package carries, unless told otherwise.
        dev: files to choose the epoch and fit the threshold on; never learnt from.
        revision: of a Hub model.
        columns: our column name to the data's, where a table has names of its own.
        window: how text becomes windows.
        decode: how answers are read off.
        head: the span head.
        negatives: questions made for training, most of them unanswerable.
        fit: how weights are fitted.
    """

    train: tuple[str, ...]
    out: str
    model: str = BUILTIN
    dev: tuple[str, ...] = ()
    revision: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    window: WindowSettings = field(default_factory=WindowSettings)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    negatives: NegativesConfig = field(default_factory=NegativesConfig)
    fit: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        """Refuse what cannot work, all of it at once.

        Raises:
            ConfigError: with every problem.
        """
        problems = [*_mistyped(self, ""), *([] if _mistyped(self, "") else _impossible(self))]
        if problems:
            raise ConfigError(problems)

    def to_toml(self) -> str:
        """The recipe with every default written out; `read_recipe` reads it back."""
        return write_toml(asdict(self))


def kinds_of(kind: Any) -> dict[str, Any]:
    """The type of each field of a dataclass."""
    hints = get_type_hints(kind)
    return {entry.name: hints[entry.name] for entry in fields(kind)}


def matches(value: Any, kind: Any) -> bool:
    """Whether a value is of the type that a field has."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return any(matches(value, entry) for entry in arguments)
    if origin is Literal:
        return value in arguments
    if origin is tuple:
        return isinstance(value, tuple | list) and all(matches(v, arguments[0]) for v in value)
    if origin is not None:
        is_table = isinstance(value, Mapping)
        return is_table and all(type(text) is str for text in (*value, *value.values()))
    if kind is float:
        return type(value) in (int, float)
    return type(value) is kind


def _mistyped(value: Any, prefix: str) -> list[str]:
    problems = []
    for name, kind in kinds_of(type(value)).items():
        entry = getattr(value, name)
        if is_dataclass(kind):
            problems += _mistyped(entry, f"{name}.") if is_dataclass(entry) else []
        if not (isinstance(entry, kind) if is_dataclass(kind) else matches(entry, kind)):  # type: ignore[arg-type]
            problems.append(f"{prefix}{name} is {entry!r}: it must be {_name(kind)}")
    return problems


def _name(kind: Any) -> str:
    names: dict[Any, str] = {int: "a whole number", float: "a number", str: "text", bool: "a bool"}
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(_name(entry) for entry in get_args(kind) if entry is not type(None))
    if get_origin(kind) is Literal:
        return " or ".join(repr(choice) for choice in get_args(kind))
    others = {None: "a table", tuple: "a list of text"}
    return names.get(kind) or others.get(get_origin(kind), "a table of text")


def _impossible(config: TrainConfig) -> list[str]:
    fit, window = config.fit, config.window
    least = {
        "window.max_length": (window.max_length, 8),
        "window.stride": (window.stride, 0),
        "window.max_question_tokens": (window.max_question_tokens, 1),
        "decode.n_best": (config.decode.n_best, 1),
        "decode.max_answer_tokens": (config.decode.max_answer_tokens, 1),
        "head.depth": (config.head.depth, 1),
        "head.width": (config.head.width, 1),
        "fit.batch_size": (fit.batch_size, 1),
        "fit.batch_tokens": (1 if fit.batch_tokens is None else fit.batch_tokens, 1),
        "fit.accumulation": (fit.accumulation, 1),
        "fit.weight_decay": (fit.weight_decay, 0),
        "fit.cache_gb": (fit.cache_gb, 0),
        "fit.patience": (fit.patience, 0),
        "fit.keep_checkpoints": (fit.keep_checkpoints, 1),
        "negatives.repeat": (config.negatives.repeat, 1),
    }
    positive = {
        "fit.learning_rate": fit.learning_rate,
        "fit.epochs": fit.epochs,
        "fit.max_grad_norm": fit.max_grad_norm,
        "fit.checkpoint_minutes": fit.checkpoint_minutes,
        "fit.max_minutes": 1.0 if fit.max_minutes is None else fit.max_minutes,
    }
    share = {"fit.warmup": fit.warmup, "head.dropout": config.head.dropout}
    problems = [
        f"{name} is {value}: it must be {'finite and ' * (value == inf)}at least {low}"
        for name, (value, low) in least.items()
        if not low <= value < inf
    ]
    problems += [
        f"{name} is {value}: it must be above 0"
        for name, value in positive.items()
        if not 0 < value < inf
    ]
    problems += [
        f"decode.{name} is {value}: it must be from 0 to {MOST_DOUBT:,}"
        for name, value in vars(config.decode).items()
        if name in {"second_look", "missing_name"} and not 0 <= (value or 0) <= MOST_DOUBT
    ]
    problems += [
        f"{name} is {value}: it must be from 0 to below 1"
        for name, value in share.items()
        if not 0 <= value < 1
    ]
    problems += [
        f"negatives.{name} is {value}: it must be from 0 to 1"
        for name, value in vars(config.negatives).items()
        if name != "repeat" and not 0 <= value <= 1
    ]
    if not 0 <= fit.seed < 2**32:
        problems.append(f"fit.seed is {fit.seed}: it must be from 0 to below 2^32")
    if not config.train:
        problems.append("train is empty: name at least one file to learn from")
    if fit.patience and not config.dev:
        problems.append(f"fit.patience is {fit.patience}, but there is no dev set to judge by")
    return problems
