"""A token source that blocks, for an event loop: it is asked in a thread of its own.

    source = sasl.adapters.tokens.google.from_file("token.json")
    ready = await sasl.resolve_async(sasl.Bearer("me@gmail.com", Threaded(source)))

Without it, the event loop would stand still until such a source answers.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, final

from sasl.secret import Secret

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

    A task that is cancelled waits no longer; the thread goes on to its end.
    """

    def __init__(self, source: BlockingSource) -> None:
        self._source = source

    async def token(self, *, stale: str | None = None) -> AccessToken:
        """Ask the source. Raises what it raises."""
        refused = None if stale is None else Secret(stale)
        del stale  # a task that is cancelled shows what the variables of its frames hold
        return await asyncio.to_thread(self._ask, refused)

    def _ask(self, refused: Secret | None) -> AccessToken:
        return self._source.token(stale=None if refused is None else refused.reveal())
