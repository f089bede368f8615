"""The reader that the package carries: small, whole, and at hand with nothing else installed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from spanwise import Reader, TrainConfig, read_recipe
from spanwise.checkpoints import BUILTIN, fetch_folder
from spanwise.errors import ConfigError
from spanwise.exporting import export_model

# What a machine without PyTorch, an account and a network is like.
ALONE = """
import socket, sys

def refuse(*_):
    raise AssertionError("the network was asked")

socket.socket.connect = refuse
for name in ("torch", "transformers", "onnx", "datasets", "pyarrow"):
    sys.modules[name] = None
from spanwise.cli import main

sys.argv[1:] = {arguments!r}
main()
"""


def test_it_is_whole_and_small() -> None:
    files = {file.name: file.stat().st_size for file in fetch_folder(BUILTIN).iterdir()}
    assert set(files) == {
        "config.json", "model.onnx", "spanwise.json", "tokenizer.json", "tokenizer_config.json"
    }  # fmt: skip
    assert sum(files.values()) <= 25e6


def test_it_answers_without_anything_else(tmp_path: Path) -> None:
    text = tmp_path / "mill.txt"
    text.write_text("Tom Brown owned it. The mill was built in 1854 by Ada Green.")
    code = ALONE.format(
        arguments=["answer", "-q", "Who built the mill?", "-c", str(text), "--json"]
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    best = json.loads(done.stdout)["best"]
    assert (best["text"], best["start"], best["end"]) == ("Ada Green", 50, 59)


def test_it_says_that_an_answer_is_not_there() -> None:
    text = "The mill was built in 1854 by Ada Green."
    prediction = Reader.from_pretrained().answer("What is the capital of France?", text)
    assert prediction.best is None
    assert prediction.calibrated


def test_it_is_where_nothing_else_is_named(tmp_path: Path) -> None:
    assert TrainConfig(train=("t.json",), out="o").model == BUILTIN
    assert read_recipe(None, {"train": ["t.json"], "out": str(tmp_path)}).model == BUILTIN
    assert Reader.from_pretrained().settings == Reader.from_pretrained(BUILTIN).settings


def test_it_is_an_export_already(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="builtin is an export in eight bits itself: copy its"):
        export_model(BUILTIN, tmp_path / "out")


def test_another_language_is_warned_of(tmp_path: Path) -> None:
    text = tmp_path / "bahn.txt"
    text.write_text("Der Ausbau der Strecke ist teuer und wird mit einer Anleihe bezahlt.")
    for question, warned in ("Was wird mit der Anleihe bezahlt?", True), ("Who pays?", False):
        if not warned:
            text.write_text("The city pays for it.")
        command = [sys.executable, "-m", "spanwise", "answer", "-q", question, "-c", str(text)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ("the builtin reader knows English alone" in " ".join(done.stderr.split())) == warned


def test_it_has_no_revisions() -> None:
    with pytest.raises(ConfigError, match="revision 'main' was asked for, but builtin is a local"):
        fetch_folder(BUILTIN, revision="main")
