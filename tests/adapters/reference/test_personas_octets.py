"""What the servers say as each persona, octet for octet: logins with right, wrong and expired credentials."""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING

import pytest

import sasl
from sasl.adapters.reference import Rule, personas, running
from sasl.adapters.reference.imap.capabilities import CAPABILITIES

from ...support.protocols import PROTOCOLS, b64
from .conftest import Raw, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sasl.adapters.reference import Servers

_GMAIL_ERROR = b64('{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}').decode()
_RFC_ERROR = b64('{"status":"401","schemes":"bearer","scope":"mail"}').decode()
_RFC_BEARER_ERROR = b64('{"status":"invalid_token","scope":"mail"}').decode()
_HOST = "AM0PR08CA0001.EURPRD08.PROD.OUTLOOK.COM"
_TOKENS_ALONE = ("microsoft365", "imap")
_HOST64 = b64(_HOST.encode("utf-16-le")).decode()

# "{good}" is a message of XOAUTH2 with a good token, "{expired}" and "{wrong}" with others; "{right}" and "{false}" are
# messages of PLAIN. ID, TIME and DATE stand for what differs from connection to connection.
DIALOGUES = {
    "gmail imap": """
        S: * OK Gimap ready for requests from 127.0.0.1 ID
        C: a CAPABILITY
        S: * CAPABILITY IMAP4rev1 ...
        S: a OK Thats all she wrote! ID
        C: b AUTHENTICATE XOAUTH2 {wrong}
        S: + {gmail_error}
        C:~
        S: b NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)
        C: c AUTHENTICATE XOAUTH2 {expired}
        S: + {gmail_error}
        C:~
        S: c NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)
        C: d AUTHENTICATE PLAIN {false}
        S: d NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)
        C: e LOGIN alice looking-glass
        S: e NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)
        C: f AUTHENTICATE XOAUTH2
        S: + ~
        C: *
        S: f BAD Client aborted AUTHENTICATE command
        C: g AUTHENTICATE XOAUTH2 {good}
        S: * CAPABILITY IMAP4rev1 ...
        S: g OK alice authenticated (Success)
        """,
    "gmail pop": """
        S: +OK Gpop ready for requests from 127.0.0.1 ID
        C: CAPA
        S: +OK Capability list follows
        S: USER
        S: RESP-CODES
        S: TOP
        S: UIDL
        S: SASL PLAIN XOAUTH2 OAUTHBEARER
        S: .
        C: AUTH XOAUTH2
        S: + ~
        C: {expired}
        S: + {gmail_error}
        C:~
        S: -ERR [AUTH] Username and password not accepted.
        C: USER alice
        S: +OK send PASS
        C: PASS looking-glass
        S: -ERR [AUTH] Username and password not accepted.
        C: AUTH XOAUTH2 {good}
        S: +OK Welcome.
        """,
    "gmail smtp": """
        S: 220 smtp.gmail.com ESMTP ID - gsmtp
        C: EHLO client.example
        S: 250-smtp.gmail.com at your service, [127.0.0.1]
        S: 250-SIZE 35882577
        S: 250-8BITMIME
        S: 250-AUTH LOGIN PLAIN XOAUTH2 OAUTHBEARER
        S: 250-ENHANCEDSTATUSCODES
        S*: 250 ~
        C: AUTH XOAUTH2 {expired}
        S: 334 {gmail_error}
        C:~
        S: 535-5.7.8 Username and Password not accepted. Learn more at
        S: 535 5.7.8  https://support.google.com/mail/?p=BadCredentials ID - gsmtp
        C: AUTH PLAIN {false}
        S: 535-5.7.8 Username and Password not accepted. Learn more at
        S: 535 5.7.8  https://support.google.com/mail/?p=BadCredentials ID - gsmtp
        C: AUTH GSSAPI
        S: 504 5.7.4 Unrecognized Authentication Type ID - gsmtp
        C: AUTH XOAUTH2 {long}
        S: 555-5.5.2 Syntax error, command line too long
        S: 555 5.5.2  https://support.google.com/a/answer/3221692 ID - gsmtp
        C: AUTH XOAUTH2
        S: 334 ~
        C: {long}
        S: 334 {gmail_error}
        C:~
        S: 535-5.7.8 Username and Password not accepted. Learn more at
        S: 535 5.7.8  https://support.google.com/mail/?p=BadCredentials ID - gsmtp
        C: MAIL FROM:<alice@example.com>
        S: 530-5.7.0 Authentication Required. Learn more at
        S: 530 5.7.0  https://support.google.com/mail/?p=WantAuthError ID - gsmtp
        C: AUTH XOAUTH2 {good}
        S: 235 2.7.0 Accepted
        C: MAIL FROM:<alice@example.com> SIZE=35882578
        S: 552-5.2.3 Your message exceeded Google's message size limits. Please visit
        S: 552-5.2.3  https://support.google.com/mail/?p=MaxSizeError to view our size
        S: 552 5.2.3  guidelines. ID - gsmtp
        C: MAIL FROM:<alice@example.com>
        S: 250 2.1.0 OK ID - gsmtp
        C: RCPT TO:<bob@example.com>
        S: 250 2.1.5 OK ID - gsmtp
        C: DATA
        S: 354 Go ahead ID - gsmtp
        C: Subject: hi
        C: .
        S: 250 2.0.0 OK ID - gsmtp
        C: XYZZY
        S: 502-5.5.1 Unrecognized command. For more information, go to
        S: 502 5.5.1  https://support.google.com/a/answer/3221692 ID - gsmtp
        C: QUIT
        S: 221 2.0.0 closing connection ID - gsmtp
        E:
        """,
    "microsoft365 imap": """
        S: * OK Microsoft Exchange IMAP4 service ready. ID (tcpproxy/15.21.0406.000 BACKENDAUTHENTICATE) [{host64}]
        C: a CAPABILITY
        S: * CAPABILITY IMAP4...
        S: a OK CAPABILITY completed.
        C: b AUTHENTICATE XOAUTH2
        S: +
        C: {wrong}
        S: b NO AUTHENTICATE failed.
        C: c AUTHENTICATE XOAUTH2 {expired}
        S: c NO AUTHENTICATE failed.
        C: d LOGIN alice wonderland
        S: d NO LOGIN failed.
        C: e AUTHENTICATE XOAUTH2 {good}
        S: e OK AUTHENTICATE completed.
        """,
    "microsoft365 imap for another mailbox": """
        S: * OK Microsoft Exchange IMAP4 service ready. ...
        C: a AUTHENTICATE XOAUTH2 {other}
        S: a OK AUTHENTICATE completed.
        C: b SELECT INBOX
        S: b BAD User is authenticated but not connected.
        C: c SELECT INBOX
        S: c BAD User is authenticated but not connected.
        S: * BYE Connection closed. 14
        E:
        """,
    "microsoft365 pop": """
        S: +OK The Microsoft Exchange POP3 service is ready. [{host64}]
        C: CAPA
        S: +OK
        S: TOP
        S: UIDL
        S: SASL PLAIN XOAUTH2
        S: .
        C: AUTH XOAUTH2
        S: +
        C: {expired}
        S: -ERR Logon failure: unknown user name or bad password.
        C: AUTH PLAIN
        S: +
        C: {right}
        S: -ERR Logon failure: unknown user name or bad password.
        C: USER alice
        S: +OK
        C: PASS wonderland
        S: -ERR Logon failure: unknown user name or bad password.
        C: AUTH XOAUTH2
        S: +
        C: {good}
        S: +OK User successfully logged on.
        """,
    "microsoft365 pop with an initial response": """
        S: +OK The Microsoft Exchange POP3 service is ready. [{host64}]
        C: AUTH XOAUTH2 {good}
        S: -ERR Protocol error. Connection is closed. 10
        E:
        """,
    "microsoft365 smtp": """
        S: 220 AM0PR08CA0001.outlook.office365.com Microsoft ESMTP MAIL Service ready at DATE [ID]
        C: EHLO client.example
        S: 250-AM0PR08CA0001.outlook.office365.com Hello [127.0.0.1]
        S: 250-SIZE 157286400
        S: 250-PIPELINING
        S*: 250 ~
        C: AUTH XOAUTH2 {expired}
        S: 535 5.7.3 Authentication unsuccessful [{host} TIME ID]
        C: AUTH PLAIN {right}
        S: 504 5.7.4 Unrecognized authentication type [{host} TIME ID]
        C: MAIL FROM:<alice@example.com>
        S: 530 5.7.57 Client not authenticated to send mail. [{host} TIME ID]
        C: AUTH XOAUTH2 {good}
        S: 235 2.7.0 Authentication successful
        C: MAIL FROM:<alice@example.com>
        S: 250 2.1.0 Sender OK
        C: RCPT TO:<bob@example.com>
        S: 250 2.1.5 Recipient OK
        C: DATA
        S: 354 Start mail input; end with <CRLF>.<CRLF>
        C: message-id: <1@example.com>
        C: .
        S: 250 2.0.0 OK <1@example.com> [Hostname={host}]
        C: XYZZY
        S: 500 5.3.3 Unrecognized command 'unknown' [{host} TIME ID]
        C: QUIT
        S: 221 2.0.0 Service closing transmission channel
        E:
        """,
    "yahoo imap": """
        S: * OK Welcome! IMAP Server up and ready to accept your request
        C: a AUTHENTICATE PLAIN {false}
        S: a NO [AUTHENTICATIONFAILED] AUTHENTICATE Invalid credentials
        C: b LOGIN alice looking-glass
        S: b NO [AUTHENTICATIONFAILED] LOGIN Invalid credentials
        C: c AUTHENTICATE PLAIN {right}
        S: c OK AUTHENTICATE completed
        """,
    "yahoo pop": """
        S: +OK Hello
        C: AUTH PLAIN {false}
        S: -ERR [AUTH] Invalid credentials
        C: AUTH PLAIN {right}
        S: +OK
        """,
    "yahoo smtp": """
        S: 220 smtp.mail.yahoo.com ESMTP ready
        C: EHLO client.example
        S: 250-hermes--production-ne1-799d7bd497-ID Hello client.example [127.0.0.1])
        S*: 250 ~
        C: AUTH PLAIN {false}
        S: 535 5.7.0 (#AUTH005) Too many bad auth attempts.
        C: AUTH PLAIN {right}
        S: 235 2.7.0 Authentication successful
        """,
    "icloud imap": """
        S: * OK [CAPABILITY IMAP4...
        C: a LOGIN alice looking-glass
        S: a NO [AUTHENTICATIONFAILED] Authentication failed
        E:
        """,
    "icloud imap with the right password": """
        S: * OK [CAPABILITY ...
        C: a LOGIN alice wonderland
        S: a OK [CAPABILITY ...
        """,
    "icloud smtp": """
        S: 220 iCloud iscream SMTP proxy - p00-iscream-smtp ID
        C: EHLO client.example
        S: 250-localhost
        S*: 250 ~
        C: AUTH PLAIN {false}
        S: 535 5.7.8 Error: authentication failed: authentication failure
        C: AUTH PLAIN {right}
        S: 235 2.7.0 Authentication successful
        """,
    "dovecot imap": """
        S: * OK [CAPABILITY IMAP4rev1 SASL-IR ID ...
        C: a CAPABILITY
        S: * CAPABILITY IMAP4rev1 SASL-IR ID ...
        S: a OK Pre-login capabilities listed, post-login capabilities have more.
        C: b AUTHENTICATE PLAIN {false}
        S: b NO [AUTHENTICATIONFAILED] Authentication failed.
        C: c AUTHENTICATE XOAUTH2 {expired}
        S: + {rfc_error}
        C:~
        S: c NO [AUTHENTICATIONFAILED] Authentication failed.
        C: d AUTHENTICATE OAUTHBEARER {expired_bearer}
        S: + {rfc_bearer_error}
        C: AQ==
        S: d NO [AUTHENTICATIONFAILED] Authentication failed.
        C: e AUTHENTICATE PLAIN {right}
        S: e OK [CAPABILITY IMAP4rev1 ...
        """,
    "dovecot pop": """
        S: +OK Dovecot (Debian) ready.
        C: CAPA
        S: +OK
        S: CAPA
        S: TOP
        S: UIDL
        S: RESP-CODES
        S: PIPELINING
        S: AUTH-RESP-CODE
        S: USER
        S: SASL PLAIN LOGIN SCRAM-SHA-1 SCRAM-SHA-256 XOAUTH2 OAUTHBEARER
        S: .
        C: AUTH PLAIN {false}
        S: -ERR [AUTH] Authentication failed.
        C: AUTH PLAIN {right}
        S: +OK Logged in.
        C: QUIT
        S: +OK Logging out.
        E:
        """,
    "dovecot smtp": """
        S: 220 localhost Dovecot (Debian) ready.
        C: EHLO client.example
        S: 250-localhost
        S: 250-8BITMIME
        S: 250-AUTH PLAIN LOGIN SCRAM-SHA-1 SCRAM-SHA-256 XOAUTH2 OAUTHBEARER
        S*: 250 ~
        C: AUTH PLAIN {false}
        S: 535 5.7.8 Authentication failed.
        C: AUTH PLAIN {right}
        S: 235 2.7.0 Logged in.
        """,
    "exchange imap": """
        S: * OK The Microsoft Exchange IMAP4 service is ready.
        C: a CAPABILITY
        S: * CAPABILITY IMAP4...
        S: a OK CAPABILITY completed.
        C: b AUTHENTICATE PLAIN
        S: +
        C: {false}
        S: b NO AUTHENTICATE failed.
        C: c LOGIN alice looking-glass
        S: c NO LOGIN failed.
        C: d LOGIN alice wonderland
        S: d OK LOGIN completed.
        """,
    "exchange pop": """
        S: +OK The Microsoft Exchange POP3 service is ready.
        C: AUTH PLAIN
        S: +
        C: {false}
        S: -ERR Logon failure: unknown user name or bad password.
        C: USER alice
        S: +OK
        C: PASS wonderland
        S: +OK User successfully logged on.
        """,
    "exchange smtp": """
        S: 220 exch01.example.com Microsoft ESMTP MAIL Service ready at DATE
        C: EHLO client.example
        S: 250-exch01.example.com Hello [127.0.0.1]
        S: 250-SIZE 36700160
        S*: 250 ~
        C: AUTH LOGIN
        S: 334 VXNlcm5hbWU6
        C: YWxpY2U=
        S: 334 UGFzc3dvcmQ6
        C: bm8=
        S: 535 5.7.3 Authentication unsuccessful
        """,
    "rfc imap": """
        S: * OK [CAPABILITY IMAP4rev1 SASL-IR LITERAL- ID ...
        C: a AUTHENTICATE XOAUTH2 {expired}
        S: + {rfc_error}
        C:~
        S: a NO [EXPIRED] The credential has expired
        C: b LOGIN alice looking-glass
        S: b NO [AUTHENTICATIONFAILED] Authentication failed
        C: c AUTHENTICATE PLAIN {right}
        S: c OK [CAPABILITY IMAP4rev1 LITERAL- ID NAMESPACE UNSELECT...
        """,
    "rfc pop": """
        S: +OK saslkit reference server
        C: AUTH XOAUTH2 {expired}
        S: + {rfc_error}
        C:~
        S: -ERR [AUTH] The credential has expired
        C: AUTH PLAIN {false}
        S: -ERR [AUTH] Authentication failed
        C: AUTH PLAIN {right}
        S: +OK Authenticated
        """,
    "rfc smtp": """
        S: 220 localhost ESMTP saslkit reference server
        C: EHLO client.example
        S: 250-localhost
        S*: 250 ~
        C: AUTH XOAUTH2 {expired}
        S: 334 {rfc_error}
        C:~
        S: 535 5.7.8 The credential has expired
        C: AUTH PLAIN {right}
        S: 235 2.7.0 Authenticated
        """,
}
"""By persona, protocol and what it is about."""


# The lines of IMAP's CAPABILITY depend on what is served; they are looked at below.
PLACES = {
    "gmail_error": _GMAIL_ERROR,
    "rfc_error": _RFC_ERROR,
    "rfc_bearer_error": _RFC_BEARER_ERROR,
    "host": _HOST,
    "host64": _HOST64,
    "right": plain("alice", "wonderland"),
    "false": plain("alice", "looking-glass"),
}
_CHANGES = (
    (r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} \+0000", "DATE"),
    (r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{12}Z", "TIME"),
    (r"\b[0-9a-f]{16}\b", "ID"),
)


def xoauth2(token: str, user: str = "alice") -> str:
    return b64(f"user={user}\1auth=Bearer {token}\1\1").decode()


def normal(line: str) -> str:
    for pattern, name in _CHANGES:
        line = re.sub(pattern, name, line)
    return line


def play(raw: Raw, script: str, places: dict[str, str]) -> None:
    """Hold a dialogue: as `Raw.play` does, but what differs each time has a name; "S*:" skips lines to one."""
    for entry in filter(None, map(str.strip, script.splitlines())):
        who, _, text = entry.partition(":")
        text = text.removeprefix(" ").removesuffix("~").format(**places)
        if who == "C":
            raw.send(text.encode() + b"\r\n")
        elif who == "S*":
            assert any(line.startswith(text) for line in iter(raw.line, "")), entry
        elif text.endswith("..."):
            assert normal(raw.line()).startswith(text.removesuffix("...")), entry
        else:
            assert normal(raw.line()) == text, entry


@pytest.fixture(scope="module")
def at() -> Iterator[Callable[[str], Servers]]:
    """at("gmail"): servers of that persona."""
    with contextlib.ExitStack() as stack:
        made: dict[str, Servers] = {}

        def of(persona: str) -> Servers:
            if persona not in made:
                users = {"alice": "wonderland", "bob": "builder"}
                made[persona] = stack.enter_context(running(users, persona=persona))
            return made[persona]

        yield of


@pytest.mark.parametrize("about", DIALOGUES)
def test_a_persona_says_what_its_provider_says(
    about: str, at: Callable[[str], Servers], connect: Callable[..., Raw]
) -> None:
    persona, protocol = about.split()[:2]
    servers = at(persona)
    tokens = servers.tokens
    bearer = f"n,a=alice,\1auth=Bearer {tokens['expired']}\1\1"
    places = {
        **PLACES,
        "good": xoauth2(tokens["good"]),
        "expired": xoauth2(tokens["expired"]),
        "wrong": xoauth2("no-such-token"),
        "long": xoauth2("t" * 1100),
        "other": xoauth2(tokens["good"], "bob"),
        "expired_bearer": b64(bearer).decode(),
    }
    play(connect(servers, protocol), DIALOGUES[about], places)


def test_every_persona_has_a_dialogue_for_each_of_its_protocols() -> None:
    there = {tuple(about.split()[:2]) for about in DIALOGUES}
    wanted = {(name, service) for name in personas.NAMES for service in personas.load(name).services}
    assert wanted - there == set()


def told(raw: Raw, protocol: str) -> set[str]:
    """Return what a server says that it can, before a login: each mechanism as one."""
    ask, end = {"imap": ("a CAPABILITY", "a "), "pop": ("CAPA", "."), "smtp": ("EHLO x", "250 ")}[protocol]
    raw.line()
    raw.send(f"{ask}\r\n".encode())
    lines = []
    for line in iter(raw.line, ""):
        lines.append(line)
        if line.startswith(end):
            break
    if protocol == "imap":
        return set(lines[0].split()[2:])
    entries = [line[4:] for line in lines[1:]] if protocol == "smtp" else lines[1:-1]
    split = [entry.split() for entry in entries]
    return {word for words in split for word in (words if words[0] in ("AUTH", "SASL") else words[:1])}


@pytest.mark.parametrize("over", ["TLS", "clear"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("persona", personas.NAMES)
def test_nothing_is_advertised_that_is_not_served(
    persona: str, protocol: str, over: str, at: Callable[[str], Servers], connect: Callable[..., Raw]
) -> None:
    """The persona of the RFCs tells all that is served now; some tell before the login what comes after it."""
    served = told(connect(at("rfc"), protocol, over), protocol)
    if protocol == "imap":
        served |= {row.name for row in CAPABILITIES if row.name != "STARTTLS"}
    here = told(connect(at(persona), protocol, over), protocol)
    assert here - served == set()
    assert here


PASSWORD = sasl.Password("alice", "looking-glass")
EXPIRED = "expired"
KINDS = {
    ("gmail", EXPIRED): "credentials",
    ("microsoft365", EXPIRED): "credentials",
    ("dovecot", EXPIRED): "credentials",
    ("yahoo", EXPIRED): "credentials",
    ("rfc", EXPIRED): "expired",
}
"""How our own client takes an expired token: most servers do not tell it from any other."""


TAKE_PASSWORDS = [(name, each) for name in personas.NAMES for each in PROTOCOLS if (name, each) != _TOKENS_ALONE]


@pytest.mark.parametrize(("persona", "protocol"), TAKE_PASSWORDS)
def test_our_client_classifies_a_wrong_password(persona: str, protocol: str, at: Callable[[str], Servers]) -> None:
    error = refused(at(persona), persona, protocol, PASSWORD)
    assert error.kind == "credentials", error


def test_our_client_finds_nothing_for_a_password_at_microsofts_imap(at: Callable[[str], Servers]) -> None:
    servers = at("microsoft365")
    of, port = PROTOCOLS["imap"], servers.imap.tls_port
    with (
        of.connected(port, servers.client_context(), host="localhost") as conn,
        pytest.raises(sasl.MechanismUnavailable),
    ):
        of.binding.authenticate(conn, PASSWORD)


def test_our_client_tells_what_is_wrong_with_an_initial_response(at: Callable[[str], Servers]) -> None:
    servers = at("microsoft365")
    of, port = PROTOCOLS["pop"], servers.pop.tls_port
    with (
        of.connected(port, servers.client_context(), host="localhost") as conn,
        pytest.raises(sasl.AuthenticationFailed) as caught,
    ):
        of.binding.authenticate(conn, sasl.Bearer("alice", servers.tokens["good"]))
    assert caught.value.refusal == "microsoft-pop-protocol"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("persona", [name for name, _ in KINDS])
def test_our_client_classifies_an_expired_token(persona: str, protocol: str, at: Callable[[str], Servers]) -> None:
    servers = at(persona)
    error = refused(servers, persona, protocol, sasl.Bearer("alice", servers.tokens["expired"]))
    expected = KINDS[persona, EXPIRED]
    assert error.kind == ("credentials" if protocol != "imap" and persona == "rfc" else expected), error
    status = {"gmail": "400", "dovecot": "401", "rfc": "401"}.get(persona)
    if persona == "microsoft365":
        assert error.detail == {}
    elif status:
        assert error.detail["status"] in (status, "invalid_token")


def refused(servers: Servers, persona: str, protocol: str, credentials: sasl.Password | sasl.Bearer) -> sasl.SASLError:
    of = PROTOCOLS[protocol]
    port = getattr(servers, protocol).tls_port
    with (
        of.connected(port, servers.client_context(), host="localhost") as conn,
        pytest.raises(sasl.AuthenticationFailed) as caught,
    ):
        # A client takes Microsoft's servers for such by their name, which is another one here.
        silent = {"initial_response": False} if persona == "microsoft365" and protocol == "pop" else {}
        of.binding.authenticate(conn, credentials, **silent)
    return caught.value


def test_gmail_lets_fifteen_connections_of_an_account_in(connect: Callable[..., Raw]) -> None:
    limit = personas.load("gmail").limit("imap", "connections")
    with running({"alice": "wonderland", "bob": "builder"}, persona="gmail") as servers:
        open_ = [connect(servers, "imap") for _ in range(17)]
        for raw in open_[:15]:
            play(raw, "S: * OK...\nC: a LOGIN alice wonderland\nS: * CAPABILITY...\nS: a OK...", PLACES)
        crowded = "a NO [ALERT] Too many simultaneous connections. (Failure)"
        play(open_[15], f"S: * OK...\nC: a LOGIN alice wonderland\nS: {crowded}", PLACES)
        play(open_[16], "S: * OK...\nC: a LOGIN bob builder\nS: * CAPABILITY...\nS: a OK...", PLACES)
        attempt = servers.imap.sessions[15].attempts[-1]
        assert (limit, attempt.outcome, attempt.reason) == (15, "unavailable", "15 sessions of the account are open")
        play(open_[15], "C: b LOGOUT\nS: * BYE LOGOUT Requested\nS: b OK 73 good day (Success)\nE:", PLACES)


def test_microsoft_has_three_connections_of_an_account_send_at_once(connect: Callable[..., Raw]) -> None:
    with running(persona="microsoft365") as servers:
        places = {**PLACES, "good": xoauth2(servers.tokens["good"])}
        begin = """
            S: 220...
            C: EHLO x
            S*: 250 ~
            C: AUTH XOAUTH2 {good}
            S: 235...
            C: MAIL FROM:<alice@example.com>
            S: 250...
            C: RCPT TO:<bob@example.com>
            S: 250...
            C: DATA
            """
        raws = [connect(servers, "smtp") for _ in range(4)]
        for raw in raws[:3]:
            play(raw, f"{begin}\nS: 354...", places)
        says = "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending for more"
        play(raws[3], f"{begin}\nS: {says} information. [Hostname={_HOST}]", places)
        play(raws[0], "C: .\nS: 250...", places)
        again = (
            "C: MAIL FROM:<alice@example.com>\nS: 250...\nC: RCPT TO:<bob@example.com>\nS: 250...\nC: DATA\nS: 354..."
        )
        play(raws[3], again, places)


def test_what_an_account_sends_is_counted_by_the_clock(tmp_path: Path, connect: Callable[..., Raw]) -> None:
    file = tmp_path / "mine.json"
    smtp = {
        "greeting": "220 hi",
        "capabilities": {"clear": ["AUTH *"]},
        "limits": {"messages_a_minute": 2, "recipients_a_day": 5},
        "refusals": {"throttled": {"lines": "451 4.7.0 Slow down"}, "quota": {"lines": "550 5.4.5 Enough"}},
    }
    file.write_text(json.dumps({"name": "Mine", "smtp": smtp}))
    begin = "C: MAIL FROM:<a@x>\nS: 250...\nC: RCPT TO:<b@x>\nS: 250...\nC: RCPT TO:<c@x>\nS: 250...\nC: DATA\n"
    send = f"{begin}S: 354...\nC: .\nS: 250..."
    with running(persona=file) as servers:
        raw = connect(servers, "smtp")
        play(raw, "S: 220 hi\nC: EHLO x\nS*: 250 ~\nC: AUTH PLAIN {right}\nS: 235...", PLACES)
        play(raw, f"{send}\n{send}\n{begin}S: 451 4.7.0 Slow down", PLACES)
        play(raw, f"{begin}S: 451 4.7.0 Slow down\n".replace("C: DATA", "C: BDAT 0 LAST"), PLACES)
        servers.clock.advance(minutes=2)
        play(raw, f"{send}\n{begin}S: 550 5.4.5 Enough", PLACES)
        servers.clock.advance(minutes=25)
        play(raw, f"{begin}S: 550 5.4.5 Enough", PLACES)
        servers.clock.advance(hours=24)
        again = connect(servers, "smtp")
        play(again, "S: 220 hi\nC: EHLO x\nS*: 250 ~\nC: AUTH PLAIN {right}\nS: 235...", PLACES)
        play(again, send, PLACES)
        assert len(servers.smtp.messages) == 4


def test_a_persona_of_ones_own_speaks(tmp_path: Path, connect: Callable[..., Raw]) -> None:
    file = tmp_path / "mine.json"
    imap = {
        "greeting": "* OK {host} is mine",
        "capabilities": {"clear": ["IMAP4rev1", "AUTH=PLAIN"]},
        "refusals": {"credentials": {"lines": ["* NO thrice", "{tag} NO No, {command}"], "close": True}},
    }
    file.write_text(json.dumps({"name": "Mine", "provider": "gmail", "imap": imap}))
    with running(persona=file) as servers:
        play(
            connect(servers, "imap"),
            """
            S: * OK localhost is mine
            C: a CAPABILITY
            S: * CAPABILITY IMAP4rev1 AUTH=PLAIN
            S: a OK Done
            C: b AUTHENTICATE PLAIN {false}
            S: * NO thrice
            S: b NO No, AUTHENTICATE
            E:
            """,
            PLACES,
        )
        play(connect(servers, "smtp"), "S: 220 localhost ESMTP saslkit reference server", PLACES)


def test_an_unknown_persona_is_an_error_before_anything_runs() -> None:
    with pytest.raises(sasl.UsageError, match="no persona 'gmial'"), running(persona="gmial"):
        pass


MAILBOXES = {
    "gmail": """
        S: * OK...
        C: a LOGIN alice wonderland
        S: * CAPABILITY IMAP4rev1 UNSELECT IDLE NAMESPACE ID CHILDREN X-GM-EXT-1 UIDPLUS ENABLE MOVE CONDSTORE ESEARCH \
UTF8=ACCEPT LIST-EXTENDED LIST-STATUS LITERAL- SPECIAL-USE APPENDLIMIT=35651584
        S: a OK alice authenticated (Success)
        C: b LIST "" *
        S: * LIST (\\HasNoChildren) "/" INBOX
        S: * LIST (\\HasChildren \\Noselect) "/" "[Gmail]"
        S: * LIST (\\HasNoChildren \\All) "/" "[Gmail]/All Mail"
        S*: b OK Success
        C: c SELECT "[Gmail]/Sent Mail"
        S*: c OK [READ-WRITE] Success
        C: d SELECT INBOX
        S*: d OK [READ-WRITE] Success
        C: e SEARCH SUBJECT mice
        S: * SEARCH 1
        S: e OK Success
        C: f SEARCH SUBJECT mic
        S: * SEARCH
        S: f OK Success
        C: g FETCH 1 X-GM-MSGID
        S: * 1 FETCH (X-GM-MSGID...
        S: g OK Success
        C: h ID NIL
        S: * ID ("name" "GImap" "vendor" "Google, Inc." "support-url" "https://support.google.com/mail" \
"version" "gmail_imap_261101.00_p1" "remote-host" "127.0.0.1")
        S: h OK Success
        C: i XYZZY
        S: i BAD Unknown command ID
        C: nothing
        S: * BAD invalid tag ID
        C: j LOGOUT
        S: * BYE LOGOUT Requested
        S: j OK 73 good day (Success)
        E:
        """,
    "dovecot": """
        S: * OK...
        C: a LOGIN alice wonderland
        S: a OK [CAPABILITY IMAP4rev1 SASL-IR ID ENABLE IDLE ...
        C: b SELECT INBOX
        S*: b OK [READ-WRITE] Select completed (0.001 + 0.000 secs).
        C: c SEARCH SUBJECT mic
        S: * SEARCH 1
        S: c OK Search completed (0.001 + 0.000 secs).
        C: d UID SEARCH X-GM-RAW mice
        S: d BAD...
        C: e LOGOUT
        S: * BYE Logging out
        S: e OK Logout completed (0.001 + 0.000 secs).
        E:
        """,
    "microsoft365": """
        S: * OK...
        C: a AUTHENTICATE XOAUTH2 {good}
        S: a OK AUTHENTICATE completed.
        C: b CAPABILITY
        S: * CAPABILITY IMAP4rev1 AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+ ENABLE
        S: b OK CAPABILITY completed.
        C: c LIST "" "Sent*"
        S: * LIST (\\HasNoChildren \\Sent) "/" "Sent Items"
        S: c OK LIST completed.
        C: d SELECT INBOX
        S*: d OK [READ-WRITE] SELECT completed.
        C: e UID FETCH 1:* FLAGS
        S: * 1 FETCH...
        S: e OK FETCH completed.
        C: f XYZZY
        S: f BAD Command Error. 12
        C: g LOGOUT
        S: * BYE Microsoft Exchange Server IMAP4 server signing off.
        S: g OK LOGOUT completed.
        E:
        """,
}


@pytest.mark.parametrize("persona", MAILBOXES)
def test_a_mailbox_is_as_the_provider_has_it(persona: str, connect: Callable[..., Raw]) -> None:
    with running(persona=persona) as servers:
        servers.deliver("alice", "Subject: three mice\n\nblind\n")
        play(connect(servers, "imap"), MAILBOXES[persona], {**PLACES, "good": xoauth2(servers.tokens["good"])})


THROTTLED = {
    "gmail": "S: b OK Success [THROTTLED]",
    "microsoft365": "S: b NO Request is throttled. Suggested Backoff Time: 299910 milliseconds",
    "exchange": """
        S: b BAD Request is throttled. Suggested Backoff Time: 89117 milliseconds
        S: * BYE Connection closed. 14
        E:
        """,
    "rfc": "S: b NO [UNAVAILABLE] Cannot authenticate now, try later",
}


@pytest.mark.parametrize("persona", THROTTLED)
def test_a_fault_says_what_the_persona_says_to_a_refusal(
    persona: str, at: Callable[[str], Servers], connect: Callable[..., Raw]
) -> None:
    fault = at(persona).imap.on("NOOP").refuse("throttled")
    play(connect(at(persona), "imap"), f"S: * OK...\nC: b NOOP\n{THROTTLED[persona]}", PLACES)
    assert fault.hits == 1


def test_a_fault_refuses_a_login_as_the_persona_does(at: Callable[[str], Servers], connect: Callable[..., Raw]) -> None:
    at("gmail").smtp.on("AUTH").refuse("app_password")
    play(
        connect(at("gmail"), "smtp"),
        """
        S: 220...
        C: EHLO x
        S*: 250 ~
        C: AUTH PLAIN {right}
        S: 534-5.7.9 Application-specific password required. For more information, go to
        S: 534 5.7.9  https://support.google.com/mail/?p=InvalidSecondFactor ID - gsmtp
        """,
        PLACES,
    )
    at("microsoft365").imap.on("AUTHENTICATE:end").refuse("credentials")
    script = "S: * OK...\nC: a AUTHENTICATE XOAUTH2 {good}\nS: a NO AUTHENTICATE failed."
    places = {"good": xoauth2(at("microsoft365").tokens["good"])}
    play(connect(at("microsoft365"), "imap"), script, places)


def test_a_fault_knows_the_kinds_of_refusals() -> None:
    assert str(Rule.parse("imap:FETCH refuse throttled")) == "imap:FETCH refuse throttled"
    with pytest.raises(sasl.UsageError, match=r"refuse: one of credentials, .*, quota"):
        Rule.parse("imap:FETCH refuse rudely")
