"""Exact match and F1, by the rules of the official scripts, in ten ways of comparing texts.

    scoring ── languages
       │
    checks ── files                     guessing

This package knows nothing about models, or about how an answer was found.
"""

from spanwise.metrics.checks import Rules
from spanwise.metrics.files import load_predictions, load_probabilities
from spanwise.metrics.guessing import guess_language
from spanwise.metrics.languages import LANGUAGES, normalize_answer
from spanwise.metrics.scoring import Scores, exact_match, f1, score_predictions

__all__ = [
    "LANGUAGES",
    "Rules",
    "Scores",
    "exact_match",
    "f1",
    "guess_language",
    "load_predictions",
    "load_probabilities",
    "normalize_answer",
    "score_predictions",
]
