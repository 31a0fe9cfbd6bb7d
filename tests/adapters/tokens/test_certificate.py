"""Client assertions by a certificate: what PyJWT makes of them, who may use which key, and what nobody sees."""

from __future__ import annotations

import hashlib
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

import sasl
from sasl.adapters.tokens.certificate import certificate_assertion
from sasl.adapters.tokens.messages import Client
from sasl.adapters.tokens.oauth import client_credentials

from ...support.leaks import locals_of, seen, shown_by
from .conftest import reply

ENDPOINT = "https://login.example/tenant/oauth2/v2.0/token"
NOW = 1_800_000_000.0
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())


def pem(key: Any, password: bytes | None = None) -> bytes:
    locked = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    octets: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    return octets


def certificate(key: Any, days: int = 30) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a daemon")])
    begins = datetime.fromtimestamp(NOW, UTC) - timedelta(days=60)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(begins)
    builder = builder.not_valid_after(datetime.fromtimestamp(NOW, UTC) + timedelta(days=days))
    return builder.sign(key, hashes.SHA256())


def in_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def make(key: Any = None, *arguments: Any, **options: Any) -> Callable[[str], str]:
    return certificate_assertion("client", pem(RSA) if key is None else key, *arguments, clock=lambda: NOW, **options)


def refused(call: Callable[[], Any], *secrets: str) -> sasl.TokenError:
    with pytest.raises(sasl.TokenError) as caught:
        call()
    shown = [*shown_by(caught.value), *locals_of(caught.value, everywhere=True)]
    assert seen(shown, *secrets, *pem(RSA).decode().splitlines()[1:4]) == []
    return caught.value


def claims(token: str, key: Any = RSA, audience: str = ENDPOINT) -> dict[str, Any]:
    options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}  # 2027
    algorithms = ["RS256", "PS256", "ES256"]
    found: dict[str, Any] = jwt.decode(token, key.public_key(), algorithms, options, audience=audience, issuer="client")
    return found


@pytest.mark.parametrize(("algorithm", "key"), [("RS256", RSA), ("PS256", RSA), ("ES256", EC)])
def test_an_assertion_says_who_asks_where_and_until_when(algorithm: Any, key: Any) -> None:
    token = make(pem(key), algorithm=algorithm)(ENDPOINT)
    found = claims(token, key)
    assert len(found.pop("jti")) == 32
    assert found == {"iss": "client", "sub": "client", "aud": ENDPOINT, "iat": NOW, "nbf": NOW, "exp": NOW + 300}
    assert jwt.get_unverified_header(token) == {"alg": algorithm, "typ": "JWT"}


def test_no_two_assertions_are_the_same() -> None:
    assertion = make()
    assert claims(assertion(ENDPOINT))["jti"] != claims(assertion(ENDPOINT))["jti"]


def test_the_header_names_the_certificate_by_its_thumbprints() -> None:
    found = certificate(RSA)
    der = found.public_bytes(serialization.Encoding.DER)
    header = jwt.get_unverified_header(make(pem(RSA), in_pem(found), key_id="of-mine", lifetime=60)(ENDPOINT))
    assert header == {
        "alg": "RS256",
        "typ": "JWT",
        "kid": "of-mine",
        "x5t": urlsafe_b64encode(hashlib.sha1(der).digest()).decode().rstrip("="),
        "x5t#S256": urlsafe_b64encode(hashlib.sha256(der).digest()).decode().rstrip("="),
    }


@pytest.mark.parametrize("order", [1, -1], ids=["the key first", "the certificate first"])
def test_one_file_may_hold_both(tmp_path: Path, order: int) -> None:
    path = tmp_path / "both.pem"
    path.write_bytes(b"".join([pem(RSA), in_pem(certificate(RSA))][::order]))
    assert claims(make(path, str(path))(ENDPOINT))


def test_a_key_that_is_replaced_is_used_without_a_restart(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "certificate.pem"
    key.write_bytes(pem(EC))
    cert.write_bytes(in_pem(certificate(EC)))
    assertion = make(key, cert, algorithm="ES256")
    other = ec.generate_private_key(ec.SECP256R1())
    key.write_bytes(pem(other))
    cert.write_bytes(in_pem(certificate(other)))
    assert claims(assertion(ENDPOINT), other)
    key.unlink()
    assert refused(lambda: assertion(ENDPOINT)).code == "bad_file"


def test_a_locked_key_is_opened_by_its_password() -> None:
    assert claims(make(pem(RSA, b"open sesame"), password="open sesame")(ENDPOINT))
    for password in (None, "hunter2-the-wrong-one"):
        failure = refused(lambda password=password: make(pem(RSA, b"open sesame"), password=password), "hunter2-the")  # type: ignore[misc]
        assert (failure.code, bool(failure.hint)) == ("bad_key", True)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (pem(RSA), "ES256"),
        (pem(EC), "RS256"),
        (pem(EC), "PS256"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "ES256"),
        (pem(rsa.generate_private_key(65537, 1024)), "RS256"),
        (in_pem(certificate(RSA)), "RS256"),
        (b"", "RS256"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "RS256"),
    ],
    ids=["RSA for ES256", "EC for RS256", "EC for PS256", "P-384", "1024 bits", "a certificate", "nothing", "broken"],
)
def test_a_key_that_cannot_be_used_is_told_at_once(key: bytes, algorithm: Any) -> None:
    failure = refused(lambda: make(key, algorithm=algorithm))
    assert (failure.code, failure.retryable, failure.needs_user) == ("bad_key", False, False)


def test_the_certificate_is_that_of_the_key_and_still_good() -> None:
    assert refused(lambda: make(pem(RSA), in_pem(certificate(EC)))).code == "bad_key"
    failure = refused(lambda: make(pem(RSA), in_pem(certificate(RSA, days=-1))))
    assert (failure.code, "2027-01-14" in str(failure)) == ("certificate_over", True)
    assert failure.hint
    assert refused(lambda: make(pem(RSA), b"no certificate")).code == "bad_file"


@pytest.mark.parametrize(
    "options",
    [
        {"algorithm": "none"},
        {"algorithm": "HS256"},
        {"lifetime": 0},
        {"lifetime": -1},
        {"lifetime": float("nan")},
        {"lifetime": 86_401},
    ],
    ids=str,
)
def test_what_no_assertion_has_is_the_callers_mistake(options: dict[str, Any]) -> None:
    with pytest.raises(sasl.UsageError):
        make(**options)


@pytest.mark.parametrize("key", [pem(RSA).decode(), 7], ids=["text", "a number"])
def test_a_key_is_a_path_or_octets_and_is_not_shown(key: Any) -> None:
    with pytest.raises(sasl.UsageError) as caught:
        make(key)
    shown = [*shown_by(caught.value), *locals_of(caught.value, everywhere=True)]
    assert seen(shown, *pem(RSA).decode().splitlines()[1:4]) == []


def test_a_signer_shows_its_client_alone() -> None:
    assert repr(make(password=None)) == "<assertions of the client client>"


def test_a_daemon_gets_its_token_by_an_assertion_in_place_of_a_secret(scripted: Callable[..., Any]) -> None:
    server = scripted(reply({"access_token": "tok", "expires_in": 3600}))
    client = Client("client", assertion=make(pem(RSA), in_pem(certificate(RSA))))
    assert client_credentials(server.url, client, "https://outlook.office365.com/.default").token().value == "tok"
    form = dict(parse_qsl(server.requests[0].partition(b"\r\n\r\n")[2].decode()))
    assert claims(form.pop("client_assertion"), audience=server.url)["sub"] == "client"
    assert form == {
        "grant_type": "client_credentials",
        "client_id": "client",
        "scope": "https://outlook.office365.com/.default",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    }


def test_a_key_that_is_gone_is_told_by_whoever_asks_for_the_token(scripted: Callable[..., Any], tmp_path: Path) -> None:
    server = scripted(reply({"access_token": "tok"}))
    path = tmp_path / "key.pem"
    path.write_bytes(pem(RSA))
    source = client_credentials(server.url, Client("client", assertion=make(path)), None)
    path.unlink()
    failure = refused(source.token)
    assert (failure.code, failure.retryable, server.requests) == ("bad_file", False, [])


def test_without_pyjwt_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jwt", None)
    failure = refused(make)
    assert (failure.code, "saslkit[jwt]" in str(failure)) == ("missing_extra", True)
