"""Exact match and F1, equal to the official SQuAD 1.1 and 2.0 scripts to the last digit.

Under the rules 2.0 a gold answer that normalises to nothing is dropped, and a question left without
one is scored against the empty text; two empty texts have an F1 of 1, under 1.1 of 0. A score of
one question lies between 0 and 1, scores of many are in percent. This module knows nothing about
models, or about how an answer was found.

Source: Rajpurkar et al. 2016 (1.1) and Rajpurkar, Jia and Liang 2018 (2.0).
"""

import json
import re
import reprlib
import string
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from numbers import Real
from operator import add
from pathlib import Path
from typing import Any, Literal, cast

from spanwise.errors import ConfigError, DataError, Problem
from spanwise.schema import Example, Gold

Rules = Literal["1.1", "2.0"]

_PUNCTUATION = str.maketrans("", "", string.punctuation)  # ASCII only, as in the scripts
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_EXAMPLES = "examples"
_ANSWERS = "predictions"
_PROBABILITIES = "no-answer probabilities"


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What `score_predictions` found.

    Attributes:
        rules: the official script whose rules were followed.
        overall: percent, under the official keys and in their order: `exact`, `f1`, `total`; the
            same with `HasAns_` and `NoAns_` for the questions with and without an answer, where
            there are any; and, where probabilities were given, `best_exact`, `best_exact_thresh`,
            `best_f1`, `best_f1_thresh`: the oracle, its thresholds chosen on the data it scores.
        exact: 1 or 0 for each id, in the order of the examples, after the threshold.
        f1: between 0 and 1 for each id, likewise.
        missing: ids without a prediction; each counts as wrong, answerable or not.
        official: `exact`, `f1`, `total` as the script itself treats missing predictions: 1.1 counts
            them as wrong, as `overall` does; 2.0 leaves them out of the sum and of `total`, and
            then stops with a KeyError at its HasAns and NoAns split. Empty where 2.0 is left with
            no prediction at all.
    """

    rules: Rules
    overall: dict[str, float]
    exact: dict[str, float]
    f1: dict[str, float]
    missing: tuple[str, ...]
    official: dict[str, float]


def normalize_answer(text: str) -> str:
    """Lower case, without ASCII punctuation, English articles and superfluous blanks."""
    bare = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def exact_match(text: str, gold: str) -> int:
    """1 where both texts normalise to the same, be it to nothing, else 0."""
    return int(normalize_answer(text) == normalize_answer(gold))


def f1(text: str, gold: str, *, rules: Rules = "2.0") -> float:
    """Harmonic mean of precision and recall over normalised words, between 0 and 1.

    Where both texts normalise to nothing it is 1 under the rules 2.0, and 0 under 1.1.
    """
    return _word_f1(normalize_answer(text).split(), normalize_answer(gold).split(), rules)


def score_predictions(
    examples: Sequence[Example],
    answers: Mapping[str, str],
    *,
    no_answer_probabilities: Mapping[str, float] | None = None,
    threshold: float = 1.0,
    rules: Rules | None = None,
) -> Scores:
    """Score one text per question by the rules of an official script.

    With probabilities, give the best span of every question: the threshold takes spans back, and
    the `best_*` scores need to know what answering would have brought. They are found as the script
    finds them, adding one question after the other by rising probability. Where probabilities are
    equal this can stop inside a tie, at a score that no threshold reaches, and which questions of
    the tie come first is decided by the order of `no_answer_probabilities`.

    Args:
        examples: labelled questions with distinct ids.
        answers: id -> text of the best span, or "" for "no answer".
        no_answer_probabilities: id -> probability that the context holds no answer.
        threshold: a question whose probability is greater is scored as judged unanswerable.
        rules: None takes 1.1 where every question has an answer, else 2.0.

    Raises:
        ConfigError: `threshold` or `rules` cannot work.
        DataError: examples, ids, texts or probabilities that cannot be scored, each one named.
    """
    _check_settings(threshold, rules, has_probabilities=no_answer_probabilities is not None)
    _check_data(examples, answers, no_answer_probabilities, rules=rules)
    rules = rules or ("1.1" if all(example.answers for example in examples) else "2.0")
    golds = {example.id: example.answers or () for example in examples}
    # Plain floats: a numpy float32 would pull the threshold down to its own precision.
    probabilities = {key: float(value) for key, value in (no_answer_probabilities or {}).items()}
    raw = {key: _score(answers[key], golds[key], rules) for key in golds if key in answers}
    judged = {key for key in raw if probabilities.get(key, 0.0) > threshold}
    scored = raw | {key: (float(not golds[key]), float(not golds[key])) for key in judged}
    pairs = {key: scored.get(key, (0, 0)) for key in golds}
    overall = _summary(pairs.values(), rules)
    for prefix, has_answer in (("HasAns_", True), ("NoAns_", False)):
        group = [pair for key, pair in pairs.items() if bool(golds[key]) == has_answer]
        overall |= _summary(group, rules, prefix=prefix)
    if no_answer_probabilities is not None:
        overall |= _best(raw, probabilities, golds=golds, answers=answers)
    return Scores(
        rules=rules,
        overall=overall,
        exact={key: pair[0] for key, pair in pairs.items()},
        f1={key: pair[1] for key, pair in pairs.items()},
        missing=tuple(key for key in golds if key not in raw),
        official=_summary((pairs if rules == "1.1" else scored).values(), rules),
    )


def load_predictions(path: str | Path) -> dict[str, str]:
    """Read the official predictions file: one JSON object of id -> text, "" for "no answer".

    Raises:
        FormatError: no JSON object, an id given twice, or a value that is not text.
    """
    return cast("dict[str, str]", _load(path, _answer_problems))


def load_probabilities(path: str | Path) -> dict[str, float]:
    """Read the official no-answer file: one JSON object of id -> probability of no answer.

    Raises:
        FormatError: no JSON object, an id given twice, or a value that is no probability.
    """
    return cast("dict[str, float]", _load(path, _probability_problems))


def _word_f1(words: Sequence[str], gold_words: Sequence[str], rules: Rules) -> float:
    # 0 and 1 are ints where the scripts have ints: since Python 3.12 `sum` makes up for rounding
    # where it adds a float, but not where it adds an int.
    if not words and not gold_words:
        return int(rules == "2.0")
    same = (Counter(words) & Counter(gold_words)).total()
    if same == 0:
        return 0
    precision = same / len(words)
    recall = same / len(gold_words)
    return (2 * precision * recall) / (precision + recall)


def _score(text: str, golds: Iterable[Gold], rules: Rules) -> tuple[float, float]:
    """Exact match and F1 against the best of `golds`."""
    normal = normalize_answer(text)
    normal_golds = [normalize_answer(gold.text) for gold in golds]
    if rules == "2.0":
        normal_golds = [gold for gold in normal_golds if gold] or [""]
    words = normal.split()
    best_f1 = max(_word_f1(words, gold.split(), rules) for gold in normal_golds)
    return int(normal in normal_golds), best_f1


def _summary(
    pairs: Collection[tuple[float, float]], rules: Rules, *, prefix: str = ""
) -> dict[str, float]:
    """Percent over `pairs` of exact match and F1; nothing where there are none."""
    if not pairs:
        return {}
    exacts, f1s = zip(*pairs, strict=True)
    # The script of 1.1 adds one by one; that of 2.0 calls `sum`, which does not since Python 3.12.
    total_f1 = reduce(add, f1s) if rules == "1.1" else sum(f1s)
    return {
        f"{prefix}exact": 100.0 * sum(exacts) / len(pairs),
        f"{prefix}f1": 100.0 * total_f1 / len(pairs),
        f"{prefix}total": len(pairs),
    }


def _best(
    raw: Mapping[str, tuple[float, float]],
    probabilities: Mapping[str, float],
    *,
    golds: Mapping[str, tuple[Gold, ...]],
    answers: Mapping[str, str],
) -> dict[str, float]:
    """The `best_*` keys: where to stop answering, by rising probability of no answer."""
    rising = [key for key in sorted(probabilities, key=probabilities.__getitem__) if key in raw]
    best: dict[str, float] = {}
    for which, name in enumerate(("exact", "f1")):
        total: float = sum(not golds[key] for key in raw)  # nothing answered yet
        highest, threshold = total, 0.0
        for key in rising:
            # The script looks at the text as it stands: "the" is an answer here, though it scores
            # as none.
            total += raw[key][which] if golds[key] else -int(answers[key] != "")
            if total > highest:
                highest, threshold = total, probabilities[key]
        best |= {f"best_{name}": 100.0 * highest / len(golds), f"best_{name}_thresh": threshold}
    return best


def _check_settings(threshold: float, rules: str | None, *, has_probabilities: bool) -> None:
    problems = []
    if rules not in {None, "1.1", "2.0"}:
        problems.append(f"rules={rules!r}: there are '1.1' and '2.0'")
    if not 0 <= threshold <= 1:
        problems.append(f"threshold={threshold}: give a probability between 0 and 1")
    elif threshold < 1 and not has_probabilities:
        problems.append(
            f"threshold={threshold} has nothing to act on: give no_answer_probabilities too"
        )
    if problems:
        raise ConfigError(problems)


def _check_data(
    examples: Sequence[Example],
    answers: Mapping[str, object],
    probabilities: Mapping[str, object] | None,
    *,
    rules: Rules | None,
) -> None:
    known = Counter(example.id for example in examples)
    problems = [
        *_example_problems(examples, known, rules),
        *_answer_problems(answers, _ANSWERS),
        *_unknown(answers, known, _ANSWERS),
    ]
    if probabilities is not None:
        problems += _probability_problems(probabilities, _PROBABILITIES)
        problems += _unknown(probabilities, known, _PROBABILITIES)
        problems += (
            _problem(_PROBABILITIES, key, "none for this question, which has a prediction; add it")
            for key in known
            if key in answers and key not in probabilities
        )
    if problems:
        raise DataError(problems)


def _problem(file: str, key: str | None, message: str) -> Problem:
    return Problem(file=file, place="", id=key, message=message)


def _example_problems(
    examples: Sequence[Example], known: Mapping[str, int], rules: Rules | None
) -> Iterator[Problem]:
    if not examples:
        yield _problem(_EXAMPLES, None, "0 questions: there is nothing to score; give at least one")
    for key, count in known.items():
        if count > 1:
            yield _problem(_EXAMPLES, key, f"{count} questions have this id; make ids unique")
    for example in examples:
        if example.answers is None:
            message = "answers is None, unlabelled: label it, with () if it has no answer"
            yield _problem(_EXAMPLES, example.id, message)
        elif rules == "1.1" and not example.answers:
            message = "has no answer, which the rules 1.1 do not know; use the rules 2.0"
            yield _problem(_EXAMPLES, example.id, message)


def _unknown(keys: Iterable[str], known: Collection[str], file: str) -> Iterator[Problem]:
    message = "no question has this id; remove it, or score against the data it was made for"
    return (_problem(file, key, message) for key in keys if key not in known)


def _answer_problems(answers: Mapping[str, object], file: str) -> Iterator[Problem]:
    for key, value in answers.items():
        if not isinstance(value, str):
            message = f'{_shown(value)} is not text; give the answer, or "" for "no answer"'
            yield _problem(file, key, message)


def _probability_problems(probabilities: Mapping[str, object], file: str) -> Iterator[Problem]:
    for key, value in probabilities.items():
        # Score differences, which some tools write as "null odds", come this way too. NaN is not
        # between 0 and 1 either.
        number = isinstance(value, Real) and not isinstance(value, bool)
        if not (number and 0 <= cast("float", value) <= 1):
            message = (
                f"{_shown(value)} is not a probability between 0 and 1; a score difference x"
                " becomes one by 1 / (1 + exp(-x))"
            )
            yield _problem(file, key, message)


def _shown(value: object) -> str:
    return "null" if value is None else reprlib.repr(value)


def _load(
    path: str | Path, check: Callable[[Mapping[str, object], str], Iterable[Problem]]
) -> dict[str, object]:
    """Read a JSON object whose values pass `check`; an id given twice is an error, not the last."""
    file = str(path)
    repeated: list[Problem] = []

    def collect(pairs: list[tuple[str, object]]) -> dict[str, object]:
        for key, count in Counter(key for key, _ in pairs).items():
            if count > 1:
                repeated.append(_problem(file, key, f"stands {count} times; keep one of them"))
        return dict(pairs)

    try:
        content: Any = json.loads(Path(path).read_bytes(), object_pairs_hook=collect)
    except OSError as error:
        raise DataError.of([_problem(file, None, f"{error.strerror}; check the path")]) from error
    except (ValueError, RecursionError) as error:
        message = f'not JSON: {error}; give {{"id": value, …}}'
        raise DataError.of([_problem(file, None, message)]) from error
    if not isinstance(content, dict):
        message = f'{_shown(content)} is not an object; give {{"id": value, …}}'
        raise DataError.of([_problem(file, None, message)])
    problems = (*repeated, *check(content, file))
    if problems:
        raise DataError.of(problems)
    return content
