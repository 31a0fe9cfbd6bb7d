"""IMAP's AUTHENTICATE, LOGIN and STARTTLS (RFC 9051 section 6.2, RFC 4959), both ends, sans-I/O.

Lines go in as they were read, with their CRLF: only so can literals be counted.
"""

from __future__ import annotations

from functools import partial

from sasl.typed import TYPE_CHECKING

from .. import load_server
from .client import CapabilityWire, ClientWire, Greeting, StartTlsWire, choose, client_wire, new_tag
from .grammar import LOGIN, REPLIES, TAG, greeting, mechanisms, refusal

if TYPE_CHECKING:
    from .server import ServerWire, StartTlsServerWire

__all__ = [
    "LOGIN",
    "REPLIES",
    "TAG",
    "CapabilityWire",
    "ClientWire",
    "Greeting",
    "ServerWire",
    "StartTlsServerWire",
    "StartTlsWire",
    "choose",
    "client_wire",
    "greeting",
    "mechanisms",
    "new_tag",
    "refusal",
]

__getattr__ = partial(load_server, __name__, __all__)
