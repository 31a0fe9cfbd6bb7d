"""What a client authenticates with. Frozen values whose secrets are `Secret`s."""

from __future__ import annotations

from .errors import UsageError
from .secret import Secret
from .typed import TYPE_CHECKING, Protocol, final, runtime_checkable
from .value import value

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime
    from typing import Final, TypeAlias, TypeGuard


@runtime_checkable
class Credentials(Protocol):
    """What a client authenticates with: one of the kinds below, or a plug-in's own, which needs these three as well.

    `sasl login` makes a plug-in's own kind by calling it with the user name and the secret, both str.
    """

    @property
    def user(self) -> str | None:
        """Whose they are, as an account is called in a store of pins; None where nobody can tell."""
        ...

    @property
    def secret(self) -> Secret | None:
        """What must not be seen, to be taken out of what a server says; None if there is nothing, or not yet."""
        ...

    @property
    def is_token(self) -> bool:
        """Whether a new one may help where this one is refused."""
        ...


def is_credentials(value: object) -> TypeGuard[Credentials]:
    """Whether a value is what `Credentials` describes, and says so by values of the types that stand there."""
    if type(value) in _OURS:
        return True
    try:
        user, secret, is_token = value.user, value.secret, value.is_token  # type: ignore[attr-defined]  # that is what is asked
    except Exception:
        return False  # what a plug-in's own kind raises may hold the secret
    return isinstance(user, str | None) and isinstance(secret, Secret | None) and isinstance(is_token, bool)


@final
@value
class AccessToken:
    """What a token source gives.

    Attributes:
        value: the token, a `Secret`.
        expires_at: when it ends, an aware datetime, or None if unknown.
        scope: the scopes that it has, separated by spaces, or None if unknown.

    Raises UsageError if the token is not a str.
    """

    value: Secret
    expires_at: datetime | None
    scope: str | None

    def __init__(self, value: str | Secret, expires_at: datetime | None = None, scope: str | None = None) -> None:
        if problem := _misfit("token", value, or_more=""):
            del self, value  # no frame of the error shows a token, or an object that is half made
            raise UsageError(problem)
        object.__setattr__(self, "value", Secret(value))
        object.__setattr__(self, "expires_at", expires_at)
        object.__setattr__(self, "scope", scope)


@runtime_checkable
class TokenSource(Protocol):
    """Where a token comes from at each login; may be asynchronous (then only `resolve_async` takes it)."""

    def token(self, *, stale: str | None = None) -> AccessToken | Awaitable[AccessToken]:
        """Return a token that is good now; never the one in `stale`, which a server has just refused."""
        ...


Token: TypeAlias = "str | Secret | TokenSource | Callable[[], str | AccessToken | Awaitable[str | AccessToken]]"  # noqa: S105 -- a type


@final
@value
class Password:
    """A user name and its password.

    Attributes:
        authcid: whose password it is (RFC 4422 section 3.4).
        password: a `Secret`.
        authzid: whom to act as; None for oneself.

    Raises UsageError if a part is not a str.
    """

    is_token = False
    authcid: str
    password: Secret
    authzid: str | None

    def __init__(self, authcid: str, password: str | Secret, *, authzid: str | None = None) -> None:
        if problem := _misfit("authcid", authcid) or _misfit("password", password) or _misfit("authzid", authzid or ""):
            del self, authcid, password, authzid  # no frame of the error shows a password, or what is half made
            raise UsageError(problem)
        object.__setattr__(self, "authcid", authcid)
        object.__setattr__(self, "password", Secret(password))
        object.__setattr__(self, "authzid", authzid)

    @property
    def user(self) -> str:
        """The authcid."""
        return self.authcid

    @property
    def secret(self) -> Secret:
        """The password."""
        return self.password


@final
@value
class Bearer:
    """A mailbox and a bearer token for it (RFC 6750).

    Attributes:
        username: the mailbox to open.
        token: a `Secret`, or the callable or `TokenSource` that `resolve` asks at each login.

    Raises UsageError if the user name is not a str or the token is none of these.
    """

    is_token = True
    username: str
    token: Secret | TokenSource | Callable[[], str | AccessToken | Awaitable[str | AccessToken]]

    def __init__(self, username: str, token: Token) -> None:
        fits = isinstance(token, str | Secret | TokenSource) or callable(token)
        if problem := _misfit("username", username) or ("" if fits else _misfit("token", token)):
            del self, username, token  # no frame of the error shows a token, or an object that is half made
            raise UsageError(problem)
        object.__setattr__(self, "username", username)
        object.__setattr__(self, "token", Secret(token) if isinstance(token, str) else token)

    @property
    def user(self) -> str:
        """The mailbox."""
        return self.username

    @property
    def secret(self) -> Secret | None:
        """The token; None if a source was not asked for one yet (`resolve`)."""
        return self.token if isinstance(self.token, Secret) else None

    def __repr__(self) -> str:
        shown = repr(self.token) if isinstance(self.token, Secret) else f"<{type(self.token).__name__}>"
        return f"Bearer(username={self.username!r}, token={shown})"


@final
@value
class External:
    """What the layer below proved, for instance a TLS client certificate (RFC 4422 appendix A)."""

    user = None
    secret = None
    is_token = False
    authzid: str | None = None


@final
@value
class Anonymous:
    """Nobody, with a trace for the server's log: an e-mail address or a token of up to 255 characters (RFC 4505)."""

    user = None
    secret = None
    is_token = False
    trace: str = ""


_OURS: Final = frozenset({Password, Bearer, External, Anonymous})


def _misfit(what: str, value: object, or_more: str = ", a callable or a token source") -> str:
    """Say what is wrong with a value that ought to be a text; nothing where it is one."""
    if isinstance(value, str) or (isinstance(value, Secret) and what in _SECRETS):
        return ""
    more = or_more if what == "token" else ""
    return f"the {what} is a str{more}, not {type(value).__name__}"


_SECRETS: Final = ("password", "token")
