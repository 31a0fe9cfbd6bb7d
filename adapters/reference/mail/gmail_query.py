"""What one types into Gmail's search box, which IMAP's SEARCH takes as X-GM-RAW, as keys of SEARCH.

support.google.com/mail/answer/7190 (operators), developers.google.com/workspace/gmail/imap/imap-extensions (X-GM-RAW).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from .grammar import MONTHS, BadArguments, String, Word

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_TERM: Final = re.compile(r'(-?)(?:([a-z_0-9]+):)?(?:"([^"]*)"|([^\s"]+))', re.IGNORECASE)
_DAY: Final = re.compile(r"([0-9]{4})[/-]([0-9]{1,2})[/-]([0-9]{1,2})")
_AGE: Final = re.compile(r"([0-9]{1,4})([dmy])", re.IGNORECASE)
_SIZE: Final = re.compile(r"([0-9]{1,12})([km]?)", re.IGNORECASE)
_SECONDS: Final = {"d": 86_400, "m": 30 * 86_400, "y": 365 * 86_400}
_OCTETS: Final = {"": 1, "k": 1_024, "m": 1_048_576}
_MOST_TERMS: Final = 100


def keys_of(query: str) -> list[Word]:
    """Return the keys of SEARCH that say what a query says: words, phrases, -not, OR and operators as from:.

    Raises BadArguments for what Gmail's box may know and this does not.
    """
    keys: list[list[Word]] = []
    at, either = 0, False
    while rest := query[at:].lstrip():
        at = len(query) - len(rest)
        match = _TERM.match(query, at)
        if match is None or len(keys) == _MOST_TERMS:
            raise BadArguments("X-GM-RAW looks for what is unknown here")
        at = match.end()
        if match[0] == "OR":
            either = True
            continue
        key = _key(match)
        if either and keys:
            key = [b"OR", keys.pop(), key]
        keys.append(key)
        either = False
    if not keys:
        raise BadArguments("X-GM-RAW looks for nothing")
    return list(keys)


def _key(match: re.Match[str]) -> list[Word]:
    """Return the keys of one term."""
    without, operator, phrase, word = match.groups()
    wanted = word if phrase is None else phrase
    key = _OPERATORS.get((operator or "").lower())
    if key is None:
        raise BadArguments(f"X-GM-RAW has no {operator.lower()}: here")
    return [b"NOT", key(wanted)] if without else key(wanted)


def _text(name: bytes) -> Callable[[str], list[Word]]:
    return lambda wanted: [*name.split(), String(wanted.encode())]


def _state(wanted: str) -> list[Word]:
    states = {"unread": b"UNSEEN", "read": b"SEEN", "starred": b"FLAGGED"}
    if wanted.lower() not in states:
        raise BadArguments("X-GM-RAW knows is:unread, is:read and is:starred here")
    return [states[wanted.lower()]]


def _day(name: bytes) -> Callable[[str], list[Word]]:
    def key(wanted: str) -> list[Word]:
        match = _DAY.fullmatch(wanted)
        if match is None or not 1 <= int(match[2]) <= len(MONTHS):
            raise BadArguments("X-GM-RAW has a date that is no YYYY/MM/DD")
        return [name, f"{match[3]}-{MONTHS[int(match[2]) - 1]}-{match[1]}".encode()]

    return key


def _age(name: bytes) -> Callable[[str], list[Word]]:
    def key(wanted: str) -> list[Word]:
        match = _AGE.fullmatch(wanted)
        if match is None:
            raise BadArguments("X-GM-RAW has an age that is no number of d, m or y")
        return [name, b"%d" % (int(match[1]) * _SECONDS[match[2].lower()])]

    return key


def _size(name: bytes) -> Callable[[str], list[Word]]:
    def key(wanted: str) -> list[Word]:
        match = _SIZE.fullmatch(wanted)
        if match is None:
            raise BadArguments("X-GM-RAW has a size that is no number, of K or of M")
        return [name, b"%d" % (int(match[1]) * _OCTETS[match[2].lower()])]

    return key


_OPERATORS: Final[Mapping[str, Callable[[str], list[Word]]]] = {
    "": _text(b"TEXT"),
    "from": _text(b"FROM"),
    "to": _text(b"TO"),
    "cc": _text(b"CC"),
    "bcc": _text(b"BCC"),
    "subject": _text(b"SUBJECT"),
    "label": _text(b"X-GM-LABELS"),
    "rfc822msgid": _text(b"HEADER Message-ID"),
    "is": _state,
    "after": _day(b"SINCE"),
    "newer": _day(b"SINCE"),
    "before": _day(b"BEFORE"),
    "older": _day(b"BEFORE"),
    "newer_than": _age(b"YOUNGER"),
    "older_than": _age(b"OLDER"),
    "larger": _size(b"LARGER"),
    "size": _size(b"LARGER"),
    "smaller": _size(b"SMALLER"),
}
