"""Whom a client certificate names."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pyasn1.codec.der.encoder import encode
from pyasn1.type.char import BMPString, IA5String, UTF8String
from pyasn1.type.univ import Integer, ObjectIdentifier, OctetString, SequenceOf

import sasl
from sasl.adapters.verifiers.certificate import SMTP_UTF8_MAILBOX, UPN, check, identities, why_nobody

KEY = ec.generate_private_key(ec.SECP256R1())
EMAIL = "rfc822Name"
HOST = "dNSName"


def made(*names: tuple[str, Any], subject: tuple[str, ...] = (), raw: bytes | None = None) -> bytes:
    """A certificate with these alternative names: a text, or the octets of an otherName."""
    now = datetime.now(UTC)
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in subject]))
        .issuer_name(issuer)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    if raw is not None:
        oid = x509.SubjectAlternativeName.oid
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, raw), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([general(*name) for name in names]), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def general(kind: str, value: Any) -> x509.GeneralName:
    if kind == EMAIL:
        return x509.RFC822Name._init_without_validation(value)
    if kind == HOST:
        return x509.DNSName(value)
    octets = value if isinstance(value, bytes) else encode(UTF8String(value))
    return x509.OtherName(x509.ObjectIdentifier(kind), octets)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (EMAIL, "alice@example.org"),
        (UPN, "alice@example.org"),
        (UPN, "\u00e4lice@example.org"),
        (SMTP_UTF8_MAILBOX, "\u00e4lice@example.org"),
        (SMTP_UTF8_MAILBOX, "\u00e4lice@\u00e4.example"),
        (SMTP_UTF8_MAILBOX, "\u0645\u062d\u0645\u062f@example.org"),  # from right to left, in a domain that is not
    ],
)
def test_a_mailbox_is_who_it_is(kind: str, name: str) -> None:
    assert identities(made((kind, name))) == [name]


@pytest.mark.parametrize("name", ["root@example.org", "root@\u00e4.example"])
def test_an_ascii_mailbox_in_the_form_for_others_is_left_out(name: str) -> None:
    """A CA that is held to some mailboxes is held to them in rfc822Name only (RFC 8398 sections 3 and 6)."""
    assert identities(made((SMTP_UTF8_MAILBOX, name), (UPN, "alice@example.org"))) == ["alice@example.org"]


ALIASES = [
    "\uff52oot@example.org",  # in full width
    "ro\u00adot@example.org",
    "root@ex\u200bample.org",
    "root@\uff45xample.org",
    "root@example\u3002org\u00ad",
    "u\u0308ser@example.org",
    "root\u00a0@example.org",
    "\u212aelvin@example.org",
]
PROHIBITED = [
    "root\u202e@example.org",
    "\ue000root@example.org",
    "\u0645x@example.org",
    "\xe4" * 1_025 + "@x.org",
]


@pytest.mark.parametrize("name", ALIASES + PROHIBITED)
def test_a_name_that_saslprep_makes_another_is_left_out(name: str) -> None:
    """Whoever prepares it later would let in another user."""
    assert identities(made((UPN, name), (UPN, "alice@example.org"))) == ["alice@example.org"]


@pytest.mark.parametrize("name", [*ALIASES, *PROHIBITED[:3], "\uff52oot", "ro\u00adot"])
def test_so_is_such_a_common_name(name: str) -> None:
    assert identities(made(subject=(name, "alice")), common_name=True) == ["alice"]


def test_names_come_in_the_order_of_their_kinds() -> None:
    certificate = made(
        (UPN, "upn@example.org"),
        (SMTP_UTF8_MAILBOX, "\u00fctf8@example.org"),
        (HOST, "alice.example.org"),
        (EMAIL, "one@example.org"),
        (EMAIL, "two@example.org"),
    )
    mailboxes = ["one@example.org", "two@example.org", "\u00fctf8@example.org", "upn@example.org"]
    assert identities(certificate) == mailboxes
    assert identities(made(subject=("common@example.org", "alice")), common_name=True) == [
        "common@example.org",
        "alice",
    ]


def test_a_name_that_comes_twice_is_one() -> None:
    certificate = made((EMAIL, "a@example.org"), (UPN, "a@EXAMPLE.org"), (EMAIL, "b@example.org"))
    assert identities(certificate) == ["a@example.org", "b@example.org"]
    assert identities(made(subject=("a", "b", "a")), common_name=True) == ["a", "b"]


def test_a_common_name_counts_only_where_it_is_asked_for() -> None:
    certificate = made(subject=("alice",))
    assert identities(certificate) == []
    assert identities(certificate, common_name=True) == ["alice"]


@pytest.mark.parametrize("kind", [EMAIL, SMTP_UTF8_MAILBOX, UPN])
@pytest.mark.parametrize(
    "value",
    [
        "bob@localhost",
        "b\u00f6b@localhost",
        "",
        "bob",
        "bob\0@localhost",
        "\uff42ob@localhost",
        encode(IA5String("bob@localhost")),
        encode(Integer(5)),
        b"\x0c\x01\xff",
    ],
    ids=repr,
)
def test_a_common_name_does_not_count_beside_a_mailbox_not_even_one_that_is_none(kind: str, value: Any) -> None:
    if kind == EMAIL and not (isinstance(value, str) and value.isascii()):
        kind = UPN  # an IA5String cannot hold it
    certificate = made((kind, value), subject=("alice",))
    assert identities(certificate, common_name=True) == identities(certificate)
    assert check(sasl.CheckCertificate(certificate, "alice"), common_name=True) != sasl.Accepted("alice")


def test_a_common_name_counts_beside_names_that_are_no_mailboxes() -> None:
    certificate = made((HOST, "alice.example.org"), ("1.2.3.4", "bob@example.org"), subject=("alice",))
    assert identities(certificate, common_name=True) == ["alice"]


def test_a_certificate_may_name_nobody() -> None:
    assert identities(made(), common_name=True) == []
    assert identities(made((HOST, "alice.example.org"))) == []
    assert identities(made(("1.2.3.4", "alice@example.org"))) == []


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Alice@Example.ORG", "Alice@example.org"),
        ('"A@B"@C.example', '"A@B"@c.example'),
        ("alice@\u0130STANBUL.example", "alice@\u0130stanbul.example"),  # str.lower() makes it two characters
    ],
)
def test_only_the_domain_is_lowered_and_in_ascii_only(name: str, found: str) -> None:
    assert identities(made((UPN, name))) == [found]


@pytest.mark.parametrize("name", ["Alice", "ALICE.example"])
def test_a_common_name_that_is_no_mailbox_stays_as_it_is(name: str) -> None:
    assert identities(made(subject=(name,)), common_name=True) == [name]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "root\0@example.org",
        "root@example.org\0.attacker.example",
        "a\rb@example.org",
        "a\n@example.org",
        "a\x7f@example.org",
        "a\x85@example.org",
        "a\u2028@example.org",
        "alice",
        "@example.org",
        "alice@",
        "@",
    ],
)
@pytest.mark.parametrize("kind", [EMAIL, SMTP_UTF8_MAILBOX, UPN])
def test_a_name_that_is_no_mailbox_is_left_out(kind: str, name: str) -> None:
    if kind == EMAIL and not name.isascii():
        kind = UPN  # an IA5String cannot hold it
    if kind == SMTP_UTF8_MAILBOX:
        name = name.replace("a", "\u00e4").replace("o", "\u00f6")
    assert identities(made((kind, name), (EMAIL, "alice@example.org"))) == ["alice@example.org"]


@pytest.mark.parametrize("name", ["root\0", "\0", "a\nb"])
def test_a_common_name_with_controls_is_left_out(name: str) -> None:
    assert identities(made(subject=(name, "alice")), common_name=True) == ["alice"]


NAME = "r\u00f6\u00f6t@example.org"
GOOD = encode(UTF8String(NAME))


@pytest.mark.parametrize("kind", [SMTP_UTF8_MAILBOX, UPN])
@pytest.mark.parametrize(
    "octets",
    [
        bytes([0x2C, len(GOOD)]) + GOOD,  # in parts, as BER may have it
        b"\x0c\x00",
        b"\x0c\x06\xc3\xa4@b\xff\xfe",
        b"\x0c\x07\xc3\xa4@b\xed\xa0\x80",
        b"\x16" + GOOD[1:],  # an IA5String
        encode(BMPString(NAME)),
        encode(OctetString(NAME.encode())),
        encode(Integer(5)),
        b"\x05\x00",
    ],
    ids=lambda octets: octets.hex(),
)
def test_an_other_name_that_is_no_utf8_string_is_left_out(kind: str, octets: bytes) -> None:
    assert identities(made((kind, GOOD), (UPN, "alice@example.org"))) == [NAME, "alice@example.org"]
    assert identities(made((kind, octets), (UPN, "alice@example.org"))) == ["alice@example.org"]


def sequence(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return bytes([tag, len(content)]) + content


@pytest.mark.parametrize(
    "octets",
    [
        GOOD + b"\0",
        GOOD + GOOD,
        GOOD[:-1],
        GOOD[:2],
        b"",
        b"\x0c\x80" + GOOD + b"\0\0",  # an indefinite length, and one in more octets than it needs
        bytes([0x0C, 0x81, len(GOOD) - 2]) + GOOD[2:],
    ],
    ids=lambda octets: octets.hex(),
)
def test_an_other_name_that_is_no_der_makes_the_certificate_unreadable(octets: bytes) -> None:
    oid = encode(ObjectIdentifier(UPN))
    mailbox = sequence(0x81, b"alice@example.org")
    good, bad = (sequence(0x30, sequence(0xA0, oid, sequence(0xA0, each)), mailbox) for each in (GOOD, octets))
    assert identities(made(raw=good)) == ["alice@example.org", NAME]
    with pytest.raises(sasl.UsageError, match="cannot be read"):
        identities(made(raw=bad))


@pytest.mark.parametrize(
    "certificate",
    [
        b"",
        b"no certificate",
        made((EMAIL, "a@example.org")) + b"\0",
        made((EMAIL, "a@example.org"))[:-1],
        b"-----BEGIN CERTIFICATE-----\n",
        made(raw=b"\x30\x03\x81\x05a"),
        made(raw=b"\xff"),
        made(raw=encode(SequenceOf(componentType=Integer()).setComponentByPosition(0, Integer(1)))),
        made(raw=b"\x30\x12\x81\x0ba@example.c\x87\x03\x01\x02\x03", subject=("alice",)),
    ],
    ids=[
        "nothing",
        "no DER",
        "an octet too many",
        "an octet too few",
        "the head of a PEM",
        "a mailbox that is cut off",
        "names that are no DER",
        "numbers for names",
        "an address of three octets",
    ],
)
def test_a_certificate_that_cannot_be_read_is_the_callers_mistake(certificate: bytes) -> None:
    """One bad name of a kind that is not looked at spoils them all: who wrote it wrote the others."""
    with pytest.raises(sasl.UsageError, match="cannot be read") as caught:
        identities(certificate, common_name=True)
    assert caught.value.__context__ is None


# --- as a verifier


TWO = made((EMAIL, "alice@example.org"), (EMAIL, "bob@example.org"))


@pytest.mark.parametrize(
    ("authzid", "identity"),
    [
        (None, "alice@example.org"),
        ("", "alice@example.org"),
        ("alice@example.org", "alice@example.org"),
        ("bob@example.org", "bob@example.org"),
        ("bob@EXAMPLE.org", "bob@example.org"),
        ("Bob@example.org", "alice@example.org"),
        ("root", "alice@example.org"),
    ],
)
def test_of_several_names_it_is_the_one_that_the_client_asks_for(authzid: str | None, identity: str) -> None:
    assert check(sasl.CheckCertificate(TWO, authzid)) == sasl.Accepted(identity)


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        (None, "no client certificate"),
        (b"x", "cannot be read"),
        (made(subject=("alice",)), "names nobody: it has a commonName, which does not count"),
        (made(), "names nobody: it has no mailbox, no principal name, no commonName"),
        (made((EMAIL, "alice")), "names nobody: it has a mailbox that is not usable"),
    ],
)
def test_without_a_name_it_is_nobody(certificate: bytes | None, reason: str) -> None:
    answer = check(sasl.CheckCertificate(certificate, None))
    assert isinstance(answer, sasl.Rejected)
    assert reason in answer.reason
    assert answer.kind == "credentials"


def test_the_common_name_is_believed_where_the_server_says_so() -> None:
    question = sasl.CheckCertificate(made(subject=("alice",)), None)
    assert check(question, common_name=True) == sasl.Accepted("alice")


def test_other_questions_are_others_to_answer() -> None:
    assert check(sasl.Authorize("alice", None)) is NotImplemented
    assert check(sasl.CheckPassword("alice", sasl.Secret("wonderland"))) is NotImplemented


def test_it_serves_the_external_mechanism() -> None:
    exchange = sasl.server("EXTERNAL", certificate=TWO)
    event = sasl.settle(exchange, exchange.start(b"bob@example.org"), check)
    assert event == sasl.Success("bob@example.org", "bob@example.org")


@pytest.mark.parametrize("name", ["alice@example.org", "alice@EXAMPLE.org"])
def test_an_authzid_spells_the_domain_as_it_likes(name: str) -> None:
    """Whatever the certificate writes: a user has one name."""
    certificate = made((EMAIL, name))
    events = {}
    for authzid in (b"", b"alice@example.org", b"alice@EXAMPLE.org"):
        exchange = sasl.server("EXTERNAL", certificate=certificate)
        events[authzid] = sasl.settle(exchange, exchange.start(authzid), check)
    success = sasl.Success("alice@example.org", "alice@example.org")
    assert events[b""] == events[b"alice@example.org"] == events[b"alice@EXAMPLE.org"] == success


def test_who_is_not_in_the_certificate_is_refused_by_both_names() -> None:
    exchange = sasl.server("EXTERNAL", certificate=made((EMAIL, "alice@example.org")))
    event = sasl.settle(exchange, exchange.start(b"bob@example.org"), check)
    assert event == sasl.Failure("authorization", "'alice@example.org' may not act as 'bob@example.org' here")


def test_importing_it_does_not_load_cryptography() -> None:
    code = (
        "import json, sys, sasl.adapters.verifiers.certificate, sasl.adapters.channel_binding;"
        "print(json.dumps([*sys.modules]))"
    )
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in json.loads(run.stdout)}
    assert loaded & {"cryptography", "pyasn1", "OpenSSL"} == set()


def test_why_a_certificate_names_nobody_says_what_there_is() -> None:
    principal = made((UPN, "alice"), subject=("alice",))
    assert why_nobody(principal).endswith(
        "it has a principal name (UPN) that is no mailbox; a commonName, which does not count"
    )
    assert why_nobody(principal, common_name=True).endswith("a commonName, which does not count beside a mailbox")
    assert why_nobody(made(subject=("al\xadice",)), common_name=True).endswith("it has a commonName that is not usable")
    assert why_nobody(b"x") == "the client certificate cannot be read"
