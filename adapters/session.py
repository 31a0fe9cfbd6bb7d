"""A login that asks for one new token, on a new connection, if the server refuses the one that it was given.

    session = Session(lambda: imaplib.IMAP4_SSL("imap.gmail.com"), sasl.adapters.imaplib.authenticate, credentials)
    with session.connected() as conn:
        conn.select()

Bindings never reconnect and never ask twice. This asks a second time, never a third, and only after a refusal with
`new_token_may_help`: more would lock accounts.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar, final

from sasl.credentials import Bearer
from sasl.errors import AuthenticationFailed, SASLError, TokenError, bare
from sasl.resolution import resolve, resolve_async
from sasl.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from sasl.credentials import Credentials

C = TypeVar("C")
T = TypeVar("T")


@final
class Session(Generic[C]):
    """Connects and logs in, as often as it is asked to, with a token that is good then.

    `factory` returns a new connection, under TLS where that is wanted; `authenticate` is that of a binding, and
    `options` are passed on to it. `close` closes a connection; by default it is the library's own way, for imaplib,
    poplib and smtplib and whatever has a close().
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
        finally:
            self._close(conn)

    def _attempt(self, ready: Credentials) -> C:
        conn = self._factory()
        try:
            self._authenticate(conn, ready, **self._options)
        except BaseException:
            self._close(conn)
            raise
        return conn


def with_new_token(credentials: Credentials, attempt: Callable[[Credentials], T]) -> T:
    """Return what `attempt` returns: it logs in with credentials whose token is at hand, on a connection of its own.

    After a refusal that a new token may cure it is called once more, with the token that the source gives instead.
    Raises what `attempt` raises; TokenError if there is no token. If there is no second one, that is the source's
    TokenError where it says what helps (`retryable`, `needs_user`), and the refusal where it does not, or where the
    source has nothing newer than what was refused. The other one is its `__cause__`.
    """
    if not isinstance(credentials, Bearer):
        return attempt(credentials)
    ready = resolve(credentials)
    try:
        return attempt(ready)
    except AuthenticationFailed as error:
        if not error.new_token_may_help:
            raise
        refusal = error
    newer: Bearer | SASLError
    try:
        newer = resolve(credentials, stale=_token(ready))
    except TokenError as error:
        newer = _instead(error, refusal)
    if isinstance(newer, SASLError):
        raise newer
    return attempt(newer)


async def with_new_token_async(credentials: Credentials, attempt: Callable[[Credentials], Awaitable[T]]) -> T:
    """Do what `with_new_token` does, for a coroutine function, and for sources that may be asynchronous.

    One that is not is asked in the event loop, which stands still until it answers: see `resolve_async`.
    """
    if not isinstance(credentials, Bearer):
        return await attempt(credentials)
    ready = await resolve_async(credentials)
    try:
        return await attempt(ready)
    except AuthenticationFailed as error:
        if not error.new_token_may_help:
            raise
        refusal = error
    newer: Bearer | SASLError
    try:
        newer = await resolve_async(credentials, stale=_token(ready))
    except TokenError as error:
        newer = _instead(error, refusal)
    if isinstance(newer, SASLError):
        raise newer
    return await attempt(newer)


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
    close = getattr(conn, "shutdown", None) or conn.close  # imaplib's close() closes a mailbox
    try:
        close()
    except OSError:
        pass  # it is closed already
