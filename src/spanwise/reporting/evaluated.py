"""The page of an evaluation: what the reader reached, how far to trust that, what it gets wrong.

This module knows nothing about files.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version

import numpy as np

from spanwise.auditing import audit_examples
from spanwise.corpus import Scan
from spanwise.reporting.audited import oracle_section
from spanwise.reporting.curves import draw_dev_scores, draw_losses
from spanwise.reporting.log import RunLog
from spanwise.reporting.pages import Html, Section, Shelf, fill_page, list_place
from spanwise.reporting.probabilities import precision_recall, reliability, risk
from spanwise.reporting.questions import Evaluated, list_outcomes
from spanwise.reporting.scores import confusion, headline, slices
from spanwise.schema import Example, Report
from spanwise.windows import PairTokenizer


def evaluation_page(
    report: Report,
    examples: Sequence[Example],
    tokenizer: PairTokenizer,
    *,
    model: str,
    data: Sequence[str],
    log: RunLog | None = None,
) -> bytes:
    """One HTML file about an evaluation, that asks nothing of anybody.

    Args:
        report: of `evaluate`.
        examples: those that it is about, in their order.
        tokenizer: of the reader.
        model: how the reader is called.
        data: how the data is called.
        log: of the run that made the reader, where there was one.
    """
    with _unlogged():
        return _page(Evaluated(report, examples, tokenizer), model, ", ".join(data), log)


@contextmanager
def _unlogged() -> Iterator[None]:
    """Windows are cut again for counting: what is wrong with them was said when they were read."""

    def refuse(_record: logging.LogRecord) -> bool:
        return False

    logger = logging.getLogger("spanwise")
    logger.addFilter(refuse)
    try:
        yield
    finally:
        logger.removeFilter(refuse)


def _page(of: Evaluated, model: str, data: str, log: RunLog | None) -> bytes:
    contexts, titles = Shelf(), Shelf()
    sections = [
        headline(of),
        *(() if log is None else _run(log)),
        confusion(of),
        *precision_recall(of),
        reliability(of),
        risk(of),
        slices(of),
        # The audit seeks its best quotes by the English rules.
        *(_oracle(of) if of.report.language == "en" else ()),
        _questions(),
    ]
    return fill_page(
        f"{model} on {data}",
        _about(of, model, data),
        sections,
        lists={"questions": list_outcomes(of, contexts=contexts, titles=titles)},
        contexts=contexts,
        titles=titles,
    )


def _about(of: Evaluated, model: str, data: str) -> dict[str, str]:
    """What was evaluated."""
    calibration = of.settings.calibration
    made_with = of.settings.provenance.get("versions")
    versions = [f"spanwise {version('spanwise')}", f"numpy {np.__version__}"]
    about = {
        "Model": model,
        "Data": data,
        "Questions": f"{len(of.examples):,}",
        "Language": of.report.language,
        "Threshold": f"{calibration.threshold:.4f}",
        "Calibrated on": calibration.fitted_on or "nothing: its probabilities are uncalibrated",
        "Evaluated with": ", ".join(versions),
    }
    if isinstance(made_with, dict):
        about["Trained with"] = ", ".join(f"{k} {v}" for k, v in made_with.items())
    return about


def _run(log: RunLog) -> Iterator[Section]:
    """How the run went that made the reader."""
    pictures = [
        *([draw_losses(log)] if log.losses else []),
        *([draw_dev_scores(log)] if log.scores else []),
    ]
    if pictures:
        how = (
            "The loss should fall and level off; the scores on the dev set show whether more "
            "epochs still helped. The best epoch was kept."
        )
        body = Html(f'<div class="pictures">{"".join(pictures)}</div>')
        yield Section(key="run", title="How it was trained", how=how, body=body, wide=True)


def _oracle(of: Evaluated) -> Iterator[Section]:
    scans = {"data": Scan(examples=tuple(of.examples), problems=())}
    window, decode = of.settings.window, of.settings.decode
    audit = audit_examples(scans, tokenizer=of.tokenizer, window=window, decode=decode)
    return oracle_section(audit.oracle, window, decode, reached=of.scores)


def _questions() -> Section:
    how = Html(
        'In each text <mark class="gold">underlined</mark>: a published answer; '
        '<mark class="span">on yellow</mark>: what was answered; <mark class="near">on a faint '
        "ground</mark>: the nearest span, where the reader abstained. “Boundary off” overlaps a "
        "published answer without matching any."
    )
    body = list_place("questions")
    return Section(key="questions", title="Every question", how=how, body=body, wide=True)
