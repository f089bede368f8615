"""`serve`: a reader over HTTP."""

import os
from typing import Annotated

import typer

from spanwise.cli.reading import Device, Dtype, Model, Revision
from spanwise.errors import MissingExtra

_TOKEN = "SPANWISE_TOKEN"  # noqa: S105 - the variable's name

_EXAMPLES = """\b
Examples:
  spanwise serve
  SPANWISE_TOKEN=secret spanwise serve runs/reader --host 0.0.0.0 --port 80 --queue 64
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog=_EXAMPLES)(serve)


def serve(
    model: Model = "builtin",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any.")
    ] = 8000,
    token: Annotated[
        str | None,
        typer.Option(envvar=_TOKEN, help="Clients must bring it as a bearer token."),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(help="Pages of this origin may ask from a browser; repeatable."),
    ] = None,
    max_body: Annotated[int, typer.Option(help="Bytes of a request.")] = 2_000_000,
    max_question: Annotated[int, typer.Option(help="Characters of a question.")] = 2_000,
    max_context: Annotated[
        int, typer.Option(help="Characters of a request's texts, counted for each question.")
    ] = 1_000_000,
    max_items: Annotated[int, typer.Option(help="Questions, or texts, of a request.")] = 1_000,
    queue: Annotated[int, typer.Option(help="Requests in the server at a time.")] = 512,
    timeout: Annotated[float, typer.Option(help="Seconds that a request may take.")] = 30.0,
    revision: Revision = None,
    device: Device = None,
    dtype: Dtype = "float32",
) -> None:
    """Answer questions over HTTP, as clients of the Hub ask them or with all that is known."""
    try:
        from spanwise.serving.app import Service
        from spanwise.serving.gate import Limits
        from spanwise.serving.server import serve as run
    except ModuleNotFoundError as error:
        if error.name in {"fastapi", "pydantic", "prometheus_client", "starlette", "uvicorn"}:
            raise MissingExtra(error.name, "serve") from None
        raise
    from spanwise.reader import Reader

    if token is None and _TOKEN in os.environ:
        token = ""  # set, but empty: refused below, rather than an open server
    limits = Limits(
        body=max_body,
        question=max_question,
        context=max_context,
        items=max_items,
        queue=queue,
        timeout=timeout,
    )
    run(
        Service(model, limits),
        lambda: Reader.from_pretrained(model, revision=revision, device=device, dtype=dtype),
        host=host,
        port=port,
        token=token,
        origins=origin or (),
    )
