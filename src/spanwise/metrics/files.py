"""Reads the official files of predictions and of no-answer probabilities.

This module knows nothing about what they are worth.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from spanwise.errors import DataError, Problem
from spanwise.metrics.checks import answer_problems, probability_problems, problem, shown


def load_predictions(path: str | Path) -> dict[str, str]:
    """Read the official predictions file: one JSON object of id -> text, "" for "no answer".

    Raises:
        FormatError: no JSON object, an id given twice, or a value that is not text.
    """
    return cast("dict[str, str]", _load(path, answer_problems))


def load_probabilities(path: str | Path) -> dict[str, float]:
    """Read the official no-answer file: one JSON object of id -> probability of no answer.

    Raises:
        FormatError: no JSON object, an id given twice, or a value that is no probability.
    """
    return cast("dict[str, float]", _load(path, probability_problems))


def _load(
    path: str | Path, check: Callable[[Mapping[str, object], str], Iterable[Problem]]
) -> dict[str, object]:
    """Read a JSON object whose values pass `check`; an id given twice is an error, not the last."""
    file = str(path)
    repeated: list[Problem] = []

    def collect(pairs: list[tuple[str, object]]) -> dict[str, object]:
        for key, count in Counter(key for key, _ in pairs).items():
            if count > 1:
                repeated.append(problem(file, key, f"stands {count} times; keep one of them"))
        return dict(pairs)

    try:
        content: Any = json.loads(Path(path).read_bytes(), object_pairs_hook=collect)
    except OSError as error:
        raise DataError.of([problem(file, None, f"{error.strerror}; check the path")]) from error
    except (ValueError, RecursionError) as error:
        message = f'not JSON: {error}; give {{"id": value, …}}'
        raise DataError.of([problem(file, None, message)]) from error
    if not isinstance(content, dict):
        message = f'{shown(content)} is not an object; give {{"id": value, …}}'
        raise DataError.of([problem(file, None, message)])
    problems = (*repeated, *check(content, file))
    if problems:
        raise DataError.of(problems)
    return content
