"""A login that asks for one new token, on a new connection, if the server refuses the one that it was given.

    session = Session(lambda: imaplib.IMAP4_SSL("imap.gmail.com"), sasl.adapters.imaplib.authenticate, credentials)
    with session.connected() as conn:
        conn.select()

Bindings never reconnect and never ask twice. This asks a second time, never a third, and only after a refusal with
`new_token_may_help`: more would lock accounts.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, final

from sasl.credentials import Bearer, is_credentials
from sasl.errors import AuthenticationFailed, SASLError, TokenError, UsageError, bare
from sasl.resolution import resolve, resolve_async
from sasl.secret import Secret

from .binding import perform, perform_async
from .binding.given import type_of, veil

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from sasl.credentials import Credentials

    from .binding.drive import Steps

C = TypeVar("C")
T = TypeVar("T")


@final
class Session(Generic[C]):
    """Connects and logs in, as often as it is asked to, with a token that is good then.

    `factory` returns a new connection, under TLS where that is wanted; `authenticate` is that of a binding, and
    `options` are passed on to it. `close` closes a connection; by default it is the library's own way: what the
    connection has of shutdown(), close(), logout() and quit(), the first of them. If a login fails, its error is what
    leaves, whatever becomes of closing.
    Raises UsageError for a factory, `authenticate` or `close` that cannot be called, and for no credentials.
    """

    def __init__(
        self,
        factory: Callable[[], C],
        authenticate: Callable[..., object],
        credentials: Credentials,
        *,
        close: Callable[[C], object] | None = None,
        **options: Any,
    ) -> None:
        credentials = veil(credentials)
        for name, value in (("factory", factory), ("authenticate", authenticate), ("close", close)):
            if not callable(value) and (value is not None or name != "close"):
                raise UsageError(f"{name} cannot be called: {type(value).__name__}")
        if not is_credentials(credentials):
            kind = type_of(credentials)
            del credentials  # it may be a bare password
            raise UsageError(f"credentials are a Password, a Bearer, ..., not {kind}")
        self._factory = factory
        self._authenticate = authenticate
        self._credentials = credentials
        self._close = close or _close
        self._options = options

    def log_in(self) -> C:
        """Return a new connection that is logged in. Raises what `with_new_token`, `factory` and `authenticate` do."""
        return with_new_token(self._credentials, self._attempt)

    @contextmanager
    def connected(self) -> Iterator[C]:
        """Log in, and close the connection at the end."""
        conn = self.log_in()
        try:
            yield conn
        except BaseException:
            self._close_after_failure(conn)
            raise
        self._close(conn)

    def _attempt(self, ready: Credentials) -> C:
        conn = self._factory()
        try:
            self._authenticate(conn, ready, **self._options)
        except BaseException:
            self._close_after_failure(conn)
            raise
        return conn

    def _close_after_failure(self, conn: C) -> None:
        """Close a connection where an error is on its way, which is worth more than that of closing."""
        try:
            self._close(conn)
        except Exception as error:
            logging.getLogger("sasl").warning("a connection cannot be closed: %s", type(error).__name__)


def with_new_token(credentials: Credentials, attempt: Callable[[Credentials], T]) -> T:
    """Return what `attempt` returns: it logs in with credentials whose token is at hand, on a connection of its own.

    After a refusal that a new token may cure it is called once more, with the token that the source gives instead.
    Raises what `attempt` raises; TokenError if there is no token. If there is no second one, that is the source's
    TokenError where it says what helps (`retryable`, `needs_user`), and the refusal where it does not, or where the
    source has nothing newer than what was refused. The other one is its `__cause__`.
    """
    result: T = perform(_attempts(credentials, attempt, resolve))
    return result


async def with_new_token_async(credentials: Credentials, attempt: Callable[[Credentials], Awaitable[T]]) -> T:
    """Do what `with_new_token` does, for a coroutine function, and for sources that may be asynchronous.

    One that is not is asked in the event loop, which stands still until it answers: see `resolve_async`.
    """
    result: T = await perform_async(_attempts(credentials, attempt, resolve_async))
    return result


def _attempts(credentials: Credentials, attempt: Callable[[Credentials], Any], ask: Callable[..., Any]) -> Steps[Any]:
    """Return the steps of one attempt to log in, or of two; `ask` resolves credentials."""
    ready = yield partial(ask, credentials)
    try:
        return (yield partial(attempt, ready))
    except AuthenticationFailed as error:
        if not (isinstance(credentials, Bearer) and error.new_token_may_help):
            raise
        refusal = error
    newer: Bearer | SASLError
    try:
        newer = yield partial(ask, credentials, stale=_token(ready))
    except TokenError as error:
        newer = _instead(error, refusal)
    if isinstance(newer, SASLError):
        raise newer
    return (yield partial(attempt, newer))


def _token(ready: Bearer) -> Secret:
    assert isinstance(ready.token, Secret)  # noqa: S101 -- for mypy: it comes from resolve()
    return ready.token


def _instead(error: TokenError, refusal: AuthenticationFailed) -> SASLError:
    """Return what to raise where there is no second token."""
    bare(refusal)
    bare(error)
    if error.code != "stale_token" and (error.retryable or error.needs_user):
        error.__cause__ = refusal
        return error
    refusal.__cause__ = error
    return refusal


def _close(conn: Any) -> None:
    for name in _CLOSERS:
        if callable(close := getattr(conn, name, None)):
            break
    else:
        raise UsageError(f"nobody knows how to close a {type(conn).__name__}: give a `close`")
    try:
        close()
    except OSError:
        pass  # it is closed already


_CLOSERS: Final = ("shutdown", "close", "logout", "quit")
"""How a connection is closed. imaplib's close() closes a mailbox; who has none of the first two takes leave."""
