"""When a session ends: with what it rests on, at its limit, or because its client says nothing for too long.

A session that was authenticated with a token lasts as long as the token; another one as long as `Settings.session`
says, or the persona. All of them end with their user. Everything here goes by the clock that tests move.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final, final

from sasl.value import field, value

if TYPE_CHECKING:
    from collections.abc import Callable

    from .backend import Backend

_IDLE: Final = 1_800.0  # seconds
_SOON: Final = 0.01  # seconds, at least, until a session is looked at again


@final
@value
class Login:
    """What a session rests on.

    Attributes:
        identity: who is logged in.
        since: when that was, in POSIX seconds of the clock.
        token: the hash of the token, None if it was done without one.
        epoch: which of the user's epochs it was.
    """

    identity: str
    since: float
    token: bytes | None = field(hidden=True)
    epoch: int | None


@final
class Lifetime:
    """How long a session lasts: nothing is known of it until somebody is logged in.

    `limit` returns what the persona says of "idle", "password" and "token", in seconds, None where it says nothing.
    `end` is called with the farewell that the session is due: "expired", "revoked", "disabled", "limit" or "late".

    Attributes:
        login: what it rests on.
    """

    def __init__(self, backend: Backend, limit: Callable[[str], float | None], end: Callable[[str], object]) -> None:
        self.login: Login | None = None
        self._backend = backend
        self._persona_limit = limit
        self._end = end
        self._heard = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> float:
        """The seconds that a client may say nothing."""
        found = self._limit(self._backend.settings.idle, "idle")
        return _IDLE if found is None else found

    def begin(self, identity: str, token: bytes | None) -> None:
        """Note who is logged in, maybe by a token, of which this is the hash."""
        self.hear()
        self.login = Login(identity, self._heard, token, self._backend.identity.users.epoch(identity))
        self.review()

    def hear(self) -> None:
        """Note that the client has said something."""
        self._heard = self._backend.clock()

    def stop(self) -> None:
        """Look at nothing any more."""
        self.login = None
        if self._timer is not None:
            self._timer.cancel()

    def review(self) -> None:
        """End the session if its time is over, by the clock or because what it rests on is good no more."""
        if self.login is None:
            return
        now = self._backend.clock()
        why, left = self._outlook(self.login, now)
        if not why and now - self._heard > self.idle:
            why = "late"
        if self._timer is not None:
            self._timer.cancel()
        if why:
            self._end(why)
        elif left < math.inf:
            self._timer = asyncio.get_running_loop().call_later(max(left, _SOON), self.review)

    def _outlook(self, login: Login, now: float) -> tuple[str, float]:
        """Return the farewell that the session is due, "" if it goes on, and for how many seconds it does."""
        people = self._backend.identity
        if people.users.is_disabled(login.identity):
            return "disabled", 0.0
        if people.users.epoch(login.identity) != login.epoch:
            return "revoked", 0.0
        standing = None if login.token is None else people.standing(login.token)
        if standing is not None and standing.state != "good":
            return standing.state, 0.0
        if login.token is None:
            limit = self._limit(self._backend.settings.session, "password")
        else:
            limit = self._limit(None, "token")
        left = math.inf if limit is None else login.since + limit - now
        return "limit" if left <= 0 else "", min(left, math.inf if standing is None else standing.left)

    def _limit(self, wanted: float | None, what: str) -> float | None:
        """Return the limit that is wanted, else the persona's."""
        return self._persona_limit(what) if wanted is None else wanted
