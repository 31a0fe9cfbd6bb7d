"""From a person's consent to a token that is renewed and revoked, at a server that checks each step as the RFCs say."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

import sasl
from sasl.adapters.reference import token_endpoint
from sasl.adapters.tokens import browser, device, paste, revocation
from sasl.adapters.tokens.grant import grant_record
from sasl.adapters.tokens.messages import Client
from sasl.adapters.tokens.metadata import discover
from sasl.adapters.tokens.oauth import OAuthTokens
from sasl.adapters.tokens.store import MemoryStore

from .signing_in import get

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sasl.adapters.reference.token_endpoint import TokenEndpoint
    from sasl.adapters.tokens.device import DeviceCode
    from sasl.adapters.tokens.messages import Answer

SCOPE = "mail offline_access"
CLIENT = Client("the-client", secret=sasl.Secret("the-secret"))


@pytest.fixture
def now() -> list[float]:
    return [1_000_000.0]


@pytest.fixture
def authority(now: list[float]) -> Iterator[TokenEndpoint]:
    with token_endpoint.running(clock=lambda: now[0]) as running:
        running.register("the-client", secret="the-secret", redirect_uris=[browser.LOOPBACK])
        running.answers, running.rotates = "allow", True
        yield running


def location(url: str) -> str:
    """Where a page sends the browser."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}")
        with connection.getresponse() as response:
            assert response.status == 303
            return str(response.getheader("Location"))
    finally:
        connection.close()


def by_browser(authority: TokenEndpoint, _now: list[float]) -> Answer:
    known = discover(authority.issuer)
    return browser.authorize(known, CLIENT, SCOPE, open=lambda url: get(location(url)))


def by_paste(authority: TokenEndpoint, _now: list[float]) -> Answer:
    shown: list[str] = []
    known = discover(authority.issuer)
    return paste.authorize(known, CLIENT, SCOPE, show=shown.append, read=lambda _problem: location(shown[0]))


def by_device(authority: TokenEndpoint, now: list[float]) -> Answer:
    shown: list[DeviceCode] = []
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds
        if len(pauses) == 3:
            authority.approve(shown[0].user_code, "alice")

    answer = device.authorize(discover(authority.issuer), CLIENT, SCOPE, show=shown.append, sleep=sleep)
    assert pauses == [5.0, 5.0, 5.0]
    return answer


@pytest.mark.parametrize("sign_in", [by_browser, by_paste, by_device])
def test_a_grant_is_kept_renewed_and_revoked(
    authority: TokenEndpoint, now: list[float], sign_in: Callable[[TokenEndpoint, list[float]], Answer]
) -> None:
    answer = sign_in(authority, now)
    store = MemoryStore()
    known = discover(authority.issuer)
    store.put(grant_record("key", "alice@mail.example", known, CLIENT, answer, clock=lambda: now[0]))
    source = OAuthTokens(store, "key", clock=lambda: now[0])
    first = source.token()
    assert (first.value, first.scope) == (answer.access_token, SCOPE)
    now[0] += 4_000
    second = source.token()
    assert second.value != first.value
    record = store.load("key")
    assert record is not None
    assert record.refresh_token != answer.refresh_token
    assert revocation.revoke(store, "key").at_server
    store.put(record)
    with pytest.raises(sasl.TokenError) as caught:
        OAuthTokens(store, "key", clock=lambda: now[0]).token(stale=second.value)
    assert (caught.value.code, caught.value.needs_user) == ("invalid_grant", True)


@pytest.mark.parametrize("sign_in", [by_browser, by_paste])
def test_a_person_who_says_no_grants_nothing(
    authority: TokenEndpoint, now: list[float], sign_in: Callable[[TokenEndpoint, list[float]], Answer]
) -> None:
    authority.answers = "deny"
    with pytest.raises(sasl.TokenError) as caught:
        sign_in(authority, now)
    assert caught.value.code == "access_denied"
    assert "/token" not in [asked.path for asked in authority.requests]
