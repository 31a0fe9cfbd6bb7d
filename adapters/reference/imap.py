"""An IMAP server with an empty INBOX, to log in at (RFC 3501, RFC 4959, RFC 7888, RFC 2971)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Final, final

from sasl.secret import octets

from ..wire.imap import LOGIN, TAG, ServerWire, StartTlsServerWire
from ..wire.imap.arguments import GO_AHEAD, WRONG_NUMBER, Arguments
from ..wire.line import Line, without_end
from .conversation import Conversation

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_COMMAND: Final = re.compile(rb"(%b) ((?:(?i:UID) )?[A-Za-z]+)(?: (.*))?" % TAG, re.DOTALL)
_TAGGED: Final = re.compile(rb"(%b) " % TAG)

_ANY: Final = frozenset({b"CAPABILITY", b"NOOP", b"LOGOUT", b"ID", b"STARTTLS"})
_AUTHENTICATED: Final = frozenset({b"SELECT", b"EXAMINE", b"LIST", b"LSUB", b"STATUS", b"NAMESPACE"})
_SELECTED: Final = frozenset({b"CLOSE", b"UNSELECT", b"CHECK", b"EXPUNGE", b"SEARCH", b"UID SEARCH"})
_INBOX: Final = b"INBOX"
_KNOWN: Final = _ANY | _AUTHENTICATED | _SELECTED
_MANY: Final = 1_000
_ARITY: Final[Mapping[bytes, tuple[int, int]]] = {
    b"CAPABILITY": (0, 0),
    b"NOOP": (0, 0),
    b"LOGOUT": (0, 0),
    b"STARTTLS": (0, 0),
    b"SELECT": (1, _MANY),
    b"EXAMINE": (1, _MANY),
    b"STATUS": (2, _MANY),
    b"LIST": (2, _MANY),
    b"LSUB": (2, 2),
}
"""How many arguments a command takes, where that matters; parentheses count as well."""


@final
class ImapConversation(Conversation):
    """One connection of an IMAP client."""

    service = "imap"
    farewells: ClassVar[Mapping[str, str]] = {
        "late": "* BYE Too slow",
        "failures": "* BYE Too many failed logins",
        "shutdown": "* BYE The server shuts down",
        "broken": "* BYE Something is wrong here",
    }

    _selected: bool = False

    def greeting(self) -> list[str]:
        """Return the greeting, with the capabilities: a client that looks at them saves a turn."""
        return [f"* OK [CAPABILITY {' '.join(self._capabilities())}] saslkit reference server"]

    def wire(self, offered: Collection[str]) -> ServerWire:
        """Return a new wire for one AUTHENTICATE or LOGIN."""
        return ServerWire(offered, capabilities=_AFTER_LOGIN, **self.wire_settings)

    async def command(self, line: bytes) -> None:
        """Take one command, of one line or of several with literals, and answer it."""
        text = without_end(line)
        match = _COMMAND.fullmatch(text)
        if match is not None and match[2].upper() == b"AUTHENTICATE":
            await self.authenticate(line, f"{match[1].decode('ascii')} AUTHENTICATE")
            return
        if match is None or self.is_too_long(line):
            self.note(octets(text))
            tagged = _TAGGED.match(text)
            tag = tagged[1].decode("ascii") if tagged else "*"
            await self.say(_unknown(tag, "Line too long" if self.is_too_long(line) else "Not a command"))
            return
        tag, verb = match[1].decode("ascii"), match[2].upper()
        if verb == b"LOGIN":
            self.note(f"{tag} LOGIN {octets(match[3] or b'')}")
            await self.converse(LOGIN, self.wire([LOGIN] if self.takes(LOGIN) else []), line)
            return
        if verb == b"STARTTLS" and not match[3]:
            self.note(f"{tag} STARTTLS")
            await self.start_tls(StartTlsServerWire, line)
            return
        arguments = await self._arguments(tag, verb, match[3] or b"")
        if arguments is None:
            return
        if verb not in _KNOWN:
            await self.say(_unknown(tag, "Unknown command"))
        elif refusal := self._refusal(verb) or _wrong_number(verb, len(arguments)):
            await self.say(f"{tag} BAD {refusal}")
        elif verb == b"LOGOUT":
            self.over = True
            await self.say("* BYE Bye", f"{tag} OK Logged out")
        else:
            untagged = [f"* {response}" for response in self._untagged_responses(verb, arguments)]
            await self.say(*untagged, f"{tag} {self._result(verb, arguments)}")

    # --- commands

    def _refusal(self, verb: bytes) -> str:
        """What is wrong with a command in this state; empty if nothing."""
        if verb in _AUTHENTICATED | _SELECTED and self.identity is None:
            return "Log in first"
        if verb in _SELECTED and not self._selected:
            return "Select a mailbox first"
        return ""

    def _untagged_responses(self, verb: bytes, arguments: list[bytes]) -> list[str]:
        match verb:
            case b"CAPABILITY":
                return [f"CAPABILITY {' '.join(self._capabilities())}"]
            case b"ID":
                return ['ID ("name" "saslkit")']
            case b"NAMESPACE":
                return ['NAMESPACE (("" "/")) NIL NIL']
            case b"SEARCH" | b"UID SEARCH":
                return ["SEARCH"]
            case b"LIST" if not arguments[1]:
                return ['LIST (\\Noselect) "/" ""']  # RFC 9051 section 6.3.9: it asks for the delimiter
            case b"LIST" | b"LSUB" if _names_inbox(arguments[1]):
                return [f'{verb.decode("ascii")} () "/" INBOX']
            case b"STATUS" if _is_inbox(arguments):
                return ["STATUS INBOX (MESSAGES 0 RECENT 0 UIDNEXT 1 UIDVALIDITY 1 UNSEEN 0)"]
            case b"SELECT" | b"EXAMINE" if _is_inbox(arguments):
                return ["FLAGS ()", "0 EXISTS", "0 RECENT", "OK [UIDVALIDITY 1] Valid", "OK [UIDNEXT 1] Next"]
        return []

    def _result(self, verb: bytes, arguments: list[bytes]) -> str:
        if verb in (b"SELECT", b"EXAMINE", b"STATUS"):
            if not _is_inbox(arguments):
                self._selected = self._selected and verb == b"STATUS"
                return "NO [NONEXISTENT] There is only INBOX"
            self._selected = self._selected or verb != b"STATUS"
            access = {b"SELECT": "[READ-WRITE] ", b"EXAMINE": "[READ-ONLY] "}.get(verb, "")
            return f"OK {access}Done"
        if verb in (b"CLOSE", b"UNSELECT"):
            self._selected = False
        return "OK Done"

    def _capabilities(self) -> list[str]:
        if self.identity is not None:
            return list(_AFTER_LOGIN)
        names = ["IMAP4rev1", "SASL-IR", "LITERAL-", "ID"]
        if not self.connection.tls:
            names.append("STARTTLS")
        if not self.takes(LOGIN):
            names.append("LOGINDISABLED")
        return names + [f"AUTH={name}" for name in self.offered]

    # --- arguments

    async def _arguments(self, tag: str, verb: bytes, line: bytes) -> list[bytes] | None:
        """Read what a command still lacks, its literals, and return its arguments; None if it was answered already."""
        known = verb in _KNOWN
        arguments = Arguments(self._longest)
        arguments.receive(line)
        shown = line.decode("utf-8", "replace") if known and not arguments.refusal else octets(line)
        self.note(f"{tag} {verb.decode('ascii')} {shown}".rstrip() if known else shown)
        while not arguments.done:
            if arguments.waits:
                if refusal := self._refusal(verb) if known else "Unknown command":
                    await self.say(f"{tag} BAD {refusal}" if known else _unknown(tag, refusal))
                    return None
                await self.say(GO_AHEAD)
            line = await self.read()
            if not line:
                self.over = True
                return None
            self.note(octets(line.rstrip(b"\r\n")))
            arguments.receive(line)
        if not arguments.refusal:
            return arguments.words
        self.over = arguments.must_close
        await self.say(arguments.answer(tag))
        return None


_AFTER_LOGIN: Final = ("IMAP4rev1", "LITERAL-", "ID", "NAMESPACE", "UNSELECT")


def _wrong_number(verb: bytes, arguments: int) -> str:
    least, most = _ARITY.get(verb, (0, _MANY))
    return "" if least <= arguments <= most else WRONG_NUMBER


def _unknown(tag: str, why: str) -> Line:
    """Refuse what is no command. Its tag is none either, and may be anything that a client out of step has sent."""
    return Line(f"{tag} BAD {why}\r\n".encode("ascii"), f"* BAD {why}")


def _is_inbox(arguments: list[bytes]) -> bool:
    return arguments[0].upper() == _INBOX


def _names_inbox(pattern: bytes) -> bool:
    """Whether a pattern of LIST fits INBOX. In time that grows with its length alone: it is the client's."""
    reached = {0}  # how much of the name what was read of the pattern may stand for
    for octet in pattern.upper():
        if octet in b"*%":
            reached = set(range(min(reached), len(_INBOX) + 1)) if reached else reached
        else:
            reached = {at + 1 for at in reached if at < len(_INBOX) and _INBOX[at] == octet}
    return len(_INBOX) in reached
