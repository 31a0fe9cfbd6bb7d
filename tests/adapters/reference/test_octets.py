"""Whatever octets a client sends, a server answers in lines of its protocol and has no bug to report."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sasl
from sasl.adapters import reference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sasl.adapters.reference import Servers

WORDS = st.sampled_from(
    rb"a b * + = == . \ ( ) {3} {3+} {9999} {9999+} NIL INBOX alice AGFsaWNlAHdvbmRlcmxhbmQ= AHg= FROM:<a@b> TO:<c@d>"
    rb" PLAIN XOAUTH2 OAUTHBEARER AUTHENTICATE LOGIN LIST SELECT STATUS SEARCH UID ID AUTH USER PASS CAPA STAT EHLO"
    rb" HELO MAIL RCPT DATA RSET NOOP STARTTLS STLS QUIT LOGOUT".split(b" ")
)
LINE = st.lists(WORDS | st.binary(max_size=8), min_size=1, max_size=5).map(b" ".join)
OCTETS = st.lists(LINE | st.binary(max_size=60), max_size=12).map(b"\r\n".join)
REPLY = {
    "imap": re.compile(r"\*|\+|\S{1,64} (OK|NO|BAD) "),
    "pop": re.compile(r"\+OK|-ERR|\+ |\.\Z|[A-Z]"),
    "smtp": re.compile(r"[2345][0-9]{2}[ -]"),
}


@pytest.fixture(scope="module")
def open_servers() -> Iterator[Servers]:
    """Servers that let everybody log in without TLS, and so often as they like."""
    settings = reference.Settings(policy=sasl.Policy(plaintext="always"), failures=1_000_000)
    with reference.running(settings=settings) as servers:
        yield servers


@pytest.mark.parametrize("protocol", REPLY)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(octets=OCTETS)
def test_any_octets_are_answered_by_lines_of_the_protocol(protocol: str, octets: bytes, open_servers: Servers) -> None:
    server = getattr(open_servers, protocol)
    with socket.create_connection((server.host, server.port), timeout=10) as sock:
        sock.sendall(octets + b"\r\n")
        sock.shutdown(socket.SHUT_WR)
        said = b""
        while chunk := receive(sock):
            said += chunk
    assert b"Something is wrong here" not in said
    for line in said.decode().removesuffix("\r\n").split("\r\n"):
        assert not line or REPLY[protocol].match(line), line


def receive(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65_536)
    except ConnectionError:
        return b""
