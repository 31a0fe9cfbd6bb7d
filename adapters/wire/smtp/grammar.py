"""The lines of AUTH in SMTP: how they are read and printed (RFC 5321 section 4.2, RFC 4954, RFC 3463)."""

from __future__ import annotations

import re

from sasl.errors import ConnectionLost, LimitExceeded, ProtocolError, TemporaryFailure, UsageError
from sasl.typed import TYPE_CHECKING

from ..line import has_breaks, without_end
from ..text import end_of_connection, not_a_greeting, octets_of, one_line, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Final

    from ..verdict import Verdict

LONGEST_COMMAND: Final = 512
"""Octets of a command line with its CRLF (RFC 5321 section 4.5.3.1.4)."""
LONGEST_RESPONSE: Final = 12_288
"""Octets of base64 in a challenge or response (RFC 4954 section 4)."""
AUTH_REQUIRED: Final = "530 5.7.0 Authentication required"
"""What a server says to a command that wants a login first (RFC 4954 section 6)."""

REPLIES: Final[Mapping[str, str]] = {
    "accepted": "235 2.7.0 Authenticated",
    "credentials": "535 5.7.8 Authentication failed",
    "authorization": "535 5.7.8 Authorization failed",
    "expired": "535 5.7.8 The credential has expired",
    "disabled": "525 5.7.13 The account cannot be used",
    "unavailable": "454 4.7.0 Cannot authenticate now, try later",
    "malformed": "501 5.5.2 Malformed authentication message",
    "unexpected_ir": "501 5.7.0 The mechanism takes no initial response",
    "cancelled": "501 5.7.0 Authentication cancelled",
    "limit": "500 5.5.6 Authentication message too large",
    "state": "503 5.5.1 Authenticated already",
    "unsupported": "504 5.5.4 Unsupported authentication mechanism",
    "policy": "538 5.7.11 Encryption is required first",
}
"""What a server says to a login that is "accepted", and to each of `sasl.KINDS` that it failed by."""

_REPLY: Final = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_ENHANCED: Final = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |\Z)")
_MOST_REPLY: Final = 65_536  # octets of a reply of many lines
_XTEXT: Final = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+"  # compiled where it is used


def mechanisms(extensions: Iterable[str]) -> list[str]:
    """Return the mechanisms of EHLO's lines, given without code: "AUTH PLAIN XOAUTH2", and the old "AUTH=PLAIN"."""
    names: list[str] = []
    for line in extensions:
        if line[:5].upper() in ("AUTH ", "AUTH="):
            names += line[5:].split()
    return names


class Reply:
    """Collects the lines of one reply (RFC 5321 section 4.2.1).

    `receive` returns True when it is complete; ProtocolError is raised for a line that is none, LimitExceeded
    for a reply without end.
    """

    def __init__(self) -> None:
        self.code = 0
        self.lines: list[bytes] = []
        self._octets = 0

    def receive(self, line: bytes) -> bool:
        """Take a line, with or without its CRLF."""
        self._octets += len(line)
        if self._octets > _MOST_REPLY:
            raise LimitExceeded(f"a reply of more than {_MOST_REPLY} octets")
        line = without_end(line)
        match = _REPLY.fullmatch(line)
        if match is None or has_breaks(line):
            raise ProtocolError("not an SMTP reply (RFC 5321 section 4.2)", server_text=one_line(text_of(line)))
        code = int(match[1])
        if self.lines and code != self.code:
            raise ProtocolError("the lines of one reply have different codes")
        self.code = code
        self.lines.append(match[3] or b"")
        return match[2] != b"-"

    @property
    def text(self) -> tuple[str | None, str]:
        """The enhanced status code (RFC 3463) or None, and the text of all lines without it."""
        return text_of_lines(self.lines)


def text_of_lines(lines: Iterable[bytes]) -> tuple[str | None, str]:
    """Return the enhanced status code (RFC 3463) of a reply's lines or None, and the text of all without it."""
    enhanced = None
    texts = []
    for line in lines:
        text = text_of(line)
        match = _ENHANCED.match(text)
        if match is not None:
            enhanced = enhanced or match[1]
            text = text[match.end() :]
        texts.append(text)
    return enhanced, " ".join(texts)


def ends_session(code: int, text: str) -> bool:
    """Whether a reply says, after the login, that it is no more: 421, or 530 if that is not about TLS (RFC 3207).

    Libraries make a code below 200 of a reply that was cut in the middle of its code.
    """
    return code == 421 or 0 <= code < 200 or (code == 530 and "STARTTLS" not in text.upper())


def check_greeting(reply: Reply) -> None:
    """Read a server's greeting. Raises ConnectionLost where it wants no connection, TemporaryFailure for "not now"."""
    if reply.code == 220:
        return
    enhanced, text = reply.text
    text, said = one_line(text), _code_of(reply.code, enhanced)
    if reply.code == 421:
        raise end_of_connection(text, said)
    if reply.code >= 500:
        raise ConnectionLost(f"the server wants no connection: {text}", server_text=text, response_code=said)
    if reply.code >= 400:
        raise TemporaryFailure(text, server_text=text, response_code=said, kind="unavailable")
    raise not_a_greeting("SMTP", b"%d %b" % (reply.code, b" ".join(reply.lines)))


def farewell(line: bytes) -> ConnectionLost | None:
    """Return the error for 421, which a server may say at any time (RFC 5321 section 3.8); None for any other line."""
    if line[:3] != b"421":
        return None
    enhanced, text = text_of_lines([line.rstrip()[4:]])
    return end_of_connection(one_line(text), _code_of(421, enhanced))


def refusal(code: int, text: bytes | str, *, revealed: bool = True) -> Verdict:
    """Return what a server's no means, for a library that leaves a code and a text: 535, "5.7.8 wrong password".

    The lines of a reply may stand below each other, as in `smtplib.SMTPResponseException.smtp_error`. `revealed` says
    whether anything had left that shows or proves the credential (`ClientExchange.revealed`): if not, the server has
    judged something else.
    """
    from ..verdict import judge  # the table of refusals, which a login that succeeds does without

    enhanced, said = text_of_lines(octets_of(text).splitlines())
    return judge("smtp", said, _code_of(code, enhanced), revealed=revealed)


def _code_of(code: int, enhanced: str | None) -> str:
    return f"{code} {enhanced}" if enhanced else str(code)


# --- the AUTH parameter of MAIL


def mail_auth(parameters: str) -> str | None:
    """Return the AUTH parameter of a MAIL command, decoded from xtext; "<>" for nobody, None where it is not there.

    Whoever is not trusted to name a submitter counts as "<>" (RFC 4954 section 5).
    Raises ProtocolError for what is not xtext (RFC 3461 section 4) or stands for other than printable ASCII.
    """
    values = [word[5:] for word in parameters.split() if word[:5].upper() == "AUTH="]
    if not values:
        return None
    if len(values) > 1 or not re.fullmatch(_XTEXT, values[0]):
        raise ProtocolError("not an AUTH parameter (RFC 4954 section 5)")
    mailbox = re.sub(r"\+([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), values[0])
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
