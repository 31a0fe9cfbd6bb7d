"""The clock that tests move, and calls into the servers' event loop."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

import sasl
from sasl.adapters import reference
from sasl.adapters.reference.clock import Clock


def test_a_clock_goes_as_time_does() -> None:
    clock = Clock()
    before = time.time()
    assert before <= clock() <= time.time()
    assert clock.now().tzinfo is UTC


def test_a_clock_begins_where_it_is_told_to() -> None:
    clock = Clock(datetime(2027, 1, 1, tzinfo=timezone(timedelta(hours=1))))
    assert datetime(2026, 12, 31, 23, tzinfo=UTC) <= clock.now() < datetime(2026, 12, 31, 23, 1, tzinfo=UTC)


def test_a_clock_is_put_forward_and_tells_those_who_watch() -> None:
    clock = Clock(datetime(2026, 12, 1, tzinfo=UTC))
    seen: list[datetime] = []
    stop = clock.watch(lambda: seen.append(clock.now()))
    told = clock.advance(days=1, hours=2, minutes=3, seconds=4)
    assert seen
    assert (told - datetime(2026, 12, 2, 2, 3, 4, tzinfo=UTC)).total_seconds() < 10
    clock.set(datetime(2026, 12, 31, tzinfo=UTC))
    assert (seen[1].month, seen[1].day) == (12, 31)
    stop()
    clock.advance(hours=1)
    assert len(seen) == 2


def test_time_does_not_go_back() -> None:
    clock = Clock(datetime(2026, 12, 1, tzinfo=UTC))
    with pytest.raises(sasl.UsageError, match="does not go back"):
        clock.advance(seconds=-1)
    with pytest.raises(sasl.UsageError, match="does not go back"):
        clock.set(datetime(2026, 11, 30, tzinfo=UTC))


def test_a_time_without_a_zone_is_none() -> None:
    with pytest.raises(sasl.UsageError, match="zone"):
        Clock(datetime(2026, 12, 1))  # noqa: DTZ001
    with pytest.raises(sasl.UsageError, match="zone"):
        Clock().set(datetime(2099, 12, 1))  # noqa: DTZ001


def test_a_call_runs_in_the_loop_and_gives_what_comes_of_it() -> None:
    with reference.running() as servers:
        assert servers.call(lambda: threading.current_thread().name) == "saslkit-reference"
        with pytest.raises(ZeroDivisionError):
            servers.call(lambda: 1 // 0)
    assert servers.call(lambda: threading.current_thread().name) == threading.current_thread().name


def test_mail_is_dated_by_the_clock_and_stays_when_the_servers_have_stopped() -> None:
    clock = Clock(datetime(2026, 12, 1, tzinfo=UTC))
    with reference.running(clock=clock) as servers:
        servers.clock.advance(hours=1)
        message = servers.deliver("alice", "Subject: hello\n\nyou\n", flags=["\\seen", "$Work"])
    assert (message.uid, message.raw, message.flags) == (1, b"Subject: hello\r\n\r\nyou\r\n", {"\\Seen", "$Work"})
    assert (message.date - datetime(2026, 12, 1, 1, tzinfo=UTC)).total_seconds() < 10
    assert servers.mailbox("alice").messages == (message,)
    assert message.email["subject"] == "hello"
    with pytest.raises(sasl.UsageError, match="no mailbox 'Nowhere'"):
        servers.mailbox("alice", "Nowhere")
    with pytest.raises(sasl.UsageError, match="not int"):
        servers.deliver("alice", 7)  # type: ignore[arg-type]
