"""What the provider to test against costs a test: servers from start to stop, a reset, a login, and much mail.

Each is measured against a floor that does no more than it must: bare listeners of asyncio under TLS, which give the
same octets for answers that were written before.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import imaplib
import ssl
import statistics
import threading
import time
from typing import TYPE_CHECKING, Any

from sasl.adapters.reference import running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sasl.adapters.reference import Servers

ROUNDS = 15
MESSAGES = 500
MESSAGE = (
    "From: a@example.org\r\nTo: b@example.org\r\nSubject: {}\r\n\r\n" + "A line of some length, as in mail.\r\n" * 40
)
RESPONSE = base64.b64encode(b"\0alice\0wonderland").decode()


def costs() -> dict[str, dict[str, float]]:
    """Return milliseconds of each row, by ours and by its floor: medians of ROUNDS, taken in turns."""
    with running() as servers, _floor(servers) as port:
        for number in range(MESSAGES):
            servers.deliver("alice", MESSAGE.format(number))
        ours, bare = servers.imap.tls_port, port
        rows: dict[str, dict[str, Callable[[], float]]] = {
            "eight listeners, from start to stop": {"saslkit": _start, "floor": lambda: _start_floor(servers)},
            "login": {"saslkit": lambda: _login(servers, ours), "floor": lambda: _login(servers, bare)},
            f"FETCH of {MESSAGES} messages": {
                "saslkit": lambda: _fetch(servers, ours),
                "floor": lambda: _fetch(servers, bare),
            },
        }
        found = {title: _medians(contenders) for title, contenders in rows.items()}
    with running() as servers:
        found["a reset, against a new set"] = _medians({"saslkit": lambda: _reset(servers), "floor": _start})
    return found


def _medians(contenders: dict[str, Callable[[], float]]) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, call in contenders.items():
            taken[name].append(call() * 1e3)
    return {name: statistics.median(times) for name, times in taken.items()}


def _start() -> float:
    start = time.perf_counter()
    with running():
        pass
    return time.perf_counter() - start


def _start_floor(servers: Servers) -> float:
    start = time.perf_counter()
    with _floor(servers, listeners=8):
        pass
    return time.perf_counter() - start


def _reset(servers: Servers) -> float:
    for number in range(10):
        servers.deliver("alice", MESSAGE.format(number))
    start = time.perf_counter()
    servers.reset()
    return time.perf_counter() - start


def _login(servers: Servers, port: int) -> float:
    with imaplib.IMAP4_SSL("localhost", port, ssl_context=servers.client_context()) as conn:
        start = time.perf_counter()
        _log_in(conn)
        return time.perf_counter() - start


def _fetch(servers: Servers, port: int) -> float:
    with imaplib.IMAP4_SSL("localhost", port, ssl_context=servers.client_context()) as conn:
        _log_in(conn)
        conn.select("INBOX", readonly=True)
        start = time.perf_counter()
        _, data = conn.fetch("1:*", "(BODY.PEEK[])")
        took = time.perf_counter() - start
    if len(data) != 2 * MESSAGES:
        raise SystemExit("a server did not give all messages: the row would compare nothing")
    return took


def _log_in(conn: imaplib.IMAP4) -> None:
    status, _ = conn.xatom("AUTHENTICATE", "PLAIN", RESPONSE)
    if status != "OK":
        raise SystemExit("a server did not let in: the row would compare nothing")
    conn.state = "AUTH"


# --- the floor


@contextlib.contextmanager
def _floor(servers: Servers, listeners: int = 1) -> Iterator[int]:
    """Run bare listeners in a thread, with the certificate of servers that run; give the port of the first."""
    context = _context(servers.ca_file.parent)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    try:
        opened = [run(asyncio.start_server(_serve, "127.0.0.1", 0, ssl=context)) for _ in range(listeners)]
        yield opened[0].sockets[0].getsockname()[1]
        for server in opened:
            loop.call_soon_threadsafe(server.close)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _context(directory: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem", directory / "server.key", password="")
    return context


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"* OK ready\r\n")
    while line := await reader.readline():
        tag, command = line.split()[:2]
        writer.write(ANSWERS.get(command, b"") + tag + b" OK done\r\n")
        await writer.drain()
        if command == b"LOGOUT":
            break
    writer.close()


def _mail() -> bytes:
    messages = [MESSAGE.format(number).encode() for number in range(MESSAGES)]
    return b"".join(
        b"* %d FETCH (BODY[] {%d}\r\n%b)\r\n" % (number, len(each), each) for number, each in enumerate(messages, 1)
    )


ANSWERS = {
    b"CAPABILITY": b"* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN\r\n",
    b"EXAMINE": b"* %d EXISTS\r\n* OK [UIDVALIDITY 1] good\r\n" % MESSAGES,
    b"FETCH": _mail(),
    b"LOGOUT": b"* BYE\r\n",
}
