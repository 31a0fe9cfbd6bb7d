"""Personas: how the servers of a provider behave, one file each, with the source of every text.

    persona = load("gmail")
    persona.greeting("imap", fields(ip="127.0.0.1", id="a1"))

What a provider's profile says (`sasl.adapters.providers`: limits of lines and sessions, goodbyes, the initial response)
is taken from there. A file of one's own, of the same form (spec/schema/persona.json), is loaded by its path.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sasl.errors import UsageError

from ...members import octets_of
from ._files import LIKE, REFUSALS, parse
from ._persona import Folder, Goodbye, Half, Persona, Refusal, Service

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

__all__ = [
    "DEFAULT",
    "LIKE",
    "NAMES",
    "REFUSALS",
    "Folder",
    "Goodbye",
    "Half",
    "Persona",
    "Refusal",
    "Service",
    "fields",
    "load",
]

NAMES: Final = ("gmail", "microsoft365", "yahoo", "icloud", "dovecot", "exchange", "rfc")
DEFAULT: Final = "rfc"
"""The persona of servers that say what the RFCs say."""


def load(name: str | os.PathLike[str]) -> Persona:
    """Return a persona: one of `NAMES`, or that of a file, whose name is no plain word ("./mine.json").

    Raises UsageError for an unknown name, and for a file that cannot be read or is wrong; it says where.
    """
    if isinstance(name, str) and name in NAMES:
        return _ours(name)
    if isinstance(name, str) and name.isidentifier():
        raise UsageError(f"there is no persona {name!r}: one of {', '.join(NAMES)}, or the path of a file")
    file = Path(name)
    return parse(octets_of(file, "persona"), file.stem.lower(), str(file))


def fields(*, now: float = 0.0, **names: str) -> Mapping[str, str]:
    """Return what the texts of a persona name: tag, user, id, ip, command, client, mid, and what `now` is.

    `now` is the time, in seconds since 1970.
    """
    moment = datetime.fromtimestamp(now, UTC)
    time = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {**names, "date": format_datetime(moment), "time": time}


@cache
def _ours(name: str) -> Persona:
    from importlib.resources import files

    return parse(files(__name__).joinpath(f"{name}.json").read_bytes(), name, f"{name}.json")
