"""Where grants are kept, and who may renew one now: what a store has to do, and the one in memory.

A renewal sends a refresh token that may be good once. So it holds the lock of the account while it reads, sends and
stores; what it stores is durable before anybody uses it; and what comes too late does not undo what is newer. See
docs/decisions/0030-keeping-grants.md.
"""

from __future__ import annotations

import math
import os
import threading
from contextlib import contextmanager
from time import time_ns
from typing import TYPE_CHECKING, Protocol, final

from sasl.errors import TokenError
from sasl.value import replace, value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from .record import Record


class Lease(Protocol):
    """The right to renew one account's token.

    Attributes:
        fence: counts the holders of an account's lock and its sign-ins: the larger is the newer.
    """

    @property
    def fence(self) -> int:
        """See above."""
        ...

    def left(self) -> float:
        """Return the seconds that it is still good for; infinity where only the end of the process ends it."""
        ...


class Store(Protocol):
    """Keeps records, each under its key. Several threads may use one store.

    All of them raise TokenError: store_unreachable, which is retryable, where the store does not answer; bad_record
    for what cannot be read.
    """

    def load(self, key: str) -> Record | None:
        """Return the record, an old one or a new one, never half of one; None if there is none."""
        ...

    def locked(self, key: str, seconds: float) -> AbstractContextManager[Lease]:
        """Keep others from renewing this account; wait at most that many seconds for whoever does, 0 for not at all.

        Raises TokenError (locked, which is retryable) after that time.
        """
        ...

    def save(self, record: Record, lease: Lease) -> Record:
        """Store a record under the lock, and return it with the version and the fence that it has now.

        It is durable then. Raises TokenError: superseded if the stored one has another version than this one had when
        it was loaded, or a newer holder or a sign-in has been there; not_stored if it cannot be written.
        """
        ...

    def put(self, record: Record) -> Record:
        """Store the record of a new sign-in, whatever is there and whoever renews it: what they save is superseded."""
        ...

    def delete(self, key: str) -> None:
        """Forget an account, also one that is not there."""
        ...

    def keys(self) -> list[str]:
        """Return the keys of all records, sorted."""
        ...


def to_put(record: Record, stored: Record | None) -> Record:
    """Return the record of a new sign-in as it is stored in place of another one, or of nothing.

    A version never comes twice, even if the record was deleted in between: a renewal that began before that is told
    that something newer is stored. So the first one is taken from the clock, in microseconds.
    """
    version, fence = (time_ns() // 1_000, 0) if stored is None else (stored.version, stored.fence)
    return replace(record, version=version + 1, fence=fence + 1)


def to_save(record: Record, stored: Record | None, lease: Lease) -> Record:
    """Return a renewed record as it is stored in place of another one. Raises TokenError: superseded."""
    if stored is None or stored.version != record.version or stored.fence > lease.fence:
        raise superseded()
    return replace(record, version=record.version + 1, fence=stored.fence)


def superseded() -> TokenError:
    """What `save` raises where something newer is stored."""
    return TokenError("a newer sign-in or renewal is stored", code="superseded", retryable=True)


def locked() -> TokenError:
    """What `locked` raises where somebody else renews the token for too long."""
    return TokenError("somebody else is renewing this token", code="locked", retryable=True)


@final
@value
class FreedByDeath:
    """The lease of a lock that its holder keeps until it gives it back, or is gone."""

    fence: int

    def left(self) -> float:
        """Return infinity."""
        return math.inf


@final
class MemoryStore:
    """Keeps records for the threads of this process, until it ends."""

    __slots__ = ("_guard", "_locks", "_pid", "_records")

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._forget_locks()

    def _forget_locks(self) -> None:
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self._pid = os.getpid()

    def _guarded(self) -> threading.Lock:
        """Return what one thread at a time holds. A forked process has no thread that gave back what it held."""
        if self._pid != os.getpid():
            self._forget_locks()
        return self._guard

    def __repr__(self) -> str:
        return f"<MemoryStore of {len(self._records)}>"

    def load(self, key: str) -> Record | None:
        """Return the record, or None."""
        return self._records.get(key)

    @contextmanager
    def locked(self, key: str, seconds: float) -> Iterator[FreedByDeath]:
        """Keep other threads from renewing this account."""
        with self._guarded():
            lock = self._locks.setdefault(key, threading.Lock())
        if not lock.acquire(timeout=max(seconds, 0)):
            raise locked()
        try:
            stored = self._records.get(key)
            yield FreedByDeath(0 if stored is None else stored.fence)
        finally:
            lock.release()

    def save(self, record: Record, lease: Lease) -> Record:
        """Store a record unless a newer one is there."""
        with self._guarded():
            return self._write(to_save(record, self._records.get(record.key), lease))

    def put(self, record: Record) -> Record:
        """Store the record of a new sign-in."""
        with self._guarded():
            return self._write(to_put(record, self._records.get(record.key)))

    def delete(self, key: str) -> None:
        """Forget an account."""
        with self._guarded():
            self._records.pop(key, None)

    def keys(self) -> list[str]:
        """Return the keys of all records, sorted."""
        with self._guarded():
            return sorted(self._records)

    def _write(self, record: Record) -> Record:
        record.encode()  # what is too large for other stores is for this one
        self._records[record.key] = record
        return record
