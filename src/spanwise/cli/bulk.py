"""`bulk`: a table of questions, however long."""

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn

from spanwise.cli.data import Columns, parse_columns
from spanwise.cli.reading import Device, Dtype, Model, Revision
from spanwise.cli.terminal import stderr, stdout

if TYPE_CHECKING:
    from spanwise.bulk.answering import Progress as Advance

logger = logging.getLogger("spanwise")

_SILENCE = 30.0  # seconds after which a log file, where no bar is drawn, gets a line

_EXAMPLES = """\b
Examples:
  spanwise bulk builtin questions.parquet answers
  spanwise bulk builtin 'day-*.jsonl' answers --contexts texts.parquet --ray local
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog=_EXAMPLES)(bulk)


def bulk(
    model: Model,
    table: Annotated[
        str,
        typer.Argument(
            help="Parquet or JSONL with the columns id, question and context, or context_id: a "
            "file, a folder or a quoted pattern."
        ),
    ],
    out: Annotated[
        str, typer.Argument(help="Folder of the answers; new, or of a run that did not end.")
    ],
    contexts: Annotated[
        str | None, typer.Option(help="Table with the columns id and context, for context_id.")
    ] = None,
    columns: Columns = None,
    part_rows: Annotated[
        int, typer.Option(min=1, help="Rows of TABLE that one file answers.")
    ] = 10_000,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS|local", help="Run on a Ray cluster, or on one made on this machine."
        ),
    ] = None,
    revision: Revision = None,
    device: Device = None,
    dtype: Dtype = "float32",
) -> None:
    """Answer every row of a table exactly once; killed, the same command goes on."""
    from spanwise.bulk import BulkConfig, answer_table
    from spanwise.bulk.output import REJECTED

    config = BulkConfig(
        table=table,
        out=out,
        model=model,
        contexts=contexts,
        columns=parse_columns(columns),
        part_rows=part_rows,
        revision=revision,
        device=device,
        dtype=dtype,
    )
    # Ray prints a cluster's warnings to stdout, `log_to_driver` or not; the result is there alone.
    with _progress() as advance, redirect_stdout(sys.stderr):
        summary = answer_table(config, ray=ray, progress=advance)
    rows = summary.answered + summary.rejected
    before = f"; {summary.resumed:,} of {rows:,} rows were done before" if summary.resumed else ""
    parts = "1 part" if summary.parts == 1 else f"{summary.parts:,} parts"
    stdout.print(f"{summary.answered:,} rows answered in {parts} in {out}{before}", markup=False)
    if summary.rejected:
        with (Path(out) / REJECTED).open(encoding="utf-8") as file:
            first = json.loads(file.readline())
        logger.warning(
            "%s rows were rejected%s (the first, row %d: %s); %s/%s says why",
            f"{summary.rejected:,}",
            "" if summary.answered else ", which is all of them: is it a table, Parquet or JSONL?",
            first["row"], first["reason"], out, REJECTED,
        )  # fmt: skip
        if not summary.answered:
            raise typer.Exit(1)


@contextmanager
def _progress() -> "Iterator[Advance]":
    """A live line of rows, pace and time left; in a log, one now and then."""
    hidden = not stderr.is_terminal
    columns = [TextColumn("rows"), BarColumn(), TextColumn("{task.description}")]
    began = told = time.monotonic()
    first: int | None = None  # rows that were done before

    with Progress(*columns, console=stderr, transient=True, disable=hidden) as bar:
        task = bar.add_task("preparing", total=None)

        def show(done: int, total: int) -> None:
            nonlocal began, told, first
            if first is None:
                first, began = done, time.monotonic()
            pace = (done - first) / max(time.monotonic() - began, 1e-6)
            left = _duration((total - done) / pace) if pace else "–"
            line = f"{done:,}/{total:,}  {pace:,.1f} rows/s  {left} left"
            bar.update(task, completed=done, total=total, description=line)
            if hidden and time.monotonic() - told >= _SILENCE:
                logger.info("rows %s", line)
                told = time.monotonic()

        try:
            yield show
        except KeyboardInterrupt:
            stderr.print("parts that are written are kept; the same command goes on")
            raise


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,}:{minutes:02d}:{seconds:02d}"
