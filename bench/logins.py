"""Logins on loopback over TLS, by the bare standard library and by ours: the time of the login alone, and its turns."""

from __future__ import annotations

import imaplib
import poplib
import smtplib
import statistics
import time
from typing import TYPE_CHECKING

import sasl
import sasl.adapters.imaplib
import sasl.adapters.poplib
import sasl.adapters.smtplib
from sasl.adapters.reference import running

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl.adapters.reference import Servers

ROUNDS = 15


def imap_logins() -> dict[str, float]:
    """Return milliseconds of an XOAUTH2 login, the median of ROUNDS, taken in turns."""
    with running() as servers:
        token = servers.tokens["good"]
        bearer = sasl.Bearer("alice", token)
        message = f"user=alice\x01auth=Bearer {token}\x01\x01".encode()
        contenders: dict[str, Callable[[imaplib.IMAP4_SSL], object]] = {
            "imaplib.authenticate": lambda conn: conn.authenticate("XOAUTH2", lambda _: message),
            "saslkit": lambda conn: sasl.adapters.imaplib.authenticate(conn, bearer, mechanism="XOAUTH2"),
        }
        taken: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(ROUNDS):
            for name, login in contenders.items():
                taken[name].append(_login(servers, login))
        return {name: statistics.median(times) for name, times in taken.items()}


def turns() -> dict[str, int]:
    """Return how many lines a client sends from the greeting to the end of an XOAUTH2 login, by what the server saw."""
    with running() as servers:
        bearer = sasl.Bearer("alice", servers.tokens["good"])
        message = f"user=alice\x01auth=Bearer {servers.tokens['good']}\x01\x01".encode()
        found = {}
        _login(servers, lambda conn: conn.authenticate("XOAUTH2", lambda _: message))
        found["imaplib.authenticate"] = _lines(servers)
        _login(servers, lambda conn: sasl.adapters.imaplib.authenticate(conn, bearer))
        found["saslkit"] = _lines(servers)
        context = servers.client_context()
        pop = poplib.POP3_SSL(servers.pop.host, servers.pop.tls_port, context=context)
        sasl.adapters.poplib.authenticate(pop, bearer)
        pop.quit()
        found["saslkit, POP3"] = _lines(servers, "pop")
        with smtplib.SMTP_SSL(servers.smtp.host, servers.smtp.tls_port, "localhost", context=context) as smtp:
            sasl.adapters.smtplib.authenticate(smtp, bearer)
        found["saslkit, SMTP"] = _lines(servers, "smtp")
        return found


def _login(servers: Servers, login: Callable[[imaplib.IMAP4_SSL], object]) -> float:
    context = servers.client_context()
    with imaplib.IMAP4_SSL(servers.imap.host, servers.imap.tls_port, ssl_context=context) as conn:
        start = time.perf_counter()
        login(conn)
        return (time.perf_counter() - start) * 1e3


def _lines(servers: Servers, protocol: str = "imap") -> int:
    """Return the client's lines of the last session, without the LOGOUT or QUIT at the end."""
    session = getattr(servers, protocol).sessions[-1]
    return sum(1 for direction, _ in session.transcript if direction == "C") - 1
