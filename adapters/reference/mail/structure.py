"""ENVELOPE, BODY and BODYSTRUCTURE of a message (RFC 3501 section 7.4.2)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from .grammar import quoted
from .headers import parse_addresses, parse_disposition, parse_languages, parse_token

if TYPE_CHECKING:
    from .headers import Address, MimeValue
    from .message import Part

_SPACES: Final = re.compile(rb"[ \t]+")
_NIL: Final = b"NIL"
_SEVEN_BIT: Final = b'"7bit"'
_NO_PART: Final = b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0%b)'


def envelope(part: Part) -> bytes:
    """Return the ENVELOPE of a message."""
    if "envelope" not in part.answers:
        part.answers["envelope"] = _envelope(part)
    return part.answers["envelope"]


def structure(part: Part, *, extended: bool) -> bytes:
    """Return the BODYSTRUCTURE of a message, or without what is `extended` its BODY."""
    item = "bodystructure" if extended else "body"
    if item not in part.answers:
        part.answers[item] = _structure(part, extended=extended)
    return part.answers[item]


def _envelope(part: Part) -> bytes:
    sender = _addresses(part, b"from")
    return b"(%b %b %b %b %b %b %b %b %b %b)" % (
        quoted(_last(part, b"date")),
        _for_humans(_last(part, b"subject")),
        sender,
        _addresses(part, b"sender", sender),
        _addresses(part, b"reply-to", sender),
        _addresses(part, b"to"),
        _addresses(part, b"cc"),
        _addresses(part, b"bcc"),
        quoted(_last(part, b"in-reply-to")),
        quoted(_last(part, b"message-id")),
    )


def _last(part: Part, name: bytes) -> bytes | None:
    """Return the contents of a field; there ought to be one of a name at most."""
    found = part.fields.get(name)
    return found[-1].replace(b"\t", b" ") if found else None


def _addresses(part: Part, name: bytes, default: bytes = _NIL) -> bytes:
    found = [_address(address) for content in part.fields.get(name, ()) for address in parse_addresses(content)]
    return b"(%b)" % b"".join(found) if found else default


def _address(address: Address) -> bytes:
    name, route, mailbox, domain = address.name, address.route, address.mailbox, address.domain
    return b"(%b %b %b %b)" % (_for_humans(name), quoted(route), quoted(mailbox), quoted(domain))


def _for_humans(text: bytes | None) -> bytes:
    """Return text with single spaces, which only people read."""
    return quoted(None if text is None else _SPACES.sub(b" ", text).strip(b" "))


def _structure(part: Part, *, extended: bool) -> bytes:
    kind = part.content_type
    main, _, sub = kind.value.partition(b"/")
    if main.lower() == b"multipart":
        parts = b"".join(_structure(each, extended=extended) for each in part.parts)
        parts = parts or _NO_PART % (b" NIL NIL NIL NIL" if extended else b"")
        more = b" %b %b" % (_parameters(kind), _extension(part)) if extended else b""
        return b"(%b %b%b)" % (parts, quoted(sub), more)
    is_text = main.lower() == b"text"
    message = part.embedded
    if message is not None:
        main, sub = b"message", b"rfc822"
    items = [
        quoted(main),
        quoted(sub),
        _parameters(kind, is_text=is_text),
        quoted(_content(part, b"content-id")),
        quoted(_content(part, b"content-description")),
        _encoding(part),
        b"%d" % part.size,
    ]
    if message is not None:
        items += [_envelope(message), _structure(message, extended=extended)]
    if is_text or message is not None:
        items.append(b"%d" % part.lines)
    if extended:
        items += [quoted(_content(part, b"content-md5")), _extension(part)]
    return b"(%b)" % b" ".join(items)


def _content(part: Part, name: bytes) -> bytes | None:
    return part.field(name) if part.is_mime else None


def _parameters(kind: MimeValue, *, is_text: bool = False) -> bytes:
    parameters = list(kind.parameters)
    if is_text and kind.parameter(b"charset") is None:
        parameters.append((b"charset", b"us-ascii"))
    words = [b"%b %b" % (quoted(name), quoted(content)) for name, content in parameters]
    return b"(%b)" % b" ".join(words) if words else _NIL


def _encoding(part: Part) -> bytes:
    content = _content(part, b"content-transfer-encoding")
    token = None if content is None else parse_token(content)
    return _SEVEN_BIT if token is None else quoted(token)


def _extension(part: Part) -> bytes:
    """Return disposition, languages and location."""
    shown = _content(part, b"content-disposition")
    disposition = None if shown is None else parse_disposition(shown)
    languages = parse_languages(_content(part, b"content-language") or b"")
    return b"%b %b %b" % (
        _NIL if disposition is None else b"(%b %b)" % (quoted(disposition.value), _parameters(disposition)),
        b"(%b)" % b" ".join(map(quoted, languages)) if languages else _NIL,
        quoted(_content(part, b"content-location")),
    )
