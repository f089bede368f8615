"""`export`: a reader for machines without PyTorch."""

from pathlib import Path
from typing import Annotated

import typer

from spanwise.cli.data import Columns, parse_columns, read_whole
from spanwise.cli.reading import Revision
from spanwise.cli.terminal import stderr, stdout
from spanwise.errors import ConfigError

_EXAMPLES = """\b
Examples:
  spanwise export runs/reader exported
  spanwise export runs/reader exported-int8 --int8 --dev dev.json --max-f1-drop 0.3
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog=_EXAMPLES)(export)


def export(
    model: Annotated[str, typer.Argument(help="Folder or Hub id of a model that reads spans.")],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    int8: Annotated[bool, typer.Option("--int8", help="Weights and products in 8 bits.")] = False,
    dev: Annotated[
        list[str] | None,
        typer.Option(
            help="Data to try 8 bits and to fit probabilities and threshold anew on; repeatable."
        ),
    ] = None,
    max_f1_drop: Annotated[
        float, typer.Option(help="F1, in percent, that 8 bits may cost on --dev.")
    ] = 0.5,
    columns: Columns = None,
    revision: Revision = None,
) -> None:
    """Write a reader for ONNX Runtime, or nothing where it would answer otherwise."""
    if dev and not int8:
        raise ConfigError("--dev says what 8 bits cost; give --int8 with it, or leave it out")
    from spanwise.evaluation import fitted_name
    from spanwise.exporting import export_model

    examples = read_whole(dev, parse_columns(columns)) if dev else None
    with stderr.status("exporting: some 10 s, more for large models"):
        done = export_model(
            model,
            out,
            int8=int8,
            dev=examples,
            dev_name=fitted_name(dev or ()),
            max_f1_drop=max_f1_drop,
            revision=revision,
        )
    stdout.print(f"{done.folder}: model.onnx of {done.size / 1e6:.1f} MB", markup=False)
    stdout.print(f"logits in float32 within {done.apart:.0e} of PyTorch's, relative to the largest")
    if done.f1 is not None:
        ours, theirs = done.f1
        stdout.print(
            f"F1 on --dev: {ours:.2f} in 8 bits, {theirs:.2f} in float32 "
            "(probabilities and threshold, where they were fitted, are fitted there anew for each)"
        )
    elif int8:
        stdout.print("what 8 bits cost was not tried: give labelled questions by --dev")
