"""One limit for all that a connection reads and writes during a login, for libraries that read and write themselves."""

from __future__ import annotations

from contextlib import contextmanager
from io import BufferedReader

from sasl.errors import UsageError
from sasl.typed import TYPE_CHECKING

from ..deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from socket import socket
    from typing import Any, Final

_PATIENCE: Final = 10
"""How many times a connection's own time-out a login may take."""


@contextmanager
def limit_time(conn: Any, timeout: float | None) -> Iterator[None]:
    """Let all reads and writes of a connection take so many seconds together; TimeoutError is raised then.

    Without a number, each may take as long as the socket's own time-out says, and all together ten times as long.
    The connection has a `sock` and perhaps a `file`, which are replaced meanwhile.
    """
    sock = conn.sock
    own: float | None = None if sock is None else sock.gettimeout()
    if timeout is None and not own:
        yield
        return
    if sock is None:
        raise UsageError("a connection without a socket has no time-out")
    if timeout is not None and not _takes(sock, timeout):
        raise UsageError("a time-out is a number of seconds, more than 0")
    each = timeout or own or 0
    deadline = Deadline(timeout or each * _PATIENCE)

    def tick() -> None:
        sock.settimeout(min(deadline.wait(), each))

    try:
        conn.sock = _Clocked(sock, tick)
        if isinstance(vars(conn).get("file"), BufferedReader):  # Python 3.14's imaplib has none
            conn.file = _Clocked(conn.file, tick)
        yield
    finally:
        for name in ("sock", "file"):
            if isinstance(value := vars(conn).get(name), _Clocked):  # None after smtplib's and poplib's close()
                setattr(conn, name, value.inner)
        try:
            sock.settimeout(own)
        except OSError:
            pass  # closed meanwhile


class _Clocked:
    """Stands in for a connection's socket, or for its reader, so that a look at the clock comes before each wait.

    A reader that is left to itself waits anew for each octet until a line is complete: a server that sends one now
    and then holds it for ever. So it is only asked for what it has at hand, or for one read of the socket.
    """

    def __init__(self, inner: Any, tick: Callable[[], None]) -> None:
        self.inner = inner
        self._tick = tick

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def makefile(self, mode: str) -> _Clocked:  # smtplib makes one for itself
        return _Clocked(self.inner.makefile(mode), self._tick)

    def recv(self, size: int) -> bytes:
        self._tick()
        octets: bytes = self.inner.recv(size)
        return octets

    def sendall(self, octets: bytes) -> None:
        self._tick()
        self.inner.sendall(octets)

    def readline(self, size: int = -1) -> bytes:
        return self._read(size, b"\n")

    def read(self, size: int = -1) -> bytes:
        return self._read(size, None)

    def _read(self, size: int, end: bytes | None) -> bytes:
        octets = bytearray()
        while len(octets) != size and not (end and octets.endswith(end)):
            self._tick()
            at_hand = self.inner.peek(1)
            if not at_hand:
                break
            wanted = at_hand.find(end) + 1 if end else 0
            wanted = wanted or len(at_hand)
            octets += self.inner.read(wanted if size < 0 else min(wanted, size - len(octets)))
        return bytes(octets)


def _takes(sock: socket, timeout: float) -> bool:
    if not timeout > 0:  # 0 would make it non-blocking; NaN is not more than 0 either
        return False
    try:
        sock.settimeout(timeout)
    except OverflowError:
        return False
    return True
