"""What is read of a server's certificate, whatever somebody has written into it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from sasl.adapters.cli.certificate import read_certificate
from sasl.value import replace


def der(subject: str = "mx", *names: x509.GeneralName) -> bytes:
    """A certificate that its own key has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    begin = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + dt.timedelta(days=1))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_it_tells_for_whom_it_is_by_whom_and_until_when(authority: trustme.CA) -> None:
    leaf = authority.issue_cert("localhost", "127.0.0.1").cert_chain_pems[0].bytes()
    parsed = x509.load_pem_x509_certificate(leaf)
    found: Any = read_certificate(parsed.public_bytes(Encoding.DER))
    assert found.names == ("localhost", "127.0.0.1")
    assert "trustme" in found.issuer
    assert found.sha256 == parsed.fingerprint(hashes.SHA256()).hex()
    assert found.list_names() == "localhost, 127.0.0.1"
    assert found.as_json()["names"] == ["localhost", "127.0.0.1"]


def test_times_are_in_utc() -> None:
    found: Any = read_certificate(der())
    assert (found.not_before, found.not_after) == ("2026-01-02 03:04:05", "2026-01-03 03:04:05")


def test_without_names_it_is_for_nobody() -> None:
    found: Any = read_certificate(der())
    assert found.names == ()
    assert found.list_names() == "no host at all"


def test_many_names_are_cut() -> None:
    found: Any = read_certificate(der("mx", *(x509.DNSName(f"mx{number}.example") for number in range(300))))
    assert len(found.names) == 100
    assert found.list_names().endswith("mx4.example and 95 more")
    assert replace(found, names=found.names[:5]).list_names().endswith("mx4.example")


def test_only_hosts_and_addresses_count_as_names() -> None:
    found: Any = read_certificate(der("mx", x509.RFC822Name("a@mx.example"), x509.DNSName("mx.example")))
    assert found.names == ("mx.example",)


def test_controls_in_it_reach_no_terminal() -> None:
    found: Any = read_certificate(der("\x1b[2J" + "x" * 60, x509.DNSName("\x1b]0;y\x07")))
    assert all(text.isprintable() for text in (found.subject, found.issuer, *found.names))


@pytest.mark.parametrize("octets", [None, b"", b"\0" * 40, der()[:-9]], ids=["none", "empty", "zeros", "cut"])
def test_what_cannot_be_read_is_none(octets: bytes | None) -> None:
    assert read_certificate(octets) is None
