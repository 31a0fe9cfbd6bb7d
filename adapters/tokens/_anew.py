"""A source that is asked anew at each login, unless it says until when its token is good.

Programs that keep a token renew it themselves, so asking them costs less than a login that is refused.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, final

from sasl.credentials import AccessToken

from .kept import Kept

if TYPE_CHECKING:
    from collections.abc import Callable

    from .kept import Need

_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


@final
class Anew:
    """A keeper (see `Kept`) of tokens most of which do not say when they end: such a one is given once.

    Threads that ask at once share what comes.
    """

    __slots__ = ("_fetch", "_kept")

    def __init__(self, fetch: Callable[[Need], AccessToken], *, clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._kept = Kept(self._get, clock=clock)

    def held(self) -> AccessToken | None:
        """Return the token at hand if nothing has to be asked, else None."""
        return self._kept.held()

    def token(self, stale: str | None) -> AccessToken:
        """Return a token that is good now, and not the one in `stale`. Raises TokenError."""
        token = self._kept.token(stale=stale)
        return AccessToken(token.value, None, token.scope) if token.expires_at is _LONG_AGO else token

    def _get(self, need: Need) -> AccessToken:
        token = self._fetch(need)
        # For the keeper it is over as soon as it is there.
        return AccessToken(token.value, _LONG_AGO, token.scope) if token.expires_at is None else token


def with_lifetime(token: AccessToken, lifetime: float | None, now: float) -> AccessToken:
    """Return a token with its end: `lifetime` seconds from `now` on where it says nothing itself."""
    if lifetime is None or token.expires_at is not None:
        return token
    return AccessToken(token.value, datetime.fromtimestamp(now, UTC) + timedelta(seconds=lifetime), token.scope)
