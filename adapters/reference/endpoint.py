"""One of the servers that run: where it listens, what goes wrong there on purpose, and what was sent to it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, final

from sasl.errors import UsageError
from sasl.value import field, value

from .outbox import tell

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Sequence
    from concurrent.futures import Future

    from .backend import Backend
    from .conversation import Conversation
    from .faults import Fault
    from .listening import LoopCalls
    from .outbox import Sent


@final
@value
class Endpoint:
    """One server, on two ports.

    Attributes:
        protocol: "imap", "pop", "smtp" or "lmtp".
        host: the address that it listens at; for other machines, what they call this one.
        port: where a connection begins in the clear and may go on under STARTTLS; 0 if it is not served.
        tls_port: where TLS comes first; 0 if it is not served.
        sessions: the last connections, the newest last.
    """

    protocol: str
    host: str
    port: int
    tls_port: int
    sessions: deque[Conversation] = field(hidden=True)
    _backend: Backend = field(hidden=True)
    _call: LoopCalls = field(hidden=True)

    def on(self, event: str, **options: Any) -> Fault:
        """Have something go wrong at an event; the fault's methods say what: `on("FETCH", nth=2).drop()`.

        `options` are those of `faults.Rule`: nth, times, user, session, probability, seed.
        """
        return self._backend.faults.on(self.protocol, event, **options)

    def hide(self, capability: str) -> Fault:
        """Leave a capability out of what is told: its name or first word, "AUTH=X" for one mechanism."""
        return self._backend.faults.hide(self.protocol, capability)

    def offer(self, capability: str) -> Fault:
        """Tell of a capability that the server has not."""
        return self._backend.faults.offer(self.protocol, capability)

    def strip_starttls(self) -> Fault:
        """Do what an attacker in between does: hide STARTTLS, and refuse it."""
        return self._backend.faults.strip_starttls(self.protocol)

    @property
    def messages(self) -> Sequence[Sent]:
        """What clients have sent here by SMTP or LMTP, the oldest first: the last of it, if it was very much."""
        return self._call(lambda: self._backend.outbox.messages(self.protocol))

    def wait(self, count: int = 1, timeout: float = 2.0, to: str | None = None) -> Sent:
        """Return the message of that number among `messages`, from 1, as soon as it is there: in any thread but theirs.

        `to` counts only messages to an address, or to whatever has it before its "@". Raises TimeoutError after
        `timeout` seconds, which tells what came; UsageError in the servers' event loop, which has `wait_async`.
        """
        if self._call.here:
            raise UsageError("this would wait in the servers' event loop, for itself: await wait_async()")
        arrival = self._expect(count, to)
        try:
            return arrival.result(timeout)
        except TimeoutError:
            pass
        finally:
            self._forget(arrival)
        raise self._nothing_came(count, timeout, to)

    async def wait_async(self, count: int = 1, timeout: float = 2.0, to: str | None = None) -> Sent:
        """Do what `wait` does, in any event loop."""
        arrival = self._expect(count, to)
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.wrap_future(arrival)
        except TimeoutError:
            pass
        finally:
            self._forget(arrival)
        raise self._nothing_came(count, timeout, to)

    def _expect(self, count: int, to: str | None) -> Future[Sent]:
        if count < 1:
            raise UsageError("messages are counted from 1")
        return self._call(lambda: self._backend.outbox.expect(count, self.protocol, to))

    def _forget(self, arrival: Future[Sent]) -> None:
        self._call(lambda: self._backend.outbox.forget(arrival))

    def _nothing_came(self, count: int, timeout: float, to: str | None) -> TimeoutError:
        wanted = f"{count} message{'s' * (count != 1)}{'' if to is None else f' to {to!r}'}"
        return TimeoutError(f"not {wanted} in {timeout} seconds: {tell(self.messages)}")
