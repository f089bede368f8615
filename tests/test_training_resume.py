"""A run that was killed goes on to the bit, and refuses to go on otherwise than it was begun."""

import json
import logging
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file

from spanwise.checkpoints import read_settings
from spanwise.corpus import write_examples
from spanwise.errors import CheckpointError, ConfigError
from spanwise.reader import Reader
from spanwise.schema import WindowSettings
from spanwise.training import FitConfig, HeadConfig, Progress, TrainConfig, train
from spanwise.training.checkpointing import _fingerprint, read_state
from spanwise.training.clock import Clock
from spanwise.training.interruption import Interruption
from spanwise.training.run import plan_stages
from tests.conftest import make_colours

ALWAYS = 1e-9  # minutes between checkpoints: one after each step
Make = Callable[..., TrainConfig]

# What a run may be made of; each with dropout, and a dev set.
KINDS: dict[str, dict[str, Any]] = {
    "buckets": {"fit": {"batch_tokens": 80, "attention_dropout": True}},
    "accumulation": {"fit": {"batch_size": 3, "accumulation": 4, "epochs": 1.6}},
    "early-stopping": {"fit": {"batch_size": 8, "epochs": 20, "patience": 2, "freeze": 1}},
    "frozen": {
        "fit": {"batch_size": 8, "freeze": "encoder", "learning_rate": 1e-2},
        "head": HeadConfig(kind="mlp", depth=2, width=16),
    },
}


class Killed(Exception):  # noqa: N818 - it is no error
    """Stands for a kill, where a whole process would take too long."""


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """States of frozen encoders are kept where the test ends; a test does not wait for the disk."""
    monkeypatch.setenv("SPANWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("spanwise.checkpoints.flush", lambda _: None)


@pytest.fixture
def recipe(tmp_path: Path, make_encoder: Callable[..., Path]) -> Make:
    """A run of some 30 steps; `fit` changes its settings, the rest are fields."""
    write_examples(
        tmp_path / "train.json", make_colours(75, seed=1, unanswerable=0.3), form="squad"
    )
    write_examples(tmp_path / "dev.json", make_colours(20, seed=2, unanswerable=0.3), form="squad")
    model = make_encoder()

    def make(*, out: str = "run", fit: dict[str, Any] | None = None, **fields: Any) -> TrainConfig:
        usual: dict[str, Any] = {"epochs": 3, "batch_size": 8, "precision": "fp32"}
        usual |= {"learning_rate": 3e-3, "checkpoint_minutes": ALWAYS}
        given: dict[str, Any] = {
            "model": str(model),
            "train": (str(tmp_path / "train.json"),),
            "dev": (str(tmp_path / "dev.json"),),
            "out": str(tmp_path / out),
            "window": WindowSettings(max_length=32, stride=8, max_question_tokens=8),
            "fit": FitConfig(**usual | (fit or {})),
        }
        return TrainConfig(**given | fields)

    return make


def outcome(folder: Path) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    """All that the log says but the time, and the weights."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    entries = [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
    files = sorted(folder.glob("*.safetensors"))
    weights = {f"{file.name} {n}": t for file in files for n, t in load_file(file).items()}
    return entries, weights


def assert_same(run: Path, whole: Path) -> None:
    """Of two runs the log and the weights are equal to the bit."""
    (entries, weights), (expected, expected_weights) = outcome(run), outcome(whole)
    assert entries == expected
    assert weights.keys() == expected_weights.keys()
    assert all(torch.equal(weights[name], expected_weights[name]) for name in weights)


def kill_after(step: int) -> Callable[[Progress], None]:
    """A progress that ends the run at a step, before it is saved."""

    def stop(progress: Progress) -> None:
        if progress.step == step:
            raise Killed

    return stop


@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_run_goes_on_to_the_bit(
    recipe: Make, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="spanwise")
    whole = train(recipe(out="whole", **KINDS[kind]))
    config = recipe(**KINDS[kind])
    seen: list[Progress] = []
    for step in (4, 9):
        with pytest.raises(Killed):
            train(config, progress=kill_after(step))
    trained = train(config, resume=True, progress=seen.append)
    assert (
        f"the run goes on from {config.out}/checkpoints/step-8, the newest whole checkpoint"
        in caplog.text
    )
    assert seen[0].step == 9
    assert replace(trained, folder=whole.folder) == whole
    assert_same(trained.folder, whole.folder)
    if kind == "frozen":
        assert caplog.text.count("are written to") == 2  # of train and dev: once for all runs


def test_what_was_known_of_null_survives_a_kill(recipe: Make, tmp_path: Path) -> None:
    reader = train(recipe(out="reader", fit={"epochs": 1})).folder
    write_examples(tmp_path / "answered.json", make_colours(20, seed=2), form="squad")
    fields = {"model": str(reader), "dev": (str(tmp_path / "answered.json"),)}
    whole = train(recipe(out="whole", **fields))
    for step in (4, 14):
        with pytest.raises(Killed):
            train(recipe(**fields), progress=kill_after(step))
    assert train(recipe(**fields)).calibration == whole.calibration
    assert whole.calibration.threshold != 0.5  # the default


def test_a_checkpoint_that_is_not_whole_is_passed_over(
    recipe: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="spanwise")
    whole = train(recipe(out="whole"))
    config = recipe(fit={"keep_checkpoints": 4})
    with pytest.raises(Killed):
        train(config, progress=kill_after(6))
    checkpoints = Path(config.out) / "checkpoints"
    (checkpoints / "step-5" / "manifest.json").unlink()
    state = checkpoints / "step-4" / "state.pt"
    state.write_bytes(state.read_bytes()[:-1])
    weights = checkpoints / "step-3" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    (checkpoints / ".step-6.0123abcd").mkdir()  # as a kill in the middle of saving leaves it
    before = sorted(checkpoints.rglob("*"))
    plan_stages([config])  # of a run that is at work nothing may be taken away
    assert sorted(checkpoints.rglob("*")) == before
    trained = train(config)
    assert re.search(
        r"step-5 is now passed-over-.*: its files are not whole: .*manifest", caplog.text
    )
    assert re.search(r"step-4 is now .*: state\.pt is not what was written", caplog.text)
    assert re.search(r"step-3 is now .*: model\.safetensors is not what", caplog.text)
    assert f"the run goes on from {checkpoints}/step-2" in caplog.text
    assert_same(trained.folder, whole.folder)
    assert not [*checkpoints.glob(".*")]
    assert len([*checkpoints.glob("passed-over-step-*")]) == 3


def test_a_checkpoint_whose_best_is_not_whole_is_passed_over(
    recipe: Make, caplog: pytest.LogCaptureFixture
) -> None:
    config = recipe(fit={"epochs": 4, "learning_rate": 1e-9})  # the first epoch stays the best
    with pytest.raises(Killed):
        train(config, progress=kill_after(25))
    checkpoints = Path(config.out) / "checkpoints"
    assert {path.name for path in checkpoints.iterdir()} == {"step-10", "step-23", "step-24"}
    (checkpoints / "step-10" / "config.json").unlink()
    with pytest.raises(ConfigError, match="no whole checkpoint is: leave out resume to begin anew"):
        train(config, resume=True)
    assert "step-24 is now passed-over-" in caplog.text
    assert "the best one so far, step-10, is not whole: " in caplog.text
    train(config)
    assert caplog.text.count(f"{config.out!r}, where no whole checkpoint is: the run begins") == 1


def test_of_the_best_checkpoint_only_the_reader_is_needed(
    recipe: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="spanwise")
    config = recipe(fit={"epochs": 4, "learning_rate": 1e-9})
    with pytest.raises(Killed):
        train(config, progress=kill_after(25))
    (Path(config.out) / "checkpoints" / "step-10" / "state.pt").unlink()
    assert train(config).epoch == 1
    assert "the run goes on from" in caplog.text


@pytest.mark.parametrize(
    ("file", "content", "fault"),
    [
        ("manifest.json", "[]", "its files are not whole"),
        ("manifest.json", '{"format": 1, "files": {}, "best": ""}', "lacks config.json, state.pt"),
        ("state.pt", "x", "state.pt is not what was written"),
    ],
)
def test_whatever_is_in_a_checkpoint_an_earlier_one_is_taken(
    recipe: Make, caplog: pytest.LogCaptureFixture, file: str, content: str, fault: str
) -> None:
    config = recipe(fit={"keep_checkpoints": 3})
    with pytest.raises(Killed):
        train(config, progress=kill_after(5))
    checkpoints = Path(config.out) / "checkpoints"
    (checkpoints / "step-4" / file).write_text(content)
    (checkpoints / "step-2" / "manifest.json").unlink()  # as a kill in the middle of deleting it
    shutil.copytree(checkpoints / "step-3", checkpoints / "step-3-backup")  # of the user's
    seen: list[Progress] = []
    train(config, progress=seen.append)
    assert fault in caplog.text
    assert seen[0].step == 4
    assert (checkpoints / "step-3-backup").is_dir()


def test_a_state_that_is_none_is_named_and_not_run(recipe: Make) -> None:
    config = recipe()
    with pytest.raises(Killed):
        train(config, progress=kill_after(3))
    folder = Path(config.out) / "checkpoints" / "step-2"
    for state, kind in (({"run": "{}"}, "KeyError"), (Killed, "UnpicklingError")):
        torch.save(state, folder / "state.pt")
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"]["state.pt"] = _fingerprint(folder / "state.pt")
        (folder / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(CheckpointError, match=rf"state\.pt is not what .*\({kind}\); delete"):
            train(config)


def test_a_log_that_is_gone_is_not_filled_with_zeros(recipe: Make) -> None:
    config = recipe()
    with pytest.raises(Killed):
        train(config, progress=kill_after(15))
    log = Path(config.out) / "metrics.jsonl"
    log.unlink()
    train(config)
    assert b"\0" not in log.read_bytes()


def test_a_reader_that_was_deleted_after_the_end_is_put_there_again(recipe: Make) -> None:
    whole = outcome(train(recipe(out="whole")).folder)[1]
    folder = train(recipe()).folder
    (folder / "model.safetensors").unlink()
    train(recipe(), progress=kill_after(1))
    weights = outcome(folder)[1]
    assert all(torch.equal(weights[name], whole[name]) for name in whole)


def test_file_names_that_no_recipe_can_hold_are_no_hindrance(recipe: Make, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"tr\xff\x7f.json")
    shutil.copy(tmp_path / "train.json", odd)
    with pytest.raises(ConfigError, match=r"run\\udcff', where no folder can be made: 'utf-8'"):
        train(recipe(out=os.fsdecode(b"run\xff")))
    config = recipe(train=(str(odd),), out="run\x7f", fit={"epochs": 1})
    with pytest.raises(Killed):
        train(config, progress=kill_after(5))
    seen: list[Progress] = []
    train(config, progress=seen.append)
    assert seen[0].step == 5


def test_a_checkpoint_of_a_newer_spanwise_is_not_touched(recipe: Make) -> None:
    config = recipe()
    with pytest.raises(Killed):
        train(config, progress=kill_after(3))
    file = Path(config.out) / "checkpoints" / "step-2" / "manifest.json"
    file.write_text(file.read_text().replace('"format": 1', '"format": 9'))
    with pytest.raises(CheckpointError, match=r"step-2: its format is 9, .*pip install --upgrade"):
        train(config)
    assert file.is_file()


def test_the_newest_checkpoints_and_the_best_are_kept(recipe: Make) -> None:
    for keep in (1, 3):
        fit = {"epochs": 4, "learning_rate": 1e-9, "keep_checkpoints": keep}
        trained = train(recipe(out=f"keep-{keep}", fit=fit))
        kept = {path.name for path in (trained.folder / "checkpoints").iterdir()}
        assert trained.epoch == 1
        assert kept == {"step-10", *(f"step-{step}" for step in range(41 - keep, 41))}


def test_a_run_that_has_ended_is_not_run_again(recipe: Make) -> None:
    trained = train(recipe())
    before = {path: path.stat().st_mtime_ns for path in trained.folder.rglob("*.*")}
    assert train(recipe(), progress=kill_after(1)) == trained
    changed = {path for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert {path.name for path in changed} <= {".lock"}


def test_a_run_killed_after_its_last_step_only_ends(
    recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(recipe(out="whole"))
    with monkeypatch.context() as patch:
        patch.setattr("spanwise.training.run.Epochs.finish", raise_killed)
        with pytest.raises(Killed):
            train(recipe())
    trained = train(recipe(), progress=kill_after(1))
    assert_same(trained.folder, whole.folder)


def raise_killed(*_: Any) -> None:
    raise Killed


def test_another_recipe_is_refused_by_name(recipe: Make) -> None:
    with pytest.raises(Killed):
        train(recipe(), progress=kill_after(3))
    other = recipe(fit={"learning_rate": 1e-4, "seed": 7}, head=HeadConfig(kind="mlp"))
    with pytest.raises(ConfigError, match=r"in '.*run' a run was begun otherwise") as caught:
        train(other)
    assert caught.value.problems[1:] == (
        "head.kind was 'linear', now 'mlp'",
        "fit.learning_rate was 0.003, now 0.0001",
        "fit.seed was 0, now 7",
    )
    train(recipe(fit={"keep_checkpoints": 1, "checkpoint_minutes": 1.0}))  # they teach nothing


def test_other_data_is_refused_by_name(recipe: Make, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(recipe(), progress=kill_after(3))
    examples = make_colours(20, seed=2, unanswerable=0.3)
    for other in (
        make_colours(20, seed=3),
        [replace(example, title="a title") for example in examples],  # negatives go by it
        [replace(example, question=f"{example.question} ?") for example in examples],
        [replace(example, context=f"{example.context} .") for example in examples],
    ):
        write_examples(tmp_path / "dev.json", other, form="squad")
        with pytest.raises(ConfigError, match=r"dev is other data than it was \(.*/dev\.json\)"):
            train(recipe())


def test_another_number_of_processes_is_refused(recipe: Make, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(recipe(), progress=kill_after(3))
    file = tmp_path / "run" / "run.json"
    file.write_text(file.read_text().replace('"processes": 1', '"processes": 4'))
    with pytest.raises(ConfigError, match="the number of processes was 4, now 1: torchrun --npro"):
        train(recipe())


def test_an_account_of_the_run_that_is_broken_is_named(recipe: Make, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(recipe(), progress=kill_after(3))
    (tmp_path / "run" / "run.json").write_text('{"processes": 1')
    with pytest.raises(ConfigError, match=r"run\.json is not what a run has written: .*delimiter"):
        train(recipe())


def test_a_run_that_cannot_begin_leaves_no_folder_of_its_own(recipe: Make, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    for out in ("ours", "theirs"):
        with pytest.raises(CheckpointError, match="none"):
            train(recipe(out=out, model=str(tmp_path / "none")))
    assert not (tmp_path / "ours").exists()
    assert not [*(tmp_path / "theirs").iterdir()]


def test_a_run_that_has_not_ended_is_no_model(recipe: Make) -> None:
    config = recipe()
    with pytest.raises(Killed):
        train(config, progress=kill_after(3))
    message = r"run is a run that has not ended: .*--resume --out .*run', or name one of .*points,"
    with pytest.raises(CheckpointError, match=message):
        Reader.from_pretrained(config.out)
    assert (
        Reader.from_pretrained(f"{config.out}/checkpoints/step-2").settings.provenance["step"] == 2
    )


def test_a_model_that_is_trained_on_keeps_what_it_had_learnt_from(recipe: Make) -> None:
    first = train(recipe(out="first", fit={"epochs": 1}))
    config = recipe(out="second", model=str(first.folder), fit={"epochs": 1})
    with pytest.raises(Killed):
        train(config, progress=kill_after(3))
    second = read_settings(train(config).folder)
    before = read_settings(first.folder)
    assert before is not None
    assert second is not None
    names = ("base_model", "base_is_folder", "train", "dev")
    assert before.provenance["ancestors"] == []
    assert second.provenance["ancestors"] == [{name: before.provenance[name] for name in names}]
    assert second.provenance["base_model"] == str(first.folder)


def test_where_nothing_was_saved_a_run_begins_anew(recipe: Make) -> None:
    with pytest.raises(Killed):
        train(recipe(), progress=kill_after(1))
    again = recipe(fit={"seed": 1})
    assert_same(train(again).folder, train(replace(again, out=f"{again.out}-whole")).folder)


def test_resuming_nothing_is_refused(recipe: Make) -> None:
    with pytest.raises(ConfigError, match=r"run', where no run has begun: leave out resume"):
        train(recipe(), resume=True)


def test_a_folder_where_another_run_is_at_work_is_refused(recipe: Make, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with (
        FileLock(tmp_path / "run" / ".lock"),
        pytest.raises(ConfigError, match="run', where another run is at work; name a new folder"),
    ):
        train(recipe())


def test_the_reader_is_on_the_disk_before_the_run_counts_as_ended(
    recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[Path] = []
    monkeypatch.setattr("spanwise.training.epochs.flush", flushed.append)
    out = train(recipe()).folder
    assert {out, out / ".model.safetensors", out / ".spanwise.json"} <= set(flushed)


def test_weights_that_are_not_finite_are_not_saved(
    recipe: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """What is saved within an epoch takes the place of what was good."""
    config = recipe(fit={"learning_rate": 1e30, "weight_decay": 1e30})
    with pytest.raises(ConfigError, match=r"became nan in the first epoch; .* in a new folder"):
        train(config)
    for checkpoint in (Path(config.out) / "checkpoints").glob("step-*"):
        weights = load_file(checkpoint / "model.safetensors").values()
        assert all(torch.isfinite(tensor).all() for tensor in weights)


def test_a_full_disk_leaves_the_last_checkpoint(recipe: Make) -> None:
    whole = train(recipe(out="whole"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_the_disk(progress: Progress) -> None:
        if progress.step == 5:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))

    message = r"step-5: the checkpoint cannot be written: .*step-4 is whole; make room"
    try:
        with pytest.raises(CheckpointError, match=message):
            train(recipe(), progress=fill_the_disk)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    seen: list[Progress] = []
    trained = train(recipe(), progress=seen.append)
    assert seen[0].step == 5
    assert_same(trained.folder, whole.folder)


def test_a_place_that_takes_no_folder_is_named(recipe: Make, tmp_path: Path) -> None:
    def put_a_file_there(progress: Progress) -> None:
        if progress.step == 1:
            (tmp_path / "run" / "checkpoints").write_text("")

    with pytest.raises(CheckpointError, match=r"checkpoints/step-1: the checkpoint cannot be"):
        train(recipe(), progress=put_a_file_there)


def test_a_run_within_a_time_goes_on_with_what_is_left_of_it(
    recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = recipe(fit={"max_minutes": 5.0, "warmup": 0.0})
    seen: list[Progress] = []
    rates: list[float] = []
    step = torch.optim.AdamW.step

    def step_and_note(self: torch.optim.AdamW, *args: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", step_and_note)
    monkeypatch.setattr(Clock, "share", lambda _: min(1.0, len(rates) / 12))  # ahead of the steps

    def note_and_stop(progress: Progress) -> None:
        seen.append(progress)
        kill_after(9)(progress)

    for _ in range(2):
        with pytest.raises(Killed):
            train(config, progress=note_and_stop)
    assert [progress.step for progress in seen] == [*range(1, 10), 9]
    assert seen[8].seconds > seen[7].seconds
    assert seen[9].seconds > seen[7].seconds  # from the save after step 8 on
    state = json.loads(read_state(Path(config.out) / "checkpoints" / "step-8")["run"])
    assert 0 < state["stepping"] < state["elapsed"] < 300
    train(config)
    assert rates == sorted(rates, reverse=True)


def test_ctrl_c_saves_and_says_how_to_go_on(recipe: Make, caplog: pytest.LogCaptureFixture) -> None:
    whole = train(recipe(out="whole"))
    config = recipe(fit={"checkpoint_minutes": 10.0})

    def press(progress: Progress) -> None:
        if progress.step in {6, 10, 14}:  # the tenth ends an epoch, which is scored first
            signal.raise_signal(signal.SIGINT if progress.step == 6 else signal.SIGTERM)

    for saved in (7, 10, 15):
        with pytest.raises(KeyboardInterrupt):
            train(config, progress=press)
        assert (Path(config.out) / "checkpoints" / f"step-{saved}").is_dir()
    told = (
        f"saved; the same command again, or 'spanwise train --resume --out {config.out}', goes on"
    )
    assert caplog.text.count(told) == 3
    assert_same(train(config, resume=True).folder, whole.folder)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait(recipe: Make) -> None:
    def press(_: Progress) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(recipe(fit={"checkpoint_minutes": 10.0}), progress=press)
    assert not (Path(recipe().out) / "checkpoints").exists()


def test_a_signal_that_is_ignored_stays_ignored(
    recipe: Make, caplog: pytest.LogCaptureFixture
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        train(recipe(fit={"epochs": 1}), progress=lambda _: signal.raise_signal(signal.SIGINT))
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert "interrupted" not in caplog.text


def test_a_signal_that_is_not_python_s_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a host in C, for which `signal.signal` could not put its handler back."""
    monkeypatch.setattr(signal, "getsignal", lambda _: None)
    monkeypatch.setattr(signal, "signal", lambda *_: pytest.fail("it was taken over"))
    with Interruption():
        pass


def test_a_run_in_a_thread_leaves_signals_alone(recipe: Make) -> None:
    thread = threading.Thread(target=train, args=(recipe(fit={"epochs": 1}),))
    thread.start()
    thread.join()
    assert Reader.from_pretrained(recipe().out).answer("which ?", "red lamp").answers


@pytest.mark.slow
def test_the_command_line_resumes_by_the_run_s_own_recipe(recipe: Make) -> None:
    config = recipe(fit={"epochs": 1})
    with pytest.raises(Killed):
        train(config, progress=kill_after(3))
    done = spanwise("train", "--resume", "--out", config.out)
    assert done.returncode == 0, done.stderr
    assert "the run goes on from" in " ".join(done.stderr.split())
    assert "reader of epoch 1" in done.stdout


def spanwise(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "spanwise", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_runs_killed_from_outside_at_any_time_end_as_if_they_were_not(recipe: Make) -> None:
    """With a checkpoint after each step, most of the time is spent in saving."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["spanwise.training", "transformers.trainer"])
    draw = random.Random(0)
    saves_cut_short = 0
    for kind, changes in KINDS.items():
        fit = {"fit": changes["fit"] | {"epochs": 8}}
        whole = recipe(out=f"{kind}-whole", **changes | fit)
        began = time.monotonic()
        assert exit_of(context.Process(target=train, args=(whole,))) == 0
        seconds = time.monotonic() - began
        kills, run = 0, 0
        while kills < 6:
            config = recipe(out=f"{kind}-{run}", **changes | fit)
            child = context.Process(target=train, args=(config,))
            if exit_of(child, kill_after=draw.uniform(0, seconds / 2)) == 0:
                assert_same(Path(config.out), Path(whole.out))
                run += 1  # it was faster than the kills: another one
            else:
                kills += 1
                saves_cut_short += any((Path(config.out) / "checkpoints").glob(".step-*"))
        assert exit_of(context.Process(target=train, args=(config,))) == 0
        assert_same(Path(config.out), Path(whole.out))
    assert saves_cut_short


def exit_of(child: Any, *, kill_after: float | None = None) -> int | None:
    """Run a process; kill it after so many seconds, unless it has ended before."""
    child.start()
    child.join(kill_after)
    if child.exitcode is None:
        child.kill()
        child.join()
    code: int | None = child.exitcode
    return code
