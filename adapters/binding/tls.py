"""A library's starttls(), made safe: nothing in the clear is taken for what was said under TLS."""

from __future__ import annotations

import ssl
from functools import partial
from socket import MSG_PEEK
from ssl import create_default_context

from sasl.errors import ConnectionLost, PolicyViolation, SASLError
from sasl.typed import TYPE_CHECKING, cast

from ..wire.text import octets_of, one_line, text_of
from .clock import Flood, like, limit_time, socket_of
from .dialogue import READ
from .errors import explain_foreign, is_raised_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike
    from ssl import SSLContext, SSLSocket
    from typing import Any, Final, TypeAlias, TypeVar

    from .dialogue import Dialogue
    from .login import Library

    Path: TypeAlias = str | bytes | PathLike[str] | PathLike[bytes]
    C = TypeVar("C")
    T = TypeVar("T")

NOT_OFFERED: Final = "the server does not offer STARTTLS"
TLS_IS_OFFERED: Final = "; it offers STARTTLS: begin TLS first"
"""What is added to an error that says that nobody can log in on a connection without TLS."""


def begin_tls(
    library: Library[C, Any],
    conn: C,
    context: SSLContext | None,
    start: Callable[[SSLContext], T],
    explain: Callable[[Exception, bool], SASLError | None],
    *,
    leftover: Callable[[Any], bool] | None = None,
) -> T:
    """Return what a library's starttls() returns, which `start` calls with the context that it is given.

    Without a context, it is one that checks the server's certificate. Where `leftover` tells of octets in the clear
    behind the server's reply, nothing begins. A server that begins no TLS is an error of ours and of the library's:
    `explain` turns the library's own errors into ours, with whether the server had said yes by then. What TLS itself
    raises, SSLError, leaves as it is, and so does what the caller's context raises, or a method that is overridden;
    the connection is closed then.
    """
    waits = partial(leftover or has_unread, conn)
    checked = _CheckedContext(client_context(context), waits, partial(library.close, conn))
    failure: SASLError | None = None
    cut = True
    try:
        with limit_time(conn, None):
            return start(cast("SSLContext", checked))
    except SASLError as error:
        failure, cut = error, isinstance(error, ConnectionLost | Flood)
    except Exception as error:
        if not isinstance(error, ssl.SSLError) and (not checked.failed or is_raised_in("ssl", error)):
            failure = explain(error, checked.begun)
            cut = failure is None or isinstance(failure, ConnectionLost)
            failure = failure or explain_foreign(error, library.errors)
        if failure is None:
            library.close(conn)
            raise
    except BaseException:
        library.close(conn)
        raise
    dialogue = library.dialogue(conn)
    if cut:
        library.close(conn)
    raise library.errors.translate(failure, dialogue)


def client_context(context: SSLContext | None, certfile: Path | None = None, keyfile: Path | None = None) -> SSLContext:
    """Return a caller's context, or one that checks the server's certificate.

    It shows the client's own one, if there is a file with it; Python 3.11 has these arguments, and says that they are
    deprecated. Raises ValueError for both.
    """
    if certfile is None and keyfile is None:
        return context or create_default_context()
    if context is not None:
        raise ValueError("a context and certfile or keyfile are mutually exclusive")
    if certfile is None:
        raise ValueError("certfile must be specified")
    import warnings

    warnings.warn("keyfile and certfile are deprecated, use a context instead", DeprecationWarning, stacklevel=3)
    context = create_default_context()
    context.load_cert_chain(certfile, keyfile)
    return context


class _CheckedContext:
    """Stands in for an SSLContext in a library's starttls(), between the server's reply and the handshake.

    Whatever fails closes the connection, which is of no use then: octets in the clear behind the reply as well, which
    somebody put there (CVE-2011-0411).

    Attributes:
        begun: whether the server has said yes, so that all that follows is TLS's.
        failed: whether the context has raised.
    """

    def __init__(self, context: SSLContext, leftover: Callable[[], bool], close: Callable[[], object]) -> None:
        self.begun = False
        self.failed = False
        self._context = context
        self._leftover = leftover
        self._close = close

    def wrap_socket(self, sock: Any, **settings: Any) -> SSLSocket:
        """Begin TLS, as SSLContext.wrap_socket does."""
        self.begun = True
        try:
            if self._leftover():
                raise PolicyViolation("octets in the clear follow the server's reply to STARTTLS (CVE-2011-0411)")
            self.failed = True
            secured = self._context.wrap_socket(socket_of(sock), **settings)
            self.failed = False
        except BaseException:
            self._close()
            raise
        return cast("SSLSocket", like(secured, sock))


def hint_at_tls(dialogue: Dialogue, conn: Any) -> None:
    """Note that a server offers STARTTLS on a connection without TLS: what stands in a login's way may be just that."""
    if not isinstance(socket_of(conn.sock), ssl.SSLSocket):
        dialogue.hint = TLS_IS_OFFERED


def no_tls(said: bytes | str) -> PolicyViolation:
    """Return the error for a server that refuses STARTTLS, with its line, or what the library says in a str."""
    error = PolicyViolation(f"the server refuses STARTTLS: {one_line(text_of(octets_of(said)))}")
    if isinstance(said, bytes):
        error.server_text = one_line(text_of(said))
    return error


def has_unread(conn: Any) -> bool:
    """Whether octets wait for a connection: in the buffer of its `file`, if it has one, or below it. Takes none."""
    return bool(read_ahead(conn))


def read_ahead(conn: Any) -> bytes:
    """Return what waits for a connection, without waiting for it: it stays there, in the buffer of its `file`.

    Under TLS, a session ticket alone is nothing. TLS does not look ahead: without a `file`, what waits is taken.
    """
    sock, reader = conn.sock, vars(conn).get("file")  # Python 3.14's imaplib has none
    if reader is not None and not hasattr(reader, "peek"):
        return b""  # somebody reads in his own way: nobody can tell
    before = sock.gettimeout()
    sock.settimeout(0)
    try:
        octets: bytes = _peek(socket_of(sock)) if reader is None else reader.peek(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return b""
    finally:
        sock.settimeout(before)
    return octets


def _peek(sock: Any) -> bytes:
    octets: bytes = sock.recv(READ, 0 if isinstance(sock, ssl.SSLSocket) else MSG_PEEK)
    return octets
