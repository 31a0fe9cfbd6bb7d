"""The listening sockets of the servers and everything that came of them, in an event loop or in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, final

from sasl.errors import UsageError

from .certificates import ADDRESSES
from .connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

_BACKLOG: Final = 256
_PATIENCE: Final = 0.2  # seconds of waiting for a loop, until somebody looks whether it is there still
_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 -- for whoever asks for it
_Running = TypeVar("_Running")
_Result = TypeVar("_Result")
_Given = ParamSpec("_Given")


@final
class PortTaken(OSError):
    """A port cannot be had.

    Attributes:
        server: whose it was to be.
        port: its number, 0 for one that is free.
    """

    server = ""
    port = 0


@contextlib.contextmanager
def name_port(server: str, port: int) -> Iterator[None]:
    """Say whose port it is that cannot be had: what is an OSError within is a PortTaken."""
    try:
        yield
        return
    except OSError as error:
        taken = PortTaken(*error.args)
    taken.server, taken.port = server, port
    raise taken


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


@final
class LoopCalls:
    """Runs functions in the event loop that it was made in, from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._closed = False

    def __call__(self, function: Callable[[], _Result]) -> _Result:
        """Return what a function returns, or raise what it raises; once all is over it runs here."""
        if self._closed or threading.get_ident() == self._thread:
            return function()
        done: Future[_Result] = Future()

        def run() -> None:
            try:
                done.set_result(function())
            except BaseException as error:
                done.set_exception(error)

        try:
            self._loop.call_soon_threadsafe(run)
        except RuntimeError:
            return function()  # the loop was closed just now
        while not wait([done], _PATIENCE).done:
            if self._loop.is_closed():
                run()  # it ended before it came to this
        return done.result()

    @property
    def here(self) -> bool:
        """Whether this is the thread of the loop, while it runs."""
        return not self._closed and threading.get_ident() == self._thread

    def close(self) -> None:
        """Note that the loop ends."""
        self._closed = True


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


def in_thread_of(
    serving: Callable[_Given, AbstractAsyncContextManager[_Running]], name: str
) -> Callable[_Given, AbstractContextManager[_Running]]:
    """Return the blocking twin of what runs in an event loop. It takes the same arguments."""

    @contextlib.contextmanager
    def running(*args: _Given.args, **options: _Given.kwargs) -> Iterator[_Running]:
        """Do what `serving` does, in a thread of its own: for tests, documentation and blocking clients."""
        with in_thread(serving(*args, **options), name) as what_runs:
            yield what_runs

    return functools.update_wrapper(running, serving, assigned=("__module__",), updated=())


def listening_address(host: str, what: str, *, remote: str = "") -> str:
    """Return the address to listen at: of this machine alone, or all there are where others are let in.

    Raises UsageError for another one.
    """
    if remote:
        return _EVERYWHERE
    address = "127.0.0.1" if host == "localhost" else host
    if address not in ADDRESSES:
        raise UsageError(f"{what} at {' or '.join(ADDRESSES)}, not at {host!r}")
    return address
