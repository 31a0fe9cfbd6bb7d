"""The lines of a login: how a library's connection sends and reads them, and what is shown of them."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from functools import partial

from sasl.errors import Cancelled, ConnectionLost, ProtocolError, is_interruption
from sasl.typed import TYPE_CHECKING

from ..wire.client import LONGEST_LINE
from ..wire.text import one_line, text_of
from .errors import timeout_error
from .gone import is_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Final

    from sasl.errors import SASLError

    from ..wire import Line, Wire
    from ..wire.answer import Answer
    from ..wire.pop import CapaWire
    from ..wire.sieve import CapabilityWire
    from ..wire.starttls import StartTls
    from .drive import Steps

READ: Final = LONGEST_LINE + 1
"""Octets to read at most for one line: one more than a wire takes, so that it sees that there are too many."""


class Work(partial):  # type: ignore[type-arg]  # it is none at run time
    """A call that may compute for long and waits for nothing: no event loop should stand still for it."""


class Dialogue:
    """A library's connection during a login: lines out, lines in, each shown without what must not be seen.

    `send` writes octets at once, `readline` returns a line with its end (b"" at the end of the connection), `close`
    ends it and never fails; in an asynchronous library they return what is to be awaited. `show` takes each line as it
    may be shown, for the library's debug output; None if that is off. The logger `sasl` gets the same at DEBUG.
    A library that has read the server's replies itself returns them from `readline`, and `receive(wire, reply)` tells
    the wire of one: `lambda wire, reply: wire.replied(reply.code, reply.lines)`.
    `unasked` is called before a line is sent, and returns the error for what the server has said before it; None if it
    has said nothing. It is for protocols whose replies name no command: an early one would be the reply to the line.

    Attributes:
        wire: the exchange that was held, or None.
        last: the server's last line, with its end.
        refused: the line in which the server said no, as it may be shown; "" if there is none.
        hint: what to add to an error that says that nobody can log in.
    """

    def __init__(
        self,
        send: Callable[[bytes], Any],
        readline: Callable[[], Any],
        close: Callable[[], Any],
        *,
        show: Callable[[str], object] | None = None,
        unasked: Callable[[], SASLError | None] | None = None,
        receive: Callable[[Any, Any], Line | None] | None = None,
    ) -> None:
        self.readline = readline
        self.close = close
        self.wire: Any = None
        self.last = b""
        self.refused = ""
        self.hint = ""
        self._send = send
        self._unasked = unasked
        self._receive = receive
        self._ended = False
        self._shows = [] if show is None else [show]
        logging = sys.modules.get("logging")  # who has not imported it listens to nothing
        if logging is not None and (logger := logging.getLogger("sasl")).isEnabledFor(logging.DEBUG):
            self._shows.append(partial(logger.debug, "%s"))

    def send(self, line: Line) -> Any:
        """Send a line, in one write. Where the server has spoken before, close the connection and raise instead."""
        if self._unasked is not None and (error := self._unasked()) is not None:
            self.close()
            raise error
        for show in self._shows:
            show(f"C: {line.shown}")
        return self._send(line.octets)

    def take(self, line: bytes, shown: Callable[[bytes], str] | None = None) -> bytes:
        """Take what `readline` returned, and return it. Raises EOFError if it is no line, or only a part of one."""
        if not line.endswith(b"\n") and len(line) < READ:
            raise EOFError
        self.last = line
        for show in self._shows:
            show(f"S: {shown(line) if shown else one_line(text_of(line))}")
        return line

    def ask(self, wire: CapaWire | CapabilityWire) -> None:
        """Ask the server of a synchronous library what it can do. Close the connection where it has no answer."""
        self.send(wire.command())
        while not wire.done:
            wire.receive(self.take(self.readline()))
        if wire.error is not None:
            self.close()
            raise wire.error

    async def ask_async(self, wire: Any) -> None:
        """Ask the server of an asynchronous library, as `ask` does."""
        sent = self.send(wire.command())
        if sent is not None:
            await sent
        await self.hear(wire)

    async def hear(self, answer: Answer) -> None:
        """Read an answer of the server of an asynchronous library. Close the connection where it is none."""
        await self.read(answer)
        if answer.error is not None:
            self.close()
            raise answer.error

    async def read(self, answer: Answer | StartTls) -> None:
        """Read lines of the server of an asynchronous library until an answer is whole, or is none."""
        while not answer.done:
            answer.receive(self.take(await self.readline()))

    def scrub(self, text: str) -> str:
        """Return a text without the credentials that have left, as they are and as they were sent."""
        return text if self.wire is None else self.wire.scrub(text)

    def end(self) -> Steps[None]:
        """Close the connection, once. What closing raises is worth less than what has led to it."""
        if self._ended:
            return
        self._ended = True
        try:
            yield self.close
        except Exception as error:
            if is_interruption(error):
                raise

    def hold(self, wire: Wire) -> Steps[None]:
        """Run a wire to its end, raise its error if it has one, close the connection if nothing else can follow.

        Raises UsageError before anything is sent if the credentials cannot be used.
        """
        if self.wire is not None:
            wire.hide(self.wire)
        self.wire = wire
        self.refused = ""
        receive = self._receive
        line: Line | None = wire.command()
        try:
            while not wire.done:
                if line is not None:
                    yield partial(self.send, line)
                said = yield self.readline
                take = Work(receive, wire, said) if receive else Work(wire.receive, self.take(said, wire.shown))
                line = (yield take) if wire.exchange.derives else take()
        except TimeoutError:
            wire.abandon(timeout_error())
        except (EOFError, OSError):
            wire.lost()
        except (ConnectionLost, ProtocolError) as error:  # of the connection's: a wire raises none
            wire.abandon(error)
        except BaseException as error:
            if not is_gone(error):
                wire.abandon(Cancelled("the exchange was interrupted"))
                raise
            wire.lost()
        if wire.must_close:
            yield from self.end()
        elif wire.error is not None:
            self.refused = wire.shown(self.last)
        if wire.error is not None:
            raise wire.error


@contextmanager
def quiet(conn: Any, level: str) -> Iterator[None]:
    """Turn a library's debug output off, whose level is in the attribute of that name: it would show the credential."""
    before = getattr(conn, level)
    setattr(conn, level, 0)
    try:
        yield
    finally:
        setattr(conn, level, before)


def print_debug(text: str) -> None:
    """Print a line as poplib prints its debug output: on the standard output."""
    print(text)
