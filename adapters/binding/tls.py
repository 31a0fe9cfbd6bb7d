"""A library's starttls(), made safe: nothing in the clear is taken for what was said under TLS."""

from __future__ import annotations

from functools import partial
from socket import MSG_PEEK
from ssl import SSLError, SSLSocket, create_default_context

from sasl.errors import ConnectionLost, PolicyViolation, SASLError
from sasl.typed import TYPE_CHECKING, cast

from ..wire.text import octets_of, one_line, text_of
from .errors import explain_socket_error, translate

if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import socket
    from ssl import SSLContext
    from typing import Any, Final, TypeVar

    from .login import Library

    C = TypeVar("C")
    T = TypeVar("T")

NOT_OFFERED: Final = "the server does not offer STARTTLS"


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
    raises, SSLError, leaves as it is.
    """
    waits = partial(leftover or has_unread, conn)
    checked = _CheckedContext(context or create_default_context(), waits, partial(library.close, conn))
    failure: SASLError | None
    try:
        return start(cast("SSLContext", checked))
    except SSLError:
        raise
    except SASLError as error:
        failure = error
    except Exception as error:
        failure = explain(error, checked.begun) or explain_socket_error(error)
        if failure is None:
            raise
    if isinstance(failure, ConnectionLost):
        library.close(conn)
    raise translate(failure, library.errors, library.arguments(library.dialogue(conn), failure))


class _CheckedContext:
    """Stands in for an SSLContext in a library's starttls(), between the server's reply and the handshake.

    Whatever fails closes the connection, which is of no use then: octets in the clear behind the reply as well, which
    somebody put there (CVE-2011-0411).

    Attributes:
        begun: whether the server has said yes, so that all that follows is TLS's.
    """

    def __init__(self, context: SSLContext, leftover: Callable[[], bool], close: Callable[[], object]) -> None:
        self.begun = False
        self._context = context
        self._leftover = leftover
        self._close = close

    def wrap_socket(self, sock: socket, **settings: Any) -> SSLSocket:
        """Begin TLS, as SSLContext.wrap_socket does."""
        self.begun = True
        try:
            if self._leftover():
                raise PolicyViolation("octets in the clear follow the server's reply to STARTTLS (CVE-2011-0411)")
            return self._context.wrap_socket(sock, **settings)
        except BaseException:
            self._close()
            raise


def no_tls(said: bytes | str) -> PolicyViolation:
    """Return the error for a server that refuses STARTTLS, with its line, or what the library says in a str."""
    error = PolicyViolation(f"the server refuses STARTTLS: {one_line(text_of(octets_of(said)))}")
    if isinstance(said, bytes):
        error.server_text = one_line(text_of(said))
    return error


def has_unread(conn: Any) -> bool:
    """Whether octets wait for a connection: in the buffer of its `file`, if it has one, or below it. Takes none."""
    sock, reader = conn.sock, vars(conn).get("file")  # Python 3.14's imaplib has none
    before = sock.gettimeout()
    sock.settimeout(0)
    try:
        return bool(sock.recv(1, MSG_PEEK) if reader is None else reader.peek(1))
    except BlockingIOError:
        return False
    finally:
        sock.settimeout(before)
