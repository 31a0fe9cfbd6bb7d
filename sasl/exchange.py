"""What the exchanges of both sides have in common (RFC 4422 sections 3 and 5): a name, a state, and limits.

An exchange runs a mechanism's script and keeps the rules that all mechanisms share, so that an author cannot
forget one: when a yes may come, how often and how much a peer may send, that nothing but a `SASLError`
leaves, and that no server says yes before a verifier accepted an identity and its authorization.
"""

from __future__ import annotations

import enum

from .errors import UsageError
from .typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, NoReturn

    from .limits import Limits


class State(enum.Enum):
    """Where an exchange stands."""

    NEW = "new"
    OPEN = "open"
    DONE = "done"
    FAILED = "failed"


NEW, OPEN, DONE, FAILED = State  # reading a member off its class takes ten times as long (Python 3.11)


class Exchange:
    """What both sides have in common: a name, a state, and that they are neither pickled nor copied."""

    __slots__ = ("_limits", "_steps", "name", "state")

    name: str
    state: State
    _limits: Limits
    _steps: int  # messages of the peer

    def _misuse(self, call: str) -> UsageError:
        """Return the error for a call that the state does not allow."""
        return UsageError(f"{call} on an exchange that is {self.state.value}", mechanism=self.name)

    def _over_limit(self, message: bytes) -> str:
        """Count one message of the peer; return which limit it breaks, or an empty text."""
        if not isinstance(message, bytes):
            raise self._no_message(message)
        self._steps += 1
        if len(message) > self._limits.message:
            return f"a message of more than {self._limits.message} octets"
        if self._steps > self._limits.steps:
            return f"more than {self._limits.steps} messages"
        return ""

    def _no_message(self, message: object) -> UsageError:
        return UsageError(f"a message is bytes, not {type(message).__name__}", mechanism=self.name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.state.value}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("an exchange is neither pickled nor copied")


def close(script: Any) -> None:
    """End a script, so that its locals go. One that is no generator, or refuses to end, is past helping."""
    try:
        script.close()
    except Exception:
        pass
