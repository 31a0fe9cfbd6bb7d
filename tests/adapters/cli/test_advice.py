"""The advice: which errors get which, that none of it is out of reach, and what a refusal's own row leaves to say."""

from __future__ import annotations

from typing import Any

import pytest

import sasl
from sasl.adapters import refusals
from sasl.adapters.cli import advice as module
from sasl.adapters.cli.advice import ROWS, Facts, advice, is_odd
from sasl.adapters.cli.certificate import Certificate
from sasl.adapters.cli.exits import NoSecret, NoSuchHost, OtherProtocol, UnknownMechanism, Untrusted
from sasl.steps import KINDS

REFUSED = sasl.AuthenticationFailed
LATER = sasl.TemporaryFailure
TOKEN = {"token": True}
TLS = {"tls": True}
EXPIRED, EARLY, NAME, ISSUER, OTHER = 10, 9, 62, 20, 26  # X509_V_ERR_...
SHOWN = Certificate(
    "CN=mx", "CN=Some CA", ("mx.example", "mail.example"), "2026-01-01 00:00:00", "2026-02-03 04:05:06", "00"
)


def untrusted(code: int, certificate: Certificate | None = SHOWN) -> Untrusted:
    error = Untrusted(code, "x")
    error.certificate = certificate
    return error


def build(cls: type[sasl.SASLError], **carries: Any) -> sasl.SASLError:
    error = cls(carries.pop("says", "x"))
    for name, value in carries.items():
        setattr(error, name, value)
    return error


WEAK = sasl.PolicyViolation(
    "x", passed_over={"CRAM-MD5": "off unless the policy allows it by name", "XOAUTH2": "takes Bearer, not Password"}
)
LOST = sasl.ConnectionLost
BEGUN = {"mechanism": "PLAIN"}

# an error, what is known besides, words of the advice
CASES: list[tuple[sasl.SASLError, dict[str, Any], str]] = [
    # what an error challenge explains
    (build(REFUSED, kind="credentials", refusal="token-stale"), TOKEN, "expired or revoked"),
    (build(REFUSED, kind="credentials", refusal="token-scope"), TOKEN, "lacks a scope"),
    (build(REFUSED, kind="policy", refusal="scram-wrong-binding"), TLS, "end TLS in between"),
    # a refusal whose row the wire has looked up, and one that it has not
    (build(REFUSED, kind="credentials", refusal="imap-no"), {}, "that locks accounts"),
    (build(REFUSED, kind="credentials", refusal="imap-no"), TOKEN, "Get a new token; check"),
    (build(REFUSED, kind="unsupported", refusal="imap-before"), {}, "before it saw the credential"),
    (build(REFUSED, kind="credentials", detail={"error": "invalid-proof"}), {}, "that locks accounts"),
    (build(REFUSED, kind="expired", response_code="EXPIRED"), TOKEN, "token has expired"),
    (build(REFUSED, kind="disabled", response_code="CONTACTADMIN"), TOKEN, "ask the server's admin"),
    (build(sasl.AuthorizationFailed, kind="authorization"), {}, "--authzid"),
    (build(LATER, kind="unavailable", response_code="UNAVAILABLE"), {}, "with the same credential"),
    (build(sasl.ServerBusy, kind="unavailable", response_code="421"), {"protocol": "smtp"}, "same credential"),
    # the server says what to do
    (
        build(REFUSED, refusal="imap-referral", detail={"referral": "imap://alice@mail2.example/"}),
        {},
        "at the host mail2.example",
    ),
    (
        build(REFUSED, refusal="imap-webalert", detail={"webalert": "https://a.example/x"}),
        {},
        "open https://a.example/x",
    ),
    (build(REFUSED, kind="credentials", server_text="No. See https://a.example/help"), {}, "says what to do"),
    (build(REFUSED, kind="credentials", refusal="imap-no", detail={"alert": "Call us"}), {}, "says what to do"),
    # the connection
    (build(NoSuchHost, kind="no_such_host"), {}, "is spelled"),
    (build(LOST, kind="unreachable"), {"protocol": "smtp"}, "port 465 (smtps://) or 587 (smtp://)"),
    (build(LOST, kind="timeout"), {}, "whether TLS begins at once"),
    (build(LOST, kind="timeout", **BEGUN), {}, "Nobody knows whether the server refused it"),
    (build(LOST, **BEGUN), {"revealed": True}, "app password or authorization code"),
    (build(LOST, **BEGUN, refusal="closed-after"), {}, "app password or authorization code"),
    (build(LOST, **BEGUN, refusal="closed-after", kind="timeout"), {}, "longer --timeout"),
    (build(LOST, **BEGUN), {}, "before it saw the credential"),
    (build(LOST), {"protocol": "pop"}, "port 995 (pops://) or 110 (pop://)"),
    (build(LOST, kind="tls"), {}, "no TLS at this port"),
    (build(sasl.ProtocolError, kind="tls"), {}, "no TLS at this port"),
    # the certificate
    (
        untrusted(EXPIRED),
        {"now": "2026-11-28 10:00:00"},
        "expired at 2026-02-03 04:05:06 (UTC), and this machine's clock",
    ),
    (untrusted(EXPIRED), {"now": "2026-11-28 10:00:00"}, "clock says 2026-11-28 10:00:00"),
    (untrusted(EARLY), {}, "is good from 2026-01-01 00:00:00 (UTC) on"),
    (untrusted(NAME), {"host": "mx.other"}, "is for mx.example, mail.example, not for mx.other"),
    (untrusted(ISSUER), {}, "issued by CN=Some CA"),
    (untrusted(ISSUER), {}, "--ca"),
    (untrusted(ISSUER, None), {}, "somebody whom this machine does not know"),
    (untrusted(OTHER), {}, "Its admin has to look at the certificate"),
    # another protocol
    (OtherProtocol("SSH", "IMAP", "SSH-2.0"), {}, "IMAP is mostly at port 993 (imaps://) or 143"),
    (OtherProtocol("SMTP", "IMAP", "220"), {}, "For SMTP, write smtps:// or smtp://."),
    (OtherProtocol("POP3 without TLS", "TLS", "+OK"), {}, "For POP3, write pops:// or pop://."),
    # a protocol that is broken
    (build(sasl.ProtocolError, says="the server refused EHLO and HELO: no"), {"protocol": "smtp"}, "--ehlo-name"),
    (build(sasl.ProtocolError), {}, "check the port"),
    (build(sasl.ProtocolError, **BEGUN), {"initial_response": True}, "--no-initial-response"),
    (build(sasl.ProtocolError, **BEGUN), {}, "Try another --mechanism"),
    (build(sasl.ServerNotProven), {}, "Do not trust"),
    (build(sasl.LimitExceeded), {}, "sent more than it may"),
    # here
    (build(sasl.PolicyViolation), {}, "Nothing was sent"),
    (build(sasl.PolicyViolation), TLS, "for the reasons above"),
    (build(sasl.PolicyViolation, mechanism="SCRAM-SHA-256"), TLS, "within the bounds"),
    (WEAK, TLS, "--mechanism CRAM-MD5"),
    (build(sasl.MechanismUnavailable), {}, "sasl mechs"),
    (build(sasl.MechanismUnavailable), TOKEN, "needs XOAUTH2 or OAUTHBEARER"),
    (build(sasl.MechanismUnavailable), {"protocol": "smtp", "offered": ()}, "takes no logins"),
    (build(sasl.MechanismUnavailable), {"protocol": "smtp", "offered": ()}, "465 (smtps://) or 587"),
    (build(sasl.MechanismUnavailable), {"offers_tls": True}, "leave out --no-starttls"),
    (build(REFUSED, kind="credentials"), {"offers_tls": True}, "leave out --no-starttls"),
    (
        sasl.MechanismUnavailable("x", passed_over={"PLAIN": "takes Password", "LOGIN": "PLAIN was asked for"}),
        {"token": True, "offered": ("PLAIN", "LOGIN")},
        "leave it out, or name another. The server offers PLAIN, LOGIN.",
    ),
    (UnknownMechanism("x"), {}, "SCRAM-SHA-256"),
    (build(sasl.UsageError), {}, "--help"),
    (build(sasl.UsageError), {"odd_password": True}, "was the password pasted?"),
    (NoSecret("x", "variable_not_set"), {}, "the name of a variable"),
    (NoSecret("x", "command_not_run"), {}, "without a shell"),
    (NoSecret("x", "command_failed"), {}, "Run the command by itself"),
    (NoSecret("x", "no_token"), {}, "Run the command by itself"),
    (NoSecret("x", "command_timeout"), {}, "longer than --timeout"),
    (build(sasl.TokenError, code="try_later"), TOKEN, "Try later"),
    (build(sasl.TokenError, code="command_timeout"), TOKEN, "Try later"),
    (build(sasl.TokenError, code="command_not_run"), TOKEN, "without a shell"),
    (build(sasl.TokenError, code="command_failed"), TOKEN, "sign in again"),
    (build(sasl.TokenError, code="missing_extra"), TOKEN, "Install it"),
    (build(sasl.TokenError, code="invalid_grant", needs_user=True), TOKEN, "Sign in again and make a new file"),
    (build(sasl.TokenError, code="not_refreshable", needs_user=True), TOKEN, "Sign in again and make a new file"),
    (build(sasl.TokenError, code="unauthorized_client"), TOKEN, "domain-wide delegation"),
    (build(sasl.TokenError, code="http_500", retryable=True), TOKEN, "the token endpoint cannot tell now"),
    (build(sasl.TokenError, code="certificate"), TOKEN, "token_uri"),
    (build(sasl.TokenError, code="bad_file"), TOKEN, "The file of --google"),
]


@pytest.mark.parametrize(("error", "facts", "words"), CASES, ids=lambda value: ascii(value)[:60])
def test_an_error_gets_advice_that_fits(error: sasl.SASLError, facts: dict[str, Any], words: str) -> None:
    said = advice(error, Facts(**facts))
    assert words in said
    assert "{" not in said


def test_every_row_is_the_first_that_fits_something() -> None:
    fitted = set()
    for error, facts, _ in CASES:
        if module._is_the_servers(error):
            continue
        rows = [row for family, rows in ROWS.items() if isinstance(error, family) for row in rows]
        fitted.add(next((row.advice for row in rows if row.fits(error, Facts(**facts))), ""))
    assert [row.advice for rows in ROWS.values() for row in rows if row.advice not in fitted] == []


@pytest.mark.parametrize("error", [case[0] for case in CASES if case[0].mechanism is None], ids=repr)
def test_before_a_mechanism_was_tried_nobody_is_told_to_leave_out_an_initial_response(error: sasl.SASLError) -> None:
    assert "--no-initial-response" not in advice(error, Facts())


@pytest.mark.parametrize("error", [build(LOST, **BEGUN), build(LOST)], ids=["begun", "not-begun"])
def test_who_has_got_the_credential_is_not_said_to_have_refused_none(error: sasl.SASLError) -> None:
    assert "refused no credential" not in advice(error, Facts(revealed=True)) or error.mechanism is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("token", [True, False], ids=["token", "password"])
@pytest.mark.parametrize("protocol", ["imap", "pop", "smtp"])
@pytest.mark.parametrize("host", ["mx.example", "imap.gmail.com", "imap.mail.me.com"])
def test_every_kind_of_refusal_gets_advice_everywhere(kind: str, host: str, protocol: str, *, token: bool) -> None:
    error = build(REFUSED, kind=kind)
    assert advice(error, Facts(host=host, protocol=protocol, token=token, tls=True)) or kind == "state"


@pytest.mark.parametrize("row", refusals.rows().values(), ids=lambda row: row.id)
def test_the_advice_of_every_row_of_the_refusals_is_printed(row: refusals.Row) -> None:
    error = build(REFUSED, kind=row.kind, refusal=row.id)
    assert refusals.advice(row.id, host="mx.example") in advice(error, Facts(host="mx.example"))


@pytest.mark.parametrize("detail", [{"alert": "Call us"}, {"webalert": "https://a.example/"}, {}], ids=str)
def test_what_a_row_says_of_its_own_is_not_said_twice(detail: dict[str, str]) -> None:
    error = build(LATER, kind="unavailable", refusal="too-many-connections", detail=detail)
    assert advice(error, Facts()) == refusals.advice("too-many-connections")


# --- the credential


@pytest.mark.parametrize("host", ["mx.example", "imap.mail.me.com"])
def test_a_reply_that_does_not_tell_whom_it_refuses_is_about_the_authzid_too(host: str) -> None:
    refused = build(REFUSED, kind="credentials")
    assert "--authzid" not in advice(refused, Facts(host=host))
    assert advice(refused, Facts(host=host, authzid=True)).startswith(advice(refused, Facts(host=host)))
    assert "--authzid" in advice(refused, Facts(host=host, authzid=True))


@pytest.mark.parametrize(
    "error",
    [
        build(sasl.AuthorizationFailed, kind="authorization"),
        build(REFUSED, kind="expired"),
        build(REFUSED, kind="disabled"),
        sasl.TemporaryFailure("x"),
        sasl.ConnectionLost("x"),
    ],
    ids=repr,
)
def test_a_reply_that_tells_is_not(error: sasl.SASLError) -> None:
    assert advice(error, Facts(authzid=True, odd_password=True)) == advice(error, Facts())


def test_a_password_that_was_pasted_is_named_after_a_refusal_alone() -> None:
    assert "pasted" in advice(build(REFUSED, kind="credentials"), Facts(odd_password=True))
    assert "pasted" not in advice(build(REFUSED, kind="credentials"), Facts())


@pytest.mark.parametrize("kind", ["credentials", "expired", "authorization"])
def test_what_a_token_says_of_itself_is_told_after_a_refusal(kind: str) -> None:
    facts = Facts(token=True, claims="The token says that it is blue.")
    assert "it is blue" in advice(build(REFUSED, kind=kind), facts)
    assert "it is blue" not in advice(build(LATER, kind="unavailable"), facts)


@pytest.mark.parametrize(
    ("password", "odd"),
    [
        ("wonderland 77!", False),
        ("abcd\u00a0efgh", True),
        ("\u201cquoted\u201d", True),
        ("m\u00fcller", True),
        (" wonderland", True),
        ("wonderland ", True),
        ("wonderland\n", True),
        ("wonder\tland", True),
    ],
    ids=ascii,
)
def test_what_people_paste_along_is_noticed(password: str, *, odd: bool) -> None:
    assert is_odd(password) is odd


# --- none


def test_an_error_that_says_it_all_gets_none() -> None:
    assert advice(sasl.Cancelled("x"), Facts()) == ""
    assert advice(sasl.SASLError("x"), Facts()) == ""


@pytest.mark.parametrize(
    "reasons",
    [
        {},
        {"PLAIN": "sends the credential in the clear, and there is no TLS", "CRAM-MD5": "off unless"},
        {"PLAIN": "weaker than SCRAM-SHA-256, which this account is pinned to", "CRAM-MD5": "off unless"},
    ],
    ids=["none", "no-tls", "pinned"],
)
def test_a_weak_mechanism_is_not_recommended_where_another_way_is_open(reasons: dict[str, str]) -> None:
    assert module._weak_names(sasl.PolicyViolation("x", passed_over=reasons)) == []
