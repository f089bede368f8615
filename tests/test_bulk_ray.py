"""On a local Ray with two actors: the same files as one machine writes, whatever is killed."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bulk_shared import make_model, make_rows, read_folder, start, write_lines

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PART_ROWS = 500
ROWS = 20_000


@pytest.fixture(scope="module")
def model(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(exported, tmp_path_factory.mktemp("model") / "reader")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lines(tmp_path_factory.mktemp("table") / "table.jsonl", make_rows(ROWS))


@pytest.fixture(scope="module")
def expected(
    model: Path, table: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """What one machine writes."""
    out = tmp_path_factory.mktemp("whole") / "out"
    with start(model, table, out, "--part-rows", PART_ROWS) as process:
        _, said = process.communicate()
    assert process.returncode == 0, said
    return read_folder(out)


@contextmanager
def on_ray(model: Path, table: Path, out: Path) -> "Iterator[subprocess.Popen[str]]":
    """A run on a Ray of its own; nothing of that is left afterwards."""
    before = ray_processes()
    with start(model, table, out, "--part-rows", PART_ROWS, "--ray", "local") as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
    wait_until(lambda: ray_processes() <= before, "Ray's processes ended with the driver")


def ray_processes() -> set[int]:
    """Processes of any Ray on this machine."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes()
        except OSError:
            continue
        if b"ray::" in command or b"/ray/core/src/ray/" in command:
            found.add(int(path.name))
    return found


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def parts_of(out: Path) -> int:
    return len(list((out / ".work").glob("part-*.json")))


def actors(before: set[int]) -> list[int]:
    found = []
    for pid in ray_processes() - before:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"PartWorker" in command:
            found.append(pid)
    return found


def test_a_cluster_that_is_not_there_is_named(model: Path, table: Path, tmp_path: Path) -> None:
    with start(model, table, tmp_path / "out", "--ray", "127.0.0.1:9") as process:
        _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "no Ray cluster answers at '127.0.0.1:9'" in said


def test_ray_writes_what_one_machine_writes(
    model: Path, table: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    with on_ray(model, table, tmp_path / "out") as process:
        out, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert out.startswith("18,000 rows answered in 40 parts")
    assert read_folder(tmp_path / "out") == expected


def test_a_killed_driver_goes_on_where_it_was(
    model: Path, table: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with on_ray(model, table, out) as process:
        wait_until(lambda: parts_of(out) >= 5, "five parts are written")
        process.kill()
    written = parts_of(out)
    assert 5 <= written < 40
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("part-*")}
    with on_ray(model, table, out) as process:
        told, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert f"{written * PART_ROWS:,} of 20,000 rows were done before" in told
    assert read_folder(out) == expected
    again = [path for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp]
    assert len(again) <= 2  # at most what was written without a receipt, by two actors


def test_a_killed_worker_stops_nothing(
    model: Path, table: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    before = ray_processes()
    with on_ray(model, table, out) as process:
        wait_until(lambda: parts_of(out) >= 5, "five parts are written")
        os.kill(actors(before)[0], signal.SIGKILL)
        assert parts_of(out) < 40
        _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert read_folder(out) == expected
