"""swaks, msmtp, mbsync and mutt log in at the reference servers: their exit code, and the servers' record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trustme

import sasl
from sasl.adapters import reference

from ..support.servers import CannotStart, becomes_true
from .clients import CLIENTS, Login, Ran

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    LogIn = Callable[..., Ran]

USER, PASSWORD = "alice", "wonderland"
# What a client calls LOGIN where IMAP has a command of that name, and what it takes if nothing is named.
RECORDED = {("mbsync", "imap", "LOGIN"): "IMAP-LOGIN"}
BY_ITSELF = {"msmtp": "PLAIN", "mbsync": "SCRAM-SHA-512"}

tls = pytest.mark.parametrize("implicit", [True, False], ids=["implicit-tls", "starttls"])
cases = pytest.mark.parametrize(
    ("client", "protocol", "mechanism"),
    [(*which, mechanism) for which, client in CLIENTS.items() for mechanism in client.mechanisms],
)
# mutt shows each refusal for two seconds, so it meets one only.
refused = pytest.mark.parametrize(
    ("client", "protocol", "mechanism", "implicit"),
    [
        (*which, mechanism, implicit)
        for which, client in CLIENTS.items()
        for mechanism in (("LOGIN",) if client.name == "mutt" else client.mechanisms)
        for implicit in ((True,) if client.name == "mutt" else (True, False))
    ],
)
# At a terminal mutt asks what it shall do, and waits.
batch = pytest.mark.parametrize(
    ("client", "protocol"), [which for which, client in CLIENTS.items() if not client.terminal]
)


@pytest.fixture(scope="module")
def servers() -> Iterator[reference.Servers]:
    """Servers that offer what is off by default, too."""
    settings = reference.Settings(policy=sasl.Policy(allow=["CRAM-MD5", "DIGEST-MD5"]))
    with reference.running(users={USER: PASSWORD}, settings=settings) as servers:
        yield servers


@pytest.fixture
def log_in(servers: reference.Servers, tmp_path: Path) -> LogIn:
    def run(
        client: str, protocol: str, mechanism: str, *, implicit: bool, password: str = PASSWORD, ca: Path | None = None
    ) -> Ran:
        endpoint = endpoint_of(servers, protocol)
        port = endpoint.tls_port if implicit else endpoint.port
        login = Login(protocol, port, mechanism, implicit, ca or servers.ca_file, USER, password, tmp_path)
        try:
            return CLIENTS[client, protocol].log_in(login)
        except CannotStart as missing:
            reason = str(missing)
        pytest.skip(reason)

    return run


def endpoint_of(servers: reference.Servers, protocol: str) -> reference.Endpoint:
    return {"imap": servers.imap, "pop": servers.pop, "smtp": servers.smtp}[protocol]


def attempts(servers: reference.Servers, protocol: str) -> list[tuple[str, bool, str]]:
    """What was tried on the last connection; a client may be gone before the server has noticed."""
    session = endpoint_of(servers, protocol).sessions[-1]
    becomes_true(lambda: bool(session.attempts), within=10)
    return [(attempt.mechanism, attempt.tls, attempt.outcome) for attempt in session.attempts]


@tls
@cases
def test_the_right_password_logs_in(
    log_in: LogIn, servers: reference.Servers, *, client: str, protocol: str, mechanism: str, implicit: bool
) -> None:
    ran = log_in(client, protocol, mechanism, implicit=implicit)

    assert ran.code == 0, ran.shown
    expected = RECORDED.get((client, protocol, mechanism)) or mechanism or BY_ITSELF[client]
    assert attempts(servers, protocol) == [(expected, True, "accepted")], ran.shown


@refused
def test_a_wrong_password_is_refused_as_such(
    log_in: LogIn, servers: reference.Servers, *, client: str, protocol: str, mechanism: str, implicit: bool
) -> None:
    ran = log_in(client, protocol, mechanism, implicit=implicit, password="looking-glass")

    assert ran.code == CLIENTS[client, protocol].refused, ran.shown
    expected = RECORDED.get((client, protocol, mechanism)) or mechanism or BY_ITSELF[client]
    assert attempts(servers, protocol)[0] == (expected, True, "credentials"), ran.shown
    assert endpoint_of(servers, protocol).sessions[-1].identity is None


@batch
def test_a_server_that_another_ca_vouches_for_gets_no_credential(
    log_in: LogIn, servers: reference.Servers, tmp_path: Path, client: str, protocol: str
) -> None:
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(str(stranger))

    ran = log_in(client, protocol, "PLAIN", implicit=True, ca=stranger)

    assert ran.code != 0, ran.shown
    assert not endpoint_of(servers, protocol).sessions[-1].attempts
