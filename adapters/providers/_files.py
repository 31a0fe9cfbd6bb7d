"""The files of providers, read strictly: a member that is unknown, or of another type, is an error that names it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from sasl.errors import UsageError

from ._profile import OAuth, Profile, Server

if TYPE_CHECKING:
    from collections.abc import Callable

    Check = Callable[[str, Any], Any]

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
        document = _read(octets)
        return Profile(**_members("", document, _MEMBERS, needed=("name",)), id=identifier)
    except ValueError as error:
        problem = str(error)
    raise UsageError(f"the provider's file {shown} {problem}")


def _read(octets: bytes) -> object:
    try:
        return json.loads(octets.decode("utf-8"), object_pairs_hook=_unique)
    except RecursionError:
        problem = ""
    except json.JSONDecodeError as error:
        problem = f" (line {error.lineno}: {error.msg})"
    except UnicodeDecodeError:
        problem = " in UTF-8"
    raise ValueError(f"is no JSON{problem}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        twice = next(name for name in members if sum(name == other for other, _ in pairs) > 1)
        raise ValueError(f"has {twice!r} twice")
    return members


# --- what a member has to be; each returns it, or raises ValueError that begins with its name


def _bad(name: str, wanted: str) -> ValueError:
    return ValueError(f"has no {name or 'content'} that is {wanted}")


def _members(name: str, content: object, checks: dict[str, Check], *, needed: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the members of an object, checked each."""
    if not isinstance(content, dict):
        raise _bad(name, "an object")
    inside = f"{name}." if name else ""
    for each in content:
        if each not in checks:
            raise ValueError(f"has a member that is unknown here: {inside}{each}")
    for each in needed:
        if each not in content:
            raise ValueError(f"lacks {inside}{each}")
    return {each: checks[each](inside + each, found) for each, found in content.items()}


def _text(name: str, content: object) -> str:
    if not isinstance(content, str) or not content.isprintable():
        raise _bad(name, "text of one line")
    return content


def _word(name: str, content: object) -> str:
    if not _text(name, content):
        raise _bad(name, "text of one line, and not empty")
    return str(content)


def _matching(pattern: str, wanted: str) -> Check:
    compiled = re.compile(pattern)

    def check(name: str, content: object) -> str:
        if not isinstance(content, str) or compiled.fullmatch(content) is None:
            raise _bad(name, wanted)
        return content

    return check


def _or_null(inner: Check) -> Check:
    return lambda name, content: None if content is None else inner(name, content)


def _one_of(*choices: object) -> Check:
    def check(name: str, content: object) -> object:
        if content not in choices or isinstance(content, bool):
            raise _bad(name, "one of " + ", ".join(str(each) or '""' for each in choices))
        return content

    return check


def _flag(name: str, content: object) -> bool:
    if not isinstance(content, bool):
        raise _bad(name, "true or false")
    return content


def _number(most: int) -> Check:
    def check(name: str, content: object) -> int:
        if not isinstance(content, int) or isinstance(content, bool) or not 0 < content <= most:
            raise _bad(name, f"a whole number from 1 to {most}")
        return content

    return check


def _list(inner: Check) -> Check:
    def check(name: str, content: object) -> tuple[Any, ...]:
        if not isinstance(content, list):
            raise _bad(name, "a list")
        return tuple(inner(f"{name}[{index}]", each) for index, each in enumerate(content))

    return check


def _by_any(inner: Check) -> Check:
    """Any names may stand in this object."""

    def check(name: str, content: object) -> dict[str, Any]:
        if not isinstance(content, dict):
            raise _bad(name, "an object")
        return {each: inner(f"{name}.{each}", found) for each, found in content.items()}

    return check


def _by_service(inner: Check) -> Check:
    return lambda name, content: _members(name, content, dict.fromkeys(SERVICES, inner))


def _server(name: str, content: object) -> Server:
    checks: dict[str, Check] = {"host": _HOST, "port": _number(65_535), "tls": _one_of("implicit", "starttls")}
    return Server(**_members(name, content, checks, needed=("host", "port", "tls")))


def _oauth(name: str, content: object) -> OAuth:
    return OAuth(**_members(name, content, _OAUTH))


def _scopes(name: str, content: object) -> dict[str, tuple[str, ...]]:
    return _members(name, content, dict.fromkeys((*SERVICES, "common"), _list(_SCOPE)))


def _limits(name: str, content: object) -> dict[str, Any]:
    seconds = _number(10**9)

    def token(name: str, content: object) -> Any:
        return content if content == "token" else seconds(name, content)

    return _members(name, content, {"password": _or_null(seconds), "token": _or_null(token)})


def _refusal(name: str, content: object) -> dict[str, Any]:
    return _members(name, content, _REFUSAL, needed=("id", "kind", "protocol", "advice"))


_HOST: Final = _matching(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?", "a host or domain in small letters")
_SCOPE: Final = _matching(r"[!#-\[\]-~]+", "a scope (RFC 6749 section 3.3)")
_URL: Final = _or_null(
    _matching(
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
    "parameters": _by_any(_text),
    "grants": _list(_word),
    "client_credentials_scope": _or_null(_SCOPE),
    "rotation": _one_of("never", "keeps old", "single use", "unknown"),
    "client_authentication": _one_of("none", "secret", "either", "unknown"),
    "redirect_uri": _or_null(_matching(r"https?://[!-~]+", "a redirect URI")),
    "device": _flag,
    "client_id": _text,
    "revoke_page": _text,
    "tenant": _or_null(_matching(r"[A-Za-z0-9.-]+", "the name of a tenant")),
}
_REFUSAL: Final[dict[str, Check]] = {
    "id": _matching(r"[a-z0-9-]+", "an id"),
    "kind": _one_of(*_KINDS),
    "protocol": _one_of(*SERVICES, ""),
    "codes": _list(_word),
    "says": _list(_matching(r"[^A-Z]{4,}", "at least four characters without capital letters")),
    "phase": _one_of("greeting", "before", "after"),
    "advice": _word,
    "bearer_advice": _word,
    "source": _word,
    "example": _word,
}
_MEMBERS: Final[dict[str, Check]] = {
    "name": _word,
    "sources": _by_any(_list(_word)),
    "hosts": _list(_HOST),
    "addresses": _list(_HOST),
    "begin_with": _by_service(_word),
    "password": _one_of("", "account", "app", "none"),
    "password_advice": _text,
    "bearer_advice": _text,
    "servers": _by_service(_server),
    "oauth": _or_null(_oauth),
    "initial_response": _by_service(_flag),
    "line_limits": _by_service(_number(10**6)),
    "session_limits": _by_service(_limits),
    "goodbyes": _by_service(_list(_word)),
    "busy": _by_service(_list(_word)),
    "retry_statuses": _list(_matching(r"[!-~]+", "a status")),
    "refusals": _list(_refusal),
}
