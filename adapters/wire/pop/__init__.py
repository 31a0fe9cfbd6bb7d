"""POP3's AUTH, USER and PASS, APOP, and STLS (RFC 5034, RFC 1939 section 7, RFC 2595), both ends, sans-I/O."""

from __future__ import annotations

from sasl.typed import TYPE_CHECKING

from .client import CapaWire, ClientWire, StartTlsWire, choose, client_wire
from .grammar import APOP, LONGEST_COMMAND, USER, mechanisms, timestamp

if TYPE_CHECKING:
    from .server import ServerWire, StartTlsServerWire

__all__ = [
    "APOP",
    "LONGEST_COMMAND",
    "USER",
    "CapaWire",
    "ClientWire",
    "ServerWire",
    "StartTlsServerWire",
    "StartTlsWire",
    "choose",
    "client_wire",
    "mechanisms",
    "timestamp",
]


def __getattr__(name: str) -> object:
    """Load the server's side when it is asked for: clients do without it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import server

    return getattr(server, name)
