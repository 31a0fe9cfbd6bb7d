"""What differs from one event loop to another: how to wait for so long and no longer, or for a thread.

It is for asyncio and for trio. Neither is loaded here: who runs in one has loaded it.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress

from sasl.errors import UsageError
from sasl.typed import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from asyncio import Lock
    from collections.abc import Awaitable, Callable, Iterator
    from typing import Any

T = TypeVar("T")


async def within(seconds: float | None, awaitable: Awaitable[T]) -> T:
    """Await something, so many seconds at most; as long as it takes for None. Raises TimeoutError."""
    if seconds is None:
        return await awaitable
    trio = _running_trio()
    if trio is None:
        async with sys.modules["asyncio"].timeout(seconds):
            return await awaitable
    with trio.move_on_after(seconds):
        return await awaitable
    raise TimeoutError


async def in_thread(call: Callable[[], T]) -> T:
    """Return what a call returns that runs in a thread, while the loop goes on. It has ended when this leaves."""
    trio = _running_trio()
    if trio is not None:
        result: T = await trio.to_thread.run_sync(call)
        return result
    asyncio = sys.modules["asyncio"]
    running = asyncio.get_running_loop().run_in_executor(None, call)
    try:
        result = await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        raise
    return result


async def wait_for_call(subscribe: Callable[[Callable[[], object]], object], seconds: float) -> None:
    """Give a function to `subscribe`, and wait until it is called, in whatever thread; so many seconds at most."""
    trio = _running_trio()
    if trio is None:
        import asyncio

        over: Any = asyncio.Event()
        call_soon: Any = asyncio.get_running_loop().call_soon_threadsafe
    else:
        over = trio.Event()
        call_soon = trio.lowlevel.current_trio_token().run_sync_soon

    def wake() -> None:
        try:
            call_soon(over.set)
        except RuntimeError:
            pass  # the loop has ended before the call

    subscribe(wake)
    try:
        await within(seconds, over.wait())
    except TimeoutError:
        pass


@contextmanager
def take_lock(lock: Lock) -> Iterator[None]:
    """Hold the lock by which commands of a library wait for one another. Raises UsageError where that takes a wait."""
    taking = lock.acquire()
    try:
        taking.send(None)
    except StopIteration:
        pass
    else:
        taking.close()
        raise UsageError("a login while another command is running on the connection")
    try:
        yield
    finally:
        lock.release()


async def pause(seconds: float) -> None:
    """Wait for so many seconds."""
    trio = _running_trio()
    await (sys.modules["asyncio"] if trio is None else trio).sleep(seconds)


def new_lock() -> Any:
    """Return a lock for the tasks of the running loop."""
    trio = _running_trio()
    return (sys.modules["asyncio"] if trio is None else trio).Lock()


def _running_trio() -> Any:
    """Return the module trio if this task is one of trio's, else None."""
    trio = sys.modules.get("trio")
    if trio is not None:
        try:
            trio.lowlevel.current_task()
        except RuntimeError:
            return None
    return trio
