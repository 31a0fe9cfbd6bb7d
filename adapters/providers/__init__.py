"""What is known of mail providers, a file each, with the source of each fact.

`begin_with` is all that a login asks, and reads no file; `profile` reads them where a login did not succeed.
"""

from __future__ import annotations

from functools import cache

from sasl.typed import TYPE_CHECKING, final
from sasl.value import KW_ONLY, field, value

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

# The files' "begin_with", by service and domain: a test compares them.
_BEGIN_WITH: Final[Mapping[str, Mapping[str, str]]] = {
    "imap": dict.fromkeys(("me.com", "icloud.com", "mac.com"), "IMAP-LOGIN"),
}
_ENDS: Final = tuple(domain for hosts in _BEGIN_WITH.values() for domain in hosts)


@final
@value
class Profile:
    """What is known of one provider.

    Attributes:
        name: as people know it.
        sources: where the facts come from, by the name of the fact.
        hosts: its domains; a host below one of them is meant too.
        begin_with: the mechanism or login command to begin with, by service, where the strongest is refused there.
        password: "account" if it takes the account's password, "app" for app passwords (authorization codes) alone,
            "none" if it takes no password; "" where that is not known.
        password_advice: what to do about a refused password that the server says nothing of; "" for nothing special.
        bearer_advice: the same of a token.
        refusals: what its servers say, as rows of `sasl.adapters.refusals`.
    """

    name: str
    _: KW_ONLY
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()
    begin_with: Mapping[str, str] = field(default_factory=dict)
    password: str = ""
    password_advice: str = ""
    bearer_advice: str = ""
    refusals: tuple[Mapping[str, Any], ...] = ()


def begin_with(service: str, host: str | None) -> str | None:
    """Return which mechanism or login command to begin with at a host, or None: the strongest that fits."""
    hosts = _BEGIN_WITH.get(service)
    if hosts is None or host is None or not host.lower().removesuffix(".").endswith(_ENDS):
        return None
    found: str | None = _find(hosts, host)
    return found


def profile(host: str | None) -> Profile | None:
    """Return what is known of the provider of a host, or None."""
    return None if host is None else _find({domain: each for each in profiles() for domain in each.hosts}, host)


@cache
def profiles() -> tuple[Profile, ...]:
    """Return what is known of all providers, in the order of their files' names."""
    import json
    from importlib.resources import files

    found = []
    for each in sorted(files(__name__).iterdir(), key=lambda file: file.name):
        if each.name.endswith(".json"):
            data = json.loads(each.read_text("utf-8"))
            fields: dict[str, Any] = {name: tuple(of) if isinstance(of, list) else of for name, of in data.items()}
            found.append(Profile(**fields))
    return tuple(found)


def _find(hosts: Mapping[str, Any], host: str) -> Any:
    """Return what stands in a mapping for a host, or for the nearest domain that it is in; None if nothing does."""
    name = host.lower().removesuffix(".")
    while name:
        if name in hosts:
            return hosts[name]
        name = name.partition(".")[2]
    return None
