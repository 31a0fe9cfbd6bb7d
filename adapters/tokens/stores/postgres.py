"""Grants in a table of PostgreSQL, for workers on many machines; by psycopg, which comes with the extra `psycopg`.

    store = PostgresStore("host=db.example.org dbname=mail")
    store.create()  # once; or let somebody who may run `SCHEMA`

Who renews a token holds an advisory lock of a session, which the server frees as soon as the session ends, however it
ends. Behind a pooler that gives each transaction another session (PgBouncer) there are none: `pooled=True` takes a
lease instead, in columns of the row and by the clock of the database. All workers have to choose the same.
A server that logs the parameters of statements logs grants: `Sealed` keeps them from it.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING, Any, Final, final

from sasl.errors import TokenError, UsageError, bare, hide_frames
from sasl.value import replace

from ..record import parse_record
from ..store import superseded
from ._connections import Connections, LostConnectionError
from .leases import TimedLease, new_owner, now, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from psycopg import Connection

    from ..record import Record
    from ..store import Lease

SCHEMA: Final = """\
CREATE TABLE IF NOT EXISTS {table} (
    key text PRIMARY KEY,
    record bytea,              -- NULL where only a lease is
    version bigint NOT NULL,
    fence bigint NOT NULL,     -- of the newest holder or sign-in
    record_fence bigint,       -- of whoever stored the record
    holder text,               -- these two only where pooled=True
    lease_until timestamptz
)
"""
"""The table. Workers need SELECT, INSERT, UPDATE and DELETE on it."""

_TABLE: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}(\.[a-z_][a-z0-9_]{0,62})?")
_LONGEST_KEY: Final = 2_600  # octets: an index takes no larger ones

# A commit that is not on the disk when it returns loses a grant, or a lease, with the server; some roles are set so.
_DURABLE: Final = (
    "(current_setting('synchronous_commit') <> 'off' OR set_config('synchronous_commit', 'on', true) <> '')"
)
# The clock begins what is counted, so that nothing comes twice when a row is deleted and made again.
_MICROSECONDS: Final = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

_LOAD: Final = "SELECT record, version, record_fence FROM {table} WHERE key = %(key)s AND record IS NOT NULL"
_KEYS: Final = "SELECT key FROM {table} WHERE record IS NOT NULL"
_DELETE: Final = "DELETE FROM {table} WHERE key = %(key)s AND {durable}"
_PUT: Final = """\
INSERT INTO {table} AS stored (key, record, version, fence, record_fence)
SELECT %(key)s::text, %(record)s::bytea, first, first, first FROM (SELECT {microseconds} AS first) AS clock
WHERE {durable}
ON CONFLICT (key) DO UPDATE SET record = EXCLUDED.record, fence = stored.fence + 1, record_fence = stored.fence + 1,
    version = CASE WHEN stored.record IS NULL THEN EXCLUDED.version ELSE stored.version + 1 END
RETURNING version, record_fence"""
_SAVE: Final = """\
UPDATE {table} SET record = %(record)s::bytea, version = %(version)s::bigint + 1, record_fence = fence
WHERE key = %(key)s AND record IS NOT NULL AND fence <= %(fence)s::bigint AND (version = %(version)s::bigint
    OR (%(unsure)s::boolean AND version = %(version)s::bigint + 1 AND record = %(record)s::bytea)) AND {durable}
RETURNING version, record_fence"""
_LOCK: Final = "SELECT pg_try_advisory_lock(hashtextextended(%(name)s, 0))"
_UNLOCK: Final = "SELECT pg_advisory_unlock(hashtextextended(%(name)s, 0))"
_FENCE: Final = "SELECT fence FROM {table} WHERE key = %(key)s"
_LEASE: Final = """\
INSERT INTO {table} AS stored (key, version, fence, holder, lease_until)
SELECT %(key)s::text, 0, {microseconds}, %(holder)s::text, clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE {durable}
ON CONFLICT (key) DO UPDATE SET
    fence = stored.fence + 1, holder = EXCLUDED.holder, lease_until = EXCLUDED.lease_until
WHERE stored.lease_until IS NULL OR stored.lease_until < clock_timestamp() OR stored.holder = EXCLUDED.holder
RETURNING fence"""
_FREE: Final = """\
WITH held AS (DELETE FROM {table} WHERE key = %(key)s AND holder = %(holder)s AND record IS NULL AND {durable})
UPDATE {table} SET holder = NULL, lease_until = NULL
WHERE key = %(key)s AND holder = %(holder)s AND record IS NOT NULL AND {durable}"""


@final
class SessionLease:
    """The lock of an account that a session of the database holds.

    Attributes:
        key: the account that it is for.
        fence: counts the account's sign-ins.
        connection: that of the session; None when it was given back.
        unsure: whether something was saved of which nobody knows whether it is stored.
    """

    __slots__ = ("_is_alive", "_process", "connection", "fence", "key", "unsure")

    def __init__(
        self, key: str, fence: int, connection: Connection[Any], is_alive: Callable[[Connection[Any]], bool]
    ) -> None:
        self._is_alive = is_alive
        self.key = key
        self.fence = fence
        self.connection: Connection[Any] | None = connection
        self.unsure = False
        self._process = os.getpid()

    def __repr__(self) -> str:
        return f"<SessionLease {self.fence}, {'held' if self.is_held() else 'given back'}>"

    def left(self) -> float:
        """Return inf; 0.0 when it was given back, in a forked process, and if the session does not answer any more."""
        connection = self.connection
        if connection is None or not self.is_held() or connection.closed:
            return 0.0
        return inf if self._is_alive(connection) else 0.0

    def is_held(self) -> bool:
        """Whether this process has not given it back; its session may have ended."""
        return self.connection is not None and self._process == os.getpid()


@final
class PostgresStore:
    r"""Keeps grants in a table, one row for each account.

    `connect` is a conninfo string (`host=... dbname=...`, a URL), or a callable that returns a new connection of
    psycopg's, which this store closes. `table` may name its schema: small letters, digits and underscores.
    `pooled` takes leases of `lease` seconds instead of locks of sessions: several times what a request to the
    authorization server may take. `timeout` is what the database has for each answer, in seconds.
    Threads share a store; a forked process opens connections of its own.
    Raises UsageError for a table that has no such name, for a key with "\0" or half a surrogate pair and one of more
    than 2,600 octets; TokenError (missing_extra) without psycopg, store_unreachable, not_stored, bad_record.
    """

    __slots__ = ("_connections", "_lease", "_pooled", "_table")

    def __init__(
        self,
        connect: str | Callable[[], Connection[Any]],
        *,
        table: str = "sasl_token",
        pooled: bool = False,
        lease: float = 60.0,
        timeout: float = 10.0,
    ) -> None:
        if _TABLE.fullmatch(table) is None:
            raise UsageError("a table's name is of small letters, digits and underscores")
        if lease <= 0 or timeout <= 0:
            raise UsageError("a lease and a time limit are more than 0 seconds")
        self._connections = Connections(connect, timeout)
        self._table = ".".join(f'"{part}"' for part in table.split("."))
        self._pooled = pooled
        self._lease = lease

    def __repr__(self) -> str:
        return f"PostgresStore(table={self._table}, pooled={self._pooled})"

    def create(self) -> None:
        """Make the table, unless it is there: `SCHEMA`. Raises TokenError."""
        self._run(SCHEMA)

    def close(self) -> None:
        """Close the connections that are not in use. The store may be used again."""
        self._connections.close()

    @hide_frames
    def load(self, key: str) -> Record | None:
        """Return the record, or None. Raises TokenError: bad_record, store_unreachable."""
        if not _can_be_stored(key):
            return None
        rows = self._run(_LOAD, key=key)
        if not rows:
            return None
        ((octets, version, fence),) = rows
        record = parse_record(octets)
        if record.key != key:
            raise TokenError("the stored record is another account's", code="bad_record", hint="Sign in again.")
        return replace(record, version=version, fence=fence)

    def locked(self, key: str, seconds: float) -> AbstractContextManager[Lease]:
        """Keep all others from renewing this account's token. Raises TokenError: locked, store_unreachable."""
        _check(key)
        return self._leased(key, seconds) if self._pooled else self._locked_by_session(key, seconds)

    @hide_frames
    def save(self, record: Record, lease: Lease) -> Record:
        """Store a record under the lock; it is committed when this returns.

        Where the session of the lock is lost, the lock is taken in a new one if it is free. The record is stored if
        nobody has stored another one meanwhile, whoever holds the lock: it may be the only good grant.
        Raises TokenError: superseded, not_stored, store_unreachable.
        """
        _check(record.key)
        if not isinstance(lease, SessionLease | TimedLease) or lease.key != record.key:
            raise UsageError("this is no lease of this store for this account")
        if not lease.is_held():
            raise superseded()
        values = {
            "key": record.key,
            "record": _encode(record),
            "version": record.version,
            "fence": lease.fence,
            "unsure": lease.unsure,
        }
        lease.unsure = True  # until an answer is here
        rows = self._save_in_session(lease, values) if isinstance(lease, SessionLease) else self._save(values)
        lease.unsure = False
        return _stored(record, rows)

    @hide_frames
    def put(self, record: Record) -> Record:
        """Store the record of a new sign-in; it is committed when this returns. Raises TokenError."""
        _check(record.key)
        return _stored(record, self._run(_PUT, key=record.key, record=_encode(record)))

    def delete(self, key: str) -> None:
        """Forget an account. Raises TokenError: store_unreachable."""
        if _can_be_stored(key):
            self._run(_DELETE, key=key)

    def keys(self) -> list[str]:
        """Return the keys of all records, sorted. Raises TokenError: store_unreachable."""
        return sorted([key for (key,) in self._run(_KEYS)])

    def _run(self, statement: str, **values: object) -> list[tuple[Any, ...]]:
        return self._connections.run(self._fill(statement), values)

    def _fill(self, statement: str) -> str:
        return statement.format(table=self._table, microseconds=_MICROSECONDS, durable=_DURABLE)

    # --- a lock of a session

    @contextmanager
    def _locked_by_session(self, key: str, seconds: float) -> Iterator[SessionLease]:
        connection = self._lock(key, seconds)
        try:
            rows = self._connections.ask_once(connection, self._fill(_FENCE), {"key": key})
            lease = SessionLease(key, rows[0][0] if rows else 0, connection, self._connections.is_alive)
        except BaseException:
            connection.close()
            raise
        try:
            yield lease
        finally:
            self._unlock(lease)

    def _lock(self, key: str, seconds: float) -> Connection[Any]:
        """Return a connection whose session holds the lock. Raises TokenError."""
        connection = self._connections.take()

        def take() -> Connection[Any] | None:
            nonlocal connection
            try:
                rows = self._connections.ask(connection, _LOCK, self._name(key))
            except LostConnectionError:
                rows = None
            if rows is None:
                connection = self._connections.open()
                rows = self._connections.ask_once(connection, _LOCK, self._name(key))
            return connection if rows[0][0] else None

        try:
            return wait_for(take, seconds)
        except TokenError as error:
            failure = bare(error)
            self._connections.give_back(connection)
        except BaseException:
            connection.close()
            raise
        raise failure

    def _unlock(self, lease: SessionLease) -> None:
        """Give the lock back; the end of the session does, if nothing else. A child leaves its parent's as it is."""
        held, connection = lease.is_held(), lease.connection
        lease.connection = None
        if not held or connection is None or connection.closed:
            return
        try:
            self._connections.ask_once(connection, _UNLOCK, self._name(lease.key))
        except TokenError:
            return  # the connection is closed
        except BaseException:
            connection.close()
            raise
        self._connections.give_back(connection)

    def _save_in_session(self, lease: SessionLease, values: dict[str, object]) -> list[tuple[Any, ...]]:
        """Save by the session that holds the lock, or by a new one."""
        connection = lease.connection
        if connection is not None and not connection.closed:
            try:
                return self._connections.ask(connection, self._fill(_SAVE), values)
            except LostConnectionError:
                pass
        connection = self._connections.open()
        try:
            rows = self._connections.ask_once(connection, _LOCK, self._name(lease.key))
            if rows[0][0]:
                lease.connection = connection
            # Where somebody else has it by now, who may be waiting for this very record, the version decides alone.
            rows = self._connections.ask_once(connection, self._fill(_SAVE), values | {"unsure": True})
        except BaseException:
            connection.close()
            raise
        if lease.connection is not connection:
            self._connections.give_back(connection)
        return rows

    def _name(self, key: str) -> dict[str, object]:
        """Return what the lock is named after: tables have locks of their own."""
        return {"name": f"{self._table} {key}"}

    # --- a lease in the row

    @contextmanager
    def _leased(self, key: str, seconds: float) -> Iterator[TimedLease]:
        owner = new_owner()

        def take() -> TimedLease | None:
            since = now()  # before it is sent: it never lasts longer here than there
            rows = self._run(_LEASE, key=key, holder=owner, seconds=self._lease)
            return TimedLease(key, rows[0][0], owner, since, self._lease) if rows else None

        lease = wait_for(take, seconds)
        try:
            yield lease
        finally:
            held = lease.is_held()
            lease.end()
            if held:
                self._free(lease)

    def _free(self, lease: TimedLease) -> None:
        try:
            self._run(_FREE, key=lease.key, holder=lease.owner)
        except TokenError:
            pass  # it runs out

    def _save(self, values: dict[str, object]) -> list[tuple[Any, ...]]:
        """Save by any session; once more, where nobody knows what became of it."""
        connections, statement = self._connections, self._fill(_SAVE)
        connection = connections.take()
        try:
            rows = connections.ask(connection, statement, values)
        except LostConnectionError:
            rows = None
        if rows is None:
            connection = connections.open()
            rows = connections.ask_once(connection, statement, values | {"unsure": True})
        connections.give_back(connection)
        return rows


def _encode(record: Record) -> bytes:
    """Return the document; what counts it has columns of its own."""
    return replace(record, version=0, fence=0).encode()


def _stored(record: Record, rows: list[tuple[Any, ...]]) -> Record:
    if not rows:
        raise superseded()
    ((version, fence),) = rows
    return replace(record, version=version, fence=fence)


def _can_be_stored(key: str) -> bool:
    """Whether the database takes a key as text."""
    try:
        return "\0" not in key and 0 < len(key.encode()) <= _LONGEST_KEY
    except UnicodeEncodeError:
        return False


def _check(key: str) -> None:
    if not _can_be_stored(key):
        raise UsageError(f'a key has 1 to {_LONGEST_KEY} octets of UTF-8, and no "\\0"')
