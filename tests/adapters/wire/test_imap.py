"""The client's side of IMAP: initial response, tags, untagged responses and literals, capabilities, response codes."""

from __future__ import annotations

from typing import Any

import pytest

import sasl
from sasl.adapters.wire import imap
from sasl.errors import (
    AuthenticationFailed,
    AuthorizationFailed,
    ConnectionLost,
    LimitExceeded,
    PolicyViolation,
    ProtocolError,
    TemporaryFailure,
    UsageError,
)

PASSWORD = sasl.Password("user", "secret")
LIST = b'* LIST () "/" '


def started(*capabilities: str, tag: str = "A1") -> Any:
    """A wire that has sent its command."""
    wire = imap.ClientWire(sasl.client("PLAIN", PASSWORD), tag=tag, capabilities=capabilities or ["SASL-IR"])
    wire.command()
    return wire


def fed(wire: Any, *lines: bytes) -> Any:
    """Give a wire lines to which it must not answer."""
    for line in lines:
        assert wire.receive(line) is None
    return wire


# --- the initial response


@pytest.mark.parametrize(
    ("capabilities", "sent"),
    [
        (["IMAP4rev1", "AUTH=PLAIN"], False),
        (["IMAP4rev1", "SASL-IR", "AUTH=PLAIN"], True),
        (["IMAP4rev2", "AUTH=PLAIN"], True),
        (["imap4rev2"], True),
        (["sasl-ir"], True),
        (["SASL-IR=NO", "IMAP4rev20"], False),
        ([], False),
    ],
)
def test_an_initial_response_is_sent_only_where_the_server_advertises_it(
    capabilities: list[str], *, sent: bool
) -> None:
    wire = imap.ClientWire(sasl.client("PLAIN", PASSWORD), capabilities=capabilities)

    assert wire.command().octets == b"A1 AUTHENTICATE PLAIN" + (b" AHVzZXIAc2VjcmV0" if sent else b"") + b"\r\n"
    assert wire.initial_response is sent


@pytest.mark.parametrize("wanted", [True, None])
def test_nobody_can_ask_for_an_initial_response_that_is_not_advertised(*, wanted: bool | None) -> None:
    wire = imap.ClientWire(sasl.client("PLAIN", PASSWORD), capabilities=["IMAP4rev1"], initial_response=wanted)

    assert wire.command().octets == b"A1 AUTHENTICATE PLAIN\r\n"


def test_a_long_token_goes_with_the_command() -> None:
    exchange = sasl.client("XOAUTH2", sasl.Bearer("user", "t" * 4000))

    assert len(imap.ClientWire(exchange, capabilities=["SASL-IR"]).command().octets) > 5000


# --- tags


@pytest.mark.parametrize("tag", ["A1", "a.b.7", "f" * 64])
def test_the_reply_has_the_tag_of_the_command(tag: str) -> None:
    wire = fed(started(tag=tag), tag.encode() + b" OK done\r\n")

    assert (wire.done, wire.error) == (True, None)


@pytest.mark.parametrize("line", [b"A2 OK x", b"a1 OK x", b"A1OK", b" OK x", b"A1", b"A1 ", b"OK A1", b"A1  OK x", b""])
def test_a_reply_to_another_command_is_no_reply(line: bytes) -> None:
    wire = fed(started(), line + b"\r\n")

    assert type(wire.error) is ProtocolError
    assert wire.must_close


@pytest.mark.parametrize("tag", ["", "A 1", "A\r\n1", "*", "+", "A1\n", "é", "x" * 65])
def test_a_tag_that_would_break_the_line_is_the_callers_mistake(tag: str) -> None:
    with pytest.raises(UsageError):
        imap.ClientWire(sasl.client("PLAIN", PASSWORD), tag=tag)


# --- untagged responses and literals


@pytest.mark.parametrize(
    "lines",
    [
        [b"* 3 EXISTS\r\n", b"* OK [ALERT] hello\r\n", b"* \r\n"],
        [LIST + b"{10}\r\n", b"0123456789\r\n"],
        [LIST + b"{12}\r\n", b"0123456789\r\n", b"\r\n"],  # ends exactly at a line end
        [LIST + b"{25}\r\n", b"0123456789\r\n", b"A1 NO [X] n\r\n", b")\r\n"],  # over two lines, with a lie in it
        [LIST + b"{3}\r\n", b"abc {4}\r\n", b"defg {0}\r\n", b")\r\n"],  # one after the other
        [LIST + b"{0}\r\n", b"\r\n"],
        [LIST + b"{6+}\r\n", b"+ Zg==)\r\n"],
        [LIST + b"~{4}\r\n", b"\x00\xff\r\n", b"\r\n"],
        [LIST + b"{14}\r\n", b"* BYE really\r\n", b"\n"],
        [LIST + b"{}\r\n", LIST + b"{" + b"9" * 21 + b"}\r\n", LIST + b"{3} \r\n"],  # these announce nothing
    ],
    ids=["none", "one", "line-end", "split", "several", "empty", "plus", "literal8", "inner-bye", "no-literals"],
)
def test_untagged_responses_are_passed_over_with_their_literals(lines: list[bytes]) -> None:
    wire = fed(started(), *lines)
    assert not wire.done

    fed(wire, b"A1 OK done\r\n")

    assert (wire.done, wire.error) == (True, None)


def test_untagged_responses_may_come_between_challenge_and_reply() -> None:
    wire = started("IMAP4rev1")
    fed(wire, b"* 1 EXISTS\r\n")

    assert wire.receive(b"+ \r\n").octets == b"AHVzZXIAc2VjcmV0\r\n"
    fed(wire, b"* 2 EXISTS\r\n", b"A1 OK done\r\n")

    assert (wire.done, wire.error) == (True, None)


@pytest.mark.parametrize("size", [b"4294967295", b"262145", b"9" * 20])
def test_a_literal_without_end_is_refused_before_it_is_read(size: bytes) -> None:
    wire = fed(started(), LIST + b"{" + size + b"}\r\n")

    assert type(wire.error) is LimitExceeded
    assert wire.must_close


def test_a_flood_of_untagged_responses_is_refused() -> None:
    wire = started()

    fed(wire, *[b"* ".ljust(65_535) + b"\n"] * 4)
    assert not wire.done
    fed(wire, b"* \n")

    assert type(wire.error) is LimitExceeded
    assert wire.must_close


def test_a_literal_counts_before_it_has_come() -> None:
    fitting, too_large = started(), started()

    fed(fitting, b"* X {262130}\r\n")  # with the 14 octets that announce it
    fed(too_large, b"* X {262131}\r\n")

    assert not fitting.done
    assert type(too_large.error) is LimitExceeded


def test_a_literal_that_keeps_growing_is_refused() -> None:
    wire = started()

    fed(wire, LIST + b"{300}\r\n")
    for _ in range(850):
        assert not wire.done
        fed(wire, b"x" * 300 + b"{300}\r\n")
    for _ in range(20):
        if not wire.done:
            fed(wire, b"x" * 300 + b"{300}\r\n")

    assert type(wire.error) is LimitExceeded


@pytest.mark.parametrize(
    ("line", "text", "code"),
    [
        (b"* BYE Session expired, please login again.", "Session expired, please login again.", None),
        (b"* BYE", "", None),
    ],
)
def test_a_bye_is_a_lost_connection_that_says_why(line: bytes, text: str, code: str | None) -> None:
    wire = fed(started(), line + b"\r\n")

    assert type(wire.error) is ConnectionLost
    assert (wire.error.server_text, wire.error.response_code, wire.must_close) == (text, code, True)
    assert text in str(wire.error)


def test_a_bye_after_an_error_challenge_is_a_refusal_with_its_reason() -> None:
    wire = imap.ClientWire(sasl.client("XOAUTH2", sasl.Bearer("user", "token")), capabilities=["SASL-IR"])
    wire.command()
    assert wire.receive(b"+ eyJzdGF0dXMiOiI0MDAifQ==\r\n").octets == b"\r\n"

    fed(wire, b"* BYE go away\r\n")

    assert type(wire.error) is AuthenticationFailed
    assert (wire.error.detail, wire.error.server_text, wire.must_close) == ({"status": "400"}, "go away", True)


def test_a_bye_after_cancelling_leaves_the_cause() -> None:
    wire = started()
    assert wire.receive(b"+ !!!\r\n").octets == b"*\r\n"

    fed(wire, b"* BYE go away\r\n")

    assert type(wire.error) is ProtocolError
    assert (wire.error.server_text, wire.server_text, wire.must_close) == ("!!!", "go away", True)


@pytest.mark.parametrize(
    "line", [b"* PREAUTH welcome", b"*", b"*OK", b"+OK", b"+Zg==", b"+abc", b"+xZg==", b"A1 PREAUTH x"]
)
def test_what_has_no_place_in_an_exchange_ends_it(line: bytes) -> None:
    wire = started()

    answer = wire.receive(line + b"\r\n")
    if answer is not None:
        assert answer.octets == b"*\r\n"
        fed(wire, b"A1 BAD cancelled\r\n")

    assert type(wire.error) is ProtocolError


# --- capabilities


@pytest.mark.parametrize(
    ("lines", "capabilities"),
    [
        ([b"A1 OK [CAPABILITY IMAP4rev1 IDLE] in"], ("IMAP4rev1", "IDLE")),
        ([b"A1 ok [capability IMAP4rev1]"], ("IMAP4rev1",)),
        ([b"* CAPABILITY IMAP4rev1 ID", b"A1 OK in"], ("IMAP4rev1", "ID")),
        ([b"* capability IMAP4rev1", b"A1 OK [CAPABILITY IMAP4rev2] in"], ("IMAP4rev2",)),
        ([b"A1 OK in"], None),
        ([b"* 1 EXISTS", b"* OK CAPABILITY X", b"* FLAGS X", b"A1 OK in"], None),
        ([b"A1 OK [READ-ONLY] in"], None),
        ([b"A1 OK [CAPABILITY IMAP4rev1"], None),
        ([b"* CAPABILITY IMAP4rev1", b"A1 NO [UNAVAILABLE] x"], None),
    ],
)
def test_capabilities_after_a_login_are_those_that_the_server_names_with_it(
    lines: list[bytes], capabilities: tuple[str, ...] | None
) -> None:
    assert fed(started(), *(line + b"\r\n" for line in lines)).capabilities == capabilities


def test_capabilities_of_a_yes_that_is_not_believed_do_not_count() -> None:
    too_early, too_late = started("IMAP4rev1"), started()
    assert too_late.receive(b"+ !!!\r\n").octets == b"*\r\n"

    for wire in (too_early, too_late):
        fed(wire, b"A1 OK [CAPABILITY IMAP4rev1] in\r\n")
        assert (wire.capabilities, wire.must_close) == (None, True)


@pytest.mark.parametrize(
    ("line", "capabilities"),
    [
        (b"* OK ready", None),
        (b"* OK", None),
        (b"* OK ", None),
        (b"* ok [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready", ("IMAP4rev1", "AUTH=PLAIN")),
        (b"* OK [ALERT] ready", None),
    ],
)
def test_a_greeting_may_name_capabilities(line: bytes, capabilities: tuple[str, ...] | None) -> None:
    assert imap.greeting(line + b"\r\n") == capabilities


def test_a_greeting_that_says_preauth_is_refused() -> None:
    with pytest.raises(PolicyViolation):
        imap.greeting(b"* PREAUTH welcome back\r\n")


def test_a_greeting_that_says_bye_is_a_lost_connection() -> None:
    with pytest.raises(ConnectionLost) as lost:
        imap.greeting(b"* BYE [UNAVAILABLE] over\x07loaded\r\n")

    assert (lost.value.server_text, lost.value.response_code) == ("over loaded", "UNAVAILABLE")


def test_a_greeting_that_says_bye_and_no_more_is_told_without_a_colon() -> None:
    with pytest.raises(ConnectionLost, match=r"^the server ended the connection$"):
        imap.greeting(b"* BYE\r\n")


@pytest.mark.parametrize("line", [b"", b"OK", b"A1 OK x", b"* NO x", b"*OK x", b"+ x", b"220 smtp", b"* OKAY"])
def test_any_other_greeting_is_none(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        imap.greeting(line + b"\r\n")


def test_mechanisms_are_those_of_the_auth_capabilities() -> None:
    assert imap.mechanisms(["IMAP4rev1", "AUTH=PLAIN", "auth=XOAUTH2", "AUTHOR", "SASL-IR"]) == ["PLAIN", "XOAUTH2"]


# --- the reply


@pytest.mark.parametrize(
    ("reply", "error", "kind", "code"),
    [
        (b"NO [AUTHENTICATIONFAILED] x", AuthenticationFailed, "credentials", "AUTHENTICATIONFAILED"),
        (b"no [authenticationfailed] x", AuthenticationFailed, "credentials", "AUTHENTICATIONFAILED"),
        (b"NO [AUTHORIZATIONFAILED] x", AuthorizationFailed, "authorization", "AUTHORIZATIONFAILED"),
        (b"NO [EXPIRED] x", AuthenticationFailed, "expired", "EXPIRED"),
        (b"NO [CONTACTADMIN] x", AuthenticationFailed, "disabled", "CONTACTADMIN"),
        (b"NO [PRIVACYREQUIRED] x", AuthenticationFailed, "policy", "PRIVACYREQUIRED"),
        (b"NO [UNAVAILABLE] x", TemporaryFailure, "unavailable", "UNAVAILABLE"),
        (b"NO [INUSE] x", TemporaryFailure, "unavailable", "INUSE"),
        (b"NO [LIMIT] x", TemporaryFailure, "unavailable", "LIMIT"),
        (b"NO [SERVERBUG] x", TemporaryFailure, "unavailable", "SERVERBUG"),
        (b"NO [X-NOBODY-KNOWS some more] x", AuthenticationFailed, "credentials", "X-NOBODY-KNOWS"),
        (b"NO [EXPIRED ] x", AuthenticationFailed, "expired", "EXPIRED"),
        (b"NO [EXPIRED]x", AuthenticationFailed, "expired", "EXPIRED"),
        (b"NO [EXPIRED]", AuthenticationFailed, "expired", "EXPIRED"),
        (b"NO [] x", AuthenticationFailed, "credentials", None),
        (b"NO AUTHENTICATE failed.", AuthenticationFailed, "credentials", None),
        (b"NO [broken", AuthenticationFailed, "credentials", None),
        (b"NO", AuthenticationFailed, "credentials", None),
        (b"BAD x", ProtocolError, None, None),
        (b"BAD [CLIENTBUG] x", ProtocolError, None, "CLIENTBUG"),
    ],
)
def test_response_codes_tell_kinds_apart(
    reply: bytes, error: type[sasl.SASLError], kind: str | None, code: str | None
) -> None:
    wire = fed(started(), b"A1 " + reply + b"\r\n")

    assert type(wire.error) is error
    assert (wire.error.kind, wire.error.response_code) == (kind, code)
    assert not wire.must_close


def test_the_text_of_a_reply_is_what_stands_after_the_code() -> None:
    wire = fed(started(), "A1 NO [EXPIRED] pässword too old\r\n".encode())

    assert wire.error.server_text == wire.server_text == str(wire.error) == "pässword too old"


def test_a_bad_says_what_the_server_did_not_understand() -> None:
    wire = fed(started(), b"A1 BAD Parse command error\r\n")

    assert "Parse command error" in str(wire.error)
    assert wire.error.server_text == "Parse command error"
