"""Sessions that last: connect, log in with a token that is good then, run calls, and connect again when it ends.

    with Session(
        lambda: imaplib.IMAP4_SSL("imap.gmail.com", timeout=60),
        sasl.adapters.imaplib.authenticate,
        sasl.Bearer("me@gmail.com", source),
    ) as session:
        session.select("INBOX")
        typ, data = session.call(lambda conn: conn.uid("SEARCH", "UNSEEN"), repeat=True)

Servers end sessions: with the token, after a day, after a pause, for a restart. A session connects again then, with a
token asked for at that moment, selects what was selected, and repeats a call where its caller said that it is safe.
Bindings never reconnect and never ask twice. This asks a second time for one login, never a third, and only after a
refusal with `new_token_may_help`: more would lock accounts.

What is safe to repeat, the caller knows: what only reads, and what is the same when it is done twice. Message numbers
are not the same on another connection: use UIDs (IMAP), and UIDL (POP3). Nothing is repeated after POP3's DELE, whose
marks end with the session, or after SMTP's final dot: `send` knows where that is.
"""

from __future__ import annotations

import random as _random
import threading
import time
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, final

from sasl.credentials import is_credentials
from sasl.errors import UsageError
from sasl.resolution import resolve, resolve_async

from .binding import is_gone, perform, perform_async
from .binding.event_loop import new_lock, pause
from .binding.given import type_of, veil
from .sessions.attempts import attempts as _attempts
from .sessions.delivery import Delivery
from .sessions.events import DeliveryUnknown, Event, Kind, Mailbox, MailboxChanged, NotRestored
from .sessions.keeper import Clocks, Keeper

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
    from datetime import datetime
    from email.message import Message
    from types import TracebackType
    from typing import Self

    from sasl.credentials import Credentials

    from .binding.drive import Steps

__all__ = [
    "AsyncSession",
    "DeliveryUnknown",
    "Event",
    "Kind",
    "Mailbox",
    "MailboxChanged",
    "NotRestored",
    "Session",
    "with_new_token",
    "with_new_token_async",
]

C = TypeVar("C")
T = TypeVar("T")

_RUNNING: ContextVar[tuple[object, ...]] = ContextVar("running calls", default=())
"""The calls of asynchronous sessions that this task runs in, or the one that has started it."""
_A_CALL_WITHIN: Final = "a call of a session within a call of it: the function has the connection already"


@final
class Session(Generic[C]):
    """A session with a server over a synchronous library, for as long as it is wanted.

    `factory` returns a new connection, under TLS where that is wanted, always to the same server: credentials go to no
    other one. `authenticate` is that of a binding, and `options` are passed on to it. `close` closes a connection; by
    default that is done as its library wants it, else by what it has of shutdown(), close(), logout() and quit(), the
    first of them. `restore` is called with each connection after the first, for what the session does not know.

    `limit` is how many seconds the server lets a session last, by default what is known of the provider; where it is
    over in less than `margin` seconds, or the token is, the next call goes over a new connection. Where there is no
    newer token, or no connection, the old one stays until the server ends it. `attempts` is how many connections a
    call tries, the second at once and each further one after 0.5 to 60 seconds, with jitter; until the session has
    been logged in once, it is one. An authorization server may ask for up to five minutes; where it asks for more, its
    TokenError leaves, with `retry_after`.
    `on_event` is called with each `Event`; the logger `sasl` gets the same at INFO.
    `is_lost` tells whether an error is the end of the session: `is_session_lost` of the bindings by default. The last
    four are for tests.

    Threads take turns: one call at a time. A call within a call is a UsageError. What interrupts a call in its middle,
    as a signal may, closes the connection; the next call has a new one.
    Raises UsageError for a factory, `authenticate` or `close` that cannot be called, and for no credentials.
    """

    def __init__(
        self,
        factory: Callable[[], C],
        authenticate: Callable[..., object],
        credentials: Credentials,
        *,
        close: Callable[[C], object] | None = None,
        restore: Callable[[C], object] | None = None,
        limit: float | None = None,
        margin: float = 120.0,
        attempts: int = 5,
        on_event: Callable[[Event], object] | None = None,
        is_lost: Callable[[BaseException], bool] = is_gone,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        random: Callable[[], float] = _random.random,
        **options: Any,
    ) -> None:
        credentials = veil(credentials)
        _check(credentials, limit, margin, attempts, factory=factory, authenticate=authenticate)
        _check_callable(close=close, restore=restore, on_event=on_event)
        self._keeper: Keeper[C] = Keeper(
            factory,
            authenticate,
            credentials,
            ask=resolve,
            close=close,
            restore=restore,
            is_lost=is_lost,
            limit=limit,
            margin=margin,
            most=attempts,
            on_event=on_event,
            clocks=Clocks(clock, monotonic, sleep, random),
            options=options,
        )
        self._lock = threading.Lock()
        self._owner: int | None = None

    def call(self, function: Callable[[C], T], *, repeat: bool | Callable[[], bool] = False) -> T:
        """Return what a function returns for a connection that is logged in.

        Where the session is lost meanwhile and `repeat` is true, or returns true then, the function is called again
        with a new connection. Else the library's error leaves, and the next call has a new connection. In POP3 it
        leaves also where a call came before that may not be repeated: marks for deletion are gone.
        Raises what the function raises, what `log_in` does, and NotRestored.
        """
        result: T = self._perform(self._keeper.call(function, repeat))
        return result

    def select(self, mailbox: str = "INBOX", *, readonly: bool = False) -> Any:
        """Select a mailbox (IMAP), and so on each new connection; return what the library's own select returns.

        A call that selects another one in its own way has the session forget this one. Raises UsageError where the
        session knows no way to select, as on streams: `restore` is for that.
        """
        return self._perform(self._keeper.select(mailbox, readonly))

    def enable(self, *extensions: str) -> Any:
        """Enable extensions (RFC 5161), and so on each new connection, before a mailbox is selected."""
        return self._perform(self._keeper.enable(extensions))

    def send(
        self,
        sender: str,
        recipients: Sequence[str],
        message: bytes | str | Message,
        *,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
    ) -> dict[str, tuple[int, bytes]]:
        """Send a message over SMTP as smtplib's sendmail() does, at most once; return who was refused.

        A session that is lost before the message's final dot is connected anew and the message sent on that. One that
        is lost after it raises DeliveryUnknown: whether the message was taken, nobody can tell.
        """
        delivery = Delivery(sender, recipients, message, mail_options, rcpt_options)
        found: dict[str, tuple[int, bytes]] = self._perform(self._keeper.send(delivery))
        return found

    @property
    def deadline(self) -> datetime | None:
        """When the session ends, in UTC: with its token or with the provider's limit. None where nobody knows.

        It is a time of the wall clock, as a token's is. `spare` looks at the monotonic clock as well, so that neither a
        clock that is set back nor a machine that was asleep makes a session late.
        """
        return self._keeper.deadline

    def spare(self) -> float:
        """Return the seconds until the next call would have a new connection: how long an IDLE may last.

        It is 0 once it would, and infinite where nobody knows when the session ends, and where there is none.
        """
        return self._keeper.spare()

    @property
    def mailbox(self) -> Mailbox | None:
        """What the session has selected."""
        return self._keeper.state.mailbox

    def leave(self) -> None:
        """End the session as the protocol wants it; in POP3, delete what is marked. A call after it connects again.

        Raises what the library does where a POP3 server may not have deleted.
        """
        self._perform(self._keeper.leave())

    def close(self) -> None:
        """Close the connection at once. A call after it connects again."""
        self._perform(self._keeper.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _traceback: TracebackType | None) -> None:
        if kind is None:
            self.leave()
        else:
            self.close()

    def log_in(self) -> C:
        """Return a connection that is logged in and is the caller's: the session does not keep it.

        Raises what `with_new_token`, `factory` and `authenticate` do, and PolicyViolation where the connection leads
        to another server than the first one did.
        """
        conn: C = self._perform(self._keeper.log_in())
        return conn

    @contextmanager
    def connected(self) -> Iterator[C]:
        """Log in as `log_in` does, and close the connection at the end."""
        conn = self.log_in()
        try:
            yield conn
        except BaseException:
            perform(self._keeper.close_another(conn, quiet=True))
            raise
        perform(self._keeper.close_another(conn, quiet=False))

    def _perform(self, steps: Steps[Any]) -> Any:
        me = threading.get_ident()
        if self._owner == me:
            raise UsageError(_A_CALL_WITHIN)
        with self._lock:
            self._owner = me
            try:
                return perform(steps)
            finally:
                self._owner = None


@final
class AsyncSession(Generic[C]):
    """A session with a server over an asynchronous library: `Session`, with calls that are awaited.

    `factory`, `close`, `restore`, `sleep` and the functions that are called may be coroutine functions or not. A token
    source that blocks is better given in `sasl.adapters.tokens.threaded.Threaded`. Tasks take turns. A task that is
    cancelled in the middle of a call has closed the connection when that leaves; one that is cancelled while the
    session connects leaves it as it was. A factory that is cancelled closes what it has opened.
    """

    def __init__(
        self,
        factory: Callable[[], Awaitable[C] | C],
        authenticate: Callable[..., Awaitable[object]],
        credentials: Credentials,
        *,
        close: Callable[[C], object] | None = None,
        restore: Callable[[C], object] | None = None,
        limit: float | None = None,
        margin: float = 120.0,
        attempts: int = 5,
        on_event: Callable[[Event], object] | None = None,
        is_lost: Callable[[BaseException], bool] = is_gone,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = pause,
        random: Callable[[], float] = _random.random,
        **options: Any,
    ) -> None:
        credentials = veil(credentials)
        _check(credentials, limit, margin, attempts, factory=factory, authenticate=authenticate)
        _check_callable(close=close, restore=restore, on_event=on_event)
        self._keeper: Keeper[C] = Keeper(
            factory,
            authenticate,
            credentials,
            ask=resolve_async,
            close=close,
            restore=restore,
            is_lost=is_lost,
            limit=limit,
            margin=margin,
            most=attempts,
            on_event=on_event,
            clocks=Clocks(clock, monotonic, sleep, random),
            options=options,
        )
        self._lock: Any = None
        self._running: object = None

    async def call(self, function: Callable[[C], Awaitable[T] | T], *, repeat: bool | Callable[[], bool] = False) -> T:
        """Return what a function returns for a connection that is logged in: see `Session.call`."""
        result: T = await self._perform(self._keeper.call(function, repeat))
        return result

    async def select(self, mailbox: str = "INBOX", *, readonly: bool = False) -> Any:
        """Select a mailbox (IMAP), and so on each new connection: see `Session.select`."""
        return await self._perform(self._keeper.select(mailbox, readonly))

    async def enable(self, *extensions: str) -> Any:
        """Enable extensions (RFC 5161), and so on each new connection."""
        return await self._perform(self._keeper.enable(extensions))

    async def send(
        self,
        sender: str,
        recipients: Sequence[str],
        message: bytes | str | Message,
        *,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
    ) -> dict[str, tuple[int, str]]:
        """Send a message over SMTP, at most once: see `Session.send`.

        aiosmtplib does not tell the DATA command from what follows it: a session that is lost in answer to it raises
        DeliveryUnknown as well.
        """
        delivery = Delivery(sender, recipients, message, mail_options, rcpt_options)
        found: dict[str, tuple[int, str]] = await self._perform(self._keeper.send(delivery))
        return found

    @property
    def deadline(self) -> datetime | None:
        """When the session ends, in UTC; None where nobody knows: see `Session.deadline`."""
        return self._keeper.deadline

    def spare(self) -> float:
        """Return the seconds until the next call would have a new connection: see `Session.spare`."""
        return self._keeper.spare()

    @property
    def mailbox(self) -> Mailbox | None:
        """What the session has selected."""
        return self._keeper.state.mailbox

    async def leave(self) -> None:
        """End the session as the protocol wants it: see `Session.leave`."""
        await self._perform(self._keeper.leave())

    async def close(self) -> None:
        """Close the connection at once. A call after it connects again."""
        await self._perform(self._keeper.close())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _error: object, _traceback: TracebackType | None
    ) -> None:
        if kind is None:
            await self.leave()
        else:
            await self.close()

    async def log_in(self) -> C:
        """Return a connection that is logged in and is the caller's: see `Session.log_in`."""
        conn: C = await self._perform(self._keeper.log_in())
        return conn

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[C]:
        """Log in as `log_in` does, and close the connection at the end."""
        conn = await self.log_in()
        try:
            yield conn
        except BaseException:
            await perform_async(self._keeper.close_another(conn, quiet=True))
            raise
        await perform_async(self._keeper.close_another(conn, quiet=False))

    async def _perform(self, steps: Steps[Any]) -> Any:
        if self._running is not None and self._running in _RUNNING.get():
            raise UsageError(_A_CALL_WITHIN)
        if self._lock is None:
            self._lock = new_lock()
        async with self._lock:
            self._running = object()
            before = _RUNNING.set((*_RUNNING.get(), self._running))
            try:
                return await perform_async(steps)
            finally:
                self._running = None
                _RUNNING.reset(before)


def with_new_token(credentials: Credentials, attempt: Callable[[Credentials], T]) -> T:
    """Return what `attempt` returns: it logs in with credentials whose token is at hand, on a connection of its own.

    After a refusal that a new token may cure it is called once more, with the token that the source gives instead.
    Raises what `attempt` raises; TokenError if there is no token. If there is no second one, that is the source's
    TokenError where it says what helps (`retryable`, `needs_user`), and the refusal where it does not, or where the
    source has nothing newer than what was refused. The other one is its `__cause__`.
    """
    result: T = perform(_attempts(credentials, partial(_step, attempt), resolve))
    return result


async def with_new_token_async(credentials: Credentials, attempt: Callable[[Credentials], Awaitable[T]]) -> T:
    """Do what `with_new_token` does, for a coroutine function, and for sources that may be asynchronous.

    One that is not is asked in the event loop, which stands still until it answers: see `resolve_async`.
    """
    result: T = await perform_async(_attempts(credentials, partial(_step, attempt), resolve_async))
    return result


def _step(attempt: Callable[[Credentials], Any], ready: Credentials) -> Steps[Any]:
    return (yield partial(attempt, ready))


def _check(credentials: object, limit: float | None, margin: float, attempts: int, **needed: object) -> None:
    for name, each in needed.items():
        if each is None:
            raise UsageError(f"{name} cannot be called: NoneType")
    _check_callable(**needed)
    if not is_credentials(credentials):
        kind = type_of(credentials)
        del credentials  # it may be a bare password
        raise UsageError(f"credentials are a Password, a Bearer, ..., not {kind}")
    if (limit is not None and not limit > 0) or not margin >= 0 or attempts < 1:
        raise UsageError("a limit is more than 0 seconds, a margin not less than 0, and attempts are at least 1")


def _check_callable(**given: object) -> None:
    for name, each in given.items():
        if each is not None and not callable(each):
            raise UsageError(f"{name} cannot be called: {type(each).__name__}")
