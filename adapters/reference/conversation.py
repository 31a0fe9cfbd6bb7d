"""What the servers of the three protocols share: reading and answering, logins, deadlines, and what is kept of it.

A conversation is what both sides say on one connection. It keeps a redacted transcript and a record of each login
attempt, so that whoever tests a client can ask what it did.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from sasl.channel import Channel
from sasl.errors import place_of
from sasl.policy import against, offer
from sasl.registry import canonical, lookup
from sasl.secret import octets
from sasl.settlement import settle_async
from sasl.steps import CheckCertificate, CheckPassword, CheckToken, Failure, Question, Rejected, Success

from ..wire.line import Line, plain_line, without_end
from .checks import OptionsByName, hashes_of, options_here
from .faults import Place
from .journal import Attempt
from .lifetimes import Lifetime
from .manner import Manner
from .scopes import refuse
from .security import NO_TLS, Security
from .shown import events_of, excerpt, mechanism_name, shown_command, shown_login, shown_message
from .signed import digest
from .strike import Strike

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

    from sasl.registry import Mechanism

    from ..wire.server import Server
    from ..wire.starttls import StartTlsServer
    from .backend import Backend
    from .connection import Connection
    from .strike import Shape

_log: Final = logging.getLogger("sasl")

_KEPT_LINES: Final = 1_000
_KEPT_ATTEMPTS: Final = 100
_HURRIED: Final = 0.1  # seconds of grace when the server shuts down


class Conversation(ABC):
    """What both sides say on one connection, from the greeting to its end.

    Attributes:
        transcript: the last lines as (direction, shown), "C" from the client and "S" from the server. No line
            that may hold a secret is in it: of those it says only how many octets they had.
        attempts: the last login attempts.
        identity: who is logged in, or None.
        misfit: "wrong_scope" if the last token that came is good, but not for mail by this protocol.
        manner: what the persona of the servers makes of it.
        over: whether the server ends the connection now.
        record: what the journal keeps of it.
        shape: how octets leave while a fault strikes, else None.
    """

    service: ClassVar[str]
    farewells: ClassVar[Mapping[str, str]]
    """What is said before the server ends the connection: "crowded", "late", "failures", "shutdown", "broken"."""

    def __init__(self, connection: Connection, backend: Backend, *, port: int) -> None:
        self.connection = connection
        self.backend = backend
        self.verifier = backend.verifier
        self.settings = backend.settings
        self.transcript: deque[tuple[str, str]] = deque(maxlen=_KEPT_LINES)
        self.attempts: deque[Attempt] = deque(maxlen=_KEPT_ATTEMPTS)
        self.identity: str | None = None
        self.misfit = ""
        self.manner = Manner(backend.persona, self)
        self.over = False
        self.record = backend.journal.open(self.service, port, self.transcript)
        self.shape: Shape | None = None
        self.struck_out = False  # whether a fault has refused the credential
        self._deadline: asyncio.Timeout | None = None  # of what the client does now
        self._verb = ""  # of the command that is obeyed now
        self._noted = False  # whether it was noted before it was looked at
        self._said: Line | None = None  # what a login has to say next
        self._security = Security(backend.context)
        self._port = port
        self._end = ""  # why the session ends, once somebody has said so
        self._told = False  # and whether the client has been told
        self._token: bytes | None = None  # the hash of the last one that came
        self._lifetime = Lifetime(backend, partial(backend.persona.limit, self.service), self.end)
        self._scope: asyncio.Timeout | None = None  # what the wait for the next line can be ended by
        self._failures = self._lines = 0
        self._longest = self.wire([]).longest_line

    async def run(self, *, implicit_tls: bool) -> None:
        """Serve the client until one side ends it. Raises nothing but CancelledError, after it said goodbye."""
        grace = self.settings.grace
        try:
            if len(self.backend.open) < self.settings.connections:
                self.backend.open.add(self)
                await self._serve(implicit_tls=implicit_tls)
            elif not implicit_tls:  # it is worth no handshake
                self._farewell("crowded")
        except TimeoutError:
            self._farewell(self._end or "late")
        except asyncio.CancelledError:
            self._farewell("shutdown")
            grace = min(grace, _HURRIED)
            raise
        except Exception as error:
            self._farewell("broken")
            _log.error("the %s server failed with %s at %s", self.service, type(error).__name__, place_of(error))
        finally:
            self.backend.open.discard(self)
            self._lifetime.stop()
            self.record.end()
            await self.connection.close(grace=grace)

    async def _serve(self, *, implicit_tls: bool) -> None:
        async with asyncio.timeout(self.settings.deadline) as self._deadline:
            self.over = implicit_tls and not await self._handshake()
            if not self.over:
                await self.meet("GREETING", self._say_greeting)
        while not self.over:
            seconds = self.settings.deadline if self.identity is None else self._lifetime.idle
            async with asyncio.timeout(seconds) as self._deadline:
                line = await self.next_line()
                if not line:
                    return
                if self._end:
                    self._answer_by_farewell(line)
                    return
                await self._serve_command(line)
            await self.connection.give_way()
            if self._end and not self.over and self._goodbye(self._end)[1]:
                self._farewell(self._end)

    async def _say_greeting(self) -> None:
        if await self.connection.peek():
            self.record.judge.speak_early("before-greeting")
        await self.say(*self.greeting())

    async def _serve_command(self, line: bytes) -> None:
        """Take a command line, or let the fault strike that waits for it."""
        self._verb, self._noted, self.struck_out = self.verb(line), False, False
        self.record.change(tls=self.connection.tls, user=self.identity)
        self.record.begin(self._verb, line, tls=self.connection.tls)
        if not await self.meet(self._verb, partial(self.command, line), line=line):
            self.attempts += self.record.struck(self.offered, tls=self.connection.tls, refused=self.struck_out)
        self.record.change(tls=self.connection.tls, user=self.identity)

    async def meet(self, event: str, act: Callable[[], Awaitable[None]], *, line: bytes = b"") -> bool:
        """Let something happen, or the fault strike that waits for it; return whether it has happened.

        Where it has not, the fault has said all that there is to say. `event` is a name in capitals, `line` the command
        line that is answered.
        """
        effects = self.backend.faults.strike(Place(self.service, self.identity, self.record.number), events_of(event))
        if not effects:
            await act()
            return True
        return await Strike(self, act, line).run(effects)

    def end(self, why: str) -> None:
        """End the session, with the farewell of that name: at once where a command is waited for, else after it.

        Where the client is told at once, that is done when this returns. Some servers tell it as the answer to the
        next command.
        """
        if self._end or self.over:
            return
        self._end = why
        if self._scope is not None and self._goodbye(why)[1]:
            self._farewell(why)
            self._scope.reschedule(asyncio.get_running_loop().time())

    def review(self) -> None:
        """End the session if its time is over, by the clock or because what it rests on is good no more."""
        self._lifetime.review()

    # --- what a protocol says

    @abstractmethod
    def greeting(self) -> list[str]:
        """Return the lines to begin with."""

    @abstractmethod
    async def command(self, line: bytes) -> None:
        """Take one command, with its line end, and answer it."""

    @abstractmethod
    def wire(self, offered: Collection[str]) -> Server:
        """Return a new wire for one login, which knows whether another one has to come first."""

    def capabilities(self) -> list[str]:
        """Return what is told as capabilities now, after a login too."""
        return []

    @abstractmethod
    def verb(self, line: bytes) -> str:
        """Return the name of the command that a line begins, in capitals; "" for what is none."""

    # --- for the protocols

    @property
    def channel(self) -> Channel:
        """The connection, as mechanisms and policy see it."""
        tls, port = self.connection.tls, self._port if self.settings.check_port else None
        local, bound = self.connection.is_local, self._security.bindings
        return Channel(tls=tls, loopback=local, service=self.service, port=port, bindings=bound)

    @property
    def offered(self) -> list[str]:
        """The mechanisms to advertise now, the strongest first; EXTERNAL to those who showed a certificate."""
        answers = set(self.verifier.answers)
        if self._security.certificate is None:
            answers.discard(CheckCertificate)
        names = offer(self.channel, self.settings.policy, answers, hashes_of(self.verifier))
        wanted = self.settings.mechanisms
        if wanted is None:
            return self.manner.mechanisms(names)
        return [name for name in names if name in map(canonical, wanted)]

    def takes(self, command: str) -> bool:
        """Whether a login command may be used now: one that sends the password, where a plaintext mechanism may."""
        allowed = not against(lookup(command), self.settings.policy, self.channel)
        return allowed and self.manner.persona.takes(self.service, command)

    @property
    def wire_settings(self) -> dict[str, Any]:
        """What every wire is given."""
        return {
            "channel": self.channel,
            "limits": self.settings.limits,
            "options": OptionsByName(self._options),
            "authenticated": self.identity is not None,
        }

    async def read(self) -> bytes:
        """Return the client's next line, b"" if there is none. Whoever asked notes how it is shown."""
        line = await self.connection.read_line(self._longest)
        self._lines += bool(line)
        return line

    async def next_line(self) -> bytes:
        """Do what `read` does, where a session may be ended meanwhile: between commands, and while IDLE lasts.

        Raises TimeoutError when it is.
        """
        try:
            async with asyncio.timeout(None) as self._scope:
                line = await self.read()
        finally:
            self._scope = None
        if self.over:  # the session was ended when a line had come already
            raise TimeoutError
        self._lifetime.hear()
        return line

    async def read_response(self, shown: Callable[[bytes], str] | None = None) -> bytes:
        """Return the client's next line in a login, b"" if there is none; `shown` says how it is noted."""
        line = await self.read()
        if line:
            self.note((shown or shown_message)(line.rstrip(b"\r\n")))
            self.record.judge.respond(line, tls=self.connection.tls)
        return line

    def advertise(self, names: Iterable[str]) -> list[str]:
        """Return what is told as capabilities instead of these: faults may hide some, or offer more.

        They are IMAP's names, or lines of CAPA or of EHLO without code. To be asked wherever they are told.
        """
        told = self.bend(names)
        self.record.judge.advertise(told)
        return told

    def bend(self, names: Iterable[str]) -> list[str]:
        """Do what `advertise` does, for what is told only if a login succeeds."""
        return self.backend.faults.advertise(Place(self.service, self.identity, self.record.number), names)

    def put_off(self, seconds: float | None) -> None:
        """Give the client so many seconds more for what it does now; None for all the time there is."""
        if self._deadline is not None and (when := self._deadline.when()) is not None:
            self._deadline.reschedule(None if seconds is None else when + seconds)

    def bid_farewell(self, text: str) -> None:
        """Say goodbye in these words, or in those of a server that fails, and end the connection."""
        self._bid([text] if text else self._goodbye("broken")[0])

    def is_too_long(self, line: bytes) -> bool:
        """Whether a line is one that was cut. The wires see that for themselves."""
        return len(line) > self._longest

    def note(self, shown: str) -> None:
        """Put what the client sent into the transcript, the first time for the journal too."""
        if self._noted:
            self._noted = False
            return
        self.transcript.append(("C", excerpt(shown)))
        self.record.note(excerpt(shown))

    def note_early(self, line: bytes) -> None:
        """Note a command line that a fault looks at before the server does, or instead of it, by its first words."""
        if self._noted:
            return
        self.note(shown_command(line, self.record.shown_tag, self.record.name))
        self._noted = True

    async def say(self, *lines: str | Line) -> None:
        """Send lines, all of them in one write."""
        sent = [text if isinstance(text, Line) else plain_line(text) for text in lines]
        self.transcript += [("S", excerpt(line.shown)) for line in sent]
        self.record.judge.say([line.shown for line in sent])
        await self.write(b"".join(line.octets for line in sent))

    async def write(self, octets: bytes) -> None:
        """Send octets, all in one write. Whoever asked has noted how they are shown."""
        if self.shape is None:
            self.connection.write(octets)
            await self.connection.drain()
        else:
            await self.shape.write(self.connection, octets)

    async def authenticate(self, line: bytes, command: str) -> None:
        """Run the login that a command line begins; `command` is how it begins, up to the mechanism."""
        offered = self.offered
        arguments = line.rstrip()[len(command) :]
        word, _, message = arguments.removeprefix(b" ").partition(b" ")
        name = mechanism_name(word, offered) if arguments.startswith(b" ") else ""
        self.note(shown_login(command, name, message) if name else shown_login(command, "", arguments))
        wire, initial = self.wire(offered), bool(name and message)
        against = self.manner.against(line, initial=initial)
        if against is None:
            await self.converse(name, wire, line, shown=shown_message, initial=initial)
            return
        wire.answered(against)
        self._record(name, wire, initial=initial, turns=1)
        self._said = plain_line(command.removesuffix("AUTH").removesuffix("AUTHENTICATE") + wire.replies[against.kind])
        await self._end_login(wire)

    async def converse(
        self, name: str, wire: Server, line: bytes, *, shown: Callable[[bytes], str] = octets, initial: bool = False
    ) -> None:
        """Run the login that a command line begins; `shown` says how the lines that follow it are noted."""
        begun = self._lines - 1
        try:
            await self._go_on(wire, line)
            while wire.result is None:
                line = await self.read_response(shown)
                if not line:
                    return
                gone_on = await self.meet(f"{self._verb}:CONTINUATION", partial(self._go_on, wire, line))
                if not gone_on or self.over:
                    return
        finally:
            self._record(name, wire, initial=initial, turns=self._lines - begun)
        await self._end_login(wire)

    async def log_in(self, name: str, wire: Server, line: bytes, *, turns: int = 1) -> None:
        """Take one line of a login that answers each of them by a line of text: APOP, USER, PASS."""
        try:
            await self._feed(wire, line)
        finally:
            if wire.result is not None or wire.exchange is not None:  # else the password is still to come
                self._record(name, wire, initial=False, turns=turns)
        await self._end_login(wire)

    async def start_tls(self, kind: type[StartTlsServer], line: bytes) -> bool:
        """Answer STARTTLS; return whether TLS was to begin then. The handshake follows the yes at once."""
        wire = kind(tls=self.connection.tls, authenticated=self.identity is not None)
        if self.connection.unread and not self.connection.tls:
            self.record.judge.speak_early("across-starttls")
        said = wire.receive(line, self.connection.unread)
        self.over = wire.must_close
        if wire.failure is not None:
            await self.say(said)
            return False
        await self.say(*self.manner.lines("starttls", said.shown, tag=said.shown.partition(" ")[0]))
        self.over = not await self._handshake()
        return True

    # --- helpers

    async def _handshake(self) -> bool:
        """Begin TLS."""
        begun = await self._security.begin(self.connection, grace=self.settings.grace)
        if begun:
            self.record.judge.secure()
        elif self.connection.tls_failure in NO_TLS:
            self.record.judge.speak_early("before-handshake")
        return begun

    def _options(self, row: Mechanism) -> Mapping[str, Any]:
        """Return what the script of a row is told: what it knows of this, and what the verifier has for it."""
        explained = self.manner.explain(row.name)
        return options_here(
            self.verifier, row, self.settings.hosts, certificate=self._security.certificate, error_challenge=explained
        )

    async def _feed(self, wire: Server, line: bytes) -> None:
        """Give the wire a line of the client's; keep what it has to say to it."""
        self._said = await self._settle(wire, wire.receive(line))

    async def _go_on(self, wire: Server, line: bytes) -> None:
        """Give the wire a line of the client's, and say what it has to say to it unless that ends the login."""
        await self._feed(wire, line)
        if wire.result is None and self._said is not None:
            await self.say(self.manner.challenge(self._said))
            self.record.judge.challenge(without_end(self._said.octets).removeprefix(wire.prompt))

    async def _end_login(self, wire: Server) -> None:
        """Say what the wire has said to its last line; where it has its result, that is the end of the login."""
        said, self._said = self._said, None
        assert said is not None  # noqa: S101 -- a wire that wants no more lines has something to say
        if wire.result is None:  # POP3's USER: the password is still to come
            await self.say(*self.manner.lines("user", said.shown))
        else:
            await self.meet(f"{self._verb}:END", partial(self._conclude, wire, said))

    async def _settle(self, wire: Server, said: Line | Question | None) -> Line | None:
        """Answer the wire's questions until it has a line to send, or wants to read one."""
        while isinstance(said, Question):
            assert wire.exchange is not None  # noqa: S101 -- a question comes from one
            if (refusal := self._against(said)) is not None:
                said = wire.answered(wire.exchange.answer(refusal))
            else:
                said = wire.answered(await settle_async(wire.exchange, said, self.verifier))
        return said

    def _against(self, question: Question) -> Rejected | None:
        """Return what there is against credentials before anybody looks whether they are right; keep a token's hash."""
        if isinstance(question, CheckPassword) and not self.manner.persona.takes_passwords(self.service):
            return Rejected("no passwords are taken here", "policy")
        if not isinstance(question, CheckToken):
            return None
        self._token = digest(question.token.reveal())
        refusal = refuse(self.backend.identity.standing(self._token), self.service)
        self.misfit = "wrong_scope" if refusal is not None else ""
        return refusal

    def _record(self, name: str, wire: Server, *, initial: bool, turns: int) -> None:
        """Note how an attempt ended; one that has not is over now: its script holds what the client sent."""
        if isinstance(wire.result, Success):
            wire.result = self.manner.turns_away(wire.result.identity) or wire.result
        tls, result = self.connection.tls, wire.result
        token, self._token = self._token, None
        if isinstance(result, Success):
            self.identity = result.identity
            self._lifetime.begin(result.identity, token)
            attempt = Attempt(name, tls, initial, turns, "accepted", result.identity)
        elif isinstance(result, Failure):
            self._failures += 1
            attempt = Attempt(name, tls, initial, turns, result.kind, reason=result.reason)
        else:
            attempt = Attempt(name, tls, initial, turns, "unfinished")
            wire.lost()
        self.attempts.append(self.record.attempt(attempt, self.offered))
        _log.debug("%s: %s: %s %s", self.service, name, attempt.outcome, attempt.identity or attempt.reason)

    async def _conclude(self, wire: Server, said: Line) -> None:
        """Say what a login came to; it may have been one too many."""
        command = "LOGIN" if self.attempts[-1].mechanism == "IMAP-LOGIN" else "AUTHENTICATE"
        lines, self.over = self.manner.outcome(wire, said, command, self.bend(self.capabilities()))
        await self.say(*lines)
        if self._failures >= self.settings.failures:
            self._farewell("failures")

    def _goodbye(self, why: str) -> tuple[list[str], bool]:
        """Return what is said when the session ends, and whether that is at once or as the answer to a command."""
        return self.manner.goodbye(why) or ([self.farewells[why]] if why in self.farewells else [], True)

    def _answer_by_farewell(self, line: bytes) -> None:
        """Answer a command by the end of the session."""
        self.record.begin(self.verb(line), line, tls=self.connection.tls)
        self.note_early(line)
        self._farewell(self._end)

    def _farewell(self, why: str) -> None:
        """Say why the connection ends, if the protocol has a way to, and end it."""
        self._bid(self._goodbye(why)[0])

    def _bid(self, lines: Iterable[str]) -> None:
        """Say the last lines, unless that was done, and end the connection."""
        self.over = True
        if self._told:
            return
        self._told = True
        for text in lines:
            self.transcript.append(("S", excerpt(text)))
            self.connection.write(plain_line(text).octets)
