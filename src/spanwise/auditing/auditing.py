"""The audit of one or several data sets.

Knows nothing about how it is shown.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from spanwise.auditing.findings import Finding, Found, found, gather, stands
from spanwise.auditing.repeats import find_repeats, find_shared
from spanwise.auditing.tokens import TokenAudit, TokenCounts
from spanwise.corpus import Scan
from spanwise.corpus.checks import show
from spanwise.schema import DecodeSettings, Example, WindowSettings
from spanwise.windows import PairTokenizer


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What is in the data, all sets together.

    Attributes:
        questions: usable ones.
        contexts: distinct ones.
        documents: distinct titles.
        unanswerable: questions labelled as such.
        unlabelled: questions without a label.
        answers_per_question: number of answers → number of labelled questions that have so many.
    """

    questions: int
    contexts: int
    documents: int
    unanswerable: int
    unlabelled: int
    answers_per_question: dict[int, int]


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What `audit_examples` found.

    Attributes:
        counts: what is in the data.
        tokens: lengths and windows; None without a tokenizer.
        findings: one for each kind that occurs.
        oracle: percent under the official keys (`exact`, `f1`, `total`, `HasAns_exact`, …): what a
            perfect reader would reach with these windows and this decoding; None without a
            tokenizer or without a labelled question.
    """

    counts: Counts
    tokens: TokenCounts | None
    findings: tuple[Finding, ...]
    oracle: dict[str, float] | None

    @property
    def has_faults(self) -> bool:
        """Whether a finding is more than a note."""
        return any(finding.fault for finding in self.findings)


def audit_examples(
    scans: Mapping[str, Scan],
    *,
    tokenizer: PairTokenizer | None = None,
    window: WindowSettings | None = None,
    decode: DecodeSettings | None = None,
) -> Audit:
    """Count what is in the data, and find what is wrong with it and with its windows.

    Args:
        scans: name → what was read under it, one for each data set: a context in two is a leak.
        tokenizer: of the reader; without one, nothing is said about tokens and windows.
        window: settings of the reader, None for the defaults.
        decode: likewise.

    Raises:
        ConfigError: lengths that cannot work.
    """
    sets = {file: scan.examples for file, scan in scans.items()}
    problems = list(chain.from_iterable(_find_in_set(file, scan) for file, scan in scans.items()))
    problems += find_shared(sets)
    tokens = oracle = None
    if tokenizer is not None:
        audit = TokenAudit(tokenizer, window or WindowSettings(), decode or DecodeSettings())
        for file, examples in sets.items():
            audit.add(file, examples)
        tokens, oracle = audit.counts(), audit.oracle()
        problems += audit.problems
    return Audit(
        counts=_count(list(chain.from_iterable(sets.values()))),
        tokens=tokens,
        findings=gather(problems),
        oracle=oracle,
    )


def _count(examples: Sequence[Example]) -> Counts:
    numbers = Counter(len(example.answers) for example in examples if example.answers is not None)
    return Counts(
        questions=len(examples),
        contexts=len({example.context for example in examples}),
        documents=len({example.title for example in examples if example.title}),
        unanswerable=numbers[0],
        unlabelled=len(examples) - numbers.total(),
        answers_per_question={number: numbers[number] for number in sorted(numbers)},
    )


def _find_in_set(file: str, scan: Scan) -> Found:
    for problem in scan.problems:
        yield "misaligned" if problem.alignment else "format", problem
    # A file's scan has named its misplaced answers, with their places; examples that never came
    # from a file are checked here.
    is_checked = any(problem.alignment for problem in scan.problems)
    for example in scan.examples:
        for gold in dict.fromkeys(example.answers or ()):
            if not stands(gold, example.context):
                if not is_checked:
                    there = show(example.context[max(gold.start, 0) : max(gold.end, 0)])
                    message = (
                        f"answer {show(gold.text)} is not at context[{gold.start}:{gold.end}], "
                        f"which reads {there}; --fix moves it to where it stands, or drops it"
                    )
                    yield found("misaligned", file, example, message)
            elif not gold.text.strip():
                message = f"answer {show(gold.text)} is blank; --fix drops it"
                yield found("blank_edges", file, example, message)
            elif gold.text != gold.text.strip():
                message = f"answer {show(gold.text)} has blanks around it; --fix trims them"
                yield found("blank_edges", file, example, message)
    yield from find_repeats(file, scan.examples)
