"""SMTP's AUTH and STARTTLS (RFC 4954, RFC 3207), both ends, sans-I/O."""

from __future__ import annotations

from functools import partial

from sasl.typed import TYPE_CHECKING

from .. import load_server
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

__getattr__ = partial(load_server, __name__, __all__)
