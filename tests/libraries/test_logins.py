"""Each library logs in with our binding, and is told why where it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl import Bearer
from sasl.adapters.session import with_new_token

from ..support.tls import tls_1_2
from .conftest import BEARERS, IN_THE_CLEAR, LONG, MECHANISMS, REFUSED, TOKENS, USER, credentials_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl.adapters.reference import Servers

    from ..faults.between import Between
    from ..support.libraries import Client
    from .conftest import Place

over = pytest.mark.parametrize("over", ["TLS", "STARTTLS"])
refused = pytest.mark.parametrize(("mechanism", "state"), REFUSED, ids=["-".join(case) for case in REFUSED])
PLUS = "SCRAM-SHA-256-PLUS"


@over
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_right_credential_logs_in(client: Client, at: Callable[..., Place], mechanism: str, over: str) -> None:
    place = at(over)
    with place.connected() as conn:
        client.authenticate(conn, credentials_for(mechanism), mechanism=mechanism)
        client.noop(conn)
    (attempt,) = place.attempts
    assert (attempt.mechanism, attempt.outcome, attempt.identity, attempt.tls) == (mechanism, "accepted", USER, True)


@over
@refused
def test_any_other_is_refused_and_the_connection_can_still_be_used(
    client: Client, at: Callable[..., Place], mechanism: str, state: str, over: str
) -> None:
    place = at(over)
    with place.connected() as conn:
        with pytest.raises(client.refused) as caught:
            client.authenticate(conn, credentials_for(mechanism, state), mechanism=mechanism)
        client.noop(conn)
        client.authenticate(conn, credentials_for(mechanism), mechanism=mechanism)
    error = caught.value
    assert isinstance(error, sasl.AuthenticationFailed)
    assert isinstance(error, client.error)
    assert error.new_token_may_help == (mechanism in BEARERS)
    assert error.mechanism == mechanism
    first, second = place.attempts
    assert first.outcome == ("expired" if state == "expired" else "credentials")
    assert second.outcome == "accepted"


@pytest.mark.parametrize("initial", [None, False], ids=["initial", "asked"])
@pytest.mark.parametrize("mechanism", BEARERS)
def test_an_error_challenge_is_answered_as_the_mechanism_wants_it(
    client: Client, in_the_clear: Place, middle: Between, mechanism: str, *, initial: bool | None
) -> None:
    answer = {"XOAUTH2": b"", "OAUTHBEARER": b"AQ=="}[mechanism]
    options = {"mechanism": mechanism, "initial_response": initial, "policy": IN_THE_CLEAR}
    with in_the_clear.connected() as conn, pytest.raises(client.refused) as caught:
        client.authenticate(conn, credentials_for(mechanism, "expired"), **options)
    error = caught.value
    assert isinstance(error, sasl.AuthenticationFailed)
    assert error.detail["status"] in ("401", "invalid_token")
    (sent,) = middle.words_with(TOKENS["expired"].encode())
    assert middle.line_after(sent) == answer


@pytest.mark.parametrize("mechanism", [None, PLUS], ids=["any", PLUS])
@over
def test_where_the_library_shows_its_tls_the_login_is_bound_to_it(
    client: Client, at: Callable[..., Place], servers: Servers, mechanism: str | None, over: str
) -> None:
    if not client.plus:
        pytest.skip(f"{client} does not show its TLS")
    place = at(over, context=tls_1_2(servers.client_context()))
    with place.connected() as conn:
        client.authenticate(conn, credentials_for(PLUS), mechanism=mechanism)
    (attempt,) = place.attempts
    assert attempt.outcome == "accepted"
    assert attempt.mechanism.endswith("-PLUS")


def test_a_wrong_password_is_refused_under_channel_binding_too(
    client: Client, at: Callable[..., Place], servers: Servers
) -> None:
    if not client.plus:
        pytest.skip(f"{client} does not show its TLS")
    place = at("TLS", context=tls_1_2(servers.client_context()))
    with place.connected() as conn, pytest.raises(client.refused):
        client.authenticate(conn, credentials_for(PLUS, "wrong"), mechanism=PLUS)
    (attempt,) = place.attempts
    assert (attempt.mechanism, attempt.outcome) == (PLUS, "credentials")


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_no_initial_response_goes_where_none_was_advertised(
    client: Client, in_the_clear: Place, middle: Between, mechanism: str
) -> None:
    """In IMAP that takes SASL-IR; the other two have it always, and may be told to do without."""
    middle.plan(rewrite=lambda octets: octets.replace(b" SASL-IR", b""))
    options: dict[str, Any] = {} if client.service == "imap" else {"initial_response": False}
    with in_the_clear.connected() as conn:
        client.authenticate(conn, credentials_for(mechanism), mechanism=mechanism, policy=IN_THE_CLEAR, **options)
        client.noop(conn)
    (attempt,) = in_the_clear.attempts
    assert not attempt.initial_response
    assert attempt.outcome == "accepted"


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_an_initial_response_goes_where_one_was_advertised(
    client: Client, at: Callable[..., Place], mechanism: str
) -> None:
    place = at()
    with place.connected() as conn:
        client.authenticate(conn, credentials_for(mechanism), mechanism=mechanism)
    assert [attempt.initial_response for attempt in place.attempts] == [True]


@pytest.mark.parametrize("mechanism", BEARERS)
def test_a_token_of_4000_octets_logs_in(client: Client, at: Callable[..., Place], mechanism: str) -> None:
    assert len(LONG) == 4_000
    place = at()
    with place.connected() as conn:
        with pytest.raises(client.refused):
            client.authenticate(conn, Bearer(USER, LONG[:-1] + "c"), mechanism=mechanism)
        client.noop(conn)
        client.authenticate(conn, Bearer(USER, LONG), mechanism=mechanism)
        client.noop(conn)
    assert [attempt.outcome for attempt in place.attempts] == ["credentials", "accepted"]


@pytest.mark.parametrize("mechanism", BEARERS)
def test_a_new_token_is_asked_for_once_and_logs_in(client: Client, at: Callable[..., Place], mechanism: str) -> None:
    place, opened = at(), []
    asked: list[str | None] = []

    class Source:
        def token(self, *, stale: str | None = None) -> sasl.AccessToken:
            asked.append(stale)
            return sasl.AccessToken(TOKENS["expired" if stale is None else "good"])

    def attempt(ready: sasl.Credentials) -> object:
        opened.append(place.connect())
        client.authenticate(opened[-1], ready, mechanism=mechanism)
        return client.noop(opened[-1])

    try:
        with_new_token(Bearer(USER, Source()), attempt)
    finally:
        for conn in opened:
            client.close(conn)
    assert asked == [None, TOKENS["expired"]]
    assert [attempt.outcome for attempt in place.attempts] == ["accepted"]
    assert len(opened) == 2
