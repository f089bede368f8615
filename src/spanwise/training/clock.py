"""The time of a run: how much of what is allowed is used, and when the last step has been done.

This module knows nothing about models or data.
"""

import math
import time


class Clock:
    """Starts with the run, so that reading and cutting the data count as well.

    Args:
        minutes: allowed for the whole run; None: no limit.
        began: when the run began, as `time.monotonic` says it; None: now.
    """

    def __init__(self, minutes: float | None, *, began: float | None = None) -> None:
        self._limit = math.inf if minutes is None else 60 * minutes
        self._first = time.monotonic()
        self._began = self._first if began is None else began
        self._stepped = 0.0
        self.reserve = 0.0
        """Seconds that the last scoring and saving will take."""

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit at all."""
        return math.isfinite(self._limit)

    def start_steps(self) -> None:
        """Say that all is prepared and the first step begins."""
        self._first = time.monotonic() - self._stepped

    def go_on(self, *, elapsed: float, stepping: float) -> None:
        """Count the seconds that the run had used before it was stopped, before its steps begin."""
        self._began -= elapsed
        self._stepped = stepping

    def elapsed(self) -> float:
        """Seconds of the run."""
        return time.monotonic() - self._began

    def stepping(self) -> float:
        """Seconds since the first step began."""
        return time.monotonic() - self._first

    def left(self) -> float:
        """Seconds left for steps; infinite without a limit."""
        return self._limit - self.reserve - self.elapsed()

    def share(self) -> float:
        """Share of the seconds for steps that is used, from 0 to 1; 0 without a limit."""
        if not self.is_limited:
            return 0.0
        used = self.stepping()
        return used / (used + max(self.left(), 0.0)) if used else 0.0
