"""SubjQA: questions about reviews, one a row.

Its makers appended the word ANSWERNOTFOUND to every review, for annotators to mark. It is no part
of what a reviewer wrote and is cut from the context; as it stands last, no offset moves. Of the two
columns that hold an answer, the indices are kept: the text was tokenised and put together again.
Knows nothing about files.
"""

import re
from collections import Counter

from spanwise.corpus.checks import Entry, Fields, Intake, read_gold, show
from spanwise.corpus.parsing import Table
from spanwise.schema import Gold

SUBJQA_COLUMNS = frozenset(
    {"question", "review", "human_ans_spans", "human_ans_indices", "q_review_id"}
)
SUBJQA_TITLE = "item_id"  # the product that a review is about
_MARKER = "ANSWERNOTFOUND"
_INDICES = re.compile(r"\s*\(\s*([0-9]{1,9})\s*,\s*([0-9]{1,9})\s*\)\s*")


def read_subjqa(table: Table, intake: Intake) -> None:
    """Read every row; an id that comes again gets the number of its row."""
    times: Counter[str] = Counter()
    for number, (place, value) in enumerate(table.rows, start=1):
        entry = Entry(intake, place)
        if not isinstance(value, dict):
            entry.fault(f"is {show(value)}, not a row with a value for each column")
            continue
        name = value.get("q_review_id")
        if isinstance(name, str):
            times[name] += 1
            value["q_review_id"] = f"{name}-{number}" if times[name] > 1 else name
        entry.identify(value, "q_review_id")
        review = entry.text(value, "review")
        entry.keep(
            question=entry.text(value, "question"),
            context=None if review is None else _context(review, entry),
            title=entry.title(value, SUBJQA_TITLE),
            answers=_read_answer(value, review or "", entry),
        )


def _context(review: str, entry: Entry) -> str | None:
    return entry.text(
        {"review": review.removesuffix(f" {_MARKER}").removesuffix(_MARKER)}, "review"
    )


def _read_answer(row: Fields, review: str, entry: Entry) -> tuple[Gold, ...]:
    text = entry.text(row, "human_ans_spans")
    indices = entry.text(row, "human_ans_indices")
    if text is None or indices is None or text == _MARKER:
        return ()
    match = _INDICES.fullmatch(indices)
    if match is None:
        entry.fault(f"'human_ans_indices' is {show(indices)}, not '(start, end)'")
        return ()
    start, end = int(match[1]), int(match[2])
    quote = review[start:end]
    gold = read_gold(quote, start, f"review[{start}:{end}]", entry=entry)
    if gold is None:
        return ()
    if _words(quote) != _words(text) and _MARKER not in quote:  # else it ends past the context
        entry.misplaced(
            f"review[{start}:{end}], the answer, reads {show(quote)}, "
            f"but 'human_ans_spans' is {show(text)}: correct the one or the other"
        )
    return (gold,)


def _words(text: str) -> str:
    """The text without its blanks, which tokenising adds and drops."""
    return "".join(text.split())
