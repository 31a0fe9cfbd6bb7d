"""What is known of mail providers, a file each, with the source of each fact.

`begin_with` is all that a login asks, and reads no file; `profile` reads them where a login did not succeed, and
`session_limit` where a session has begun.

A user's own files, of the same form (spec/schema/provider.json), win over ours: of one name, and for the same host.
They stand in $XDG_CONFIG_HOME/saslkit/providers (else ~/.config; on Windows %APPDATA%), and in the folder that
$SASLKIT_PROVIDERS names, which wins over that. They are read once in a process.
"""

from __future__ import annotations

from functools import cache

from sasl.errors import UsageError
from sasl.typed import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import Any, Final

    from ._profile import OAuth, Profile, Server

__all__ = [
    "OAuth",
    "Profile",
    "Server",
    "begin_with",
    "load",
    "profile",
    "profiles",
    "provider",
    "scopes",
    "session_limit",
]

# The files' "begin_with", by service and domain: a test compares them.
_BEGIN_WITH: Final[Mapping[str, Mapping[str, str]]] = {
    "imap": dict.fromkeys(("me.com", "icloud.com", "mac.com"), "IMAP-LOGIN"),
}
_ENDS: Final = tuple(domain for hosts in _BEGIN_WITH.values() for domain in hosts)


def __getattr__(name: str) -> object:
    # Loaded when it is first used: a login asks for `begin_with` alone.
    if name not in ("OAuth", "Profile", "Server"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import _profile

    return getattr(_profile, name)


def begin_with(service: str, host: str | None) -> str | None:
    """Return which mechanism or login command to begin with at a host, or None: the strongest that fits."""
    hosts = _BEGIN_WITH.get(service)
    if hosts is None or host is None or not host.lower().removesuffix(".").endswith(_ENDS):
        return None
    found: str | None = _find(hosts, host)
    return found


def profile(host: str | None) -> Profile | None:
    """Return what is known of the provider of a host, or None. A user's own file that is broken is passed over."""
    return None if host is None else _find(_by_host(profiles()), host)


def provider(name: str) -> Profile | None:
    """Return a provider's profile by its name or that of its file ("gmail"), by a host or by a mail address; or None.

    Raises UsageError if one of the user's own files is broken, and says which member of which file.
    """
    known = {**_ours(), **_own()}
    _, at, domain = name.rpartition("@")
    named = known.get(name.lower()) or {each.name.lower(): each for each in known.values()}.get(name.lower())
    found: Profile | None = named or _find(_by_host(known.values(), addresses=bool(at)), domain)
    return found


def load(path: str | os.PathLike[str]) -> Profile:
    """Return what a provider's file says. Raises UsageError, which names the file and the member that is wrong."""
    from pathlib import Path

    from ..members import octets_of
    from ._files import parse

    file = Path(path)
    return parse(octets_of(file, "provider"), file.stem.lower(), str(file))


def scopes(profile: Profile, services: Iterable[str]) -> str:
    """Return the scope to ask for, for some of "imap", "pop" and "smtp"; what is common to all comes last.

    Raises UsageError where the provider's file has no scope for one of them.
    """
    known = profile.oauth.scopes if profile.oauth is not None else {}
    found: list[str] = []
    for service in services:
        if service == "common" or not known.get(service):
            raise UsageError(f"{profile.name} has no scope for {service} that is known here: name it")
        found += known[service]
    return " ".join(dict.fromkeys([*found, *known.get("common", ())]))


def session_limit(host: str | None, service: str, *, token: bool) -> float | None:
    """Return after how many seconds the servers of a provider end a session at the latest, or None if nobody knows.

    `token` is whether the login was by one. Where such a session lasts about as long as its token, this is what one
    lasts after a login by password: the token's own end comes before that, and the caller knows it.
    """
    found = profile(host)
    limits = found.session_limits.get(service, {}) if found is not None else {}
    limit = limits.get("token" if token else "password")
    if limit == "token":
        limit = limits.get("password")
    return None if limit is None else float(limit)


@cache
def profiles() -> tuple[Profile, ...]:
    """Return what is known of all providers, in the order of their files' names.

    A user's own file that is broken is passed over with a warning in the log: it stops no login.
    """
    known = {**_ours(), **_own(strict=False)}
    return tuple(known[name] for name in sorted(known))


@cache
def _ours() -> dict[str, Profile]:
    from importlib.resources import files

    from ._files import parse

    found = {}
    for each in files(__name__).iterdir():
        if each.name.endswith(".json"):
            name = each.name.removesuffix(".json")
            found[name] = parse(each.read_bytes(), name, each.name)
    return found


def _own(*, strict: bool = True) -> dict[str, Profile]:
    """Return what stands in the user's own files, by name."""
    found = {}
    for path in (path for folder in _folders() for path in sorted(folder.glob("*.json"))):
        try:
            each = load(path)
        except UsageError as error:
            if strict:
                raise
            _warn(error)
        else:
            found[each.id] = each
    return found


def _folders() -> Iterator[Path]:
    """Yield the folders of the user's own files; the later one wins."""
    import os
    import sys
    from contextlib import suppress
    from pathlib import Path

    named = os.environ.get("APPDATA" if sys.platform == "win32" else "XDG_CONFIG_HOME", "")
    root = Path(named) if Path(named).is_absolute() else None  # else to be ignored (XDG Base Directory Specification)
    if root is None and sys.platform != "win32":
        with suppress(RuntimeError):  # nobody knows where that is
            root = Path("~/.config").expanduser()
    if root is not None:
        yield root / "saslkit" / "providers"
    if named := os.environ.get("SASLKIT_PROVIDERS", ""):
        yield Path(named)


def _warn(error: UsageError) -> None:
    import logging

    logging.getLogger("sasl").warning("passed over: %s", error)


def _by_host(known: Iterable[Profile], *, addresses: bool = False) -> dict[str, Profile]:
    """Return profiles by domain of a host, or of an address. Where two have one, the last one counts: a user's own."""
    ours = _ours()
    ordered = sorted(known, key=lambda each: ours.get(each.id) is not each)
    found = {domain: each for each in ordered for domain in each.hosts}
    if addresses:
        for each in ordered:
            found |= dict.fromkeys(each.addresses, each)
            if ours.get(each.id) is not each:
                found |= dict.fromkeys(each.hosts, each)
    return found


def _find(hosts: Mapping[str, Any], host: str) -> Any:
    """Return what stands in a mapping for a host, or for the nearest domain that it is in; None if nothing does."""
    name = host.lower().removesuffix(".")
    while name:
        if name in hosts:
            return hosts[name]
        name = name.partition(".")[2]
    return None
