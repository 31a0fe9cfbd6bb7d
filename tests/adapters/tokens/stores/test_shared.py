"""What the stores at servers do without one: what they refuse, what they miss, and how they wait."""

from __future__ import annotations

import sys

import pytest

from sasl.adapters.tokens.stores import leases
from sasl.adapters.tokens.stores.postgres import SCHEMA, PostgresStore
from sasl.adapters.tokens.stores.redis import RedisStore
from sasl.errors import TokenError, UsageError

from ....support.leaks import seen, shown

NOBODY = "127.0.0.1:1"


@pytest.mark.parametrize("table", ["", "Sasl", 'a"b', "a.b.c", "a;b", "a\n", "1a", "a" * 64])
def test_a_table_has_a_name_that_needs_no_quotes(table: str) -> None:
    with pytest.raises(UsageError):
        PostgresStore("", table=table)


@pytest.mark.parametrize("options", [{"lease": 0}, {"timeout": 0}, {"lease": -1}])
def test_times_are_more_than_nothing(options: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        PostgresStore("", **options)
    with pytest.raises(UsageError):
        RedisStore(f"redis://{NOBODY}", **options)


def test_the_schema_can_be_read_by_who_makes_the_table() -> None:
    assert SCHEMA.format(table="sasl_token").startswith("CREATE TABLE IF NOT EXISTS sasl_token (")


def test_a_url_that_is_none_is_refused_without_showing_it() -> None:
    with pytest.raises(UsageError) as caught:
        RedisStore("http://:looking-glass@example.org")
    assert seen(shown(caught.value), "looking-glass") == []


@pytest.mark.parametrize("name", ["psycopg", "redis"])
def test_a_package_that_is_missing_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(TokenError, match=f"saslkit\\[{name}\\]") as caught:
        PostgresStore("").load("a") if name == "psycopg" else RedisStore(f"redis://{NOBODY}")
    assert caught.value.code == "missing_extra"


def test_a_server_that_is_not_there_is_told() -> None:
    host, port = NOBODY.split(":")
    for store in (PostgresStore(f"host={host} port={port}"), RedisStore(f"redis://{NOBODY}")):
        for call in (store.load, store.delete, lambda key: store.locked(key, 0).__enter__()):  # noqa: B023
            with pytest.raises(TokenError) as caught:
                call("a key")
            assert (caught.value.code, caught.value.retryable) == ("store_unreachable", True)


def test_a_wait_grows_and_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    time, pauses = [0.0], []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        time[0] += seconds

    monkeypatch.setattr(leases, "now", lambda: time[0])
    monkeypatch.setattr(leases.time, "sleep", sleep)
    with pytest.raises(TokenError) as caught:
        leases.wait_for(lambda: None, 3.0)
    assert (caught.value.code, time[0]) == ("locked", pytest.approx(3.0))
    assert pauses[0] < 0.011
    assert all(pause <= 0.25 for pause in pauses)
    assert len(pauses) < 40
    answers = iter([None, None, "taken"])
    assert leases.wait_for(lambda: next(answers), 3.0) == "taken"


def test_a_lease_counts_from_before_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    time = [100.0]
    monkeypatch.setattr(leases, "now", lambda: time[0])
    lease = leases.TimedLease("a key", 1, "me", 98.0, 60.0)
    assert lease.left() == 58.0
    time[0] = 200.0
    assert (lease.left(), lease.is_held()) == (0.0, True)
    time[0] = 100.0
    lease.end()
    assert (lease.left(), lease.is_held()) == (0.0, False)
