"""The log that a training run leaves in its folder.

This module knows nothing about training.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spanwise.errors import FormatError, Problem

_FILE = "metrics.jsonl"


@dataclass(frozen=True, kw_only=True)
class RunLog:
    """How a run went.

    Attributes:
        losses: epochs done, and the mean loss of the steps before.
        scores: epochs done, and EM and F1 on the dev set in percent; empty without a dev set.
    """

    losses: tuple[tuple[float, float], ...]
    scores: tuple[tuple[float, float, float], ...]


def read_log(folder: Path) -> RunLog | None:
    """Read the log of a run folder; None where there is none.

    Raises:
        FormatError: a line that is not of such a log.
    """
    file = folder / _FILE
    if not file.is_file():
        return None
    losses: list[tuple[float, float]] = []
    scores: list[tuple[float, float, float]] = []
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        try:
            entry: dict[str, Any] = json.loads(line)
            if "loss" in entry:
                losses.append((float(entry["epoch"]), float(entry["loss"])))
            elif entry["dev"]:
                dev = entry["dev"]
                scores.append((float(entry["epoch"]), float(dev["exact"]), float(dev["f1"])))
        except (ValueError, TypeError, KeyError):
            message = (
                f"{line[:60].decode(errors='replace')!r} is no entry of a run's log; take it out"
            )
            problem = Problem(file=str(file), place=f"line {number}", id=None, message=message)
            raise FormatError([problem]) from None
    return RunLog(losses=tuple(losses), scores=tuple(scores))
