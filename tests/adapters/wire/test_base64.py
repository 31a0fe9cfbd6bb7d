"""Base64 on the wire: strict both ways, bounded before decoding, and never taken for "=" or "*"."""

from __future__ import annotations

import pytest

import sasl
import sasl.spec
from sasl import base64
from sasl.adapters.wire import smtp

CASES = sasl.spec.cases("base64_framing")
VECTORS = sasl.spec.vectors("base64")
LIMIT = 12_288  # octets of base64, as RFC 4954 section 4 has it


def server():
    wire = smtp.ServerWire(["PLAIN"], channel=sasl.Channel(tls=True, service="smtp"))
    assert wire.receive(b"AUTH PLAIN\r\n").octets == b"334 \r\n"
    return wire


@pytest.mark.parametrize("case", [case for case in CASES if case.expect == "accept"], ids=str)
def test_what_is_base64_is_decoded(case):
    (text,) = (step.data for step in case.steps)
    if case.family == "empty-marker":  # an initial response of no octets, and nothing else (RFC 4954 section 4)
        wire = smtp.ServerWire(["PLAIN"], channel=sasl.Channel(tls=True, service="smtp"))
        wire.receive(b"AUTH PLAIN " + text + b"\r\n")
        assert case.values == {"decoded": b""}
        assert "not a PLAIN message" in wire.result.reason
        with pytest.raises(sasl.ProtocolError):
            base64.decode(text, limit=LIMIT)
        return
    assert base64.decode(text, limit=LIMIT) == case.values["decoded"]
    assert base64.encode(case.values["decoded"]) == text


@pytest.mark.parametrize("case", [case for case in CASES if case.expect in ("malformed", "limit")], ids=str)
def test_what_is_not_is_refused(case):
    (text,) = (step.data for step in case.steps)
    expected = {"malformed": sasl.ProtocolError, "limit": sasl.LimitExceeded}[case.expect]
    with pytest.raises(expected) as refused:
        base64.decode(text, limit=LIMIT)
    assert type(refused.value) is expected
    assert refused.value.__context__ is None  # it would hold the message
    if b"\r" in text or b"\n" in text:
        return  # a line of its own on the wire
    wire = server()
    wire.receive(text + b"\r\n")
    assert wire.result.kind == case.expect


@pytest.mark.parametrize("case", [case for case in CASES if case.expect == "cancelled"], ids=str)
def test_a_lone_star_cancels_and_is_never_decoded(case):
    (text,) = (step.data for step in case.steps)
    with pytest.raises(sasl.ProtocolError):
        base64.decode(text, limit=LIMIT)
    wire = server()
    wire.receive(text + b"\r\n")
    assert wire.result.kind == "cancelled"


def test_every_case_is_one_of_these():
    assert {case.expect for case in CASES} == {"accept", "malformed", "limit", "cancelled"}


@pytest.mark.parametrize("vector", VECTORS, ids=str)
def test_base64_agrees_with_the_vectors(vector):
    if vector.octets is None:
        with pytest.raises(sasl.ProtocolError):
            base64.decode(vector.text, limit=LIMIT)
    else:
        assert base64.decode(vector.text, limit=LIMIT) == vector.octets
        assert base64.encode(vector.octets) == vector.text


def test_the_limit_is_that_of_the_text_and_inclusive():
    assert base64.decode(b"AAAA", limit=4) == b"\0\0\0"
    with pytest.raises(sasl.LimitExceeded):
        base64.decode(b"AAAA", limit=3)


@pytest.mark.parametrize("octets", range(10))
def test_the_size_is_that_of_the_text(octets):
    assert base64.size(octets) == len(base64.encode(bytes(octets)))
