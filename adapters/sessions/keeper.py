"""The steps of a session: it connects, runs a call, tells when the session is lost, connects again and restores.

A step is a call that may have to wait; the drivers of `sasl.adapters.binding` make it, or await it. So these rules are
written once, for synchronous libraries and for asynchronous ones.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from functools import partial
from math import inf
from ssl import SSLCertVerificationError
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, final

from sasl.credentials import Bearer
from sasl.errors import (
    AuthenticationFailed,
    ConnectionLost,
    PolicyViolation,
    TemporaryFailure,
    TokenError,
    UsageError,
    is_interruption,
)
from sasl.value import value

from .attempts import attempts, noted, token_of
from .events import Event, NotRestored, describe
from .state import State, mailbox_of
from .ways import Ways, ways_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sasl.channel import Channel
    from sasl.credentials import Credentials
    from sasl.secret import Secret

    from ..binding.drive import Steps
    from .delivery import Delivery
    from .events import Kind, Listener

C = TypeVar("C")

_LONGEST_WAIT: Final = 60.0
"""Seconds between two connections at most, unless an authorization server asks for more."""
_LONGEST_REST: Final = 300.0
"""Seconds that one may ask for; where it is more, the caller decides, who has the session to himself meanwhile."""
_PATIENCE: Final = 30.0
"""Seconds after which a session that stays asks again for a token, or for a connection."""
_FOR_EVER: Final = 1e9
"""Seconds after which no session ends."""
_LOGGER: Final = logging.getLogger("sasl")


@final
@value
class Clocks:
    """What a session knows of time. Tests bring their own.

    Attributes:
        wall: seconds since 1970, as tokens count; it may jump.
        monotonic: seconds of a clock that never jumps; it may stand still while the machine sleeps.
        sleep: wait for so many seconds; a coroutine function in an asynchronous session.
        random: return a number from 0 to 1, for the jitter.
    """

    wall: Callable[[], float]
    monotonic: Callable[[], float]
    sleep: Callable[[float], Any]
    random: Callable[[], float]


@final
@value
class _Login(Generic[C]):
    """A new connection that is logged in: by which token, if by one, and when that ends."""

    conn: C
    ways: Ways
    channel: Channel | None
    token: Secret | None
    expires_at: datetime | None


@final
class Keeper(Generic[C]):
    """Keeps the connection of a session.

    Attributes:
        state: what the session has on its connections.
        deadline: when the session ends as far as anybody knows, None if nobody does.
    """

    def __init__(
        self,
        factory: Callable[[], Any],
        authenticate: Callable[..., Any],
        credentials: Credentials,
        *,
        ask: Callable[..., Any],
        close: Callable[[C], Any] | None,
        restore: Callable[[C], Any] | None,
        is_lost: Callable[[BaseException], bool],
        limit: float | None,
        margin: float,
        most: int,
        on_event: Listener | None,
        clocks: Clocks,
        options: Mapping[str, Any],
    ) -> None:
        self.state = State(restore, is_lost)
        self.deadline: datetime | None = None
        self._factory = factory
        self._authenticate = authenticate
        self._credentials, self._noting = noted(credentials)
        self._ask = ask
        self._own_close = close
        self._is_lost = is_lost
        self._limit = limit
        self._margin = margin
        self._most = most
        self._on_event = on_event
        self._clocks = clocks
        self._options = options
        self._login: _Login[C] | None = None
        self._channel: Channel | None = None  # of the first connection: credentials go to no other server
        self._has_been = False  # connected
        self._marked = False  # POP3: what was deleted is not, if the session ends by itself
        self._ends = inf  # by the monotonic clock
        self._due = 0.0  # seconds before the end from which on a new connection is wanted
        self._by_token = False
        self._stays_until = 0.0
        self._failures = 0  # in a row
        self._not_before = 0.0
        self._tries = 0  # connections, in this call

    # --- calls

    def call(self, function: Callable[[C], Any], repeat: bool | Callable[[], bool]) -> Steps[Any]:  # noqa: FBT001
        """Run a function with a connection; run it again where the session is lost and `repeat` says that it may be."""
        self._tries = 0
        while True:
            conn = yield from self._ready()
            had_marks = self._marked
            self._marked = had_marks or (self._holds_marks and repeat is not True)
            lost: Exception
            try:
                result = yield partial(self._ways.run, function, conn)
            except Exception as error:
                if not is_interruption(error) and not self._is_lost(error):
                    self.state.look(self._ways, conn)
                    raise
                lost = error
            except BaseException:
                yield from self._drop()  # in the middle of a command: nobody knows whose reply comes next
                raise
            else:
                self._failures = 0
                self.state.look(self._ways, conn)
                return result
            yield from self._lose(lost)
            safe = not is_interruption(lost) and (repeat() if callable(repeat) else repeat)
            if had_marks or not safe:
                raise lost
            if self._tries >= self._most:
                self._tell("gave_up", lost)
                raise lost

    def select(self, name: str, readonly: bool) -> Steps[Any]:  # noqa: FBT001
        """Select a mailbox, and remember it."""

        def select(conn: C) -> Any:
            self.state.forget_mailbox()
            return self._ways.select(conn, name, readonly) if self._ways.select else _no("select a mailbox")

        result = yield from self.call(select, repeat=True)
        if self._login is not None:
            conn = self._login.conn
            self.state.selected(self._ways, conn, mailbox_of(self._ways, conn, name, result))
        return result

    def enable(self, names: tuple[str, ...]) -> Steps[Any]:
        """Enable extensions, and remember which."""

        def enable(conn: C) -> Any:
            return self._ways.enable(conn, names) if self._ways.select else _no("enable an extension")

        result = yield from self.call(enable, repeat=True)
        if self._login is not None:
            self.state.enabled(self._ways.enabled(self._login.conn, result))
        return result

    def send(self, delivery: Delivery) -> Steps[Any]:
        """Send a message, again only while it has certainly not been taken."""

        def send(conn: C) -> Any:
            return delivery.by(self._ways.send)(conn)

        return (yield from self.call(send, repeat=delivery.may_repeat))

    def leave(self) -> Steps[None]:
        """Take leave and close. Whatever becomes of it, the session is over; in POP3 it has to become a yes."""
        login, marked = self._login, self._marked
        failure: Exception | None = None
        if login is None:
            return
        try:
            if login.ways.is_over(login.conn):
                failure = ConnectionLost(_NOT_DELETED) if marked else None
            else:
                yield partial(login.ways.leave, login.conn)
        except Exception as error:
            if is_interruption(error) or marked:
                failure = error
        finally:
            yield from self._drop()
        self._tell("left")
        if failure is not None:
            raise failure

    def close(self) -> Steps[None]:
        """Close the connection at once."""
        if self._login is not None:
            yield from self._drop()
            self._tell("left")

    def spare(self) -> float:
        """Return the seconds until a new connection is wanted, 0 once it is."""
        return inf if self._login is None else max(0.0, self._left() - self._due)

    # --- a connection for a call

    def log_in(self) -> Steps[C]:
        """Return a new connection that is logged in, and that the session does not keep."""
        login = yield from self._log_in()
        conn: C = login.conn
        return conn

    def close_another(self, conn: C, *, quiet: bool) -> Steps[None]:
        """Close a connection that `log_in` returned; without a word where an error is on its way."""
        try:
            yield partial(self._own_close or ways_of(conn, self._authenticate).close, conn)
        except Exception as error:
            if not quiet or is_interruption(error):
                raise
            _LOGGER.warning("a connection cannot be closed: %s", type(error).__name__)

    def _ready(self) -> Steps[C]:
        login = self._login
        if login is not None and login.ways.is_over(login.conn):
            marked = self._marked
            over = ConnectionLost("the server has ended the session")
            yield from self._lose(over)
            if marked:
                raise ConnectionLost(_NOT_DELETED)
        if self._login is None:
            yield from self._connect()
        elif self._is_due():
            yield from self._renew()
        assert self._login is not None  # noqa: S101 -- for mypy
        return self._login.conn

    def _connect(self, ready: Credentials | None = None) -> Steps[None]:
        """Connect, log in and restore; try again where that may help, after a while."""
        most = self._most if self._has_been else 1
        while True:
            self._tries += 1
            yield from self._wait()
            failure: Exception
            try:
                login = yield from self._log_in(ready)
                yield from self._settle(login)
                return
            except NotRestored:
                raise
            except Exception as error:
                failure = error
            ready = None
            self._count_failure(failure)
            if not self._may_pass(failure) or self._tries >= most:
                break
        if self._has_been:
            self._tell("gave_up", failure)
        raise failure

    def _wait(self) -> Steps[None]:
        seconds = max(0.0, self._not_before - self._clocks.monotonic()) if self._failures else 0.0
        if self._has_been:
            self._tell("reconnecting", seconds=seconds)
        if seconds:
            yield partial(self._clocks.sleep, seconds)

    def _count_failure(self, error: BaseException | None) -> None:
        """Note that a connection has failed: the first is followed by another at once, each further one later."""
        self._failures += 1
        seconds = 0.0
        if self._failures > 1:
            longest = min(_LONGEST_WAIT, 2.0 ** min(self._failures - 2, 10))
            seconds = longest * (0.5 + 0.5 * self._clocks.random())
        if isinstance(error, TokenError):
            seconds = max(seconds, min(error.retry_after or 0.0, _LONGEST_REST))
        self._not_before = self._clocks.monotonic() + seconds

    def _may_pass(self, error: Exception) -> bool:
        """Whether another connection may do where one has failed with this error."""
        if is_interruption(error) or isinstance(error, AuthenticationFailed | PolicyViolation | UsageError):
            return False
        if isinstance(error, TokenError):
            return error.retryable and (error.retry_after or 0.0) <= _LONGEST_REST
        unreachable = isinstance(error, OSError) and not isinstance(error, SSLCertVerificationError)
        return unreachable or isinstance(error, TemporaryFailure) or self._is_lost(error)

    def _log_in(self, ready: Credentials | None = None) -> Steps[_Login[C]]:
        login: _Login[C] = yield from attempts(self._credentials, self._attempt, self._ask, ready)
        return login

    def _attempt(self, ready: Credentials) -> Steps[_Login[C]]:
        expires_at = None if self._noting is None else self._noting.expires_at
        conn = yield self._factory
        ways = ways_of(conn, self._authenticate)
        try:
            channel = self._check_server(ways, conn)
            yield partial(self._authenticate, conn, ready, **self._options)
        except BaseException:
            yield from self.close_another(conn, quiet=True)
            raise
        return _Login(conn, ways, channel, token_of(ready), expires_at)

    def _check_server(self, ways: Ways, conn: C) -> Channel | None:
        """Return a connection's channel. Raises PolicyViolation if it leads to another server than the first did."""
        if ways.channel is None:
            return None
        if ways.is_over(conn):  # aiosmtplib does not know any more where it led to
            raise ConnectionLost("the server has ended the connection")
        found, first = ways.channel(conn), self._channel
        if first is None:
            self._channel = found
        elif (found.service, _host(found)) != (first.service, _host(first)) or _differ(found.port, first.port):
            raise PolicyViolation("the connection leads to another server than the one before: nothing was sent")
        elif first.tls and not found.tls:
            raise PolicyViolation("the connection is without TLS, unlike the one before: nothing was sent")
        return found

    # --- a connection in place of one that is about to end

    def _is_due(self) -> bool:
        waits = self._clocks.monotonic() < self._stays_until
        return not waits and not self._marked and self._left() < self._due

    def _left(self) -> float:
        """Return the seconds until the deadline, by the clock that has less of them."""
        deadline = self.deadline  # another thread may ask while this one connects
        if deadline is None:
            return inf
        return min(deadline.timestamp() - self._clocks.wall(), self._ends - self._clocks.monotonic())

    def _renew(self) -> Steps[None]:
        """Connect anew, and close the old connection after that. It stays where there is no new one, or no new token.

        Servers let sessions outlive their tokens, so it is good until the server ends it. In POP3 a mailbox has one
        session at a time, so the old one is closed first, once there is a token.
        """
        old, change = self._login, None
        assert old is not None  # noqa: S101 -- for mypy
        try:
            ready = yield partial(self._ask, self._credentials)
            if self._by_token and token_of(ready) == old.token:
                self._stay(None)
                return
            if self._holds_marks:
                yield from self._drop()
                yield from self._connect(ready)
            else:
                login = yield from self._log_in(ready)
                yield from self._settle(login)
        except NotRestored as error:
            change = error
        except Exception as error:
            if is_interruption(error) or self._login is None:
                raise
            self._stay(error)
            return
        yield from self._close_quietly(old)
        self._tell("renewed")
        if change is not None:
            raise change

    def _stay(self, error: Exception | None) -> None:
        refused = isinstance(error, AuthenticationFailed)  # asked again and again, it would lock the account
        self._stays_until = inf if refused else self._clocks.monotonic() + _PATIENCE
        self._tell("stays", error)

    def _take(self, login: _Login[C]) -> None:
        """Keep a connection, and note when it ends."""
        self._login, self._has_been = login, True
        self._marked, self._stays_until = False, 0.0
        now = self._clocks.wall()
        limit = (
            _limit_of(login.channel, token=isinstance(self._credentials, Bearer))
            if self._limit is None
            else self._limit
        )
        token = inf if login.expires_at is None else login.expires_at.timestamp() - now
        if token <= 0:
            token = inf  # the server has taken it: one of the two clocks is wrong
        life = min(token, inf if limit is None else limit)
        self._by_token = token == life
        self._due = min(self._margin, life / 2)  # a token that lives shorter than the margin is no reason to hurry
        self._ends = self._clocks.monotonic() + life
        self.deadline = None if life > _FOR_EVER else datetime.fromtimestamp(now + life, UTC)
        _LOGGER.debug("session of %s", self._credentials.user)

    # --- what was on the connection before

    def _settle(self, login: _Login[C]) -> Steps[None]:
        """Restore on a new connection, and keep it, even if something is not as it was; else close it."""
        self._tell("connected")
        change = None
        try:
            if self._has_been:
                restored = yield from self.state.restore(login.ways, login.conn)
                if restored:
                    self._tell("restored")
        except NotRestored as error:
            change = error
        except BaseException:
            yield from self._close_quietly(login)
            raise
        self._take(login)
        if change is not None:
            raise change

    # --- the end of a connection

    def _lose(self, error: BaseException) -> Steps[None]:
        self._tell("lost", error)
        self._count_failure(error)
        yield from self._drop()

    def _drop(self) -> Steps[None]:
        login, self._login = self._login, None
        self.deadline, self._ends, self._marked = None, inf, False
        if login is not None:
            self.state.look_back(login.ways, login.conn)
            yield from self._close_quietly(login)

    def _close_quietly(self, login: _Login[C]) -> Steps[None]:
        yield from self.close_another(login.conn, quiet=True)

    # --- and what it is made of

    @property
    def _ways(self) -> Ways:
        return Ways() if self._login is None else self._login.ways

    @property
    def _holds_marks(self) -> bool:
        return self._login is not None and self._login.channel is not None and self._login.channel.service == "pop"

    def _tell(self, kind: Kind, error: BaseException | None = None, *, seconds: float = 0.0) -> None:
        channel = self._channel
        server = "" if channel is None else f"{channel.service} at {channel.host or 'a server without a name'}"
        attempt = self._tries if kind in _COUNTED else 0
        event = Event(kind, server, describe(error), attempt, seconds)
        _LOGGER.info("%s", event)
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception as failure:
            if is_interruption(failure):
                raise
            _LOGGER.warning("what was to be told of a session fails: %s", type(failure).__name__)


_NOT_DELETED: Final = "the server has ended the session: what was marked for deletion is not deleted"
_COUNTED: Final = ("reconnecting", "gave_up")


def _limit_of(channel: Channel | None, *, token: bool) -> float | None:
    """Return how many seconds a provider lets a session last, as far as that is known here."""
    from ..providers import session_limit

    if channel is None or channel.host is None:
        return None
    return session_limit(channel.host, channel.service, token=token)


def _host(channel: Channel) -> str:
    return (channel.host or "").lower()


def _differ(port: int | None, other: int | None) -> bool:
    return port is not None and other is not None and port != other


def _no(what: str) -> Any:
    raise UsageError(f"nobody can {what} on this connection")
