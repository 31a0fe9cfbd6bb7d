"""What is aioimaplib's own: whose protocol reads, its state and capabilities, its commands of other tasks, its log."""

from __future__ import annotations

import asyncio
import base64
import logging
import pickle
import socket
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import aioimaplib
import pytest

import sasl
import sasl.adapters.aioimaplib
from sasl import Bearer, Password
from sasl.adapters.aioimaplib import ERRORS, authenticate, is_session_lost
from sasl.adapters.binding import READ, is_gone
from sasl.adapters.binding.transport import borrow
from sasl.adapters.reference import Settings, running

from ..support.leaks import seen, shown
from ..support.loops import Cancelled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from sasl.adapters.reference import Servers

PASSWORD: Final = Password("alice", "wonderland")
PLAIN: Final = b"{tag} AUTHENTICATE PLAIN " + base64.b64encode(b"\0alice\0wonderland")
MANY: Final = 100
LOOPBACK: Final = sasl.Policy(plaintext="loopback")
YES: Final = b"{tag} OK Logged in\r\n"
GREETING: Final = b"* OK ready\r\n"
CAPABILITY: Final = b"{tag} CAPABILITY"


@pytest.fixture
def play(run: Any, imap: Any, stage: Any) -> Callable[..., Any]:
    """play(turns, call) -> what call(connection) returns, and the server that it is connected to, over TLS."""

    def play(
        turns: list[Any],
        call: Callable[[aioimaplib.IMAP4], Awaitable[Any]],
        *,
        tls: bool = True,
        greeted: bool = True,
        **options: Any,
    ) -> tuple[Any, Any]:
        server = stage.serve(imap, turns, tls=tls)

        async def main() -> Any:
            if tls:
                conn = aioimaplib.IMAP4_SSL("127.0.0.1", server.port, ssl_context=stage.client_context, **options)
            else:
                conn = aioimaplib.IMAP4("127.0.0.1", server.port, **options)
            try:
                if greeted:
                    await conn.wait_hello_from_server()
                return await call(conn)
            finally:
                if conn.protocol.transport is not None:
                    conn.protocol.transport.abort()

        return run(main), server

    return play


def login(conn: aioimaplib.IMAP4, **options: Any) -> Awaitable[Any]:
    return authenticate(conn, PASSWORD, **options)


async def failing(kind: type[sasl.SASLError], call: Awaitable[Any]) -> Any:
    with pytest.raises(ERRORS[kind]) as caught:
        await call
    assert type(caught.value) is ERRORS[kind]
    assert caught.value.__context__ is None
    return caught.value


def is_closed(conn: aioimaplib.IMAP4) -> bool:
    return bool(conn.protocol.transport.is_closing())


# --- what is returned, and what a login leaves


def test_a_login_returns_what_the_librarys_own_does(imap: Any, play: Any) -> None:
    async def call(conn: aioimaplib.IMAP4) -> Any:
        own = conn.protocol
        response = await login(conn)
        assert conn.protocol.transport.get_protocol() is own
        assert conn.get_state() == "AUTH"
        assert conn.protocol.capabilities == {"IMAP4rev1", "AFTER"}
        assert conn.has_capability("AFTER")
        await conn.noop()
        return response

    response, _ = play([*imap.offer("PLAIN"), (PLAIN, imap.yes), imap.noop], call)
    assert response == aioimaplib.Response("OK", [b"[CAPABILITY IMAP4rev1 AFTER] Logged in"])
    assert isinstance(response, aioimaplib.Response)


def test_a_yes_without_a_text(imap: Any, play: Any) -> None:
    said = b"* CAPABILITY IMAP4rev1\r\n{tag} OK\r\n"
    response, _ = play([*imap.offer("PLAIN"), (PLAIN, said)], login)
    assert response == aioimaplib.Response("OK", [b""])


@pytest.mark.parametrize(
    ("said", "capabilities"),
    [
        (b"* capability IMAP4rev1 NEW\r\n{tag} OK done\r\n", {"IMAP4rev1", "NEW"}),
        (b"* 3 EXISTS\r\n* CAPABILITY IMAP4rev1\r\n{tag} OK done\r\n", {"IMAP4rev1"}),
        (b"{tag} BAD what?\r\n", set()),
    ],
)
def test_capabilities_that_were_not_told_are_asked_for(
    imap: Any, play: Any, said: bytes, capabilities: set[str]
) -> None:
    async def call(conn: aioimaplib.IMAP4) -> None:
        await login(conn)
        assert conn.protocol.capabilities == capabilities
        await conn.noop()

    play([*imap.offer("PLAIN"), (PLAIN, YES), (CAPABILITY, said), imap.noop], call)


@pytest.mark.parametrize("said", [b"", b"* BYE now\r\n", b"* CAPABILITY IMAP4rev1\r\n{tag} O"], ids=repr)
def test_a_connection_that_ends_right_after_the_login_is_lost(imap: Any, play: Any, said: bytes) -> None:
    async def call(conn: aioimaplib.IMAP4) -> None:
        await failing(sasl.ConnectionLost, login(conn))
        assert conn.get_state() == "STARTED"

    play([*imap.offer("PLAIN"), (PLAIN, YES), (CAPABILITY, [said, "close"])], call)


@pytest.mark.parametrize("said", [b"what?\r\n", b"* CAPABILITY A\0B\r\n", b"* 1 EXISTS\r\n" * 10_000], ids=len)
def test_what_is_no_answer_right_after_the_login_closes(imap: Any, play: Any, said: bytes) -> None:
    async def call(conn: aioimaplib.IMAP4) -> None:
        with pytest.raises(ERRORS[sasl.ProtocolError]):
            await login(conn)
        assert is_closed(conn)
        assert conn.get_state() == "STARTED"

    play([*imap.offer("PLAIN"), (PLAIN, YES), (CAPABILITY, said)], call)


def test_who_waits_for_the_state_is_woken(imap: Any, play: Any) -> None:
    async def call(conn: aioimaplib.IMAP4) -> None:
        waiting = asyncio.create_task(conn.protocol.wait("AUTH"))
        await asyncio.sleep(0)
        await login(conn)
        await asyncio.wait_for(waiting, 5)

    play([*imap.offer("PLAIN"), (PLAIN, imap.yes)], call)


@pytest.mark.parametrize(
    ("password", "turns"),
    [
        ("pass\\word", [(b'{tag} LOGIN alice "pass\\\\word"', YES)]),
        ("p\xe4ss", [(b"{tag} LOGIN alice {5}", b"+ go\r\n"), ("p\xe4ss".encode(), YES)]),
    ],
    ids=["quoted", "literal"],
)
def test_the_login_command_stands_in_for_a_mechanism(imap: Any, play: Any, password: str, turns: list[Any]) -> None:
    said = (CAPABILITY, b"* CAPABILITY IMAP4rev1\r\n{tag} OK done\r\n")
    play([*imap.offer(), *turns, said], lambda conn: authenticate(conn, Password("alice", password)))


def test_commands_of_other_tasks_wait_for_the_end_of_a_login(imap: Any, play: Any) -> None:
    async def call(conn: aioimaplib.IMAP4) -> None:
        logging_in = asyncio.create_task(login(conn))  # type: ignore[arg-type]
        while conn.protocol.pending_sync_command is None:
            await asyncio.sleep(0)
        nothing = asyncio.create_task(conn.noop())
        await logging_in
        assert (await nothing).result == "OK"

    play([*imap.offer("LOGIN"), *_asked(imap), (None, imap.yes), imap.noop], call)


@pytest.mark.parametrize("cancelled", [True, False], ids=["cancelled", "lost"])
def test_commands_of_other_tasks_hear_at_once_of_a_connection_that_a_login_has_ended(
    imap: Any, play: Any, *, cancelled: bool
) -> None:
    async def call(conn: aioimaplib.IMAP4) -> None:
        logging_in = asyncio.create_task(login(conn))  # type: ignore[arg-type]
        while conn.protocol.pending_sync_command is None:
            await asyncio.sleep(0)
        nothing = asyncio.create_task(conn.noop())
        await asyncio.sleep(0.05)
        if cancelled:
            logging_in.cancel()
        async with asyncio.timeout(5):
            with pytest.raises(aioimaplib.Abort) as caught:
                await nothing
        assert is_session_lost(caught.value)
        await asyncio.gather(logging_in, return_exceptions=True)

    play([*imap.offer("LOGIN"), _asked(imap)[0], (None, "hang" if cancelled else "close")], call, timeout=30)


def test_commands_of_other_tasks_wait_while_another_mechanism_follows(imap: Any, play: Any) -> None:
    async def call(conn: aioimaplib.IMAP4) -> None:
        logging_in = asyncio.create_task(login(conn))  # type: ignore[arg-type]
        while conn.protocol.pending_sync_command is None:
            await asyncio.sleep(0)
        nothing = asyncio.create_task(conn.noop())
        await logging_in
        assert (await nothing).result == "OK"

    refused = (b"{tag} AUTHENTICATE SCRAM-SHA-256", b"{tag} NO [CANNOT] no such mechanism\r\n")
    second = [(b"{tag} AUTHENTICATE PLAIN", imap.challenge(b"")), (None, imap.yes)]
    play([*imap.offer("SCRAM-SHA-256", "PLAIN", extra=()), refused, *second, imap.noop], call)


def test_a_login_does_not_wait_for_a_command_that_waits_for_it(imap: Any, play: Any) -> None:
    async def call(conn: aioimaplib.IMAP4) -> None:
        logging_in = asyncio.create_task(login(conn))  # type: ignore[arg-type]
        while conn.protocol.pending_sync_command is None:
            await asyncio.sleep(0)
        leaving = asyncio.create_task(conn.logout())  # holds the lock of the state until it is answered
        async with asyncio.timeout(5):
            await logging_in
            assert (await leaving).result == "OK"

    turns = [*imap.offer("LOGIN"), *_asked(imap), (None, imap.yes), (b"{tag} LOGOUT", b"{tag} OK bye\r\n")]
    play(turns, call, timeout=30)


def _asked(imap: Any) -> list[Any]:
    return [(b"{tag} AUTHENTICATE LOGIN", imap.challenge(b"User Name")), (None, imap.challenge(b"Password"))]


# --- errors


def test_a_refusal_is_an_error_and_the_connection_can_still_be_used(imap: Any, play: Any) -> None:
    async def call(conn: aioimaplib.IMAP4) -> None:
        error = await failing(sasl.AuthenticationFailed, login(conn))
        assert isinstance(error, aioimaplib.Error)
        assert not isinstance(error, aioimaplib.Abort)
        assert (error.response_code, error.args) == ("AUTHENTICATIONFAILED", (str(error),))
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), vars(again), str(again)) == (type(error), vars(error), str(error))
        assert conn.get_state() == "NONAUTH"
        assert not is_session_lost(error)
        await conn.noop()
        assert (await conn.login("alice", "wonderland")).result == "OK"

    turns = [(PLAIN, imap.no), imap.noop, (b'{tag} LOGIN alice "wonderland"', imap.yes)]
    play([*imap.offer("PLAIN"), *turns], call)


@pytest.mark.parametrize(
    "said",
    [b"", b"+ ", b"{tag} OK Logg", b"* BYE Session expired\r\n"],
    ids=["nothing", "half a challenge", "half a yes", "BYE"],
)
@pytest.mark.parametrize("tls", [True, False], ids=["TLS", "clear"])
def test_a_lost_connection_is_told_at_once_to_all(imap: Any, play: Any, said: bytes, *, tls: bool) -> None:
    told: list[Any] = []

    async def call(conn: aioimaplib.IMAP4) -> None:
        conn.protocol.conn_lost_cb = told.append
        async with asyncio.timeout(5):
            error = await failing(sasl.ConnectionLost, login(conn, policy=LOOPBACK))
            assert isinstance(error, aioimaplib.Abort)
            assert is_session_lost(error)
            for command in (conn.noop, conn.logout, conn.select):
                with pytest.raises(aioimaplib.Abort) as caught:
                    await command()
                assert is_session_lost(caught.value)
        await asyncio.sleep(0)

    play([*imap.offer("PLAIN"), (PLAIN, [said, "close"])], call, tls=tls, timeout=30)
    assert len(told) == 1


def test_a_lost_connection_is_told_to_commands_that_wait_for_the_login(imap: Any, play: Any) -> None:
    async def call(conn: aioimaplib.IMAP4) -> None:
        logging_in = asyncio.create_task(login(conn))  # type: ignore[arg-type]
        while conn.protocol.pending_sync_command is None:
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            told = await asyncio.gather(logging_in, conn.noop(), conn.logout(), return_exceptions=True)
        assert [type(each) for each in told] == [ERRORS[sasl.ConnectionLost], aioimaplib.Abort, aioimaplib.Abort]
        assert all(is_session_lost(each) for each in told)

    play([*imap.offer("LOGIN"), (None, "close")], call, timeout=30)


@pytest.mark.parametrize("tls", [True, False], ids=["TLS", "clear"])
def test_a_refusal_right_before_the_end_of_the_connection_is_a_refusal(imap: Any, play: Any, *, tls: bool) -> None:
    async def call(conn: aioimaplib.IMAP4) -> None:
        await failing(sasl.AuthenticationFailed, login(conn, policy=LOOPBACK))

    said = b"* OK more\r\n" * 50 + imap.no + b"* BYE too many\r\n"
    play([*imap.offer("PLAIN"), (PLAIN, [said, "close"])], call, tls=tls)


@pytest.mark.parametrize(
    "said",
    [b"hello?\r\n", b"A1 OK of another command\r\n", b"* OK half\0\r\n", b"250 ok\r\n"],
    ids=repr,
)
def test_what_aioimaplib_would_pass_over_is_an_error_and_closes(imap: Any, play: Any, said: bytes) -> None:
    async def call(conn: aioimaplib.IMAP4) -> None:
        error = await failing(sasl.ProtocolError, login(conn))
        assert isinstance(error, aioimaplib.Error)
        assert is_closed(conn)

    play([*imap.offer("PLAIN"), (PLAIN, said)], call)


@pytest.mark.parametrize(
    "said",
    [
        b"+ " + b"x" * READ + b"\r\n",
        b"x" * 2 * READ,
        (b"* OK " + b"x" * 1_000 + b"\r\n") * 300,
        b"* LIST {999999999}\r\n",
    ],
    ids=["long line", "no line", "many lines", "literal"],
)
def test_a_flood_is_over_the_limit_and_closes(imap: Any, play: Any, said: bytes) -> None:
    async def call(conn: aioimaplib.IMAP4) -> None:
        await failing(sasl.LimitExceeded, login(conn))
        assert is_closed(conn)

    play([*imap.offer("PLAIN"), (PLAIN, [said, "hang"])], call)


def test_a_server_that_sends_faster_than_lines_are_looked_at_is_not_read_from(run: Any) -> None:
    async def main() -> None:
        line = b"* OK " + b"x" * 1000 + b"\r\n"
        ours, servers = socket.socketpair()
        servers.setblocking(False)
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        with servers, borrow(transport, None) as lines:
            sent = 0
            for _ in range(100):
                with suppress(BlockingIOError):
                    sent += servers.send(line * 100)
                await asyncio.sleep(0)
            assert sent < 3_000_000, "all that was sent was read"
            for _ in range(sent // len(line)):
                assert await lines.readline() == line
            assert servers.send(line) == len(line)
            transport.abort()

    run(main)


def test_a_login_goes_on_after_a_flood_that_ends(imap: Any, play: Any) -> None:
    play([*imap.offer("PLAIN"), (PLAIN, [b"* OK %b\r\n" % (b"x" * 80_000) * 3, imap.yes]), imap.noop], _and_noop)


async def _and_noop(conn: aioimaplib.IMAP4) -> None:
    await login(conn)
    await conn.noop()


def test_untagged_responses_with_literals_are_passed_over(imap: Any, play: Any) -> None:
    said = b'* LIST () "/" {7}\r\nBYE you\r\n* OK [ALERT] hello {3}\r\n{tag} OK no\r\n'
    play([*imap.offer("PLAIN"), (PLAIN, [said.replace(b"{tag} OK no", b"not it"), imap.yes])], login)


def test_a_connection_that_has_not_greeted_is_none(imap: Any, play: Any) -> None:
    async def call(conn: aioimaplib.IMAP4) -> None:
        error = await failing(sasl.ConnectionLost, login(conn))
        assert "wait_hello_from_server" in str(error)
        await conn.wait_hello_from_server()
        await login(conn)

    play([*imap.offer("PLAIN"), (PLAIN, imap.yes)], call, greeted=False)


def test_a_login_on_a_connection_that_is_logged_in_is_the_callers_mistake(imap: Any, play: Any) -> None:
    async def call(conn: aioimaplib.IMAP4) -> None:
        await login(conn)
        with pytest.raises(sasl.UsageError, match="state is AUTH"):
            await login(conn)
        await conn.noop()

    play([*imap.offer("PLAIN"), (PLAIN, imap.yes), imap.noop], call)


@pytest.mark.parametrize("command", ["noop", "login"])
def test_a_login_while_another_command_is_running_is_the_callers_mistake(imap: Any, play: Any, command: str) -> None:
    async def call(conn: aioimaplib.IMAP4) -> None:
        arguments = {"noop": (), "login": ("alice", "wonderland")}[command]
        running = asyncio.create_task(getattr(conn, command)(*arguments))
        while conn.protocol.pending_sync_command is None and not conn.protocol.pending_async_commands:
            await asyncio.sleep(0)
        with pytest.raises(sasl.UsageError, match="another command is running"):
            await login(conn)
        assert (await running).result == "OK"

    play([*imap.offer("PLAIN"), (None, [YES])], call)


@pytest.mark.parametrize("lost", [True, False], ids=["lost", "command"])
def test_what_happens_while_a_token_is_asked_for_is_seen(imap: Any, play: Any, *, lost: bool) -> None:
    async def call(conn: aioimaplib.IMAP4) -> None:
        running: list[Any] = []

        async def token() -> str:
            running.append(asyncio.create_task(conn.noop()))
            if lost:
                while not is_closed(conn):
                    await asyncio.sleep(0.01)
                running[0].cancel()
            while not (lost or conn.protocol.pending_async_commands):
                await asyncio.sleep(0)
            return "ya29.t0ken"

        entry = authenticate(conn, Bearer("alice", token))
        if lost:
            await failing(sasl.ConnectionLost, entry)
        else:
            with pytest.raises(sasl.UsageError, match="another command is running"):
                await entry
            assert (await running[0]).result == "OK"
        await asyncio.gather(*running, return_exceptions=True)

    _, server = play([*imap.offer("XOAUTH2"), (b"{tag} NOOP", "close" if lost else imap.noop[1])], call)
    assert len(server.heard()) == 2


# --- time


@pytest.mark.parametrize("speed", ["hang", "drip"])
@pytest.mark.parametrize("at", ["AUTHENTICATE", "challenge", "CAPABILITY"])
@pytest.mark.parametrize("whose", ["login", "connection"])
def test_a_server_that_takes_too_long_is_lost(imap: Any, play: Any, whose: str, at: str, speed: str) -> None:
    turns = {
        "AUTHENTICATE": [*imap.offer("PLAIN"), (PLAIN, speed)],
        "challenge": [*imap.offer("LOGIN"), _asked(imap)[0], (None, speed)],
        "CAPABILITY": [*imap.offer("PLAIN"), (PLAIN, YES), (CAPABILITY, speed)],
    }[at]

    async def call(conn: aioimaplib.IMAP4) -> None:
        conn.timeout = 0.2 if whose == "connection" else None
        error = await failing(sasl.ConnectionLost, login(conn, timeout=0.2 if whose == "login" else None))
        assert error.kind == "timeout"
        assert is_closed(conn)
        assert conn.get_state() == "STARTED"

    play(turns, call)


# --- cancellation


async def _token() -> str:
    await asyncio.sleep(0)
    return "ya29.t0ken"


def _login_by(name: str, imap: Any) -> tuple[list[Any], sasl.Credentials]:
    """What a server says in a login, and with what it is done."""
    if name == "LOGIN":
        return [*imap.offer("LOGIN"), *_asked(imap), (None, imap.yes)], PASSWORD
    if name == "XOAUTH2":
        refused = imap.challenge(b'{"status":"401"}')
        return [*imap.offer("XOAUTH2"), (None, refused), (b"", imap.no)], Bearer("alice", _token)
    done = b"* CAPABILITY IMAP4rev1\r\n{tag} OK done\r\n"
    return [*imap.offer("PLAIN"), (PLAIN, YES), (CAPABILITY, done)], PASSWORD


async def _cancel(credentials: sasl.Credentials, at: int, conn: aioimaplib.IMAP4) -> Cancelled:
    """Log in, and cancel that at one of its waits, if there are so many."""
    own = conn.protocol
    steps = Cancelled(authenticate(conn, credentials, policy=LOOPBACK), at)
    try:
        await steps
    except asyncio.CancelledError:
        steps.left = True
        assert is_closed(conn)
        assert conn.get_state() == "STARTED"
        assert conn.protocol.pending_sync_command is None
    except sasl.SASLError:
        pass
    assert conn.protocol.transport.get_protocol() is own
    return steps


@pytest.mark.parametrize("tls", [True, False], ids=["TLS", "clear"])
@pytest.mark.parametrize("name", ["PLAIN", "LOGIN", "XOAUTH2"])
def test_a_login_that_is_cancelled_at_any_wait_sends_nothing_more(
    imap: Any, play: Any, name: str, *, tls: bool
) -> None:
    turns, credentials = _login_by(name, imap)
    cut: list[list[bytes]] = []
    while True:
        steps, server = play(turns, partial(_cancel, credentials, len(cut) + 1), tls=tls)
        heard = [line.partition(b" ")[2] or line for line in server.heard()]  # without the tag
        if steps.waits < steps.at:
            break
        assert steps.left
        cut.append(heard)
    assert len(heard) == len(turns)
    assert len(cut) >= len(turns) - 1  # the first one is of before the login
    for lines in cut:
        assert lines == heard[: len(lines)]


# --- what is shown


def test_the_log_shows_nothing_of_a_login(imap: Any, play: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    echo = b"* OK [ALERT] you said " + base64.b64encode(b"\0alice\0wonderland") + b", wonderland\r\n"
    play([*imap.offer("PLAIN"), (PLAIN, echo + imap.no)], partial(failing_login, sasl.AuthenticationFailed))
    said = [record.getMessage() for record in caplog.records if record.name.startswith("aioimaplib")]
    assert any("CAPABILITY" in each for each in said)
    assert not any("AUTHENTICATE" in each or "ALERT" in each for each in said)
    assert seen(caplog.text.splitlines(), "wonderland", base64.b64encode(b"\0alice\0wonderland")) == []


async def failing_login(kind: type[sasl.SASLError], conn: aioimaplib.IMAP4) -> None:
    error = await failing(kind, login(conn))
    assert seen(shown(error), "wonderland") == []


# --- is the session lost?


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (aioimaplib.Abort("command NOOP illegal in state STARTED"), True),
        (aioimaplib.Abort("command NOOP illegal in state LOGOUT"), True),
        (aioimaplib.Abort("command FETCH illegal in state AUTH"), False),
        (aioimaplib.Abort("server has not IDLE capability"), False),
        (aioimaplib.Error("server not IMAP4 compliant"), False),
        (aioimaplib.CommandTimeout("A1 FETCH"), True),  # type: ignore[arg-type]
        (ERRORS[sasl.ConnectionLost]("gone"), True),
        (ERRORS[sasl.AuthenticationFailed]("no"), False),
        (TimeoutError(), True),
        (ConnectionResetError(), True),
        (ValueError(), False),
    ],
    ids=repr,
)
def test_a_lost_session_is_told_from_anything_else(error: Exception, *, lost: bool) -> None:
    assert is_session_lost(error) == is_gone(error) == lost


# --- many


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with running(settings=Settings(policy=LOOPBACK)) as servers:
        yield servers


def test_many_logins_at_once_stand_in_nobodys_way(run: Any, servers: Servers) -> None:
    async def one(number: int) -> None:
        if number % 2:
            context = servers.client_context()
            conn = aioimaplib.IMAP4_SSL("localhost", servers.imap.tls_port, ssl_context=context, timeout=30)
        else:
            conn = aioimaplib.IMAP4("127.0.0.1", servers.imap.port, timeout=30)
        await conn.wait_hello_from_server()
        try:
            credentials = PASSWORD if number % 3 else Bearer("alice", servers.tokens["good"])
            await authenticate(conn, credentials, policy=LOOPBACK)
            assert (await conn.noop()).result == "OK"
        finally:
            conn.protocol.transport.abort()

    async def main() -> None:
        await asyncio.gather(*[one(number) for number in range(MANY)])

    run(main)
    ended = [attempt.outcome for session in list(servers.imap.sessions)[-MANY:] for attempt in session.attempts]
    assert ended == ["accepted"] * MANY
