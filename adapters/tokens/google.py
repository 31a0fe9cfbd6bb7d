"""Access tokens by google-auth: of a user (RFC 6749 section 6), of a service account (RFC 7523), of this machine.

    token = sasl.adapters.tokens.google.from_file("token.json")
    sasl.adapters.imaplib.authenticate(conn, sasl.Bearer("me@gmail.com", token))

The source is asked at each login. It gives the token that it has while that is good for some minutes more, and has
it renewed otherwise; one request at a time, however many threads ask. google-auth comes with the extra `google`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, final

from sasl.credentials import AccessToken
from sasl.errors import TokenError, UsageError, bare, hide_frames

from . import _google_file
from ._extra import load
from .file import warn_of_readers
from .http import Request, scope_of, seconds_of
from .kept import Kept

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from .kept import Need

__all__ = [
    "AUTHORIZED_USER",
    "MAIL",
    "SERVICE_ACCOUNT",
    "GoogleTokens",
    "Request",
    "default",
    "from_authorized_user_file",
    "from_file",
    "from_service_account_file",
    "type_of",
]

MAIL: Final = "https://mail.google.com/"
"""The scope of IMAP, POP3 and SMTP at Gmail; no narrower one works there."""

AUTHORIZED_USER: Final = "authorized_user"
SERVICE_ACCOUNT: Final = "service_account"

_ENDPOINT: Final = "https://oauth2.googleapis.com/token"
_LEEWAY: Final = timedelta(minutes=5)
_AGES_AGO: Final = datetime(1970, 1, 1)  # noqa: DTZ001 -- google-auth wants it naive


def from_file(
    path: str | os.PathLike[str],
    *,
    subject: str | None = None,
    scopes: Sequence[str] | None = None,
    request: Callable[..., Any] | None = None,
) -> GoogleTokens:
    """Return a source for a file, by its "type": authorized_user or service_account.

    See the two functions below for the arguments. Raises TokenError for another file, UsageError for a subject "".
    """
    _check_subject(subject)
    if type_of(path) == SERVICE_ACCOUNT:
        return from_service_account_file(path, subject=subject, scopes=scopes, request=request)
    if subject is not None:
        raise _no_delegation()
    return from_authorized_user_file(path, scopes=scopes, request=request)


def type_of(path: str | os.PathLike[str]) -> str:
    """Return the "type" of a file of Google's. Raises TokenError if it is none of the two that are known here."""
    found = _google_file.read(Path(path)).get("type")
    if found in (AUTHORIZED_USER, SERVICE_ACCOUNT):
        return str(found)
    raise _google_file.bad_file(f'is of no type known here: "{AUTHORIZED_USER}" or "{SERVICE_ACCOUNT}"')


def from_authorized_user_file(
    path: str | os.PathLike[str], *, scopes: Sequence[str] | None = None, request: Callable[..., Any] | None = None
) -> GoogleTokens:
    """Return a source for the file that a user's consent left (gcloud, or `to_json()` of google-auth).

    The file is read at each renewal, under a lock, and a new refresh token is stored in it before anybody gets the
    access token; so are token and expiry if it holds them, for other processes. `scopes` narrows what was granted.
    `request` sends the HTTP requests, a `Request` by default.
    Raises TokenError if the file cannot be used.
    """
    return GoogleTokens(_AuthorizedUser(Path(path), scopes), request=request)


def from_service_account_file(
    path: str | os.PathLike[str],
    *,
    subject: str | None = None,
    scopes: Sequence[str] | None = None,
    request: Callable[..., Any] | None = None,
) -> GoogleTokens:
    """Return a source for the key file of a service account, which acts for `subject` (domain-wide delegation).

    `scopes` is `MAIL` by default. Raises TokenError if the file cannot be used, UsageError for a subject "".
    """
    _check_subject(subject)
    account = _module("google.oauth2.service_account").Credentials
    credentials = None
    failure = _google_file.bad_file("is not that of a service account, or its key cannot be read")
    try:
        credentials = account.from_service_account_info(_google_file.read(Path(path)), scopes=list(scopes or [MAIL]))
        _warn_of_readers(Path(path))
    except TokenError as error:
        failure = bare(error)
    except Exception:  # its text and its frames may hold the key
        pass
    if credentials is None:
        raise failure
    return GoogleTokens(credentials if subject is None else credentials.with_subject(subject), request=request)


def default(
    *,
    subject: str | None = None,
    scopes: Sequence[str] | None = None,
    request: Callable[..., Any] | None = None,
    on_rotate: Callable[[str], object] | None = None,
) -> GoogleTokens:
    """Return a source for the Application Default Credentials: GOOGLE_APPLICATION_CREDENTIALS, gcloud, the machine.

    Raises TokenError if there are none, UsageError for a subject "". The arguments are those of `GoogleTokens`, and of
    a service account.
    """
    _check_subject(subject)
    wanted = list(scopes or [MAIL])
    auth = _module("google.auth")
    credentials = None
    try:
        credentials, _ = auth.default(scopes=wanted, request=request or Request())
        if subject is not None:
            credentials = credentials.with_subject(subject) if hasattr(credentials, "with_subject") else None
    except Exception as error:
        reason = type(error).__name__
    else:
        if credentials is None:
            raise _no_delegation()
        return GoogleTokens(credentials, scopes=scopes, request=request, on_rotate=on_rotate)
    said = f"there are no usable Application Default Credentials ({reason}): gcloud auth application-default login"
    raise TokenError(said, code="no_credentials", needs_user=True)


@final
class GoogleTokens:
    """Gives the access tokens of credentials of google-auth's, renewed where they have to be.

    `credentials` is any `google.auth.credentials.Credentials`; `scopes` is what to ask for where they have none yet,
    `MAIL` by default. `on_rotate` is called with a new refresh token, before anybody gets the access token that came
    with it; if it fails, again at each call of `token` until it does not. `request` sends the HTTP requests, a
    `Request` by default. An event loop stands still meanwhile: there, give `Bearer` a `Threaded` of this source, from
    `sasl.adapters.tokens.threaded`.
    Raises TokenError without google-auth, UsageError for what are no credentials.
    """

    __slots__ = ("_keeper", "_kept", "_request")

    def __init__(
        self,
        credentials: Any,
        *,
        scopes: Sequence[str] | None = None,
        on_rotate: Callable[[str], object] | None = None,
        request: Callable[..., Any] | None = None,
    ) -> None:
        self._keeper: _Keeper = (
            credentials if isinstance(credentials, _AuthorizedUser) else _Given(credentials, scopes, on_rotate)
        )
        self._request = request or Request()
        self._kept = Kept(self._fetch, leeway=_LEEWAY.total_seconds())

    def __repr__(self) -> str:
        return f"GoogleTokens({self._keeper!r})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a source of tokens is neither pickled nor copied")

    def held(self) -> AccessToken | None:
        """Return the token at hand if nothing has to be asked, else None."""
        return self._kept.held()

    @hide_frames
    def token(self, *, stale: str | None = None) -> AccessToken:
        """Return a token that is good now, and not the one in `stale`.

        Nothing is sent while the token at hand is good for more than five minutes, or half of its life if that is less.
        One that ends sooner is renewed, and given while it is alive if that fails. Another process that has the file's
        lock is waited for as long as for an answer, if there is no such token.
        Raises TokenError.
        """
        return self._kept.token(stale=stale)

    def _fetch(self, need: Need) -> AccessToken:
        keeper = self._keeper
        with keeper.lock(seconds_of(self._request) if need.patient else 0.0):
            credentials = keeper.load()
            held = _token(credentials)
            if held is None or held.value == need.stale or not _is_good(held, _LEEWAY):
                credentials, held = self._refresh_newest(credentials)
            keeper.keep(credentials)
            return held

    def _refresh_newest(self, credentials: Any) -> tuple[Any, AccessToken]:
        try:
            return credentials, self._refresh(credentials)
        except TokenError as error:
            refusal = error
        newer = self._keeper.load() if refusal.code == "invalid_grant" else credentials
        if newer is credentials or newer.refresh_token == credentials.refresh_token:
            raise bare(refusal)
        # Somebody who does not know of the lock has stored another refresh token meanwhile.
        return newer, self._refresh(newer)

    def _refresh(self, credentials: Any) -> AccessToken:
        heard = _Heard(self._request)
        try:
            credentials.refresh(heard)
        except TokenError as error:
            failure = bare(error)
        except Exception as error:
            failure = _explain(error, credentials)
        else:
            given = _token(credentials, heard.scope)
            if given is not None:
                return given
            failure = TokenError("google-auth gave no token", code="no_token")
        raise failure


class _Heard:
    """Passes requests on, and keeps the scope of the last answer: google-auth does so only where it asked for one."""

    def __init__(self, send: Callable[..., Any]) -> None:
        self._send = send
        self.scope: str | None = None

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        response = self._send(*arguments, **named)
        self.scope = scope_of(getattr(response, "data", None))
        return response


# --- where the credentials are


class _Keeper(Protocol):
    """Has google-auth's credentials, and keeps what is new in them."""

    def lock(self, seconds: float) -> AbstractContextManager[None]:
        """Keep other processes out. Raises TokenError if one is there for that long."""
        ...

    def load(self) -> Any:
        """Return the credentials as they are now; store first what could not be stored before. Raises TokenError."""
        ...

    def keep(self, credentials: Any) -> None:
        """Store what a refresh has changed. Raises TokenError."""
        ...


class _Given:
    """Credentials that the caller made."""

    def __init__(
        self, credentials: Any, scopes: Sequence[str] | None, on_rotate: Callable[[str], object] | None
    ) -> None:
        base = _module("google.auth.credentials")
        if not isinstance(credentials, base.Credentials):
            raise UsageError(f"credentials of google-auth, not {type(credentials).__name__}")
        self._credentials = base.with_scopes_if_required(credentials, list(scopes or [MAIL]))
        self._on_rotate = on_rotate
        self._stored = getattr(credentials, "refresh_token", None)

    def __repr__(self) -> str:
        return f"<{type(self._credentials).__module__}.{type(self._credentials).__qualname__}>"

    def lock(self, seconds: float) -> AbstractContextManager[None]:  # noqa: ARG002 -- no other process has them
        return nullcontext()

    def load(self) -> Any:
        self.keep(self._credentials)
        return self._credentials

    def keep(self, credentials: Any) -> None:
        current = getattr(credentials, "refresh_token", None)
        if current is None or current == self._stored:
            return
        if self._on_rotate is not None:
            _hand_over(self._on_rotate, current)
        self._stored = current


class _AuthorizedUser:
    """The file of a user's consent."""

    def __init__(self, path: Path, scopes: Sequence[str] | None) -> None:
        self._path = path.absolute()
        self._scopes = scopes
        self._info: dict[str, Any] = {}
        self._unsaved: tuple[str, dict[str, Any]] | None = None  # the refresh token that is void, and the new content
        failure = None
        try:
            self.load()
        except TokenError as error:
            failure = bare(error)
        self._info = {}
        if failure is not None:
            raise failure
        _warn_of_readers(path)

    def __repr__(self) -> str:
        return "<file of an authorized user>"

    def lock(self, seconds: float) -> AbstractContextManager[None]:
        return _google_file.lock(self._path, seconds)

    def load(self) -> Any:
        info = _google_file.read(self._path)
        if self._unsaved is not None:
            void, new = self._unsaved
            if info.get("refresh_token") == void:  # otherwise somebody has signed in again
                _google_file.replace(self._path, new)
                info = new
            self._unsaved = None
        self._info = info
        return _credentials(info, self._scopes)

    def keep(self, credentials: Any) -> None:
        info, self._info = self._info, {}
        rotated = info["refresh_token"] != credentials.refresh_token
        if not rotated and info.get("token", credentials.token) == credentials.token:
            return
        new = info | {"refresh_token": credentials.refresh_token}
        if "token" in info:
            expiry = _expiry(credentials)
            new |= {"token": credentials.token, "expiry": expiry and f"{expiry:%Y-%m-%dT%H:%M:%SZ}"}
        if rotated:
            self._unsaved = info["refresh_token"], new
        try:
            _google_file.replace(self._path, new)
            self._unsaved = None
        except TokenError:
            if rotated:
                raise
            # The file is only for reading, and all that other processes miss is an access token.


def _credentials(info: dict[str, Any], scopes: Sequence[str] | None) -> Any:
    """Return google-auth's credentials for the content of a file. Its own constructor forgets the token_uri."""
    strings = {name: info.get(name) for name in ("refresh_token", "client_id", "client_secret")}
    for name, value in strings.items():
        if not isinstance(value, str) or not value:
            raise _google_file.bad_file(f"holds no {name}")
    uri, granted = info.get("token_uri", _ENDPOINT), info.get("scopes")
    if not isinstance(uri, str):
        raise _google_file.bad_file("holds a token_uri that is no text")
    wanted = list(scopes) if scopes else granted.split() if isinstance(granted, str) else granted
    if wanted is not None and not (isinstance(wanted, list) and all(isinstance(scope, str) for scope in wanted)):
        raise _google_file.bad_file("holds scopes that are no texts")
    return _module("google.oauth2.credentials").Credentials(
        info.get("token"), **strings, token_uri=uri, scopes=wanted, expiry=_parse_expiry(info.get("expiry"))
    )


def _parse_expiry(expiry: object) -> datetime:
    """Return a file's expiry as google-auth has it, naive and in UTC. What cannot be read is over."""
    try:
        return _as_utc(datetime.fromisoformat(str(expiry))).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return _AGES_AGO


def _hand_over(on_rotate: Callable[[str], object], refresh_token: str) -> None:
    try:
        on_rotate(refresh_token)
        return
    except Exception as error:
        failure = _google_file.not_stored(type(error).__name__)
    raise failure


# --- what google-auth has and says


def _warn_of_readers(path: Path) -> None:
    try:
        warn_of_readers(path, path.stat().st_mode, "a secret of Google's")
    except OSError:
        pass  # whoever reads it says so


def _module(name: str) -> Any:
    """Import a part of google-auth: for most users of this package, there is none."""
    return load(name, "google")


def _token(credentials: Any, scope: str | None = None) -> AccessToken | None:
    """Return the token that credentials hold; `scope` is what the endpoint said of it, if it did."""
    token = credentials.token
    if isinstance(token, bytes):  # of a signed JWT
        token = token.decode("ascii", "replace")
    if not isinstance(token, str) or not token:
        return None
    scopes = scope or getattr(credentials, "granted_scopes", None) or getattr(credentials, "scopes", None)
    if scopes and not isinstance(scopes, str):
        scopes = " ".join(scopes)
    return AccessToken(token, _expiry(credentials), scopes or None)


def _expiry(credentials: Any) -> datetime | None:
    """Return when the token ends. google-auth has it naive, and fails where somebody else has set an aware one."""
    expiry = credentials.expiry
    return _as_utc(expiry) if isinstance(expiry, datetime) else None


def _as_utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _is_good(held: AccessToken, leeway: timedelta = timedelta()) -> bool:
    """Whether a token is good now, and for as long as `leeway` from now on."""
    return held.expires_at is None or datetime.now(UTC) + leeway < held.expires_at


def _explain(error: Exception, credentials: Any) -> TokenError:
    """What a failure within google-auth means. Its text may hold what the endpoint said, a token for instance."""
    said = f"google-auth failed with {type(error).__name__}"
    errors = _module("google.auth.exceptions")
    if isinstance(error, TimeoutError):
        return TokenError(said, code="timeout", retryable=True)
    if getattr(credentials, "refresh_token", "") is None and isinstance(error, errors.RefreshError):
        return TokenError(f"{said}: there is no refresh token", code="not_refreshable", needs_user=True)
    unreachable = isinstance(error, errors.TransportError)
    retryable = unreachable or getattr(error, "retryable", False) is True
    return TokenError(said, code="unreachable" if unreachable else "refresh_failed", retryable=retryable)


def _check_subject(subject: str | None) -> None:
    if subject == "":  # for google-auth, the service account itself
        raise UsageError("a subject is the name of a user; without one, it is None")


def _no_delegation() -> TokenError:
    return TokenError("only a service account acts for a subject", code="no_delegation")
