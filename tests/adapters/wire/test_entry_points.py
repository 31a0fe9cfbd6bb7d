"""What libraries give that have read the replies themselves, and what else reaches a wire without a line."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

import sasl
from sasl.adapters.wire import client, imap, pop, smtp
from sasl.errors import (
    AuthenticationFailed,
    ConnectionLost,
    LimitExceeded,
    ProtocolError,
    SASLError,
    ServerBusy,
    ServerNotProven,
    TemporaryFailure,
    UsageError,
)
from sasl.limits import Limits

PASSWORD = sasl.Password("alice", "wonderland")
BEARER = sasl.Bearer("alice", "ya29.token-that-nobody-sees")
TLS = sasl.Channel(tls=True)
PLAIN = b64encode(b"\0alice\0wonderland") + b"\r\n"
TEXTS = pytest.mark.parametrize("form", [bytes, str], ids=["octets", "text"])


def given(text: bytes, form: type) -> Any:
    """A text as a library has it."""
    return text if form is bytes else text.decode("utf-8", "surrogateescape")


# --- IMAP


def begun_imap(name: str = "PLAIN", credentials: Any = PASSWORD, **settings: Any) -> imap.ClientWire:
    wire = imap.ClientWire(sasl.client(name, credentials), **settings)
    wire.command()
    return wire


@TEXTS
def test_imap_goes_on_with_what_follows_the_plus_and_ends_with_what_follows_the_tag(form: type) -> None:
    wire = begun_imap()

    line = wire.continued(given(b"Go ahead \xff", form))
    wire.untagged(given(b"1 EXISTS", form))
    wire.tagged(given(b"ok", form), given(b"[CAPABILITY IMAP4rev1 ID] Welcome", form))

    assert line is not None
    assert (line.octets, line.shown) == (PLAIN, "<17 octets>")
    assert (wire.done, wire.error, wire.turns) == (True, None, 2)
    assert (wire.capabilities, wire.server_text) == (("IMAP4rev1", "ID"), "Welcome")


@TEXTS
@pytest.mark.parametrize(
    ("status", "rest", "error", "code"),
    [
        (b"NO", b"[AUTHENTICATIONFAILED] no", AuthenticationFailed, "AUTHENTICATIONFAILED"),
        (b"no", b"[UNAVAILABLE] later", TemporaryFailure, "UNAVAILABLE"),
        (b"BAD", b"what?", ProtocolError, None),
        (b"OK", b"too early", ServerNotProven, None),
    ],
)
def test_imap_takes_a_tagged_reply_apart(
    form: type, status: bytes, rest: bytes, error: type[SASLError], code: str | None
) -> None:
    wire = begun_imap()
    if error is not ServerNotProven:
        wire.continued(b"")

    wire.tagged(given(status, form), given(rest, form))

    assert type(wire.error) is error
    assert (wire.error.response_code, wire.capabilities) == (code, None)


@TEXTS
def test_imap_sees_the_end_in_an_untagged_response(form: type) -> None:
    wire = begun_imap()

    wire.untagged(given(b"bye [UNAVAILABLE] restarting", form))

    assert type(wire.error) is ServerBusy
    assert (wire.error.server_text, wire.error.response_code) == ("restarting", "UNAVAILABLE")


def test_untagged_capabilities_are_those_after_a_login_and_of_no_use_after_a_refusal() -> None:
    for status, capabilities in ((b"OK", ("IMAP4rev1", "ID")), (b"NO", None)):
        wire = begun_imap(capabilities=["SASL-IR"])
        wire.untagged(b"CAPABILITY IMAP4rev1 ID")
        wire.tagged(status, b"")
        assert wire.capabilities == capabilities


def test_a_challenge_that_is_not_base64_is_cancelled_wherever_it_came_from() -> None:
    wires: list[Any] = [begun_imap("XOAUTH2", BEARER, capabilities=["SASL-IR"])]
    wires += [module.ClientWire(sasl.client("XOAUTH2", BEARER)) for module in (pop, smtp)]
    for wire in wires:
        if not wire.turns:
            wire.command()
        line = wire.replied(334, [b"!"]) if isinstance(wire, smtp.ClientWire) else wire.continued(b"!")
        assert line.octets == b"*\r\n"
        assert wire.cancelled


# --- POP


@TEXTS
def test_pop_goes_on_with_what_follows_the_plus_and_ends_with_a_reply(form: type) -> None:
    wire = pop.ClientWire(sasl.client("PLAIN", PASSWORD), initial_response=False)
    wire.command()

    line = wire.continued(given(b"", form))
    assert wire.replied(True, given(b"maildrop ready", form)) is None

    assert line is not None
    assert line.octets == PLAIN
    assert (wire.error, wire.server_text) == (None, "maildrop ready")


@TEXTS
def test_the_first_yes_of_user_is_the_go_ahead_for_the_password(form: type) -> None:
    wire = pop.ClientWire(sasl.client("POP-USER", PASSWORD))
    wire.command()

    line = wire.replied(True, given(b"who?", form))
    assert wire.replied(False, given(b"[AUTH] no", form)) is None

    assert line is not None
    assert line.octets == b"PASS wonderland\r\n"
    assert type(wire.error) is AuthenticationFailed
    assert wire.error.response_code == "AUTH"


# --- SMTP


def begun_smtp(name: str = "PLAIN", credentials: Any = PASSWORD) -> smtp.ClientWire:
    wire = smtp.ClientWire(sasl.client(name, credentials), initial_response=False)
    wire.command()
    return wire


@TEXTS
def test_smtp_takes_the_code_and_the_lines_without_it(form: type) -> None:
    wire = begun_smtp()

    line = wire.replied(334, [given(b"", form)])
    assert wire.replied(235, [given(b"2.7.0 Welcome", form), given(b"2.7.0 home \xff", form)]) is None

    assert line is not None
    assert line.octets == PLAIN
    assert (wire.error, wire.server_text, wire.code) == (None, "Welcome home \ufffd", 235)
    assert wire.reply == b"2.7.0 Welcome\n2.7.0 home \xff"


@pytest.mark.parametrize(
    ("code", "error", "close"),
    [
        (535, AuthenticationFailed, False),
        (454, TemporaryFailure, False),
        (421, ServerBusy, True),
        (250, ProtocolError, True),
    ],
)
def test_smtp_judges_a_reply_by_its_code(code: int, error: type[SASLError], *, close: bool) -> None:
    wire = begun_smtp()
    wire.replied(334, [])

    assert wire.replied(code, [f"{code // 100}.7.8 text"]) is None

    assert type(wire.error) is error
    assert (wire.must_close, wire.code) == (close, code)


def test_a_challenge_of_several_lines_is_none() -> None:
    wire = begun_smtp("CRAM-MD5")

    line = wire.replied(334, ["PGFAYj4=", "PGFAYj4="])

    assert line is not None
    assert line.octets == b"*\r\n"


# --- all


def calls(wire: Any) -> list[Any]:
    if isinstance(wire, smtp.ClientWire):
        return [lambda: wire.replied(235, [""])]
    if isinstance(wire, pop.ClientWire):
        return [lambda: wire.replied(True, ""), lambda: wire.continued("")]
    return [lambda: wire.continued(""), lambda: wire.tagged("OK", ""), lambda: wire.untagged("BYE")]


@pytest.mark.parametrize("module", [imap, pop, smtp])
def test_a_reply_out_of_turn_is_a_usage_error(module: Any) -> None:
    wire = module.ClientWire(sasl.client("PLAIN", PASSWORD))
    for call in calls(wire):
        with pytest.raises(UsageError):
            call()
    wire.command()
    wire.lost()
    for call in calls(wire):
        with pytest.raises(UsageError):
            call()


def test_a_login_command_that_fails_here_has_nothing_to_cancel_with_and_closes() -> None:
    exchange = sasl.client("IMAP-LOGIN", sasl.Password("älice", "wönderland"), limits=Limits(steps=1))
    wire = imap.ClientWire(exchange)
    wire.command()
    wire.continued("")

    assert wire.continued("") is None

    assert type(wire.error) is LimitExceeded
    assert (wire.done, wire.must_close) == (True, True)


@pytest.mark.parametrize(("module", "name"), [(imap, "IMAP-LOGIN"), (pop, "POP-USER"), (pop, "POP-APOP")])
def test_a_login_command_takes_the_exchange_of_a_password(module: Any, name: str) -> None:
    def script() -> sasl.ClientSteps:
        yield sasl.Complete(b"whatever\r\nDELE 1")

    settings = {"greeting": b"+OK <1@x>"} if name == "POP-APOP" else {}

    with pytest.raises(UsageError, match="takes a password"):
        module.ClientWire(sasl.ClientExchange(name, script()), **settings)


@pytest.mark.parametrize("module", [imap, pop, smtp])
def test_options_reach_the_mechanism_and_one_that_it_does_not_know_is_refused(module: Any) -> None:
    choice = sasl.choose(["SCRAM-SHA-256"], PASSWORD, channel=TLS)

    wire = module.client_wire(choice, PASSWORD, options={"nonce": b"fyko+d2lbbFgONRv9qkxdawL"})

    assert wire.exchange.start() == b"n,,n=alice,r=fyko+d2lbbFgONRv9qkxdawL"
    with pytest.raises(UsageError, match="nonsense"):
        module.client_wire(choice, PASSWORD, options={"nonsense": 1})


def test_the_text_of_a_line_is_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []
    monkeypatch.setattr(client, "scrubbed", lambda text, _secret: looked_at.append(text) or text)
    for wire, line in [
        (imap.ClientWire(sasl.client("IMAP-LOGIN", PASSWORD)), b"A1 NO [AUTHENTICATIONFAILED] who are you?\r\n"),
        (pop.ClientWire(sasl.client("PLAIN", PASSWORD)), b"-ERR [AUTH] who are you?\r\n"),
        (smtp.ClientWire(sasl.client("PLAIN", PASSWORD)), b"535 5.7.8 who are you?\r\n"),
    ]:
        wire.command()
        wire.shown(line)
        wire.receive(line)
        assert wire.error.server_text == "who are you?"
        assert wire.shown(line) == line.decode().rstrip()
        assert set(looked_at) == {line.decode().rstrip()}
        assert len(looked_at) == 2  # for the password, and for the form in which it was sent
        looked_at.clear()


def test_what_was_sent_since_is_taken_out_of_a_text_that_was_clean_before() -> None:
    wire = smtp.ClientWire(sasl.client("XOAUTH2", BEARER), initial_response=False)
    message = b64encode(b"user=alice\1auth=Bearer ya29.token-that-nobody-sees\1\1").decode()
    assert wire.shown(f"250 {message}".encode()) == f"250 {message}"
    wire.command()
    assert wire.shown(f"250 {message}".encode()) == f"250 {message}"  # it is deferred

    wire.replied(334, [""])

    assert wire.shown(f"250 {message}".encode()) == "250 ***"


def test_an_error_challenge_is_explained_by_a_library_that_reads_for_itself() -> None:
    wire = begun_smtp("XOAUTH2", BEARER)
    wire.replied(334, [""])
    answer = wire.replied(334, [b64encode(json.dumps({"status": "400"}).encode()).decode()])
    wire.replied(535, ["5.7.8 no"])

    assert answer is not None
    assert answer.octets == b"\r\n"
    assert type(wire.error) is AuthenticationFailed
    assert wire.error.detail == {"status": "400"}


@pytest.mark.parametrize(
    ("module", "name", "line"),
    [
        (imap, "PLAIN", b"A1 NO [WONDERLAND] no"),
        (imap, "PLAIN", b"A1 BAD [wonderland] no"),
        (imap, "PLAIN", b"* BYE [Wonderland] no"),
        (imap, "IMAP-LOGIN", b"A1 NO [wonderland] no"),
        (pop, "PLAIN", b"-ERR [wonderland] no"),
        (pop, "POP-USER", b"-ERR [wonderland] no"),
    ],
)
def test_a_response_code_does_not_show_the_password(module: Any, name: str, line: bytes) -> None:
    wire = module.ClientWire(sasl.client(name, PASSWORD))
    wire.command()

    wire.receive(line + b"\r\n")

    assert (wire.error.response_code, wire.error.server_text) == ("***", "no")


def test_the_engine_takes_the_password_out_of_a_response_code() -> None:
    exchange = sasl.client("PLAIN", PASSWORD)
    exchange.start()

    assert exchange.fail("no", response_code="WONDERLAND").response_code == "***"


@pytest.mark.parametrize("name", ["PLAIN", "POP-USER"])
def test_a_command_is_begun_once_although_it_failed_or_the_connection_is_lost(name: str) -> None:
    wire = pop.ClientWire(sasl.client(name, sasl.Password("", "")))
    for _ in range(2):
        with pytest.raises(UsageError):
            wire.command()

    wire = pop.ClientWire(sasl.client(name, PASSWORD))
    wire.lost()
    for _ in range(2):
        with pytest.raises(UsageError):
            wire.command()
    assert isinstance(wire.error, ConnectionLost)


def test_a_text_is_taken_however_it_was_decoded() -> None:
    wire = begun_imap()

    wire.tagged("NO", "[AUTHENTICATIONFAILED] \ud800 no")

    assert isinstance(wire.error, AuthenticationFailed)
    assert wire.server_text == "\ufffd\ufffd\ufffd no"


@pytest.mark.parametrize("text", [None, 7, bytearray(b"no")])
def test_what_is_neither_octets_nor_a_text_is_a_usage_error(text: Any) -> None:
    with pytest.raises(UsageError, match="is bytes or str"):
        begun_imap().continued(text)


@pytest.mark.parametrize(("code", "lines"), [("235", [b"ok"]), (None, []), (235, "ok"), (235, b"ok")])
def test_a_reply_of_smtp_is_a_number_and_lines(code: Any, lines: Any) -> None:
    wire = smtp.ClientWire(sasl.client("PLAIN", PASSWORD))
    wire.command()

    with pytest.raises(UsageError, match="a code, a number, and a collection of lines"):
        wire.replied(code, lines)


def test_an_interruption_right_after_the_servers_yes_is_no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    def close(_script: object) -> None:
        raise KeyboardInterrupt

    wire = begun_imap(capabilities=["SASL-IR"])
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("sasl.client_exchange.close", close)
        wire.tagged("OK", "Welcome")

    wire.abandon(sasl.Cancelled("the exchange was interrupted"))

    assert (type(wire.error), wire.must_close, wire.done) == (sasl.Cancelled, True, True)


# --- the names that all wires share


def test_the_names_of_all_wires_are_public() -> None:
    from sasl.adapters import wire
    from sasl.adapters.wire import line, protocol

    assert (wire.Line, wire.Wire, wire.LONGEST_LINE) == (line.Line, protocol.Wire, client.LONGEST_LINE)
    assert {*wire.__all__} == {"LONGEST_LINE", "Line", "Verdict", "Wire"}
    with pytest.raises(AttributeError, match=r"'sasl.adapters.wire' has no attribute 'Nothing'"):
        _ = wire.Nothing
