"""SQuAD 1.1 and 2.0: articles of paragraphs of questions.

Knows nothing about files. `plausible_answers` are never read: they answer another question.
"""

from spanwise.corpus.checks import Entry, Fields, Intake, read_golds, show
from spanwise.corpus.parsing import Rows
from spanwise.schema import Gold

ORDER = "spanwise_order"  # place of a question in the set that was written, where grouping moved it


def read_squad(articles: Rows, intake: Intake) -> None:
    """Read every question of the articles."""
    orders: list[object] = []
    for place, value in articles:
        article = Entry(intake, place)
        fields = article.fields(value)
        if fields is None:
            continue
        title = article.title(fields)
        for number, paragraph in enumerate(article.items(fields, "paragraphs")):
            there = Entry(intake, f"{place}.paragraphs[{number}]")
            orders += _read_paragraph(paragraph, title, there, intake=intake)
    kept = [(order, n) for n, order in enumerate(orders) if isinstance(order, int)]
    if len(kept) == len(orders):
        intake.examples[:] = [intake.examples[n] for _, n in sorted(kept)]


def read_paragraphs(paragraphs: Rows, intake: Intake) -> None:
    """Read every question of paragraphs that stand by themselves, without articles."""
    for place, value in paragraphs:
        _read_paragraph(value, "", Entry(intake, place), intake=intake)


def _read_paragraph(value: object, title: str, entry: Entry, *, intake: Intake) -> list[object]:
    """Read the questions of a paragraph; returns the `ORDER` of each one that was kept."""
    paragraph = entry.fields(value)
    if paragraph is None:
        return []
    context = entry.text(paragraph, "context")
    orders = []
    for number, question in enumerate(entry.items(paragraph, "qas")):
        one = Entry(intake, f"{entry.place}.qas[{number}]")
        fields = one.fields(question)
        if fields is None:
            continue
        one.identify(fields, "id")
        text, answers = one.text(fields, "question"), _read_label(fields, one)
        if one.keep(question=text, context=context, title=title, answers=answers):
            orders.append(fields.get(ORDER))
    return orders


def _read_label(fields: Fields, entry: Entry) -> tuple[Gold, ...] | None:
    answers = read_golds(fields.get("answers"), entry)
    impossible = fields.get("is_impossible")
    if impossible is not None and not isinstance(impossible, bool):
        entry.fault(f"'is_impossible' is {show(impossible)}, neither true nor false")
    elif impossible and answers:
        entry.fault(f"is_impossible is true, yet it has the answer {show(answers[0].text)}")
    elif impossible:
        return ()
    elif impossible is False and answers == () and entry.usable:
        entry.fault("is_impossible is false, yet 'answers' is []: say true, or give an answer")
    return answers
