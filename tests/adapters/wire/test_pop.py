"""The client's side of POP3: the 255 octets of a command, +OK against "+ ", hierarchical codes, CAPA."""

from __future__ import annotations

from typing import Any

import pytest

import sasl
from sasl.adapters.wire import pop
from sasl.errors import AuthenticationFailed, LimitExceeded, ProtocolError, SASLError, TemporaryFailure


def started(token: str = "token") -> Any:
    wire = pop.ClientWire(sasl.client("XOAUTH2", sasl.Bearer("user", token)))
    wire.command()
    return wire


@pytest.mark.parametrize(("octets", "sent"), [(254, True), (255, True), (256, False)])
def test_an_initial_response_is_sent_if_the_command_has_no_more_than_255_octets(octets: int, *, sent: bool) -> None:
    room = octets - len("AUTH  \r\n")
    name = "X" * (room % 4 + 4)
    message = b"m" * ((room - len(name)) // 4 * 3)

    def script() -> Any:
        yield sasl.Complete(message)

    wire = pop.ClientWire(sasl.ClientExchange(name, script()))
    line = wire.command().octets

    assert wire.initial_response is sent
    assert line.startswith(f"AUTH {name}".encode())
    assert len(line) == octets if sent else line == f"AUTH {name}\r\n".encode()


def test_a_real_token_is_sent_after_the_empty_challenge() -> None:
    wire = pop.ClientWire(sasl.client("XOAUTH2", sasl.Bearer("user", "t" * 2000)))

    assert wire.command().octets == b"AUTH XOAUTH2\r\n"
    assert len(wire.receive(b"+ \r\n").octets) > 2000
    wire.receive(b"+OK welcome\r\n")

    assert (wire.done, wire.error, wire.server_text) == (True, None, "welcome")


@pytest.mark.parametrize("line", [b"+OK", b"+OK ", b"+OK welcome", b"+ok welcome"])
def test_a_yes_is_plus_ok(line: bytes) -> None:
    wire = started()

    assert wire.receive(line + b"\r\n") is None
    assert (wire.done, wire.error) == (True, None)


@pytest.mark.parametrize("line", [b"+OKAY", b"+Zg==", b"+abc", b"+xZg==", b"+OKOK123", b"+\tZg==", b"++"])
def test_what_only_begins_like_a_yes_or_a_challenge_is_cancelled(line: bytes) -> None:
    wire = started()

    assert wire.receive(line + b"\r\n").octets == b"*\r\n"
    wire.receive(b"-ERR cancelled\r\n")

    assert type(wire.error) is ProtocolError


@pytest.mark.parametrize("line", [b"OK", b"", b"* OK", b"-ERROR", b"- ERR", b"-", b" +OK", b"535 5.7.8 no"])
def test_what_is_no_pop_reply_ends_it(line: bytes) -> None:
    wire = started()

    assert wire.receive(line + b"\r\n") is None
    assert type(wire.error) is ProtocolError
    assert wire.must_close


@pytest.mark.parametrize(
    ("reply", "error", "kind", "code"),
    [
        (b"-ERR [AUTH] x", AuthenticationFailed, "credentials", "AUTH"),
        (b"-err [auth] x", AuthenticationFailed, "credentials", "AUTH"),
        (b"-ERR [AUTH]x", AuthenticationFailed, "credentials", "AUTH"),
        (b"-ERR [IN-USE]", TemporaryFailure, "unavailable", "IN-USE"),
        (b"-ERR [] x", AuthenticationFailed, "credentials", None),
        (b"-ERR [AUTH/SOME/DETAIL] x", AuthenticationFailed, "credentials", "AUTH/SOME/DETAIL"),
        (b"-ERR [SYS/TEMP] x", TemporaryFailure, "unavailable", "SYS/TEMP"),
        (b"-ERR [SYS/TEMP/FUTURE] x", TemporaryFailure, "unavailable", "SYS/TEMP/FUTURE"),
        (b"-ERR [SYS/TEMP/ldap:389] x", TemporaryFailure, "unavailable", "SYS/TEMP/LDAP:389"),
        (b"-ERR [IN-USE/a.b] x", TemporaryFailure, "unavailable", "IN-USE/A.B"),
        (b"-ERR [SYS/TEMPERED] x", AuthenticationFailed, "credentials", "SYS/TEMPERED"),
        (b"-ERR [SYS/PERM] x", AuthenticationFailed, "disabled", "SYS/PERM"),
        (b"-ERR [SYS] x", AuthenticationFailed, "credentials", "SYS"),
        (b"-ERR [IN-USE] x", TemporaryFailure, "unavailable", "IN-USE"),
        (b"-ERR [LOGIN-DELAY/30] x", TemporaryFailure, "unavailable", "LOGIN-DELAY/30"),
        (b"-ERR Authentication failure: unknown user name.", AuthenticationFailed, "credentials", None),
        (b"-ERR [not a code] x", AuthenticationFailed, "credentials", None),
        (b"-ERR", AuthenticationFailed, "credentials", None),
    ],
)
def test_response_codes_are_hierarchical(reply: bytes, error: type[SASLError], kind: str, code: str | None) -> None:
    wire = started()

    wire.receive(reply + b"\r\n")

    assert type(wire.error) is error
    assert (wire.error.kind, wire.error.response_code) == (kind, code)
    assert not wire.must_close


def test_the_text_of_a_reply_is_what_stands_after_the_code() -> None:
    wire = started()

    wire.receive(b"-ERR [AUTH] Username and password not accepted.\r\n")

    assert wire.server_text == "Username and password not accepted."


# --- CAPA


def capa(*lines: bytes) -> pop.CapaWire:
    wire = pop.CapaWire()
    assert wire.command().octets == b"CAPA\r\n"
    for line in lines:
        assert not wire.done
        wire.receive(line)
    return wire


def test_capabilities_are_the_lines_up_to_the_dot() -> None:
    wire = capa(b"+OK list follows\r\n", b"SASL PLAIN XOAUTH2\r\n", b"..dotted\r\n", b"USER\r\n", b".\r\n")

    assert (wire.done, wire.error) == (True, None)
    assert wire.capabilities == ["SASL PLAIN XOAUTH2", ".dotted", "USER"]


def test_a_server_without_capa_has_no_capabilities() -> None:
    wire = capa(b"-ERR what is CAPA?\r\n")

    assert (wire.done, wire.error, wire.capabilities) == (True, None, [])


@pytest.mark.parametrize("line", [b"", b"+OKAY", b"+ ", b"* OK", b"SASL PLAIN", b"."])
def test_an_answer_to_capa_that_is_none_is_no_list(line: bytes) -> None:
    wire = capa(line + b"\r\n")

    assert wire.done
    assert type(wire.error) is ProtocolError


def test_capabilities_without_end_are_refused() -> None:
    wire = capa(b"+OK\r\n", b"X" * 65_529 + b"\r\n")

    assert not wire.done
    wire.receive(b".")

    assert wire.done
    assert type(wire.error) is LimitExceeded


def test_mechanisms_are_the_words_of_the_sasl_line() -> None:
    assert pop.mechanisms(["TOP", "sasl PLAIN XOAUTH2", "", " ", "SASLX NO", "USER"]) == ["PLAIN", "XOAUTH2"]
    assert pop.mechanisms([]) == []
