"""Files of JSON that people write, read strictly: a member that is unknown, or of another type, is an error.

Each check takes how errors name a member, and what stands there. It returns what it makes of it, or raises ValueError
whose text goes on where the name of the file stands: "has no servers.imap.port that is a whole number ...".
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from sasl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TypeAlias

    Check: TypeAlias = Callable[[str, Any], Any]


def octets_of(path: Path, what: str) -> bytes:
    """Return what a file holds. Raises UsageError, which says whose it is (`what`), where it stands and why not."""
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror
    raise UsageError(f"the {what}'s file {path} cannot be read: {reason}")


def read(octets: bytes) -> object:
    """Return what a file of JSON in UTF-8 holds, no member named twice. Raises ValueError, which says what it is."""
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


# --- what a member has to be


def _unfit(name: str, wanted: str) -> ValueError:
    return ValueError(f"has no {name or 'content'} that is {wanted}")


def members(name: str, content: object, checks: dict[str, Check], *, needed: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the members of an object, each of which passes its check; those that are `needed` are there."""
    if not isinstance(content, dict):
        raise _unfit(name, "an object")
    inside = f"{name}." if name else ""
    for each in content:
        if each not in checks:
            raise ValueError(f"has a member that is unknown here: {inside}{each}")
    for each in needed:
        if each not in content:
            raise ValueError(f"lacks {inside}{each}")
    return {each: checks[each](inside + each, found) for each, found in content.items()}


def text(name: str, content: object) -> str:
    """Return text of one line."""
    if not isinstance(content, str) or not content.isprintable():
        raise _unfit(name, "text of one line")
    return content


def word(name: str, content: object) -> str:
    """Return text of one line that is not empty."""
    if not text(name, content):
        raise _unfit(name, "text of one line, and not empty")
    return str(content)


def matching(pattern: str, wanted: str) -> Check:
    """Return a check for text that a pattern matches; `wanted` says so in words."""
    compiled = re.compile(pattern)

    def check(name: str, content: object) -> str:
        if not isinstance(content, str) or compiled.fullmatch(content) is None:
            raise _unfit(name, wanted)
        return content

    return check


def or_null(inner: Check) -> Check:
    """Return a check that lets null pass as well."""
    return lambda name, content: None if content is None else inner(name, content)


def one_of(*choices: object) -> Check:
    """Return a check for one of some values."""

    def check(name: str, content: object) -> object:
        if content not in choices or isinstance(content, bool):
            raise _unfit(name, "one of " + ", ".join(str(each) or '""' for each in choices))
        return content

    return check


def flag(name: str, content: object) -> bool:
    """Return true or false."""
    if not isinstance(content, bool):
        raise _unfit(name, "true or false")
    return content


def number(most: int) -> Check:
    """Return a check for a whole number from 1 to `most`."""

    def check(name: str, content: object) -> int:
        if not isinstance(content, int) or isinstance(content, bool) or not 0 < content <= most:
            raise _unfit(name, f"a whole number from 1 to {most}")
        return content

    return check


def list_of(inner: Check) -> Check:
    """Return a check for a list, each of whose entries passes another check; it makes a tuple of it."""

    def check(name: str, content: object) -> tuple[Any, ...]:
        if not isinstance(content, list):
            raise _unfit(name, "a list")
        return tuple(inner(f"{name}[{index}]", each) for index, each in enumerate(content))

    return check


def by_any(inner: Check) -> Check:
    """Return a check for an object whose members have any names, and pass another check."""

    def check(name: str, content: object) -> dict[str, Any]:
        if not isinstance(content, dict):
            raise _unfit(name, "an object")
        return {each: inner(f"{name}.{each}", found) for each, found in content.items()}

    return check
