"""The reference authority: clients that prove who they are, revocation, introspection, faults after the commit."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import ssl
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

import sasl
from sasl.adapters.reference import token_endpoint
from sasl.adapters.reference.certificates import Authority
from sasl.adapters.tokens.certificate import certificate_assertion
from sasl.adapters.tokens.http import Request
from sasl.adapters.tokens.messages import Client, client_credentials_form, send

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sasl.adapters.reference.token_endpoint import LateFault, TokenEndpoint

FORM = "application/x-www-form-urlencoded"
NOW = 1_800_000_000.0


@pytest.fixture
def now() -> list[float]:
    return [NOW]


@pytest.fixture
def authority(now: list[float]) -> Iterator[TokenEndpoint]:
    with token_endpoint.running(clock=lambda: now[0]) as running:
        running.register("daemon", secret="s3cret")
        running.register("public")
        yield running


def post(
    authority: TokenEndpoint, path: str, form: Mapping[str, str] | bytes, basic: str | None = None
) -> tuple[int, Any]:
    """Send a form; return the status and the document, None for an empty one."""
    connection = http.client.HTTPConnection(urlsplit(authority.url).netloc, timeout=5)
    headers = {"Content-Type": FORM}
    if basic is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(basic.encode()).decode()
    with contextlib.closing(connection):
        connection.request("POST", path, form if isinstance(form, bytes) else urlencode(form).encode(), headers)
        response = connection.getresponse()
        octets = response.read()
        return response.status, json.loads(octets) if octets.startswith(b"{") else octets or None


def refresh(info: Mapping[str, str]) -> dict[str, str]:
    fields = {name: info[name] for name in ("client_id", "client_secret", "refresh_token")}
    return {"grant_type": "refresh_token", **fields}


# --- client credentials


@pytest.mark.parametrize("basic", [False, True], ids=["form", "header"])
def test_a_program_gets_a_token_by_its_secret(authority: TokenEndpoint, basic: bool) -> None:
    client = Client("daemon", secret=sasl.Secret("s3cret"), basic=basic)
    answer = send(Request(), authority.url, client, client_credentials_form("mail.send"))
    assert (answer.scope, answer.refresh_token, answer.expires_in) == ("mail.send", None, 3_600)
    assert authority.state(answer.access_token.reveal()) == "good"
    assert (authority.requests[-1].grant, authority.requests[-1].user) == ("client_credentials", "daemon")


@pytest.mark.parametrize(
    ("form", "basic", "error"),
    [
        ({"client_id": "daemon", "client_secret": "guess"}, None, "invalid_client"),
        ({"client_id": "daemon"}, None, "invalid_client"),
        ({}, "daemon:guess", "invalid_client"),
        ({"client_id": "public"}, "daemon:s3cret", "invalid_client"),
        ({"client_id": "daemon", "client_secret": "s3cret"}, "daemon:s3cret", "invalid_client"),
        ({"client_id": "public"}, None, "unauthorized_client"),
        ({}, None, "invalid_client"),
    ],
)
def test_who_does_not_prove_it_gets_none(
    authority: TokenEndpoint, form: dict[str, str], basic: str | None, error: str
) -> None:
    assert post(authority, "/token", {"grant_type": "client_credentials", **form}, basic)[1]["error"] == error


@pytest.fixture(scope="module")
def pair() -> tuple[bytes, bytes]:
    """A key and its certificate, PEM."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "robot")])
    begun = datetime.fromtimestamp(NOW, UTC) - timedelta(days=1)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(begun).not_valid_after(begun + timedelta(days=30))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_a_program_gets_a_token_by_its_certificate_and_an_assertion_is_good_once(
    authority: TokenEndpoint, pair: tuple[bytes, bytes], now: list[float]
) -> None:
    key, certificate = pair
    authority.register("robot", certificate=certificate)
    sign = certificate_assertion("robot", key, certificate=certificate, clock=lambda: now[0])
    made = sign(authority.url)
    client = Client("robot", assertion=lambda _endpoint: made)
    assert send(Request(), authority.url, client, client_credentials_form(None)).access_token
    for assertion in (made, sign("https://elsewhere.example/token"), made[:-3] + "AAA", "x"):
        with pytest.raises(sasl.TokenError) as caught:
            again = Client("robot", assertion=lambda _endpoint, assertion=assertion: assertion)  # type: ignore[misc]
            send(Request(), authority.url, again, client_credentials_form(None))
        assert caught.value.code == "invalid_client"
    late = sign(authority.url)
    now[0] += 7_200
    with pytest.raises(sasl.TokenError):
        send(Request(), authority.url, Client("robot", assertion=lambda _: late), client_credentials_form(None))


def test_a_certificate_that_is_not_of_rsa_is_refused_when_it_is_registered(authority: TokenEndpoint) -> None:
    with pytest.raises(sasl.UsageError, match="RSA"):
        authority.register("robot", certificate=Authority("elliptic").certificate)


# --- what becomes of tokens


def test_its_clock_is_the_one_that_was_given(authority: TokenEndpoint, now: list[float]) -> None:
    token = authority.issue("alice", 60)
    assert authority.state(token) == "good"
    now[0] += 60
    assert authority.state(token) == "expired"


def test_a_revoked_grant_takes_its_tokens_along(authority: TokenEndpoint) -> None:
    info = authority.authorized_user("alice")
    token = post(authority, "/token", refresh(info))[1]["access_token"]
    form = {**refresh(info), "token": info["refresh_token"]}
    assert post(authority, "/revoke", form) == (200, None)
    assert authority.state(token) == "revoked"
    assert post(authority, "/token", refresh(info))[1]["error"] == "invalid_grant"
    assert post(authority, "/revoke", {**form, "token": "unknown"}) == (200, None)  # RFC 7009 section 2.2


def test_nobody_revokes_or_renews_what_is_anothers(authority: TokenEndpoint) -> None:
    info = authority.authorized_user("alice")
    others = {"client_id": "daemon", "client_secret": "s3cret"}
    assert post(authority, "/revoke", {**others, "token": info["refresh_token"]})[1]["error"] == "invalid_grant"
    assert post(authority, "/token", {**refresh(info), **others})[1]["error"] == "invalid_grant"
    assert post(authority, "/revoke", {"token": info["refresh_token"]})[0] == 401
    assert post(authority, "/token", refresh(info))[0] == 200


def test_introspection_tells_a_client_that_proves_itself_what_a_token_is(
    authority: TokenEndpoint, now: list[float]
) -> None:
    token = authority.issue("alice", 60)
    form = {"client_id": "daemon", "client_secret": "s3cret", "token": token}
    told = post(authority, "/introspect", form)[1]
    assert (told["active"], told["sub"], told["exp"]) == (True, "alice", int(NOW) + 60)
    now[0] += 60
    assert post(authority, "/introspect", form) == (200, {"active": False})
    assert post(authority, "/introspect", {**form, "token": "unknown"}) == (200, {"active": False})


@pytest.mark.parametrize("who", [{}, {"client_id": "daemon"}, {"client_id": "public"}], ids=str)
def test_introspection_tells_nobody_else_anything(authority: TokenEndpoint, who: dict[str, str]) -> None:
    status, told = post(authority, "/introspect", {**who, "token": authority.issue("alice")})
    assert (status, told["error"]) == (401, "invalid_client")


def test_a_field_that_is_there_twice_is_refused_everywhere(authority: TokenEndpoint) -> None:
    for path in ("/introspect", "/revoke"):
        body = b"client_id=daemon&client_secret=s3cret&token=a&token=b"
        assert post(authority, path, body)[1]["error"] == "invalid_request"


@pytest.mark.parametrize("fault", token_endpoint.LATE_FAULTS)
def test_a_fault_after_the_commit_has_used_up_the_refresh_token(authority: TokenEndpoint, fault: LateFault) -> None:
    authority.rotates = True
    info = authority.authorized_user("alice")
    authority.faults.append(fault)
    with pytest.raises(sasl.TokenError):
        Request(timeout=0.2)(authority.url, "POST", urlencode(refresh(info)).encode(), {"Content-Type": FORM})
    assert authority.requests[-1].outcome == fault
    assert post(authority, "/token", refresh(info))[1]["error"] == "invalid_grant"


@pytest.mark.parametrize(("reuse", "again"), [("strict", [400, 400]), ("grace", [200, 400]), ("keep", [200, 200])])
def test_a_refresh_token_that_was_used_is_good_again_as_the_mode_has_it(
    authority: TokenEndpoint, reuse: Any, again: list[int]
) -> None:
    authority.rotates, authority.reuse = True, reuse
    info = authority.authorized_user("alice")
    first = post(authority, "/token", refresh(info))[1]["refresh_token"]
    statuses = [post(authority, "/token", refresh(info))[0]]
    post(authority, "/token", {**refresh(info), "refresh_token": first})
    statuses.append(post(authority, "/token", refresh(info))[0])
    assert statuses == again


def test_who_is_told_to_wait_is_told_how_long(authority: TokenEndpoint) -> None:
    authority.retry_after = 120
    body = urlencode(refresh(authority.authorized_user("alice"))).encode()
    for fault in ("429", "500", "503", "500-after"):
        authority.faults.append(fault)
        with pytest.raises(sasl.TokenError) as caught:
            Request()(authority.url, "POST", body, {"Content-Type": FORM})
        assert (caught.value.retryable, caught.value.retry_after) == (True, 120)


def test_it_waits_before_and_after(authority: TokenEndpoint) -> None:
    info = authority.authorized_user("alice")
    for when, kept in (("delay_before", "granted"), ("delay_after", "granted")):
        setattr(authority, when, 0.3)
        with pytest.raises(sasl.TokenError):
            Request(timeout=0.1)(authority.url, "POST", urlencode(refresh(info)).encode(), {"Content-Type": FORM})
        setattr(authority, when, 0.0)
        assert post(authority, "/token", refresh(info))[0] == 200
        assert authority.requests[-1].outcome == kept


# --- HTTP


def test_it_speaks_https_by_a_certificate_of_its_own_ca() -> None:
    with token_endpoint.running(tls=True) as authority:
        assert authority.url.startswith("https://127.0.0.1:")
        authority.register("daemon", secret="s3cret")
        client = Client("daemon", secret=sasl.Secret("s3cret"))
        trusting = Request(context=ssl.create_default_context(cafile=str(authority.ca_file)))
        assert send(trusting, authority.url, client, client_credentials_form(None)).access_token
        with pytest.raises(sasl.TokenError):
            send(Request(), authority.url, client, client_credentials_form(None))


@pytest.mark.parametrize("path", ["/token", "/introspect", "/revoke", "/device"])
def test_octets_that_are_no_text_are_refused_as_any_other(authority: TokenEndpoint, path: str) -> None:
    body = b"grant_type=refresh_token&client_id=daemon&client_secret=s3cret&token=%ed%a0%80&refresh_token=\xff\xfe"
    assert post(authority, path, body)[0] in (200, 400)
    assert post(authority, path, {}, "\xff:%zz")[0] in (400, 401)


def test_what_it_cannot_do_is_told_and_says_what_is_missing(
    authority: TokenEndpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "jwt", None)
    authority.jwt = True
    info = authority.authorized_user("alice")
    assert post(authority, "/token", refresh(info)) == (500, b"500 Internal Server Error\n")
    assert "saslkit[jwt]" in caplog.text
    assert info["refresh_token"] not in caplog.text
