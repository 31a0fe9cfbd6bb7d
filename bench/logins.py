"""Logins on loopback over TLS, by the bare standard library and by ours: the time of the login alone, and its turns."""

from __future__ import annotations

import socket
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
    import imaplib
    from collections.abc import Callable

    from sasl.adapters.binding import Library
    from sasl.adapters.reference import Servers

ROUNDS = 60


def imap_logins() -> dict[str, tuple[float, float]]:
    """Return milliseconds and the client's milliseconds of CPU of an XOAUTH2 login, medians of ROUNDS, taken in turns.

    imaplib writes a response in two parts, which waits for the server's delayed acknowledgement unless the connection
    has TCP_NODELAY.
    """
    with running() as servers:
        token = servers.tokens["good"]
        bearer = sasl.Bearer("alice", token)
        message = f"user=alice\x01auth=Bearer {token}\x01\x01".encode()
        contenders: dict[str, Callable[[Any], object]] = {
            "imaplib.authenticate": lambda conn: conn.authenticate("XOAUTH2", lambda _: message),
            "imaplib with TCP_NODELAY": lambda conn: _without_delay(conn).authenticate("XOAUTH2", lambda _: message),
            "saslkit": lambda conn: sasl.adapters.imaplib.authenticate(conn, bearer, mechanism="XOAUTH2"),
        }
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
        for _ in range(ROUNDS):
            for name, login in contenders.items():
                taken[name].append(_login(servers, login))
        return {name: _medians(times) for name, times in taken.items()}


def _medians(times: list[tuple[float, float]]) -> tuple[float, float]:
    walls, cpus = zip(*times, strict=True)
    return statistics.median(walls), statistics.median(cpus)


def _without_delay(conn: imaplib.IMAP4) -> imaplib.IMAP4:
    conn.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return conn


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
) -> tuple[float, float]:
    """Return the milliseconds of a login, and those in which this thread ran."""
    server = getattr(servers, library.service)
    with connect(library, server.host, server.tls_port, tls=servers.client_context()) as conn:
        start, ran = time.perf_counter(), time.thread_time()
        login(conn)
        return (time.perf_counter() - start) * 1e3, (time.thread_time() - ran) * 1e3


def _lines(servers: Servers, protocol: str = "imap") -> int:
    """Return the client's lines of the last session."""
    session = getattr(servers, protocol).sessions[-1]
    return sum(1 for direction, _ in session.transcript if direction == "C")
