"""How far an exported model is from the one that it was made of.

This module knows nothing about files.
"""

from collections.abc import Sequence

import numpy as np

from spanwise.backends import Backend
from spanwise.errors import ParityError
from spanwise.evaluation import evaluate, fit_calibration, recalibrated, score_spans
from spanwise.reader import Reader
from spanwise.schema import Batch, Calibration, Example

SHAPES = ((1, 7), (3, 384), (5, 33))
"""Windows and tokens that logits are compared on: lone, full and odd ones."""

TOLERANCE = 1e-4
"""Largest difference of two logits in float32, as a share of the largest of them, or of 1."""

_EIGHT_BITS = ", in eight bits"


def compare_logits(
    ours: Backend, theirs: Backend, *, vocabulary: int, longest: int | None
) -> float:
    """Give the largest difference of two backends' logits, as a share as in `TOLERANCE`.

    Args:
        ours: gives the logits to look at.
        theirs: gives those that they should be.
        vocabulary: token ids are drawn from so many.
        longest: tokens that the model has positions for; None: any number.
    """
    random = np.random.default_rng(0)
    worst = 0.0
    for rows, tokens in SHAPES:
        batch = _batch(random, rows, min(tokens, longest or tokens), vocabulary)
        pairs = (ours(batch), theirs(batch))
        for side in ("start_logits", "end_logits"):
            found, wanted = (getattr(logits, side)[batch.attention_mask == 1] for logits in pairs)
            apart = np.abs(found - wanted).max() / max(1.0, np.abs(wanted).max())
            worst = float(np.maximum(worst, apart))  # which keeps NaN
    return worst


def check_logits(apart: float, name: str) -> None:
    """Refuse logits that are too far apart.

    Raises:
        ParityError: they are.
    """
    if not apart <= TOLERANCE:  # so put, NaN is too far
        raise ParityError(
            f"{name}: logits of the export are up to {apart:.1e} of the largest logit away from "
            f"what they should be on windows of shape {', '.join(map(str, SHAPES))}; at most "
            f"{TOLERANCE:.0e} is let pass. Nothing was written"
        )


def recalibrate(
    ours: Reader, theirs: Reader, examples: Sequence[Example], *, name: str, most: float
) -> tuple[Calibration, tuple[float, float]]:
    """Fit the calibration of a reader in eight bits anew, and see what they cost.

    Args:
        ours: in eight bits, with the calibration of the other. What is not calibrated stays so.
        theirs: in float32.
        examples: labelled, with distinct ids. What was fitted is fitted on them for both, else
            what fitting gains would hide what eight bits lose.
        name: how they are called where the calibration is kept.
        most: F1, in percent, that ours may be below.

    Returns:
        The calibration of ours, and F1 of both.

    Raises:
        ParityError: ours is further below.
    """
    calibration, found = _refitted(ours, examples, name)
    _, wanted = _refitted(theirs, examples, name)
    if not found >= wanted - most:  # so put, a limit of NaN lets nothing pass
        raise ParityError(
            f"in eight bits F1 is {found:.2f} on {len(examples)} questions, in float32 "
            f"{wanted:.2f}: it drops by {wanted - found:.2f}, and at most {most:g} is let pass "
            "(--max-f1-drop). On few questions chance moves it as far: give more, or let more "
            "pass. Nothing was written"
        )
    return calibration, (found, wanted)


def _refitted(reader: Reader, examples: Sequence[Example], name: str) -> tuple[Calibration, float]:
    """A calibration for eight bits, if the reader has one, and F1 with it."""
    report, calibration = evaluate(reader, examples), reader.settings.calibration
    if not calibration.fitted_on:
        return calibration, report.overall["f1"]
    use_null = reader.settings.decode.use_null
    on = f"{name}{_EIGHT_BITS}"
    calibration = fit_calibration(
        examples, report.predictions, fitted_on=on, use_null=use_null, known=calibration
    )
    predictions = recalibrated(report.predictions, calibration, use_null=use_null)
    scores = score_spans(examples, predictions, threshold=calibration.threshold)
    return calibration, scores["f1"]


def _batch(random: np.random.Generator, rows: int, tokens: int, vocabulary: int) -> Batch:
    """Random tokens, each row a little shorter than the one before."""
    lengths = np.maximum(2, tokens - np.arange(rows) * (tokens // 7))
    mask = (np.arange(tokens) < lengths[:, None]).astype(np.int32)
    zeros = np.zeros(rows, dtype=np.int32)
    return Batch(
        input_ids=random.integers(0, vocabulary, (rows, tokens)).astype(np.int32) * mask,
        attention_mask=mask,
        type_ids=(np.arange(tokens) >= tokens // 3) * mask,
        edges=np.full((rows, tokens, 2), -1, dtype=np.int32),
        example=zeros,
        null_position=zeros,
        first=zeros,
        last=zeros,
    )
