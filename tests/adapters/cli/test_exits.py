"""Exit codes: every error has the one that sysexits.h and the design give it."""

from __future__ import annotations

import pytest

import sasl
import sasl.adapters.imaplib
import sasl.adapters.poplib
import sasl.adapters.smtplib
from sasl import errors
from sasl.adapters.cli import exits
from sasl.adapters.cli.exits import NoSuchHost, Undecodable

CODES = {
    "UsageError": 64,
    "MechanismUnavailable": 69,
    "PolicyViolation": 78,
    "ProtocolError": 76,
    "ServerNotProven": 76,
    "LimitExceeded": 76,
    "AuthenticationFailed": 77,
    "AuthorizationFailed": 77,
    "TemporaryFailure": 75,
    "ServerBusy": 75,
    "ConnectionLost": 74,
    "Cancelled": 130,
    "TokenError": 78,
    "SASLError": 70,
}
ERRORS = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, sasl.SASLError)]
BINDINGS = [
    cls
    for binding in (sasl.adapters.imaplib, sasl.adapters.poplib, sasl.adapters.smtplib)
    for cls in vars(binding).values()
    if isinstance(cls, type) and issubclass(cls, sasl.SASLError) and cls.__name__.startswith(("IMAP", "POP", "SMTP"))
]


@pytest.mark.parametrize("cls", ERRORS, ids=lambda cls: cls.__name__)
def test_each_error_has_a_code(cls: type[sasl.SASLError]) -> None:
    assert exits.code(cls("x")) == CODES[cls.__name__]
    assert exits.public_name(cls("x")) == cls.__name__


@pytest.mark.parametrize("cls", BINDINGS, ids=lambda cls: cls.__name__)
def test_the_bindings_errors_have_the_codes_and_the_names_of_ours(cls: type[sasl.SASLError]) -> None:
    error = cls.__new__(cls)
    name = exits.public_name(error)
    assert name in CODES
    assert cls.__name__.endswith((name, "HeloRefused", "TLSRefused", "TLSNotOffered"))
    assert exits.code(error) == CODES[name]


@pytest.mark.parametrize(
    ("error", "code", "name"),
    [
        (NoSuchHost("x"), 68, "ConnectionLost"),
        (Undecodable("x"), 65, "UsageError"),
        (sasl.TokenError("x", retryable=True), 75, "TokenError"),
        (sasl.TokenError("x", needs_user=True), 77, "TokenError"),
        (sasl.TokenError("x", code="missing_extra"), 69, "TokenError"),
        (sasl.TokenError("x", retryable=True, needs_user=True), 75, "TokenError"),
    ],
    ids=str,
)
def test_some_errors_say_more_than_their_class(error: sasl.SASLError, code: int, name: str) -> None:
    assert (exits.code(error), exits.public_name(error)) == (code, name)


def test_the_kind_of_a_token_that_could_not_be_had_is_its_code() -> None:
    assert exits.kind(sasl.TokenError("x", code="invalid_grant")) == "invalid_grant"
    assert exits.kind(sasl.AuthenticationFailed("x", kind="expired")) == "expired"
    assert exits.kind(sasl.ProtocolError("x")) is None
