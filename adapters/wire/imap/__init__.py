"""IMAP's AUTHENTICATE, LOGIN and STARTTLS (RFC 9051 section 6.2, RFC 4959), both ends, sans-I/O.

Lines go in as they were read, with their CRLF: only so can literals be counted.
"""

from __future__ import annotations

from functools import partial

from sasl.typed import TYPE_CHECKING

from .. import load_server
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

__getattr__ = partial(load_server, __name__, __all__)
