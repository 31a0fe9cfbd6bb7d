"""One limit in seconds, and one in octets, for all that a connection reads and writes during a call of ours.

It is for libraries that read and write themselves: they wait anew for each octet, and keep whatever comes.
"""

from __future__ import annotations

from contextlib import contextmanager
from io import BufferedReader

from sasl.errors import LimitExceeded, UsageError
from sasl.typed import TYPE_CHECKING, final

from ..deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from socket import socket
    from typing import Any, Final, TypeVar

    T = TypeVar("T", bytes, bytearray)

MOST_OCTETS: Final = 2 * 1024 * 1024
"""Octets that a server may send during one call: a login of 16 challenges of the largest size takes 1.4 MB."""
_PATIENCE: Final = 10
"""How many times a connection's own time-out a login may take."""
_PARTS: Final = ("sock", "file", "readfile")
"""Where connections of the standard library keep what they read from; `readfile` is IMAP4_stream's."""


_NO_TIMEOUT: Final = "a time-out is a number of seconds, more than 0"


class Flood(LimitExceeded):
    """The server sends more than `MOST_OCTETS` in one call: the connection is to be closed."""


@contextmanager
def limit_time(conn: Any, timeout: float | None) -> Iterator[Allowance]:
    """Let all reads and writes of a connection take so many seconds together, and all reads `MOST_OCTETS` octets.

    TimeoutError is raised then, or `Flood`. Without a number, each read or write may take as long as the socket's own
    time-out says, and all together ten times as long. The connection has a `sock` and perhaps a `file`, which are
    replaced meanwhile; within another limit this one changes nothing. Gives what is left.
    """
    sock = conn.sock
    for name in _PARTS:
        if isinstance(part := vars(conn).get(name), _Limited):
            yield part.allowance
            return
    own: float | None = None if sock is None else sock.gettimeout()
    if timeout is not None:
        _set(sock, timeout)
    allowance = Allowance(timeout, own)
    try:
        for name in _PARTS:
            part = vars(conn).get(name)  # Python 3.14's imaplib has no file
            if isinstance(part, BufferedReader) or (name == "sock" and part is not None):
                setattr(conn, name, _Limited(part, sock, allowance))
        yield allowance
    finally:
        for name in _PARTS:
            part = vars(conn).get(name)  # None after smtplib's and poplib's close(), another socket since TLS began
            if isinstance(part, _Limited):
                setattr(conn, name, part.inner)
                if name == "sock" and part.inner is not sock:
                    part.inner.settimeout(own)
        if allowance.tick is not None:
            _set_back(sock, own)


def deadline_of(timeout: float | None) -> Deadline | None:
    """Return when a time-out is over that begins now; None for none. Raises UsageError for what is no time-out."""
    if timeout is None:
        return None
    if not isinstance(timeout, int | float) or not timeout > 0:  # NaN is not more than 0 either
        raise UsageError(_NO_TIMEOUT)
    return Deadline(timeout)


def socket_of(sock: Any) -> Any:
    """Return the socket itself, which may be under a limit: TLS begins on no other."""
    return sock.inner if isinstance(sock, _Limited) else sock


def like(sock: Any, other: Any) -> Any:
    """Return a socket under the limit of another one, if that is under any: TLS begins in the middle of a call."""
    return _Limited(sock, sock, other.allowance) if isinstance(other, _Limited) else sock


@final
class Allowance:
    """What is left of a call's time and octets.

    Attributes:
        deadline: when the time is over; None where there is no limit in seconds.
        last: the last line that was read.
        left: octets.
        tick: lets a socket wait no longer than there is time, and raises TimeoutError once there is none; None where
            there is no limit in seconds.
    """

    __slots__ = ("_each", "deadline", "last", "left", "tick")

    def __init__(self, timeout: float | None, own: float | None) -> None:
        self.left = MOST_OCTETS
        self.last = b""
        self.tick: Callable[[Any], None] | None = None
        self.deadline: Deadline | None = None
        if each := timeout or own:
            self._each = each
            self.deadline = Deadline(timeout or each * _PATIENCE)
            self.tick = self._look_at_the_clock

    def spare(self) -> float:
        """Return for how many seconds something else may be waited for: half of what is left, a minute if all is."""
        return 60.0 if self.deadline is None else self.deadline.left() / 2

    def take(self, octets: T) -> T:
        """Count what was read, and return it. Raises Flood for too much."""
        self.left -= len(octets)
        if self.left < 0:
            raise Flood(f"the server sends more than {MOST_OCTETS} octets")
        return octets

    def _look_at_the_clock(self, sock: Any) -> None:
        assert self.deadline is not None  # noqa: S101 -- for mypy: a clock to look at has one
        sock.settimeout(min(self.deadline.wait(), self._each))


class _Limited:
    """Stands in for a connection's socket, or for its reader, so that a look at the clock comes before each wait.

    A reader that is left to itself waits anew for each octet until a line is complete: a server that sends one now
    and then holds it for ever. So it is only asked for what it has at hand, or for one read of the socket. Half a line
    before the end of the connection is none: to smtplib "250" is all of EHLO.
    """

    def __init__(self, inner: Any, sock: Any, allowance: Allowance) -> None:
        self.inner = inner
        self.allowance = allowance
        self._sock = sock

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def makefile(self, mode: str) -> Any:  # smtplib makes one for itself
        made = self.inner.makefile(mode)
        return _Limited(made, self._sock, self.allowance) if isinstance(made, BufferedReader) else made

    def recv(self, size: int) -> bytes:
        if self.allowance.tick is not None:
            self.allowance.tick(self._sock)
        octets: bytes = self.inner.recv(size)
        return self.allowance.take(octets)

    def sendall(self, octets: bytes) -> None:
        if self.allowance.tick is not None:
            self.allowance.tick(self._sock)
        self.inner.sendall(octets)

    def readline(self, size: int = -1) -> bytes:
        if self.allowance.tick is None and size >= 0:
            line: bytes = self.allowance.take(self.inner.readline(size))
        else:
            line = self._read(size, b"\n")
        self.allowance.last = line
        return line if line.endswith(b"\n") or len(line) == size else b""

    def read(self, size: int = -1) -> bytes:
        return self._read(size, None)

    def _read(self, size: int, end: bytes | None) -> bytes:
        octets = bytearray()
        while len(octets) != size and not (end and octets.endswith(end)):
            if self.allowance.tick is not None:
                self.allowance.tick(self._sock)
            at_hand = self.inner.peek(1)
            if not at_hand:
                break
            wanted = at_hand.find(end) + 1 if end else 0
            wanted = wanted or len(at_hand)
            octets += self.allowance.take(self.inner.read(wanted if size < 0 else min(wanted, size - len(octets))))
        return bytes(octets)


def _set_back(sock: Any, own: float | None) -> None:
    try:
        sock.settimeout(own)
    except OSError:
        pass  # closed meanwhile, or under TLS


def _set(sock: socket | None, timeout: float) -> None:
    """Set a time-out. Raises UsageError for one that a connection cannot have."""
    if sock is None:
        raise UsageError("a connection without a socket has no time-out")
    deadline_of(timeout)
    if not _takes(sock, timeout):
        raise UsageError(_NO_TIMEOUT)


def _takes(sock: socket, timeout: float) -> bool:
    try:
        sock.settimeout(timeout)
    except OverflowError:
        return False
    return True
