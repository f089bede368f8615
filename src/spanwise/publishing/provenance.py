"""What a model's files say of the machine it was made on, reduced to what others may read.

Of a path its last part is left; a data set or a model of the Hub stays what it is. This module
knows nothing about cards or the Hub.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from spanwise.checkpoints import BUILTIN, OFFLINE_ENCODER
from spanwise.corpus.scanning import distinct_names, file_name
from spanwise.publishing.leaks import is_machine_path
from spanwise.schema import ReaderSettings

logger = logging.getLogger("spanwise")

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_JSON = ("config.json", "tokenizer_config.json", "special_tokens_map.json")
_ORIGINS = {"_name_or_path", "name_or_path"}  # where transformers once loaded a model from


def hub_model(name: str, *, out: str = "", is_folder: bool | None = None) -> str:
    """The Hub id of a model; "" where it was a folder, or the builtin reader.

    `runs/first` reads like an id too. Where nothing tells, it is none where its first part is a
    folder here, or is that of the run's own folder.

    Args:
        name: as it was given to `spanwise train`.
        out: the folder of that run, as it was given.
        is_folder: what the run saw it to be; None: an older spanwise did not tell.
    """
    first = name.split("/", maxsplit=1)[0]
    if is_folder is None and name != OFFLINE_ENCODER:
        is_folder = Path(first).exists() or PurePosixPath(out).parts[:1] == (first,)
    return name if _HUB_ID.fullmatch(name) and not is_folder else ""


def clean_settings(settings: ReaderSettings) -> ReaderSettings:
    """Settings that tell of no path."""
    fitted_on = settings.calibration.fitted_on
    names = ", ".join(map(file_name, fitted_on.split(", "))) if fitted_on else ""
    return replace(
        settings,
        calibration=replace(settings.calibration, fitted_on=names),
        provenance=clean_provenance(settings.provenance),
    )


def clean_provenance(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance of `spanwise.json` without paths; what was reduced is logged."""
    clean = _clean(provenance)
    if gone := sorted({*_texts(provenance)} - {*_texts(clean)}):
        shown = ", ".join(f"{name} → {file_name(name)}" for name in gone)
        logger.info("paths of this machine are published as names alone: %s", shown)
    return clean


def _clean(provenance: Mapping[str, Any]) -> dict[str, Any]:
    recipe = provenance.get("recipe") or {}
    clean: dict[str, Any] = _without_paths(provenance)
    sources = {
        name: named_sources(provenance[name]) for name in ("train", "dev") if name in provenance
    }
    base = str(provenance.get("base_model", ""))
    called = _model_name(base, recipe, is_folder=provenance.get("base_is_folder"))
    clean |= sources | ({"base_model": called} if base else {})
    if recipe:
        clean["recipe"] = _without_paths(recipe) | {
            "train": named_sources(recipe.get("train", ())),
            "dev": named_sources(recipe.get("dev", ())),
            "model": called if base else _model_name(str(recipe.get("model", "")), recipe),
            "out": file_name(str(recipe.get("out", ""))),
        }
    if "mean_of" in provenance:
        clean["mean_of"] = [file_name(str(name)) for name in provenance["mean_of"]]
    if "ancestors" in provenance:
        clean["ancestors"] = [_clean(ancestor) for ancestor in provenance["ancestors"]]
    return clean


def clean_json(folder: Path) -> None:
    """Drop the entries of a model's JSON files that hold a path; what was dropped is logged."""
    for file in (folder / name for name in _JSON):
        try:
            data = json.loads(file.read_bytes())
        except (OSError, ValueError):
            continue  # there is none, or it is not read, and is searched as text
        entries = data.items() if isinstance(data, dict) else ()
        if dropped := [name for name, value in entries if _tells_a_path(name, value)]:
            kept = {name: value for name, value in data.items() if name not in dropped}
            text = json.dumps(kept, indent=2, ensure_ascii=False) + "\n"
            file.write_bytes(text.encode(errors="backslashreplace"))
            logger.info("%s is published without %s: a path", file.name, ", ".join(dropped))


def _tells_a_path(name: str, value: Any) -> bool:
    if not isinstance(value, str):
        return False
    is_origin = name in _ORIGINS and re.search(r"[/\\]", value) and not _HUB_ID.fullmatch(value)
    return bool(is_origin) or is_machine_path(value)


def _model_name(name: str, recipe: Mapping[str, Any], *, is_folder: bool | None = None) -> str:
    out = str(recipe.get("out", ""))
    is_id = name == BUILTIN or hub_model(name, out=out, is_folder=is_folder)
    return name if is_id else file_name(name)


def named_sources(sources: Any) -> Any:
    """Files by their names: a list of them, or a mapping with the sha256 of each."""
    if isinstance(sources, Mapping):
        return dict(zip(distinct_names(sources), sources.values(), strict=True))
    return distinct_names(sources)


def _without_paths(value: Any) -> Any:
    """Any JSON value, every text that is an absolute path reduced to its name."""
    if isinstance(value, Mapping):
        return {_without_paths(name): _without_paths(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_paths(entry) for entry in value]
    if isinstance(value, str) and _is_absolute(value):
        return file_name(value)
    return value


def _is_absolute(text: str) -> bool:
    return any(kind(text).is_absolute() for kind in (PurePosixPath, PureWindowsPath))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple):
        for entry in value:
            yield from _texts(entry)
    elif isinstance(value, str):
        yield value
