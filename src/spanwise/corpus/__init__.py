"""Reads the formats that users bring as `Example`s, and writes them back.

    bytes, or a Hub data set ─ parsing ─┬─ squad ───┐
                                        ├─ mrqa ────┼─ checks ─ Example, Problem ─ scanning
                                        └─ tables ──┤
                                            subjqa ─┘

A format is told by its content, never by its suffix. This package knows nothing about tokens,
windows or models, and repairs nothing: a faulty answer is kept as published and reported.
"""

from spanwise.corpus.scanning import Scan, read_examples, scan_examples
from spanwise.corpus.writing import write_examples

__all__ = ["Scan", "read_examples", "scan_examples", "write_examples"]
