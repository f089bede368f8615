"""What every way to run a model has in common."""

from collections.abc import Generator, Iterable, Iterator
from itertools import chain
from typing import Protocol, cast

from spanwise.schema import Batch, Logits


class Backend(Protocol):
    """Anything that reads a batch: a model, or a rule."""

    def __call__(self, batch: Batch) -> Logits:
        """Give start and end logits, float32, to each of (B, T) tokens."""
        ...


class Reading(Protocol):
    """A batch that is being read."""

    def result(self) -> Logits:
        """Wait for the logits."""
        ...

    def cancel(self) -> None:
        """Give up what is not begun."""
        ...


class AsyncBackend(Backend, Protocol):
    """A backend that can begin a batch while the one before it is still read."""

    def begin(self, batch: Batch) -> Reading:
        """As `__call__`, without waiting."""
        ...


def read_batches(
    backend: Backend, batches: Iterable[Batch]
) -> Generator[tuple[Batch, Logits], None, None]:
    """Read batches in their order; of a backend that has `begin`, one is always begun ahead.

    Close it if it is not read to its end: what is begun is then given up. An error of `batches`
    comes before what the batches begun until then would have given.
    """
    if not hasattr(type(backend), "begin"):  # of a wrapper, what it wraps does not count
        yield from ((batch, backend(batch)) for batch in batches)
        return
    begin = cast(AsyncBackend, backend).begin
    following: Iterator[Batch | None] = chain(batches, [None])
    ahead: tuple[Batch, Reading] | None = None
    try:
        for batch in following:
            now, ahead = ahead, None if batch is None else (batch, begin(batch))
            if now is not None:
                yield now[0], now[1].result()
    finally:
        if ahead is not None:
            ahead[1].cancel()
