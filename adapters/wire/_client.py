"""What the three client wires share: challenge and response, cancelling, the verdict, the end of the connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sasl.errors import ConnectionLost, LimitExceeded, ProtocolError, SASLError, UsageError
from sasl.limits import DEFAULT_LIMITS
from sasl.secret import Secret, scrubbed

from . import base64
from .line import Line

if TYPE_CHECKING:
    from sasl.errors import Kind
    from sasl.exchange import ClientExchange

LONGEST_LINE: Final = base64.size(DEFAULT_LIMITS.message) + 1024
"""Octets of one line from the server: the largest challenge and what stands around it."""
LONGEST_TEXT: Final = 1000  # characters of a server's text that an error keeps

NO_CHALLENGE: Final = b"*"
"""Text that is not base64: what a protocol takes for a challenge that its grammar does not have."""

# What a server may call a no after it has explained it: it is the same no.
_NOT_ABOUT_THE_MESSAGE: Final = ("malformed", "limit", "state", "unsupported", "cancelled", "unexpected_ir")


class Client:
    """The client's side of one command exchange, without its protocol's grammar.

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

    def __init__(self, exchange: ClientExchange) -> None:
        self.exchange = exchange
        self.done = False
        self.error: SASLError | None = None
        self.must_close = False
        self.server_text = ""
        self.initial_response = False
        self.turns = 0
        self._deferred = False
        self._pending: SASLError | None = None  # what made us cancel
        self._secrets: list[Secret] = []  # what a server may say back: the credential, and how it was sent
        if exchange.secret is not None:
            self._keep(exchange.secret)

    @property
    def cancelled(self) -> bool:
        """Whether `*` was sent and its reply is awaited."""
        return self._pending is not None and not self.done

    def lost(self) -> None:
        """Say that the connection ended before the verdict."""
        if not self.done:
            self._lost()

    def abandon(self, error: SASLError) -> None:
        """End it for a reason of the driver's (a time-out): nothing more is sent, the connection is to be closed."""
        if not self.done:
            self._over(error, close=True)

    def shown(self, line: bytes) -> str:
        """Return how a line from the server may be printed, before or after it was received.

        Challenges show their size only, other lines what they say without the credential.
        """
        raise NotImplementedError  # pragma: no cover -- each protocol has its own

    def scrub(self, text: str) -> str:
        """Return what a server said without the credential: as it is, and as it was sent."""
        for secret in reversed(self._secrets):  # what was sent before the credential, which may be a part of it
            text = scrubbed(text, secret)
        return text

    # --- for the protocols

    def _start(self, *, may_send_initial: bool, longest: int | None, command: str) -> Line:
        """Return the command line, with the initial response if it may be sent and the line with CRLF fits."""
        data = self._begin()
        if data is None:
            return Line(f"{command}\r\n".encode("ascii"), command)
        argument = base64.encode(data) or b"="
        octets = b"%s %s\r\n" % (command.encode("ascii"), argument)
        if may_send_initial and (longest is None or len(octets) <= longest):
            self.initial_response = True
            self._keep(Secret(argument.decode("ascii")))
            return Line(octets, f"{command} <{len(data)} octets>")
        self.exchange.defer()
        self._deferred = True
        return Line(f"{command}\r\n".encode("ascii"), command)

    def _begin(self) -> bytes | None:
        if self.turns:
            raise UsageError("command() was called before", mechanism=self.exchange.name)
        data = self.exchange.start()
        self.turns = 1
        return data

    def _admit(self, line: bytes) -> bool:
        """Whether a line may be looked at: after the command, before the end, not too long."""
        if not self.turns or self.done:
            raise UsageError("receive() before command(), or after the end", mechanism=self.exchange.name)
        if len(line) > LONGEST_LINE:
            self._over(LimitExceeded(f"a line of more than {LONGEST_LINE} octets"), close=True)
            return False
        return True

    def _challenge(self, text: bytes) -> Line | None:
        """Answer a challenge, given in base64."""
        if self._pending is not None:
            self._over(self._pending, close=True)  # it went on although we cancelled
            return None
        try:
            # The first challenge to a client-first mechanism is empty by right; servers write "Go ahead" there.
            challenge = b"" if self._deferred else base64.decode(text, limit=self.challenge_limit)
            self._deferred = False
            response = self.exchange.respond(challenge)
        except SASLError as error:
            return self._cancel(error)
        argument = base64.encode(response)
        self._keep(Secret(argument.decode("ascii")))
        self.turns += 1
        return Line(argument + b"\r\n", f"<{len(response)} octets>")

    def _cancel(self, error: SASLError) -> Line:
        """Send "*" for a failure of this side; the final reply is still to be read."""
        self.exchange.cancel()
        self._pending = error
        self.turns += 1
        return Line(b"*\r\n", "*")

    def _yes(self, text: str) -> bool:
        """Take the server's yes; return whether it is a login."""
        self.server_text = self._said(text)
        if self._pending is not None:
            self._over(self._pending, close=True)
            return False
        try:
            self.exchange.succeed()
        except SASLError as error:
            refused = error
        else:
            self._over(None)
            return True
        self._over(refused, close=True)
        return False

    def _no(self, text: str, kind: Kind, response_code: str | None) -> None:
        """Take the server's no."""
        text = self.server_text = self._said(text)
        if self._pending is not None:
            self._over(self._pending)
            return
        if self.exchange.explained and kind in _NOT_ABOUT_THE_MESSAGE:
            kind = "credentials"
        self._over(self.exchange.fail(text, kind=kind, response_code=response_code))

    def _lost(self, text: str = "", response_code: str | None = None) -> None:
        """Take the end of the connection, announced with a text or not. After an error challenge it is the no."""
        text = self.server_text = self._said(text)
        if self._pending is not None:
            error = self._pending
        elif self.exchange.explained:
            error = self.exchange.fail(text, response_code=response_code)
        else:
            said = f": {text}" if text else ""
            error = ConnectionLost(
                f"the server ended the connection{said}", server_text=text, response_code=response_code
            )
        self._over(error, close=True)

    def _broken(self, error: ProtocolError) -> None:
        """Take a line that breaks the protocol: nobody knows where the server stands, so close."""
        self._over(self._pending or error, close=True)

    def _over(self, error: SASLError | None, *, close: bool = False) -> None:
        self.done = True
        self.must_close = close
        self.error = error
        if error is None:
            return
        self.exchange.cancel()
        error.mechanism = self.exchange.name
        error.server_text = self._said(error.server_text) or self.server_text
        error.detail = {key: self.scrub(value) for key, value in error.detail.items()}

    def _keep(self, secret: Secret) -> None:
        """Remember what a server's text must not show although the server says it back."""
        self._secrets.append(secret)

    def _said(self, text: str) -> str:
        """Return a server's text as it may be kept and printed."""
        return printable(self.scrub(text[: 2 * LONGEST_TEXT]))


def text_of(octets: bytes) -> str:
    """Decode what a server says; it may be in any charset."""
    return octets.decode("utf-8", "replace")


def printable(text: str) -> str:
    """Return the beginning of a server's text on one line, without what a terminal would obey."""
    return "".join(char if char.isprintable() else " " for char in text[:LONGEST_TEXT]).strip()


def sized(text: bytes) -> str:
    """Return how the base64 text of a challenge is shown: by the size of what it stands for."""
    try:
        return f"<{len(base64.decode(text, limit=len(text)))} octets>"
    except ProtocolError:
        return f"<{len(text)} octets that are not base64>"
