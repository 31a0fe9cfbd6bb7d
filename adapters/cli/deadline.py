"""A limit for something that waits, whatever it waits for: a server that sends an octet a second, a command.

Socket time-outs begin anew with each octet. Where the system has no interval timer (Windows), and outside the main
thread, they are all there is.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the body once it took that many seconds."""
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
