"""The rows of the table: each sees that both sides agree, then measures them in turn."""

from collections.abc import Callable

from benchmarks.measure import Result
from benchmarks.rows.answering import answer, answer_wide, start
from benchmarks.rows.cutting import evaluate, memory, windows
from benchmarks.rows.decoding import decode
from benchmarks.rows.learning import fine_tune, frozen
from benchmarks.rows.shared import Examples

__all__ = ["ROWS"]

ROWS: dict[str, Callable[[Examples], list[Result]]] = {
    "windows": windows,
    "memory": memory,
    "decode": decode,
    "evaluate": evaluate,
    "answer": answer,
    "answer_wide": answer_wide,
    "start": start,
    "frozen": frozen,
    "fine_tune": fine_tune,
}
