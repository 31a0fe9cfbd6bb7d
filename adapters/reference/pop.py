"""A POP3 server, whose maildrop is the user's INBOX (RFC 1939, RFC 2449, RFC 5034, RFC 2595)."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, ClassVar, Final, final

from sasl.registry import canonical
from sasl.secret import octets
from sasl.steps import FindSecret

from ..wire.pop import APOP, USER, ServerWire, StartTlsServerWire
from .conversation import Conversation
from .mail.store import INBOX
from .maildrop import COMMANDS, Maildrop, pieces
from .shown import first_word

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_AUTH: Final = re.compile(rb"AUTH\b", re.IGNORECASE)  # malformed or not, it is the wire's
_NUMBERS: Final = re.compile(rb"[0-9 ]*")
_KNOWN: Final = COMMANDS | {b"USER", b"PASS", b"STLS", b"CAPA", b"QUIT"}


@final
class PopConversation(Conversation):
    """One connection of a POP3 client.

    The maildrop is what the INBOX holds at the login: what comes or goes later changes nothing in it. What the client
    deletes is taken out of the INBOX when it quits.
    """

    service = "pop"
    # RFC 1939 section 3: a server that ends a session for a time-out says nothing.
    farewells: ClassVar[Mapping[str, str]] = {
        "crowded": "-ERR [SYS/TEMP] Too many connections",
        "failures": "-ERR [SYS/TEMP] Too many failed logins",
        "broken": "-ERR [SYS/TEMP] Something is wrong here",
        "expired": "-ERR [SYS/TEMP] Session expired",
        "revoked": "-ERR [SYS/TEMP] Session ended, the login was revoked",
        "disabled": "-ERR [SYS/PERM] Session ended, the account is disabled",
        "limit": "-ERR [SYS/TEMP] Session ended, it lasted too long",
    }

    _login: ServerWire | None = None
    _timestamp: bytes = b""  # without one there is no APOP
    _drop: Maildrop | None = None  # from the login on

    async def run(self, *, implicit_tls: bool) -> None:
        """Serve the client, and keep nothing of the mail once it is gone."""
        try:
            await super().run(implicit_tls=implicit_tls)
        finally:
            self._drop = None

    def greeting(self) -> list[str]:
        """Return the greeting; with a timestamp, another one each time, if there is APOP here."""
        if not self._takes_apop:
            return self.manner.greeting()
        timestamp = f"<{secrets.token_hex(16)}@localhost>"
        self._timestamp = timestamp.encode("ascii")
        return [f"{line} {timestamp}" for line in self.manner.greeting()]

    def wire(self, offered: Collection[str]) -> ServerWire:
        """Return a new wire for one AUTH, APOP, or USER and PASS."""
        return ServerWire(offered, timestamp=self._timestamp, **self.wire_settings)

    def verb(self, line: bytes) -> str:
        """Return the name of the command that a line begins."""
        return first_word(line)

    async def command(self, line: bytes) -> None:
        """Take one command line and answer it."""
        await self._obey(line)
        if self.identity is not None and self._drop is None:
            self._drop = Maildrop(self.backend.accounts.account(self.identity).mailbox(INBOX))

    async def _obey(self, line: bytes) -> None:
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
            await self.say(*self.manner.lines("unknown", "-ERR Unknown command"))
            return
        self.note(f"{verb.decode('ascii')} {_shown(verb, rest)}".rstrip())
        await self._answer(verb, rest, line, login)

    async def _answer(self, verb: bytes, rest: bytes, line: bytes, login: ServerWire | None) -> None:
        """Answer a command that is known; `login` is that of the USER right before it."""
        match verb:
            case b"USER":
                await self._take(line, None)
            case b"PASS":
                await self._take(line, login)
            case b"STLS":
                await self.start_tls(StartTlsServerWire, line)
            case b"CAPA":
                await self.say(*self.manner.lines("capa", "+OK"), *self.advertise(self.capabilities()), ".")
            case b"QUIT":
                self.over = True
                if self._drop is not None:
                    self._drop.commit()
                await self.say(*self.manner.lines("quit", "+OK Bye"))
            case _ if self._drop is None:
                await self.say(*self.manner.login_first("-ERR Log in first").lines)
            case _:
                lines, message = self._drop.answer(verb, rest.strip())
                await self.say(*lines)
                if message is not None:
                    await self._send(message)

    async def _send(self, message: bytes) -> None:
        """Send a message and the dot behind it, in pieces: a client that reads slowly costs no more memory for it."""
        self.transcript.append(("S", f"<{len(message)} octets>"))
        for piece in pieces(message):
            await self.write(piece)
        await self.say(".")

    def capabilities(self) -> list[str]:
        """Return the same before and after the login, but for TLS (RFC 5034 section 3 wants SASL in both)."""
        served = ["CAPA", "TOP", "UIDL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", "IMPLEMENTATION"]
        if not self.connection.tls:
            served.append("STLS")
        if self.takes(USER):
            served.append("USER")
        return self.manner.told(served)

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


def _shown(verb: bytes, rest: bytes) -> str:
    """Return how the argument of a command is shown: what has no place there may be a secret that has lost its own."""
    fits = (verb == b"USER" and b" " not in rest.strip()) or _NUMBERS.fullmatch(rest)
    return rest.decode("utf-8", "replace") if fits and verb != b"PASS" else octets(rest)
