"""The errors of the library, split by who broke the rules: the caller, the policy, the peer, or nobody.

Everything that leaves the engine derives from `SASLError`. No error carries a secret: messages name
what is wrong, never the value, and errors leave without the exception that caused them wherever that
one could hold a credential.
"""

from __future__ import annotations

from functools import wraps

from .typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType
    from typing import Any, Final, Literal, ParamSpec, TypeAlias, TypeVar

    E = TypeVar("E", bound=BaseException)
    P = ParamSpec("P")
    R = TypeVar("R")
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
        passed_over: which mechanisms were not taken, or were refused before, each with the reason.
        refusal: the id of the row in `sasl.adapters.refusals` that says what the server's words mean and what to do
            about them; None where no server said anything.
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
        refusal: str | None = None,
    ) -> None:
        super().__init__(message)
        self.mechanism = mechanism
        self.detail: Mapping[str, str] = dict(detail) if detail else {}
        self.server_text = server_text
        self.response_code = response_code
        self.kind: Kind | None = kind
        self.passed_over: Mapping[str, str] = {}
        self.refusal = refusal


class UsageError(SASLError):
    """The caller's mistake: a call in the wrong state, an unusable credential, an unknown option."""


class MechanismUnavailable(SASLError):
    """Nothing in common with the server. `passed_over` maps each name to the reason."""

    def __init__(
        self, message: str = "", *, passed_over: Mapping[str, str] | None = None, mechanism: str | None = None
    ) -> None:
        super().__init__(message, mechanism=mechanism)
        self.passed_over = dict(passed_over) if passed_over else {}


class PolicyViolation(SASLError):
    """The policy refused; nothing was sent. `passed_over` maps each name to the reason."""

    def __init__(
        self, message: str = "", *, passed_over: Mapping[str, str] | None = None, mechanism: str | None = None
    ) -> None:
        super().__init__(message, mechanism=mechanism, kind="policy")
        self.passed_over = dict(passed_over) if passed_over else {}


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


class ServerBusy(TemporaryFailure, ConnectionLost):
    """The server ended the connection and says why: not now (421, BYE [UNAVAILABLE]). The credential was not refused.

    Both of its bases: try later, with the same credential, on a new connection.
    """


class Cancelled(SASLError):
    """This side cancelled the exchange."""


class TokenError(SASLError):
    """A token source could not give a token.

    Attributes:
        code: the authorization server's error code (RFC 6749 section 5.2), or a word of ours.
        retryable: whether trying later, with nothing changed, makes sense.
        needs_user: whether somebody has to sign in or give consent again.
        hint: what a person should do; "" where nobody can tell.
        retry_after: seconds that the authorization server wants to be left alone (RFC 9110 section 10.2.3), or None.
    """

    def __init__(
        self,
        message: str = "",
        *,
        code: str | None = None,
        retryable: bool = False,
        needs_user: bool = False,
        hint: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable
        self.needs_user = needs_user
        self.hint = hint
        self.retry_after = retry_after


def bare(error: E) -> E:
    """Return an error without the frames and exceptions that led to it: their locals may hold credentials."""
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error


def hide_frames(function: Callable[P, R]) -> Callable[P, R]:
    """Let what a function raises, an interruption too, leave without its frames: their locals hold what nobody may see.

    For what is called rarely: it costs a call.
    """

    @wraps(function)
    def call(*arguments: P.args, **named: P.kwargs) -> R:
        try:
            return function(*arguments, **named)
        except BaseException as error:
            raised = bare(error)
        del arguments, named
        raise raised

    return call


def is_interruption(error: BaseException) -> bool:
    """Whether an exception came up in some code without being about it: it goes on as what it is.

    That is what is no `Exception`, and what a signal handler raised: alarms ring by an exception of any class, wherever
    the main thread is just then.
    """
    if not isinstance(error, Exception):
        return True
    frame, codes = error.__traceback__, None
    while frame is not None:
        codes = _handlers() if codes is None else codes
        if frame.tb_frame.f_code in codes:
            return True
        frame = frame.tb_next
    return False


def _handlers() -> set[CodeType | None]:
    """Return the code of every signal handler that is written in Python."""
    import signal

    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    return {_code_of(handler) for handler in handlers if callable(handler)} - {None}


def _code_of(handler: Any) -> CodeType | None:
    handler = getattr(handler, "func", handler)  # of functools.partial
    code: CodeType | None = getattr(handler, "__code__", None) or getattr(type(handler).__call__, "__code__", None)
    return code


def place_of(error: BaseException) -> str:
    """Return where an error was raised, "file:line": with its type, all that a log may say of one that is not ours."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame is not None else "unknown place"
