"""Whenever a run is killed, the same command ends with the same files."""

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bulk_shared import make_model, make_rows, read_folder, start, write_lines

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROWS = 2000
PART_ROWS = 40
KILLS = 24


@pytest.fixture(scope="module")
def model(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(exported, tmp_path_factory.mktemp("model") / "reader")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lines(tmp_path_factory.mktemp("table") / "table.jsonl", make_rows(ROWS))


def run(model: Path, table: Path, out: Path) -> None:
    """A run to its end."""
    with start(model, table, out, "--part-rows", PART_ROWS) as process:
        _, said = process.communicate()
    assert process.returncode == 0, said


def children(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pids: list[int]) -> Iterator[int]:
    for pid in pids:
        if Path(f"/proc/{pid}").exists():
            yield pid


def test_a_run_killed_at_any_time_goes_on_to_the_same_files(
    model: Path, table: Path, tmp_path: Path
) -> None:
    """Kills are spread over the whole run, four in a row to one folder, then it may end.

    They are drawn by parts written, not by seconds: half of those are for the start.
    """
    run(model, table, tmp_path / "whole")
    expected = read_folder(tmp_path / "whole")
    parts = len(list((tmp_path / "whole").glob("part-*")))
    assert parts == ROWS / PART_ROWS
    draw = random.Random(0)
    kills = [int((n + draw.random()) * parts / KILLS) for n in range(KILLS)]
    stopped = []
    for number in range(KILLS // 4):
        out = tmp_path / f"out{number}"
        for written in kills[number :: KILLS // 4]:
            with start(model, table, out, "--part-rows", PART_ROWS) as process:
                while len(list(out.glob("part-*"))) < written and process.poll() is None:
                    time.sleep(0.002)
                time.sleep(draw.random() * (0.05 if written else 1))
                process.kill()
            stopped.append(len(list(out.glob("part-*"))))
        run(model, table, out)
        assert read_folder(out) == expected
    assert len(set(stopped) - {0, parts}) > KILLS / 2  # they did come all over the run


def test_a_run_killed_while_it_writes_goes_on_to_the_same_files(
    model: Path, table: Path, tmp_path: Path
) -> None:
    """Killed at the sight of a partial file of each kind, at the first, a middle and a late one."""
    run(model, table, tmp_path / "whole")
    expected = read_folder(tmp_path / "whole")
    for pattern in ("manifest*", "part-00000.parquet.*", "part-00020*", "part-00045*", "rejected*"):
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        with start(model, table, out, "--part-rows", PART_ROWS) as process:
            while process.poll() is None:
                if any((out / ".work").glob(f"{pattern}.partial")):
                    process.kill()
                    break
        run(model, table, out)
        assert read_folder(out) == expected


def test_a_killed_worker_ends_the_run_and_a_killed_run_ends_its_workers(
    model: Path, table: Path, tmp_path: Path
) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core: there are no worker processes")
    run(model, table, tmp_path / "whole")
    out = tmp_path / "out"
    with start(model, table, out, "--part-rows", PART_ROWS) as process:
        while not list(out.glob("part-*")):
            time.sleep(0.01)
        workers = children(process.pid)
        os.kill(workers[-1], signal.SIGKILL)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "a worker process was killed" in said
    with start(model, table, out, "--part-rows", PART_ROWS) as process:
        while not children(process.pid):
            time.sleep(0.01)
        time.sleep(0.5)
        workers = children(process.pid)
        process.kill()
    deadline = time.monotonic() + 30
    while any(alive(workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not list(alive(workers))
    run(model, table, out)
    assert read_folder(out) == read_folder(tmp_path / "whole")


def test_ctrl_c_ends_a_run_and_its_workers_at_once(model: Path, tmp_path: Path) -> None:
    """The second comes while the first is heeded, as of somebody who sees nothing happen."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core: there are no worker processes")
    rows = [row | {"context": row["context"] * 1000} for row in make_rows(300)]
    table = write_lines(tmp_path / "long.jsonl", rows)
    out = tmp_path / "out"
    with start(model, table, out) as process:
        while len(children(process.pid)) < 3:  # two workers, and what tracks their semaphores
            time.sleep(0.01)
        workers = children(process.pid)
        time.sleep(4)  # in the middle of chunks, each of which takes longer
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode in {130, -signal.SIGINT}, said
    assert "parts that are written are kept; the same command goes on" in said
    deadline = time.monotonic() + 30
    while any(alive(workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not list(alive(workers))
