"""The conversation with an IMAP client: reading commands, literals, logins, IDLE (RFC 3501, RFC 4959, RFC 7888)."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, ClassVar, Final, final

from sasl.secret import octets

from ...wire.imap import LOGIN, TAG, ServerWire, StartTlsServerWire
from ...wire.imap.arguments import GO_AHEAD, LONGEST_LITERAL
from ...wire.line import Line, without_end
from ..conversation import Conversation
from ..mail.grammar import BadArguments
from .capabilities import LARGEST_MESSAGE, served
from .commands import COMMANDS, State, arguments, responses
from .session import Session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Generator, Mapping

    from ..backend import Backend
    from ..connection import Connection

_COMMAND: Final = re.compile(rb"(%b) ((?:(?i:UID) )?[A-Za-z]+)(?: (.*))?" % TAG, re.DOTALL)
_TAGGED: Final = re.compile(rb"(%b) " % TAG)
_LITERAL: Final = re.compile(rb"(?:^|[ (])(~?)\{([0-9]{1,20})(\+?)\}\Z")
_BEHIND_A_MESSAGE: Final = (b"", b")")
_CONTROL: Final = re.compile(rb"[\x00-\x1f\x7f]")
_SHOWN: Final = 300  # octets of a response that may be of interest in a transcript
_AT_ONCE: Final = 65_536  # octets of responses that are sent in one write
_TOO_LARGE: Final = "* BYE That literal is too large"
_LOGIN_FIRST: Final = "Log in first"
_REFUSED: Final = {"too_long": "Line too long", "not_a_command": "Not a command"}
_DONE: Final = re.compile(r"OK ((?:\[.*\] )?)Done", re.DOTALL)


@final
class ImapConversation(Conversation):
    """One connection of an IMAP client."""

    service = "imap"
    farewells: ClassVar[Mapping[str, str]] = {
        "crowded": "* BYE Too many connections",
        "late": "* BYE Too slow",
        "failures": "* BYE Too many failed logins",
        "shutdown": "* BYE The server shuts down",
        "broken": "* BYE Something is wrong here",
        "expired": "* BYE Session expired",
        "revoked": "* BYE Session ended, the login was revoked",
        "disabled": "* BYE Session ended, the account is disabled",
        "limit": "* BYE Session ended, it lasted too long",
    }

    def __init__(self, connection: Connection, backend: Backend, *, port: int) -> None:
        super().__init__(connection, backend, port=port)
        self._session: Session | None = None

    def greeting(self) -> list[str]:
        """Return the greeting, with the capabilities: a client that looks at them saves a turn."""
        return self.manner.greeting(self.advertise(self.capabilities()))

    def wire(self, offered: Collection[str]) -> ServerWire:
        """Return a new wire for one AUTHENTICATE or LOGIN."""
        return ServerWire(offered, **self.wire_settings)

    def verb(self, line: bytes) -> str:
        """Return the name of the command that a line begins, with its "UID"."""
        match = _COMMAND.fullmatch(without_end(line))
        return "" if match is None else match[2].decode("ascii").upper()

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
            why = "too_long" if self.is_too_long(line) else "not_a_command"
            await self._refuse_unknown(tag, why, _REFUSED[why])
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
        await self._take(tag, verb.decode("ascii"), match[3] or b"")

    # --- reading

    async def _take(self, tag: str, verb: str, text: bytes) -> None:
        """Take a command that is none of a login, and answer it."""
        refusal = self._refusal(verb)
        self._note(tag, verb, text)
        rest = await self._rest(tag, verb, text, refusal)
        if rest is None:
            return
        if verb not in COMMANDS:
            await self._refuse_unknown(tag, "unknown", refusal)
        elif refusal == _LOGIN_FIRST:
            refused = self.manner.login_first(f"{tag} BAD {refusal}", tag=tag, command=verb)
            self.over = refused.close
            await self.say(*refused.lines)
        elif refusal:
            await self.say(f"{tag} BAD {refusal}")
        else:
            await self._perform(tag, verb, rest)

    async def _refuse_unknown(self, tag: str, why: str, text: str) -> None:
        """Refuse what is no command."""
        if own := self.manner.lines(why, tag=tag):
            await self.say(*own)
        else:
            await self.say(_unknown(tag, text))

    def _refusal(self, verb: str) -> str:
        """What is wrong with a command in this state; empty if nothing."""
        if verb not in COMMANDS:
            return "Unknown command"
        state = COMMANDS[verb].state
        if state > State.ANY and self.identity is None:
            return _LOGIN_FIRST
        if state > State.AUTHENTICATED and not self.session.selected:
            return "Select a mailbox first"
        return ""

    async def _rest(self, tag: str, verb: str, text: bytes, refusal: str) -> bytes | None:
        """Read the literals of a command and what follows them; return all its arguments.

        None if the command was answered already, or the connection is lost.
        """
        pieces = [text]
        lines, literals = len(text), 0
        room = self._room(verb)
        while literal := _LITERAL.search(text):
            size = int(literal[2])
            literals += size
            too_much = literals > room or lines > self._longest
            if too_much or (refusal and not literal[3]) or (literal[3] and self._has_to_ask(size)):
                await self._refuse_literal(tag, verb, refusal, on_its_way=bool(literal[3]))
                return None
            if not literal[3]:
                await self.say(GO_AHEAD)
            content = await self.connection.read_exactly(size)
            line = await self.read() if len(content) == size else b""
            if not line:
                self.over = True
                return None
            self.note(f"{octets(content)} {octets(without_end(line))}")
            text = without_end(line)
            lines += len(text)
            pieces += [b"\r\n", content, text]
        if lines > self._longest:
            await self.say(f"{tag} BAD Line too long")
            return None
        if verb == "APPEND" and not refusal and (len(pieces) == 1 or text not in _BEHIND_A_MESSAGE):
            await self.say(f"{tag} BAD The message is no literal")
            return None
        return b"".join(pieces)

    def _room(self, verb: str) -> int:
        """How many octets the literals of a command may have, all together."""
        if self.identity is None or verb not in COMMANDS:
            return LONGEST_LITERAL
        return self._largest if verb == "APPEND" else self._longest

    def _has_to_ask(self, size: int) -> bool:
        """Whether a client has to wait for leave to send a literal of so many octets (RFC 7888 sections 3 and 5)."""
        return size > LONGEST_LITERAL and (size > self._largest or "LITERAL+" not in self.capabilities())

    @property
    def _largest(self) -> int:
        """How many octets a message may have that APPEND takes."""
        return int(self.manner.persona.limit("imap", "message") or LARGEST_MESSAGE)

    async def _refuse_literal(self, tag: str, verb: str, refusal: str, *, on_its_way: bool) -> None:
        """Refuse a literal; one that comes anyway cannot be told from commands, so that the connection ends."""
        if on_its_way:
            self.over = True
            await self.say(_TOO_LARGE)
        elif verb not in COMMANDS:
            await self._refuse_unknown(tag, "unknown", refusal)
        elif verb == "APPEND" and not refusal:
            await self.say(f"{tag} NO [TOOBIG] A message may have {self._largest} octets")
        else:
            await self.say(f"{tag} BAD {refusal or 'That literal is too large'}")

    def _note(self, tag: str, verb: str, text: bytes) -> None:
        """Note a command; what is none may be anything that a client out of step has sent."""
        if verb not in COMMANDS:
            self.note(octets(text))
        else:
            unfit = text and not COMMANDS[verb].most  # what has no place there may be a secret that has lost its own
            shown = octets(text) if unfit or _CONTROL.search(text) else text.decode("utf-8", "replace")
            self.note(f"{tag} {verb} {shown}".rstrip())

    # --- answering

    @property
    def session(self) -> Session:
        """What is known of the client since it is logged in."""
        if self._session is None:
            assert self.identity is not None  # noqa: S101 -- it is asked for after the login alone
            backend = self.backend
            self._session = Session(backend.accounts, self.identity, backend.clock.now, largest=self._largest)
            self._session.gmail = "X-GM-EXT-1" in self.capabilities()
            self._session.whole_words = self.manner.persona.whole_words()
        return self._session

    async def _perform(self, tag: str, verb: str, rest: bytes) -> None:
        try:
            given = arguments(verb, rest)
        except BadArguments as error:
            await self.say(f"{tag} BAD {error}")
            return
        if own := self._own(verb):
            await own(tag)
            return
        self.session.tag = tag
        await self._answer(tag, verb, responses(self.session, verb, given))

    async def _answer(self, tag: str, verb: str, given: Generator[bytes, None, str]) -> None:
        """Send what a command yields, as it comes, and its result: no more of it is in memory than is sent at once."""
        lines: list[Line] = []
        size = 0
        result = None
        while result is None:
            try:
                response = next(given)
            except StopIteration as end:
                result = str(end.value)
                continue
            if response:
                lines.append(_untagged(response))
                size += len(response)
            if size > _AT_ONCE:
                await self.say(*lines)
                lines, size = [], 0
            if not response or not lines:
                await asyncio.sleep(0)  # others get a turn
                if self.connection.lost:
                    return
        await self.say(*lines, self._tagged(tag, verb, result))

    def _tagged(self, tag: str, verb: str, result: str = "OK Done") -> str:
        """Return the last line of an answer: the server's own text for a yes, behind its response code."""
        done = _DONE.fullmatch(result)
        title = verb.rpartition(" ")[2]
        own = self.manner.lines("done", tag=tag, command=title, title=title.capitalize())
        return own[0].replace(" OK ", f" OK {done[1]}", 1) if done and own else f"{tag} {result}"

    async def _tell_capabilities(self, tag: str) -> None:
        done = self._tagged(tag, "CAPABILITY")
        lines = self.manner.lines("capability", done, tag=tag) if self.identity is None else [done]
        await self.say(f"* CAPABILITY {' '.join(self.advertise(self.capabilities()))}", *lines)

    async def _tell_id(self, tag: str) -> None:
        who = self.manner.lines("id", '("name" "saslkit")')
        await self.say(f"* ID {who[0]}", self._tagged(tag, "ID"))

    async def _tell_news(self, tag: str) -> None:
        await self.say(*self._news(), self._tagged(tag, "NOOP"))

    async def _log_out(self, tag: str) -> None:
        self.over = True
        await self.say(*self.manner.lines("logout", "* BYE Bye", f"{tag} OK Logged out", tag=tag))

    def _news(self) -> list[Line]:
        """What has to be told of the selected mailbox, if there is one."""
        return [] if self._session is None else [_untagged(response) for response in self._session.news()]

    async def _idle(self, tag: str) -> None:
        """Tell what happens in the selected mailbox when it happens, until the client says DONE (RFC 2177)."""
        changed = asyncio.Event()
        stop = self.session.view.mailbox.watch(changed.set) if self.session.selected else lambda: None
        reading = asyncio.create_task(self.next_line())
        change = None
        try:
            await self.say(*self._news(), "+ idling")
            while not reading.done():
                change = asyncio.create_task(changed.wait())
                await asyncio.wait([reading, change], return_when=asyncio.FIRST_COMPLETED)
                change.cancel()
                changed.clear()
                if news := self._news():
                    await self.say(*news)
            line = await reading
        finally:
            stop()
            reading.cancel()
            if change is not None:
                change.cancel()
        if not line:
            self.over = True
            return
        done = without_end(line).upper() == b"DONE"
        self.note("DONE" if done else octets(without_end(line)))
        await self.say(*self._news(), self._tagged(tag, "IDLE") if done else f"{tag} BAD DONE is all that ends IDLE")

    def _own(self, verb: str) -> Callable[[str], Awaitable[None]] | None:
        """Return what does a command that is no session's; None for one that is."""
        own = {
            "CAPABILITY": self._tell_capabilities,
            "ID": self._tell_id,
            "NOOP": self._tell_news,
            "LOGOUT": self._log_out,
            "IDLE": self._idle,
        }
        return own.get(verb)

    def capabilities(self) -> list[str]:
        """Return what is told as capabilities now."""
        names, further = served(
            authenticated=self.identity is not None, tls=self.connection.tls, login=self.takes(LOGIN)
        )
        return self.manner.told(names, further)


def _untagged(response: bytes) -> Line:
    return Line(b"* %b\r\n" % response, "* " + response[:_SHOWN].decode("utf-8", "replace"))


def _unknown(tag: str, why: str) -> Line:
    """Refuse what is no command. Its tag is none either, and may be anything that a client out of step has sent."""
    return Line(f"{tag} BAD {why}\r\n".encode("ascii"), f"* BAD {why}")
