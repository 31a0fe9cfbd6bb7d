"""The AUTH parameter of MAIL: who submitted a message, in xtext (RFC 4954 section 5, RFC 3461 section 4)."""

from __future__ import annotations

import re

from sasl.errors import ProtocolError, UsageError
from sasl.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final

_XTEXT: Final = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")
_HEX: Final = re.compile(r"\+([0-9A-F]{2})")


def mail_auth(parameters: str) -> str | None:
    """Return the AUTH parameter of a MAIL command, decoded from xtext; "<>" for nobody, None where it is not there.

    Whoever is not trusted to name a submitter counts as "<>" (RFC 4954 section 5).
    Raises ProtocolError for what is not xtext (RFC 3461 section 4) or stands for other than printable ASCII.
    """
    values = [word[5:] for word in parameters.split() if word[:5].upper() == "AUTH="]
    if not values:
        return None
    if len(values) > 1 or not _XTEXT.fullmatch(values[0]):
        raise ProtocolError("not an AUTH parameter (RFC 4954 section 5)")
    mailbox = _HEX.sub(lambda match: chr(int(match[1], 16)), values[0])
    if not _is_printable_ascii(mailbox):
        raise ProtocolError("the AUTH parameter does not stand for printable ASCII")
    return mailbox


def as_xtext(mailbox: str) -> str:
    """Encode a mailbox for the AUTH parameter of MAIL (RFC 3461 section 4).

    Raises UsageError if it is not printable ASCII.
    """
    if not _is_printable_ascii(mailbox):
        raise UsageError("the AUTH parameter of MAIL carries printable ASCII")
    return "".join(char if "!" <= char <= "~" and char not in "+=" else f"+{ord(char):02X}" for char in mailbox)


def _is_printable_ascii(text: str) -> bool:
    return text.isascii() and text.isprintable()
