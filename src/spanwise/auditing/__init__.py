"""Findings about data and its windows: what is in it, what is wrong, what a reader could reach.

    Scan ─ auditing ─┬─ repeats ──────────┬─ findings ─ Audit
                     └─ tokens ─ ceiling ─┘
    Example ─ repairing ─ Repair
            ─ excerpts ─ Excerpt

All results are data. This package knows nothing about models, and of files only their names.
"""

from spanwise.auditing.auditing import Audit, Counts, audit_examples
from spanwise.auditing.excerpts import Excerpt, sample_examples
from spanwise.auditing.findings import Finding
from spanwise.auditing.repairing import Change, Repair, repair_examples
from spanwise.auditing.tokens import Spread, TokenCounts

__all__ = [
    "Audit",
    "Change",
    "Counts",
    "Excerpt",
    "Finding",
    "Repair",
    "Spread",
    "TokenCounts",
    "audit_examples",
    "repair_examples",
    "sample_examples",
]
