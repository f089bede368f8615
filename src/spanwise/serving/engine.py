"""Many jobs, one model: the windows of all jobs that wait are read together.

A job is any function of a `Reader`, run in a thread of its own. The reader that it is given has a
backend that puts the job's batches into a queue and waits. One thread takes windows from that queue
while the model is free, so that batches form while it is busy and nobody waits for company. A turn
is a quarter of a batch: short jobs are read in the order they came, and one that has more to read
goes to the end of the queue after each turn. It also cuts its text no further than it is read.

This module knows nothing about HTTP, questions or answers.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Condition, Semaphore, Thread
from typing import Generic, TypeVar

import numpy as np

from spanwise.backends.onnx import count_cores
from spanwise.batching import join, plan_batches
from spanwise.reader import Reader
from spanwise.schema import Batch, Logits

T = TypeVar("T")


class BackendError(Exception):
    """The model failed on a batch; the cause says how."""


@dataclass(frozen=True, kw_only=True)
class BatchRun:
    """What reading one batch took.

    Attributes:
        windows: in the batch.
        tokens: in the batch, padding included.
        seconds: that the model took.
        waited: seconds in the queue, for each part of a job that was begun.
    """

    windows: int
    tokens: int
    seconds: float
    waited: tuple[float, ...]


class _Part:
    """A batch that a job waits for; its windows may be read in several batches of the engine."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.lengths = batch.attention_mask.sum(axis=1)  # (B,)
        self.done: Future[Logits] = Future()
        self.since = time.perf_counter()
        self.taken = 0  # windows
        self._left = len(self.lengths)
        self._start, self._end = np.zeros((2, *batch.input_ids.shape), np.float32)

    def take(self, tokens: int) -> list["_Window"]:
        """The next windows that have so many tokens together, or the one that has more."""
        fits = np.searchsorted(np.cumsum(self.lengths[self.taken :]), tokens, side="right")
        rows = range(self.taken, min(self.taken + max(1, int(fits)), len(self.lengths)))
        self.taken = rows.stop
        return [_Window(self, row, int(self.lengths[row])) for row in rows]

    def put(self, row: int, logits: Logits, at: int) -> None:
        """Take the logits of a window from row `at` of a batch; after the last, all is done."""
        tokens = slice(int(self.lengths[row]))
        self._start[row, tokens] = logits.start_logits[at, tokens]
        self._end[row, tokens] = logits.end_logits[at, tokens]
        self._left -= 1
        if not self._left:
            self.done.set_result(Logits(start_logits=self._start, end_logits=self._end))


@dataclass(frozen=True)
class _Window:
    part: _Part
    row: int
    length: int


@dataclass(eq=False)
class Job(Generic[T]):
    """Work that has been handed in.

    Attributes:
        result: what it gave or raised.
    """

    _engine: "Engine"
    result: Future[T] = field(init=False)
    cancelled: bool = field(default=False, init=False)
    waits_for: _Part | None = field(default=None, init=False)

    def cancel(self) -> None:
        """Give it up: what the model has not begun to read, it will not read."""
        self._engine.cancel(self)


class Engine:
    """Runs jobs, each with a reader that shares one model.

    Args:
        reader: answers; a job gets one of its own over the same model.
        jobs: that are worked on at a time at most; others wait their turn. Each takes a thread,
            which sleeps while the model reads.
        watch: told of every batch, in the thread that reads.
    """

    def __init__(
        self, reader: Reader, *, jobs: int, watch: Callable[[BatchRun], None] = lambda _: None
    ) -> None:
        self.reader = reader
        self._watch = watch
        self._parts: deque[_Part] = deque()
        self._changed = Condition()
        self._closed = False
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="job")
        # Jobs that cut and decode, rather than wait, would only take each other's processor.
        self._desks = Semaphore(count_cores())
        self._thread = Thread(target=self._read_all, name="model", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Reader], T]) -> Job[T]:
        """Hand work in; its result comes by `Job.result`.

        Args:
            work: is given a reader that is fit for this job alone. What it raises, the result
                raises; a failure of the model is a `BackendError`, being given up a
                `CancelledError`.
        """
        job: Job[T] = Job(self)
        job.result = self._pool.submit(self._work, job, work)
        return job

    def cancel(self, job: Job[T]) -> None:
        """As `Job.cancel`."""
        with self._changed:
            job.cancelled = True
            if (part := job.waits_for) is not None:
                part.done.cancel()
                if part in self._parts:
                    self._parts.remove(part)
        job.result.cancel()

    def close(self) -> None:
        """Give up all jobs and end the threads."""
        with self._changed:
            self._closed = True
            for part in self._parts:
                part.done.cancel()
            self._parts.clear()
            self._changed.notify_all()
        self._pool.shutdown(cancel_futures=True)
        self._thread.join()

    def _work(self, job: Job[T], work: Callable[[Reader], T]) -> T:
        ours = self.reader
        backend = _Queued(self, job)
        with self._desks:
            return work(
                Reader(backend, ours.tokenizer, ours.settings, batch_tokens=ours.batch_tokens)
            )

    def read(self, batch: Batch, job: Job[T]) -> Logits:
        """Wait for the logits of a job's batch, in the job's thread."""
        part = _Part(batch)
        with self._changed:
            if job.cancelled or self._closed:
                raise CancelledError
            job.waits_for = part
            self._parts.append(part)
            self._changed.notify()
        self._desks.release()
        try:
            return part.done.result()
        finally:
            self._desks.acquire()

    def _read_all(self) -> None:
        while taken := self._take():
            lengths = [window.length for window in taken]
            for rows in plan_batches(lengths, batch_tokens=self.reader.batch_tokens):
                self._read([taken[row] for row in rows])

    def _take(self) -> list[_Window]:
        """The windows whose turn it is, up to a batch; nothing once the engine is closed."""
        taken: list[_Window] = []
        with self._changed:
            while not self._parts and not self._closed:
                self._changed.wait()
            room = self.reader.batch_tokens
            turn = max(1, room // 4)
            while self._parts and room > 0:
                part = self._parts[0]
                if taken and part.lengths[part.taken] > room:
                    break
                self._parts.popleft()
                windows = part.take(min(turn, room))
                taken += windows
                room -= sum(window.length for window in windows)
                if part.taken < len(part.lengths):
                    self._parts.append(part)
        return taken

    def _read(self, windows: Sequence[_Window]) -> None:
        windows = [window for window in windows if not window.part.done.done()]
        if not windows:
            return
        pad = self.reader.tokenizer.pad_token_id
        rows = [(window.part.batch, window.row) for window in windows]
        began = time.perf_counter()
        try:
            batch = join(rows, pad_token_id=pad)
            logits = self.reader.backend(batch)
        except Exception as error:  # noqa: BLE001 - it belongs to the jobs, and this thread lives on
            self._fail(windows, error)
            return
        waited = [began - window.part.since for window in windows if window.row == 0]
        with self._changed:
            for at, window in enumerate(windows):
                if not window.part.done.done():
                    window.part.put(window.row, logits, at)
        self._watch(
            BatchRun(
                windows=len(rows),
                tokens=batch.input_ids.size,
                seconds=time.perf_counter() - began,
                waited=tuple(waited),
            )
        )

    def _fail(self, windows: Sequence[_Window], error: Exception) -> None:
        """Read each half of the parts again, so that nobody pays for another's windows."""
        part, *others = dict.fromkeys(window.part for window in windows)
        if others:
            first = {part, *others[: len(others) // 2]}
            self._read([window for window in windows if window.part in first])
            self._read([window for window in windows if window.part not in first])
            return
        failure = BackendError(f"the model failed on {len(windows)} windows")
        failure.__cause__ = error
        with self._changed:
            if not part.done.done():
                part.done.set_exception(failure)
            if part in self._parts:
                self._parts.remove(part)


class _Queued:
    """A backend that lets the engine read."""

    def __init__(self, engine: Engine, job: Job[T]) -> None:
        self._engine = engine
        self._job = job
        # A model without a limit would read windows of any length, which take memory by the square.
        settings = engine.reader.settings
        known = getattr(engine.reader.backend, "longest", settings.export.get("positions"))
        self.longest: int = known or settings.window.max_length

    def __call__(self, batch: Batch) -> Logits:
        return self._engine.read(batch, self._job)
