"""`publish`: a reader and its card onto the Hub."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from spanwise.cli.data import Columns, parse_columns, read_whole
from spanwise.cli.reading import Model, Revision
from spanwise.cli.terminal import progress_bar, stderr, stdout

_EXAMPLES = """\b
Examples:
  spanwise publish runs/reader ORG/NAME --license apache-2.0 --language en --data test.json
  spanwise publish builtin ORG/NAME --license apache-2.0 --language en --dry-run published
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog=_EXAMPLES)(publish)


def publish(
    model: Model,
    repo: Annotated[str, typer.Argument(metavar="ORG/NAME", help="Repository on the Hub.")],
    data: Annotated[
        list[str] | None,
        typer.Option(help="Data to score it on now, for the card; repeatable."),
    ] = None,
    license_: Annotated[
        str | None,
        typer.Option("--license", help="apache-2.0, cc-by-4.0, …; by default its old card's."),
    ] = None,
    license_name: Annotated[
        str | None, typer.Option(help="With --license other: what it is called.")
    ] = None,
    license_link: Annotated[
        str | None, typer.Option(help="With --license other: where its text is.")
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="Of its data: en, de, …; by default its old card's.")
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Make the repository private.")
    ] = False,
    dry_run: Annotated[
        Path | None, typer.Option(help="Write the same files to this folder; upload nothing.")
    ] = None,
    columns: Columns = None,
    revision: Revision = None,
) -> None:
    """Put a model on the Hub with a card that says what is so, in one commit or not at all."""
    from spanwise.publishing import (
        CardOptions,
        check_access,
        check_name,
        upload_files,
        write_publication,
    )

    check_name(repo)
    if dry_run is None:
        check_access()  # before long work begins
    names = parse_columns(columns)
    card = CardOptions(
        license=license_,
        license_name=license_name,
        license_link=license_link,
        language=language,
        data={source: read_whole([source], names) for source in data or ()},
    )
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "model" if dry_run is None else dry_run
        with progress_bar("reading", "windows") as advance:
            files = write_publication(
                model, repo, out, card=card, revision=revision, progress=advance
            )
        for name, size in files.items():
            stderr.print(f"  {name}  {size:,} bytes", markup=False, highlight=False)
        if dry_run is not None:
            stdout.print(f"written to {dry_run}; nothing was uploaded", markup=False)
            return
        if not stderr.is_terminal:
            from huggingface_hub.utils.tqdm import disable_progress_bars

            disable_progress_bars()  # a log file would get a line for every move
        stdout.print(upload_files(out, repo, private=private), markup=False)
