"""Sessions that last for days: nothing is lost, nothing is done twice, one new token per expiry."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

import sasl.adapters.aioimaplib
import sasl.adapters.aiosmtplib

from ..support.lasting import (
    DAY,
    HOUR,
    START,
    Server,
    World,
    aioimaplib_at,
    aiosmtplib_at,
    async_session_of,
    session_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

MINUTES = 60.0


# How the server ends a session whose end nobody has told. Those that are ended in time, and those that servers end by a
# goodbye, are in test_provider_days, at the reference servers.
ENDS = pytest.mark.parametrize(
    ("tells", "grace", "goodbye"),
    [(False, 0.0, False), (False, 600.0, True), (True, None, True)],
    ids=["without a word", "late", "never"],
)


def expiries(world: World, hours: float) -> int:
    return int(hours * HOUR / world.life)


def check(world: World, server: Server, hours: float, *, tells: bool) -> None:
    """One new token per expiry, and one refused login at most."""
    most = expiries(world, hours) + 2  # the first, and a renewal is early by up to five minutes
    assert len(world.renewals) <= most + (hours / 12 if tells else 0)
    assert server.refused <= (0 if tells else len(world.renewals) - 1)
    assert server.accepted <= len(world.renewals) + 2


@ENDS
def test_an_imap_session_goes_on_for_26_hours(
    world: World, serve: Callable[[str], Server], *, tells: bool, grace: float | None, goodbye: bool
) -> None:
    server = serve("imap")
    world.tells, server.grace, server.goodbye = tells, grace, goodbye
    found = []
    with session_of(world, server) as session:
        session.enable("CONDSTORE")
        session.select("INBOX", readonly=True)
        while world.now < START + 26 * HOUR:
            world.now += 7 * MINUTES
            _, [uids] = session.call(lambda conn: conn.uid("SEARCH", "ALL"), repeat=True)
            found.append(uids)
    assert set(found) == {b"1 2"}
    assert len(found) == 223
    check(world, server, 26, tells=tells)
    for seen in server.seen[1:]:
        if seen.login == "accepted":
            said = [line for line in seen.lines if line.split()[0] in ("ENABLE", "EXAMINE")]
            assert said == ["ENABLE CONDSTORE", "EXAMINE INBOX"]


@ENDS
def test_a_pop_account_is_read_for_8_days(
    world: World, serve: Callable[[str], Server], *, tells: bool, grace: float | None, goodbye: bool
) -> None:
    """A message comes each two hours; it is read, deleted, and never read again."""
    server = serve("pop")
    world.tells, server.grace, server.goodbye, server.limit = tells, grace, goodbye, 7 * DAY
    world.mail["INBOX"].messages.clear()
    read: list[bytes] = []
    session = session_of(world, server)
    for visit in range(4 * 8 * 24):
        world.now += 15 * MINUTES
        if visit % 8 == 7:
            world.mail["INBOX"].messages[visit] = b"message %d" % visit
        _, listed, _ = session.call(lambda conn: conn.uidl(), repeat=True)
        for line in listed:
            number = int(line.split()[0])
            _, lines, _ = session.call(lambda conn, number=number: conn.retr(number), repeat=True)
            session.call(lambda conn, number=number: conn.dele(number))
            read += lines
        if listed:
            session.leave()
    session.close()
    assert read == [b"message %d" % visit for visit in range(7, 768, 8)]
    assert world.mail["INBOX"].messages == {}
    # It also connects anew after each QUIT.
    assert server.refused <= (0 if tells else len(world.renewals) - 1)
    assert len(world.renewals) <= 8 * 24 * HOUR / (world.life - 300) + 2


@ENDS
def test_an_smtp_sender_goes_on_for_a_day_with_tokens_of_an_hour(
    world: World, serve: Callable[[str], Server], *, tells: bool, grace: float | None, goodbye: bool
) -> None:
    server = serve("smtp")
    world.tells, server.grace, server.goodbye = tells, grace, goodbye
    with session_of(world, server) as session:
        for number in range(288):
            world.now += 5 * MINUTES
            assert session.send("me@example.org", ["you@example.org"], f"Subject: {number}\n\n.x\n") == {}
    assert world.delivered == [b"Subject: %d\r\n\r\n.x\r\n" % number for number in range(288)]
    check(world, server, 24, tells=tells)


# --- asynchronous libraries


@ENDS
def test_an_imap_session_of_aioimaplib_goes_on_for_26_hours(
    world: World, serve: Callable[[str], Server], *, tells: bool, grace: float | None, goodbye: bool
) -> None:
    pytest.importorskip("aioimaplib")
    server = serve("imap")
    world.tells, server.grace, server.goodbye = tells, grace, goodbye

    async def main() -> list[str]:
        found = []
        async with async_session_of(world, server, aioimaplib_at, sasl.adapters.aioimaplib) as session:
            await session.enable("CONDSTORE")
            await session.select("INBOX", readonly=True)
            while world.now < START + 26 * HOUR:
                world.now += 7 * MINUTES
                said = await session.call(lambda imap: imap.uid_search("ALL"), repeat=True)
                found.append(bytes(said.lines[0]).decode())
        return found

    found = asyncio.run(main())
    assert (set(found), len(found)) == ({"1 2"}, 223)
    check(world, server, 26, tells=tells)


@ENDS
def test_an_smtp_sender_of_aiosmtplib_goes_on_for_a_day(
    world: World, serve: Callable[[str], Server], *, tells: bool, grace: float | None, goodbye: bool
) -> None:
    pytest.importorskip("aiosmtplib")
    server = serve("smtp")
    world.tells, server.grace, server.goodbye = tells, grace, goodbye

    async def main() -> None:
        async with async_session_of(world, server, aiosmtplib_at, sasl.adapters.aiosmtplib) as session:
            for number in range(288):
                world.now += 5 * MINUTES
                assert await session.send("me@example.org", ["you@example.org"], f"Subject: {number}\n\n.x\n") == {}

    asyncio.run(main())
    assert world.delivered == [b"Subject: %d\r\n\r\n.x\r\n" % number for number in range(288)]
    check(world, server, 24, tells=tells)
