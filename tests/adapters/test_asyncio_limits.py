"""What may come between a login on asyncio streams and its end: cancelling, time-outs, half lines, many others."""

from __future__ import annotations

import asyncio
import itertools
import logging
import resource
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

import sasl
from sasl.adapters.asyncio import Connection, StreamConnectionLost, authenticate, greet, open_connection
from sasl.adapters.reference import Settings, running

from ..support.leaks import seen, shown_by
from ..support.loops import LOOPS, Cancelled, run_in
from ..support.protocols import PROTOCOLS

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterator

    from sasl.adapters.reference import Servers

MANY: Final = 1_000
SLOW: Final = 0.5
"""Seconds for which a loop may stand still here: what blocks takes longer, and other processes take their share."""
LOOPBACK: Final = sasl.Policy(plaintext="loopback")
PASSWORD: Final = sasl.Password("alice", "wonderland")
PLAIN: Final = b"\0alice\0wonderland"

protocols = pytest.mark.parametrize("protocol", list(PROTOCOLS))


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with running() as servers:
        yield servers


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[Callable[..., Any]]:
    """run(main) runs a coroutine function in each loop, in debug mode; asyncio has nothing to say of it."""
    caplog.set_level(logging.WARNING, "asyncio")
    yield lambda main: run_in(request.param, main, slow=SLOW)
    assert [each.getMessage() for each in caplog.records if each.name == "asyncio"] == []


# --- cancelling


class Writer(asyncio.StreamWriter):
    """A StreamWriter that keeps what is written, and whose drain() always waits."""

    def __init__(self, *streams: Any) -> None:
        super().__init__(*streams)
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(data)
        super().write(data)

    async def drain(self) -> None:
        await asyncio.sleep(0)
        await super().drain()


async def streams_to(port: int, **options: Any) -> tuple[asyncio.StreamReader, Writer]:
    """What asyncio.open_connection returns, with our writer."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.create_connection(lambda: protocol, "127.0.0.1", port, **options)
    return reader, Writer(transport, protocol, reader, loop)


async def a_token() -> str:
    await asyncio.sleep(0)
    return "ya29.g00d"


CREDENTIALS: Final = {
    "PLAIN": PASSWORD,
    "LOGIN": PASSWORD,
    "SCRAM-SHA-256": PASSWORD,
    "XOAUTH2": sasl.Bearer("alice", a_token),
    "OAUTHBEARER": sasl.Bearer("alice", "ya29.never"),
}


@protocols
@pytest.mark.parametrize("initial", [None, False], ids=["initial", "asked"])
@pytest.mark.parametrize("mechanism", list(CREDENTIALS))
def test_a_login_may_be_cancelled_wherever_it_waits(
    run: Any, servers: Servers, protocol: str, mechanism: str, *, initial: bool | None
) -> None:
    """A refused one, that of OAUTHBEARER, as well; from the first octet under TLS to the last reply."""
    server, context = getattr(servers, protocol), servers.client_context()
    if mechanism == "XOAUTH2":
        servers.verifier.add_token("ya29.g00d", "alice")

    async def log_in(streams: Any) -> None:
        connection = await greet(protocol, *streams, host="localhost", starttls=context)  # type: ignore[arg-type]
        options: dict[str, Any] = {"mechanism": mechanism, "initial_response": initial}
        await authenticate(connection, CREDENTIALS[mechanism], **options)

    async def cancelled_at(step: int) -> bool:
        """Whether there is such a step."""
        streams = await streams_to(server.port)
        steps = Cancelled(log_in(streams), step)

        async def main() -> None:
            await steps

        task = asyncio.create_task(main())
        (result,) = await asyncio.gather(task, return_exceptions=True)
        if steps.waits < step:
            assert (type(result) is sasl.AuthenticationFailed) == (mechanism == "OAUTHBEARER")
            streams[1].transport.abort()
            return False
        assert type(result) is asyncio.CancelledError
        assert streams[1].is_closing()
        of_the_thread = mechanism.startswith("SCRAM")  # which derives the keys, and has the exchange until its end
        assert steps.waits <= step + of_the_thread, "it waits although it is cancelled"
        said = list(streams[1].written)
        await asyncio.sleep(0)
        assert streams[1].written == said
        assert seen(shown_by(result), "wonderland", "ya29.g00d", "ya29.never") == []
        return True

    async def main() -> int:
        for step in itertools.count(1):
            if not await cancelled_at(step):
                return step
        raise AssertionError

    assert run(main) > 3, "it waits for nothing"  # how often, is a matter of what has come by then
    outcomes = [attempt.outcome for session in server.sessions for attempt in session.attempts]
    assert set(outcomes) <= {"accepted", "credentials", "unfinished"}


@protocols
def test_a_connection_that_is_opened_may_be_cancelled(run: Any, servers: Servers, protocol: str) -> None:
    """Nothing stays open of it, which asyncio would say in debug mode."""
    server, context = getattr(servers, protocol), servers.client_context()

    async def main() -> int:
        for step in itertools.count(1):
            steps = Cancelled(open_connection(protocol, "localhost", server.tls_port, tls=context), step)  # type: ignore[arg-type]

            async def wait(steps: Cancelled = steps) -> Any:
                return await steps

            (result,) = await asyncio.gather(asyncio.create_task(wait()), return_exceptions=True)
            if isinstance(result, Connection):
                result.close()
                return step
            assert type(result) is asyncio.CancelledError
        raise AssertionError

    assert run(main) > 3


# --- time


@asynccontextmanager
async def connected(protocol: str, port: int, context: ssl.SSLContext) -> AsyncIterator[Connection]:
    connection = await open_connection(protocol, "127.0.0.1", port, tls=context)  # type: ignore[arg-type]
    try:
        yield connection
    finally:
        connection.close()


def offer(protocol: str, *mechanisms: str) -> list[Any]:
    ((line, answer),) = PROTOCOLS[protocol].offer(*mechanisms)
    return [(None if protocol == "smtp" else line, answer)]


@protocols
@pytest.mark.parametrize("answer", ["hang", "drip", b"* half a line"])
def test_a_login_ends_when_its_time_is_over(run: Any, stage: Any, protocol: str, answer: Any) -> None:
    speech = PROTOCOLS[protocol]
    answers = [answer, "hang"] if isinstance(answer, bytes) else [answer]
    server = stage.serve(speech, [*offer(protocol, "PLAIN"), (speech.command("PLAIN", PLAIN), answers)])

    async def main() -> Any:
        async with connected(protocol, server.port, stage.client_context) as connection:
            with pytest.raises(StreamConnectionLost) as caught:
                await authenticate(connection, PASSWORD, timeout=0.1)
            assert connection.writer.is_closing()
            return caught.value

    begun = time.monotonic()
    error = run(main)
    assert 0.1 <= time.monotonic() - begun < 3
    assert error.kind == "timeout"
    assert isinstance(error, ConnectionError)


@protocols
@pytest.mark.parametrize("answer", ["hang", "drip"])
def test_a_login_ends_when_the_callers_time_is_over(run: Any, stage: Any, protocol: str, answer: Any) -> None:
    speech = PROTOCOLS[protocol]
    server = stage.serve(speech, [*offer(protocol, "PLAIN"), (speech.command("PLAIN", PLAIN), answer)])

    async def main() -> None:
        async with connected(protocol, server.port, stage.client_context) as connection:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await authenticate(connection, PASSWORD)
            assert connection.writer.is_closing()

    run(main)


@protocols
@pytest.mark.parametrize("at", ["greeting", "offer"])
def test_a_server_that_does_not_greet_is_left_when_the_callers_time_is_over(
    run: Any, stage: Any, protocol: str, at: str
) -> None:
    speech = PROTOCOLS[protocol]
    server = stage.serve(speech, [(None, "hang")], greeting="drip" if at == "greeting" else None)

    async def main() -> None:
        streams = await streams_to(server.port, ssl=stage.client_context)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await greet(protocol, *streams, host="127.0.0.1")  # type: ignore[arg-type]
        assert streams[1].is_closing()

    run(main)


def test_a_token_that_does_not_come_in_time_sends_nothing(run: Any, stage: Any) -> None:
    server = stage.serve(PROTOCOLS["pop"], offer("pop", "XOAUTH2"))

    async def never() -> str:
        await asyncio.sleep(60)
        return ""

    async def main() -> Any:
        async with connected("pop", server.port, stage.client_context) as connection:
            with pytest.raises(StreamConnectionLost) as caught:
                await authenticate(connection, sasl.Bearer("alice", never), timeout=0.1)
            return caught.value

    assert run(main).kind == "timeout"
    assert server.heard() == [b"CAPA"]


# --- half a line, and the end


@protocols
@pytest.mark.parametrize("said", ["nothing", "half a challenge", "half a yes"])
def test_half_a_line_before_the_end_is_no_reply(run: Any, stage: Any, protocol: str, said: str) -> None:
    speech = PROTOCOLS[protocol]
    half = {"nothing": b"", "half a challenge": speech.prompt, "half a yes": speech.yes.removesuffix(b"\r\n")}[said]
    answers = [half, "close"]
    server = stage.serve(speech, [*offer(protocol, "PLAIN"), (speech.command("PLAIN", PLAIN), answers)])

    async def main() -> None:
        async with connected(protocol, server.port, stage.client_context) as connection:
            with pytest.raises(StreamConnectionLost):
                await authenticate(connection, PASSWORD)
            assert connection.writer.is_closing()

    run(main)


@protocols
def test_a_line_may_come_octet_by_octet(run: Any, stage: Any, protocol: str) -> None:
    speech = PROTOCOLS[protocol]
    octets = [bytes([octet]) for octet in speech.yes.replace(b"{tag}", b"TAG")]
    if protocol == "imap":
        octets = [b"{tag}", *octets[3:]]
    server = stage.serve(speech, [*offer(protocol, "PLAIN"), (speech.command("PLAIN", PLAIN), octets)])

    async def main() -> None:
        async with connected(protocol, server.port, stage.client_context) as connection:
            await authenticate(connection, PASSWORD)

    run(main)


# --- many at once


@contextmanager
def open_files(count: int) -> Iterator[None]:
    """Let this process have so many files open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count <= hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def crowded() -> Iterator[Servers]:
    """Servers with many users, who may log in in the clear: what TLS takes is not a login's."""
    users = {f"user{number}": f"password{number}" for number in range(MANY)}
    with running(users, settings=Settings(policy=LOOPBACK)) as servers:
        yield servers


def test_of_a_thousand_logins_at_once_none_is_lost(run: Any, crowded: Servers) -> None:
    """All are connected before the first logs in, each as somebody else."""
    servers = [getattr(crowded, protocol) for protocol in PROTOCOLS]
    ready = asyncio.Barrier(MANY)

    async def log_in(number: int) -> str:
        server = servers[number % len(servers)]
        connection = await open_connection(server.protocol, "127.0.0.1", server.port)
        try:
            await ready.wait()
            credentials = sasl.Password(f"user{number}", f"password{number}")
            return await authenticate(connection, credentials, mechanism="PLAIN", policy=LOOPBACK)
        finally:
            connection.close()

    async def main() -> list[str]:
        return list(await asyncio.gather(*map(log_in, range(MANY))))

    with open_files(3 * MANY):
        assert run(main) == ["Authenticated"] * MANY
    attempts = [attempt for server in servers for session in server.sessions for attempt in session.attempts]
    assert {each.outcome for each in attempts} == {"accepted"}
    assert sorted(str(each.identity) for each in attempts) == sorted(f"user{number}" for number in range(MANY))


@protocols
def test_logins_of_one_account_at_once_stand_in_nobodys_way(run: Any, servers: Servers, protocol: str) -> None:
    """Over TLS the first of them learns what the server takes, and the others wait for it without stopping the loop."""
    server, context = getattr(servers, protocol), servers.client_context()

    async def log_in(number: int) -> str:
        async with connected(protocol, server.tls_port, context) as connection:
            password = "wonderland" if number % 2 else "looking-glass"
            try:
                return await authenticate(connection, sasl.Password("alice", password))
            except sasl.AuthenticationFailed:
                return "refused"

    async def main() -> list[str]:
        return list(await asyncio.gather(*map(log_in, range(20))))

    assert run(main) == ["refused", "Authenticated"] * 10


def test_a_login_that_waits_does_not_stop_the_loop(run: Any, stage: Any) -> None:
    """Neither for the server nor for another login of the same account, which waits for the server."""
    speech = PROTOCOLS["imap"]
    server = stage.serve(speech, [*offer("imap", "PLAIN"), (speech.command("PLAIN", PLAIN), "hang")])
    other = stage.serve(speech, [*offer("imap", "PLAIN"), (None, "hang")])
    gaps: list[float] = []

    async def tick() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - before)

    async def log_in(port: int) -> None:
        async with connected("imap", port, stage.client_context) as connection:
            with pytest.raises(StreamConnectionLost):
                await authenticate(connection, PASSWORD, timeout=0.5)

    async def main() -> None:
        ticking = asyncio.create_task(tick())
        await asyncio.gather(log_in(server.port), log_in(other.port))
        ticking.cancel()

    run(main)
    assert len(gaps) > 10
    assert max(gaps) < SLOW
