"""Lines of an asyncio transport, read in the place of the protocol that it has: a library's own may log them."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager

from sasl.typed import TYPE_CHECKING, final

from .dialogue import READ

if TYPE_CHECKING:
    from collections.abc import Iterator


@final
class Lines(asyncio.Protocol):
    """What comes from a transport, line by line. `own`, the protocol whose place it has, is told of the end as well.

    `deadline` is when the last line has to be there, in the loop's time, or None. The transport is not read from while
    there is more than two lines of the largest size: a server sends faster than lines are looked at.
    """

    def __init__(self, transport: asyncio.Transport, own: asyncio.BaseProtocol, deadline: float | None) -> None:
        self._transport = transport
        self._own = own
        self._deadline = deadline
        self._octets = bytearray()
        self._ended = False
        self._paused = False
        self._news = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """Take octets from the transport."""
        self._octets += data
        self._news.set()
        if len(self._octets) > 2 * READ and not self._transport.is_closing():
            self._transport.pause_reading()
            self._paused = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of the connection."""
        self._ended = True
        self._news.set()
        self._own.connection_lost(exc)

    async def readline(self) -> bytes:
        """Return a line with its end, `READ` octets without one, or what came before the end of the connection.

        Raises TimeoutError at the deadline.
        """
        async with asyncio.timeout_at(self._deadline):
            await asyncio.sleep(0)  # however many lines there are: others have their turn, and so has the deadline
            while b"\n" not in self._octets and len(self._octets) < READ and not self._ended:
                self._news.clear()
                await self._news.wait()
        line = bytes(self._octets[: self._octets.find(b"\n", 0, READ) + 1 or READ])
        del self._octets[: len(line)]
        if len(self._octets) <= READ:
            self.resume()
        return line

    def resume(self) -> None:
        """Read from the transport again, if that was paused."""
        if self._paused and not self._transport.is_closing():
            self._transport.resume_reading()
        self._paused = False


@contextmanager
def borrow(transport: asyncio.Transport, timeout: float | None) -> Iterator[Lines]:
    """Let a transport have `Lines` for its protocol until the end of the block, for so many seconds at most.

    What was not read by then is dropped.
    """
    own = transport.get_protocol()
    deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
    lines = Lines(transport, own, deadline)
    transport.set_protocol(lines)
    try:
        yield lines
    finally:
        lines.resume()
        transport.set_protocol(own)
