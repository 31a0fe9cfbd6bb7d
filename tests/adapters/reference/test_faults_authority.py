"""Faults at the reference authority, by the same rules as at the mail servers."""

from __future__ import annotations

import http.client
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import pytest

from sasl.adapters import reference
from sasl.adapters.reference import token_endpoint
from sasl.adapters.reference.faults import parse
from sasl.adapters.reference.token_endpoint import FAULTS, LATE_FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sasl.adapters.reference.token_endpoint import TokenEndpoint


@pytest.fixture(scope="module")
def running() -> Iterator[TokenEndpoint]:
    with token_endpoint.running() as endpoint:
        yield endpoint


@pytest.fixture
def endpoint(running: TokenEndpoint) -> Iterator[TokenEndpoint]:
    """An authority with faults, all of which have to have struck at the end."""
    running.requests.clear()
    yield running
    unused = running.rules.unused
    running.rules.clear()
    assert unused == ()


def request(endpoint: TokenEndpoint, method: str, path: str, body: bytes = b"") -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(urlsplit(endpoint.url).netloc, timeout=5)
    connection.request(method, path, body, {"Content-Type": "application/x-www-form-urlencoded"})
    return connection


def renew(endpoint: TokenEndpoint) -> tuple[int, Any]:
    """Ask for an access token; return the status and what came."""
    info = endpoint.authorized_user("alice")
    fields = {name: info[name] for name in ("client_id", "client_secret", "refresh_token")}
    connection = request(endpoint, "POST", "/token", urlencode({"grant_type": "refresh_token", **fields}).encode())
    try:
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_a_status_is_answered_with_a_document(endpoint: TokenEndpoint) -> None:
    fault = endpoint.on("token").status(503, json={"error": "temporarily_unavailable"})
    status, body = renew(endpoint)
    assert (status, json.loads(body)) == (503, {"error": "temporarily_unavailable"})
    assert renew(endpoint)[0] == 200
    assert fault.hits == 1
    assert [asked.outcome for asked in endpoint.requests] == ["status", "granted"]


def test_a_status_may_stand_alone(endpoint: TokenEndpoint) -> None:
    endpoint.rules.add("oauth:token nth=2 status 418")
    assert renew(endpoint)[0] == 200
    assert renew(endpoint) == (418, b"")


@pytest.mark.parametrize("fault", sorted(set(FAULTS) - {"hang", "drip", "huge", "cut"}))
def test_the_authoritys_own_faults_have_the_same_names(fault: str, endpoint: TokenEndpoint) -> None:
    endpoint.on("token").fail(fault)
    struck = renew(endpoint)
    endpoint.faults.append(fault)  # type: ignore[arg-type]
    queued = renew(endpoint)
    if fault != "echo":  # which returns the token that was sent
        assert struck == queued
    assert [asked.outcome for asked in endpoint.requests] == [fault, fault]


def test_a_late_fault_comes_after_the_token_is_granted(endpoint: TokenEndpoint) -> None:
    endpoint.on("token").fail(LATE_FAULTS[0])
    assert renew(endpoint)[0] == 500
    assert endpoint.requests[-1].user == "alice"


def test_a_connection_is_dropped_or_reset_or_cut(endpoint: TokenEndpoint) -> None:
    endpoint.on("token").drop()
    with pytest.raises(http.client.RemoteDisconnected):
        renew(endpoint)
    endpoint.on("token").reset()
    with pytest.raises(ConnectionResetError):
        renew(endpoint)
    endpoint.on("token").truncate(120)
    with pytest.raises((http.client.IncompleteRead, http.client.RemoteDisconnected, ConnectionResetError)):
        renew(endpoint)


def test_an_answer_comes_late_and_octet_by_octet_and_is_the_same(endpoint: TokenEndpoint) -> None:
    endpoint.on("token").delay(0.03).split(1)
    before = time.monotonic()
    status, body = renew(endpoint)
    assert time.monotonic() - before >= 0.03
    assert status == 200
    assert "access_token" in json.loads(body)


def test_octets_may_be_anything(endpoint: TokenEndpoint) -> None:
    endpoint.on("token").raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{]")
    assert renew(endpoint) == (200, b"{]")


@pytest.mark.parametrize(
    ("event", "path"),
    [
        ("authorize", "/authorize"),
        ("jwks", "/jwks"),
        ("metadata", "/.well-known/openid-configuration"),
        ("metadata", "/.well-known/oauth-authorization-server"),
        ("openid-configuration", "/.well-known/openid-configuration"),
        ("*", "/jwks"),
    ],
)
def test_each_place_of_the_authority_can_fail(event: str, path: str, endpoint: TokenEndpoint) -> None:
    endpoint.on(event).status(500)
    connection = request(endpoint, "GET", path)
    assert connection.getresponse().status == 500
    connection.close()
    endpoint.on(event).fail("503")
    connection = request(endpoint, "GET", path)
    assert connection.getresponse().status == 503
    connection.close()


def test_a_fault_of_the_mail_servers_is_none_of_the_authority(endpoint: TokenEndpoint) -> None:
    mail = endpoint.rules.add("hang")
    assert renew(endpoint)[0] == 200
    mail.remove()


def test_an_authority_that_hangs_stops_at_once() -> None:
    with token_endpoint.running() as endpoint:
        endpoint.rules.add(*parse("oauth:hang"))
        connection = request(endpoint, "POST", "/token")
        while not endpoint.requests:
            time.sleep(0.001)
        before = time.monotonic()
    assert time.monotonic() - before < 1
    connection.close()


def test_the_authority_of_mail_servers_shares_their_faults() -> None:
    with reference.running(oauth=True) as servers:
        fault = servers.oauth.on("token").status(503)
        other = servers.faults.add("oauth:token nth=2 status 500")
        assert servers.faults.standing == (fault, other)
        assert [renew(servers.oauth)[0] for _ in range(3)] == [503, 500, 200]
        assert servers.faults.unused == ()


def test_what_several_faults_want_answered_is_answered_once(endpoint: TokenEndpoint) -> None:
    endpoint.on("token").then("answer; truncate 9")
    endpoint.on("token").then("answer; raw too much of it")
    info = endpoint.authorized_user("alice")
    fields = {name: info[name] for name in ("client_id", "client_secret", "refresh_token")}
    body = urlencode({"grant_type": "refresh_token", **fields}).encode()
    connection = request(endpoint, "POST", "/token", body)
    with connection.sock.makefile("rb") as said:
        answered = said.read()
    connection.close()
    assert answered.count(b"HTTP/1.1 200") == 1
    assert answered.endswith(b"}too much ")
