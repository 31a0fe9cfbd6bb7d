"""A server that is a recording: it replays a dialogue octet by octet and fails where a test says.

Nonces are the same in each login (`repeated` in conftest.py), so that what the mechanisms prove is the same as well.
`Recorder` listens in on a real login; `Peer` is a socket without a kernel that plays the server's part again, so that
a login can be cut after each octet of either direction in a fraction of a millisecond, and stalls without waiting.
"""

from __future__ import annotations

import errno
import io
import os
import re
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOSE: Final = "close"
RESET: Final = "reset"
STALL: Final = "stall"
GARBAGE: Final = "garbage"
EVENTS: Final = (CLOSE, RESET, STALL, GARBAGE)

JUNK: Final = b"\xff\x01\x1b[31m {=}\r\n"
"""What a server says that has lost its mind: no line of any protocol, and none that base64 would make sense of."""

PEER: Final = ("127.0.0.1", 4)

TAG: Final = re.compile(rb"(S[0-9a-f]{16}|[A-P]{4}[0-9]+) ")
_MOST_CALLS: Final = 25  # on a connection that has failed: whoever asks more often asks for ever


@dataclass(frozen=True)
class Dialogue:
    """What was said: the greeting, then the client's lines, each with what the server said to it.

    `verdict` is how it ends ("" for a login, or the name of an error), `sent` how the credential looks on the wire, or
    the proof that was made of it. `certificate` is the server's and `shown` the client's, DER, where it was said under
    TLS.
    """

    name: str
    protocol: str
    mechanism: str
    turns: tuple[tuple[bytes, bytes], ...]  # the first has no line
    verdict: str
    sent: bytes
    options: dict[str, Any] = field(default_factory=dict, compare=False)
    certificate: bytes | None = None
    shown: bytes | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def client(self) -> bytes:
        """All that the client sends."""
        return b"".join(line for line, _ in self.turns)

    @property
    def server(self) -> bytes:
        """All that the server sends."""
        return b"".join(answer for _, answer in self.turns)

    def before(self, turn: int) -> tuple[int, int]:
        """How many octets client and server have sent when a turn begins."""
        return tuple(sum(len(turn[side]) for turn in self.turns[:turn]) for side in (0, 1))  # type: ignore[return-value]

    @property
    def command(self) -> int:
        """The turn whose line begins the login."""
        return next(turn for turn, (line, _) in enumerate(self.turns) if _LOGIN.search(line))

    @property
    def explained(self) -> tuple[int, int] | None:
        """After how many octets of client and server the client has an error challenge; None if there is none."""
        if self.verdict != "AuthenticationFailed" or self.mechanism not in ("XOAUTH2", "OAUTHBEARER"):
            return None
        client, server = self.before(len(self.turns) - 1)
        return client, server


_LOGIN: Final = re.compile(rb"^(?:\S+ )?(?:AUTHENTICATE|AUTH|LOGIN|USER|APOP) ")


@dataclass(frozen=True)
class Fault:
    """What happens to a connection after so many octets of one direction ("client" or "server")."""

    event: str
    direction: str
    offset: int

    def __str__(self) -> str:
        return f"{self.event} after {self.offset} octets of the {self.direction}"


_LONG: Final = 400  # octets
_SAMPLES: Final = (3, 7)
"""How far apart in a short dialogue and in a long one. Neither has anything in common with the four letters that base64
makes of three octets, so that all places in such a group are met."""


_ALL: Final = os.environ.get("SASLKIT_CUTS") == "all"
"""Whether nothing is a sample: `tox -e changes` sets it; every run would take a minute more."""


def step(dialogue: Dialogue) -> int:
    """How far apart the offsets are: more where a sample does, and still more in a long dialogue."""
    octets = len(dialogue.client) + len(dialogue.server) - sum(dialogue.before(dialogue.command))
    return 1 if _ALL else _SAMPLES[octets > _LONG]


def sampled(dialogue: Dialogue, first: int, last: int) -> range:
    """The offsets to cut at: every one, or a sample.

    What a cut comes to is the same after each octet of a message.
    """
    return range(first, last, step(dialogue))


class Stuck(BaseException):
    """A client that waits for ever: for what nobody will say, or again and again."""


class Secured:
    """Passes for a TLS socket where `certificate` is the server's: what was encrypted is as good in the clear here."""

    certificate: bytes | None = None
    session_reused = False
    context: Any = None

    @property
    def __class__(self) -> type:  # type: ignore[misc]  # isinstance() asks it
        return type(self) if self.certificate is None else ssl.SSLSocket

    def version(self) -> str:
        return "TLSv1.3"

    def getpeercert(self, binary_form: bool = False) -> bytes | None:
        assert binary_form
        return self.certificate


class Peer(Secured):
    """A socket whose other end is a recording. Fails as `fault` says, else lasts to the end of the dialogue.

    Attributes:
        sent: what the client wrote.
        closed: whether the client has closed it.
        stuck: what a client that did not come to an end was doing.
    """

    def __init__(self, dialogue: Dialogue, fault: Fault | None = None, *, pieces: Iterator[int] | None = None) -> None:
        self.certificate = dialogue.certificate
        self.sent = b""
        self.closed = False
        self.stuck = ""
        self.left_open = False
        self.believed = False
        self._turns = iter(dialogue.turns)
        self._fault = fault
        self._pieces = pieces
        self._line = b""
        self._tag = b""
        self._recorded_tag = b""
        self._said = next(self._turns)[1]
        self._read = 0
        self._struck = False
        self._calls = 0
        self._waits = True
        self._junk = JUNK if fault is not None and fault.event == GARBAGE else b""

    # --- what a library calls

    def sendall(self, octets: bytes) -> None:
        self._work("writing")
        self.sent += octets
        if self._struck:
            self._write_fails()
            return
        fault = self._fault
        if fault is not None and fault.direction == "client" and len(self.sent) > fault.offset:
            self._struck = True
            if fault.event == STALL:
                raise TimeoutError("timed out")
            if fault.event == RESET:
                raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
            return
        self._line += octets
        while b"\r\n" in self._line:
            line, _, self._line = self._line.partition(b"\r\n")
            self._answer(line + b"\r\n")

    def recv(self, size: int) -> bytes:
        self._work("reading")
        left = len(self._said) - self._read
        fault = self._fault
        if fault is not None and fault.direction == "server":
            left = min(left, fault.offset - self._read)
        size = min(size, left, next(self._pieces) if self._pieces is not None else left)
        if size > 0:
            self._read += size
            return self._said[self._read - size : self._read]
        if not self._waits and (not self._struck or (fault is not None and fault.event == STALL)):
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        if not self._struck:
            self.stuck = "waiting for what the server does not say"
            raise Stuck
        assert fault is not None
        if fault.event == STALL:
            raise TimeoutError("timed out")
        if fault.event == RESET:
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        junk, self._junk = self._junk, b""
        return junk

    def makefile(self, mode: str = "rb") -> io.BufferedReader:
        assert mode == "rb"
        return io.BufferedReader(_Reader(self))

    def getpeername(self) -> tuple[str, int]:
        return PEER

    def gettimeout(self) -> float | None:
        return None

    def settimeout(self, seconds: float | None) -> None:
        self._waits = seconds != 0

    def fileno(self) -> int:
        return -1 if self.closed else 4

    def shutdown(self, how: int) -> None:
        if self.closed or self._struck:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    def close(self) -> None:
        self.closed = True

    # --- the recording

    def _work(self, what: str) -> None:
        if self.closed:
            raise OSError(errno.EBADF, "Bad file descriptor")
        fault = self._fault
        if fault is not None and fault.direction == "server" and self._read >= fault.offset:
            self._struck = True
        if self._struck:
            self._calls += 1
            if self._calls > _MOST_CALLS:
                self.stuck = f"{what} on and on"
                raise Stuck

    def _write_fails(self) -> None:
        """The first write into a closed connection does not fail: the kernel takes it."""
        assert self._fault is not None
        if self._fault.event == RESET:
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        if self._fault.event == CLOSE and self._calls > 1:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    def _answer(self, line: bytes) -> None:
        recorded, answer = next(self._turns, (b"", b""))
        expected, given = TAG.match(recorded), TAG.match(line)
        if expected and given:
            self._recorded_tag, self._tag = expected[1], given[1]
            recorded = recorded.replace(self._recorded_tag, self._tag)
        if line != recorded:
            self.stuck = f"saying {line[:60]!r}, not {recorded[:60]!r}"
            raise Stuck
        self._said += answer.replace(self._recorded_tag, self._tag) if self._tag else answer


class _Reader(io.RawIOBase):
    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        try:
            octets = self._peer.recv(len(buffer))
        except (BlockingIOError, ssl.SSLWantReadError):
            return None  # as socket.SocketIO does
        buffer[: len(octets)] = octets
        return len(octets)


class Recorder(Secured):
    """A socket that notes what goes through it."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.certificate = sock.getpeercert(binary_form=True) if isinstance(sock, ssl.SSLSocket) else None
        self.turns: list[tuple[bytes, bytes]] = [(b"", b"")]

    def sendall(self, octets: bytes) -> None:
        self.turns.append((octets, b""))
        self._sock.sendall(octets)

    def recv(self, size: int) -> bytes:
        octets: bytes = self._sock.recv(size)
        line, said = self.turns[-1]
        self.turns[-1] = line, said + octets
        return octets

    def makefile(self, mode: str = "rb") -> io.BufferedReader:
        return io.BufferedReader(_Reader(self))  # type: ignore[arg-type]

    def getpeername(self) -> tuple[str, int]:
        return PEER  # OAUTHBEARER names the port

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)
