"""What an authorization server says of itself (RFC 8414), and how to find that.

An issuer is named by a person, by a provider's file or by a domain's own page. It is never taken from the error
challenge of a mail server: whoever can change that would send people to a sign-in page of his own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, final
from urllib.parse import urlsplit

from sasl.errors import TokenError, UsageError
from sasl.value import KW_ONLY, value

from ..documents import parse_object
from .http import Request, is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from urllib.parse import SplitResult

_ENDPOINTS: Final = (
    "authorization_endpoint",
    "token_endpoint",
    "device_authorization_endpoint",
    "revocation_endpoint",
    "registration_endpoint",
)
_LISTS: Final = ("code_challenge_methods_supported", "grant_types_supported", "scopes_supported")
_WELL_KNOWN: Final = "/.well-known/"
_ODD_PATH: Final = re.compile(r"/\.{1,2}(?:/|\Z)|%(?:2[de]|3[0-9]|[46][1-9a-f]|[57][0-9a]|5f|7e)", re.IGNORECASE)
"""A dot segment, or an unreserved character that is percent-encoded (RFC 3986 section 6.2.2)."""
_DOMAIN: Final = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9-]{2,63}")


@final
@value
class Metadata:
    """An authorization server: its members as RFC 8414 section 2 and RFC 8628 section 4 name them.

    What a server does not say is None, or an empty tuple. `code_challenge_methods_supported` is empty where it is not
    known whether the server takes PKCE (RFC 7636); it ignores it then, or takes it.
    """

    issuer: str | None
    _: KW_ONLY
    authorization_endpoint: str | None = None
    token_endpoint: str | None = None
    device_authorization_endpoint: str | None = None
    revocation_endpoint: str | None = None
    registration_endpoint: str | None = None
    code_challenge_methods_supported: tuple[str, ...] = ()
    grant_types_supported: tuple[str, ...] = ()
    scopes_supported: tuple[str, ...] = ()
    authorization_response_iss_parameter_supported: bool = False


def parse_metadata(members: Mapping[str, Any]) -> Metadata:
    """Return what a document of metadata says. Raises TokenError (bad_metadata) for what can be none."""
    fields: dict[str, Any] = {}
    for name in _ENDPOINTS:
        if (content := members.get(name)) is not None:
            fields[name] = _endpoint(name, content)
    for name in _LISTS:
        if (content := members.get(name)) is not None:
            if not isinstance(content, list) or not all(isinstance(each, str) for each in content):
                raise _bad(f"has no {name} that can be one")
            fields[name] = tuple(content)
    methods = fields.get("code_challenge_methods_supported")
    if methods is not None and "S256" not in methods:
        raise _bad("takes no code challenge of the method S256 (RFC 7636)")
    promised = members.get("authorization_response_iss_parameter_supported", False)
    issuer = members.get("issuer")
    if not isinstance(promised, bool) or not isinstance(issuer, str | None):
        raise _bad("has members of other types")
    return Metadata(issuer, **fields, authorization_response_iss_parameter_supported=promised)


def discover(issuer: str, *, request: Callable[..., Any] | None = None) -> Metadata:
    """Ask an issuer for its metadata: at the place of RFC 8414 section 3, then at that of OpenID Connect Discovery.

    Nothing is followed elsewhere, and the issuer that the document names has to be this one, letter by letter.
    Raises UsageError for what is no issuer (RFC 8414 section 2), TokenError if there is no such document.
    """
    ask = request or Request()
    root, path = _parts(issuer)
    places = (
        f"{root}{_WELL_KNOWN}oauth-authorization-server{path.rstrip('/')}",
        f"{root}{path.rstrip('/')}{_WELL_KNOWN}openid-configuration",
    )
    for place in places:
        members = _document(ask, place)
        if members is None:
            continue
        if members.get("issuer") != issuer:
            raise _bad("is of another issuer")
        found = parse_metadata(members)
        if found.token_endpoint is None:
            raise _bad("names no token endpoint")
        if not _is_local(issuer) and any(_is_local(getattr(found, name) or "") for name in _ENDPOINTS):
            raise _bad("points at a server on this machine")
        return found
    raise TokenError("the issuer has no metadata of its own (RFC 8414)", code="no_metadata")


def issuer_of(address: str, *, request: Callable[..., Any] | None = None) -> str | None:
    """Return the issuer that the domain of a mail address names for its mail servers, or None.

    Provisional: the page is that of draft-ietf-mailmaint-pacc-03, and nothing else here depends on it.
    Raises UsageError for what is no address, TokenError if the domain cannot be reached or names what is no issuer.
    """
    _, at, domain = address.rpartition("@")
    if not at or not _DOMAIN.fullmatch(domain):
        raise UsageError("an address is user@example.com")
    document = _document(request or Request(), f"https://{domain.lower()}{_WELL_KNOWN}user-agent-configuration") or {}
    found: object = document
    for name in ("authentication", "oauth-public", "issuer"):
        found = found.get(name) if isinstance(found, dict) else None
    if found is None:
        return None
    try:
        if isinstance(found, str):
            _parts(found)
            return found
    except UsageError:
        pass
    raise TokenError("the domain names what is no issuer (RFC 8414 section 2)", code="bad_metadata")


def _document(ask: Callable[..., Any], place: str) -> dict[str, Any] | None:
    """Return the object of JSON at a place; None if there is none."""
    response = ask(place, method="GET", headers={"Accept": "application/json"})
    return parse_object(response.data) if response.status == 200 else None


def _parts(issuer: str) -> tuple[str, str]:
    """Return scheme and host, and path, of an issuer. Raises UsageError for what can be none."""
    parts = _split(issuer)
    if parts is None or "?" in issuer or "#" in issuer or _ODD_PATH.search(parts.path):
        raise UsageError("an issuer is a URL under https, without user, query, fragment and dot segments")
    return f"{parts.scheme}://{parts.netloc}", parts.path


def _is_local(url: str) -> bool:
    return is_loopback(urlsplit(url).hostname or "")


def _endpoint(name: str, content: object) -> str:
    if not isinstance(content, str) or "#" in content or _split(content) is None:
        raise _bad(f"has no {name} that is a URL under https")
    return content


def _split(url: str) -> SplitResult | None:
    """Return the parts of a URL under https, or of this machine; None for another."""
    if re.fullmatch(r"https?://[!-~]+", url) is None:
        return None
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return None
    secure = host is not None and (parts.scheme == "https" or is_loopback(host))
    return parts if secure and "@" not in parts.netloc else None


def _bad(what: str) -> TokenError:
    return TokenError(f"the authorization server's metadata {what}", code="bad_metadata")
