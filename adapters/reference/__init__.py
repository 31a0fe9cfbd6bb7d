"""Servers to test clients against: IMAP, POP3 and SMTP on this machine, on the wires and the server's engine.

    with sasl.adapters.reference.running(users={"alice": "wonderland"}) as servers:
        with imaplib.IMAP4_SSL(servers.imap.host, servers.imap.tls_port, ssl_context=servers.client_context()) as conn:
            ...
        servers.imap.sessions[-1].attempts      # what the client did

They listen at loopback addresses only, hold no mail and discard what they are sent. `serving` is for an event loop.
"""

from __future__ import annotations

from .checks import Checks
from .conversation import Attempt, Conversation, Settings
from .servers import USERS, Endpoint, Servers, running, serving
from .verifier import TOKEN_STATES, TokenState, Verifier

__all__ = [
    "TOKEN_STATES",
    "USERS",
    "Attempt",
    "Checks",
    "Conversation",
    "Endpoint",
    "Servers",
    "Settings",
    "TokenState",
    "Verifier",
    "running",
    "serving",
]
