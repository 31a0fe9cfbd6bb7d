"""Stores that workers share keep their promises when servers and holders are killed, stopped and started again."""

from __future__ import annotations

import itertools
import logging
import os
import select
import signal
import socket
import threading
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import redis as redis_library

from sasl.adapters.tokens.store import MemoryStore
from sasl.adapters.tokens.stores.postgres import PostgresStore
from sasl.adapters.tokens.stores.redis import RedisStore
from sasl.adapters.tokens.stores.sealed import Sealed
from sasl.errors import TokenError, UsageError
from sasl.secret import Secret
from sasl.value import replace

from ..support.holders import KEY, holder, store_of
from ..support.leaks import seen, shown
from ..support.servers import becomes_true
from ..support.stores import a_record, refused, same
from . import postgresql as postgresql_module
from . import redis as redis_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .restartable import Restartable

KINDS = ["postgres", "postgres_pooled", "redis", "redis_beside_a_file"]
LEASES = KINDS[1:]
SHORT = 0.3  # seconds
NUMBERS = itertools.count()

kinds = pytest.mark.parametrize("kind", KINDS)
leases = pytest.mark.parametrize("kind", LEASES)


@pytest.fixture(scope="module")
def postgresql(start: Callable[..., Iterator[Any]]) -> Iterator[Restartable]:
    yield from start(postgresql_module.restartable)


@pytest.fixture(scope="module")
def redis(start: Callable[..., Iterator[Any]]) -> Iterator[Restartable]:
    yield from start(redis_module.running)


@pytest.fixture(scope="module")
def forgetful(start: Callable[..., Iterator[Any]]) -> Iterator[Restartable]:
    """A Redis that writes nothing down."""
    yield from start(redis_module.running, durable=False)


class Shared:
    """A place for one kind of store, on a server."""

    def __init__(self, server: Restartable, settings: dict[str, Any], stack: ExitStack) -> None:
        self.server = server
        self.settings = settings
        self._stack = stack

    def open(self, **options: Any) -> Any:
        store = store_of(self.settings | options)
        self._stack.callback(store.close)
        return store


@pytest.fixture
def shared(postgresql: Restartable, redis: Restartable, tmp_path: Path) -> Iterator[Callable[[str], Shared]]:
    """Make a place for a kind of store, where one record is."""
    with ExitStack() as stack:

        def make(kind: str) -> Shared:
            name = f"faults_{next(NUMBERS)}"
            is_sql = kind.startswith("postgres")
            server = postgresql if is_sql else redis
            # As some roles are set: a commit that returns before anything is written.
            at = f"{postgresql_module.conninfo(server)} options='-c synchronous_commit=off'"
            at = at if is_sql else redis_module.url(server)
            place = Shared(server, {"kind": kind, "at": at, "name": name, "folder": str(tmp_path)}, stack)
            store = place.open()
            if is_sql:
                store.create()
            store.put(a_record(KEY, failures=0))
            return place

        yield make


# --- the server is killed


@kinds
def test_what_was_stored_is_there_after_the_server_was_killed(shared: Callable[[str], Shared], kind: str) -> None:
    place = shared(kind)
    store, other = place.open(), place.open()
    assert other.load(KEY) is not None  # so that it has a connection, which it will lose
    with store.locked(KEY, 5) as lease:
        saved = store.save(replace(store.load(KEY), refresh_token=Secret("the second")), lease)
    place.server.restart()
    assert same(other.load(KEY), saved)
    put = other.put(a_record(KEY, scope="a sign-in"))
    place.server.restart()
    assert same(store.load(KEY), put)


@kinds
def test_who_holds_the_lock_while_the_server_is_killed_stores_what_it_got(
    shared: Callable[[str], Shared], kind: str
) -> None:
    place = shared(kind)
    store, other = place.open(), place.open()
    with store.locked(KEY, 5) as lease:
        record = store.load(KEY)
        place.server.kill()
        assert refused("store_unreachable", other.locked(KEY, 0).__enter__).retryable
        if kind != "redis_beside_a_file":
            assert refused("store_unreachable", store.save, record, lease).retryable
            assert refused("store_unreachable", store.load, KEY).retryable
        assert place.server.start()
        saved = store.save(replace(record, scope="stored"), lease)
        assert refused("locked", other.locked(KEY, 0).__enter__).retryable
        assert same(other.load(KEY), saved)
    with other.locked(KEY, 0):
        pass


@leases
def test_holders_are_numbered_upwards_when_the_server_starts_again(shared: Callable[[str], Shared], kind: str) -> None:
    place = shared(kind)
    store = place.open()
    with store.locked(KEY, 5) as lease:
        first = lease.fence
    place.server.restart()
    with store.locked(KEY, 5) as lease:
        assert lease.fence > first


# --- the session of a lock is lost


def end_sessions(server: Restartable) -> None:
    """End all sessions but this one, as an administrator does, or a pooler."""
    with psycopg.connect(postgresql_module.conninfo(server)) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            " AND usename = current_user"
        )


def test_a_session_that_is_lost_is_seen_before_anything_is_sent(shared: Callable[[str], Shared]) -> None:
    place = shared("postgres")
    store = place.open()
    with store.locked(KEY, 5) as lease:
        assert lease.left() == float("inf")
        end_sessions(place.server)
        assert lease.left() == 0.0


def test_without_its_lock_nobody_saves_over_what_the_next_holder_stored(shared: Callable[[str], Shared]) -> None:
    place = shared("postgres")
    store, other = place.open(), place.open()
    with store.locked(KEY, 5) as lease:
        record = store.load(KEY)
        end_sessions(place.server)
        with other.locked(KEY, 5) as second:
            newer = other.save(replace(record, scope="newer"), second)
            refused("superseded", store.save, record, lease)
    assert same(store.load(KEY), newer)


def test_without_its_lock_what_came_is_saved_beside_a_holder_who_has_stored_nothing(
    shared: Callable[[str], Shared],
) -> None:
    """The holder may wait for it: it is the answer to the request whose mark is stored."""
    place = shared("postgres")
    store, other = place.open(), place.open()
    with store.locked(KEY, 5) as lease:
        record = store.load(KEY)
        end_sessions(place.server)
        with other.locked(KEY, 5) as second:
            saved = store.save(replace(record, scope="the only good grant"), lease)
            assert lease.left() == 0.0
            refused("superseded", other.save, record, second)
            refused("locked", store.locked(KEY, 0).__enter__)
            last = store.save(replace(saved, scope="and the next"), lease)
    assert same(other.load(KEY), last)


def test_a_lock_whose_session_was_lost_is_taken_again_by_who_saves(shared: Callable[[str], Shared]) -> None:
    place = shared("postgres")
    store, other = place.open(), place.open()
    with store.locked(KEY, 5) as lease:
        record = store.load(KEY)
        end_sessions(place.server)
        saved = store.save(replace(record, scope="saved"), lease)
        refused("locked", other.locked(KEY, 0).__enter__)
        assert lease.left() == float("inf")
    with other.locked(KEY, 0):
        assert same(other.load(KEY), saved)


# --- a holder is killed, or stopped


def test_a_lock_is_free_at_once_when_its_holder_was_killed(shared: Callable[[str], Shared]) -> None:
    place = shared("postgres")
    with holder(place.settings) as other:
        assert other.told() == "held"
        refused("locked", place.open().locked(KEY, 0).__enter__)
        other.process.kill()
        with place.open().locked(KEY, 10):
            pass


@leases
def test_a_lease_runs_out_when_its_holder_was_killed(shared: Callable[[str], Shared], kind: str) -> None:
    place = shared(kind)
    with holder(place.settings | {"lease": SHORT}) as other:
        assert other.told() == "held"
        other.process.kill()
        with place.open().locked(KEY, 10) as lease:
            assert 50 < lease.left() <= 60


@leases
def test_who_sleeps_for_longer_than_its_lease_saves_nothing_over_the_next_holder(
    shared: Callable[[str], Shared], kind: str
) -> None:
    place = shared(kind)
    store = place.open()
    with holder(place.settings | {"lease": SHORT}) as other:
        assert other.told() == "held"
        os.kill(other.process.pid, signal.SIGSTOP)
        with store.locked(KEY, 10) as lease:
            os.kill(other.process.pid, signal.SIGCONT)
            other.go_on()
            assert other.told() == "superseded"  # also before anything newer is stored
            saved = store.save(replace(store.load(KEY), scope="newer"), lease)
    assert same(store.load(KEY), saved)


def test_who_sleeps_with_the_lock_of_a_session_keeps_it(shared: Callable[[str], Shared]) -> None:
    place = shared("postgres")
    store = place.open()
    with holder(place.settings | {"lease": SHORT}) as other:
        assert other.told() == "held"
        os.kill(other.process.pid, signal.SIGSTOP)
        refused("locked", store.locked(KEY, 2 * SHORT).__enter__)
        os.kill(other.process.pid, signal.SIGCONT)
        other.go_on()
        assert other.told() == "saved"
    assert store.load(KEY).scope == "late"


@leases
def test_what_comes_late_is_stored_where_nobody_else_has_been_there(shared: Callable[[str], Shared], kind: str) -> None:
    """A new refresh token must not be lost because it took long to come."""
    store = shared(kind).open(lease=0.05)
    with store.locked(KEY, 5) as lease:
        record = store.load(KEY)
        assert becomes_true(lambda: lease.left() == 0.0, within=5)
        time.sleep(0.05)
        saved = store.save(replace(record, scope="late"), lease)
    assert same(store.load(KEY), saved)


@kinds
def test_a_sign_in_of_another_process_outranks_its_renewal(shared: Callable[[str], Shared], kind: str) -> None:
    place = shared(kind)
    store = place.open()
    with holder(place.settings) as other:
        assert other.told() == "held"
        put = store.put(a_record(KEY, scope="a sign-in"))
        other.go_on()
        assert other.told() == "superseded"
    assert same(store.load(KEY), put)


@pytest.mark.parametrize(
    "kind",
    ["postgres", "redis", *[pytest.param(kind, marks=pytest.mark.long) for kind in ("postgres_pooled", KINDS[-1])]],
)
def test_processes_lose_nothing_of_what_they_count_under_the_lock(shared: Callable[[str], Shared], kind: str) -> None:
    place = shared(kind)
    settings = place.settings | {"number": 50}
    with holder(settings, "count") as one, holder(settings, "count") as two:
        assert [one.told(), two.told()] == ["ready", "ready"]
        one.go_on()
        two.go_on()
        assert [one.told(), two.told()] == ["counted", "counted"]
    assert place.open().load(KEY).failures == 100


def test_a_forked_process_leaves_the_lock_and_the_sessions_to_its_parent(shared: Callable[[str], Shared]) -> None:
    store = shared("postgres").open()
    with store.locked(KEY, 5) as lease:
        record = store.load(KEY)
        pid = os.fork()
        if pid == 0:
            fine = False
            try:
                loaded = store.load(KEY)
                fine = same(loaded, record) and lease.left() == 0.0 and _code(store.save, record, lease) == "superseded"
            finally:
                os._exit(0 if fine else 1)
        assert os.waitpid(pid, 0)[1] == 0
        saved = store.save(replace(record, scope="of the parent"), lease)
    assert same(store.load(KEY), saved)


def _code(call: Callable[..., object], *arguments: object) -> str | None:
    try:
        call(*arguments)
    except TokenError as error:
        return error.code
    return None


# --- answers that do not come, or are a no


class Cut:
    """A port that leads to a server; once told, it ends a connection in place of passing on the next answer."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.armed = threading.Event()
        self.cuts = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._carry, args=[client], daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._behind)) as server, suppress(OSError):
            while True:
                for one in select.select([client, server], [], [])[0]:
                    octets = one.recv(65_536)
                    if not octets:
                        return
                    if one is server and self.armed.is_set():
                        self.armed.clear()
                        self.cuts += 1
                        return
                    (client if one is server else server).sendall(octets)


@kinds
def test_what_was_saved_is_saved_once_when_the_answer_is_lost(
    shared: Callable[[str], Shared], postgresql: Restartable, redis: Restartable, kind: str
) -> None:
    place = shared(kind)
    port = (postgresql if kind.startswith("postgres") else redis).port
    with closing(Cut(port)) as cut:
        through = place.open(at=place.settings["at"].replace(str(port), str(cut.port)))
        with through.locked(KEY, 5) as lease:
            record = through.load(KEY)
            cut.armed.set()
            saved = through.save(replace(record, scope="saved once"), lease)
            assert saved.version == record.version + 1
            assert same(place.open().load(KEY), saved)
            last = through.save(replace(saved, scope="and the next"), lease)
        for step in (through.delete, lambda key: through.put(a_record(key)), through.load):
            cut.armed.set()
            step(KEY)
        assert cut.cuts == 4
        assert last.version == saved.version + 1
        through.close()


@pytest.mark.parametrize("kind", ["postgres", "redis"])
def test_a_server_that_does_not_answer_is_not_waited_for(shared: Callable[[str], Shared], kind: str) -> None:
    place = shared(kind)
    at = place.settings["at"]
    options = {"timeout": 0.2}
    name = place.settings["name"]
    store: Any = (
        PostgresStore(at, table=name, **options) if kind == "postgres" else RedisStore(at, prefix=name, **options)
    )
    try:
        record = store.load(KEY)
        with place.server.stopped():
            began = time.monotonic()
            assert refused("store_unreachable", store.load, KEY).retryable
            assert time.monotonic() - began < 10
        assert same(store.load(KEY), record)
    finally:
        store.close()


def test_a_redis_that_may_not_write_says_so(shared: Callable[[str], Shared]) -> None:
    place = shared("redis")
    store = place.open()
    with redis_library.Redis(port=place.server.port) as admin:
        admin.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            assert refused("store_unreachable", store.put, a_record(KEY)).retryable
        finally:
            admin.execute_command("REPLICAOF", "NO", "ONE")
        admin.config_set("maxmemory", 1)
        try:
            assert not refused("not_stored", store.put, a_record(KEY)).retryable
        finally:
            admin.config_set("maxmemory", 0)


def test_a_redis_that_writes_nothing_down_gets_no_grant(forgetful: Restartable) -> None:
    """An encrypted one neither, which it cannot see; a token that nobody misses it does get."""
    url = redis_module.url(forgetful)
    with opened(RedisStore(url, prefix="protest")) as store, opened(RedisStore(url, prefix="sealed")) as other:
        for each in (store, Sealed(other, b"k" * 32)):
            for _ in range(2):
                assert "appendonly no" in str(refused("not_stored", each.put, a_record(KEY)))
            assert each.load(KEY) is None
        store.put(replace(a_record(KEY), refresh_token=None, unknown={}))
        assert refused("not_stored", store.check_durable).hint


def test_a_redis_that_may_lose_what_it_was_told_last_is_warned_of(
    redis: Restartable, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(RedisStore(redis_module.url(redis), prefix="protest")) as store:
        store.check_durable()
        for option, risky, safe in (("appendfsync", "everysec", "always"), ("maxmemory-policy", *EVICTION)):
            server_option(redis, option, risky)
            assert risky in str(refused("not_stored", store.check_durable))
            with opened(RedisStore(redis_module.url(redis), prefix="risky")) as other:
                other.put(a_record(KEY))
                other.put(a_record(KEY))
            assert len([record for record in caplog.records if risky in record.getMessage()]) == 1
            server_option(redis, option, safe)


EVICTION = ("allkeys-lru", "noeviction")


def server_option(server: Restartable, option: str, choice: str) -> None:
    with redis_library.Redis(port=server.port) as admin:
        admin.config_set("maxmemory", 0 if choice == EVICTION[1] else 2**30)
        admin.config_set(option, choice)


@pytest.mark.parametrize("forbidden", ["info", "config"])
def test_a_redis_that_does_not_tell_is_used_and_the_log_says_so(
    redis: Restartable, forbidden: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sasl")
    with redis_library.Redis(port=redis.port) as admin:
        admin.acl_setuser("worker", enabled=True, nopass=True, keys="*", commands=["+@all", f"-{forbidden}"])
    with opened(RedisStore(f"redis://worker:any@127.0.0.1:{redis.port}/0", prefix="silent")) as store:
        store.put(a_record(KEY))
        store.put(a_record(KEY))
    assert len([record for record in caplog.records if "does not tell" in record.getMessage()]) == 1


def test_a_wrong_password_is_no_outage_and_no_secret_is_shown(redis: Restartable) -> None:
    with redis_library.Redis(port=redis.port) as admin:
        admin.acl_setuser("guarded", enabled=True, passwords=["+wonderland"], keys="*", commands=["+@all"])
    with opened(RedisStore(f"redis://guarded:looking-glass@127.0.0.1:{redis.port}/0")) as store:
        with pytest.raises(TokenError) as caught:
            store.load(KEY)
        assert not caught.value.retryable
        assert seen([*shown(caught.value), repr(store)], "looking-glass") == []


def test_no_password_of_postgresql_is_shown(postgresql: Restartable) -> None:
    login = f"host=127.0.0.1 port={postgresql.port} dbname=postgres user=alice password=looking-glass"
    for conninfo in (login, f"{login} looking-glass", "postgresql://alice:looking-glass@127.0.0.1:1:1/"):
        with opened(PostgresStore(conninfo)) as store:
            for call in (store.load, store.delete, lambda key: store.locked(key, 0).__enter__()):
                with pytest.raises(TokenError) as caught:
                    call(KEY)
                assert seen([*shown(caught.value), repr(store)], "looking-glass") == []


def test_a_table_that_is_not_there_is_told(postgresql: Restartable) -> None:
    with opened(PostgresStore(postgresql_module.conninfo(postgresql), table="trusted.nowhere")) as store:
        assert "create()" in refused("not_stored", store.load, KEY).hint
        store.create()
        store.create()
        assert store.load(KEY) is None


def test_a_callable_that_connects_is_used_for_every_connection(postgresql: Restartable) -> None:
    made: list[psycopg.Connection[Any]] = []

    def connect() -> psycopg.Connection[Any]:
        made.append(psycopg.connect(postgresql_module.conninfo(postgresql)))
        return made[-1]

    with opened(PostgresStore(connect, table="by_a_callable")) as store:
        store.create()
        store.put(a_record(KEY))
        with store.locked(KEY, 5) as lease:
            store.save(store.load(KEY), lease)
        assert len(made) == 2
        assert refused("locked", _locked_twice, store).retryable
    assert all(connection.closed for connection in made)


def _locked_twice(store: PostgresStore) -> None:
    with store.locked(KEY, 5), store.locked(KEY, 0):
        pass


def test_a_lease_of_another_account_or_another_store_is_refused(shared: Callable[[str], Shared]) -> None:
    for kind in KINDS:
        store = shared(kind).open()
        with store.locked("another account", 5) as lease, pytest.raises(UsageError):
            store.save(store.load(KEY), lease)
        with MemoryStore().locked(KEY, 5) as foreign, pytest.raises(UsageError):
            store.save(store.load(KEY), foreign)


# --- Redis beside another store


def test_who_loses_redis_loses_no_grant(forgetful: Restartable) -> None:
    grants = MemoryStore()
    with opened(RedisStore(redis_module.url(forgetful), prefix="beside", grants=grants)) as store:
        put = store.put(a_record(KEY))
        assert same(store.load(KEY), put)
        with store.locked(KEY, 5) as lease:
            forgetful.restart()
            saved = store.save(replace(put, refresh_token=Secret("the second")), lease)
            assert same(store.load(KEY), saved)
        forgetful.restart()
        left = store.load(KEY)
        assert left is not None
        assert left.access_token is None
        assert left.refresh_token == "the second"
        with store.locked(KEY, 5) as lease:
            saved = store.save(replace(left, access_token=Secret("new")), lease)
        assert same(store.load(KEY), saved)


def test_redis_beside_another_store_holds_no_grant(redis: Restartable) -> None:
    grants = MemoryStore()
    with opened(RedisStore(redis_module.url(redis), prefix="apart", grants=grants)) as store:
        record = store.put(a_record(KEY))
        with store.locked(KEY, 5) as lease:
            record = store.save(record, lease)
        with redis_library.Redis(port=redis.port) as admin:
            pairs = [pair for name in admin.keys("apart:record:*") for pair in admin.hgetall(name).items()]
        held = b" ".join(itertools.chain.from_iterable(pairs))
        assert record.access_token is not None
        assert record.access_token.reveal().encode() in held
        assert record.refresh_token is not None
        assert record.refresh_token.reveal().encode() not in held
        kept = grants.load(KEY)
        assert kept is not None
        assert (kept.access_token, kept.expires_at, kept.refresh_token) == (None, None, record.refresh_token)


def test_a_token_of_an_older_grant_is_not_taken_for_one_of_the_newer(redis: Restartable) -> None:
    grants = MemoryStore()
    with opened(RedisStore(redis_module.url(redis), prefix="older", grants=grants)) as store:
        store.put(a_record(KEY))
        grants.put(a_record(KEY, access_token=None, refresh_token=Secret("of a sign-in elsewhere")))
        loaded = store.load(KEY)
        assert loaded is not None
        assert loaded.access_token is None


@contextmanager
def opened(store: Any) -> Iterator[Any]:
    try:
        yield store
    finally:
        store.close()
