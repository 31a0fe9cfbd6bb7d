"""What FETCH asks for, and the answer for a message (RFC 3501 sections 6.4.5 and 7.4.2)."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Final, final

from sasl.value import value

from .grammar import MONTHS, BadArguments, String, Word, astring, encode_mailbox_name, literal, octets_of, words
from .message import Fields
from .structure import envelope, structure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from .store import Message

GMAIL: Final = frozenset({"X-GM-MSGID", "X-GM-THRID", "X-GM-LABELS"})
"""What Gmail has beyond the RFCs."""

_SECTION: Final = re.compile(
    rb"BODY(\.PEEK)?\[((?:[1-9][0-9]{0,9}(?:\.[1-9][0-9]{0,9})*)?)(?:(?:(?<=[0-9])\.|(?<=\[))([^0-9.].*?))?\]"
    rb"(?:<([0-9]+)\.([0-9]+)>)?",
    re.DOTALL | re.IGNORECASE,
)
_FIELDS: Final = re.compile(rb"HEADER\.FIELDS(\.NOT)? \(.*\)", re.DOTALL | re.IGNORECASE)
_IDS: Final = re.compile(rb"<[^<>]*>")
_MOST_NUMBERS: Final = 1_000


@final
@value
class Item:
    """One thing to tell of a message.

    Attributes:
        name: what it is, as "FLAGS", or "BODY[" for a section.
        label: what the answer calls it.
        numbers: which part of the message.
        what: what of the part, as `Part.section` takes it.
        start: how many octets of a section are left out.
        count: how many of them are wanted at most; None for all.
        sets_seen: whether asking for it marks the message as read.
    """

    name: str
    label: bytes
    numbers: tuple[int, ...] = ()
    what: str | Fields = ""
    start: int = 0
    count: int | None = None
    sets_seen: bool = False


def _simple(name: str) -> Item:
    return Item(name, name.encode("ascii"))


FLAGS: Final = _simple("FLAGS")
UID: Final = _simple("UID")
MODSEQ: Final = _simple("MODSEQ")

_FAST: Final = (FLAGS, _simple("INTERNALDATE"), _simple("RFC822.SIZE"))
_ALL: Final = (*_FAST, _simple("ENVELOPE"))
_MACROS: Final[Mapping[bytes, tuple[Item, ...]]] = {
    b"ALL": _ALL,
    b"FAST": _FAST,
    b"FULL": (*_ALL, _simple("BODY")),
}
_SECTIONS: Final[Mapping[str, Item]] = {
    "RFC822": Item("BODY[", b"RFC822", sets_seen=True),
    "RFC822.HEADER": Item("BODY[", b"RFC822.HEADER", what="HEADER"),
    "RFC822.TEXT": Item("BODY[", b"RFC822.TEXT", what="TEXT", sets_seen=True),
}


def parse_items(word: Word, *, uid: bool, gmail: bool = False) -> tuple[Item, ...]:
    """Read what a FETCH asks for, each thing once.

    UID FETCH asks for the UID, too. What only Gmail has is known if `gmail`. Raises BadArguments.
    """
    if isinstance(word, list):
        if not word:
            raise BadArguments("FETCH asks for nothing")
        items = tuple([_item(each, gmail=gmail) for each in word])
    elif isinstance(word, String):
        raise BadArguments("FETCH asks for a string")
    else:
        items = _MACROS.get(word.upper()) or (_item(word, gmail=gmail),)
    return tuple(dict.fromkeys((UID, *items) if uid else items))


def sets_seen(items: Sequence[Item]) -> bool:
    """Return whether to ask for them marks a message as read."""
    return any(item.sets_seen for item in items)


def render(number: int, message: Message, items: Sequence[Item]) -> bytes:
    """Return the answer for a message, without the "* " before it and without the end of the line."""
    told = [b"%b %b" % (item.label, _RENDERERS[item.name](message, item)) for item in items]
    return b"%d FETCH (%b)" % (number, b" ".join(told))


def internal_date(date: datetime) -> bytes:
    """Return a date that has a time zone, in quotes."""
    return f'"{date:%d}-{MONTHS[date.month - 1]}-{date.year:04} {date:%H:%M:%S %z}"'.encode("ascii")


# --- reading


def _item(word: Word, *, gmail: bool) -> Item:
    if isinstance(word, list | String):
        raise BadArguments("FETCH asks for what is no name")
    if b"[" in word:
        return _section(word)
    name = word.decode("ascii", "replace").upper()
    if name in _SECTIONS:
        return _SECTIONS[name]
    if name not in _RENDERERS or (name in GMAIL and not gmail):
        raise BadArguments("FETCH asks for what is unknown here")
    return _simple(name)


def _section(word: bytes) -> Item:
    match = _SECTION.fullmatch(word)
    if match is None or match[2].count(b".") >= _MOST_NUMBERS:
        raise BadArguments("There is no such section of a BODY")
    numbers = tuple([int(each) for each in match[2].split(b".") if each])
    what, name = _what(match[3] or b"", in_part=bool(numbers))
    section = b".".join(each for each in (match[2], name) if each)
    if match[5] is None:
        return Item("BODY[", b"BODY[%b]" % section, numbers, what, sets_seen=not match[1])
    start, count = int(match[4]), int(match[5])
    if not count:
        raise BadArguments("That asks for no octets")
    return Item("BODY[", b"BODY[%b]<%d>" % (section, start), numbers, what, start, count, not match[1])


def _what(text: bytes, *, in_part: bool) -> tuple[str | Fields, bytes]:
    """Return what of a part is asked for, and what the answer calls it."""
    name = text.upper()
    if name in (b"", b"HEADER", b"TEXT") or (name == b"MIME" and in_part):
        return name.decode("ascii"), name
    match = _FIELDS.fullmatch(text)
    _, *lists = words(text) if match else [b""]
    names = lists[0] if len(lists) == 1 else b""
    if match is None or not isinstance(names, list) or not names:
        raise BadArguments("There is no such section of a BODY")
    wanted = [octets_of(each).upper() for each in names]
    label = b"HEADER.FIELDS%b (%b)" % (b".NOT" if match[1] else b"", b" ".join(map(astring, wanted)))
    return Fields(frozenset([each.lower() for each in wanted]), without=bool(match[1])), label


# --- rendering


def _body_section(message: Message, item: Item) -> bytes:
    octets = message.part.section(item.numbers, item.what)
    if octets is None:
        return b'""'  # Dovecot says this rather than NIL
    if item.count is not None:
        octets = octets[item.start : item.start + item.count]
    return literal(octets)


def _flags(message: Message, _: Item) -> bytes:
    return b"(%b)" % " ".join(sorted(message.flags)).encode("ascii", "replace")


def gmail_id(message: Message) -> int:
    """Return the X-GM-MSGID of a message: 63 bits, the same for the same octets."""
    return _number_of(message.raw)


def gmail_thread(message: Message) -> int:
    """Return the X-GM-THRID of a message: what all messages have in common that answer the same one."""
    for name in (b"references", b"in-reply-to", b"message-id"):
        if ids := _IDS.findall(message.part.field(name) or b""):
            return _number_of(ids[0])
    return _number_of(message.raw)


def _number_of(octets: bytes) -> int:
    return int.from_bytes(sha256(octets).digest()[:8], "big") >> 1


def _labels(message: Message, _: Item) -> bytes:
    return b"(%b)" % b" ".join(map(encode_mailbox_name, sorted(message.labels)))


_RENDERERS: Final[Mapping[str, Callable[[Message, Item], bytes]]] = {
    "FLAGS": _flags,
    "UID": lambda message, _: b"%d" % message.uid,
    "INTERNALDATE": lambda message, _: internal_date(message.date),
    "RFC822.SIZE": lambda message, _: b"%d" % len(message.raw),
    "ENVELOPE": lambda message, _: envelope(message.part),
    "BODY": lambda message, _: structure(message.part, extended=False),
    "BODYSTRUCTURE": lambda message, _: structure(message.part, extended=True),
    "BODY[": _body_section,
    "MODSEQ": lambda message, _: b"(%d)" % message.modseq,
    "X-GM-MSGID": lambda message, _: b"%d" % gmail_id(message),
    "X-GM-THRID": lambda message, _: b"%d" % gmail_thread(message),
    "X-GM-LABELS": _labels,
}
