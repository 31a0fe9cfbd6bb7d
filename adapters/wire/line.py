"""A line to send, with how it may be shown: every response is secret."""

from __future__ import annotations

from sasl.typed import final
from sasl.value import value


@final
@value
class Line:
    """What a wire wants sent.

    Attributes:
        octets: the line with its CRLF.
        shown: what may be printed or logged in its place, without CRLF.
    """

    octets: bytes
    shown: str

    def __repr__(self) -> str:
        return f"Line({self.shown!r})"


def plain_line(text: str) -> Line:
    """Return a line that holds no secret."""
    return Line(text.encode("utf-8") + b"\r\n", text)


def without_end(line: bytes) -> bytes:
    """Return a line without its CRLF, or the bare LF that some send."""
    return line.removesuffix(b"\n").removesuffix(b"\r")


def has_breaks(text: bytes) -> bool:
    """Whether a line, given without its end, holds CR, LF or NUL: nobody knows then where a server sees it end."""
    return b"\r" in text or b"\n" in text or b"\0" in text
