"""What a tester delivers: messages, flags and dates of every kind, as clients are told of them afterwards."""

from __future__ import annotations

import contextlib
import imaplib
from datetime import UTC, date, datetime, timedelta, timezone
from email.message import EmailMessage, Message
from typing import TYPE_CHECKING, Any

import pytest

import sasl
import sasl.adapters.imaplib
from sasl.adapters import reference
from sasl.adapters.reference.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sasl.adapters.reference import Servers

BEGIN = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture
def mail() -> Iterator[Servers]:
    with reference.running(clock=Clock(BEGIN)) as servers:
        yield servers


@pytest.fixture
def inbox(mail: Servers) -> Iterator[imaplib.IMAP4]:
    with logged_in(mail) as conn:
        yield conn


@contextlib.contextmanager
def logged_in(mail: Servers) -> Iterator[imaplib.IMAP4]:
    with imaplib.IMAP4_SSL("localhost", mail.imap.tls_port, ssl_context=mail.client_context()) as conn:
        sasl.adapters.imaplib.authenticate(conn, sasl.Password("alice", "wonderland"))
        conn.select("INBOX")
        yield conn


def text_of(message: Message) -> Message:
    message["Subject"] = "one"
    message.set_payload("text\n")
    return message


@pytest.mark.parametrize(
    "message",
    [
        "Subject: one\n\ntext\n",
        "Subject: one\r\n\r\ntext\r\n",
        "Subject: one\r\rtext\r",
        b"Subject: one\n\ntext\n",
        b"Subject: one\r\n\r\ntext\r\n",
        text_of(Message()),
        text_of(EmailMessage()),
    ],
    ids=["str", "str CRLF", "str CR", "bytes", "bytes CRLF", "Message", "EmailMessage"],
)
def test_a_message_of_any_kind_is_the_same_octets(message: Any, mail: Servers, inbox: imaplib.IMAP4) -> None:
    delivered = mail.deliver("alice", message)
    assert delivered.raw == b"Subject: one\r\n\r\ntext\r\n"
    assert mail.mailbox("alice", "inbox").messages == (delivered,)
    inbox.noop()
    _, data = inbox.fetch("1", "(BODY.PEEK[])")
    assert data[0][1] == delivered.raw


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (7, "not int"),
        (None, "not NoneType"),
        (bytearray(b"x"), "not bytearray"),
        ("a\udcff", "no octets"),
    ],
)
def test_what_is_no_message_is_the_callers_mistake(message: Any, why: str, mail: Servers) -> None:
    with pytest.raises(sasl.UsageError, match=why):
        mail.deliver("alice", message)
    assert mail.mailbox("alice").messages == ()


def test_a_message_that_email_cannot_write_is_the_callers_mistake(mail: Servers) -> None:
    message = Message()
    message.set_payload("é")
    with pytest.raises(sasl.UsageError, match="no octets"):
        mail.deliver("alice", message)


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ("\\Seen", "not one string"),
        (b"$Work", "not one string"),
        ([None], "None is no flag"),
        (["a b"], "'a b' is no flag"),
        (["a\r\nb"], "is no flag"),
        (["é"], "is no flag"),
        ([""], "is no flag"),
    ],
)
def test_what_is_no_flag_is_the_callers_mistake(flags: Any, why: str, mail: Servers) -> None:
    with pytest.raises(sasl.UsageError, match=why):
        mail.deliver("alice", "x", flags=flags)
    assert mail.mailbox("alice").messages == ()


@pytest.mark.parametrize("kind", [list, tuple, set, iter])
def test_flags_may_come_in_any_collection(kind: Any, mail: Servers, inbox: imaplib.IMAP4) -> None:
    mail.deliver("alice", "x", flags=kind(["\\SEEN", "$Work", "\\recent"]))
    inbox.noop()
    _, data = inbox.fetch("1", "(FLAGS)")
    assert sorted(imaplib.ParseFlags(data[0])) == [b"$Work", b"\\Seen"]


@pytest.mark.parametrize(
    ("when", "why"),
    [
        (datetime(2026, 1, 1), "with its zone"),  # noqa: DTZ001 -- that is what is asked
        (date(2026, 1, 1), "with its zone"),
        ("now", "with its zone"),
        (0, "with its zone"),
    ],
)
def test_what_is_no_date_is_the_callers_mistake(when: Any, why: str, mail: Servers) -> None:
    with pytest.raises(sasl.UsageError, match=why):
        mail.deliver("alice", "x", date=when)


@pytest.mark.parametrize(
    ("zone", "told"),
    [
        (UTC, "01-Jan-2026 12:00:00 +0000"),
        (timezone(timedelta(hours=5, minutes=30)), "01-Jan-2026 12:00:00 +0530"),
        (timezone(timedelta(hours=-1, seconds=-15)), "01-Jan-2026 13:00:15 +0000"),
    ],
)
def test_a_date_is_told_as_imap_can(zone: timezone, told: str, mail: Servers, inbox: imaplib.IMAP4) -> None:
    mail.deliver("alice", "x", date=datetime(2026, 1, 1, 12, tzinfo=zone))
    inbox.noop()
    _, data = inbox.fetch("1", "(INTERNALDATE)")
    assert f'INTERNALDATE "{told}"' in data[0].decode()


AGES = {
    "YOUNGER 3600": b"2",
    "OLDER 3600": b"1",
    "YOUNGER 80000": b"1 2",
    "SINCE 2-Dec-2026": b"",
    "ON 1-Dec-2026": b"1 2",
}


def test_mail_grows_old_by_the_clock(mail: Servers) -> None:
    mail.deliver("alice", "Subject: first\n\n")
    mail.clock.advance(hours=20)
    mail.deliver("alice", "Subject: second\n\n")
    with logged_in(mail) as inbox:
        _, data = inbox.fetch("1:2", "(INTERNALDATE)")
        assert [line.partition(b'"')[2][:14] for line in data] == [b"01-Dec-2026 00", b"01-Dec-2026 20"]
        for search, found in AGES.items():
            assert inbox.search(None, search)[1] == [found], search


@pytest.mark.parametrize(("user", "mailbox"), [(7, "INBOX"), ("alice", 7), (b"alice", "INBOX"), ("alice", None)])
def test_a_user_and_a_mailbox_are_named_by_str(user: Any, mailbox: Any, mail: Servers) -> None:
    with pytest.raises(sasl.UsageError, match="named by str"):
        mail.mailbox(user, mailbox)
    with pytest.raises(sasl.UsageError, match="named by str"):
        mail.deliver(user, "x", mailbox=mailbox)
