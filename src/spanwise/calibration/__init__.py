"""What held-out questions say about probabilities: how they are fitted, and what they are worth."""

from spanwise.calibration.fitting import fit_probabilities, fit_threshold, threshold_for_precision
from spanwise.calibration.measures import (
    Reliability,
    answered_at,
    auroc,
    brier,
    calibration_range,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
    risk_coverage,
)

__all__ = [
    "Reliability",
    "answered_at",
    "auroc",
    "brier",
    "calibration_range",
    "expected_calibration_error",
    "fit_probabilities",
    "fit_threshold",
    "negative_log_likelihood",
    "reliability",
    "risk_coverage",
    "threshold_for_precision",
]
