"""How the lines of both sides are shown, and what the events are called that they stand for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sasl.errors import UsageError
from sasl.registry import canonical, loaded_row
from sasl.secret import octets
from sasl.text import printable

from ..wire.line import without_end

if TYPE_CHECKING:
    from collections.abc import Collection

_SHOWN: Final = 200  # characters of a line in the transcript


def mechanism_name(word: bytes, offered: Collection[str]) -> str:
    """The name of a mechanism; "" for what is none: a client that is out of step may have sent a secret there."""
    try:
        name = canonical(word)
    except UsageError:
        return ""
    return name if name in offered or loaded_row(name) is not None else ""


_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]*={0,2}")


def shown_message(text: bytes) -> str:
    """How a line of an exchange is shown: by the size of what it holds."""
    if text in (b"*", b"="):
        return text.decode("ascii")
    if len(text) % 4 == 0 and _BASE64.fullmatch(text):
        return f"<{len(text) // 4 * 3 - text.count(b'=')} octets>"
    return octets(text)


def events_of(event: str) -> tuple[str, ...]:
    """Return all names of an event that a rule may strike at."""
    verb, colon, when = event.upper().partition(":")
    verbs = ("AUTHENTICATE", "AUTH") if verb in ("AUTHENTICATE", "AUTH") else (verb,)
    if verb.startswith("UID "):
        verbs = (verb, verb.removeprefix("UID "))
    names = tuple(name + colon + when for name in verbs)
    return names if colon or verb == "GREETING" else (*names, "*")


def excerpt(text: str) -> str:
    """Return a line as it stands in a transcript."""
    return printable(text, limit=_SHOWN, instead="?")


def shown_command(line: bytes, tag: str, name: str) -> str:
    """Return how a command is shown of which no more is known than tag and name; "" where it is no command."""
    text = without_end(line)
    if not name:
        return octets(text)
    first = f"{tag} {name}" if tag else name
    rest = text[len(first) :].removeprefix(b" ")
    return f"{first} {octets(rest)}" if rest else first


_WORD: Final = re.compile(rb"[A-Za-z]{1,32}")


def first_word(line: bytes) -> str:
    """Return the word that a line begins with, in capitals; "" if it begins with none."""
    match = _WORD.match(line)
    return "" if match is None else match[0].decode("ascii").upper()


def shown_login(command: str, name: str, rest: bytes) -> str:
    """Return how the command of a login is shown: by the mechanism, "" for what is none, and what is behind it."""
    if not name:
        return f"{command} {octets(rest)}" if rest else command
    return f"{command} {name} {shown_message(rest)}" if rest else f"{command} {name}"
