"""Access tokens by msal, Microsoft's own library: for those who have its brokers, its cache or its sign-in already.

    app = msal.PublicClientApplication("client-id", authority="https://login.microsoftonline.com/common", ...)
    token = MsalTokens(app, ["https://outlook.office.com/IMAP.AccessAsUser.All"], "me@example.com")
    sasl.adapters.imaplib.authenticate(conn, sasl.Bearer("me@example.com", token))

msal comes with the extra of that name. Without it `sasl.adapters.tokens.oauth` does the same, and shares an account
among processes, which msal does not: two of them may renew at once, and one refresh token is lost.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn, final

from sasl.credentials import AccessToken
from sasl.errors import TokenError, UsageError, hide_frames
from sasl.secret import Secret, scrubbed
from sasl.text import printable

from ._extra import load
from ._text import mask_tokens
from .kept import Kept
from .messages import parse_answer
from .refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .kept import Need

_EXTRA: Final = "msal"
_MEMBERS: Final = ("access_token", "token_type", "expires_in", "scope")
_LONGEST_TEXT: Final = 200  # characters of a description that an error shows
_STATUS: Final = re.compile(r"HTTP Error: ([0-9]{3})")
_SIGN_IN: Final = "Sign in by this application of msal."


@final
class MsalTokens:
    """Gives the access tokens of an application of msal's, renewed where they have to be.

    `app` is a `msal.PublicClientApplication` or `msal.ConfidentialClientApplication`; how long its requests may take is
    said there (`timeout`). `scopes` are what to ask for. `account` is one of `app.get_accounts()`, or its user name;
    None is the only one there is, and in a confidential application the application itself.
    Raises UsageError for another object than an application, and for scopes that are no sequence of texts; TokenError
    without msal.
    """

    __slots__ = ("_account", "_app", "_for_itself", "_kept", "_scopes")

    def __init__(self, app: Any, scopes: Sequence[str], account: Mapping[str, Any] | str | None = None) -> None:
        msal = load("msal", _EXTRA)
        if not isinstance(app, msal.ClientApplication):
            raise UsageError(f"an application of msal, not {type(app).__name__}")
        if isinstance(scopes, str | bytes) or not scopes or not all(isinstance(scope, str) for scope in scopes):
            raise UsageError("the scopes are a sequence of texts, and not empty")
        self._app = app
        self._scopes = list(scopes)
        self._account = account
        self._for_itself = account is None and isinstance(app, msal.ConfidentialClientApplication)
        self._kept = Kept(self._fetch)

    def __repr__(self) -> str:
        return f"MsalTokens(<{type(self._app).__name__}>, {self._scopes!r})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a source of tokens is neither pickled nor copied")

    def held(self) -> AccessToken | None:
        """Return the token at hand if nothing has to be asked, else None."""
        return self._kept.held()

    @hide_frames
    def token(self, *, stale: str | None = None) -> AccessToken:
        """Return a token that is good now, and not the one in `stale`, which a server has just refused.

        Raises TokenError: what an authorization server says no to, by its code; no_grant, which needs the user, where
        msal has nothing to renew; unreachable and timeout, which are retryable; certificate, bad_response, stale_token,
        and refresh_failed for anything else in msal.
        """
        return self._kept.token(stale=stale)

    def _fetch(self, need: Need) -> AccessToken:
        secrets = _secrets(self._app)
        began = datetime.now(UTC)
        try:
            result = self._acquire(need.stale)
        except TokenError:
            raise
        except Exception as error:  # its text and its frames may hold what was sent
            failure = _explain(error)
        else:
            if isinstance(result, dict) and "access_token" in result:
                return _token(result, began)
            failure = _refusal(result, secrets)
        raise failure

    def _acquire(self, stale: Secret | None) -> Any:
        """Ask msal, which looks into its cache first; past that where the cache has nothing but the stale token."""
        if self._for_itself:
            result = self._app.acquire_token_for_client(self._scopes)
            if not _is_stale(result, stale):
                return result
            self._app.remove_tokens_for_client()  # it takes no force_refresh
            return self._app.acquire_token_for_client(self._scopes)
        account = self._find_account()
        result = self._app.acquire_token_silent_with_error(self._scopes, account)
        if not _is_stale(result, stale):
            return result
        return self._app.acquire_token_silent_with_error(self._scopes, account, force_refresh=True)

    def _find_account(self) -> Any:
        if self._account is not None and not isinstance(self._account, str):
            return self._account
        found = self._app.get_accounts(username=self._account)
        if len(found) > 1:
            raise TokenError("msal has more than one account: name one", code="ambiguous_account")
        if not found:
            raise TokenError("msal has no such account", code="no_grant", needs_user=True, hint=_SIGN_IN)
        return found[0]


def _is_stale(result: Any, stale: Secret | None) -> bool:
    found = result.get("access_token") if isinstance(result, dict) else None
    return stale is not None and isinstance(found, str) and stale == found


def _token(result: Mapping[str, Any], began: datetime) -> AccessToken:
    """Return the token of a yes of msal's, which has the members of RFC 6749 section 5.1."""
    try:
        octets = json.dumps({name: result[name] for name in _MEMBERS if name in result}).encode()
    except (TypeError, ValueError):
        octets = b""
    answer = parse_answer(octets)
    ends = None if answer.expires_in is None else began + timedelta(seconds=answer.expires_in)
    return AccessToken(answer.access_token, ends, answer.scope)


def _refusal(result: Any, secrets: Sequence[Secret]) -> TokenError:
    """Return what a no of msal's means: None, or the members of RFC 6749 section 5.2."""
    if result is None:
        return TokenError("msal has nothing to renew for this account", code="no_grant", needs_user=True, hint=_SIGN_IN)
    if not isinstance(result, dict) or not isinstance(result.get("error"), str):
        return TokenError(f"msal gave neither a token nor an error but {type(result).__name__}", code="no_token")
    error, said = result["error"], result.get("error_description")
    said = said if isinstance(said, str) else ""
    for secret in secrets:
        error, said = scrubbed(error, secret), scrubbed(said, secret)
    numbers = result.get("error_codes")
    return refusal(
        error,
        printable(mask_tokens(said), limit=_LONGEST_TEXT),
        suberror=str(result.get("suberror", "")),
        numbers=numbers if isinstance(numbers, list) else (),
    )


def _secrets(app: Any) -> list[Secret]:
    """Return what the server may say back: the client's secret or key, and the refresh tokens in the cache."""
    given = app.client_credential
    texts = list(given.values()) if isinstance(given, dict) else [given]
    cache = app.token_cache
    search = cache.search if hasattr(cache, "search") else cache.find  # of older releases
    texts += [entry.get("secret") for entry in search(cache.CredentialType.REFRESH_TOKEN)]
    return [Secret(text) for text in texts if isinstance(text, str) and text]


def _explain(error: Exception) -> TokenError:
    """Return what a failure within msal means. Most are of requests, whose errors are those of the system."""
    said = f"msal failed with {type(error).__name__}"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if found := _STATUS.fullmatch(str(error)):  # of msal's own MsalServiceError, which says no more
        status = int(found[1])
    if isinstance(status, int):
        return refusal("", status=status)
    if isinstance(error, json.JSONDecodeError):
        return TokenError(f"{said}: the answer is no JSON", code="bad_response")
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return TokenError(said, code="timeout", retryable=True)
    if type(error).__name__ == "SSLError":
        return TokenError(f"{said}: the certificate of the token endpoint is not trusted", code="certificate")
    unreachable = isinstance(error, OSError)
    return TokenError(said, code="unreachable" if unreachable else "refresh_failed", retryable=unreachable)
