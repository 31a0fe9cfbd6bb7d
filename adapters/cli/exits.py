"""Exit codes (sysexits.h) and the one table from an error to its code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from sasl.errors import (
    AuthenticationFailed,
    Cancelled,
    ConnectionLost,
    MechanismUnavailable,
    PolicyViolation,
    ProtocolError,
    SASLError,
    TemporaryFailure,
    TokenError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

DONE: Final = 0
USAGE: Final = 64
UNDECODABLE: Final = 65
NO_HOST: Final = 68
UNAVAILABLE: Final = 69
BUG: Final = 70
IO: Final = 74
TRY_LATER: Final = 75
PROTOCOL: Final = 76
REFUSED: Final = 77
POLICY: Final = 78
INTERRUPTED: Final = 130


@final
class Undecodable(UsageError):
    """What was given is not text, or not the kind of file that it should be."""


@final
class NoSuchHost(ConnectionLost):
    """The name of the server has no address."""


@final
class Misconfigured(UsageError):
    """What a file or a folder of settings holds cannot be used."""


@final
class CannotListen(SASLError):
    """A port cannot be had."""


_CODES: Final[Mapping[type, int]] = {
    UsageError: USAGE,
    Undecodable: UNDECODABLE,
    Misconfigured: POLICY,
    CannotListen: UNAVAILABLE,
    NoSuchHost: NO_HOST,
    MechanismUnavailable: UNAVAILABLE,
    ConnectionLost: IO,
    TemporaryFailure: TRY_LATER,
    ProtocolError: PROTOCOL,
    AuthenticationFailed: REFUSED,
    TokenError: POLICY,  # unless it says itself what may help
    PolicyViolation: POLICY,
    Cancelled: INTERRUPTED,
    SASLError: BUG,
}


def code(error: SASLError) -> int:
    """Return the exit code for an error: that of its nearest class in the table."""
    if isinstance(error, TokenError) and error.code == "missing_extra":
        return UNAVAILABLE
    if isinstance(error, TokenError) and error.retryable:
        return TRY_LATER
    if isinstance(error, TokenError) and error.needs_user:
        return REFUSED
    return next(_CODES[family] for family in type(error).__mro__ if family in _CODES)


def public_name(error: SASLError) -> str:
    """Return the name of an error's class in the contract; bindings and this folder have subclasses of their own."""
    return next(family.__name__ for family in type(error).__mro__ if family.__module__ == SASLError.__module__)


def kind(error: SASLError) -> str | None:
    """Return the class of a refusal; for a token that could not be had, the code that says why."""
    return error.code if isinstance(error, TokenError) else error.kind
