"""ManageSieve's AUTHENTICATE, its capabilities and STARTTLS (RFC 5804 sections 1.7, 2.1 and 2.2): the client's side.

Lines go in as they were read, with their CRLF: only so can literals be counted. There is no server's side.
"""

from __future__ import annotations

from .client import CapabilityWire, ClientWire, StartTlsWire, choose, client_wire
from .grammar import LONGEST_QUOTED, mechanisms

__all__ = [
    "LONGEST_QUOTED",
    "CapabilityWire",
    "ClientWire",
    "StartTlsWire",
    "choose",
    "client_wire",
    "mechanisms",
]
