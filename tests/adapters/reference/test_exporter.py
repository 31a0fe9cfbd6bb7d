"""tls-exporter at the reference servers, with pyOpenSSL's clients, which have it of their own."""

from __future__ import annotations

import contextlib
import gc
import logging
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import OpenSSL.SSL
import pytest

import sasl
from sasl.adapters import reference
from sasl.adapters.channel_binding import bindings, exporter, version_of
from sasl.adapters.reference.certificates import ServerContext

from ...support.protocols import PROTOCOLS
from ...support.tls import servers_have_no_exporter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sasl.adapters.reference import Endpoint, Servers

    Open = Callable[..., "Line"]

ALICE = sasl.Password("alice", "wonderland")
TLS_1_2, TLS_1_3 = OpenSSL.SSL.TLS1_2_VERSION, OpenSSL.SSL.TLS1_3_VERSION
FIRST = {"imap": b"n NOOP\r\n", "pop": b"NOOP\r\n", "smtp": b"EHLO me\r\n"}
"""A command whose answer shows that the server, too, is through with the handshake."""
STARTTLS = {"imap": b"s STARTTLS\r\n", "pop": b"STLS\r\n", "smtp": b"STARTTLS\r\n"}

DESCRIPTORS = Path("/dev/fd")

pytestmark = pytest.mark.skipif(not DESCRIPTORS.exists(), reason="without it there is no key log to read")


class Line:
    """A client's connection, line by line."""

    def __init__(self, tls: OpenSSL.SSL.Connection) -> None:
        self.tls = tls

    def read(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            line += self.tls.recv(1)
        return line

    def begin(self, protocol: str, over: str) -> None:
        """Read what comes before the first command, and give one."""
        if over == "TLS":
            self.read()
        self.tls.sendall(FIRST[protocol])
        while self.read()[3:4] == b"-" and protocol == "smtp":
            pass


@pytest.fixture
def connect() -> Iterator[Open]:
    """connect(endpoint, "STARTTLS", version=TLS_1_2) -> Line, after the handshake."""
    with contextlib.ExitStack() as stack:

        def connected(
            server: Endpoint,
            over: str = "TLS",
            *,
            version: int = TLS_1_3,
            name: bytes | None = b"localhost",
            resumed: Line | None = None,
            suite: str | None = None,
        ) -> Line:
            sock = socket.create_connection(
                (server.host, server.tls_port if over == "TLS" else server.port), timeout=10
            )
            stack.callback(sock.close)
            if over == "STARTTLS":
                with sock.makefile("rb") as lines:
                    lines.readline()
                    sock.sendall(STARTTLS[server.protocol])
                    lines.readline()
            sock.settimeout(None)  # pyOpenSSL knows no other
            context = resumed.tls.get_context() if resumed else OpenSSL.SSL.Context(OpenSSL.SSL.TLS_METHOD)
            if not resumed:
                context.set_max_proto_version(version)
            if suite is not None:
                context.set_tls13_ciphersuites(suite.encode("ascii"))
            tls = OpenSSL.SSL.Connection(context, sock)
            if resumed is not None:
                session = resumed.tls.get_session()
                assert session is not None
                tls.set_session(session)
            if name is not None:
                tls.set_tlsext_host_name(name)
            tls.set_connect_state()
            tls.do_handshake()
            line = Line(tls)
            line.begin(server.protocol, over)
            return line

        yield connected


def log_in(line: Line, protocol: str, mechanism: str, found: dict[str, bytes]) -> Any:
    """Log in by a mechanism with these bindings; return the wire."""
    channel = sasl.Channel(tls=True, service=protocol, bindings=found, tls_version=version_of(line.tls))
    exchange = sasl.client(mechanism, ALICE, channel=channel)
    options = {"capabilities": ["SASL-IR"]} if protocol == "imap" else {}
    wire = PROTOCOLS[protocol].wire.ClientWire(exchange, **options)
    line.tls.sendall(wire.command().octets)
    while not wire.done:
        answer = wire.receive(line.read())
        if answer is not None:
            line.tls.sendall(answer.octets)
    return wire


def session_of(server: Endpoint) -> Any:
    return server.sessions[-1]


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


# --- logins


@pytest.mark.parametrize("name", [b"localhost", None], ids=["SNI", "no SNI"])
@pytest.mark.parametrize("over", ["TLS", "STARTTLS"])
def test_a_client_that_has_the_exporter_binds_by_itself(
    protocol: str, over: str, name: bytes | None, servers: Servers, connect: Open
) -> None:
    server = getattr(servers, protocol)
    line = connect(server, over, name=name)
    found = bindings(line.tls)
    session = session_of(server)
    channel = sasl.Channel(tls=True, bindings=found, tls_version="TLSv1.3")
    choice = sasl.choose(session.offered, ALICE, channel=channel)

    assert choice.name == "SCRAM-SHA3-512-PLUS"
    assert list(choice.channel.bindings) == ["tls-exporter"]
    assert log_in(line, protocol, choice.name, dict(choice.channel.bindings)).error is None
    assert [(each.mechanism, each.outcome) for each in session.attempts] == [(choice.name, "accepted")]


def test_both_ends_have_the_same_bindings(servers: Servers, connect: Open) -> None:
    line = connect(servers.imap)
    assert dict(session_of(servers.imap).channel.bindings) == bindings(line.tls)
    assert list(bindings(line.tls)) == ["tls-exporter", "tls-server-end-point"]
    assert session_of(servers.imap).channel.default_binding == "tls-exporter"


def test_the_certificate_will_do_by_request(protocol: str, servers: Servers, connect: Open) -> None:
    server = getattr(servers, protocol)
    line = connect(server)
    found = {"tls-server-end-point": bindings(line.tls)["tls-server-end-point"]}
    assert log_in(line, protocol, "SCRAM-SHA-256-PLUS", found).error is None


@pytest.mark.parametrize(
    ("mechanism", "found", "reason"),
    [
        ("SCRAM-SHA-256", None, "server-does-support-channel-binding"),  # the flag is "y"
        ("SCRAM-SHA-256-PLUS", {"tls-exporter": b"e" * 32}, "channel-bindings-dont-match"),
    ],
    ids=["y", "another connection's"],
)
def test_what_a_man_in_the_middle_would_bring_about_is_refused(
    *, protocol: str, mechanism: str, found: dict[str, bytes] | None, reason: str, servers: Servers, connect: Open
) -> None:
    server = getattr(servers, protocol)
    line = connect(server)
    wire = log_in(line, protocol, mechanism, found or bindings(line.tls))
    assert (wire.error.kind, wire.error.detail) == ("policy", {"error": reason})
    assert session_of(server).attempts[-1].reason == reason


def test_before_tls_1_3_there_is_no_exporter(servers: Servers, connect: Open) -> None:
    line = connect(servers.imap, version=TLS_1_2)
    assert list(session_of(servers.imap).channel.bindings) == ["tls-unique", "tls-server-end-point"]
    assert "tls-exporter" not in bindings(line.tls)


# --- whose secrets


def test_connections_that_begin_together_do_not_share_their_secrets(servers: Servers, connect: Open) -> None:
    begun = []
    for _ in range(5):  # the handshakes are under way, and wait for their clients
        sock = socket.create_connection((servers.imap.host, servers.imap.tls_port))
        tls = OpenSSL.SSL.Connection(OpenSSL.SSL.Context(OpenSSL.SSL.TLS_METHOD), None)
        tls.set_connect_state()
        with contextlib.suppress(OpenSSL.SSL.WantReadError):
            tls.do_handshake()
        sock.sendall(tls.bio_read(65_536))
        tls.bio_write(sock.recv(65_536))
        begun.append((sock, tls, session_of(servers.imap)))
    for sock, tls, _ in reversed(begun):
        while True:
            try:
                tls.do_handshake()
                break
            except OpenSSL.SSL.WantReadError:
                tls.bio_write(sock.recv(65_536))
        sock.sendall(tls.bio_read(65_536))
        while True:
            try:
                assert tls.recv(4).startswith(b"* OK")
                break
            except OpenSSL.SSL.WantReadError:
                tls.bio_write(sock.recv(65_536))
    sessions = list(servers.imap.sessions)[-5:]
    theirs = {exporter(tls) for _, tls, _ in begun}
    assert {session.channel.bindings["tls-exporter"] for session in sessions} == theirs
    assert len(theirs) == 5
    for sock, _, _ in begun:
        sock.close()


def test_a_session_that_goes_on_has_an_exporter_of_its_own(servers: Servers, connect: Open) -> None:
    first = connect(servers.imap)
    second = connect(servers.imap, resumed=first)
    assert session_of(servers.imap).connection.ssl_object.session_reused
    assert session_of(servers.imap).channel.bindings["tls-exporter"] == exporter(second.tls) != exporter(first.tls)


def test_a_handshake_that_the_server_begins_again_has_one_exporter(monkeypatch: Any, connect: Open) -> None:
    """By a HelloRetryRequest (RFC 8446 section 4.1.4): the client has guessed another group."""
    make = reference.servers.server_context

    def with_another_group(*how: Any, **more: Any) -> Any:
        context = make(*how, **more)
        context.set_ecdh_curve("secp521r1")
        return context

    monkeypatch.setattr(reference.servers, "server_context", with_another_group)
    with reference.running() as servers:
        line = connect(servers.imap)
        assert session_of(servers.imap).channel.bindings["tls-exporter"] == exporter(line.tls)


@pytest.mark.parametrize("suite", ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"])
def test_the_hash_is_the_cipher_suites(suite: str, servers: Servers, connect: Open) -> None:
    if not hasattr(OpenSSL.SSL.Context, "set_tls13_ciphersuites"):
        pytest.skip("this pyOpenSSL cannot choose one")
    line = connect(servers.imap, suite=suite)
    assert line.tls.get_cipher_name() == suite
    assert session_of(servers.imap).channel.bindings["tls-exporter"] == exporter(line.tls)


# --- what is left of the key log


def test_nothing_is_left_of_the_key_log(connect: Open, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with reference.running() as servers:
        connect(servers.imap)
        before = descriptors()
        for version in (TLS_1_2, TLS_1_3) * 3:
            line = connect(servers.imap, version=version)
            context = session_of(servers.imap).connection.ssl_object.context
            assert context.keylog_filename is None
            assert isinstance(context, ServerContext)
            line.tls.sock_shutdown(socket.SHUT_RDWR)
        assert descriptors() <= before + 2 * 6, "each connection has two ends"
    assert "EXPORTER_SECRET" not in caplog.text
    assert "/dev/fd" not in caplog.text


def test_who_goes_away_in_the_handshake_leaves_nothing_open(servers: Servers, connect: Open) -> None:
    connect(servers.imap)
    gc.collect()
    before = descriptors()
    for _ in range(10):
        with socket.create_connection((servers.imap.host, servers.imap.tls_port)) as sock:
            tls = OpenSSL.SSL.Connection(OpenSSL.SSL.Context(OpenSSL.SSL.TLS_METHOD), None)
            tls.set_connect_state()
            with contextlib.suppress(OpenSSL.SSL.WantReadError):
                tls.do_handshake()
            sock.sendall(tls.bio_read(65_536))
            assert sock.recv(1)
    line = connect(servers.imap)  # by now the server has seen the others go
    assert session_of(servers.imap).channel.bindings["tls-exporter"] == exporter(line.tls)
    gc.collect()
    assert descriptors() <= before + 4


def descriptors() -> int:
    return len(list(DESCRIPTORS.iterdir()))


# --- servers without


def broken_pipe() -> Any:
    raise OSError(24, "too many open files")


@pytest.mark.parametrize("why", ["no descriptors", "no /dev/fd", "no key log", "nothing in it"])
def test_without_key_log_a_server_has_no_exporter_and_says_so(
    why: str, servers: Servers, connect: Open, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    if why == "no descriptors":
        monkeypatch.setattr(reference.exporter, "_KeyLog", lambda _: broken_pipe())
    elif why == "no /dev/fd":
        monkeypatch.setattr(reference.exporter, "_FOLDER", "/nowhere")
    elif why == "no key log":  # as in an ssl that knows no such attribute
        monkeypatch.setattr(ServerContext, "keylog_filename", "", raising=False)
    else:
        monkeypatch.setattr(reference.exporter, "_WANTED", "ANOTHER_SECRET")
    line = connect(servers.imap)
    session = session_of(servers.imap)
    assert list(session.channel.bindings) == ["tls-server-end-point"]
    assert not [name for name in session.offered if name.endswith("-PLUS")]
    assert "no tls-exporter at the server: " in caplog.text
    assert log_in(line, "imap", "SCRAM-SHA-256", bindings(line.tls)).error is None  # by "y"


def test_a_certificate_that_is_gone_is_none_for_the_next_handshakes(connect: Open) -> None:
    with reference.running() as servers:
        (servers.ca_file.parent / "server.key").unlink()
        connect(servers.imap)
        assert list(session_of(servers.imap).channel.bindings) == ["tls-server-end-point"]


def test_a_context_of_the_callers_has_no_exporter(connect: Open) -> None:
    with servers_have_no_exporter(), reference.running() as servers:
        line = connect(servers.imap)
        assert list(session_of(servers.imap).channel.bindings) == ["tls-server-end-point"]
        assert log_in(line, "imap", "SCRAM-SHA-256", bindings(line.tls)).error is None


def test_no_third_party_package_is_needed() -> None:
    assert not {"OpenSSL", "cryptography"} & set(vars(sys.modules["sasl.adapters.reference.exporter"]))
