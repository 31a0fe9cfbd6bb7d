"""An SMTP submission server that discards what it is given (RFC 5321, RFC 6409, RFC 4954, RFC 3207)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Final, final

from sasl.errors import ProtocolError
from sasl.secret import octets

from ..wire.smtp import AUTH_REQUIRED, ServerWire, StartTlsServerWire, mail_auth
from .conversation import Conversation

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_LARGEST_MESSAGE: Final = 10_485_760  # octets
_MOST_RECIPIENTS: Final = 100
_AUTH: Final = re.compile(rb"AUTH\b", re.IGNORECASE)  # malformed or not, it is the wire's
_PATH: Final = re.compile(r"(FROM|TO): ?<([^<>\s]*)>(?: (.+))?", re.IGNORECASE)
_SIZE: Final = re.compile(r"[0-9]{1,20}")  # RFC 1870 section 3
_PARAMETERS: Final = frozenset({"SIZE", "BODY", "AUTH"})
_KNOWN: Final = frozenset(
    {b"EHLO", b"HELO", b"NOOP", b"RSET", b"QUIT", b"STARTTLS", b"MAIL", b"RCPT", b"DATA", b"VRFY"}
)
_NOT_HERE: Final = frozenset({b"EXPN", b"HELP", b"TURN", b"ETRN", b"BDAT"})


@final
class SmtpConversation(Conversation):
    """One connection of a submission client.

    `authenticated_as` is what the client put into the AUTH parameter of its last MAIL command, or None.
    """

    service = "smtp"
    farewells: ClassVar[Mapping[str, str]] = {
        "late": "421 4.4.2 Too slow",
        "failures": "421 4.7.0 Too many failed logins",
        "shutdown": "421 4.3.2 The server shuts down",
        "broken": "421 4.3.0 Something is wrong here",
    }

    authenticated_as: str | None = None
    _greeted: bytes = b""  # EHLO or HELO
    _sender: bool = False
    _recipients: int = 0

    def greeting(self) -> list[str]:
        """Return the greeting."""
        return ["220 localhost ESMTP saslkit reference server"]

    def wire(self, offered: Collection[str]) -> ServerWire:
        """Return a new wire for one AUTH."""
        return ServerWire(offered, **self.wire_settings)

    async def command(self, line: bytes) -> None:
        """Take one command line and answer it."""
        verb, _, rest = line.rstrip(b"\r\n").partition(b" ")
        verb = verb.upper()
        if _AUTH.match(line):
            await self._auth(line)
        elif self.is_too_long(line):
            self.note(octets(line))
            await self.say("500 5.5.6 Line too long")
        elif verb in _KNOWN:
            self.note(line.decode("utf-8", "replace").rstrip("\r\n"))
            await self._obey(verb, rest.strip(), line)
        else:
            self.note(octets(line.rstrip(b"\r\n")))
            await self.say("502 5.5.1 Not implemented" if verb in _NOT_HERE else "500 5.5.1 Unknown command")

    async def _obey(self, verb: bytes, rest: bytes, line: bytes) -> None:
        match verb:
            case b"EHLO" | b"HELO":
                await self._greet(verb, rest)
            case b"STARTTLS":
                await self._start_tls(line)
            case b"MAIL":
                await self._mail(rest)
            case b"RCPT":
                await self._rcpt(rest)
            case b"DATA":
                await self._data(rest)
            case b"RSET":
                self._reset()
                await self.say("250 2.0.0 OK")
            case b"VRFY":
                await self.say("252 2.5.0 Send it and see")
            case b"QUIT":
                self.over = True
                await self.say("221 2.0.0 Bye")
            case _:
                await self.say("250 2.0.0 OK")

    async def _greet(self, verb: bytes, name: bytes) -> None:
        if not name:
            await self.say(f"501 5.5.4 {verb.decode('ascii')} takes a name")
            return
        self._reset()
        self._greeted = verb
        if verb == b"HELO":
            await self.say("250 localhost")
            return
        extensions = ["localhost", "PIPELINING", "8BITMIME", f"SIZE {_LARGEST_MESSAGE}", "ENHANCEDSTATUSCODES"]
        if not self.connection.tls:
            extensions.append("STARTTLS")
        if offered := self.offered:
            extensions.append(f"AUTH {' '.join(offered)}")
        await self.say(*(f"250-{extension}" for extension in extensions[:-1]), f"250 {extensions[-1]}")

    async def _auth(self, line: bytes) -> None:
        """AUTH needs the EHLO that offered it, and is no part of a mail transaction (RFC 4954 section 4)."""
        if self._greeted != b"EHLO" or self._sender:
            self.note("AUTH")
            await self.say("503 5.5.1 EHLO first" if not self._sender else "503 5.5.1 Not in a mail transaction")
            return
        await self.authenticate(line, "AUTH")

    async def _start_tls(self, line: bytes) -> None:
        if await self.start_tls(StartTlsServerWire, line):
            self._greeted = b""  # what was said in the clear is forgotten (RFC 3207 section 4.2)
            self._reset()

    async def _mail(self, rest: bytes) -> None:
        path = _path(rest, "FROM")
        if not self._greeted:
            await self.say("503 5.5.1 EHLO first")
        elif self.identity is None:
            await self.say(AUTH_REQUIRED)
        elif self._sender:
            await self.say("503 5.5.1 One sender at a time")
        elif path is None:
            await self.say("501 5.1.7 MAIL FROM:<address>")
        elif (refusal := self._mail_parameters(path)) is not None:
            await self.say(refusal)
        else:
            self._sender = True
            await self.say("250 2.1.0 OK")

    def _mail_parameters(self, parameters: str) -> str | None:
        """Take the parameters of MAIL; return a refusal, or None."""
        words = parameters.split()
        if any(word.partition("=")[0].upper() not in _PARAMETERS for word in words):
            return "555 5.5.4 SIZE, BODY and AUTH are all that MAIL takes"
        sizes = [word[5:] for word in words if word[:4].upper() == "SIZE"]
        if len(sizes) > 1 or not all(_SIZE.fullmatch(size) for size in sizes):
            return "501 5.5.4 SIZE is a number of up to 20 digits, and stands there once"
        if sizes and int(sizes[0]) > _LARGEST_MESSAGE:
            return "552 5.3.4 Too large"
        try:
            self.authenticated_as = mail_auth(parameters)
        except ProtocolError:
            return "501 5.5.4 The AUTH parameter is an address in xtext, or <>"
        return None

    async def _rcpt(self, rest: bytes) -> None:
        if not self._sender:
            await self.say("503 5.5.1 MAIL first")
        elif (parameters := _path(rest, "TO")) is None:
            await self.say("501 5.1.3 RCPT TO:<address>")
        elif parameters:
            await self.say("555 5.5.4 RCPT takes no parameters")
        elif self._recipients >= _MOST_RECIPIENTS:
            await self.say("452 4.5.3 Too many recipients")
        else:
            self._recipients += 1
            await self.say("250 2.1.5 OK")

    async def _data(self, rest: bytes) -> None:
        if rest:
            await self.say("501 5.5.4 DATA takes no argument")
            return
        if not self._recipients:
            await self.say("503 5.5.1 RCPT first")
            return
        await self.say("354 End with a line that is a dot")
        size = 0
        line = b"\r\n"
        while True:
            begins = line.endswith(b"\r\n")  # only so is a dot the end: anything laxer lets mail be smuggled in
            line = await self.read()
            if not line:
                self.over = True
                return
            if begins and line == b".\r\n":
                break
            size += len(line)
        self.note(f"<{size} octets>")
        self._reset()
        await self.say("552 5.3.4 Too large" if size > _LARGEST_MESSAGE else "250 2.0.0 Discarded, as all is here")

    def _reset(self) -> None:
        self._sender = False
        self._recipients = 0


def _path(rest: bytes, word: str) -> str | None:
    """Return the parameters behind a path ("" for none), or None if the path is none."""
    match = _PATH.fullmatch(rest.decode("utf-8", "replace"))
    if match is None or match[1].upper() != word or (word == "TO" and not match[2]):
        return None
    return match[3] or ""
