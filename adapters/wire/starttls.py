"""STARTTLS and STLS (RFC 9051 section 6.2.1, RFC 2595 section 4, RFC 3207), both ends, sans-I/O.

To a client whatever is not a plain yes is a PolicyViolation: TLS was required and is not to be had, so nothing is sent.
To either end, octets in the clear behind the other's line mean that somebody put them there (CVE-2011-0411).
"""

from __future__ import annotations

from sasl.errors import PolicyViolation, SASLError, UsageError
from sasl.steps import Failure
from sasl.typed import TYPE_CHECKING

from .line import Line, has_breaks, plain_line, without_end

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping
    from typing import ClassVar, Final

_LONGEST_REPLY: Final = 65_536  # octets, with all that comes before it


class StartTls:
    """The client's side of one STARTTLS command. `done` with no `error` means: begin the TLS handshake now.

    `yes` is the grammar of the reply after which TLS begins, `before` how lines begin that may come before a reply.

    Attributes:
        done: whether the reply was read.
        error: why TLS must not begin, or None.
        must_close: whether the connection cannot be used any more.
    """

    def __init__(self, command: str, yes: re.Pattern[bytes], before: re.Pattern[bytes] | None = None) -> None:
        self.done = False
        self.error: SASLError | None = None
        self.must_close = False
        self._line = plain_line(command)
        self._yes = yes
        self._before = before
        self._buffer = b""
        self._octets = 0

    def command(self) -> Line:
        """Return the command line."""
        return self._line

    def receive(self, octets: bytes) -> None:
        """Take octets as they came, lines or not: what follows the reply in the clear was put there by somebody.

        A driver that reads ahead gives also what it finds in its buffer after the reply.
        """
        self._buffer += octets
        self._octets += len(octets)
        if self._octets > _LONGEST_REPLY:
            self._refuse("the reply to STARTTLS is too long")
        while not self.done and b"\n" in self._buffer:
            line, _, self._buffer = self._buffer.partition(b"\n")
            self._take(line.removesuffix(b"\r"))
        if self.done and self._buffer:
            self._refuse("octets in the clear follow the reply to STARTTLS (CVE-2011-0411)")

    def lost(self) -> None:
        """Say that the connection ended before the reply."""
        if not self.done:
            self._refuse("the server ended the connection instead of starting TLS")

    def _take(self, line: bytes) -> None:
        if has_breaks(line):
            self._refuse("a line of the server holds CR or NUL")
            return
        if self._before is not None and self._before.match(line):
            return
        if self._yes.fullmatch(line):
            self.done = True
        else:
            self._refuse("the server refuses STARTTLS")

    def _refuse(self, why: str) -> None:
        self.done = True
        self.must_close = True
        self.error = self.error or PolicyViolation(why)


# --- the server's side

_FAILURES: Final[Mapping[str, Failure]] = {
    "malformed": Failure("malformed", "not the command, or with an argument"),
    "authenticated": Failure("state", "authenticated already"),
    "tls": Failure("state", "TLS is in force already"),
    "injected": Failure("malformed", "octets in the clear follow the command (CVE-2011-0411)"),
}


class StartTlsServer:
    """The server's side of one STARTTLS command. `done` with no `failure` means: send the line, begin the handshake.

    `tls` says that TLS is in force already, `authenticated` that the session is.

    Attributes:
        done: whether the command was answered.
        failure: why TLS must not begin, or None.
        must_close: whether to close the connection once the line is sent: nobody knows whose octets come next.
    """

    grammar: ClassVar[re.Pattern[bytes]]
    """The command line, without its end."""
    replies: ClassVar[Mapping[str, str]]
    """What is said: "yes", "malformed", "authenticated", "tls", "injected"."""

    def __init__(self, *, tls: bool, authenticated: bool = False) -> None:
        self.done = False
        self.failure: Failure | None = None
        self.must_close = False
        self._tls = tls
        self._authenticated = authenticated

    def receive(self, line: bytes, behind: bytes = b"") -> Line:
        """Take the command line, and all octets that were read already behind it; return the line to send.

        Raises UsageError after the end.
        """
        if self.done:
            raise UsageError("receive() after the end")
        self.done = True
        line = without_end(line)
        answer = self._answer(line, behind)
        self.failure = _FAILURES.get(answer)
        self.must_close = answer == "injected"
        return self._reply_line(line, self.replies[answer])

    def _reply_line(self, _line: bytes, text: str) -> Line:
        """Return a reply to a command line."""
        return plain_line(text)

    def _answer(self, line: bytes, behind: bytes) -> str:
        if not self.grammar.fullmatch(line):
            return "malformed"
        if self._authenticated:
            return "authenticated"
        if self._tls:
            return "tls"
        return "injected" if behind else "yes"
