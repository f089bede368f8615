"""The process: a socket, a model that is loaded meanwhile, and an end that answers what it took.

This module knows nothing about routes.
"""

import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from threading import Thread

import uvicorn

from spanwise.errors import ConfigError
from spanwise.reader import Reader
from spanwise.serving.app import Service, make_app
from spanwise.serving.logs import log_as_json

logger = logging.getLogger("spanwise.serving")

_BACKLOG = 2048  # connections that the system holds while the server is busy

# Seconds that the end waits for a model that is loaded: ONNX Runtime, cut off in the middle, aborts
# the process. A download may take longer, and can be cut off.
_LOAD = 10.0

_SWITCH = (
    0.001  # seconds: a refusal waits so long for each thread that cuts or decodes, not for 5 ms
)


def serve(
    service: Service,
    load: Callable[[], Reader],
    *,
    host: str,
    port: int,
    token: str | None = None,
    origins: Sequence[str] = (),
) -> None:
    """Serve until SIGTERM or SIGINT; what was accepted by then is answered.

    Args:
        service: answers.
        load: gives the reader; called while the server is up already, but not ready.
        host: name or address to listen on.
        port: 0 for any that is free.
        token: as in `make_app`.
        origins: as in `make_app`.

    Raises:
        ConfigError: nothing can listen there, or a token that no header can hold.
        SpanwiseError: what `load` raised.
    """
    if token is not None and not (token.isascii() and token.isprintable() and token.strip()):
        raise ConfigError("the token is empty or has other than printable ASCII characters")
    if token is not None and token != token.strip():
        raise ConfigError("the token begins or ends with a blank, which no header keeps")
    if not host:
        raise ConfigError("the host is empty, which would be every address; name one with --host")
    listener = _listen(host, port)
    url = _url(listener)
    log_as_json()
    if token is None and not ip_address(listener.getsockname()[0]).is_loopback:
        logger.warning("whoever reaches %s may ask: it has no --token", url)
    sys.setswitchinterval(_SWITCH)
    config = uvicorn.Config(
        make_app(service, token=token, origins=origins),
        log_config=None, access_log=False, lifespan="off", proxy_headers=False, server_header=False,
        # Every accepted request ends by then of itself; only a client that does not read is left.
        timeout_graceful_shutdown=round(service.limits.timeout) + 5,
    )  # fmt: skip
    server = uvicorn.Server(config)
    failures: list[BaseException] = []

    def start() -> None:
        began = time.perf_counter()
        try:
            service.start(load())
        except BaseException as error:  # noqa: BLE001 - raised again, where the command ends
            failures.append(error)
            server.should_exit = True
            return
        seconds = time.perf_counter() - began
        logger.info("serving %s at %s, loaded in %.1f s", service.model, url, seconds)

    def stop(*_: object) -> None:
        server.should_exit = True

    # uvicorn raises the signal again when it is done; by itself that would end with its status.
    signal.signal(signal.SIGTERM, stop)
    loading = Thread(target=start, name="load", daemon=True)
    loading.start()
    try:
        server.run(sockets=[listener])
    finally:  # Ctrl-C comes out of it as a KeyboardInterrupt
        loading.join(_LOAD)
        service.stop()
    if failures:
        raise failures[0]


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"nothing can listen on {host} port {port}: {error}; choose others with --host and "
            "--port"
        ) from error


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
