"""IMAP's AUTHENTICATE, LOGIN and STARTTLS (RFC 9051 section 6.2, RFC 4959), both ends, sans-I/O.

Lines go in as they were read, with their CRLF: only so can literals be counted.
"""

from __future__ import annotations

from sasl.typed import TYPE_CHECKING

from .client import ClientWire, StartTlsWire, choose, client_wire
from .grammar import LOGIN, TAG, greeting, mechanisms

if TYPE_CHECKING:
    from .server import ServerWire, StartTlsServerWire

__all__ = [
    "LOGIN",
    "TAG",
    "ClientWire",
    "ServerWire",
    "StartTlsServerWire",
    "StartTlsWire",
    "choose",
    "client_wire",
    "greeting",
    "mechanisms",
]


def __getattr__(name: str) -> object:
    """Load the server's side when it is asked for: clients do without it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import server

    return getattr(server, name)
