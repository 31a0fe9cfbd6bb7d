"""What a client cannot do to the IMAP server: take its time, its memory, or a connection that goes on."""

from __future__ import annotations

import asyncio
import socket
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from sasl.adapters import reference
from sasl.adapters.reference.connection import Connection
from sasl.adapters.reference.imap import ImapConversation
from sasl.adapters.reference.mail.store import Mailbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sasl.adapters.reference import Servers

MESSAGE = b"Subject: x\r\n\r\nHello\r\n"
IN = "S: * OK ...\nC: in AUTHENTICATE PLAIN {good}\nS: in OK ...\n"
LARGE = 60_000

ATTACKS = {
    "a range to the largest number": (b"FETCH 1:4294967295 FLAGS", "BAD Invalid messageset"),
    "a number that is too large": (b"FETCH 4294967296 FLAGS", "BAD There is no message of that number"),
    "uids to the largest number": (b"UID FETCH 1:4294967295 UID", "OK Done"),
    "10,000 ranges": (b"UID FETCH %s UID" % b",".join([b"1:*"] * 10_000), "OK Done"),
    "more ranges": (b"UID FETCH %s UID" % b",".join([b"1"] * 20_000), "BAD Too many ranges of numbers"),
    "lists in lists": (b"SEARCH " + b"(" * LARGE, "BAD Too many parentheses in parentheses"),
    "lists that end": (b"SEARCH " + b"(" * 20_000 + b")" * 20_000, "BAD Too many parentheses in parentheses"),
    "NOT of NOT": (b"SEARCH %sALL" % (b"NOT " * 10_000), "BAD Too many keys"),
    "OR of OR": (b"SEARCH %sALL" % (b"OR " * 900), "BAD SEARCH ends too early"),
    "many keys": (b"SEARCH " + b" ".join([b"NOT TEXT z"] * 4_000), "BAD Too many keys"),
    "many keys in a list": (b"SEARCH (%s)" % b" ".join([b"1:*"] * 15_000), "BAD Too many keys"),
    "10,000 items": (b"FETCH 1 (%s)" % b" ".join(b"BODY[]<%d.1>" % n for n in range(4_000)), "BAD That is too much..."),
    "the same item 5,000 times": (b"FETCH 1 (%s)" % b" ".join([b"RFC822.SIZE"] * 5_000), "OK Done"),
    "a part of a part of a part": (b"FETCH 1 BODY[%s1]" % (b"1." * 30_000), "BAD There is no such section of a BODY"),
    "a pattern of stars": (b'LIST "" ' + b"*" * LARGE, "BAD Too much of a pattern"),
    "a pattern of stars and letters": (b'LIST "" ' + b"*a%" * 330 + b"Z", "OK Done"),
    "many patterns": (b'LIST "" (%s)' % b" ".join(b"*%d" % n for n in range(5_000)), "BAD Too much of a pattern"),
    "many items of STATUS": (b"STATUS INBOX (%s)" % b" ".join([b"UNSEEN"] * 9_000), "OK Done"),
    "many flags": (
        b"STORE 1 +FLAGS (%s)" % b" ".join(b"k%d" % n for n in range(9_000)),
        "NO [LIMIT] Too many flags...",
    ),
    "a long flag": (b"STORE 1 +FLAGS " + b"k" * LARGE, "NO [LIMIT] Too many flags, or too long ones"),
    "a name with many levels": (b"CREATE " + b"/".join([b"a"] * 30_000), "NO [CANNOT] A mailbox cannot have that name"),
    "a string that does not end": (b'SEARCH SUBJECT "' + b"\\" * LARGE, "BAD ..."),
    "a long line": (b"SEARCH SUBJECT " + b"x" * 100_000, "BAD Line too long"),
    "many literals": (b"STATUS" + b" {1+}\r\nx" * 9_000 + b" x", "BAD Too few arguments, or too many"),
    "a literal behind a long line": (b"STATUS {1+}\r\nx " + b"x" * 100_000, "BAD Line too long"),
}


@pytest.fixture
def mail() -> Iterator[Servers]:
    with reference.running() as servers:
        for _ in range(3):
            servers.deliver("alice", MESSAGE)
        yield servers


@pytest.fixture
def session(mail: Servers, connect: Callable[..., Any]) -> Callable[..., Any]:
    """session(name) -> Raw: a new client that has selected a mailbox."""

    def hold(mailbox: str = "INBOX") -> Any:
        raw = connect(mail, "imap")
        raw.play(f"{IN}C: in SELECT {mailbox}")
        answer(raw, "in")
        return raw

    return hold


def answer(raw: Any, tag: str) -> list[str]:
    """The lines up to the tagged one."""
    lines = [raw.line()]
    while lines[-1] and not lines[-1].startswith(f"{tag} "):
        lines.append(raw.line())
    return lines


@pytest.mark.parametrize("name", ATTACKS)
def test_too_much_is_refused_in_no_time_and_the_connection_stays(name: str, session: Callable[..., Any]) -> None:
    command, expected = ATTACKS[name]
    raw = session()
    raw.send(b"a %s\r\nb NOOP\r\n" % command)
    told = answer(raw, "a")[-1].removeprefix("a ")
    assert told.startswith(expected.removesuffix("...")) if expected.endswith("...") else told == expected
    assert answer(raw, "b")[-1] == "b OK Done"


def test_literals_without_end_end_the_connection(session: Callable[..., Any]) -> None:
    raw = session()
    raw.send(b"a STATUS" + b" {0+}\r\n" * 30_000)
    assert raw.line() == "* BYE That literal is too large"
    assert raw.line() == ""


def test_thousand_mailboxes_and_no_more(mail: Servers, session: Callable[..., Any]) -> None:
    raw = session()
    raw.send(b"".join(b"a CREATE m%d\r\n" % number for number in range(996)))
    answers = [raw.line() for _ in range(996)]
    assert answers == ["a OK Done"] * 995 + ["a NO [LIMIT] There are too many mailboxes"]
    raw.play("C: a DELETE m1\nS: a OK Done\nC: a CREATE x/y\nS: a NO [LIMIT] There are too many mailboxes")
    raw.play("C: a CREATE x\nS: a OK Done")
    assert len(mail.account("alice").mailboxes) == 1_000


def test_copies_are_bounded_and_all_or_none(mail: Servers, session: Callable[..., Any]) -> None:
    mail.call(lambda: [mail.mailbox("alice").add(bytes(10_000_000)) for _ in range(20)])
    raw = session()
    raw.send(b"a COPY 4:23 Archive\r\n")
    assert answer(raw, "a")[-1] == "a NO [OVERQUOTA] There is no room for them"
    assert mail.mailbox("alice", "Archive").messages == ()
    raw.send(b"a MOVE 4:23 Archive\r\n")
    assert answer(raw, "a")[-1] == "a OK Done"
    raw.send(b"a APPEND INBOX {60000000}\r\n")
    assert answer(raw, "a")[-1] == "a NO [TOOBIG] A message may have 10485760 octets"


def test_a_large_message_comes_and_goes_as_it_is(mail: Servers, session: Callable[..., Any]) -> None:
    raw = session("Sent")
    message = b"Subject: x\r\n\r\n" + bytes(range(1, 256)) * 40_000
    raw.send(b"a APPEND Sent {%d}\r\n" % len(message))
    assert raw.line() == "+ Go ahead"
    raw.send(message + b"\r\n")
    assert answer(raw, "a")[-1].startswith("a OK [APPENDUID ")
    raw.send(b"a FETCH 1 BODY.PEEK[]\r\n")
    assert raw.line() == f"* 1 FETCH (BODY[] {{{len(message)}}}"
    assert raw.lines.read(len(message)) == message
    assert mail.mailbox("alice", "Sent").messages[0].raw == message


def test_a_large_answer_is_sent_in_pieces(
    mail: Servers, session: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(20):
        mail.deliver("alice", b"x" * 1_000_000, mailbox="Sent")
    raw = session("Sent")
    sizes: list[int] = []
    write = ImapConversation.write

    async def counted(conversation: ImapConversation, octets: bytes) -> None:
        sizes.append(len(octets))
        await write(conversation, octets)

    monkeypatch.setattr(ImapConversation, "write", counted)
    raw.send(b"a FETCH 1:* (BODY.PEEK[] BODY.PEEK[TEXT])\r\n")
    seen = 0
    while b"a OK Done\r\n" not in (line := raw.lines.readline()):
        seen += len(line)
    assert seen > 20_000_000
    assert max(sizes) < 2_100_000
    assert len(sizes) >= 20


def test_messages_one_by_one_cost_what_they_are_alone(
    mail: Servers, session: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """500 of them: a look at all others for each would be 250,000."""
    mail.call(lambda: [mail.mailbox("alice", "Sent").add(b"x") for _ in range(500)])
    raw = session("Sent")
    looked_at: list[int] = []
    changes = Mailbox.changes

    def counted(mailbox: Mailbox, since: int) -> list[Any]:
        found = changes(mailbox, since)
        looked_at.append(len(found))
        return found

    monkeypatch.setattr(Mailbox, "changes", counted)
    monkeypatch.setattr(Mailbox, "messages", property(lambda mailbox: looked_at.append(len(mailbox))))
    for uid in range(1, 501):
        raw.send(b"a UID FETCH %d BODY[]\r\n" % uid)
        assert answer(raw, "a")[-2:] == ["x FLAGS (\\Seen))", "a OK Done"]
    assert sum(looked_at) == 500


class Transport(asyncio.Transport):
    """One that keeps what is set at its socket."""

    def __init__(self) -> None:
        super().__init__()
        self.options: list[tuple[int, ...]] = []

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self if name == "socket" else default

    def setsockopt(self, *option: int) -> None:
        self.options.append(option)

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="there is no TCP_QUICKACK here")
def test_each_literal_is_acknowledged_at_once() -> None:
    """imaplib sends a literal and the end of its line in two writes, and waits 40 ms between them otherwise."""

    async def read() -> list[tuple[int, ...]]:
        transport = Transport()
        connection = Connection(lambda _: None)
        connection.connection_made(transport)
        for _ in range(3):
            reading = asyncio.create_task(connection.read_exactly(6))
            await asyncio.sleep(0)
            connection.data_received(b"abcd\r\n")
            await asyncio.sleep(0)
            connection.data_received(b"\r\n")
            assert await reading == b"abcd\r\n"
            assert await connection.read_line(10) == b"\r\n"
        connection.connection_lost(None)
        assert await connection.read_exactly(1) == b""
        return transport.options

    assert asyncio.run(read()) == [(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)] * 3


def test_uids_and_changes_are_numbers_that_go_up(mail: Servers) -> None:
    def changed() -> list[int]:
        mailbox = mail.mailbox("alice")
        numbers = [mailbox.modseq]
        for message in mailbox.messages:
            mailbox.mark(message, ["\\Seen"])
            numbers.append(mailbox.modseq)
        mailbox.remove(mailbox.messages)
        return [*numbers, mailbox.modseq, mailbox.add(MESSAGE).modseq]

    numbers = mail.call(changed)
    assert all(one < other for one, other in pairwise(numbers))
