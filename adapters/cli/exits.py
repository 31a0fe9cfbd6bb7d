"""Exit codes (sysexits.h) and the one table from an error to its code and its verdict."""

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
    ServerBusy,
    TemporaryFailure,
    TokenError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .certificate import Certificate

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
class Untrusted(ProtocolError):
    """The server's certificate is not one to trust.

    Attributes:
        why: "expired", "early", "name" (it is for another host), "issuer" (nobody vouches for it) or "other".
        certificate: what was shown, where it could be had.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"the server's certificate is not trusted: {message}", kind="certificate")
        self.why = _REASONS.get(code, "other")
        self.certificate: Certificate | None = None


# What OpenSSL's X509_V_ERR_... mean (x509_vfy.h).
_REASONS: Final[Mapping[int, str]] = {
    9: "early",
    10: "expired",
    18: "issuer",
    19: "issuer",
    20: "issuer",
    21: "issuer",
    62: "name",
    64: "name",
}


@final
class OtherProtocol(ProtocolError):
    """Something else answers at the port.

    Attributes:
        speaks: what.
    """

    def __init__(self, speaks: str, wanted: str, line: str) -> None:
        super().__init__(f"the server does not speak {wanted} but {speaks}: {line}", server_text=line)
        self.speaks = speaks


@final
class NoSecret(UsageError):
    """The variable or the command that was named gives no secret.

    Attributes:
        code: why, as for a TokenError.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


@final
class UnknownMechanism(MechanismUnavailable):
    """Nobody here knows the mechanism that was asked for."""


@final
class Misconfigured(UsageError):
    """What a file or a folder of settings holds cannot be used."""


@final
class CannotListen(SASLError):
    """A port cannot be had."""


# What an error leaves with, and what is said of it: that of its nearest class. TokenError may say itself what helps.
_FAMILIES: Final[Mapping[type, tuple[int, str]]] = {
    UsageError: (USAGE, "cannot try"),
    Undecodable: (UNDECODABLE, "cannot try"),
    Misconfigured: (POLICY, "cannot try"),
    CannotListen: (UNAVAILABLE, "failed"),
    NoSuchHost: (NO_HOST, "no connection"),
    Untrusted: (PROTOCOL, "no connection"),
    OtherProtocol: (PROTOCOL, "wrong port"),
    UnknownMechanism: (UNAVAILABLE, "cannot try"),
    MechanismUnavailable: (UNAVAILABLE, "no mechanism"),
    ConnectionLost: (IO, "no connection"),
    ServerBusy: (TRY_LATER, "not now"),
    TemporaryFailure: (TRY_LATER, "not now"),
    ProtocolError: (PROTOCOL, "the server is at fault"),
    AuthenticationFailed: (REFUSED, "refused"),
    TokenError: (POLICY, "no token"),
    PolicyViolation: (POLICY, "not allowed"),
    Cancelled: (INTERRUPTED, "cancelled"),
    SASLError: (BUG, "failed"),
}


def code(error: SASLError) -> int:
    """Return the exit code for an error."""
    if isinstance(error, TokenError) and error.code == "missing_extra":
        return UNAVAILABLE
    if isinstance(error, TokenError) and error.retryable:
        return TRY_LATER
    if isinstance(error, TokenError) and error.needs_user:
        return REFUSED
    return _family(error)[0]


def verdict(error: SASLError) -> str:
    """Return what is said of an error before its text."""
    return _family(error)[1]


def public_name(error: SASLError) -> str:
    """Return the name of an error's class in the contract; bindings and this folder have subclasses of their own."""
    return next(family.__name__ for family in type(error).__mro__ if family.__module__ == SASLError.__module__)


def kind(error: SASLError) -> str | None:
    """Return the class of a refusal; for a secret that could not be had, the code that says why."""
    return error.code if isinstance(error, TokenError | NoSecret) else error.kind


def _family(error: SASLError) -> tuple[int, str]:
    return next(_FAMILIES[family] for family in type(error).__mro__ if family in _FAMILIES)
