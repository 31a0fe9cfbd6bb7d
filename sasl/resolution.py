"""From a token source to a token: `resolve` and `resolve_async`."""

from __future__ import annotations

from types import CoroutineType

from .credentials import AccessToken, Bearer, TokenSource
from .errors import TokenError, UsageError, bare, is_interruption
from .secret import Secret
from .typed import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import Any, TypeVar

    from .credentials import Credentials

    C = TypeVar("C", bound=Credentials)


def resolve(credentials: C, *, stale: str | Secret | None = None) -> C:
    """Ask the token source of a `Bearer` and return one whose token is a `Secret`; others are returned as they are.

    `stale` is a token that a server has just refused: it is passed on to a `TokenSource` and never returned.
    Raises TokenError if no token can be had, UsageError if the source is asynchronous.
    """
    if not isinstance(credentials, Bearer):
        return credentials
    if not isinstance(stale, str | Secret | None):
        del stale
        raise UsageError("a stale token is a str")
    stale = None if stale is None else Secret(stale)
    token = _ask(credentials, stale)
    if isinstance(token, Secret):
        return cast("C", _fresh(credentials, token, stale))
    if isinstance(token, CoroutineType):
        token.close()
    raise UsageError("the token source is asynchronous: use resolve_async")


async def resolve_async(credentials: C, *, stale: str | Secret | None = None) -> C:
    """Like `resolve`, for sources that may be asynchronous.

    A source that is not is asked in the event loop, which stands still until it answers. One that waits for a network
    or a disk is better given as an asynchronous one: `sasl.adapters.tokens.threaded` makes that of it.
    """
    if not isinstance(credentials, Bearer):
        return credentials
    if not isinstance(stale, str | Secret | None):
        del stale
        raise UsageError("a stale token is a str")
    stale = None if stale is None else Secret(stale)
    token = _ask(credentials, stale)
    return cast("C", _fresh(credentials, token if isinstance(token, Secret) else await _await_token(token), stale))


def _ask(credentials: Bearer, stale: Secret | None) -> Secret | Awaitable[Any]:
    try:
        return _ask_source(credentials, stale)
    except Exception as error:
        if is_interruption(error):
            raise
        failure = _failure(error)
    raise failure


async def _await_token(given: Awaitable[Any]) -> Secret:
    try:
        return _token(await given)
    except Exception as error:
        if is_interruption(error):
            raise
        failure = _failure(error)
    raise failure


def _ask_source(credentials: Bearer, stale: Secret | None) -> Secret | Awaitable[Any]:
    source = credentials.token
    if isinstance(source, Secret):
        return source
    given: Any
    if isinstance(source, TokenSource):
        given = source.token(stale=None if stale is None else stale.reveal())
    else:
        given = source()
    return given if hasattr(given, "__await__") else _token(given)


def _token(given: object) -> Secret:
    token = given.value if isinstance(given, AccessToken) else given
    if not isinstance(token, str | Secret):
        raise TokenError(f"the token source gave {type(token).__name__}, not a token", code="no_token")
    if not token:
        raise TokenError("the token source gave an empty token", code="no_token")
    return Secret(token)


def _fresh(credentials: Bearer, token: Secret, stale: Secret | None) -> Bearer:
    if token == stale:
        raise TokenError("there is no newer token than the one refused", code="stale_token", needs_user=True)
    return Bearer(credentials.username, token)


def _failure(error: Exception) -> TokenError:
    """What to raise for a source's failure. Of a foreign error only the type: its text may hold a refresh token."""
    if isinstance(error, TokenError):
        return bare(error)
    return TokenError(f"the token source failed with {type(error).__name__}", code="source_failed")
