"""aioimaplib: `authenticate` for its connections (RFC 9051 section 6.2).

During a login the connection's transport has a protocol of ours, and aioimaplib's own one gets it back afterwards.
aioimaplib's would log each line, pass over those that it does not know, keep endless ones, and say nothing of the end
of the connection. Commands of other tasks wait meanwhile, as they do for its own login(). It needs a connection that
has greeted: `await imap.wait_hello_from_server()`.

`authenticate` returns Response("OK", [text]), leaves the state AUTH and the capabilities as they are after the login,
and raises errors that are both ours and aioimaplib's: Error for a refusal (its own login() returns "NO"), Abort for a
lost connection. The LOGIN command stands in for a password that no mechanism takes. Without a `timeout`, the
login has the connection's own. After it has closed a connection, each further command on it raises Abort at once.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial

import aioimaplib

from sasl.errors import ConnectionLost, SASLError, UsageError
from sasl.typed import TYPE_CHECKING

from .binding import AsyncBinding, Dialogue, Library, Offer, bind, channel
from .binding.gone import is_gone_below
from .binding.transport import Lines, borrow
from .wire.imap import CapabilityWire, choose, client_wire, new_tag

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

    from .binding import Family

_ENDED: Final = ("in state STARTED", "in state LOGOUT")
"""How aioimaplib's error for a command ends whose connection is no more, after a logout or after a failed login."""

ERRORS: Final[Family] = bind(aioimaplib.Error, module=__name__, prefix="IMAP", lost=aioimaplib.Abort)


def is_session_lost(error: BaseException) -> bool:
    """Whether an error of aioimaplib or of `authenticate` says that the session is gone: log in on a new one then.

    aioimaplib itself tells a lost connection, and a BYE, by a time-out of the next command.
    """
    if isinstance(error, SASLError) or not isinstance(error, aioimaplib.AioImapException):
        return is_gone_below(error)
    return isinstance(error, aioimaplib.CommandTimeout) or str(error).endswith(_ENDED)


# --- the description


class _Login(aioimaplib.Command):  # type: ignore[misc]  # aioimaplib is not typed: its connections are Any here
    """The running login, for whose end the commands of other tasks wait.

    Attributes:
        lines: what the server says meanwhile.
    """

    def __init__(self, protocol: Any, lines: Lines) -> None:
        super().__init__("AUTHENTICATE", protocol.new_tag(), loop=protocol.loop)
        self.lines = lines
        self._protocol = protocol

    async def wait(self) -> None:
        """Wait for the end of the login. Raises Abort if it was that of the connection, too."""
        await super().wait()
        if self._protocol.state == aioimaplib.STARTED:
            raise aioimaplib.Abort("the connection ended in a login: no command can follow in state STARTED")


@contextmanager
def _borrow(imap: Any) -> Iterator[None]:
    """Read a connection's lines in the place of aioimaplib."""
    _check(imap)  # again: a token was asked for meanwhile
    protocol = imap.protocol
    with borrow(protocol.transport, imap.timeout) as lines:
        protocol.pending_sync_command = running = _Login(protocol, lines)
        try:
            yield
        finally:
            protocol.pending_sync_command = None
            running.close(b"", "OK")


def _check(imap: Any) -> None:
    protocol = imap.protocol
    if protocol.transport is None or protocol.transport.is_closing():
        raise ConnectionLost("there is no connection: await wait_hello_from_server() first")
    if protocol.state != aioimaplib.NONAUTH:
        raise UsageError(f"a login on a connection whose state is {protocol.state}, not NONAUTH")
    if protocol.pending_sync_command is not None or protocol.pending_async_commands:
        raise UsageError("a login while another command is running on the connection")


def _dialogue(imap: Any) -> Dialogue:
    return Dialogue(partial(_send, imap), partial(_readline, imap), partial(_close, imap))


def _send(imap: Any, octets: bytes) -> None:
    imap.protocol.transport.write(octets)


def _readline(imap: Any) -> Any:
    return imap.protocol.pending_sync_command.lines.readline()


def _close(imap: Any) -> None:
    imap.protocol.state = aioimaplib.STARTED  # takes no command; in LOGOUT, logout() would wait for a reply
    if imap.protocol.transport is not None:
        imap.protocol.transport.abort()


def _offer(imap: Any, _dialogue: Dialogue) -> Offer:
    said = tuple(sorted(imap.protocol.capabilities))
    return Offer(partial(choose, said), partial(client_wire, capabilities=said), said)


async def _finish(imap: Any, dialogue: Dialogue) -> aioimaplib.Response:
    text = dialogue.last.rstrip(b"\r\n").split(b" ", 2)[2:]
    protocol, said = imap.protocol, dialogue.wire.capabilities
    if said is None:
        question = CapabilityWire(tag=new_tag())
        await dialogue.ask_async(question)
        said = question.capabilities
    protocol.capabilities = set(said)
    protocol.state = aioimaplib.AUTH
    if not protocol.state_condition.locked():  # else by a logout(), say: it waits for this login, and notifies as well
        async with protocol.state_condition:
            protocol.state_condition.notify_all()
    return aioimaplib.Response("OK", text or [b""])


LIBRARY: Final[Library[Any, aioimaplib.Response]] = Library(
    service="imap",
    errors=ERRORS,
    channel=lambda imap: channel(imap.protocol.transport, service="imap", host=imap.host, port=imap.port),
    dialogue=_dialogue,
    offer=_offer,
    finish=_finish,
    check=_check,
    reserve=_borrow,
    close=_close,
)
authenticate: Final = AsyncBinding(LIBRARY).authenticate
