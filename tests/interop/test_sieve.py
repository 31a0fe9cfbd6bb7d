"""ManageSieve at Dovecot's Pigeonhole: the wire over a bare socket, and sievelib through our binding."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters.binding import channel, run
from sasl.adapters.wire import sieve

from ..support.documents import ROOT, only_code

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .dovecot import Dovecot

BEARERS = ("XOAUTH2", "OAUTHBEARER")
MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", *BEARERS)
ALLOWED = sasl.Policy(allow=("CRAM-MD5", "DIGEST-MD5"))
SCRIPT = "keep;\r\n"

tls = pytest.mark.parametrize("implicit", [True, False], ids=["implicit-tls", "starttls"])
mechanisms = pytest.mark.parametrize("mechanism", MECHANISMS)


def credentials_for(server: Dovecot, mechanism: str, kind: str = "good", length: int = 300) -> Any:
    if mechanism in BEARERS:
        return sasl.Bearer(server.mailbox, server.token(kind, length))
    return sasl.Password("alice", server.users["alice"] if kind == "good" else "looking-glass")


@pytest.fixture(autouse=True)
def _installed(dovecot: Dovecot) -> None:
    if ("sieve", True) not in dovecot.ports:
        pytest.skip("Dovecot has no ManageSieve here: dovecot-managesieved is not installed")


# --- the wire


class Session:
    """A connection over TLS that knows what the server can do."""

    def __init__(self, sock: Any, port: int) -> None:
        self.sock = sock
        self.channel = channel(sock, service="sieve", host="localhost", port=port)
        self.lines = sock.makefile("rb")
        self.capabilities = self.learn()

    def learn(self, *, ask: bool = False) -> dict[str, str]:
        wire = sieve.CapabilityWire()
        if ask:
            self.sock.sendall(wire.command().octets)
        while not wire.done:
            wire.receive(self.lines.readline())
        assert wire.error is None
        return wire.capabilities

    def login(self, who: Any, mechanism: str, *, initial: bool | None = None) -> sieve.ClientWire:
        choice = sieve.choose(self.capabilities, who, channel=self.channel, mechanism=mechanism, policy=ALLOWED)
        wire = sieve.client_wire(choice, who, initial_response=initial)
        run(wire, self.lines.readline, self.sock.sendall, self.sock.close)
        return wire


@contextmanager
def connected(server: Dovecot, *, implicit: bool = True) -> Iterator[Session]:
    port = server.port("sieve", implicit=implicit)
    sock: Any = socket.create_connection(("localhost", port), 10)
    if not implicit:
        in_the_clear = Session(sock, port)
        assert "STARTTLS" in in_the_clear.capabilities
        in_the_clear.lines.close()
        wire = sieve.StartTlsWire()
        sock.sendall(wire.command().octets)
        while not wire.done:
            wire.receive(sock.recv(4096))
        assert wire.error is None
    session = Session(server.context().wrap_socket(sock, server_hostname="localhost"), port)
    with session.sock, session.lines:
        yield session


@tls
@pytest.mark.parametrize("initial", [None, False], ids=["initial-response", "no-initial-response"])
@mechanisms
def test_a_good_credential_logs_in(dovecot: Dovecot, *, mechanism: str, initial: bool | None, implicit: bool) -> None:
    with connected(dovecot, implicit=implicit) as session:
        wire = session.login(credentials_for(dovecot, mechanism), mechanism, initial=initial)
        assert wire.server_text.rstrip(".") == "Logged in"
        assert "SIEVE" in session.learn(ask=True)
        session.sock.sendall(b"LISTSCRIPTS\r\n")
        assert session.lines.readline().startswith(b"OK")


@pytest.mark.parametrize("length", [760, 1_100, 4_000])
@pytest.mark.parametrize("mechanism", BEARERS)
@pytest.mark.parametrize("initial", [None, False], ids=["initial-response", "no-initial-response"])
def test_a_long_token_goes_into_a_literal(
    dovecot: Dovecot, *, mechanism: str, length: int, initial: bool | None
) -> None:
    with connected(dovecot) as session:
        session.login(credentials_for(dovecot, mechanism, length=length), mechanism, initial=initial)


@mechanisms
def test_a_refusal_leaves_the_connection_to_a_second_login(dovecot: Dovecot, mechanism: str) -> None:
    with connected(dovecot) as session:
        with pytest.raises(sasl.AuthenticationFailed) as refused:
            session.login(credentials_for(dovecot, mechanism, "expired"), mechanism)
        session.login(credentials_for(dovecot, mechanism), mechanism)
    assert (refused.value.kind, refused.value.response_code) == ("credentials", None)
    assert refused.value.new_token_may_help == (mechanism in BEARERS)
    assert refused.value.detail == dovecot.refusals.get(mechanism, {})


def test_a_cancelled_exchange_leaves_the_connection_to_a_second_login(dovecot: Dovecot) -> None:
    with connected(dovecot) as session:
        session.sock.sendall(b'AUTHENTICATE "PLAIN"\r\n')
        assert session.lines.readline() == b'""\r\n'
        session.sock.sendall(b'"*"\r\n')
        assert session.lines.readline().startswith(b"NO")
        session.login(credentials_for(dovecot, "PLAIN"), "PLAIN")


def test_a_mechanism_that_is_not_there_is_refused_and_not_about_the_password(dovecot: Dovecot) -> None:
    with connected(dovecot) as session:
        session.capabilities["SASL"] += " SCRAM-SHA-512"
        with pytest.raises(sasl.AuthenticationFailed) as refused:
            session.login(credentials_for(dovecot, "PLAIN"), "SCRAM-SHA-512")
        # Pigeonhole 0.5.19 may not look at a command that comes right behind this no, so no other login is tried here.
    assert refused.value.kind == "unsupported"


# --- sievelib


@pytest.fixture
def managesieve(dovecot: Dovecot, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The library, which takes no context: it trusts the server as OpenSSL tells it to."""
    monkeypatch.setenv("SSL_CERT_FILE", str(dovecot.ca))
    return pytest.importorskip("sievelib.managesieve")


@contextmanager
def opened(server: Dovecot, *, implicit: bool = True) -> Iterator[Any]:
    from sasl.adapters.sievelib import Client

    client = Client("localhost", server.port("sieve", implicit=implicit))
    client.open(ssl=implicit, starttls=not implicit)
    try:
        yield client
    finally:
        client.sock.close()


@tls
@mechanisms
def test_sievelib_logs_in_and_manages_scripts(
    dovecot: Dovecot, managesieve: Any, *, mechanism: str, implicit: bool
) -> None:
    from sasl.adapters.sievelib import authenticate

    with opened(dovecot, implicit=implicit) as client:
        who = credentials_for(dovecot, mechanism)
        assert authenticate(client, who, mechanism=mechanism, policy=ALLOWED) is True
        assert client.authenticated
        name = f"{mechanism.lower()}-{implicit}"
        assert client.putscript(name, SCRIPT), client.errmsg
        assert client.getscript(name).strip() == SCRIPT.strip()
        assert name in client.listscripts()[1]
        assert client.deletescript(name)
        client.logout()


@mechanisms
def test_sievelib_is_refused_and_can_try_again(dovecot: Dovecot, managesieve: Any, mechanism: str) -> None:
    from sasl.adapters.sievelib import authenticate

    with opened(dovecot) as client:
        with pytest.raises(managesieve.Error) as refused:
            authenticate(client, credentials_for(dovecot, mechanism, "badsig"), mechanism=mechanism, policy=ALLOWED)
        assert isinstance(refused.value, sasl.AuthenticationFailed)
        assert (client.authenticated, client.errmsg) == (False, b"Authentication failed.")
        authenticate(client, credentials_for(dovecot, mechanism), mechanism=mechanism, policy=ALLOWED)
        assert client.listscripts() == (None, [])


@tls
def test_sievelibs_connect_logs_in_by_the_strongest_mechanism(
    dovecot: Dovecot, managesieve: Any, *, implicit: bool
) -> None:
    from sasl.adapters.sievelib import Client

    client = Client("localhost", dovecot.port("sieve", implicit=implicit))
    assert client.connect("alice", dovecot.users["alice"], ssl=implicit, starttls=not implicit) is True
    assert client.listscripts() == (None, [])
    client.sock.close()


@pytest.mark.filterwarnings("ignore:Credentials are sent over an unencrypted connection")  # what sievelib 1.6 expects
def test_sievelib_does_not_send_a_password_in_the_clear(dovecot: Dovecot, managesieve: Any) -> None:
    from sasl.adapters.sievelib import Client

    client = Client("localhost", dovecot.port("sieve", implicit=False))
    with pytest.raises(managesieve.Error, match="it offers STARTTLS"):
        client.connect("alice", dovecot.users["alice"], authmech="PLAIN")
    client.sock.close()


@pytest.mark.parametrize(("mechanism", "logs_in"), [("PLAIN", True), ("OAUTHBEARER", True), ("XOAUTH2", False)])
def test_what_sievelib_does_alone(
    dovecot: Dovecot, managesieve: Any, monkeypatch: pytest.MonkeyPatch, *, mechanism: str, logs_in: bool
) -> None:
    """It has no SCRAM. Its XOAUTH2 has a comma too many, and it leaves error challenges without an answer."""
    from ..libraries.sievelib import CLIENT

    monkeypatch.setattr(managesieve.Client, "read_timeout", 1)
    with opened(dovecot) as client:
        if logs_in:
            CLIENT.own[mechanism](client, credentials_for(dovecot, mechanism))
            error = "Failed to read" if mechanism in BEARERS else "returned False"
        else:
            error = "Failed to read"
        with pytest.raises(managesieve.Error, match=error):
            CLIENT.own[mechanism](client, credentials_for(dovecot, mechanism, "good" if not logs_in else "expired"))


def test_the_code_of_the_page_runs(dovecot: Dovecot, managesieve: Any, tmp_path: Path) -> None:
    code = only_code((ROOT / "docs" / "howto" / "sievelib.md").read_text("utf-8"), "python")
    port = dovecot.port("sieve", implicit=False)
    given = {"user": dovecot.mailbox, "password": dovecot.users[dovecot.mailbox], "token": dovecot.token()}
    script = tmp_path / "howto_sievelib.py"
    script.write_text(
        "; ".join(f"{name} = {value!r}" for name, value in given.items())
        + code.replace('"sieve.example.com", 4190', f'"localhost", {port}')
    )
    run = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", script],
        cwd=tmp_path,
        env={**os.environ, "SSL_CERT_FILE": str(dovecot.ca)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
    assert "example.com" not in script.read_text()
