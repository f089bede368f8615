"""Several processes learn as one does: the same losses, the same weights, and no question twice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spanwise.corpus import write_examples
from spanwise.schema import WindowSettings
from spanwise.training import FitConfig, TrainConfig, train
from spanwise.training.fitting import Batches, span_loss
from spanwise.windows import PairTokenizer, make_windows
from tests.conftest import make_colours

WINDOW = WindowSettings(max_length=32, stride=8, max_question_tokens=8)

# What each process runs: the recipe, and its own weights besides.
SCRIPT = """
import os
import sys
import torch
from spanwise.training import epochs, read_recipe, train

finish = epochs.Epochs.finish

def finish_and_show(self):
    torch.save(self.model.state_dict(), f"{self.out}-rank-{os.environ['RANK']}.pt")
    return finish(self)

epochs.Epochs.finish = finish_and_show
train(read_recipe(sys.argv[1], {}))
"""


def make_batches(encoder: Path, count: int, processes: int, **fit: Any) -> Batches:
    """Batches as each of several processes draws them."""
    windows = make_windows(make_colours(count, seed=7), PairTokenizer.from_folder(encoder), WINDOW)
    batches = Batches(windows, np.arange(count), FitConfig(**fit), pad_token_id=0)
    batches.processes, batches._count = processes, 0
    batches.set_epoch(0)
    return batches


@pytest.mark.parametrize("size", [{"batch_size": 4}, {"batch_tokens": 50}])
def test_processes_share_each_batch(encoder: Path, size: dict[str, int]) -> None:
    alone = make_batches(encoder, 50, 1, **{name: 3 * value for name, value in size.items()})
    shared = make_batches(encoder, 50, 3, **size)
    assert [rows.tolist() for rows in shared.plan] == [rows.tolist() for rows in alone.plan]
    assert len(shared) == 3 * len(alone)
    for number in range(len(alone)):
        parts = [shared[3 * number + process] for process in range(3)]
        labels = torch.cat([part["labels"] for part in parts])
        labels = labels[labels[:, 0] >= 0]
        assert sorted(labels.tolist()) == sorted(alone[number]["labels"].tolist())


def test_a_process_without_a_window_of_its_own_has_one_that_does_not_count(encoder: Path) -> None:
    batches = make_batches(encoder, 5, 4, batch_size=1)  # in fours, and one is left
    (lonely,) = [number for number, rows in enumerate(batches.plan) if len(rows) == 1]
    parts = [batches[4 * lonely + process] for process in range(4)]
    assert [part["labels"].tolist() for part in parts[1:]] == [[[-100, -100]]] * 3
    logits = torch.randn(1, 2, parts[1]["input_ids"].shape[1], requires_grad=True)
    loss = span_loss(logits, parts[1]["labels"], torch.tensor(2))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss == 0
    assert logits.grad is not None
    assert not logits.grad.any()


Make = Callable[..., TrainConfig]


@pytest.fixture
def recipe(tmp_path: Path, encoder: Path) -> Make:
    """A run without dropout, over sets that two processes cannot share evenly."""
    write_examples(
        tmp_path / "train.json", make_colours(75, seed=1, unanswerable=0.3), form="squad"
    )
    write_examples(tmp_path / "dev.json", make_colours(21, seed=2, unanswerable=0.3), form="squad")

    def make(out: str, **fit: Any) -> TrainConfig:
        usual: dict[str, Any] = {"epochs": 3, "precision": "fp32", "learning_rate": 3e-3}
        return TrainConfig(
            model=str(encoder),
            train=(str(tmp_path / "train.json"),),
            dev=(str(tmp_path / "dev.json"),),
            out=str(tmp_path / out),
            window=WINDOW,
            fit=FitConfig(**usual | fit),
        )

    return make


def start_two(config: TrainConfig) -> "subprocess.Popen[str]":
    """Run a recipe by `torchrun` in two processes."""
    file, script = Path(f"{config.out}.toml"), Path(f"{config.out}.py")
    file.write_text(config.to_toml())
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    command += ["--standalone", str(script), str(file)]
    environment = os.environ | {"SPANWISE_CACHE": f"{config.out}-cache"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


def run_two(config: TrainConfig) -> None:
    process = start_two(config)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors


def log_of(config: TrainConfig) -> list[dict[str, Any]]:
    text = (Path(config.out) / "metrics.jsonl").read_text(encoding="utf-8")
    return [
        {name: value for name, value in json.loads(line).items() if name != "seconds"}
        for line in text.splitlines()
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"batch_size": 8}, {"batch_size": 4}),
        ({"batch_size": 6, "accumulation": 2}, {"batch_size": 3, "accumulation": 2}),
        (
            {"batch_tokens": 160, "freeze": "encoder", "learning_rate": 1e-2},
            {"batch_tokens": 80, "freeze": "encoder", "learning_rate": 1e-2},
        ),
    ],
)
def test_two_processes_learn_what_one_does_with_twice_the_batch(
    recipe: Make, one: dict[str, Any], two: dict[str, Any], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("SPANWISE_CACHE", str(tmp_path / "cache"))
    alone, together = recipe("one", **one), recipe("two", **two)
    train(alone)
    run_two(together)
    expected, found = log_of(alone), log_of(together)
    assert len(expected) == len(found)
    for ours, theirs in zip(found, expected, strict=True):
        if "loss" in ours:
            assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
        else:
            assert ours["dev"]["total"] == 21
            assert ours["dev"] == pytest.approx(theirs["dev"], abs=1e-3)
    weights = [torch.load(tmp_path / f"two-rank-{rank}.pt") for rank in (0, 1)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.slow
def test_where_one_process_is_killed_all_end_and_the_run_can_go_on(
    recipe: Make, tmp_path: Path
) -> None:
    whole = recipe("whole", epochs=6, batch_size=4, checkpoint_minutes=1e-9)
    run_two(whole)
    config = recipe("killed", epochs=6, batch_size=4, checkpoint_minutes=1e-9)
    process = start_two(config)
    checkpoints = tmp_path / "killed" / "checkpoints"
    while not [*checkpoints.glob("step-*")]:
        assert process.poll() is None
        time.sleep(0.05)
    (children,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().splitlines()
    os.kill(int(children.split()[-1]), signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode
    assert "exitcode  : -9" in errors
    run_two(config)
    assert log_of(config) == log_of(whole)
    for rank in (0, 1):
        found, expected = (
            torch.load(tmp_path / f"{n}-rank-{rank}.pt") for n in ("killed", "whole")
        )
        assert all(torch.equal(found[name], expected[name]) for name in found)
