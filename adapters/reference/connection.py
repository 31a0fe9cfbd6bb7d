"""One connection of a server: octets, in lines or as they come, bounded, and the change to TLS. Knows no protocol."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

_HIGH_WATER: Final = 262_144  # octets read ahead of whoever reads lines; then the peer has to wait


@final
class Connection(asyncio.Protocol):
    """The server's end of one connection.

    `begin` is called once, with this connection, when the peer is there; `is_local` says then whether that is this
    machine. A lost connection is no error here:
    reading gives b"" then and writing does nothing, so every dialogue just comes to its end.
    """

    def __init__(self, begin: Callable[[Connection], None]) -> None:
        self.tls = False
        self.is_local = False
        self.tls_failure = ""  # what OpenSSL calls it that a handshake has failed by
        self._begin = begin
        self._transport: asyncio.Transport | None = None  # None once the connection is lost
        self._buffer = bytearray()
        self._eof = False
        self._more: asyncio.Future[None] | None = None  # somebody waits for octets
        self._room: asyncio.Future[None] | None = None  # somebody waits until the peer has read
        self._blocked = False
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # --- for the dialogue

    async def read_line(self, longest: int) -> bytes:
        """Return the next line with its end, b"" at the end of the connection.

        Of a line of more than `longest` octets only so many are kept, and its end, so that it is longer still;
        the rest is dropped as it comes: it costs no memory.
        """
        kept = b""
        seen = 0
        while (end := self._buffer.find(b"\n", seen)) < 0:
            if len(self._buffer) > longest:
                kept = kept or bytes(self._buffer[:longest])
                del self._buffer[:-1]  # the last octet may be half of a CRLF
            seen = len(self._buffer)
            if not await self._wait():
                return b""
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        if not kept and len(line) <= longest:
            return line
        return (kept or line[:longest]) + (b"\r\n" if line.endswith(b"\r\n") else b"\n")

    async def read_exactly(self, size: int) -> bytes:
        """Return so many octets; b"" if the connection ends before them.

        What follows them is acknowledged at once: a client that sends a literal and the end of its line in two writes
        waits 40 ms for that otherwise.
        """
        pieces: list[bytes] = []
        missing = size
        while missing:
            piece = await self.read(missing)
            if not piece:
                return b""
            pieces.append(piece)
            missing -= len(piece)
        self._acknowledge()
        return b"".join(pieces)

    async def read_piece(self, longest: int) -> bytes:
        """Return the next line with its end, or of one that is longer than `longest` octets the next so many of them.

        b"" at the end of the connection. Nothing is dropped.
        """
        seen = 0
        while (end := self._buffer.find(b"\n", seen, longest)) < 0 and len(self._buffer) < longest:
            seen = len(self._buffer)
            if not await self._wait():
                return b""
        return self._take(end + 1 or longest)

    async def read(self, most: int) -> bytes:
        """Return at most so many octets of what has come and nobody has read yet, b"" at the end of the connection."""
        if not self._buffer:
            await self._wait()
        return self._take(most)

    def write(self, octets: bytes) -> None:
        """Send octets, without waiting for the peer to take them."""
        if self._transport is None or self._transport.is_closing():
            return
        if not (self.tls and self._eof):  # TLS has no half-closed connections
            self._transport.write(octets)

    def end(self) -> None:
        """Send no more, so that the peer reads to an end. Does nothing under TLS, which has no half-closed ones."""
        if self._transport is not None and self._transport.can_write_eof():
            self._transport.write_eof()

    async def drain(self) -> None:
        """Wait until the peer has taken most of what was sent."""
        if self._blocked and self._transport is not None:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    @property
    def lost(self) -> bool:
        """Whether the connection has come to its end, so that what is written goes nowhere."""
        return self._transport is None

    @property
    def unread(self) -> bytes:
        """The octets that have come and that nobody has read yet."""
        return bytes(self._buffer)

    async def give_way(self) -> None:
        """Let the other connections have a turn, if there is more to read: who sends much at once makes nobody wait."""
        if self._buffer:
            await asyncio.sleep(0)

    async def peek(self) -> bool:
        """Whether the peer has sent something that nobody has read yet. What has reached this machine counts."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        for _ in range(2):  # the loop sees that there is something to read, then it reads
            await asyncio.sleep(0)
        return bool(self._buffer)

    @property
    def peer(self) -> str:
        """The address of the client, "" once the connection is lost."""
        name = None if self._transport is None else self._transport.get_extra_info("peername")
        return str(name[0]) if name else ""

    @property
    def ssl_object(self) -> ssl.SSLObject | None:
        """What TLS tells of itself; None without TLS and once the connection is lost."""
        return None if self._transport is None else self._transport.get_extra_info("ssl_object")

    async def start_tls(self, context: ssl.SSLContext, *, grace: float) -> bool:
        """Do the server's side of a TLS handshake; return whether the connection is under TLS now.

        Whatever the peer sends from here on belongs to the handshake; what it sent before must have been read.
        """
        transport = self._transport
        if transport is None or transport.is_closing() or self.unread:
            return False
        self.tls = True
        try:
            self._transport = await asyncio.get_running_loop().start_tls(
                transport, self, context, server_side=True, ssl_shutdown_timeout=grace
            )
        except BaseException as error:
            self.abort()
            self.connection_lost(None)  # asyncio tells nobody that a handshake has failed
            if not isinstance(error, OSError):
                raise
            self.tls_failure = str(getattr(error, "reason", None) or "")
            return False
        return True

    async def close(self, *, grace: float) -> None:
        """Close the connection; a peer that has not taken what was sent after `grace` seconds loses it."""
        self._buffer.clear()  # half a line may be half a secret
        if self._transport is None:
            return
        self._transport.close()
        try:
            async with asyncio.timeout(grace):
                await self.wait_closed()
        except TimeoutError:
            pass
        finally:
            self.abort()
        await self.wait_closed()

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def reset(self) -> None:
        """Close the connection at once, so that the peer gets an error instead of an end."""
        if self._transport is None:
            return
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the connection has come to its end."""
        await asyncio.shield(self._closed)

    # --- for asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; begin the dialogue."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 -- create_server() gives no other
        self._transport = transport
        self.is_local = _is_local(transport.get_extra_info("peername"))
        transport.pause_reading()  # until somebody wants a line: a TLS handshake may come first
        self._begin(self)

    def data_received(self, data: bytes) -> None:
        """Keep what came, wake whoever waits for it, and hold the peer back if nobody does."""
        self._buffer += data
        if self._transport is not None and len(self._buffer) > _HIGH_WATER:
            self._transport.pause_reading()
        if not data.endswith(b"\n"):
            self._acknowledge()  # IMAPClient writes the end of a line apart, and its Nagle would wait 40 ms for us
        _wake(self._more)

    def eof_received(self) -> bool:
        """Note the end; a peer that only stopped sending still gets its answers, where TLS does not forbid it."""
        self._eof = True
        _wake(self._more)
        return not self.tls

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- asyncio's name for it
        """Wake everybody: there is nothing to wait for."""
        self._transport = None
        self._eof = True
        for waiter in (self._more, self._room, self._closed):
            _wake(waiter)

    def pause_writing(self) -> None:
        """The peer does not read."""
        self._blocked = True

    def resume_writing(self) -> None:
        """The peer reads again."""
        self._blocked = False
        _wake(self._room)

    # --- helpers

    def _acknowledge(self) -> None:
        """Have the system acknowledge what comes next without delay, where it can: Linux."""
        sock = None if self._transport is None else self._transport.get_extra_info("socket")
        if sock is not None and hasattr(socket, "TCP_QUICKACK"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _take(self, most: int) -> bytes:
        octets = bytes(self._buffer[:most])
        del self._buffer[:most]
        return octets

    async def _wait(self) -> bool:
        """Wait for octets; False if none will come."""
        if self._eof or self._transport is None:
            return False
        self._transport.resume_reading()
        self._more = asyncio.get_running_loop().create_future()
        await self._more
        return True


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _is_local(peer: object) -> bool:
    """Whether an address is one of this machine's own."""
    return isinstance(peer, tuple) and str(peer[0]).startswith(("127.", "::1", "::ffff:127."))
