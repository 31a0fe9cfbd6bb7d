"""What a server says that is no verdict, sans-I/O: its greeting, and what it can do where it is asked for that.

    while not answer.done:
        answer.receive(read_line())

Lines go in with their ends. An answer with an `error` is one that nothing can follow: close the connection then.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from sasl.errors import LimitExceeded, ProtocolError, SASLError
from sasl.typed import TYPE_CHECKING

from .line import has_breaks, without_end
from .text import end_of_connection, one_line, text_of

if TYPE_CHECKING:
    from typing import Final

_MOST_OCTETS: Final = 65_536


class Answer(ABC):
    """Collects the lines of one answer, without its protocol's grammar.

    Attributes:
        done: whether it is complete.
        error: None, or why it is none: ProtocolError for what the protocol does not know, LimitExceeded for one without
            end, ConnectionLost where the connection ends in it, and what the server says of itself: that it is busy.
    """

    def __init__(self) -> None:
        self.done = False
        self.error: SASLError | None = None
        self._octets = 0

    def receive(self, line: bytes) -> None:
        """Take a line. One that does not end in LF is the end of the connection."""
        self._octets += len(line)
        try:
            if self._octets > _MOST_OCTETS:
                raise LimitExceeded(f"an answer of more than {_MOST_OCTETS} octets")
            if not line.endswith(b"\n"):
                raise end_of_connection()
            self._take(self._cut(line))
        except SASLError as error:
            self.error = error
            self.done = True

    def lost(self) -> None:
        """Say that the connection ended before the answer did."""
        if not self.done:
            self.error = end_of_connection()
            self.done = True

    def _cut(self, line: bytes) -> bytes:
        """Return a line without its end. Raises ProtocolError for one that holds CR, LF or NUL."""
        line = without_end(line)
        if has_breaks(line):
            raise ProtocolError("a line that holds CR, LF or NUL", server_text=one_line(text_of(line)))
        return line

    @abstractmethod
    def _take(self, line: bytes) -> None:
        """Take a line as `_cut` returns it. Raises for what is no part of such an answer."""
