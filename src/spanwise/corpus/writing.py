"""Examples into SQuAD JSON or JSONL, whole or not at all.

Knows nothing about reading, except that it restores what is written here.
"""

import json
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from spanwise.corpus.checks import show
from spanwise.corpus.squad import ORDER
from spanwise.errors import ConfigError, FormatError, Problem
from spanwise.schema import Example, Gold


def write_examples(
    path: str | Path, examples: Sequence[Example], *, form: Literal["squad", "jsonl"]
) -> None:
    """Write examples so that reading them gives the same ones in the same order.

    SQuAD JSON is grouped by title and context, in version 2.0 where a question is labelled as
    unanswerable. The file is complete or not there: it is written beside its place, then moved;
    missing folders are made. Neither form stores `Gold.end`: read again, it is the start plus the
    length of the text.

    Raises:
        ConfigError: if `form` is another.
        FormatError: if a text holds a lone surrogate, which no file can hold.
        OSError: if the file cannot be written.
    """
    forms: dict[str, Callable[[Sequence[Example]], str]] = {
        "squad": _squad_text,
        "jsonl": _jsonl_text,
    }
    if form not in forms:
        raise ConfigError(f"form: {show(form)} is none of {', '.join(forms)}")
    text = forms[form](examples)
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        around = show(text[max(error.start - 20, 0) : error.start + 20])
        message = f"cannot be written: a text holds a lone surrogate, around {around}"
        raise FormatError([Problem(file=str(path), place="", id=None, message=message)]) from None
    write_whole(Path(path), data)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is complete or not there; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place: a rename is atomic only within one file system.
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _squad_text(examples: Sequence[Example]) -> str:
    is_v2 = any(example.answers == () for example in examples)
    articles: dict[str, dict[str, list[int]]] = {}
    for number, example in enumerate(examples):
        articles.setdefault(example.title, {}).setdefault(example.context, []).append(number)
    written = [n for paragraphs in articles.values() for qas in paragraphs.values() for n in qas]
    moved = written != list(range(len(examples)))

    def question(number: int) -> dict[str, Any]:
        example = examples[number]
        fields: dict[str, Any] = {"id": example.id, "question": example.question}
        if example.answers is not None:
            fields["answers"] = [{"text": g.text, "answer_start": g.start} for g in example.answers]
            if is_v2:
                fields["is_impossible"] = not example.answers
        return fields | {ORDER: number} if moved else fields

    data = [
        {
            "title": title,
            "paragraphs": [
                {"context": context, "qas": [question(number) for number in numbers]}
                for context, numbers in paragraphs.items()
            ],
        }
        for title, paragraphs in articles.items()
    ]
    document = {"version": "v2.0" if is_v2 else "1.1", "data": data}
    return json.dumps(document, ensure_ascii=False) + "\n"


def _jsonl_text(examples: Sequence[Example]) -> str:
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in map(_row, examples))


def _row(example: Example) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": example.id,
        "title": example.title,
        "context": example.context,
        "question": example.question,
    }
    return row if example.answers is None else row | {"answers": _columns(example.answers)}


def _columns(golds: Sequence[Gold]) -> dict[str, list[Any]]:
    return {"text": [g.text for g in golds], "answer_start": [g.start for g in golds]}
