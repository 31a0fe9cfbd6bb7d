"""The table of refusals: what servers say at the wires, row by row, and what stands in it."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sasl
import sasl.spec
from sasl.adapters import providers, refusals
from sasl.adapters.binding.errors import timeout_error
from sasl.adapters.wire import imap, pop, sieve, smtp
from sasl.adapters.wire.text import end_of_connection, not_a_greeting

CASES = sasl.spec.refusals()
ROWS = refusals.rows()
OWN = [(profile, row) for profile in providers.profiles() for row in profile.refusals]
WIRES: dict[str, Any] = {
    "imap": imap.ClientWire,
    "pop": pop.ClientWire,
    "smtp": smtp.ClientWire,
    "sieve": sieve.ClientWire,
}
SECRET = "wonderland-77"
FIRST_NONCE = "fyko+d2lbbFgONRv9qkxdawL"


def begun(protocol: str, mechanism: str, *, initial: bool) -> Any:
    """A wire that has sent its command."""
    token = mechanism in ("XOAUTH2", "OAUTHBEARER")
    credentials = sasl.Bearer("alice", SECRET) if token else sasl.Password("alice", SECRET)
    settings: dict[str, Any] = {} if initial else {"initial_response": False}
    if protocol == "imap":
        settings["capabilities"] = ["SASL-IR"]
    wire = WIRES[protocol](sasl.client(mechanism, credentials, channel=sasl.Channel(tls=True)), **settings)
    wire.command()
    return wire


def play(wire: Any, lines: tuple[str, ...]) -> None:
    """Say what a server says, until the wire is done."""
    for line in lines:
        if wire.done:
            return
        text = line.replace("{tag}", "A1")
        if text == "<end>":
            wire.lost()
        elif text == "<silence>":
            wire.abandon(timeout_error())
        elif text.endswith("<cut>"):
            wire.receive(text.removesuffix("<cut>").encode())
        else:
            wire.receive(f"{text}\r\n".encode())


# --- what servers say


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_a_server_says_is_what_the_specification_says(case: sasl.spec.Refusal) -> None:
    wire = begun(case.protocol, case.mechanism, initial=case.initial)
    play(wire, case.server)

    error, expect = wire.error, case.expect
    assert wire.done
    if expect["error"] is None:
        assert error is None
        assert wire.server_text == expect.get("text", wire.server_text)
        return
    assert (type(error).__name__, error.kind, error.refusal) == (expect["error"], expect["kind"], expect["refusal"])
    assert expect.get("detail", {}).items() <= error.detail.items()
    assert error.server_text == expect.get("text", error.server_text)
    assert error.response_code == expect.get("code", error.response_code)
    assert wire.must_close == expect.get("close", False)
    assert getattr(error, "new_token_may_help", False) == expect.get("new_token", False)
    assert error.mechanism == case.mechanism
    assert SECRET not in f"{error!r}{error.server_text}{error.detail}"


@pytest.mark.parametrize("case", [case for case in CASES if case.expect["error"]], ids=str)
def test_a_no_to_what_shows_no_credential_is_never_about_the_credential(case: sasl.spec.Refusal) -> None:
    wire = begun(case.protocol, case.mechanism, initial=case.initial)
    *before, last = case.server
    play(wire, tuple(before))
    revealed = wire.exchange.revealed
    play(wire, (last,))
    if not revealed:
        assert wire.error.kind not in ("credentials", "malformed", "limit")
        assert not getattr(wire.error, "new_token_may_help", False)


@pytest.mark.parametrize(("profile", "row"), OWN, ids=lambda each: each["id"] if isinstance(each, dict) else "")
def test_what_a_provider_says_is_its_row(profile: providers.Profile, row: dict[str, Any]) -> None:
    example = row["example"]
    protocol = row["protocol"] or {"N": "imap", "B": "imap", "-": "pop"}.get(example[0], "smtp")
    wire = begun(protocol, "PLAIN", initial=True)
    play(wire, ((f"{{tag}} {example}" if protocol == "imap" else example),))
    assert isinstance(wire.error, sasl.AuthenticationFailed | sasl.TemporaryFailure | sasl.ProtocolError)
    assert wire.error.refusal == row["id"]
    assert refusals.row(row["id"]).provider == profile.name
    if not isinstance(wire.error, sasl.ProtocolError):  # IMAP's BAD about the message
        assert wire.error.kind == row["kind"]


def test_every_row_has_a_case() -> None:
    used = {case.expect["refusal"] for case in CASES} | {row["id"] for _, row in OWN}
    used |= {refusals.classify("", code=f"<{name}>", phase="greeting").id for name in FOREIGN}
    used |= {refusals.classify("imap", phase="greeting").id, refusals.classify("smtp", phase="after").id}
    used |= {f"told-{kind.replace('_', '-')}" for kind in sasl.KINDS}  # below
    assert set(ROWS) - used == set()


def test_the_id_of_a_case_is_unique() -> None:
    assert [name for name, count in Counter(case.id for case in CASES).items() if count > 1] == []


# --- the table


def test_ids_are_unique_and_mean_one_row_for_ever() -> None:
    from sasl.adapters.refusals.codes import CODES
    from sasl.adapters.refusals.greetings import GREETINGS
    from sasl.adapters.refusals.texts import TEXTS

    ids = [row.id for row in (*CODES, *TEXTS, *GREETINGS)] + [row["id"] for _, row in OWN]
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in ids)
    assert set(ids) == set(ROWS)


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.id)
def test_a_row_is_well_formed(row: refusals.Row) -> None:
    assert row.kind is None or row.kind in sasl.KINDS
    assert row.protocol in ("", *WIRES)
    assert row.phase in ("", *refusals.PHASES)
    assert all(phrase == phrase.lower() and len(phrase) > 3 for phrase in row.says)
    for text in (row.advice, row.bearer_advice):
        assert not text or (not text[0].islower() and text.endswith("."))
        assert text.replace("{argument}", "").replace("{host}", "").count("{") == 0
    assert row.advice
    assert row.is_general == (not row.says)


@pytest.mark.parametrize("phase", refusals.PHASES)
@pytest.mark.parametrize("protocol", ["imap", "pop", "smtp", ""])
@pytest.mark.parametrize("code", [None, "", "535", "X", "<", "999 9.9.9", "SYS/", "\ufffd", "421 4.7.0", "error=x"])
def test_there_is_a_row_for_whatever_a_server_says(protocol: str, phase: Any, code: str | None) -> None:
    assert refusals.classify(protocol, text="*\0%{host}", code=code, phase=phase).id in ROWS


@given(
    st.sampled_from(["imap", "pop", "smtp", "x"]), st.text(), st.none() | st.text(), st.sampled_from(refusals.PHASES)
)
def test_no_text_and_no_code_is_too_odd(protocol: str, text: str, code: str | None, phase: Any) -> None:
    row = refusals.classify(protocol, text=text, code=code, phase=phase)
    assert row.id in ROWS
    assert phase == "after" or row.kind not in ("credentials", "malformed", "limit", "unexpected_ir", "cancelled")
    advice = refusals.advice(row.id, detail={"referral": text, "webalert": text}, host=text)
    assert isinstance(advice, str)


def test_of_a_protocol_that_nobody_knows_the_phase_decides() -> None:
    assert refusals.classify("xmpp", phase="before").id == "told-unsupported"
    assert refusals.classify("xmpp", phase="after").id == "told-credentials"


@pytest.mark.parametrize("kind", sasl.KINDS)
@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_kind_that_is_known_already_is_that_of_the_row(kind: sasl.Kind, phase: Any) -> None:
    assert refusals.classify("imap", code="X", phase=phase, kind=kind).kind == kind
    assert refusals.classify("imap", code="-", phase="after", kind=kind).id.startswith("told-")


def test_a_phrase_tells_more_than_a_code_and_the_whole_code_more_than_its_class() -> None:
    assert refusals.classify("smtp", code="535 5.7.8", text="Too many connections", phase="after").kind == "unavailable"
    assert refusals.classify("smtp", code="599", phase="after").id == "smtp-refused"
    assert refusals.classify("smtp", code="599", phase="before").id == "smtp-before"
    assert refusals.classify("pop", code="sys/temp/future", phase="after").id == "pop-sys-temp"
    assert refusals.classify("pop", code="SYS/TEMPERED", phase="after").id == "pop-no"


def test_an_id_that_is_none_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        refusals.row("nothing")


# --- advice


def test_a_referral_names_the_host_to_go_to() -> None:
    detail = {"referral": "imap://alice;AUTH=*@mail2.example.com/"}
    advice = refusals.advice("imap-referral", host="mail.example.com", detail=detail)
    assert "host mail2.example.com (imap://alice;AUTH=*@mail2.example.com/)" in advice


@pytest.mark.parametrize("url", ["", "no url", "imap://[::1/"])
def test_advice_for_a_referral_that_names_nothing_is_about_the_host_that_was_asked(url: str) -> None:
    assert "host mail.example.com" in refusals.advice(
        "imap-referral", host="mail.example.com", detail={"referral": url}
    )
    assert "host there" in refusals.advice("imap-referral", detail={"referral": url})


def test_what_a_server_says_is_no_pattern() -> None:
    advice = refusals.advice("imap-webalert", detail={"webalert": "https://x.example/{host}"}, host="evil")
    assert "https://x.example/{host}" in advice


def test_advice_for_a_token_is_another() -> None:
    password, token = (refusals.advice("smtp-credentials", token=token) for token in (False, True))
    assert "password" in password
    assert "Get a new token" in token
    assert refusals.advice("smtp-later", token=True) == refusals.advice("smtp-later")


def test_where_a_row_knows_only_the_code_the_provider_of_the_host_is_asked() -> None:
    assert "Gmail takes no account password" in refusals.advice("smtp-credentials", host="smtp.gmail.com")
    assert "no narrower one works" in refusals.advice("smtp-credentials", host="SMTP.GMAIL.COM.", token=True)
    assert "Gmail" not in refusals.advice("smtp-later", host="smtp.gmail.com")
    assert refusals.advice("qq-many-causes", host="smtp.gmail.com").startswith("QQ")
    assert refusals.advice("imap-no", host="imap.zoho.com", token=True) == refusals.advice("imap-no", token=True)


# --- greetings

FOREIGN = {
    "IMAP": b"* OK ready",
    "POP3": b"+OK POP3 server ready",
    "SMTP": b"220-host.example ESMTP Exim",
    "FTP": b"220 (vsFTPd 3.0.5) FTP",
    "SSH": b"SSH-2.0-OpenSSH_9.2",
    "HTTP": b"HTTP/1.1 400 Bad Request",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46",
    "UNKNOWN": b"ha",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_another_protocol_at_a_port_is_named(name: str) -> None:
    line = FOREIGN[name]
    assert refusals.protocol_of(line) == ("" if name == "UNKNOWN" else name)
    asked = "SMTP" if name == "IMAP" else "IMAP"
    error = not_a_greeting(asked, line + b"\r\n")
    assert type(error) is sasl.ProtocolError
    assert error.refusal == refusals.classify("", code=f"<{name}>", phase="greeting").id
    assert (f"this port speaks {name}" in str(error)) == (name != "UNKNOWN")
    if name != "TLS":
        assert line.decode() in str(error)
        assert error.server_text == line.decode()


def test_a_greeting_of_the_right_protocol_that_is_broken_names_no_other() -> None:
    error = not_a_greeting("IMAP", b"* OKAY")
    assert (error.refusal, str(error)) == ("speaks-nothing-known", "not a greeting of IMAP: * OKAY")
    assert "speaks" not in str(not_a_greeting("IMAP", b"* OK a\0b"))


@pytest.mark.parametrize("line", [FOREIGN["SMTP"], FOREIGN["POP3"], b"* OK a\0b", b"* OK a\rb", b" NO LOGOUT x"])
def test_imap_says_what_greets_instead(line: bytes) -> None:
    with pytest.raises(sasl.ProtocolError, match="not a greeting of IMAP") as refused:
        imap.greeting(line + b"\r\n")
    assert refused.value.server_text
    assert refused.value.refusal


@pytest.mark.parametrize(
    ("line", "busy", "row"),
    [
        (b"* BYE [ALERT] Maximum number of connections from user+IP exceeded", True, "too-many-connections"),
        (b"* BYE [UNAVAILABLE] x", True, "imap-unavailable"),
        (b"* BYE go away", False, "no-service"),
        (b"* BYE", False, None),
    ],
)
def test_a_goodbye_as_a_greeting_is_busy_or_lost(line: bytes, busy: bool, row: str | None) -> None:
    with pytest.raises(sasl.ConnectionLost) as lost:
        imap.greeting(line)
    assert isinstance(lost.value, sasl.ServerBusy) == busy
    assert (lost.value.kind, lost.value.refusal) == ("unavailable" if busy else None, row)


@pytest.mark.parametrize(
    ("text", "code", "busy"), [("bye", "421", True), ("x", "554", False), ("try later", None, True)]
)
def test_the_end_of_a_connection_is_judged_by_code_and_text(text: str, code: str | None, busy: bool) -> None:
    error = end_of_connection(text, code)
    assert isinstance(error, sasl.ServerBusy) == busy
    assert (error.server_text, error.response_code) == (text, code)


@pytest.mark.parametrize("host", ["imap.gmail.com", "outlook.office365.com", "imap.mail.yahoo.com", "imap.qq.com"])
@pytest.mark.parametrize(
    ("row", "detail", "says"),
    [
        ("imap-webalert", {"webalert": "https://mail.example/unlock"}, "https://mail.example/unlock"),
        ("imap-referral", {"referral": "imap://mail2.example/"}, "mail2.example"),
        ("imap-privacyrequired", {}, "TLS"),
        ("smtp-wants-tls", {}, "TLS"),
        ("imap-contactadmin", {}, "admin"),
        ("scram-wrong-binding", {}, "TLS connection"),
        ("token-scope", {}, "scope"),
        ("imap-alert", {}, "The server says what to do"),
    ],
)
def test_a_provider_says_nothing_about_a_cause_that_the_server_names(
    host: str, row: str, detail: dict[str, str], says: str
) -> None:
    assert says in refusals.advice(row, host=host, detail=detail)
