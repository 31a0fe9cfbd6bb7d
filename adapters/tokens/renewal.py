"""A renewal of one account's token, step by step, over a store that others share (RFC 6749 section 6, RFC 9700 4.14).

Each step that may wait is a call that the driver makes: loading, locking, saving, sending. What has to hold if the
process is killed between any two of them is in docs/decisions/0030-keeping-grants.md.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, final

from sasl.errors import TokenError, bare
from sasl.value import replace

from ..binding import perform
from .kept import LEEWAY, pause
from .record import Pending, Refused
from .store import locked

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl.credentials import AccessToken

    from ..binding.drive import Steps
    from .kept import Need
    from .messages import Answer
    from .record import Record
    from .store import Lease, Store

_TRIES: Final = 2  # the second one where something newer came in the middle of the first
_LONGEST_WAIT: Final = 3_600.0  # seconds; a server that wants more is asked again then
_AGAIN: Final = 3_600.0  # seconds after which what an administrator can put right is tried again
_AHEAD: Final = 300.0  # seconds by which the clocks of machines that share a store may differ
_LONGEST_TRY: Final = 0.8  # seconds between two tries to store what must not be lost
_VOID: Final = frozenset({"invalid_grant", "interrupted"})
_NOTHING_DONE: Final = frozenset({"no_connection", "certificate", "bad_endpoint", "http_429"})
"""What says for certain that nothing was granted: it was not sent, or was sent back."""

_CONFIGURATION: Final = frozenset(
    {"invalid_client", "unauthorized_client", "invalid_scope", "invalid_resource", "invalid_target"}
    | {"unsupported_grant_type"}
)


@final
class Renewal:
    """Gets one account's token out of a store, renewed where that has to be.

    `send(record)` asks the authorization server, once, in `timeout()` seconds at most. `clock` returns POSIX seconds,
    `sleep` waits.
    """

    __slots__ = ("_clock", "_key", "_leeway", "_send", "_sleep", "_store", "_timeout", "_unsaved")

    def __init__(
        self,
        store: Store,
        key: str,
        send: Callable[[Record], Answer],
        *,
        timeout: Callable[[], float],
        leeway: float = LEEWAY,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._store = store
        self._key = key
        self._send = send
        self._timeout = timeout
        self._leeway = leeway
        self._clock = clock
        self._sleep = sleep
        self._unsaved: tuple[str, Record] | None = None  # the grant that is void, and what came instead

    def __call__(self, need: Need) -> AccessToken:
        """Return a token that is good. Raises TokenError."""
        return perform(self.steps(need))

    def steps(self, need: Need) -> Steps[AccessToken]:
        """Return the steps to a token that is good."""
        enough = self._timeout() / 2  # seconds for an answer, where waiting for the lock takes from the same time
        for _ in range(_TRIES):
            record = yield partial(self._store.load, self._key)
            token = self._good(record, need)
            if token is not None:
                return token
            if self._unsaved is None:
                self._check(record)
            lock = self._store.locked(self._key, self._timeout() if need.patient else 0.0)
            lease = yield lock.__enter__
            try:
                token = yield from self._renew(lease, need, enough)
            finally:
                yield partial(lock.__exit__, None, None, None)
            if token is not None:
                return token
        raise TokenError("others renew this token all the time", code="superseded", retryable=True)

    def _renew(self, lease: Lease, need: Need, enough: float) -> Steps[AccessToken | None]:
        """Renew the token under the lock; None where something newer came meanwhile."""
        record = yield partial(self._store.load, self._key)
        record = yield from self._save_unsaved(record, lease)
        token = self._good(record, need)
        if token is not None:
            return token
        self._check(record)
        interrupted = record.pending is not None
        yield from self._outwait(record, need)
        if self._timeout() < enough:  # an answer that came too late would be a lost grant
            raise TokenError("waiting for others took too long", code="timeout", retryable=True, hint="Try again.")
        now = self._clock()
        mark = Pending(_new_id(), now, now + self._timeout())
        try:
            record = yield partial(self._store.save, replace(record, pending=mark), lease)
        except TokenError as error:
            if error.code != "superseded":
                raise
            return None  # somebody has signed in
        if lease.left() <= self._timeout():
            raise _too_short()  # or this process was stopped for too long: another may think it dead
        try:
            answer = yield partial(self._send, record)
        except TokenError as error:
            failure = bare(error)
        else:
            return (yield from self._keep(record, answer, lease))
        return (yield from self._tell(record, failure, lease, interrupted=interrupted))

    def _good(self, record: Record | None, need: Need) -> AccessToken | None:
        """Return the token of a record if it is good for some time more, and not the one that was refused."""
        token = None if record is None else record.token()
        if record is None or token is None or token.value == need.stale:
            return None
        if record.expires_at is None:
            return token
        now = self._clock()
        if now + _AHEAD < (record.granted_at if record.renewed_at is None else record.renewed_at):
            return None  # the clock was ahead when it came, and so is what it says of its end
        leeway = self._leeway
        if record.renewed_at is not None:
            leeway = min(leeway, (record.expires_at - record.renewed_at) / 2)
        return token if now + leeway < record.expires_at else None

    def _check(self, record: Record | None) -> None:
        """Raise TokenError if there is nothing to send, or what is sent would be refused again."""
        if record is None:
            said = "nothing is stored for this account"
            raise TokenError(said, code="no_grant", needs_user=True, hint=f"sasl token authorize, for {self._key}")
        refused, now = record.refused, self._clock()
        if refused is not None and refused.grant == record.grant() and _still_holds(refused, now):
            raise TokenError(refused.text, code=refused.code, needs_user=refused.needs_user, hint=refused.hint)
        wait = 0.0 if record.retry_at is None else record.retry_at - now
        if 0 < wait <= _LONGEST_WAIT:  # longer only where a clock has jumped
            said = "the last renewal failed, and it is too early for the next"
            raise TokenError(said, code="later", retryable=True, hint="Try again later.", retry_after=wait)

    def _outwait(self, record: Record, need: Need) -> Steps[None]:
        """Wait until the request of a holder that is gone is over; not where a token is alive."""
        left = 0.0 if record.pending is None else record.pending.until - self._clock()
        if left <= 0:
            return
        if not need.patient:
            raise locked()
        yield partial(self._sleep, min(left, self._timeout()))

    def _save_unsaved(self, record: Record | None, lease: Lease) -> Steps[Any]:
        """Store what could not be stored before, unless somebody has signed in since; return what is stored."""
        if self._unsaved is None:
            return record
        void, new = self._unsaved
        if record is not None and record.grant() == void:
            record = yield partial(self._store.save, replace(new, version=record.version), lease)
        self._unsaved = None
        return record

    def _keep(self, record: Record, answer: Answer, lease: Lease) -> Steps[AccessToken | None]:
        """Store what was granted, before anybody uses it."""
        now = self._clock()
        new = replace(
            record,
            refresh_token=answer.refresh_token or record.refresh_token,
            access_token=answer.access_token,
            expires_at=None if answer.expires_in is None else max(0.0, now + answer.expires_in),
            renewed_at=now,
            granted_scope=answer.scope,
            pending=None,
            refused=None,
            retry_at=None,
            failures=0,
        )
        if new.grant() != record.grant():
            self._unsaved = record.grant(), new  # whatever interrupts what follows, the next call stores it
        failure = yield from self._save_soon(new, lease)
        if failure is None or failure.code == "superseded":
            self._unsaved = None
            return new.token() if failure is None else None
        if self._unsaved is None:  # all that others miss is an access token
            return new.token()
        said = f"the new refresh token could not be stored ({failure.code}); the old one may be void"
        raise TokenError(said, code="not_stored", retryable=failure.retryable, hint=failure.hint)

    def _save_soon(self, new: Record, lease: Lease) -> Steps[TokenError | None]:
        """Store a record; try again for as long as a request takes where the store does not answer. Return why not."""
        ends, wait = self._clock() + self._timeout(), _LONGEST_TRY / 8
        while True:
            try:
                yield partial(self._store.save, new, lease)
                return None
            except TokenError as error:
                failure = bare(error)
            if failure.code != "store_unreachable" or self._clock() >= ends:
                return failure
            yield partial(self._sleep, wait)
            wait = min(2 * wait, _LONGEST_TRY)

    def _tell(
        self, record: Record, failure: TokenError, lease: Lease, *, interrupted: bool
    ) -> Steps[AccessToken | None]:
        """Store why there is no token, and raise it; None where a newer grant than the one refused is stored."""
        if failure.code == "invalid_grant" and failure.needs_user:
            stored = yield partial(self._store.load, self._key)
            if stored is not None and stored.grant() != record.grant():
                return None
            if interrupted:
                failure = TokenError(
                    "an earlier renewal was interrupted before its answer was stored, and the old grant is void",
                    code="interrupted",
                    needs_user=True,
                    hint="Sign in again.",
                )
        try:
            after = self._after(record, failure, interrupted=interrupted)
            yield partial(self._store.save, after, lease)
        except TokenError as error:
            logging.getLogger("sasl").info("why a token was not renewed could not be stored: %s", error.code)
        raise failure

    def _after(self, record: Record, failure: TokenError, *, interrupted: bool) -> Record:
        """Return the record after a failure."""
        now = self._clock()
        if failure.needs_user or failure.code in _CONFIGURATION:
            refused = Refused(failure.code or "", str(failure), failure.hint, failure.needs_user, now, record.grant())
            return replace(record, pending=None, refused=refused, retry_at=None)
        pending = None
        if record.pending is not None and (interrupted or failure.code not in _NOTHING_DONE):
            # The server may have granted something that did not arrive, so the mark stays; the request is over.
            pending = replace(record.pending, until=now)
        wait = min(failure.retry_after or pause(record.failures + 1), _LONGEST_WAIT)
        return replace(record, pending=pending, retry_at=now + wait, failures=record.failures + 1)


def _too_short() -> TokenError:
    return TokenError(
        "the lease of the account's lock ends before an answer has to be here",
        code="locked",
        retryable=True,
        hint="Try again later; if that never helps, give the store a longer lease or a request less time.",
    )


def _still_holds(refused: Refused, now: float) -> bool:
    """Whether sending the same again makes no sense: a void grant stays void, the rest may be put right elsewhere."""
    return refused.code in _VOID or refused.at <= now < refused.at + _AGAIN


def _new_id() -> str:
    from secrets import token_hex

    return token_hex(8)
