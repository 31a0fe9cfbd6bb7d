"""One connection: what is read ahead, written and dropped is bounded, and every wait ends with the connection."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from sasl.adapters.reference.certificates import issue, server_context
from sasl.adapters.reference.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

MORE_THAN_THE_SOCKETS_TAKE = b"x" * 16_000_000


def pair(test: Callable[[Connection, socket.socket], Awaitable[None]]) -> None:
    """Run a test with a server's connection and the peer's socket, which does not block."""

    async def go() -> None:
        loop = asyncio.get_running_loop()
        started: asyncio.Future[Connection] = loop.create_future()
        server = await loop.create_server(lambda: Connection(started.set_result), "127.0.0.1", 0)
        with socket.socket() as peer:
            peer.setblocking(False)
            await loop.sock_connect(peer, server.sockets[0].getsockname())
            connection = await started
            async with asyncio.timeout(10):
                await test(connection, peer)
            connection.abort()
            await connection.wait_closed()
        server.close()
        await server.wait_closed()

    asyncio.run(go())


def test_lines_come_whole_whatever_the_pieces() -> None:
    async def test(connection: Connection, peer: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for piece in (b"on", b"e\r", b"\ntwo\n\r\nth", b"ree\r\n12345"):
            await loop.sock_sendall(peer, piece)
            await asyncio.sleep(0)
        assert [await connection.read_line(100) for _ in range(4)] == [b"one\r\n", b"two\n", b"\r\n", b"three\r\n"]
        assert connection.unread == b"12345"
        peer.shutdown(socket.SHUT_WR)
        assert await connection.read_line(100) == b""
        assert await connection.read_line(100) == b""

    pair(test)


def test_writing_to_a_connection_that_has_just_broken_is_no_event(caplog: pytest.LogCaptureFixture) -> None:
    async def test(connection: Connection, peer: socket.socket) -> None:
        connection.abort()
        for _ in range(10):  # the answers to commands that were read already; asyncio logs a warning from the fifth on
            connection.write(b"* OK\r\n")

    pair(test)
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


@pytest.mark.parametrize("end", [b"\r\n", b"\n"], ids=["CRLF", "LF"])
def test_a_line_in_pieces_that_is_too_long_is_cut_and_keeps_its_end(end: bytes) -> None:
    async def test(connection: Connection, peer: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        reading = asyncio.create_task(connection.read_line(10))
        for piece in (b"0123456789abc", b"x" * 1000, *(end[at : at + 1] for at in range(len(end)))):
            await loop.sock_sendall(peer, piece)
            for _ in range(3):
                await asyncio.sleep(0)
        assert await reading == b"0123456789" + end
        await loop.sock_sendall(peer, b"next" + end)
        assert await connection.read_line(10) == b"next" + end

    pair(test)


def test_a_peer_that_sends_more_than_is_read_has_to_wait() -> None:
    async def test(connection: Connection, peer: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        line = b"x" * 4999 + b"\n"
        await loop.sock_sendall(peer, line)
        assert await connection.read_line(5000) == line
        sending = asyncio.create_task(loop.sock_sendall(peer, line * 4000))
        done, _ = await asyncio.wait([sending], timeout=0.2)
        assert not done
        for _ in range(4000):
            assert await connection.read_line(5000) == line
        await sending

    pair(test)


def test_a_peer_that_does_not_read_makes_the_writer_wait() -> None:
    async def test(connection: Connection, peer: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        connection.write(MORE_THAN_THE_SOCKETS_TAKE)
        draining = asyncio.create_task(connection.drain())
        done, _ = await asyncio.wait([draining], timeout=0.05)
        assert not done
        got = 0
        while got < len(MORE_THAN_THE_SOCKETS_TAKE):
            got += len(await loop.sock_recv(peer, 1_000_000))
        await draining
        await connection.drain()

    pair(test)


def test_a_peer_that_goes_away_ends_every_wait() -> None:
    async def test(connection: Connection, peer: socket.socket) -> None:
        connection.write(MORE_THAN_THE_SOCKETS_TAKE)
        draining = asyncio.create_task(connection.drain())
        await asyncio.sleep(0)
        peer.close()
        await draining
        await connection.wait_closed()
        connection.write(b"nobody")
        await connection.drain()
        assert await connection.read_line(100) == b""
        await connection.close(grace=1.0)

    pair(test)


def test_a_peer_that_does_not_read_is_not_waited_for_when_the_connection_closes() -> None:
    async def test(connection: Connection, peer: socket.socket) -> None:
        connection.write(MORE_THAN_THE_SOCKETS_TAKE)
        await connection.close(grace=0.05)
        assert not connection.unread

    pair(test)


@pytest.mark.parametrize("state", ["unread octets", "lost", "closing"])
def test_no_handshake_begins_where_it_cannot_be_the_first_thing_that_is_read(state: str, tmp_path: Path) -> None:
    issue().write(tmp_path)
    context = server_context(tmp_path)

    async def test(connection: Connection, peer: socket.socket) -> None:
        if state == "unread octets":
            await asyncio.get_running_loop().sock_sendall(peer, b"a line\nand more")
            assert await connection.read_line(100) == b"a line\n"
        elif state == "lost":
            connection.abort()
            await connection.wait_closed()
        else:
            connection._transport.close()  # type: ignore[union-attr]
        assert not await connection.start_tls(context, grace=0.1)
        assert not connection.tls

    pair(test)
