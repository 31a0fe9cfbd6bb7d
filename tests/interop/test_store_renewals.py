"""Renewals over stores that workers share: servers and workers die in the middle; what can be kept is kept."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from sasl.adapters.tokens.http import Request
from sasl.adapters.tokens.oauth import OAuthTokens

from ..support import renewals
from . import postgresql as postgresql_module
from . import redis as redis_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sasl.adapters.reference.grants import Reuse
    from sasl.adapters.reference.token_endpoint import TokenEndpoint

    from .restartable import Restartable

    Place = Callable[[str], dict[str, Any]]

KINDS = ["postgres", "postgres_pooled", "redis"]
NUMBERS = itertools.count()


def kinds(*seldom: str) -> pytest.MarkDecorator:
    """All kinds of stores, some of them in long runs only."""
    marks = [pytest.param(kind, marks=pytest.mark.long if kind in seldom else pytest.mark.once) for kind in KINDS]
    return pytest.mark.parametrize("kind", marks)


@pytest.fixture(scope="module")
def postgresql(start: Callable[..., Iterator[Any]]) -> Iterator[Restartable]:
    yield from start(postgresql_module.restartable)


@pytest.fixture(scope="module")
def redis(start: Callable[..., Iterator[Any]]) -> Iterator[Restartable]:
    yield from start(redis_module.running)


@pytest.fixture
def endpoints() -> Iterator[dict[Reuse, TokenEndpoint]]:
    with renewals.endpoints() as endpoints:
        yield endpoints


@pytest.fixture
def server(kind: str, request: pytest.FixtureRequest) -> Restartable:
    """The server of the store."""
    server: Restartable = request.getfixturevalue("redis" if kind == "redis" else "postgresql")
    return server


@pytest.fixture
def place(kind: str, server: Restartable) -> Place:
    """Give each account a key of its own, in one store."""
    if kind == "redis":
        store: list[Any] = ["redis", redis_module.url(server)]
    else:
        store = ["postgres", postgresql_module.conninfo(server), kind == "postgres_pooled"]
        with renewals.opened({"store": store}) as opened:
            opened.create()
    return lambda name: {"store": store, "key": f"{name} {next(NUMBERS)}"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_whose_server_starts_again_in_the_middle_of_a_renewal_has_the_new_grant(
    place: Place, server: Restartable, endpoints: dict[Reuse, TokenEndpoint]
) -> None:
    endpoint = endpoints["strict"]
    send = Request()

    class Sender:
        timeout = send.timeout

        def __call__(self, *arguments: Any, **named: Any) -> Any:
            response = send(*arguments, **named)
            server.restart()
            return response

    settings = renewals.sign_in(place("alice"), endpoint)
    key = settings["key"]
    with renewals.opened(settings) as store:
        first = OAuthTokens(store, key, request=Sender()).token()
        assert len(endpoint.requests) == 1
        assert OAuthTokens(store, key).token().value == first.value
        assert OAuthTokens(store, key).token(stale=first.value.reveal()).value != first.value
    assert len(endpoint.requests) == 2


@kinds("postgres_pooled")
def test_a_worker_that_is_killed_costs_no_more_than_the_server_makes_it_cost(
    place: Place, endpoints: dict[Reuse, TokenEndpoint]
) -> None:
    renewals.check_kills(place, endpoints, sure=False)


@pytest.mark.parametrize("kind", [pytest.param("postgres_pooled", marks=pytest.mark.long), "redis"])
@pytest.mark.once
def test_a_worker_that_is_stopped_for_longer_than_its_lease_undoes_nothing(
    place: Place, endpoints: dict[Reuse, TokenEndpoint]
) -> None:
    renewals.check_stops(place, endpoints)


@pytest.mark.parametrize("kind", ["postgres"])
@pytest.mark.once
def test_a_worker_that_is_stopped_keeps_the_lock_of_its_session_and_loses_nothing(
    place: Place, endpoints: dict[Reuse, TokenEndpoint]
) -> None:
    renewals.check_wait(place, endpoints["strict"])


@kinds()
def test_a_sign_in_in_the_middle_of_a_renewal_wins(place: Place, endpoints: dict[Reuse, TokenEndpoint]) -> None:
    renewals.check_sign_in(place, endpoints["strict"])


@kinds("postgres", "redis")
def test_eight_processes_lose_no_renewal(place: Place, endpoints: dict[Reuse, TokenEndpoint]) -> None:
    renewals.check_crowd(place, endpoints["strict"], 1.0)


@kinds("postgres_pooled")
def test_eight_processes_lose_no_renewal_to_a_server_that_is_killed_and_started_again(
    place: Place, server: Restartable, endpoints: dict[Reuse, TokenEndpoint]
) -> None:
    renewals.check_crowd(place, endpoints["strict"], 1.5, server.restart)


@kinds(*KINDS)
def test_eight_processes_lose_no_renewal_in_a_minute(
    place: Place, server: Restartable, endpoints: dict[Reuse, TokenEndpoint]
) -> None:
    renewals.check_crowd(place, endpoints["strict"], 60.0, server.restart)
