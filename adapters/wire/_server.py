"""What the server wires share: the command, base64, `*`, `=`, limits, who answers the questions, and the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sasl.channel import UNKNOWN_CHANNEL, Channel
from sasl.errors import LimitExceeded, MechanismUnavailable, SASLError, UsageError
from sasl.limits import DEFAULT_LIMITS, Limits
from sasl.registry import canonical, lookup, server
from sasl.steps import Challenge, Failure, Question, Success
from sasl.value import replace

from . import base64
from .line import Line, without_end

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sasl.exchange import ServerExchange
    from sasl.registry import Mechanism
    from sasl.steps import Event

_ROOM_FOR_A_COMMAND: Final = 1024


class Server:
    """The server's side of one login, without what the client says for it.

    `offered` are the mechanisms that were advertised (`sasl.offer`): what is none of them is refused, and a client may
    say that it saw no -PLUS ("y", RFC 5801 section 5) where there is none; `options` are those of the mechanisms, by
    name; `authenticated` refuses the command because the session is authenticated already.

    Attributes:
        exchange: the SASL exchange, once the client has begun it.
        result: Success or Failure when it is over, else None.
        must_close: whether to close the connection once the last line is sent.
        longest_line: octets that a reader must take from the client in one line, with its CRLF.
    """

    response_limit: int = base64.size(DEFAULT_LIMITS.message)
    """Octets of base64 in one response."""

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
        self._offered = frozenset(canonical(name) for name in offered)
        self._channel = channel
        self._limits = limits
        self._options = options or {}
        self._authenticated = authenticated
        self._question: Question | None = None

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
            octets = self._challenged(base64.encode(event.data)) + b"\r\n"
            return Line(octets, f"{self._challenged(b'').decode('ascii')}<{len(event.data)} octets>")
        self.result = event
        return self._succeeded(event) if isinstance(event, Success) else self._refused(event.kind)

    # --- what a protocol says

    def _challenged(self, text: bytes) -> bytes:
        raise NotImplementedError  # pragma: no cover -- each protocol has its own

    def _succeeded(self, success: Success, /) -> Line:
        raise NotImplementedError  # pragma: no cover -- each protocol has its own

    def _refused(self, kind: str) -> Line:
        raise NotImplementedError  # pragma: no cover -- each protocol has its own

    # --- what they share

    def _admit(self) -> None:
        if self.result is not None or self._question is not None:
            raise UsageError("receive() after the end, or while a question is open")

    def _check(self, authcid: bytes, password: bytes) -> Event:
        """Begin the check of a user name and a password that came without SASL: the PLAIN that they amount to."""
        if b"\0" in authcid + password or not authcid or not password:
            return Failure("credentials", "no user name or no password")
        options = self._options.get("PLAIN", {})
        self.exchange = server("PLAIN", channel=self._channel, limits=self._limits, **options)
        return self.exchange.start(b"\0%b\0%b" % (authcid, password))


class AuthServer(Server):
    """The server's side of one AUTHENTICATE or AUTH, without its protocol's grammar."""

    def receive(self, line: bytes) -> Line | Question:
        """Take the command, then the client's responses; return the line to send or a question to answer.

        Raises UsageError after the end and while a question is open.
        """
        self._admit()
        line = without_end(line)
        return self.answered(self._begin(line) if self.exchange is None else self._response(self.exchange, line))

    def _command(self, line: bytes) -> tuple[bytes, bytes | None] | None:
        """Return mechanism name and initial response of a command line; None if it is malformed."""
        raise NotImplementedError  # pragma: no cover -- each protocol has its own

    def _begin(self, line: bytes) -> Event:
        if len(line) + 2 > self.longest_line:
            self._command(line[:100])  # for the tag
            return Failure("limit", "a command line that is too long")
        command = self._command(line)
        if self._authenticated:
            return Failure("state", "authenticated already")
        if command is None:
            return Failure("malformed", "not an authentication command")
        name, argument = command
        if len(line) - len(argument or b"") > _ROOM_FOR_A_COMMAND:
            return Failure("limit", "a command that is too long")
        try:
            row = lookup(name)
        except UsageError:
            return Failure("malformed", "not a mechanism name")
        except MechanismUnavailable:
            return Failure("unsupported", "not a mechanism that is known here")
        if row.name not in self._offered:
            if row.plaintext and not self._channel.tls:
                return Failure("policy", f"{row.name} without TLS")
            return Failure("unsupported", f"{row.name} is not offered")
        options = self._options.get(row.name, {})
        exchange = server(row.name, channel=self._channel_for(row), limits=self._limits, **options)
        self.exchange = exchange
        if argument is None:
            return exchange.start()
        initial = b"" if argument == b"=" else self._decoded(exchange, argument)
        return exchange.start(initial) if isinstance(initial, bytes) else initial

    def _channel_for(self, row: Mechanism) -> Channel:
        """Return the channel, without bindings where no -PLUS mechanism is offered that they are for.

        A client that could bind says so by "y", and is right about such a server: nobody took anything off its list
        (RFC 5801 section 5).
        """
        if not self._channel.bindings or row.twin is not None or any(_twin(name) == row.name for name in self._offered):
            return self._channel
        return replace(self._channel, bindings={})

    def _response(self, exchange: ServerExchange, line: bytes) -> Event:
        if line == b"*":
            return exchange.cancel()
        response = self._decoded(exchange, line)
        return exchange.receive(response) if isinstance(response, bytes) else response

    def _decoded(self, exchange: ServerExchange, text: bytes) -> bytes | Failure:
        """Return the octets of a message; where it has none, the end of the exchange, whose verdict stands."""
        try:
            return base64.decode(text, limit=self.response_limit)
        except SASLError as error:
            failure = Failure("limit" if isinstance(error, LimitExceeded) else "malformed", str(error))
        ended = exchange.cancel()
        return failure if ended.kind == "cancelled" else ended


def _twin(name: str) -> str | None:
    """The mechanism that an offered one is the -PLUS of; None if it is not one, or not known here."""
    try:
        return lookup(name).twin
    except MechanismUnavailable:
        return None
