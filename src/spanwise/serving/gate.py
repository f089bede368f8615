"""What stands before every route: the token, the queue, the size of a body, the time, the client.

All of it is decided before a body is parsed, most before it is read. This module knows nothing
about what a request asks.
"""

import asyncio
import hmac
from collections.abc import Awaitable
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spanwise.errors import ConfigError
from spanwise.serving.refusals import Refusal

OPEN = frozenset({"/", "/health", "/ready"})
"""What anybody may get without the token: the page, which asks for it, and what probes ask."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request, and all together, may take.

    Attributes:
        body: bytes of a body.
        question: characters of a question.
        context: characters of a request's texts, a text counted once for each of its questions.
        items: questions, or texts, in a request.
        queue: requests that are in the server at a time.
        timeout: seconds from a request's first byte to its answer.
    """

    body: int = 2_000_000
    question: int = 2_000
    context: int = 1_000_000
    items: int = 1_000
    queue: int = 512
    timeout: float = 30.0

    def __post_init__(self) -> None:
        """Refuse limits that let nothing through, or are none."""
        problems = [
            f"{name} is {value}; it must be above 0, and finite"
            for name, value in vars(self).items() if not 0 < value < float("inf")
        ]  # fmt: skip
        if problems:
            raise ConfigError(problems)


class Gate:
    """Lets requests through to an application, or refuses them.

    Args:
        app: the application.
        limits: what a request may take.
        token: that a client must bring; None: none.

    Attributes:
        inside: requests with a body that are not answered yet.
    """

    def __init__(self, app: ASGIApp, *, limits: Limits, token: str | None = None) -> None:
        self.inside = 0
        self._app = app
        self._limits = limits
        self._token = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check_token(scope)
            if scope["method"] in {"GET", "HEAD", "OPTIONS"}:
                await self._app(scope, receive, send)
            else:
                await self._let_in(scope, receive, send)
        except Refusal as refusal:
            await refusal.response()(scope, receive, send)

    def _check_token(self, scope: Scope) -> None:
        is_open = scope["method"] in {"GET", "HEAD"} and scope["path"] in OPEN
        if self._token is None or is_open:
            return
        scheme, _, given = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
        # The comparison's time says nothing about how much of a token is right.
        if not (scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token)):
            raise Refusal(401)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.inside >= self._limits.queue:
            raise Refusal(429, retry_after=1)
        self.inside += 1
        try:
            await self._answer(scope, receive, send)
        finally:
            self.inside -= 1

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_answered = False

        async def answer(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        try:
            async with asyncio.timeout(self._limits.timeout) as deadline:
                body = await self._read(scope, receive)
                if body is not None:
                    await _while_there(receive, self._app(scope, _replay(body), answer))
        except TimeoutError:
            if not deadline.expired():
                raise  # it is the application's own
            if not is_answered:
                seconds = self._limits.timeout
                message = (
                    f"no answer within {seconds:g} s; ask less at once, or again later, or have "
                    "the server's --timeout raised"
                )
                raise Refusal(504, message) from None

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """The body; None where the client went away."""
        limit = self._limits.body
        refusal = Refusal(413, f"the body has more than {limit} bytes; send less at once")
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            raise refusal
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > limit:
                raise refusal
            more = message.get("more_body", False)
        return bytes(body)


def _replay(body: bytes) -> Receive:
    """A `receive` that gives the body once, and then waits: the gate itself watches the client."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    return receive


async def _while_there(receive: Receive, answering: Awaitable[None]) -> None:
    """Await an answer; cancel it when the client goes away."""

    async def leave() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    work, gone = asyncio.ensure_future(answering), asyncio.ensure_future(leave())
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    finally:
        work.cancel()
        gone.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)
