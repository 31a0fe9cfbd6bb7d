"""Grants of the reference token endpoint, as a sign-in leaves them in a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sasl import Secret
from sasl.adapters.tokens.record import Record

if TYPE_CHECKING:
    from sasl.adapters.reference.token_endpoint import TokenEndpoint


def grant_of(endpoint: TokenEndpoint, key: str, user: str = "alice", **changes: Any) -> Record:
    """The record of a sign-in that got no access token yet."""
    info = endpoint.authorized_user(user)
    secrets = {name: Secret(info[name]) for name in ("client_secret", "refresh_token")}
    return Record(key, user, endpoint.url, info["client_id"], **{**secrets, **changes})
