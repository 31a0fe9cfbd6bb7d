"""SMTP's AUTH and STARTTLS (RFC 4954, RFC 3207), both ends, sans-I/O."""

from __future__ import annotations

from functools import partial

from sasl.typed import TYPE_CHECKING

from .. import load_server
from .client import ClientWire, EhloWire, Greeting, StartTlsWire, client_wire
from .grammar import (
    AUTH_REQUIRED,
    LONGEST_COMMAND,
    LONGEST_RESPONSE,
    REPLIES,
    Reply,
    as_xtext,
    farewell,
    mail_auth,
    mechanisms,
    refusal,
)

if TYPE_CHECKING:
    from .server import ServerWire, StartTlsServerWire

__all__ = [
    "AUTH_REQUIRED",
    "LONGEST_COMMAND",
    "LONGEST_RESPONSE",
    "REPLIES",
    "ClientWire",
    "EhloWire",
    "Greeting",
    "Reply",
    "ServerWire",
    "StartTlsServerWire",
    "StartTlsWire",
    "as_xtext",
    "client_wire",
    "farewell",
    "mail_auth",
    "mechanisms",
    "refusal",
]

__getattr__ = partial(load_server, __name__, __all__)
