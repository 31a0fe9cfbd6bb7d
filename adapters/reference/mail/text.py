"""The text of a message as its reader sees it: decoded headers and bodies, for SEARCH (RFC 2047, RFC 2045)."""

from __future__ import annotations

import re
from binascii import a2b_base64, a2b_qp
from codecs import lookup
from datetime import date
from email.utils import parsedate_tz
from typing import TYPE_CHECKING, Final
from unicodedata import normalize

from .headers import lines_of, parse_addresses, parse_token, unfold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .headers import Address
    from .message import Part

_ENCODED_WORD: Final = re.compile(rb"=\?([^?\s*]+)(?:\*[^?\s]*)?\?([bBqQ])\?([^?\s]*)\?=")
_BETWEEN: Final = re.compile(rb"\?=[ \t]+(?==\?[^?\s]+\?[bBqQ]\?[^?\s]*\?=)")
_NOT_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/]+")
_NO_CHARSETS: Final = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"})
_UNDATED: Final = date(1970, 1, 1)


def comparable(text: str) -> str:
    """Return text so that what differs in case, or in how letters are composed, is equal (RFC 5051)."""
    return text.lower() if text.isascii() else normalize("NFKD", text).casefold()


def header_text(content: bytes) -> str:
    """Return the contents of a field, its encoded words decoded and tabs as spaces."""
    content = content.replace(b"\t", b" ")
    if b"=?" not in content:
        return decode(content, b"utf-8")
    pieces, at = [], 0
    content = _BETWEEN.sub(b"?=", content)
    for match in _ENCODED_WORD.finditer(content):
        pieces.append(decode(content[at : match.start()], b"utf-8"))
        encoded = match[3]
        octets = from_base64(encoded) if match[2] in b"bB" else a2b_qp(encoded, header=True)
        pieces.append(decode(octets, match[1]))
        at = match.end()
    return "".join((*pieces, decode(content[at:], b"utf-8")))


def header_lines(part: Part) -> str:
    """Return the whole header, each field on one line."""
    found = []
    for line in lines_of(part.header):
        name, colon, content = line.partition(b":")
        found.append(f"{decode(name, b'utf-8')}{': ' if colon else ''}{header_text(unfold(content))}\r\n")
    return "".join(found)


def addresses_text(content: bytes) -> str:
    """Return the addresses of a field, each written in the same way."""
    return ", ".join(_address_text(address) for address in parse_addresses(content, missing=b""))


def body_text(part: Part) -> str:
    """Return the text of all parts that are text."""
    found = [_leaf_text(each) for each in _all_parts(part) if each.embedded is None and _is_text(each)]
    return "\r\n".join(found)


def part_headers(part: Part) -> str:
    """Return the headers of all parts, and of messages in them."""
    return "".join([header_lines(each) for each in _all_parts(part) if each is not part])


def sent_on(part: Part) -> date:
    """Return the day on which a message was written, where it was; one without a date is from 1970, as in Dovecot."""
    content = part.field(b"date")
    try:
        parsed = parsedate_tz(decode(content or b"", b"utf-8"))
        return date(*parsed[:3]) if parsed else _UNDATED
    except (ValueError, TypeError, IndexError, OverflowError):
        return _UNDATED


def decode(octets: bytes, charset: bytes) -> str:
    """Return text, with replacements for what is none; an unknown charset is taken for Latin-1."""
    try:
        codec = lookup(charset.decode("ascii"))
        if codec.name not in _NO_CHARSETS:
            return octets.decode(codec.name, "replace")
    except (LookupError, ValueError):
        pass
    return octets.decode("latin-1")


def from_base64(octets: bytes) -> bytes:
    """Return what is encoded, as far as it is."""
    octets = _NOT_BASE64.sub(b"", octets.partition(b"=")[0])
    octets = octets[:-1] if len(octets) % 4 == 1 else octets
    return a2b_base64(octets + b"=" * (-len(octets) % 4))


def _address_text(address: Address) -> str:
    mailbox = b"@".join(each for each in (address.mailbox, address.domain) if each is not None)
    bare = decode(mailbox, b"utf-8")
    return bare if address.name is None else f"{header_text(address.name)} <{bare}>"


def _all_parts(part: Part) -> Iterator[Part]:
    """Give a part and all in it, in the order in which they stand."""
    waiting = [part]
    while waiting:
        part = waiting.pop()
        yield part
        waiting += reversed(part.parts)
        if part.embedded is not None:
            waiting.append(part.embedded)


def _is_text(part: Part) -> bool:
    return part.content_type.value.lower().startswith((b"text", b"message/"))


def _leaf_text(part: Part) -> str:
    encoding = (parse_token(part.field(b"content-transfer-encoding") or b"") or b"").lower()
    octets = part.body
    if encoding == b"base64":
        octets = from_base64(octets)
    elif encoding == b"quoted-printable":
        octets = a2b_qp(octets)
    return decode(octets, part.content_type.parameter(b"charset") or b"utf-8")
