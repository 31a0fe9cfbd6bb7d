"""The clients that the reference authority knows, and how they prove who they are (RFC 6749 section 2.3, RFC 7523)."""

from __future__ import annotations

import hmac
import re
import secrets
from typing import TYPE_CHECKING, Any, Final, final
from urllib.parse import urlsplit

from sasl.value import field, value

from .signed import Refusal, claims_of, digest, new_token

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ALGORITHMS: Final = ("RS256", "PS256")
_LONGEST: Final = 1_024  # characters of what a client registers
_MOST: Final = 100  # clients that register themselves
_LOOPBACK: Final = re.compile(r"http://(127\.0\.0\.1|\[::1\]|localhost)(:[0-9]{1,5})?(/[!-~]*)?")


@final
@value
class Registered:
    """A client: its id, the hash of its secret, the public key that signs for it, and where a browser may be sent.

    One with neither secret nor key is public.
    """

    client_id: str
    secret: bytes | None = field(default=None, hidden=True)
    key: Any = field(default=None, hidden=True)
    redirect_uris: tuple[str, ...] = ()

    @property
    def is_public(self) -> bool:
        """Whether it has nothing to prove who it is."""
        return self.secret is None and self.key is None

    def may_redirect(self, uri: str) -> bool:
        """Whether a browser may be sent there: exactly there, but any port of a loopback one (RFC 8252 7.3, 8.3)."""
        return uri in self.redirect_uris or (_portless(uri) or uri) in [_portless(one) for one in self.redirect_uris]


def _portless(uri: str) -> str | None:
    """Return a URI of a loopback address or of localhost without its port, None for another."""
    found = _LOOPBACK.fullmatch(uri)
    return None if found is None else f"{found[1]}{found[3] or ''}"


@final
class Clients:
    """All of them."""

    def __init__(self) -> None:
        self._known: dict[str, Registered] = {}
        self._used: set[str] = set()  # the jti of assertions: each is good once
        self._own = 0

    def add(self, client: Registered) -> None:
        """Make a client known."""
        self._known[client.client_id] = client

    def find(self, client_id: str | None) -> Registered | None:
        """Return a client by its id."""
        return self._known.get(client_id or "")

    def authenticate(
        self, form: Mapping[str, str], basic: tuple[str, str] | None, audiences: Collection[str], now: float
    ) -> Registered:
        """Return the client that sent a form. Raises Refusal (invalid_client) unless it proves that, in one way."""
        ways = [basic is not None, "client_secret" in form, "client_assertion" in form]
        if sum(ways) > 1:
            raise _refusal()
        if "client_assertion" in form:
            return self._by_assertion(form, audiences, now)
        client_id, secret = basic or (form.get("client_id"), form.get("client_secret"))
        client = self.find(client_id)
        if basic is not None and form.get("client_id", client_id) != client_id:
            client = None
        if client is not None and client.is_public and not secret:
            return client
        kept = client.secret if client is not None else None
        if client is None or kept is None or not hmac.compare_digest(kept, digest(secret or "")):
            raise _refusal()
        return client

    def _by_assertion(self, form: Mapping[str, str], audiences: Collection[str], now: float) -> Registered:
        if form.get("client_assertion_type") != _ASSERTION:
            raise _refusal()

        def find(_head: dict[str, Any], claims: dict[str, Any]) -> Any:
            issuer = claims.get("iss")
            client = self.find(issuer) if isinstance(issuer, str) and issuer == claims.get("sub") else None
            return None if client is None else client.key

        claims: dict[str, Any] = {}
        try:
            claims = claims_of(form["client_assertion"], find, audiences, now, _ALGORITHMS)
        except Refusal:
            pass
        client, jti = self.find(claims.get("iss")), claims.get("jti")
        given = form.get("client_id", claims.get("iss"))
        if client is None or given != client.client_id or not isinstance(jti, str) or jti in self._used:
            raise _refusal()
        self._used.add(jti)
        return client

    def register(self, document: Mapping[str, Any] | None) -> dict[str, Any]:
        """Register a client that asks for it (RFC 7591 section 3), and return the answer. Raises Refusal."""
        wanted = document or {}
        uris = wanted.get("redirect_uris")
        if document is None or not isinstance(uris, list) or not uris or not all(map(_may_register, uris)):
            raise Refusal("invalid_redirect_uri", "redirect_uris are https or of a loopback address")
        method = wanted.get("token_endpoint_auth_method", "client_secret_basic")
        if method not in ("none", "client_secret_basic", "client_secret_post"):
            raise Refusal("invalid_client_metadata", "token_endpoint_auth_method is one that is not offered")
        if self._own >= _MOST:
            raise Refusal("access_denied", "there are clients enough", 403)
        self._own += 1
        client_id, secret = f"client-{secrets.token_hex(8)}", new_token()
        hashed = None if method == "none" else digest(secret)
        self.add(Registered(client_id, hashed, None, tuple(uris)))
        names = ("client_name", "redirect_uris", "grant_types", "response_types", "scope", "application_type")
        answer = {"client_id": client_id, "token_endpoint_auth_method": method}
        if hashed is not None:
            answer |= {"client_secret": secret, "client_secret_expires_at": 0}
        return answer | {name: wanted[name] for name in names if name in wanted}


def _may_register(uri: object) -> bool:
    if not isinstance(uri, str) or not 0 < len(uri) <= _LONGEST or not re.fullmatch(r"[!-~]+", uri) or "#" in uri:
        return False
    if _portless(uri) is not None:
        return True
    try:
        parts = urlsplit(uri)
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc


def _refusal() -> Refusal:
    return Refusal("invalid_client", "The OAuth client was not found.", 401)
