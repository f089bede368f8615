"""Exact match and F1: for English equal to the official SQuAD scripts to the last digit.

Two things are chosen apart. The language says how two texts are compared (`languages.py`). The
rules, those of SQuAD 1.1 or of 2.0, say the rest: under 2.0 a gold answer that normalises to
nothing is dropped, and a question left without one is scored against the empty text; two empty
texts have an F1 of 1, under 1.1 of 0. The scripts of other languages, written before there were
questions without an answer, go by 1.1. A score of one question lies between 0 and 1, scores of many
are in percent. This module knows nothing about models, or about how an answer was found.

Source: Rajpurkar et al. 2016 (1.1) and Rajpurkar, Jia and Liang 2018 (2.0).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

from spanwise.errors import ConfigError
from spanwise.metrics.checks import Rules, check_data
from spanwise.metrics.languages import LANGUAGES, Comparison, comparison_of, unknown_language
from spanwise.schema import Example, Gold


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What `score_predictions` found.

    Attributes:
        rules: the official script whose rules were followed.
        language: how texts were compared.
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
    language: str
    overall: dict[str, float]
    exact: dict[str, float]
    f1: dict[str, float]
    missing: tuple[str, ...]
    official: dict[str, float]


def exact_match(text: str, gold: str, *, language: str = "en") -> int:
    """1 where both texts normalise to the same, be it to nothing, else 0.

    Raises:
        ConfigError: no such language.
    """
    comparison = comparison_of(language)
    return int(comparison.equal(comparison.normalize(text), comparison.normalize(gold)))


def f1(text: str, gold: str, *, rules: Rules = "2.0", language: str = "en") -> float:
    """Harmonic mean of precision and recall over normalised tokens, between 0 and 1.

    Where both texts normalise to nothing it is 1 under the rules 2.0, and 0 under 1.1.

    Raises:
        ConfigError: no such language.
    """
    comparison = comparison_of(language)
    return _f1(comparison.normalize(text), comparison.normalize(gold), comparison, rules)


def score_predictions(
    examples: Sequence[Example],
    answers: Mapping[str, str],
    *,
    no_answer_probabilities: Mapping[str, float] | None = None,
    threshold: float = 1.0,
    rules: Rules | None = None,
    language: str = "en",
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
        language: how texts are compared, a key of `LANGUAGES`; `guess_language` finds one.

    Raises:
        ConfigError: `threshold`, `rules` or `language` cannot work.
        DataError: examples, ids, texts or probabilities that cannot be scored, each one named.
    """
    has_probabilities = no_answer_probabilities is not None
    _check_settings(threshold, rules, language, has_probabilities=has_probabilities)
    check_data(examples, answers, no_answer_probabilities, rules=rules)
    rules = rules or ("1.1" if all(example.answers for example in examples) else "2.0")
    comparison = LANGUAGES[language]
    golds = {example.id: example.answers or () for example in examples}
    # Plain floats: a numpy float32 would pull the threshold down to its own precision.
    probabilities = {key: float(value) for key, value in (no_answer_probabilities or {}).items()}
    raw = {
        key: _score(answers[key], golds[key], comparison, rules) for key in golds if key in answers
    }
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
        language=language,
        overall=overall,
        exact={key: pair[0] for key, pair in pairs.items()},
        f1={key: pair[1] for key, pair in pairs.items()},
        missing=tuple(key for key in golds if key not in raw),
        official=_summary((pairs if rules == "1.1" else scored).values(), rules),
    )


def _f1(normal: str, gold: str, comparison: Comparison, rules: Rules) -> float:
    # 0 and 1 are ints where the scripts have ints: since Python 3.12 `sum` makes up for rounding
    # where it adds a float, but not where it adds an int.
    tokens, gold_tokens = comparison.tokens(normal), comparison.tokens(gold)
    if not tokens and not gold_tokens:
        return int(rules == "2.0")
    same = comparison.shared(tokens, gold_tokens)
    if same == 0:
        return 0
    precision = same / len(tokens)
    recall = same / len(gold_tokens)
    return (2 * precision * recall) / (precision + recall)


def _score(
    text: str, golds: Iterable[Gold], comparison: Comparison, rules: Rules
) -> tuple[float, float]:
    """Exact match and F1 against the best of `golds`."""
    normal = comparison.normalize(text)
    normal_golds = [comparison.normalize(gold.text) for gold in golds]
    if rules == "2.0":
        normal_golds = [gold for gold in normal_golds if gold] or [""]
    exact = any(comparison.equal(normal, gold) for gold in normal_golds)
    return int(exact), max(_f1(normal, gold, comparison, rules) for gold in normal_golds)


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


def _check_settings(
    threshold: float, rules: str | None, language: str, *, has_probabilities: bool
) -> None:
    problems = []
    if rules not in {None, "1.1", "2.0"}:
        problems.append(f"rules={rules!r}: there are '1.1' and '2.0'")
    if not 0 <= threshold <= 1:
        problems.append(f"threshold={threshold}: give a probability between 0 and 1")
    elif threshold < 1 and not has_probabilities:
        problems.append(
            f"threshold={threshold} has nothing to act on: give no_answer_probabilities too"
        )
    if language not in LANGUAGES:
        problems.append(unknown_language(language))
    if problems:
        raise ConfigError(problems)
