"""A connection that is cut after any octet of a reconnect: the session connects again, or says what nobody can mend."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest

import sasl.adapters.aioimaplib
import sasl.adapters.aiosmtplib
from sasl.adapters import asyncio as streams
from sasl.adapters.session import DeliveryUnknown

from ..support.lasting import (
    HOST,
    Server,
    World,
    aioimaplib_at,
    aiosmtplib_at,
    async_session_of,
    serving,
    session_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

MESSAGE: Final = b"Subject: x\r\n\r\nx\r\n"
SINCE_DATA: Final = b"354 go ahead\r\n250 2.0.0 OK\r\n"
"""A message may be on its way from the first of these octets on, which a library may take for the whole reply."""
SAMPLE: Final = 5
"""One in so many octets is tried in CI; a whole reconnect has some hundred, so that each reply is hit."""


def imap(world: World, server: Server) -> bool:
    with session_of(world, server) as session:
        session.enable("CONDSTORE")
        session.select(readonly=True)
        return bool(session.call(lambda conn: conn.uid("SEARCH", "ALL"), repeat=True) == ("OK", [b"1 2"]))


def pop(world: World, server: Server) -> bool:
    session = session_of(world, server)
    session.call(lambda conn: conn.noop(), repeat=True)
    found = session.call(lambda conn: conn.retr(2)[1], repeat=True)
    session.close()
    return bool(found == [b"two"])


def smtp(world: World, server: Server) -> bool:
    session = session_of(world, server)
    session.call(lambda conn: conn.noop(), repeat=True)
    try:
        return session.send("me@example.org", ["you@example.org"], MESSAGE) == {}
    finally:
        session.close()


async def aioimaplib(world: World, server: Server) -> bool:
    session = async_session_of(world, server, aioimaplib_at, sasl.adapters.aioimaplib)
    await session.enable("CONDSTORE")
    await session.select(readonly=True)
    said = await session.call(lambda imap: imap.uid_search("ALL"), repeat=True)
    await session.close()
    return said.result == "OK" and bytes(said.lines[0]) == b"1 2"


async def aiosmtplib(world: World, server: Server) -> bool:
    session = async_session_of(world, server, aiosmtplib_at, sasl.adapters.aiosmtplib)
    await session.call(lambda client: client.noop(), repeat=True)
    try:
        return await session.send("me@example.org", ["you@example.org"], MESSAGE) == {}
    finally:
        await session.close()


async def plain_streams(world: World, server: Server) -> bool:
    async def search(connection: Any) -> bytes:
        connection.writer.write(b"x UID SEARCH ALL\r\n")
        found = b""
        while not (line := await connection.reader.readline()).startswith(b"x OK"):
            if not line.endswith(b"\n") or line.startswith(b"* BYE"):
                raise EOFError
            found += line
        if not line.endswith(b"\n"):
            raise EOFError
        return found

    async def select(connection: Any) -> None:
        connection.writer.write(b"y SELECT INBOX\r\n")
        while not (line := await connection.reader.readline()).startswith(b"y "):
            if not line.endswith(b"\n"):
                raise EOFError

    session = async_session_of(
        world, server, lambda port: streams.open_connection("imap", HOST, port), streams, restore=select
    )
    await session.call(select)
    found = await session.call(search, repeat=True)
    await session.close()
    return found == b"* SEARCH 1 2\r\n"


USES: Final[dict[str, tuple[str, Callable[..., Any], str]]] = {
    "imaplib": ("imap", imap, "SEARCH"),
    "poplib": ("pop", pop, "RETR"),
    "smtplib": ("smtp", smtp, "MAIL"),
    "aioimaplib": ("imap", aioimaplib, "SEARCH"),
    "aiosmtplib": ("smtp", aiosmtplib, "MAIL"),
    "asyncio": ("imap", plain_streams, "SEARCH"),
}


def play(library: str, cut: int | None) -> tuple[World, Server, Any]:
    """End the first session at a command, cut the second connection, let the third alone; return what came of it."""
    protocol, use, word = USES[library]
    world = World()
    with serving(protocol, world) as server:
        server.plan = lambda number, line: "silent" if number == 0 and word in line.upper() else None
        server.cut = lambda number: cut if number == 1 else None
        result: Any
        try:
            result = asyncio.run(use(world, server)) if asyncio.iscoroutinefunction(use) else use(world, server)
        except DeliveryUnknown as error:
            result = error
    return world, server, result


def try_cuts(library: str, cuts: Any) -> None:
    if library not in ("imaplib", "poplib", "smtplib", "asyncio"):
        pytest.importorskip(library)
    _, server, result = play(library, None)
    assert result is True
    whole = server.seen[1].sent
    for cut in cuts(whole):
        world, server, result = play(library, cut)
        said = f"cut after {cut} of {whole} octets: {result!r}"
        assert len(server.seen) <= 3, said
        if isinstance(result, DeliveryUnknown):
            assert cut > whole - len(SINCE_DATA) - (library == "aiosmtplib"), said
            assert world.delivered in ([], [MESSAGE]), said
        else:
            assert result is True, said
            assert world.delivered == ([MESSAGE] if USES[library][0] == "smtp" else []), said


@pytest.mark.parametrize("library", USES)
def test_a_reconnect_that_is_cut_anywhere_is_followed_by_another(library: str) -> None:
    try_cuts(library, lambda whole: range(len(library) % SAMPLE, whole, SAMPLE))


@pytest.mark.long
@pytest.mark.parametrize("library", USES)
def test_a_reconnect_that_is_cut_after_any_octet_is_followed_by_another(library: str) -> None:
    try_cuts(library, range)
