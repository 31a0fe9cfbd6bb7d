"""Interruptions: an alarm rings by an exception of any class, wherever the main thread is, and nobody is to blame."""

from __future__ import annotations

import asyncio
import signal
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

import sasl
from sasl import Failure, registry
from sasl.channel import LazyBindings

from ..support.leaks import locals_of, seen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Alarm(Exception):
    """What others' time limits raise, of a class that nobody knows."""


def ring(_number: int, _frame: object) -> None:
    raise Alarm


class Ringing:
    """A handler that is an object."""

    def __call__(self, number: int, frame: object) -> None:
        ring(number, frame)

    def ring(self, number: int, frame: object) -> None:
        ring(number, frame)


HANDLERS: dict[str, Any] = {
    "function": ring,
    "method": Ringing().ring,
    "object": Ringing(),
    "partial": partial(ring),
}


@pytest.fixture(params=HANDLERS)
def interrupt(request: pytest.FixtureRequest) -> Iterator[Callable[..., object]]:
    """What calls a signal handler in the middle of whatever runs."""
    before = signal.signal(signal.SIGUSR1, HANDLERS[request.param])
    yield lambda *_, **__: signal.raise_signal(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


def test_an_alarm_in_a_client_script_is_not_the_servers_fault(interrupt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hashlib.pbkdf2_hmac", interrupt)
    exchange = sasl.client("SCRAM-SHA-256", sasl.Password("alice", "wonderland"), nonce=b"n")
    exchange.start()
    with pytest.raises(Alarm) as caught:
        exchange.respond(b"r=nx,s=QUJD,i=4096")
    assert seen(locals_of(caught.value, everywhere=True), "wonderland") == []
    assert exchange.state is sasl.State.FAILED
    assert isinstance(exchange.fail("no"), sasl.Cancelled)


def test_an_alarm_in_a_server_script_is_not_the_clients_fault(interrupt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sasl.unicode.prepare", interrupt)
    exchange = sasl.server("PLAIN")
    with pytest.raises(Alarm) as caught:
        exchange.start("\0alice\0wonderland\u00bd".encode())
    assert seen(locals_of(caught.value, everywhere=True), "wonderland") == []
    assert exchange.state is sasl.State.FAILED


def test_an_alarm_in_a_verifier_is_not_its_failure(interrupt: Any) -> None:
    exchange = sasl.server("PLAIN")
    with pytest.raises(Alarm):
        sasl.settle(exchange, exchange.start(b"\0alice\0wonderland"), interrupt)
    assert exchange.state is sasl.State.FAILED

    async def settle() -> None:
        exchange = sasl.server("PLAIN")
        await sasl.settle_async(exchange, exchange.start(b"\0alice\0wonderland"), interrupt)

    with pytest.raises(Alarm):
        asyncio.run(settle())


def test_the_same_exception_without_a_signal_is_the_verifiers() -> None:
    def verify(_question: sasl.Question) -> object:
        raise Alarm

    exchange = sasl.server("PLAIN")
    event = sasl.settle(exchange, exchange.start(b"\0alice\0wonderland"), verify)
    assert event == Failure("unavailable", "the verifier failed with Alarm")


class Store:
    """Keeps pins where one has to wait for them."""

    def __init__(self, wait: Callable[..., object]) -> None:
        self.wait = wait

    def get(self, _account: str) -> None:
        self.wait()

    def __setitem__(self, _account: str, _mechanism: str) -> None:
        raise AssertionError


def plug_in(interrupt: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_entry_points", lambda: {"X-SLOW": Mock(load=interrupt)})
    sasl.lookup("X-SLOW")


def metadata(interrupt: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", interrupt)
    registry._entry_points.__wrapped__()


def script(interrupt: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "import_module", interrupt)
    registry._load.__wrapped__("module:name", "X-SLOW")


async def asynchronous(interrupt: Callable[..., object]) -> str:
    interrupt()
    return "token"


CHANNEL = sasl.Channel(tls=True, service="imap", host="example.com")
PASSWORD = sasl.Password("alice", "wonderland")
PLACES: dict[str, Callable[[Any, Any], object]] = {
    "token source": lambda interrupt, _: sasl.resolve(sasl.Bearer("alice", interrupt)),
    "asynchronous token source": lambda interrupt, _: asyncio.run(
        sasl.resolve_async(sasl.Bearer("alice", lambda: asynchronous(interrupt)))
    ),
    "store of pins": lambda interrupt, _: sasl.choose(
        ["PLAIN"], PASSWORD, channel=CHANNEL, policy=sasl.Policy(pins=Store(interrupt))
    ),
    "store of pins, afterwards": lambda interrupt, _: sasl.Policy(pins=Store(interrupt)).remember(
        sasl.Choice("PLAIN", CHANNEL), PASSWORD
    ),
    "channel bindings": lambda interrupt, _: dict(sasl.Channel(tls=True, bindings=LazyBindings(interrupt)).bindings),
    "plug-in": plug_in,
    "metadata of the installed packages": metadata,
    "module of a mechanism": script,
}


@pytest.mark.parametrize("place", PLACES)
def test_an_alarm_elsewhere_is_nobodys_failure(place: str, interrupt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Alarm):
        PLACES[place](interrupt, monkeypatch)
