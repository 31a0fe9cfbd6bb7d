"""The lines of AUTHENTICATE and LOGIN in IMAP: how they are read and printed (RFC 9051 sections 7.1 and 9)."""

from __future__ import annotations

import re

from sasl.errors import PolicyViolation
from sasl.typed import TYPE_CHECKING

from ..line import has_breaks, without_end
from ..text import end_of_connection, not_a_greeting, octets_of, one_line, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Final

    from ..verdict import Verdict

LOGIN: Final = "IMAP-LOGIN"
"""The name in a `Choice` of the LOGIN command (RFC 9051 section 6.2.3), which is not a SASL mechanism."""
TAG: Final = rb"[A-Za-z0-9.!#$&',/:;<=>?@^_`|~-]{1,64}"
"""The grammar of a tag that a server takes."""

REPLIES: Final[Mapping[str, str]] = {
    "accepted": "OK Authenticated",
    "credentials": "NO [AUTHENTICATIONFAILED] Authentication failed",
    "authorization": "NO [AUTHORIZATIONFAILED] Authorization failed",
    "expired": "NO [EXPIRED] The credential has expired",
    "disabled": "NO [CONTACTADMIN] The account cannot be used",
    "unavailable": "NO [UNAVAILABLE] Cannot authenticate now, try later",
    "malformed": "BAD Malformed authentication message",
    "unexpected_ir": "BAD The mechanism takes no initial response",
    "cancelled": "BAD Authentication cancelled",
    "limit": "BAD Authentication message too large",
    "state": "BAD Authenticated already",
    "unsupported": "NO Unsupported authentication mechanism",
    "policy": "NO [PRIVACYREQUIRED] Encryption is required first",
}
"""What a server says, behind the tag, to a login that is "accepted", and to each of `sasl.KINDS` that it failed by."""

_GREETING: Final = re.compile(rb"\* (OK|PREAUTH|BYE)(?: (.*))?", re.IGNORECASE | re.DOTALL)
_ASTRING: Final = re.compile(rb"[A-Za-z0-9!#$&'+,./:;<=>?@\[\]^_`|}~-]+")
_STATUSES: Final = frozenset({b"OK", b"NO", b"BAD"})
_CODE: Final = re.compile(rb"\[([A-Z0-9!#$&'+,./:;<=>?@^_`|~-]+)(?: ([^\]]*))?\] ?(.*)", re.IGNORECASE | re.DOTALL)
_LITERAL: Final = re.compile(rb"\{([0-9]{1,20})\+?\}\Z")
_TAG: Final = re.compile(TAG)


# --- what a server says


def greeting(line: bytes) -> tuple[str, ...] | None:
    """Read a server's greeting; return the capabilities in it, or None if it holds none.

    Raises PolicyViolation for PREAUTH: nobody knows as whom the connection is authenticated, and STARTTLS is
    not possible any more. ConnectionLost for BYE (ServerBusy where it says "not now"), ProtocolError for anything else.
    """
    line = without_end(line)
    match = _GREETING.fullmatch(line)
    if match is None or has_breaks(line):
        raise not_a_greeting("IMAP", line)
    status = match[1].upper()
    if status == b"PREAUTH":
        raise PolicyViolation("the server says that it knows already who this is (PREAUTH)")
    code, argument, text = response(match[2] or b"")
    if status == b"BYE":
        raise end_of_connection(one_line(text), code)
    return tuple(argument.split()) if code == "CAPABILITY" else None


def mechanisms(capabilities: Iterable[str]) -> list[str]:
    """Return the SASL mechanisms of a capability list."""
    return [name[5:] for name in capabilities if name[:5].upper() == "AUTH="]


def tagged_reply(line: bytes, tag: bytes) -> tuple[bytes, bytes] | None:
    """Return the status and what follows it in the response to the command with that tag; None if it is none."""
    found, _, rest = line.partition(b" ")
    status, _, text = rest.partition(b" ")
    status = status.upper()
    return (status, text) if found == tag and status in _STATUSES else None


def response(rest: bytes) -> tuple[str | None, str, str]:
    """Split what follows OK, NO, BAD or BYE into response code, its argument and text."""
    match = _CODE.fullmatch(rest)
    if match is None:
        return None, "", text_of(rest)
    return text_of(match[1]).upper(), text_of(match[2] or b""), text_of(match[3])


def refusal(text: bytes | str, *, revealed: bool = True) -> Verdict:
    """Return what a server's no means, for a library that leaves nothing of it but a text: "[EXPIRED] too old".

    NO or BAD may stand before it. `revealed` says whether anything had left that shows or proves the credential
    (`ClientExchange.revealed`): if not, the server has judged something else.
    """
    from ..verdict import judge  # the table of refusals, which a login that succeeds does without

    octets = octets_of(text)
    word, _, rest = octets.partition(b" ")
    status = word.upper()
    code, _, said = response(rest if status in (b"NO", b"BAD") else octets)
    return judge("imap", said, code, revealed=revealed, understood=status != b"BAD")


def literal(text: bytes) -> int | None:
    """Return how many octets the literal has that a line announces at its end; None if it announces none."""
    match = _LITERAL.search(without_end(text))
    return None if match is None else int(match[1])


# --- what a client says


def is_atom(text: bytes) -> bool:
    """Whether a text may stand in an astring without quotes (RFC 9051 section 9); some take NIL for nothing."""
    return _ASTRING.fullmatch(text) is not None and text.upper() != b"NIL"


def quote(text: str) -> str:
    """Return a text as a quoted string (RFC 9051 section 4.3)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def command(line: bytes) -> tuple[str, bytes, bytes]:
    """Split a command line into its tag, its name in upper case and what follows; a line without a tag is none."""
    tag, _, rest = line.partition(b" ")
    if not _TAG.fullmatch(tag):
        return "*", b"", b""
    name, _, arguments = rest.partition(b" ")
    return tag.decode("ascii"), name.upper(), arguments
