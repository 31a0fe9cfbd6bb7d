"""Logins on loopback over TLS, by the bare standard library and by ours: the time of the login alone, and its turns."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

import sasl
import sasl.adapters.imaplib
import sasl.adapters.poplib
import sasl.adapters.smtplib
from sasl.adapters.binding import connect, log_in
from sasl.adapters.reference import running

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl.adapters.binding import Library
    from sasl.adapters.reference import Servers

ROUNDS = 15


def imap_logins() -> dict[str, float]:
    """Return milliseconds of an XOAUTH2 login, the median of ROUNDS, taken in turns."""
    with running() as servers:
        token = servers.tokens["good"]
        bearer = sasl.Bearer("alice", token)
        message = f"user=alice\x01auth=Bearer {token}\x01\x01".encode()
        contenders: dict[str, Callable[[Any], object]] = {
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
        for name, library in (("POP3", sasl.adapters.poplib.LIBRARY), ("SMTP", sasl.adapters.smtplib.LIBRARY)):
            _login(servers, lambda conn, library=library: log_in(library, conn, bearer), library)
            found[f"saslkit, {name}"] = _lines(servers, library.service)
        return found


def _login(
    servers: Servers, login: Callable[[Any], object], library: Library[Any, Any] = sasl.adapters.imaplib.LIBRARY
) -> float:
    server = getattr(servers, library.service)
    with connect(library, server.host, server.tls_port, tls=servers.client_context()) as conn:
        start = time.perf_counter()
        login(conn)
        return (time.perf_counter() - start) * 1e3


def _lines(servers: Servers, protocol: str = "imap") -> int:
    """Return the client's lines of the last session."""
    session = getattr(servers, protocol).sessions[-1]
    return sum(1 for direction, _ in session.transcript if direction == "C")
