"""Every octet of an authentication with Dovecot, over a bare socket: what it says, what it is answered."""

from __future__ import annotations

import base64
import json
import re
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

import sasl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .dovecot import Dovecot

GREETINGS = {"imap": b"* OK ", "pop": b"+OK ", "smtp": b"220 "}
COMMANDS = {"imap": "a AUTHENTICATE {}", "pop": "AUTH {}", "smtp": "AUTH {}"}
CAPABILITIES = re.compile(rb"(?<=^a OK )\[CAPABILITY [^]]+\] ")  # told here to a client that has not asked
CHALLENGES = {"imap": b"+ ", "pop": b"+ ", "smtp": b"334 "}
STARTTLS = {"imap": b"s STARTTLS", "pop": b"STLS", "smtp": b"STARTTLS"}
TLS_BEGINS = {
    "imap": b"s OK Begin TLS negotiation now.",
    "pop": b"+OK Begin TLS negotiation now.",
    "smtp": b"220 2.0.0 Begin TLS negotiation now.",
}
YES = {"imap": b"a OK Logged in", "pop": b"+OK Logged in.", "smtp": b"235 2.7.0 Logged in."}
NO = {
    "imap": b"a NO [AUTHENTICATIONFAILED] Authentication failed.",
    "pop": b"-ERR [AUTH] Authentication failed.",
    "smtp": b"535 5.7.8 Authentication failed.",
}
ABORTED = {
    "imap": b"a BAD Authentication aborted by client.",
    "pop": b"-ERR Authentication aborted by client.",
    "smtp": b"501 5.5.2 Authentication aborted by client.",
}
ANSWERS = {"XOAUTH2": b"", "OAUTHBEARER": b"AQ=="}
REFUSED_TOKENS = ("expired", "badsig", "other user", "not a token")

protocols = pytest.mark.parametrize("protocol", list(GREETINGS))
token_mechanisms = pytest.mark.parametrize("mechanism", list(ANSWERS))


class Wire:
    """One connection, line by line, and the transcript of it."""

    def __init__(self, connection: socket.socket, protocol: str) -> None:
        self.connection = connection
        self.protocol = protocol
        self.lines = connection.makefile("rb")
        self.transcript: list[bytes] = []

    def send(self, line: bytes) -> None:
        self.connection.sendall(line + b"\r\n")

    def reply(self) -> bytes:
        """The next line that is not IMAP's untagged data and not the beginning of an SMTP reply."""
        while True:
            line = self.lines.readline()
            assert line.endswith(b"\r\n"), line
            if line[:2] != b"* " and line[3:4] != b"-":
                return line[:-2]

    def authenticate(self, exchange: sasl.ClientExchange, *, initial: bool, cancel_at: int = 99) -> bytes:
        """Run the exchange, noting challenges and responses; return the last line."""
        message = exchange.start()
        assert message is not None
        command = COMMANDS[self.protocol].format(exchange.name).encode("ascii")
        if initial:
            command += b" " + base64.b64encode(message)
        else:
            exchange.defer()
        self.send(command)
        challenge = CHALLENGES[self.protocol]
        while (line := self.reply()).startswith(challenge):
            data = base64.b64decode(line.removeprefix(challenge), validate=True)
            response = base64.b64encode(exchange.respond(data))
            if len(self.transcript) == cancel_at:
                response = b"*"
            self.transcript += [data, response]
            self.send(response)
        return CAPABILITIES.sub(b"", line)

    def ehlo(self) -> None:
        if self.protocol == "smtp":
            self.send(b"EHLO localhost")
            assert self.reply().startswith(b"250 ")


@contextmanager
def connected(dovecot: Dovecot, protocol: str, *, implicit: bool = True) -> Iterator[Wire]:
    context = dovecot.context()
    connection = socket.create_connection(("localhost", dovecot.port(protocol, implicit=implicit)), 10)
    if implicit:
        connection = context.wrap_socket(connection, server_hostname="localhost")
    greeting = connection.recv(1024)
    assert greeting.startswith(GREETINGS[protocol])
    if not implicit:
        before = Wire(connection, protocol)
        before.ehlo()
        before.send(STARTTLS[protocol])
        assert before.reply() == TLS_BEGINS[protocol]
        before.lines.close()
        connection = context.wrap_socket(connection, server_hostname="localhost")
    wire = Wire(connection, protocol)
    wire.ehlo()
    with connection, wire.lines:
        yield wire


def bearer(dovecot: Dovecot, kind: str = "good", length: int = 300) -> sasl.Bearer:
    if kind == "other user":
        return sasl.Bearer("bob", dovecot.token(length=length))
    return sasl.Bearer(dovecot.mailbox, "no.token" if kind == "not a token" else dovecot.token(kind, length))


@pytest.mark.parametrize("implicit", [True, False], ids=["implicit-tls", "starttls"])
@pytest.mark.parametrize("initial", [True, False], ids=["initial-response", "no-initial-response"])
@pytest.mark.parametrize("mechanism", ["PLAIN", *ANSWERS])
@protocols
def test_a_good_credential_is_all_that_is_sent(
    dovecot: Dovecot, protocol: str, mechanism: str, initial: bool, implicit: bool
) -> None:
    who = sasl.Password("alice", dovecot.users["alice"]) if mechanism == "PLAIN" else bearer(dovecot)
    with connected(dovecot, protocol, implicit=implicit) as wire:
        exchange = sasl.client(mechanism, who)

        assert wire.authenticate(exchange, initial=initial) == YES[protocol]

        exchange.succeed()
        assert wire.transcript[::2] == ([] if initial else [b""])  # a prompt holds nothing


@pytest.mark.parametrize("kind", REFUSED_TOKENS)
@token_mechanisms
@protocols
def test_a_refused_token_is_explained_and_the_explanation_is_answered(
    dovecot: Dovecot, protocol: str, mechanism: str, kind: str
) -> None:
    with connected(dovecot, protocol) as wire:
        exchange = sasl.client(mechanism, bearer(dovecot, kind))

        assert wire.authenticate(exchange, initial=True) == NO[protocol]

    challenge, answer = wire.transcript
    assert json.loads(challenge) == dovecot.refusals[mechanism]
    assert answer == ANSWERS[mechanism]


@token_mechanisms
@protocols
def test_the_connection_serves_a_second_login_after_a_refused_token(
    dovecot: Dovecot, protocol: str, mechanism: str
) -> None:
    with connected(dovecot, protocol) as wire:
        wire.authenticate(sasl.client(mechanism, bearer(dovecot, "expired")), initial=True)

        assert wire.authenticate(sasl.client(mechanism, bearer(dovecot)), initial=True) == YES[protocol]


@token_mechanisms
@protocols
def test_an_abort_in_place_of_the_answer_is_told_from_a_refusal(
    dovecot: Dovecot, protocol: str, mechanism: str
) -> None:
    with connected(dovecot, protocol) as wire:
        exchange = sasl.client(mechanism, bearer(dovecot, "expired"))

        assert wire.authenticate(exchange, initial=True, cancel_at=0) == ABORTED[protocol]


@protocols
def test_a_wrong_password_is_refused_without_an_explanation(dovecot: Dovecot, protocol: str) -> None:
    with connected(dovecot, protocol) as wire:
        exchange = sasl.client("PLAIN", sasl.Password("alice", "looking-glass"))

        assert wire.authenticate(exchange, initial=True) == NO[protocol]

    assert wire.transcript == []


def test_a_token_of_700_octets_is_too_long_for_an_initial_response_at_submission(dovecot: Dovecot) -> None:
    with connected(dovecot, "smtp") as wire:
        refused = wire.authenticate(sasl.client("XOAUTH2", bearer(dovecot, length=800)), initial=True)
        assert refused == b"500 5.5.2 Line too long"

        accepted = wire.authenticate(sasl.client("XOAUTH2", bearer(dovecot, length=800)), initial=False)
        assert accepted == YES["smtp"]


def test_oauthbearer_names_host_and_port_and_dovecot_takes_them(dovecot: Dovecot) -> None:
    channel = sasl.Channel(tls=True, service="imap", host="localhost", port=dovecot.port("imap", implicit=True))
    with connected(dovecot, "imap") as wire:
        exchange = sasl.client("OAUTHBEARER", bearer(dovecot), channel=channel)

        assert wire.authenticate(exchange, initial=True) == YES["imap"]
