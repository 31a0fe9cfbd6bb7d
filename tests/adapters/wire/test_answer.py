"""Greetings and capabilities: what a server says before a login, in each protocol."""

from __future__ import annotations

from typing import Any

import pytest

from sasl import ConnectionLost, LimitExceeded, PolicyViolation, ProtocolError, ServerBusy, TemporaryFailure, UsageError
from sasl.adapters.wire import imap, pop, smtp


def hear(answer: Any, *lines: bytes) -> Any:
    for line in lines:
        assert not answer.done
        answer.receive(line + b"\r\n")
    return answer


ANSWERS = [
    imap.Greeting,
    imap.CapabilityWire,
    pop.Greeting,
    pop.CapaWire,
    smtp.Greeting,
    lambda: smtp.EhloWire("client.example"),
]
answers = pytest.mark.parametrize("make", ANSWERS, ids=["IMAP", "CAPABILITY", "POP3", "CAPA", "SMTP", "EHLO"])


@answers
@pytest.mark.parametrize("line", [b"", b"* OK rea", b"+OK rea", b"220 rea", b"250 rea"])
def test_half_a_line_is_the_end_of_the_connection(make: Any, line: bytes) -> None:
    answer = make()
    answer.receive(line)
    assert answer.done
    assert type(answer.error) is ConnectionLost


@answers
def test_an_answer_that_the_connection_ends_in_is_none(make: Any) -> None:
    answer = make()
    for _ in range(2):
        answer.lost()
    assert answer.done
    assert type(answer.error) is ConnectionLost


@answers
@pytest.mark.parametrize("line", [b"HTTP/1.1 400 Bad Request", b"", b"SSH-2.0-OpenSSH", b"+OKAY", b"1 2", b"\xff\xfe"])
def test_a_line_of_another_protocol_is_no_answer(make: Any, line: bytes) -> None:
    answer = hear(make(), line)
    assert answer.done
    assert type(answer.error) is ProtocolError


@answers
@pytest.mark.parametrize("line", [b"* OK a\0b", b"+OK a\rb", b"220 a\rb", b"250 a\0b"])
def test_a_line_in_two_is_no_answer(make: Any, line: bytes) -> None:
    answer = hear(make(), line)
    assert answer.done
    assert isinstance(answer.error, ProtocolError)


@answers
def test_an_answer_without_end_is_refused(make: Any) -> None:
    answer = make()
    answer.receive(b"*" * 65_537 + b"\r\n")
    assert answer.done
    assert type(answer.error) is LimitExceeded


@pytest.mark.parametrize(("make", "line"), [(smtp.Greeting, b"220-a\r\n"), (ANSWERS[-1], b"250-a\r\n")])
def test_a_reply_of_endless_lines_is_refused(make: Any, line: bytes) -> None:
    answer = make()
    for _ in range(65_536 // len(line)):
        answer.receive(line)
        assert not answer.done
    answer.receive(line)
    assert answer.done
    assert type(answer.error) is LimitExceeded


# --- greetings


@pytest.mark.parametrize(
    ("greeting", "line"), [(imap.Greeting(), b"* OK ready"), (pop.Greeting(), b"+OK"), (smtp.Greeting(), b"220 mx")]
)
def test_a_server_greets(greeting: Any, line: bytes) -> None:
    hear(greeting, line)
    assert (greeting.done, greeting.error) == (True, None)
    greeting.lost()  # after it
    assert greeting.error is None


def test_a_greeting_of_imap_may_say_what_the_server_can_do() -> None:
    assert hear(imap.Greeting(), b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready").capabilities == (
        "IMAP4rev1",
        "AUTH=PLAIN",
    )
    assert hear(imap.Greeting(), b"* OK ready").capabilities is None


def test_a_greeting_of_smtp_may_have_several_lines() -> None:
    greeting = hear(smtp.Greeting(), b"220-mx.example ESMTP", b"220-no spam", b"220 please")
    assert (greeting.done, greeting.error) == (True, None)


@pytest.mark.parametrize(
    ("greeting", "line", "error", "code"),
    [
        (imap.Greeting(), b"* BYE [UNAVAILABLE] later", ServerBusy, "UNAVAILABLE"),
        (imap.Greeting(), b"* PREAUTH as alice", PolicyViolation, None),
        (pop.Greeting(), b"-ERR [SYS/TEMP] later", ConnectionLost, "SYS/TEMP"),
        (pop.Greeting(), b"-ERR", ConnectionLost, None),
        (smtp.Greeting(), b"421 4.3.2 later", ServerBusy, "421 4.3.2"),
        (smtp.Greeting(), b"454 4.7.0 later", TemporaryFailure, "454 4.7.0"),
        (smtp.Greeting(), b"554 no", ConnectionLost, "554"),
        (smtp.Greeting(), b"250 what", ProtocolError, None),
    ],
)
def test_a_server_that_wants_no_client_says_why(
    greeting: Any, line: bytes, error: type[Exception], code: str | None
) -> None:
    hear(greeting, line)
    assert greeting.done
    assert isinstance(greeting.error, error)
    assert greeting.error.response_code == code


# --- EHLO and LHLO


def test_ehlo_tells_what_the_server_offers() -> None:
    wire = smtp.EhloWire("[192.0.2.1]")
    assert wire.command().octets == b"EHLO [192.0.2.1]\r\n"
    hear(wire, b"250-mx.example greets you", b"250-SIZE 1000", b"250-AUTH PLAIN XOAUTH2", b"250 STARTTLS")
    assert (wire.done, wire.error) == (True, None)
    assert wire.capabilities == ["SIZE 1000", "AUTH PLAIN XOAUTH2", "STARTTLS"]
    assert smtp.mechanisms(wire.capabilities) == ["PLAIN", "XOAUTH2"]


def test_lmtp_says_lhlo() -> None:
    wire = smtp.EhloWire("client.example", verb="LHLO")
    assert wire.command().octets == b"LHLO client.example\r\n"
    assert hear(wire, b"250 mx.example").capabilities == []


@pytest.mark.parametrize("name", ["", "two words", "a\r\nMAIL FROM:<>", "m\xe4chine", "x" * 256])
def test_a_name_that_cannot_be_said_is_a_mistake_of_the_callers(name: str) -> None:
    with pytest.raises(UsageError):
        smtp.EhloWire(name)


@pytest.mark.parametrize(("line", "error"), [(b"502 no EHLO", ProtocolError), (b"421 later", ServerBusy)])
def test_a_server_that_refuses_ehlo_offers_nothing(line: bytes, error: type[Exception]) -> None:
    wire = hear(smtp.EhloWire("client.example"), line)
    assert wire.done
    assert type(wire.error) is error
    assert wire.error.response_code == line[:3].decode()
    assert wire.capabilities == []


# --- CAPABILITY


def test_imap_tells_what_the_server_can_do_whatever_it_says_besides() -> None:
    wire = imap.CapabilityWire(tag="T7")
    assert wire.command().octets == b"T7 CAPABILITY\r\n"
    hear(wire, b"* OK still here", b"* capability IMAP4rev1 SASL-IR AUTH=PLAIN", b"T7 OK done")
    assert (wire.done, wire.error) == (True, None)
    assert wire.capabilities == ["IMAP4rev1", "SASL-IR", "AUTH=PLAIN"]


@pytest.mark.parametrize("line", [b"A1 NO", b"A1 BAD what is CAPABILITY?", b"A1 OK"])
def test_a_server_of_imap_may_not_say_what_it_can_do(line: bytes) -> None:
    wire = hear(imap.CapabilityWire(), line)
    assert (wire.done, wire.error, wire.capabilities) == (True, None, [])


def test_the_reply_to_another_command_is_none() -> None:
    assert type(hear(imap.CapabilityWire(), b"A2 OK done").error) is ProtocolError


def test_a_server_of_imap_may_take_its_leave() -> None:
    wire = hear(imap.CapabilityWire(), b"* BYE [UNAVAILABLE] later")
    assert wire.done
    assert type(wire.error) is ServerBusy


def test_a_tag_that_is_none_is_a_mistake_of_the_callers() -> None:
    with pytest.raises(UsageError):
        imap.CapabilityWire(tag="A 1")


# --- what is said unasked


def test_a_farewell_is_told_from_other_lines() -> None:
    lost = smtp.farewell(b"421 4.4.2 idle for too long\r\n")
    assert isinstance(lost, ConnectionLost)
    assert lost.response_code == "421 4.4.2"
    assert smtp.farewell(b"421\r\n").response_code == "421"
    assert smtp.farewell(b"250 hello\r\n") is None
    lost = pop.farewell(b"-ERR Disconnected for inactivity.")
    assert isinstance(lost, ConnectionLost)
    assert lost.server_text == "Disconnected for inactivity."
    assert pop.farewell(b"-ERR [AUTH] no") is None
    assert pop.farewell(b"+OK") is None
