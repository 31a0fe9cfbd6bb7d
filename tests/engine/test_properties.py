"""Any calls, any octets, any answers: only a SASLError leaves, and no yes without its proof (rules 1 to 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

import sasl
from sasl import (
    Accepted,
    Authorize,
    Challenge,
    CheckPassword,
    Complete,
    ErrorAnswer,
    Failure,
    FindKeys,
    Record,
    Rejected,
    State,
    Success,
    Unavailable,
    Verified,
    ask,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

SECRET = "pencil-Geheimnis-4711"
LIMITS = sasl.Limits(message=40, steps=4)
PROOF = b"v=proof"

octets = st.sampled_from([b"", b"joe", b"joe:pencil", PROOF, b"p=keys", b"\x01", b"x" * 41]) | st.binary(max_size=42)


# --- the client


def proving(_: object) -> sasl.ClientSteps:
    """Ends only after the server has proved itself."""
    yield b"first"
    if (yield b"final") != PROOF:
        raise sasl.ServerNotProven("no proof")
    yield Complete(b"")


steps = st.one_of(
    st.none(),
    octets,
    octets.map(Complete),
    octets.map(ErrorAnswer),
    st.builds(ErrorAnswer, octets, st.dictionaries(st.text(max_size=3), st.text(max_size=3))),
    st.sampled_from(["text", 7, Challenge(b""), ValueError(SECRET), sasl.ProtocolError("p"), sasl.UsageError("u")]),
)


def scripted(plan: list[Any]) -> Generator[Any, bytes, None]:
    """Do what a list says: yield a step, raise an error."""
    for step in plan:
        if isinstance(step, Exception):
            raise step
        yield step


calls = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["start", "defer", "cancel", "fail"])),
        st.tuples(st.just("respond"), octets),
        st.tuples(st.just("succeed"), st.none() | octets),
        st.tuples(st.just("fail"), st.text(max_size=5)),
    ),
    max_size=9,
)


def call(exchange: Any, name: str, *arguments: object) -> object:
    """Call a method; return what it returns or the SASLError that it raises. Nothing else may leave."""
    raised = None
    try:
        result = getattr(exchange, name)(*arguments)
    except sasl.SASLError as error:
        result = raised = error
    assert raised is None or (SECRET not in repr(raised) and raised.__context__ is None)
    return result


@given(st.lists(steps, max_size=5), calls)
def test_only_our_errors_leave_a_client_exchange_and_no_yes_counts_too_early(plan: list[Any], calls: list[Any]) -> None:
    exchange = sasl.ClientExchange("X", scripted(plan), limits=LIMITS, secret=sasl.Secret(SECRET))
    for name, *arguments in [("start",), *calls]:
        before = exchange.state
        result = call(exchange, name, *arguments)
        if before in (State.DONE, State.FAILED):
            assert exchange.state is before  # an end is an end
        if before is not State.DONE and exchange.state is State.DONE:
            assert (name, before, result) == ("succeed", State.OPEN, None)
            assert any(isinstance(step, Complete) for step in plan)
        if name == "fail" and before is State.OPEN:
            assert isinstance(result, sasl.AuthenticationFailed)
            assert exchange.state is State.FAILED


@given(calls)
def test_a_client_is_never_done_without_the_proof_that_its_mechanism_demands(calls: list[Any]) -> None:
    exchange = sasl.ClientExchange("X", proving(None), limits=LIMITS)
    proved = 0
    for name, *arguments in [("start",), *calls]:
        call(exchange, name, *arguments)
        proved += PROOF in arguments
        if exchange.state is State.DONE:
            assert proved
            assert name == "succeed"
            break


@given(st.booleans(), octets, octets, st.none() | octets)
def test_a_client_that_expects_a_proof_takes_no_other(
    defer: bool, first: bytes, second: bytes, last: bytes | None
) -> None:
    exchange = sasl.ClientExchange("X", proving(None))
    exchange.start()
    if defer:
        exchange.defer()
        exchange.respond(first)
    exchange.respond(first)
    call(exchange, "respond", second)
    call(exchange, "succeed", last)
    assert (exchange.state is State.DONE) is (second == PROOF and last is None)


# --- the server


def parsing(options: object) -> sasl.ServerSteps:
    """Parses with care, asks one question."""
    name, colon, password = (yield Challenge(b"")).decode("ascii").partition(":")
    if not colon:
        raise sasl.ProtocolError("no colon")
    try:
        identity = yield from ask(CheckPassword(name, sasl.Secret(password)))
    except Rejected:
        yield Challenge(b"error")
        raise
    return Verified(identity, data=b"data")


server_steps = st.one_of(
    st.builds(Challenge, octets, st.booleans()),
    st.just(CheckPassword("joe", sasl.Secret(SECRET))),
    st.just(FindKeys("joe", "sha256")),
    st.just(Authorize("joe", None)),
    st.sampled_from(
        [
            None,
            b"octets",
            Success("joe", "joe"),
            Challenge("text"),  # type: ignore[arg-type]
            ValueError(SECRET),
            sasl.ProtocolError("p"),
            sasl.LimitExceeded("l"),
            Rejected("no", kind="?"),
            Unavailable("down"),
        ]
    ),
)
endings = st.one_of(
    st.builds(
        Verified, st.sampled_from(["joe", "admin"]), st.sampled_from([None, "", "joe", "admin"]), st.none() | octets
    ),
    st.sampled_from([None, True, "joe", Success("joe", "joe"), Verified(None)]),  # type: ignore[arg-type]
)
answers = st.sampled_from(
    [
        Accepted("joe"),
        Accepted("admin"),
        Record("joe", b"keys"),
        Rejected("no"),
        Rejected("no", kind="disabled", detail={"status": "401"}),
        Unavailable("down"),
        None,
        NotImplemented,
        True,
        "joe",
    ]
)
server_calls = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.none() | octets),
        st.tuples(st.just("receive"), octets),
        st.tuples(st.just("answer"), answers),
        st.tuples(st.just("answer"), answers),
        st.tuples(st.just("cancel")),
    ),
    max_size=10,
)


def obstinate(plan: list[Any], ending: Any) -> Generator[Any, Any, Any]:
    """Do what a list says, whatever the answers are, and end as told."""
    for step in plan:
        if isinstance(step, Exception):
            raise step
        yield step
    return ending


def check_server(
    make: Callable[[bool], sasl.ServerExchange], initial: bytes | None, calls: list[Any], data: bool
) -> None:
    """Drive a server exchange and hold every event against the contract."""
    exchange = make(data)
    accepted: set[str] = set()
    question: sasl.Question | None = None
    authorized = False
    for name, *arguments in [("start", initial), *calls]:
        before = exchange.state
        event = call(exchange, name, *arguments)
        if isinstance(event, sasl.SASLError):
            assert isinstance(event, sasl.UsageError)  # a wrong call, never what a peer sent
            assert exchange.state is before
            continue
        assert isinstance(event, Challenge | sasl.Question | Success | Failure)
        if name == "answer":
            [answer] = arguments
            if isinstance(question, Authorize):
                authorized = answer == Accepted("joe") or answer == Accepted("admin") or answer is NotImplemented
            elif isinstance(answer, Accepted | Record):
                accepted.add(answer.identity)
        question = event if isinstance(event, sasl.Question) else None
        if isinstance(event, Success):
            assert exchange.state is State.DONE
            assert event.authcid in accepted
            assert authorized
        if isinstance(event, Failure):
            assert exchange.state is State.FAILED
            assert event.kind in sasl.KINDS
            assert SECRET not in repr(event)
    if exchange.state is State.DONE:
        assert accepted


@given(st.lists(server_steps, max_size=5), endings, st.none() | octets, server_calls, st.booleans())
@settings(max_examples=max(300, settings().max_examples))  # `tox -e long` asks for more
def test_a_server_never_says_yes_without_a_verifier_whatever_its_mechanism_does(
    plan: list[Any], ending: Any, initial: bytes | None, calls: list[Any], data: bool
) -> None:
    check_server(
        lambda data: sasl.ServerExchange("X", obstinate(plan, ending), limits=LIMITS, success_data=data),
        initial,
        calls,
        data,
    )


@given(st.none() | octets, server_calls, st.booleans())
def test_a_server_answers_any_octets_by_an_event(initial: bytes | None, calls: list[Any], data: bool) -> None:
    check_server(
        lambda data: sasl.ServerExchange("X", parsing(None), limits=LIMITS, success_data=data), initial, calls, data
    )


# --- the mechanisms that come with the engine


@given(
    st.sampled_from(["PLAIN", "XOAUTH2", "OAUTHBEARER"]),
    st.none() | st.binary(max_size=60),
    st.lists(st.binary(max_size=60) | answers, max_size=4),
)
def test_a_built_in_server_answers_any_octets_by_an_event(name: str, initial: bytes | None, rest: list[Any]) -> None:
    exchange = sasl.server(name)
    event = exchange.start(initial)
    for each in rest:
        if isinstance(event, Success | Failure):
            break
        if isinstance(event, sasl.Question):
            event = exchange.answer(each)
        else:
            event = exchange.receive(each if isinstance(each, bytes) else b"")
        assert isinstance(event, Challenge | sasl.Question | Success | Failure)


@given(
    st.sampled_from(["PLAIN", "XOAUTH2", "OAUTHBEARER"]),
    st.text(st.characters(codec=None), max_size=12),
    st.text(st.characters(codec=None), max_size=12),
    calls,
)
def test_only_our_errors_leave_a_built_in_client(name: str, user: str, secret: str, calls: list[Any]) -> None:
    credentials = sasl.Password(user, secret) if name == "PLAIN" else sasl.Bearer(user, secret)
    exchange = sasl.client(name, credentials)
    for method, *arguments in [("start",), *calls]:
        call(exchange, method, *arguments)


# --- both


@given(
    st.sampled_from(["PLAIN", "XOAUTH2", "OAUTHBEARER"]),
    st.text("aB9@.\u00e9", min_size=1),
    st.text("aB9.~", min_size=1),
    st.booleans(),
    st.booleans(),
)
def test_client_and_server_of_one_mechanism_agree(name: str, user: str, secret: str, known: bool, ir: bool) -> None:
    credentials = sasl.Password(user, secret) if name == "PLAIN" else sasl.Bearer(user, secret)
    client, server = sasl.client(name, credentials), sasl.server(name)

    def verifier(question: sasl.Question) -> object:
        if isinstance(question, Authorize):
            return NotImplemented
        held = question.password if isinstance(question, CheckPassword) else question.token  # type: ignore[attr-defined]
        whom = question.authcid if isinstance(question, CheckPassword) else question.username  # type: ignore[attr-defined]
        return Accepted(whom) if known and held == secret else Rejected("unknown")

    initial = client.start()
    if not ir:
        client.defer()
    event = sasl.settle(server, server.start(initial if ir else None), verifier)
    while isinstance(event, Challenge):
        event = sasl.settle(server, server.receive(client.respond(event.data)), verifier)
    if known:
        assert isinstance(event, Success)
        assert event.identity == event.authcid
        client.succeed(event.data)
        assert (client.state, server.state) == (State.DONE, State.DONE)
    else:
        assert isinstance(event, Failure)
        error = client.fail(kind=event.kind)
        assert isinstance(error, sasl.AuthenticationFailed)
        assert error.new_token_may_help is (name != "PLAIN")
