"""Drivers that answer a server exchange's questions from a verifier: `settle` and `settle_async`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import CoroutineType

from .errors import is_interruption, place_of
from .exchange import NEW, OPEN
from .steps import Question, Unavailable
from .typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from .server_exchange import ServerExchange
    from .steps import Event, Settled

Verifier: TypeAlias = Callable[[Question], "Any"]
"""question -> Accepted, Record, None, Rejected or Unavailable; NotImplemented for the default."""
AsyncVerifier: TypeAlias = Callable[[Question], "Awaitable[Any] | Any"]


def settle(exchange: ServerExchange, event: Event, verifier: Verifier) -> Settled:
    """Answer questions until an event is none, and return that event.

    An exception of the verifier, and an answer that is none, is Unavailable; it is logged by its type and
    place, never by its text. An interruption, by a signal too, ends the exchange and leaves as it is.
    """
    while isinstance(event, Question):
        try:
            answer = verifier(event)
        except BaseException as error:
            if is_interruption(error):
                _abandon(exchange)
                raise
            answer = _log_failure(event, error)
        question, event = event, exchange.answer(answer)
        if exchange.misfit:
            _tell_misfit(question, answer, verifier)
    return event


async def settle_async(exchange: ServerExchange, event: Event, verifier: AsyncVerifier) -> Settled:
    """Like `settle`, for a verifier whose answers may have to be awaited."""
    while isinstance(event, Question):
        try:
            answer = verifier(event)
            if hasattr(answer, "__await__"):
                answer = await answer
        except BaseException as error:
            if is_interruption(error):
                _abandon(exchange)
                raise
            answer = _log_failure(event, error)
        question, event = event, exchange.answer(answer)
        if exchange.misfit:
            _tell_misfit(question, answer, verifier)
    return event


def _abandon(exchange: ServerExchange) -> None:
    """End an exchange whose driver is interrupted; it may be over, if whoever interrupts has ended it as well."""
    if exchange.state in (NEW, OPEN):
        exchange.cancel()


def _tell_misfit(question: Question, answer: object, verifier: object) -> None:
    """Log whose answer it was that is none to its question."""
    if type(answer) is CoroutineType:
        answer.close()
    kind = type(answer).__name__
    code = getattr(verifier, "__code__", None) or getattr(type(verifier).__call__, "__code__", None)
    where = f"{code.co_filename}:{code.co_firstlineno}" if code is not None else "unknown place"
    _log("the verifier at %s answered %s by %s, which is no answer to it", where, type(question).__name__, kind)


def _log_failure(question: Question, error: BaseException) -> Unavailable:
    kind = type(error).__name__
    _log("the verifier failed on %s with %s at %s", type(question).__name__, kind, place_of(error))
    return Unavailable(f"the verifier failed with {kind}")


def _log(message: str, *arguments: str) -> None:
    import logging  # 6 ms that a client never needs

    logging.getLogger("sasl").error(message, *arguments)
