"""The files of personas (spec/schema/persona.json), read strictly: whatever is wrong is an error that names it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sasl.errors import UsageError
from sasl.steps import KINDS

from ... import providers
from ...members import by_any, flag, list_of, matching, members, number, one_of, or_null, read, text, word
from ._persona import PLACEHOLDERS, Folder, Goodbye, Half, Persona, Refusal, Service

if TYPE_CHECKING:
    from ...members import Check

SERVICES: Final = ("imap", "pop", "smtp")
LIKE: Final = {
    "wrong_scope": "authorization",
    "encryption": "policy",
    "app_password": "policy",
    "basic": "policy",
    "web": "policy",
    "tenant": "disabled",
    "connections": "unavailable",
    "attempts": "unavailable",
    "throttled": "unavailable",
    "quota": "unavailable",
}
"""Kinds of refusals that are no login's, or that `sasl.KINDS` does not tell apart: the one there that each is like."""
REFUSALS: Final[tuple[str, ...]] = (*KINDS, *LIKE)
"""All kinds of refusals."""
WHY: Final = ("expired", "session", "revoked", "idle", "late", "failures", "shutdown", "broken")
"""Why a session ends."""
LIMITS: Final = (
    "idle",
    "connections",
    "message",
    "senders",
    "messages_a_minute",
    "recipients_a_day",
    "login_delay",
    "window",
)
_LARGEST: Final = 262_144  # octets of a file
_PLACE: Final = re.compile(r"\{([^{}]*)\}")


def parse(octets: bytes, identifier: str, shown: str) -> Persona:
    """Return what a file says. `shown` is how errors name it. Raises UsageError."""
    try:
        if len(octets) > _LARGEST:
            raise ValueError("is too long")
        found = members("", read(octets), _MEMBERS, needed=("name",))
        services: dict[str, Service] = {name: found.pop(name) for name in SERVICES if name in found}
        profile = providers.provider(found["provider"]) if found.get("provider") else None
        persona = Persona(**found, services=services, profile=profile, id=identifier)
        _check_goodbyes(persona)
    except ValueError as error:
        problem = str(error)
    else:
        return persona
    raise UsageError(f"the persona's file {shown} {problem}")


def _check_goodbyes(persona: Persona) -> None:
    """Raise ValueError where a text is to hold the provider's goodbye and there is none."""
    profile = persona.profile
    for name, service in persona.services.items():
        lines = [line for each in service.goodbyes.values() for line in each.lines]
        if any("{goodbye}" in line for line in lines) and (profile is None or name not in profile.goodbyes):
            raise ValueError(f"has a {{goodbye}} in {name}, of which no provider's file knows one")


def _template(name: str, content: object) -> str:
    found = word(name, content)
    for place in _PLACE.findall(found):
        if place not in PLACEHOLDERS:
            raise ValueError(f"has an unknown {{{place}}} in {name}")
    return found


def _lines(name: str, content: object) -> tuple[str, ...]:
    """Return lines, of one text or of a list of them."""
    if isinstance(content, str):
        return (_template(name, content),)
    return tuple(_LINES(name, content))


def _refusal(name: str, content: object) -> Refusal:
    return Refusal(**members(name, content, {"lines": _lines, "close": flag}, needed=("lines",)))


def _refusals(name: str, content: object) -> dict[str, Refusal]:
    """Return refusals by kind. The name of another kind stands for what is said to that one."""

    def refusal(name: str, found: object) -> Refusal | str:
        return found if isinstance(found, str) else _refusal(name, found)

    found = members(name, content, dict.fromkeys(REFUSALS, refusal))
    said = {kind: each for kind, each in found.items() if isinstance(each, Refusal)}
    for kind, each in found.items():
        if kind not in said and each not in said:
            raise ValueError(f"has no {name}.{kind} that is a refusal, or the kind of one")
    return {kind: said[kind if kind in said else each] for kind, each in found.items()}


def _half(name: str, content: object) -> dict[str, Half]:
    checks: dict[str, Check] = {
        "kinds": list_of(one_of(*REFUSALS)),
        "first": _refusal,
        "further": _refusal,
    }
    found = members(name, content, checks, needed=tuple(checks))
    return dict.fromkeys(found["kinds"], Half(found["first"], found["further"]))


def _goodbye(name: str, content: object) -> Goodbye:
    return Goodbye(**members(name, content, {"lines": _lines, "at_once": flag}, needed=("lines",)))


def _folder(name: str, content: object) -> Folder:
    return Folder(**members(name, content, {"name": word, "use": _USE, "selectable": flag}, needed=("name",)))


def _service(name: str, content: object) -> Service:
    return Service(**members(name, content, _SERVICE, needed=("greeting", "capabilities")))


def _provider(name: str, content: object) -> str:
    found = text(name, content)
    if found and providers.provider(found) is None:
        raise ValueError(f"names a provider of which there is no file: {found}")
    return found


_LINES: Final = list_of(_template)
_USE: Final = one_of(
    "", *(f"\\{use}" for use in ("Sent", "Drafts", "Trash", "Junk", "All", "Archive", "Flagged", "Important"))
)
_CAPABILITIES: Final = list_of(matching(r"\*|[A-Z0-9][!-~]*(?: [!-~]+)*", "a capability"))
_SERVICE: Final[dict[str, Check]] = {
    "host": matching(r"[A-Za-z0-9.-]+", "a host"),
    "greeting": _lines,
    "capabilities": lambda name, content: members(
        name, content, dict.fromkeys(("clear", "tls", "authenticated"), _CAPABILITIES), needed=("clear",)
    ),
    "commands": list_of(one_of("IMAP-LOGIN", "POP-USER", "POP-APOP")),
    "passwords": flag,
    "prompt": one_of("+ ", "+"),
    "accepted": _lines,
    "refusals": _refusals,
    "half": _half,
    "goodbyes": lambda name, content: members(name, content, dict.fromkeys(WHY, _goodbye)),
    "replies": by_any(_lines),
    "limits": lambda name, content: members(name, content, dict.fromkeys(LIMITS, number(10**9))),
    "words": flag,
}
_MEMBERS: Final[dict[str, Check]] = {
    "name": word,
    "provider": _provider,
    "sources": by_any(list_of(word)),
    "folders": list_of(_folder),
    "password_ends": one_of("", "renewals", "sessions"),
    "challenges": lambda name, content: members(
        name, content, dict.fromkeys(("XOAUTH2", "OAUTHBEARER"), by_any(or_null(by_any(word))))
    ),
    **dict.fromkeys(SERVICES, _service),
}
