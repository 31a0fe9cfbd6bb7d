"""Drivers: they make the calls that an exchange wants made, synchronous ones or those that are awaited.

    run(wire, connection.readline, connection.write, connection.close, timeout=30)

`run` and `run_async` carry a wire over plain callables, for whoever binds a library by hand. What awaits here does so
in any event loop: asyncio's, trio's, and anyio's on both.
"""

from __future__ import annotations

from sasl.errors import ConnectionLost, SASLError
from sasl.typed import TYPE_CHECKING, TypeVar

from .clock import Flood, deadline_of
from .dialogue import Dialogue, Work
from .errors import explain_foreign
from .family import Family

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any, TypeAlias

    from ..deadline import Deadline
    from ..wire import Line, Wire

T = TypeVar("T")

if TYPE_CHECKING:
    Steps: TypeAlias = Generator[Callable[[], Any], Any, T]
    """Calls that may have to wait. What each returns, or raises, goes back in; in the end the result is returned."""


def run(
    wire: Wire,
    read: Callable[[], Any],
    write: Callable[[bytes], object],
    close: Callable[[], object],
    *,
    timeout: float | None = None,
    receive: Callable[[Any, Any], Line | None] | None = None,
    errors: Family | None = None,
    show: Callable[[str], object] | None = None,
) -> None:
    """Run a wire to its end over a connection. Return after a login; raise the wire's error after anything else.

    `read` returns a line with its end, b"" at the end of the connection; `write` sends octets at once; `close` ends the
    connection at once, and is called where nothing else can follow. A library that has read the server's replies itself
    returns them from `read`: `receive(wire, reply)` then tells the wire of one, and returns what that returns.

    `timeout` is in seconds, for all together: the clock is looked at before each call, which has to end by itself (a
    socket has a time-out of its own for that). `errors` is the library's family, made by `bind`: what is raised is the
    library's error as well. `show` takes each line as it may be shown.

    The end of the connection, half a line before it and whatever `is_gone` knows are ConnectionLost, being late is
    ConnectionLost with the kind "timeout". Whatever else interrupts it leaves as it is: the exchange is over then,
    nothing more is sent, and the connection is closed. Raises UsageError before anything is sent for credentials that
    cannot be used and for a `timeout` that is none.
    """
    deadline = deadline_of(timeout)
    dialogue = Dialogue(write, read, close, show=show, receive=receive)
    perform(guard(errors or Family(), dialogue, dialogue.hold(wire)), deadline)


async def run_async(
    wire: Wire,
    read: Callable[[], Any],
    write: Callable[[bytes], object],
    close: Callable[[], object],
    *,
    timeout: float | None = None,
    receive: Callable[[Any, Any], Line | None] | None = None,
    errors: Family | None = None,
    show: Callable[[str], object] | None = None,
) -> None:
    """Run a wire to its end over a connection as `run` does, and await what `read`, `write` and `close` return.

    Each of them may be a coroutine function or not. `timeout` ends a wait in its middle. A task that is cancelled, or
    whose time is over from outside, has abandoned the exchange and closed the connection when that leaves: `close` had
    better not wait for anything then, as a cancelled task of trio may not.
    """
    deadline = deadline_of(timeout)
    dialogue = Dialogue(write, read, close, show=show, receive=receive)
    await perform_async(guard(errors or Family(), dialogue, dialogue.hold(wire)), deadline)


def perform(steps: Steps[T], deadline: Deadline | None = None) -> T:
    """Make the calls, and return the result; look at the clock before each of them, until one of them has failed.

    Whatever interrupts it is thrown into the steps, which close the connection and end in the error to raise.
    """
    returned: list[Any] = [None]  # emptied each time: an error that leaves shows what the variables of a frame hold
    raised: list[BaseException] = []
    while True:
        try:
            while True:
                call = steps.throw(raised.pop()) if raised else steps.send(returned.pop())
                if deadline is not None:
                    deadline.wait()
                returned.append(call())
        except BaseException as error:
            if getattr(steps, "gi_frame", None) is None:  # the steps are over, and this is how they end
                if isinstance(error, StopIteration):
                    result: T = error.value
                    return result
                raise
            returned.clear()
            raised.append(error)  # of a call, or an interruption between two of them
            deadline = None  # closing the connection has all the time that it takes


async def perform_async(steps: Steps[T], deadline: Deadline | None = None) -> T:
    """Make the calls, await what can be awaited of what they return, until a deadline; else do as `perform` does.

    What computes for long does so in a thread; who interrupts it waits for its end.
    """
    from .event_loop import in_thread, within  # synchronous logins do without

    returned: list[Any] = [None]
    raised: list[BaseException] = []
    ended = False  # the coroutine itself is closed, as that of a loop that has ended: it may await nothing more
    while True:
        try:
            while True:
                call = steps.throw(raised.pop()) if raised else steps.send(returned.pop())
                seconds = None if deadline is None else deadline.wait()
                result = in_thread(call) if isinstance(call, Work) else call()
                if hasattr(result, "__await__"):
                    result = await (within(seconds, result) if not ended else _drop(result))
                returned.append(result)
                del result
        except BaseException as error:
            if getattr(steps, "gi_frame", None) is None:
                if isinstance(error, StopIteration):
                    end: T = error.value
                    return end
                raise
            returned.clear()
            raised.append(error)
            deadline = None
            ended = ended or isinstance(error, GeneratorExit)


async def _drop(awaitable: Any) -> None:
    """Let go of what is not awaited, without a warning."""
    if hasattr(awaitable, "close"):  # a coroutine
        awaitable.close()


def guard(errors: Family, dialogue: Dialogue, steps: Steps[T]) -> Steps[T]:
    """Return the steps so that what goes wrong in them leaves as the library's error.

    Whatever is no SASLError has cut the dialogue somewhere, so the connection is closed. Nothing leaves with the
    frames below this one: those of the library hold what was sent.
    """
    failure: BaseException
    cut = True
    try:
        return (yield from steps)
    except SASLError as error:
        failure, cut = error, isinstance(error, ConnectionLost | Flood)
    except Exception as error:
        failure = explain_foreign(error, errors) or error
    except BaseException as error:
        failure = error
    steps.close()  # an interruption here did not reach them
    if cut:
        yield from dialogue.end()
    if isinstance(failure, SASLError):
        failure = errors.translate(failure, dialogue)
    raise failure.with_traceback(None)
