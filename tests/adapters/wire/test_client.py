"""The rules that the three client wires share: initial response, challenges, cancelling, verdicts, the end, secrets."""

from __future__ import annotations

import json
import traceback
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters.wire import imap, pop, smtp
from sasl.adapters.wire.client import LONGEST_LINE
from sasl.adapters.wire.line import Line, plain_line
from sasl.errors import (
    AuthenticationFailed,
    Cancelled,
    ConnectionLost,
    LimitExceeded,
    ProtocolError,
    ServerNotProven,
    TemporaryFailure,
    UsageError,
)

if TYPE_CHECKING:
    from tests.adapters.wire.conftest import Protocol

ERROR = b'{"status":"401","schemes":"bearer","scope":"https://mail.example.com/"}'


def scripted(*steps: object, name: str = "TEST", secret: str | None = None) -> sasl.ClientExchange:
    """An exchange that yields these steps, and raises those that are exceptions."""

    def script() -> Any:
        for step in steps:
            if isinstance(step, Exception):
                raise step
            yield step

    return sasl.ClientExchange(name, script(), secret=None if secret is None else sasl.Secret(secret))


# --- the initial response


def test_the_initial_response_goes_with_the_command(protocol: Protocol) -> None:
    wire = protocol.plain()

    line = wire.command()

    message = b64encode(b"\0someone@example.com\0correct horse battery")
    assert line.octets == protocol.command("PLAIN", message)
    assert wire.initial_response
    assert wire.turns == 1


def test_an_empty_initial_response_is_an_equals_sign(protocol: Protocol) -> None:
    wire = protocol.client(scripted(sasl.Complete(b"")))

    assert wire.command().octets == protocol.command("TEST", b"=")


def test_an_empty_message_is_an_empty_line_where_it_is_not_an_initial_response(protocol: Protocol) -> None:
    wire = protocol.client(scripted(sasl.Complete(b"")), initial_response=False)

    assert wire.command().octets == protocol.command("TEST")
    assert wire.receive(protocol.challenge()).octets == b"\r\n"


def test_no_initial_response_is_sent_where_the_caller_wants_none(protocol: Protocol) -> None:
    wire = protocol.plain(initial_response=False)

    assert wire.command().octets == protocol.command("PLAIN")
    assert not wire.initial_response
    answer = wire.receive(protocol.challenge())
    assert answer.octets == b64encode(b"\0someone@example.com\0correct horse battery") + b"\r\n"
    assert wire.turns == 2
    assert wire.receive(protocol.yes) is None
    assert (wire.done, wire.error, wire.must_close) == (True, None, False)


def test_a_mechanism_that_waits_for_the_server_sends_no_initial_response(protocol: Protocol) -> None:
    wire = protocol.client(scripted(None, sasl.Complete(b"answer")))

    assert wire.command().octets == protocol.command("TEST")
    assert wire.receive(protocol.challenge(b"who?")).octets == b64encode(b"answer") + b"\r\n"


@pytest.mark.parametrize("text", [b"", b"Go ahead", b"Zg==", b"=", b"not base64!"])
def test_what_the_first_challenge_says_is_ignored_while_the_response_waits(protocol: Protocol, text: bytes) -> None:
    wire = protocol.plain(initial_response=False)
    wire.command()

    answer = wire.receive(protocol.prefix + text + b"\r\n")

    assert answer.octets == b64encode(b"\0someone@example.com\0correct horse battery") + b"\r\n"


def test_a_bare_challenge_is_an_empty_one(protocol: Protocol) -> None:
    wire = protocol.plain(initial_response=False)
    wire.command()

    assert wire.receive(protocol.prefix.rstrip() + b"\r\n").octets != b"*\r\n"


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_lines_may_end_in_a_bare_lf(protocol: Protocol, end: bytes) -> None:
    wire = protocol.plain(initial_response=False)
    wire.command()

    assert wire.receive(protocol.challenge().removesuffix(b"\r\n") + end) is not None
    wire.receive(protocol.yes.removesuffix(b"\r\n") + end)

    assert (wire.done, wire.error) == (True, None)


# --- a yes


def test_a_yes_is_a_login(protocol: Protocol) -> None:
    wire = protocol.plain()
    wire.command()

    assert wire.receive(protocol.yes) is None

    assert (wire.done, wire.error, wire.must_close, wire.server_text) == (True, None, False, "done")


def test_a_yes_before_the_deferred_credential_left_is_not_a_login(protocol: Protocol) -> None:
    wire = protocol.plain(initial_response=False)
    wire.command()

    wire.receive(protocol.yes)

    assert type(wire.error) is ServerNotProven
    assert wire.error.server_text == "done"
    assert wire.must_close


def test_a_yes_in_the_middle_of_a_mechanism_is_not_a_login(protocol: Protocol) -> None:
    wire = protocol.client(scripted(b"first", sasl.Complete(b"second")))
    wire.command()

    wire.receive(protocol.yes)

    assert type(wire.error) is ServerNotProven
    assert wire.must_close


def test_a_yes_after_an_error_challenge_is_not_a_login(protocol: Protocol) -> None:
    wire = protocol.xoauth2()
    wire.command()
    wire.receive(protocol.challenge(ERROR))

    wire.receive(protocol.yes)

    assert type(wire.error) is ServerNotProven
    assert wire.error.detail["status"] == "401"
    assert wire.must_close


# --- a no


def test_a_no_is_the_error_of_the_exchange(protocol: Protocol) -> None:
    wire = protocol.plain()
    wire.command()

    wire.receive(protocol.no)

    assert type(wire.error) is AuthenticationFailed
    assert (wire.error.mechanism, wire.error.kind, wire.error.server_text) == ("PLAIN", "credentials", "no")
    assert (wire.must_close, wire.server_text) == (False, "no")


def test_a_no_that_is_about_the_server_is_temporary(protocol: Protocol) -> None:
    wire = protocol.xoauth2()
    wire.command()

    wire.receive(protocol.later)

    assert type(wire.error) is TemporaryFailure
    assert not wire.must_close


def test_a_refused_token_says_why_and_whether_a_new_one_may_help(protocol: Protocol) -> None:
    wire = protocol.xoauth2()
    wire.command()
    assert wire.receive(protocol.challenge(ERROR)).octets == b"\r\n"

    wire.receive(protocol.no)

    assert type(wire.error) is AuthenticationFailed
    assert wire.error.detail == json.loads(ERROR)
    assert wire.error.new_token_may_help
    assert not wire.must_close


def test_a_complaint_about_the_answer_to_an_error_challenge_is_still_the_no(protocol: Protocol) -> None:
    wire = protocol.xoauth2()
    wire.command()
    wire.receive(protocol.challenge(ERROR))

    wire.receive(protocol.aborted)

    assert type(wire.error) is AuthenticationFailed
    assert wire.error.kind == "credentials"
    assert wire.error.new_token_may_help


# --- cancelling


def cancelled(protocol: Protocol) -> Any:
    """A wire that got a challenge which is no base64, after it sent the credential."""
    wire = protocol.plain()
    wire.command()
    line = wire.receive(protocol.prefix + b"!!!\r\n")
    assert (line.octets, repr(line)) == (b"*\r\n", "Line('*')")
    assert (wire.done, wire.cancelled, wire.must_close, wire.turns) == (False, True, False, 2)
    assert wire.exchange.state is sasl.State.FAILED
    return wire


@pytest.mark.parametrize("text", [b"!!!", b"Zg", b"Zg==\t", b"Z g==", b"=", b"Zh==", "é".encode()])
def test_a_challenge_that_is_not_base64_is_cancelled(protocol: Protocol, text: bytes) -> None:
    wire = protocol.plain()
    wire.command()

    assert wire.receive(protocol.prefix + text + b"\r\n").octets == b"*\r\n"


@pytest.mark.parametrize("reply", ["aborted", "no", "later"])
def test_after_cancelling_the_final_reply_is_read_and_the_cause_is_the_error(protocol: Protocol, reply: str) -> None:
    wire = cancelled(protocol)

    assert wire.receive(getattr(protocol, reply)) is None

    assert type(wire.error) is ProtocolError
    assert wire.error.mechanism == "PLAIN"
    assert (wire.error.server_text, wire.server_text) == ("!!!", reply)  # what was wrong, and the last word
    assert (wire.done, wire.cancelled, wire.must_close) == (True, False, False)


@pytest.mark.parametrize("reply", ["yes", "garbage", "challenge"])
def test_whatever_else_follows_a_cancel_closes_the_connection(protocol: Protocol, reply: str) -> None:
    wire = cancelled(protocol)

    assert wire.receive(protocol.challenge() if reply == "challenge" else getattr(protocol, reply)) is None

    assert type(wire.error) is ProtocolError
    assert (wire.done, wire.must_close) == (True, True)


def test_an_empty_challenge_after_the_credential_is_cancelled(protocol: Protocol) -> None:
    wire = protocol.xoauth2()
    wire.command()

    assert wire.receive(protocol.challenge()).octets == b"*\r\n"
    wire.receive(protocol.aborted)

    assert type(wire.error) is ProtocolError


def test_the_error_of_the_mechanism_wins_over_the_final_reply(protocol: Protocol) -> None:
    wire = protocol.client(scripted(b"first", ServerNotProven("a wrong proof")))
    wire.command()

    assert wire.receive(protocol.challenge(b"proof")).octets == b"*\r\n"
    wire.receive(protocol.no)

    assert type(wire.error) is ServerNotProven
    assert (str(wire.error), wire.error.server_text, wire.must_close) == ("a wrong proof", "no", False)


def test_a_server_that_goes_on_after_its_error_challenge_is_cancelled(protocol: Protocol) -> None:
    wire = protocol.xoauth2()
    wire.command()
    wire.receive(protocol.challenge(ERROR))

    assert wire.receive(protocol.challenge(ERROR)).octets == b"*\r\n"
    wire.receive(protocol.no)

    assert type(wire.error) is ProtocolError
    assert wire.error.detail == json.loads(ERROR)


def test_a_challenge_that_is_too_large_is_cancelled(protocol: Protocol) -> None:
    wire = protocol.plain()
    wire.command()
    limit = wire.challenge_limit

    assert wire.receive(protocol.prefix + b"A" * (limit + 4) + b"\r\n").octets == b"*\r\n"
    wire.receive(protocol.aborted)

    assert type(wire.error) is LimitExceeded


def test_a_challenge_as_large_as_allowed_is_taken(protocol: Protocol) -> None:
    wire = protocol.xoauth2()
    wire.command()

    largest = min(sasl.Limits().message, wire.challenge_limit // 4 * 3)

    assert wire.receive(protocol.challenge(b"x" * largest)).octets == b"\r\n"


def test_a_line_that_is_too_long_ends_it(protocol: Protocol) -> None:
    wire = protocol.plain()
    wire.command()

    assert wire.receive(protocol.yes.rstrip() + b" " * LONGEST_LINE) is None

    assert type(wire.error) is LimitExceeded
    assert wire.must_close


def test_the_longest_line_has_room_for_the_largest_challenge_and_what_stands_around_it(protocol: Protocol) -> None:
    wire = protocol.plain()
    wire.command()

    wire.receive(protocol.yes.rstrip().ljust(LONGEST_LINE - 1) + b"\n")

    assert wire.error is None or protocol.name == "smtp"  # whose replies have a limit of their own
    assert len(b64encode(bytes(sasl.Limits().message))) + 1024 == LONGEST_LINE


def test_challenges_without_end_are_cancelled(protocol: Protocol) -> None:
    wire = protocol.client(scripted(*[b"more"] * 100))
    wire.command()

    answers = [wire.receive(protocol.challenge(b"more?")) for _ in range(20) if not wire.done]

    assert answers[-2].octets == b"*\r\n"
    assert type(wire.error) is LimitExceeded


# --- the end of the connection


@pytest.mark.parametrize("initial_response", [None, False])
def test_a_connection_that_ends_without_a_verdict_is_lost(protocol: Protocol, *, initial_response: bool | None) -> None:
    wire = protocol.xoauth2(initial_response=initial_response)
    wire.command()

    wire.lost()

    assert type(wire.error) is ConnectionLost
    assert (wire.done, wire.must_close, wire.error.mechanism) == (True, True, "XOAUTH2")
    assert str(wire.error) == "the server ended the connection"


def test_a_connection_that_ends_before_the_command_is_lost(protocol: Protocol) -> None:
    wire = protocol.plain()

    wire.lost()

    assert type(wire.error) is ConnectionLost
    with pytest.raises(UsageError):
        wire.command()


def test_a_connection_that_ends_after_an_error_challenge_is_a_refusal(protocol: Protocol) -> None:
    wire = protocol.xoauth2()
    wire.command()
    wire.receive(protocol.challenge(ERROR))

    wire.lost()

    assert type(wire.error) is AuthenticationFailed
    assert wire.error.detail == json.loads(ERROR)
    assert wire.error.new_token_may_help
    assert wire.must_close


def test_a_connection_that_ends_after_a_cancel_leaves_the_cause(protocol: Protocol) -> None:
    wire = cancelled(protocol)

    wire.lost()

    assert type(wire.error) is ProtocolError
    assert wire.must_close


def test_losing_the_connection_after_the_verdict_changes_nothing(protocol: Protocol) -> None:
    wire = protocol.plain()
    wire.command()
    wire.receive(protocol.yes)

    wire.lost()
    wire.abandon(Cancelled("too late"))

    assert (wire.error, wire.must_close) == (None, False)


def test_a_driver_may_end_it_for_a_reason_of_its_own(protocol: Protocol) -> None:
    wire = protocol.plain()
    wire.command()

    wire.abandon(ConnectionLost("no answer within 5 seconds"))

    assert str(wire.error) == "no answer within 5 seconds"
    assert (wire.done, wire.must_close, wire.error.mechanism) == (True, True, "PLAIN")
    assert wire.exchange.state is sasl.State.FAILED


# --- wrong calls


def test_a_wire_serves_once(protocol: Protocol) -> None:
    wire = protocol.plain()
    with pytest.raises(UsageError):
        wire.receive(protocol.yes)
    wire.command()
    with pytest.raises(UsageError):
        wire.command()
    wire.receive(protocol.yes)
    with pytest.raises(UsageError):
        wire.receive(protocol.yes)

    assert (wire.done, wire.error) == (True, None)


@pytest.mark.parametrize("what", ["yes", "no", "later", "garbage", "challenge", "too long"])
def test_whatever_comes_out_of_turn_is_the_callers_mistake(protocol: Protocol, what: str) -> None:
    others = {"challenge": protocol.challenge(), "too long": b"x" * 100_000}
    line = others[what] if what in others else getattr(protocol, what)
    early, late = protocol.plain(), protocol.plain()
    late.command()
    late.receive(protocol.yes)

    for wire in (early, late):
        with pytest.raises(UsageError):
            wire.receive(line)

    assert (early.done, early.error) == (False, None)
    assert (late.done, late.error, late.must_close) == (True, None, False)


def test_credentials_that_cannot_be_used_are_refused_before_anything_is_sent(protocol: Protocol) -> None:
    wire = protocol.client(sasl.client("XOAUTH2", sasl.Bearer("a\r\nb", "ya29.token")))

    with pytest.raises(UsageError):
        wire.command()

    assert (wire.turns, wire.initial_response) == (0, False)


def test_a_choice_becomes_a_wire_for_credentials_that_fit_it(protocol: Protocol) -> None:
    choice = sasl.Choice("XOAUTH2", protocol.TLS)

    assert protocol.module.client_wire(choice, protocol.TOKEN).exchange.name == "XOAUTH2"
    with pytest.raises(UsageError):
        protocol.module.client_wire(choice, protocol.PASSWORD)


# --- secrets


def sinks(wire: Any) -> str:
    """All that a program might log of a wire and its error."""
    error = wire.error
    report = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    return f"{wire!r} {vars(wire)} {error!r} {error} {vars(error)} {error.args} {report}"


TOKEN = "ya29.token-that-nobody-sees"


@pytest.mark.parametrize("initial_response", [None, False])
def test_no_line_shows_what_it_carries(protocol: Protocol, *, initial_response: bool | None) -> None:
    wire = protocol.xoauth2(initial_response=initial_response)
    lines = [wire.command()]
    if initial_response is False:
        lines.append(wire.receive(protocol.challenge()))
    message = "user=someone@example.com\1auth=Bearer ya29.token-that-nobody-sees\1\1"

    assert b64encode(message.encode()) in lines[-1].octets
    assert lines[-1].shown.endswith(f"<{len(message)} octets>")
    for line in lines:
        assert repr(line) == f"Line({line.shown!r})"
        assert "\r" not in line.shown
        assert b64encode(message.encode()).decode() not in line.shown


def test_a_line_without_a_secret_shows_itself() -> None:
    assert plain_line("CAPA") == Line(b"CAPA\r\n", "CAPA")


def test_a_challenge_is_shown_by_the_size_of_what_it_stands_for(protocol: Protocol) -> None:
    wire = protocol.plain()
    prefix = protocol.prefix.decode()

    assert wire.shown(protocol.challenge(b"secret")) == f"{prefix}<6 octets>"
    assert wire.shown(protocol.challenge(b"sec")) == f"{prefix}<3 octets>"
    assert wire.shown(protocol.challenge()) == f"{prefix}<0 octets>"
    assert wire.shown(protocol.prefix.rstrip() + b"\r\n") == f"{prefix}<0 octets>"


@pytest.mark.parametrize("text", [b"c2VjcmV0!", b"Go ahead", b"c2VjcmV0 c2VjcmV0", b"\xff\xfe", b"{5}", b"\0"])
def test_a_challenge_that_is_not_base64_is_shown_by_its_size_too(protocol: Protocol, text: bytes) -> None:
    shown = protocol.plain().shown(protocol.prefix + text + b"\r\n")

    assert shown == f"{protocol.prefix.decode()}<{len(text)} octets that are not base64>"


def test_a_challenge_in_a_form_that_is_none_is_not_shown_either(protocol: Protocol) -> None:
    shown = protocol.plain().shown(protocol.prefix.rstrip() + b"c2VjcmV0\r\n")

    assert shown == ("334 <7 octets that are not base64>" if protocol.name == "smtp" else "+ <6 octets>")


def test_other_lines_are_shown_without_what_a_terminal_would_obey(protocol: Protocol) -> None:
    wire = protocol.plain()

    assert wire.shown(protocol.yes) == protocol.yes.decode().rstrip()
    assert wire.shown(b"\x1b[2Jwhat\r\n") == "[2Jwhat"
    assert wire.shown(b"\xff\r\n") == "\ufffd"
    assert wire.shown(b"") == ""
    assert len(wire.shown(b"x" * 100_000)) == 1000


@pytest.mark.parametrize("initial_response", [None, False])
@pytest.mark.parametrize("form", ["raw", "base64"])
def test_a_server_that_says_the_credential_back_does_not_put_it_into_an_error(
    protocol: Protocol, *, form: str, initial_response: bool | None
) -> None:
    wire = protocol.xoauth2(initial_response=initial_response)
    wire.command()
    if initial_response is False:
        wire.receive(protocol.challenge())
    message = b64encode(b"user=someone@example.com\1auth=Bearer ya29.token-that-nobody-sees\1\1").decode()
    said = protocol.says(f"denied: {message if form == 'base64' else TOKEN} {'x' * 2000}")

    before = wire.shown(said)
    wire.receive(said)

    assert type(wire.error) is AuthenticationFailed
    assert "denied: ***" in wire.error.server_text
    assert len(wire.error.server_text) <= 1000
    for text in (before, wire.shown(said), wire.server_text, sinks(wire), repr(getattr(wire, "reply", ""))):
        assert TOKEN not in text
        assert message not in text


@pytest.mark.parametrize("cut", ["{0:.60}...", "...{1}", "{0:.40}...{1}", "{0:.39}", "{0}"])
def test_a_server_that_says_a_part_of_the_command_back_does_not_put_it_into_an_error(
    protocol: Protocol, cut: str
) -> None:
    """Sendmail's "Command unrecognized" keeps the beginning and the end, others cut at some octet."""
    wire = protocol.xoauth2()
    sent = wire.command().octets.rstrip().decode()
    message = sent.rpartition(" ")[2]
    said = protocol.says("unknown: " + cut.format(sent, sent[-30:]))

    before = wire.shown(said)
    wire.receive(said)

    runs = {message[at : at + 12] for at in range(len(message) - 11)}
    for text in (before, wire.shown(said), wire.server_text, sinks(wire), repr(getattr(wire, "reply", ""))):
        assert [run for run in runs if run in text] == []


@pytest.mark.parametrize("line", ["no", "yes", "garbage", "challenge"])
def test_the_credential_is_not_in_an_error_wherever_the_server_says_it(protocol: Protocol, line: str) -> None:
    wire = protocol.xoauth2(initial_response=False)
    wire.command()
    wire.receive(protocol.challenge())
    wire.receive(protocol.prefix + b"!!!\r\n")  # from here on the exchange has forgotten the credential
    said = {
        "no": protocol.says(TOKEN),
        "yes": protocol.yes.rstrip() + f" {TOKEN}\r\n".encode(),
        "garbage": f"{TOKEN}\r\n".encode(),
        "challenge": protocol.prefix + f"{TOKEN}\r\n".encode(),
    }

    wire.receive(said[line])

    assert wire.done
    assert TOKEN not in wire.shown(said[line]) + sinks(wire) + wire.server_text


def test_a_long_line_that_breaks_the_protocol_is_cut_only_after_the_credential_was_taken_out(
    protocol: Protocol,
) -> None:
    wire = protocol.xoauth2()
    wire.command()

    wire.receive(b"x" * (1000 - 10) + TOKEN.encode() + b"\r\n")

    assert type(wire.error) is ProtocolError
    assert wire.error.server_text.endswith("x***")


def test_an_error_challenge_that_says_the_credential_back_does_not_show_it(protocol: Protocol) -> None:
    wire = protocol.xoauth2()
    sent = wire.command().octets.split()[-1].decode()
    wire.receive(protocol.challenge(json.dumps({"status": TOKEN, "scope": sent}).encode()))

    wire.receive(protocol.no)

    assert wire.error.detail == {"status": "***", "scope": "***"}


@pytest.mark.parametrize(("password", "said"), [("log", "no login"), ("logi", "no ***n")])
def test_what_is_shorter_than_four_characters_is_left_in_a_text(protocol: Protocol, password: str, said: str) -> None:
    wire = protocol.client(sasl.client("PLAIN", sasl.Password("someone", password)))
    wire.command()
    shown = wire.shown(protocol.says("login"))

    wire.receive(protocol.says("login"))

    assert shown.endswith(said)
    assert wire.error.server_text == said


def test_wires_are_there_under_their_names() -> None:
    for module in (imap, pop, smtp):
        names = {"ClientWire", "ServerWire", "StartTlsWire", "StartTlsServerWire", "client_wire", "mechanisms"}
        names |= {"REPLIES", "refusal"}
        assert names <= set(module.__all__)
        assert all(getattr(module, name) is not None for name in module.__all__)
        with pytest.raises(AttributeError, match="LoginWire"):
            _ = module.LoginWire
    assert {"choose", "greeting", "LOGIN"} <= set(imap.__all__)
    assert {"CapaWire", "choose", "timestamp", "USER", "APOP"} <= set(pop.__all__)
    assert {"Reply", "AUTH_REQUIRED", "mail_auth"} <= set(smtp.__all__)
