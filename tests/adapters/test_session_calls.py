"""What a session does when it is lost: what it repeats, what it restores, what it tells, and where it ends."""

from __future__ import annotations

import asyncio
import contextlib
import imaplib
import logging
import math
import signal
import smtplib
import socket
import threading
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

import sasl
import sasl.adapters.aioimaplib
import sasl.adapters.aiosmtplib
import sasl.adapters.imapclient
import sasl.adapters.imaplib
from sasl.adapters.binding import is_gone
from sasl.adapters.providers import session_limit
from sasl.adapters.session import DeliveryUnknown, Event, MailboxChanged, NotRestored
from sasl.adapters.sessions.events import describe

from ..support.lasting import (
    HOST,
    HOUR,
    START,
    Mailbox,
    Server,
    World,
    aioimaplib_at,
    aiosmtplib_at,
    async_session_of,
    session_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Serve = Callable[[str], Server]

MAIL: Any = ("me@example.org", ["you@example.org"], b"Subject: x\r\n\r\nx\r\n")


def search(conn: Any) -> Any:
    return conn.uid("SEARCH", "ALL")


def once(word: str, how: str) -> Callable[[int, str], str | None]:
    """On the first connection, end it at a command."""
    return lambda number, line: how if number == 0 and word in line.upper() else None


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events]


# --- what is repeated


@pytest.mark.parametrize("how", ["bye", "silent"])
def test_a_call_that_may_be_repeated_is_repeated_on_a_new_connection(world: World, serve: Serve, how: str) -> None:
    server, events = serve("imap"), []
    server.plan = once("SEARCH", how)
    with session_of(world, server, on_event=events.append) as session:
        session.select()
        assert session.call(search, repeat=True) == ("OK", [b"1 2"])
    assert kinds(events) == ["connected", "lost", "reconnecting", "connected", "restored", "left"]
    assert world.slept == []


@pytest.mark.parametrize("protocol", ["imap", "pop", "smtp"])
@pytest.mark.parametrize("how", ["bye", "silent"])
def test_any_other_call_raises_the_librarys_error_and_the_next_one_connects(
    world: World, serve: Serve, protocol: str, how: str
) -> None:
    server = serve(protocol)
    server.plan = once("NOOP", how)
    with session_of(world, server) as session:
        with pytest.raises((imaplib.IMAP4.abort, smtplib.SMTPException, sasl.SASLError, Exception)) as caught:
            session.call(lambda conn: check(conn.noop()))
        assert is_gone(caught.value) or protocol == "smtp"
        assert session.call(lambda conn: check(conn.noop()))
    assert len(server.seen) == 2
    assert sum("NOOP" in line.upper() for seen in server.seen for line in seen.lines) == 2


def check(answer: Any) -> Any:
    """smtplib returns a 421 as it returns anything."""
    if isinstance(answer, tuple) and answer[0] == 421:
        raise smtplib.SMTPResponseException(*answer)
    return answer


def test_a_refusal_or_a_mistake_is_none_of_the_sessions_business(world: World, serve: Serve) -> None:
    server = serve("imap")
    server.plan = lambda _number, line: f"{line.split()[0]} BAD no\r\n" if "NOOP" in line else None
    with session_of(world, server) as session:
        with pytest.raises(imaplib.IMAP4.error):
            session.call(lambda conn: conn.noop(), repeat=True)
        with pytest.raises(ZeroDivisionError):
            session.call(lambda _conn: 1 / 0, repeat=True)
    assert len(server.seen) == 1


@pytest.mark.parametrize("protocol", ["imap", "pop", "smtp"])
def test_a_session_that_has_ended_in_a_pause_costs_no_call(world: World, serve: Serve, protocol: str) -> None:
    """The system knows before anything is sent, so that also what cannot be repeated goes over a new connection."""
    server = serve(protocol)
    with session_of(world, server) as session:
        conn = session.call(lambda conn: conn, repeat=True)
        server.end_all()
        wait_for_end(conn)
        session.call(lambda conn: check(conn.noop()))
    assert [seen.lines.count("NOOP") + seen.lines.count("noop") for seen in server.seen] == [0, 1]


def wait_for_end(conn: Any) -> None:
    """Wait until the system knows what the server has done."""
    conn.sock.settimeout(5)
    assert conn.sock.recv(1, socket.MSG_PEEK) == b""


def test_a_mark_for_deletion_is_not_lost_without_a_word(world: World, serve: Serve) -> None:
    server = serve("pop")
    server.plan = once("RETR", "silent")
    session = session_of(world, server)
    session.call(lambda conn: conn.dele(1))
    with pytest.raises(Exception, match="EOF") as caught:
        session.call(lambda conn: conn.retr(2), repeat=True)
    assert is_gone(caught.value)
    assert session.call(lambda conn: conn.retr(1), repeat=True)[1] == [b"one"]
    session.leave()
    assert list(world.mail["INBOX"].messages) == [1, 2]


def test_marks_for_deletion_that_end_in_a_pause_are_told_once(world: World, serve: Serve) -> None:
    server = serve("pop")
    session = session_of(world, server)
    conn = session.call(lambda conn: (conn.dele(1), conn)[1])
    server.end_all()
    wait_for_end(conn)
    with pytest.raises(sasl.ConnectionLost, match="not deleted"):
        session.call(lambda conn: conn.retr(2), repeat=True)
    session.call(lambda conn: conn.retr(2), repeat=True)
    conn = session.call(lambda conn: (conn.dele(1), conn)[1])
    server.end_all()
    wait_for_end(conn)
    with pytest.raises(sasl.ConnectionLost, match="not deleted"):
        session.leave()
    session.leave()


def test_a_pop_session_with_marks_is_not_renewed_until_it_was_left(world: World, serve: Serve) -> None:
    server = serve("pop")
    server.grace = None
    session = session_of(world, server)
    session.call(lambda conn: conn.dele(1))
    world.now += 2 * HOUR
    session.call(lambda conn: conn.retr(2), repeat=True)
    assert len(server.seen) == 1
    session.leave()
    assert list(world.mail["INBOX"].messages) == [2]
    session.call(lambda conn: conn.uidl(), repeat=True)
    assert len(server.seen) == 2
    session.close()


# --- mail that is sent


@pytest.mark.parametrize(
    ("at", "how"), [("MAIL", "bye"), ("MAIL", "silent"), ("RCPT", "bye"), ("RCPT", "silent"), ("DATA", "silent")]
)
def test_a_message_goes_out_once_where_the_session_is_lost_before_its_dot(
    world: World, serve: Serve, at: str, how: str
) -> None:
    server = serve("smtp")
    server.plan = once(at, how)
    with session_of(world, server) as session:
        assert session.send(*MAIL) == {}
    assert (world.delivered, len(server.seen)) == ([MAIL[2]], 2)


def test_a_server_that_has_forgotten_the_login_gets_another_one(world: World, serve: Serve) -> None:
    server = serve("smtp")
    server.plan = lambda number, line: (
        "530 5.7.57 Client not authenticated\r\n"
        if (number, line[:4].upper())
        == (
            0,
            "MAIL",
        )
        else None
    )
    with session_of(world, server) as session:
        session.send(*MAIL)
    assert (world.delivered, len(server.seen)) == ([MAIL[2]], 2)


@pytest.mark.parametrize("at", ["before", "after"])
def test_a_message_whose_dot_has_left_is_never_sent_again(world: World, serve: Serve, at: str) -> None:
    server = serve("smtp")
    server.plan = lambda number, line: at if (number, line) == (0, ".") else None
    session = session_of(world, server)
    with pytest.raises(DeliveryUnknown) as caught:
        session.send(*MAIL)
    assert isinstance(caught.value.__cause__, smtplib.SMTPServerDisconnected)
    assert len(world.delivered) == (at == "after")
    session.send("me@example.org", ["you@example.org"], "the next one\n")
    assert world.delivered[-1] == b"the next one\r\n"
    session.leave()


def test_who_is_refused_is_told_as_sendmail_does_and_the_session_goes_on(world: World, serve: Serve) -> None:
    server = serve("smtp")
    server.plan = lambda _number, line: "550 5.1.1 nobody\r\n" if "nobody" in line else None
    with session_of(world, server) as session:
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            session.send("me@example.org", ["nobody@example.org"], b"x\r\n")
        with pytest.raises(smtplib.SMTPSenderRefused):
            session.send("nobody@example.org", ["you@example.org"], b"x\r\n")
        refused = session.send("me@example.org", ["nobody@example.org", "you@example.org"], b"x\r\n")
    assert refused == {"nobody@example.org": (550, b"5.1.1 nobody")}
    assert (world.delivered, len(server.seen)) == ([b"x\r\n"], 1)


def test_a_message_leaves_without_those_in_bcc_and_with_its_dots(world: World, serve: Serve) -> None:
    from email.message import EmailMessage

    message = EmailMessage()
    message["Subject"], message["Bcc"] = "x", "secret@example.org"
    message.set_content(".\n..\nx")
    with session_of(world, serve("smtp")) as session:
        session.send("me@example.org", ["secret@example.org"], message)
    assert world.delivered[0].endswith(b"\r\n\r\n.\r\n..\r\nx\r\n")
    assert b"secret" not in world.delivered[0]
    assert message["Bcc"] == "secret@example.org"


def test_what_cannot_be_sent_is_said_before_anything_is(world: World, serve: Serve) -> None:
    with session_of(world, serve("smtp")) as session:
        for recipients, message in (([], b"x"), ("you@example.org", b"x"), (["you@example.org"], "\xe9")):
            with pytest.raises(sasl.UsageError):
                session.send("me@example.org", recipients, message)
    with session_of(world, serve("imap")) as other, pytest.raises(sasl.UsageError):
        other.send(*MAIL)


def test_an_address_that_cannot_be_encoded_leaves_nothing_of_its_message_on_the_connection(
    world: World, serve: Serve
) -> None:
    """The next message would go to those who were accepted before, or be refused, as a MAIL within another."""
    servers = [serve("smtp"), serve("smtp")]
    message: Any = ("me@example.org", ["you@example.org", "\xe9@example.org"], b"x\r\n")

    async def main() -> None:
        async with async_session_of(world, servers[1], aiosmtplib_at, sasl.adapters.aiosmtplib) as session:
            with pytest.raises(UnicodeEncodeError):
                await session.send(*message)
            await session.send(*MAIL)

    asyncio.run(main())
    with session_of(world, servers[0]) as session:
        with pytest.raises(UnicodeEncodeError):
            session.send(*message)
        session.send(*MAIL)
    for server in servers:
        verbs = [line[:4].upper() for line in server.seen[0].lines]
        assert verbs == ["EHLO", "AUTH", "MAIL", "RCPT", "RSET", "MAIL", "RCPT", "DATA", "QUIT"]


def test_a_refusal_by_aiosmtplibs_server_is_told_as_one_though_the_session_ends_right_after_it(
    world: World, serve: Serve
) -> None:
    server = serve("smtp")
    server.plan = lambda _number, line: {"DATA": "554 5.7.1 no\r\n", "RSET": "silent"}.get(line)

    async def main() -> None:
        import aiosmtplib

        async with async_session_of(world, server, aiosmtplib_at, sasl.adapters.aiosmtplib) as session:
            with pytest.raises(aiosmtplib.SMTPDataError):
                await session.send(*MAIL)

    asyncio.run(main())
    assert (world.delivered, len(server.seen)) == ([], 1)


# --- what is restored


def test_another_uidvalidity_is_told_once_and_before_the_call(world: World, serve: Serve) -> None:
    server = serve("imap")
    with session_of(world, server) as session:
        session.select(readonly=True)
        assert session.mailbox is not None
        world.mail["INBOX"] = Mailbox(8, {9: b"other"})
        conn = session.call(lambda conn: conn)
        server.end_all()
        wait_for_end(conn)
        ran: list[int] = []
        with pytest.raises(MailboxChanged, match="UIDVALIDITY") as caught:
            session.call(lambda _conn: ran.append(1), repeat=True)
        before, now = caught.value.before, caught.value.now
        assert now is not None
        assert (before.uidvalidity, now.uidvalidity, now.readonly, ran) == (7, 8, True, [])
        assert session.call(search) == ("OK", [b"9"])
    assert len(server.seen) == 2


def test_a_mailbox_that_is_gone_is_told(world: World, serve: Serve) -> None:
    server = serve("imap")
    server.plan = once("SEARCH", "bye")
    with session_of(world, server) as session:
        session.select()
        del world.mail["INBOX"]
        with pytest.raises(MailboxChanged) as caught:
            session.call(search, repeat=True)
        assert (caught.value.now, session.mailbox) == (None, None)
        session.call(lambda conn: conn.noop())


def test_a_mailbox_that_can_only_be_read_now_is_told(world: World, serve: Serve) -> None:
    server = serve("imap")
    server.plan = once("SEARCH", "bye")
    with session_of(world, server) as session:
        session.select()
        world.mail["INBOX"].readonly = True
        with pytest.raises(MailboxChanged) as caught:
            session.call(search, repeat=True)
        assert caught.value.now is not None
        assert caught.value.now.readonly
        assert session.call(search) == ("OK", [b"1 2"])


def test_an_extension_that_is_no_more_is_told(world: World, serve: Serve) -> None:
    server = serve("imap")
    server.plan = once("SEARCH", "bye")
    with session_of(world, server) as session:
        session.enable("CONDSTORE")
        session.select()
        server.extensions.clear()
        with pytest.raises(NotRestored, match="CONDSTORE"):
            session.call(search, repeat=True)
        assert session.call(search) == ("OK", [b"1 2"])


def test_a_mailbox_that_a_call_has_selected_in_its_own_way_is_forgotten(world: World, serve: Serve) -> None:
    """Else UIDs of one mailbox would be used in another after a reconnect."""
    server = serve("imap")
    world.mail["Other"] = Mailbox(7)
    with session_of(world, server) as session:
        session.select()
        session.call(lambda conn: conn.select("Other"))
        assert session.mailbox is None
        session.select()
        session.call(lambda conn: conn.close())
        assert session.mailbox is None
        session.select()
        session.call(lambda conn: conn.noop())
        assert session.mailbox is not None
        assert session.select("nowhere")[0] == "NO"
        assert session.mailbox is None


@pytest.mark.parametrize("way", ["select", "examine"])
def test_a_mailbox_that_a_call_of_aioimaplib_has_selected_in_its_own_way_is_forgotten(
    world: World, serve: Serve, way: str
) -> None:
    server = serve("imap")
    world.mail["Other"] = Mailbox(7)

    async def main() -> None:
        async with async_session_of(world, server, aioimaplib_at, sasl.adapters.aioimaplib) as session:
            for readonly in (False, True):
                await session.select(readonly=readonly)
                await session.call(lambda imap: imap.noop())
                assert session.mailbox is not None
                await session.call(lambda imap: getattr(imap, way)("Other"))
                assert session.mailbox is None

    asyncio.run(main())


def test_a_mailbox_that_a_call_has_selected_before_the_session_was_lost_is_forgotten(
    world: World, serve: Serve
) -> None:
    server = serve("imap")
    world.mail["Other"] = Mailbox(7)
    server.plan = once("SEARCH", "silent")

    def search_other(conn: Any) -> Any:
        conn.select("Other")
        return search(conn)

    with session_of(world, server) as session:
        session.select()
        with pytest.raises(imaplib.IMAP4.abort):
            session.call(search_other)
        assert session.mailbox is None


def test_the_hook_is_called_with_each_connection_after_the_first(world: World, serve: Serve) -> None:
    server, restored = serve("imap"), []
    server.plan = once("NOOP", "bye")
    with session_of(world, server, restore=lambda conn: restored.append(conn.state)) as session:
        session.call(lambda conn: conn.noop(), repeat=True)
    assert restored == ["AUTH"]


@pytest.mark.parametrize("library", ["imapclient", "imap_tools"])
def test_other_libraries_select_again_as_well(world: World, serve: Serve, library: str) -> None:
    pytest.importorskip(library)
    server = serve("imap")
    server.plan = once("NOOP", "bye")
    connect, authenticate, inner = other_imap(library)
    with session_of(world, server, factory=lambda: connect(server.port), authenticate=authenticate) as session:
        session.enable("CONDSTORE")
        session.select("INBOX", readonly=True)
        assert session.mailbox is not None
        assert session.mailbox.uidvalidity == 7
        session.call(lambda conn: inner(conn).noop(), repeat=True)
        assert session.mailbox is not None
        world.mail["INBOX"].uidvalidity = 8
        session.close()
        with pytest.raises(MailboxChanged):
            session.call(lambda conn: inner(conn).noop())
        del world.mail["INBOX"]
        session.close()
        with pytest.raises(MailboxChanged) as caught:
            session.call(lambda conn: inner(conn).noop())
        assert caught.value.now is None
    said = [line for line in server.seen[1].lines if line.split()[0] in ("ENABLE", "EXAMINE")]
    assert said[0] == "ENABLE CONDSTORE"
    assert said[1].replace('"', "") == "EXAMINE INBOX"


def other_imap(library: str) -> Any:
    if library == "imapclient":
        import imapclient

        return (
            lambda port: imapclient.IMAPClient(HOST, port, ssl=False, timeout=5),
            sasl.adapters.imapclient.authenticate,
            lambda conn: conn,
        )
    import imap_tools

    log_in = import_module("sasl.adapters.imap_tools").authenticate

    def authenticate(conn: Any, credentials: Any, **options: Any) -> Any:
        return log_in(conn, credentials, initial_folder=None, **options)

    return lambda port: imap_tools.MailBoxUnencrypted(HOST, port, timeout=5), authenticate, lambda conn: conn.client


# --- the deadline


def test_the_deadline_is_the_earliest_of_what_is_known(world: World, serve: Serve) -> None:
    server = serve("imap")
    with session_of(world, server) as session:
        assert (session.deadline, session.spare()) == (None, math.inf)
        session.call(lambda conn: conn.noop())
        assert session.deadline == datetime.fromtimestamp(START + HOUR, UTC)
        assert session.spare() == HOUR - 120
        world.now += HOUR
        assert session.spare() == 0
    assert session.deadline is None
    with session_of(world, server, limit=600.0) as session:
        session.call(lambda conn: conn.noop())
        assert session.deadline == datetime.fromtimestamp(world.now + 600, UTC)
    world.tells = False
    with session_of(world, server) as session:
        session.call(lambda conn: conn.noop())
        assert (session.deadline, session.spare()) == (None, math.inf)


def test_a_clock_that_is_set_back_and_a_machine_that_slept_are_both_noticed(world: World, serve: Serve) -> None:
    server, times = serve("imap"), {"wall": START, "monotonic": 0.0}
    settings: Any = {"clock": lambda: times["wall"], "monotonic": lambda: times["monotonic"]}
    with session_of(world, server, **settings) as session:
        session.call(lambda conn: conn.noop())
        times["wall"] -= 10 * HOUR
        times["monotonic"] += HOUR
        assert session.spare() == 0
    times.update(wall=world.now, monotonic=0)
    with session_of(world, server, **settings) as session:
        session.call(lambda conn: conn.noop())
        times["wall"] += HOUR
        assert session.spare() == 0


def test_a_session_whose_token_ends_is_renewed_before_the_next_call_and_the_old_one_is_closed_last(
    world: World, serve: Serve
) -> None:
    server, events = serve("imap"), []
    with session_of(world, server, on_event=events.append) as session:
        session.select()
        world.now += HOUR - 121
        session.call(search)
        assert len(server.seen) == 1
        world.now += 2
        session.call(search)
        assert len(server.seen) == 2
        assert len(world.renewals) == 2
    assert kinds(events) == ["connected", "connected", "restored", "renewed", "left"]


@pytest.mark.parametrize("reason", ["no token", "the same token", "no connection"])
def test_a_session_goes_on_after_its_deadline_where_nothing_newer_can_be_had(
    world: World, serve: Serve, reason: str
) -> None:
    """Servers let sessions outlive their tokens; this one does for two hours."""
    server, events = serve("imap"), []
    server.grace = 2 * HOUR
    options: dict[str, Any] = {"on_event": events.append}
    if reason == "the same token":
        token = world._renew(None)  # type: ignore[arg-type]
        options["credentials"] = sasl.Bearer("me@example.org", lambda: token)
    with session_of(world, server, **options) as session:
        session.select()
        world.now += HOUR - 60
        if reason == "no token":
            world.down = True
        if reason == "no connection":
            server.cut = lambda number: 5 if number in (1, 2) else None
        for _ in range(10):  # within half a minute: nobody is asked each time
            session.call(search)
            world.now += 2
        assert kinds(events) == ["connected", "stays"]
        world.now += HOUR
        session.call(search)
        if reason == "no connection":
            assert kinds(events)[2:] == ["stays"]
            world.now += 31
            session.call(search)
            assert kinds(events)[3:] == ["connected", "restored", "renewed"]
        else:
            assert kinds(events)[2:] == ["stays"]
            world.now += HOUR + 100
            with pytest.raises((sasl.SASLError, imaplib.IMAP4.abort)):
                session.call(search)
            assert "lost" in kinds(events)


def test_a_refusal_of_the_new_token_is_not_asked_for_again_on_the_same_connection(world: World, serve: Serve) -> None:
    server, events = serve("imap"), []
    server.grace = None
    session = session_of(world, server, on_event=events.append)
    session.call(lambda conn: conn.noop())
    world.life = -1.0  # all further tokens are over when they come
    world.tells = False
    for _ in range(20):
        world.now += HOUR
        session.call(lambda conn: conn.noop())
    assert server.refused == 2  # one login, and one forced renewal
    assert kinds(events) == ["connected", "stays"]
    session.close()


def test_tokens_that_live_shorter_than_the_margin_cost_no_connection_for_each_call(world: World, serve: Serve) -> None:
    server = serve("imap")
    world.life = 100.0
    with session_of(world, server) as session:
        for _ in range(100):
            session.call(lambda conn: conn.noop(), repeat=True)
            world.now += 1
        assert len(server.seen) <= 3


def test_a_token_that_is_over_by_this_machines_clock_and_good_by_the_servers_says_nothing(
    world: World, serve: Serve
) -> None:
    server = serve("imap")
    with session_of(world, server, clock=lambda: world.now + 2 * HOUR) as session:
        for _ in range(5):
            session.call(lambda conn: conn.noop())
        assert session.deadline is None
    assert len(server.seen) == 1


def test_a_session_whose_token_lasts_is_renewed_for_the_providers_limit(world: World, serve: Serve) -> None:
    server = serve("imap")
    world.life = 1_000 * HOUR
    with session_of(world, server, limit=24 * HOUR) as session:
        for _ in range(100):
            world.now += HOUR
            session.call(lambda conn: conn.noop())
    assert len(server.seen) == 5
    assert all(seen.ended != "bye" for seen in server.seen)


def test_the_limit_is_what_is_known_of_the_provider(world: World, serve: Serve) -> None:
    server = serve("imap")
    world.tells = False

    def connect() -> imaplib.IMAP4:
        conn = imaplib.IMAP4(HOST, server.port, timeout=5)
        conn.host = "imap.gmail.com"
        return conn

    with session_of(world, server, factory=connect) as session:
        session.call(lambda conn: conn.noop())
        assert session.deadline == datetime.fromtimestamp(START + 24 * HOUR, UTC)
    assert session_limit("pop.gmail.com", "pop", token=True) == 7 * 24 * HOUR
    assert session_limit("imap.example.org", "imap", token=True) is None


# --- storms


def test_a_server_that_always_closes_is_tried_so_often_and_later_each_time(world: World, serve: Serve) -> None:
    server, events = serve("imap"), []
    server.plan = lambda _number, line: "bye" if "NOOP" in line else None
    session = session_of(world, server, attempts=5, on_event=events.append)
    with pytest.raises(imaplib.IMAP4.abort):
        session.call(lambda conn: conn.noop(), repeat=True)
    assert (len(server.seen), world.slept) == (5, [1, 2, 4])
    assert kinds(events)[-1] == "gave_up"
    with pytest.raises(imaplib.IMAP4.abort):
        session.call(lambda conn: conn.noop())
    assert world.slept[3:] == [8]
    for _ in range(3):
        with pytest.raises(imaplib.IMAP4.abort):
            session.call(lambda conn: conn.noop())
    assert world.slept[4:] == [16, 32, 60]


def test_a_pause_of_the_callers_counts_as_waiting_and_a_call_that_works_forgives(world: World, serve: Serve) -> None:
    server = serve("imap")
    server.plan = lambda number, line: "bye" if number < 3 and "NOOP" in line else None
    session = session_of(world, server)
    for _ in range(3):
        with pytest.raises(imaplib.IMAP4.abort):
            session.call(lambda conn: conn.noop())
        world.now += 60
    session.call(lambda conn: conn.noop())
    assert world.slept == []
    server.plan = lambda number, line: "bye" if number == 3 and "NOOP" in line else None
    session.call(lambda conn: conn.noop(), repeat=True)
    assert world.slept == []
    session.close()


@pytest.mark.parametrize("cut", [0, 3, 200])
def test_a_server_that_closes_in_each_login_is_tried_so_often(world: World, serve: Serve, cut: int) -> None:
    server, events = serve("imap"), []
    server.cut = lambda number: cut if number else None
    server.plan = once("NOOP", "silent")
    session = session_of(world, server, attempts=3, on_event=events.append)
    with pytest.raises(Exception) as caught:
        session.call(lambda conn: conn.noop(), repeat=True)
    assert is_gone(caught.value)
    assert (len(server.seen), world.slept) == (3, [1])
    assert kinds(events)[-1] == "gave_up"


def test_the_first_connection_is_tried_once(world: World) -> None:
    with socket.create_server((HOST, 0)) as unused:
        port = unused.getsockname()[1]
    tried: list[int] = []

    def connect() -> Any:
        tried.append(1)
        return imaplib.IMAP4(HOST, port)

    with pytest.raises(ConnectionRefusedError):
        session_of(world, Server.__new__(_Unused), factory=connect).call(lambda conn: conn.noop(), repeat=True)
    assert len(tried) == 1


class _Unused(Server):
    protocol = "imap"
    port = 0


def test_a_server_that_is_down_for_a_while_is_waited_for(world: World, serve: Serve) -> None:
    server, refused = serve("imap"), []
    server.plan = once("NOOP", "silent")

    def connect() -> Any:
        if server.seen and len(refused) < 3:
            refused.append(1)
            raise ConnectionRefusedError
        return imaplib.IMAP4(HOST, server.port, timeout=5)

    with session_of(world, server, factory=connect) as session:
        session.call(lambda conn: conn.noop(), repeat=True)
    assert world.slept == [1, 2, 4]


def test_an_authority_that_says_when_it_is_to_be_asked_again_is_obeyed(world: World, serve: Serve) -> None:
    server, asked = serve("imap"), []
    server.plan = once("NOOP", "silent")
    source = world.source()

    def token() -> sasl.AccessToken:
        asked.append(1)
        if len(asked) == 2:
            raise sasl.TokenError("later", retryable=True, retry_after=90.0)
        return source.token()

    with session_of(world, server, credentials=sasl.Bearer("me@example.org", token)) as session:
        session.call(lambda conn: conn.noop(), repeat=True)
    assert world.slept == [90]


def test_an_authority_that_wants_to_be_left_alone_for_an_hour_keeps_no_call_for_so_long(
    world: World, serve: Serve
) -> None:
    source, later = world.source(), sasl.TokenError("later", retryable=True, retry_after=3_600.0)
    down = False

    def token() -> sasl.AccessToken:
        if down:
            raise later
        return source.token()

    session = session_of(world, serve("imap"), credentials=sasl.Bearer("me@example.org", token))
    session.call(lambda conn: conn.noop())
    session.close()
    down = True
    with pytest.raises(sasl.TokenError) as caught:
        session.call(lambda conn: conn.noop(), repeat=True)
    assert (caught.value.retry_after, world.slept) == (3_600, [])
    down = False
    session.call(lambda conn: conn.noop())
    assert world.slept == [300]
    session.close()


def test_a_refused_login_is_not_tried_again(world: World, serve: Serve) -> None:
    server, events = serve("imap"), []
    server.plan = once("NOOP", "silent")
    session = session_of(world, server, on_event=events.append)
    session.call(lambda _conn: None)
    world.life = -1.0
    world.ends = dict.fromkeys(world.ends, 0.0)
    with pytest.raises(sasl.AuthenticationFailed):
        session.call(lambda conn: conn.noop(), repeat=True)
    assert server.refused == 2
    assert world.slept == []


# --- one server


def test_no_credential_goes_to_another_server(world: World, serve: Serve) -> None:
    server, other = serve("imap"), serve("imap")
    ports = iter([server.port, other.port, server.port])
    session = session_of(world, server, factory=lambda: imaplib.IMAP4(HOST, next(ports), timeout=5))
    session.call(lambda conn: conn.noop())
    session.close()
    with pytest.raises(sasl.PolicyViolation, match="another server"):
        session.call(lambda conn: conn.noop(), repeat=True)
    assert [seen.lines for seen in other.seen] in ([["CAPABILITY"]], [[]])
    session.call(lambda conn: conn.noop())
    session.close()


@pytest.mark.parametrize("name", ["localhost", "elsewhere.example"])
def test_a_server_by_another_name_is_another_server(world: World, serve: Serve, name: str) -> None:
    server = serve("imap")
    hosts = iter([HOST, name])

    def connect() -> imaplib.IMAP4:
        conn = imaplib.IMAP4(HOST, server.port, timeout=5)
        conn.host = next(hosts)
        return conn

    session = session_of(world, server, factory=connect)
    session.call(lambda conn: conn.noop())
    session.close()
    with pytest.raises(sasl.PolicyViolation, match="another server"):
        session.call(lambda conn: conn.noop(), repeat=True)
    assert [seen.login for seen in server.seen] == ["accepted", ""]


@pytest.mark.parametrize("ended", [0, 1])
def test_a_connection_that_is_over_before_the_login_leads_to_no_other_server(
    world: World, serve: Serve, ended: int
) -> None:
    """aiosmtplib forgets then where it led to."""
    server, connections = serve("smtp"), []

    async def connect(port: int) -> Any:
        client = await aiosmtplib_at(port)
        if len(connections) == ended:
            client.close()
        connections.append(client)
        return client

    async def main() -> None:
        session = async_session_of(world, server, connect, sasl.adapters.aiosmtplib)
        if ended == 0:
            with pytest.raises(sasl.ConnectionLost):
                await session.call(lambda client: client.noop())
        for _ in range(2):
            await session.call(lambda client: client.noop())
            await session.close()

    asyncio.run(main())
    assert [seen.login for seen in server.seen] == ["" if at == ended else "accepted" for at in range(3)]


# --- what is told


def test_events_and_the_log_hold_no_secret_and_no_user(
    world: World, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server, events = serve("imap"), []
    server.plan = once("NOOP", "bye")
    with caplog.at_level(logging.INFO, "sasl"), session_of(world, server, on_event=events.append) as session:
        session.call(lambda conn: conn.noop(), repeat=True)
    said = [record.getMessage() for record in caplog.records if record.name == "sasl"]
    assert said == [str(event) for event in events]
    assert said[1] == "session imap at 127.0.0.1: lost, abort"
    for text in (*said, repr(events)):
        assert "token-" not in text
        assert "example.org" not in text


def test_what_a_refusal_repeats_of_a_login_stays_out_of_events_and_the_log(
    world: World, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve("imap")
    server.plan = lambda number, line: (
        f"{line.partition(' ')[0]} NO [AUTHENTICATIONFAILED] me@example.org may not come in with token-1\r\n"
        if number and "AUTHENTICATE" in line
        else None
    )
    with caplog.at_level(logging.INFO, "sasl"):
        session = session_of(world, server)
        session.call(lambda conn: conn.noop())
        session.close()
        with pytest.raises(sasl.AuthenticationFailed, match="me@example"):
            session.call(lambda conn: conn.noop())
    said = [record.getMessage() for record in caplog.records if record.name == "sasl"]
    assert said[-1].startswith("session imap at 127.0.0.1: gave_up, attempt 1, IMAPAuthenticationFailed: ")
    assert not [line for line in said if "example.org" in line or "token-" in line]


def test_what_an_authority_says_of_a_user_stays_out_of_events_and_the_log() -> None:
    no = sasl.TokenError("there is no grant: AADSTS50034: The user me@example.org does not exist", code="invalid_grant")
    assert describe(no) == "TokenError: invalid_grant"
    assert describe(sasl.TokenError("x", code="me@example.org is nobody")) == "TokenError"


def test_a_listener_that_fails_does_no_harm(world: World, serve: Serve) -> None:
    def listen(_event: Event) -> None:
        raise ValueError("a secret")

    with session_of(world, serve("imap"), on_event=listen) as session:
        session.call(lambda conn: conn.noop())


# --- who may call when


def test_threads_take_turns(world: World, serve: Serve) -> None:
    server, at_once = serve("imap"), []
    running = 0

    def count(conn: Any) -> None:
        nonlocal running
        running += 1
        at_once.append(running)
        conn.noop()
        running -= 1

    with session_of(world, server) as session:
        threads = [threading.Thread(target=session.call, args=[count]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
    assert at_once == [1] * 8
    assert len(server.seen) == 1


def test_a_call_within_a_call_is_a_mistake(world: World, serve: Serve) -> None:
    with session_of(world, serve("imap")) as session:
        with pytest.raises(sasl.UsageError, match="within"):
            session.call(lambda _conn: session.call(lambda conn: conn.noop()))
        session.call(lambda conn: conn.noop())


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no alarms")
@pytest.mark.parametrize("raises", [KeyboardInterrupt, TimeoutError, ValueError])
def test_an_interruption_in_a_call_closes_and_is_not_repeated(
    world: World, serve: Serve, raises: type[BaseException]
) -> None:
    server = serve("imap")

    def ring(*_: object) -> None:
        raise raises

    session = session_of(world, server)
    before = signal.signal(signal.SIGALRM, ring)
    try:
        with pytest.raises(raises):
            session.call(lambda _conn: signal.raise_signal(signal.SIGALRM), repeat=True)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert len(server.seen) == 1
    session.call(lambda conn: conn.noop())
    assert len(server.seen) == 2
    session.close()


def test_a_block_that_fails_closes_without_a_farewell(world: World, serve: Serve) -> None:
    server = serve("pop")
    with pytest.raises(ZeroDivisionError), session_of(world, server) as session:
        session.call(lambda conn: conn.dele(1))
        raise ZeroDivisionError
    assert list(world.mail["INBOX"].messages) == [1, 2]


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": math.nan}, {"margin": -1}, {"attempts": 0}, {"restore": 1}])
def test_a_session_says_at_once_what_it_cannot_use(world: World, wrong: Any) -> None:
    with pytest.raises(sasl.UsageError):
        session_of(world, Server.__new__(_Unused), factory=object, **wrong)


# --- asynchronous sessions


def test_a_task_that_is_cancelled_in_a_call_leaves_no_half_of_a_session(world: World, serve: Serve) -> None:
    server = serve("imap")
    server.plan = lambda number, line: b"" if number == 0 and "NOOP" in line else None  # never an answer

    async def main() -> None:
        session = async_session_of(world, server, aioimaplib_at, sasl.adapters.aioimaplib)
        await session.select()
        task = asyncio.create_task(session.call(lambda imap: imap.noop(), repeat=True))
        while "NOOP" not in server.seen[0].lines:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await session.call(lambda imap: imap.uid_search("ALL"))).result == "OK"
        await session.leave()

    asyncio.run(main())
    assert len(server.seen) == 2


def test_a_task_that_is_cancelled_where_the_session_connects_leaves_it_usable(world: World, serve: Serve) -> None:
    server = serve("smtp")

    async def main() -> None:
        session = async_session_of(world, server, aiosmtplib_at, sasl.adapters.aiosmtplib)
        for wait in range(1, 40):
            task = asyncio.create_task(session.call(lambda smtp: smtp.noop()))
            for _ in range(wait):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert (await session.call(lambda smtp: smtp.noop())).code == 250
            await session.close()

    asyncio.run(main())


def test_tasks_take_turns_and_a_call_within_a_call_is_a_mistake(world: World, serve: Serve) -> None:
    server = serve("imap")

    async def main() -> None:
        async with async_session_of(world, server, aioimaplib_at, sasl.adapters.aioimaplib) as session:
            answers = await asyncio.gather(*[session.call(lambda imap: imap.noop()) for _ in range(8)])
            assert [answer.result for answer in answers] == ["OK"] * 8

            async def within(_imap: Any) -> None:
                await session.call(lambda imap: imap.noop())

            # aioimaplib's calls run in a task of their own, which would wait for itself.
            with pytest.raises(sasl.UsageError, match="within"):
                await asyncio.wait_for(session.call(within), 5)

    asyncio.run(main())
    assert len(server.seen) <= 2


@pytest.mark.parametrize("how", ["bye", "silent"])
def test_aioimaplib_is_told_of_the_end_that_it_would_wait_for(world: World, serve: Serve, how: str) -> None:
    server = serve("imap")
    server.plan = once("SEARCH", how)

    async def main() -> None:
        async with async_session_of(world, server, aioimaplib_at, sasl.adapters.aioimaplib) as session:
            await session.select()
            said = await asyncio.wait_for(session.call(lambda imap: imap.uid_search("ALL"), repeat=True), 3)
            assert said.result == "OK"

    asyncio.run(main())
    assert len(server.seen) == 2


def test_an_asynchronous_session_tells_of_another_mailbox(world: World, serve: Serve) -> None:
    server = serve("imap")

    async def main() -> None:
        async with async_session_of(world, server, aioimaplib_at, sasl.adapters.aioimaplib) as session:
            await session.select()
            world.mail["INBOX"].uidvalidity = 8
            await session.close()
            with pytest.raises(MailboxChanged):
                await session.call(lambda imap: imap.noop())
            await session.call(lambda imap: imap.close())
            assert session.mailbox is None

    asyncio.run(main())


@pytest.mark.parametrize(
    ("at", "how", "sent"),
    [("MAIL", "bye", True), ("RCPT", "silent", True), (".", "before", False), (".", "after", False)],
)
def test_a_message_of_aiosmtplib_goes_out_once(world: World, serve: Serve, at: str, how: str, *, sent: bool) -> None:
    server = serve("smtp")
    server.plan = lambda number, line: how if number == 0 and (line == at if at == "." else at in line) else None

    async def main() -> None:
        async with async_session_of(world, server, aiosmtplib_at, sasl.adapters.aiosmtplib) as session:
            if sent:
                assert await session.send(*MAIL) == {}
            else:
                with pytest.raises(DeliveryUnknown):
                    await session.send(*MAIL)

    asyncio.run(main())
    assert len(world.delivered) == (sent or how == "after")


def test_streams_are_restored_by_the_callers_hook(world: World, serve: Serve) -> None:
    server = serve("imap")
    server.plan = once("NOOP", "bye")
    from sasl.adapters import asyncio as streams

    async def select(connection: Any) -> None:
        await ask(connection, b"SELECT INBOX")

    async def ask(connection: Any, command: bytes) -> bytes:
        connection.writer.write(b"x " + command + b"\r\n")
        while not (line := await connection.reader.readline()).startswith(b"x "):
            if not line or line.startswith(b"* BYE"):
                raise EOFError
        return bytes(line)

    async def main() -> None:
        async with async_session_of(
            world, server, lambda port: streams.open_connection("imap", HOST, port), streams, restore=select
        ) as session:
            await session.call(select)
            assert (await session.call(lambda connection: ask(connection, b"NOOP"), repeat=True)).startswith(b"x OK")
            with pytest.raises(sasl.UsageError, match="select"):
                await session.select()

    asyncio.run(main())
    assert [seen.lines.count("SELECT INBOX") for seen in server.seen] == [1, 1]


@pytest.mark.parametrize("protocol", ["imap", "pop"])
def test_a_server_that_never_closes_keeps_nobody_who_takes_leave_on_streams(
    world: World, serve: Serve, protocol: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sasl.adapters import asyncio as streams
    from sasl.adapters.sessions import ways

    monkeypatch.setattr(ways, "_FAREWELL", 0.05)
    server = serve(protocol)
    server.plan = lambda _number, line: "+OK bye\r\n" if line.endswith(("QUIT", "LOGOUT")) else None

    async def main() -> None:
        session = async_session_of(world, server, lambda port: streams.open_connection(protocol, HOST, port), streams)
        await session.call(lambda connection: connection.protocol)
        await asyncio.wait_for(session.leave(), 3)

    asyncio.run(main())


@pytest.mark.parametrize("reply", ["-ERR not all of it\r\n", "silent"])
def test_a_pop_server_that_does_not_delete_is_told_on_streams_as_well(world: World, serve: Serve, reply: str) -> None:
    from sasl.adapters import asyncio as streams

    server = serve("pop")
    server.plan = lambda _number, line: reply if line == "QUIT" else None

    async def delete(connection: Any) -> None:
        connection.writer.write(b"DELE 1\r\n")
        await connection.reader.readline()

    async def main() -> None:
        session = async_session_of(world, server, lambda port: streams.open_connection("pop", HOST, port), streams)
        await session.call(delete)
        if reply != "silent":
            asyncio.get_running_loop().call_later(0.05, server.end_all)
        with pytest.raises(sasl.ConnectionLost, match="deleted"):
            await session.leave()

    asyncio.run(main())
