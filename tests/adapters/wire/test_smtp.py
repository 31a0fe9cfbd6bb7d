"""The client's side of SMTP: the 512 octets of a command, replies of several lines, codes, AUTH=mailbox in MAIL."""

from __future__ import annotations

from typing import Any

import pytest

import sasl
from sasl.adapters.wire import smtp
from sasl.errors import (
    AuthenticationFailed,
    ConnectionLost,
    LimitExceeded,
    ProtocolError,
    SASLError,
    TemporaryFailure,
    UsageError,
)


def started() -> Any:
    wire = smtp.ClientWire(sasl.client("XOAUTH2", sasl.Bearer("user", "token")))
    wire.command()
    return wire


@pytest.mark.parametrize(("octets", "sent"), [(511, True), (512, True), (513, False)])
def test_an_initial_response_is_sent_if_the_command_has_no_more_than_512_octets(octets: int, *, sent: bool) -> None:
    room = octets - len("AUTH  \r\n")
    name = "X" * (room % 4 + 4)
    message = b"m" * ((room - len(name)) // 4 * 3)

    def script() -> Any:
        yield sasl.Complete(message)

    wire = smtp.ClientWire(sasl.ClientExchange(name, script()))
    line = wire.command().octets

    assert wire.initial_response is sent
    assert line.startswith(f"AUTH {name}".encode())
    assert len(line) == octets if sent else line == f"AUTH {name}\r\n".encode()


def test_a_real_token_is_sent_after_the_empty_challenge() -> None:
    wire = smtp.ClientWire(sasl.client("XOAUTH2", sasl.Bearer("user", "t" * 4000)))

    assert wire.command().octets == b"AUTH XOAUTH2\r\n"
    assert len(wire.receive(b"334 \r\n").octets) > 4000
    wire.receive(b"235 2.7.0 welcome\r\n")

    assert (wire.done, wire.error) == (True, None)


# --- replies


@pytest.mark.parametrize(
    ("reply", "error", "kind", "code"),
    [
        (b"400 x", TemporaryFailure, "unavailable", "400"),
        (b"420 x", TemporaryFailure, "unavailable", "420"),
        (b"422 x", TemporaryFailure, "unavailable", "422"),
        (b"432 4.7.12 x", AuthenticationFailed, "expired", "432 4.7.12"),
        (b"454 4.7.0 x", TemporaryFailure, "unavailable", "454 4.7.0"),
        (b"451 4.3.0 x", TemporaryFailure, "unavailable", "451 4.3.0"),
        (b"499 4.999.999 x", TemporaryFailure, "unavailable", "499 4.999.999"),
        (b"499 4.1000.9 x", TemporaryFailure, "unavailable", "499"),
        (b"499 4.9.1000 x", TemporaryFailure, "unavailable", "499"),
        (b"499 4..9 x", TemporaryFailure, "unavailable", "499"),
        (b"499 4.9. x", TemporaryFailure, "unavailable", "499"),
        (b"500 5.5.6 x", AuthenticationFailed, "limit", "500 5.5.6"),
        (b"501 5.5.2 x", AuthenticationFailed, "malformed", "501 5.5.2"),
        (b"502 x", AuthenticationFailed, "unsupported", "502"),
        (b"503 5.5.1 x", AuthenticationFailed, "state", "503 5.5.1"),
        (b"504 5.5.4 x", AuthenticationFailed, "unsupported", "504 5.5.4"),
        (b"523 5.7.10 x", AuthenticationFailed, "policy", "523 5.7.10"),
        (b"525 5.7.13 x", AuthenticationFailed, "disabled", "525 5.7.13"),
        (b"530 5.7.57 Client not authenticated", AuthenticationFailed, "policy", "530 5.7.57"),
        (b"534 5.7.9 x", AuthenticationFailed, "policy", "534 5.7.9"),
        (b"535 5.7.8 x", AuthenticationFailed, "credentials", "535 5.7.8"),
        (b"535 x", AuthenticationFailed, "credentials", "535"),
        (b"535", AuthenticationFailed, "credentials", "535"),
        (b"538 5.7.11 x", AuthenticationFailed, "policy", "538 5.7.11"),
        (b"550 5.7.30 Basic authentication is not supported", AuthenticationFailed, "policy", "550 5.7.30"),
        (b"554 5.0.0 x", AuthenticationFailed, "policy", "554 5.0.0"),
        (b"555 5.5.2 x", AuthenticationFailed, "limit", "555 5.5.2"),
    ],
)
def test_codes_tell_kinds_apart(reply: bytes, error: type[SASLError], kind: str, code: str) -> None:
    wire = started()

    assert wire.receive(reply + b"\r\n") is None

    assert type(wire.error) is error
    assert (wire.error.kind, wire.error.response_code, wire.code) == (kind, code, int(code[:3]))
    assert not wire.must_close
    assert getattr(wire.error, "new_token_may_help", False) == (kind in ("credentials", "expired"))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.", "disabled"),
        ("5.7.139 Authentication unsuccessful, the user credentials were incorrect.", "credentials"),
    ],
)
def test_what_exchange_has_switched_off_is_not_a_wrong_credential(text: str, kind: str) -> None:
    wire = started()

    wire.receive(f"535 {text}\r\n".encode())

    assert (wire.error.kind, wire.error.new_token_may_help) == (kind, kind == "credentials")


def test_the_lines_of_a_reply_are_one_verdict() -> None:
    wire = started()

    assert wire.receive(b"535-5.7.8 Username and Password not accepted.\r\n") is None
    assert not wire.done
    assert wire.receive(b"535 5.7.8 https://support.example.com/\r\n") is None

    assert wire.error.server_text == "Username and Password not accepted. https://support.example.com/"
    assert wire.error.response_code == "535 5.7.8"
    assert wire.reply == b"5.7.8 Username and Password not accepted.\n5.7.8 https://support.example.com/"


def test_a_yes_of_several_lines_counts_when_it_is_complete() -> None:
    wire = started()

    wire.receive(b"235-2.7.0 wait\r\n")
    assert not wire.done
    wire.receive(b"235 2.7.0 in\r\n")

    assert (wire.done, wire.error, wire.server_text) == (True, None, "wait in")


def test_a_yes_that_never_ends_is_no_login() -> None:
    wire = started()
    wire.receive(b"235-2.7.0 wait\r\n")

    wire.lost()

    assert type(wire.error) is ConnectionLost


@pytest.mark.parametrize("code", [b"421", b"421 4.7.0"])
def test_a_421_is_a_lost_connection(code: bytes) -> None:
    wire = started()

    wire.receive(code + b" try later\r\n")

    assert type(wire.error) is sasl.ServerBusy
    assert (wire.error.response_code, wire.error.server_text, wire.must_close) == (code.decode(), "try later", True)


def test_a_421_after_an_error_challenge_is_a_refusal_with_its_reason() -> None:
    wire = started()
    assert wire.receive(b"334 eyJzdGF0dXMiOiI0MDAifQ==\r\n").octets == b"\r\n"

    wire.receive(b"421 4.7.0 bye\r\n")

    assert type(wire.error) is AuthenticationFailed
    assert (wire.error.detail, wire.error.response_code, wire.must_close) == ({"status": "400"}, "421 4.7.0", True)


@pytest.mark.parametrize("reply", [b"250 ok", b"220 x", b"200 x", b"354 go on", b"335 x", b"399 x"])
def test_a_code_that_is_neither_yes_nor_no_ends_it(reply: bytes) -> None:
    wire = started()

    wire.receive(reply + b"\r\n")

    assert type(wire.error) is ProtocolError
    assert wire.must_close


@pytest.mark.parametrize(
    "line", [b"", b"999 x", b"000 x", b"2350 x", b"235\x00 x", b"23", b"334Zg==", b" 235 x", b"+OK", b"235_x", b"\xff"]
)
def test_what_is_no_smtp_reply_ends_it(line: bytes) -> None:
    wire = started()

    assert wire.receive(line + b"\r\n") is None
    assert type(wire.error) is ProtocolError
    assert wire.must_close


def test_a_reply_whose_lines_disagree_ends_it() -> None:
    wire = started()

    wire.receive(b"235-fine\r\n")
    wire.receive(b"535 no\r\n")

    assert type(wire.error) is ProtocolError
    assert wire.must_close


def test_a_reply_may_have_64_kib() -> None:
    fitting, too_long = started(), started()

    fitting.receive(b"535 ".ljust(65_535) + b"\n")
    too_long.receive(b"535 ".ljust(65_536) + b"\n")

    assert type(fitting.error) is AuthenticationFailed
    assert type(too_long.error) is LimitExceeded


def answering() -> Any:
    yield None
    yield sasl.Complete(b"answer")


def test_a_challenge_may_have_12288_octets_of_base64() -> None:
    fitting, too_long = (smtp.ClientWire(sasl.ClientExchange("X", answering())) for _ in range(2))
    for wire in (fitting, too_long):
        wire.command()

    assert fitting.receive(b"334 ".ljust(4 + 12_288, b"A") + b"\r\n").octets != b"*\r\n"
    assert too_long.receive(b"334 ".ljust(4 + 12_292, b"A") + b"\r\n").octets == b"*\r\n"


def test_before_the_verdict_there_is_no_code() -> None:
    wire = started()

    assert (wire.code, wire.reply) == (0, b"")


def test_a_reply_without_end_is_refused() -> None:
    wire = started()

    for _ in range(64):
        wire.receive(b"235-".ljust(1023) + b"\n")
    assert not wire.done
    wire.receive(b"235\n")

    assert type(wire.error) is LimitExceeded
    assert wire.must_close


def test_a_challenge_of_several_lines_is_cancelled() -> None:
    wire = started()
    wire.receive(b"334-Zg==\r\n")

    assert wire.receive(b"334 Zg==\r\n").octets == b"*\r\n"
    wire.receive(b"334-Zg==\r\n")
    assert wire.receive(b"334 Zg==\r\n") is None

    assert type(wire.error) is ProtocolError
    assert wire.must_close


def test_a_reply_that_says_the_credential_back_is_kept_without_it() -> None:
    wire = smtp.ClientWire(sasl.client("XOAUTH2", sasl.Bearer("user", "ya29.secret")))
    sent = wire.command().octets.split()[-1]

    wire.receive(b"535-5.7.8 unknown: " + sent + b"\r\n")
    wire.receive(b"535 5.7.8 ya29.secret\r\n")

    assert wire.reply == b"5.7.8 unknown: ***\n5.7.8 ***"


def test_the_enhanced_code_is_the_first_one_and_not_in_the_text() -> None:
    reply = smtp.Reply()

    assert not reply.receive(b"550-5.7.30 first\r\n")
    assert not reply.receive(b"550-5.7.1\r\n")
    assert not reply.receive(b"550-5.7.1x no code\r\n")
    assert reply.receive(b"550")
    assert reply.text == ("5.7.30", "first  5.7.1x no code ")


def test_a_line_that_is_no_reply_shows_only_its_beginning() -> None:
    with pytest.raises(ProtocolError) as broken:
        smtp.Reply().receive(b"\x1b" + b"x" * 5000)

    assert broken.value.server_text == "x" * 999


# --- EHLO


def test_mechanisms_are_those_of_auth_in_both_spellings() -> None:
    extensions = ["mx.example.com", "SIZE 100", "AUTH PLAIN XOAUTH2", "auth=LOGIN", "AUTHORS none", "AUTH"]

    assert smtp.mechanisms(extensions) == ["PLAIN", "XOAUTH2", "LOGIN"]


# --- the AUTH parameter of MAIL


@pytest.mark.parametrize(
    ("parameters", "mailbox"),
    [
        ("AUTH=<>", "<>"),
        ("SIZE=10 auth=e+3Dmc2@example.com", "e=mc2@example.com"),
        ("SIZE=10", None),
        ("", None),
        ("AUTHX=1", None),
    ],
)
def test_the_auth_parameter_is_decoded(parameters: str, mailbox: str | None) -> None:
    assert smtp.mail_auth(parameters) == mailbox


@pytest.mark.parametrize(
    "parameters",
    [
        *("AUTH=", "AUTH=a=b", "AUTH=a+", "AUTH=a+3", "AUTH=a+3d", "AUTH=a+ZZ", "AUTH=a AUTH=b", "AUTH=\xe9"),
        *("AUTH=a+0D+0AQUIT", "AUTH=a+00", "AUTH=a+7F", "AUTH=a+E9"),
    ],
)
def test_an_auth_parameter_that_is_none_is_refused(parameters: str) -> None:
    with pytest.raises(ProtocolError):
        smtp.mail_auth(parameters)


@pytest.mark.parametrize("mailbox", ["e=mc2@example.com", "a+b@example.com", '"a b"@example.com', "<>"])
def test_a_mailbox_comes_back_from_xtext_as_it_went(mailbox: str) -> None:
    text = smtp.as_xtext(mailbox)

    assert " " not in text
    assert smtp.mail_auth(f"AUTH={text}") == mailbox


def test_xtext_is_what_it_stands_for_but_for_spaces_and_its_own_signs() -> None:
    assert smtp.as_xtext("!azAZ09<>,*-~") == "!azAZ09<>,*-~"
    assert smtp.as_xtext("a b+c=d") == "a+20b+2Bc+3Dd"


@pytest.mark.parametrize("mailbox", ["é@example.com", "a\r\nb", "a\0"])
def test_a_mailbox_that_is_not_printable_ascii_is_the_callers_mistake(mailbox: str) -> None:
    with pytest.raises(UsageError):
        smtp.as_xtext(mailbox)
