"""Ctrl-C, or a scheduler's SIGTERM, asks a run to save and stop.

This module knows nothing about what is saved.
"""

import logging
import signal
import threading
from types import FrameType
from typing import Any, Self

logger = logging.getLogger("spanwise")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Within its `with` block a first signal is noted; a second one ends the process as usual.

    Python hands signals to its main thread alone: in any other nothing is changed. Nor is it for a
    signal that is ignored, as SIGINT where a script starts a run in the background, or that is not
    Python's to give back.

    Args:
        insist: a second signal ends the process. False where one comes from the terminal and one
            from `torchrun`.
    """

    def __init__(self, *, insist: bool = True) -> None:
        self.asked = False
        self._insist = insist
        self._usual: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Take over the signals."""
        if threading.current_thread() is threading.main_thread():
            self._usual = {
                number: signal.signal(number, self._note)
                for number in _SIGNALS
                if signal.getsignal(number) not in {signal.SIG_IGN, None}
            }
        return self

    def __exit__(self, *_: object) -> None:
        """Give them back."""
        for number, handler in self._usual.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.asked and self._insist:
            self.__exit__()
            signal.raise_signal(number)
        elif not self.asked:
            self.asked = True
            again = "; once more stops at once" if self._insist else ""
            logger.warning("interrupted: the step is finished and saved%s", again)
