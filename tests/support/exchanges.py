"""What tests of mechanisms do again and again: begin an exchange, answer what a server asks, read a vector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import sasl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import sasl.spec

two_steps = pytest.mark.parametrize("two_step", [False, True], ids=["initial", "two-step"])


def said(vector: sasl.spec.Vector, sender: str) -> list[bytes]:
    """The messages of one side of a vector."""
    return [message.data for message in vector.messages if message.sender == sender]


def served(
    mechanism: str, message: bytes, *, two_step: bool = False, **options: Any
) -> tuple[sasl.ServerExchange, object]:
    """A server and its event after the client's only message, which is an initial response or asked for."""
    exchange = sasl.server(mechanism, **options)
    if two_step:
        assert exchange.start() == sasl.Challenge(b"")
        return exchange, exchange.receive(message)
    return exchange, exchange.start(message)


def prompt(event: object) -> bytes:
    """What a challenge says."""
    assert isinstance(event, sasl.Challenge)
    return event.data


class Verifier:
    """Answers by a function and keeps what it was asked; authorization is left to the default."""

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        self.asked: list[sasl.Question] = []
        self._answer = answer

    def __call__(self, question: sasl.Question, /) -> Any:
        if isinstance(question, sasl.Authorize):
            return NotImplemented
        self.asked.append(question)
        return self._answer(question)


def knowing(secrets: Mapping[str, object]) -> Verifier:
    """A verifier that knows users by what is stored of them."""

    def found(question: Any) -> sasl.Record | None:
        name = question.authcid
        return sasl.Record(name, secrets[name]) if name in secrets else None

    return Verifier(found)


def accept(question: Any) -> Any:
    """Let everybody in, but as nobody else."""
    return NotImplemented if isinstance(question, sasl.Authorize) else sasl.Accepted(question.authcid)
