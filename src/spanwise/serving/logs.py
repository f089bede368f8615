"""One JSON object a line on stderr; a request has an id, and nobody's text is written down.

This module knows nothing about routes or what is refused.
"""

import json
import logging
import re
import time
import traceback
from pathlib import Path
from typing import Any
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spanwise.serving.metrics import Metrics
from spanwise.serving.refusals import Refusal

logger = logging.getLogger("spanwise.serving")

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_GONE = 499  # the client went away: nothing was sent, and no standard status says so


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Time in UTC, level and message, and what `extra={"fields": …}` holds."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        return json.dumps(entry | getattr(record, "fields", {}))


def log_as_json() -> None:
    """Send the logs of spanwise, and what uvicorn warns of, to stderr as JSON."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    for name, level in (("spanwise", logging.INFO), ("uvicorn", logging.WARNING)):
        named = logging.getLogger(name)
        named.handlers = [handler]
        named.setLevel(level)
        named.propagate = False


class RequestLog:
    """Gives each request an id, measures it and writes its line; what fails inside becomes a 500.

    Args:
        app: the application.
        metrics: told of each request.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        request_id = given if _ID.fullmatch(given) else uuid4().hex
        status = _GONE

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
                message = {**message, "headers": headers}
            await send(message)

        fields: dict[str, Any] = {"request_id": request_id, "method": scope["method"]}
        try:
            await self._app(scope, receive, answer)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            fields |= describe(error)
            if status == _GONE:
                await Refusal(500).response()(scope, receive, answer)
        finally:
            seconds = time.perf_counter() - began
            # Paths are anybody's text and without end; a route is neither.
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.request(route, status, seconds)
            fields |= {"route": route, "status": status, "ms": round(1000 * seconds, 1)}
            level = logging.ERROR if status >= 500 and status != 503 else logging.INFO
            logger.log(level, "request", extra={"fields": fields})


def describe(error: BaseException) -> dict[str, Any]:
    """An exception's kind, that of its cause, and where it was raised; its message quotes texts."""
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{Path(frame.filename).stem}.{frame.name}:{frame.lineno}" for frame in frames[-5:]]
    cause = {} if error.__cause__ is None else {"cause": describe(error.__cause__)}
    return {"error": type(error).__name__, "where": where} | cause
