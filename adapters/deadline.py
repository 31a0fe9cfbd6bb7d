"""One limit in seconds for several waits together: a socket's own time-out begins anew with each octet.

`alarm` limits what has no socket at all. Where the system has no interval timer (Windows), and outside the main
thread, the time-outs of sockets are all there is.
"""

from __future__ import annotations

import io
from contextlib import contextmanager
from time import monotonic

from sasl.typed import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from socket import socket
    from typing import Any


@final
class Deadline:
    """A point in time, so many seconds from now."""

    __slots__ = ("_ends", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.restart()

    def restart(self) -> None:
        """Begin anew, with as many seconds as at first."""
        self._ends = monotonic() + self._seconds

    def left(self) -> float:
        """Return the seconds that are left, 0 once there are none."""
        return max(0.0, self._ends - monotonic())

    def wait(self) -> float:
        """Return the seconds that a wait may take. Raises TimeoutError once there are none."""
        if seconds := self.left():
            return seconds
        raise TimeoutError("timed out")


@final
class TimedReader(io.RawIOBase):
    """What comes from a socket until a deadline. Raises TimeoutError after it."""

    def __init__(self, sock: socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        """Say that it is for reading."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what has come."""
        self._sock.settimeout(self._deadline.wait())
        return self._sock.recv_into(buffer)


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the body once it took that many seconds, or before it where that is none."""
    if seconds <= 0:
        raise TimeoutError("timed out")
    import signal
    import threading

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
