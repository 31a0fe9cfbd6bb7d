"""Strategies of Hypothesis that several mechanisms are tested with, and what is done with what they draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

import sasl

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

anything = st.text(st.characters(), max_size=12)  # lone surrogates and controls among it
likely = st.text(
    st.sampled_from("abZ09 @.,=-_\\/\u00aa\u00ad\u00e9\u0627\u200b\u2168\ufb01\U0001f600"), min_size=1, max_size=12
)
names = st.one_of(likely, anything)


@st.composite
def changed(draw: Any, original: bytes, pieces: Sequence[bytes], longest: int = 6) -> bytes:
    """A message of which up to four parts are left out, doubled, moved or replaced, by a piece or by any octets."""
    message = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(message)))
        until = min(len(message), place + draw(st.integers(0, longest)))
        part = st.just(bytes(message[place:until]))
        piece = draw(st.one_of(st.sampled_from(pieces), st.binary(max_size=3), part))
        message[place : draw(st.sampled_from([place, until]))] = piece
    return bytes(message)


def calls_of_a_client(octets: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    """Whatever an application may call, in whatever order."""
    with_octets = st.tuples(st.sampled_from(["respond", "succeed"]), octets)
    others = st.sampled_from([("succeed", None), ("fail",), ("cancel",), ("defer",), ("start",)])
    return st.lists(st.one_of(with_octets, others), max_size=6)


def calls_of_a_server(
    octets: st.SearchStrategy[bytes], answers: Sequence[object]
) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    """Whatever a server program may call, in whatever order, with answers of a verifier and what is none."""
    given = st.sampled_from([*answers, sasl.Rejected(), sasl.Unavailable(), None, NotImplemented, "yes", True])
    received, answered = st.tuples(st.just("receive"), octets), st.tuples(st.just("answer"), given)
    return st.lists(st.one_of(received, answered, st.just(("cancel",))), max_size=6)


def called_by_a_client(
    exchange: sasl.ClientExchange, calls: list[tuple[Any, ...]], check: Callable[[object], None]
) -> tuple[list[bytes], bool]:
    """Start, make the calls, check all errors and the exchange; return what was sent, and whether a `defer` worked.

    Only a SASLError may be raised.
    """
    sent, deferred = [exchange.start() or b""], False
    for call, *arguments in calls:
        try:
            result = getattr(exchange, call)(*arguments)
        except sasl.SASLError as error:
            check(error)
        else:
            deferred = deferred or call == "defer"
            if call == "respond":
                sent.append(result)
            elif call == "fail":
                assert isinstance(result, sasl.SASLError)
                check(result)
        check(exchange)
    return sent, deferred


def called_by_a_server(
    exchange: sasl.ServerExchange, first: bytes | None, calls: list[tuple[Any, ...]]
) -> tuple[bool, list[type]]:
    """Start and make the calls; return whether that made a success, and the questions that were answered by a yes.

    Only a UsageError may be raised, for what the program did; what the client did is told by events.
    """
    events: list[Any] = [exchange.start(first)]
    accepted: list[type] = []
    for call, *arguments in calls:
        question = events[-1]
        try:
            events.append(getattr(exchange, call)(*arguments))
        except sasl.UsageError:
            continue
        if call == "answer" and isinstance(arguments[0], sasl.Accepted | sasl.Record):
            accepted.append(type(question))
        elif call == "answer" and arguments[0] is NotImplemented and isinstance(question, sasl.Authorize):
            accepted += [sasl.Authorize] if question.authzid in (None, question.identity) else []
    for event in events:
        assert isinstance(event, sasl.Challenge | sasl.Question | sasl.Success | sasl.Failure)
    return any(isinstance(event, sasl.Success) for event in events), accepted
