"""Two sides measured in turn, and what the machine itself can do.

This module knows nothing about question answering.
"""

import gc
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict

import torch

from spanwise.model import quicken_linear

REPEATS = 5
_PACKAGES = ("spanwise", "torch", "transformers", "tokenizers", "datasets", "numpy")


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A figure measured several times.

    Attributes:
        median: the middle one.
        least: the lowest.
        most: the highest.
    """

    median: float
    least: float
    most: float


class Spreads(TypedDict):
    """What `compare` gives, and a `Result` takes."""

    usual: Spread
    ours: Spread
    ratio: Spread


@dataclass(frozen=True, kw_only=True)
class Result:
    """One line of the table.

    Attributes:
        row: the benchmark that it belongs to.
        what: is measured.
        unit: of both sides; more is better, unless it is one of memory.
        usual: the usual way.
        ours: spanwise.
        ratio: how many times better ours is, from pairs measured one after the other.
        target: the ratio aimed at.
        limit: what bounds it, with its figure.
        agreement: how it was seen that both sides compute the same.
        questions: that it was measured on.
        source: where they are from; empty: from the data that the run was given.
    """

    row: str
    what: str
    unit: str
    usual: Spread
    ours: Spread
    ratio: Spread
    target: float
    limit: str
    agreement: str
    questions: int
    source: str = ""


def spread(values: list[float]) -> Spread:
    """Median, lowest and highest."""
    return Spread(median=statistics.median(values), least=min(values), most=max(values))


def interleave(
    sides: Mapping[str, Callable[[], float | None]], *, amount: float, repeats: int = REPEATS
) -> dict[str, list[float]]:
    """Rates of each side, measured in turn so that a busy machine slows all of them.

    Args:
        sides: name to work, which may return the seconds that count.
        amount: of work in a call.
        repeats: rounds; one more comes before them and is not counted.

    Returns:
        For each side `amount` per second, once a round.
    """
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name, work in sides.items():
            # Or the garbage collector would visit one side's data in the other's time.
            gc.collect()
            gc.freeze()
            began = time.perf_counter()
            counted = work()
            seconds = time.perf_counter() - began if counted is None else counted
            gc.unfreeze()
            if turn:
                rates[name].append(amount / seconds)
    return rates


def compare(rates: Mapping[str, list[float]], ours: str, usual: str = "usual") -> Spreads:
    """The three spreads of a `Result`, from what `interleave` returned."""
    ratios = [mine / theirs for mine, theirs in zip(rates[ours], rates[usual], strict=True)]
    return {"usual": spread(rates[usual]), "ours": spread(rates[ours]), "ratio": spread(ratios)}


def peak_memory(module: str, *arguments: str) -> float:
    """Megabytes that a fresh Python process held at most while it ran a module."""
    # Not ru_maxrss, which a new process takes over from its parent.
    script = (
        "import re, runpy, sys; sys.argv = sys.argv[1:]; "
        "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True); "
        "print(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1])"
    )
    command = [sys.executable, "-c", script, module, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.split()[-1]) / 1024


def matmul_rate(dtype: torch.dtype) -> float:
    """GFLOP/s of the machine on a product of the shape that MiniLM's layers have."""
    rows, width, inner = 4096, 384, 1536
    layer = torch.nn.Sequential(torch.nn.Linear(width, inner)).to(dtype)
    quicken_linear(layer)
    states = torch.randn(rows, width).to(dtype)

    @torch.inference_mode()
    def multiply() -> None:
        layer(states)

    rates = interleave({"": multiply}, amount=2e-9 * rows * width * inner, repeats=50)
    return max(rates[""])


_GENERATION = (("family", "cpu family"), ("model", "model"))


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():  # virtual machines call processors of several generations by one name
        facts = dict(re.findall(r"(.+?)\s*: (.*)", info.read_text(encoding="utf-8")))
        kind = [f"{part} {facts[key]}" for part, key in _GENERATION if key in facts]
        cpu = f"{facts.get('model name', cpu)} ({', '.join(kind)})" if kind else cpu
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "name": re.sub(r"\W+", "-", f"{cpu} {cores} cores".lower()).strip("-"),
        "cpu": cpu,
        "cores": cores,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "versions": {package: version(package) for package in _PACKAGES},
    }


def as_json(result: Result) -> dict[str, Any]:
    """A result as plain data."""
    return asdict(result)
