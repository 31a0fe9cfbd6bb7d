"""A renewal in processes that die, stop, or are many: a grant is lost where nobody could have kept it, and told so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ..support import renewals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sasl.adapters.reference.grants import Reuse
    from sasl.adapters.reference.token_endpoint import TokenEndpoint

    Place = Callable[[str], dict[str, Any]]


@pytest.fixture
def endpoints() -> Iterator[dict[Reuse, TokenEndpoint]]:
    with renewals.endpoints() as endpoints:
        yield endpoints


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Give each account a folder of its own."""
    return lambda name: {"store": ["file", str(tmp_path / name)], "key": "me@example.com"}


@pytest.mark.once
def test_a_worker_that_is_killed_costs_no_more_than_the_server_makes_it_cost(
    place: Place, endpoints: dict[Reuse, TokenEndpoint]
) -> None:
    renewals.check_kills(place, endpoints, sure=True)


@pytest.mark.once
def test_a_worker_that_is_stopped_makes_others_wait_and_loses_nothing(
    place: Place, endpoints: dict[Reuse, TokenEndpoint]
) -> None:
    renewals.check_wait(place, endpoints["strict"])


@pytest.mark.once
def test_a_sign_in_in_the_middle_of_a_renewal_wins(place: Place, endpoints: dict[Reuse, TokenEndpoint]) -> None:
    renewals.check_sign_in(place, endpoints["strict"])


@pytest.mark.once
def test_eight_processes_lose_no_renewal(place: Place, endpoints: dict[Reuse, TokenEndpoint]) -> None:
    renewals.check_crowd(place, endpoints["strict"], 1.0)


@pytest.mark.long
def test_eight_processes_lose_no_renewal_in_a_minute(place: Place, endpoints: dict[Reuse, TokenEndpoint]) -> None:
    renewals.check_crowd(place, endpoints["strict"], 60.0)
