"""POP3's AUTH, USER and PASS, APOP, and STLS (RFC 5034, RFC 1939 section 7, RFC 2595), both ends, sans-I/O."""

from __future__ import annotations

from functools import partial

from sasl.typed import TYPE_CHECKING

from .. import load_server
from .client import CapaWire, ClientWire, Greeting, StartTlsWire, choose, client_wire, pass_wire, user_wire
from .grammar import APOP, LONGEST_COMMAND, REPLIES, USER, farewell, mechanisms, refusal, timestamp

if TYPE_CHECKING:
    from .server import ServerWire, StartTlsServerWire

__all__ = [
    "APOP",
    "LONGEST_COMMAND",
    "REPLIES",
    "USER",
    "CapaWire",
    "ClientWire",
    "Greeting",
    "ServerWire",
    "StartTlsServerWire",
    "StartTlsWire",
    "choose",
    "client_wire",
    "farewell",
    "mechanisms",
    "pass_wire",
    "refusal",
    "timestamp",
    "user_wire",
]

__getattr__ = partial(load_server, __name__, __all__)
