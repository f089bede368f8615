"""What answers rows, in a process of this machine or in an actor of a cluster.

This module knows nothing about files, parts or who calls it.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spanwise.backends import OnnxBackend
from spanwise.bulk.config import Job
from spanwise.bulk.contexts import ContextIndex
from spanwise.bulk.questions import Question, Rejected, sort_rows
from spanwise.bulk.tables import Row, load_pyarrow
from spanwise.checkpoints import EXPORT_FILE
from spanwise.errors import DataError
from spanwise.reader import Reader
from spanwise.schema import Prediction

# Rows of a chunk. An exported model reads one window a call and batches nothing.
_ROWS = {"onnx": 64, "torch": 256}
_CHARACTERS = 1 << 20  # of a chunk with long texts


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A chunk of rows, answered.

    Attributes:
        table: a `pyarrow.Table` of `answer_schema`, in the order of the rows.
        rejected: rows that are not in it.
    """

    table: Any
    rejected: tuple[Rejected, ...]


def answer_schema() -> Any:
    """The columns of a part.

    `text`, `start` and `end` are null where the reader judges that the context holds no answer.
    `probability` is that of what the row says: of the quote, or, without one, of null.
    """
    pa, _ = load_pyarrow()
    return pa.schema(
        [
            pa.field("row", pa.int64(), nullable=False),
            pa.field("id", pa.string(), nullable=False),
            pa.field("text", pa.string()),
            pa.field("start", pa.int64()),
            pa.field("end", pa.int64()),
            pa.field("probability", pa.float64(), nullable=False),
            pa.field("null_probability", pa.float64(), nullable=False),
        ]
    )


def cut_chunks(rows: Iterable[Row], backend: str) -> Iterator[list[Row]]:
    """Cut rows into what is answered at once: few enough to hold, enough to batch well.

    Args:
        rows: of one part.
        backend: one of `reader.BACKENDS`.
    """
    chunk: list[Row] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += sum(len(value) for value in row.fields.values() if isinstance(value, str | bytes))
        if len(chunk) >= _ROWS[backend] or size >= _CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


class Worker:
    """Answers chunks of rows with a reader that it loads once.

    Args:
        job: what to answer with.
        contexts: the index of the contexts, for rows that name theirs.
        threads: of the processor for this worker alone, in a process of its own; None: all of them.

    Raises:
        CheckpointError: the model cannot be loaded.
        ConfigError: device or dtype do not suit it.
        MissingExtra: it needs what is not installed.
    """

    def __init__(self, job: Job, contexts: Path | None, *, threads: int | None = None) -> None:
        if threads is not None:
            os.environ["RAYON_NUM_THREADS"] = str(threads)  # of the tokenizer
        self._names = job.names
        self._contexts = ContextIndex(contexts) if contexts else None
        self._reader = Reader.from_pretrained(
            job.folder, backend=job.backend, device=job.config.device, dtype=job.config.dtype
        )
        if threads is not None and job.backend == "onnx":
            self._reader.backend = OnnxBackend(job.folder / EXPORT_FILE, threads=threads)
        elif threads is not None:
            import torch

            torch.set_num_threads(threads)

    def __call__(self, rows: Sequence[Row]) -> Answered:
        """Answer what can be answered; a failure of the model is an error, not a bad row."""
        questions, rejected = sort_rows(rows, self._names, self._contexts)
        try:
            said = self._predict(questions)
        except DataError:  # a text that this tokenizer cannot read: find it
            said = []
            for question in questions:
                try:
                    said += self._predict([question])
                except DataError as error:
                    reason = error.problems[0].message
                    bad = Rejected(row=question.row, id=question.example.id, reason=reason)
                    rejected.append(bad)
            refused = {bad.row for bad in rejected}
            questions = [question for question in questions if question.row not in refused]
        table = _make_table(questions, said)
        return Answered(table=table, rejected=tuple(sorted(rejected, key=lambda bad: bad.row)))

    def _predict(self, questions: Sequence[Question]) -> list[Prediction]:
        return self._reader.predict([question.example for question in questions], top_k=1)


def _make_table(questions: Sequence[Question], said: Sequence[Prediction]) -> Any:
    pa, _ = load_pyarrow()
    best = [prediction.best for prediction in said]
    columns = {
        "row": [question.row for question in questions],
        "id": [question.example.id for question in questions],
        "text": [answer and answer.text for answer in best],
        "start": [answer and answer.start for answer in best],
        "end": [answer and answer.end for answer in best],
        "probability": [
            prediction.null_probability if prediction.best is None else prediction.best.probability
            for prediction in said
        ],
        "null_probability": [prediction.null_probability for prediction in said],
    }
    return pa.table(columns, schema=answer_schema())
