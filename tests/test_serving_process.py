"""A server as its own process: its flags, its log, and how it ends."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from spanwise.cli import main

ROOT = Path(__file__).parent.parent
BODY = {"question": "which ?", "context": "the blue lamp"}

# What `spanwise serve` runs, over a reader without weights that takes its time.
SERVER = """
import sys, time
from spanwise.serving.app import Service
from spanwise.serving.gate import Limits
from spanwise.serving.server import serve
from tests.serving_shared import fake_reader, slow

def load():
    reader = fake_reader()
    backend = slow(reader)
    read = backend._backend
    backend._backend = lambda batch: (time.sleep(float(sys.argv[1])), read(batch))[1]
    return reader

serve(Service("/secret/place", Limits()), load, host="127.0.0.1", port=0)
"""


class Server:
    """A process that serves.

    Attributes:
        url: where.
        log: its lines so far.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log: list[dict[str, Any]] = []
        self.url = self.until("serving")["message"].split()[3].rstrip(",")

    def until(self, word: str) -> dict[str, Any]:
        """Read the log until a message begins with a word."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(json.loads(line))
            if self.log[-1]["message"].startswith(word):
                return self.log[-1]
        raise AssertionError(self.log)

    def stop(self) -> int:
        """End it, keep the rest of its log and give its status."""
        self.process.send_signal(signal.SIGTERM)
        _, rest = self.process.communicate(timeout=20)
        self.log += [json.loads(line) for line in rest.splitlines()]
        return self.process.returncode


@contextmanager
def serving(*, seconds: float = 0.0) -> Iterator[Server]:
    command = [sys.executable, "-c", SERVER, str(seconds)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Server(process)
        finally:
            process.kill()


@pytest.mark.slow
def test_at_its_end_it_answers_what_it_took_and_takes_nothing_more() -> None:
    with serving(seconds=1.0) as server, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(httpx.post, server.url, json=BODY, timeout=20) for _ in range(4)]
        while "spanwise_queue_requests 4.0" not in httpx.get(f"{server.url}/metrics").text:
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.4)
        assert server.process.poll() is None
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.url}/health")
        assert [future.result().json()["answer"] for future in asked] == ["blue"] * 4
        _, rest = server.process.communicate(timeout=20)
        assert server.process.returncode == 0
        assert rest.count('"status": 200') >= 4


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_what_is_loaded_is_loaded_to_its_end_before_the_process_ends(end: int) -> None:
    """ONNX Runtime, cut off in the middle, aborts the process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = SERVER.replace("def load():", "def load():\n    time.sleep(2)").replace(
        "port=0", f"port={port}"
    )
    command = [sys.executable, "-c", script, "0"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        while True:
            try:
                assert httpx.get(f"http://127.0.0.1:{port}/ready").status_code == 503
                break
            except httpx.ConnectError:
                assert process.poll() is None
        process.send_signal(end)
        _, log = process.communicate(timeout=20)
        assert "loaded in" in log
        if end == signal.SIGTERM:
            assert process.returncode == 0
            assert "Traceback" not in log


@pytest.mark.slow
def test_the_log_is_json_with_an_id_and_without_anybodys_text() -> None:
    with serving() as server:
        url = server.url
        taken = httpx.post(url, json=BODY, headers={"X-Request-ID": "abc-1.2_X"})
        assert taken.headers["X-Request-ID"] == "abc-1.2_X"
        made = [
            httpx.post(f"{url}/v1/answer", json=BODY, headers={"X-Request-ID": given})
            for given in ("a b", "x" * 65, '"},{"')
        ]
        ids = [response.headers["X-Request-ID"] for response in made]
        assert len({*ids}) == 3
        assert all(re.fullmatch("[0-9a-f]{32}", given) for given in ids)
        httpx.post(url, content=b'{"question": "which ?", "context": ["the blue lamp"]}')
        httpx.get(f"{url}/the-blue-lamp?which=blue")
        assert httpx.get(f"{url}/info").json()["model"] == "place"
        assert server.stop() == 0
    lines = [line for line in server.log if line["message"] == "request"]
    assert [line["request_id"] for line in lines[:4]] == ["abc-1.2_X", *ids]
    assert [line["status"] for line in lines] == [200, 200, 200, 200, 422, 404, 200]
    assert [line["route"] for line in lines[3:]] == ["/v1/answer", "/", "other", "/info"]
    assert all(line["ms"] >= 0 and line["level"] == "info" for line in lines)
    written = json.dumps(server.log)
    assert "lamp" not in written
    assert "secret" not in written
    assert "which" not in written


def test_of_a_folder_only_the_name_is_told(tmp_path: Path) -> None:
    from spanwise.serving.app import Service
    from spanwise.serving.gate import Limits

    assert Service(str(tmp_path), Limits()).model == tmp_path.name
    assert Service("OWNER/NAME", Limits()).model == "OWNER/NAME"


# -- the command ---------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run `spanwise serve` in this process; it shall end with a status, before it serves."""

    def call(*arguments: str, status: int = 1) -> str:
        monkeypatch.setattr(sys, "argv", ["spanwise", "serve", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == status
        captured = capsys.readouterr()
        return captured.out if status == 0 else " ".join(captured.err.split())

    return call


def test_the_help_ends_with_two_runnable_examples(run: Callable[..., str]) -> None:
    examples = run("--help", status=0).partition("Examples:")[2].strip().splitlines()
    assert len(examples) == 2
    assert all("spanwise serve" in example for example in examples)


def test_a_port_that_is_taken_ends_the_command(run: Callable[..., str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"nothing can listen on 127.0.0.1 port {port}: " in run("--port", str(port))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--queue", "0"), "queue is 0; it must be above 0"),
        (("--timeout", "nan"), "timeout is nan; it must be above 0"),
        (("--timeout", "inf"), "timeout is inf; it must be above 0, and finite"),
        (("--token", " "), "the token is empty or has other than printable ASCII"),
        (("--token", "secret "), "the token begins or ends with a blank, which no header keeps"),
        (("--host", ""), "the host is empty, which would be every address"),
        (("--host", "nowhere.invalid"), "nothing can listen on nowhere.invalid port 8000"),
    ],
)
def test_flags_that_cannot_work_are_named(
    run: Callable[..., str], arguments: tuple[str, ...], message: str
) -> None:
    assert message in run(*arguments)


def test_a_token_that_is_set_to_nothing_opens_no_server(
    run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPANWISE_TOKEN", "")
    assert "the token is empty" in run()


def test_a_port_that_is_none_is_bad_usage(run: Callable[..., str]) -> None:
    assert "'--port': Input should be less than or equal to 65535" in run(
        "--port", "70000", status=2
    )


@pytest.mark.parametrize("package", ["fastapi", "uvicorn", "prometheus_client"])
def test_without_the_extra_its_install_command_is_named(
    run: Callable[..., str], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("spanwise.serving.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    message = run()
    assert f"'{package}' is not installed" in message
    assert "pip install 'spanwise[serve]'" in message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "is_open"),
    [("127.0.0.1", False), ("0.0.0.0", True)],  # noqa: S104 - nothing is answered there
)
def test_a_model_that_is_not_there_ends_the_command(
    tmp_path: Path, host: str, is_open: bool
) -> None:
    flags = ["--port", "0", "--host", host]
    done = subprocess.run(
        [sys.executable, "-m", "spanwise", "serve", str(tmp_path / "missing"), *flags],
        capture_output=True, text=True, check=False, env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert ("may ask: it has no --token" in done.stderr) == is_open
    assert done.returncode == 1
    assert "missing' is neither a folder here nor a Hub id" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
