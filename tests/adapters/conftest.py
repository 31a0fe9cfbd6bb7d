"""Scripted servers on loopback: real sockets, each in a thread, that say what a test wrote and keep what they hear.

A script is a list of turns (expected line, answer). The expected line is without CRLF, None for any; in IMAP "{tag}"
stands for the tag of the client's last command in both. An answer is octets, several of them, or one of the words
below. A line that was not expected ends the connection and fails the test.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest
import trustme

import sasl
from sasl import registry
from sasl.adapters.reference import token_endpoint

from ..support.lasting import Server as LastingServer
from ..support.lasting import World, serving
from ..support.loops import LOOPS, run_strictly
from ..support.protocols import PROTOCOLS, Protocol, Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from sasl.adapters.reference.token_endpoint import TokenEndpoint

HANG: Final = "hang"
"""Never answer."""
CLOSE: Final = "close"
"""End the connection."""
TLS: Final = "tls"
"""Begin TLS."""
DRIP: Final = "drip"
"""Say one octet each 20 milliseconds that ends no line, for five seconds."""


class Server:
    """Takes one connection and follows its script.

    Attributes:
        port: where.
        received: the client's lines, without CRLF.
        turns: the script; may be filled in until the client connects.
    """

    def __init__(self, greeting: bytes | str, turns: list[Turn], context: ssl.SSLContext, *, tls: bool) -> None:
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
        if isinstance(self._greeting, str):
            self._drip()
            return
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
                    self._drip()
                    return
                if part == TLS:
                    self._start_tls()
                else:
                    self._sock.sendall(part.replace(b"{tag}", tag))

    def _drip(self) -> None:
        for _ in range(250):
            if self._stopped.wait(0.02):
                break
            self._sock.sendall(b"x")

    def _line(self) -> bytes | None:
        while b"\r\n" not in self._buffer:
            octets = self._sock.recv(65_536)
            if not octets:
                assert not self._buffer, f"the client sent half a line: {self._buffer!r}"
                return None
            self._buffer += octets
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line


@pytest.fixture(params=list(PROTOCOLS))
def speech(request: pytest.FixtureRequest) -> Protocol:
    """Each protocol in turn."""
    return PROTOCOLS[request.param]


@pytest.fixture
def imap() -> Protocol:
    return PROTOCOLS["imap"]


@pytest.fixture
def pop() -> Protocol:
    return PROTOCOLS["pop"]


@pytest.fixture
def smtp() -> Protocol:
    return PROTOCOLS["smtp"]


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

    def serve(
        self, speech: Protocol, turns: list[Turn], *, tls: bool = True, greeting: bytes | str | None = None
    ) -> Server:
        greeting = speech.greeting if greeting is None else greeting
        server = Server(greeting, turns, self._server_context, tls=tls)
        self._stack.callback(server.stop)
        return server

    def play(
        self,
        speech: Protocol,
        turns: list[Turn],
        *,
        tls: bool = True,
        module: ModuleType | None = None,
        greeting: bytes | None = None,
    ) -> tuple[Any, Server]:
        """Return a connection and the server that it leads to."""
        server = self.serve(speech, turns, tls=tls, greeting=greeting)
        return self.connect(speech, server, tls=tls, module=module), server

    def connect(self, speech: Protocol, server: Server, *, tls: bool = True, module: ModuleType | None = None) -> Any:
        conn = speech.connect(server.port, self.client_context if tls else None, module)
        self._stack.callback(self._close, speech, conn)
        return conn

    def keep(self, close: Callable[[], object]) -> None:
        """Call something at the end."""
        self._stack.callback(close)

    def end(self) -> None:
        self._stack.close()

    @staticmethod
    def _close(speech: Protocol, conn: Any) -> None:
        if not speech.is_closed(conn):
            speech.close(conn)


@pytest.fixture
def stage(server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> Iterator[Stage]:
    stage = Stage(server_context, client_context)
    try:
        yield stage
    finally:
        stage.end()


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Run a coroutine function in each loop."""
    return partial(run_strictly, request.param)


@pytest.fixture
def mechanism(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Registers a client script as a mechanism for this test."""

    def register(script: Callable[..., Any], name: str = "X-TEST", *, client_first: bool = True) -> str:
        row = sasl.Mechanism(name, script, None, sasl.Password, client_first=client_first, plaintext=False, rank=90)
        monkeypatch.setitem(registry._registered, name, row)
        return name

    return register


@pytest.fixture(scope="session")
def _token_endpoint() -> Iterator[TokenEndpoint]:
    with token_endpoint.running() as running:
        yield running


@pytest.fixture
def endpoint(_token_endpoint: TokenEndpoint) -> TokenEndpoint:
    """A token endpoint that nobody has asked yet and that works."""
    _token_endpoint.requests.clear()
    _token_endpoint.faults.clear()
    _token_endpoint.lifetime, _token_endpoint.rotates, _token_endpoint.reuse = 3_600, False, "strict"
    _token_endpoint.delay_before = _token_endpoint.delay_after = 0.0
    return _token_endpoint


@pytest.fixture
def world() -> World:
    """A time, an authority and mail of its own: see tests/support/lasting.py."""
    return World()


@pytest.fixture
def serve(world: World) -> Iterator[Callable[[str], LastingServer]]:
    """Start a server of that world for a protocol."""
    with contextlib.ExitStack() as stack:
        yield lambda protocol: stack.enter_context(serving(protocol, world))
