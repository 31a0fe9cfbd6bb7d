"""Stores at real servers keep what all promise: PostgreSQL with locks and leases, Redis alone and beside another."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from sasl.adapters.tokens.stores import FileStore, Sealed
from sasl.adapters.tokens.stores.postgres import PostgresStore
from sasl.adapters.tokens.stores.redis import RedisStore

from ..support.stores import CONTRACT, Place, Promise
from . import postgresql as postgresql_module
from . import redis as redis_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .restartable import Restartable

NUMBERS = itertools.count()


class Places:
    """Makes places that are empty, and closes the stores that were opened there."""

    def __init__(self, postgresql: Restartable, redis: Restartable, folder: Path, closed: ExitStack) -> None:
        self._conninfo = postgresql_module.conninfo(postgresql)
        self._url = redis_module.url(redis)
        self._folder = folder
        self._closed = closed
        self._name = f"place_{next(NUMBERS)}"

    def _keep(self, store: Any) -> Any:
        self._closed.callback(store.close)
        return store

    def postgres(self, *, pooled: bool = False) -> Place:
        def open_one() -> PostgresStore:
            store: PostgresStore = self._keep(PostgresStore(self._conninfo, table=self._name, pooled=pooled))
            return store

        first = open_one()
        first.create()

        def spoil(key: str, octets: bytes) -> None:
            # Whoever writes beside the store says so by the version: a save asks for that and the fence alone.
            change = f"UPDATE {self._name} SET record = %(record)s, version = version + 1 WHERE key = %(key)s"
            first._connections.run(change, {"record": octets, "key": key})

        return Place(open_one, spoil)

    def postgres_pooled(self) -> Place:
        return self.postgres(pooled=True)

    def redis(self, **options: Any) -> Place:
        def open_one() -> RedisStore:
            store: RedisStore = self._keep(RedisStore(self._url, prefix=self._name, **options))
            return store

        first = open_one()

        def spoil(key: str, octets: bytes) -> None:
            first._client.hset(first._hash(key), "record", octets)
            first._client.hincrby(first._hash(key), "version", 1)

        return Place(open_one, spoil)

    def redis_sealed(self) -> Place:
        plain = self.redis()
        return Place(lambda: Sealed(plain.open(), b"k" * 32), plain.spoil, largest=45_000)

    def redis_beside_a_file(self) -> Place:
        return Place(self.redis(grants=FileStore(self._folder / "tokens")).open)

    def redis_beside_postgres(self) -> Place:
        return Place(self.redis(grants=self.postgres().open()).open)


KINDS = [kind for name, kind in vars(Places).items() if not name.startswith("_")]


@pytest.fixture(scope="module")
def postgresql(start: Callable[..., Iterator[Any]]) -> Iterator[Restartable]:
    yield from start(postgresql_module.restartable)


@pytest.fixture(scope="module")
def redis(start: Callable[..., Iterator[Any]]) -> Iterator[Restartable]:
    yield from start(redis_module.running)


@pytest.fixture
def places(postgresql: Restartable, redis: Restartable, tmp_path: Path) -> Iterator[Places]:
    with ExitStack() as closed:
        yield Places(postgresql, redis, tmp_path, closed)


@pytest.mark.parametrize("promise", CONTRACT, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_store_keeps_its_promises(places: Places, kind: Callable[[Places], Place], promise: Promise) -> None:
    promise(kind(places))
