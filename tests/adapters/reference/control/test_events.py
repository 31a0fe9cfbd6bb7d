"""What happens is told as it happens, to as many as may look on, without a queue."""

from __future__ import annotations

import contextlib
import imaplib
import json
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from sasl.adapters.reference.control.live import MOST_AT_ONCE
from sasl.adapters.reference.control.routes import TOPICS

from .conftest import API, PASSWORD, Controlled, events

Until = Callable[[Callable[[Any], bool]], dict[str, Any]]


@pytest.fixture
def until(controlled: Controlled) -> Iterator[Until]:
    """until(condition): what was told of each topic, as soon as it fulfils a condition."""
    with events(controlled) as event:
        told = dict(event() for _ in TOPICS)

        def until(condition: Callable[[Any], bool]) -> dict[str, Any]:
            while not condition(told):
                topic, document = event()
                told[topic] = document
            return told

        yield until


def test_at_first_each_topic_says_what_its_get_says(controlled: Controlled) -> None:
    with events(controlled) as event:
        told = dict(event() for _ in TOPICS)
    del told["clock"]
    assert told == {topic: controlled.do("GET", f"/{topic}") for topic in told}


def test_a_login_is_told_without_its_secret(controlled: Controlled, until: Until) -> None:
    imap = controlled.servers.imap
    with imaplib.IMAP4_SSL("localhost", imap.tls_port, ssl_context=controlled.servers.client_context()) as conn:
        conn.login("alice", PASSWORD)
        told = until(lambda told: told["attempts"]["attempts"] and told["sessions"]["sessions"][-1]["user"] == "alice")
        (attempt,) = told["attempts"]["attempts"]
        assert (attempt["service"], attempt["outcome"], attempt["identity"]) == ("imap", "accepted", "alice")
        assert PASSWORD not in json.dumps(told)


def test_what_is_done_by_control_is_told(controlled: Controlled, until: Until) -> None:
    controlled.do("POST", "/users/alice/mailboxes/INBOX/messages", {"raw": "Subject: hi\n\nhi"}, 201)
    until(lambda told: {"name": "alice", "messages": 1} in told["users"]["users"])
    controlled.do("POST", "/faults", {"text": "imap:FETCH drop"}, 201)
    until(lambda told: [fault["hits"] for fault in told["faults"]["faults"]] == [0])


def test_a_clock_that_a_test_moves_is_told(controlled: Controlled, until: Until) -> None:
    later = (controlled.servers.clock.now() + timedelta(days=1)).isoformat()
    controlled.servers.clock.advance(days=1)
    until(lambda told: told["clock"]["now"] >= later[:23])


def test_no_more_look_on_than_there_are_places(controlled: Controlled) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(MOST_AT_ONCE):
            event = stack.enter_context(events(controlled))
            event()
        assert controlled.ask("GET", f"{API}/events").status == 503
        assert controlled.ask("GET", f"{API}/messages/wait").status == 503


@pytest.mark.parametrize(("path", "status"), [("/events", b"200"), ("/messages/wait?timeout=300&count=99", b"408")])
def test_who_went_away_leaves_a_place(controlled: Controlled, path: str, status: bytes) -> None:
    key, place = controlled.control.key.reveal(), urlsplit(controlled.control.url)
    for _ in range(MOST_AT_ONCE + 1):
        with socket.create_connection((place.hostname, place.port), 10) as sock:
            request = f"GET {API}{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n"
            sock.sendall(request.encode())
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(12) == b"HTTP/1.1 " + status
            while sock.recv(65_536):
                pass


def test_when_the_servers_stop_the_events_end() -> None:
    from sasl.adapters.reference.listening import in_thread

    from .conftest import both

    with in_thread(both(), "control") as controlled, contextlib.ExitStack() as stack:
        event = stack.enter_context(events(controlled))
        event()
