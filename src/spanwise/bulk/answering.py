"""Runs: the whole of a table through workers, part by part.

This module knows nothing about what a part looks like on the disk.
"""

import hashlib
import logging
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from multiprocessing import get_context
from multiprocessing.connection import Connection
from operator import itemgetter
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

from spanwise.backends.onnx import count_cores
from spanwise.bulk.config import BulkConfig, Job, prepare_job
from spanwise.bulk.contexts import build_index
from spanwise.bulk.output import Output, Receipt
from spanwise.bulk.questions import Rejected
from spanwise.bulk.tables import Row, check_unchanged, load_pyarrow, read_rows
from spanwise.bulk.worker import Answered, Worker, cut_chunks
from spanwise.errors import SpanwiseError

logger = logging.getLogger("spanwise")

Progress = Callable[[int, int], None]
"""Called with rows done, those of an earlier run too, and rows in all."""

Chunks = Iterable[tuple[int, list[Row]]]
"""Parts' numbers and rows of theirs."""

_LEAST = 256  # rows that are worth the start of a process
_here = SimpleNamespace()  # what the worker of this process answers with


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a run left.

    Attributes:
        answered: rows in the parts.
        rejected: rows that are not.
        parts: files of answers.
        resumed: rows that were done before this run began.
    """

    answered: int
    rejected: int
    parts: int
    resumed: int


def answer_table(
    config: BulkConfig, *, ray: str | None = None, progress: Progress | None = None
) -> Summary:
    """Answer each row of a table exactly once, however often the run is cut short and run again.

    On this machine an exported model is run by a process for each core, so a script that calls this
    needs the usual `if __name__ == "__main__":`. Another model is run by this process.

    Args:
        config: the table, the model, and the folder of the answers.
        ray: None for this machine alone; "local" for a Ray cluster made on it, else the address of
            one, whose machines all see the same files.
        progress: called as rows are done, from another thread where Ray is used.

    Raises:
        ConfigError: settings that cannot work, an OUT of something else, no room to write.
        CheckpointError: no such model.
        FormatError: a table that cannot be read; a single bad row is rejected instead.
        MissingExtra: pyarrow, or Ray, is not installed.
        SpanwiseError: a worker was killed, as by a system that is out of memory.
    """
    progress = progress or (lambda _done, _all: None)
    job = prepare_job(config)
    output = Output(config.out, job.parts, job.identity())
    done = output.begin()
    resumed = done
    if done is None:
        resumed = list(output.receipts(range(job.parts)))
        contexts = _index_contexts(job, output)
        if job.settings is None:
            logger.warning(
                "%s has no stored settings: it is read with the defaults, and its probabilities "
                "are uncalibrated",
                config.model,
            )
        if ray is None:
            _answer_here(job, output, contexts, progress)
        else:
            from spanwise.bulk.cluster import answer_on_ray

            answer_on_ray(job, output, contexts, ray, progress)
        check_unchanged((*job.files, *job.context_files))
        done = output.finish()
    return Summary(
        answered=sum(receipt.rows for receipt in done),
        rejected=sum(receipt.rejected for receipt in done),
        parts=len(done),
        resumed=sum(receipt.rows + receipt.rejected for receipt in resumed or ()),
    )


def answer_part(job: Job, output: Output, part: int, worker: Worker) -> Receipt:
    """Answer one part and write it."""
    rows = read_rows(job.files, job.part_range(part), job.names.values())
    return _write(output, part, map(worker, cut_chunks(rows, job.backend)))


def _index_contexts(job: Job, output: Output) -> Path | None:
    if not job.context_files:
        return None
    # By what is in them: one that an earlier run left may be of other texts.
    digest = hashlib.sha256("".join(file.sha256 for file in job.context_files).encode())
    index = output.state / f"contexts-{digest.hexdigest()[:16]}.sqlite"
    if not index.is_file():
        with output.whole(index) as partial:
            build_index(partial, job.context_files)
    return index


def _answer_here(job: Job, output: Output, contexts: Path | None, progress: Progress) -> None:
    receipts = list(output.receipts(range(job.parts)))
    written = {receipt.part for receipt in receipts}
    todo = [part for part in range(job.parts) if part not in written]
    done = sum(receipt.rows + receipt.rejected for receipt in receipts)
    progress(done, job.rows)

    def count(answered: Iterator[tuple[int, Answered]]) -> Iterator[tuple[int, Answered]]:
        nonlocal done
        for part, chunk in answered:
            done += chunk.table.num_rows + len(chunk.rejected)
            progress(done, job.rows)
            yield part, chunk

    # Processes: cutting and decoding hold the interpreter's lock.
    most = max(-(-(job.rows - done) // _LEAST), 1)
    processes = min(count_cores(), most) if job.backend == "onnx" else 1
    try:
        with _workers(job, contexts, processes) as answer:
            answered = count(answer(_chunks(job, todo)))
            for part, chunks in groupby(answered, key=itemgetter(0)):
                _write(output, part, (chunk for _, chunk in chunks))
    except BrokenProcessPool as error:
        raise SpanwiseError(
            "a worker process was killed, perhaps by a system out of memory, or for want of "
            '`if __name__ == "__main__":` in a script that calls answer_table. What is done is '
            "kept: run the same command again"
        ) from error


def _write(output: Output, part: int, chunks: Iterable[Answered]) -> Receipt:
    pa, _ = load_pyarrow()
    tables: list[object] = []
    rejected: list[Rejected] = []
    for chunk in chunks:
        tables.append(chunk.table)
        rejected += chunk.rejected
    return output.write_part(part, pa.concat_tables(tables), rejected)


def _chunks(job: Job, todo: Sequence[int]) -> Chunks:
    """The chunks of parts; parts in a row are read in one go, as gzip has no way to its middle."""
    for _, run in groupby(enumerate(todo), key=lambda pair: pair[1] - pair[0]):
        parts = [part for _, part in run]
        rows = range(job.part_range(parts[0]).start, job.part_range(parts[-1]).stop)
        read = read_rows(job.files, rows, job.names.values())
        for part, group in groupby(read, key=lambda row: row.number // job.config.part_rows):
            for chunk in cut_chunks(group, job.backend):
                yield part, chunk


@contextmanager
def _workers(
    job: Job, contexts: Path | None, processes: int
) -> Iterator[Callable[[Chunks], Iterator[tuple[int, Answered]]]]:
    """Yield what answers chunks in their order; an error, or Ctrl-C, ends it in their middle."""
    if processes == 1:
        worker = Worker(job, contexts)
        yield lambda chunks: ((part, worker(chunk)) for part, chunk in chunks)
        return
    context = get_context("spawn")  # a fork would copy locks that other threads hold
    end, ours = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(
        processes,
        mp_context=context,
        initializer=_enter_process,
        initargs=(job, contexts, end),
    )
    try:
        yield partial(_in_order, executor, ahead=2 * processes)
    except BaseException:
        ours.close()  # or they would go on to the end of chunks that nobody waits for
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def _in_order(executor: Executor, chunks: Chunks, *, ahead: int) -> Iterator[tuple[int, Answered]]:
    """Answer chunks at the same time, and yield them in their order; few are ever in memory."""
    waiting: deque[tuple[int, Future[Answered]]] = deque()
    for part, chunk in chunks:
        waiting.append((part, executor.submit(_answer, chunk)))
        if len(waiting) > ahead:
            first, future = waiting.popleft()
            yield first, future.result()
    for part, future in waiting:
        yield part, future.result()


def _enter_process(job: Job, contexts: Path | None, end: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    logger.setLevel(logging.ERROR)
    Thread(target=_end_with, args=(end,), daemon=True).start()
    _here.load = partial(Worker, job, contexts, threads=1)


def _end_with(line: Connection) -> None:
    """End this process with the other end of a line: closed, or of a process that was killed."""
    with suppress(EOFError, OSError):
        line.recv()
    os._exit(1)


def _answer(rows: list[Row]) -> Answered:
    if not hasattr(_here, "worker"):  # here, where an error finds its way back to the caller
        _here.worker = _here.load()
    worker: Worker = _here.worker
    return worker(rows)
