"""How a session does things with connections of each library: closes them, takes leave, selects a mailbox."""

from __future__ import annotations

import re
import select
from functools import partial
from importlib import import_module
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

from sasl.errors import ConnectionLost, UsageError
from sasl.value import replace, value

from ..binding.clock import socket_of
from ..binding.event_loop import within

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sasl.channel import Channel

    Selected: TypeAlias = "tuple[bool, int | None] | None"
    """Whether a mailbox can only be read, and its UIDVALIDITY; None if the server has refused it."""

_HUNG_UP: Final = getattr(select, "POLLRDHUP", 0) | getattr(select, "POLLHUP", 0) | getattr(select, "POLLERR", 0)
_UIDVALIDITY: Final = re.compile(rb"(?:\* )?OK \[UIDVALIDITY ([0-9]{1,10})\].*", re.IGNORECASE | re.DOTALL)


def _close(conn: Any) -> None:
    for name in _CLOSERS:
        if callable(close := getattr(conn, name, None)):
            break
    else:
        raise UsageError(f"nobody knows how to close a {type(conn).__name__}: give a `close`")
    try:
        close()
    except OSError:
        pass  # it is closed already


_CLOSERS: Final = ("shutdown", "close", "logout", "quit")
"""How a connection is closed. imaplib's close() closes a mailbox; who has none of the first two takes leave."""
_NONE: Final[Callable[..., Any]] = lambda *_: None  # noqa: E731 -- what a library has nothing to do for


@final
@value
class Ways:
    """What a session does with connections of a library. What waits in an asynchronous one is to be awaited.

    Attributes:
        close: close it at once; never fail.
        channel: describe it; None where nobody can.
        leave: take leave, as the protocol wants it.
        sock: return its socket; None where there is none, or none that anybody knows.
        select: select a mailbox by name, to read it only or not; return what the library returns. None outside of IMAP.
        selected: tell of what `select` has returned.
        enable: enable extensions by their names.
        enabled: return their names as far as the server has enabled them, from what `enable` has returned.
        run: run a function with it. aioimaplib does not tell a command that the connection has ended.
        mark: return what stays the same object while nobody else selects a mailbox; None if none is selected.
        send: return what sends a message: see `sasl.adapters.sessions.delivery`. None outside of SMTP.
    """

    close: Callable[[Any], Any] = _close
    channel: Callable[[Any], Channel] | None = None
    leave: Callable[[Any], Any] = _NONE
    sock: Callable[[Any], Any] = _NONE
    select: Callable[..., Any] | None = None
    selected: Callable[[Any, Any], Selected] = _NONE
    enable: Callable[[Any, tuple[str, ...]], Any] = _NONE
    enabled: Callable[[Any, Any], tuple[str, ...]] = lambda *_: ()
    mark: Callable[[Any], Any] = _NONE
    run: Callable[[Callable[[Any], Any], Any], Any] = lambda function, conn: function(conn)
    send: str | None = None

    def is_over(self, conn: Any) -> bool:
        """Whether the server has ended a connection already, as far as the system tells without reading."""
        try:
            sock = self.sock(conn)
            return sock is not None and has_hung_up(sock)
        except Exception:
            return False  # the next command will tell


def has_hung_up(sock: Any) -> bool:
    """Whether the other side of a socket has closed it, or this one; unread octets may be left. It does not wait."""
    number = sock.fileno()
    if number == -1:
        return True
    if not _HUNG_UP:
        return False
    poll = select.poll()
    poll.register(number, _HUNG_UP)
    return any(events & _HUNG_UP for _, events in poll.poll(0))


def ways_of(conn: Any, authenticate: Any) -> Ways:
    """Return how things are done with a connection: of a library that is known here, else as its binding says."""
    for cls in type(conn).__mro__:
        if (make := _KNOWN.get(cls.__module__.partition(".")[0])) is not None:
            return make()
    library = getattr(getattr(authenticate, "__self__", None), "library", None)
    if library is None:
        return Ways()
    found = Ways(close=library.close, channel=library.channel, leave=library.leave)
    if library is import_module("..asyncio", __package__).LIBRARY:
        return replace(found, leave=_leave_streams, sock=_sock_of_streams)
    return found


# --- IMAP


def _imaplib(inner: Callable[[Any], Any] = lambda conn: conn) -> Ways:
    library = import_module("..imaplib", __package__).LIBRARY
    return Ways(
        close=lambda conn: library.close(inner(conn)),
        channel=lambda conn: library.channel(inner(conn)),
        leave=lambda conn: inner(conn).logout(),
        sock=lambda conn: _sock(inner(conn)),
        select=lambda conn, name, readonly: inner(conn).select(name, readonly),
        selected=lambda conn, result: _selected(inner(conn), result[0] == "OK"),
        enable=lambda conn, names: inner(conn).enable(" ".join(names)),
        enabled=lambda conn, result: _words(
            inner(conn).untagged_responses.get("ENABLED", ()) if result[0] == "OK" else ()
        ),
        mark=lambda conn: inner(conn).untagged_responses if inner(conn).state == "SELECTED" else None,
    )


def _sock(conn: Any) -> Any:
    return socket_of(conn.sock)


def _selected(conn: Any, yes: bool) -> Selected:  # noqa: FBT001
    """Read what imaplib keeps of a SELECT."""
    if not yes:
        return None
    said = conn.untagged_responses
    return "READ-ONLY" in said or conn.is_readonly, _number((said.get("UIDVALIDITY") or [None])[-1])


def _number(said: bytes | int | None) -> int | None:
    return None if said is None else int(said)


def _words(said: Any) -> tuple[str, ...]:
    return tuple(word.decode("ascii", "replace").upper() for line in said if line for word in line.split())


def _imapclient() -> Ways:
    return replace(
        _imaplib(lambda conn: conn._imap),  # noqa: SLF001 -- as its binding does
        leave=methodcaller("logout"),
        select=lambda conn, name, readonly: conn.select_folder(name, readonly),
        selected=lambda conn, _result: _selected(conn._imap, yes=True),  # noqa: SLF001
        enable=lambda conn, names: conn.enable(*names),
        enabled=lambda _conn, result: _words(result),
    )


def _imap_tools() -> Ways:
    return replace(
        _imaplib(lambda conn: conn.client),
        select=lambda conn, name, readonly: conn.folder.set(name, readonly),
    )


def _aioimaplib() -> Ways:
    library = import_module("..aioimaplib", __package__).LIBRARY
    return Ways(
        close=library.close,
        channel=library.channel,
        leave=methodcaller("logout"),
        sock=lambda conn: conn.protocol.transport.get_extra_info("socket"),
        select=_select_with_aioimaplib,
        selected=lambda _conn, result: _selected_with_aioimaplib(result),
        enable=lambda conn, names: conn.enable(" ".join(names)),
        enabled=lambda _conn, result: _words(_enabled_lines(result)),
        mark=lambda conn: conn.protocol.state if conn.protocol.state == "SELECTED" else None,
        run=_run_with_aioimaplib,
    )


class _Selected(str):
    """aioimaplib's state, as a session has brought it about: whoever else selects puts another object in its place."""

    __slots__ = ()


async def _select_with_aioimaplib(conn: Any, name: str, readonly: bool) -> Any:  # noqa: FBT001
    result = await (conn.examine(name) if readonly else conn.select(name))
    if result.result == "OK":
        conn.protocol.state = _Selected("SELECTED")  # aioimaplib forgets that for EXAMINE, and then refuses FETCH
        conn.protocol.simple_command = partial(_simple_command, conn.protocol)
    return result


async def _simple_command(protocol: Any, name: str, *words: str) -> Any:
    """Do what aioimaplib does, and note an EXAMINE, for which it notes nothing."""
    if name == "EXAMINE" and protocol.state == "SELECTED":
        protocol.state = "SELECTED"
    return await type(protocol).simple_command(protocol, name, *words)


async def _run_with_aioimaplib(function: Callable[[Any], Any], conn: Any) -> Any:
    """Run a function until it ends, or the connection does: aioimaplib would let a command wait for its time-out."""
    import asyncio

    result = function(conn)
    if not hasattr(result, "__await__"):
        return result
    running, protocol = asyncio.ensure_future(result), conn.protocol
    before, over = protocol.conn_lost_cb, asyncio.Event()

    def lost(error: Exception | None) -> None:
        over.set()
        if before is not None:
            before(error)

    protocol.conn_lost_cb = lost
    ending = asyncio.ensure_future(over.wait())
    try:
        if not protocol.transport.is_closing():
            await asyncio.wait([running, ending], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0)  # what came last may be the answer
        if running.done():
            return running.result()
    finally:
        protocol.conn_lost_cb = before
        await _cancel(running, ending)
    raise ConnectionLost("the connection has ended")


async def _cancel(*tasks: Any) -> None:
    import asyncio

    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _selected_with_aioimaplib(result: Any) -> Selected:
    if result.result != "OK":
        return None
    lines = [bytes(line) for line in result.lines]
    found = [match for line in lines if (match := _UIDVALIDITY.fullmatch(line))]
    readonly = any(line.upper().startswith(b"[READ-ONLY]") for line in lines)
    return readonly, int(found[-1][1]) if found else None


def _enabled_lines(result: Any) -> list[bytes]:
    lines = [bytes(line) for line in result.lines] if result.result == "OK" else []
    return [line.partition(b" ")[2] for line in lines if line.upper().startswith(b"ENABLED ")]


# --- POP3, SMTP, ManageSieve


def _of(name: str, send: str | None = None) -> Ways:
    library = import_module(f"..{name}", __package__).LIBRARY
    return Ways(close=library.close, channel=library.channel, leave=methodcaller("quit"), sock=_sock, send=send)


def _aiosmtplib() -> Ways:
    return replace(
        _of("aiosmtplib", "aiosmtplib"),
        close=_close_aiosmtplib,
        sock=lambda conn: _NOTHING if conn.transport is None else conn.transport.get_extra_info("socket"),
    )


class _Nothing:
    """The socket of what has let go of its own."""

    @staticmethod
    def fileno() -> int:
        return -1


_NOTHING: Final = _Nothing()


def _close_aiosmtplib(conn: Any) -> None:
    transport = conn.transport
    conn.close()
    if transport is not None:
        transport.abort()  # close() leaves it to the loop to say goodbye


def _sievelib() -> Ways:
    return replace(_of("sievelib"), leave=methodcaller("logout"))


_KNOWN: Final[Mapping[str, Callable[[], Ways]]] = {
    "imaplib": _imaplib,
    "imapclient": _imapclient,
    "imap_tools": _imap_tools,
    "aioimaplib": _aioimaplib,
    "poplib": partial(_of, "poplib"),
    "smtplib": partial(_of, "smtplib", "smtplib"),
    "aiosmtplib": _aiosmtplib,
    "sievelib": _sievelib,
}


# --- streams


def _sock_of_streams(connection: Any) -> Any:
    return connection.writer.get_extra_info("socket")


async def _leave_streams(connection: Any) -> None:
    """Take leave on streams: send the command, and read the reply; in IMAP that is all until the connection's end."""
    await within(_FAREWELL, (_log_out if connection.protocol == "imap" else _quit)(connection))


async def _log_out(connection: Any) -> None:
    connection.writer.write(b"z LOGOUT\r\n")
    await connection.writer.drain()
    while await connection.reader.read(4_096):
        pass


async def _quit(connection: Any) -> None:
    connection.writer.write(b"QUIT\r\n")
    await connection.writer.drain()
    line = await connection.reader.readline()
    if connection.protocol == "pop" and not line.startswith(b"+OK"):
        raise ConnectionLost("the server has not said that it has deleted what was marked")


_FAREWELL: Final = 10.0
"""Seconds that a server has for its farewell on streams, which have no time-out of their own."""
