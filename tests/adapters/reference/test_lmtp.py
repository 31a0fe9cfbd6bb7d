"""LMTP delivers into the mailboxes of the users, with a reply for each recipient (RFC 2033)."""

from __future__ import annotations

import smtplib
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters import smtplib as sasl_smtplib
from sasl.adapters.reference.mail.store import Full

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl.adapters.reference import Servers

    Connect = Callable[..., Any]

HELLO = "S: 220 localhost LMTP...\nC: LHLO me\nS: 250-localhost\n" + "S: 250-...\n" * 8 + "S: 250 AUTH...\n"


def test_each_recipient_has_a_reply(mail: Servers, connect: Connect) -> None:
    connect(mail, "lmtp", "clear").play("""S: 220 ...
        C: MAIL FROM:<a@b>
        S: 503 5.5.1 LHLO first
        C: EHLO me
        S: 500 5.5.1 Unknown command
        C: HELO me
        S: 500 5.5.1 Unknown command
        C: LHLO
        S: 501 5.5.4 LHLO takes a name
        C: LHLO me
        S: 250-localhost
        S: 250-PIPELINING
        S: 250-8BITMIME
        S: 250-SIZE 10485760
        S: 250-ENHANCEDSTATUSCODES
        S: 250-DSN
        S: 250-SMTPUTF8
        S: 250-CHUNKING
        S: 250-BINARYMIME
        S: 250-STARTTLS
        S: 250 AUTH ...
        C: MAIL FROM:<a@example.org> BODY=8BITMIME
        S: 250 2.1.0 OK
        C: DATA
        S: 503 5.5.1 RCPT first
        C: RCPT TO:<mallory@example.org>
        S: 550 5.1.1 No such user here
        C: DATA
        S: 503 5.5.1 RCPT first
        C: RCPT TO:<alice@example.org> NOTIFY=NEVER
        S: 250 2.1.5 OK
        C: RCPT TO:<bob>
        S: 250 2.1.5 OK
        C: DATA
        S: 354 End with a line that is a dot
        C: Subject: x
        C:
        C: ..
        C: .
        S: 250 2.0.0 Accepted
        S: 250 2.0.0 Accepted
        C: RCPT TO:<bob>
        S: 503 5.5.1 MAIL first
        C: VRFY bob
        S: 252 2.5.0 Send it and see
        C: QUIT
        S: 221 2.0.0 Bye
        E:""")
    for user in ("alice", "bob"):
        assert [message.raw for message in mail.mailbox(user).messages] == [b"Subject: x\r\n\r\n.\r\n"]
    assert [(sent.recipients, sent.recipient_options) for sent in mail.lmtp.messages] == [
        (("alice@example.org",), ({"NOTIFY": "NEVER"},)),
        (("bob",), ({},)),
    ]
    assert {(sent.sender, sent.user, sent.tls, sent.protocol) for sent in mail.lmtp.messages} == {
        ("a@example.org", None, False, "lmtp")
    }
    assert mail.smtp.messages == ()


def test_chunks_have_one_reply_each_and_the_last_one_for_each_recipient(mail: Servers, connect: Connect) -> None:
    client = connect(mail, "lmtp")
    client.play(f"{HELLO}C: MAIL FROM:<>\nS: 250 2.1.0 OK\nC: RCPT TO:<bob>\nS: 250 2.1.5 OK")
    client.send(b"RCPT TO:<bob@example.org>\r\nBDAT 2\r\nabBDAT 2 LAST\r\ncdNOOP\r\n")
    assert [client.line()[:9] for _ in range(5)] == ["250 2.1.5", "250 2.0.0", "250 2.0.0", "250 2.0.0", "250 2.0.0"]
    assert [message.raw for message in mail.mailbox("bob").messages] == [b"abcd"] * 2


def test_a_message_that_is_too_large_is_refused_for_each_recipient(mail: Servers, connect: Connect) -> None:
    client = connect(mail, "lmtp")
    client.play(f"{HELLO}C: MAIL FROM:<>\nS: 250 2.1.0 OK\nC: RCPT TO:<bob>\nS: 250 2.1.5 OK")
    client.play("C: RCPT TO:<alice>\nS: 250 2.1.5 OK\nC: DATA\nS: 354 ...")
    client.send((b"x" * 100_000 + b"\r\n") * 105 + b".\r\nNOOP\r\n")
    assert [client.line() for _ in range(3)] == ["552 5.3.4 Too large", "552 5.3.4 Too large", "250 2.0.0 OK"]
    assert mail.lmtp.messages == ()


def test_no_room_for_one_recipient_is_none_of_the_others(
    mail: Servers, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise Full

    monkeypatch.setattr(mail.mailbox("alice"), "add", full)
    client = connect(mail, "lmtp")
    client.play(f"""{HELLO}C: MAIL FROM:<>
        S: 250 2.1.0 OK
        C: RCPT TO:<alice>
        S: 250 2.1.5 OK
        C: RCPT TO:<bob>
        S: 250 2.1.5 OK
        C: BDAT 0 LAST
        S: 452 4.3.1 There is no room for it
        S: 250 2.0.0 Accepted""")
    assert [sent.recipients for sent in mail.lmtp.messages] == [("bob",)]


def test_a_fault_may_strike_one_recipient(mail: Servers, connect: Connect) -> None:
    fault = mail.lmtp.on("DATA:end", nth=2).reply("451 4.3.0 Not now")
    client = connect(mail, "lmtp")
    client.play(f"{HELLO}C: MAIL FROM:<>\nS: 250 2.1.0 OK\nC: RCPT TO:<alice>\nS: 250 2.1.5 OK")
    client.play("C: RCPT TO:<bob>\nS: 250 2.1.5 OK\nC: DATA\nS: 354 ...\nC: .\nS: 250 2.0.0 Accepted")
    client.play("S: 451 4.3.0 Not now\nC: NOOP\nS: 250 2.0.0 OK")
    assert fault.hits == 1
    assert [sent.recipients for sent in mail.lmtp.messages] == [("alice",)]
    assert mail.mailbox("bob").messages == ()


def test_a_fault_that_ends_the_connection_leaves_the_other_recipients_without_a_reply(
    mail: Servers, connect: Connect
) -> None:
    mail.lmtp.on("DATA:end").close("421 4.3.0 Bye")
    client = connect(mail, "lmtp")
    client.play(f"{HELLO}C: MAIL FROM:<>\nS: 250 2.1.0 OK\nC: RCPT TO:<alice>\nS: 250 2.1.5 OK")
    client.play("C: RCPT TO:<bob>\nS: 250 2.1.5 OK\nC: BDAT 0 LAST\nS: 421 4.3.0 Bye\nE:")
    assert mail.lmtp.messages == mail.mailbox("bob").messages == ()


@pytest.mark.parametrize("command", ["DATA\nS: 354 ...\nC: .", "BDAT 0 LAST"])
def test_a_fault_may_strike_the_reply_to_a_message(command: str, mail: Servers, connect: Connect) -> None:
    client = connect(mail, "smtp")
    mail.smtp.on("DATA:end").reply("451 4.3.0 Not now")
    client.play("S: 220 ...\nC: EHLO me\n" + "S: 250-...\n" * 9 + "S: 250 AUTH...\nC: AUTH PLAIN {good}\nS: 235 ...")
    for reply in ("451 4.3.0 Not now", "250 2.0.0 Accepted"):
        client.play("C: MAIL FROM:<>\nS: 250 2.1.0 OK\nC: RCPT TO:<bob>\nS: 250 2.1.5 OK")
        client.play(f"C: {command}\nS: {reply}")
    assert len(mail.smtp.messages) == len(mail.mailbox("bob").messages) == 1


def test_smtplib_delivers_without_a_login(mail: Servers) -> None:
    with smtplib.LMTP(mail.lmtp.host, mail.lmtp.port, local_hostname="me") as conn:
        # smtplib reads one reply and resets: those of more recipients would be left for its next commands.
        assert conn.sendmail("a@b", ["alice@example.org"], b"S: x\r\n\r\n.\r\n", ["BODY=8BITMIME"]) == {}
    assert mail.lmtp.wait(to="alice").raw == b"S: x\r\n\r\n.\r\n"


def test_our_class_logs_in_as_it_does_elsewhere(mail: Servers) -> None:
    with sasl_smtplib.LMTP(mail.lmtp.host, mail.lmtp.port, local_hostname="me") as conn:
        conn.starttls(context=mail.client_context())
        conn.login("alice", "wonderland")
        conn.sendmail("a@b", ["bob"], b"S: x\r\n\r\n")
    assert [attempt.outcome for attempt in mail.lmtp.sessions[-1].attempts] == ["accepted"]
    assert mail.lmtp.messages[0].user == "alice"


@pytest.mark.parametrize(("password", "outcome"), [("wonderland", "accepted"), ("looking-glass", "credentials")])
def test_a_name_of_the_service_is_that_of_smtp(password: str, outcome: str, connect: Connect) -> None:
    """DIGEST-MD5 proves which service it meant."""
    from sasl.adapters import reference

    settings = reference.Settings(policy=sasl.Policy(allow=["DIGEST-MD5"]), mechanisms=["DIGEST-MD5"])
    with (
        reference.running(settings=settings) as servers,
        sasl_smtplib.LMTP("localhost", servers.lmtp.port, local_hostname="me") as conn,
    ):
        conn.starttls(context=servers.client_context())
        conn.policy = sasl.Policy(allow=["DIGEST-MD5"])
        try:
            conn.login("alice", password)
        except smtplib.SMTPAuthenticationError:
            pass
        (attempt,) = servers.lmtp.sessions[-1].attempts
        assert (attempt.mechanism, attempt.outcome) == ("DIGEST-MD5", outcome)


def test_tls_comes_first_at_the_other_port(mail: Servers, connect: Connect) -> None:
    connect(mail, "lmtp", "TLS").play(HELLO)
    connect(mail, "lmtp", "STARTTLS").play("C: MAIL FROM:<>\nS: 503 5.5.1 LHLO first")
