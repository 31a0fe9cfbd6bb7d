"""Event loops that tests run in: asyncio's own and uvloop's, in debug mode; a task that is cancelled where it waits."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .libraries import SLOW

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator

T = TypeVar("T")

LOOPS: Final = ["asyncio", *(["uvloop"] if importlib.util.find_spec("uvloop") else [])]
"""Those that are installed."""


def new_loop(name: str) -> asyncio.AbstractEventLoop:
    """Return a new event loop."""
    if name == "asyncio":
        return asyncio.new_event_loop()
    import uvloop

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def run_in(name: str, main: Callable[[], Coroutine[Any, Any, T]], *, slow: float = 0.1) -> T:
    """Run a coroutine function to its end in a loop in debug mode, which logs each callback of `slow` seconds."""
    with asyncio.Runner(debug=True, loop_factory=lambda: new_loop(name)) as runner:
        runner.get_loop().slow_callback_duration = slow
        return runner.run(main())


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@contextmanager
def _heeding(name: str) -> Iterator[None]:
    """Fail where a logger has something to say from warnings on."""
    records, logger = _Records(), logging.getLogger(name)
    logger.addHandler(records)
    try:
        yield
    finally:
        logger.removeHandler(records)
    assert records.said == []


def run_strictly(name: str, main: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine function as `run_in` does. What asyncio says of it is an error, and so is a task that is left.

    It says so of a call that has blocked the loop, and of an exception that nobody has seen.
    """

    async def whole() -> T:
        try:
            return await main()
        finally:
            await asyncio.sleep(0)  # what was closed says goodbye
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, left

    with _heeding("asyncio"):
        return run_in(name, whole, slow=SLOW)


@dataclass
class Cancelled:
    """Awaits something, and cancels the task at the wait of that number, the first of which is 1.

    Attributes:
        waits: how many there were.
        left: for who awaits it: whether the cancellation has left it.
    """

    awaitable: Awaitable[Any]
    at: int
    waits: int = 0
    left: bool = False

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self.awaitable.__await__()
        raised: BaseException | None = None
        while True:
            try:
                waited_for = next(inner) if raised is None else inner.throw(raised)  # type: ignore[attr-defined]
            except StopIteration as end:
                return end.value
            self.waits += 1
            raised = None
            if self.waits == self.at:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                yield waited_for
            except BaseException as error:
                raised = error
