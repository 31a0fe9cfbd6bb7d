"""The wires against Dovecot, driven over a bare socket as an author of a library would drive them."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters.wire import imap, pop, smtp

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from .dovecot import Dovecot

PROTOCOLS = ("imap", "pop", "smtp")
MECHANISMS = ("PLAIN", "XOAUTH2", "OAUTHBEARER")
# A command has 255 octets in POP3 and 512 in SMTP.
LONGEST_INITIAL_TOKEN = {"imap": 3000, "pop": 0, "smtp": 300}

protocols = pytest.mark.parametrize("protocol", PROTOCOLS)
mechanisms = pytest.mark.parametrize("mechanism", MECHANISMS)


class Session:
    """A connection over TLS, with its list of capabilities."""

    def __init__(self, connection: socket.socket, channel: sasl.Channel) -> None:
        self.connection = connection
        self.channel = channel
        self.lines = connection.makefile("rb")
        self.capabilities: list[str] = []

    def send(self, octets: bytes) -> None:
        self.connection.sendall(octets)

    def read(self) -> bytes:
        return self.lines.readline(100_000)

    def learn(self) -> None:
        """Ask what the server can do."""
        if self.channel.service == "imap":
            self.send(b"c CAPABILITY\r\n")
            while not (line := self.read()).startswith(b"c OK"):
                self.capabilities = line.decode("ascii").split()[2:]
        elif self.channel.service == "pop":
            wire = pop.CapaWire()
            self.send(wire.command().octets)
            while not wire.done:
                wire.receive(self.read())
            self.capabilities = wire.capabilities
        else:
            reply = smtp.Reply()
            self.send(b"EHLO localhost\r\n")
            while not reply.receive(self.read()):
                pass
            self.capabilities = [line.decode("ascii") for line in reply.lines]

    def wire(self, who: sasl.Password | sasl.Bearer, mechanism: str | None, initial: bool | None) -> Any:
        if self.channel.service == "smtp":
            choice = sasl.choose(smtp.mechanisms(self.capabilities), who, channel=self.channel, mechanism=mechanism)
            return smtp.client_wire(choice, who, initial_response=initial)
        module = {"imap": imap, "pop": pop}[self.channel.service]
        choice = module.choose(self.capabilities, who, channel=self.channel, mechanism=mechanism)
        more = {"capabilities": self.capabilities} if module is imap else {}
        return module.client_wire(choice, who, initial_response=initial, **more)

    def login(self, who: sasl.Password | sasl.Bearer, mechanism: str | None = None, initial: bool | None = None) -> Any:
        """Run a wire to its end; return it."""
        wire = self.wire(who, mechanism, initial)
        line = wire.command()
        while True:
            if line is not None:
                self.send(line.octets)
            if wire.done:
                break
            if data := self.read():
                line = wire.receive(data)
            else:
                wire.lost()
                line = None
        if wire.error is not None:
            raise wire.error
        return wire


@contextmanager
def connected(server: Dovecot, protocol: str, *, implicit: bool = True) -> Iterator[Session]:
    port = server.port(protocol, implicit=implicit)
    connection = socket.create_connection(("localhost", port), 10)
    channel = sasl.Channel(tls=True, service=protocol, host="localhost", port=port)
    if implicit:
        connection = server.context().wrap_socket(connection, server_hostname="localhost")
        greeting = connection.recv(4096)
    else:
        greeting = connection.recv(4096)
        connection = start_tls(connection, protocol, server.context())
    assert greeting
    session = Session(connection, channel)
    with connection, session.lines:
        session.learn()
        yield session


def start_tls(connection: socket.socket, protocol: str, context: ssl.SSLContext) -> socket.socket:
    if protocol == "smtp":
        connection.sendall(b"EHLO localhost\r\n")
        while b"\n250 " not in connection.recv(4096):
            pass
    wire = {"imap": imap, "pop": pop, "smtp": smtp}[protocol].StartTlsWire()
    connection.sendall(wire.command().octets)
    while not wire.done:
        wire.receive(connection.recv(4096))
    assert wire.error is None
    return context.wrap_socket(connection, server_hostname="localhost")


def credential(server: Dovecot, mechanism: str, kind: str = "good", length: int = 300) -> sasl.Password | sasl.Bearer:
    if mechanism == "PLAIN":
        return sasl.Password("alice", server.users["alice"] if kind == "good" else "looking-glass")
    return sasl.Bearer(server.mailbox, server.token(kind, length))


@pytest.mark.parametrize("implicit", [True, False], ids=["implicit-tls", "starttls"])
@pytest.mark.parametrize("initial", [None, False], ids=["initial-response", "no-initial-response"])
@pytest.mark.parametrize("length", [300, 3000])
@mechanisms
@protocols
def test_a_good_credential_logs_in(
    dovecot: Dovecot, *, protocol: str, mechanism: str, length: int, initial: bool | None, implicit: bool
) -> None:
    with connected(dovecot, protocol, implicit=implicit) as session:
        wire = session.login(credential(dovecot, mechanism, length=length), mechanism, initial)

    fits = mechanism == "PLAIN" or length <= LONGEST_INITIAL_TOKEN[protocol]
    assert wire.initial_response == (fits and initial is None)
    assert wire.turns == (1 if wire.initial_response else 2)
    assert wire.server_text.rstrip(".") == "Logged in"


@mechanisms
@protocols
def test_a_refusal_leaves_the_connection_to_a_second_login(dovecot: Dovecot, protocol: str, mechanism: str) -> None:
    with connected(dovecot, protocol) as session:
        with pytest.raises(sasl.AuthenticationFailed) as refused:
            session.login(credential(dovecot, mechanism, "expired"), mechanism)

        session.login(credential(dovecot, mechanism), mechanism)

    codes = {"imap": "AUTHENTICATIONFAILED", "pop": "AUTH", "smtp": "535 5.7.8"}
    assert refused.value.response_code == codes[protocol]
    assert refused.value.server_text == "Authentication failed."
    assert refused.value.detail == dovecot.refusals.get(mechanism, {})


@pytest.mark.parametrize("user", ["alice", "j\u00f6rg"])
@pytest.mark.parametrize("protocol", ["imap", "pop"])
def test_a_password_goes_into_the_login_command_where_no_mechanism_takes_it(
    commands_only: Dovecot, protocol: str, user: str
) -> None:
    with connected(commands_only, protocol) as session:
        with pytest.raises(sasl.AuthenticationFailed):
            session.login(sasl.Password(user, "looking-glass"))

        session.login(sasl.Password(user, commands_only.users[user]))


def test_the_login_command_is_not_used_where_it_is_disabled(tokens_only: Dovecot) -> None:
    with connected(tokens_only, "imap") as session, pytest.raises(sasl.MechanismUnavailable) as unavailable:
        session.login(sasl.Password("alice", tokens_only.users["alice"]))

    assert unavailable.value.passed_over["IMAP-LOGIN"] == "the server has LOGINDISABLED"
