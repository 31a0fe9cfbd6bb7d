"""What happens, as it happens: server-sent events (WHATWG HTML, section 9.2), for the page and whoever else listens.

Each event has the name of a topic, and as its data what a GET of that topic returns, less what is old. Changes that
come faster than somebody reads them fall together: nothing is queued, so that a slow reader costs no memory and misses
no last state.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any, Final, final

from ..http import stream_head
from .table import Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from ..connection import Connection

MOST_AT_ONCE: Final = 64
"""How many requests may wait or look on at the same time."""

_PAUSE: Final = 0.05  # seconds for what belongs together to fall together
_QUIET: Final = 15.0  # seconds after which a line says that all is well


@final
class Live:
    """Who waits for changes."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Event] = set()
        self._busy = 0

    def tell(self, *_what: object) -> None:
        """Let everybody look again. To be called in the servers' event loop."""
        for event in self._waiting:
            event.set()

    @contextlib.contextmanager
    def place(self) -> Iterator[bool]:
        """Take a place among those that wait; whether there was one."""
        if self._busy >= MOST_AT_ONCE:
            yield False
            return
        self._busy += 1
        try:
            yield True
        finally:
            self._busy -= 1

    async def stream(self, connection: Connection, topics: Mapping[str, Callable[[], Any]]) -> None:
        """Send each topic, and again whenever it has changed, until the client goes away."""
        changed = asyncio.Event()
        self._waiting.add(changed)
        gone = asyncio.ensure_future(_gone(connection))
        try:
            connection.write(stream_head("text/event-stream"))
            sent: dict[str, str] = {}
            while not gone.done():
                changed.clear()
                for topic, view in topics.items():
                    data = json.dumps(view())
                    if sent.get(topic) != data:
                        sent[topic] = data
                        connection.write(f"event: {topic}\ndata: {data}\n\n".encode())
                await connection.drain()
                await _first_of(gone, changed, connection)
        finally:
            self._waiting.discard(changed)
            gone.cancel()


async def while_there(doing: Awaitable[Any], connection: Connection) -> Any:
    """Return what something comes to. Give it up and raise Problem if the client goes away before."""
    task, gone = asyncio.ensure_future(doing), asyncio.ensure_future(_gone(connection))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Problem(408, "gone", "who asked has ended the connection")
    finally:
        task.cancel()
        gone.cancel()


async def _first_of(gone: asyncio.Future[None], changed: asyncio.Event, connection: Connection) -> None:
    """Wait until something has changed, or the client has gone; say now and then that the connection stands."""
    wait = asyncio.ensure_future(changed.wait())
    both: set[asyncio.Future[Any]] = {gone, wait}
    try:
        while not (await asyncio.wait(both, timeout=_QUIET, return_when=asyncio.FIRST_COMPLETED))[0]:
            connection.write(b": quiet\n\n")
            await connection.drain()
    finally:
        wait.cancel()
    if not gone.done():
        await asyncio.sleep(_PAUSE)


async def _gone(connection: Connection) -> None:
    """Wait until the client sends no more."""
    while await connection.read(4_096):
        pass
