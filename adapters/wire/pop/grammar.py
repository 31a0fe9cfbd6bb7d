"""The lines of AUTH, USER and PASS, and APOP: how they are read and printed (RFC 1939, RFC 2449, RFC 5034)."""

from __future__ import annotations

import re

from sasl.typed import TYPE_CHECKING

from ..line import without_end
from ..text import end_of_connection, not_a_greeting, octets_of, one_line, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Final

    from sasl.errors import ConnectionLost

    from ..verdict import Verdict

USER: Final = "POP-USER"
"""The name in a `Choice` of the commands USER and PASS (RFC 1939 section 7), which are not a SASL mechanism."""
APOP: Final = "POP-APOP"
"""The name of the command APOP (RFC 1939 section 7), in a `Choice` and in `Policy.allow`: it is off by default."""
LONGEST_COMMAND: Final = 255
"""Octets of a command line with its CRLF (RFC 2449 section 4)."""

NO_TIMESTAMP: Final = "the greeting has no timestamp"
NO_MSG_ID: Final = "the timestamp in the greeting is not one msg-id, which may be an attack"

REPLIES: Final[Mapping[str, str]] = {
    "accepted": "+OK Authenticated",
    "credentials": "-ERR [AUTH] Authentication failed",
    "authorization": "-ERR [AUTH] Authorization failed",
    "expired": "-ERR [AUTH] The credential has expired",
    "disabled": "-ERR [AUTH] The account cannot be used",
    "unavailable": "-ERR [SYS/TEMP] Cannot authenticate now, try later",
    "malformed": "-ERR Malformed authentication message",
    "unexpected_ir": "-ERR The mechanism takes no initial response",
    "cancelled": "-ERR Authentication cancelled",
    "limit": "-ERR Authentication message too large",
    "state": "-ERR Authenticated already",
    "unsupported": "-ERR Unsupported authentication mechanism",
    "policy": "-ERR Encryption is required first",
}
"""What a server says to a login that is "accepted", and to each of `sasl.KINDS` that it failed by."""

_CODE: Final = re.compile(rb"\[([!-Z\\^-~]+)\] ?(.*)", re.DOTALL)  # RFC 2449 section 3: rchar, without "["
_ATOMS: Final = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
_MSG_ID: Final = rb"<%b@(?:%b|\[[A-Za-z0-9.:-]+\])>" % (_ATOMS, _ATOMS)  # compiled where there is APOP
_FAREWELL: Final = re.compile(
    rb"-ERR (?:\[SYS/TEMP(?:/[^\]]*)?\] ?)?(?!\[).*"
    rb"(?:session (?:\w+ ){0,2}(?:expired|invalid|ended|closed)|disconnect|inactiv|idle|time[d-]? ?out|shutting down)",
    re.IGNORECASE,
)
"""How servers say that they end a session: Dovecot's "Disconnected for inactivity", "Server shutting down"; others'."""


def check_greeting(line: bytes) -> None:
    """Read a server's greeting, without its end. Raises ConnectionLost for -ERR, ProtocolError for anything but +OK."""
    said = status(line)
    if said is None:
        raise not_a_greeting("POP3", line)
    if not said[0]:
        code, text = response(said[1])
        raise end_of_connection(one_line(text), code)


def is_farewell(line: bytes) -> bool:
    """Whether a line says that the server ends the connection: with -ERR, as if that were a reply, and in words."""
    return _FAREWELL.match(line) is not None


def farewell(line: bytes) -> ConnectionLost | None:
    """Return the error for a line with which the server ends the connection unasked; None for any other."""
    if not is_farewell(line):
        return None
    code, text = response(line[4:].strip())
    return end_of_connection(one_line(text), code)


def mechanisms(capabilities: Iterable[str]) -> list[str]:
    """Return the SASL mechanisms of a CAPA list, given as its lines."""
    words = [line.split() for line in capabilities]
    return [name for line in words if line and line[0].upper() == "SASL" for name in line[1:]]


def status(line: bytes) -> tuple[bool, bytes] | None:
    """Return whether a line says +OK, and what follows; None if it says neither +OK nor -ERR."""
    word, _, text = line.partition(b" ")
    word = word.upper()
    return (word == b"+OK", text) if word in (b"+OK", b"-ERR") else None


def response(rest: bytes) -> tuple[str | None, str]:
    """Split what follows -ERR into response code (RFC 2449 section 8, RFC 3206) and text."""
    match = _CODE.fullmatch(rest)
    return (None, text_of(rest)) if match is None else (text_of(match[1]).upper(), text_of(match[2]))


def refusal(text: bytes | str, *, revealed: bool = True) -> Verdict:
    """Return what a server's no means, for a library that leaves nothing of it but a text: "[IN-USE] try later".

    -ERR may stand before it, as poplib leaves it. `revealed` says whether anything had left that shows or proves the
    credential (`ClientExchange.revealed`): if not, the server has judged something else.
    """
    from ..verdict import judge  # the table of refusals, which a login that succeeds does without

    octets = octets_of(text)
    line = status(octets)
    code, said = response(octets if line is None else line[1])
    return judge("pop", said, code, revealed=revealed)


def is_msg_id(text: bytes) -> bool:
    """Whether a text is a msg-id with its angle brackets (RFC 822 section 4.6; here without quoted strings)."""
    return re.fullmatch(_MSG_ID, text) is not None


def timestamp(greeting: bytes | str) -> bytes | None:
    """Return the timestamp of APOP in a server's greeting, with its angle brackets; None if it has no usable one.

    It has to be a msg-id (RFC 822 section 4.6; here without quoted strings) and all that stands in angle brackets.
    What collides in MD5 is no text: whoever puts that there wants the password, octet by octet (CVE-2007-1558).
    """
    line = _text_of_greeting(greeting)
    start, end = line.find(b"<"), line.rfind(b">")
    found = line[start : end + 1]
    return found if start >= 0 and is_msg_id(found) else None


def against_apop(greeting: bytes | str) -> str:
    """Return why there is no APOP after a greeting; an empty text if there is."""
    if timestamp(greeting) is not None:
        return ""
    return NO_MSG_ID if b"<" in _text_of_greeting(greeting) else NO_TIMESTAMP


def _text_of_greeting(greeting: bytes | str) -> bytes:
    """Return what a greeting says after its +OK; nothing if it is none."""
    said = status(without_end(octets_of(greeting)))
    return said[1] if said is not None and said[0] else b""
