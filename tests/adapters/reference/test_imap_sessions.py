"""Several IMAP clients at one mailbox: each has its own numbers, and hears of the others when it may."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from sasl.adapters import reference
from sasl.adapters.reference import Settings
from sasl.adapters.reference.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sasl.adapters.reference import Servers

MESSAGE = b"Subject: x\r\n\r\nHello\r\n"
WHEN = datetime(2026, 2, 1, 10, tzinfo=UTC)


@pytest.fixture
def mail() -> Iterator[Servers]:
    with reference.running(clock=Clock(WHEN)) as servers:
        for _ in range(3):
            servers.deliver("alice", MESSAGE)
        yield servers


@pytest.fixture
def session(mail: Servers, connect: Callable[..., Any]) -> Callable[[], Any]:
    """session() -> Raw: a new client that has selected INBOX."""

    def hold() -> Any:
        raw = connect(mail, "imap")
        raw.play("S: * OK ...\nC: in AUTHENTICATE PLAIN {good}\nS: in OK ...\nC: in SELECT INBOX")
        while not raw.line().startswith("in OK"):
            pass
        return raw

    return hold


def test_numbers_stay_until_the_client_may_hear_of_it(session: Callable[[], Any]) -> None:
    one, two = session(), session()
    one.play(
        r"""C: a STORE 1:2 +FLAGS.SILENT (\Deleted)
        S: a OK Done
        C: a EXPUNGE
        S: * 2 EXPUNGE
        S: * 1 EXPUNGE
        S: a OK Done"""
    )
    two.play(
        r"""C: a FETCH 1:3 (UID FLAGS)
        S: * 1 FETCH (UID 1 FLAGS (\Deleted))
        S: * 2 FETCH (UID 2 FLAGS (\Deleted))
        S: * 3 FETCH (UID 3 FLAGS ())
        S: a OK Done
        C: a SEARCH ALL
        S: * SEARCH 1 2 3
        S: a OK Done
        C: a STORE 3 +FLAGS (\Seen)
        S: * 3 FETCH (FLAGS (\Seen))
        S: a OK Done
        C: a STORE 1:3 +FLAGS.SILENT (\Seen)
        S: a NO [EXPUNGEISSUED] Some of these messages are gone
        C: a UID FETCH 3 (FLAGS)
        S: * 3 FETCH (UID 3 FLAGS (\Seen))
        S: * 2 EXPUNGE
        S: * 1 EXPUNGE
        S: a OK Done
        C: a FETCH 1 (UID)
        S: * 1 FETCH (UID 3)
        S: a OK Done"""
    )


def test_what_is_gone_is_neither_copied_nor_moved(session: Callable[[], Any]) -> None:
    one, two = session(), session()
    one.play("C: a MOVE 1 Trash\nS: * OK [COPYUID ...\nS: * 1 EXPUNGE\nS: a OK Done")
    two.play(
        """C: a COPY 1:2 Archive
        S: * 1 EXPUNGE
        S: a NO [EXPUNGEISSUED] Some of these messages are gone"""
    )
    one.play("C: a MOVE 1 Trash\nS: * OK [COPYUID ...\nS: * 1 EXPUNGE\nS: a OK Done")
    two.play(
        """C: a UID MOVE 2:3 Archive
        S: * 1 EXPUNGE
        S: a NO [EXPUNGEISSUED] Some of these messages are gone
        C: a STATUS Archive (MESSAGES)
        S: * STATUS Archive (MESSAGES 0)
        S: a OK Done"""
    )


def test_flags_and_arrivals_are_told_with_the_next_answer(mail: Servers, session: Callable[[], Any]) -> None:
    one, two = session(), session()
    one.play(r"C: a STORE 2 +FLAGS.SILENT (\Seen red)" + "\nS: a OK Done")
    mail.deliver("alice", MESSAGE, flags=["blue"])
    news = r"""S: * 4 EXISTS
        S: * 2 FETCH (FLAGS (\Seen red))
        S: a OK Done
        C: a NOOP
        S: a OK Done"""
    two.play(f"C: a NOOP\n{news}")
    one.play(
        r"""C: a FETCH 2 FLAGS
        S: * 2 FETCH (FLAGS (\Seen red))
        S: * 4 EXISTS
        S: a OK Done
        C: a NOOP
        S: a OK Done"""
    )


def test_idle_tells_of_a_delivery_of_flags_and_of_what_goes_away(mail: Servers, session: Callable[[], Any]) -> None:
    idle, other = session(), session()
    idle.play("C: a IDLE\nS: + idling")
    mail.deliver("alice", MESSAGE)
    idle.play("S: * 4 EXISTS")
    other.play("C: a STORE 1 +FLAGS.SILENT (\\Deleted)\nS: * 4 EXISTS\nS: a OK Done")
    idle.play(r"S: * 1 FETCH (FLAGS (\Deleted))")
    other.play("C: a EXPUNGE\nS: * 1 EXPUNGE\nS: a OK Done")
    idle.play("S: * 1 EXPUNGE\nC: DONE\nS: a OK Done")
    mail.deliver("alice", MESSAGE)
    idle.play("C: b IDLE\nS: * 4 EXISTS\nS: + idling\nC: DONE\nS: b OK Done")


def test_idle_without_a_mailbox_waits_for_done(mail: Servers, connect: Callable[..., Any]) -> None:
    raw = connect(mail, "imap")
    raw.play(
        """S: * OK ...
        C: a AUTHENTICATE PLAIN {good}
        S: a OK ...
        C: a IDLE
        S: + idling
        C: DONE
        S: a OK Done"""
    )


def test_a_session_can_be_ended_while_it_idles(mail: Servers, session: Callable[[], Any]) -> None:
    raw = session()
    raw.play("C: a IDLE\nS: + idling")
    mail.call(lambda: mail.imap.sessions[-1].end("broken"))
    raw.play("S: * BYE Something is wrong here\nE:")
    assert mail.call(lambda: mail.mailbox("alice")._watchers) == []


def test_idle_does_not_last_for_ever(connect: Callable[..., Any]) -> None:
    with reference.running(settings=Settings(idle=0.2)) as servers:
        raw = connect(servers, "imap")
        raw.play(
            """S: * OK ...
            C: a AUTHENTICATE PLAIN {good}
            S: a OK ...
            C: a IDLE
            S: + idling
            S: * BYE Too slow
            E:"""
        )


def test_a_literal_that_never_ends_does_not_last_for_ever(connect: Callable[..., Any]) -> None:
    with reference.running(settings=Settings(idle=0.2)) as servers:
        raw = connect(servers, "imap")
        raw.play(
            "S: * OK ...\nC: a AUTHENTICATE PLAIN {good}\nS: a OK ...\nC: a APPEND Sent {{9}}\nS: + Go ahead\nC: x"
        )
        raw.play("S: * BYE Too slow\nE:")
        assert servers.mailbox("alice", "Sent").messages == ()


def test_a_client_that_goes_away_while_it_idles_leaves_nothing(mail: Servers, session: Callable[[], Any]) -> None:
    raw = session()
    raw.play("C: a IDLE\nS: + idling")
    raw.close()
    until = time.monotonic() + 10
    while mail.call(lambda: mail.mailbox("alice")._watchers) and time.monotonic() < until:
        mail.deliver("alice", MESSAGE)
    assert mail.call(lambda: mail.mailbox("alice")._watchers) == []


def test_a_mailbox_that_is_deleted_is_empty_for_those_who_are_in_it(session: Callable[[], Any]) -> None:
    one, two = session(), session()
    one.play("C: a COPY 1:2 Archive\nS: a OK ...")
    two.play("C: a SELECT Archive\nS: * FLAGS ...\nS: * 2 EXISTS")
    while not two.line().startswith("a OK"):
        pass
    one.play("C: a DELETE Archive\nS: a OK Done")
    two.play("C: a NOOP\nS: * 2 EXPUNGE\nS: * 1 EXPUNGE\nS: a OK Done\nC: a FETCH 1 FLAGS\nS: a BAD Invalid messageset")
    one.play("C: a CREATE Archive\nS: a OK Done\nC: a STATUS Archive (MESSAGES UIDNEXT)")
    one.play("S: * STATUS Archive (MESSAGES 0 UIDNEXT 1)\nS: a OK Done")


def test_a_mailbox_made_anew_has_another_uidvalidity(session: Callable[[], Any]) -> None:
    raw = session()

    def validity() -> str:
        raw.send(b"v STATUS Archive (UIDVALIDITY)\r\n")
        told = str(raw.line())
        raw.play("S: v OK Done")
        return told

    before = validity()
    raw.play("C: a DELETE Archive\nS: a OK Done\nC: a CREATE Archive\nS: a OK Done")
    assert validity() != before


def test_what_comes_without_a_date_comes_now(mail: Servers, session: Callable[[], Any]) -> None:
    mail.clock.advance(days=8)
    raw = session()
    raw.play("C: a APPEND INBOX {{1}}\nS: + Go ahead\nC: x\nS: * 4 EXISTS\nS: a OK ...")
    raw.play('C: a FETCH 4 INTERNALDATE\nS: * 4 FETCH (INTERNALDATE "09-Feb-2026 10:00:0...\nS: a OK Done')
    raw.play("C: a SEARCH YOUNGER 600\nS: * SEARCH 4\nS: a OK Done")


def test_an_answer_to_nobody_is_not_gone_on_with(mail: Servers, session: Callable[[], Any]) -> None:
    raw = session()
    large = b"x" * 1_000_000
    for _ in range(20):
        mail.deliver("alice", large)
    raw.send(b"a FETCH 1:* BODY[]\r\n")
    raw.line()
    raw.close()
    until = time.monotonic() + 10
    while (ends := [each.over for each in mail.call(lambda: list(mail._backend.open))]) and time.monotonic() < until:
        pass
    assert ends == []
