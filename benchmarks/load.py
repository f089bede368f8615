"""Clients of a server on this machine: as many as are asked for, or as often.

They speak HTTP by hand: a client library would take a good part of the processor that the server
needs. This module knows nothing about what is asked.
"""

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Load:
    """What clients met.

    Attributes:
        sent: requests.
        seconds: from the first request to the last answer.
        statuses: how many requests ended with each; 0 for no answer at all.
        times: seconds of each that was answered with 200.
        answers: body of a request to the `answer` in its response.
    """

    sent: int = 0
    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)
    answers: dict[bytes, str] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.statuses[200] / self.seconds

    def milliseconds(self, percent: float) -> float:
        """What so many per cent of the answers took at most."""
        return 1000 * float(np.percentile(self.times, percent)) if self.times else float("nan")


def merged(loads: Sequence[Load]) -> Load:
    """One load of several that came one after the other."""
    return Load(
        sent=sum(load.sent for load in loads),
        seconds=sum(load.seconds for load in loads),
        statuses=sum((load.statuses for load in loads), Counter()),
        times=[seconds for load in loads for seconds in load.times],
        answers={body: answer for load in loads for body, answer in load.answers.items()},
    )


class _Client:
    """One connection, opened anew whenever the server has closed it."""

    def __init__(self, port: int, load: Load) -> None:
        self._port = port
        self._load = load
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, body: bytes) -> None:
        """Send one request and note how it went."""
        self._load.sent += 1
        began = time.perf_counter()
        try:
            status, content = await self._exchange(body)
        except (OSError, EOFError):
            self._load.statuses[0] += 1
            self.close()
            return
        self._load.statuses[status] += 1
        if status == 200:
            self._load.times.append(time.perf_counter() - began)
            self._load.answers[body] = json.loads(content)["answer"]

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _exchange(self, body: bytes) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        fields = dict(line.split(b": ", 1) for line in head.strip().split(b"\r\n")[1:])
        content = await reader.readexactly(int(fields[b"content-length"]))
        if fields.get(b"connection") == b"close":
            self.close()
        return int(head.split()[1]), content


async def closed_loop(port: int, bodies: Sequence[bytes], *, clients: int, seconds: float) -> Load:
    """So many clients, each asking again as soon as it is answered."""
    load, turn = Load(), itertools.cycle(bodies)
    began = time.perf_counter()

    async def ask() -> None:
        client = _Client(port, load)
        while time.perf_counter() - began < seconds:
            await client.ask(next(turn))
        client.close()

    await asyncio.gather(*(ask() for _ in range(clients)))
    load.seconds = time.perf_counter() - began
    return load


async def open_loop(port: int, bodies: Sequence[bytes], *, rate: float, seconds: float) -> Load:
    """Requests that come at a steady rate, whether the last was answered or not."""
    load, turn = Load(), itertools.cycle(bodies)
    began = time.perf_counter()

    async def ask(body: bytes) -> None:
        client = _Client(port, load)
        await client.ask(body)
        client.close()

    asked = []
    for number in range(round(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        asked.append(asyncio.create_task(ask(next(turn))))
    await asyncio.gather(*asked)
    load.seconds = time.perf_counter() - began
    return load
