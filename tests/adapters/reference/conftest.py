"""What the tests of the reference servers share: running servers, a client of raw octets, dialogues as text."""

from __future__ import annotations

import contextlib
import logging
import socket
from typing import TYPE_CHECKING, Any

import pytest

from sasl.adapters import binding, reference

from ...support.protocols import PROTOCOLS, b64

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from sasl.adapters.reference import Endpoint, Servers

TIMEOUT = 10.0


class Raw:
    """A client that sends what it is told and reads lines."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.lines = sock.makefile("rb")

    def send(self, octets: bytes) -> None:
        self.sock.sendall(octets)

    def line(self) -> str:
        """The next line without its end; an empty one at the end of the connection."""
        try:
            line = self.lines.readline()
        except ConnectionError:
            return ""
        assert line.endswith(b"\r\n") or not line, line
        return line.decode().removesuffix("\r\n")

    def rest(self) -> list[str]:
        """All lines to the end of the connection."""
        return list(iter(self.line, ""))

    def start_tls(self, context: ssl.SSLContext) -> None:
        self.lines.close()
        self.sock = context.wrap_socket(self.sock, server_hostname="127.0.0.1")
        self.lines = self.sock.makefile("rb")

    def close(self) -> None:
        self.lines.close()
        self.sock.close()

    def play(self, script: str, context: ssl.SSLContext | None = None) -> None:
        """Hold a dialogue.

        "C: line" is sent, "S: line" must come, "S: beginning..." must come so; "T:" is a TLS handshake, "E:" the
        end of the connection. A line that ends in a blank is written with "~" behind it.
        """
        for entry in filter(None, map(str.strip, script.splitlines())):
            who, _, text = entry.partition(":")
            text = text.removeprefix(" ").removesuffix("~").format(**MESSAGES)
            if who == "C":
                self.send(text.encode() + b"\r\n")
            elif who == "S" and text.endswith("..."):
                line = self.line()
                assert line.startswith(text.removesuffix("...")), entry
                assert line, entry
            elif who == "S":
                assert self.line() == text, entry
            elif who == "T":
                assert context is not None
                self.start_tls(context)
            else:
                assert who == "E"
                assert self.line() == "", entry


def plain(authcid: str, password: str, authzid: str = "") -> str:
    return b64(f"{authzid}\0{authcid}\0{password}").decode()


MESSAGES = {
    "good": plain("alice", "wonderland"),
    "wrong": plain("alice", "looking-glass"),
    "nobody": plain("mallory", "wonderland"),
    "as_bob": plain("alice", "wonderland", "bob"),
    "long": "A" * 100_000,
    "unicode": "\u0430lice",
}


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with reference.running() as running:
        yield running


@pytest.fixture(scope="session")
def _mail() -> Iterator[Servers]:
    with reference.running({"alice": "wonderland", "bob": "builder"}) as running:
        yield running


@pytest.fixture
def mail(_mail: Servers) -> Iterator[Servers]:
    """Servers for alice and bob, with no mail yet."""
    yield _mail
    _mail.call(_mail._backend.outbox.clear)
    _mail.call(_mail._backend.accounts.clear)


@pytest.fixture(scope="session")
def context(servers: Servers) -> ssl.SSLContext:
    return servers.client_context()


@pytest.fixture
def connect() -> Iterator[Callable[..., Raw]]:
    """connect(servers, "imap", "TLS") -> Raw. Over "STARTTLS" the greeting has been read, else not."""
    with contextlib.ExitStack() as stack:

        def connected(servers: Servers, protocol: str, over: str = "TLS", context: ssl.SSLContext | None = None) -> Raw:
            server = getattr(servers, protocol)
            context = context or servers.client_context()
            port = server.tls_port if over == "TLS" else server.port
            sock = stack.enter_context(socket.create_connection((server.host, port), timeout=TIMEOUT))
            if over == "TLS":
                sock = stack.enter_context(context.wrap_socket(sock, server_hostname=server.host))
            raw = Raw(sock)
            stack.callback(raw.close)
            if over == "STARTTLS":
                raw.play(STARTTLS[protocol], context)
            return raw

        yield connected


def library(server: Endpoint, over: str, context: ssl.SSLContext) -> contextlib.AbstractContextManager[Any]:
    """The standard library's client, connected over TLS, STARTTLS or in the clear."""
    described = PROTOCOLS[server.protocol].described()
    secured = {"TLS": {"tls": context}, "STARTTLS": {"starttls": context}}.get(over, {})
    port = server.tls_port if over == "TLS" else server.port
    return binding.connect(described, server.host, port, timeout=TIMEOUT, **secured)


@pytest.fixture(scope="session")
def client() -> Callable[..., contextlib.AbstractContextManager[Any]]:
    """client(server, "TLS", context) as conn: one of the standard library's."""
    return library


STARTTLS = {
    "imap": "S: * OK ...\nC: s STARTTLS\nS: s OK Begin TLS\nT:",
    "pop": "S: +OK ...\nC: STLS\nS: +OK Begin TLS\nT:",
    "smtp": "S: 220 ...\nC: STARTTLS\nS: 220 2.0.0 Begin TLS\nT:",
    "lmtp": "S: 220 ...\nC: STARTTLS\nS: 220 2.0.0 Begin TLS\nT:",
}


TOKENS = {"good": "good-token", "expired": "expired-token", "revoked": "revoked-token"}


@pytest.fixture(scope="module")
def module_servers() -> Iterator[Servers]:
    with reference.running(tokens=TOKENS) as servers:
        yield servers


@pytest.fixture
def watched(module_servers: Servers) -> Iterator[Servers]:
    """Servers whose journal is empty, and without faults."""
    module_servers.call(module_servers._backend.journal.clear)
    yield module_servers
    module_servers.faults.clear()


@pytest.fixture(autouse=True)
def _nothing_goes_wrong_unseen(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No test leaves a task with an exception that nobody saw, which asyncio would log; nor a bug, which we would."""
    caplog.set_level(logging.DEBUG)
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
