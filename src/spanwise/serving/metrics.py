"""What the server measures, in the form that Prometheus reads.

This module knows nothing about routes or how a model is run.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from spanwise.serving.engine import BatchRun

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """Counters and histograms of one server."""

    def __init__(self) -> None:
        # Its own registry: a process may have several servers, as tests do.
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "spanwise_requests", "Requests answered or refused.", ["route", "status"],
            registry=registry,
        )  # fmt: skip
        self._durations = Histogram(
            "spanwise_request_seconds", "From a request's head to its answer.", ["route"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._queue = Gauge(
            "spanwise_queue_requests", "Requests accepted and not answered yet.", registry=registry
        )
        self._waited = Histogram(
            "spanwise_queue_seconds", "How long windows waited for the model.",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._inference = Histogram(
            "spanwise_inference_seconds", "How long the model read a batch.",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._windows = Histogram(
            "spanwise_batch_windows", "Windows of a batch.", buckets=_COUNTS, registry=registry
        )
        self._tokens = Histogram(
            "spanwise_batch_tokens", "Tokens of a batch, padding included.",
            buckets=[128 * count for count in _COUNTS], registry=registry,
        )  # fmt: skip

    def count_queue(self, count: Callable[[], float]) -> None:
        """Say how the length of the queue is found."""
        self._queue.set_function(count)

    def request(self, route: str, status: int, seconds: float) -> None:
        """One request is done."""
        self._requests.labels(route, str(status)).inc()
        self._durations.labels(route).observe(seconds)

    def batch(self, run: BatchRun) -> None:
        """The model has read one batch."""
        self._inference.observe(run.seconds)
        self._windows.observe(run.windows)
        self._tokens.observe(run.tokens)
        for seconds in run.waited:
            self._waited.observe(seconds)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)
