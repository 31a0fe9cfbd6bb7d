"""The listening sockets of the servers and everything that came of them, in an event loop or in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

from sasl.errors import UsageError

from .certificates import ADDRESSES
from .connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from contextlib import AbstractAsyncContextManager

_BACKLOG: Final = 256
_Running = TypeVar("_Running")


@final
class Listeners:
    """Sockets that listen, and the dialogue of each connection."""

    def __init__(self) -> None:
        self._listeners: list[asyncio.Server] = []
        self._dialogues: dict[asyncio.Task[None], Connection] = {}

    async def open(self, hold: Callable[[Connection], Coroutine[Any, Any, None]], host: str, port: int) -> int:
        """Listen at a port, 0 for one that is free, and return it. Raises OSError if it cannot be had.

        `hold` returns the dialogue with a connection, which closes it at its end.
        """

        def begin(connection: Connection) -> None:
            task = loop.create_task(hold(connection))
            self._dialogues[task] = connection
            task.add_done_callback(lambda task: self._dialogues.pop(task, None))

        loop = asyncio.get_running_loop()
        listener = await loop.create_server(lambda: Connection(begin), host, port, backlog=_BACKLOG)
        self._listeners.append(listener)
        bound: int = listener.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Take no more connections and end those that there are."""
        loop = asyncio.get_running_loop()
        for sock in (sock for listener in self._listeners for sock in listener.sockets):
            with contextlib.suppress(NotImplementedError):  # a loop that does not work by readiness
                loop.remove_reader(sock.fileno())
        for _ in range(2):  # asyncio loses a connection that it has accepted but not made, if the listener closes now
            await asyncio.sleep(0)
        for listener in self._listeners:
            listener.close()
        while dialogues := dict(self._dialogues):
            for task in dialogues:
                task.cancel()
            await asyncio.gather(*dialogues, return_exceptions=True)
            for task, connection in dialogues.items():
                connection.abort()  # a task that was cancelled before it began has closed nothing
                await connection.wait_closed()
                self._dialogues.pop(task, None)
        for listener in self._listeners:
            await listener.wait_closed()


@contextlib.contextmanager
def in_thread(serving: AbstractAsyncContextManager[_Running], name: str) -> Iterator[_Running]:
    """Hold what runs in an event loop open in a thread of its own, until the block ends."""
    started: Future[tuple[_Running, Callable[[], object]]] = Future()
    ended: Future[None] = Future()

    async def serve() -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with serving as running:
            started.set_result((running, lambda: loop.call_soon_threadsafe(stopped.set)))
            await stopped.wait()

    def work() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            (ended if started.done() else started).set_exception(error)
        else:
            ended.set_result(None)

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    running, stop = started.result()
    try:
        yield running
    finally:
        stop()
        ended.result()
        thread.join()


def loopback(host: str, what: str) -> str:
    """Return the address to listen at. Raises UsageError for one that is not of this machine alone."""
    address = "127.0.0.1" if host == "localhost" else host
    if address not in ADDRESSES:
        raise UsageError(f"{what} at {' or '.join(ADDRESSES)}, not at {host!r}")
    return address
