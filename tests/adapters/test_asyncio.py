"""Logins on plain asyncio streams, at the reference servers and at scripted ones."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import ssl
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters.asyncio import (
    StreamConnectionLost,
    StreamServerBusy,
    _address_of,
    authenticate,
    greet,
    open_connection,
)
from sasl.adapters.binding import is_gone
from sasl.adapters.reference import running
from sasl.adapters.wire import LONGEST_LINE

from ..support.leaks import seen, shown_by
from ..support.loops import LOOPS, run_in
from ..support.protocols import PROTOCOLS, b64

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from sasl.adapters.asyncio import Connection
    from sasl.adapters.reference import Servers

    from ..support.protocols import Turn

LOOPBACK = sasl.Policy(plaintext="loopback")
PASSWORD = sasl.Password("alice", "wonderland")
PLAIN = b"\0alice\0wonderland"
BEARER = sasl.Bearer("alice@example.com", "ya29.Secret-Token")
SPEECHES = {**PROTOCOLS, "lmtp": PROTOCOLS["smtp"]}
HELLO = {"smtp": b"EHLO [127.0.0.1]", "lmtp": b"LHLO [127.0.0.1]"}
STARTTLS = {"imap": b"{tag} STARTTLS", "pop": b"STLS", "smtp": b"STARTTLS", "lmtp": b"STARTTLS"}
GO = {"imap": b"{tag} OK go\r\n", "pop": b"+OK go\r\n", "smtp": b"220 go\r\n", "lmtp": b"220 go\r\n"}
TEXT = {"imap": "Logged in", "pop": "Logged in.", "smtp": "Accepted", "lmtp": "Accepted"}

protocols = pytest.mark.parametrize("protocol", list(SPEECHES))
embedded = pytest.mark.parametrize("protocol", list(PROTOCOLS))
unannounced = pytest.mark.parametrize("protocol", ["pop", "smtp", "lmtp"])


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with running() as servers:
        yield servers


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[Callable[..., Any]]:
    """run(main) runs a coroutine function in each loop; asyncio has nothing to say of it."""
    caplog.set_level(logging.WARNING, "asyncio")
    yield lambda main: run_in(request.param, main)
    assert [each.getMessage() for each in caplog.records if each.name == "asyncio"] == []


def offer(protocol: str, *mechanisms: str, **extra: Any) -> list[Turn]:
    """The turn in which the server says what it can do."""
    ((line, answer),) = SPEECHES[protocol].offer(*mechanisms, **extra)
    return [(HELLO.get(protocol, line), answer)]


@asynccontextmanager
async def connected(protocol: str, port: int, **options: Any) -> AsyncIterator[Connection]:
    """A connection until the end of the block."""
    connection = await open_connection(protocol, "127.0.0.1", port, **options)  # type: ignore[arg-type]
    try:
        yield connection
    finally:
        connection.close()


async def opened_and_failed(protocol: str, server: Any, error: type[Exception], **options: Any) -> Any:
    """What opening a connection raises; it is closed then."""
    with pytest.raises(error) as caught:
        await open_connection(protocol, "127.0.0.1", server.port, **options)  # type: ignore[arg-type]
    heard = await asyncio.to_thread(server.heard)
    return caught.value, heard


# --- at servers


@embedded
@pytest.mark.parametrize("over", ["tls", "starttls"])
@pytest.mark.parametrize("kind", ["password", "token"])
def test_a_login_leaves_streams_that_can_be_used(
    run: Any, servers: Servers, protocol: str, over: str, kind: str
) -> None:
    server = getattr(servers, protocol)
    port = server.tls_port if over == "tls" else server.port
    credentials = PASSWORD if kind == "password" else sasl.Bearer("alice", servers.tokens["good"])
    noop, yes = {"imap": (b"a NOOP", b"a OK"), "pop": (b"NOOP", b"+OK"), "smtp": (b"NOOP", b"250")}[protocol]

    async def main() -> None:
        connection = await open_connection(protocol, "localhost", port, **{over: servers.client_context()})  # type: ignore[arg-type]
        assert await authenticate(connection, credentials) == "Authenticated"
        connection.writer.write(noop + b"\r\n")
        assert (await connection.reader.readline()).startswith(yes)
        connection.writer.close()
        await connection.writer.wait_closed()

    run(main)
    (attempt,) = server.sessions[-1].attempts
    assert (attempt.outcome, attempt.identity, attempt.tls) == ("accepted", "alice", True)


@embedded
@pytest.mark.parametrize("over", ["tls", "starttls"])
def test_a_login_is_bound_to_its_tls(run: Any, servers: Servers, protocol: str, over: str) -> None:
    server = getattr(servers, protocol)
    context = servers.client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    async def main() -> None:
        port = server.tls_port if over == "tls" else server.port
        async with connected(protocol, port, **{over: context}) as connection:
            await authenticate(connection, PASSWORD)

    run(main)
    (attempt,) = server.sessions[-1].attempts
    assert attempt.outcome == "accepted"
    assert attempt.mechanism.endswith("-PLUS")


@embedded
def test_a_refusal_leaves_a_connection_for_another_login(run: Any, servers: Servers, protocol: str) -> None:
    server = getattr(servers, protocol)

    async def main() -> None:
        async with connected(protocol, server.tls_port, tls=servers.client_context()) as connection:
            for mechanism in ("PLAIN", "SCRAM-SHA-256"):
                with pytest.raises(sasl.AuthenticationFailed):
                    await authenticate(connection, sasl.Password("alice", "looking-glass"), mechanism=mechanism)
            await authenticate(connection, PASSWORD)

    run(main)
    assert [each.outcome for each in server.sessions[-1].attempts] == ["credentials", "credentials", "accepted"]


# --- what is said


@protocols
def test_a_login_takes_the_lines_of_its_protocol(run: Any, stage: Any, protocol: str) -> None:
    speech = SPEECHES[protocol]
    server = stage.serve(speech, [*offer(protocol, "PLAIN"), (speech.command("PLAIN", PLAIN), speech.yes)])

    async def main() -> None:
        async with connected(protocol, server.port, tls=stage.client_context) as connection:
            assert connection.greeting + b"\r\n" == speech.greeting
            assert await authenticate(connection, PASSWORD) == TEXT[protocol]

    run(main)


@protocols
def test_what_was_read_ahead_is_the_callers(run: Any, stage: Any, protocol: str) -> None:
    """Who pipelines has told the server so; and IMAP says what it likes, when it likes."""
    speech = SPEECHES[protocol]
    more = b"".join(b"* %d EXISTS\r\n" % number for number in range(5_000))
    turns = [*offer(protocol, "PLAIN"), (speech.command("PLAIN", PLAIN), speech.yes + more)]
    server = stage.serve(speech, turns)

    async def main() -> bytes:
        async with connected(protocol, server.port, tls=stage.client_context) as connection:
            await authenticate(connection, PASSWORD)
            return await connection.reader.readexactly(len(more))

    assert run(main) == more


@protocols
def test_a_login_while_another_one_is_running_is_the_callers_mistake(run: Any, stage: Any, protocol: str) -> None:
    speech = SPEECHES[protocol]
    prompts = [speech.challenge(b"User Name"), speech.challenge(b"Password"), speech.yes]
    turns = [*offer(protocol, "LOGIN"), *((None, each) for each in prompts)]
    server = stage.serve(speech, turns)

    async def main() -> None:
        async with connected(protocol, server.port, tls=stage.client_context) as connection:
            logging_in = asyncio.create_task(authenticate(connection, PASSWORD))
            await asyncio.sleep(0)
            with pytest.raises(sasl.UsageError, match="another command is running"):
                await authenticate(connection, sasl.Password("bob", "builder"))
            assert await logging_in == TEXT[protocol]

    run(main)


@protocols
def test_a_login_may_follow_another_mechanism(run: Any, stage: Any, protocol: str, mechanism: Any) -> None:
    """A tag serves once, and the names of both are the server's."""

    def script(_credentials: object, _options: object) -> Iterator[Any]:
        yield sasl.Harmless(b"who is there")
        yield sasl.Complete(b"never")

    name, speech = mechanism(script), SPEECHES[protocol]
    turns = [
        *offer(protocol, name, "PLAIN"),
        (speech.command(name, b"who is there"), speech.no),
        (speech.command("PLAIN", PLAIN), speech.yes),
    ]
    server = stage.serve(speech, turns)

    async def main() -> None:
        async with connected(protocol, server.port, tls=stage.client_context) as connection:
            assert await authenticate(connection, PASSWORD) == TEXT[protocol]

    run(main)
    if protocol == "imap":
        tags = [line.split()[0] for line in server.received]
        assert len(set(tags)) == len(tags)


@pytest.mark.parametrize(
    ("yes", "capabilities"),
    [
        (b"{tag} OK [CAPABILITY IMAP4rev1 AFTER] in\r\n", ("IMAP4rev1", "AFTER")),
        (b"* CAPABILITY IMAP4rev1 SAID\r\n{tag} OK in\r\n", ("IMAP4rev1", "SAID")),
        (b"{tag} OK in\r\n", ("IMAP4rev1", "ASKED")),
    ],
)
def test_imap_has_other_capabilities_after_a_login(
    run: Any, stage: Any, yes: bytes, capabilities: tuple[str, ...]
) -> None:
    speech = PROTOCOLS["imap"]
    asked = (b"{tag} CAPABILITY", b"* CAPABILITY IMAP4rev1 ASKED\r\n{tag} OK\r\n")
    turns = [*offer("imap", "PLAIN"), (speech.command("PLAIN", PLAIN), yes), asked]
    server = stage.serve(speech, turns)

    async def main() -> tuple[str, ...]:
        async with connected("imap", server.port, tls=stage.client_context) as connection:
            assert connection.capabilities == ("IMAP4rev1", "SASL-IR", "AUTH=PLAIN")
            assert await authenticate(connection, PASSWORD) == "in"
            return connection.capabilities

    assert run(main) == capabilities


def test_what_is_no_answer_right_after_the_login_closes(run: Any, stage: Any) -> None:
    speech = PROTOCOLS["imap"]
    turns = [*offer("imap", "PLAIN"), (speech.command("PLAIN", PLAIN), b"{tag} OK in\r\n"), (None, b"what?\r\n")]
    server = stage.serve(speech, turns)

    async def main() -> None:
        async with connected("imap", server.port, tls=stage.client_context) as connection:
            with pytest.raises(sasl.ProtocolError):
                await authenticate(connection, PASSWORD)
            assert connection.writer.is_closing()

    run(main)


def test_capabilities_in_the_greeting_are_not_asked_for(run: Any, stage: Any) -> None:
    speech = PROTOCOLS["imap"]
    greeting = b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n"
    server = stage.serve(speech, [(speech.command("PLAIN", PLAIN), speech.yes)], greeting=greeting)

    async def main() -> None:
        async with connected("imap", server.port, tls=stage.client_context) as connection:
            await authenticate(connection, PASSWORD)

    run(main)


def test_apop_takes_the_timestamp_of_the_greeting(run: Any, stage: Any) -> None:
    speech = PROTOCOLS["pop"]
    digest = b"c4c9334bac560ecc979e58001b3e22fb"  # RFC 1939 section 7
    greeting = b"+OK POP3 server ready <1896.697170952@dbc.mtview.ca.us>\r\n"
    server = stage.serve(speech, [*offer("pop", extra=()), (b"APOP mrose " + digest, speech.yes)], greeting=greeting)

    async def main() -> None:
        async with connected("pop", server.port, tls=stage.client_context) as connection:
            policy = sasl.Policy(allow={"POP-APOP"})
            await authenticate(connection, sasl.Password("mrose", "tanstaaf"), policy=policy, mechanism="POP-APOP")

    run(main)


@pytest.mark.parametrize("verb", ["EHLO", "LHLO"])
def test_a_client_says_its_name_or_else_its_address(run: Any, stage: Any, verb: str) -> None:
    protocol = {"EHLO": "smtp", "LHLO": "lmtp"}[verb]
    ((_, answer),) = offer(protocol)
    server = stage.serve(SPEECHES[protocol], [(f"{verb} client.example".encode(), answer)], tls=False)

    async def main() -> None:
        async with connected(protocol, server.port, name="client.example") as connection:
            assert connection.name == "client.example"

    run(main)


# --- streams of the caller's


@asynccontextmanager
async def overheard(path: Path, answers: list[bytes]) -> AsyncIterator[tuple[Any, list[bytes]]]:
    """Streams to a server in the file system that answers each line by the next of these, and what it hears."""
    heard: list[bytes] = []
    served: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            writer.write(answer)
            heard.append(await reader.readline())
        writer.close()
        served.set_result(None)

    async with await asyncio.start_unix_server(serve, path):
        streams = await asyncio.open_unix_connection(path)
        try:
            yield streams, heard
        finally:
            streams[1].close()
            await served


def test_lmtp_logs_in_over_a_socket_in_the_file_system(run: Any, tmp_path: Path) -> None:
    answers = [b"220 here\r\n", b"250-here\r\n250 AUTH PLAIN\r\n", b"235 in\r\n"]

    async def main() -> list[bytes]:
        async with overheard(tmp_path / "lmtp", answers) as (streams, heard):
            connection = await greet("lmtp", *streams)
            assert await authenticate(connection, PASSWORD, policy=LOOPBACK) == "in"
        return heard

    assert run(main)[:2] == [b"LHLO localhost\r\n", b"AUTH PLAIN " + b64(PLAIN) + b"\r\n"]


@pytest.mark.parametrize("kind", ["socket", "address"])
def test_lmtp_logs_in_at_aiosmtpd(run: Any, tmp_path: Path, kind: str) -> None:
    """A server of LMTP that nobody of us has written."""
    lmtp = pytest.importorskip("aiosmtpd.lmtp")
    checks = pytest.importorskip("aiosmtpd.smtp")

    def check(_server: Any, _session: Any, _envelope: Any, _mechanism: str, given: Any) -> Any:
        return checks.AuthResult(success=given.password == b"wonderland", handled=False)

    def new() -> Any:
        return lmtp.LMTP(_Nothing(), authenticator=check, auth_require_tls=False, loop=asyncio.get_running_loop())

    async def main() -> None:
        loop, path = asyncio.get_running_loop(), str(tmp_path / "lmtp")
        if kind == "socket":
            async with await loop.create_unix_server(new, path):
                await log_in(await greet("lmtp", *await asyncio.open_unix_connection(path)))
            return
        async with await loop.create_server(new, "127.0.0.1", 0) as server:
            await log_in(await open_connection("lmtp", "127.0.0.1", server.sockets[0].getsockname()[1]))

    async def log_in(connection: Connection) -> None:
        try:
            with pytest.raises(sasl.AuthenticationFailed):
                await authenticate(connection, sasl.Password("alice", "looking-glass"), policy=LOOPBACK)
            assert await authenticate(connection, PASSWORD, policy=LOOPBACK) == "Authentication successful"
            connection.writer.write(b"QUIT\r\n")
            assert (await connection.reader.read()).startswith(b"221")  # to the end
        finally:
            connection.close()

    run(main)


class _Nothing:
    """What aiosmtpd hands mail to."""


@pytest.mark.parametrize(
    ("address", "name"),
    [(("192.0.2.1", 5), "[192.0.2.1]"), (("fe80::1%eth0", 5, 0, 2), "[IPv6:fe80::1]"), ("", "localhost")],
)
def test_an_address_is_said_as_smtp_has_it(address: Any, name: str) -> None:
    assert _address_of(SimpleNamespace(get_extra_info={"sockname": address}.get)) == name  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [100, 2**16, LONGEST_LINE, 2**20])
def test_the_limit_of_a_reader_is_not_that_of_a_login(run: Any, stage: Any, mechanism: Any, limit: int) -> None:
    """asyncio's own is 64 KiB, and the challenge of a ticket may be longer."""
    challenge = b"x" * 60_000

    def script(_credentials: object, _options: object) -> Iterator[Any]:
        assert (yield b"go on") == challenge
        yield sasl.Complete(b"fine")

    name, speech = mechanism(script), PROTOCOLS["imap"]
    turns = [
        *offer("imap", name),
        (speech.command(name, b"go on"), speech.challenge(challenge)),
        (b64(b"fine"), speech.yes + b"* 1 EXISTS\r\n"),
    ]
    server = stage.serve(speech, turns)

    async def main() -> None:
        host, context = "127.0.0.1", stage.client_context
        streams = await asyncio.open_connection(host, server.port, limit=limit, ssl=context)
        connection = await greet("imap", *streams, host=host)
        await authenticate(connection, PASSWORD)
        assert await connection.reader.readline() == b"* 1 EXISTS\r\n"
        connection.close()

    run(main)


@pytest.mark.parametrize("limit", [2**16, LONGEST_LINE, 2**20])
@pytest.mark.parametrize("end", [b"\r\n", b""], ids=["a line", "no end"])
@protocols
def test_a_line_that_is_too_long_is_not_read_to_its_end(
    run: Any, stage: Any, protocol: str, limit: int, end: bytes
) -> None:
    speech = SPEECHES[protocol]
    turns = [
        *offer(protocol, "PLAIN"),
        (speech.command("PLAIN", PLAIN), b"+" + b"x" * (LONGEST_LINE + 2 * limit) + end),
    ]
    server = stage.serve(speech, turns)

    async def main() -> None:
        streams = await asyncio.open_connection("127.0.0.1", server.port, limit=limit, ssl=stage.client_context)
        connection = await greet(protocol, *streams, host="127.0.0.1")  # type: ignore[arg-type]
        with pytest.raises(sasl.LimitExceeded):
            await authenticate(connection, PASSWORD)
        assert connection.writer.is_closing()

    run(main)


# --- TLS by a command


def secured(protocol: str, *answers: Any) -> list[Turn]:
    """The turns up to TLS."""
    begin = offer(protocol, "X-NEVER", extra=("STLS" if protocol == "pop" else "STARTTLS",))
    return [*begin, (STARTTLS[protocol], list(answers))]


@protocols
def test_what_was_said_before_tls_is_forgotten(run: Any, stage: Any, protocol: str) -> None:
    speech = SPEECHES[protocol]
    turns = [*secured(protocol, GO[protocol], "tls"), *offer(protocol, "PLAIN")]
    server = stage.serve(speech, [*turns, (speech.command("PLAIN", PLAIN), speech.yes)], tls=False)

    async def main() -> None:
        async with connected(protocol, server.port, starttls=stage.client_context) as connection:
            assert "X-NEVER" not in " ".join(connection.capabilities)
            await authenticate(connection, PASSWORD)

    run(main)


@protocols
def test_octets_in_the_clear_behind_the_reply_close_the_connection(run: Any, stage: Any, protocol: str) -> None:
    """CVE-2011-0411."""
    server = stage.serve(SPEECHES[protocol], secured(protocol, GO[protocol] + GO[protocol]), tls=False)

    async def main() -> Any:
        return await opened_and_failed(protocol, server, sasl.PolicyViolation, starttls=stage.client_context)

    error, heard = run(main)
    assert "octets in the clear" in str(error)
    assert len(heard) == 2


@protocols
def test_a_server_without_tls_gets_no_credential(run: Any, stage: Any, protocol: str) -> None:
    server = stage.serve(SPEECHES[protocol], offer(protocol, "PLAIN"), tls=False)

    async def main() -> Any:
        return await opened_and_failed(protocol, server, sasl.PolicyViolation, starttls=stage.client_context)

    _, heard = run(main)
    assert len(heard) == 1


@protocols
def test_a_server_that_refuses_tls_gets_no_credential(run: Any, stage: Any, protocol: str) -> None:
    refusal = {"imap": b"{tag} NO not now\r\n", "pop": b"-ERR not now\r\n"}.get(protocol, b"454 not now\r\n")
    server = stage.serve(SPEECHES[protocol], secured(protocol, refusal), tls=False)

    async def main() -> Any:
        return await opened_and_failed(protocol, server, sasl.PolicyViolation, starttls=stage.client_context)

    _, heard = run(main)
    assert len(heard) == 2


@protocols
def test_a_certificate_that_nobody_trusts_is_no_tls(run: Any, stage: Any, protocol: str) -> None:
    server = stage.serve(SPEECHES[protocol], secured(protocol, GO[protocol], "tls"), tls=False)

    async def main() -> Any:
        context = ssl.create_default_context()
        return await opened_and_failed(protocol, server, ssl.SSLCertVerificationError, starttls=context)

    run(main)


@protocols
def test_a_password_in_the_clear_is_refused_and_the_error_says_what_helps(run: Any, stage: Any, protocol: str) -> None:
    extra = ("STLS" if protocol == "pop" else "STARTTLS",)
    server = stage.serve(SPEECHES[protocol], offer(protocol, "PLAIN", extra=extra), tls=False)

    async def main() -> None:
        async with connected(protocol, server.port) as connection:
            with pytest.raises(sasl.PolicyViolation, match=r"open the connection with `starttls`"):
                await authenticate(connection, PASSWORD)
            assert not connection.writer.is_closing()

    run(main)


# --- what goes wrong


@protocols
@pytest.mark.parametrize("greeting", [b"", b"* OK rea", b"+OK rea", b"220 rea"])
def test_a_server_that_ends_before_it_has_greeted_is_lost(
    run: Any, tmp_path: Path, protocol: str, greeting: bytes
) -> None:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        writer.close()

    async def main() -> Any:
        async with await asyncio.start_unix_server(serve, path := tmp_path / "server"):
            streams = await asyncio.open_unix_connection(path)
            with pytest.raises(StreamConnectionLost) as caught:
                await greet(protocol, *streams)  # type: ignore[arg-type]
            assert streams[1].is_closing()
            return caught.value

    assert is_gone(run(main))


@protocols
def test_a_server_of_another_protocol_is_named(run: Any, stage: Any, protocol: str) -> None:
    server = stage.serve(SPEECHES[protocol], [], tls=False, greeting=b"SSH-2.0-OpenSSH_9.2p1\r\n")

    async def main() -> Any:
        return await opened_and_failed(protocol, server, sasl.ProtocolError)

    error, heard = run(main)
    assert "SSH" in str(error)
    assert heard == []


@protocols
def test_a_server_that_is_busy_says_so(run: Any, stage: Any, protocol: str) -> None:
    busy = {"imap": b"* BYE [UNAVAILABLE] later\r\n", "pop": b"-ERR [SYS/TEMP] later\r\n"}
    greeting = busy.get(protocol, b"421 4.3.2 later\r\n")
    server = stage.serve(SPEECHES[protocol], [], tls=False, greeting=greeting)

    async def main() -> Any:
        return await opened_and_failed(protocol, server, StreamServerBusy)

    error, _ = run(main)
    assert error.server_text == "later"


@protocols
def test_a_lost_connection_is_what_streams_raise_and_what_we_raise(run: Any, stage: Any, protocol: str) -> None:
    speech = SPEECHES[protocol]
    server = stage.serve(speech, [*offer(protocol, "PLAIN"), (speech.command("PLAIN", PLAIN), "close")])

    async def main() -> Any:
        async with connected(protocol, server.port, tls=stage.client_context) as connection:
            with pytest.raises(ConnectionError) as caught:
                await authenticate(connection, PASSWORD)
            assert connection.writer.is_closing()
            with pytest.raises(StreamConnectionLost):  # once more, without a word
                await authenticate(connection, PASSWORD)
            return caught.value

    error = run(main)
    assert isinstance(error, StreamConnectionLost)
    assert isinstance(error, sasl.ConnectionLost)
    assert is_gone(error)
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (type(again), str(again), again.args) == (type(error), str(error), error.args)
    assert seen(shown_by(error), "wonderland", PLAIN) == []


@protocols
def test_a_refusal_is_no_lost_connection(run: Any, stage: Any, protocol: str) -> None:
    speech = SPEECHES[protocol]
    server = stage.serve(speech, [*offer(protocol, "PLAIN"), (speech.command("PLAIN", PLAIN), speech.no)])

    async def main() -> Any:
        async with connected(protocol, server.port, tls=stage.client_context) as connection:
            with pytest.raises(sasl.AuthenticationFailed) as caught:
                await authenticate(connection, PASSWORD)
            assert not connection.writer.is_closing()
            return caught.value

    assert not isinstance(run(main), OSError)


@unannounced
def test_a_server_that_speaks_before_it_is_asked_is_not_believed(run: Any, stage: Any, protocol: str) -> None:
    speech = SPEECHES[protocol]
    ((line, answer),) = offer(protocol, "PLAIN")
    server = stage.serve(speech, [(line, answer + speech.yes)])

    async def main() -> list[bytes]:
        async with connected(protocol, server.port, tls=stage.client_context) as connection:
            with pytest.raises(sasl.ProtocolError, match="before it is asked"):
                await authenticate(connection, PASSWORD)
            assert connection.writer.is_closing()
        heard: list[bytes] = await asyncio.to_thread(server.heard)
        return heard

    assert len(run(main)) == 1


@unannounced
def test_a_server_that_has_ended_an_idle_connection_is_lost(run: Any, stage: Any, protocol: str) -> None:
    farewell = b"-ERR Disconnected for inactivity.\r\n" if protocol == "pop" else b"421 4.4.2 idle for too long\r\n"
    ((line, answer),) = offer(protocol, "PLAIN")
    server = stage.serve(SPEECHES[protocol], [(line, answer + farewell)])

    async def main() -> Any:
        async with connected(protocol, server.port, tls=stage.client_context) as connection:
            with pytest.raises(StreamConnectionLost) as caught:
                await authenticate(connection, PASSWORD)
            return caught.value

    assert run(main).server_text in ("Disconnected for inactivity.", "idle for too long")


@protocols
def test_a_server_with_nothing_in_common_is_left_alone(run: Any, stage: Any, protocol: str) -> None:
    speech = SPEECHES[protocol]
    server = stage.serve(speech, [*offer(protocol, "XOAUTH2"), speech.noop])

    async def main() -> None:
        async with connected(protocol, server.port, tls=stage.client_context) as connection:
            with pytest.raises(sasl.MechanismUnavailable):
                await authenticate(connection, sasl.External())
            assert not connection.writer.is_closing()

    run(main)


def test_mistakes_of_the_callers_are_told_before_anything_is_opened(run: Any, client_context: ssl.SSLContext) -> None:
    async def main() -> None:
        with pytest.raises(sasl.UsageError, match="imap, pop, smtp, lmtp"):
            await open_connection("nntp", "127.0.0.1", 1)  # type: ignore[arg-type]
        with pytest.raises(sasl.UsageError, match="not both"):
            await open_connection("imap", "127.0.0.1", 1, tls=client_context, starttls=client_context)
        with pytest.raises(ConnectionRefusedError):
            await open_connection("imap", "127.0.0.1", 1)

    run(main)


def test_a_name_that_cannot_be_said_closes_the_connection(run: Any, stage: Any) -> None:
    server = stage.serve(PROTOCOLS["smtp"], [], tls=False)

    async def main() -> Any:
        return await opened_and_failed("smtp", server, sasl.UsageError, name="two\r\nlines")

    _, heard = run(main)
    assert heard == []


def test_a_connection_says_where_it_leads(run: Any, tmp_path: Path) -> None:
    async def main() -> list[str]:
        async with overheard(tmp_path / "pop", [b"+OK\r\n", b"-ERR\r\n"]) as (streams, _):
            shown = repr(await greet("pop", *streams, host="mail.example"))
        async with overheard(tmp_path / "again", [b"+OK\r\n", b"-ERR\r\n"]) as (streams, _):
            return [shown, repr(await greet("pop", *streams))]

    first, second = run(main)
    assert first == "<Connection pop 'mail.example'>"
    assert second.startswith("<Connection pop ")
