"""Connections to PostgreSQL, by psycopg: one thread at a time uses one, and every statement has a time limit."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, final

from sasl.errors import TokenError, bare
from sasl.secret import Secret

from .._extra import load

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from psycopg import Connection, Error

_IDLE = 4  # connections that are kept open for the next statement
_NO_TABLE = "42P01"
_MAY_PASS = ("08", "25006", "40", "53", "55", "57")
"""Connection lost; read-only, as a standby is; deadlock and the like; no resources; in use; shut down, or cancelled."""


class LostConnectionError(Exception):
    """The connection is gone; nobody knows whether the statement was carried out."""


@final
class Connections:
    """Opens connections by `connect`, a conninfo string or a callable, and keeps a few for the next statement.

    A statement that takes longer than `timeout` seconds ends with its connection.
    """

    __slots__ = ("_connect", "_idle", "_of_parent", "_process", "_timeout")

    def __init__(self, connect: str | Callable[[], Connection[Any]], timeout: float) -> None:
        self._connect = connect if callable(connect) else _opener(Secret(connect), timeout)
        self._timeout = timeout
        self._idle: deque[Connection[Any]] = deque()
        self._of_parent: list[deque[Connection[Any]]] = []
        self._process = os.getpid()

    def run(self, statement: str, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """Return the rows of a statement, which is committed then; on a new connection if the one it had is lost.

        So it may be carried out twice. Raises TokenError.
        """
        connection = self.take()
        try:
            rows = self.ask(connection, statement, values)
        except LostConnectionError:
            rows = None
        if rows is None:
            connection = self.open()
            rows = self.ask_once(connection, statement, values)
        self.give_back(connection)
        return rows

    def take(self) -> Connection[Any]:
        """Return a connection that nobody else uses; `give_back` takes it. Raises TokenError."""
        self._forget_those_of_the_parent()
        try:
            return self._idle.pop()
        except IndexError:
            pass
        return self.open()

    def open(self) -> Connection[Any]:
        """Return a new connection; those that wait are closed, for this is called when one was lost."""
        self.close()
        connection, failure = None, TokenError()
        errors = load("psycopg", "psycopg").Error
        try:
            connection = self._connect()
            connection.autocommit = True
            connection.prepare_threshold = None  # a pooler between transactions gives each another session
            return connection
        except errors as error:
            failure = _unreachable(f"PostgreSQL cannot be reached, or refuses the login ({type(error).__name__})")
        if connection is not None:
            connection.close()
        raise bare(failure)

    def give_back(self, connection: Connection[Any]) -> None:
        """Keep a connection for the next statement, or close it."""
        if connection.closed or len(self._idle) >= _IDLE:
            connection.close()
        else:
            self._idle.append(connection)

    def close(self) -> None:
        """Close the connections that wait for a statement."""
        self._forget_those_of_the_parent()
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:  # another thread took the last one
                return

    def ask(self, connection: Connection[Any], statement: str, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """Return the rows of a statement. Raises TokenError, and LostConnectionError; the connection is closed then."""
        errors = load("psycopg", "psycopg").Error
        watch = _Watch(connection, self._timeout)
        lost = False
        try:
            with watch:
                cursor = connection.execute(statement.encode(), values)
                return cursor.fetchall() if cursor.description is not None else []
        except errors as error:
            lost = connection.closed and not watch.rang
            failure = _unreachable("PostgreSQL takes too long to answer") if watch.rang else _meaning(error)
            connection.close()
        except BaseException:  # an interruption: an answer may still come
            connection.close()
            raise
        if lost:
            raise bare(LostConnectionError())
        raise bare(failure)

    def ask_once(
        self, connection: Connection[Any], statement: str, values: Mapping[str, object]
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a statement. Raises TokenError, for a lost connection too."""
        try:
            return self.ask(connection, statement, values)
        except LostConnectionError:
            pass
        raise _unreachable("the connection to PostgreSQL was lost")

    def is_alive(self, connection: Connection[Any]) -> bool:
        """Whether a connection's session answers."""
        try:
            self.ask_once(connection, "SELECT 1", {})
        except TokenError:
            return False
        return True

    def _forget_those_of_the_parent(self) -> None:
        """Leave to a forked process's parent what is the parent's: closing it here would end its sessions."""
        if self._process == os.getpid():
            return
        self._of_parent.append(self._idle)
        self._idle = deque()
        self._process = os.getpid()


@final
class _Watch:
    """Cuts a connection that is used for longer than it may: libpq waits for ever for a server that is there."""

    __slots__ = ("_connection", "_timer", "rang")

    def __init__(self, connection: Connection[Any], seconds: float) -> None:
        self._connection = connection
        self._timer = threading.Timer(seconds, self._ring)
        self._timer.daemon = True
        self.rang = False

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()
        self._timer.join()  # the number of the socket may be another one's when the connection is closed

    def _ring(self) -> None:
        self.rang = True
        try:
            line = socket.socket(fileno=self._connection.fileno())
        except Exception:  # it is closed
            return
        try:
            line.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        finally:
            line.detach()


def _opener(conninfo: Secret, timeout: float) -> Callable[[], Connection[Any]]:
    """Return what connects; a limit in the conninfo, or in PGCONNECT_TIMEOUT, is taken as it is."""

    def connect() -> Connection[Any]:
        psycopg = load("psycopg", "psycopg")
        parts = psycopg.conninfo.conninfo_to_dict(conninfo.reveal())
        if "PGCONNECT_TIMEOUT" not in os.environ:
            parts.setdefault("connect_timeout", max(2, round(timeout)))
        connection: Connection[Any] = psycopg.connect(**parts)
        return connection

    return connect


def _meaning(error: Error) -> TokenError:
    """Return our error for one of psycopg's. Its text may show values of the statement, so it is left out."""
    state = error.sqlstate or ""
    if not state or state.startswith(_MAY_PASS):
        return _unreachable(f"PostgreSQL does not serve now ({state or type(error).__name__})")
    hint = "PostgresStore.create() makes the table." if state == _NO_TABLE else ""
    return TokenError(f"PostgreSQL refuses the statement ({state})", code="not_stored", hint=hint)


def _unreachable(text: str) -> TokenError:
    return TokenError(text, code="store_unreachable", retryable=True)
