"""What logins have learned of accounts: which mechanisms a server refuses before it has seen a password."""

from __future__ import annotations

from _thread import allocate_lock  # threading takes longer to import than most logins need
from time import monotonic

from sasl.typed import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from typing import Final, TypeAlias

    Turn: TypeAlias = list[Callable[[], object]]
    """The first login of an account, as whom to call at its end."""

_LASTS: Final = 86_400.0  # seconds
_MOST: Final = 1_024  # accounts
_PATIENCE: Final = 30.0
"""Seconds for which a login waits for what another one learns, and then goes its own way."""


@final
class Attempt:
    """A login that others wait for: the first one of its account."""

    def __init__(self, memory: Memory, account: Hashable) -> None:
        self._memory = memory
        self._account = account

    def when_over(self, callback: Callable[[], object]) -> None:
        """Call a function at the end of the login, in whatever thread that is; at once if it is over."""
        self._memory.call_when_over(self._account, callback)


@final
class Memory:
    """Remembers for a day, in this process, what servers refuse whose password; at most 1,024 accounts.

    What is learned is a set of names: families of mechanisms (`sasl.Mechanism.family`) not to be tried again. Nothing
    of it touches a policy, a pin, or a mechanism that was asked for by name.
    """

    def __init__(self, *, clock: Callable[[], float] = monotonic, lasts: float = _LASTS, most: int = _MOST) -> None:
        self._clock = clock
        self._lasts = lasts
        self._most = most
        self._lock = allocate_lock()
        self._learned: dict[Hashable, tuple[float, frozenset[str]]] = {}  # the oldest first
        self._under_way: dict[Hashable, tuple[float, Turn]] = {}

    def enter(self, account: Hashable) -> frozenset[str] | Attempt | Turn:
        """Begin a login. Return what is known of the account; if nothing is, the login under way that will learn it.

        If there is none, the caller's is the first one, and what it gives to `leave` at its end is returned. One that
        takes longer than others wait for it is not waited for again.
        """
        now = self._clock()
        with self._lock:
            since, learned = self._learned.get(account, (None, frozenset[str]()))
            if since is not None:
                if now - since < self._lasts:
                    return learned
                del self._learned[account]
            begun = self._under_way.get(account, (None,))[0]
            if begun is not None and now - begun < _PATIENCE:
                return Attempt(self, account)
            turn: Turn = []
            self._under_way[account] = now, turn
            if len(self._under_way) > self._most:
                del self._under_way[next(iter(self._under_way))]
        return turn

    def recall(self, account: Hashable) -> frozenset[str] | None:
        """Return what is known of an account after another login was waited for."""
        with self._lock:
            return self._learned.get(account, (0, None))[1]

    def leave(self, account: Hashable, turn: Turn | None, refused: frozenset[str] | None) -> None:
        """End a login: remember what the server refuses of the account, unless that is None, and wake who waits.

        `turn` is what `enter` gave, None of a login that was not the first.
        """
        with self._lock:
            if refused is not None:
                self._learned.pop(account, None)
                self._learned[account] = self._clock(), refused
                if len(self._learned) > self._most:
                    del self._learned[next(iter(self._learned))]
            if turn is not None and self._under_way.get(account, (0, None))[1] is turn:
                del self._under_way[account]
        for callback in turn or ():
            callback()

    def call_when_over(self, account: Hashable, callback: Callable[[], object]) -> None:
        """Call a function at the end of the login of an account that is under way; at once if there is none."""
        with self._lock:
            if account in self._under_way:
                self._under_way[account][1].append(callback)
                return
        callback()

    def forget(self) -> None:
        """Forget everything that was learned."""
        with self._lock:
            self._learned.clear()


def wait_for(attempt: Attempt, seconds: float = _PATIENCE) -> None:
    """Wait in this thread for the end of another login, so many seconds at most."""
    from threading import Event

    over = Event()
    attempt.when_over(over.set)
    over.wait(min(seconds, _PATIENCE))


async def wait_for_async(attempt: Attempt, seconds: float = _PATIENCE) -> None:
    """Wait in this task for the end of another login, so many seconds at most."""
    from .event_loop import wait_for_call  # synchronous logins do without

    await wait_for_call(attempt.when_over, min(seconds, _PATIENCE))


MEMORY: Final = Memory()
"""What the logins of this process have learned."""
