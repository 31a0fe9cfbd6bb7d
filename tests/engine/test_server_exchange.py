"""The server's side of an exchange: no yes without a verifier, nothing raised for what a peer sends (rules 1 to 7)."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl import (
    Accepted,
    Authorize,
    Challenge,
    CheckPassword,
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

from ..support.leaks import seen

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl.steps import Answer, Event

    Server = Callable[..., sasl.ServerExchange]

YES = Accepted("joe")
NO = Rejected("wrong password")


# --- throw-away mechanisms


def one_message(options: sasl.Options) -> sasl.ServerSteps:
    """As PLAIN: authcid, a colon, the password; perhaps an authzid behind a slash."""
    message = (yield Challenge(b"")).decode("ascii")
    authcid, colon, password = message.partition(":")
    if not colon:
        raise sasl.ProtocolError("no colon")
    authcid, slash, authzid = authcid.partition("/")
    identity = yield from ask(CheckPassword(authcid, sasl.Secret(password)))
    return Verified(identity, authzid if slash else None)


def explaining(options: sasl.Options) -> sasl.ServerSteps:
    """As OAUTHBEARER: a refusal is explained before it is final."""
    message = yield Challenge(b"")
    try:
        identity = yield from ask(CheckPassword(message.decode(), sasl.Secret("")))
    except Rejected as rejected:
        yield Challenge(repr(rejected.detail).encode())
        raise
    return Verified(identity)


def asking_twice(options: sasl.Options) -> sasl.ServerSteps:
    """As LOGIN: two prompts, and the name may come unasked."""
    authcid = yield Challenge(b"User Name", initial=True)
    password = yield Challenge(b"Password")
    identity = yield from ask(CheckPassword(authcid.decode(), sasl.Secret(password.decode())))
    return Verified(identity)


def server_first(options: sasl.Options) -> sasl.ServerSteps:
    """As CRAM-MD5: the challenge has something to say."""
    authcid = yield Challenge(b"<nonce>")
    identity = yield from ask(CheckPassword(authcid.decode(), sasl.Secret("")))
    return Verified(identity)


def looking_up(options: sasl.Options) -> sasl.ServerSteps:
    """As SCRAM: look up the keys, let the client prove that it has them, prove the same with the yes."""
    authcid = yield Challenge(b"")
    record = yield from ask(FindKeys(authcid.decode(), "sha256"))
    keys = record.value if record is not None else b"decoy"
    proof = yield Challenge(b"nonce")
    if not proof.startswith(b"p="):
        raise sasl.ProtocolError("no proof")
    if record is None or proof != b"p=" + keys:
        raise Rejected("the proof is wrong")
    return Verified(record.identity, data=b"v=" + keys)


def begin(exchange: sasl.ServerExchange, message: bytes) -> Event:
    """Start with a message as the initial response."""
    return exchange.start(message)


def wait_for(exchange: sasl.ServerExchange, message: bytes) -> Event:
    """Start without an initial response, so that the message answers an empty challenge."""
    assert exchange.start() == Challenge(b"")
    return exchange.receive(message)


both_ways = pytest.mark.parametrize("send", [begin, wait_for], ids=["initial response", "after an empty challenge"])


# --- the honest way


@both_ways
def test_a_yes_of_the_verifier_and_of_authorize_is_a_success(server: Server, send: Any) -> None:
    exchange = server(one_message)
    assert (exchange.name, exchange.state) == ("X-TEST", State.NEW)
    question = send(exchange, b"joe:pencil")
    assert question == CheckPassword("joe", sasl.Secret("pencil"))
    assert (exchange.answer(YES), exchange.state) == (Authorize("joe", None, "joe"), State.OPEN)
    assert exchange.answer(YES) == Success("joe", "joe", None)
    assert exchange.state is State.DONE


def test_two_prompts_are_two_challenges(server: Server) -> None:
    exchange = server(asking_twice)
    assert exchange.start() == Challenge(b"User Name", initial=True)
    assert exchange.receive(b"joe") == Challenge(b"Password")
    assert exchange.receive(b"pencil") == CheckPassword("joe", sasl.Secret("pencil"))
    exchange.answer(YES)
    assert isinstance(exchange.answer(YES), Success)


def test_an_error_challenge_comes_before_the_failure(server: Server) -> None:
    exchange = server(explaining)
    exchange.start(b"joe")
    rejected = Rejected("expired", kind="expired", detail={"status": "401"})
    assert (exchange.answer(rejected), exchange.state) == (Challenge(b"{'status': '401'}"), State.OPEN)
    assert exchange.receive(b"\x01") == Failure("expired", "expired", {"status": "401"})
    assert exchange.state is State.FAILED


def test_the_script_is_told_its_name_its_channel_its_limits_and_its_options(server: Server) -> None:
    told: list[object] = []

    def curious(options: sasl.Options, *, word: str = "") -> sasl.ServerSteps:
        told.extend((options, word))
        yield Challenge(b"")
        raise Rejected

    channel, limits = sasl.Channel(tls=True), sasl.Limits(steps=3)
    server(curious, channel=channel, limits=limits, word="hello").start()
    server(curious).start()
    assert told[:2] == [sasl.Options("X-TEST", channel, limits), "hello"]
    assert told[2:] == [sasl.Options("X-TEST", sasl.Channel(), sasl.Limits()), ""]


# --- the initial response


def test_an_empty_initial_response_is_not_an_absent_one(server: Server) -> None:
    absent, given = server(explaining), server(explaining)
    assert absent.start(None) == Challenge(b"")
    assert given.start(b"") == CheckPassword("", sasl.Secret(""))


@pytest.mark.parametrize("initial", [b"", b"joe"])
def test_a_script_that_begins_with_a_challenge_takes_no_initial_response(server: Server, initial: bytes) -> None:
    exchange = server(server_first)
    failure = exchange.start(initial)
    assert isinstance(failure, Failure)
    assert failure.kind == "unexpected_ir"
    assert exchange.state is State.FAILED


@pytest.mark.parametrize("initial", [b"", b"joe"])
def test_a_script_that_says_so_takes_the_answer_to_its_first_prompt_unasked(server: Server, initial: bytes) -> None:
    assert server(asking_twice).start(initial) == Challenge(b"Password")


def test_only_the_first_challenge_is_answered_by_the_initial_response(server: Server) -> None:
    def empty_twice(options: sasl.Options) -> sasl.ServerSteps:
        first = yield Challenge(b"")
        second = yield Challenge(b"")
        identity = yield from ask(CheckPassword((first + second).decode(), sasl.Secret("")))
        return Verified(identity)

    exchange = server(empty_twice)
    assert exchange.start(b"jo") == Challenge(b"")
    assert exchange.receive(b"e") == CheckPassword("joe", sasl.Secret(""))


def test_a_question_may_come_before_the_first_challenge(server: Server) -> None:
    def hasty(options: sasl.Options) -> sasl.ServerSteps:
        identity = yield from ask(sasl.CheckCertificate(None, None))
        yield Challenge(b"")
        return Verified(identity)

    exchange = server(hasty)
    assert exchange.start(b"x") == sasl.CheckCertificate(None, None)
    assert exchange.answer(YES) == Authorize("joe", None)


def test_an_initial_response_that_nobody_reads_is_a_failure(server: Server) -> None:
    def deaf(options: sasl.Options) -> sasl.ServerSteps:
        identity = yield from ask(sasl.CheckCertificate(None, None))
        return Verified(identity)

    exchange = server(deaf)
    exchange.start(b"x")
    assert exchange.answer(YES) == Failure("unexpected_ir", "the mechanism read no message")


# --- rule 1: no yes without a verifier


def forgets_to_ask(options: sasl.Options) -> sasl.ServerSteps:
    yield Challenge(b"")
    return Verified("joe")


def names_another(options: sasl.Options) -> sasl.ServerSteps:
    yield Challenge(b"")
    yield from ask(CheckPassword("joe", sasl.Secret("")))
    return Verified("admin")


def asks_only_for_authorization(options: sasl.Options) -> sasl.ServerSteps:
    yield Challenge(b"")
    identity = yield from ask(Authorize("joe", None))
    return Verified(identity)


class Generous(sasl.Question):
    """A plug-in's question whose default is a yes."""

    def default(self) -> Answer:
        return YES


def asks_the_generous(options: sasl.Options) -> sasl.ServerSteps:
    yield Challenge(b"")
    identity = yield from ask(Generous())
    return Verified(identity)


def forgets_the_verdict(options: sasl.Options) -> sasl.ServerSteps:
    yield Challenge(b"")
    yield from ask(CheckPassword("joe", sasl.Secret("")))
    return None  # type: ignore[return-value]


def says_yes_in_its_own_words(options: sasl.Options) -> sasl.ServerSteps:
    yield Challenge(b"")
    yield from ask(CheckPassword("joe", sasl.Secret("")))
    return Success("joe", "joe")  # type: ignore[return-value]


def yields_success(options: sasl.Options) -> sasl.ServerSteps:
    yield Challenge(b"")
    yield Success("joe", "joe")  # type: ignore[misc]
    return Verified("joe")


def proves_with_text(options: sasl.Options) -> sasl.ServerSteps:
    yield Challenge(b"")
    identity = yield from ask(CheckPassword("joe", sasl.Secret("")))
    return Verified(identity, data="text")  # type: ignore[arg-type]


def yields_what_a_client_would(options: sasl.Options) -> sasl.ServerSteps:
    yield Challenge(b"")
    yield sasl.Complete(b"octets")  # type: ignore[misc]
    return Verified("joe")


def yields_octets(options: sasl.Options) -> sasl.ServerSteps:
    yield Challenge(b"")
    yield b"octets"  # type: ignore[misc]
    return Verified("joe")


def challenges_with_text(options: sasl.Options) -> sasl.ServerSteps:
    yield Challenge("text")  # type: ignore[arg-type]
    return Verified("joe")


def run(exchange: sasl.ServerExchange, answers: dict[type, object]) -> Event:
    """Drive an exchange to its end; what is not in `answers` gets the default."""
    event = exchange.start(b"joe")
    while not isinstance(event, Success | Failure):
        if isinstance(event, sasl.Question):
            event = exchange.answer(answers.get(type(event), NotImplemented))
        else:
            event = exchange.receive(b"")
    return event


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (forgets_to_ask, "no verifier accepted"),
        (names_another, "no verifier accepted"),
        (asks_only_for_authorization, "no verifier accepted"),
        (asks_the_generous, "no verifier accepted"),
        (forgets_the_verdict, "without a verdict"),
        (says_yes_in_its_own_words, "without a verdict"),
        (proves_with_text, "without a verdict"),
        (yields_success, "yielded Success"),
        (yields_what_a_client_would, "yielded Complete"),
        (yields_octets, "yielded bytes"),
        (challenges_with_text, "yielded Challenge"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.parametrize("authorized", [YES, NotImplemented], ids=["by the verifier", "by default"])
def test_a_mechanism_cannot_say_yes_for_the_verifier(
    server: Server, script: Any, reason: str, authorized: object
) -> None:
    event = run(server(script), {CheckPassword: YES, Authorize: authorized})
    assert isinstance(event, Failure)
    assert event.kind == "unavailable"
    assert reason in event.reason


def test_a_mechanism_that_catches_the_no_and_says_yes_is_not_believed(server: Server) -> None:
    def lenient(options: sasl.Options) -> sasl.ServerSteps:
        yield Challenge(b"")
        try:
            yield from ask(CheckPassword("joe", sasl.Secret("")))
        except (Rejected, Unavailable):
            pass
        return Verified("joe")

    for answer, kind in ((NO, "credentials"), (Unavailable("down"), "unavailable"), (NotImplemented, "unavailable")):
        exchange = server(lenient)
        exchange.start(b"")
        event = exchange.answer(answer)
        assert isinstance(event, Failure)
        assert (event.kind, exchange.state) == (kind, State.FAILED)


def test_a_later_yes_does_not_undo_a_no(server: Server) -> None:
    def persistent(options: sasl.Options) -> sasl.ServerSteps:
        yield Challenge(b"")
        try:
            yield from ask(CheckPassword("joe", sasl.Secret("first")))
        except Rejected:
            pass
        identity = yield from ask(CheckPassword("joe", sasl.Secret("second")))
        return Verified(identity)

    for later in (YES, NO, Unavailable("down")):
        exchange = server(persistent)
        exchange.start(b"")
        exchange.answer(Rejected("first", kind="disabled"))
        assert exchange.answer(later) == Failure("disabled", "first")


def test_of_two_lookups_that_found_nobody_the_first_counts(server: Server) -> None:
    def thorough(options: sasl.Options) -> sasl.ServerSteps:
        yield Challenge(b"")
        yield from ask(FindKeys("joe", "sha256"))
        yield from ask(FindKeys("joe", "sha1"))
        return Verified("joe")

    exchange = server(thorough)
    exchange.start(b"")
    exchange.answer(Rejected("first", kind="disabled"))
    assert exchange.answer(None) == Failure("disabled", "first")


def test_a_lookup_that_found_nobody_is_never_a_success(server: Server) -> None:
    def trusting(options: sasl.Options) -> sasl.ServerSteps:
        yield Challenge(b"")
        yield from ask(CheckPassword("joe", sasl.Secret("")))
        yield from ask(FindKeys("joe", "sha256"))
        return Verified("joe")

    exchange = server(trusting)
    exchange.start(b"")
    exchange.answer(YES)
    assert exchange.answer(None) == Failure("credentials", "not found")


@pytest.mark.parametrize(
    ("verdict", "kind"),
    [
        (NO, "authorization"),
        (Rejected("closed", kind="disabled"), "disabled"),
        (Unavailable("down"), "unavailable"),
        (None, "unavailable"),
        (True, "unavailable"),
        (Accepted(7), "unavailable"),  # type: ignore[arg-type]
        (Record("joe", b""), "unavailable"),
        (Rejected("?", kind="no such kind"), "unavailable"),
    ],
    ids=repr,
)
def test_without_a_yes_of_authorize_there_is_no_success(server: Server, verdict: object, kind: str) -> None:
    exchange = server(one_message)
    exchange.start(b"joe:pencil")
    exchange.answer(YES)
    event = exchange.answer(verdict)
    assert isinstance(event, Failure)
    assert (event.kind, exchange.state) == (kind, State.FAILED)


def test_an_authorization_that_cannot_be_had_keeps_its_reason(server: Server) -> None:
    for verdict, failure in (
        (Unavailable("down"), Failure("unavailable", "down")),
        (Rejected("not her", detail={"a": "b"}), Failure("authorization", "not her", {"a": "b"})),
    ):
        exchange = server(one_message)
        exchange.start(b"joe:pencil")
        exchange.answer(YES)
        assert exchange.answer(verdict) == failure


@pytest.mark.parametrize(
    ("message", "identity"),
    [(b"joe:pencil", "joe"), (b"joe/:pencil", "joe"), (b"joe/joe:pencil", "joe"), (b"joe/admin:pencil", None)],
)
def test_by_default_everybody_acts_as_nobody_else(server: Server, message: bytes, identity: str | None) -> None:
    exchange = server(one_message)
    exchange.start(message)
    exchange.answer(YES)
    event = exchange.answer(NotImplemented)
    if identity is None:
        assert isinstance(event, Failure)
        assert event.kind == "authorization"
    else:
        assert event == Success(identity, "joe")


def test_authorize_is_asked_whom_the_client_wants_to_be_and_names_whom_it_is(server: Server) -> None:
    exchange = server(one_message)
    exchange.start(b"Joe/admin:pencil")
    assert exchange.answer(Accepted("joe@example.com")) == Authorize("joe@example.com", "admin", "Joe")
    assert exchange.answer(Accepted("admin@example.com")) == Success("admin@example.com", "joe@example.com")


# --- success data


def test_success_data_waits_for_authorize_and_leaves_with_the_yes(server: Server) -> None:
    exchange = server(looking_up, success_data=True)
    exchange.start(b"joe")
    exchange.answer(Record("joe", b"keys"))
    assert exchange.receive(b"p=keys") == Authorize("joe", None, "joe")
    assert exchange.answer(YES) == Success("joe", "joe", b"v=keys")
    assert exchange.state is State.DONE


def test_success_data_is_a_last_challenge_where_the_protocol_has_no_room_for_it(server: Server) -> None:
    exchange = server(looking_up)
    exchange.start(b"joe")
    exchange.answer(Record("joe", b"keys"))
    exchange.receive(b"p=keys")
    assert (exchange.answer(YES), exchange.state) == (Challenge(b"v=keys"), State.OPEN)
    assert exchange.receive(b"") == Success("joe", "joe", None)
    assert exchange.state is State.DONE


def test_an_exchange_made_by_hand_keeps_success_data_for_a_challenge() -> None:
    exchange = sasl.ServerExchange("X", looking_up(sasl.Options("X")))
    exchange.start(b"joe")
    exchange.answer(Record("joe", b"keys"))
    exchange.receive(b"p=keys")
    assert exchange.answer(YES) == Challenge(b"v=keys")


def test_empty_success_data_is_not_absent(server: Server) -> None:
    def silent(options: sasl.Options) -> sasl.ServerSteps:
        yield Challenge(b"")
        identity = yield from ask(CheckPassword("joe", sasl.Secret("")))
        return Verified(identity, data=b"")

    for success_data, event in ((True, Success("joe", "joe", b"")), (False, Challenge(b""))):
        exchange = server(silent, success_data=success_data)
        exchange.start(b"")
        exchange.answer(YES)
        assert exchange.answer(YES) == event


@pytest.mark.parametrize("response", [b"x", b"\0", b"v=keys"])
def test_the_last_challenge_is_answered_by_nothing_else(server: Server, response: bytes) -> None:
    exchange = server(looking_up)
    exchange.start(b"joe")
    exchange.answer(Record("joe", b"keys"))
    exchange.receive(b"p=keys")
    exchange.answer(YES)
    event = exchange.receive(response)
    assert isinstance(event, Failure)
    assert (event.kind, exchange.state) == ("malformed", State.FAILED)


def test_the_last_challenge_can_be_cancelled(server: Server) -> None:
    exchange = server(looking_up)
    exchange.start(b"joe")
    exchange.answer(Record("joe", b"keys"))
    exchange.receive(b"p=keys")
    exchange.answer(YES)
    assert exchange.cancel().kind == "cancelled"
    assert exchange.state is State.FAILED


@pytest.mark.parametrize("success_data", [True, False])
def test_success_data_does_not_leave_without_authorize(server: Server, success_data: bool) -> None:
    exchange = server(looking_up, success_data=success_data)
    exchange.start(b"joe")
    exchange.answer(Record("joe", b"keys"))
    exchange.receive(b"p=keys")
    event = exchange.answer(NO)
    assert isinstance(event, Failure)
    assert event.kind == "authorization"


# --- answers


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        *((Rejected("no", kind=kind), kind, "no") for kind in ("credentials", "expired", "disabled", "policy")),
        (Unavailable("down"), "unavailable", "down"),
        (NotImplemented, "unavailable", "nobody answers CheckPassword"),
        (None, "unavailable", "CheckPassword was answered by NoneType"),
        (True, "unavailable", "CheckPassword was answered by bool"),
        ("joe", "unavailable", "CheckPassword was answered by str"),
        (Record("joe", b""), "unavailable", "CheckPassword was answered by Record"),
        (Accepted(b"joe"), "unavailable", "CheckPassword was answered by Accepted"),  # type: ignore[arg-type]
        (Rejected("no", kind="whatever"), "unavailable", "CheckPassword was answered by Rejected"),
    ],
    ids=repr,
)
def test_what_is_not_a_yes_to_a_check_is_a_failure(server: Server, answer: object, kind: str, reason: str) -> None:
    exchange = server(one_message)
    exchange.start(b"joe:pencil")
    assert exchange.answer(answer) == Failure(kind, reason)
    assert exchange.state is State.FAILED


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Unavailable("down"), "down"),
        (NotImplemented, "nobody answers FindKeys"),
        (YES, "FindKeys was answered by Accepted"),
        (Record(7, b""), "FindKeys was answered by Record"),  # type: ignore[arg-type]
    ],
    ids=repr,
)
def test_a_lookup_that_cannot_be_made_ends_at_once(server: Server, answer: object, reason: str) -> None:
    exchange = server(looking_up)
    exchange.start(b"joe")
    assert exchange.answer(answer) == Failure("unavailable", reason)


def test_raising_an_answer_leaves_no_frames_on_the_object_of_the_verifier(server: Server) -> None:
    for answer in (Rejected("always the same object"), Unavailable("always the same object")):
        for _ in range(2):
            exchange = server(one_message)
            exchange.start(b"joe:pencil")
            exchange.answer(answer)
            assert answer.__traceback__ is None
            assert answer.__context__ is None


def asks_first(question: sasl.Question) -> Callable[..., sasl.ServerSteps]:
    """A script that asks a question of a plug-in, and then for the password of whomever the answer names."""

    def script(options: sasl.Options) -> sasl.ServerSteps:
        yield Challenge(b"")
        name = yield from ask(question)
        identity = yield from ask(CheckPassword(name, sasl.Secret("")))
        return Verified(identity)

    return script


def test_a_question_of_a_plug_in_may_have_answers_of_its_own(server: Server) -> None:
    class Colour(sasl.Question):
        def accepts(self, answer: object) -> Any:
            return answer == "blue"

    exchange = server(asks_first(Colour()))
    exchange.start(b"")
    assert exchange.answer("blue") == CheckPassword("blue", sasl.Secret(""))
    unavailable = server(asks_first(Colour()))
    unavailable.start(b"")
    assert unavailable.answer("red") == Failure("unavailable", "Colour was answered by str")


def test_a_question_whose_answer_could_not_be_looked_at_still_waits(server: Server) -> None:
    class Colour(sasl.Question):
        def accepts(self, answer: object) -> bool:
            if answer == "red":
                raise KeyboardInterrupt
            return answer == "blue"

    exchange = server(asks_first(Colour()))
    exchange.start(b"")
    with pytest.raises(KeyboardInterrupt):
        exchange.answer("red")
    assert exchange.answer("blue") == CheckPassword("blue", sasl.Secret(""))


def test_an_answer_that_raises_when_it_is_looked_at_is_none(server: Server) -> None:
    class Colour(sasl.Question):
        def accepts(self, answer: object) -> bool:
            return answer + "!" == "blue!"  # type: ignore[operator]

    exchange = server(asks_first(Colour()))
    exchange.start(b"")
    assert exchange.answer(7) == Failure("unavailable", "Colour was answered by int")
    assert exchange.misfit


@pytest.mark.parametrize(("value", "misfit"), [("red", True), (Rejected(), False), (NotImplemented, False)])
def test_a_driver_learns_that_an_answer_was_none(server: Server, value: object, misfit: bool) -> None:
    exchange = server(one_message)
    exchange.start(b"joe:pencil")
    exchange.answer(value)
    assert exchange.misfit is misfit


def test_a_script_may_yield_a_question_without_ask(server: Server) -> None:
    def plainly(options: sasl.Options) -> sasl.ServerSteps:
        yield Challenge(b"")
        try:
            yield CheckPassword("joe", sasl.Secret("first"))
        except Rejected:
            identity = yield CheckPassword("joe", sasl.Secret("second"))
            return Verified(identity)
        raise AssertionError

    exchange = server(plainly)
    exchange.start(b"")
    assert exchange.answer(Rejected("no")) == CheckPassword("joe", sasl.Secret("second"))
    assert exchange.answer(YES) == Failure("credentials", "no")


# --- rule 2: wrong calls are the driver's mistake


def test_a_server_exchange_serves_once(server: Server) -> None:
    exchange = server(one_message)
    exchange.start()
    with pytest.raises(sasl.UsageError, match="start"):
        exchange.start()
    assert exchange.receive(b"joe:pencil") == CheckPassword("joe", sasl.Secret("pencil"))


@pytest.mark.parametrize("end", ["new", "done", "failed"])
def test_a_call_in_the_wrong_state_is_a_usage_error(server: Server, end: str) -> None:
    exchange = server(one_message)
    if end != "new":
        exchange.start(b"joe:pencil")
        exchange.answer(YES)
        exchange.answer(YES if end == "done" else NO)
    calls: list[Callable[[], object]] = [lambda: exchange.receive(b""), lambda: exchange.answer(YES)]
    if end != "new":
        calls += [exchange.start, exchange.cancel]
    for call in calls:
        with pytest.raises(sasl.UsageError, match=end) as caught:
            call()
        assert caught.value.mechanism == "X-TEST"
    assert exchange.state is State(end)


def test_an_answer_wants_a_question_and_a_question_an_answer(server: Server) -> None:
    exchange = server(one_message)
    exchange.start()
    with pytest.raises(sasl.UsageError, match="without a question"):
        exchange.answer(YES)
    exchange.receive(b"joe:pencil")
    with pytest.raises(sasl.UsageError, match="while a question waits"):
        exchange.receive(b"joe:other")
    assert exchange.answer(YES) == Authorize("joe", None, "joe")


@pytest.mark.parametrize("message", ["text", bytearray(b"x"), 7], ids=lambda message: type(message).__name__)
def test_a_message_is_bytes(server: Server, message: Any) -> None:
    exchange = server(one_message)
    with pytest.raises(sasl.UsageError, match="a message is bytes"):
        exchange.start(message)
    exchange.start()
    with pytest.raises(sasl.UsageError, match="a message is bytes"):
        exchange.receive(message)
    assert exchange.receive(b"joe:pencil") == CheckPassword("joe", sasl.Secret("pencil"))


def test_a_live_exchange_is_neither_pickled_nor_copied(server: Server) -> None:
    exchange = server(one_message)
    exchange.start(b"joe:pencil")
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            attempt(exchange)


# --- what a peer sends never raises


@both_ways
@pytest.mark.parametrize("message", [b"", b"no such thing", b"\xff:", b"\0" * 100], ids=repr)
def test_what_cannot_be_parsed_is_malformed_and_nobody_is_asked(server: Server, send: Any, message: bytes) -> None:
    exchange = server(one_message)
    event = send(exchange, message)
    assert isinstance(event, Failure)
    assert (event.kind, exchange.state) == ("malformed", State.FAILED)


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (sasl.ProtocolError("bad"), "malformed", "bad"),
        (sasl.UsageError("cannot be prepared"), "malformed", "cannot be prepared"),
        (sasl.LimitExceeded("too long"), "limit", "too long"),
        (Rejected("no"), "credentials", "no"),
        (Rejected("no", kind="policy", detail={"a": "b"}), "policy", "no"),
        (Rejected("no", kind="whatever"), "credentials", "no"),
        (Unavailable("down"), "unavailable", "down"),
        (ValueError("pencil"), "malformed", "the mechanism failed with ValueError"),
        (RecursionError(), "malformed", "the mechanism failed with RecursionError"),
    ],
    ids=repr,
)
def test_what_a_script_raises_about_a_message_is_a_failure(
    server: Server, error: Exception, kind: str, reason: str
) -> None:
    def raising(options: sasl.Options) -> sasl.ServerSteps:
        yield Challenge(b"")
        raise error

    exchange = server(raising)
    event = exchange.start(b"x")
    assert isinstance(event, Failure)
    assert (event.kind, event.reason, event.detail) == (kind, reason, getattr(error, "detail", None) or None)
    assert exchange.state is State.FAILED


def test_a_script_that_crashes_on_its_own_is_unavailable_not_malformed(server: Server) -> None:
    def at_once(options: sasl.Options) -> sasl.ServerSteps:
        raise KeyError("pencil")
        yield Challenge(b"")

    def on_the_answer(options: sasl.Options) -> sasl.ServerSteps:
        yield Challenge(b"")
        yield from ask(CheckPassword("joe", sasl.Secret("")))
        raise KeyError("pencil")

    expected = Failure("unavailable", "the mechanism failed with KeyError")
    assert server(at_once).start() == expected
    assert server(at_once).start(b"x") == expected
    exchange = server(on_the_answer)
    exchange.start(b"x")
    assert exchange.answer(YES) == expected


@pytest.mark.parametrize("script", [lambda options: None, lambda options: iter(()), lambda options: "pencil"])
def test_a_script_that_is_no_generator_is_unavailable(server: Server, script: Any) -> None:
    event = server(script).start()
    assert isinstance(event, Failure)
    assert event.kind == "unavailable"


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_in_a_script_passes_through_and_ends_the_exchange(
    server: Server, interrupt: type[BaseException]
) -> None:
    def interrupted(options: sasl.Options) -> sasl.ServerSteps:
        yield Challenge(b"")
        raise interrupt

    exchange = server(interrupted)
    with pytest.raises(interrupt):
        exchange.start(b"x")
    assert exchange.state is State.FAILED


def test_a_script_that_objects_to_its_end_is_ended_all_the_same(server: Server) -> None:
    def loud(options: sasl.Options) -> sasl.ServerSteps:
        try:
            yield Challenge(b"")
        finally:
            raise ValueError("pencil")
        return Verified("joe")

    exchange = server(loud)
    exchange.start()
    assert exchange.cancel().kind == "cancelled"


# --- cancelling


def test_the_client_may_cancel_at_any_time(server: Server) -> None:
    new, opened, asked = server(one_message), server(one_message), server(one_message)
    opened.start()
    asked.start(b"joe:pencil")
    for exchange in (new, opened, asked):
        assert exchange.cancel() == Failure("cancelled", "the client cancelled")
        assert exchange.state is State.FAILED


@pytest.mark.parametrize(
    "verdict", [Rejected("no", kind="expired"), Rejected("no", detail={"status": "401"})], ids=repr
)
def test_cancelling_after_an_error_challenge_keeps_the_verdict(server: Server, verdict: Rejected) -> None:
    exchange = server(explaining)
    exchange.start(b"joe")
    assert isinstance(exchange.answer(verdict), Challenge)
    assert exchange.cancel() == Failure(verdict.kind, "no", verdict.detail)


def test_nothing_that_follows_an_error_challenge_changes_the_verdict(server: Server) -> None:
    def careless(options: sasl.Options) -> sasl.ServerSteps:
        message = yield Challenge(b"")
        try:
            yield from ask(CheckPassword(message.decode(), sasl.Secret("")))
        except Rejected:
            answer = yield Challenge(b"error")
            raise sasl.ProtocolError(answer.decode("ascii")) from None
        return Verified("joe")

    for response in (b"", b"\x01", b"\xff", bytes(65_537)):
        exchange = server(careless)
        exchange.start(b"joe")
        exchange.answer(NO)
        assert exchange.receive(response) == Failure("credentials", "wrong password")


# --- rule 5: limits


@both_ways
def test_a_message_larger_than_the_limit_reaches_no_script(server: Server, send: Any) -> None:
    def echo(options: sasl.Options) -> sasl.ServerSteps:
        message = yield Challenge(b"")
        raise Rejected(str(len(message)))

    assert send(server(echo), bytes(65_536)) == Failure("credentials", "65536")
    assert send(server(echo), bytes(65_537)) == Failure("limit", "a message of more than 65536 octets")


@pytest.mark.parametrize("initial", [None, b""])
def test_sixteen_messages_pass_and_the_seventeenth_does_not(server: Server, initial: bytes | None) -> None:
    def endless(options: sasl.Options) -> sasl.ServerSteps:
        while True:
            yield Challenge(b"")

    exchange = server(endless)
    exchange.start(initial)
    for _ in range(16 if initial is None else 15):
        assert exchange.receive(b"") == Challenge(b"")
    assert exchange.receive(b"") == Failure("limit", "more than 16 messages")
    assert exchange.state is State.FAILED


def test_limits_are_configurable(server: Server) -> None:
    limits = sasl.Limits(message=10, steps=1)
    assert server(one_message, limits=limits).start(b"joe:pencil!") == Failure(
        "limit", "a message of more than 10 octets"
    )
    exchange = server(asking_twice, limits=limits)
    exchange.start(b"joe")
    assert exchange.receive(b"pencil") == Failure("limit", "more than 1 messages")


# --- rule 7: unknown users take the same path


ABSENT: dict[str, object] = {"nobody": None, "rejected": Rejected("closed", kind="disabled")}
KNOWN = Record("joe", b"keys")


@pytest.mark.parametrize("absent", ABSENT)
@pytest.mark.parametrize(
    "end",
    [
        lambda exchange: exchange.cancel(),
        lambda exchange: exchange.receive(b"no proof"),
        lambda exchange: exchange.receive(bytes(65_537)),
    ],
    ids=["cancelled", "malformed", "too large"],
)
def test_before_the_proof_an_unknown_user_cannot_be_told_from_a_known_one(
    server: Server, absent: str, end: Callable[[sasl.ServerExchange], Event]
) -> None:
    def conversation(answer: object) -> list[Event]:
        exchange = server(looking_up)
        exchange.start(b"joe")
        return [exchange.answer(answer), end(exchange)]

    assert conversation(ABSENT[absent]) == conversation(KNOWN)


def test_at_the_end_an_unknown_user_is_told_what_a_wrong_proof_is_told(server: Server) -> None:
    kinds = []
    for answer, proof in ((None, b"p=decoy"), (None, b"p=x"), (KNOWN, b"p=x")):
        exchange = server(looking_up)
        exchange.start(b"joe")
        assert exchange.answer(answer) == Challenge(b"nonce")
        event = exchange.receive(proof)
        assert isinstance(event, Failure)
        kinds.append(event.kind)
    assert kinds == ["credentials"] * 3


def test_a_lookup_that_is_refused_goes_on_with_the_decoy_and_keeps_its_kind(server: Server) -> None:
    exchange = server(looking_up)
    exchange.start(b"joe")
    assert exchange.answer(Rejected("closed", kind="disabled")) == Challenge(b"nonce")
    assert exchange.receive(b"p=keys") == Failure("disabled", "closed")


# --- rule 6: nothing shows what was sent


def test_no_event_and_no_exchange_shows_octets_or_secrets(server: Server, secret: str) -> None:
    exchange = server(looking_up, success_data=True)
    events = [exchange.start(secret.encode())]
    shown = [repr(exchange)]
    events.append(exchange.answer(Record("joe", secret.encode())))
    events.append(exchange.receive(b"p=" + secret.encode()))
    events.append(exchange.answer(YES))
    events[2] = Authorize("joe", None)  # without the name that was looked up, which is shown and is the secret here
    shown += [repr(exchange), *map(repr, events[1:]), *map(str, events[1:])]
    assert shown[0] == "<ServerExchange X-TEST open>"
    assert isinstance(events[-1], Success)
    assert not [text for text in shown if secret in text]
    assert repr(events[-1]) == f"Success(identity='joe', authcid='joe', data=<{len(secret) + 2} octets>)"
    with pytest.raises(TypeError):
        vars(exchange)


def test_an_exchange_that_is_over_holds_nothing_that_the_client_sent(
    server: Server, secret: str, reachable: Callable[[object], list[object]]
) -> None:
    def held(exchange: sasl.ServerExchange) -> list[object]:
        return [
            each
            for each in reachable(exchange)
            if isinstance(each, sasl.Secret) or (isinstance(each, str | bytes) and secret in str(each))
        ]

    message = f"joe:{secret}".encode()
    asked, done, failed, unread = server(one_message), server(one_message), server(one_message), server(server_first)
    for exchange in (asked, done, failed):
        exchange.start(message)
        assert held(exchange)
    asked.cancel()
    done.answer(YES)
    done.answer(YES)
    failed.answer(NO)
    unread.start(message)
    assert [held(exchange) for exchange in (asked, done, failed, unread)] == [[]] * 4


VALUES: dict[str, Callable[[str], object]] = {
    "Complete": lambda secret: sasl.Complete(secret.encode()),
    "ErrorAnswer": lambda secret: sasl.ErrorAnswer(secret.encode(), {"status": "401"}),
    "Challenge": lambda secret: Challenge(secret.encode()),
    "Verified": lambda secret: Verified("joe", None, secret.encode()),
    "Record": lambda secret: Record("joe", secret),
    "CheckPassword": lambda secret: CheckPassword("joe", sasl.Secret(secret)),
    "CheckToken": lambda secret: sasl.CheckToken("joe", sasl.Secret(secret), "host", 143),
    "CheckCertificate": lambda secret: sasl.CheckCertificate(secret.encode(), "joe"),
    "Success": lambda secret: Success("joe", "joe", secret.encode()),
}


@pytest.mark.parametrize("name", VALUES)
def test_no_repr_shows_octets_or_secrets(secret: str, name: str) -> None:
    value = VALUES[name](secret)
    for shown in (repr(value), str(value), f"{value}", repr([value])):
        assert name in shown
        assert seen([shown], secret) == []
    with pytest.raises(TypeError):
        vars(value)


def test_absent_octets_are_shown_as_none() -> None:
    assert repr(Verified("joe")) == "Verified(identity='joe', authzid=None, data=None)"
    assert repr(sasl.CheckCertificate(None, None)) == "CheckCertificate(None, authzid=None)"


def test_verdicts_show_what_they_say() -> None:
    assert (
        repr(Rejected("no", "expired", {"status": "401"})) == "Rejected('no', kind='expired', detail={'status': '401'})"
    )
    assert repr(Unavailable("down")) == "Unavailable('down')"


@pytest.mark.parametrize("end", ["cancel", "response", "yes"])
def test_a_challenge_that_explains_a_refusal_is_the_beginning_of_the_end(server: Any, end: str) -> None:
    def script(_options: Any) -> Any:
        identity = yield from sasl.ask(sasl.CheckPassword("joe", sasl.Secret("pencil")))
        try:
            raise sasl.Rejected("not from here", "disabled", {"status": "403"})
        except sasl.Rejected as rejected:
            yield sasl.Challenge(b"{}", refusal=rejected)
            if end == "response":
                raise
        return sasl.Verified(identity)

    exchange = server(script)
    exchange.start()
    challenge = exchange.answer(sasl.Accepted("joe"))
    assert challenge.data == b"{}"
    event = exchange.cancel() if end == "cancel" else exchange.receive(b"")
    assert event == sasl.Failure("disabled", "not from here", {"status": "403"})


# --- whom the client may act as


@pytest.mark.parametrize(
    ("authzid", "accepted"),
    [
        (b"", True),
        (b"alice", True),
        (b"alice@example.org", True),
        (b"Alice", False),
        (b"ALICE@example.org", False),
        (b"bob", False),
    ],
)
def test_a_client_may_name_itself_as_it_logged_in_or_as_the_verifier_calls_it(authzid: bytes, accepted: bool) -> None:
    exchange = sasl.server("PLAIN")
    event = exchange.start(authzid + b"\0alice\0x")
    yes = Accepted("alice@example.org")
    event = sasl.settle(exchange, event, lambda q: yes if isinstance(q, CheckPassword) else NotImplemented)
    if accepted:
        assert event == sasl.Success("alice@example.org", "alice@example.org")
    else:
        who = "'alice' alias 'alice@example.org' may not act as"
        assert event == sasl.Failure("authorization", f"{who} {authzid.decode()!r} here")


@pytest.mark.parametrize(
    ("user", "kind"),
    [(b"alice", None), (b"Alice", None), (b"bob", "authorization"), ("\u0430lice".encode(), "authorization")],
)
def test_a_token_proves_no_name_but_its_owners_in_any_case(user: bytes, kind: str | None) -> None:
    exchange = sasl.server("XOAUTH2")
    event = exchange.start(b"user=%s\x01auth=Bearer t\x01\x01" % user)
    event = sasl.settle(exchange, event, lambda q: Accepted("alice") if hasattr(q, "token") else NotImplemented)
    assert getattr(event, "kind", None) == kind
    if kind is None:
        assert event == sasl.Success("alice", "alice")


def test_a_name_is_proved_only_where_every_check_was_of_the_same(server: Server) -> None:
    def script(options: sasl.Options) -> sasl.ServerSteps:
        yield from ask(CheckPassword("alice", sasl.Secret("x")))
        identity = yield from ask(CheckPassword("bob", sasl.Secret("x")))
        return sasl.Verified(identity, "bob")

    exchange = sasl.ServerExchange("X-TWO", script(sasl.Options("X-TWO")))
    exchange.start()
    exchange.answer(Accepted("somebody"))
    assert exchange.answer(Accepted("somebody")) == Authorize("somebody", "bob", None)
