"""Whole command exchanges without a socket: a client's wire against a server's, from the choice to the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import exchanges

import sasl
from sasl.adapters.wire import imap, pop, smtp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKEN = sasl.Bearer(exchanges.USER, "t" * 1200)
CHANNEL = sasl.Channel(tls=True, service="imap", host="server.example.com", port=993)
OFFERED = ["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER", "SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN-CLIENTTOKEN", "NTLM"]
CAPABILITIES = ["IMAP4rev1", "SASL-IR", *(f"AUTH={name}" for name in OFFERED)]


def rows() -> Iterator[tuple[str, Callable[[], bool]]]:
    """Yield title and a login; each returns True for one."""
    for title, wire in (("IMAP", imap), ("POP3", pop), ("SMTP", smtp)):
        yield f"{title} PLAIN, both wires", lambda w=wire: _converse(w, "PLAIN", exchanges.PASSWORD)
        yield f"{title} XOAUTH2 1200, both wires", lambda w=wire: _converse(w, "XOAUTH2", TOKEN)
        yield f"{title} SCRAM-SHA-256, both wires", lambda w=wire: _converse(w, "SCRAM-SHA-256", exchanges.PASSWORD)
    yield "IMAP choice among 8", _choose


def _choose() -> bool:
    return imap.choose(CAPABILITIES, exchanges.PASSWORD, channel=CHANNEL).name == "SCRAM-SHA-256"


def _converse(protocol: Any, mechanism: str, credentials: sasl.Password | sasl.Bearer) -> bool:
    """Log in by one mechanism; return whether both sides say so."""
    choice = sasl.choose([mechanism], credentials, channel=CHANNEL)
    settings = {"capabilities": CAPABILITIES} if protocol is imap else {}
    client = protocol.client_wire(choice, credentials, **settings)
    server = protocol.ServerWire([mechanism], channel=CHANNEL)
    line = client.command()
    while not client.done:
        said = server.receive(line.octets)
        while isinstance(said, sasl.Question):
            said = server.answered(sasl.settle(server.exchange, said, _verify))
        line = client.receive(said.octets)
    return client.error is None and type(server.result) is sasl.Success


def _verify(question: sasl.Question) -> object:
    if type(question) is sasl.CheckToken:
        return exchanges.check_token(question, TOKEN)
    return exchanges.verify(question)
