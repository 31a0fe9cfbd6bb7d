"""Waits on this machine for the one request that carries the answer of an authorization server (RFC 8252 section 7.3).

Why not http.server: it serves one connection after another, so that a browser's spare connection, which says nothing,
keeps the answer out, or starts a thread for each; it reads lines leniently and without an end to the time; and it logs
each request line, with the code in it. Why not h11: this is for people who sign in, and they have no extra for it. All
that is wanted is the head of one GET, so one loop reads the heads of a few connections at once, each bounded in octets
and seconds.
"""

from __future__ import annotations

import errno
import re
import selectors
import socket
from contextlib import suppress
from html import escape
from typing import TYPE_CHECKING, Any, Final, TypeVar, final
from urllib.parse import urlsplit

from sasl.errors import UsageError

from ..deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable

    T = TypeVar("T")

_MOST: Final = 16  # connections at a time
_LARGEST: Final = 65_536  # octets of a head: cookies are for a host, whatever program on it has set them
_PATIENCE: Final = 10.0  # seconds for the head of a request, from when its connection is made
_LAST: Final = 2.0  # seconds for a browser to take the page
_PULSE: Final = 0.5  # seconds: on Windows an interruption is heard only in between
_TRIES: Final = 8

_HOSTS: Final = ("127.0.0.1", "localhost", "::1")
_REQUEST: Final = re.compile(rb"([A-Z]{1,16}) (/[!-~]*) HTTP/1\.[01]")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*")
_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<h1>{title}</h1>
<p>{text}</p>
</html>
"""
_HEAD: Final = """HTTP/1.1 {status}
Content-Type: text/html; charset=utf-8
Content-Length: {length}
Content-Security-Policy: default-src 'none'
Referrer-Policy: no-referrer
X-Content-Type-Options: nosniff
Cache-Control: no-store
Connection: close

"""


@final
class _Connection:
    """A client, and what it has sent so far."""

    __slots__ = ("deadline", "head", "sock")

    def __init__(self, sock: socket.socket, patience: float) -> None:
        self.sock = sock
        self.head = bytearray()
        self.deadline = Deadline(patience)


@final
class Listener:
    """Listens at a redirect URI on this machine; to be closed, or used in a `with` block.

    `redirect_uri` is http://127.0.0.1, http://[::1] or http://localhost with a path or none, and no port: it is as it
    was registered, and the server lets any port stand there (RFC 8252 section 7.3). `port` 0 is one that is free.
    `patience` is in seconds, for the head of one request.

    Attributes:
        redirect_uri: with the port.

    Raises UsageError for another URI, OSError if the port is taken.
    """

    __slots__ = (
        "_bell",
        "_connections",
        "_host",
        "_listening",
        "_path",
        "_patience",
        "_ring",
        "_selector",
        "_taken",
        "redirect_uri",
    )

    def __init__(self, redirect_uri: str, port: int = 0, *, patience: float = _PATIENCE) -> None:
        parts = urlsplit(redirect_uri)
        bare_host = f"[{parts.hostname}]" if parts.hostname == "::1" else parts.hostname or ""
        fits = parts.scheme == "http" and parts.hostname in _HOSTS and redirect_uri == f"http://{bare_host}{parts.path}"
        if not fits or not re.fullmatch(r"(/[!-~]*)?", parts.path):
            raise UsageError(f"a redirect URI here is one of this machine without a port, not {redirect_uri!r}")
        self._listening = _listen(str(parts.hostname), port)
        self._host = f"{bare_host}:{self._listening[0].getsockname()[1]}".encode()
        self._path = (parts.path or "/").encode()
        self.redirect_uri = f"http://{self._host.decode()}{parts.path}"
        self._patience = patience
        self._connections: list[_Connection] = []
        self._taken: _Connection | None = None
        self._bell, self._ring = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        for sock in (*self._listening, self._bell):
            sock.settimeout(0)
            self._selector.register(sock, selectors.EVENT_READ)

    def __repr__(self) -> str:
        return f"<Listener at {self.redirect_uri}>"

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections, and listen no more."""
        self._stop()
        if self._taken is not None:
            self._taken.sock.close()

    def ring(self) -> None:
        """Make `wait` call its `rung` once; for another thread."""
        with suppress(OSError):  # it is closed
            self._ring.send(b"!")

    def wait(self, take: Callable[[str], T | None], seconds: float, rung: Callable[[], object]) -> T:
        """Return what `take` makes of the query of the first request that it does not return None for.

        All others get a page that says so. Then nobody is listened to any more, and `answer` answers that request; so
        does it if `take` raises. Raises TimeoutError after that many seconds, OSError if the system gives no more
        sockets.
        """
        deadline = Deadline(seconds)
        while True:
            self._drop_slow()
            for key, _ in self._selector.select(self._pause(deadline)):
                if key.fileobj is self._bell:
                    self._bell.recv(64)
                    rung()
                elif key.data is None:
                    self._accept(key.fileobj)
                elif (query := self._read(key.data)) is not None:
                    self._taken = key.data
                    taken = take(query)
                    if taken is not None:
                        self._stop()
                        return taken
                    self._taken = None
                    self._refuse(key.data, "400 Bad Request", "This is no answer to the sign-in that is under way.")

    def answer(self, title: str, text: str) -> None:
        """Answer the request that was taken, if its client is still there."""
        self._stop()
        taken, self._taken = self._taken, None
        if taken is not None:
            with suppress(OSError), taken.sock as sock:
                sock.settimeout(_LAST)
                sock.sendall(_response("200 OK", title, text))
                sock.shutdown(socket.SHUT_WR)

    def _stop(self) -> None:
        """Close everything but the connection whose request was taken."""
        for connection in self._connections:
            if connection is not self._taken:
                connection.sock.close()
        self._connections.clear()
        self._selector.close()
        for sock in (*self._listening, self._bell, self._ring):
            sock.close()

    def _pause(self, deadline: Deadline) -> float:
        return min([deadline.wait(), _PULSE, *[connection.deadline.left() for connection in self._connections]])

    def _accept(self, listening: Any) -> None:
        try:
            sock, _ = listening.accept()
        except (BlockingIOError, ConnectionError):
            return  # it has gone away
        sock.settimeout(0)
        if len(self._connections) >= _MOST:
            self._drop(self._connections[0])  # it has had the most time
        connection = _Connection(sock, self._patience)
        self._connections.append(connection)
        self._selector.register(sock, selectors.EVENT_READ, connection)

    def _read(self, connection: _Connection) -> str | None:
        """Read what has come, and return the query once a request is whole and is for the redirect URI."""
        if connection not in self._connections:
            return None  # it was dropped since it had something to say
        try:
            octets = connection.sock.recv(_LARGEST)
        except BlockingIOError:
            return None
        except OSError:
            octets = b""
        connection.head += octets
        head, end, _ = bytes(connection.head[: _LARGEST + 4]).partition(b"\r\n\r\n")
        if end:
            return self._query(connection, head)
        if len(connection.head) > _LARGEST:
            self._refuse(connection, "431 Request Header Fields Too Large", "This request is too large.")
        elif not octets or not connection.head[:1].isalpha():  # it has closed, or speaks TLS
            self._drop(connection)
        return None

    def _query(self, connection: _Connection, head: bytes) -> str | None:
        """Return the query of a request, or refuse it and return None."""
        first, *lines = head.split(b"\r\n")
        request = _REQUEST.fullmatch(first)
        fields = [_FIELD.fullmatch(line) for line in lines]
        hosts = [field[2].lower() for field in fields if field is not None and field[1].lower() == b"host"]
        if request is None or None in fields or hosts != [self._host]:  # another host: a page that rebinds its name
            self._refuse(connection, "400 Bad Request", "This is no request for this address.")
            return None
        path, _, query = request[2].partition(b"?")
        if path != self._path:
            self._refuse(connection, "404 Not Found", "There is nothing here.")
            return None
        if request[1] != b"GET":
            self._refuse(connection, "405 Method Not Allowed", "")
            return None
        return query.decode("ascii")

    def _refuse(self, connection: _Connection, status: str, text: str) -> None:
        with suppress(OSError):  # it fits into any buffer of a system; whoever is gone misses nothing
            connection.sock.send(_response(status, "Not signed in", text))
            connection.sock.shutdown(socket.SHUT_WR)
        self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        self._connections.remove(connection)
        self._selector.unregister(connection.sock)
        connection.sock.close()

    def _drop_slow(self) -> None:
        for connection in [each for each in self._connections if not each.deadline.left()]:
            self._drop(connection)


def _listen(host: str, port: int) -> list[socket.socket]:
    """Listen at an address, and at both that "localhost" is: a browser takes either."""
    if host != "localhost":
        return [socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)]
    failure = OSError()
    for _ in range(_TRIES):
        listening = [socket.create_server(("127.0.0.1", port))]
        try:
            same = listening[0].getsockname()[1]
            listening.append(socket.create_server(("::1", same), family=socket.AF_INET6))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:  # by somebody who would get the answer
                listening[0].close()
                failure = error
                continue
        return listening
    raise failure


def _response(status: str, title: str, text: str) -> bytes:
    page = _PAGE.format(title=escape(title), text=escape(text)).encode() if text else b""
    return _HEAD.format(status=status, length=len(page)).replace("\n", "\r\n").encode() + page
