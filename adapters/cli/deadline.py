"""A limit for something that waits, whatever it waits for: a server that sends an octet a second, a command.

Socket time-outs begin anew with each octet. Where the system has no interval timer (Windows), and outside the main
thread, they are all there is.
"""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Iterator


@final
class Clock:
    """Counts down the seconds that several things have together."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.restart()

    def restart(self) -> None:
        """Begin anew, with as many seconds as at first."""
        self._ends = time.monotonic() + self._seconds

    def left(self) -> float:
        """Return the seconds that are left, 0 once there are none."""
        return max(0.0, self._ends - time.monotonic())


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the body once it took that many seconds, or before it where that is none."""
    if seconds <= 0:
        raise TimeoutError("timed out")
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _ring(_number: int, _frame: object) -> None:
    raise TimeoutError("timed out")
