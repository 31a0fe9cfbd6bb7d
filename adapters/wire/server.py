"""What the server wires share: the command, base64, `*`, `=`, limits, who answers the questions, and the verdict."""

from __future__ import annotations

import re
from functools import lru_cache

from sasl import base64
from sasl.channel import UNKNOWN_CHANNEL, Channel
from sasl.errors import LimitExceeded, MechanismUnavailable, SASLError, UsageError
from sasl.exchange import NEW, OPEN
from sasl.limits import DEFAULT_LIMITS, Limits
from sasl.registry import canonical, loaded_row, lookup, server
from sasl.steps import Challenge, Failure, Question, Success
from sasl.typed import TYPE_CHECKING, final
from sasl.value import replace, value

from .line import Line, plain_line, without_end

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping
    from typing import Any, ClassVar, Final, TypeAlias

    from sasl.errors import Kind
    from sasl.registry import Mechanism
    from sasl.server_exchange import ServerExchange
    from sasl.steps import Event

    Script: TypeAlias = Generator[Line | None, bytes, "tuple[bytes, bytes] | Refusal"]
    """The lines of a login command: gives what to send or None, takes the next line with its end.

    It returns user name and password, or why no verifier gets to see them.
    """

TOO_LONG: Final = Failure("limit", "a command line that is too long")
TORN: Final = Failure("malformed", "CR, LF or NUL within a line")
_ROOM_FOR_A_COMMAND: Final = 1024
_ARGUMENTS: Final = re.compile(rb"([^ ]+)(?: ([^ ]+))?")
_NO_OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {}


@final
@value
class Refusal:
    """Why a login command reaches no verifier.

    Attributes:
        failure: what the login comes to.
        line: what to say; None for what is said to that kind of failure.
        must_close: whether to close the connection then.
    """

    failure: Failure
    line: Line | None = None
    must_close: bool = False


class Server:
    """The server's side of one login, without what the client says for it.

    `offered` are the mechanisms that were advertised (`sasl.offer`), and the login commands that may be used: what is
    none of them is refused, and a client may say that it saw no -PLUS ("y", RFC 5801 section 5) where there is none;
    `options` are those of mechanisms and commands, by name; under the name of a family (`Mechanism.family`) those of
    all its mechanisms that have none of their own: {"SCRAM": {"decoy": ...}}. `authenticated` refuses the command
    because the session is authenticated already.

    Attributes:
        exchange: the SASL exchange, once the client has begun it.
        result: Success or Failure when it is over, else None.
        must_close: whether to close the connection once the last line is sent.
        longest_line: octets that a reader must take from the client in one line, with its CRLF.
    """

    response_limit: int = base64.size(DEFAULT_LIMITS.message)
    """Octets of base64 in one response."""
    prompt: ClassVar[bytes]
    """What stands before a challenge."""
    replies: ClassVar[Mapping[str, str]]
    """What is said to a login that is "accepted", and to each kind of failure."""

    def __init__(
        self,
        offered: Collection[str],
        *,
        channel: Channel = UNKNOWN_CHANNEL,
        limits: Limits = DEFAULT_LIMITS,
        options: Mapping[str, Mapping[str, Any]] | None = None,
        authenticated: bool = False,
    ) -> None:
        self.exchange: ServerExchange | None = None
        self.result: Success | Failure | None = None
        self.must_close = False
        self.longest_line = self.response_limit + _ROOM_FOR_A_COMMAND
        self._offered = _canonical_names(tuple(offered))
        self._channel = channel
        self._limits = limits
        self._options = options or _NO_OPTIONS
        self._authenticated = authenticated
        self._question: Question | None = None
        self._command = ""  # the login command whose script runs
        self._script: Script | None = None

    def receive(self, line: bytes) -> Line | Question | None:
        """Take the command line, then each line that the client sends for it, as it was read.

        Return the line to send or a question to answer; None: read another line, which only IMAP's LOGIN wants.
        Raises UsageError after the end and while a question is open.
        """
        if self.result is not None or self._question is not None:
            raise UsageError("receive() after the end, or while a question is open")
        if self.exchange is not None:
            return self.answered(self._response(self.exchange, without_end(line)))
        return self._begin(line) if self._script is None else self._go_on(self._script, line)

    def answered(self, event: Event) -> Line | Question:
        """Take what `sasl.settle` made of a question, or any event; return the line to send or the next question.

        Raises UsageError after the end.
        """
        if self.result is not None:
            raise UsageError("answered() after the end")
        self._question = None
        if isinstance(event, Question):
            self._question = event
            return event
        if isinstance(event, Challenge):
            octets = b"%b%b\r\n" % (self.prompt, base64.encode(event.data))
            return Line(octets, f"{self.prompt.decode('ascii')}<{len(event.data)} octets>")
        self.result = event
        return self._reply("accepted" if isinstance(event, Success) else event.kind)

    def lost(self) -> None:
        """End a login that has no result yet: the client is gone. Nothing is kept of what it sent."""
        if self._script is not None:
            self._script.close()
        if self.exchange is not None and self.exchange.state in (NEW, OPEN):
            self.exchange.cancel()
        self._question = None
        self.result = self.result or Failure("cancelled", "the client is gone")

    # --- what a protocol says

    def _begin(self, line: bytes) -> Line | Question | None:
        """Take the command line."""
        raise NotImplementedError  # pragma: no cover -- each protocol has its own

    def _reply(self, kind: str) -> Line:
        """Return what is said to what a login has come to."""
        return plain_line(self.replies[kind])

    # --- what they share

    def _run(self, command: str, script: Script) -> Line | Question | None:
        """Begin the script of a login command."""
        self._command, self._script = command, script
        return self._go_on(script, None)

    def _against(self, name: str) -> Failure | None:
        """What stands against a mechanism or a login command that is known here; None if nothing."""
        if self._authenticated:
            return Failure("state", "authenticated already")
        if name in self._offered:
            return None
        row = lookup(name)
        kind: Kind = "policy" if row.plaintext and (row.command or not self._channel.tls) else "unsupported"
        return Failure(kind, f"{name} is not offered")

    # --- helpers

    def _go_on(self, script: Script, line: bytes | None) -> Line | Question | None:
        try:
            return script.send(line)  # type: ignore[arg-type]  # None starts it
        except StopIteration as end:
            outcome = end.value
        if not isinstance(outcome, Refusal):
            return self.answered(self._check(*outcome))
        said = self.answered(outcome.failure)
        self.must_close = outcome.must_close
        return outcome.line or said

    def _check(self, user: bytes, password: bytes) -> Event:
        """Begin the check of a user name and a password."""
        options = self._options.get(self._command, _NO_OPTIONS)
        self.exchange = exchange = server(self._command, channel=self._channel, limits=self._limits, **options)
        event = exchange.start(user)
        return exchange.receive(password) if isinstance(event, Challenge) else event

    def _authenticate(self, line: bytes, arguments: bytes) -> Event:
        """Begin the exchange of AUTHENTICATE or AUTH: a command line without its end, and what follows the name."""
        if len(line) + 2 > self.longest_line:
            return TOO_LONG
        if self._authenticated:
            return Failure("state", "authenticated already")
        match = _ARGUMENTS.fullmatch(arguments.rstrip(b" \t"))  # RFC 5321 section 4.1.1; Dovecot does so everywhere
        if match is None:
            return Failure("malformed", "not an authentication command")
        name, argument = match.groups()
        if len(line) - len(argument or b"") > _ROOM_FOR_A_COMMAND:
            return Failure("limit", "a command that is too long")
        row = self._offered_row(name)
        if isinstance(row, Failure):
            return row
        options = self._options_for(row)
        self.exchange = exchange = server(row.name, channel=self._channel_for(row), limits=self._limits, **options)
        if argument is None:
            return exchange.start()
        initial = b"" if argument == b"=" else self._decode(exchange, argument)
        return exchange.start(initial) if isinstance(initial, bytes) else initial

    def _offered_row(self, name: bytes) -> Mechanism | Failure:
        """Return the row of a mechanism that is offered. For any other name no peer makes us load a plug-in."""
        try:
            known = canonical(name)
        except UsageError:
            return Failure("malformed", "not a mechanism name")
        row = loaded_row(known)
        if row is not None and row.command:
            return Failure("unsupported", f"{known} is a command of its own")
        if row is None and known not in self._offered:
            return Failure("unsupported", "not a mechanism that is known here")
        if failure := self._against(known):
            return failure
        try:
            return row or lookup(known)
        except MechanismUnavailable as error:
            return Failure("unsupported", str(error))

    def _channel_for(self, row: Mechanism) -> Channel:
        """Return the channel, without bindings where no -PLUS mechanism is offered that they are for.

        A client that could bind says so by "y", and is right about such a server: nobody took anything off its list
        (RFC 5801 section 5).
        """
        if row.plaintext or row.twin is not None or not self._channel.bindings:  # what is plaintext has no -PLUS
            return self._channel
        if any(_twin(name) == row.name for name in self._offered):
            return self._channel
        return replace(self._channel, bindings={})

    def _options_for(self, row: Mechanism) -> Mapping[str, Any]:
        own = self._options.get(row.name)
        return self._options.get(row.family, _NO_OPTIONS) if own is None else own

    def _response(self, exchange: ServerExchange, line: bytes) -> Event:
        if line == b"*":
            return exchange.cancel()
        if line == b"=":
            return _end(exchange, Failure("malformed", '"=" for an empty message stands behind a command only'))
        response = self._decode(exchange, line)
        return exchange.receive(response) if isinstance(response, bytes) else response

    def _decode(self, exchange: ServerExchange, text: bytes) -> bytes | Failure:
        """Return the octets of a message; where it has none, the end of the exchange, whose verdict stands."""
        try:
            return base64.decode(text, limit=self.response_limit)
        except SASLError as error:
            failure = Failure("limit" if isinstance(error, LimitExceeded) else "malformed", str(error))
        return _end(exchange, failure)


def _end(exchange: ServerExchange, failure: Failure) -> Failure:
    """End an exchange with a failure, or with the verdict that was a no before."""
    ended = exchange.cancel()
    return failure if ended.kind == "cancelled" else ended


@lru_cache
def _canonical_names(names: tuple[str, ...]) -> frozenset[str]:
    """Return names as the table has them. Those that a server offers are the same from login to login."""
    return frozenset(map(canonical, names))


def _twin(name: str) -> str | None:
    """The mechanism that an offered one is the -PLUS of; None if it is not one, or not known here."""
    try:
        return lookup(name).twin
    except MechanismUnavailable:
        return None
