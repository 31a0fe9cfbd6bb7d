"""msmtp and mbsync get their tokens by `sasl token get`, from a grant at the reference token endpoint."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sasl import Secret
from sasl.adapters import reference
from sasl.adapters.reference import token_endpoint
from sasl.adapters.tokens.record import Record
from sasl.adapters.tokens.stores import FileStore

from ..support.grants import grant_of
from ..support.servers import CannotStart, becomes_true
from .clients import CLIENTS, Login, Ran

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sasl.adapters.reference.token_endpoint import TokenEndpoint

    LogIn = Callable[..., Ran]

ACCOUNT = "me@example.org"
SCRIPT = Path(sys.executable).with_name("sasl")
# mbsync takes mechanisms from Cyrus SASL, whose XOAUTH2 is a package of its own in Debian. SASL_PATH names folders.
PLUGIN = "libkdexoauth2.so"
PLUGINS = [*os.environ.get("SASL_PATH", "").split(os.pathsep), *map(str, Path("/usr/lib").glob("*/sasl2"))]

cases = pytest.mark.parametrize(
    ("client", "protocol", "mechanism"),
    [("msmtp", "smtp", "XOAUTH2"), ("msmtp", "smtp", "OAUTHBEARER"), ("mbsync", "imap", "XOAUTH2")],
)


@pytest.fixture(scope="module")
def _running() -> Iterator[tuple[reference.Servers, TokenEndpoint]]:
    with token_endpoint.running() as endpoint, reference.running(checks=endpoint.checks) as servers:
        yield servers, endpoint


@pytest.fixture
def servers(_running: tuple[reference.Servers, TokenEndpoint]) -> reference.Servers:
    return _running[0]


@pytest.fixture
def endpoint(_running: tuple[reference.Servers, TokenEndpoint]) -> TokenEndpoint:
    _running[1].requests.clear()
    _running[1].faults.clear()
    return _running[1]


@pytest.fixture
def record(endpoint: TokenEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    """What a sign-in left whose access token is over."""
    monkeypatch.setenv("SASLKIT_TOKENS", str(tmp_path / "tokens"))
    over = endpoint.issue("alice")
    endpoint.revoke(over)
    return FileStore(tmp_path / "tokens").put(
        grant_of(endpoint, ACCOUNT, access_token=Secret(over), expires_at=time.time() - 1)
    )


@pytest.fixture
def log_in(servers: reference.Servers, record: Record, tmp_path: Path) -> LogIn:
    def run(client: str, protocol: str, mechanism: str) -> Ran:
        if client == "mbsync" and not any((Path(folder) / PLUGIN).exists() for folder in PLUGINS):
            pytest.skip(f"no {PLUGIN}: apt-get install libsasl2-modules-kdexoauth2")
        assert record.refresh_token is not None
        login = Login(
            protocol,
            getattr(servers, protocol).tls_port,
            mechanism,
            True,
            servers.ca_file,
            "alice",
            record.refresh_token.reveal(),  # which no client gets to see
            tmp_path,
            command=f"{SCRIPT} token get {ACCOUNT}",
        )
        try:
            return CLIENTS[client, protocol].log_in(login)
        except CannotStart as missing:
            reason = str(missing)
        pytest.skip(reason)

    return run


def outcomes(servers: reference.Servers, protocol: str, sessions: int) -> list[list[tuple[str, str]]]:
    """What was tried on the last connections; a client may be gone before the server has noticed."""
    last = list(getattr(servers, protocol).sessions)[-sessions:]
    becomes_true(lambda: all(session.attempts for session in last), within=10)
    return [[(attempt.mechanism, attempt.outcome) for attempt in session.attempts] for session in last]


@cases
def test_a_token_that_is_over_is_renewed_once_for_two_logins(
    log_in: LogIn, servers: reference.Servers, endpoint: TokenEndpoint, *, client: str, protocol: str, mechanism: str
) -> None:
    for ran in (log_in(client, protocol, mechanism), log_in(client, protocol, mechanism)):
        assert ran.code == 0, ran.shown
    assert outcomes(servers, protocol, 2) == [[(mechanism, "accepted")]] * 2
    assert [asked.outcome for asked in endpoint.requests] == ["granted"]


@cases
def test_a_grant_that_is_void_is_told_by_the_client_and_nobody_logs_in(
    log_in: LogIn,
    servers: reference.Servers,
    endpoint: TokenEndpoint,
    record: Record,
    *,
    client: str,
    protocol: str,
    mechanism: str,
) -> None:
    assert record.refresh_token is not None
    endpoint.revoke(record.refresh_token.reveal())
    before = len(getattr(servers, protocol).sessions)
    ran = log_in(client, protocol, mechanism)
    assert ran.code != 0
    assert "invalid_grant" in ran.shown
    assert f"sasl token authorize {ACCOUNT}" in ran.shown
    assert not [each for session in list(getattr(servers, protocol).sessions)[before:] for each in session.attempts]
