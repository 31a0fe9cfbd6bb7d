"""What the three client wires share: challenge and response, cancelling, the verdict, the end of the connection."""

from __future__ import annotations

from sasl import base64
from sasl.errors import LimitExceeded, ProtocolError, SASLError, UsageError
from sasl.exchange import DONE
from sasl.limits import DEFAULT_LIMITS
from sasl.secret import Secret, scrubbed, scrubbed_code
from sasl.typed import TYPE_CHECKING

from .line import Line, without_end
from .text import LONGEST_TEXT, end_of_connection, one_line, size_of, text_of

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Generator
    from typing import ClassVar, Final, NoReturn, TypeAlias

    from sasl.client_exchange import ClientExchange
    from sasl.errors import Kind

    Script: TypeAlias = Callable[[ClientExchange, list[Secret]], Generator[Line, None, None]]
    """The lines of a login command that is no SASL mechanism, each after the server's go-ahead to the one before it.

    A generator function of the exchange, whose messages the lines carry, and of the list to which it adds in what other
    forms it sends the secret. It raises UsageError before the first line for what cannot be sent.
    """

LONGEST_LINE: Final = base64.size(DEFAULT_LIMITS.message) + 1024
"""Octets of one line from the server: the largest challenge and what stands around it."""

# What a server may call a no after it has explained it: it is the same no.
_NOT_ABOUT_THE_MESSAGE: Final = frozenset({"malformed", "limit", "state", "unsupported", "cancelled", "unexpected_ir"})


class Client:
    """The client's side of one command exchange, without its protocol's grammar.

    `command` is the line that begins it, `initial` whether an initial response may follow in it, `longest` how many
    octets that line may have then, with its CRLF; `script` gives the lines of a login command in the place of these.

    Attributes:
        exchange: the SASL exchange that it carries.
        done: whether the exchange on the wire is over.
        error: what to raise then; None after a login.
        must_close: whether the connection cannot be used any more.
        server_text: what the server said with its verdict.
        initial_response: whether one was sent with the command.
        turns: how many lines were given to be sent.
    """

    challenge_limit: int = base64.size(DEFAULT_LIMITS.message)
    """Octets of base64 in one challenge."""
    challenge_begin: ClassVar[re.Pattern[bytes]]
    """What stands before the base64 of a challenge, the space behind it apart."""

    def __init__(
        self,
        exchange: ClientExchange,
        command: str,
        *,
        initial: bool,
        longest: int | None = None,
        script: Script | None = None,
    ) -> None:
        self.exchange = exchange
        self.done = False
        self.error: SASLError | None = None
        self.must_close = False
        self.server_text = ""
        self.initial_response = False
        self.turns = 0
        self._command = command
        self._may_send_initial = initial
        self._longest = longest
        self._deferred = False
        self._pending: SASLError | None = None  # what made us cancel
        secret = exchange.secret
        self._secrets = [] if secret is None else [secret]  # what a server may say back: it, and how it was sent
        self._clean = ""  # the last text that they were taken out of
        self._script = None if script is None else script(exchange, self._secrets)
        if script is not None and secret is None:
            raise UsageError(f"{exchange.name} is a login command: it takes a password", mechanism=exchange.name)

    @property
    def cancelled(self) -> bool:
        """Whether `*` was sent and its reply is awaited."""
        return self._pending is not None and not self.done

    def command(self) -> Line:
        """Return the command line. Raises UsageError if the credentials cannot be used; nothing was sent then."""
        line = None
        if not (self.turns or self.done):
            line = self._first_line() if self._script is None else next(self._script, None)
        if line is None:
            raise UsageError("command() was called before, or after the end", mechanism=self.exchange.name)
        self.turns = 1
        self._clean = ""
        return line

    def lost(self) -> None:
        """Say that the connection ended before the verdict."""
        if not self.done:
            self._end()

    def abandon(self, error: SASLError) -> None:
        """End it for a reason of the driver's (a time-out): nothing more is sent, the connection is to be closed."""
        if not self.done:
            self._finish(error, close=True)

    def shown(self, line: bytes) -> str:
        """Return how a line from the server may be printed, before or after it was received.

        Challenges show their size only, other lines what they say without the credential.
        """
        line = without_end(line)
        begin = self.challenge_begin.match(line)
        if begin is None:
            return self._tidy(text_of(line))
        return f"{text_of(begin[1])} {size_of(line[begin.end() :])}"

    def scrub(self, text: str) -> str:
        """Return what a server said without the credential: as it is, and as it was sent."""
        if text in self._clean:  # a part of the line that was looked at before
            return text
        for secret in reversed(self._secrets):  # what was sent before the credential, which may be a part of it
            text = scrubbed(text, secret)
        self._clean = text
        return text

    # --- for the protocols

    def _admit(self, line: bytes) -> bool:
        """Whether a line is short enough to be looked at. Raises UsageError where none belongs."""
        if self.done or not self.turns:
            self._refuse_turn()
        if len(line) <= LONGEST_LINE:
            return True
        self._finish(LimitExceeded(f"a line of more than {LONGEST_LINE} octets"), close=True)
        return False

    def _refuse_turn(self) -> NoReturn:
        raise UsageError("a reply before command(), or after the end", mechanism=self.exchange.name)

    def _go_on(self, text: bytes) -> Line | None:
        """Return the line that answers a challenge, given in base64, or the go-ahead to a login command."""
        if self._pending is not None:
            self._finish(self._pending, close=True)  # it went on although we cancelled
            return None
        try:
            line = self._response(text) if self._script is None else next(self._script, None)
        except SASLError as error:
            return self._cancel(error)
        if line is None:
            self._break_off("the server asks for more of a command that is complete", text_of(text))
            return None
        self.turns += 1
        return line

    def _take_yes(self, text: str) -> bool:
        """Take the server's yes; return whether it is a login."""
        self.server_text = self._tidy(text)
        if self._pending is not None:
            self._finish(self._pending, close=True)
            return False
        try:
            self.exchange.succeed()
        except SASLError as error:
            self._finish(error, close=True)
            return False
        self.done = True
        return True

    def _take_no(self, text: str, kind: Kind, response_code: str | None) -> None:
        """Take the server's no."""
        text = self.server_text = self._tidy(text)
        if self._pending is not None:
            self._finish(self._pending)
            return
        if self.exchange.explained and kind in _NOT_ABOUT_THE_MESSAGE:
            kind = "credentials"
        self._finish(self.exchange.fail(text, kind=kind, response_code=response_code))

    def _end(self, text: str = "", response_code: str | None = None) -> None:
        """Take the end of the connection, announced with a text or not. After an error challenge it is the no."""
        text = self.server_text = self._tidy(text)
        if self._pending is not None:
            error = self._pending
        elif self.exchange.explained:
            error = self.exchange.fail(text, response_code=response_code)
        else:
            error = end_of_connection(text, response_code)
        self._finish(error, close=True)

    def _break_off(self, why: str, text: str) -> None:
        """Take what breaks the protocol: nobody knows where the server stands, so close."""
        self._finish(self._pending or ProtocolError(why, server_text=text), close=True)

    def _finish(self, error: SASLError, *, close: bool = False) -> None:
        """End without a login."""
        self.done = True
        self.must_close = close
        self.error = error
        if self.exchange.state is not DONE:  # it is where an interruption comes right after the server's yes
            self.exchange.cancel()
        error.mechanism = self.exchange.name
        error.server_text = self._tidy(error.server_text) or self.server_text
        if error.response_code is not None:
            for secret in self._secrets:
                error.response_code = scrubbed_code(error.response_code, secret)
        if error.detail:
            error.detail = {key: self.scrub(value) for key, value in error.detail.items()}

    def _tidy(self, text: str) -> str:
        """Return a server's text as it may be kept and printed."""
        return one_line(self.scrub(text[: 2 * LONGEST_TEXT]))

    # --- helpers

    def _first_line(self) -> Line:
        """Return the command line, with the initial response if it may be sent and the line with CRLF fits."""
        command = self._command
        data = self.exchange.start()
        if data is not None:
            argument = base64.encode(data) or b"="
            octets = b"%s %s\r\n" % (command.encode("ascii"), argument)
            if self._may_send_initial and (self._longest is None or len(octets) <= self._longest):
                self.initial_response = True
                self._keep(argument)
                return Line(octets, f"{command} <{len(data)} octets>")
            self.exchange.defer()
            self._deferred = True
        return Line(f"{command}\r\n".encode("ascii"), command)

    def _response(self, text: bytes) -> Line:
        # The first challenge to a client-first mechanism is empty by right; servers write "Go ahead" there.
        challenge = b"" if self._deferred else base64.decode(text, limit=self.challenge_limit)
        self._deferred = False
        response = self.exchange.respond(challenge)
        argument = base64.encode(response)
        self._keep(argument)
        return Line(argument + b"\r\n", f"<{len(response)} octets>")

    def _keep(self, argument: bytes) -> None:
        """Remember what a server's text must not show although the server says it back."""
        self._secrets.append(Secret(argument.decode("ascii")))
        self._clean = ""

    def _cancel(self, error: SASLError) -> Line | None:
        """Send "*" for a failure of this side and wait for the final reply; a login command has no such way back."""
        if self._script is not None:
            self._finish(error, close=True)
            return None
        self.exchange.cancel()
        self._pending = error
        self.turns += 1
        return Line(b"*\r\n", "*")
