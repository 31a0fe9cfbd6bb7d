"""A session that is lost is told from a login that is refused; errors travel, and show nothing that is secret."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any, Final

import pytest

import sasl

from ..faults.peer import CLOSE, STALL, Fault
from ..support.leaks import frames_of, is_ours, locals_of, reachable, seen, shown_by
from ..support.libraries import librarys_own
from ..support.sinks import Sinks, overheard
from .conftest import BEARERS, IN_THE_CLEAR, MECHANISMS, PASSWORD, REFUSED, TOKENS, WRONG, credentials_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..faults.between import Between
    from ..support.libraries import Client
    from .conftest import Place

SECRETS: Final = (PASSWORD, WRONG, *TOKENS.values())
FAREWELLS: Final = {
    "imap": b"* BYE Session expired, please login again.\r\n",
    "pop": b"",
    "smtp": b"421 4.7.0 Closing\r\n",
    "sieve": b'BYE "Closing"\r\n',
}

refused = pytest.mark.parametrize(("mechanism", "state"), REFUSED, ids=["-".join(case) for case in REFUSED])


def failure(client: Client, place: Place, mechanism: str, state: str = "right", **options: Any) -> Any:
    """What a login raises."""
    options = {"mechanism": mechanism, "policy": IN_THE_CLEAR, **options}
    with place.connected() as conn, pytest.raises(sasl.SASLError) as caught:
        client.authenticate(conn, credentials_for(mechanism, state), **options)
    return caught.value


def is_lost(client: Client, error: BaseException) -> bool:
    """Whether an error says that the session is gone: as one of ours, and as one of the library's."""
    assert isinstance(error, client.error)
    assert client.binding.is_session_lost(error) is isinstance(error, sasl.ConnectionLost)
    return isinstance(error, sasl.ConnectionLost) and isinstance(error, client.lost)


@pytest.mark.parametrize("farewell", [True, False], ids=["farewell", "no word"])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_server_that_ends_the_connection_is_no_refusal(
    client: Client, in_the_clear: Place, middle: Between, mechanism: str, *, farewell: bool
) -> None:
    offsets = login_began(client, in_the_clear, middle, mechanism)
    middle.plan(Fault(CLOSE, "client", offsets[0] + 10), farewell=FAREWELLS[client.service] if farewell else b"")
    error = failure(client, in_the_clear, mechanism)
    assert is_lost(client, error)
    assert not isinstance(error, sasl.AuthenticationFailed)
    if farewell and FAREWELLS[client.service]:
        assert FAREWELLS[client.service].rpartition(b" ")[2].decode().strip('"\r\n') in error.server_text


def test_a_server_that_does_not_answer_in_time_is_lost(client: Client, in_the_clear: Place, middle: Between) -> None:
    offsets = login_began(client, in_the_clear, middle, "PLAIN")
    middle.plan(Fault(STALL, "client", offsets[0] + 10))
    error = failure(client, in_the_clear, "PLAIN", timeout=0.2)
    assert is_lost(client, error)
    assert error.kind == "timeout"
    assert middle.wait(), "the connection is not closed"


def login_began(client: Client, place: Place, middle: Between, mechanism: str) -> tuple[int, int]:
    """How many octets client and server have sent when the login begins."""
    with place.connected() as conn:
        client.authenticate(conn, credentials_for(mechanism), mechanism=mechanism, policy=IN_THE_CLEAR)
    assert middle.wait()
    return middle.before_login()


@refused
def test_a_refusal_is_no_lost_session(client: Client, at: Callable[..., Place], mechanism: str, state: str) -> None:
    error = failure(client, at(), mechanism, state)
    assert not isinstance(error, sasl.ConnectionLost)
    assert not client.binding.is_session_lost(error)
    assert isinstance(error, client.refused)


@refused
def test_an_error_can_be_pickled_and_copied(
    client: Client, at: Callable[..., Place], mechanism: str, state: str
) -> None:
    error = failure(client, at(), mechanism, state)
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is type(error)
        assert (str(again), again.args, again.kind) == (str(error), error.args, error.kind)
        assert (again.detail, again.server_text, again.mechanism) == (error.detail, error.server_text, mechanism)


@refused
def test_an_error_leaves_without_what_led_to_it(
    client: Client, at: Callable[..., Place], mechanism: str, state: str
) -> None:
    """Nothing leaves with the frames of our wires and mechanisms, nor with those in which the library sends."""
    error = failure(client, at(), mechanism, state)
    assert error.__cause__ is None
    assert error.__context__ is None
    assert [
        name for name in map(_module, frames_of(error)) if name.startswith(("sasl.mechanisms", "sasl.adapters.wire"))
    ] == []
    assert seen([*shown_by(error), *locals_of(error, everywhere=True)], *SECRETS) == []


def _module(frame: Any) -> str:
    return str(frame.f_globals.get("__name__", "")) if is_ours(frame) else ""


CASES: Final = [*[(mechanism, "right") for mechanism in MECHANISMS], *REFUSED]


@pytest.mark.parametrize(("mechanism", "state"), CASES, ids=["-".join(case) for case in CASES])
def test_what_the_library_shows_of_a_login_does_not_show_the_credential(
    client: Client, at: Callable[..., Place], mechanism: str, state: str
) -> None:
    sinks = Sinks()
    with overheard(sinks), at().connected() as conn:
        client.debug(conn)
        try:
            client.authenticate(conn, credentials_for(mechanism, state), mechanism=mechanism)
        except client.refused:
            assert state != "right"
        client.noop(conn)
    assert seen(sinks.texts(), *SECRETS) == []


def test_what_the_library_shows_of_a_lost_login_does_not_show_the_token(
    client: Client, in_the_clear: Place, middle: Between
) -> None:
    for mechanism in BEARERS:
        middle.plan()
        offset, _ = login_began(client, in_the_clear, middle, mechanism)
        for event in (CLOSE, STALL):
            middle.plan(Fault(event, "client", offset + 40))
            sinks = Sinks()
            with overheard(sinks), in_the_clear.connected() as conn:
                client.debug(conn)
                with pytest.raises(sasl.ConnectionLost):
                    options = {"mechanism": mechanism, "policy": IN_THE_CLEAR, "timeout": 0.2}
                    client.authenticate(conn, credentials_for(mechanism), **options)
            assert seen(sinks.texts(), *SECRETS) == []
            assert middle.wait()


def test_a_connection_does_not_keep_the_credential(client: Client, at: Callable[..., Place]) -> None:
    for mechanism in MECHANISMS:
        with at().connected() as conn:
            client.debug(conn)
            credentials = credentials_for(mechanism)
            client.authenticate(conn, credentials, mechanism=mechanism)
            assert seen(reachable(librarys_own(conn)), *SECRETS) == []
