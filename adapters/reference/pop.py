"""A POP3 server with an empty maildrop, to log in at (RFC 1939, RFC 2449, RFC 5034, RFC 2595)."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, ClassVar, Final, final

from sasl.registry import canonical
from sasl.secret import octets
from sasl.steps import FindSecret

from ..wire.pop import APOP, USER, ServerWire, StartTlsServerWire
from .conversation import Conversation

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_AUTH: Final = re.compile(rb"AUTH\b", re.IGNORECASE)  # malformed or not, it is the wire's
_TRANSACTION: Final = frozenset({b"STAT", b"LIST", b"UIDL", b"RETR", b"TOP", b"DELE", b"RSET", b"NOOP"})
_KNOWN: Final = _TRANSACTION | {b"USER", b"PASS", b"STLS", b"CAPA", b"QUIT"}


@final
class PopConversation(Conversation):
    """One connection of a POP3 client."""

    service = "pop"
    # RFC 1939 section 3: a server that ends a session for a time-out says nothing.
    farewells: ClassVar[Mapping[str, str]] = {
        "failures": "-ERR [SYS/TEMP] Too many failed logins",
        "broken": "-ERR [SYS/TEMP] Something is wrong here",
    }

    _login: ServerWire | None = None
    _timestamp: bytes = b""  # without one there is no APOP

    def greeting(self) -> list[str]:
        """Return the greeting; with a timestamp, another one each time, if there is APOP here."""
        if not self._takes_apop:
            return ["+OK saslkit reference server"]
        timestamp = f"<{secrets.token_hex(16)}@localhost>"
        self._timestamp = timestamp.encode("ascii")
        return [f"+OK saslkit reference server {timestamp}"]

    def wire(self, offered: Collection[str]) -> ServerWire:
        """Return a new wire for one AUTH, APOP, or USER and PASS."""
        return ServerWire(offered, timestamp=self._timestamp, **self.wire_settings)

    async def command(self, line: bytes) -> None:
        """Take one command line and answer it."""
        verb, _, rest = line.rstrip(b"\r\n").partition(b" ")
        verb = verb.upper()
        login, self._login = self._login, None  # only the PASS that follows it at once goes with a USER
        if verb == b"AUTH" and not rest.strip():
            await self._list()
            return
        if _AUTH.match(line):
            await self.authenticate(line, "AUTH")
            return
        if self.is_too_long(line):
            self.note(octets(line))
            await self.say("-ERR Line too long")
            return
        if verb == b"APOP" and self._timestamp:
            self.note(f"APOP {octets(rest)}")
            await self.log_in(APOP, self.wire([APOP]), line)
            return
        if verb not in _KNOWN:
            self.note(octets(line.rstrip(b"\r\n")))
            await self.say("-ERR Unknown command")
            return
        if verb == b"PASS":
            self.note(f"PASS {octets(rest)}")
        else:
            self.note(line.decode("utf-8", "replace").rstrip("\r\n"))
        if verb in _TRANSACTION and self.identity is None:
            await self.say("-ERR Log in first")
            return
        match verb:
            case b"USER":
                await self._take(line, None)
            case b"PASS":
                await self._take(line, login)
            case b"STLS":
                await self.start_tls(StartTlsServerWire, line)
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
        if self.takes(USER):
            lines.append("USER")
        if offered := self.offered:
            lines.append(f"SASL {' '.join(offered)}")
        return [*lines, "IMPLEMENTATION saslkit"]

    @property
    def _takes_apop(self) -> bool:
        """Whether there is APOP: allowed by name, and served by the verifier, as for a mechanism that is off."""
        wanted = self.settings.mechanisms
        among_them = wanted is None or APOP in map(canonical, wanted)
        return among_them and APOP in self.settings.policy.allow and FindSecret in self.verifier.answers

    async def _list(self) -> None:
        """Answer AUTH without a mechanism, as clients send that are older than CAPA, by the list: it is no login."""
        self.note("AUTH")
        await self.say("+OK", *self.offered, ".")

    async def _take(self, line: bytes, login: ServerWire | None) -> None:
        """Take USER, or PASS with the wire of the USER before it."""
        wire = login or self.wire([USER] if self.takes(USER) else [])
        await self.log_in(USER, wire, line, turns=1 if login is None else 2)
        self._login = wire if wire.result is None else None
