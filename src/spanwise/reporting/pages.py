"""Sections, tables and lists of questions into one HTML file.

Whatever is no `Html` is somebody's text, and is escaped. This module knows nothing about what is
reported.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from typing import Any

_PLACES = re.compile(r"<!--(\w+)-->")
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
# A script element of data ends at the first "</script", wherever that stands.
_IN_DATA = {ord(character): f"\\u{ord(character):04x}" for character in "<>&"}


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a page.

    Attributes:
        key: what links to it go by.
        title: its heading.
        how: a sentence or two that say how to read it.
        body: what is read.
        wide: True where it takes the whole width of a large screen.
    """

    key: str
    title: str
    how: str | Html
    body: Html
    wide: bool = False


@dataclass(kw_only=True)
class Listing:
    """Questions to be browsed, with their kinds.

    Attributes:
        what: what the questions are called when they are counted.
        kinds: names of the kinds that can be chosen; empty where there is nothing to choose.
        items: of each question what `page.html` shows: `id`, `question`, `note`, the number of its
            `context`, `title` and `kind`; `gold`, `lost`, `span` and `near`: lists of starts and
            ends in code points; `elsewhere`: answers that have no place in the context.
    """

    what: str
    kinds: tuple[str, ...] = ()
    items: list[dict[str, Any]] = field(default_factory=list)


class Shelf:
    """Texts that many questions share, each kept once and called by its number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """The number of a text."""
        return self._numbers.setdefault(text, len(self._numbers))

    @property
    def texts(self) -> list[str]:
        """All of them, in the order of their numbers."""
        return list(self._numbers)


def fill_page(
    title: str,
    about: Mapping[str, str],
    sections: Sequence[Section],
    *,
    lists: Mapping[str, Listing],
    contexts: Shelf,
    titles: Shelf,
) -> bytes:
    """The whole page, in UTF-8.

    Args:
        title: heading of the page.
        about: what was looked at: name → value.
        sections: in the order that they are read.
        lists: key → questions that a section shows with `list_place(key)`.
        contexts: texts that the lists quote from.
        titles: of the documents that they belong to.
    """
    template = files("spanwise.reporting").joinpath("page.html").read_text(encoding="utf-8")
    scripts = _SCRIPT.findall(template)
    data = {
        "contexts": contexts.texts,
        "titles": titles.texts,
        "lists": {key: vars(listing) for key, listing in lists.items()},
    }
    facts = "".join(f"<div><dt>{safe(k)}</dt><dd>{safe(v)}</dd></div>" for k, v in about.items())
    parts = {
        "hash": base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode(),
        "title": escape(title),
        "about": f"<dl>{facts}</dl>",
        "contents": "".join(f'<li><a href="#{s.key}">{safe(s.title)}</a></li>' for s in sections),
        "sections": "\n".join(map(_section, sections)),
        "data": json.dumps(data, ensure_ascii=False, separators=(",", ":")).translate(_IN_DATA),
    }
    page = _PLACES.sub(lambda place: parts[place[1]], template)
    # Half a surrogate pair is no UTF-8; written as \ud800 it is JSON.
    return page.encode(errors="backslashreplace")


def safe(text: str) -> Html:
    """Markup as it is, any other text escaped."""
    return text if isinstance(text, Html) else Html(escape(text))


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Html:
    """A table whose first column names the rows."""
    columns = "".join(f'<th scope="col">{safe(name)}</th>' for name in head)
    body = "".join(
        f'<tr><th scope="row">{safe(name)}</th>'
        + "".join(f"<td>{safe(cell)}</td>" for cell in cells)
        + "</tr>"
        for name, *cells in rows
    )
    return Html(
        f'<div class="scroll"><table><caption>{safe(caption)}</caption>'
        f"<thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def list_place(key: str) -> Html:
    """Where the list of this key is shown."""
    return Html(
        f'<div data-list="{escape(key)}"></div>'
        "<noscript><p>The list needs JavaScript; all else is here without.</p></noscript>"
    )


def _section(section: Section) -> str:
    wide = ' class="wide"' if section.wide else ""
    return (
        f'<section id="{section.key}"{wide} aria-labelledby="{section.key}-title">'
        f'<h2 id="{section.key}-title">{safe(section.title)}</h2>'
        f'<p class="how">{safe(section.how)}</p>{section.body}</section>'
    )
