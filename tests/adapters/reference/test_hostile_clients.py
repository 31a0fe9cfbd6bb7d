"""Clients that send too much at once, or leave at the wrong moment, and callers that hand in what cannot be."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters import reference
from sasl.adapters.reference.clock import Clock
from sasl.adapters.reference.imap.commands import responses
from sasl.adapters.reference.imap.session import Session
from sasl.adapters.reference.listening import LoopCalls
from sasl.adapters.reference.mail.grammar import words
from sasl.adapters.reference.mail.store import Accounts

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl.adapters.reference import Servers

MESSAGE = b"Subject: x\r\n\r\nHello\r\n"
LOG_IN = "S: * OK ...\nC: in AUTHENTICATE PLAIN {good}\nS: in OK ...\n"


def selected(raw: Any) -> Any:
    raw.play(f"{LOG_IN}C: in SELECT INBOX")
    while not raw.line().startswith("in OK"):
        pass
    return raw


@pytest.mark.parametrize("protocol", ["imap", "pop", "smtp", "lmtp"])
def test_who_sends_a_thousand_commands_at_once_makes_nobody_wait(protocol: str) -> None:
    command = b"a NOOP\r\n" if protocol == "imap" else b"QUAK\r\n"

    async def count_turns() -> int:
        turns = 0
        async with reference.serving() as servers:
            reader, writer = await asyncio.open_connection("127.0.0.1", getattr(servers, protocol).port)
            await reader.readline()
            answers = asyncio.create_task(reader.readexactly(1))
            writer.write(command * 1_000)
            await answers
            while len(getattr(servers, protocol).sessions[0].transcript) < 1_000:  # a half of what there is to say
                turns += 1
                await asyncio.sleep(0)
            writer.close()
        return turns

    assert asyncio.run(count_turns()) > 100


def test_servers_that_stop_while_a_client_idles_leave_no_task() -> None:
    async def stop_in_idle() -> set[Any]:
        async with reference.serving() as servers:
            tls = servers.client_context()
            reader, writer = await asyncio.open_connection("127.0.0.1", servers.imap.tls_port, ssl=tls)
            writer.write(b"a LOGIN alice wonderland\r\nb SELECT INBOX\r\nc IDLE\r\n")
            while not (await reader.readline()).startswith(b"+ "):
                pass
            before = asyncio.all_tasks()
        writer.transport.abort()
        return asyncio.all_tasks() & before - {asyncio.current_task()}

    assert not asyncio.run(stop_in_idle())


def test_a_search_for_too_many_words_in_a_large_message_is_refused(mail: Servers, connect: Callable[..., Any]) -> None:
    mail.deliver("alice", b"Subject: x\r\n\r\n" + b"Hello, world\r\n" * 100_000)
    raw = selected(connect(mail, "imap"))
    raw.send(b"a SEARCH%b\r\n" % (b" NOT TEXT zz" * 200))
    raw.play(
        """S: a NO [LIMIT] Too many words to look for in so large a message
        C: b SEARCH TEXT world SUBJECT x NOT BODY moon
        S: * SEARCH 1
        S: b OK Done"""
    )


def test_a_keyword_in_other_letters_is_the_same(mail: Servers, connect: Callable[..., Any]) -> None:
    mail.deliver("alice", MESSAGE)
    selected(connect(mail, "imap")).play(
        """C: a STORE 1 +FLAGS ($Forwarded)
        S: * 1 FETCH (FLAGS ($Forwarded))
        S: a OK Done
        C: b STORE 1 +FLAGS ($FORWARDED Work)
        S: * 1 FETCH (FLAGS ($Forwarded Work))
        S: b OK Done"""
    )


def test_what_another_one_changes_while_a_store_is_told_is_told_as_well() -> None:
    accounts = Accounts()
    mailbox = accounts.account("alice").mailbox("INBOX")
    message = mailbox.add(MESSAGE)
    session = Session(accounts, "alice", lambda: datetime.now(UTC), largest=1_000)
    session.select(mailbox, read_only=False)
    told = responses(session, "STORE", words(b"1 +FLAGS (\\Seen)"))
    assert next(told) == b"1 FETCH (FLAGS (\\Seen))"
    mailbox.mark(message, ["\\Flagged"])
    assert list(told) == [b"1 FETCH (FLAGS (\\Flagged))"]


@pytest.mark.parametrize("flags", ["\\Seen", ["two words"], ["with\r\nline"], ["(x)"], ["k\u00f6nig"], [""]])
def test_a_message_with_what_is_no_flag_is_not_delivered(mail: Servers, flags: Any) -> None:
    with pytest.raises(sasl.UsageError, match="flag"):
        mail.deliver("alice", MESSAGE, flags=flags)
    assert len(mail.mailbox("alice")) == 0


def test_a_message_whose_date_has_no_zone_is_not_delivered(mail: Servers) -> None:
    with pytest.raises(sasl.UsageError, match="zone"):
        mail.deliver("alice", MESSAGE, date=datetime(2026, 1, 1))  # noqa: DTZ001
    assert len(mail.mailbox("alice")) == 0


@pytest.mark.parametrize("days", [3e6, 1e12, float("inf")])
def test_a_clock_stays_where_it_is_if_there_is_no_such_date(days: float) -> None:
    clock = Clock()
    with pytest.raises(sasl.UsageError, match="no dates"):
        clock.advance(days=days)
    assert (clock.now() - datetime.now(UTC)).total_seconds() < 10


def test_a_call_into_a_loop_that_ends_meanwhile_comes_back() -> None:
    loop = asyncio.new_event_loop()

    async def prepare() -> LoopCalls:
        return LoopCalls()

    calls = loop.run_until_complete(prepare())
    done: list[int] = []
    caller = threading.Thread(target=lambda: done.append(calls(lambda: 7)), daemon=True)
    caller.start()  # the loop stands: nothing will run in it
    caller.join(0.05)
    loop.close()
    caller.join(2)
    late = threading.Thread(target=lambda: done.append(calls(lambda: 8)), daemon=True)
    late.start()
    late.join(2)
    assert done == [7, 8]


@pytest.mark.parametrize(
    ("protocol", "lines"),
    [
        ("imap", ("a NOOP {}", "a CAPABILITY {}", "a STARTTLS {}", "a LOGOUT {}")),
        ("pop", ("USER alice {}", "NOOP {}", "RETR {}", "CAPA {}", "STLS {}", "PASS {}", "QUIT {}")),
        ("smtp", ("NOOP {}", "VRFY {}", "HELP {}", "STARTTLS {}", "RSET {}", "BDAT {}")),
        ("lmtp", ("NOOP {}", "DATA {}", "QUIT {}")),
    ],
)
def test_what_stands_where_nothing_belongs_is_not_shown(
    mail: Servers, connect: Callable[..., Any], protocol: str, lines: tuple[str, ...]
) -> None:
    secret = "Sesame-43"
    raw = connect(mail, protocol)
    raw.line()
    for line in lines:
        raw.send(f"{line.format(secret)}\r\n".encode())
        raw.line()
    shown = [text for _, text in getattr(mail, protocol).sessions[-1].transcript]
    assert not any(secret in text for text in shown)
    assert any(f"<{len(secret)} octets>" in text for text in shown)
