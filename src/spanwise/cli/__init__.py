"""The command line: verbs, flags, exit status; the only place that prints.

stdout carries data, stderr the log and progress bars. Exit status: 0 done; 1 a `SpanwiseError`, or
findings under `--strict`; 2 bad usage; 130 interrupted.
"""

import io
import logging
import sys

import typer
from rich.logging import RichHandler
from rich.text import Text

from spanwise import __version__
from spanwise.cli import (
    bulk,
    data,
    demo,
    exporting,
    judging,
    publishing,
    reading,
    serving,
    training,
)
from spanwise.cli.terminal import is_first_process, stderr
from spanwise.errors import SpanwiseError

app = typer.Typer(
    name="spanwise",
    help="Extractive question answering: an exact quote with an honest probability, or "
    "'not in this text'.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for module in (data, training, reading, bulk, judging, exporting, serving, publishing, demo):
    module.register(app)


@app.callback(invoke_without_command=True)
def _options(
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),  # noqa: ARG001
) -> None:
    if version:
        typer.echo(f"spanwise {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line and leave with its exit status."""
    _write_in_any_encoding()
    _log_to_stderr()
    debug = "--debug" in sys.argv
    try:
        app()
    except (SpanwiseError, OSError) as error:  # a full disk, a folder that may not be written
        if debug:
            raise
        if is_first_process():
            stderr.print(Text.assemble(("error: ", "bold red"), str(error)), soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        stderr.print("interrupted")
        sys.exit(130)


def _write_in_any_encoding() -> None:
    """Escape what a terminal or pipe cannot encode: a locale of ASCII, a file name of odd bytes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _log_to_stderr() -> None:
    handler = RichHandler(console=stderr, show_time=False, show_path=False, show_level=True)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("spanwise")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO if is_first_process() else logging.ERROR)
