"""Scripted servers on loopback: real sockets, each in a thread, that say what a test wrote and keep what they hear.

A script is a list of turns (expected line, answer). The expected line is without CRLF, None for any; in IMAP "{tag}"
stands for the tag of the client's last command in both. An answer is octets, several of them, or one of the words
below. A line that was not expected ends the connection and fails the test.
"""

from __future__ import annotations

import base64
import contextlib
import imaplib
import poplib
import smtplib
import socket
import ssl
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest
import trustme

import sasl
import sasl.adapters.imaplib
import sasl.adapters.poplib
import sasl.adapters.smtplib
from sasl import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

HANG: Final = "hang"
"""Never answer."""
CLOSE: Final = "close"
"""End the connection."""
TLS: Final = "tls"
"""Begin TLS."""
DRIP: Final = "drip"
"""Say one octet each 20 milliseconds that ends no line, for five seconds."""

Turn = tuple[bytes | None, Any]


def b64(data: bytes | str) -> bytes:
    return base64.b64encode(data.encode() if isinstance(data, str) else data)


class Server:
    """Takes one connection and follows its script.

    Attributes:
        port: where.
        received: the client's lines, without CRLF.
        turns: the script; may be filled in until the client connects.
    """

    def __init__(self, greeting: bytes, turns: list[Turn], context: ssl.SSLContext, *, tls: bool) -> None:
        self.received: list[bytes] = []
        self.turns = turns
        self._greeting = greeting
        self._context = context
        self._tls = tls
        self._failure: BaseException | None = None
        self._stopped = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def heard(self) -> list[bytes]:
        """All that the client sent, once it has closed the connection or the script is over."""
        self._thread.join(5)
        assert not self._thread.is_alive(), "the client did not close the connection"
        return self.received

    def stop(self) -> None:
        self._stopped.set()
        self._listening.close()
        self._thread.join(5)
        assert not self._thread.is_alive()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            self._listening.settimeout(5)
            sock, _ = self._listening.accept()
            with contextlib.ExitStack() as stack:
                stack.callback(lambda: self._sock.close())
                self._sock = sock
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # tickets of TLS are 40 ms otherwise
                self._sock.settimeout(5)
                if self._tls:
                    self._start_tls()
                self._follow()
        except (ConnectionError, ssl.SSLError):
            pass  # the client went away
        except OSError as error:
            if not self._stopped.is_set():
                self._failure = error
        except BaseException as error:
            self._failure = error

    def _start_tls(self) -> None:
        self._sock = self._context.wrap_socket(self._sock, server_side=True)
        self._buffer = b""

    _buffer = b""

    def _follow(self) -> None:
        self._sock.sendall(self._greeting)
        tag = b""
        for expected, answer in [*self.turns, (b"", None)]:
            line = self._line()
            if line is None:
                return
            self.received.append(line)
            if b" " in line:
                tag = line.split(b" ")[0]
            if expected is not None:
                wanted = expected.replace(b"{tag}", tag)
                assert line == wanted, f"the client sent {line!r}, not {wanted!r}"
            for part in answer if isinstance(answer, list) else [answer]:
                if part == CLOSE:
                    return
                if part == HANG:
                    self._stopped.wait(5)
                    return
                if part == DRIP:
                    for _ in range(250):
                        if self._stopped.wait(0.02):
                            break
                        self._sock.sendall(b"x")
                    return
                if part == TLS:
                    self._start_tls()
                else:
                    self._sock.sendall(part.replace(b"{tag}", tag))

    def _line(self) -> bytes | None:
        while b"\r\n" not in self._buffer:
            octets = self._sock.recv(65_536)
            if not octets:
                assert not self._buffer, f"the client sent half a line: {self._buffer!r}"
                return None
            self._buffer += octets
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line


@dataclass(frozen=True)
class Speech:
    """How one protocol says it, and the library that speaks it."""

    name: str
    library: ModuleType
    binding: ModuleType
    greeting: bytes
    auth: bytes
    yes: bytes
    no: bytes
    temporary: bytes
    cancelled: bytes
    bye: bytes
    noop: Turn
    prompt: bytes
    returned: object
    refused: type[Exception]
    error: type[Exception]
    lost: type[Exception]
    prefix: str

    def offer(self, *mechanisms: str, extra: tuple[str, ...] = ()) -> list[Turn]:
        """The turn in which the server says what it can do."""
        raise NotImplementedError

    def challenge(self, data: bytes) -> bytes:
        return self.prompt + b64(data) + b"\r\n"

    def command(self, mechanism: str, initial: bytes | None = None) -> bytes:
        """The command line, with the initial response if there is one."""
        argument = b"" if initial is None else b" " + (b64(initial) or b"=")
        return self.auth + mechanism.encode() + argument

    def connect(self, port: int, context: ssl.SSLContext | None = None, module: ModuleType | None = None) -> Any:
        """A connection of the library's, or of `module`'s; over TLS if there is a context."""
        raise NotImplementedError

    def close(self, conn: Any) -> None:
        raise NotImplementedError

    def is_closed(self, conn: Any) -> bool:
        raise NotImplementedError

    def error_named(self, name: str) -> type[sasl.SASLError]:
        """The binding's class for an error of ours."""
        error: type[sasl.SASLError] = getattr(self.binding, self.prefix + name)
        return error


class _Imap(Speech):
    def offer(self, *mechanisms: str, extra: tuple[str, ...] = ("SASL-IR",)) -> list[Turn]:
        listed = " ".join(["IMAP4rev1", *extra, *(f"AUTH={name}" for name in mechanisms)])
        return [(b"{tag} CAPABILITY", f"* CAPABILITY {listed}\r\n".encode() + b"{tag} OK done\r\n")]

    def connect(self, port: int, context: ssl.SSLContext | None = None, module: ModuleType | None = None) -> Any:
        module = module or imaplib
        if context is None:
            return module.IMAP4("127.0.0.1", port)
        return module.IMAP4_SSL("127.0.0.1", port, ssl_context=context)

    def close(self, conn: Any) -> None:
        conn.state = "LOGOUT"
        conn.shutdown()

    def is_closed(self, conn: Any) -> bool:
        return bool(conn.state == "LOGOUT" and conn.sock.fileno() == -1)


class _Pop(Speech):
    def offer(self, *mechanisms: str, extra: tuple[str, ...] = ("USER",)) -> list[Turn]:
        lines = ["+OK these", *extra, *(["SASL " + " ".join(mechanisms)] if mechanisms else []), ".", ""]
        return [(b"CAPA", "\r\n".join(lines).encode())]

    def connect(self, port: int, context: ssl.SSLContext | None = None, module: ModuleType | None = None) -> Any:
        module = module or poplib
        if context is None:
            return module.POP3("127.0.0.1", port)
        return module.POP3_SSL("127.0.0.1", port, context=context)

    def close(self, conn: Any) -> None:
        conn.close()

    def is_closed(self, conn: Any) -> bool:
        return conn.sock is None


class _Smtp(Speech):
    def offer(self, *mechanisms: str, extra: tuple[str, ...] = ("SIZE 1000",)) -> list[Turn]:
        lines = ["250-mx.example", *(f"250-{line}" for line in extra)]
        if mechanisms:
            lines.append("250-AUTH " + " ".join(mechanisms))
        return [(b"ehlo client.example", "\r\n".join([*lines, "250 HELP", ""]).encode())]

    def connect(self, port: int, context: ssl.SSLContext | None = None, module: ModuleType | None = None) -> Any:
        module = module or smtplib
        if context is None:
            return module.SMTP("127.0.0.1", port, "client.example")
        return module.SMTP_SSL("127.0.0.1", port, "client.example", context=context)

    def close(self, conn: Any) -> None:
        conn.close()

    def is_closed(self, conn: Any) -> bool:
        return conn.sock is None


SPEECHES: Final = {
    "imap": _Imap(
        name="imap",
        library=imaplib,
        binding=sasl.adapters.imaplib,
        greeting=b"* OK ready\r\n",
        auth=b"{tag} AUTHENTICATE ",
        yes=b"{tag} OK [CAPABILITY IMAP4rev1 AFTER] Logged in\r\n",
        no=b"{tag} NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)\r\n",
        temporary=b"{tag} NO [UNAVAILABLE] Try later\r\n",
        cancelled=b"{tag} BAD Cancelled\r\n",
        bye=b"* BYE Session expired, please login again.\r\n",
        noop=(b"{tag} NOOP", b"{tag} OK nothing\r\n"),
        prompt=b"+ ",
        returned=("OK", [b"[CAPABILITY IMAP4rev1 AFTER] Logged in"]),
        refused=imaplib.IMAP4.error,
        error=imaplib.IMAP4.error,
        lost=imaplib.IMAP4.abort,
        prefix="IMAP",
    ),
    "pop": _Pop(
        name="pop",
        library=poplib,
        binding=sasl.adapters.poplib,
        greeting=b"+OK ready\r\n",
        auth=b"AUTH ",
        yes=b"+OK Logged in.\r\n",
        no=b"-ERR [AUTH] Invalid credentials\r\n",
        temporary=b"-ERR [SYS/TEMP] Try later\r\n",
        cancelled=b"-ERR Cancelled\r\n",
        bye=b"",
        noop=(b"NOOP", b"+OK\r\n"),
        prompt=b"+ ",
        returned=b"+OK Logged in.",
        refused=poplib.error_proto,
        error=poplib.error_proto,
        lost=poplib.error_proto,
        prefix="POP",
    ),
    "smtp": _Smtp(
        name="smtp",
        library=smtplib,
        binding=sasl.adapters.smtplib,
        greeting=b"220 mx.example ESMTP\r\n",
        auth=b"AUTH ",
        yes=b"235 2.7.0 Accepted\r\n",
        no=b"535-5.7.8 Username and Password not accepted.\r\n535 5.7.8 See https://help.example\r\n",
        temporary=b"454 4.7.0 Try later\r\n",
        cancelled=b"501 5.7.0 Cancelled\r\n",
        bye=b"421 4.7.0 Closing\r\n",
        noop=(b"noop", b"250 ok\r\n"),
        prompt=b"334 ",
        returned=(235, b"2.7.0 Accepted"),
        refused=smtplib.SMTPAuthenticationError,
        error=smtplib.SMTPException,
        lost=smtplib.SMTPServerDisconnected,
        prefix="SMTP",
    ),
}


@pytest.fixture(params=list(SPEECHES))
def speech(request: pytest.FixtureRequest) -> Speech:
    """Each protocol in turn."""
    return SPEECHES[request.param]


@pytest.fixture
def imap() -> Speech:
    return SPEECHES["imap"]


@pytest.fixture
def pop() -> Speech:
    return SPEECHES["pop"]


@pytest.fixture
def smtp() -> Speech:
    return SPEECHES["smtp"]


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def client_context(authority: trustme.CA) -> ssl.SSLContext:
    """A context of a client that trusts the scripted servers."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


class Stage:
    """Makes a server and a connection to it, and closes both at the end of the test."""

    def __init__(self, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
        self.client_context = client_context
        self._server_context = server_context
        self._stack = contextlib.ExitStack()

    def serve(self, speech: Speech, turns: list[Turn], *, tls: bool = True, greeting: bytes | None = None) -> Server:
        greeting = speech.greeting if greeting is None else greeting
        server = Server(greeting, turns, self._server_context, tls=tls)
        self._stack.callback(server.stop)
        return server

    def play(
        self,
        speech: Speech,
        turns: list[Turn],
        *,
        tls: bool = True,
        module: ModuleType | None = None,
        greeting: bytes | None = None,
    ) -> tuple[Any, Server]:
        """Return a connection and the server that it leads to."""
        server = self.serve(speech, turns, tls=tls, greeting=greeting)
        return self.connect(speech, server, tls=tls, module=module), server

    def connect(self, speech: Speech, server: Server, *, tls: bool = True, module: ModuleType | None = None) -> Any:
        conn = speech.connect(server.port, self.client_context if tls else None, module)
        self._stack.callback(self._close, speech, conn)
        return conn

    def keep(self, close: Callable[[], object]) -> None:
        """Call something at the end."""
        self._stack.callback(close)

    def end(self) -> None:
        self._stack.close()

    @staticmethod
    def _close(speech: Speech, conn: Any) -> None:
        if not speech.is_closed(conn):
            with contextlib.suppress(OSError):
                speech.close(conn)


@pytest.fixture
def stage(server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> Iterator[Stage]:
    stage = Stage(server_context, client_context)
    try:
        yield stage
    finally:
        stage.end()


@pytest.fixture
def mechanism(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Registers a client script as a mechanism for this test."""

    def register(script: Callable[..., Any], name: str = "X-TEST", *, client_first: bool = True) -> str:
        row = sasl.Mechanism(name, script, None, sasl.Password, client_first=client_first, plaintext=False, rank=90)
        monkeypatch.setitem(registry._registered, name, row)
        return name

    return register
