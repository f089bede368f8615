"""Recipes in TOML, flags laid over them, and stages that are runs one after another.

This module knows nothing about how a run is carried out.
"""

import inspect
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_origin

from spanwise.errors import ConfigError
from spanwise.training.config import TrainConfig, kinds_of, matches

STAGE = "stage-"  # and its number: where in a run folder the stages before the last are


def list_settings() -> Iterator[tuple[str, str, str]]:
    """Name, default and meaning of each setting of a recipe's sections, as their classes say it."""
    for section, kind in kinds_of(TrainConfig).items():
        if not is_dataclass(kind):
            continue
        _, _, described = (inspect.getdoc(kind) or "").partition("Attributes:\n")
        # An entry begins at the first indent, what continues it stands deeper.
        entries = re.findall(
            r"^ {4}(\w+): ((?:.+\n?)(?: {5,}.+\n?)*)", described, flags=re.MULTILINE
        )
        defaults = {entry.name: entry.default for entry in fields(kind)}
        for name, meaning in entries:
            default = "–" if defaults[name] in {None, ()} else str(defaults[name])
            yield f"{section}.{name}", default, " ".join(meaning.split())


def read_recipe(file: str | Path | None, changes: Mapping[str, Any]) -> TrainConfig:
    """Read a recipe and lay changes over it.

    Args:
        file: TOML with the fields of `TrainConfig`, sections as tables; None: changes alone.
        changes: dotted name to value, `{"fit.epochs": 3}`. Text is read as the field's type.

    Raises:
        ConfigError: no TOML, unknown names, wrong types, values that cannot work, all at once; or
            a recipe of several stages, for `read_stages`.
    """
    first, *others = read_stages(file, changes)
    if others:
        raise ConfigError(f"{file}: has {1 + len(others)} stages; read it with read_stages")
    return first


def read_stages(file: str | Path | None, changes: Mapping[str, Any]) -> tuple[TrainConfig, ...]:
    """Read a recipe whose stages are runs one after another, and lay changes over each.

    A stage is a table of `[[stages]]`, with what it has of its own; all else is as the recipe has
    it. Each begins with the reader of the one before. The last writes to the recipe's `out`, those
    before to `out`/stage-1 and so on. A recipe without stages is one run. `train` each in turn.

    Args:
        file: as in `read_recipe`.
        changes: as in `read_recipe`; `model` is that of the first stage.

    Raises:
        ConfigError: as in `read_recipe`, or a stage that names a `model` or `out`.
    """
    data = _read_toml(Path(file)) if file is not None else {}
    stages = data.pop("stages", [{}])
    if not (isinstance(stages, list) and stages and all(isinstance(own, dict) for own in stages)):
        raise ConfigError("stages must be tables, each under a line of its own: [[stages]]")
    out = changes.get("out", data.get("out"))
    configs: list[TrainConfig] = []
    faults: dict[str, list[int]] = {}  # and the stages that have each
    for number, own in enumerate(stages, start=1):
        given: dict[str, Any] = {}
        if number < len(stages) and isinstance(out, str):
            given["out"] = str(Path(out, f"{STAGE}{number}"))
        if number > 1:  # its model is no Hub's
            given |= {"model": str(Path(str(out), f"{STAGE}{number - 1}")), "revision": None}
        problems = [
            f"{name} is not for a stage to say: each begins with the reader of the one before, and "
            "the recipe names the first model and the last folder"
            for name in ("model", "revision", "out")
            if name in own
        ]
        try:
            configs.append(_configure(_merge(data, own), {**changes, **given}))
        except ConfigError as error:
            problems += error.problems
        for problem in problems:
            faults.setdefault(problem, []).append(number)
    if faults:
        raise ConfigError(
            problem
            if len(numbers) == len(stages)
            else f"stage {', '.join(map(str, numbers))}: {problem}"
            for problem, numbers in faults.items()
        )
    return tuple(configs)


def _merge(data: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe with a stage's own settings in it, and in its sections."""
    sections = {
        name: data[name] | own[name] if isinstance(data[name], dict) else data[name]
        for name in data.keys() & own.keys()
        if isinstance(own[name], dict)  # what stands in place of a section is reported as such
    }
    return {**data, **own, **sections}


def _configure(data: dict[str, Any], changes: Mapping[str, Any]) -> TrainConfig:
    problems = []
    for name, value in changes.items():
        section, _, key = name.rpartition(".")
        target = data.setdefault(section, {}) if section else data
        kind = kinds_of(TrainConfig).get(section) if section else TrainConfig
        if not is_dataclass(kind) or key not in kinds_of(kind):
            problems.append(_unknown(name))
        elif isinstance(target, dict):  # else it is reported below as no table
            target[key] = _parse(value, kinds_of(kind)[key])
    problems += [
        _unknown(f"{name}.{key}" if key else name)
        for name, section in data.items()
        for key in _unknown_keys(name, section)
    ]
    problems += [
        f"{name} is missing; give it in the recipe or as --{name}"
        for name in ("train", "out")
        if name not in data
    ]
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    built = {name: _build(kinds_of(TrainConfig)[name], value) for name, value in data.items()}
    return TrainConfig(**built)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not a TOML recipe: {error}") from error


def _unknown_keys(name: str, section: Any) -> list[str]:
    kind = kinds_of(TrainConfig).get(name)
    if kind is None:
        return [""]
    if is_dataclass(kind) and isinstance(section, dict):
        return [key for key in section if key not in kinds_of(kind)]
    return []


def _unknown(name: str) -> str:
    known = [
        f"{entry}.{key}" if key else entry
        for entry, kind in kinds_of(TrainConfig).items()
        for key in (kinds_of(kind) if is_dataclass(kind) else [""])
    ]
    if near := get_close_matches(name, known, n=1, cutoff=0.85):
        return f"{name} is unknown; is it {near[0]}? --settings lists all"
    return f"{name} is unknown; known are {', '.join(known)}"


def _build(kind: Any, value: Any) -> Any:
    if is_dataclass(kind) and isinstance(kind, type) and isinstance(value, dict):
        return kind(**{key: _build(kinds_of(kind)[key], entry) for key, entry in value.items()})
    if get_origin(kind) is tuple:
        return tuple(value) if isinstance(value, list) else (value,)
    return float(value) if kind is float and type(value) is int else value


def _parse(value: Any, kind: Any) -> Any:
    """Read a flag's text as a TOML value where the field is no text."""
    if not isinstance(value, str) or matches(value, kind):
        return value
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value  # of a wrong type: reported with the others
