"""What every way to run a model has in common."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, runtime_checkable

from spanwise.schema import Batch, Logits


class Backend(Protocol):
    """Anything that reads a batch: a model, or a rule."""

    def __call__(self, batch: Batch) -> Logits:
        """Give start and end logits, float32, to each of (B, T) tokens."""
        ...


@runtime_checkable
class AsyncBackend(Backend, Protocol):
    """A backend that can begin a batch while the one before it is still read."""

    def begin(self, batch: Batch) -> Callable[[], Logits]:
        """Begin to read; what it gives waits for the logits."""
        ...


def read_batches(backend: Backend, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Logits]]:
    """Read batches in their order; where the backend can, one is always begun ahead."""
    if not isinstance(backend, AsyncBackend):
        yield from ((batch, backend(batch)) for batch in batches)
        return
    begun: deque[tuple[Batch, Callable[[], Logits]]] = deque()
    for batch in batches:
        begun.append((batch, backend.begin(batch)))
        if len(begun) > 1:
            first, logits = begun.popleft()
            yield first, logits()
    yield from ((batch, logits()) for batch, logits in begun)
