"""The page of an audit: what is in the data, how long it is, what is wrong with it.

This module knows nothing about files.
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from spanwise.auditing import Audit
from spanwise.corpus import Scan
from spanwise.reporting.lengths import draw_lengths, draw_windows
from spanwise.reporting.pages import (
    Html,
    Listing,
    Section,
    Shelf,
    fill_page,
    list_place,
    table,
)
from spanwise.reporting.questions import list_item
from spanwise.schema import DecodeSettings, Example, WindowSettings

_SEED = 0  # of the examples drawn, so that two people see the same
_DRAWN = 20


def audit_page(
    audit: Audit,
    scans: Mapping[str, Scan],
    *,
    model: str | None = None,
    window: WindowSettings | None = None,
    decode: DecodeSettings | None = None,
) -> bytes:
    """One HTML file about an audit, that asks nothing of anybody.

    Args:
        audit: of `audit_examples`.
        scans: those that it is about.
        model: whose tokenizer was counted with, None without one.
        window: settings that it was made with, None for the defaults.
        decode: likewise.
    """
    window, decode = window or WindowSettings(), decode or DecodeSettings()
    examples = [example for scan in scans.values() for example in scan.examples]
    contexts, titles = Shelf(), Shelf()
    drawn = Listing(what="questions, drawn at random")
    numbers = random.Random(_SEED).sample(range(len(examples)), min(_DRAWN, len(examples)))
    for number in sorted(numbers):
        item = list_item(examples[number], contexts=contexts, titles=titles)
        drawn.items.append(item | ({} if examples[number].answers else {"note": "unanswerable"}))
    findings = _list_findings(audit, scans, contexts=contexts, titles=titles)
    about = {"Data": ", ".join(scans)}
    if model is not None:
        about["Tokenizer"] = model
    sections = [
        _counts(audit),
        *oracle_section(audit.oracle, window, decode),
        _lengths(audit, examples, window, decode),
        _findings(audit),
        Section(
            key="examples",
            title="Examples",
            how="Drawn at random, the same ones each time. Published answers are underlined.",
            body=list_place("examples"),
            wide=True,
        ),
    ]
    return fill_page(
        f"Audit of {', '.join(scans)}",
        about,
        sections,
        lists={"findings": findings, "examples": drawn},
        contexts=contexts,
        titles=titles,
    )


def _counts(audit: Audit) -> Section:
    counts = audit.counts
    rows = [
        ("questions", counts.questions),
        ("labelled as unanswerable", counts.unanswerable),
        ("without a label", counts.unlabelled),
        *(
            (f"with {number} answer{'s' if number > 1 else ''}", questions)
            for number, questions in counts.answers_per_question.items()
            if number
        ),
        ("distinct contexts", counts.contexts),
        ("documents", counts.documents),
    ]
    how = "What could be read. A document is a title; several answers are several annotators'."
    body = table("Counts", ["what", "count"], [(name, f"{count:,}") for name, count in rows])
    return Section(key="counts", title="What is in it", how=how, body=body)


def oracle_section(
    oracle: Mapping[str, float] | None,
    window: WindowSettings,
    decode: DecodeSettings,
    *,
    reached: Mapping[str, float] | None = None,
) -> Iterator[Section]:
    """What the settings leave for any reader to reach; nothing where that is not known.

    Args:
        oracle: official scores of a perfect reader, in percent.
        window: settings that it has to do with.
        decode: likewise.
        reached: those of the reader at hand, None without one.
    """
    if oracle is None:
        return
    how = (
        "A reader that always picks the best quote which its windows and its longest answer allow "
        "would score this. What is missing to 100 no training brings back: only other settings do."
    )
    settings = (
        f"Windows of {window.max_length} tokens that share {window.stride}, questions cut at "
        f"{window.max_question_tokens}, answers of at most {decode.max_answer_tokens}."
    )
    scores = {"a perfect reader": oracle} | ({"this reader": reached} if reached else {})
    rows = [(name, f"{of['exact']:.2f}", f"{of['f1']:.2f}") for name, of in scores.items()]
    body = Html(
        f'{table("Scores in percent", ["reader", "EM", "F1"], rows)}<p class="soft">{settings}</p>'
    )
    yield Section(key="oracle", title="What the settings allow", how=how, body=body)


def _lengths(
    audit: Audit, examples: Sequence[Example], window: WindowSettings, decode: DecodeSettings
) -> Section:
    tokens = audit.tokens
    if tokens is None:
        answers = {(x.id, gold) for x in examples for gold in x.answers or ()}
        lengths = {
            "Questions": [len(example.question) for example in examples],
            "Contexts": [len(context) for context in {example.context for example in examples}],
            "Answers": [len(gold.text) for _, gold in answers],
        }
        pictures = [
            draw_lengths(Counter(values), key=name, title=f"{name}, in characters")
            for name, values in lengths.items()
        ]
        how = (
            "How many texts are how long. With a --model they are counted in its tokens, and what "
            "windows make of them is shown."
        )
    else:
        limits = {
            "Questions": (tokens.question, ("max_question_tokens", window.max_question_tokens)),
            "Contexts": (tokens.context, ("max_length", window.max_length)),
            "Answers": (tokens.answer, ("max_answer_tokens", decode.max_answer_tokens)),
        }
        pictures = [
            draw_lengths(spread.counts, key=name, title=f"{name}, in tokens", limit=limit)
            for name, (spread, limit) in limits.items()
        ]
        if tokens.windows:
            pictures.append(draw_windows(tokens.questions_by_windows))
        how = (
            "How many texts are how long, beside the setting that limits them. A question right of "
            "its line is cut, an answer right of it cannot be returned; a context that does not "
            "fit beside its question takes several windows."
        )
    how += " The longest half per cent share the last bar."
    body = Html(f'<div class="pictures">{"".join(pictures)}</div>')
    return Section(key="lengths", title="How long it is", how=how, body=body, wide=True)


def _findings(audit: Audit) -> Section:
    rows = [
        (finding.title, f"{finding.count:,}", "fault" if finding.fault else "note")
        for finding in audit.findings
    ]
    how = (
        "What is wrong with the data or with these settings, and how to mend it. A note costs no "
        "answer. Underlined is where answers are said to be; with waves, where another text stands."
    )
    found = table("Findings", ["what", "count", "fault or note"], rows)
    body = Html(found + list_place("findings"))
    if not rows:
        how, body = "Everything is as it should be.", Html("<p>No findings.</p>")
    return Section(key="findings", title="What is wrong", how=how, body=body, wide=True)


def _list_findings(
    audit: Audit, scans: Mapping[str, Scan], *, contexts: Shelf, titles: Shelf
) -> Listing:
    """Every single finding, with its question where one is known."""
    examples = {(name, x.id): x for name, scan in scans.items() for x in scan.examples}
    # A folder's scan names the file of a problem; the question goes by the folder.
    home = {problem: name for name, scan in scans.items() for problem in scan.problems}
    listing = Listing(what="findings", kinds=tuple(finding.title for finding in audit.findings))
    for kind, finding in enumerate(audit.findings):
        for problem in finding.problems:
            is_read = problem not in home or problem.alignment  # else another may have its id
            example = examples.get((home.get(problem, problem.file), problem.id or ""))
            if example is None or not is_read:
                item = {"id": " ".join(filter(None, (problem.place, problem.id))), "question": ""}
            else:
                item = list_item(example, contexts=contexts, titles=titles)
            place = f"{problem.file}: {problem.message}"
            listing.items.append(item | {"kind": kind, "note": place})
    return listing
