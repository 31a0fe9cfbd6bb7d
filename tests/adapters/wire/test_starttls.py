"""STARTTLS and STLS: TLS begins after a plain yes with nothing behind it, and after nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from sasl.adapters.wire import imap, pop, smtp
from sasl.errors import PolicyViolation

COMMANDS = {imap: b"T1 STARTTLS\r\n", pop: b"STLS\r\n", smtp: b"STARTTLS\r\n"}
YES = {imap: b"T1 OK begin now\r\n", pop: b"+OK begin now\r\n", smtp: b"220 2.0.0 begin now\r\n"}
NO = {imap: b"T1 BAD no\r\n", pop: b"-ERR no\r\n", smtp: b"454 4.7.0 TLS not available\r\n"}

protocols = pytest.mark.parametrize("module", [imap, pop, smtp], ids=["imap", "pop", "smtp"])


def begun(module: Any) -> Any:
    wire = module.StartTlsWire(tag="T1") if module is imap else module.StartTlsWire()
    assert wire.command().octets == COMMANDS[module]
    return wire


def refused(wire: Any) -> bool:
    return bool(wire.done and type(wire.error) is PolicyViolation and wire.must_close)


@protocols
def test_a_yes_lets_tls_begin(module: Any) -> None:
    wire = begun(module)

    wire.receive(YES[module])

    assert (wire.done, wire.error, wire.must_close) == (True, None, False)


@protocols
def test_a_yes_may_come_octet_by_octet(module: Any) -> None:
    wire = begun(module)

    for octet in YES[module]:
        assert not wire.done
        wire.receive(bytes([octet]))

    assert (wire.done, wire.error) == (True, None)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        *((imap, line) for line in (b"T1 OK", b"T1 ok", b"t1 OK", b"T1 OK ", b"T1 ok ", b"T1 Ok  \xff")),
        *((pop, line) for line in (b"+OK", b"+ok", b"+OK ", b"+ok ", b"+Ok  \xff")),
        *((smtp, line) for line in (b"220", b"220 ", b"220  \xff", b"220-\n220", b"220-a\r\n220-b\r\n220 ")),
    ],
)
def test_a_yes_may_be_short_in_any_case_and_of_several_lines(module: Any, line: bytes) -> None:
    wire = begun(module)

    wire.receive(line + b"\n")

    assert (wire.done, wire.error) == (True, None)


@pytest.mark.parametrize(
    ("module", "lines"),
    [(imap, [b"* OK [ALERT] wait\r\n", b"* CAPABILITY IMAP4rev1\r\n"]), (smtp, [b"220-wait\r\n", b"220-wait\r\n"])],
    ids=["imap", "smtp"],
)
def test_lines_that_belong_before_the_reply_are_passed_over(module: Any, lines: list[bytes]) -> None:
    wire = begun(module)

    for line in lines:
        wire.receive(line)
    assert not wire.done
    wire.receive(YES[module])

    assert (wire.done, wire.error) == (True, None)


@protocols
def test_a_no_is_a_policy_violation(module: Any) -> None:
    wire = begun(module)

    wire.receive(NO[module])

    assert refused(wire)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        (imap, b"* BYE"),
        (imap, b"* bye going down"),
        (imap, b"T2 OK go"),
        (imap, b"t1 NO x"),
        (imap, b"T1 OKAY"),
        (imap, b"+ go"),
        (pop, b"* OK"),
        (pop, b"+OKAY"),
        (pop, b"+ "),
        (smtp, b"250 ok"),
        (smtp, b"2200 ok"),
        (smtp, b"* 220 ok"),
        (smtp, b"235 2.7.0 you are in"),
    ],
)
def test_anything_but_a_plain_yes_is_refused(module: Any, line: bytes) -> None:
    wire = begun(module)

    wire.receive(line + b"\r\n")

    assert refused(wire)


@protocols
@pytest.mark.parametrize("line", [b"\r\n", b"\n", b"\xff\xfe\r\n", b"\x16\x03\x01\r\n", b"\0\n"])
def test_garbage_is_refused(module: Any, line: bytes) -> None:
    wire = begun(module)

    wire.receive(line)

    assert refused(wire)


@protocols
@pytest.mark.parametrize("injected", [b"A", b"\r\n", b"+OK\r\n235 2.7.0 in\r\nT1 OK\r\n* CAPABILITY AUTH=PLAIN\r\n"])
def test_octets_behind_the_reply_are_an_injection(module: Any, injected: bytes) -> None:
    wire = begun(module)

    wire.receive(YES[module] + injected)

    assert refused(wire)
    assert "CVE-2011-0411" in str(wire.error)


@protocols
def test_octets_in_a_later_chunk_are_an_injection_too(module: Any) -> None:
    early, late = begun(module), begun(module)

    early.receive(YES[module][:5])
    early.receive(YES[module][5:] + b"x")
    late.receive(YES[module])
    late.receive(b"")  # a driver that read nothing ahead
    assert late.error is None
    late.receive(b"x")

    assert refused(early)
    assert refused(late)


@protocols
def test_a_refusal_is_not_forgotten(module: Any) -> None:
    wire = begun(module)
    wire.receive(NO[module])
    why = str(wire.error)

    wire.receive(YES[module])
    wire.lost()

    assert refused(wire)
    assert str(wire.error) == why


@pytest.mark.parametrize(
    ("module", "line"), [(imap, b"* OK wait\r\n"), (smtp, b"220-wait\r\n"), (imap, b"x"), (pop, b"x"), (smtp, b"x")]
)
def test_a_reply_without_end_is_refused(module: Any, line: bytes) -> None:
    wire = begun(module)

    for _ in range(100):
        if not wire.done:
            wire.receive(line * 1000)

    assert refused(wire)


@protocols
def test_a_reply_may_be_as_long_as_64_kib(module: Any) -> None:
    fitting, too_long = begun(module), begun(module)

    fitting.receive(YES[module].rstrip().ljust(65_535) + b"\n")
    too_long.receive(YES[module].rstrip().ljust(65_536) + b"\n")

    assert (fitting.done, fitting.error) == (True, None)
    assert refused(too_long)


@protocols
def test_a_connection_that_ends_instead_is_a_refusal(module: Any) -> None:
    wire = begun(module)
    wire.receive(YES[module].rstrip())

    wire.lost()

    assert refused(wire)


@protocols
def test_a_connection_that_ends_after_the_reply_is_the_handshakes_affair(module: Any) -> None:
    wire = begun(module)
    wire.receive(YES[module])

    wire.lost()

    assert (wire.done, wire.error) == (True, None)
