"""SMTP's AUTH and STARTTLS (RFC 4954, RFC 3207), both ends, sans-I/O."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Final, final

from sasl.errors import LimitExceeded, ProtocolError, UsageError
from sasl.registry import client

from ._client import NO_CHALLENGE, Client, printable, sized, text_of
from ._server import AuthServer
from .line import Line, plain_line, without_end
from .starttls import StartTls, StartTlsServer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sasl.credentials import Credentials
    from sasl.errors import Kind
    from sasl.exchange import ClientExchange
    from sasl.policy import Choice
    from sasl.steps import Success

LONGEST_COMMAND: Final = 512
"""Octets of a command line with its CRLF (RFC 5321 section 4.5.3.1.4)."""
LONGEST_RESPONSE: Final = 12_288
"""Octets of base64 in a challenge or response (RFC 4954 section 4)."""

_REPLY: Final = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_ENHANCED: Final = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$)")
_MOST_REPLY: Final = 65_536  # octets of a reply of many lines

# RFC 4954 section 6; 523 and 525 are Dovecot's, from RFC 5248; 550 and 555 Exchange's and Gmail's.
_KINDS: Final[Mapping[int, Kind]] = {
    432: "expired",
    500: "limit",
    501: "malformed",
    502: "unsupported",
    503: "state",
    504: "unsupported",
    523: "policy",
    525: "disabled",
    530: "policy",
    534: "policy",
    535: "credentials",
    538: "policy",
    550: "disabled",
    555: "limit",
}


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
        match = _REPLY.fullmatch(without_end(line))
        if match is None:
            raise ProtocolError("not an SMTP reply (RFC 5321 section 4.2)", server_text=printable(text_of(line)))
        code = int(match[1])
        if self.lines and code != self.code:
            raise ProtocolError("the lines of one reply have different codes")
        self.code = code
        self.lines.append(match[3] or b"")
        return match[2] != b"-"

    @property
    def text(self) -> tuple[str | None, str]:
        """The enhanced status code (RFC 3463) or None, and the text of all lines without it."""
        enhanced = None
        texts = []
        for line in self.lines:
            text = text_of(line)
            match = _ENHANCED.match(text)
            if match is not None:
                enhanced = enhanced or match[1]
                text = text[match.end() :]
            texts.append(text)
        return enhanced, " ".join(texts)


@final
class ClientWire(Client):
    """The client's side of one AUTH.

    An initial response is sent only if the line stays within 512 octets: Gmail refuses longer ones with 555,
    Dovecot with 500, Postfix with a 535 that looks like a wrong password.
    """

    challenge_limit = LONGEST_RESPONSE

    def __init__(self, exchange: ClientExchange, *, initial_response: bool | None = None) -> None:
        super().__init__(exchange)
        self._may_send_initial = initial_response is not False
        self._incoming = Reply()
        self.code = 0
        self.reply = b""

    def command(self) -> Line:
        """Return the command line. Raises UsageError if the credentials cannot be used; nothing was sent then."""
        command = f"AUTH {self.exchange.name}"
        return self._start(may_send_initial=self._may_send_initial, longest=LONGEST_COMMAND, command=command)

    def receive(self, line: bytes) -> Line | None:
        """Take a line from the server; return what to send, or None: wait for another line, or done."""
        if not self._admit(line):
            return None
        reply = self._incoming
        try:
            if not reply.receive(line):
                return None
        except ProtocolError as error:
            error.server_text = text_of(line)
            self._broken(error)
            return None
        self._incoming = Reply()
        if reply.code == 334:
            return self._challenge(reply.lines[0] if len(reply.lines) == 1 else NO_CHALLENGE)
        self.code = reply.code
        self.reply = self.scrub(text_of(b"\n".join(reply.lines))).encode("utf-8")
        self._verdict(reply)
        return None

    def shown(self, line: bytes) -> str:
        """Return how a line from the server may be printed: challenges only by their size."""
        line = without_end(line)
        return f"334 {sized(line[4:])}" if line.startswith(b"334") else self._said(text_of(line))

    def _verdict(self, reply: Reply) -> None:
        enhanced, text = reply.text
        code = f"{reply.code} {enhanced}" if enhanced else str(reply.code)
        if reply.code == 235:
            self._yes(text)
        elif reply.code == 421:
            self._lost(text, code)
        elif reply.code < 400:
            self._broken(ProtocolError(f"the server answered AUTH by {code}", server_text=text))
        else:
            self._no(text, _kind(reply.code, text), code)


def client_wire(choice: Choice, credentials: Credentials, *, initial_response: bool | None = None) -> ClientWire:
    """Return the wire for what `sasl.choose` chose. Raises UsageError as `sasl.client` does."""
    exchange = client(choice.name, credentials, channel=choice.channel, limits=choice.limits)
    return ClientWire(exchange, initial_response=initial_response)


@final
class StartTlsWire(StartTls):
    """The client's side of STARTTLS (RFC 3207)."""

    def __init__(self) -> None:
        super().__init__("STARTTLS", re.compile(rb"220(?: .*)?"))

    def _goes_on(self, line: bytes, /) -> bool:
        return line.startswith(b"220-")


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


_XTEXT: Final = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")
_HEX: Final = re.compile(r"\+([0-9A-F]{2})")


# --- the server's side

AUTH_REQUIRED: Final = "530 5.7.0 Authentication required"
"""What a server says to a command that wants a login first (RFC 4954 section 6)."""

_REPLIES: Final[Mapping[str, str]] = {
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
_COMMAND: Final = re.compile(rb"AUTH ([^ ]+)(?: ([^ ]+))?", re.IGNORECASE)


@final
class ServerWire(AuthServer):
    """The server's side of one AUTH; takes responses of 12,288 octets (RFC 4954 section 4)."""

    response_limit = LONGEST_RESPONSE

    def _command(self, line: bytes) -> tuple[bytes, bytes | None] | None:
        match = _COMMAND.fullmatch(line)
        return None if match is None else (match[1], match[2])

    def _challenged(self, text: bytes) -> bytes:
        return b"334 " + text

    def _succeeded(self, _success: Success) -> Line:
        return plain_line("235 2.7.0 Authenticated")

    def _refused(self, kind: str) -> Line:
        return plain_line(_REPLIES[kind])


@final
class StartTlsServerWire(StartTlsServer):
    """The server's side of STARTTLS (RFC 3207); after it the client has said nothing yet, not even EHLO."""

    grammar = re.compile(rb"STARTTLS(?: [ \t]*)?", re.IGNORECASE)
    replies: ClassVar[Mapping[str, str]] = {
        "yes": "220 2.0.0 Begin TLS",
        "malformed": "501 5.5.4 STARTTLS takes no argument",
        "authenticated": "503 5.5.1 Too late for TLS",
        "tls": "503 5.5.1 Too late for TLS",
        "injected": "421 4.7.0 Octets in the clear behind STARTTLS",
    }


def _kind(code: int, text: str) -> Kind:
    """Return the kind of a refusal. Exchange says 535 5.7.139 also where its admin has switched SMTP AUTH off."""
    if code == 535 and "is disabled" in text:
        return "disabled"
    if code in _KINDS:
        return _KINDS[code]
    return "unavailable" if code < 500 else "policy"
