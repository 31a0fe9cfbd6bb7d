"""How each library tells the end of a session, a time-out, and a refusal that is none, at a server."""

from __future__ import annotations

import asyncio
import imaplib
import smtplib
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

import sasl.adapters.poplib
from sasl.adapters import asyncio as streams
from sasl.adapters.binding import is_gone

from ..support.lasting import HOST, aioimaplib_at, aiosmtplib_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..support.lasting import Server

# library: protocol, what connects to a port, what is asked (a refusal of it raises), what it says on the wire
LIBRARIES: dict[str, tuple[str, Callable[..., Any], Callable[[Any], Any], str]] = {
    "imaplib": ("imap", lambda port: imaplib.IMAP4(HOST, port, timeout=5), lambda conn: raised(conn.noop()), "NOOP"),
    "imapclient": ("imap", lambda port: imapclient(port), lambda conn: conn.folder_status("x", "MESSAGES"), "STATUS"),
    "imap_tools": ("imap", lambda port: imap_tools(port), lambda box: raised(box.client.noop()), "NOOP"),
    "poplib": ("pop", lambda port: sasl.adapters.poplib.POP3(HOST, port, timeout=5), lambda conn: conn.stat(), "STAT"),
    "smtplib": ("smtp", lambda port: smtplib.SMTP(HOST, port, "me.example", 5), lambda conn: mail(conn), "MAIL"),
    "aioimaplib": ("imap", aioimaplib_at, lambda imap: imap.examine("x"), "EXAMINE"),
    "aiosmtplib": ("smtp", aiosmtplib_at, lambda client: client.mail("me@example.org"), "MAIL"),
    "asyncio": ("pop", lambda port: streams.open_connection("pop", HOST, port), lambda conn: stat(conn), "STAT"),
}


def raised(answer: Any) -> Any:
    if answer[0] == "NO":
        raise imaplib.IMAP4.error(answer[1][0])
    return answer


def imapclient(port: int) -> Any:
    conn = import_module("imapclient").IMAPClient(HOST, port, ssl=False, timeout=5)
    conn._imap.state = "AUTH"  # no login is needed here
    return conn


def imap_tools(port: int) -> Any:
    return import_module("imap_tools").MailBoxUnencrypted(HOST, port, timeout=5)


def mail(conn: Any) -> Any:
    return conn.sendmail("me@example.org", ["you@example.org"], b"x\r\n")


async def stat(connection: Any) -> bytes:
    connection.writer.write(b"STAT\r\n")
    line: bytes = await connection.reader.readuntil(b"\n")
    if line.startswith(b"-ERR [SYS/TEMP]"):
        raise sasl.ConnectionLost(line.decode())  # streams have no errors of their own
    return line


def outcome(library: str, server: Server, *, timeout: float | None = None) -> BaseException | None:
    """Connect, ask, and return what is raised."""
    if library not in ("imaplib", "poplib", "smtplib", "asyncio"):
        pytest.importorskip(library)
    _, connect, ask, _ = LIBRARIES[library]

    async def main() -> Any:
        conn = await connect(server.port)
        try:
            if library == "aioimaplib":
                conn.protocol.state = "AUTH"
            if timeout is not None:
                conn.timeout = timeout
            async with asyncio.timeout(timeout if library == "asyncio" else None):
                return await ask(conn)
        finally:
            close(conn)
            await asyncio.sleep(0)

    try:
        if library in ("aioimaplib", "aiosmtplib", "asyncio"):
            asyncio.run(main())
            return None
        conn = connect(server.port)
        if timeout is not None:
            socket_of(conn).settimeout(timeout)
        try:
            ask(conn)
        finally:
            close(conn)
    except Exception as error:
        return error
    return None


def socket_of(conn: Any) -> Any:
    conn = getattr(conn, "client", getattr(conn, "_imap", conn))
    return conn.sock


def close(conn: Any) -> None:
    from sasl.adapters.sessions.ways import ways_of

    ways_of(conn, streams.authenticate).close(conn)


def is_lost(library: str, error: BaseException) -> bool:
    answer: bool = import_module(f"sasl.adapters.{library}").is_session_lost(error)
    assert is_gone(error) is answer
    return answer


@pytest.mark.parametrize("how", ["bye", "silent"])
@pytest.mark.parametrize("library", [name for name in LIBRARIES if name != "aioimaplib"])
def test_the_end_of_a_session_is_told(library: str, how: str, serve: Callable[[str], Server]) -> None:
    """aioimaplib tells of it by a time-out, see below; a session over it tells at once."""
    protocol, _, _, word = LIBRARIES[library]
    server = serve(protocol)
    server.plan = lambda _number, line: how if word in line.upper() else None
    error = outcome(library, server)
    assert error is not None
    assert is_lost(library, error), repr(error)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_server_that_does_not_answer_in_time_has_lost_the_session(
    library: str, serve: Callable[[str], Server]
) -> None:
    protocol, _, _, word = LIBRARIES[library]
    server = serve(protocol)
    server.plan = lambda _number, line: b"" if word in line.upper() else None
    error = outcome(library, server, timeout=0.05)
    assert error is not None
    assert is_lost(library, error), repr(error)


REFUSALS = {
    "imap": "* NO a warning\r\n{tag} NO [UNAVAILABLE] not now\r\n",
    "pop": "-ERR [SYS/PERM] no\r\n",
    "smtp": "451 4.3.0 later\r\n",
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_refusal_is_no_end_also_behind_an_untagged_no(library: str, serve: Callable[[str], Server]) -> None:
    protocol, _, _, word = LIBRARIES[library]
    server = serve(protocol)
    server.plan = lambda _number, line: (
        REFUSALS[protocol].replace("{tag}", line.split(" ")[0]) if word in line.upper() else None
    )
    error = outcome(library, server)
    assert error is None or not is_lost(library, error), repr(error)
