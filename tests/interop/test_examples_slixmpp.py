"""examples/slixmpp_mechanism.py lets slixmpp log in at a real Prosody."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import pytest

import sasl

from ..support.xmpp import outcome
from . import prosody as prosody_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .prosody import Prosody

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

users = pytest.mark.parametrize("user", list(prosody_module.USERS))
mechanisms = pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"])


@pytest.fixture(scope="module")
def prosody(start: Callable[..., Iterator[Any]]) -> Iterator[Prosody]:
    yield from start(prosody_module.running)


@users
@pytest.mark.parametrize(
    ("version", "name"), [(TLS_1_2, "SCRAM-SHA-256-PLUS"), (TLS_1_3, "SCRAM-SHA-256")], ids=["1.2", "1.3"]
)
def test_the_right_password_logs_in_bound_to_the_channel_where_python_can(
    prosody: Prosody, user: str, version: ssl.TLSVersion, name: str
) -> None:
    """Under TLS 1.3, Python's ssl has not the type of channel binding that is the default there."""
    login = outcome(user, prosody_module.USERS[user], prosody.port, prosody.context(version))
    assert (login.end, login.mechanisms) == ("in", [name])
    assert login.exchange is not None
    assert login.exchange.state is sasl.State.DONE


@users
@mechanisms
def test_the_right_password_logs_in_by_a_mechanism_that_is_named(prosody: Prosody, user: str, mechanism: str) -> None:
    login = outcome(user, prosody_module.USERS[user], prosody.port, prosody.context(TLS_1_3), mechanism)
    assert (login.end, login.mechanisms) == ("in", [mechanism])


@pytest.mark.parametrize("user", ["alice", "nobody"])
@mechanisms
def test_a_wrong_password_is_refused_and_so_is_a_user_that_there_is_not(
    prosody: Prosody, user: str, mechanism: str
) -> None:
    login = outcome(user, "looking-glass", prosody.port, prosody.context(TLS_1_3), mechanism)
    assert (login.end, login.mechanisms) == ("refused", [mechanism])


def test_slixmpp_goes_on_to_the_next_mechanism_with_a_password_that_was_refused(prosody: Prosody) -> None:
    """That is what slixmpp does with its own mechanisms too; the page says how to keep it from that."""
    login = outcome("alice", "looking-glass", prosody.port, prosody.context(TLS_1_3))
    assert (login.end, login.mechanisms) == ("refused", ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"])
