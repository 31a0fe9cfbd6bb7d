r"""asyncio: logins on plain streams, a StreamReader and a StreamWriter, for IMAP, POP3, SMTP and LMTP.

    connection = await open_connection("imap", "imap.example.com", 993, tls=ssl.create_default_context())
    await authenticate(connection, credentials)
    connection.writer.write(b"a SELECT INBOX\r\n")

`open_connection` opens, reads the greeting and asks what the server can do; `greet` does that on streams of the
caller's. Between these calls and after them the streams are the caller's: nothing is lost that was read ahead.

Streams have no errors of their own. What is raised is ours, and a lost connection is a ConnectionError as well, which
is what streams raise where they are cut.
"""

from __future__ import annotations

import asyncio
from functools import partial

from sasl import errors
from sasl.errors import ConnectionLost, PolicyViolation, SASLError, UsageError
from sasl.policy import choose
from sasl.typed import TYPE_CHECKING, final
from sasl.value import value

from .binding import (
    AsyncBinding,
    Dialogue,
    Family,
    Library,
    LibraryError,
    Offer,
    channel,
    guard,
    is_gone,
    perform_async,
)
from .binding.dialogue import READ
from .binding.errors import unasked_error
from .binding.event_loop import take_lock
from .binding.tls import NOT_OFFERED
from .wire import LONGEST_LINE, imap, pop, smtp

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Awaitable, Callable, Mapping
    from ssl import SSLContext
    from typing import Any, Final, Literal, TypeAlias

    from .binding.drive import Steps
    from .wire.answer import Answer
    from .wire.starttls import StartTls

    Protocol: TypeAlias = Literal["imap", "pop", "smtp", "lmtp"]

_OURS: Final = Family()


is_session_lost: Final = is_gone
"""Whether an error of streams or of `authenticate` says that the session is gone: log in on a new connection then."""


class StreamConnectionLost(LibraryError, errors.ConnectionLost, ConnectionError, family=_OURS):
    """The server ended the connection, or did not answer in time."""


class StreamServerBusy(errors.ServerBusy, StreamConnectionLost, family=_OURS):
    """The server ended the connection and says that it is for now."""


@final
class Connection:
    """A connection on which the server has greeted.

    Attributes:
        protocol: what is spoken on it: "imap", "pop", "smtp" or "lmtp".
        reader, writer: the streams.
        host: the server's name as the caller meant it, if he said it.
        name: what this machine is called, in protocols where it says so.
        greeting: the server's greeting, of which the last line, without its end.
        capabilities: what the server says that it can do, one by one, as it says it; in IMAP, since a login, what it
            can do then.
    """

    def __init__(
        self, protocol: Protocol, reader: StreamReader, writer: StreamWriter, host: str | None, name: str
    ) -> None:
        self.protocol = protocol
        self.reader = reader
        self.writer = writer
        self.host = host
        self.name = name
        self.greeting = b""
        self.capabilities: tuple[str, ...] = ()
        self._login = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.protocol} {self.host or self.writer.get_extra_info('peername')!r}>"

    def close(self) -> None:
        """Close the connection at once, without a farewell: what was not sent yet is dropped."""
        self.writer.transport.abort()


async def open_connection(
    protocol: Protocol,
    host: str,
    port: int,
    *,
    tls: SSLContext | None = None,
    starttls: SSLContext | None = None,
    name: str | None = None,
) -> Connection:
    """Connect to a server as `asyncio.open_connection` does, and greet as `greet` does.

    TLS begins with the connection where `tls` is its context, and by the protocol's command where `starttls` is.
    Raises OSError where there is no connection or no TLS, and what `greet` raises; nothing is left open then.
    """
    if tls is not None and starttls is not None:
        raise UsageError("TLS begins with the connection or by a command, not both")
    _speech_of(protocol)
    reader, writer = await asyncio.open_connection(host, port, ssl=tls, limit=LONGEST_LINE)
    return await greet(protocol, reader, writer, host=host, starttls=starttls, name=name)


async def greet(
    protocol: Protocol,
    reader: StreamReader,
    writer: StreamWriter,
    *,
    host: str | None = None,
    starttls: SSLContext | None = None,
    name: str | None = None,
) -> Connection:
    """Read the server's greeting on streams that were just opened, and ask what it can do.

    `host` is the server's name: TLS checks the certificate against it, and some mechanisms tell it to the server.
    TLS begins by the protocol's command where `starttls` is its context, or not at all: there is no login without it.
    `name` is what this machine is called in EHLO or LHLO; its address, where there is none.

    Raises PolicyViolation where the server begins no TLS, ProtocolError where it speaks another protocol,
    ConnectionLost and TemporaryFailure where it wants nobody now, and OSError where TLS fails. The connection is closed
    then, and where the task is cancelled.
    """
    connection = Connection(protocol, reader, writer, host, name or _address_of(writer))
    try:
        await _perform(connection, _greet)
        if starttls is not None:
            await _perform(connection, _agree_on_tls)
            await writer.start_tls(starttls, server_hostname=host)
            await _perform(connection, _ask)
    except BaseException:
        connection.close()
        raise
    return connection


# --- what the protocols say


@final
@value
class _Speech:
    """How a protocol says it.

    Attributes:
        service: its name in SASL.
        starttls: the capability and the command that begins TLS.
        greeting: return what reads the server's greeting.
        question: return the wire that asks what the server can do.
        start_tls: return the wire of the command that begins TLS.
        offer: return the offer of a server that has said what it can do.
        farewell: return the error for a line by which a server ends the connection unasked, None for any other; None
            in a protocol whose replies name their command.
    """

    service: str
    starttls: str
    greeting: Callable[[], Answer]
    question: Callable[[Connection], Any]
    start_tls: Callable[[], StartTls]
    offer: Callable[[Connection], Offer]
    farewell: Callable[[bytes], SASLError | None] | None = None


def _offer_imap(connection: Connection) -> Offer:
    said = connection.capabilities
    return Offer(partial(imap.choose, said), partial(imap.client_wire, capabilities=said), said)


def _offer_pop(connection: Connection) -> Offer:
    said, greeting = connection.capabilities, connection.greeting
    return Offer(partial(pop.choose, said, greeting=greeting), partial(pop.client_wire, greeting=greeting), said)


def _offer_smtp(connection: Connection) -> Offer:
    said = connection.capabilities
    return Offer(partial(choose, smtp.mechanisms(said)), smtp.client_wire, said)


def _smtp(verb: str) -> _Speech:
    return _Speech(
        service="smtp",
        starttls="STARTTLS",
        greeting=smtp.Greeting,
        question=lambda connection: smtp.EhloWire(connection.name, verb=verb),
        start_tls=smtp.StartTlsWire,
        offer=_offer_smtp,
        farewell=smtp.farewell,
    )


_SPEECHES: Final[Mapping[str, _Speech]] = {
    "imap": _Speech(
        service="imap",
        starttls="STARTTLS",
        greeting=imap.Greeting,
        question=lambda _connection: imap.CapabilityWire(tag=imap.new_tag()),
        start_tls=lambda: imap.StartTlsWire(tag=imap.new_tag()),
        offer=_offer_imap,
    ),
    "pop": _Speech(
        service="pop",
        starttls="STLS",
        greeting=pop.Greeting,
        question=lambda _connection: pop.CapaWire(),
        start_tls=pop.StartTlsWire,
        offer=_offer_pop,
        farewell=pop.farewell,
    ),
    "smtp": _smtp("EHLO"),
    "lmtp": _smtp("LHLO"),
}


def _speech_of(protocol: str) -> _Speech:
    if protocol not in _SPEECHES:
        raise UsageError(f"a protocol is one of {', '.join(_SPEECHES)}")
    return _SPEECHES[protocol]


def _address_of(writer: StreamWriter) -> str:
    """Return this machine's address as EHLO has it (RFC 5321 section 4.1.3): to look up its name would take time."""
    address = writer.get_extra_info("sockname")
    if not isinstance(address, tuple):  # a socket in the file system
        return "localhost"
    host = address[0].partition("%")[0]
    return f"[IPv6:{host}]" if ":" in host else f"[{host}]"


# --- what comes before a login


async def _perform(connection: Connection, call: Callable[[Connection, Dialogue], Awaitable[None]]) -> None:
    """Let a call talk to the server; what goes wrong leaves as an error of ours."""
    dialogue = _dialogue(connection)

    def steps() -> Steps[None]:
        yield partial(call, connection, dialogue)

    await perform_async(guard(_OURS, dialogue, steps()))


async def _greet(connection: Connection, dialogue: Dialogue) -> None:
    greeting = _speech_of(connection.protocol).greeting()
    await dialogue.hear(greeting)
    connection.greeting = dialogue.last.rstrip(b"\r\n")
    said = getattr(greeting, "capabilities", None)
    if said is None:
        await _ask(connection, dialogue)
    else:
        connection.capabilities = said


async def _ask(connection: Connection, dialogue: Dialogue) -> None:
    """Ask what the server can do."""
    wire = _speech_of(connection.protocol).question(connection)
    await dialogue.ask_async(wire)
    connection.capabilities = tuple(wire.capabilities)


async def _agree_on_tls(connection: Connection, dialogue: Dialogue) -> None:
    """Let the server say that TLS begins; raise if it does not, or if something in the clear comes behind."""
    speech = _speech_of(connection.protocol)
    if not _offers_tls(connection):
        raise PolicyViolation(NOT_OFFERED)
    wire = speech.start_tls()
    await dialogue.send(wire.command())
    await dialogue.read(wire)
    if behind := _at_hand(connection.reader):
        wire.receive(behind)
    if wire.error is not None:
        raise wire.error


def _offers_tls(connection: Connection) -> bool:
    return _speech_of(connection.protocol).starttls in map(str.upper, connection.capabilities)


# --- lines


async def _send(connection: Connection, octets: bytes) -> None:
    connection.writer.write(octets)
    await connection.writer.drain()


async def _readline(connection: Connection) -> bytes:
    """Return a line with its end, or so much of it that it is too long, whatever limit the reader has."""
    line = b""
    while len(line) < READ:
        try:
            return line + await connection.reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as error:
            line += await connection.reader.readexactly(error.consumed)
        except asyncio.IncompleteReadError as error:
            return line + error.partial
    return line


def _at_hand(reader: StreamReader) -> bytes:
    """Return what a reader has read ahead, and wait for nothing."""
    reading = reader.read(READ)
    try:
        reading.send(None)
    except StopIteration as end:
        octets: bytes = end.value
        return octets
    reading.close()
    return b""


def _unasked(connection: Connection, farewell: Callable[[bytes], SASLError | None]) -> SASLError | None:
    """Return the error for what the server says before the next command."""
    if not (said := _at_hand(connection.reader)):
        return None
    line = said.partition(b"\n")[0].rstrip()
    return farewell(line) or unasked_error(line)


# --- the description


def _dialogue(connection: Connection) -> Dialogue:
    farewell = _speech_of(connection.protocol).farewell
    return Dialogue(
        partial(_send, connection),
        partial(_readline, connection),
        connection.close,
        unasked=None if farewell is None else partial(_unasked, connection, farewell),
    )


def _check(connection: Connection) -> None:
    if connection.writer.is_closing():
        raise ConnectionLost("the connection is closed")


def _offer(connection: Connection, dialogue: Dialogue) -> Offer:
    if _offers_tls(connection):
        dialogue.hint = "; it offers STARTTLS: open the connection with `starttls`"
    return _speech_of(connection.protocol).offer(connection)


async def _finish(connection: Connection, dialogue: Dialogue) -> str:
    said: str = dialogue.wire.server_text
    if connection.protocol == "imap":
        if dialogue.wire.capabilities is None:
            await _ask(connection, dialogue)
        else:
            connection.capabilities = dialogue.wire.capabilities
    return said


LIBRARY: Final[Library[Connection, str]] = Library(
    service="",  # one of several: its channel says which
    errors=_OURS,
    channel=lambda connection: channel(
        connection.writer, service=_speech_of(connection.protocol).service, host=connection.host
    ),
    dialogue=_dialogue,
    check=_check,
    offer=_offer,
    finish=_finish,
    reserve=lambda connection: take_lock(connection._login),  # noqa: SLF001
)
authenticate: Final = AsyncBinding(LIBRARY).authenticate
"""Log in on a `Connection`; return what the server says to it, without codes. See `AsyncBinding.authenticate`."""
