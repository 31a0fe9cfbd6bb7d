"""The errors of the library, split by who broke the rules: the caller, the policy, the peer, or nobody.

Everything that leaves the engine derives from `SASLError`. No error carries a secret: messages name
what is wrong, never the value, and errors leave without the exception that caused them wherever that
one could hold a credential.
"""

from __future__ import annotations

from .typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final, Literal, TypeAlias, TypeVar

    E = TypeVar("E", bound=BaseException)
    Kind: TypeAlias = Literal[
        # a verdict's, `sasl.KINDS`: from a verifier to the reply on the wire, and from there to an error
        "credentials",
        "authorization",
        "expired",
        "disabled",
        "unavailable",
        "malformed",
        "unexpected_ir",
        "cancelled",
        "limit",
        "state",
        "unsupported",
        "policy",
        # the connection's
        "timeout",
        "tls",
        "certificate",
        "unreachable",
        "no_such_host",
    ]
    """The class of a failure: why a login was refused, or what happened to the connection below it."""
else:
    Kind = str  # the words are for type checkers

# A refusal with one of these statuses may be cured by a new token: Gmail answers 400 to an expired
# one, Dovecot 401, RFC 7628 section 3.2.2 says invalid_token. Absent (Microsoft, unreadable JSON): unknown.
_STATUS_OF_A_STALE_TOKEN: Final = frozenset({None, "400", "401", "invalid_token"})


class SASLError(Exception):
    """Base of every error of this library.

    Attributes:
        mechanism: name of the mechanism in use, or None.
        detail: the server's error challenge as a mapping of text to text (RFC 7628 section 3.2.2:
            status, scope, schemes, openid-configuration); empty where there was none. Untrusted.
        server_text: what the server said last, without its codes; "" where it said nothing.
        response_code: the protocol's code: "AUTHENTICATIONFAILED" (RFC 5530), "SYS/TEMP" (RFC 3206),
            "535 5.7.8" (RFC 4954), or None.
        kind: the class of the failure ("credentials", "expired", "policy", "timeout", ...), or None.
    """

    def __init__(
        self,
        message: str = "",
        *,
        mechanism: str | None = None,
        detail: Mapping[str, str] | None = None,
        server_text: str = "",
        response_code: str | None = None,
        kind: Kind | None = None,
    ) -> None:
        super().__init__(message)
        self.mechanism = mechanism
        self.detail: Mapping[str, str] = dict(detail) if detail else {}
        self.server_text = server_text
        self.response_code = response_code
        self.kind: Kind | None = kind


class UsageError(SASLError):
    """The caller's mistake: a call in the wrong state, an unusable credential, an unknown option."""


class MechanismUnavailable(SASLError):
    """Nothing in common with the server. `passed_over` maps each name to the reason."""

    def __init__(
        self, message: str = "", *, passed_over: Mapping[str, str] | None = None, mechanism: str | None = None
    ) -> None:
        super().__init__(message, mechanism=mechanism)
        self.passed_over: Mapping[str, str] = dict(passed_over) if passed_over else {}


class PolicyViolation(SASLError):
    """The policy refused; nothing was sent. `passed_over` maps each name to the reason."""

    def __init__(
        self, message: str = "", *, passed_over: Mapping[str, str] | None = None, mechanism: str | None = None
    ) -> None:
        super().__init__(message, mechanism=mechanism, kind="policy")
        self.passed_over: Mapping[str, str] = dict(passed_over) if passed_over else {}


class ProtocolError(SASLError):
    """The peer broke the rules of the mechanism or of the protocol that carries it."""


class ServerNotProven(ProtocolError):
    """The server said yes too early, or without the proof that the mechanism demands."""


class LimitExceeded(ProtocolError):
    """A message, a line or an exchange is larger than `Limits` allows."""


class AuthenticationFailed(SASLError):
    """The server said no to the credential."""

    token: bool = False
    """Whether the refused credential was a bearer token (set by the exchange)."""

    @property
    def new_token_may_help(self) -> bool:
        """Whether one login with a new token is worth it: a token was refused, for its age as far as one can tell."""
        return (
            self.token
            and self.kind in ("credentials", "expired")
            and self.detail.get("status") in _STATUS_OF_A_STALE_TOKEN
        )


class AuthorizationFailed(AuthenticationFailed):
    """The credential is good, but may not act as the identity that was asked for (RFC 4422 section 3.4.1)."""

    @property
    def new_token_may_help(self) -> bool:
        """False: the credential itself was accepted."""
        return False


class TemporaryFailure(SASLError):
    """The server cannot tell now: try later, with the same credential."""


class ConnectionLost(SASLError):
    """The server ended the connection (BYE, 421, end of file). It refused no credential."""


class Cancelled(SASLError):
    """This side cancelled the exchange."""


class TokenError(SASLError):
    """A token source could not give a token.

    Attributes:
        code: the authorization server's error code (RFC 6749 section 5.2), or a word of ours.
        retryable: whether trying later, with nothing changed, makes sense.
        needs_user: whether somebody has to sign in or give consent again.
    """

    def __init__(
        self, message: str = "", *, code: str | None = None, retryable: bool = False, needs_user: bool = False
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable
        self.needs_user = needs_user


def bare(error: E) -> E:
    """Return an error without the frames and exceptions that led to it: their locals may hold credentials."""
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error


def place_of(error: BaseException) -> str:
    """Return where an error was raised, "file:line": with its type, all that a log may say of one that is not ours."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame is not None else "unknown place"
