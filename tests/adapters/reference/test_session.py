"""What holds for every session: injected octets, deadlines, broken clients and verifiers, no secret that is kept."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import select
import socket
import struct
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters import reference
from sasl.adapters.reference import Settings
from sasl.adapters.reference.shown import shown_message

from ...support.leaks import seen
from ...support.protocols import b64

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl.adapters.reference import Checks, Endpoint, Servers, Verifier
    from sasl.steps import Answer

PROTOCOLS = ("imap", "pop", "smtp")
STARTTLS = {"imap": b"a STARTTLS\r\n", "pop": b"STLS\r\n", "smtp": b"STARTTLS\r\n"}
YES = {"imap": "a OK Begin TLS", "pop": "+OK Begin TLS", "smtp": "220 2.0.0 Begin TLS"}
BEFORE = {"imap": b"", "pop": b"", "smtp": b"EHLO me\r\n"}
BEGIN = {"imap": b"a AUTHENTICATE PLAIN\r\n", "pop": b"AUTH PLAIN\r\n", "smtp": b"AUTH PLAIN\r\n"}
GOOD = base64.b64encode(b"\0alice\0wonderland")
LOGIN = {
    "imap": b"a AUTHENTICATE PLAIN %s\r\n" % GOOD,
    "pop": b"AUTH PLAIN %s\r\n" % GOOD,
    "smtp": b"AUTH PLAIN %s\r\n" % GOOD,
}
ACCEPTED = {"imap": "a OK ", "pop": "+OK Authenticated", "smtp": "235 "}
LATE = {"imap": ["* BYE Too slow"], "pop": [], "smtp": ["421 4.4.2 Too slow"]}
SHUTDOWN = {"imap": ["* BYE The server shuts down"], "pop": [], "smtp": ["421 4.3.2 The server shuts down"]}


def ready(raw: Any, protocol: str) -> None:
    """Read the greeting, and EHLO's answer."""
    assert raw.line()
    if BEFORE[protocol]:
        raw.send(BEFORE[protocol])
        while raw.line().startswith("250-"):
            pass


# --- STARTTLS


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_command_behind_starttls_ends_the_connection(
    protocol: str, servers: Servers, connect: Callable[..., Any]
) -> None:
    server = getattr(servers, protocol)
    raw = connect(servers, protocol, "clear")
    raw.line()
    raw.send(STARTTLS[protocol] + LOGIN[protocol])
    (farewell,) = raw.rest()
    assert "Octets in the clear behind ST" in farewell
    assert list(server.sessions[-1].attempts) == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("junk", [b"junk\r\n", b"\x16\x03\x01\x00\x02\xff\xff", b""], ids=["plain", "tls", "nothing"])
def test_a_handshake_that_is_none_ends_the_connection(
    junk: bytes, protocol: str, servers: Servers, connect: Callable[..., Any]
) -> None:
    server = getattr(servers, protocol)
    raw = connect(servers, protocol, "clear")
    raw.line()
    raw.send(STARTTLS[protocol])
    assert raw.line() == YES[protocol]
    raw.send(junk + LOGIN[protocol] if junk else junk)
    raw.sock.shutdown(socket.SHUT_WR)
    with contextlib.suppress(ConnectionError):
        assert raw.sock.recv(1000)[:1] in (b"", b"\x15")  # nothing, or a TLS alert
    assert list(server.sessions[-1].attempts) == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_who_knows_no_tls_gets_no_greeting_on_the_tls_port(protocol: str, servers: Servers) -> None:
    server = getattr(servers, protocol)
    with socket.create_connection((server.host, server.tls_port), timeout=10) as sock:
        sock.sendall(LOGIN[protocol])
        with contextlib.suppress(ConnectionError):
            assert sock.recv(1000)[:1] in (b"", b"\x15")


def test_a_client_that_does_not_know_the_ca_is_no_trouble(servers: Servers, connect: Callable[..., Any]) -> None:
    import ssl

    with pytest.raises(ssl.SSLCertVerificationError):
        connect(servers, "imap", "TLS", ssl.create_default_context())


# --- deadlines

HURRIED = Settings(deadline=0.5, idle=30.0)
"""For what never comes."""
BRISK = Settings(deadline=2.0, idle=30.0)
"""For what comes in time, on a busy machine too."""


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("over", ["clear", "TLS"])
@pytest.mark.parametrize("dribble", [False, True])
def test_a_command_that_is_never_complete_meets_its_deadline(
    protocol: str, over: str, dribble: bool, connect: Callable[..., Any]
) -> None:
    with reference.running(settings=HURRIED) as servers:
        raw = connect(servers, protocol, over)
        ready(raw, protocol)
        raw.send(BEGIN[protocol][:-2])
        if dribble:
            with contextlib.suppress(ConnectionError):
                while not select.select([raw.sock], [], [], 0.01)[0]:
                    raw.send(b"x")
        assert raw.rest() in (LATE[protocol], []) if dribble else raw.rest() == LATE[protocol]
        assert list(getattr(servers, protocol).sessions[-1].attempts) == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_half_open_exchange_meets_its_deadline(protocol: str, connect: Callable[..., Any]) -> None:
    with reference.running(settings=BRISK) as servers:
        raw = connect(servers, protocol, "TLS")
        ready(raw, protocol)
        raw.send(BEGIN[protocol] + GOOD)
        assert raw.line() in ("+ ", "334 ")
        assert raw.rest() == LATE[protocol]
        (attempt,) = getattr(servers, protocol).sessions[-1].attempts
        assert (attempt.mechanism, attempt.outcome, attempt.identity) == ("PLAIN", "unfinished", None)


@pytest.mark.parametrize("over", ["clear", "TLS"])
def test_a_handshake_that_does_not_come_meets_its_deadline(over: str) -> None:
    with reference.running(settings=HURRIED) as servers:
        port = servers.imap.tls_port if over == "TLS" else servers.imap.port
        with socket.create_connection((servers.imap.host, port), timeout=10) as sock:
            if over == "clear":
                sock.recv(1000)
                sock.sendall(b"a STARTTLS\r\n")
                sock.recv(1000)
            with contextlib.suppress(ConnectionError):
                assert sock.recv(1000) == b""


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_who_is_logged_in_has_more_time(protocol: str, connect: Callable[..., Any]) -> None:
    with reference.running(settings=BRISK) as servers:
        raw = connect(servers, protocol, "TLS")
        ready(raw, protocol)
        raw.send(LOGIN[protocol])
        assert raw.line().startswith(ACCEPTED[protocol])
        raw.sock.settimeout(2.5)
        with pytest.raises(TimeoutError):
            raw.sock.recv(1)


def test_a_client_that_does_not_read_is_not_waited_for() -> None:
    """Its answers fill what the sockets hold; then the server neither reads on nor keeps more, until the deadline."""

    async def go() -> None:
        loop = asyncio.get_running_loop()
        async with reference.serving(settings=Settings(deadline=0.2, grace=0.05)) as servers:
            with socket.socket() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.setblocking(False)
                await loop.sock_connect(sock, (servers.imap.host, servers.imap.port))
                await loop.sock_recv(sock, 1)
                (session,) = servers.imap.sessions
                transport: Any = session.connection._transport
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
                with pytest.raises(ConnectionError):
                    async with asyncio.timeout(10):
                        while True:
                            await loop.sock_sendall(sock, b"a CAPABILITY\r\n" * 1000)
                assert transport.get_write_buffer_size() == 0
                assert session.transcript[-1] == ("S", "* BYE Too slow")

    asyncio.run(go())


# --- clients that go away


def cuts(protocol: str, over: str) -> list[bytes]:
    """What a client has sent when it goes away: each beginning of a login, by steps and within a line."""
    steps = [b"", b"EHLO", b" me\r\n"] if protocol == "smtp" else [b""]
    steps += [BEGIN[protocol][:4], BEGIN[protocol][4:], GOOD[:7], GOOD[7:] + b"\r\n"]
    steps += [
        {"imap": b"b SELECT INBOX\r\n", "pop": b"STAT\r\n", "smtp": b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"}[protocol]
    ]
    steps += [{"imap": b"b LIST {10}\r\n", "pop": b"STAT", "smtp": b"DATA\r\nSubject:"}[protocol]]
    steps += [b"half of it"]
    if over == "clear":
        steps = [b"", STARTTLS[protocol]]
    return [b"".join(steps[: end + 1]) for end in range(len(steps))]


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize(
    ("protocol", "over", "sent"),
    [(protocol, over, sent) for protocol in PROTOCOLS for over in ("TLS", "clear") for sent in cuts(protocol, over)],
)
def test_a_client_that_goes_away_leaves_nothing_behind(protocol: str, over: str, sent: bytes, how: str) -> None:
    async def go() -> None:
        async with reference.serving() as servers:
            server: Endpoint = getattr(servers, protocol)
            context = servers.client_context() if over == "TLS" else None
            port = server.tls_port if context else server.port
            reader, writer = await asyncio.open_connection(server.host, port, ssl=context)
            assert await reader.readline()
            (session,) = server.sessions
            writer.write(sent)
            await writer.drain()
            if how == "reset":
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            writer.close()
            with contextlib.suppress(ConnectionError, OSError):
                await writer.wait_closed()
            async with asyncio.timeout(5):
                await session.connection.wait_closed()
                while session in session.backend.open:  # it looks at the commands that had come still
                    await asyncio.sleep(0)
            assert not session.connection.unread
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []

    asyncio.run(go())


def test_a_client_that_only_stops_sending_still_gets_its_answers(servers: Servers, connect: Callable[..., Any]) -> None:
    raw = connect(servers, "imap", "clear")
    raw.send(b"a NOOP\r\nb NOOP\r\nhalf a line")
    raw.sock.shutdown(socket.SHUT_WR)
    assert raw.rest()[1:] == ["a OK Done", "b OK Done"]


# --- verifiers


class Slow:
    """A verifier that is asked something and never answers."""

    def __init__(self, verifier: Verifier) -> None:
        self.answers = verifier.answers
        self.asked = asyncio.Event()

    async def __call__(self, question: sasl.Question) -> Answer:
        self.asked.set()
        await asyncio.Event().wait()
        return None


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("end", ["shutdown", "deadline"])
def test_a_verifier_that_does_not_answer_is_not_waited_for(protocol: str, end: str) -> None:
    async def go() -> None:
        made: list[Slow] = []

        def slow(verifier: Verifier) -> Checks:
            made.append(Slow(verifier))
            return made[0]

        settings = Settings(deadline=0.1 if end == "deadline" else 30.0)
        async with reference.serving(settings=settings, checks=slow) as servers:
            server: Endpoint = getattr(servers, protocol)
            reader, writer = await asyncio.open_connection(server.host, server.tls_port, ssl=servers.client_context())
            writer.write(BEFORE[protocol] + LOGIN[protocol])
            async with asyncio.timeout(5):
                await made[0].asked.wait()
                if end == "deadline":
                    assert (await reader.read()).decode().splitlines()[-1:] == (
                        LATE[protocol] or ["+OK saslkit reference server"]
                    )
        async with asyncio.timeout(5):
            last = (await reader.read()).decode().splitlines()[-1:]
            if end == "shutdown":
                assert last == (SHUTDOWN[protocol] or ["+OK saslkit reference server"])
            writer.close()
            await writer.wait_closed()
        assert [attempt.outcome for attempt in server.sessions[-1].attempts] == ["unfinished"]

    asyncio.run(go())


class Broken:
    """A verifier with a bug, whose exception holds what nobody must see."""

    def __init__(self, verifier: Verifier, *, offers: bool) -> None:
        self.verifier = verifier
        self.offers = offers

    @property
    def answers(self) -> Any:
        if not self.offers:
            raise RuntimeError("wonderland")
        return self.verifier.answers

    def __call__(self, question: sasl.Question) -> Answer:
        raise RuntimeError("wonderland")


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        ("imap", "a NO [UNAVAILABLE] Cannot authenticate now, try later"),
        ("pop", "-ERR [SYS/TEMP] Cannot authenticate now, try later"),
        ("smtp", "454 4.7.0 Cannot authenticate now, try later"),
    ],
)
def test_a_verifier_that_fails_is_a_temporary_failure(
    protocol: str, said: str, connect: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    with reference.running(checks=lambda verifier: Broken(verifier, offers=True)) as servers:
        raw = connect(servers, protocol)
        ready(raw, protocol)
        raw.send(LOGIN[protocol])
        assert raw.line() == said
        (attempt,) = getattr(servers, protocol).sessions[-1].attempts
        assert attempt.outcome == "unavailable"
    assert "RuntimeError" in caplog.text
    assert seen([caplog.text], "wonderland") == []
    caplog.clear()


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        ("imap", ["* BYE Something is wrong here"]),
        ("pop", ["-ERR [SYS/TEMP] Something is wrong here"]),
        ("smtp", ["421 4.3.0 Something is wrong here"]),
    ],
)
def test_a_bug_is_told_to_the_log_and_not_to_the_client(
    protocol: str, said: list[str], connect: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    with reference.running(checks=lambda verifier: Broken(verifier, offers=False)) as servers:
        raw = connect(servers, protocol)
        if protocol != "imap":
            assert raw.line()
            raw.send(b"CAPA\r\n" if protocol == "pop" else b"EHLO me\r\n")
        assert raw.rest() == said
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert f"the {protocol} server failed with RuntimeError at {__file__}:" in record.getMessage()
    assert seen([caplog.text], "wonderland") == []
    caplog.clear()


# --- limits


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_too_many_failures_end_the_connection(protocol: str, connect: Callable[..., Any]) -> None:
    wrong = LOGIN[protocol].replace(GOOD, base64.b64encode(b"\0alice\0wrong"))
    with reference.running(settings=Settings(failures=3)) as servers:
        raw = connect(servers, protocol)
        ready(raw, protocol)
        raw.send(wrong * 5)
        lines = raw.rest()
        assert len(lines) == 4
        assert "Too many failed logins" in lines[3]
        assert len(getattr(servers, protocol).sessions[-1].attempts) == 3


@pytest.mark.parametrize("protocol", ["imap", "pop"])
def test_too_many_failures_of_a_plain_login_end_the_connection(protocol: str, connect: Callable[..., Any]) -> None:
    wrong = {"imap": b"a LOGIN alice wrong\r\n", "pop": b"USER alice\r\nPASS wrong\r\n"}[protocol]
    with reference.running(settings=Settings(failures=2)) as servers:
        raw = connect(servers, protocol)
        raw.line()
        raw.send(wrong * 3)
        assert "Too many failed logins" in raw.rest()[-1]


LONGEST = {"imap": 88_408, "pop": 88_408, "smtp": 13_312}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("end", [b"\r\n", b"\n"], ids=["CRLF", "LF"])
@pytest.mark.parametrize("excess", [-1, 0, 1, 2, 400_000])
def test_a_line_is_taken_up_to_its_limit(
    protocol: str, excess: int, end: bytes, servers: Servers, connect: Callable[..., Any]
) -> None:
    raw = connect(servers, protocol, "clear")
    ready(raw, protocol)
    command = {"imap": b"a ID ", "pop": b"LIST ", "smtp": b"NOOP "}[protocol]
    raw.send(command.ljust(LONGEST[protocol] + excess - len(end), b"x") + end)
    lines = [raw.line()]
    raw.send({"imap": b"z NOOP\r\n", "pop": b"QUIT\r\n", "smtp": b"NOOP\r\n"}[protocol])
    lines.append(raw.line())
    if protocol == "imap" and excess <= 0:
        lines = [lines[1], raw.line()]
    assert ("too long" in lines[0]) == (excess > 0)
    assert lines[1] == {"imap": "z OK Done", "pop": "+OK Bye", "smtp": "250 2.0.0 OK"}[protocol]


@pytest.mark.parametrize("octets", [8_192, 12_288, 12_289, 12_292])
def test_smtp_takes_responses_of_12288_octets(octets: int, servers: Servers, connect: Callable[..., Any]) -> None:
    raw = connect(servers, "smtp")
    ready(raw, "smtp")
    raw.send(BEGIN["smtp"] + b"A" * octets + b"\r\n")
    assert raw.line() == "334 "
    limit = "500 5.5.6 Authentication message too large"
    assert raw.line() == (limit if octets > 12_288 else "501 5.5.2 Malformed authentication message")


def test_a_line_without_end_costs_no_memory() -> None:
    async def go() -> int:
        async with reference.serving() as servers:
            reader, writer = await asyncio.open_connection(servers.imap.host, servers.imap.port)
            chunk = b"x" * 65_536
            tracemalloc.start()
            for _ in range(256):
                writer.write(chunk)
                await writer.drain()
            writer.write(b"\r\na NOOP\r\n")
            lines = [await reader.readline() for _ in range(3)]
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert lines[1:] == [b"* BAD Line too long\r\n", b"a OK Done\r\n"]
            writer.close()
            await writer.wait_closed()
            return peak

    assert asyncio.run(go()) < 2_000_000  # of 16 MB


def test_what_is_kept_of_a_session_is_bounded(servers: Servers, connect: Callable[..., Any]) -> None:
    raw = connect(servers, "smtp", "clear")
    raw.send(b"NOOP " + b"x" * 1000 + b"\r\n")
    raw.send(b"NOOP\r\n" * 2000 + b"QUIT\r\n")
    assert raw.rest()[-1] == "221 2.0.0 Bye"
    transcript = servers.smtp.sessions[-1].transcript
    assert len(transcript) == 1000
    assert max(len(text) for _, text in transcript) <= 200


# --- what is kept

SECRETS = ("wonderland", "looking-glass", "token-of-alice")


@pytest.mark.parametrize(
    ("protocol", "lines"),
    [
        (
            "imap",
            [
                b"a AUTHENTICATE PLAIN {b64}",
                b"a AUTHENTICATE PLAIN\t{b64}",
                b"a AUTHENTICATE {secret}",
                b"a AUTHENTICATE PLAIN {secret} {secret}",
                b"a AUTHENTICATE PLAIN\r\n{b64}",
                b"a AUTHENTICATE PLAIN\r\n{secret}",
                b"a AUTHENTICATE XOAUTH2 {xoauth2}\r\n",
                b"a AUTHENTICATE XOAUTH2 {xoauth2}\r\n{xoauth2}",
                b'a LOGIN alice "{secret}"',
                b"a LOGIN alice {secret} {secret}",
                b"a LOGIN {5+}\r\nalice {20+}\r\n{padded}",
                b"{secret}",
                b"{b64}",
                b"a {secret}",
                b"{secret} {secret}",
                b"a PASS {secret}",
                b"a CAPABILITY {20+}\r\n{padded}",
                b"\xff{secret}",
            ],
        ),
        (
            "pop",
            [
                b"AUTH PLAIN {b64}",
                b"AUTH {secret}",
                b"AUTH={secret}",
                b"AUTH\t{secret} {secret}",
                b"AUTH PLAIN\r\n{b64}",
                b"AUTH XOAUTH2 {xoauth2}\r\n",
                b"PASS {secret}",
                b"USER alice\r\nPASS {secret}",
                b"pass {secret}",
                b"{secret}",
                b"{b64}",
                b"APOP alice {secret}",
            ],
        ),
        (
            "smtp",
            [
                b"AUTH PLAIN {b64}",
                b"AUTH {secret}",
                b"EHLO me\r\nAUTH PLAIN {b64}",
                b"EHLO me\r\nAUTH  PLAIN {b64}",
                b"EHLO me\r\nAUTH {secret}",
                b"EHLO me\r\nAUTH={secret}",
                b"EHLO me\r\nAUTH\t{secret} {secret}",
                b"EHLO me\r\nAUTH PLAIN\r\n{b64}",
                b"EHLO me\r\nAUTH XOAUTH2 {xoauth2}\r\n",
                b"LOGIN {secret}",
                b"{secret}",
                b"{b64}",
            ],
        ),
    ],
)
def test_neither_transcript_nor_log_nor_record_holds_a_secret(
    protocol: str, lines: list[bytes], connect: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    users, tokens = {"alice": "wonderland"}, {"revoked": "token-of-alice"}
    kept = []
    with reference.running(users, tokens, settings=Settings(failures=1000)) as servers:  # type: ignore[arg-type]
        for line in lines:
            for secret in SECRETS:
                raw = connect(servers, protocol)
                raw.send(filled(line, secret) + b"\r\n")
                raw.sock.settimeout(10)
                raw.send({"imap": b"z LOGOUT", "pop": b"QUIT", "smtp": b"QUIT"}[protocol] + b"\r\n")
                raw.rest()
                session = getattr(servers, protocol).sessions[-1]
                kept.append(f"{session!r}\n{session.transcript}\n{session.attempts}")
        kept.append(repr(servers) + repr(servers.verifier))
    sink = "\n".join(kept) + caplog.text
    for secret in SECRETS:
        assert seen([sink], secret) == []
        for form in (b64(f"\0alice\0{secret}").decode(), b64(secret).decode(), xoauth2(secret)):
            assert form[4:-4].lower() not in sink.lower() or len(form) <= 16


def filled(line: bytes, secret: str) -> bytes:
    for name, text in {
        b"{secret}": secret,
        b"{b64}": b64(f"\0alice\0{secret}").decode(),
        b"{xoauth2}": xoauth2(secret),
        b"{padded}": secret.ljust(20, "!"),
    }.items():
        line = line.replace(name, text.encode())
    return line


def xoauth2(secret: str) -> str:
    return b64(f"user=alice\x01auth=Bearer {secret}\x01\x01").decode()


def test_a_transcript_tells_what_the_client_did(servers: Servers, connect: Callable[..., Any]) -> None:
    raw = connect(servers, "imap")
    raw.send(b"a AUTHENTICATE PLAIN\r\n" + GOOD + b"\r\nb SELECT INBOX\x1b\r\nc LOGOUT\r\n")
    raw.rest()
    session = servers.imap.sessions[-1]
    assert session.transcript[4][1].startswith("a OK [CAPABILITY IMAP4rev1 ")
    assert list(session.transcript)[1:] == [
        ("C", "a AUTHENTICATE PLAIN"),
        ("S", "+ <0 octets>"),
        ("C", "<17 octets>"),
        ("S", session.transcript[4][1]),
        ("C", "b SELECT <6 octets>"),
        ("S", "b BAD A space is missing"),
        ("C", "c LOGOUT"),
        ("S", "* BYE Bye"),
        ("S", "c OK Logged out"),
    ]
    assert list(session.attempts) == [reference.Attempt("PLAIN", True, False, 2, "accepted", "alice")]


@pytest.mark.parametrize(
    ("line", "shown"),
    [(b"*", "*"), (b"=", "="), (b"", "<0 octets>"), (b"AAA=", "<2 octets>"), (b"AAA", "<3 octets>")],
)
def test_a_response_is_shown_by_its_size(
    line: bytes, shown: str, servers: Servers, connect: Callable[..., Any]
) -> None:
    raw = connect(servers, "pop")
    raw.send(b"AUTH PLAIN\r\n" + line + b"\r\nQUIT\r\n")
    raw.rest()
    assert list(servers.pop.sessions[-1].transcript)[3] == ("C", shown)


def test_who_sends_mail_for_whom_is_kept(servers: Servers, connect: Callable[..., Any]) -> None:
    raw = connect(servers, "smtp")
    raw.send(b"EHLO me\r\n" + LOGIN["smtp"] + b"MAIL FROM:<a@b> AUTH=e+3Dmc2@example.org\r\nQUIT\r\n")
    raw.rest()
    session: Any = servers.smtp.sessions[-1]
    assert session.authenticated_as == "e=mc2@example.org"


def test_a_dot_behind_a_bare_line_feed_is_no_end_of_a_message(servers: Servers, connect: Callable[..., Any]) -> None:
    raw = connect(servers, "smtp")
    ready(raw, "smtp")
    raw.send(LOGIN["smtp"] + b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n")
    assert [raw.line()[:3] for _ in range(4)] == ["235", "250", "250", "354"]
    raw.send(b"x\n.\r\nMAIL FROM:<smuggled@b>\r\n.\nRCPT TO:<c@d>\r\n.\r\nNOOP\r\n")
    assert [raw.line() for _ in range(2)] == ["250 2.0.0 Accepted", "250 2.0.0 OK"]


def test_a_message_and_its_recipients_are_bounded(servers: Servers, connect: Callable[..., Any]) -> None:
    raw = connect(servers, "smtp")
    ready(raw, "smtp")
    raw.send(LOGIN["smtp"] + b"MAIL FROM:<a@b>\r\n" + b"RCPT TO:<c@d>\r\n" * 101 + b"DATA\r\n")
    lines = [raw.line() for _ in range(104)]
    assert lines[101:] == ["250 2.1.5 OK", "452 4.5.3 Too many recipients", "354 End with a line that is a dot"]
    raw.send((b"x" * 10_000 + b"\r\n") * 1100 + b".\r\n")
    assert raw.line() == "552 5.3.4 Too large"


# --- what a transcript shows


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"", "<0 octets>"),
        (b"=", "="),
        (b"*", "*"),
        (b"QQ==", "<1 octets>"),
        (b"QUI=", "<2 octets>"),
        (b"QUJD", "<3 octets>"),
        (b"QUJDRA==", "<4 octets>"),
        (b"Q===", "<4 octets>"),  # these are no base64: how long they are themselves
        (b"QUJ", "<3 octets>"),
        (b"====", "<4 octets>"),
    ],
)
def test_a_message_is_shown_by_the_size_of_what_it_holds(line: bytes, shown: str) -> None:
    assert shown_message(line) == shown
