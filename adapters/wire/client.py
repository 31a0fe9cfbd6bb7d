"""What the client wires share: challenge and response, cancelling, the verdict, the end of the connection."""

from __future__ import annotations

from sasl import base64
from sasl.errors import ConnectionLost, LimitExceeded, ProtocolError, SASLError, UsageError
from sasl.exchange import DONE
from sasl.limits import DEFAULT_LIMITS
from sasl.secret import Secret, scrubbed, scrubbed_code
from sasl.typed import TYPE_CHECKING

from .line import Line, has_breaks, without_end
from .text import LONGEST_TEXT, NO_CHALLENGE, one_line, prompt_of, size_of, text_of

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Generator
    from typing import ClassVar, Final, NoReturn, TypeAlias

    from sasl.client_exchange import ClientExchange

    from .verdict import Heard

    Script: TypeAlias = Callable[[ClientExchange, list[Secret]], Generator[Line, None, None]]
    """The lines of a login command that is no SASL mechanism, each after the server's go-ahead to the one before it.

    A generator function of the exchange, whose messages the lines carry, and of the list to which it adds in what other
    forms it sends the secret. It raises UsageError before the first line for what cannot be sent.
    """

LONGEST_LINE: Final = base64.size(DEFAULT_LIMITS.message) + 1024
"""Octets of one line from the server: the largest challenge and what stands around it."""

_MOST_SHOWN: Final = 64
"""Lines of a server's between two of ours that are shown with what they say: to look for the credential takes time."""
_SHORTEST_PART: Final = 4
"""Octets of a response's part that is looked for in what a server says."""


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
    protocol: ClassVar[str]
    """Its name in the table of refusals."""
    challenge_begin: ClassVar[re.Pattern[bytes]]
    """What stands before the base64 of a challenge, the space behind it apart."""
    empty: ClassVar[bytes] = b"="
    """What stands for the base64 of an initial response that is empty."""

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
        self._shown = 0  # lines since ours
        self._heard: list[Heard] = []  # what the server said of the command before its reply
        self._detail: dict[str, str] = {}  # the arguments of its response codes
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
        self._shown = 0
        return line

    def lost(self) -> None:
        """Say that the connection ended before the verdict."""
        if not self.done:
            self._end()

    def abandon(self, error: SASLError) -> None:
        """End it for a reason of the driver's (a time-out): nothing more is sent, the connection is to be closed.

        Silence after an untagged refusal is that refusal.
        """
        if self.done:
            return
        if isinstance(error, ConnectionLost) and any(each.refuses for each in self._heard):
            self._end()
        else:
            self._finish(error, close=True)

    def shown(self, line: bytes) -> str:
        """Return how a line from the server may be printed, before or after it was received.

        Challenges show their size only, other lines what they say without the credential, as do all lines of a reply
        that has too many.
        """
        line = without_end(line)
        self._shown += 1
        if self._shown > _MOST_SHOWN:
            return f"<{len(line)} octets>"
        return self._show(line)

    def scrub(self, text: str) -> str:
        """Return what a server said without the credential: as it is, and as it was sent."""
        if text in self._clean:  # a part of the line that was looked at before
            return text
        for secret in reversed(self._secrets):  # what was sent before the credential, which may be a part of it
            text = scrubbed(text, secret)
        self._clean = text
        return text

    def hide(self, other: Client) -> None:
        """Hide what another wire has sent on the same connection, too: the server may say that back as well."""
        self._secrets += other._secrets
        self._clean = ""

    # --- for the protocols

    def _show(self, line: bytes) -> str:
        """Return how a line from the server, given without its end, may be printed."""
        begin = self.challenge_begin.match(line)
        if begin is None:
            return self._tidy(text_of(line))
        return f"{text_of(begin[1])} {size_of(line[begin.end() :])}"

    def _quote(self, text: bytes) -> bytes:
        """Return the base64 of a message, or "*", as it stands in a line."""
        return text

    def _admit(self, line: bytes) -> bool:
        """Whether a line may be looked at: a whole one, short enough. Raises UsageError where none belongs.

        What does not end in LF is all that came before the connection ended: no reply.
        """
        if self.done or not self.turns:
            self._refuse_turn()
        if len(line) > LONGEST_LINE:
            self._finish(LimitExceeded(f"a line of more than {LONGEST_LINE} octets"), close=True)
            return False
        if not line.endswith(b"\n"):
            self._end()
            return False
        return True

    def _refuse_breaks(self, text: bytes) -> bool:
        """Whether a line holds CR, LF or NUL; it is the end then."""
        if has_breaks(text):
            self._break_off("a line that holds CR, LF or NUL", text_of(text))
            return True
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
        self._shown = 0
        return line

    def _take_yes(self, text: str, data: bytes | None = None) -> bool:
        """Take the server's yes, with the success data of a protocol that has them; return whether it is a login."""
        self.server_text = self._tidy(text)
        if self._heard:
            self._say_all()
        if self._pending is not None:
            self._finish(self._pending, close=True)
            return False
        try:
            self.exchange.succeed(data)
        except SASLError as error:
            self._finish(error, close=True)
            return False
        self.done = True
        return True

    def _take_no(self, text: str, response_code: str | None, *, understood: bool = True) -> None:
        """Take the server's no; `understood` is False where it says that it did not understand."""
        text = self.server_text = self._tidy(text)
        if self._pending is not None:
            self._finish(self._pending)
            return
        from .verdict import refusal

        exchange = self.exchange
        error = refusal(exchange, self.protocol, text, response_code, heard=self._heard, understood=understood)
        self._say_all()
        self._finish(error)

    def _end(self, text: str = "", response_code: str | None = None) -> None:
        """Take the end of the connection, announced with a text or not. It may be the no, late."""
        text = self.server_text = self._tidy(text)
        error = self._pending
        if error is None:
            from .verdict import end

            error = end(self.exchange, self.protocol, text, response_code, heard=self._heard)
            self._say_all()
        self._finish(error, close=True)

    def _hear(self, text: str, response_code: str | None, *, refuses: bool) -> None:
        """Take what the server says of the running command before its reply."""
        from .verdict import Heard

        if len(self._heard) < _MOST_SHOWN:
            self._heard.append(Heard(self._tidy(text), response_code, refuses))

    def _say_all(self) -> None:
        """Put what was said before the reply into what the server said with it."""
        from .verdict import join

        self.server_text = join(self._heard, self.server_text)[:LONGEST_TEXT]

    def _break_off(self, why: str, text: str) -> None:
        """Take what breaks the protocol: nobody knows where the server stands, so close."""
        self._finish(self._pending or self._fault(why, text), close=True)

    def _fault(self, why: str, text: str) -> ProtocolError:
        """Return the error for what breaks the protocol, with what the server said: it may say why."""
        from .verdict import known

        text = self._tidy(text)
        return ProtocolError(why, server_text=text, refusal=known(self.protocol, text))

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
        if error.detail or self._detail:
            detail = {**error.detail, **self._detail}
            error.detail = {key: self.scrub(value) for key, value in detail.items()}

    def _tidy(self, text: str) -> str:
        """Return a server's text as it may be kept and printed."""
        return one_line(self.scrub(text[: 2 * LONGEST_TEXT]))

    # --- helpers

    def _first_line(self) -> Line:
        """Return the command line, with the initial response if it may be sent and the line with CRLF fits."""
        command = self._command
        data = self.exchange.start()
        if data is not None:
            argument = base64.encode(data) or self.empty
            octets = b"%s %s\r\n" % (command.encode("ascii"), self._quote(argument))
            if self._may_send_initial and (self._longest is None or len(octets) <= self._longest):
                self.initial_response = True
                self._keep(argument, data)
                return Line(octets, f"{command} <{len(data)} octets>")
            self.exchange.defer()
            self._deferred = True
        return Line(f"{command}\r\n".encode("ascii"), command)

    def _response(self, text: bytes) -> Line:
        response = self.exchange.respond(self._read(text))
        self._deferred = False
        argument = base64.encode(response)
        self._keep(argument, response)
        return Line(self._quote(argument) + b"\r\n", f"<{len(response)} octets>")

    def _read(self, text: bytes) -> bytes:
        """Return what a challenge stands for. What nobody looks at breaks no login, whatever it is."""
        if self._deferred:  # empty by right; servers write "Go ahead" there
            return b""
        if self.exchange.prompts:
            return prompt_of(text)
        try:
            return base64.decode(text, limit=self.challenge_limit)
        except ProtocolError as error:
            failure = error
        if not isinstance(failure, LimitExceeded) and text != NO_CHALLENGE:
            failure = self._fault(str(failure), text_of(text))
        raise failure

    def _keep(self, argument: bytes, response: bytes) -> None:
        """Remember what a server's text must not show although the server says it back.

        Where nobody has said which part of a response is the secret, all of them are. Else what holds it is known by
        it, and what does not hold it proves it, but for a user name.
        """
        secrets = self._secrets
        secrets.append(Secret.line(argument.decode("ascii")))
        self._clean = ""
        secret = self.exchange.secret
        if secret is None:
            parts = response.replace(b"\0", b" ").replace(b"\1", b" ").split(b" ")
            secrets += [Secret(text_of(part)) for part in {*parts, response} if len(part) >= _SHORTEST_PART]
        elif self.exchange.revealed and not (text := text_of(response)).count(secret.reveal()):
            secrets.append(Secret.line(text))

    def _cancel(self, error: SASLError) -> Line | None:
        """Send "*" for a failure of this side and wait for the final reply; a login command has no such way back."""
        if self._script is not None:
            self._finish(error, close=True)
            return None
        self.exchange.cancel()
        self._pending = error
        self._shown = 0
        self.turns += 1
        return Line(self._quote(b"*") + b"\r\n", "*")
