"""SMTP's AUTH and STARTTLS (RFC 4954, RFC 3207), both ends, sans-I/O."""

from __future__ import annotations

from sasl.typed import TYPE_CHECKING

from .client import ClientWire, StartTlsWire, client_wire
from .grammar import AUTH_REQUIRED, LONGEST_COMMAND, LONGEST_RESPONSE, Reply, as_xtext, mail_auth, mechanisms

if TYPE_CHECKING:
    from .server import ServerWire, StartTlsServerWire

__all__ = [
    "AUTH_REQUIRED",
    "LONGEST_COMMAND",
    "LONGEST_RESPONSE",
    "ClientWire",
    "Reply",
    "ServerWire",
    "StartTlsServerWire",
    "StartTlsWire",
    "as_xtext",
    "client_wire",
    "mail_auth",
    "mechanisms",
]


def __getattr__(name: str) -> object:
    """Load the server's side when it is asked for: clients do without it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import server

    return getattr(server, name)
