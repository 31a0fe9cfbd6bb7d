"""Where a line ends: CR, LF and NUL inside one end the parse, and half a line is no reply."""

from __future__ import annotations

from typing import Any

import pytest

import sasl
from sasl.adapters.wire import imap, pop, smtp
from sasl.errors import ConnectionLost, LimitExceeded, PolicyViolation, ProtocolError, UsageError

from .conftest import Protocol

BREAKS = pytest.mark.parametrize("inside", [b"\0", b"\r", b"\r\r"])


@BREAKS
@pytest.mark.parametrize("reply", ["yes", "no", "challenge", "garbage"])
def test_a_line_with_a_break_inside_is_none(protocol: Protocol, reply: str, inside: bytes) -> None:
    wire = protocol.plain()
    wire.command()
    line = protocol.challenge(b"x") if reply == "challenge" else getattr(protocol, reply)

    assert wire.receive(line.removesuffix(b"\r\n") + inside + b"x\r\n") is None

    assert type(wire.error) is ProtocolError
    assert wire.must_close
    assert wire.error.server_text.isprintable()


@BREAKS
def test_a_break_at_the_end_of_a_line_is_inside_it(protocol: Protocol, inside: bytes) -> None:
    wire = protocol.plain()
    wire.command()
    wire.receive(protocol.yes.removesuffix(b"\r\n") + inside + b"\r\n")
    assert type(wire.error) is ProtocolError


@pytest.mark.parametrize("half", [b"", b"x", b"\r"])
def test_half_a_line_is_the_end_of_the_connection(protocol: Protocol, half: bytes) -> None:
    wire = protocol.plain()
    wire.command()

    assert wire.receive(half) is None

    assert type(wire.error) is ConnectionLost
    assert wire.must_close


def test_a_yes_without_its_end_is_no_login(protocol: Protocol) -> None:
    wire = protocol.plain()
    wire.command()
    wire.receive(protocol.yes.removesuffix(b"\r\n"))
    assert type(wire.error) is ConnectionLost


def test_half_a_line_in_the_middle_of_a_reply_is_the_end() -> None:
    wire = smtp.ClientWire(sasl.client("PLAIN", sasl.Password("alice", "wonderland")))
    wire.command()
    wire.receive(b"235-2.7.0 in\r\n")
    wire.receive(b"235 2.7")
    assert type(wire.error) is ConnectionLost


@pytest.mark.parametrize("text", ["a\0b", "a\rb", "a\nb", b"a\nb"])
def test_what_a_library_has_read_holds_no_break_either(text: Any) -> None:
    calls: list[tuple[Any, Any]] = [
        (imap, lambda wire: wire.tagged("OK", text)),
        (imap, lambda wire: wire.tagged("NO", text)),
        (imap, lambda wire: wire.untagged(b"OK " + text if isinstance(text, bytes) else f"OK {text}")),
        (pop, lambda wire: wire.replied(True, text)),
        (pop, lambda wire: wire.replied(False, text)),
        (smtp, lambda wire: wire.replied(235, ["x", text])),
        (smtp, lambda wire: wire.replied(535, [text])),
    ]
    for module, call in calls:
        wire = module.ClientWire(sasl.client("PLAIN", sasl.Password("alice", "wonderland")))
        wire.command()
        call(wire)
        assert type(wire.error) is ProtocolError
        assert wire.must_close


def test_a_literal_may_hold_what_a_line_may_not() -> None:
    wire = imap.ClientWire(sasl.client("PLAIN", sasl.Password("alice", "wonderland")), capabilities=["SASL-IR"])
    wire.command()
    for line in (b"* X {8}\r\n", b"a\rb\0\r\r\r\n", b"\r\n", b"A1 OK in\r\n"):
        wire.receive(line)
    assert wire.error is None
    assert wire.done


def test_behind_a_literal_a_line_is_a_line() -> None:
    wire = imap.ClientWire(sasl.client("PLAIN", sasl.Password("alice", "wonderland")), capabilities=["SASL-IR"])
    wire.command()
    for line in (b"* X {3}\r\n", b"abc y\rz\r\n"):
        wire.receive(line)
    assert type(wire.error) is ProtocolError


# --- the other parsers


@BREAKS
def test_capabilities_hold_no_break(inside: bytes) -> None:
    for lines in ([b"+OK" + inside + b" x\r\n"], [b"+OK\r\n", b"SASL" + inside + b"PLAIN\r\n"]):
        wire = pop.CapaWire()
        for line in lines:
            wire.receive(line)
        assert wire.done
        assert type(wire.error) is ProtocolError


@pytest.mark.parametrize("half", [b"", b".", b"SASL PLAIN"])
def test_half_a_line_is_no_capability(half: bytes) -> None:
    wire = pop.CapaWire()
    wire.receive(b"+OK\r\n")
    wire.receive(half)
    wire.lost()
    assert wire.done
    assert type(wire.error) is ConnectionLost
    assert wire.capabilities == []


def test_capabilities_that_end_lose_nothing() -> None:
    wire = pop.CapaWire()
    for line in (b"+OK\r\n", b"USER\r\n", b".\r\n"):
        wire.receive(line)
    wire.lost()
    assert (wire.error, wire.capabilities) == (None, ["USER"])


def test_too_many_capabilities_are_refused() -> None:
    wire = pop.CapaWire()
    wire.receive(b"+OK".ljust(65_537))
    assert type(wire.error) is LimitExceeded


@BREAKS
def test_a_reply_holds_no_break(inside: bytes) -> None:
    with pytest.raises(ProtocolError):
        smtp.Reply().receive(b"250 a" + inside + b"b\r\n")


@BREAKS
def test_a_greeting_holds_no_break(inside: bytes) -> None:
    with pytest.raises(ProtocolError):
        imap.greeting(b"* OK a" + inside + b"b\r\n")


@BREAKS
@pytest.mark.parametrize(
    ("wire", "yes"),
    [(imap.StartTlsWire, b"A1 OK go"), (pop.StartTlsWire, b"+OK go"), (smtp.StartTlsWire, b"220 go")],
    ids=["imap", "pop", "smtp"],
)
def test_tls_does_not_begin_on_a_line_with_a_break(wire: Any, yes: bytes, inside: bytes) -> None:
    begun = wire()
    begun.receive(yes + inside + b"x\r\n")
    assert type(begun.error) is PolicyViolation
    assert begun.must_close


@pytest.mark.parametrize("tag", ["", "A1 NOOP\r\nA2", "A 1", "A1\n", "*", "+", "\u0661", "A" * 65])
def test_the_tag_of_starttls_is_checked_as_that_of_a_login(tag: str) -> None:
    with pytest.raises(UsageError, match="a tag is letters"):
        imap.StartTlsWire(tag=tag)
    with pytest.raises(UsageError, match="a tag is letters"):
        imap.ClientWire(sasl.client("PLAIN", sasl.Password("alice", "wonderland")), tag=tag)
