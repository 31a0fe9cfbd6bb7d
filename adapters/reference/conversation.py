"""What the servers of the three protocols share: reading and answering, logins, deadlines, and what is kept of it.

A conversation is what both sides say on one connection. It keeps a redacted transcript and a record of each login
attempt, so that whoever tests a client can ask what it did.
"""

from __future__ import annotations

import asyncio
import logging
import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, final

from sasl.channel import Channel
from sasl.errors import UsageError, place_of
from sasl.limits import DEFAULT_LIMITS, Limits
from sasl.policy import DEFAULT_POLICY, Policy, against, offer
from sasl.registry import canonical, known_mechanisms, loaded_row, lookup
from sasl.secret import octets
from sasl.settlement import settle_async
from sasl.steps import CheckCertificate, Failure, Question, Success
from sasl.text import printable
from sasl.value import value

from ..channel_binding import bindings
from ..wire.line import Line, plain_line
from .certificates import ServerContext
from .checks import hashes_of, known_options, options_for

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Collection, Iterator

    from sasl.registry import Mechanism

    from ..wire.server import Server
    from ..wire.starttls import StartTlsServer
    from .checks import Checks
    from .connection import Connection

_log: Final = logging.getLogger("sasl")

_KEPT_LINES: Final = 1_000
_KEPT_ATTEMPTS: Final = 100
_SHOWN: Final = 200  # characters of a line in the transcript
_HURRIED: Final = 0.1  # seconds of grace when the server shuts down


@final
@value
class Settings:
    """How the servers behave.

    Attributes:
        deadline: seconds that a client has, before it is logged in, for one command with all that belongs to it:
            a whole login exchange, a TLS handshake.
        idle: the same once it is logged in.
        grace: seconds to wait for a client that does not take what it was sent, when the connection is closed.
        failures: refused logins after which the connection is closed.
        policy: what may be offered without TLS, and what is off unless it is named there: CRAM-MD5, DIGEST-MD5,
            ANONYMOUS.
        mechanisms: the only mechanisms to offer; None for all that the verifier can serve.
        common_name: whether the commonName of a client certificate may name the user, where no mailbox is named at all.
        hosts: the names that a client may have meant (OAUTHBEARER, DIGEST-MD5); empty for any.
        check_port: whether it must also have meant the port that it is connected to.
        limits: of the exchanges.
    """

    deadline: float = 60.0
    idle: float = 1800.0
    grace: float = 1.0
    failures: int = 10
    policy: Policy = DEFAULT_POLICY
    mechanisms: Collection[str] | None = None
    common_name: bool = False
    hosts: Collection[str] = ("localhost", "127.0.0.1", "::1")
    check_port: bool = True
    limits: Limits = DEFAULT_LIMITS


DEFAULT_SETTINGS: Final = Settings()


@final
@value
class Attempt:
    """One login attempt, as the server saw it.

    Attributes:
        mechanism: its name, or "IMAP-LOGIN" or "POP-USER"; "" where the client named none.
        tls: whether it went over TLS.
        initial_response: whether the client sent one with the command.
        turns: how many lines the client sent for it.
        outcome: "accepted", one of `sasl.KINDS`, or "unfinished": the client went away, or was too slow.
        identity: who is logged in now, or None.
        reason: why not, in words that the client was not told.
    """

    mechanism: str
    tls: bool
    initial_response: bool
    turns: int
    outcome: str
    identity: str | None = None
    reason: str = ""


class Conversation(ABC):
    """What both sides say on one connection, from the greeting to its end.

    Attributes:
        transcript: the last lines as (direction, shown), "C" from the client and "S" from the server. No line
            that may hold a secret is in it: of those it says only how many octets they had.
        attempts: the last login attempts.
        identity: who is logged in, or None.
        over: whether the server ends the connection now.
    """

    service: ClassVar[str]
    farewells: ClassVar[Mapping[str, str]]
    """What is said before the server ends the connection: "late", "failures", "shutdown", "broken"."""

    def __init__(
        self, connection: Connection, verifier: Checks, settings: Settings, context: ssl.SSLContext, *, port: int
    ) -> None:
        self.connection = connection
        self.verifier = verifier
        self.settings = settings
        self.transcript: deque[tuple[str, str]] = deque(maxlen=_KEPT_LINES)
        self.attempts: deque[Attempt] = deque(maxlen=_KEPT_ATTEMPTS)
        self.identity: str | None = None
        self.over = False
        self._context = context
        self._port = port
        self._bindings: Mapping[str, bytes] = {}
        self._certificate: bytes | None = None  # the client's, DER
        self._failures = 0
        self._lines = 0
        self._longest = self.wire([]).longest_line

    async def run(self, *, implicit_tls: bool) -> None:
        """Serve the client until one side ends it. Raises nothing but CancelledError, after it said goodbye."""
        grace = self.settings.grace
        try:
            await self._serve(implicit_tls=implicit_tls)
        except TimeoutError:
            self._farewell("late")
        except asyncio.CancelledError:
            self._farewell("shutdown")
            grace = min(grace, _HURRIED)
            raise
        except Exception as error:
            self._farewell("broken")
            _log.error("the %s server failed with %s at %s", self.service, type(error).__name__, place_of(error))
        finally:
            await self.connection.close(grace=grace)

    async def _serve(self, *, implicit_tls: bool) -> None:
        async with asyncio.timeout(self.settings.deadline):
            self.over = implicit_tls and not await self._handshake()
            if not self.over:
                await self.say(*self.greeting())
        while not self.over:
            async with asyncio.timeout(self.settings.deadline if self.identity is None else self.settings.idle):
                line = await self.read()
                if not line:
                    return
                await self.command(line)

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

    # --- for the protocols

    @property
    def channel(self) -> Channel:
        """The connection, as mechanisms and policy see it."""
        tls, port = self.connection.tls, self._port if self.settings.check_port else None
        return Channel(tls=tls, loopback=True, service=self.service, port=port, bindings=self._bindings)

    @property
    def offered(self) -> list[str]:
        """The mechanisms to advertise now, the strongest first; EXTERNAL to those who showed a certificate."""
        answers = set(self.verifier.answers)
        if self._certificate is None:
            answers.discard(CheckCertificate)
        names = offer(self.channel, self.settings.policy, answers, hashes_of(self.verifier))
        wanted = self.settings.mechanisms
        return names if wanted is None else [name for name in names if name in map(canonical, wanted)]

    def takes(self, command: str) -> bool:
        """Whether a login command may be used now: one that sends the password, where a plaintext mechanism may."""
        return not against(lookup(command), self.settings.policy, self.channel)

    @property
    def wire_settings(self) -> dict[str, Any]:
        """What every wire is given."""
        return {
            "channel": self.channel,
            "limits": self.settings.limits,
            "options": _Options(self._options),
            "authenticated": self.identity is not None,
        }

    async def read(self) -> bytes:
        """Return the client's next line, b"" if there is none. Whoever asked notes how it is shown."""
        line = await self.connection.read_line(self._longest)
        self._lines += bool(line)
        return line

    def is_too_long(self, line: bytes) -> bool:
        """Whether a line is one that was cut. The wires see that for themselves."""
        return len(line) > self._longest

    def note(self, shown: str) -> None:
        """Put what the client sent into the transcript."""
        self.transcript.append(("C", _excerpt(shown)))

    async def say(self, *lines: str | Line) -> None:
        """Send lines, all of them in one write."""
        sent = [text if isinstance(text, Line) else plain_line(text) for text in lines]
        self.transcript += [("S", _excerpt(line.shown)) for line in sent]
        self.connection.write(b"".join(line.octets for line in sent))
        await self.connection.drain()

    async def authenticate(self, line: bytes, command: str) -> None:
        """Run the login that a command line begins; `command` is how it begins, up to the mechanism."""
        offered = self.offered
        arguments = line.rstrip()[len(command) :]
        word, _, message = arguments.removeprefix(b" ").partition(b" ")
        name = _mechanism_name(word, offered) if arguments.startswith(b" ") else ""
        if name:
            self.note(f"{command} {name} {_message(message)}" if message else f"{command} {name}")
        else:
            self.note(f"{command} {octets(arguments)}" if arguments else command)
        await self.converse(name, self.wire(offered), line, shown=_message, initial=bool(name and message))

    async def converse(
        self,
        name: str,
        wire: Server,
        line: bytes,
        *,
        shown: Callable[[bytes], str] = octets,
        initial: bool = False,
    ) -> None:
        """Run the login that a command line begins; `shown` says how the lines that follow it are noted."""
        begun = self._lines - 1
        try:
            said = await self._settle(wire, wire.receive(line))
            while wire.result is None:
                if said is not None:
                    await self.say(said)
                line = await self.read()
                if not line:
                    return
                self.note(shown(line.rstrip(b"\r\n")))
                said = await self._settle(wire, wire.receive(line))
        finally:
            self._record(name, wire, initial=initial, turns=self._lines - begun)
        assert said is not None  # noqa: S101 -- a wire that has its result has something to say
        await self._conclude(wire, said)

    async def log_in(self, name: str, wire: Server, line: bytes, *, turns: int = 1) -> None:
        """Take one line of a login that answers each of them by a line of text: APOP, USER, PASS."""
        try:
            said = await self._settle(wire, wire.receive(line))
        finally:
            if wire.result is not None or wire.exchange is not None:  # else the password is still to come
                self._record(name, wire, initial=False, turns=turns)
        assert said is not None  # noqa: S101 -- these wires always have
        await self._conclude(wire, said)

    async def start_tls(self, kind: type[StartTlsServer], line: bytes) -> bool:
        """Answer STARTTLS; return whether TLS was to begin then. The handshake follows the yes at once."""
        wire = kind(tls=self.connection.tls, authenticated=self.identity is not None)
        said = wire.receive(line, self.connection.unread)
        self.over = wire.must_close
        await self.say(said)
        if wire.failure is not None:
            return False
        self.over = not await self._handshake()
        return True

    # --- helpers

    async def _handshake(self) -> bool:
        """Begin TLS; note what it says about the two sides of it."""
        if not await self.connection.start_tls(self._context, grace=self.settings.grace):
            return False
        tls = self.connection.ssl_object
        if tls is not None:
            exporters = self._context.exporters if isinstance(self._context, ServerContext) else None
            export = None if exporters is None else exporters.take(tls)
            context = tls.context if isinstance(tls.context, ServerContext) else self._context  # one of its own, or not
            own = context.certificate if isinstance(context, ServerContext) else None
            self._bindings = bindings(tls, server_side=True, certificate=own, exporter=export)
            self._certificate = tls.getpeercert(binary_form=True)
        return True

    def _options(self, row: Mechanism) -> Mapping[str, Any]:
        """Return what the script of a row is told: what it knows of this, and what the verifier has for it."""
        ours = {"hosts": self.settings.hosts, "realm": self._realm, "certificate": self._certificate}
        known = known_options(row)
        return {name: told for name, told in ours.items() if name in known} | dict(options_for(self.verifier, row))

    @property
    def _realm(self) -> str:
        """The realm of DIGEST-MD5: the first of our names, as curl puts the realm where a host belongs."""
        hosts = self.settings.hosts
        return hosts if isinstance(hosts, str) else next(iter(hosts), "")

    async def _settle(self, wire: Server, said: Line | Question | None) -> Line | None:
        """Answer the wire's questions until it has a line to send, or wants to read one."""
        while isinstance(said, Question):
            assert wire.exchange is not None  # noqa: S101 -- a question comes from one
            said = wire.answered(await settle_async(wire.exchange, said, self.verifier))
        return said

    def _record(self, name: str, wire: Server, *, initial: bool, turns: int) -> None:
        """Note how an attempt ended; one that has not is over now: its script holds what the client sent."""
        tls, result = self.connection.tls, wire.result
        if isinstance(result, Success):
            self.identity = result.identity
            attempt = Attempt(name, tls, initial, turns, "accepted", result.identity)
        elif isinstance(result, Failure):
            self._failures += 1
            attempt = Attempt(name, tls, initial, turns, result.kind, reason=result.reason)
        else:
            attempt = Attempt(name, tls, initial, turns, "unfinished")
            wire.lost()
        self.attempts.append(attempt)
        _log.debug("%s: %s: %s %s", self.service, name, attempt.outcome, attempt.identity or attempt.reason)

    async def _conclude(self, wire: Server, said: Line) -> None:
        """Say what a login came to; it may have been one too many."""
        self.over = wire.must_close
        await self.say(said)
        if self._failures >= self.settings.failures:
            self._farewell("failures")

    def _farewell(self, why: str) -> None:
        """Say why the connection ends, if the protocol has a way to, and end it."""
        self.over = True
        if text := self.farewells.get(why):
            self.transcript.append(("S", text))
            self.connection.write(plain_line(text).octets)


@final
class _Options(Mapping[str, Mapping[str, Any]]):
    """The options of mechanisms by name, made where a wire asks for them: it runs one mechanism and knows them all."""

    def __init__(self, options: Callable[[Mechanism], Mapping[str, Any]]) -> None:
        self._options = options

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        return self._options(lookup(name))

    def __iter__(self) -> Iterator[str]:
        return (row.name for row in known_mechanisms())

    def __len__(self) -> int:
        return len(known_mechanisms())


def _mechanism_name(word: bytes, offered: Collection[str]) -> str:
    """The name of a mechanism; "" for what is none: a client that is out of step may have sent a secret there."""
    try:
        name = canonical(word)
    except UsageError:
        return ""
    return name if name in offered or loaded_row(name) is not None else ""


_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]*={0,2}")


def _message(text: bytes) -> str:
    """How a line of an exchange is shown: by the size of what it holds."""
    if text in (b"*", b"="):
        return text.decode("ascii")
    if len(text) % 4 == 0 and _BASE64.fullmatch(text):
        return f"<{len(text) // 4 * 3 - text.count(b'=')} octets>"
    return octets(text)


def _excerpt(text: str) -> str:
    return printable(text, limit=_SHOWN, instead="?")
