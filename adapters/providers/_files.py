"""The files of providers, read strictly: a member that is unknown, or of another type, is an error that names it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sasl.errors import UsageError

from ..members import by_any, flag, list_of, matching, members, number, one_of, or_null, read, text, word
from ._profile import OAuth, Profile, Server

if TYPE_CHECKING:
    from ..members import Check

SERVICES: Final = ("imap", "pop", "smtp")
_LARGEST: Final = 262_144  # octets of a file
_KINDS: Final = (
    "credentials",
    "authorization",
    "expired",
    "disabled",
    "unavailable",
    "malformed",
    "unexpected_ir",
    "cancelled",
    "limit",
    "state",
    "unsupported",
    "policy",
)


def parse(octets: bytes, identifier: str, shown: str) -> Profile:
    """Return what a file says. `shown` is how errors name it. Raises UsageError."""
    try:
        if len(octets) > _LARGEST:
            raise ValueError("is too long")
        document = read(octets)
        return Profile(**members("", document, _MEMBERS, needed=("name",)), id=identifier)
    except ValueError as error:
        problem = str(error)
    raise UsageError(f"the provider's file {shown} {problem}")


def _by_service(inner: Check) -> Check:
    return lambda name, content: members(name, content, dict.fromkeys(SERVICES, inner))


def _server(name: str, content: object) -> Server:
    checks: dict[str, Check] = {"host": _HOST, "port": number(65_535), "tls": one_of("implicit", "starttls")}
    return Server(**members(name, content, checks, needed=("host", "port", "tls")))


def _oauth(name: str, content: object) -> OAuth:
    return OAuth(**members(name, content, _OAUTH))


def _scopes(name: str, content: object) -> dict[str, tuple[str, ...]]:
    return members(name, content, dict.fromkeys((*SERVICES, "common"), list_of(_SCOPE)))


def _limits(name: str, content: object) -> dict[str, Any]:
    seconds = number(10**9)

    def token(name: str, content: object) -> Any:
        return content if content == "token" else seconds(name, content)

    return members(name, content, {"password": or_null(seconds), "token": or_null(token)})


def _refusal(name: str, content: object) -> dict[str, Any]:
    return members(name, content, _REFUSAL, needed=("id", "kind", "protocol", "advice"))


_HOST: Final = matching(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?", "a host or domain in small letters")
_SCOPE: Final = matching(r"[!#-\[\]-~]+", "a scope (RFC 6749 section 3.3)")
_URL: Final = or_null(
    matching(
        r"https://[A-Za-z0-9.-]+(?::[0-9]+)?(?:/[!-~]*)?|http://(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]+)?(?:/[!-~]*)?",
        "a URL under https",
    )
)
_OAUTH: Final[dict[str, Check]] = {
    **dict.fromkeys(
        (
            "issuer",
            "authorization_endpoint",
            "token_endpoint",
            "device_authorization_endpoint",
            "revocation_endpoint",
            "registration_endpoint",
        ),
        _URL,
    ),
    "scopes": _scopes,
    "parameters": by_any(text),
    "grants": list_of(word),
    "client_credentials_scope": or_null(_SCOPE),
    "rotation": one_of("never", "keeps old", "single use", "unknown"),
    "client_authentication": one_of("none", "secret", "either", "unknown"),
    "redirect_uri": or_null(matching(r"https?://[!-~]+", "a redirect URI")),
    "device": flag,
    "client_id": text,
    "revoke_page": text,
    "tenant": or_null(matching(r"[A-Za-z0-9.-]+", "the name of a tenant")),
}
_REFUSAL: Final[dict[str, Check]] = {
    "id": matching(r"[a-z0-9-]+", "an id"),
    "kind": one_of(*_KINDS),
    "protocol": one_of(*SERVICES, ""),
    "codes": list_of(word),
    "says": list_of(matching(r"[^A-Z]{4,}", "at least four characters without capital letters")),
    "phase": one_of("greeting", "before", "after"),
    "advice": word,
    "bearer_advice": word,
    "source": word,
    "example": word,
}
_MEMBERS: Final[dict[str, Check]] = {
    "name": word,
    "sources": by_any(list_of(word)),
    "hosts": list_of(_HOST),
    "addresses": list_of(_HOST),
    "begin_with": _by_service(word),
    "password": one_of("", "account", "app", "none"),
    "password_advice": text,
    "bearer_advice": text,
    "servers": _by_service(_server),
    "oauth": or_null(_oauth),
    "initial_response": _by_service(flag),
    "line_limits": _by_service(number(10**6)),
    "session_limits": _by_service(_limits),
    "goodbyes": _by_service(list_of(word)),
    "busy": _by_service(list_of(word)),
    "retry_statuses": list_of(matching(r"[!-~]+", "a status")),
    "refusals": list_of(_refusal),
}
