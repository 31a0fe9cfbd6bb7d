"""Steps of a login that asks for one new token, where the server refuses the one that it was given."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, final

from sasl.credentials import AccessToken, Bearer, TokenSource
from sasl.errors import AuthenticationFailed, SASLError, TokenError, bare
from sasl.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from sasl.credentials import Credentials

    from ..binding.drive import Steps


def attempts(
    credentials: Credentials,
    attempt: Callable[[Credentials], Steps[Any]],
    ask: Callable[..., Any],
    ready: Credentials | None = None,
) -> Steps[Any]:
    """Return the steps of one attempt to log in, or of two; `ask` resolves credentials, unless they are `ready`."""
    first: Credentials = (yield partial(ask, credentials)) if ready is None else ready
    try:
        return (yield from attempt(first))
    except AuthenticationFailed as error:
        if not (isinstance(credentials, Bearer) and error.new_token_may_help):
            raise
        refusal = error
    newer: Bearer | SASLError
    try:
        newer = yield partial(ask, credentials, stale=token_of(first))
    except TokenError as error:
        newer = _instead(error, refusal)
    if isinstance(newer, SASLError):
        raise newer
    return (yield from attempt(newer))


def token_of(ready: Credentials | None) -> Secret | None:
    """Return the token of credentials that were resolved; None if they are of another kind."""
    return ready.token if isinstance(ready, Bearer) and isinstance(ready.token, Secret) else None


def _instead(error: TokenError, refusal: AuthenticationFailed) -> SASLError:
    """Return what to raise where there is no second token."""
    bare(refusal)
    bare(error)
    if error.code != "stale_token" and (error.retryable or error.needs_user):
        error.__cause__ = refusal
        return error
    refusal.__cause__ = error
    return refusal


@final
class Noting:
    """A token source that asks another one and notes when the token ends: `resolve` returns the token only.

    Attributes:
        expires_at: when the token ends that was given last; None if nobody knows.
    """

    __slots__ = ("_source", "expires_at")

    def __init__(self, source: TokenSource | Callable[[], Any]) -> None:
        self.expires_at: datetime | None = None
        self._source = source

    def token(self, *, stale: str | None = None) -> Any:
        """Return what the source returns. Raises what it raises."""
        source = self._source
        given: Any = source.token(stale=stale) if isinstance(source, TokenSource) else source()
        return self._await(given) if hasattr(given, "__await__") else self._note(given)

    async def _await(self, given: Awaitable[Any]) -> Any:
        return self._note(await given)

    def _note(self, given: Any) -> Any:
        ends = given.expires_at if isinstance(given, AccessToken) else None
        self.expires_at = ends if ends is not None and ends.tzinfo is not None else None
        return given


def noted(credentials: Credentials) -> tuple[Credentials, Noting | None]:
    """Return credentials whose source tells when its token ends, and where it does."""
    if not isinstance(credentials, Bearer) or isinstance(credentials.token, Secret):
        return credentials, None
    noting = Noting(credentials.token)
    return Bearer(credentials.username, noting), noting
