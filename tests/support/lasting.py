"""Servers, and an authority, that live by a clock of the tests: days pass without anybody waiting.

A `World` is the time, the tokens, and the servers' mail. A `Server` speaks as much of IMAP, POP3 and SMTP on loopback
as the tests of sessions need, in the clear; it takes one connection after another, each in a thread. It ends sessions
as the big providers do: some time after the token has ended, after a day or a week, or when it is told to.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import imaplib
import re
import smtplib
import socket
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import sasl
import sasl.adapters.imaplib
import sasl.adapters.poplib
import sasl.adapters.smtplib
from sasl.adapters.session import AsyncSession, Session
from sasl.adapters.tokens.kept import Kept

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sasl.adapters.tokens.kept import Need

START: Final = 1_800_000_000.0
HOUR: Final = 3_600.0
DAY: Final = 24 * HOUR
LOOPBACK: Final = sasl.Policy(plaintext="loopback")

GREETINGS: Final = {
    "imap": b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2 ENABLE UNSELECT] ready\r\n",
    "pop": b"+OK ready\r\n",
    "smtp": b"220 ready\r\n",
}
GOODBYES: Final = {
    "imap": b"* BYE Session expired, please login again.\r\n",
    "pop": b"-ERR [SYS/TEMP] Session expired\r\n",
    "smtp": b"421 4.7.0 Session expired\r\n",
}


class World:
    """What all parties of a test share.

    Attributes:
        now: seconds since 1970; the same for every clock.
        ends: by token when it ends.
        renewals: when each token was given.
        down: whether the authority gives no token.
        tells: whether the authority says when a token ends.
        slept: how long somebody has waited, each time.
        mail: by name a mailbox: its UIDVALIDITY and its messages by UID.
        delivered: the messages that SMTP servers have taken.
    """

    def __init__(self, life: float = HOUR) -> None:
        self.now = START
        self.life = life
        self.ends: dict[str, float] = {}
        self.renewals: list[float] = []
        self.down = False
        self.tells = True
        self.slept: list[float] = []
        self.mail: dict[str, Mailbox] = {"INBOX": Mailbox(7)}
        self.delivered: list[bytes] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)

    def source(self) -> Kept:
        """A source that keeps a token as all sources do, and renews it at the authority."""
        return Kept(self._renew, clock=self.clock)

    def _renew(self, _need: Need) -> sasl.AccessToken:
        if self.down:
            raise sasl.TokenError("the authority is down", code="temporarily_unavailable", retryable=True)
        self.renewals.append(self.now)
        token = f"token-{len(self.renewals)}"
        self.ends[token] = self.now + self.life
        return sasl.AccessToken(token, datetime.fromtimestamp(self.ends[token], UTC) if self.tells else None)

    def settings(self) -> dict[str, Any]:
        """The clocks of a synchronous session."""
        return {"clock": self.clock, "monotonic": self.clock, "sleep": self.sleep, "random": lambda: 1.0}

    def settings_async(self) -> dict[str, Any]:
        """The clocks of an asynchronous session."""
        return self.settings() | {"sleep": self.sleep_async}


@dataclass
class Mailbox:
    uidvalidity: int
    messages: dict[int, bytes] = field(default_factory=lambda: {1: b"one", 2: b"two"})
    readonly: bool = False


@dataclass
class Seen:
    """What happened on a connection.

    Attributes:
        lines: what the client said, without CRLF and without IMAP's tags.
        login: "accepted", "refused" or "".
        sent: octets that were said.
        ended: how: "bye", "silent", "cut", "quit", or by the client: "".
    """

    lines: list[str] = field(default_factory=list)
    login: str = ""
    sent: int = 0
    ended: str = ""


class _End(Exception):
    """The connection is over."""


class Server:
    """A server for one protocol.

    Attributes:
        port: where.
        seen: its connections.
        grace: seconds for which a session goes on after its token has ended; None: for ever.
        limit: seconds that a session lasts at most.
        goodbye: whether it says so when it ends a session.
        cut: by the number of a connection, the first of which is 0, after how many octets it closes it.
        plan: called with a connection's number and each line of the client's; returns "bye", "silent" or what to say.
        extensions: what ENABLE enables.
    """

    def __init__(self, protocol: str, world: World) -> None:
        self.protocol = protocol
        self.world = world
        self.seen: list[Seen] = []
        self.grace: float | None = 0.0
        self.limit = DAY
        self.goodbye = True
        self.cut: Callable[[int], int | None] = lambda _number: None
        self.plan: Callable[[int, str], Any] = lambda _number, _line: None
        self.extensions = {"CONDSTORE"}
        self.failures: list[BaseException] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.end_all()
        for thread in [self._thread, *self._threads]:
            thread.join(5)
            assert not thread.is_alive()
        assert self.failures == []

    def end_all(self) -> None:
        """End all connections without a word, and wait until they are ended for the client."""
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    @property
    def refused(self) -> int:
        return sum(each.login == "refused" for each in self.seen)

    @property
    def accepted(self) -> int:
        return sum(each.login == "accepted" for each in self.seen)

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open.add(sock)
            seen = Seen()
            self.seen.append(seen)
            thread = threading.Thread(target=self._serve, args=[sock, seen, len(self.seen) - 1], daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, seen: Seen, number: int) -> None:
        try:
            with sock:
                _SPEECHES[self.protocol](self, sock, seen, number).run()
        except (OSError, _End):
            pass
        except BaseException as error:
            self.failures.append(error)
        finally:
            self._open.discard(sock)


class _Speech:
    """One connection."""

    def __init__(self, server: Server, sock: socket.socket, seen: Seen, number: int) -> None:
        self.server, self.world, self.seen, self.number = server, server.world, seen, number
        self.token: str | None = None
        self.began = self.world.now
        self._sock = sock
        self._file = sock.makefile("rb")
        self._cut = server.cut(number)

    def run(self) -> None:
        with self._file:
            self.say(GREETINGS[self.server.protocol])
            while True:
                line = self.hear()
                self.check()
                said = self.server.plan(self.number, line)
                if said in ("bye", "silent"):
                    self.end(said)
                if said is not None:
                    self.say(said if isinstance(said, bytes) else said.encode())
                    continue
                self.obey(line)

    def obey(self, line: str) -> None:
        raise NotImplementedError

    def hear(self) -> str:
        octets = self._file.readline()
        if not octets.endswith(b"\r\n"):
            raise _End
        line = octets[:-2].decode()
        self.seen.lines.append(line.partition(" ")[2] if self.server.protocol == "imap" else line)
        return line

    def say(self, octets: bytes) -> None:
        left = None if self._cut is None else self._cut - self.seen.sent
        self.seen.sent += len(octets)
        if left is not None and left <= len(octets):
            self._sock.sendall(octets[:left])
            self.seen.ended = "cut"
            raise _End
        self._sock.sendall(octets)

    def end(self, how: str) -> None:
        if how == "bye":
            self.say(GOODBYES[self.server.protocol])
        self.seen.ended = how
        raise _End

    def check(self) -> None:
        """End a session whose time is over."""
        if self.token is None:
            return
        server, now = self.server, self.world.now
        over = server.grace is not None and now >= self.world.ends[self.token] + server.grace
        if over or now >= self.began + server.limit:
            self.end("bye" if server.goodbye else "silent")

    def log_in(self, message: str) -> bool:
        token = base64.b64decode(message).decode().partition("auth=Bearer ")[2].rstrip("\x01")
        good = self.world.now < self.world.ends.get(token, 0)
        self.seen.login = "accepted" if good else "refused"
        self.token, self.began = (token, self.world.now) if good else (None, self.began)
        return good


class _IMAP(_Speech):
    mailbox: Mailbox | None = None

    def obey(self, line: str) -> None:
        tag, _, rest = line.partition(" ")
        command, *words = rest.split(" ")
        method = getattr(self, f"do_{command.lower()}", None)
        said = b"BAD what?" if method is None else method(tag.encode(), words)
        if said is not None:
            self.say(tag.encode() + b" " + said + b"\r\n")
        if command == "LOGOUT":
            self.end("quit")

    def do_capability(self, _tag: bytes, _words: list[str]) -> bytes:
        self.say(b"* CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2 ENABLE UNSELECT\r\n")
        return b"OK done"

    def do_authenticate(self, _tag: bytes, words: list[str]) -> bytes:
        if self.log_in(words[1]):
            return b"OK [CAPABILITY IMAP4rev1 ENABLE UNSELECT] done"
        self.say(b"+ eyJzdGF0dXMiOiI0MDAifQ==\r\n")
        self._file.readline()
        return b"NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)"

    def do_enable(self, _tag: bytes, words: list[str]) -> bytes:
        names = [word for word in words if word in self.server.extensions]
        self.say(f"* ENABLED {' '.join(names)}\r\n".encode())
        return b"OK done"

    def do_select(self, _tag: bytes, words: list[str], *, readonly: bool = False) -> bytes:
        self.mailbox = self.world.mail.get(words[0].strip('"'))
        if self.mailbox is None:
            return b"NO [NONEXISTENT] no such mailbox"
        self.say(f"* {len(self.mailbox.messages)} EXISTS\r\n".encode())
        if self.mailbox.uidvalidity:
            self.say(f"* OK [UIDVALIDITY {self.mailbox.uidvalidity}] UIDs valid\r\n".encode())
        return b"OK [READ-ONLY] done" if readonly or self.mailbox.readonly else b"OK [READ-WRITE] done"

    def do_examine(self, tag: bytes, words: list[str]) -> bytes:
        return self.do_select(tag, words, readonly=True)

    def do_close(self, _tag: bytes, _words: list[str]) -> bytes:
        self.mailbox = None
        return b"OK done"

    do_unselect = do_close

    def do_noop(self, _tag: bytes, _words: list[str]) -> bytes:
        return b"OK done"

    def do_uid(self, _tag: bytes, words: list[str]) -> bytes:
        if self.mailbox is None:
            return b"BAD nothing is selected"
        if words[0] == "SEARCH":
            self.say(f"* SEARCH {' '.join(map(str, self.mailbox.messages))}\r\n".encode())
        return b"OK done"

    def do_logout(self, _tag: bytes, _words: list[str]) -> bytes:
        self.say(b"* BYE see you\r\n")
        return b"OK done"


class _POP(_Speech):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.marked: set[int] = set()

    def obey(self, line: str) -> None:
        command, *words = line.split(" ")
        messages = self.world.mail["INBOX"].messages
        match command.upper():
            case "CAPA":
                self.say(b"+OK\r\nSASL XOAUTH2\r\nRESP-CODES\r\nUIDL\r\n.\r\n")
            case "AUTH":
                self._auth(words)
            case "UIDL":
                listed = [f"{at} {uid}\r\n" for at, uid in enumerate(messages, 1)]
                self.say(f"+OK\r\n{''.join(listed)}.\r\n".encode())
            case "RETR":
                self.say(b"+OK\r\n" + [*messages.values()][int(words[0]) - 1] + b"\r\n.\r\n")
            case "DELE":
                self.marked.add([*messages][int(words[0]) - 1])
                self.say(b"+OK marked\r\n")
            case "QUIT":
                for uid in self.marked:
                    del messages[uid]
                self.say(b"+OK bye\r\n")
                self.end("quit")
            case _:
                self.say(b"+OK\r\n")

    def _auth(self, words: list[str]) -> None:
        if len(words) == 1:
            self.say(b"+ \r\n")
            words.append(self._file.readline().decode().strip())
        if self.log_in(words[1]):
            self.say(b"+OK welcome\r\n")
            return
        self.say(b"+ eyJzdGF0dXMiOiI0MDAifQ==\r\n")
        self._file.readline()
        self.say(b"-ERR [AUTH] Invalid credentials\r\n")


class _SMTP(_Speech):
    def obey(self, line: str) -> None:
        command = re.split(r"[ :]", line)[0].upper()
        match command:
            case "EHLO":
                self.say(b"250-here\r\n250-SIZE 1000000\r\n250 AUTH XOAUTH2\r\n")
            case "AUTH":
                self._auth(line.split(" ")[2])
            case "MAIL" if self.token is None:
                self.say(b"530 5.7.0 Authentication required\r\n")
            case "DATA":
                self._data()
            case "QUIT":
                self.say(b"221 bye\r\n")
                self.end("quit")
            case _:
                self.say(b"250 2.0.0 OK\r\n")

    def _auth(self, message: str) -> None:
        if self.log_in(message):
            self.say(b"235 2.7.0 Accepted\r\n")
            return
        self.say(b"334 eyJzdGF0dXMiOiI0MDAifQ==\r\n")
        self._file.readline()
        self.say(b"535 5.7.8 Username and Password not accepted\r\n")

    def _data(self) -> None:
        self.say(b"354 go ahead\r\n")
        message = b""
        while (line := self._file.readline()) != b".\r\n":
            if not line:
                raise _End
            message += line.removeprefix(b".")
        if self.server.plan(self.number, ".") == "before":
            self.end("silent")
        self.world.delivered.append(message)
        if self.server.plan(self.number, ".") == "after":
            self.end("silent")
        self.say(b"250 2.0.0 OK\r\n")


_SPEECHES: Final[dict[str, Callable[..., _Speech]]] = {"imap": _IMAP, "pop": _POP, "smtp": _SMTP}


@contextlib.contextmanager
def serving(protocol: str, world: World) -> Iterator[Server]:
    server = Server(protocol, world)
    try:
        yield server
    finally:
        server.stop()


# --- sessions with them

HOST: Final = "127.0.0.1"


def session_of(world: World, server: Server, **options: Any) -> Session[Any]:
    """A session over the standard library's module for the server's protocol; the options are `Session`'s."""
    kind, binding = _STANDARD[server.protocol]
    own = {"local_hostname": "me.example"} if server.protocol == "smtp" else {}
    given: dict[str, Any] = {
        "factory": lambda: kind(HOST, server.port, timeout=5, **own),
        "authenticate": binding.authenticate,
        "credentials": sasl.Bearer("me@example.org", world.source()),
        "policy": LOOPBACK,
    }
    return Session(**given | world.settings() | options)


_STANDARD: Final[dict[str, tuple[Any, Any]]] = {
    "imap": (imaplib.IMAP4, sasl.adapters.imaplib),
    "pop": (sasl.adapters.poplib.POP3, sasl.adapters.poplib),
    "smtp": (smtplib.SMTP, sasl.adapters.smtplib),
}


async def aioimaplib_at(port: int) -> Any:
    """Connect, and wait for the greeting or the end: aioimaplib would wait for its time-out."""
    import aioimaplib

    over = asyncio.Event()
    imap = aioimaplib.IMAP4(HOST, port, timeout=5, conn_lost_cb=lambda _error: over.set())
    waits = [asyncio.ensure_future(each) for each in (imap.wait_hello_from_server(), over.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if over.is_set():
            raise ConnectionResetError
        await waits[0]
    except BaseException:
        imap._client_task.cancel()
        for asked in imap.protocol.pending_async_commands.values():
            asked.close(b"IMAP4rev1", "OK")  # it holds the lock that a cancelled task waits for, for ten seconds
        if imap.protocol.transport is not None:
            imap.protocol.transport.abort()
        raise
    finally:
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    return imap


async def aiosmtplib_at(port: int) -> Any:
    import aiosmtplib

    client = aiosmtplib.SMTP(
        hostname=HOST, port=port, start_tls=False, use_tls=False, timeout=5, local_hostname="me.example"
    )
    await client.connect()
    return client


def async_session_of(world: World, server: Server, connect: Any, binding: Any, **options: Any) -> AsyncSession[Any]:
    """A session over an asynchronous library, whose connections `connect` returns for a port."""
    given: dict[str, Any] = {
        "factory": lambda: connect(server.port),
        "authenticate": binding.authenticate,
        "credentials": sasl.Bearer("me@example.org", world.source()),
        "policy": LOOPBACK,
    }
    return AsyncSession(**given | world.settings_async() | options)
