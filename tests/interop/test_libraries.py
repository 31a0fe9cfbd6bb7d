"""Each library logs in by our binding at Dovecot, all four protocols, and Postfix (SMTP), or is refused there."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters.session import with_new_token

from ..support.libraries import clients
from ..support.servers import HOST
from .dovecot import SERVICES
from .postfix import Postfix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..support.libraries import Client
    from .dovecot import Dovecot

BEARERS = ("XOAUTH2", "OAUTHBEARER")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", *BEARERS)
KINDS = {"right": "good", "wrong": "badsig", "expired": "expired"}
LONG = 4_000  # octets of a token, as Microsoft's may have

tls = pytest.mark.parametrize("implicit", [True, False], ids=["implicit-tls", "starttls"])
mechanisms = pytest.mark.parametrize("mechanism", MECHANISMS)
places = pytest.mark.parametrize(
    ("client", "server"),
    [
        pytest.param(*each.values, server, marks=each.marks, id=f"{each.id}-{server}")
        for server, services in (("dovecot", SERVICES), ("postfix", ("smtp",)))
        for each in clients(*services)
    ],
)


@pytest.fixture
def at(request: pytest.FixtureRequest, server: str) -> Dovecot | Postfix:
    """The server of that name."""
    found: Dovecot | Postfix = request.getfixturevalue(server)
    return found


def credentials_for(at: Dovecot | Postfix, mechanism: str, state: str = "right", length: int = 300) -> Any:
    users = at.dovecot if isinstance(at, Postfix) else at
    if mechanism in BEARERS:
        return sasl.Bearer(users.mailbox, users.token(KINDS[state], length))
    return sasl.Password("alice", users.users["alice"] if state == "right" else "looking-glass")


@contextmanager
def connected(client: Client, at: Dovecot | Postfix, *, implicit: bool = True) -> Iterator[Any]:
    port = at.port(implicit=implicit) if isinstance(at, Postfix) else at.port(client.service, implicit=implicit)
    conn = client.connect(HOST, port, **{"tls" if implicit else "starttls": at.context()})
    try:
        yield conn
    finally:
        client.close(conn)


@tls
@mechanisms
@places
def test_the_right_credential_logs_in(
    client: Client, at: Dovecot | Postfix, *, server: str, mechanism: str, implicit: bool
) -> None:
    with connected(client, at, implicit=implicit) as conn:
        client.authenticate(conn, credentials_for(at, mechanism), mechanism=mechanism)
        client.noop(conn)


@mechanisms
@places
def test_a_response_goes_behind_the_prompt_where_it_is_asked_to(
    client: Client, at: Dovecot | Postfix, *, server: str, mechanism: str
) -> None:
    with connected(client, at) as conn:
        client.authenticate(conn, credentials_for(at, mechanism), mechanism=mechanism, initial_response=False)
        client.noop(conn)


@pytest.mark.parametrize("mechanism", BEARERS)
@places
def test_a_long_token_logs_in(client: Client, at: Dovecot | Postfix, *, server: str, mechanism: str) -> None:
    with connected(client, at) as conn:
        client.authenticate(conn, credentials_for(at, mechanism, length=LONG), mechanism=mechanism)
        client.noop(conn)


@tls
@pytest.mark.parametrize(
    ("mechanism", "state"),
    [
        (mechanism, state)
        for mechanism in MECHANISMS
        for state in ("wrong", "expired")
        if state == "wrong" or mechanism in BEARERS
    ],
)
@places
def test_any_other_is_refused_and_the_connection_can_still_be_used(
    client: Client, at: Dovecot | Postfix, *, server: str, mechanism: str, state: str, implicit: bool
) -> None:
    with connected(client, at, implicit=implicit) as conn:
        with pytest.raises(client.refused) as caught:
            client.authenticate(conn, credentials_for(at, mechanism, state), mechanism=mechanism)
        client.noop(conn)
        client.authenticate(conn, credentials_for(at, mechanism), mechanism=mechanism)
        client.noop(conn)
    error = caught.value
    assert isinstance(error, sasl.AuthenticationFailed)
    assert error.new_token_may_help == (mechanism in BEARERS)


@pytest.mark.parametrize("mechanism", BEARERS)
@places
def test_a_new_token_logs_in_on_a_new_connection(
    client: Client, at: Dovecot | Postfix, *, server: str, mechanism: str
) -> None:
    states: list[str] = []

    class Source:
        def token(self, *, stale: str | None = None) -> sasl.AccessToken:
            states.append("expired" if stale is None else "right")
            bearer: sasl.Bearer = credentials_for(at, mechanism, states[-1])
            assert isinstance(bearer.token, sasl.Secret)
            return sasl.AccessToken(bearer.token.reveal())

    def attempt(ready: sasl.Credentials) -> None:
        with connected(client, at) as conn:
            client.authenticate(conn, ready, mechanism=mechanism)
            client.noop(conn)

    who = credentials_for(at, mechanism)
    with_new_token(sasl.Bearer(who.username, Source()), attempt)
    assert states == ["expired", "right"]
