"""`spanwise bulk` with the builtin reader: rows/s, memory at one and four times the rows, contexts.

Everything runs on the processor, as the verb does by default. Other work on the machine shows in
the load, which is kept with the result, and least in the seconds of processor for each row.

Examples:
    python -m benchmarks.bulk --data FOLDER
    python -m benchmarks.bulk --rows 512 --contexts 100000
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import inputs
from benchmarks.measure import interleave, machine, spread
from spanwise import Example, PairTokenizer, Reader
from spanwise.backends import OnnxBackend
from spanwise.bulk.contexts import ContextIndex
from spanwise.checkpoints import BUILTIN, EXPORT_FILE, fetch_folder
from spanwise.windows import stream_windows

RESULTS = Path(__file__).parent / "results/bulk"
_TURNS = 3
_CHUNK = 64  # questions answered at once where ways are compared


_BUILD = """
import re, sys, time
from pathlib import Path
from spanwise.bulk.contexts import COLUMNS, build_index
from spanwise.bulk.tables import scan_table
began = time.perf_counter()
build_index(Path(sys.argv[2]), scan_table(sys.argv[1], COLUMNS))
status = Path("/proc/self/status").read_text(encoding="ascii")
print(time.perf_counter() - began, re.search(r"VmHWM:\\s*(\\d+)", status)[1])
"""


def main() -> None:
    """Read the flags, measure, print and keep the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", help="a folder of SQuAD-form files; else the sample is repeated")
    parser.add_argument("--rows", type=int, default=1250, help="of the smaller table")
    parser.add_argument("--contexts", type=int, default=250_000, help="of the smaller index")
    flags = parser.parse_args()
    examples = inputs.spread_out(inputs.read_data(flags.data), flags.rows)
    result: dict[str, Any] = {"load_before": os.getloadavg()}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        result |= {"windows": count_windows(examples)}
        result |= {"ways": compare_ways(examples[: 8 * _CHUNK])}
        result |= {f"table_x{times}": run_verb(folder, examples, times) for times in (1, 4)}
        sizes = {"contexts": flags.contexts, "contexts_x4": 4 * flags.contexts}
        result |= {name: measure_contexts(folder, size) for name, size in sizes.items()}
    result |= {"load_after": os.getloadavg(), "machine": machine()}
    print(json.dumps(result, indent=1))
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / f"{result['machine']['name']}.json"
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def count_windows(examples: list[Example]) -> dict[str, float]:
    """What the model is given: windows and tokens of a question."""
    folder = fetch_folder(BUILTIN)
    settings = Reader.from_pretrained().settings.window
    windows = tokens = 0
    for part in stream_windows(examples, PairTokenizer.from_folder(folder), settings):
        windows += len(part)
        tokens += int(part.lengths.sum())
    return {"windows_per_row": windows / len(examples), "tokens_per_row": tokens / len(examples)}


def load_reader(threads: int | None) -> Reader:
    """The builtin reader on so many threads."""
    reader = Reader.from_pretrained()
    reader.backend = OnnxBackend(fetch_folder(BUILTIN) / EXPORT_FILE, threads=threads)
    return reader


def _load_here() -> None:
    globals()["_reader"] = load_reader(1)


def _answer_here(pairs: list[tuple[str, str]]) -> None:
    globals()["_reader"].answer_many(pairs, top_k=1)


def compare_ways(examples: list[Example]) -> dict[str, Any]:
    """Rows/s of one process, of one that answers two chunks at a time, of one for each core."""
    pairs = [(example.question, example.context) for example in examples]
    chunks = [pairs[n : n + _CHUNK] for n in range(0, len(pairs), _CHUNK)]
    cores = len(os.sched_getaffinity(0))
    one = load_reader(None)

    def answer(chunk: list[tuple[str, str]]) -> None:
        one.answer_many(chunk, top_k=1)

    with (
        ThreadPoolExecutor(2) as threads,
        ProcessPoolExecutor(cores, get_context("spawn"), _load_here) as processes,
    ):

        def one_by_one() -> None:
            for chunk in chunks:
                answer(chunk)

        def two_at_a_time() -> None:
            list(threads.map(answer, chunks))

        def by_processes() -> None:
            list(processes.map(_answer_here, chunks))

        rates = interleave(
            {
                "one process": one_by_one,
                "one process, two chunks at a time": two_at_a_time,
                "a process for each core": by_processes,
            },
            amount=len(pairs),
            repeats=_TURNS,
        )
    return {name: vars(spread(values)) for name, values in rates.items()}


def run_verb(folder: Path, examples: list[Example], times: int) -> dict[str, float]:
    """Rows/s, seconds of processor for a row, and the most memory that all its processes held."""
    names = ("id", "question", "context")
    table = pa.table({name: [getattr(e, name) for e in examples] for name in names})
    path = folder / f"table-{times}.parquet"
    pq.write_table(pa.concat_tables([table] * times), path)
    rows = times * len(examples)
    command = [sys.executable, "-m", "spanwise", "bulk", BUILTIN, str(path)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began, most = time.monotonic(), 0
    command += [str(folder / f"out-{times}"), "--part-rows", "500"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            most = max(most, _memory(process.pid))
            time.sleep(0.2)
    if process.returncode:
        raise RuntimeError(f"spanwise bulk ended with {process.returncode}")
    seconds = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "rows": rows,
        "seconds": seconds,
        "rows_per_second": rows / seconds,
        "processor_seconds_per_row": used / rows,
        "peak_mb": most / 1024,
    }


def _memory(pid: int) -> int:
    """Kilobytes of a process and its children; pages that they share count once in all."""
    total = 0
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                total = int(line.split()[1])
    except (OSError, IndexError):
        return 0  # it ended meanwhile
    return total + sum(_memory(int(child)) for child in children.split())


def measure_contexts(folder: Path, rows: int) -> dict[str, float]:
    """How long the index of a table of contexts takes to build, its size, and to look up in."""
    draw = np.random.default_rng(0)
    path, index = folder / f"contexts-{rows}.parquet", folder / f"index-{rows}"
    text = "The lamp was found beside the gate of the old mill. " * 16
    keys = draw.permutation(rows).tolist()  # ids in no order, as hashes are
    with pq.ParquetWriter(path, pa.schema({"id": pa.string(), "context": pa.string()})) as file:
        for begin in range(0, rows, 50_000):
            part = [f"{key:012x}" for key in keys[begin : begin + 50_000]]
            file.write_table(pa.table({"id": part, "context": [f"{key} {text}" for key in part]}))
    command = [sys.executable, "-c", _BUILD, str(path), str(index)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    seconds, peak = map(float, done.stdout.split())
    find = ContextIndex(index)
    began = time.perf_counter()
    for _ in range(200):
        find({f"{key:012x}" for key in draw.integers(rows, size=256).tolist()})
    looked = time.perf_counter() - began
    return {
        "rows": rows,
        "build_rows_per_second": rows / seconds,
        "build_peak_mb": peak / 1024,
        "index_bytes_per_context": index.stat().st_size / rows,
        "lookups_per_second": 200 * 256 / looked,
    }


if __name__ == "__main__":
    main()
