"""Every error of the server, as a status and `{"error": …, "error_type": …}`.

A message is for whoever asked; it holds no path and no traceback. This module knows nothing about
why something is refused.
"""

import json
from collections.abc import Mapping

from starlette.responses import Response

KINDS: Mapping[int, tuple[str, str]] = {
    400: (
        "bad_request",
        "The body cannot be read: no text, or JSON nested too deep or with too long a number.",
    ),
    401: ("unauthorized", "The bearer token is missing or wrong."),
    404: ("not_found", "There is nothing at this path."),
    405: ("method_not_allowed", "The path takes another method."),
    413: ("too_large", "The body has more bytes than the server takes."),
    422: ("invalid", "The body is no JSON, or a field is missing, wrong, or too long."),
    429: ("overloaded", "As many requests are waiting as the server lets wait."),
    500: ("internal", "The server failed; its log says how, under this X-Request-ID."),
    503: ("not_ready", "The model is not loaded yet, or the server is stopping."),
    504: ("timeout", "The answer took longer than the server gives a request."),
}
"""Status to `error_type` and what it means."""


class Refusal(Exception):  # noqa: N818 - it reads as what it is
    """A request that is not answered.

    Args:
        status: one of `KINDS`.
        message: what is wrong, with the value, and how to mend it; None: what the status means.
        retry_after: seconds, where asking again may help.
    """

    def __init__(
        self, status: int, message: str | None = None, *, retry_after: int | None = None
    ) -> None:
        self.status = status
        self.message = message or KINDS[status][1]
        self.retry_after = retry_after
        super().__init__(self.message)

    def response(self) -> Response:
        """The refusal as it is sent."""
        kind, _ = KINDS.get(self.status, ("http", ""))
        # In ASCII: a message may quote half a surrogate pair, which UTF-8 cannot hold.
        body = json.dumps({"error": self.message, "error_type": kind})
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return Response(body, self.status, headers, media_type="application/json")
