"""Tables and runs that the tests of `bulk` make for themselves."""

import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from spanwise.checkpoints import read_settings, write_settings
from spanwise.reader import Reader
from tests.conftest import make_colours

ROOT = Path(__file__).parent.parent


def make_rows(count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Rows that a tiny reader answers, every tenth of which cannot be answered."""
    return [
        {
            "id": number,
            "question": " " if number % 10 == 7 else example.question,
            "context": f"{example.context} {number}",
        }
        for number, example in enumerate(make_colours(count, seed=seed))
    ]


def make_model(exported: Path, folder: Path) -> Path:
    """A copy of a reader with a threshold that lets it answer half of the questions."""
    shutil.copytree(exported, folder)
    settings = read_settings(folder)
    assert settings is not None
    said = Reader.from_pretrained(folder).predict(make_colours(30, seed=0))
    threshold = statistics.median(prediction.null_probability for prediction in said)
    calibration = replace(settings.calibration, threshold=threshold)
    write_settings(folder, replace(settings, calibration=calibration))
    return folder


def write_lines(path: Path, rows: Sequence[Any]) -> Path:
    """Write JSONL; a row that is bytes stands as it is."""
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def read_folder(folder: Path) -> dict[str, bytes]:
    """Name and bytes of each file; hidden ones too, of which none is left by a whole run."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def start(*arguments: object) -> "subprocess.Popen[str]":
    """Start `spanwise bulk` as a process of its own."""
    command = [sys.executable, "-m", "spanwise", "bulk", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
