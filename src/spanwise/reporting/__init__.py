"""What an evaluation or an audit found, as one page that opens anywhere.

    Report, Examples, RunLog ─ evaluated ─┬─ scores ────────────────────────────┐
                                          ├─ probabilities ─ curves ─ pictures ─┤
                                          ├─ questions ─────────────────────────┼─ pages ─ HTML
    Audit, Scans ─────────────── audited ─┴─ lengths ─────────────── pictures ──┘

A page asks nothing of anybody: its pictures are SVG inside it, its questions JSON inside it. This
package knows nothing about how a report or an audit is made.
"""

from spanwise.errors import MissingExtra

try:
    import matplotlib  # noqa: F401 - what draws the pictures
except ModuleNotFoundError as error:
    if error.name == "matplotlib":
        raise MissingExtra("matplotlib", "report") from None
    raise

from spanwise.reporting.audited import audit_page
from spanwise.reporting.evaluated import evaluation_page
from spanwise.reporting.log import RunLog, read_log

__all__ = ["RunLog", "audit_page", "evaluation_page", "read_log"]
