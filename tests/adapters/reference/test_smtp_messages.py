"""SMTP takes messages: what stands in the outbox of each, octet by octet, and what is refused."""

from __future__ import annotations

import asyncio
import re
import smtplib
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any

import pytest

from sasl.adapters import reference
from sasl.adapters.reference import Settings
from sasl.adapters.reference.mail.store import Full
from sasl.adapters.reference.mail_commands import LARGEST_MESSAGE

from ...support.servers import becomes_true

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sasl.adapters.reference import Servers

    Connect = Callable[..., Any]

EHLO = "S: 220 ...\nC: EHLO me\n" + "S: 250-...\n" * 9 + "S: 250 AUTH...\n"
LOGIN = EHLO + "C: AUTH PLAIN {good}\nS: 235 2.7.0 Authenticated\n"
ENVELOPE = LOGIN + "C: MAIL FROM:<a@example.org>\nS: 250 2.1.0 OK\nC: RCPT TO:<b@example.org>\nS: 250 2.1.5 OK\n"


@pytest.fixture
def raw(mail: Servers, connect: Connect) -> Any:
    """A client that has logged in."""
    client = connect(mail, "smtp")
    client.play(LOGIN)
    return client


@pytest.fixture
def smtp(mail: Servers) -> Iterator[smtplib.SMTP_SSL]:
    with smtplib.SMTP_SSL(mail.smtp.host, mail.smtp.tls_port, context=mail.client_context(), timeout=10) as conn:
        conn.login("alice", "wonderland")
        yield conn


def send(raw: Any, octets: bytes, envelope: bytes = b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\n") -> str:
    """Send octets as DATA; return the last reply."""
    raw.send(envelope + b"DATA\r\n")
    assert [raw.line()[:3] for _ in range(envelope.count(b"\r\n") + 1)][-1] == "354"
    raw.send(octets)
    line: str = raw.line()
    return line


# --- envelopes


def test_the_outbox_has_the_envelope_as_it_was_sent(mail: Servers, raw: Any) -> None:
    raw.play("""C: mail from:<a@example.org> size=9 Body=8BitMime RET=hdrs ENVID=id+2B1 AUTH=<>
        S: 250 2.1.0 OK
        C: rcpt to:<b@example.org> NOTIFY=SUCCESS,delay ORCPT=rfc822;bob+40example.org
        S: 250 2.1.5 OK
        C: RCPT TO:<c@example.org> notify=never
        S: 250 2.1.5 OK
        C: RCPT TO:<"d e>"@example.org>
        S: 250 2.1.5 OK
        C: data
        S: 354 End with a line that is a dot
        C: Subject: hi
        C:
        C: there
        C: .
        S: 250 2.0.0 Accepted""")
    (sent,) = mail.smtp.messages
    assert sent.sender == "a@example.org"
    assert sent.recipients == ("b@example.org", "c@example.org", '"d e>"@example.org')
    assert sent.options == {"SIZE": "9", "BODY": "8BitMime", "RET": "hdrs", "ENVID": "id+2B1", "AUTH": "<>"}
    assert sent.recipient_options == (
        {"NOTIFY": "SUCCESS,delay", "ORCPT": "rfc822;bob+40example.org"},
        {"NOTIFY": "never"},
        {},
    )
    assert (sent.user, sent.tls, sent.protocol) == ("alice", True, "smtp")
    assert (sent.raw, sent.email["Subject"]) == (b"Subject: hi\r\n\r\nthere\r\n", "hi")
    assert abs((sent.when - mail.clock.now()).total_seconds()) < 60


@pytest.mark.parametrize(
    ("parameters", "reply"),
    [
        ("BODY=9BIT", "501 5.5.4 BODY is 7BIT, 8BITMIME or BINARYMIME, and stands there once"),
        ("BODY", "501 5.5.4 BODY is 7BIT, 8BITMIME or BINARYMIME, and stands there once"),
        ("BODY=7BIT BODY=7BIT", "501 5.5.4 BODY is 7BIT, 8BITMIME or BINARYMIME, and stands there once"),
        ("SMTPUTF8=yes", "501 5.5.4 SMTPUTF8 takes no value, and stands there once"),
        ("SMTPUTF8 SMTPUTF8", "501 5.5.4 SMTPUTF8 takes no value, and stands there once"),
        ("RET=ALL", "501 5.5.4 RET is FULL or HDRS, and stands there once"),
        ("ENVID=" + "x" * 101, "501 5.5.4 ENVID is xtext of up to 100 characters, and stands there once"),
        ("ENVID=+4x", "501 5.5.4 ENVID is xtext of up to 100 characters, and stands there once"),
        ("AUTH=", "501 5.5.4 The AUTH parameter is an address in xtext, or <>"),
        ("AUTH=a AUTH=b", "501 5.5.4 The AUTH parameter is an address in xtext, or <>"),
        ("=", "555 5.5.4 SIZE, BODY, AUTH, SMTPUTF8, RET and ENVID are all that MAIL takes"),
        ("NOTIFY=NEVER", "555 5.5.4 SIZE, BODY, AUTH, SMTPUTF8, RET and ENVID are all that MAIL takes"),
    ],
)
def test_a_parameter_of_mail_that_is_none_is_refused(parameters: str, reply: str, raw: Any) -> None:
    raw.play(f"C: MAIL FROM:<a@example.org> {parameters}\nS: {reply}\nC: MAIL FROM:<a@example.org>\nS: 250 2.1.0 OK")


@pytest.mark.parametrize(
    ("parameters", "reply"),
    [
        ("NOTIFY=NEVER,DELAY", "501 5.5.4 NOTIFY is NEVER or a list of SUCCESS, FAILURE and DELAY..."),
        ("NOTIFY=", "501 5.5.4 NOTIFY is NEVER or a list of SUCCESS, FAILURE and DELAY..."),
        ("NOTIFY=DELAY NOTIFY=DELAY", "501 5.5.4 NOTIFY is NEVER or a list of SUCCESS, FAILURE and DELAY..."),
        ("ORCPT=bob", "501 5.5.4 ORCPT is a type and an address in xtext, and stands there once"),
        ("ORCPT=rfc822;b=b", "501 5.5.4 ORCPT is a type and an address in xtext, and stands there once"),
        ("SIZE=1", "555 5.5.4 NOTIFY and ORCPT are all that RCPT takes"),
    ],
)
def test_a_parameter_of_rcpt_that_is_none_is_refused(parameters: str, reply: str, raw: Any) -> None:
    raw.play(f"""C: MAIL FROM:<a@example.org>
        S: 250 2.1.0 OK
        C: RCPT TO:<b@example.org> {parameters}
        S: {reply}
        C: DATA
        S: 503 5.5.1 RCPT first""")


@pytest.mark.parametrize(
    "path",
    [
        *("<a b@example.org>", "<a@example.org", "a@example.org>", "<<a@example.org>>", "<a\x00b@c>", "<a\x7fb@c>"),
        *('<"a@b>', "<a@b>x", "  <a@b>", '<"\\>@b>', "<" + '"a"' * 2000 + '"', "<" + '"\\"' * 2000),
    ],
    ids=lambda path: path[:20],
)
def test_a_path_that_is_none_is_refused(path: str, raw: Any) -> None:
    raw.send(f"MAIL FROM:{path}\r\nMAIL FROM:<>\r\nRCPT TO:{path}\r\n".encode())
    assert [raw.line() for _ in range(3)] == [
        "501 5.1.7 MAIL FROM:<address>",
        "250 2.1.0 OK",
        "501 5.1.3 RCPT TO:<address>",
    ]


def test_octets_that_are_no_text_are_no_path(raw: Any) -> None:
    raw.send(b"MAIL FROM:<\xff\xfe@example.org> SMTPUTF8\r\n")
    assert raw.line() == "501 5.1.7 MAIL FROM:<address>"


def test_an_address_beyond_ascii_needs_smtputf8(mail: Servers, raw: Any) -> None:
    raw.play("""C: MAIL FROM:<j\u00fcrgen@example.org>
        S: 553 5.6.7 This address needs SMTPUTF8
        C: MAIL FROM:<a@example.org>
        S: 250 2.1.0 OK
        C: RCPT TO:<\u0430lice@example.org>
        S: 553 5.6.7 This address needs SMTPUTF8
        C: RSET
        S: 250 2.0.0 OK
        C: MAIL FROM:<j\u00fcrgen@example.org> SMTPUTF8 BODY=8BITMIME
        S: 250 2.1.0 OK
        C: RCPT TO:<\u0430lice@example.org> ORCPT=utf-8;\u0430lice@example.org
        S: 250 2.1.5 OK
        C: DATA
        S: 354 End with a line that is a dot
        C: Subject: \u043f\u0440\u0438\u0432\u0435\u0442
        C:
        C: .
        S: 250 2.0.0 Accepted""")
    (sent,) = mail.smtp.messages
    assert (sent.sender, sent.recipients) == ("j\u00fcrgen@example.org", ("\u0430lice@example.org",))
    assert sent.raw == "Subject: \u043f\u0440\u0438\u0432\u0435\u0442\r\n\r\n".encode()


# --- messages


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"...\r\n.a\r\n.\r\n", b"..\r\na\r\n"),
        (b"a\r\n..\r\nb..\r\n.\r\n", b"a\r\n.\r\nb..\r\n"),
        (b"nul\0 \xff\x80\r\n.\r\n", b"nul\0 \xff\x80\r\n"),
        (b"x" * 100_000 + b"\r\n.\r\n", b"x" * 100_000 + b"\r\n"),
        (b"x" * 65_535 + b"\r\n.\r\n", b"x" * 65_535 + b"\r\n"),
        (b"x" * 65_534 + b"\r\n..y\r\n.\r\n", b"x" * 65_534 + b"\r\n.y\r\n"),
        (b"x" * 65_536 + b".\r\n.\r\n", b"x" * 65_536 + b".\r\n"),
        (b"a\n.\nb\r.\r\n.\n.\r\r\n\n.\r\n.\r\n", b"a\n.\nb\r.\r\n\n.\r\r\n\n.\r\n"),
    ],
    ids=lambda octets: repr(octets[:12]),
)
def test_a_message_is_kept_octet_by_octet(sent: bytes, kept: bytes, mail: Servers, raw: Any) -> None:
    assert send(raw, sent) == "250 2.0.0 Accepted"
    assert mail.smtp.messages[0].raw == kept
    raw.play("C: NOOP\nS: 250 2.0.0 OK")


@pytest.mark.parametrize("end", [b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r.\r\n", b"\r\n.\r", b"\0\r\n.\0\r\n"])
def test_nothing_but_a_dot_between_two_line_ends_ends_a_message(end: bytes, mail: Servers, raw: Any) -> None:
    smuggled = b"MAIL FROM:<evil@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nevil\r\n"
    assert send(raw, b"good" + end + smuggled + b".\r\n") == "250 2.0.0 Accepted"
    raw.play("C: NOOP\nS: 250 2.0.0 OK")
    assert [sent.sender for sent in mail.smtp.messages] == ["a@example.org"]
    assert mail.smtp.messages[0].raw.endswith(b"evil\r\n")


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_message_may_come_in_pieces_of_any_size(step: int, mail: Servers, raw: Any) -> None:
    octets = b"S: x\r\n\r\n..\r\n.y\r\n\r\n.\r\nNOOP\r\n"
    raw.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<b@c>\r\nDATA\r\n")
    assert [raw.line()[:3] for _ in range(3)] == ["250", "250", "354"]
    for begin in range(0, len(octets), step):
        raw.send(octets[begin : begin + step])
    assert [raw.line() for _ in range(2)] == ["250 2.0.0 Accepted", "250 2.0.0 OK"]
    assert mail.smtp.messages[0].raw == b"S: x\r\n\r\n.\r\ny\r\n\r\n"


def test_everything_may_be_sent_at_once(mail: Servers, connect: Connect) -> None:
    client = connect(mail, "smtp")
    message = b"MAIL FROM:<a@b>\r\nRCPT TO:<b@c>\r\nBDAT 3\r\nabcBDAT 2 LAST\r\nde"
    client.line()
    client.send(b"EHLO me\r\nAUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=\r\n" + message * 3 + b"RSET\r\nQUIT\r\n")
    codes = [line[:4] for line in client.rest()]
    assert codes[-2:] == ["250 ", "221 "]
    assert codes[10:-2] == ["235 ", *["250 "] * 12]
    assert [sent.raw for sent in mail.smtp.messages] == [b"abcde"] * 3


def test_a_connection_that_ends_in_a_message_sends_none(mail: Servers, raw: Any) -> None:
    raw.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<b@c>\r\nDATA\r\nhalf of\r\n")
    raw.close()
    session = mail.smtp.sessions[-1]
    becomes_true(lambda: session not in mail._backend.open, within=10)
    assert mail.smtp.messages == ()


def test_nothing_is_kept_of_a_message_that_was_not_sent_to_its_end(mail: Servers, raw: Any) -> None:
    raw.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<b@c>\r\nBDAT 4\r\nhalf")
    assert [raw.line()[:3] for _ in range(3)] == ["250"] * 3
    session: Any = mail.smtp.sessions[-1]
    assert session._commands._transaction.message == b"half"
    raw.close()
    becomes_true(lambda: session._commands._transaction is None, within=10)
    assert mail.smtp.messages == ()


# --- BDAT


def test_chunks_make_a_message(mail: Servers, raw: Any) -> None:
    raw.play("C: MAIL FROM:<a@b> BODY=BINARYMIME\nS: 250 2.1.0 OK\nC: RCPT TO:<b@c>\nS: 250 2.1.5 OK")
    raw.play("C: DATA\nS: 503 5.5.1 This message takes BDAT")
    for command, octets in (
        (b"BDAT 6", b"\r\n.\r\n\0"),
        (b"bdat 0", b""),
        (b"BDAT 2", b"\xff\n"),
        (b"BDAT 1 last", b"."),
    ):
        raw.send(command + b"\r\n" + octets)
        assert raw.line() == ("250 2.0.0 Accepted" if b"last" in command else "250 2.0.0 OK")
    assert mail.smtp.messages[0].raw == b"\r\n.\r\n\0\xff\n."
    raw.play("C: BDAT 0 LAST\nS: 503 5.5.1 RCPT first")


def test_a_chunk_is_read_where_it_is_out_of_order(mail: Servers, connect: Connect) -> None:
    client = connect(mail, "smtp")
    quit_inside = b"BDAT 6\r\nQUIT\r\n"
    client.line()
    client.send(quit_inside + b"NOOP\r\n")
    assert [client.line() for _ in range(2)] == ["503 5.5.1 RCPT first", "250 2.0.0 OK"]
    client.play(LOGIN.partition("\n")[2])
    client.send(quit_inside + b"MAIL FROM:<a@b>\r\n" + quit_inside + b"RCPT TO:<b@c>\r\n" + quit_inside)
    assert [client.line()[:3] for _ in range(5)] == ["503", "250", "503", "250", "250"]
    client.play("""C: DATA
        S: 503 5.5.1 This message takes BDAT
        C: RCPT TO:<d@e>
        S: 503 5.5.1 The message has begun
        C: MAIL FROM:<d@e>
        S: 503 5.5.1 One sender at a time
        C: RSET
        S: 250 2.0.0 OK
        C: BDAT 0 LAST
        S: 503 5.5.1 RCPT first""")
    assert mail.smtp.messages == ()


@pytest.mark.parametrize("argument", ["", "x", "-1", "1 2", "1 LASTS", "1  LAST", "9" * 21, "1\t", "0x10"])
def test_a_chunk_of_unknown_size_ends_the_connection(argument: str, raw: Any) -> None:
    """Whatever follows it is no command, or is one that somebody has put into a message."""
    raw.send(f"MAIL FROM:<a@b>\r\nRCPT TO:<b@c>\r\nBDAT {argument}x\r\nRSET\r\n".encode())
    assert [raw.line() for _ in range(4)] == [
        *("250 2.1.0 OK", "250 2.1.5 OK"),
        *("501 5.5.4 BDAT takes a number of octets of up to 20 digits, and LAST", ""),
    ]


def test_a_chunk_of_twenty_digits_costs_no_memory_and_ends_with_the_connection(mail: Servers, raw: Any) -> None:
    raw.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<b@c>\r\nBDAT 99999999999999999999 LAST\r\n")
    for _ in range(20):
        raw.send(b"x" * 1_000_000)
    session: Any = mail.smtp.sessions[-1]
    transaction = session._commands._transaction
    becomes_true(lambda: transaction.size > 19_000_000, within=10)
    assert len(transaction.message) == 0
    raw.close()
    becomes_true(lambda: session not in mail._backend.open, within=10)
    assert mail.smtp.messages == ()


# --- too much


@pytest.mark.parametrize("size", [LARGEST_MESSAGE, LARGEST_MESSAGE + 1])
@pytest.mark.parametrize("command", ["DATA", "BDAT"])
def test_a_message_that_is_too_large_is_refused_at_its_end(size: int, command: str, mail: Servers, raw: Any) -> None:
    octets = b"x" * (size - 2) + b"\r\n"
    if command == "DATA":
        said = send(raw, octets + b".\r\n")
    else:
        raw.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<b@c>\r\nBDAT %d LAST\r\n" % size + octets)
        said = [raw.line() for _ in range(3)][-1]
    fits = size <= LARGEST_MESSAGE
    assert said == ("250 2.0.0 Accepted" if fits else "552 5.3.4 Too large")
    assert [len(sent.raw) for sent in mail.smtp.messages] == [size] * fits
    raw.play("C: MAIL FROM:<a@b>\nS: 250 2.1.0 OK")


def test_chunks_that_are_too_large_together_are_refused_when_they_are(mail: Servers, raw: Any) -> None:
    raw.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<b@c>\r\n" + b"BDAT 9000000\r\n" + b"x" * 9_000_000)
    assert [raw.line() for _ in range(3)][-1] == "250 2.0.0 OK"
    raw.send(b"BDAT 9000000\r\n" + b"x" * 9_000_000 + b"BDAT 1 LAST\r\nx")
    assert [raw.line() for _ in range(2)] == ["552 5.3.4 Too large", "503 5.5.1 RCPT first"]
    assert mail.smtp.messages == ()


def test_a_thousand_recipients_too_many_cost_nothing(mail: Servers, raw: Any) -> None:
    raw.send(b"MAIL FROM:<a@b>\r\n" + b"".join(b"RCPT TO:<%d@b>\r\n" % number for number in range(1100)))
    replies = [raw.line() for _ in range(1101)][1:]
    assert replies == ["250 2.1.5 OK"] * 100 + ["452 4.5.3 Too many recipients"] * 1000
    assert send(raw, b".\r\n", b"") == "250 2.0.0 Accepted"
    assert len(mail.smtp.messages[0].recipients) == 100


def test_all_clients_together_send_no_more_at_a_time_than_there_is_room_for(
    mail: Servers, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = mail._backend.outbox
    monkeypatch.setattr(outbox, "_room", 150)
    half, other = connect(mail, "smtp"), connect(mail, "smtp")
    for client in (half, other):
        client.play(LOGIN)
    half.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<b@c>\r\nBDAT 100\r\n" + b"x" * 100)
    assert [half.line() for _ in range(3)][-1] == "250 2.0.0 OK"
    assert send(other, b"x" * 100 + b"\r\n.\r\n") == "452 4.3.1 There is no room for it"
    other.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<b@c>\r\nBDAT 100\r\n" + b"x" * 100)
    assert [other.line() for _ in range(3)][-1] == "452 4.3.1 There is no room for it"
    half.play("C: RSET\nS: 250 2.0.0 OK")
    assert outbox._room == 150
    for _ in range(3):
        assert send(other, b"x" * 100 + b"\r\n.\r\n") == "250 2.0.0 Accepted"
    for end in (b"RSET\r\n", b"EHLO me\r\n", b"BDAT x\r\n"):
        other.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<b@c>\r\nBDAT 100\r\n" + b"x" * 100 + end)
    assert len(other.rest()) == 3 * 3 + 1 + 10 + 1
    other.close()
    becomes_true(lambda: outbox._room == 150, within=10)
    assert outbox._room == 150


@pytest.mark.parametrize(
    "octets",
    [b"DATA\r\n" + b"x" * 1000, b"BDAT 99999999999999999999\r\n", b"DATA\r\n.\r"],
    ids=["line", "chunk", "dot"],
)
def test_a_message_that_does_not_end_ends_with_the_deadline(octets: bytes, connect: Connect) -> None:
    with reference.running(settings=Settings(deadline=0.2)) as servers:
        client = connect(servers, "lmtp")
        client.send(b"LHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<alice>\r\n" + octets)
        assert client.rest()[-1] == "421 4.4.2 Too slow"
        assert servers.lmtp.messages == ()


# --- local delivery


def test_a_recipient_who_is_a_user_here_gets_the_message_once(mail: Servers, smtp: smtplib.SMTP) -> None:
    smtp.sendmail(
        "a@b", ["alice@example.org", "alice", "ALICE@example.org", "mallory@example.org"], "S: x\r\n\r\n.x\r\n"
    )
    (message,) = mail.mailbox("alice").messages
    assert message.raw == mail.smtp.messages[0].raw == b"S: x\r\n\r\n.x\r\n"
    assert message.date == mail.smtp.messages[0].when
    assert mail.mailbox("bob").messages == ()


def test_a_message_for_which_there_is_no_room_is_refused_for_now_and_for_all(
    mail: Servers, smtp: smtplib.SMTP, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = mail.mailbox("bob")

    def full(*_: object) -> None:
        raise Full

    monkeypatch.setattr(inbox, "add", full)
    with pytest.raises(smtplib.SMTPDataError, match=re.escape("4.3.1 There is no room for it")):
        smtp.sendmail("a@b", ["alice", "bob"], "S: x\r\n\r\n")
    assert mail.smtp.messages == ()
    assert mail.mailbox("alice").messages == ()


# --- libraries


def message() -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "a@example.org", "bob@example.org", "\u00fcber"
    made.set_content(".\nb\u00fcrning\n..\n", cte="8bit")
    return made


def test_smtplib_sends(mail: Servers, smtp: smtplib.SMTP) -> None:
    assert smtp.send_message(message(), rcpt_options=["NOTIFY=FAILURE"]) == {}
    sent = mail.smtp.wait(to="bob")
    assert sent.email.get_content() == message().get_content()
    assert int(sent.options["SIZE"]) == len(sent.raw)
    assert sent.recipient_options == ({"NOTIFY": "FAILURE"},)
    assert mail.mailbox("bob").messages[0].email["Subject"] == "\u00fcber"


def test_smtplib_sends_to_an_address_beyond_ascii(mail: Servers, smtp: smtplib.SMTP) -> None:
    made = message()
    made.replace_header("To", "\u0430lice@example.org")
    smtp.send_message(made)
    (sent,) = mail.smtp.messages
    assert sent.recipients == ("\u0430lice@example.org",)
    assert {"SMTPUTF8", "BODY"} <= sent.options.keys()


def test_smtplib_tells_of_a_message_that_is_too_large_before_it_sends_it(smtp: smtplib.SMTP) -> None:
    with pytest.raises(smtplib.SMTPSenderRefused, match="Too large"):
        smtp.sendmail("a@b", ["b@c"], "x" * (LARGEST_MESSAGE + 1))


def test_smtplib_asks_and_resets(smtp: smtplib.SMTP) -> None:
    assert smtp.verify("alice") == (252, b"2.5.0 Send it and see")
    assert smtp.noop() == (250, b"2.0.0 OK")
    assert smtp.help().startswith(b"2.0.0 MAIL RCPT DATA BDAT RSET VRFY HELP NOOP QUIT EHLO HELO")
    assert smtp.mail("a@b") == (250, b"2.1.0 OK")
    assert smtp.rset() == (250, b"2.0.0 OK")
    assert smtp.docmd("TURN") == (502, b"5.5.1 Not implemented")


def test_aiosmtplib_sends(mail: Servers) -> None:
    aiosmtplib = pytest.importorskip("aiosmtplib")

    async def run() -> None:
        client = aiosmtplib.SMTP(
            hostname=mail.smtp.host, port=mail.smtp.tls_port, use_tls=True, tls_context=mail.client_context()
        )
        async with client:
            await client.login("alice", "wonderland")
            await client.send_message(message(), recipients=["bob@example.org", "\u0430lice@example.org"])
        sent = await mail.smtp.wait_async()
        assert sent.recipients == ("bob@example.org", "\u0430lice@example.org")
        assert sent.email.get_content() == message().get_content()

    asyncio.run(run())
