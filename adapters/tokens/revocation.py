"""The end of a grant: told to the authorization server (RFC 7009), and forgotten here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final
from urllib.parse import urlsplit

from sasl.errors import TokenError, hide_frames
from sasl.value import value

from .http import Request, Response
from .messages import Client, post

if TYPE_CHECKING:
    from collections.abc import Callable

    from .record import Record
    from .store import Store

_PATIENCE: Final = 15.0  # seconds for a renewal that is under way

_VOID: Final = frozenset({"invalid_token", "invalid_grant"})
"""What servers say of a token that is void already, where RFC 7009 section 2.2 wants a yes (Google: invalid_token)."""


@final
@value
class Revoked:
    """What became of a grant. It is not stored any more; what somebody granted in the meantime is.

    Attributes:
        at_server: whether the authorization server knows, too.
        hint: if it does not, what a person can do; else "".
    """

    at_server: bool
    hint: str = ""


@hide_frames  # they hold the record, and the form with its token
def revoke(
    store: Store, key: str, *, client: Client | None = None, request: Callable[..., Any] | None = None
) -> Revoked:
    """Revoke the grant that is stored under a key, as far as its server can be told, and delete it from the store.

    A renewal that is under way is waited for: its new refresh token is the one to revoke. `client` is for one that
    proves itself by assertions, which no record holds.

    Raises TokenError: no_grant where nothing is stored; whatever the server says against it. Then nothing was deleted,
    except where it says that it revokes no such tokens.
    """
    with store.locked(key, _PATIENCE):
        record = store.load(key)
        if record is None:
            raise TokenError("nothing is stored under this name", code="no_grant", needs_user=True)
        told = _tell(record, client or record.client(), request or Request())
        stored = store.load(key)
        if stored is not None and stored.grant() == record.grant():  # else somebody has signed in meanwhile
            store.delete(key)
    return Revoked(at_server=True) if told else Revoked(at_server=False, hint=_hint(record))


def _tell(record: Record, client: Client, request: Callable[..., Any]) -> bool:
    """Tell the server (section 2.1). Return whether the grant is over there."""
    token, kind = record.refresh_token, "refresh_token"
    if token is None:
        token, kind = record.access_token, "access_token"
    if record.revocation_endpoint is None or token is None:
        return False
    form = {"token": token.reveal(), "token_type_hint": kind}
    try:
        post(_unread(request), record.revocation_endpoint, client, form)
    except TokenError as error:
        failure = error
    else:
        return True
    if failure.code in _VOID:
        return True
    if failure.code == "unsupported_token_type":
        return False
    raise failure


def _unread(request: Callable[..., Any]) -> Callable[..., Response]:
    """Return what sends the same, and keeps nothing of what a yes says: its status is all that counts (section 2.2)."""

    def send(url: str, **settings: Any) -> Response:
        return Response(request(url, **settings).status, {}, b"")

    return send


def _hint(record: Record) -> str:
    from ..providers import profiles

    host = urlsplit(record.token_endpoint).hostname or ""
    known = [each.oauth for each in profiles() if each.oauth is not None]
    pages = {urlsplit(each.token_endpoint or "").hostname: each.revoke_page for each in known}
    page = pages.get(host) or f"the settings of the account at {host}"
    return f"The server cannot be told. Take the application's access back by hand: {page}."
