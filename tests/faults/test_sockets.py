"""The same cuts on real sockets, at some offsets: the end of a connection, a reset, and junk, with and without TLS."""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import struct
import threading
from typing import TYPE_CHECKING, Any, Final

import pytest
import trustme

import sasl
from sasl.adapters.cli import main

from .conftest import PASSWORD, PROTOCOLS, USER, connect, log_in
from .peer import CLOSE, GARBAGE, JUNK, PEER, RESET, TAG, Dialogue, Fault, Secured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EVENTS: Final = (CLOSE, RESET, GARBAGE)
TIMEOUT: Final = 60.0  # seconds, of which none is waited for


class Server:
    """Replays a dialogue on each connection, up to a fault. Knows the lines by their number, not by what they say."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.dialogue: Dialogue | None = None
        self.fault: Fault | None = None
        self.heard = b""
        self._context = context
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(TIMEOUT)
        self.port: int = self._listening.getsockname()[1]
        self._over = threading.Event()
        self._idle = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def plays(self, dialogue: Dialogue, fault: Fault | None) -> None:
        """What to do on the next connection."""
        self.dialogue, self.fault, self.heard = dialogue, fault, b""
        self._idle.clear()

    def done(self) -> bytes:
        """What the client sent on the last connection, once that is over."""
        assert self._idle.wait(TIMEOUT), "the connection is not over"
        return self.heard

    def stop(self) -> None:
        self._over.set()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            pass
        self._thread.join(TIMEOUT)
        self._listening.close()
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        while True:
            sock, _ = self._listening.accept()
            if self._over.is_set():
                sock.close()
                return
            sock.settimeout(TIMEOUT)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or each small write waits 40 ms for the last
            with contextlib.suppress(OSError):
                self._play(sock)
            self._idle.set()

    def _play(self, raw: socket.socket) -> None:
        assert self.dialogue is not None
        sock = raw if self._context is None else self._context.wrap_socket(raw, server_side=True)
        fault, said, tags = self.fault, 0, (b"tag", b"tag")
        with sock, contextlib.suppress(ssl.SSLError):
            for recorded, answer in self.dialogue.turns:
                line = self._line(sock) if recorded else b""
                if tag := TAG.match(recorded):
                    tags = tag[1], line.partition(b" ")[0]
                if fault is not None and fault.direction == "client" and len(self.heard) >= fault.offset:
                    self._fail(sock, fault)
                    return
                octets = answer.replace(*tags)
                if fault is not None and fault.direction == "server" and said + len(octets) > fault.offset:
                    sock.sendall(octets[: fault.offset - said])
                    self._fail(sock, fault)
                    return
                sock.sendall(octets)
                said += len(octets)
            while more := sock.recv(4096):  # the client goes
                self.heard += more

    def _line(self, sock: socket.socket) -> bytes:
        line = b""
        while not line.endswith(b"\r\n"):
            fault = self.fault
            if fault is not None and fault.direction == "client" and len(self.heard) >= fault.offset:
                break
            octet = sock.recv(1)
            if not octet:
                raise ConnectionError
            line += octet
            self.heard += octet
        return line

    @staticmethod
    def _fail(sock: socket.socket, fault: Fault) -> None:
        if fault.event == GARBAGE:
            sock.sendall(JUNK)
        if fault.event == RESET:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Addressed(Secured):
    """A real socket that says where the dialogues were recorded, because OAUTHBEARER does, and under which TLS."""

    def __init__(self, sock: socket.socket, dialogue: Dialogue) -> None:
        self._sock = sock
        self.certificate = dialogue.certificate

    def getpeername(self) -> tuple[str, int]:
        return PEER

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def tls_server(authority: trustme.CA) -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = Server(context)
    try:
        yield server
    finally:
        server.stop()


def samples(dialogues: dict[str, Dialogue], count: int, *, whole: bool = False) -> Iterator[tuple[Dialogue, Fault]]:
    """Some cuts of some dialogues, the same in each run; in the login, or from the greeting on."""
    choice = random.Random(20_05)
    names = sorted(dialogues)
    for number in range(count):
        dialogue = dialogues[names[number * 7 % len(names)]]
        sent, said = (0, 0) if whole else dialogue.before(dialogue.command)
        direction = ("server", "client")[number % 2]
        first, last = (said, len(dialogue.server)) if direction == "server" else (sent, len(dialogue.client))
        yield dialogue, Fault(EVENTS[number % 3], direction, choice.randrange(first, last))


def attempt(
    server: Server, dialogue: Dialogue, fault: Fault | None, wrap: Callable[[socket.socket], socket.socket]
) -> tuple[str, BaseException | None]:
    """Log in over a real socket; return the name of our error, "" for a login, and the error."""
    protocol = PROTOCOLS[dialogue.protocol]
    server.plays(dialogue, fault)
    sock = wrap(socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT))
    conn = connect(dialogue, Addressed(sock, dialogue))
    name, error = "", None
    try:
        log_in(dialogue, conn)
    except sasl.SASLError as raised:
        error = raised
        name = next(base.__name__ for base in type(error).__mro__ if base.__module__ == "sasl.errors")
    closed, believed = protocol.is_closed(conn), protocol.is_logged_in(conn)
    if not closed:
        protocol.close(conn)
    sock.close()
    if name:
        assert type(error) is protocol.error_named(name)
        assert isinstance(error, protocol.error)
        assert closed or name == "AuthenticationFailed"
        assert not believed
    return name, error


def allowed(dialogue: Dialogue, fault: Fault) -> set[str]:
    """What may become of it. A reset may overtake what was said before, so it is not always one result."""
    lost = {"ConnectionLost", "AuthenticationFailed"} if dialogue.explained else {"ConnectionLost"}
    return lost | {"ProtocolError", "AuthenticationFailed", ""} if fault.event == GARBAGE else lost


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_a_cut_on_a_real_socket_is_a_documented_error_and_the_next_login_works(
    dialogues: dict[str, Dialogue], server: Server, tls_server: Server, authority: trustme.CA, *, tls: bool
) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)

    def wrap(sock: socket.socket) -> socket.socket:
        return context.wrap_socket(sock, server_hostname="127.0.0.1") if tls else sock

    peer = tls_server if tls else server
    for dialogue, fault in samples(dialogues, len(dialogues)):
        name, error = attempt(peer, dialogue, fault, wrap)
        assert name in allowed(dialogue, fault), f"{dialogue}: {fault}: {error!r}"
        assert peer.done().count(dialogue.sent) <= 1, f"{dialogue}: {fault}"
        assert attempt(peer, dialogue, None, wrap)[0] == dialogue.verdict, f"{dialogue}: after {fault}"
        peer.done()


def test_the_command_line_has_an_exit_code_for_each_cut_and_none_is_a_bug(
    dialogues: dict[str, Dialogue],
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From the greeting on: what the libraries raise there is translated by the command line."""
    monkeypatch.setenv("SECRET", PASSWORD)
    plain = {name: dialogue for name, dialogue in dialogues.items() if name.endswith("-PLAIN-right")}
    for dialogue, fault in samples(plain, 60, whole=True):
        server.plays(dialogue, fault)
        url = f"{dialogue.protocol}://{USER.replace('@', '%40')}@127.0.0.1:{server.port}"
        plaintext = ("--allow-plaintext", "--no-starttls")
        code = main(["login", url, "--password-env", "SECRET", "--timeout", str(TIMEOUT), *plaintext])
        assert code in (0, 69, 74, 76) if fault.event == GARBAGE else code == 74, f"{dialogue}: {fault}: {code}"
        assert server.done().count(dialogue.sent) <= 1
        assert "Traceback" not in capsys.readouterr().err
