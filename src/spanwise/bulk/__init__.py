"""Answers a table of any size, on one machine or on a Ray cluster, each row exactly once.

    tables ─ Row ─ questions ─ Question, Rejected ─ worker ─ Answered ─ output
                       contexts ┘

`answering` runs the whole on one machine, `cluster` on Ray, with the same worker and the same
files. Memory does not grow with the table. This package knows nothing about scores or training.
"""

from spanwise.bulk.answering import Summary, answer_table
from spanwise.bulk.config import BulkConfig

__all__ = ["BulkConfig", "Summary", "answer_table"]
