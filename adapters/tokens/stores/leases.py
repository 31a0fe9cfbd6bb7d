"""The right to renew that runs out by itself, and how to wait for what another process has.

A lease ends after so many seconds, whether or not its holder lives. It is second best to a lock that the death of the
holder frees: who sleeps for longer than the lease, after it has looked at the time left, sends beside the next one.
"""

from __future__ import annotations

import os
import random
import secrets
import time
from typing import TYPE_CHECKING, Final, TypeVar, final

from ..store import locked

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_SHORTEST_PAUSE: Final = 0.01  # seconds
_LONGEST_PAUSE: Final = 0.25  # seconds


def now() -> float:
    """Return a time in seconds that nobody can set, and that goes on while the machine sleeps if the system has one."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


@final
class TimedLease:
    """A lease that ends `seconds` after `since`, a time by `now` before it was asked for.

    Attributes:
        key: the account that it is for.
        fence: counts the holders of the account's lock and its sign-ins.
        owner: tells it from all others.
        unsure: whether something was saved of which nobody knows whether it is stored.
    """

    __slots__ = ("_ends", "_process", "fence", "key", "owner", "unsure")

    def __init__(self, key: str, fence: int, owner: str, since: float, seconds: float) -> None:
        self.key = key
        self.fence = fence
        self.owner = owner
        self.unsure = False
        self._ends = since + seconds
        self._process = os.getpid()

    def __repr__(self) -> str:
        return f"<TimedLease {self.fence}, {self.left():.1f} s>"

    def left(self) -> float:
        """Return for how many seconds it is held; 0.0 when it was given back, and in a forked process."""
        return max(0.0, self._ends - now()) if self.is_held() else 0.0

    def is_held(self) -> bool:
        """Whether this process has not given it back; it may have run out."""
        return self._process == os.getpid()

    def end(self) -> None:
        """Say that it was given back."""
        self._process = 0


def new_owner() -> str:
    """Return a text that nobody else has."""
    return secrets.token_hex(16)


def wait_for(take: Callable[[], T | None], seconds: float) -> T:
    """Return what `take` gives as soon as that is not None; it is asked at least once, and for so many seconds.

    The pauses in between grow, and differ between processes. Raises TokenError (locked) after that time.
    """
    ends, pause = now() + seconds, _SHORTEST_PAUSE
    while (taken := take()) is None:
        left = ends - now()
        if left <= 0:
            raise locked()
        time.sleep(min(left, pause * random.uniform(0.5, 1.0)))  # noqa: S311 -- nothing secret
        pause = min(2 * pause, _LONGEST_PAUSE)
    return taken
