"""What a person has granted: checked, and made a record to keep (RFC 6749 section 5.1).

    answer = browser.authorize(metadata, client, scope)
    store.put(grant_record(key, "alice@example.org", metadata, client, answer))

A server, or a person, may grant less than what was asked for: `not_granted` tells what is missing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from sasl.errors import TokenError
from sasl.value import replace

from .messages import send
from .record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .messages import Answer, Client
    from .metadata import Metadata

_NEVER_NAMED: Final = frozenset({"offline_access", "openid", "profile", "email"})
"""Scopes that say what else is wanted; servers leave them out of what they grant (Microsoft)."""

_ASK_FOR_IT: Final = (
    'Ask for one, then sign in again: Google wants access_type="offline" and prompt="consent", Microsoft and others'
    " the scope offline_access."
)


def redeem(
    request: Callable[..., Any], metadata: Metadata, client: Client, form: Mapping[str, str], scope: str
) -> Answer:
    """Return what a token endpoint gives for a code, with the scope that was granted.

    Raises TokenError, also (no_refresh_token) where the grant would end with the first access token: no mail for days.
    """
    if metadata.token_endpoint is None:
        raise TokenError("the authorization server has no token endpoint", code="not_offered")
    answer = send(request, metadata.token_endpoint, client, form)
    if answer.refresh_token is None:
        raise TokenError(
            "the token endpoint gave no refresh token", code="no_refresh_token", needs_user=True, hint=_ASK_FOR_IT
        )
    return replace(answer, scope=answer.scope or scope or None)  # none named: what was asked for (section 5.1)


def not_granted(scope: str, answer: Answer) -> tuple[str, ...]:
    """Return which of the scopes that were asked for were not granted: a server, or a person, may give less."""
    granted = frozenset((answer.scope or scope).split()) | _NEVER_NAMED
    return tuple([each for each in scope.split() if each not in granted])


def grant_record(
    key: str,
    user: str,
    metadata: Metadata,
    client: Client,
    answer: Answer,
    *,
    provider: str | None = None,
    clock: Callable[[], float] = time.time,
) -> Record:
    """Return the record of a new sign-in, for `Store.put`.

    `user` is the mailbox, `provider` the name of its profile; `clock` gives POSIX seconds. Raises TokenError.
    """
    if metadata.token_endpoint is None:
        raise TokenError("the authorization server has no token endpoint", code="not_offered")
    now = clock()
    return Record(
        key,
        user,
        metadata.token_endpoint,
        client.client_id,
        client_secret=client.secret,
        client_basic=client.basic,
        provider=provider,
        issuer=metadata.issuer,
        revocation_endpoint=metadata.revocation_endpoint,
        refresh_token=answer.refresh_token,
        access_token=answer.access_token,
        expires_at=None if answer.expires_in is None else max(0.0, now + answer.expires_in),
        granted_scope=answer.scope,
        granted_at=now,
    )
