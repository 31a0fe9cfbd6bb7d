"""examples/ldap_bind.py and examples/ldap3_login.py at a directory that lies, breaks off, or does not speak LDAP."""

from __future__ import annotations

import socket
from functools import partial
from typing import Any

import pytest
from pyasn1.codec.ber.decoder import decode
from pyasn1.error import PyAsn1Error

import sasl

from ..support.examples import example, library
from .conftest import LIES, PASSWORD, USER, Answers, listening, served

BIND = example("ldap_bind")
LDAP3 = example("ldap3_login")
ldap3 = library("ldap3")

SEQUENCE, INTEGER, OCTETS, ENUMERATED = b"\x30", b"\x02", b"\x04", b"\x0a"
BIND_REQUEST, BIND_RESPONSE, UNBIND, SEARCH, ENTRY, SEARCH_DONE = b"\x60", b"\x61", b"\x42", b"\x63", b"\x64", b"\x65"
SASL_CREDENTIALS = b"\x87"
NAME = "SCRAM-SHA-256"


def ber(tag: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    assert len(content) < 256
    return tag + (bytes([len(content)]) if len(content) < 128 else bytes([0x81, len(content)])) + content


def response(number: bytes, code: int, data: bytes | None, text: bytes = b"") -> bytes:
    given = b"" if data is None else ber(SASL_CREDENTIALS, data)
    result = (ber(ENUMERATED, bytes([code])), ber(OCTETS), ber(OCTETS, text))
    return ber(SEQUENCE, number, ber(BIND_RESPONSE, *result, given))


def directory(sock: socket.socket, *, lie: str = "", octets: int = 1_000) -> None:
    """Serve one login, and say no more than so many octets."""
    left = octets
    answers: Answers | None = None
    verdict: bool | None = None

    def say(message: bytes) -> None:
        nonlocal left
        sock.sendall(message[:left])
        left -= len(message)
        if left <= 0:
            raise EOFError

    with sock.makefile("rb") as stream:
        while head := stream.read(2):
            long = stream.read(head[1] & 0x7F) if head[1] > 0x80 else b""
            body = stream.read(int.from_bytes(long) if long else head[1])
            number, operation = body[: 2 + body[1]], body[2 + body[1] :]
            assert not (lie and verdict), "the client goes on"
            if operation[:1] == UNBIND:
                return
            if operation[:1] == SEARCH:
                values = ber(b"\x31", ber(OCTETS, NAME.encode()))
                attribute = ber(SEQUENCE, ber(OCTETS, b"supportedSASLMechanisms"), values)
                say(ber(SEQUENCE, number, ber(ENTRY, ber(OCTETS), ber(SEQUENCE, attribute))))
                say(ber(SEQUENCE, number, ber(SEARCH_DONE, ber(ENUMERATED, b"\0"), ber(OCTETS), ber(OCTETS))))
                continue
            request, _ = decode(head + long + body, asn1Spec=BIND.REQUEST)
            credentials = request["operation"]["sasl"]
            said = bytes(credentials["credentials"])
            if answers is None:
                answers = Answers(str(credentials["mechanism"]), lie=lie)
                verdict, data = answers.first(said)
            else:
                verdict, data = answers.next(said)
            say(response(number, {None: 14, True: 0, False: 49}[verdict], data, b"no such luck"))


def by_pyasn1(sock: socket.socket, password: str = PASSWORD) -> None:
    with sock.makefile("rwb") as stream:
        BIND.bind(stream, [NAME], sasl.Password(USER, password))


def by_ldap3(port: int, password: str = PASSWORD) -> Any:
    connection = ldap3.Connection(ldap3.Server("127.0.0.1", port, get_info=ldap3.NONE), receive_timeout=10)
    try:
        assert LDAP3.log_in(connection, sasl.Password(USER, password))
    except sasl.SASLError:
        assert (connection.bound, connection.closed) == (False, True)
        raise
    connection.unbind()


def test_the_right_password_binds() -> None:
    with served(directory) as sock:
        by_pyasn1(sock)
    with listening(directory) as port:
        by_ldap3(port)


def test_a_wrong_password_does_not_bind() -> None:
    with served(directory) as sock, pytest.raises(sasl.AuthenticationFailed, match="no such luck") as raised:
        by_pyasn1(sock, "looking-glass")
    assert (raised.value.kind, raised.value.response_code) == ("credentials", "49")
    with listening(directory) as port, pytest.raises(sasl.AuthenticationFailed, match="no such luck") as raised:
        by_ldap3(port, "looking-glass")
    assert (raised.value.kind, raised.value.response_code) == ("credentials", "invalidCredentials")


@pytest.mark.parametrize("lie", LIES)
def test_a_server_that_has_not_the_password_is_refused_whatever_it_says(lie: str) -> None:
    with served(partial(directory, lie=lie)) as sock, pytest.raises(sasl.ServerNotProven):
        by_pyasn1(sock)
    with listening(partial(directory, lie=lie)) as port, pytest.raises(sasl.ServerNotProven):
        by_ldap3(port)


LOST = (sasl.ConnectionLost, ConnectionError, PyAsn1Error)
WHOLE = 186
"""Octets that the server says in a bind."""


@pytest.mark.parametrize("octets", range(1, WHOLE))
def test_a_connection_that_ends_is_lost_wherever_it_ends(octets: int) -> None:
    with served(partial(directory, octets=octets)) as sock, pytest.raises(LOST):
        by_pyasn1(sock)


def test_these_were_all_the_octets_of_a_bind() -> None:
    with served(partial(directory, octets=WHOLE)) as sock:
        by_pyasn1(sock)


@pytest.mark.parametrize(
    ("code", "error", "kind"),
    [
        (2, sasl.AuthenticationFailed, "malformed"),
        (7, sasl.AuthenticationFailed, "unsupported"),
        (8, sasl.AuthenticationFailed, "policy"),
        (13, sasl.AuthenticationFailed, "policy"),
        (49, sasl.AuthenticationFailed, "credentials"),
        (50, sasl.AuthorizationFailed, "authorization"),
        (51, sasl.TemporaryFailure, "unavailable"),
        (80, sasl.TemporaryFailure, "unavailable"),
    ],
)
def test_a_refusal_says_why(code: int, error: type[sasl.SASLError], kind: str) -> None:
    def serve(sock: socket.socket) -> None:
        sock.recv(1_000)
        sock.sendall(response(ber(INTEGER, b"\x01"), code, None, b"not you"))

    with served(serve) as sock, pytest.raises(error, match="not you") as raised:
        by_pyasn1(sock)
    assert (raised.value.kind, raised.value.response_code) == (kind, str(code))


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="another protocol"),
        pytest.param(response(ber(INTEGER, b"\x02"), 0, None), id="an answer to another message"),
        pytest.param(ber(SEQUENCE, ber(INTEGER, b"\0"), ber(b"\x78", ber(ENUMERATED, b"\x34"))), id="a notice"),
        pytest.param(ber(SEQUENCE, ber(INTEGER, b"\x01"), ber(BIND_RESPONSE)), id="no result"),
    ],
)
def test_what_is_no_answer_to_a_bind_ends_the_login(said: bytes) -> None:
    def serve(sock: socket.socket) -> None:
        sock.recv(1_000)
        sock.sendall(said)

    with served(serve) as sock, pytest.raises(LOST):
        by_pyasn1(sock)
