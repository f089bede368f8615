"""Checkpoints that a run goes on from: a reader, and all that its next step depends on.

Each is a folder `step-N`, whole or absent: written beside, flushed to the disk, then renamed, with
a manifest of what it holds. This module knows nothing about models, data or scores.
"""

import json
import logging
import pickle
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors import SafetensorError

from spanwise.checkpoints import atomic_folder, hash_file
from spanwise.errors import CheckpointError

logger = logging.getLogger("spanwise")

STATE_FILE = "state.pt"
"""Optimizer, schedule, random numbers and scores; a `torch.save` of plain values and tensors."""

MANIFEST_FILE = "manifest.json"

_NAME = re.compile(r"step-[0-9]+")

_ENTRIES = {"optimizer", "schedule", "reported", "processes", "run"}

_FORMAT = 1  # of manifest and state; grows when an older spanwise would misread a newer one

# What reading a file raises that was cut short, changed or is gone.
_BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


@contextmanager
def write_checkpoint(
    folder: Path, state: dict[str, Any], *, step: int, best: str, versions: dict[str, str]
) -> Iterator[Path]:
    """Yield an empty folder for a reader's files; state and manifest are put beside them.

    Args:
        folder: where it will stand.
        state: what the next step depends on, besides the weights.
        step: steps done.
        best: name of the checkpoint that is the best so far, which has to stay as long as this one;
            empty where there is none yet.
        versions: of the packages that wrote it.

    Raises:
        CheckpointError: it cannot be written; whatever stood there before still does.
    """
    try:
        with atomic_folder(folder) as fresh:
            yield fresh
            torch.save(state, fresh / STATE_FILE)
            files = {file.name: _fingerprint(file) for file in sorted(fresh.iterdir())}
            entries = {"format": _FORMAT, "step": step, "best": best, "versions": versions}
            manifest = json.dumps(entries | {"files": files}, indent=2)
            (fresh / MANIFEST_FILE).write_text(f"{manifest}\n", encoding="utf-8")
    except (OSError, RuntimeError, SafetensorError) as error:  # torch's own for a full disk
        reason = getattr(error, "strerror", None) or error
        earlier = [f"{path.name} is whole; " for path in _newest_first(folder.parent)[:1]]
        raise CheckpointError(
            f"{folder}: the checkpoint cannot be written: {reason}. {''.join(earlier)}make room, "
            "or lower fit.keep_checkpoints, and give the same command again to go on"
        ) from error


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run; None where there is none.

    It only looks, as another run may be at work there.

    Args:
        folder: holds `step-N` folders.

    Raises:
        CheckpointError: of a format that only a newer spanwise reads.
    """
    return next((path for path in _newest_first(folder) if not _fault(path)), None)


def clear_checkpoints(folder: Path, *, newest: Path | None) -> None:
    """Delete what a kill has left half-written, and set aside what is newer than `newest`.

    That is not whole; the log says why.
    """
    for unfinished in folder.glob(".step-*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    for checkpoint in takewhile(lambda path: path != newest, _newest_first(folder)):
        aside = checkpoint.with_name(f"passed-over-{checkpoint.name}-{uuid4().hex[:8]}")
        fault = _fault(checkpoint)
        checkpoint.rename(aside)
        logger.warning("%s is now %s: %s", checkpoint, aside.name, fault)


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Read back what `write_checkpoint` was given; nothing in the file is run.

    Raises:
        CheckpointError: it is something else.
    """
    file = checkpoint / STATE_FILE
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        if absent := _ENTRIES - state.keys():
            raise KeyError(*sorted(absent))
    except (pickle.UnpicklingError, EOFError, RuntimeError, *_BROKEN) as error:
        raise CheckpointError(
            f"{file} is not what a run has written ({type(error).__name__}); delete {checkpoint} "
            "to go on from an earlier checkpoint"
        ) from error
    return state


def prune_checkpoints(folder: Path, *, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints, and the best of which each of them knows."""
    newest = _newest_first(folder)
    needed = {path.name for path in newest[:keep]}
    needed |= {_best_of(path) for path in newest[:keep]}
    for path in newest:
        if path.name in needed:
            continue
        if path.is_symlink():  # moved elsewhere by hand
            path.unlink()
        else:
            shutil.rmtree(path)


def _fault(checkpoint: Path, *, spared: tuple[str, ...] = ()) -> str:
    """What is wrong with a checkpoint; empty where it is whole, or only `spared` files are not."""
    try:
        manifest = _read_manifest(checkpoint)
        if manifest["format"] > _FORMAT:
            raise CheckpointError(
                f"{checkpoint}: its format is {manifest['format']}, newer than this spanwise reads "
                f"({_FORMAT}); pip install --upgrade spanwise"
            )
        if absent := {STATE_FILE, "config.json"} - manifest["files"].keys():
            return f"{MANIFEST_FILE} lacks {', '.join(sorted(absent))}"
        for name, fingerprint in manifest["files"].items():
            if name not in spared and _fingerprint(checkpoint / name) != fingerprint:
                return f"{name} is not what was written"
        best = manifest["best"]
        if not _NAME.fullmatch(best or checkpoint.name):
            return f"{MANIFEST_FILE} names {best!r} as the best checkpoint"
    except _BROKEN as error:
        return f"its files are not whole: {error}"
    if spared or best in {"", checkpoint.name}:
        return ""
    fault = _fault(checkpoint.with_name(best), spared=(STATE_FILE,))  # of the best only its reader
    return f"the best one so far, {best}, is not whole: {fault}" if fault else ""


def _fingerprint(file: Path) -> dict[str, Any]:
    return {"size": file.stat().st_size, "sha256": hash_file(file)}


def _read_manifest(checkpoint: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((checkpoint / MANIFEST_FILE).read_bytes())
    return manifest


def _best_of(checkpoint: Path) -> str:
    try:
        return str(_read_manifest(checkpoint)["best"])
    except _BROKEN:  # it will be passed over
        return ""


def _newest_first(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("step-*") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.name[5:]), reverse=True)
