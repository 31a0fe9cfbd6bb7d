"""What one types into Gmail's search box, as IMAP's X-GM-RAW."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from sasl.adapters.reference.mail.gmail_query import keys_of
from sasl.adapters.reference.mail.grammar import BadArguments, words
from sasl.adapters.reference.mail.search import parse_search
from sasl.adapters.reference.mail.store import Accounts, Message

NOW: Final = datetime(2026, 12, 1, 12, tzinfo=UTC)
MICE: Final = (
    b"From: Dormouse <d@example.org>\r\nTo: alice@gmail.com\r\nSubject: tea party\r\nMessage-ID: <1@m>\r\n\r\n"
)


@pytest.fixture
def message() -> Message:
    inbox = Accounts().account("alice").mailbox("INBOX")
    return inbox.add(MICE + b"Three blind mice.\r\n" * 100, ["\\Flagged"], NOW - timedelta(days=3))


def fits(message: Message, query: str) -> bool:
    quoted = query.replace('"', '\\"')
    search = parse_search(words(f'X-GM-RAW "{quoted}"'.encode()), now=NOW, whole_words=True, gmail=True)
    return search.fits(1, message)


@pytest.mark.parametrize(
    ("query", "is_found"),
    [
        ("mice", True),
        ("mouse", False),
        ("blind mice", True),
        ("mice men", False),
        ('"blind mice"', True),
        ('"mice blind"', False),
        ("from:dormouse subject:tea", True),
        ('subject:"tea party"', True),
        ("from:alice", False),
        ("to:alice@gmail.com", True),
        ("-mice", False),
        ("-from:alice mice", True),
        ("men OR mice", True),
        ("men OR cats OR mice", True),
        ("men OR cats", False),
        ("is:unread", True),
        ("is:read", False),
        ("is:starred", True),
        ("rfc822msgid:<1@m>", True),
        ("after:2026/11/28", True),
        ("after:2026/11/29", False),
        ("before:2026-11-29", True),
        ("newer_than:4d", True),
        ("newer_than:2d", False),
        ("older_than:1m", False),
        ("larger:1K", True),
        ("larger:1M", False),
        ("smaller:10M", True),
        ("label:work", False),
    ],
)
def test_a_query_finds_what_gmail_finds(message: Message, query: str, *, is_found: bool) -> None:
    assert fits(message, query) is is_found


@pytest.mark.parametrize(
    "query", ["", "   ", "OR", "has:drive", "is:odd", "after:yesterday", "after:2026/13/01", "newer_than:x", "size:big"]
)
def test_what_is_not_known_is_refused(query: str) -> None:
    with pytest.raises(BadArguments):
        keys_of(query)


def test_a_query_is_bounded(message: Message) -> None:
    with pytest.raises(BadArguments):
        keys_of("a " * 101)
    with pytest.raises(BadArguments):
        fits(message, "a OR " * 1_000 + "b")


def test_without_gmail_there_is_no_such_key() -> None:
    with pytest.raises(BadArguments, match="unknown"):
        parse_search(words(b"X-GM-RAW mice"), now=NOW)
