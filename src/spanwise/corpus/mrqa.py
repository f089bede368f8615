"""MRQA: one context with its questions a line, after a header line.

Knows nothing about files. `char_spans` name their last character, not one past it.
"""

from spanwise.corpus.checks import Entry, Fields, Intake, read_gold, show
from spanwise.corpus.parsing import Rows
from spanwise.schema import Gold


def read_mrqa(lines: Rows, intake: Intake) -> None:
    """Read every question of the contexts."""
    for place, value in lines:
        if isinstance(value, dict) and value.keys() == {"header"}:
            continue
        passage = Entry(intake, place)
        fields = passage.fields(value)
        if fields is None:
            continue
        context = passage.text(fields, "context")
        for number, question in enumerate(passage.items(fields, "qas")):
            _read_question(question, context, Entry(intake, f"{place}.qas[{number}]"))


def _read_question(value: object, context: str | None, entry: Entry) -> None:
    fields = entry.fields(value)
    if fields is None:
        return
    entry.identify(fields, "qid")
    text, answers = entry.text(fields, "question"), _read_detected(fields, entry)
    entry.keep(question=text, context=context, title="", answers=answers)


def _read_detected(fields: Fields, entry: Entry) -> tuple[Gold, ...] | None:
    if fields.get("detected_answers") is None:
        return None
    golds = []
    for number, answer in enumerate(entry.items(fields, "detected_answers")):
        name = f"detected_answers[{number}]"
        spans = answer.get("char_spans") if isinstance(answer, dict) else None
        if not isinstance(answer, dict) or not isinstance(spans, list) or not spans:
            entry.fault(f"{name} is {show(answer)}, not an object with 'text' and 'char_spans'")
            continue
        read = [_read_span(answer.get("text"), span, name, entry=entry) for span in spans]
        golds += [gold for gold in read if gold]
    return tuple(golds)


def _read_span(text: object, span: object, name: str, *, entry: Entry) -> Gold | None:
    if not isinstance(span, list) or len(span) != 2 or not isinstance(span[1], int):
        entry.fault(f"{name}: char span {show(span)} is not [first, last character]")
        return None
    gold = read_gold(text, span[0], name, entry=entry)
    if gold and gold.end != span[1] + 1:
        entry.misplaced(
            f"answer {show(gold.text)} has {len(gold.text)} characters, but its char span "
            f"{show(span)}, last character included, has {show(span[1] + 1 - span[0])}"
        )
    return gold
