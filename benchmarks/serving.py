"""`spanwise serve` beside a plain handler around the pipeline of transformers 4, under load.

Both servers are up throughout and are loaded in turn, by as many clients with the same questions.
Then spanwise alone, with a short queue, is sent twice what it can answer.

Examples:
    python -m benchmarks.serving --model runs/baseline-int8
    python -m benchmarks.serving --model runs/baseline --dtype bfloat16 --seconds 3
"""

import argparse
import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import inputs
from benchmarks.load import Load, closed_loop, merged, open_loop
from benchmarks.measure import machine

PEERS = Path(__file__).parent / "peers"
RESULTS = Path(__file__).parent / "results/serving"
TARGET = 3.0  # times the usual way's throughput


def main() -> None:
    """Read the flags, measure, print and keep the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", required=True, help="what spanwise serves, an export for one")
    parser.add_argument("--dtype", default="float32", help="that it is served in")
    parser.add_argument("--usual", default=str(inputs.reader()), help="the same model for torch")
    parser.add_argument("--data", help="a folder of SQuAD-form files; else the sample is repeated")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60, help="of load for each server")
    parser.add_argument("--turns", type=int, default=3, help="that these seconds are cut into")
    parser.add_argument("--queue", type=int, default=32, help="of the server that is sent too much")
    parser.add_argument("--overload-seconds", type=float, default=30)
    flags = parser.parse_args()
    if not (PEERS / ".venv/installed").exists():
        parser.error("run 'make benchmarks/peers/.venv/installed' first")
    bodies = _bodies(flags.data)
    result = side_by_side(flags, bodies)
    result |= {"overload": overload(flags, bodies, 2 * result["spanwise"]["rate"])}
    result |= {
        "target": TARGET,
        "questions": len(bodies),
        "flags": vars(flags) | {name: Path(path).name for name, path in _folders(flags)},
        "machine": machine(),
    }
    RESULTS.mkdir(exist_ok=True)
    precision = "" if flags.dtype == "float32" else f"-{flags.dtype}"
    file = RESULTS / f"{result['machine']['name']}{precision}.json"
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    shown = {name: value for name, value in result.items() if name not in {"machine", "flags"}}
    print(json.dumps(shown, indent=1))


def _folders(flags: argparse.Namespace) -> list[tuple[str, str]]:
    """Those given; where they lie on this machine is nobody's business."""
    given = vars(flags)
    return [(name, given[name]) for name in ("model", "usual", "data") if given[name] is not None]


def _bodies(data: str | None) -> list[bytes]:
    examples = [example for example in inputs.read_data(data) if example.answers]
    return [
        json.dumps(
            {
                "inputs": {"question": example.question, "context": example.context},
                "parameters": {},
            }
        ).encode()
        for example in inputs.spread_out(examples, 200)
    ]


def side_by_side(flags: argparse.Namespace, bodies: Sequence[bytes]) -> dict[str, Any]:
    """Throughput and times of both servers, loaded in turn."""
    loads: dict[str, list[Load]] = {"spanwise": [], "usual": []}
    with _spanwise(flags) as (ours, _), _usual(flags.usual) as usual:
        ports = {"spanwise": ours, "usual": usual}
        for port in ports.values():  # what a first call sets up is no part of it
            asyncio.run(closed_loop(port, bodies, clients=4, seconds=1))
        for _ in range(flags.turns):
            for name, port in ports.items():
                seconds = flags.seconds / flags.turns
                clients = closed_loop(port, bodies, clients=flags.clients, seconds=seconds)
                loads[name].append(asyncio.run(clients))
    ratios = [a.rate / b.rate for a, b in zip(loads["spanwise"], loads["usual"], strict=True)]
    whole = {name: merged(turns) for name, turns in loads.items()}
    theirs = whole["usual"].answers
    equal = [
        theirs[body] == text for body, text in whole["spanwise"].answers.items() if body in theirs
    ]
    return {name: _figures(load) for name, load in whole.items()} | {
        "ratio": {"median": float(np.median(ratios)), "least": min(ratios), "most": max(ratios)},
        "equal_answers": float(np.mean(equal)),
    }


def _figures(load: Load) -> dict[str, Any]:
    return {
        "rate": load.rate,
        "p50_ms": load.milliseconds(50),
        "p99_ms": load.milliseconds(99),
        "sent": load.sent,
        "statuses": {str(status): count for status, count in sorted(load.statuses.items())},
    }


def overload(flags: argparse.Namespace, bodies: Sequence[bytes], rate: float) -> dict[str, Any]:
    """What becomes of requests that come twice as fast as they can be answered."""
    with _spanwise(flags, "--queue", str(flags.queue)) as (port, process):
        asyncio.run(closed_loop(port, bodies, clients=4, seconds=1))
        before = _megabytes(process)
        load = asyncio.run(open_loop(port, bodies, rate=rate, seconds=flags.overload_seconds))
        after = _megabytes(process)
    return {
        "asked_rate": rate,
        **_figures(load),
        "lost": load.statuses[0],
        "rss_mb_before": before,
        "rss_mb_after": after,
    }


@contextmanager
def _spanwise(flags: argparse.Namespace, *more: str) -> Iterator[tuple[int, int]]:
    """Port and process of a `spanwise serve`."""
    port = _free_port()
    serve = [sys.executable, "-m", "spanwise", "serve", flags.model, "--dtype", flags.dtype]
    command = [*serve, "--port", str(port), *more]
    with _process(command, port) as process:
        yield port, process


@contextmanager
def _usual(model: str) -> Iterator[int]:
    port = _free_port()
    command = [str(PEERS / ".venv/bin/python"), str(PEERS / "server.py"), model, str(port)]
    with _process(command, port):
        yield port


@contextmanager
def _process(command: Sequence[str], port: int) -> Iterator[int]:
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=quiet) as process:
        try:
            while not _is_ready(port):
                if process.poll() is not None:
                    raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
                time.sleep(0.2)
            yield process.pid
        finally:
            process.terminate()


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _megabytes(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return float(re.findall(r"VmRSS:\s*(\d+)", status)[0]) / 1024


if __name__ == "__main__":
    main()
