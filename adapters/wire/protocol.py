"""What all client wires have, whatever their protocol: what a driver needs of them."""

from __future__ import annotations

from sasl.typed import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from typing import Any

    from sasl.client_exchange import ClientExchange
    from sasl.errors import SASLError

    from .line import Line


class Wire(Protocol):
    """The client's side of one command exchange, sans-I/O.

    Attributes:
        exchange: the SASL exchange that it carries.
        done: whether the exchange on the wire is over.
        error: what to raise then; None after a login.
        must_close: whether the connection cannot be used any more.
        server_text: what the server said with its verdict.
    """

    exchange: ClientExchange
    done: bool
    error: SASLError | None
    must_close: bool
    server_text: str

    def command(self) -> Line:
        """Return the line that begins it. Raises UsageError if the credentials cannot be used."""
        ...

    def receive(self, line: bytes) -> Line | None:
        """Take a line from the server, with its end; return what to send, or None: wait for another line, or done."""
        ...

    def lost(self) -> None:
        """Say that the connection ended before the verdict."""
        ...

    def abandon(self, error: SASLError) -> None:
        """End it for a reason of the driver's: nothing more is sent, the connection is to be closed."""
        ...

    def shown(self, line: bytes) -> str:
        """Return how a line from the server may be printed."""
        ...

    def scrub(self, text: str) -> str:
        """Return a text without the credential: as it is, and as it was sent."""
        ...

    def hide(self, other: Any) -> None:
        """Hide what another wire of the same protocol has sent on the same connection, too."""
        ...
