"""Consoles, progress bars, and how numbers and quotes are shown."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from spanwise.corpus.scanning import list_files
from spanwise.errors import ConfigError

# Without emoji: rich would draw one where a file name or a text holds ":x:".
stdout = Console(soft_wrap=True, highlight=False, emoji=False)
stderr = Console(stderr=True, emoji=False)

_CONTEXT = 160  # characters shown on either side of a quote
_CONTROLS = dict.fromkeys({*range(0x20), *range(0x7F, 0xA0)} - {0x09, 0x0A}, " ")


class Advance(Protocol):
    """Moves a bar."""

    def __call__(self, done: int, total: int, /) -> None:
        """Say how much is done, and of how much."""


def is_first_process() -> bool:
    """Whether this process tells what happens; of those that `torchrun` starts only one does."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def progress_bar(what: str, unit: str = "") -> Iterator[Advance]:
    """A bar on stderr that goes when the work is done."""
    columns = [
        TextColumn("{task.fields[what]}", markup=False),  # a name may hold braces and brackets
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    ]
    hidden = not stderr.is_terminal  # a log file would get a blank line of it
    with Progress(*columns, console=stderr, transient=True, disable=hidden) as bar:
        task = bar.add_task("", total=None, what=what)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def print_json(value: Any) -> None:
    """One object on stdout, for programs; in ASCII where stdout cannot encode all characters."""
    narrow = not stdout.encoding.startswith("utf")
    stdout.print(json.dumps(value, ensure_ascii=narrow, indent=2), markup=False)


def visible(text: str) -> str:
    """A text of the same length with blanks for control characters.

    A terminal would obey some of them, and rich drops others, which moves the marks behind them.
    """
    return text.translate(_CONTROLS)


def prepare_file(option: str, path: Path, *, read: Sequence[str]) -> None:
    """See, before long work begins, that a file can be written; missing folders are made.

    Raises:
        ConfigError: it cannot, or it is one of the sources that are read.
    """
    files = [Path(file).resolve() for source in read for file in list_files(source)]
    if path.exists() and path.resolve() in files:
        raise ConfigError(
            f"{option} {str(path)!r}: is read as data and would be lost; name another file"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fits = os.access(path.parent, os.W_OK) and (path.is_file() or not path.exists())
    except OSError:
        fits = False
    if not fits:
        raise ConfigError(
            f"{option} {str(path)!r}: no file can be written there; name a file in a folder that "
            "you may write to"
        )


def score_table(scores: Mapping[str, float], which: str) -> Table:
    """EM and F1 by kind of question, of the answers that `which` tells; and the oracle's."""
    table = Table("questions", "count", "EM", "F1", title=None)
    rows = [("", f"all, {which}")]
    rows += [("HasAns_", "  answerable"), ("NoAns_", "  unanswerable")]
    for prefix, label in rows:
        if f"{prefix}total" in scores:
            exact, f1 = scores[f"{prefix}exact"], scores[f"{prefix}f1"]
            table.add_row(label, f"{scores[f'{prefix}total']:.0f}", f"{exact:.2f}", f"{f1:.2f}")
    if "best_f1" in scores:
        oracle = f"all, at the oracle threshold {scores['best_f1_thresh']:.3f}"
        table.add_row(
            oracle,
            f"{scores['total']:.0f}",
            f"{scores['best_exact']:.2f}",
            f"{scores['best_f1']:.2f}",
        )
    if "answerable_f1" in scores:
        exact, f1 = scores["answerable_exact"], scores["answerable_f1"]
        count = f"{scores['HasAns_total']:.0f}"
        table.add_row("answerable, never abstaining", count, f"{exact:.2f}", f"{f1:.2f}")
    return table


def highlight(context: str, *spans: tuple[int, int], around: int = _CONTEXT) -> Text:
    """The part of a context that holds the spans, each marked; cut at blanks."""
    first = min((start for start, _ in spans), default=0)
    last = max((end for _, end in spans), default=0)
    begin, end = max(0, first - around), min(len(context), last + around)
    if begin > 0:
        begin = context.find(" ", begin, first) + 1 or begin
    if end < len(context):
        cut = context.rfind(" ", last, end)
        end = cut if cut >= last else end
    context = visible(context)
    text = Text(("…" if begin else "") + context[begin:end] + ("…" if end < len(context) else ""))
    shift = bool(begin) - begin
    for start, stop in spans:
        text.stylize("bold green reverse", start + shift, stop + shift)
    return text
