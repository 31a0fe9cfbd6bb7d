"""Many at once, many that never log in, and many one after the other."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import socket
import time
import tracemalloc
from typing import TYPE_CHECKING, Any, Final

import pytest

from sasl.adapters import reference
from sasl.adapters.reference import Settings

from .conftest import MESSAGES

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl.adapters.reference import Servers

CROWDED: Final = {
    "imap": "* BYE Too many connections",
    "pop": "-ERR [SYS/TEMP] Too many connections",
    "smtp": "421 4.3.2 Too many connections",
}


@pytest.mark.parametrize("protocol", CROWDED)
def test_who_is_one_too_many_is_sent_away(protocol: str, connect: Callable[..., Any]) -> None:
    with reference.running(settings=Settings(connections=1)) as servers:
        first = connect(servers, protocol, "clear")
        assert first.line()
        assert connect(servers, protocol, "clear").rest() == [CROWDED[protocol]]
        with pytest.raises((OSError, EOFError)):
            connect(servers, protocol, "TLS").send(b"NOOP\r\n")
        first.close()
        assert _soon(lambda: connect(servers, protocol, "clear").line() != CROWDED[protocol])


def _soon(holds: Callable[[], bool]) -> bool:
    return any(holds() or time.sleep(0.01) for _ in range(500))


@pytest.mark.once
def test_of_a_thousand_that_log_in_at_once_none_is_lost() -> None:
    with _files(4_096), reference.running(settings=Settings(mechanisms=["PLAIN"])) as servers:
        said = asyncio.run(_log_in_at_once(servers, 1_000))
        assert said == {"tag OK": 1_000}
        accepted = [attempt.outcome for session in servers.imap.sessions for attempt in session.attempts]
        assert accepted == ["accepted"] * 1_000


async def _log_in_at_once(servers: Servers, many: int) -> dict[str, int]:
    context, said = servers.client_context(), dict[str, int]()

    async def log_in() -> None:
        where = servers.imap
        reader, writer = await asyncio.open_connection(where.host, where.tls_port, ssl=context)
        await reader.readline()
        writer.write(f"tag AUTHENTICATE PLAIN {MESSAGES['good']}\r\n".encode())
        answer = " ".join((await reader.readline()).decode().split()[:2])
        said[answer] = said.get(answer, 0) + 1
        await everybody.wait()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    everybody = asyncio.Barrier(many)
    await asyncio.gather(*(log_in() for _ in range(many)))
    return said


@pytest.mark.long
def test_ten_thousand_that_never_log_in_are_bounded_and_closed_in_time() -> None:
    settings = Settings(deadline=20.0, connections=2_000)
    with _files(20_000), reference.running(settings=settings) as servers, contextlib.ExitStack() as stack:
        socks = []
        for _ in range(10_000):
            socks.append(stack.enter_context(socket.create_connection((servers.imap.host, servers.imap.port), 60)))
            assert len(servers.call(lambda: servers._backend.open)) <= 2_000
        begun = time.monotonic()
        for sock in socks:
            with contextlib.suppress(ConnectionError):
                while sock.recv(1_000):
                    pass
        assert time.monotonic() - begun < 2 * settings.deadline
        assert _soon(lambda: not servers.call(lambda: len(servers._backend.open)))


@pytest.mark.long
def test_fifty_thousand_logins_take_no_memory_with_them() -> None:
    settings = Settings(mechanisms=["PLAIN", "XOAUTH2"])
    with reference.running(settings=settings) as servers:
        for _ in range(5):  # what is kept of sessions is full then
            asyncio.run(_log_in_in_turn(servers, 1_000))
        gc.collect()
        tracemalloc.start()
        asyncio.run(_log_in_in_turn(servers, 1_000))
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        at_first = _resident()
        for _ in range(43):
            asyncio.run(_log_in_in_turn(servers, 1_000))
        gc.collect()
        tracemalloc.start()
        asyncio.run(_log_in_in_turn(servers, 1_000))
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < before * 1.2 + 1_000_000
        tracemalloc.stop()
        assert _resident() < at_first + 50_000_000


async def _log_in_in_turn(servers: Servers, many: int) -> None:
    context = servers.client_context()
    for _ in range(many):
        reader, writer = await asyncio.open_connection(servers.imap.host, servers.imap.tls_port, ssl=context)
        await reader.readline()
        writer.write(f"a AUTHENTICATE PLAIN {MESSAGES['good']}\r\nb LOGOUT\r\n".encode())
        assert (await reader.readline()).startswith(b"a OK")
        await reader.read()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _resident() -> int:
    """Octets of memory that this process holds now."""
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * resource.getpagesize()


@contextlib.contextmanager
def _files(wanted: int) -> Any:
    """Let this process have so many files open, or skip the test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted:
        pytest.skip(f"this process may have {hard} files open, and the test wants {wanted}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
