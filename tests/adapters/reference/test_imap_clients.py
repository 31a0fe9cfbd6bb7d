"""The IMAP libraries of Python do their everyday work at the reference server, without an error."""

from __future__ import annotations

import asyncio
import imaplib
import threading
from datetime import UTC, date, datetime
from email.message import EmailMessage
from typing import TYPE_CHECKING

import pytest

from sasl.adapters import reference
from sasl.adapters.reference.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sasl.adapters.reference import Servers

WHEN = datetime(2026, 2, 1, 10, tzinfo=UTC)


@pytest.fixture
def mail() -> Iterator[Servers]:
    """Servers of three messages: plain, with 8-bit text and an attachment, and one that was read."""
    with reference.running(clock=Clock(WHEN)) as servers:
        servers.deliver("alice", "From: ann@example.org\nSubject: One\n\nHello, one\n")
        message = EmailMessage()
        message["From"], message["Subject"] = "Bob <bob@example.org>", "Zw\u00f6lf"
        message.set_content("Gr\u00fc\u00dfe\n", cte="8bit")
        message.add_attachment(b"%PDF-", maintype="application", subtype="pdf", filename="a.pdf")
        servers.deliver("alice", message)
        servers.deliver("alice", "From: ann@example.org\nSubject: Three\n\nHello, three\n", flags=["\\Seen"])
        yield servers


def test_imaplib(mail: Servers) -> None:
    with imaplib.IMAP4_SSL(mail.imap.host, mail.imap.tls_port, ssl_context=mail.client_context()) as conn:
        conn.login("alice", "wonderland")
        assert b'(\\HasNoChildren \\Sent) "/" Sent' in conn.list()[1]
        assert conn.select() == ("OK", [b"3"])
        assert conn.search(None, "(UNSEEN)") == ("OK", [b"1 2"])
        assert conn.uid("SEARCH", "CHARSET", "UTF-8", "FROM", "bob") == ("OK", [b"2"])
        (_, raw), end = conn.fetch("2", "(RFC822)")[1]
        assert (b"application/pdf" in raw, end) == (True, b" FLAGS (\\Seen))")
        assert conn.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1][0][1] == b"Subject: One\r\n\r\n"
        assert conn.store("1", "+FLAGS", "\\Seen") == ("OK", [b"1 (FLAGS (\\Seen))"])
        typ, told = conn.append("Sent", "(\\Seen)", imaplib.Time2Internaldate(WHEN), b"Subject: sent\n\nbye\n")
        assert (typ, told[0].startswith(b"[APPENDUID ")) == ("OK", True)
        assert mail.mailbox("alice", "Sent").messages[0].raw == b"Subject: sent\r\n\r\nbye\r\n"
        assert conn.copy("1", "Archive")[0] == "OK"
        assert conn.uid("STORE", "1", "+FLAGS", "(\\Deleted)")[0] == "OK"
        assert conn.expunge() == ("OK", [b"1"])
        assert conn.status("Archive", "(MESSAGES UIDNEXT)") == ("OK", [b"Archive (MESSAGES 1 UIDNEXT 2)"])
        assert [getattr(conn, verb)("work")[0] for verb in ("create", "subscribe", "unsubscribe")] == ["OK"] * 3
        assert [conn.rename("work", "play")[0], conn.delete("play")[0]] == ["OK", "OK"]
        assert conn.namespace() == ("OK", [b'(("" "/")) NIL NIL'])
        assert conn.noop()[0] == conn.check()[0] == conn.close()[0] == "OK"


def test_imapclient(mail: Servers) -> None:
    imapclient = pytest.importorskip("imapclient")
    context = mail.client_context()
    with imapclient.IMAPClient(mail.imap.host, mail.imap.tls_port, ssl_context=context) as conn:
        conn.login("alice", "wonderland")
        assert conn.find_special_folder(b"\\Sent") == "Sent"
        assert conn.namespace().personal == (("", "/"),)
        assert conn.select_folder("INBOX")[b"EXISTS"] == 3
        assert conn.search(["UNSEEN"]) == [1, 2]
        assert conn.search(["SUBJECT", "Zw\u00f6lf"], charset="UTF-8") == [2]
        fetched = conn.fetch([1, 2], ["ENVELOPE", "BODYSTRUCTURE", "FLAGS", "INTERNALDATE", "BODY.PEEK[]"])
        assert fetched[1][b"ENVELOPE"].subject == b"One"
        assert fetched[2][b"BODYSTRUCTURE"].is_multipart
        assert conn.add_flags([1], [b"\\Flagged"]) == {1: (b"\\Flagged",)}
        conn.append("Sent", b"Subject: x\r\n\r\nx", flags=[b"\\Seen"], msg_time=WHEN)
        conn.create_folder("Entw\u00fcrfe")
        assert conn.folder_exists("Entw\u00fcrfe")
        conn.copy([1], "Entw\u00fcrfe")
        conn.move([1], "Archive")
        assert conn.folder_status("Archive", ["MESSAGES"]) == {b"MESSAGES": 1}
        conn.idle()
        mail.deliver("alice", "Subject: Four\n\nx\n")
        assert conn.idle_check(timeout=10) == [(3, b"EXISTS")]
        assert conn.idle_done()[0] == b"Done"
        conn.delete_messages([2])
        conn.expunge([2])
        assert conn.search() == [3, 4]
        conn.delete_folder("Entw\u00fcrfe")


def test_imap_tools(mail: Servers) -> None:
    imap_tools = pytest.importorskip("imap_tools")
    box = imap_tools.MailBox(mail.imap.host, mail.imap.tls_port, ssl_context=mail.client_context())
    with box.login("alice", "wonderland"):
        assert [message.subject for message in box.fetch(imap_tools.AND(seen=False))] == ["One", "Zw\u00f6lf"]
        (message,) = box.fetch(imap_tools.AND(subject="Zw\u00f6lf", date_gte=date(2026, 1, 1)), charset="UTF-8")
        assert (message.text.strip(), message.attachments[0].filename) == ("Gr\u00fc\u00dfe", "a.pdf")
        assert [header.subject for header in box.fetch(headers_only=True, mark_seen=False)][2] == "Three"
        box.flag(["1"], [imap_tools.MailMessageFlags.FLAGGED], value=True)
        box.append(b"Subject: x\r\n\r\nx", "Sent", dt=WHEN, flag_set=["\\Seen"])
        assert box.folder.status("Sent") == {
            **box.folder.status("Sent"),
            "MESSAGES": 1,
            "UNSEEN": 0,
        }
        with box.idle as idle:
            mail.deliver("alice", "Subject: Four\n\nx\n")
            assert idle.poll(timeout=10) == [b"* 4 EXISTS"]
        box.copy(["1"], "Archive")
        box.move(["2"], "Archive")
        box.delete(["1"])
        assert box.uids() == ["3", "4"]
        box.folder.create("work")
        box.folder.rename("work", "play")
        assert box.folder.exists("play")
        box.folder.delete("play")
        assert {folder.name for folder in box.folder.list()} == {"INBOX", "Archive", "Drafts", "Sent", "Trash"}


def test_aioimaplib(mail: Servers) -> None:
    aioimaplib = pytest.importorskip("aioimaplib")

    async def work() -> None:
        conn = aioimaplib.IMAP4_SSL(mail.imap.host, mail.imap.tls_port, ssl_context=mail.client_context())
        await conn.wait_hello_from_server()
        assert (await conn.login("alice", "looking-glass")).result == "NO"
        assert (await conn.login("alice", "wonderland")).result == "OK"
        assert b'(\\HasNoChildren \\Sent) "/" Sent' in (await conn.list('""', "*")).lines
        assert b"3 EXISTS" in (await conn.select()).lines
        assert (await conn.search("UNSEEN")).lines[0] == b"1 2"
        assert (await conn.uid_search("FROM bob")).lines[0] == b"2"
        fetched = await conn.uid("fetch", "2", "(RFC822)")
        assert b"application/pdf" in fetched.lines[1]
        assert (await conn.store("1", "+FLAGS", "(\\Flagged)")).lines[0] == b"1 FETCH (FLAGS (\\Flagged))"
        assert (await conn.append(b"Subject: x\r\n\r\nx", "Sent", flags="\\Seen", date=WHEN)).result == "OK"
        assert (await conn.copy("1", "Archive")).result == "OK"
        waiting = await conn.idle_start(timeout=10)
        threading.Thread(target=mail.deliver, args=("alice", "Subject: Four\n\nx\n")).start()
        assert await conn.wait_server_push(timeout=10) == [b"4 EXISTS"]
        conn.idle_done()
        await asyncio.wait_for(waiting, 10)
        assert (await conn.uid("store", "1", "+FLAGS", "(\\Deleted)")).result == "OK"
        assert (await conn.expunge()).lines[0] == b"1 EXPUNGE"
        assert (await conn.move("1", "Archive")).result == "OK"
        assert (await conn.close()).result == "OK"
        assert (await conn.logout()).result == "OK"
        conn.protocol.transport.abort()  # logout() leaves that to the server
        for _ in range(3):  # the transport closes its socket in the loop's next turns
            await asyncio.sleep(0)

    asyncio.run(work())
    assert [message.flags for message in mail.mailbox("alice", "Sent").messages] == [{"\\Seen"}]


def _imaplib_logs_in(mail: Servers, user: str, token: str) -> bool:
    with imaplib.IMAP4_SSL(mail.imap.host, mail.imap.tls_port, ssl_context=mail.client_context()) as conn:
        first = [f"user={user}\x01auth=Bearer {token}\x01\x01".encode()]
        try:
            conn.authenticate("XOAUTH2", lambda _: first.pop() if first else b"")
        except imaplib.IMAP4.error:
            return False
        return conn.select()[0] == "OK"


def _imapclient_logs_in(mail: Servers, user: str, token: str) -> bool:
    imapclient = pytest.importorskip("imapclient")
    context = mail.client_context()
    with imapclient.IMAPClient(mail.imap.host, mail.imap.tls_port, ssl_context=context) as conn:
        try:
            conn.oauth2_login(user, token)
        except imapclient.exceptions.LoginError:
            return False
        return b"EXISTS" in conn.select_folder("INBOX")


def _imap_tools_logs_in(mail: Servers, user: str, token: str) -> bool:
    imap_tools = pytest.importorskip("imap_tools")
    box = imap_tools.MailBox(mail.imap.host, mail.imap.tls_port, ssl_context=mail.client_context())
    try:
        with box.xoauth2(user, token):
            return len(box.uids()) == 3
    except imaplib.IMAP4.error:  # this one does not hang up then
        box.client.shutdown()
        return False


LOGINS = {
    "imaplib": _imaplib_logs_in,
    "imapclient": _imapclient_logs_in,
    "imap_tools": _imap_tools_logs_in,
}


# aioimaplib leaves the error challenge of a refused token without an answer, so that it waits as long as its time-out.
@pytest.mark.parametrize("library", LOGINS)
def test_with_a_token_of_its_own_an_expired_one_and_a_revoked_one(mail: Servers, library: str) -> None:
    assert LOGINS[library](mail, "alice", mail.tokens["good"])
    assert not LOGINS[library](mail, "alice", mail.tokens["expired"])
    assert not LOGINS[library](mail, "alice", mail.tokens["revoked"])
    outcomes = [attempt.outcome for session in mail.imap.sessions for attempt in session.attempts]
    assert outcomes == ["accepted", "expired", "credentials"]
