"""Gmail's page, lived: sessions of days at the reference servers, as Gmail and Microsoft 365 keep them.

One clock goes for the servers, the authority, the tokens and the sessions, and nobody waits. Nothing is lost, nothing
is done twice, and each expiry costs one renewal, which the authority counts.
"""

from __future__ import annotations

import asyncio
import re
import smtplib
import warnings
from typing import TYPE_CHECKING, Any, Final

import pytest

import sasl
from sasl.adapters import aioimaplib as _aioimaplib
from sasl.adapters import aiosmtplib as _aiosmtplib
from sasl.adapters import asyncio as streams
from sasl.adapters import reference
from sasl.adapters.session import AsyncSession, Session
from sasl.adapters.tokens.http import Request
from sasl.adapters.tokens.oauth import OAuthTokens
from sasl.adapters.tokens.store import MemoryStore
from sasl.adapters.tokens.threaded import Threaded

from ..support.grants import grant_of
from ..support.libraries import load, names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sasl.adapters.reference import Servers

USER: Final = "alice"
KEY: Final = "me"
STEP: Final = 20  # minutes
LIFE: Final = 60  # minutes of a token

PERSONAS: Final = ("gmail", pytest.param("microsoft365", marks=pytest.mark.once))
pytest.importorskip("h11")


class Day:
    """Servers, and a client's grant at their authority; time goes on by steps.

    Attributes:
        persona: how they behave.
        servers: they.
        source: where the client has its tokens from.
        now: minutes since the beginning.
        renewals: how many there have to be.
        revoked: how many tokens were revoked while they were good.
    """

    def __init__(self, persona: str, servers: Servers) -> None:
        self.persona = persona
        self.servers = servers
        store = MemoryStore()
        store.put(grant_of(servers.oauth, KEY, USER))
        self.source = OAuthTokens(store, KEY, request=Request(timeout=self._seconds), clock=servers.clock)
        self.now = 0
        self.renewals, self.revoked = 1, 0
        self._ends = LIFE

    def _seconds(self) -> float:
        """How long the client waits for the authority: not long for what gives no answer."""
        faults = self.servers.oauth.faults
        return 0.3 if faults and faults[0] in ("hang", "drip") else 10.0

    @property
    def settings(self) -> dict[str, Any]:
        """The clocks of a session."""
        clock = self.servers.clock
        return {"clock": clock, "monotonic": clock, "sleep": lambda seconds: clock.advance(seconds=seconds)}

    def go_on(self, minutes: int = STEP) -> None:
        """Let time go by; the client has to renew its token then, or not."""
        self.now += minutes
        self.servers.clock.advance(minutes=minutes)
        if self.now >= self._ends:
            self.renewals += 1
            self._ends = self.now + LIFE

    def revoke(self) -> None:
        """Revoke the token that the client has logged in with."""
        self.servers.oauth.revoke(self.source.token().value.reveal())
        self.revoked += 1
        self._ends = self.now

    def check(self, protocol: str) -> None:
        """Each expiry costs one renewal and one login, each token that was revoked one more login, which is refused."""
        granted = [asked.outcome for asked in self.servers.oauth.requests]
        assert granted == ["granted"] * self.renewals
        outcomes = outcomes_of(self, protocol)
        assert outcomes.count("accepted") == self.renewals
        assert len(outcomes) == self.renewals + self.revoked


def outcomes_of(day: Day, protocol: str) -> list[str]:
    """How the logins of a server have ended."""
    return [each.outcome for session in getattr(day.servers, protocol).sessions for each in session.attempts]


@pytest.fixture(params=PERSONAS)
def day(request: pytest.FixtureRequest) -> Iterator[Day]:
    with reference.running(persona=request.param, oauth=True) as servers:
        yield Day(request.param, servers)


def session_of(day: Day, name: str, protocol: str) -> Session[Any]:
    """A session over a synchronous library."""
    client = load(name)
    if isinstance(client, str):
        pytest.skip(client)
    endpoint, context = getattr(day.servers, protocol), day.servers.client_context()

    def connect() -> Any:
        return client.connect("localhost", endpoint.tls_port, tls=context)

    settings = day.settings
    if protocol == "pop" and day.persona == "microsoft365":
        settings["initial_response"] = False  # of the real host our binding knows that
    return Session(connect, client.authenticate, sasl.Bearer(USER, day.source), **settings)


# --- IMAP


def uids_by_imaplib(conn: Any, first: int) -> list[int]:
    _, [found] = conn.uid("SEARCH", f"UID {first}:*")
    return [int(uid) for uid in found.split()]


def read_by_imaplib(conn: Any, uid: int) -> bytes:
    _, data = conn.uid("FETCH", str(uid), "(BODY.PEEK[])")
    return bytes(data[0][1])


SYNC: Final[dict[str, tuple[Callable[[Any, int], list[int]], Callable[[Any, int], bytes]]]] = {
    "imaplib": (uids_by_imaplib, read_by_imaplib),
    "imapclient": (
        lambda conn, first: conn.search(["UID", f"{first}:*"]),
        lambda conn, uid: conn.fetch([uid], ["BODY.PEEK[]"])[uid][b"BODY[]"],
    ),
    "imap_tools": (
        lambda mailbox, first: [int(uid) for uid in mailbox.uids(f"UID {first}:*")],
        lambda mailbox, uid: next(mailbox.fetch(f"UID {uid}", mark_seen=False)).obj.as_bytes(),
    ),
}


SUBJECTS: Final = [f"Subject: {number}" for number in range(1, 76, 2)]


class Reader:
    """Somebody who wants to see each message once."""

    def __init__(self) -> None:
        self.last = 0
        self.read: list[str] = []

    def fresh(self, uids: list[int]) -> list[int]:
        return [uid for uid in uids if uid > self.last]  # "n:*" has the last one, however large n is

    def see(self, uid: int, message: bytes) -> None:
        self.last = uid
        self.read.append(message.decode().splitlines()[0])


def visits(day: Day, hours: int) -> Iterator[int]:
    """Time goes by, mail comes but at the end, and twice the token is revoked."""
    steps = hours * 60 // STEP
    for number in range(steps):
        day.go_on()
        if number % 2 and number < steps - 2:  # of the last one a client hears after the command that follows it
            day.servers.deliver(USER, f"Subject: {number}\n\n{number}\n")
        yield number
        if number in (steps // 3, steps // 2 + 1):
            day.revoke()


@pytest.mark.parametrize("name", SYNC)
def test_an_imap_sync_goes_on_for_26_hours(day: Day, name: str) -> None:
    search, fetch = SYNC[name]
    reader = Reader()
    with session_of(day, name, "imap") as session:
        session.select("INBOX")
        for _ in visits(day, 26):
            first = reader.last + 1
            for uid in reader.fresh(session.call(lambda conn, first=first: search(conn, first), repeat=True)):
                reader.see(uid, session.call(lambda conn, uid=uid: fetch(conn, uid), repeat=True))
    assert reader.read == SUBJECTS
    day.check("imap")


# --- IMAP, in an event loop


def async_session_of(day: Day, connect: Callable[[], Any], binding: Any, **options: Any) -> AsyncSession[Any]:
    """A session over an asynchronous library."""

    async def pause(seconds: float) -> None:
        day.servers.clock.advance(seconds=seconds)

    given = {**day.settings, "sleep": pause, **options}
    return AsyncSession(connect, binding.authenticate, sasl.Bearer(USER, Threaded(day.source)), **given)


async def sync(day: Day, session: Any, search: Any, fetch: Any) -> list[str]:
    """Read what comes for 26 hours."""
    reader = Reader()
    for _ in visits(day, 26):
        first = reader.last + 1
        for uid in reader.fresh(await session.call(lambda conn, first=first: search(conn, first), repeat=True)):
            reader.see(uid, await session.call(lambda conn, uid=uid: fetch(conn, uid), repeat=True))
    return reader.read


def test_an_imap_sync_of_aioimaplib_goes_on_for_26_hours(day: Day) -> None:
    aioimaplib = pytest.importorskip("aioimaplib")
    opened: list[Any] = []

    async def connect() -> Any:
        imap = aioimaplib.IMAP4_SSL(
            "localhost", day.servers.imap.tls_port, ssl_context=day.servers.client_context(), timeout=6
        )
        opened.append(imap)
        await imap.wait_hello_from_server()
        return imap

    async def search(imap: Any, first: int) -> list[int]:
        said = await imap.uid_search(f"UID {first}:*", charset=None)
        assert said.result == "OK", said
        return [int(uid) for uid in said.lines[0].split()]

    async def fetch(imap: Any, uid: int) -> bytes:
        said = await imap.uid("fetch", str(uid), "(BODY.PEEK[])")
        assert said.result == "OK", said
        return bytes(said.lines[1])

    async def main() -> list[str]:
        async with async_session_of(day, connect, _aioimaplib) as session:
            await session.select("INBOX")
            read = await sync(day, session, search, fetch)
        for imap in opened:
            imap.protocol.transport.abort()  # logout() leaves that to the server
        for _ in range(3):  # a transport closes its socket in the loop's next turns
            await asyncio.sleep(0)
        return read

    assert asyncio.run(main()) == SUBJECTS
    day.check("imap")


async def command(connection: Any, text: str) -> list[bytes]:
    """Send a command of IMAP on streams; return the untagged responses, with their literals."""
    connection.writer.write(b"t %b\r\n" % text.encode())
    responses = []
    while not (line := await line_of(connection)).startswith(b"t "):
        while size := re.search(rb"\{(\d+)\}\r\n\Z", line):
            line += await connection.reader.readexactly(int(size[1])) + await line_of(connection)
        responses.append(line)
    assert line.startswith(b"t OK"), line
    return responses


async def line_of(connection: Any) -> bytes:
    line = await connection.reader.readline()
    if not line or line.startswith((b"* BYE", b"421 ")):
        raise ConnectionResetError
    return bytes(line)


def test_an_imap_sync_on_streams_goes_on_for_26_hours(day: Day) -> None:
    async def connect() -> Any:
        context = day.servers.client_context()
        return await streams.open_connection("imap", "localhost", day.servers.imap.tls_port, tls=context)

    async def select(connection: Any) -> None:
        await command(connection, "SELECT INBOX")

    async def search(connection: Any, first: int) -> list[int]:
        responses = await command(connection, f"UID SEARCH UID {first}:*")
        found = next(line for line in responses if line.startswith(b"* SEARCH"))
        return [int(uid) for uid in found.split()[2:]]

    async def fetch(connection: Any, uid: int) -> bytes:
        responses = await command(connection, f"UID FETCH {uid} (BODY.PEEK[])")
        return next(line for line in responses if b" FETCH " in line).partition(b"}\r\n")[2]

    async def main() -> list[str]:
        async with async_session_of(day, connect, streams, restore=select) as session:
            await session.call(select, repeat=True)
            return await sync(day, session, search, fetch)

    assert asyncio.run(main()) == SUBJECTS
    day.check("imap")


# --- POP3


def test_a_pop_account_is_read_for_8_days(day: Day) -> None:
    """Each visit needs a token of its own; in some of them it is revoked in the middle."""
    read: list[bytes] = []

    def retrieve(conn: Any, wanted: bytes) -> bytes:
        _, listed, _ = conn.uidl()
        number = next(int(line.split()[0]) for line in listed if line.split()[1] == wanted)
        _, lines, _ = conn.retr(number)
        conn.dele(number)
        return bytes(lines[0])

    session = session_of(day, "poplib", "pop")
    session.call(lambda conn: conn.noop())
    session.leave()
    for visit in range(8 * 4):
        day.go_on(6 * 60)
        day.servers.deliver(USER, f"Subject: {visit}\n\n.\n")
        _, listed, _ = session.call(lambda conn: conn.uidl(), repeat=True)
        if visit % 10 == 9:
            day.revoke()
            day.go_on(0)
        for line in listed:
            wanted = line.split()[1]
            read.append(session.call(lambda conn, wanted=wanted: retrieve(conn, wanted), repeat=True))
        session.leave()
    session.close()
    assert read == [b"Subject: %d" % visit for visit in range(32)]
    assert list(day.servers.mailbox(USER).messages) == []
    day.check("pop")


def test_a_pop_account_is_read_on_streams_for_8_days(day: Day) -> None:
    read: list[bytes] = []

    async def connect() -> Any:
        context = day.servers.client_context()
        return await streams.open_connection("pop", "localhost", day.servers.pop.tls_port, tls=context)

    async def ask(connection: Any, text: str, *, lines: bool = False) -> list[bytes]:
        connection.writer.write(b"%b\r\n" % text.encode())
        said = [await line_of(connection)]
        if not said[0].startswith(b"+OK"):
            raise ConnectionResetError  # a session that ends says so in the answer to a command
        while lines and said[-1] != b".\r\n":
            said.append(await line_of(connection))
        return said[1:-1]

    async def listing(connection: Any) -> list[bytes]:
        return [line.split()[1] for line in await ask(connection, "UIDL", lines=True)]

    async def retrieve(connection: Any, wanted: bytes) -> bytes:
        number = 1 + (await listing(connection)).index(wanted)
        message = await ask(connection, f"RETR {number}", lines=True)
        await ask(connection, f"DELE {number}")
        return message[0].rstrip()

    async def visit(session: Any, number: int) -> None:
        day.go_on(6 * 60)
        day.servers.deliver(USER, f"Subject: {number}\n\n.\n")
        listed = await session.call(listing, repeat=True)
        if number % 10 == 9:
            day.revoke()
            day.go_on(0)
        for wanted in listed:
            read.append(await session.call(lambda connection, wanted=wanted: retrieve(connection, wanted), repeat=True))
        await session.leave()

    async def main() -> None:
        # of the real host our binding knows that Microsoft's takes none
        options = {"initial_response": False} if day.persona == "microsoft365" else {}
        async with async_session_of(day, connect, streams, **options) as session:
            await session.call(listing)
            await session.leave()
            for number in range(8 * 4):
                await visit(session, number)

    asyncio.run(main())
    assert read == [b"Subject: %d" % number for number in range(32)]
    assert list(day.servers.mailbox(USER).messages) == []
    day.check("pop")


@pytest.mark.parametrize(("name", "protocol", "hours"), [("imaplib", "imap", 26), ("poplib", "pop", 8 * 24)])
def test_a_session_by_password_at_gmail_is_renewed_once_in_its_time(name: str, protocol: str, hours: int) -> None:
    with reference.running(persona="gmail", settings=reference.Settings(idle=10 * 86_400)) as servers:
        client = load(name)
        assert not isinstance(client, str)
        port, context = getattr(servers, protocol).tls_port, servers.client_context()
        factory = lambda: client.connect("localhost", port, tls=context)  # noqa: E731 -- as in the manual
        clocks = {"clock": servers.clock, "monotonic": servers.clock}
        with Session(factory, client.authenticate, sasl.Password(USER, "wonderland"), **clocks) as session:
            for _ in range(hours + 1):
                session.call(lambda conn: conn.noop(), repeat=True)
                servers.clock.advance(hours=1)
        attempts = [each.outcome for seen in getattr(servers, protocol).sessions for each in seen.attempts]
        assert attempts == ["accepted", "accepted"]


# --- SMTP

SENT: Final = [f"Subject: {number}" for number in range(72)]


def subjects_of(day: Day) -> list[str]:
    return [sent.raw.decode().splitlines()[0] for sent in day.servers.smtp.messages]


def test_an_smtp_sender_goes_on_for_a_day_with_tokens_of_an_hour(day: Day) -> None:
    with session_of(day, "smtplib", "smtp") as session:
        session.call(smtplib.SMTP.noop)
        for number in visits(day, 24):
            assert session.send(USER, ["bob@example.org"], f"Subject: {number}\n\n.x\n") == {}
    assert subjects_of(day) == SENT
    day.check("smtp")


def test_an_smtp_sender_of_aiosmtplib_goes_on_for_a_day(day: Day) -> None:
    aiosmtplib = pytest.importorskip("aiosmtplib")

    async def connect() -> Any:
        client = aiosmtplib.SMTP(
            hostname="localhost",
            port=day.servers.smtp.tls_port,
            use_tls=True,
            tls_context=day.servers.client_context(),
            timeout=6,
            local_hostname="me.example",
        )
        await client.connect()
        return client

    async def main() -> None:
        async with async_session_of(day, connect, _aiosmtplib) as session:
            await session.call(lambda client: client.noop())
            for number in visits(day, 24):
                assert await session.send(USER, ["bob@example.org"], f"Subject: {number}\n\n.x\n") == {}

    asyncio.run(main())
    assert subjects_of(day) == SENT
    day.check("smtp")


def test_an_smtp_sender_on_streams_goes_on_for_a_day(day: Day) -> None:
    async def connect() -> Any:
        context = day.servers.client_context()
        return await streams.open_connection("smtp", "localhost", day.servers.smtp.tls_port, tls=context)

    async def ask(connection: Any, text: str, code: bytes) -> None:
        connection.writer.write(b"%b\r\n" % text.encode())
        said = await line_of(connection)
        assert said.startswith(code), said

    class Delivery:
        """A message on its way; until its end is sent, it may be sent once more."""

        def __init__(self, number: int) -> None:
            self.number = number
            self.is_out = False

        async def send(self, connection: Any) -> None:
            await ask(connection, f"MAIL FROM:<{USER}>", b"250")
            await ask(connection, "RCPT TO:<bob@example.org>", b"250")
            await ask(connection, "DATA", b"354")
            self.is_out = True
            await ask(connection, f"Subject: {self.number}\r\n\r\n..x\r\n.", b"250")

    async def main() -> None:
        async with async_session_of(day, connect, streams) as session:
            await session.call(lambda connection: ask(connection, "NOOP", b"250"))
            for number in visits(day, 24):
                delivery = Delivery(number)
                await session.call(delivery.send, repeat=lambda delivery=delivery: not delivery.is_out)

    asyncio.run(main())
    assert subjects_of(day) == SENT
    day.check("smtp")


def test_a_site_of_django_sends_for_a_day(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its backend logs in for each message: more often than there are tokens."""
    django = pytest.importorskip("django")
    from django.conf import settings
    from django.core.mail import EmailMessage

    from sasl.adapters.django import EmailBackend

    if not settings.configured:
        settings.configure(SECRET_KEY="of-this-test")
        django.setup()
    monkeypatch.setenv("SSL_CERT_FILE", str(day.servers.ca_file))
    credentials = sasl.Bearer(USER, day.source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from 6.1 on, whoever names no mailer is told to
        backend = EmailBackend("localhost", day.servers.smtp.tls_port, USER, credentials, use_ssl=True, timeout=6)
        day.source.token()
        for number in visits(day, 24):
            message = EmailMessage(str(number), "x", "alice@example.org", ["bob@example.org"])
            assert backend.send_messages([message]) == 1
    assert [str(sent.email["Subject"]) for sent in day.servers.smtp.messages] == [str(n) for n in range(72)]
    assert [asked.outcome for asked in day.servers.oauth.requests] == ["granted"] * day.renewals
    outcomes = outcomes_of(day, "smtp")
    assert (outcomes.count("accepted"), len(outcomes)) == (72, 72 + day.revoked)


# --- when the authority is not well


@pytest.mark.parametrize("day", ["gmail"], indirect=True)
@pytest.mark.parametrize("fault", ["hang", "drip", "503"])
@pytest.mark.parametrize(("name", "protocol"), [("imaplib", "imap"), ("smtplib", "smtp")])
def test_a_session_goes_on_when_the_authority_hangs_while_it_connects_again(
    day: Day, name: str, protocol: str, fault: Any
) -> None:
    def work() -> None:
        if protocol == "imap":
            assert session.call(lambda conn: conn.noop(), repeat=True)[0] == "OK"
        else:
            assert session.send(USER, ["bob@example.org"], "Subject: x\n\nx\n") == {}

    with session_of(day, name, protocol) as session:
        work()
        day.servers.oauth.faults.append(fault)
        day.go_on(LIFE)
        work()
    assert [each.outcome for each in day.servers.oauth.requests] == ["granted", fault, "granted"]
    assert outcomes_of(day, protocol) == ["accepted", "accepted"]
    assert len(day.servers.smtp.messages) == (0 if protocol == "imap" else 2)


# --- which libraries there are

LIVED: Final = {
    *SYNC,
    "aioimaplib",
    "asyncio_imap",
    "poplib",
    "asyncio_pop",
    "smtplib",
    "aiosmtplib",
    "asyncio_smtp",
}


def test_no_library_is_left_out_but_the_one_for_what_these_providers_do_not_have() -> None:
    assert {*names()} == {*LIVED, "sievelib"}
