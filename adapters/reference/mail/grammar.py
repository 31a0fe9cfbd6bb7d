"""Words of IMAP: atoms, strings, lists, sequence sets, names of mailboxes (RFC 3501 section 9).

What comes from a client is read in time that grows with its length, and refused by BadArguments.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error
from bisect import bisect_left, bisect_right
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeAlias, final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MOST_LEVELS: Final = 50
"""How deep lists may be nested."""
MOST_NUMBER: Final = 4_294_967_295
MOST_RANGES: Final = 10_000
MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class BadArguments(ValueError):
    """A command cannot be taken; the text says why and may be shown to the client."""


@final
class String(bytes):
    """A word that was quoted, or a literal."""

    __slots__ = ()


Word: TypeAlias = bytes | list["Word"]
"""An atom as bytes, a string as String, a list in parentheses as a list."""

_LITERAL: Final = re.compile(rb"~?\{([0-9]{1,10})\+?\}\r\n")
_QUOTED: Final = re.compile(rb'"([^"\\\x00\r\n]*(?:\\["\\][^"\\\x00\r\n]*)*)"')
_ATOM: Final = re.compile(rb'[^"(){\x00-\x20\x7f]+')
_SECTION: Final = re.compile(rb"(?i:BODY(?:\.PEEK)?)\[")
_IN_SECTION: Final = re.compile(rb'[^\]"{\x00\r\n]+')
_END_OF_SECTION: Final = re.compile(rb"\](?:<[0-9]{1,10}\.[0-9]{1,10}>)?")
_ESCAPED: Final = re.compile(rb"\\(.)")
_NAME: Final = re.compile(rb"[A-Za-z0-9.\-_+/=:]+")
_NUMBER: Final = re.compile(rb"[0-9]{1,20}")
_RANGE: Final = re.compile(rb"([0-9]{1,10}|\*)(?::([0-9]{1,10}|\*))?")
_FLAG: Final = re.compile(rb"\\?[^\x00-\x20\x7f-\xff(){%*\"\\\]]+")
_DATE_TIME: Final = re.compile(
    r"([ 0-3]?[0-9])-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}:[0-9]{2}:[0-9]{2}) ([+-][0-9]{2}[0-5][0-9])"
)
_PLAIN: Final = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\x7f]*")
_PLAIN_ATOM: Final = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\\]\[]+")
_SHIFTED: Final = re.compile(r"&([^-]*)(-?)")
_TO_SHIFT: Final = re.compile(r"&|[^\x20-\x7e]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MOST_ESCAPES: Final = 4  # more of them are shorter as a literal


def words(octets: bytes) -> list[Word]:
    """Split the arguments of a command, in which literals stand as {n} CRLF and n octets, into words.

    BODY[...] with what stands in its brackets, and behind them, is one word. Raises BadArguments.
    """
    found: list[Word] = []
    levels = [found]
    at = 0
    while at < len(octets):
        if octets.startswith(b"(", at):
            if len(levels) > MOST_LEVELS:
                raise BadArguments("Too many parentheses in parentheses")
            inner: list[Word] = []
            levels[-1].append(inner)
            levels.append(inner)
            at += 1
            if not octets.startswith(b")", at):
                continue
        else:
            word, at = _word(octets, at)
            levels[-1].append(word)
        at = _close(octets, at, levels)
    if len(levels) > 1:
        raise BadArguments("A closing parenthesis is missing")
    if octets and at == len(octets):
        raise BadArguments("A space is too much")
    return found


def _close(octets: bytes, at: int, levels: list[list[Word]]) -> int:
    """Close lists behind a word; return where the next word begins."""
    while octets.startswith(b")", at):
        if len(levels) == 1:
            raise BadArguments("A closing parenthesis is too much")
        levels.pop()
        at += 1
    if at < len(octets) and not octets.startswith(b" ", at):
        raise BadArguments("A space is missing")
    return at + 1


def _word(octets: bytes, at: int) -> tuple[bytes, int]:
    """Return the word at a place, and where it ends."""
    if match := _SECTION.match(octets, at):
        end = _section_end(octets, match.end())
        return octets[at:end], end
    if octets.startswith((b'"', b"{", b"~{"), at):
        return _string(octets, at)
    match = _ATOM.match(octets, at)
    if match is None:
        raise BadArguments("Not arguments")
    return match[0], match.end()


def _string(octets: bytes, at: int) -> tuple[String, int]:
    if match := _QUOTED.match(octets, at):
        return String(_ESCAPED.sub(rb"\1", match[1])), match.end()
    match = _LITERAL.match(octets, at)
    if match is None:
        raise BadArguments("Not arguments")
    end = match.end() + int(match[1])
    if end > len(octets):
        raise BadArguments("A literal is too short")
    return String(octets[match.end() : end]), end


def _section_end(octets: bytes, at: int) -> int:
    while not (end := _END_OF_SECTION.match(octets, at)):
        if match := _IN_SECTION.match(octets, at):
            at = match.end()
        else:
            _, at = _string(octets, at)
    return end.end()


# --- single words


def atom(word: Word) -> str:
    """Return the name of an item, a key or an option in capitals. Raises BadArguments for any other word."""
    if isinstance(word, list | String) or not _NAME.fullmatch(word):
        raise BadArguments("A name is missing")
    return word.decode("ascii").upper()


def octets_of(word: Word) -> bytes:
    """Return an astring. Raises BadArguments for a list."""
    if isinstance(word, list):
        raise BadArguments("A string is missing")
    return bytes(word)


def text(word: Word) -> str:
    """Return an astring as text, what is not UTF-8 as surrogates. Raises BadArguments for a list."""
    return octets_of(word).decode("utf-8", "surrogateescape")


def number(word: Word, most: int = MOST_NUMBER) -> int:
    """Return a number. Raises BadArguments for what is none, or more than the most."""
    if isinstance(word, list | String) or not _NUMBER.fullmatch(word) or int(word) > most:
        raise BadArguments("A number is missing")
    return int(word)


def flags(word: Word) -> tuple[str, ...]:
    """Return the flags of a list, or one without parentheses. Raises BadArguments."""
    found = word if isinstance(word, list) else [word]
    for flag in found:
        if isinstance(flag, list | String) or not _FLAG.fullmatch(flag):
            raise BadArguments("That is no flag")
    return tuple([text(flag) for flag in found])


def is_flag(name: str) -> bool:
    """Return whether that can be the name of a flag."""
    return name.isascii() and _FLAG.fullmatch(name.encode("ascii")) is not None


def date_time(word: Word) -> datetime:
    """Return the date of an APPEND. Raises BadArguments."""
    match = _DATE_TIME.fullmatch(text(word))
    if match is None or match[2].title() not in MONTHS:
        raise BadArguments("That is no date")
    month = MONTHS.index(match[2].title()) + 1
    try:
        return datetime.strptime(f"{match[3]} {month} {match[1]} {match[4]} {match[5]}", "%Y %m %d %H:%M:%S %z")
    except ValueError:
        raise BadArguments("There is no such date") from None


# --- sequence sets


@final
class SequenceSet:
    """Numbers as a client names them: 1:3,5,7:* (RFC 3501 section 9); "*" is the last of those that there are."""

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        self._ranges = tuple(ranges)  # 0 stands for "*"
        self._sorted: tuple[int, list[int], list[int]] | None = None

    def contains(self, number: int, last: int) -> bool:
        """Return whether a number is in it, where `last` is the last one; 0 if there is none."""
        starts, ends = self._merged(last)
        at = bisect_right(starts, number) - 1
        return at >= 0 and number <= ends[at]

    def choose(self, numbers: Sequence[int]) -> list[int]:
        """Return those of ascending numbers that are in it."""
        starts, ends = self._merged(numbers[-1] if numbers else 0)
        found: list[int] = []
        for start, end in zip(starts, ends, strict=True):
            found += numbers[bisect_left(numbers, start) : bisect_right(numbers, end)]
        return found

    def _merged(self, last: int) -> tuple[list[int], list[int]]:
        """Return where ranges begin and end that have no number in common, ascending."""
        if self._sorted is None or self._sorted[0] != last:
            starts: list[int] = []
            ends: list[int] = []
            pairs = ((one or last, other or last) for one, other in self._ranges)
            for start, end in sorted((min(pair), max(pair)) for pair in pairs):
                if ends and start <= ends[-1]:
                    ends[-1] = max(ends[-1], end)
                else:
                    starts.append(start)
                    ends.append(end)
            self._sorted = last, starts, ends
        return self._sorted[1:]


def sequence(word: Word) -> SequenceSet:
    """Read a sequence set. Raises BadArguments."""
    octets = b"" if isinstance(word, list | String) else word
    pieces = octets.split(b",", MOST_RANGES)
    if len(pieces) > MOST_RANGES:
        raise BadArguments("Too many ranges of numbers")
    return SequenceSet(map(_range, pieces))


def _range(piece: bytes) -> tuple[int, int]:
    match = _RANGE.fullmatch(piece)
    if match is None:
        raise BadArguments("Those are no numbers of messages")
    start, end = (0 if octets == b"*" else int(octets) or -1 for octets in (match[1], match[2] or match[1]))
    if min(start, end) < 0 or max(start, end) > MOST_NUMBER:
        raise BadArguments("There is no message of that number")
    return start, end


def is_sequence(word: Word) -> bool:
    """Return whether a word can only be a sequence set."""
    return (not isinstance(word, list | String) and word[:1].isdigit()) or word[:1] == b"*"


def compact(numbers: Iterable[int]) -> bytes:
    """Return ascending numbers as a sequence set: 1:3,5."""
    ranges: list[list[int]] = []
    for each in numbers:
        if ranges and ranges[-1][1] == each - 1:
            ranges[-1][1] = each
        else:
            ranges.append([each, each])
    return b",".join(b"%d" % start if start == end else b"%d:%d" % (start, end) for start, end in ranges)


# --- what is sent


def quoted(content: bytes | str | None) -> bytes:
    """Return an nstring: NIL for None, else in quotes, or as a literal if it cannot be in quotes."""
    if content is None:
        return b"NIL"
    octets = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    escapes = octets.count(b'"') + octets.count(b"\\")
    if escapes > _MOST_ESCAPES or not _PLAIN.fullmatch(octets):
        return literal(octets)
    if escapes:
        octets = octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return b'"%b"' % octets


def literal(octets: bytes) -> bytes:
    """Return a literal, with its length."""
    return b"{%d}\r\n%b" % (len(octets), octets)


def astring(content: bytes | str) -> bytes:
    """Return an astring: an atom where it can be one."""
    octets = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    return octets if _PLAIN_ATOM.fullmatch(octets) and octets.upper() != b"NIL" else quoted(octets)


# --- names of mailboxes


def mailbox_name(word: Word, *, utf8: bool = False) -> str:
    """Return the name of a mailbox, which comes in modified UTF-7 (RFC 3501 section 5.1.3), or in UTF-8 (RFC 6855).

    Raises BadArguments.
    """
    octets = octets_of(word)
    try:
        name = octets.decode("utf-8" if utf8 else "ascii")
        name = name if utf8 else _SHIFTED.sub(_unshift, name)
    except (UnicodeDecodeError, Error):
        raise BadArguments("That is no name of a mailbox") from None
    if _CONTROL.search(name) or not (utf8 or _shifted(name) == octets):
        raise BadArguments("That is no name of a mailbox")
    return name


def encode_mailbox_name(name: str, *, utf8: bool = False) -> bytes:
    """Return the name of a mailbox as an astring."""
    if not utf8 or name.isascii():
        return astring(name.encode("ascii", "replace") if utf8 else _shifted(name))
    return b'"%b"' % name.replace("\\", "\\\\").replace('"', '\\"').encode("utf-8", "replace")


def _unshift(match: re.Match[str]) -> str:
    if not match[1]:
        return "&"
    octets = b64decode(match[1].replace(",", "/") + "=" * (-len(match[1]) % 4), validate=True)
    return octets.decode("utf-16-be")


def _shifted(name: str) -> bytes:
    return _TO_SHIFT.sub(_shift, name).encode("ascii")


def _shift(match: re.Match[str]) -> str:
    if match[0] == "&":
        return "&-"
    encoded = b64encode(match[0].encode("utf-16-be", "surrogatepass")).decode("ascii")
    return f"&{encoded.rstrip('=').replace('/', ',')}-"


def matches(pattern: str, name: str, delimiter: str = "/") -> bool:
    """Return whether a pattern of LIST fits a name: * stands for anything, % for anything within one level."""
    if name == "INBOX":
        pattern = pattern.upper()
    if len(pattern) - pattern.count("*") - pattern.count("%") > len(name):
        return False
    places = dict.fromkeys(pattern, 0)
    within = 0  # all places of the name that are not its delimiters
    for at, letter in enumerate(name):
        within |= (letter != delimiter) << at
        if letter in places:
            places[letter] |= 1 << at
    # Each bit of `reached` is a number of letters of the name that what was read of the pattern may stand for.
    everywhere = (2 << len(name)) - 1
    reached, before = 1, ""
    for letter in pattern:
        if letter == "*":
            reached = everywhere & -(reached & -reached)
        elif letter == "%" and before != "%":
            reached |= (within + (reached & within)) ^ within  # the sum carries each bit to the end of its level
        elif letter != "%":
            reached = (reached & places[letter]) << 1
        if not reached:
            return False
        before = letter
    return bool(reached >> len(name) & 1)
