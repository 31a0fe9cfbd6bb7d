"""The time as the servers and the authority see it, which a test can move."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, final

from sasl.errors import UsageError

from .watchers import Watchers

if TYPE_CHECKING:
    from collections.abc import Callable


@final
class Clock:
    """A clock that goes as time does, and that a test puts forward.

    Tokens, sessions and mail go by it. Deadlines do not: what waits for a client waits in real time.
    Called, it returns POSIX seconds, so that it is a `clock=` of whatever takes one (`OAuthTokens`, `Session`).

    `start` is what time it is in the beginning; None for the real time.
    Raises UsageError for a time without a zone.
    """

    def __init__(self, start: datetime | None = None) -> None:
        self._ahead = 0.0 if start is None else _seconds(start) - time.time()
        self._watchers = Watchers()

    def __call__(self) -> float:
        """Return the time in POSIX seconds."""
        return time.time() + self._ahead

    def now(self) -> datetime:
        """Return the time, in UTC."""
        return datetime.fromtimestamp(self(), UTC)

    def advance(self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> datetime:
        """Put the clock forward; return what time it is then.

        What ends by it has ended when this returns: the client of a session has been told. Raises UsageError for less
        than nothing: time does not go back; and for a time after the year 9999.
        """
        try:
            step = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
            _ = self.now() + step
        except OverflowError:
            raise UsageError("there are no dates so far away") from None
        if step < timedelta():
            raise UsageError("time does not go back")
        self._ahead += step.total_seconds()
        self._watchers.tell()
        return self.now()

    def set(self, when: datetime) -> datetime:
        """Put the clock forward to a time. Raises UsageError for one that is past, and for one without a zone."""
        return self.advance(seconds=_seconds(when) - self())

    def watch(self, told: Callable[[], object]) -> Callable[[], None]:
        """Have a function called when the clock was moved; return what ends that."""
        return self._watchers.add(told)


def _seconds(when: datetime) -> float:
    if when.tzinfo is None:
        raise UsageError("a time needs its zone")
    return when.timestamp()
