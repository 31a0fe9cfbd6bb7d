"""Mail programs that are not ours send and fetch mail at the reference servers: what arrives, and what the servers saw.

Each is tried with the right credential, a wrong one and, if it has tokens, one that has expired.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from sasl.adapters import reference

from ..support.servers import CannotStart, becomes_true
from .clients import Login, Ran
from .programs import BEARERS, BODY, FETCHERS, MESSAGE, SENDERS, Program, gsasl, msmtp_delivers, swaks_delivers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

USER, PASSWORD = "alice", "wonderland"
OUTCOMES = {"right": "accepted", "wrong": "credentials", "expired": "expired"}


def cases(programs: list[Program], states: tuple[str, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("client", "state"),
        [
            pytest.param(each, state, id=f"{each.name}-{each.mechanism}-{state}")
            for each in programs
            for state in states
            if state != "expired" or each.mechanism in BEARERS
        ],
    )


@pytest.fixture(scope="module")
def running() -> Iterator[reference.Servers]:
    with reference.running({USER: PASSWORD}) as servers:
        yield servers


@pytest.fixture
def servers(running: reference.Servers) -> Iterator[reference.Servers]:
    """Servers with no mail yet."""
    yield running
    running.call(running._backend.outbox.clear)
    running.call(running._backend.accounts.clear)


def credential(servers: reference.Servers, client: Program, state: str) -> str:
    if client.mechanism not in BEARERS:
        return PASSWORD if state == "right" else "looking-glass"
    return {
        "right": servers.tokens["good"],
        "wrong": servers.tokens["revoked"],
        "expired": servers.tokens["expired"],
    }[state]


def log_in(
    servers: reference.Servers, endpoint: reference.Endpoint, client: Program, state: str, folder: Path, **options: bool
) -> Ran:
    implicit = options.get("implicit", True)
    port = endpoint.tls_port if implicit else endpoint.port
    secret = credential(servers, client, state)
    login = Login(endpoint.protocol, port, client.mechanism, implicit, servers.ca_file, USER, secret, folder)
    try:
        return client.log_in(replace(login, lmtp=servers.lmtp.port))
    except CannotStart as missing:
        reason = str(missing)
    pytest.skip(reason)


def attempts(endpoint: reference.Endpoint) -> list[tuple[str, bool, str]]:
    """What was tried on the last connection; a client may be gone before the server has noticed."""
    session = endpoint.sessions[-1]
    becomes_true(lambda: bool(session.attempts), within=10)
    return [(attempt.mechanism, attempt.tls, attempt.outcome) for attempt in session.attempts]


@cases(SENDERS, ("right",))
def test_what_a_program_sends_arrives_as_it_is(
    servers: reference.Servers, client: Program, state: str, tmp_path: Path
) -> None:
    ran = log_in(servers, servers.smtp, client, state, tmp_path)

    assert ran.code == 0, ran.shown
    assert attempts(servers.smtp) == [(client.mechanism, True, "accepted")], ran.shown
    sent = servers.smtp.wait(timeout=10, to="b@example.org")
    assert (sent.user, sent.sender, sent.tls) == (USER, "a@example.org", True)
    assert sent.email["Subject"] == "hello"
    assert sent.email.get_content() == BODY
    assert len(servers.smtp.messages) == 1


@cases(SENDERS, ("wrong", "expired"))
def test_a_program_that_is_refused_sends_nothing(
    servers: reference.Servers, client: Program, state: str, tmp_path: Path
) -> None:
    ran = log_in(servers, servers.smtp, client, state, tmp_path)

    assert ran.code == client.refused, ran.shown
    assert attempts(servers.smtp)[0] == (client.mechanism, True, OUTCOMES[state]), ran.shown
    assert servers.smtp.sessions[-1].identity is None
    assert servers.smtp.messages == ()


@cases(FETCHERS, ("right",))
def test_a_program_fetches_what_is_there(
    servers: reference.Servers, client: Program, state: str, tmp_path: Path
) -> None:
    servers.deliver(USER, MESSAGE)
    (there,) = servers.mailbox(USER).messages

    ran = log_in(servers, servers.pop, client, state, tmp_path)

    assert ran.code == 0, ran.shown
    assert attempts(servers.pop) == [(client.mechanism, True, "accepted")], ran.shown
    by_lmtp = client.name == "getmail"
    octets = servers.lmtp.wait(timeout=10).raw if by_lmtp else (tmp_path / "mail").read_bytes()
    fetched = octets.decode().replace("\r\n", "\n")
    assert fetched.partition("\n\n")[2].rstrip("\n") == BODY.rstrip("\n")
    assert "Subject: hello\n" in fetched
    keeps = client.name == "curl"
    assert becomes_true(lambda: (there in servers.mailbox(USER).messages) == keeps, within=10)


@cases(FETCHERS, ("wrong", "expired"))
def test_a_program_that_is_refused_fetches_nothing(
    servers: reference.Servers, client: Program, state: str, tmp_path: Path
) -> None:
    servers.deliver(USER, MESSAGE)

    ran = log_in(servers, servers.pop, client, state, tmp_path)

    assert ran.code == client.refused, ran.shown
    assert attempts(servers.pop)[0] == (client.mechanism, True, OUTCOMES[state]), ran.shown
    assert not (tmp_path / "mail").exists() or not (tmp_path / "mail").read_bytes()
    assert len(servers.mailbox(USER).messages) == 1


@pytest.mark.parametrize(
    ("name", "command"), [("swaks", swaks_delivers), ("msmtp", msmtp_delivers)], ids=["swaks", "msmtp"]
)
def test_a_program_delivers_by_lmtp_without_a_login(
    servers: reference.Servers, name: str, command: Callable[[Login], list[str]], tmp_path: Path
) -> None:
    ran = log_in(servers, servers.lmtp, Program(name, "PLAIN", command, 1, MESSAGE), "right", tmp_path)

    assert ran.code == 0, ran.shown
    assert servers.lmtp.wait(timeout=10).recipients == ("alice@example.org",)
    assert servers.mailbox(USER).messages[0].email.get_content() == BODY
    assert not servers.lmtp.sessions[-1].attempts


@pytest.mark.parametrize("protocol", ["imap", "smtp"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
@pytest.mark.parametrize("state", ["right", "wrong"])
def test_gsasl_logs_in(servers: reference.Servers, protocol: str, mechanism: str, state: str, tmp_path: Path) -> None:
    endpoint: reference.Endpoint = getattr(servers, protocol)
    secret = PASSWORD if state == "right" else "looking-glass"
    client = Program("gsasl", mechanism, gsasl, 1, f"{secret}\n")

    ran = log_in(servers, endpoint, client, state, tmp_path, implicit=False)

    assert (ran.code == 0) == (state == "right"), ran.shown
    assert attempts(endpoint) == [(mechanism, True, OUTCOMES[state])], ran.shown
