"""What every source of tokens does: keep the token at hand, and ask for another one at a time.

Memory first: while the token is good for some minutes more nothing is asked and no lock is taken. Of the threads that
want a new one, one asks and the others take what it got. The old one goes on while it is alive, whatever the new one's
fate.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from typing import TYPE_CHECKING, Final, NoReturn, final

from sasl.errors import TokenError, bare
from sasl.secret import Secret
from sasl.value import value

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl.credentials import AccessToken

LEEWAY: Final = 300.0
"""Seconds before its end when a token is renewed."""

LONGEST_PAUSE: Final = 300.0
"""Seconds after which a failed renewal is tried again, at the latest."""

_NONE: Final = (-math.inf, None)


@final
@value
class Need:
    """What a source is asked for.

    Attributes:
        stale: the token that a server refused last; what is fetched is another one.
        patient: whether it is worth waiting for: no token that is alive is at hand.
    """

    stale: Secret | None
    patient: bool


@final
class Kept:
    """Keeps the token of a source. `fetch` gets another: it returns one that is good, or raises TokenError.

    `leeway` is the seconds before its end when a token is renewed, half of its life at most; `jitter` the seconds by
    which that differs, so that not all processes come at once. `clock` returns POSIX seconds: one that jumps costs a
    renewal, or one refused login. Several threads may ask; a forked process asks for itself.
    """

    __slots__ = (
        "_clock",
        "_failure",
        "_failures",
        "_fetch",
        "_held",
        "_leeway",
        "_lock",
        "_pid",
        "_refused",
        "_rounds",
    )

    def __init__(
        self,
        fetch: Callable[[Need], AccessToken],
        *,
        leeway: float = LEEWAY,
        jitter: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._leeway = leeway - int.from_bytes(os.urandom(2)) / 65_536 * jitter
        self._held: tuple[float, AccessToken | None] = (
            _NONE  # until when nothing is asked, and what is given until then
        )
        self._refused: Secret | None = None
        self._failure: TokenError | None = None
        self._failures = 0
        self._rounds = 0
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a source of tokens is neither pickled nor copied")

    def held(self) -> AccessToken | None:
        """Return the token at hand if nothing has to be asked, else None."""
        until, token = self._held
        return token if self._clock() < until else None

    def token(self, *, stale: str | None = None) -> AccessToken:
        """Return a token that is good now, and not the one in `stale`. Raises TokenError."""
        if stale is None:
            until, token = self._held
            if self._clock() < until and token is not None:
                return token
            return self.another(None)
        refused = Secret(stale)
        del stale  # no frame of an error shows it
        return self.another(refused)

    def another(self, refused: Secret | None) -> AccessToken:
        """Return a token that is good now, and not the one that was refused, if one was. Raises TokenError."""
        if self._pid != os.getpid():  # another process: a thread that held the lock is not here
            self._lock, self._pid = threading.Lock(), os.getpid()
        rounds = self._rounds
        with self._lock:
            until, token = self._held
            if refused is not None and (token is None or token.value == refused):
                self._refused, self._held = refused, _NONE
            elif self._clock() < until and token is not None:
                return token
            if self._rounds == rounds:  # otherwise somebody else has asked while we waited for our turn
                self._ask()
            _, token = self._held
            if token is not None and token.value == refused:
                self._held = _NONE  # whoever asks next had better not get it
            failure = self._failure
        if token is not None and (failure is None or self._is_alive(token)):
            if token.value != refused:
                return token
            failure = TokenError("the source gave the token that was refused", code="stale_token", needs_user=True)
        failure = failure or TokenError("there is no token", code="no_token")
        raise _copy(failure)

    def _ask(self) -> None:
        """Get another token; or keep the old one for a while, and the reason why there is no other."""
        _, token = self._held
        raised = None
        try:
            given = self._fetch(Need(self._refused, token is None or not self._is_alive(token)))
        except TokenError as error:
            failure = bare(error)
        except Exception as error:  # of a source of somebody's own; its text may hold a secret
            failure = TokenError(f"the source failed with {type(error).__name__}", code="refresh_failed")
        except BaseException as error:
            raised, failure = bare(error), TokenError()  # its frames hold what is sent
        else:
            self._held = self._until(given), given
            self._failure, self._failures = None, 0
            self._rounds += 1
            return
        if raised is not None:
            raise raised
        self._failure = failure
        self._rounds += 1
        if token is not None and self._is_alive(token):
            ends = math.inf if token.expires_at is None else token.expires_at.timestamp()
            self._held = min(self._clock() + self._pause(failure), ends), token
            logging.getLogger("sasl").info("a token is not renewed yet: %s", failure.code)

    def _pause(self, failure: TokenError) -> float:
        """Return the seconds until the next try."""
        self._failures += 1
        return failure.retry_after or pause(self._failures)

    def _until(self, token: AccessToken) -> float:
        """Return until when a token that has just come is given without asking anybody."""
        if token.expires_at is None:
            return math.inf
        left = token.expires_at.timestamp() - self._clock()
        return self._clock() + left - min(self._leeway, left / 2)

    def _is_alive(self, token: AccessToken) -> bool:
        return token.expires_at is None or self._clock() < token.expires_at.timestamp()


def pause(failures: int) -> float:
    """Return how many seconds to wait after so many failures in a row: 2, 4, 8 and so on, 300 at most."""
    return min(2.0 ** min(failures, 16), LONGEST_PAUSE)


def _copy(error: TokenError) -> TokenError:
    """Return a new error that says the same, which no other thread raises."""
    return TokenError(
        str(error),
        code=error.code,
        retryable=error.retryable,
        needs_user=error.needs_user,
        hint=error.hint,
        retry_after=error.retry_after,
    )
