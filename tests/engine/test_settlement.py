"""Drivers: a verifier's answers, its silence and its crashes (contract, "Server")."""

from __future__ import annotations

import asyncio
import logging
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl import Accepted, Authorize, Challenge, CheckPassword, Failure, Rejected, State, Success, Unavailable

from ..support.leaks import seen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sasl.steps import Event

    Settle = Callable[[sasl.ServerExchange, Event, Any], Event]


def password(options: sasl.Options) -> sasl.ServerSteps:
    """Ask one question, then (the engine) Authorize."""
    message = yield Challenge(b"")
    identity = yield from sasl.ask(CheckPassword("joe", sasl.Secret(message.decode())))
    return sasl.Verified(identity)


def settle_async(exchange: sasl.ServerExchange, event: Event, verifier: Any) -> Event:
    """Run the asynchronous driver to its end."""
    return asyncio.run(sasl.settle_async(exchange, event, verifier))


def settle_awaiting(exchange: sasl.ServerExchange, event: Event, verifier: Any) -> Event:
    """Run it with the verifier made asynchronous."""

    async def answers(question: sasl.Question) -> Any:
        await asyncio.sleep(0)
        return verifier(question)

    return settle_async(exchange, event, answers)


drivers = pytest.mark.parametrize("settle", [sasl.settle, settle_async, settle_awaiting], ids=lambda f: f.__name__)


@pytest.fixture
def exchange(server: Callable[..., sasl.ServerExchange]) -> sasl.ServerExchange:
    return server(password)


@drivers
def test_questions_are_answered_until_an_event_is_none(exchange: sasl.ServerExchange, settle: Settle) -> None:
    asked: list[sasl.Question] = []

    def verifier(question: sasl.Question) -> Accepted:
        asked.append(question)
        return Accepted("joe")

    event = settle(exchange, exchange.start(b"pencil"), verifier)
    assert event == Success("joe", "joe")
    assert asked == [CheckPassword("joe", sasl.Secret("pencil")), Authorize("joe", None, "joe")]


@drivers
def test_an_event_that_asks_nothing_is_returned_as_it_is(exchange: sasl.ServerExchange, settle: Settle) -> None:
    def verifier(question: sasl.Question) -> Accepted:
        raise AssertionError

    event = exchange.start()
    assert settle(exchange, event, verifier) is event
    assert exchange.state is State.OPEN


@drivers
def test_not_implemented_is_the_default(
    exchange: sasl.ServerExchange, settle: Settle, caplog: pytest.LogCaptureFixture
) -> None:
    def only_passwords(question: sasl.Question) -> Any:
        return Accepted("joe") if isinstance(question, CheckPassword) else NotImplemented

    assert settle(exchange, exchange.start(b"pencil"), only_passwords) == Success("joe", "joe")
    assert caplog.records == []


@drivers
def test_who_answers_nothing_is_unavailable(exchange: sasl.ServerExchange, settle: Settle) -> None:
    event = settle(exchange, exchange.start(b"pencil"), lambda question: NotImplemented)
    assert event == Failure("unavailable", "nobody answers CheckPassword")


@drivers
@pytest.mark.parametrize("verdict", [Rejected("no", kind="disabled"), Unavailable("down")], ids=repr)
def test_a_no_is_a_failure_and_nothing_to_log(
    exchange: sasl.ServerExchange, settle: Settle, verdict: Any, caplog: pytest.LogCaptureFixture
) -> None:
    event = settle(exchange, exchange.start(b"pencil"), lambda question: verdict)
    assert event == Failure(getattr(verdict, "kind", "unavailable"), verdict.reason)
    assert caplog.records == []


@drivers
@pytest.mark.parametrize("error", [ValueError, Rejected, sasl.SASLError, RecursionError, StopIteration])
def test_an_exception_of_the_verifier_is_unavailable_and_logged_without_its_text(
    exchange: sasl.ServerExchange,
    settle: Settle,
    error: type[Exception],
    secret: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(question: sasl.Question) -> Any:
        raise error(secret)  # the line to be named

    caplog.set_level(logging.DEBUG)
    event = settle(exchange, exchange.start(secret.encode()), broken)
    assert isinstance(event, Failure)
    assert event.kind == "unavailable"
    [record] = [record for record in caplog.records if record.name == "sasl"]
    line = broken.__code__.co_firstlineno + 1
    # An asynchronous function may not raise StopIteration; Python makes a RuntimeError of it.
    name = "RuntimeError" if error is StopIteration and settle is settle_awaiting else error.__name__
    assert event.reason == f"the verifier failed with {name}"
    assert f"failed on CheckPassword with {name} at " in record.getMessage()
    assert name == "RuntimeError" or record.getMessage().endswith(f"{__file__}:{line}")
    assert record.levelno == logging.ERROR
    assert record.exc_info is None
    assert seen([caplog.text], secret) == []


@drivers
@pytest.mark.parametrize(
    "answer",
    [
        None,
        True,
        False,
        "joe",
        b"joe",
        {},
        Accepted,
        Accepted(1),  # type: ignore[arg-type]
        Accepted(""),
        sasl.Record("joe", ""),
        Rejected("no", kind="?"),
    ],
    ids=repr,
)
def test_an_answer_that_is_none_is_unavailable_and_logged_by_its_type(
    exchange: sasl.ServerExchange, settle: Settle, answer: object, caplog: pytest.LogCaptureFixture
) -> None:
    def verifier(question: sasl.Question) -> object:
        return answer

    event = settle(exchange, exchange.start(b"pencil"), verifier)
    assert event == Failure("unavailable", f"CheckPassword was answered by {type(answer).__name__}")
    [record] = [record for record in caplog.records if record.name == "sasl"]
    said = rf"the verifier at {re.escape(__file__)}:\d+ answered CheckPassword by {type(answer).__name__}, which is"
    assert re.match(said, record.getMessage())


class Silent:
    """A verifier that is an object."""

    def __call__(self, question: sasl.Question) -> None:
        return None


@pytest.mark.parametrize(
    ("verifier", "where"),
    [(Silent(), f"{__file__}:{Silent.__call__.__code__.co_firstlineno}"), (partial(Silent()), "unknown place")],
    ids=["object", "partial"],
)
def test_a_verifier_that_answers_nothing_is_named_as_far_as_one_can_tell(
    exchange: sasl.ServerExchange, verifier: Any, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert sasl.settle(exchange, exchange.start(b"pencil"), verifier).kind == "unavailable"  # type: ignore[union-attr]
    assert f"the verifier at {where} answered" in caplog.text


def test_a_coroutine_is_no_answer_for_the_synchronous_driver(
    exchange: sasl.ServerExchange, caplog: pytest.LogCaptureFixture
) -> None:
    async def verifier(question: sasl.Question) -> Accepted:
        raise AssertionError  # never awaited, and no warning about it either

    event = sasl.settle(exchange, exchange.start(b"pencil"), verifier)
    assert event == Failure("unavailable", "CheckPassword was answered by coroutine")
    assert "coroutine" in caplog.text


def test_an_exception_without_a_place_is_logged_all_the_same(
    exchange: sasl.ServerExchange, caplog: pytest.LogCaptureFixture
) -> None:
    class Rootless(Exception):
        __traceback__ = None

    def verifier(question: sasl.Question) -> Any:
        raise Rootless

    assert sasl.settle(exchange, exchange.start(b"pencil"), verifier).kind == "unavailable"  # type: ignore[union-attr]
    assert "unknown place" in caplog.text


@drivers
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_passes_through_and_ends_the_exchange(
    exchange: sasl.ServerExchange, settle: Settle, interrupt: type[BaseException]
) -> None:
    def verifier(question: sasl.Question) -> Any:
        raise interrupt

    event = exchange.start(b"pencil")
    with pytest.raises(interrupt):
        settle(exchange, event, verifier)
    assert exchange.state is State.FAILED


def test_a_cancelled_task_ends_the_exchange(exchange: sasl.ServerExchange) -> None:
    async def scenario() -> None:
        reached = asyncio.Event()

        async def verifier(question: sasl.Question) -> Accepted:
            reached.set()
            await asyncio.get_running_loop().create_future()
            raise AssertionError

        task = asyncio.create_task(sasl.settle_async(exchange, exchange.start(b"pencil"), verifier))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert exchange.state is State.FAILED


def test_an_answer_may_be_any_awaitable(exchange: sasl.ServerExchange) -> None:
    async def scenario() -> Event:
        def verifier(question: sasl.Question) -> Awaitable[Accepted]:
            future: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
            future.set_result(Accepted("joe"))
            return future

        return await sasl.settle_async(exchange, exchange.start(b"pencil"), verifier)

    assert asyncio.run(scenario()) == Success("joe", "joe")


def test_fifty_exchanges_at_once_do_not_mix(server: Callable[..., sasl.ServerExchange]) -> None:
    async def verifier(question: sasl.Question) -> Any:
        if isinstance(question, CheckPassword):
            for _ in range(int(question.password.reveal()) % 5):
                await asyncio.sleep(0)
            return Accepted(question.password.reveal())
        return NotImplemented

    async def login(number: int) -> Event:
        exchange = server(password)
        return await sasl.settle_async(exchange, exchange.start(str(number).encode()), verifier)

    async def scenario() -> list[Event]:
        return await asyncio.gather(*map(login, range(50)))

    assert asyncio.run(scenario()) == [Success(str(number), str(number)) for number in range(50)]


def test_a_wrong_answer_given_by_hand_is_unavailable_too(exchange: sasl.ServerExchange) -> None:
    exchange.start(b"pencil")
    assert exchange.answer(object()) == Failure("unavailable", "CheckPassword was answered by object")


# --- stand-ins, and interruptions of an exchange that somebody else has ended


class _Lying:
    """Says that it is what it is not."""

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        return sasl.Accepted

    @property
    def identity(self) -> str:
        return "alice"


class _Broken(_Lying):
    @property
    def identity(self) -> str:
        raise ZeroDivisionError


class _Refusing:
    """Raises whatever is asked of it, even what it is."""

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise ZeroDivisionError


class _Flawed(sasl.Rejected):  # type: ignore[misc]  # which is final
    """Is no answer, for all that it inherits."""

    def __getattribute__(self, name: str) -> Any:
        raise ZeroDivisionError


@pytest.mark.parametrize("kind", [_Lying, _Broken, _Refusing, _Flawed])
def test_a_stand_in_for_an_answer_is_none(kind: Callable[[], object]) -> None:
    exchange = sasl.server("PLAIN")
    event = sasl.settle(exchange, exchange.start(b"\0alice\0wonderland"), lambda _question: kind())
    assert isinstance(event, sasl.Failure)
    assert event.kind == "unavailable"


def test_an_interruption_leaves_as_it_is_although_the_exchange_is_over() -> None:
    exchange = sasl.server("PLAIN")

    def verify(_question: sasl.Question) -> object:
        exchange.cancel()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sasl.settle(exchange, exchange.start(b"\0alice\0wonderland"), verify)


def test_a_cancellation_is_not_lost_although_the_exchange_is_over() -> None:
    async def go() -> None:
        exchange = sasl.server("PLAIN")

        async def verify(_question: sasl.Question) -> object:
            await asyncio.sleep(60)
            return NotImplemented

        event = exchange.start(b"\0alice\0wonderland")
        task = asyncio.create_task(sasl.settle_async(exchange, event, verify))
        await asyncio.sleep(0)
        exchange.cancel()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(go())
