"""The table of advice: which errors get which, and that none of it is out of reach."""

from __future__ import annotations

from typing import Any

import pytest

import sasl
from sasl.adapters.cli.advice import ROWS, advice
from sasl.adapters.cli.exits import NoSuchHost
from sasl.steps import KINDS

REFUSED = sasl.AuthenticationFailed
LATER = sasl.TemporaryFailure
GMAIL, EXCHANGE, YAHOO, ICLOUD = "imap.gmail.com", "smtp.office365.com", "imap.mail.yahoo.com", "imap.mail.me.com"

# error, what it carries, host, whether a token was sent, words of the advice
CASES: list[tuple[type[sasl.SASLError], dict[str, Any], str, bool, str]] = [
    # a token
    (REFUSED, {"kind": "credentials", "detail": {"status": "401"}}, "mx", True, "expired or revoked"),
    (REFUSED, {"kind": "credentials", "detail": {"status": "400"}}, "mx", True, "expired or revoked"),
    (REFUSED, {"kind": "credentials", "detail": {"status": "invalid_token"}}, "mx", True, "expired or revoked"),
    (REFUSED, {"kind": "expired", "detail": {"status": "invalid_token"}}, "mx", True, "token has expired"),
    (REFUSED, {"kind": "expired"}, "mx", True, "token has expired"),
    (REFUSED, {"kind": "credentials", "detail": {"status": "403"}}, "mx", True, "lacks a scope"),
    (REFUSED, {"kind": "credentials", "detail": {"status": "insufficient_scope"}}, "mx", True, "lacks a scope"),
    (REFUSED, {"kind": "credentials"}, "mx", True, "does not say why. Get a new token; check"),
    (REFUSED, {"kind": "credentials", "detail": {"status": "418"}}, "mx", True, "does not say why"),
    (REFUSED, {"kind": "credentials", "detail": {"status": "400"}}, GMAIL, True, "https://mail.google.com/"),
    (REFUSED, {"kind": "credentials"}, "outlook.office365.com", True, "IMAP.AccessAsUser.All"),
    # a password
    (REFUSED, {"kind": "credentials"}, "mx", False, "that locks accounts"),
    (REFUSED, {"kind": "expired"}, "mx", False, "set anew"),
    (REFUSED, {"kind": "credentials"}, GMAIL, False, "app password"),
    (REFUSED, {"kind": "credentials"}, "IMAP.GMAIL.COM", False, "app password"),
    (REFUSED, {"kind": "policy", "response_code": "534 5.7.9"}, "smtp.gmail.com", False, "app password"),
    (REFUSED, {"kind": "credentials"}, "outlook.office365.com", False, "Microsoft takes no password"),
    (REFUSED, {"kind": "credentials"}, YAHOO, False, "app password in the account's"),
    (REFUSED, {"kind": "credentials"}, ICLOUD, False, "IMAP-LOGIN"),
    (REFUSED, {"kind": "credentials"}, "notgmail.com", False, "that locks accounts"),
    # channel binding, and what SCRAM stores
    (REFUSED, {"kind": "policy", "detail": {"error": "channel-bindings-dont-match"}}, GMAIL, False, "end TLS in"),
    (REFUSED, {"detail": {"error": "server-does-support-channel-binding"}}, "mx", False, "Somebody on the way"),
    (REFUSED, {"kind": "credentials", "detail": {"error": "invalid-proof"}}, "mx", False, "that locks accounts"),
    (LATER, {"kind": "unavailable", "detail": {"error": "no-resources"}}, "mx", False, "not refused"),
    (sasl.PolicyViolation, {"mechanism": "SCRAM-SHA-256"}, "mx", False, "4,096 to 600,000 iterations"),
    # an account
    (
        REFUSED,
        {
            "kind": "disabled",
            "response_code": "535 5.7.139",
            "server_text": "Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.",
        },
        EXCHANGE,
        True,
        "Only its admin",
    ),
    (
        REFUSED,
        {
            "kind": "credentials",
            "response_code": "535 5.7.139",
            "server_text": "Authentication unsuccessful, the request did not meet the criteria to be authenticated",
        },
        EXCHANGE,
        True,
        "sign-in rules",
    ),
    (
        REFUSED,
        {
            "kind": "credentials",
            "response_code": "535 5.7.139",
            "server_text": "Authentication unsuccessful, the user credentials were incorrect.",
        },
        "mail.example",
        False,
        "that locks accounts",
    ),
    (REFUSED, {"kind": "disabled", "response_code": "550 5.7.30"}, "mx", False, "SMTP.Send"),
    (REFUSED, {"kind": "disabled", "response_code": "CONTACTADMIN"}, "mx", True, "ask the server's admin"),
    (REFUSED, {"kind": "disabled", "response_code": "SYS/PERM"}, "mx", False, "ask the server's admin"),
    (sasl.AuthorizationFailed, {"kind": "authorization"}, "mx", False, "--authzid"),
    (sasl.AuthorizationFailed, {"kind": "authorization"}, GMAIL, False, "--authzid"),
    # neither
    (REFUSED, {"kind": "policy", "response_code": "PRIVACYREQUIRED"}, "mx", False, "wants TLS before"),
    (REFUSED, {"kind": "malformed"}, "mx", False, "--no-initial-response"),
    (REFUSED, {"kind": "limit", "response_code": "555 5.5.2"}, GMAIL, True, "--no-initial-response"),
    (REFUSED, {"kind": "unexpected_ir"}, "mx", False, "--no-initial-response"),
    (REFUSED, {"kind": "unsupported"}, "mx", False, "another --mechanism"),
    (REFUSED, {"kind": "state"}, "mx", False, "logged in already"),
    # later
    (LATER, {"kind": "unavailable", "response_code": "IN-USE"}, "mx", False, "The credential is good"),
    (LATER, {"kind": "unavailable", "response_code": "INUSE"}, "mx", False, "The credential is good"),
    (LATER, {"kind": "unavailable", "response_code": "LOGIN-DELAY"}, "mx", False, "wait some minutes"),
    (LATER, {"kind": "unavailable", "response_code": "LIMIT"}, "mx", False, "wait some minutes"),
    (LATER, {"kind": "unavailable", "response_code": "UNAVAILABLE"}, "mx", True, "with the same credential"),
    (LATER, {"kind": "unavailable", "response_code": "SYS/TEMP"}, "mx", True, "with the same credential"),
    (LATER, {"kind": "unavailable", "response_code": "454 4.7.0"}, GMAIL, True, "with the same credential"),
    # the connection
    (NoSuchHost, {"kind": "no_such_host"}, "mx", False, "is spelled"),
    (sasl.ConnectionLost, {"kind": "unreachable"}, "mx", False, "Nothing listens"),
    (sasl.ConnectionLost, {"kind": "timeout"}, "mx", False, "--timeout"),
    (sasl.ConnectionLost, {"server_text": "Session expired"}, "mx", False, "refused no credential"),
    (sasl.ConnectionLost, {"kind": "tls"}, "mx", False, "no TLS at this port"),
    (sasl.ProtocolError, {"kind": "tls"}, "mx", False, "no TLS at this port"),
    (sasl.ProtocolError, {"kind": "certificate"}, "mx", False, "--ca"),
    (sasl.ProtocolError, {}, "mx", False, "--trace"),
    (sasl.ServerNotProven, {}, "mx", False, "Do not trust"),
    (sasl.LimitExceeded, {}, "mx", False, "sent more than it may"),
    # here
    (sasl.PolicyViolation, {}, "mx", False, "Nothing was sent"),
    (sasl.MechanismUnavailable, {}, "mx", False, "sasl mechs"),
    (sasl.UsageError, {}, "mx", False, "--help"),
    (sasl.TokenError, {"code": "try_later"}, "mx", True, "Try later"),
    (sasl.TokenError, {"code": "command_timeout"}, "mx", True, "Try later"),
    (sasl.TokenError, {"code": "command_not_run"}, "mx", True, "without a shell"),
    (sasl.TokenError, {"code": "command_failed"}, "mx", True, "sign in again"),
    (sasl.TokenError, {"code": "missing_extra"}, "mx", True, "Install it"),
    (sasl.TokenError, {"code": "invalid_grant", "needs_user": True}, "mx", True, "Sign in again and make a new file"),
    (sasl.TokenError, {"code": "not_refreshable", "needs_user": True}, "mx", True, "Sign in again and make a new file"),
    (sasl.TokenError, {"code": "unauthorized_client"}, "mx", True, "domain-wide delegation"),
    (sasl.TokenError, {"code": "http_500", "retryable": True}, "mx", True, "the token endpoint cannot tell now"),
    (sasl.TokenError, {"code": "timeout", "retryable": True}, "mx", True, "the token endpoint cannot tell now"),
    (sasl.TokenError, {"code": "certificate"}, "mx", True, "token_uri"),
    (sasl.TokenError, {"code": "invalid_client"}, "mx", True, "The file of --google"),
    (sasl.TokenError, {"code": "bad_file"}, "mx", True, "The file of --google"),
]


def build(cls: type[sasl.SASLError], carries: dict[str, Any]) -> sasl.SASLError:
    error = cls("x")
    for name, value in carries.items():
        setattr(error, name, value)
    return error


@pytest.mark.parametrize(
    ("cls", "carries", "host", "token", "words"),
    CASES,
    ids=[f"{cls.__name__}-{'-'.join(map(str, carries.values()))}-{host}" for cls, carries, host, _, _ in CASES],
)
def test_an_error_gets_advice_that_fits(
    cls: type[sasl.SASLError], carries: dict[str, Any], host: str, words: str, *, token: bool
) -> None:
    assert words in advice(build(cls, carries), host=host, token=token)


def test_what_tls_changes() -> None:
    forbidden = build(REFUSED, {"kind": "policy"})
    assert "wants TLS" in advice(forbidden)
    assert "rules forbid" in advice(forbidden, tls=True)
    assert "--allow-plaintext" in advice(sasl.PolicyViolation("x"))
    assert "--allow-plaintext" not in advice(sasl.PolicyViolation("x"), tls=True)


@pytest.mark.parametrize("host", ["mx.example", GMAIL, EXCHANGE, YAHOO, ICLOUD])
def test_a_reply_that_does_not_tell_whom_it_refuses_is_about_the_authzid_too(host: str) -> None:
    refused = build(REFUSED, {"kind": "credentials"})

    assert "--authzid" not in advice(refused, host=host)
    assert advice(refused, host=host, authzid=True).startswith(advice(refused, host=host))
    assert "--authzid" in advice(refused, host=host, authzid=True)


@pytest.mark.parametrize(
    "error",
    [
        build(sasl.AuthorizationFailed, {"kind": "authorization"}),
        build(REFUSED, {"kind": "expired"}),
        build(REFUSED, {"kind": "disabled"}),
        sasl.TemporaryFailure("x"),
        sasl.ConnectionLost("x"),
        sasl.UsageError("x"),
    ],
    ids=repr,
)
def test_a_reply_that_tells_is_not(error: sasl.SASLError) -> None:
    assert advice(error, authzid=True) == advice(error)


def test_an_error_that_says_it_all_gets_none() -> None:
    assert advice(sasl.Cancelled("x")) == ""
    assert advice(sasl.SASLError("x")) == ""


def test_every_row_is_the_first_that_fits_something() -> None:
    given = {advice(build(cls, carries), host=host, token=token) for cls, carries, host, token, _ in CASES}
    given |= {advice(build(REFUSED, {"kind": "policy"}), tls=True), advice(sasl.PolicyViolation("x"), tls=True)}
    assert [row.advice for rows in ROWS.values() for row in rows if row.advice not in given] == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("token", [True, False], ids=["token", "password"])
@pytest.mark.parametrize("host", ["mx.example", GMAIL, EXCHANGE, YAHOO, ICLOUD])
def test_every_kind_of_refusal_gets_advice_everywhere(kind: str, host: str, *, token: bool) -> None:
    assert advice(build(REFUSED, {"kind": kind}), host=host, token=token, tls=True)
