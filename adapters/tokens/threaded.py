"""An asynchronous source of tokens, made of one that blocks."""

from __future__ import annotations

import sys
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, final

from sasl.secret import Secret

from ..binding.event_loop import in_thread

if TYPE_CHECKING:
    from sasl.credentials import AccessToken


class BlockingSource(Protocol):
    """A `TokenSource` that is not asynchronous."""

    def token(self, *, stale: str | None = None) -> AccessToken:
        """Return a token that is good now; never the one in `stale`, which a server has just refused."""
        ...


@final
class Threaded:
    """An asynchronous `TokenSource` of one that blocks, which several threads may ask at once.

    A token that the source has at hand (`held`, as those of this package have) comes without a thread. All tasks that
    wait for a new one wait for one thread. A task that is cancelled waits no longer; in asyncio the thread goes on to
    its end, so that a renewal is stored, in trio it is waited for.
    """

    __slots__ = ("_asked", "_held", "_source")

    def __init__(self, source: BlockingSource) -> None:
        self._source = source
        self._held: Any = getattr(source, "held", None)
        self._asked: list[tuple[Any, Secret | None, Any]] = []  # of which loop, the stale token, what will come

    async def token(self, *, stale: str | None = None) -> AccessToken:
        """Ask the source. Raises what it raises."""
        if stale is None and self._held is not None:
            held: AccessToken | None = self._held()
            if held is not None:
                return held
        refused = None if stale is None else Secret(stale)
        del stale  # a task that is cancelled shows what the variables of its frames hold
        asyncio = sys.modules.get("asyncio")
        try:
            loop = None if asyncio is None else asyncio.get_running_loop()
        except RuntimeError:
            loop = None  # of trio
        if asyncio is None or loop is None:
            return await in_thread(partial(self._ask, refused))
        token: AccessToken = await asyncio.shield(self._flight(loop, refused))
        return token

    def _flight(self, loop: Any, refused: Secret | None) -> Any:
        """Return the future of the thread that asks for the same."""
        for its_loop, its_refused, future in self._asked:
            if its_loop is loop and its_refused == refused:
                return future
        future = loop.run_in_executor(None, copy_context().run, self._ask, refused)
        flight = loop, refused, future
        self._asked.append(flight)
        future.add_done_callback(partial(self._end, flight))
        return future

    def _end(self, flight: tuple[Any, Secret | None, Any], future: Any) -> None:
        self._asked.remove(flight)
        if not future.cancelled():
            future.exception()  # nobody may be left to look at it

    def _ask(self, refused: Secret | None) -> AccessToken:
        return self._source.token(stale=None if refused is None else refused.reveal())
