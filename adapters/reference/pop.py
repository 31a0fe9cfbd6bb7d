"""A POP3 server with an empty maildrop, to log in at (RFC 1939, RFC 2449, RFC 5034, RFC 2595)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Final, final

from sasl.secret import octets

from ..wire.pop import USER, ServerWire
from .session import Session

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_AUTH: Final = re.compile(rb"AUTH\b", re.IGNORECASE)  # malformed or not, it is the wire's
_AUTHORIZATION: Final = frozenset({b"USER", b"PASS", b"STLS"})
_TRANSACTION: Final = frozenset({b"STAT", b"LIST", b"UIDL", b"RETR", b"TOP", b"DELE", b"RSET", b"NOOP"})
_ANY: Final = frozenset({b"CAPA", b"QUIT"})


@final
class PopSession(Session):
    """One connection of a POP3 client."""

    service = "pop"
    # RFC 1939 section 3: a server that ends a session for a time-out says nothing.
    farewells: ClassVar[Mapping[str, str]] = {
        "failures": "-ERR [SYS/TEMP] Too many failed logins",
        "injected": "-ERR Octets in the clear behind STLS",
        "broken": "-ERR [SYS/TEMP] Something is wrong here",
    }

    _user: bytes | None = None

    def greeting(self) -> list[str]:
        """Return the greeting; without a time stamp in it, so there is no APOP."""
        return ["+OK saslkit reference server"]

    def wire(self, offered: Collection[str]) -> ServerWire:
        """Return a new wire for one AUTH."""
        return ServerWire(offered, **self.wire_settings)

    async def command(self, line: bytes) -> None:
        """Take one command line and answer it."""
        verb, _, rest = line.rstrip(b"\r\n").partition(b" ")
        verb = verb.upper()
        user, self._user = self._user, None  # only the PASS that follows it at once goes with a USER
        if _AUTH.match(line):
            await self.authenticate(line, "AUTH")
            return
        if self.too_long(line):
            self.note(octets(line))
            await self.say("-ERR Line too long")
            return
        if verb not in _AUTHORIZATION | _TRANSACTION | _ANY:
            self.note(octets(line.rstrip(b"\r\n")))
            await self.say("-ERR Unknown command")
            return
        if verb == b"PASS":
            self.note(f"PASS {octets(rest)}")
        else:
            self.note(line.decode("utf-8", "replace").rstrip("\r\n"))
        if verb in (_TRANSACTION if self.identity is None else _AUTHORIZATION):
            await self.say("-ERR Log in first" if self.identity is None else "-ERR Logged in already")
            return
        match verb:
            case b"USER":
                await self._take_user(rest)
            case b"PASS":
                await self._take_password(user, rest)
            case b"STLS":
                await self._start_tls(rest)
            case b"QUIT":
                self.over = True
                await self.say("+OK Bye")
            case _:
                await self.say(*self._answer(verb, rest))

    def _answer(self, verb: bytes, rest: bytes) -> list[str]:
        """The answers that need nothing but the command: there is no message, ever."""
        if verb == b"CAPA":
            return ["+OK", *self._capabilities(), "."]
        if verb == b"STAT":
            return ["+OK 0 0"]
        if verb in (b"LIST", b"UIDL") and not rest:
            return ["+OK", "."]
        if verb in (b"NOOP", b"RSET"):
            return ["+OK"]
        return ["-ERR No such message"]

    def _capabilities(self) -> list[str]:
        """The same before and after the login, but for TLS (RFC 5034 section 3 wants SASL in both)."""
        lines = ["CAPA", "TOP", "UIDL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE"]
        if not self.connection.tls:
            lines.append("STLS")
        if self.takes_passwords:
            lines.append("USER")
        if offered := self.offered:
            lines.append(f"SASL {' '.join(offered)}")
        return [*lines, "IMPLEMENTATION saslkit"]

    async def _take_user(self, name: bytes) -> None:
        if not name:
            await self.say("-ERR USER takes a name")
        elif not self.takes_passwords:
            await self.say("-ERR Encryption is required first")
        else:
            self._user = name
            await self.say("+OK Now the password")

    async def _take_password(self, user: bytes | None, password: bytes) -> None:
        if user is None:
            await self.say("-ERR USER comes first")
            return
        wire = ServerWire(["PLAIN"], **self.wire_settings)
        wire.receive(b"AUTH PLAIN")
        await self.log_in(USER, wire, user, password, turns=2)

    async def _start_tls(self, rest: bytes) -> None:
        if rest:
            await self.say("-ERR STLS takes no argument")
        elif self.connection.tls:
            await self.say("-ERR TLS is in force already")
        else:
            await self.secure("+OK Begin TLS")
