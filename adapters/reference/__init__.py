"""Servers to test clients against: IMAP, POP3, SMTP and LMTP on this machine, on the wires and the server's engine.

    with sasl.adapters.reference.running(users={"alice": "wonderland"}) as servers:
        with imaplib.IMAP4_SSL(servers.imap.host, servers.imap.tls_port, ssl_context=servers.client_context()) as conn:
            ...
        servers.imap.sessions[-1].attempts      # what the client did

They listen at loopback addresses only; what they are sent goes no further. `serving` is for an event loop.
"""

from __future__ import annotations

from .checks import Checks
from .conversation import Conversation
from .endpoint import Endpoint
from .faults import Fault, Faults, Rule
from .journal import Attempt, Command, Log, Session
from .mail_user import MailUser
from .servers import USERS, Servers, running, serving
from .settings import Settings
from .verdicts import Verdict
from .verifier import TOKEN_STATES, TokenState, Verifier

__all__ = [
    "TOKEN_STATES",
    "USERS",
    "Attempt",
    "Checks",
    "Command",
    "Conversation",
    "Endpoint",
    "Fault",
    "Faults",
    "Log",
    "MailUser",
    "Rule",
    "Servers",
    "Session",
    "Settings",
    "TokenState",
    "Verdict",
    "Verifier",
    "running",
    "serving",
]
