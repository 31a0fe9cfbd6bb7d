"""The GS2 header (RFC 5801 section 4) beyond the corpus: each flag, each escape, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sasl
from sasl.gs2 import Gs2Header, escape, parse, unescape

HEADERS = [
    (Gs2Header("n"), b"n,,"),
    (Gs2Header("y"), b"y,,"),
    (Gs2Header("p", "tls-exporter"), b"p=tls-exporter,,"),
    (Gs2Header("n", None, "joe"), b"n,a=joe,"),
    (Gs2Header("y", None, "a=b,c"), b"y,a=a=3Db=2Cc,"),
    (Gs2Header("p", "tls-unique", "jos\u00e9"), b"p=tls-unique,a=jos\xc3\xa9,"),
    (Gs2Header("n", None, "=2C"), b"n,a==3D2C,"),
    (Gs2Header("n", None, "a\nb"), b"n,a=a\nb,"),
]


@pytest.mark.parametrize(("header", "octets"), HEADERS, ids=lambda value: ascii(value))
@pytest.mark.parametrize("rest", [b"", b"\x01auth=x", b"n=joe,r=nonce", b",,"])
def test_a_header_is_printed_and_parsed(header: Gs2Header, octets: bytes, rest: bytes) -> None:
    assert header.encode() == octets
    assert parse(octets + rest) == (header, rest)


@pytest.mark.parametrize(
    "message",
    [b"", b"n", b"n,", b"n,a=,", b"n,a=joe", b"n,joe,", b"N,,", b"x,,", b"p,,", b"p=,,", b"p=a b,,", b"p=a_b,,",
     b"y=x,,", b"F,n,,", b" n,,", b"n ,,", b"n,A=joe,", b"n,user=joe,", b"n,a=a=b,", b"n,a=a=2c,", b"n,a=a=3d,",
     b"n,a=a=", b"n,a==,", b"n,a=\0,", b"n,a=\xff,", b"n,a=\xed\xa0\x80,", b"\n,,"],
    ids=ascii,
)  # fmt: skip
def test_what_is_no_header_is_a_protocol_error(message: bytes) -> None:
    with pytest.raises(sasl.ProtocolError) as caught:
        parse(message)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("name", ["", "\0", "a\0b", "\ud800"], ids=ascii)
def test_a_name_that_cannot_be_sent_is_a_usage_error(name: str) -> None:
    with pytest.raises(sasl.UsageError, match="cannot be sent") as caught:
        escape(name)
    assert caught.value.__context__ is None
    with pytest.raises(sasl.UsageError):
        Gs2Header("n", None, name).encode()


@pytest.mark.parametrize(
    "name", [b"", b",", b"a,b", b"=", b"a=", b"=2", b"=2c", b"=3d", b"=3E", b"\0", b"\xff"], ids=ascii
)
def test_what_is_no_saslname_is_a_protocol_error(name: bytes) -> None:
    with pytest.raises(sasl.ProtocolError, match="saslname"):
        unescape(name)


@given(st.text(min_size=1).filter(lambda name: "\0" not in name))
def test_a_name_survives_its_escape(name: str) -> None:
    escaped = escape(name)
    assert b"," not in escaped
    assert unescape(escaped) == name


@given(st.binary(max_size=24) | st.from_regex(rb"[nyp]=?[a-z]{0,3},(a=.{0,6})?,.{0,4}", fullmatch=True))
def test_what_parses_prints_the_same_octets(message: bytes) -> None:
    try:
        header, rest = parse(message)
    except sasl.ProtocolError:
        return
    assert header.encode() + rest == message
