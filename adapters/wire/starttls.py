"""STARTTLS and STLS on the client's side (RFC 9051 section 6.2.1, RFC 2595 section 4, RFC 3207), sans-I/O.

Whatever is not a plain yes is a PolicyViolation: TLS was required and is not to be had, so nothing is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sasl.errors import PolicyViolation, SASLError

from .line import Line, plain_line

if TYPE_CHECKING:
    import re

_LONGEST_REPLY: Final = 65_536  # octets, with all that comes before it


class StartTls:
    """One STARTTLS command. `done` with no `error` means: begin the TLS handshake now.

    Attributes:
        done: whether the reply was read.
        error: why TLS must not begin, or None.
        must_close: whether the connection cannot be used any more.
    """

    def __init__(self, command: str, yes: re.Pattern[bytes]) -> None:
        self.done = False
        self.error: SASLError | None = None
        self.must_close = False
        self._line = plain_line(command)
        self._yes = yes
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

    def _goes_on(self, _line: bytes, /) -> bool:
        """Whether a line comes before the reply."""
        return False

    def _take(self, line: bytes) -> None:
        if self._goes_on(line):
            return
        if self._yes.fullmatch(line):
            self.done = True
        else:
            self._refuse("the server refuses STARTTLS")

    def _refuse(self, why: str) -> None:
        self.done = True
        self.must_close = True
        self.error = self.error or PolicyViolation(why)
