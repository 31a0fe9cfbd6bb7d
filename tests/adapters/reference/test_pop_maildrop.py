"""POP3 over a mailbox that has messages: what each command says of them, octet by octet."""

from __future__ import annotations

import poplib
import socket
from typing import TYPE_CHECKING, Any

import pytest

from sasl.adapters.reference.mail.store import Accounts
from sasl.adapters.reference.maildrop import Maildrop, pieces

from ...support.servers import becomes_true

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sasl.adapters.reference import Servers
    from sasl.adapters.reference.mail.store import Mailbox

    Connect = Callable[..., Any]

LOGIN = "S: +OK ...\nC: AUTH PLAIN {good}\nS: +OK Authenticated\n"
HELLO = b"Subject: hello\r\n\r\none\r\n.two\r\nthree\r\n"


@pytest.fixture
def pop(mail: Servers) -> Iterator[Any]:
    """pop(): the standard library's client, logged in."""
    opened = []

    def connected() -> poplib.POP3_SSL:
        opened.append(
            conn := poplib.POP3_SSL(mail.pop.host, mail.pop.tls_port, context=mail.client_context(), timeout=10)
        )
        conn.user("alice")
        conn.pass_("wonderland")
        return conn

    yield connected
    for conn in opened:
        conn.close()


def put(mail: Servers, raw: bytes) -> None:
    """Put a message into the INBOX as it is, whatever its line ends are."""
    mail.call(lambda: mail.mailbox("alice").add(raw))


def content(raw: Any, begin: bytes) -> bytes:
    """What a command answers between its first line and the dot, as it is sent."""
    raw.send(begin + b"\r\n")
    assert raw.line() == "+OK"
    lines = []
    while (line := raw.lines.readline()) != b".\r\n":
        assert line
        lines.append(line)
    return b"".join(lines)


def test_each_command_speaks_of_the_messages_that_are_there(mail: Servers, connect: Connect) -> None:
    for body in (b"1", b"22", b"333"):
        mail.deliver("alice", b"Subject: x\n\n" + body + b"\n")
    validity = mail.mailbox("alice").uidvalidity
    script = """C: STAT
        S: +OK 3 54
        C: LIST
        S: +OK
        S: 1 17
        S: 2 18
        S: 3 19
        S: .
        C: list 2
        S: +OK 2 18
        C: UIDL
        S: +OK
        S: 1 V.1
        S: 2 V.2
        S: 3 V.3
        S: .
        C: UIDL 3
        S: +OK 3 V.3
        C: LAST
        S: +OK 0
        C: RETR 2
        S: +OK
        S: Subject: x
        S:
        S: 22
        S: .
        C: LAST
        S: +OK 2
        C: DELE 1
        S: +OK
        C: DELE 1
        S: -ERR No such message
        C: RETR 1
        S: -ERR No such message
        C: TOP 1 0
        S: -ERR No such message
        C: LIST 1
        S: -ERR No such message
        C: UIDL 1
        S: -ERR No such message
        C: STAT
        S: +OK 2 37
        C: LIST
        S: +OK
        S: 2 18
        S: 3 19
        S: .
        C: RSET
        S: +OK
        C: STAT
        S: +OK 3 54
        C: LAST
        S: +OK 0
        C: TOP 3 0
        S: +OK
        S: Subject: x
        S:
        S: .
        C: CAPA
        S: +OK
        S: CAPA
        S: TOP
        S: UIDL
        S: PIPELINING...
        """
    connect(mail, "pop").play(LOGIN + script.replace(" V.", f" {validity}."))


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("RETR", "-ERR No such message"),
        ("RETR 0", "-ERR No such message"),
        ("RETR 2", "-ERR No such message"),
        ("RETR -1", "-ERR No such message"),
        ("RETR 1 1", "-ERR No such message"),
        ("RETR x", "-ERR No such message"),
        ("RETR \u0661", "-ERR No such message"),  # a digit of another script
        ("RETR 00000000001", "-ERR No such message"),
        ("RETR 99999999999999999999", "-ERR No such message"),
        ("DELE", "-ERR No such message"),
        ("LIST 2", "-ERR No such message"),
        ("LIST 1,2", "-ERR No such message"),
        ("UIDL 1 2", "-ERR No such message"),
        ("TOP", "-ERR TOP takes the number of a message and how many lines"),
        ("TOP 1", "-ERR TOP takes the number of a message and how many lines"),
        ("TOP 1 -1", "-ERR TOP takes the number of a message and how many lines"),
        ("TOP 1 99999999999", "-ERR TOP takes the number of a message and how many lines"),
        ("TOP 2 1", "-ERR No such message"),
        ("STAT 1", "-ERR STAT takes no argument"),
        ("NOOP 1", "-ERR NOOP takes no argument"),
        ("RSET 1", "-ERR RSET takes no argument"),
        ("LAST 1", "-ERR LAST takes no argument"),
    ],
)
def test_a_number_that_is_none_is_refused(command: str, reply: str, mail: Servers, connect: Connect) -> None:
    mail.deliver("alice", HELLO)
    connect(mail, "pop").play(f"{LOGIN}C: {command}\nS: {reply}\nC: STAT\nS: +OK 1 {len(HELLO)}")


@pytest.mark.parametrize("command", ["STAT", "LIST", "UIDL", "RETR 1", "TOP 1 1", "DELE 1", "NOOP", "RSET", "LAST"])
def test_nobody_sees_the_maildrop_before_the_login(command: str, mail: Servers, connect: Connect) -> None:
    connect(mail, "pop").play(f"S: +OK ...\nC: {command}\nS: -ERR Log in first")


@pytest.mark.parametrize(
    ("raw", "sent"),
    [
        (b"", b""),
        (b"\r\n", b"\r\n"),
        (b".", b"..\r\n"),
        (b".\r\n", b"..\r\n"),
        (b"..\r\n.\r\n.a\r\n", b"...\r\n..\r\n..a\r\n"),
        (b"no end", b"no end\r\n"),
        (b"a\r\n.", b"a\r\n..\r\n"),
        (b"a.\r\n", b"a.\r\n"),
        (b"a\n.\nb\r\n", b"a\n..\nb\r\n"),
        (b"a\r.\rb\r\n", b"a\r.\rb\r\n"),
        (b"nul\0 \xff\xfe\x80\r\n", b"nul\0 \xff\xfe\x80\r\n"),
        (b"x" * 200_000 + b"\r\n", b"x" * 200_000 + b"\r\n"),
        (b".\r\n" * 100_000, b"..\r\n" * 100_000),
        (b"x" * 65_534 + b"\r\n.y\r\n", b"x" * 65_534 + b"\r\n..y\r\n"),
        (b"x" * 65_535 + b"\n.y\r\n", b"x" * 65_535 + b"\n..y\r\n"),
    ],
    ids=lambda octets: repr(octets[:12]),
)
def test_a_message_is_sent_octet_by_octet_with_its_dots_doubled(
    raw: bytes, sent: bytes, mail: Servers, connect: Connect
) -> None:
    put(mail, raw)
    client = connect(mail, "pop")
    client.play(LOGIN)
    assert content(client, b"RETR 1") == sent
    client.play("C: NOOP\nS: +OK")


@pytest.mark.parametrize("shift", range(-3, 4))
def test_a_dot_is_doubled_wherever_a_message_is_cut(shift: int) -> None:
    raw = b"x" * (65_536 + shift) + b"\r\n.\r\n" + b"y" * (65_536 - shift) + b"\r\n.z\r\n"
    assert b"".join(pieces(raw)) == raw.replace(b"\n.", b"\n..")
    assert max(map(len, pieces(raw))) <= 65_537


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (0, b"Subject: hello\r\n\r\n"),
        (1, b"Subject: hello\r\n\r\none\r\n"),
        (2, b"Subject: hello\r\n\r\none\r\n..two\r\n"),
        (3, HELLO.replace(b".two", b"..two")),
        (99_999_999, HELLO.replace(b".two", b"..two")),  # as fetchmail asks for a whole message
    ],
)
def test_top_gives_the_header_and_so_many_lines(lines: int, expected: bytes, mail: Servers, connect: Connect) -> None:
    put(mail, HELLO)
    client = connect(mail, "pop")
    client.play(LOGIN)
    assert content(client, b"TOP 1 %d" % lines) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"\r\nbody\r\nmore\r\n", b"\r\nbody\r\n"),
        (b"\nbody\nmore\n", b"\nbody\n"),
        (b"Subject: x\n\nbody\nmore\n", b"Subject: x\n\nbody\n"),
        (b"Subject: x\r\n", b"Subject: x\r\n"),
        (b"Subject: x\r\n\r\nno end", b"Subject: x\r\n\r\nno end\r\n"),
        (b"Subject: x\r\n\r\n", b"Subject: x\r\n\r\n"),
    ],
)
def test_top_finds_the_body_of_odd_messages(raw: bytes, expected: bytes, mail: Servers, connect: Connect) -> None:
    put(mail, raw)
    client = connect(mail, "pop")
    client.play(LOGIN)
    assert content(client, b"TOP 1 1") == expected


def test_top_counts_the_lines_of_a_long_body() -> None:
    mailbox = inbox()
    mailbox.add(b"S: x\r\n\r\n" + b"\n" * 1_000_000 + b"end\r\n")
    drop = Maildrop(mailbox)
    for lines in (0, 1, 65_535, 65_536, 65_537, 131_072, 999_999):
        assert drop.answer(b"TOP", b"1 %d" % lines) == (["+OK"], b"S: x\r\n\r\n" + b"\n" * lines)
    assert drop.answer(b"TOP", b"1 1000001") == (["+OK"], mailbox.messages[0].raw)


def inbox() -> Mailbox:
    return Accounts().account("alice").mailbox("INBOX")


def test_the_maildrop_stays_as_it_was_at_the_login(mail: Servers, pop: Any) -> None:
    mail.deliver("alice", HELLO)
    first = pop()
    mail.deliver("alice", HELLO)
    assert first.stat() == (1, len(HELLO))

    second = pop()
    assert second.stat() == (2, 2 * len(HELLO))
    assert second.dele(1) == b"+OK"
    second.quit()
    assert [message.uid for message in mail.mailbox("alice").messages] == [2]
    assert first.stat() == (1, len(HELLO))
    assert first.retr(1)[1] == HELLO.splitlines()
    first.dele(1)  # which is gone already
    first.quit()
    assert [message.uid for message in mail.mailbox("alice").messages] == [2]


def test_what_is_deleted_goes_when_the_client_quits_and_only_then(mail: Servers, pop: Any) -> None:
    mail.deliver("alice", HELLO)
    mail.deliver("alice", HELLO)
    cut = pop()
    cut.dele(1)
    cut.close()
    reset = pop()
    reset.dele(1)
    reset.rset()
    reset.quit()
    assert len(mail.mailbox("alice").messages) == 2
    deleting = pop()
    deleting.dele(2)
    assert len(mail.mailbox("alice").messages) == 2
    deleting.quit()
    assert [message.uid for message in mail.mailbox("alice").messages] == [1]


def test_an_id_is_the_same_in_each_session_and_never_used_again(mail: Servers, pop: Any) -> None:
    mail.deliver("alice", HELLO)
    before = pop().uidl()[1]
    assert pop().uidl()[1] == before
    deleting = pop()
    deleting.dele(1)
    deleting.quit()
    mail.deliver("alice", HELLO)
    assert pop().uidl()[1] != before


def test_other_folders_and_other_users_are_not_in_the_maildrop(mail: Servers, pop: Any) -> None:
    mail.deliver("alice", HELLO, mailbox="Sent")
    mail.deliver("bob", HELLO)
    assert pop().stat() == (0, 0)


def test_commands_may_come_all_at_once(mail: Servers, connect: Connect) -> None:
    mail.deliver("alice", b"a\n\nb\n")
    client = connect(mail, "pop")
    client.line()
    client.send(b"USER alice\r\nPASS wonderland\r\nSTAT\r\nRETR 1\r\nTOP 1 0\r\nDELE 1\r\nLIST\r\nQUIT\r\n")
    assert client.lines.read().decode().split("\r\n") == [
        *("+OK Now the password", "+OK Authenticated", "+OK 1 8", "+OK", "a", "", "b", "."),  # to RETR
        *("+OK", "a", "", ".", "+OK", "+OK", ".", "+OK Bye", ""),
    ]
    assert mail.mailbox("alice").messages == ()


def test_a_client_that_does_not_read_costs_no_copy_of_the_message(mail: Servers, connect: Connect) -> None:
    mail.deliver("alice", b"S: x\r\n\r\n" + b"y" * 8_000_000)
    client = connect(mail, "pop")
    client.play(LOGIN)
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.send(b"RETR 1\r\n" * 20)
    session: Any = mail.pop.sessions[-1]
    assert client.line() == "+OK"
    becomes_true(lambda: session.connection._blocked, within=10)
    assert session.connection._transport.get_write_buffer_size() < 1_000_000


def test_nothing_of_the_mail_is_kept_with_a_session_that_is_over(mail: Servers, pop: Any) -> None:
    mail.deliver("alice", HELLO)
    pop().quit()
    session: Any = mail.pop.sessions[-1]
    becomes_true(lambda: session._drop is None, within=10)


def test_a_transcript_holds_no_body(mail: Servers, pop: Any) -> None:
    mail.deliver("alice", HELLO)
    conn = pop()
    conn.retr(1)
    conn.quit()
    transcript = list(mail.pop.sessions[-1].transcript)
    assert ("S", f"<{len(HELLO)} octets>") in transcript
    assert not any("three" in shown for _, shown in transcript)
