"""An IMAP server with an empty INBOX, to log in at (RFC 3501, RFC 4959, RFC 7888, RFC 2971)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Final, final

from sasl.secret import octets

from ..wire.imap import LOGIN, ServerWire
from ..wire.line import Line
from .session import Session

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_TAG: Final = r"[A-Za-z0-9.!#$&',/:;<=>?@^_`|~-]{1,64}"  # as the wire takes them
_COMMAND: Final = re.compile(rf"({_TAG}) ((?:(?i:UID) )?[A-Za-z]+)(?: (.*))?".encode("ascii"), re.DOTALL)
_TAGGED: Final = re.compile(rf"({_TAG}) ".encode("ascii"))
_LITERAL: Final = re.compile(rb"(?:^| )\{([0-9]{1,20})(\+?)\}$")
_ARGUMENT: Final = re.compile(rb'(\()|(?:"((?:[^"\\\x00]|\\["\\])*)"|([^"(){\x00-\x20\x7f]+))?(\)*)(?: |$)')
_LONGEST_LITERAL: Final = 4_096  # octets (RFC 7888 section 5), and the most that those of one command have together

_ANY: Final = frozenset({b"CAPABILITY", b"NOOP", b"LOGOUT", b"ID"})
_NOT_AUTHENTICATED: Final = frozenset({b"STARTTLS", b"LOGIN"})
_AUTHENTICATED: Final = frozenset({b"SELECT", b"EXAMINE", b"LIST", b"LSUB", b"STATUS", b"NAMESPACE"})
_SELECTED: Final = frozenset({b"CLOSE", b"UNSELECT", b"CHECK", b"EXPUNGE", b"SEARCH", b"UID SEARCH"})
_KNOWN: Final = _ANY | _NOT_AUTHENTICATED | _AUTHENTICATED | _SELECTED
_MANY: Final = 1_000
_ARITY: Final[Mapping[bytes, tuple[int, int]]] = {
    b"CAPABILITY": (0, 0),
    b"NOOP": (0, 0),
    b"LOGOUT": (0, 0),
    b"STARTTLS": (0, 0),
    b"LOGIN": (2, 2),
    b"SELECT": (1, _MANY),
    b"EXAMINE": (1, _MANY),
    b"STATUS": (2, _MANY),
    b"LIST": (2, _MANY),
    b"LSUB": (2, 2),
}
"""How many arguments a command takes, where that matters; parentheses count as well."""


@final
class ImapSession(Session):
    """One connection of an IMAP client."""

    service = "imap"
    farewells: ClassVar[Mapping[str, str]] = {
        "late": "* BYE Too slow",
        "failures": "* BYE Too many failed logins",
        "injected": "* BYE Octets in the clear behind STARTTLS",
        "literal": "* BYE That literal is too large",
        "shutdown": "* BYE The server shuts down",
        "broken": "* BYE Something is wrong here",
    }

    _selected: bool = False

    def greeting(self) -> list[str]:
        """Return the greeting, with the capabilities: a client that looks at them saves a turn."""
        return [f"* OK [CAPABILITY {' '.join(self._capabilities())}] saslkit reference server"]

    def wire(self, offered: Collection[str]) -> ServerWire:
        """Return a new wire for one AUTHENTICATE."""
        return ServerWire(offered, capabilities=_AFTER_LOGIN, **self.wire_settings)

    async def command(self, line: bytes) -> None:
        """Take one command, of one line or of several with literals, and answer it."""
        text = line.rstrip(b"\r\n")
        match = _COMMAND.fullmatch(text)
        if match is not None and match[2].upper() == b"AUTHENTICATE":
            await self.authenticate(line, f"{match[1].decode('ascii')} AUTHENTICATE")
            return
        if match is None or self.too_long(line):
            self.note(octets(text))
            tagged = _TAGGED.match(text)
            tag = tagged[1].decode("ascii") if tagged else "*"
            await self.say(_unknown(tag, "Line too long" if self.too_long(line) else "Not a command"))
            return
        tag, verb = match[1].decode("ascii"), match[2].upper()
        begun = self._lines - 1
        arguments = await self._arguments(tag, verb, match[3] or b"")
        if arguments is None:
            return
        if verb not in _KNOWN:
            await self.say(_unknown(tag, "Unknown command"))
        elif refusal := self._refusal(verb) or _wrong_number(verb, len(arguments)):
            await self.say(f"{tag} BAD {refusal}")
        elif verb == b"LOGIN":
            await self._login(tag, arguments, turns=self._lines - begun)
        elif verb == b"STARTTLS":
            await self._start_tls(tag)
        elif verb == b"LOGOUT":
            self.over = True
            await self.say("* BYE Bye", f"{tag} OK Logged out")
        else:
            untagged = [f"* {response}" for response in self._untagged(verb, arguments)]
            await self.say(*untagged, f"{tag} {self._result(verb, arguments)}")

    # --- commands

    def _refusal(self, verb: bytes) -> str:
        """What is wrong with a command in this state; empty if nothing."""
        if verb in _NOT_AUTHENTICATED and self.identity is not None:
            return "Authenticated already"
        if verb in _AUTHENTICATED | _SELECTED and self.identity is None:
            return "Log in first"
        if verb in _SELECTED and not self._selected:
            return "Select a mailbox first"
        return ""

    def _untagged(self, verb: bytes, arguments: list[bytes]) -> list[str]:
        match verb:
            case b"CAPABILITY":
                return [f"CAPABILITY {' '.join(self._capabilities())}"]
            case b"ID":
                return ['ID ("name" "saslkit")']
            case b"NAMESPACE":
                return ['NAMESPACE (("" "/")) NIL NIL']
            case b"SEARCH" | b"UID SEARCH":
                return ["SEARCH"]
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

    async def _login(self, tag: str, arguments: list[bytes], *, turns: int) -> None:
        wire = ServerWire(["PLAIN"], capabilities=_AFTER_LOGIN, **self.wire_settings)
        wire.receive(f"{tag} AUTHENTICATE PLAIN".encode("ascii"))
        await self.log_in(LOGIN, wire, *arguments, turns=turns)

    async def _start_tls(self, tag: str) -> None:
        if self.connection.tls:
            await self.say(f"{tag} BAD TLS is in force already")
        else:
            await self.secure(f"{tag} OK Begin TLS")

    def _capabilities(self) -> list[str]:
        if self.identity is not None:
            return list(_AFTER_LOGIN)
        names = ["IMAP4rev1", "SASL-IR", "LITERAL-", "ID"]
        if not self.connection.tls:
            names.append("STARTTLS")
        if not self.takes_passwords:
            names.append("LOGINDISABLED")
        return names + [f"AUTH={name}" for name in self.offered]

    # --- arguments

    async def _arguments(self, tag: str, verb: bytes, rest: bytes) -> list[bytes] | None:
        """Read what a command still lacks, its literals, and return its arguments; None if it was answered already."""
        shown = f"{tag} {verb.decode('ascii')} " if verb in _KNOWN else ""
        secret = verb == b"LOGIN" or verb not in _KNOWN
        arguments: list[bytes] = []
        room = _LONGEST_LITERAL
        while True:
            literal = _LITERAL.search(rest)
            words = _words(rest[: literal.start()] if literal else rest)
            hidden = secret or words is None
            self.note((shown + (octets(rest) if hidden else rest.decode("utf-8", "replace"))).rstrip())
            size, synchronizing = (int(literal[1]), not literal[2]) if literal else (0, True)
            if words is None or size > room:
                if not synchronizing:
                    self._farewell("literal")  # it is on its way, and must not be read as commands
                else:
                    await self.say(f"{tag} BAD {'Not arguments' if words is None else 'That literal is too large'}")
                return None
            arguments += words
            if literal is None:
                return arguments
            room -= size
            if synchronizing:
                if await self._refused_early(tag, verb):
                    return None
                await self.say("+ Go ahead")
            content = await self.connection.read_exactly(size)
            line = await self.read() if content is not None else b""
            if content is None or not line:
                self.over = True
                return None
            arguments.append(content)
            rest = line.rstrip(b"\r\n")
            if self.too_long(line) or (rest and not rest.startswith(b" ")):
                rest = b'"'  # not arguments
            shown, rest, secret = f"{octets(content)} ", rest.removeprefix(b" "), True

    async def _refused_early(self, tag: str, verb: bytes) -> bool:
        """Whether a command is refused before the client sends its literals, one of which may be a password."""
        if verb not in _KNOWN:
            await self.say(_unknown(tag, "Unknown command"))
        elif refusal := self._refusal(verb):
            await self.say(f"{tag} BAD {refusal}")
        elif verb == b"LOGIN" and not self.takes_passwords:
            await self._login(tag, [b"", b""], turns=1)
        else:
            return False
        return True


_AFTER_LOGIN: Final = ("IMAP4rev1", "LITERAL-", "ID", "NAMESPACE", "UNSELECT")


def _wrong_number(verb: bytes, arguments: int) -> str:
    least, most = _ARITY.get(verb, (0, _MANY))
    return "" if least <= arguments <= most else "Too few arguments, or too many"


def _unknown(tag: str, why: str) -> Line:
    """Refuse what is no command. Its tag is none either, and may be anything that a client out of step has sent."""
    return Line(f"{tag} BAD {why}\r\n".encode("ascii"), f"* BAD {why}")


def _words(text: bytes) -> list[bytes] | None:
    """Split arguments into atoms, quoted strings and parentheses; None for what is none of them."""
    words: list[bytes] = []
    at = 0
    while at < len(text):
        match = _ARGUMENT.match(text, at)
        if match is None or match[0] == b" ":
            return None
        opening, quoted, atom, closing = match.groups()
        if quoted is not None:
            atom = re.sub(rb"\\(.)", rb"\1", quoted)
        words += [word for word in (opening, atom, closing or None) if word is not None]
        at = match.end()
    return words


def _is_inbox(arguments: list[bytes]) -> bool:
    return arguments[0].upper() == b"INBOX"


def _names_inbox(pattern: bytes) -> bool:
    """Whether a pattern of LIST fits INBOX."""
    parts = (b".*" if part in (b"*", b"%") else re.escape(part) for part in re.split(rb"([*%])", pattern.upper()))
    return re.fullmatch(b"".join(parts), b"INBOX") is not None
