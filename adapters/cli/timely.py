"""Requests for tokens that end in time also where a name is looked up, which has no time-out of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from sasl.errors import TokenError

from ..deadline import alarm

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..deadline import Deadline

_MORE: Final = 0.5  # seconds: what has a time-out of its own ends by that, and closes what it has opened


@final
class Timely:
    """Sends requests by `send` until a deadline.

    The deadline is for them alone: one that rang while a new refresh token is stored would lose it. `timeout` gives
    the seconds that are left, as sources ask for them.
    """

    __slots__ = ("_send", "timeout")

    def __init__(self, send: Callable[..., Any], deadline: Deadline) -> None:
        self.timeout = deadline.left
        self._send = send

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Send it. Raises TokenError (timeout) soon after the deadline, and what `send` raises."""
        try:
            with alarm(self.timeout() + _MORE):
                return self._send(*arguments, **named)
        except TimeoutError:
            pass
        del arguments, named  # they hold what is sent
        raise TokenError("the token endpoint did not answer in time", code="timeout", retryable=True)
