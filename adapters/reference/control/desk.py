"""What the control endpoint remembers between requests: the names that it gave to faults and tokens."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from itertools import count
from typing import TYPE_CHECKING, Final, final
from weakref import WeakKeyDictionary

from sasl.secret import Secret

from .live import Live

if TYPE_CHECKING:
    from ..faults import Fault
    from ..servers import Servers

_MOST_TOKENS: Final = 1_000


@final
class Desk:
    """What the control endpoint of a set of servers remembers.

    Attributes:
        servers: the servers.
        live: who looks on.
    """

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.live = Live()
        self._numbers: WeakKeyDictionary[Fault, int] = WeakKeyDictionary()
        self._next = count(1)
        self._tokens: OrderedDict[str, Secret] = OrderedDict()

    def faults(self) -> dict[int, Fault]:
        """Return the faults that stand, by their numbers."""
        standing = self.servers.faults.standing
        for fault in standing:
            if fault not in self._numbers:
                self._numbers[fault] = next(self._next)
        return {self._numbers[fault]: fault for fault in standing}

    def note_token(self, token: str) -> str:
        """Keep a token that was issued here, one of the last thousand; return its name, which tells nothing of it."""
        name = sha256(token.encode()).hexdigest()[:32]
        self._tokens[name] = Secret(token)
        while len(self._tokens) > _MOST_TOKENS:
            self._tokens.popitem(last=False)
        return name

    def token(self, name: str) -> Secret | None:
        """Return the token of a name; None if there is none."""
        return self._tokens.get(name)
