"""examples/postgresql_scram.py at a server that lies, breaks off, or speaks another language."""

from __future__ import annotations

import socket
import ssl
import struct
from functools import partial

import pytest

import sasl

from ..support.examples import example
from ..support.leaks import locals_of, seen, shown_by
from .conftest import LIES, PASSWORD, USER, Answers, served

EXAMPLE = example("postgresql_scram")
SASL, CONTINUE, FINAL, OK = 10, 11, 12, 0


def log_in(sock: socket.socket, password: str = PASSWORD) -> None:
    with sock.makefile("rwb") as stream:
        EXAMPLE.log_in(stream, sasl.Password(USER, password), "a_database")


def postgresql(sock: socket.socket, *, lie: str = "", octets: int = 1_000) -> None:
    """Serve one login, and say no more than so many octets."""
    left = octets

    def say(kind: bytes, body: bytes) -> None:
        nonlocal left
        part = message(kind, body)[:left]
        left -= len(part)
        sock.sendall(part)
        if not left:
            raise EOFError

    with sock.makefile("rb") as stream:

        def hear(kind: bytes = b"p") -> bytes:
            assert stream.read(len(kind)) == kind
            (size,) = struct.unpack("!I", stream.read(4))
            return stream.read(size - 4)

        assert hear(b"") == struct.pack("!I", 3 << 16) + b"user\0alice\0database\0a_database\0\0"
        say(b"R", struct.pack("!I", SASL) + b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0")
        name, _, first = hear().partition(b"\0")
        answers = Answers(name.decode(), lie=lie)
        verdict, data = answers.first(first[4:])
        while verdict is None:
            say(b"R", struct.pack("!I", CONTINUE) + (data or b""))
            verdict, data = answers.next(hear())
        if not verdict:
            say(b"E", b"SFATAL\0C28P01\0Mno such luck\0\0")
            return
        if data is not None:
            say(b"R", struct.pack("!I", FINAL) + data)
        say(b"R", struct.pack("!I", OK))
        assert stream.read() == b"", "the client goes on"


def test_the_right_password_logs_in() -> None:
    with served(postgresql) as sock:
        log_in(sock)


def test_a_wrong_password_is_refused() -> None:
    with served(postgresql) as sock, pytest.raises(sasl.AuthenticationFailed, match="no such luck") as raised:
        log_in(sock, "looking-glass")
    assert (raised.value.kind, raised.value.response_code) == ("credentials", "28P01")
    assert seen([*shown_by(raised.value), *locals_of(raised.value, everywhere=True)], "looking-glass") == []


@pytest.mark.parametrize("lie", LIES)
def test_a_server_that_has_not_the_password_is_refused_whatever_it_says(lie: str) -> None:
    with served(partial(postgresql, lie=lie)) as sock, pytest.raises(sasl.ServerNotProven):
        log_in(sock)


WHOLE = 200
"""Octets that the server says in a login."""


@pytest.mark.parametrize("octets", range(1, WHOLE))
def test_a_connection_that_ends_is_lost_wherever_it_ends(octets: int) -> None:
    with served(partial(postgresql, octets=octets)) as sock, pytest.raises((sasl.ConnectionLost, ConnectionError)):
        log_in(sock)


def test_these_were_all_the_octets_of_a_login() -> None:
    with served(partial(postgresql, octets=WHOLE)) as sock:
        log_in(sock)


@pytest.mark.parametrize(
    ("state", "error", "kind"),
    [
        (b"28P01", sasl.AuthenticationFailed, "credentials"),
        (b"28000", sasl.AuthenticationFailed, "policy"),
        (b"08P01", sasl.AuthenticationFailed, "malformed"),
        (b"57P03", sasl.TemporaryFailure, "unavailable"),
        (b"53300", sasl.TemporaryFailure, "unavailable"),
    ],
)
def test_a_refusal_says_why(state: bytes, error: type[sasl.SASLError], kind: str) -> None:
    def serve(sock: socket.socket) -> None:
        sock.recv(1_000)
        sock.sendall(message(b"R", b"\0\0\0\x0aSCRAM-SHA-256\0\0"))
        sock.recv(1_000)
        sock.sendall(message(b"E", b"SFATAL\0C%s\0Mnot you\0\0" % state))

    with served(serve) as sock, pytest.raises(error, match="not you") as raised:
        log_in(sock)
    assert (raised.value.kind, raised.value.response_code) == (kind, state.decode())


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="another protocol"),
        pytest.param(b"R\0\0\0\x04", id="no code"),
        pytest.param(b"R\0\0\0\x00", id="no size"),
        pytest.param(b"R\xff\xff\xff\xff" + bytes(70_000), id="too large"),
        pytest.param(b"N\0\0\0\x08\0\0\0\0", id="another message"),
    ],
)
def test_what_is_no_authentication_request_ends_the_login(said: bytes) -> None:
    def serve(sock: socket.socket) -> None:
        sock.recv(1_000)
        sock.sendall(said)

    with served(serve) as sock, pytest.raises(sasl.ConnectionLost):
        log_in(sock)


@pytest.mark.parametrize("code", [0, 3, 5], ids=["trust", "password", "md5"])
def test_a_server_that_asks_for_no_sasl_gets_no_password(code: int) -> None:
    def serve(sock: socket.socket) -> None:
        sock.recv(1_000)
        sock.sendall(message(b"R", struct.pack("!I", code) + b"salt"))
        assert sock.recv(1_000) == b""

    with served(serve) as sock, pytest.raises(sasl.MechanismUnavailable):
        log_in(sock)


def test_a_server_without_tls_is_left() -> None:
    def serve(sock: socket.socket) -> None:
        assert sock.recv(1_000) == bytes.fromhex("0000000804d2162f")
        sock.sendall(b"N")
        assert sock.recv(1_000) == b""

    with served(serve) as sock, pytest.raises(sasl.PolicyViolation, match="no TLS"):
        EXAMPLE.begin_tls(sock, ssl.create_default_context(), "localhost")


def test_a_name_brings_no_parameter_along() -> None:
    with served(lambda sock: None) as sock, sock.makefile("rwb") as stream, pytest.raises(sasl.UsageError, match="NUL"):
        EXAMPLE.log_in(stream, sasl.Password("alice\0replication\0on", PASSWORD), "a_database")


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body
