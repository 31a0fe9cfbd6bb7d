"""The client's side of an exchange: when a yes counts, what a server may send, and how it ends (rules 1 to 5)."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl import Complete, ErrorAnswer, Harmless, State

if TYPE_CHECKING:
    from collections.abc import Callable

    Client = Callable[..., sasl.ClientExchange]
    Leaks = Callable[[BaseException], list[str]]


# --- throw-away mechanisms


def one_message(c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
    """As PLAIN: everything at once."""
    yield Complete(f"{c.authcid}:{c.password.reveal()}".encode())


def explained(c: Any, _: sasl.Options) -> sasl.ClientSteps:
    """As OAUTHBEARER: an error challenge is answered once."""
    secret = c.password if isinstance(c, sasl.Password) else c.token
    challenge = yield Complete(secret.reveal().encode())
    yield ErrorAnswer(b"\x01", {"status": challenge.decode()})


def server_first(c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
    """As LOGIN: the server asks twice."""
    yield None
    yield c.authcid.encode()
    yield Complete(c.password.reveal().encode())


def mutual(c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
    """As SCRAM: the server has to prove that it knows the secret too."""
    nonce = yield b"client-first"
    proof = yield b"client-final " + nonce
    if proof != b"v=" + c.password.reveal().encode():
        raise sasl.ServerNotProven("the server does not know the password")
    yield Complete(b"")


def two_messages(c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
    """Two client messages, and no proof of the server's."""
    challenge = yield b"hello"
    yield Complete(challenge + c.password.reveal().encode())


def endless(c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
    """Has an answer to everything."""
    while True:
        yield b"more"


SCRIPTS = (one_message, explained, server_first, mutual, two_messages, endless)


def proof_of(secret: str) -> bytes:
    return b"v=" + secret.encode()


# --- the honest way


def test_the_initial_response_is_what_the_script_sends_first(client: Client, secret: str) -> None:
    exchange = client(one_message)
    assert (exchange.name, exchange.state) == ("X-TEST", State.NEW)
    assert (exchange.start(), exchange.state) == (b"user:" + secret.encode(), State.OPEN)
    exchange.succeed()
    assert exchange.state is State.DONE


def test_a_server_first_mechanism_has_no_initial_response(client: Client, secret: str) -> None:
    exchange = client(server_first)
    assert exchange.start() is None
    assert exchange.respond(b"User:") == b"user"
    assert exchange.respond(b"Pass:") == secret.encode()
    exchange.succeed()
    assert exchange.state is State.DONE


def test_an_empty_initial_response_is_not_an_absent_one(client: Client) -> None:
    def empty(c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
        yield Complete(b"")

    assert client(empty).start() == b""


def test_a_proof_that_comes_as_a_challenge_is_answered_by_nothing(client: Client, secret: str) -> None:
    exchange = client(mutual)
    assert exchange.start() == b"client-first"
    assert exchange.respond(b"nonce") == b"client-final nonce"
    assert exchange.respond(proof_of(secret)) == b""
    exchange.succeed()
    assert exchange.state is State.DONE


def test_a_proof_that_comes_with_the_yes_counts(client: Client, secret: str) -> None:
    exchange = client(mutual)
    exchange.start()
    exchange.respond(b"nonce")
    exchange.succeed(proof_of(secret))
    assert exchange.state is State.DONE


def test_the_script_is_told_its_name_its_channel_and_its_limits(client: Client) -> None:
    told: list[sasl.Options] = []

    def curious(c: sasl.Password, options: sasl.Options) -> sasl.ClientSteps:
        told.append(options)
        yield Complete(b"")

    channel, limits = sasl.Channel(tls=True, host="mail.example"), sasl.Limits(steps=3)
    client(curious, channel=channel, limits=limits).start()
    client(curious).start()
    assert told == [sasl.Options("X-TEST", channel, limits), sasl.Options("X-TEST", sasl.Channel(), sasl.Limits())]


def test_options_of_a_mechanism_reach_its_script(client: Client) -> None:
    def chatty(c: sasl.Password, _: sasl.Options, *, word: str = "") -> sasl.ClientSteps:
        yield Complete(word.encode())

    assert client(chatty, word="hello").start() == b"hello"


# --- for protocols without a message for the verdict: whether a yes is allowed now


@pytest.mark.parametrize(
    ("script", "challenges", "complete"),
    [
        (one_message, [], [True]),
        (mutual, [b"nonce", b"the proof"], [False, False, True]),
        (server_first, [b"User:", b"Password:"], [False, False, True]),
        (two_messages, [b"more"], [False, True]),
        (explained, [b"400"], [True, False]),
    ],
)
def test_an_exchange_tells_whether_it_is_complete(
    client: Client, script: Any, challenges: list[bytes], complete: list[bool], secret: str
) -> None:
    exchange = client(script)
    assert not exchange.complete
    exchange.start()
    seen = [exchange.complete]
    for challenge in challenges:
        exchange.respond(proof_of(secret) if challenge == b"the proof" else challenge)
        seen.append(exchange.complete)
    assert seen == complete
    if exchange.complete:
        exchange.succeed()
    else:
        with pytest.raises(sasl.ServerNotProven):
            exchange.succeed()
    assert not exchange.complete


def test_an_exchange_whose_response_was_not_sent_is_not_complete(client: Client) -> None:
    exchange = client(one_message)
    exchange.start()
    exchange.defer()
    assert not exchange.complete
    exchange.respond(b"")
    assert exchange.complete
    exchange.cancel()
    assert not exchange.complete


# --- rule 1: a yes before its time


@pytest.mark.parametrize(
    ("script", "challenges"),
    [
        (server_first, []),
        (server_first, [b"User:"]),
        (mutual, []),
        (mutual, [b"nonce"]),
        (two_messages, []),
        (explained, [b"400"]),
        (endless, [b"", b""]),
    ],
)
@pytest.mark.parametrize("data", [None, b"", b"v=wrong"])
def test_a_yes_before_the_mechanism_allows_it_is_not_a_login(
    client: Client, script: Any, challenges: list[bytes], data: bytes | None
) -> None:
    exchange = client(script)
    exchange.start()
    for challenge in challenges:
        exchange.respond(challenge)
    with pytest.raises(sasl.ServerNotProven) as caught:
        exchange.succeed(data)
    assert exchange.state is State.FAILED
    assert caught.value.mechanism == "X-TEST"
    assert exchange.fail("too late") is caught.value


def test_a_wrong_proof_is_not_a_login(client: Client) -> None:
    exchange = client(mutual)
    exchange.start()
    exchange.respond(b"nonce")
    with pytest.raises(sasl.ServerNotProven, match="does not know the password"):
        exchange.respond(b"v=guessed")
    assert exchange.state is State.FAILED
    with pytest.raises(sasl.UsageError):
        exchange.succeed()


def test_a_yes_without_the_proof_is_not_a_login(client: Client) -> None:
    exchange = client(mutual)
    exchange.start()
    exchange.respond(b"nonce")
    with pytest.raises(sasl.ServerNotProven, match="before the exchange was complete"):
        exchange.succeed()


@pytest.mark.parametrize("last", [Complete(b"more"), b"more", b"", ErrorAnswer(b"")], ids=repr)
def test_a_yes_whose_data_the_mechanism_would_answer_is_not_a_login(client: Client, last: Any) -> None:
    def talkative(c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
        yield b"first"
        yield last

    exchange = client(talkative)
    exchange.start()
    with pytest.raises(sasl.ServerNotProven):
        exchange.succeed(b"data")
    assert exchange.state is State.FAILED


@pytest.mark.parametrize("data", [b"", b"data"])
def test_a_yes_with_data_that_the_mechanism_does_not_have_is_refused(client: Client, data: bytes) -> None:
    exchange = client(one_message)
    exchange.start()
    with pytest.raises(sasl.ProtocolError, match="does not have"):
        exchange.succeed(data)
    assert exchange.state is State.FAILED


# --- deferring the initial response


@pytest.mark.parametrize("challenge", [b"", b"Go ahead", b"\xff\0", b"x" * 65_536], ids=len)
def test_a_deferred_response_answers_the_first_challenge_whatever_it_holds(
    client: Client, secret: str, challenge: bytes
) -> None:
    exchange = client(one_message)
    initial = exchange.start()
    exchange.defer()
    assert exchange.respond(challenge) == initial
    exchange.succeed()
    assert exchange.state is State.DONE


@pytest.mark.parametrize("script", [one_message, mutual], ids=lambda script: script.__name__)
@pytest.mark.parametrize("data", [None, b"data"])
def test_a_yes_before_a_deferred_response_left_is_not_a_login(client: Client, script: Any, data: bytes | None) -> None:
    exchange = client(script)
    exchange.start()
    exchange.defer()
    with pytest.raises(sasl.ServerNotProven, match="before the initial response was sent"):
        exchange.succeed(data)
    assert exchange.state is State.FAILED


def test_a_deferred_response_leaves_only_once(client: Client, secret: str) -> None:
    exchange = client(explained)
    exchange.start()
    exchange.defer()
    assert exchange.respond(b"") == secret.encode()
    assert exchange.respond(b"401") == b"\x01"


def test_deferring_is_for_an_initial_response_that_was_not_sent(client: Client) -> None:
    new = client(one_message)
    with pytest.raises(sasl.UsageError, match="new"):
        new.defer()
    silent = client(server_first)
    silent.start()
    with pytest.raises(sasl.UsageError, match="without an initial response"):
        silent.defer()
    assert silent.respond(b"User:") == b"user"  # a wrong call changes nothing
    twice = client(one_message)
    twice.start()
    twice.defer()
    with pytest.raises(sasl.UsageError, match="without an initial response"):
        twice.defer()
    late = client(mutual)
    late.start()
    late.respond(b"nonce")
    with pytest.raises(sasl.UsageError, match="without an initial response"):
        late.defer()


# --- rule 2: one step too many, a wrong state, a second use


def test_a_challenge_that_the_mechanism_does_not_have_is_a_protocol_error(client: Client) -> None:
    exchange = client(one_message)
    exchange.start()
    with pytest.raises(sasl.ProtocolError, match="nothing to say"):
        exchange.respond(b"another challenge")
    assert exchange.state is State.FAILED


CALLS: dict[str, Callable[[sasl.ClientExchange], object]] = {
    "start": lambda exchange: exchange.start(),
    "defer": lambda exchange: exchange.defer(),
    "respond": lambda exchange: exchange.respond(b""),
    "succeed": lambda exchange: exchange.succeed(),
    "fail": lambda exchange: exchange.fail(),
}


@pytest.mark.parametrize(
    ("state", "call"),
    [
        *((State.NEW, call) for call in ("defer", "respond", "succeed", "fail")),
        (State.OPEN, "start"),
        *((State.DONE, call) for call in CALLS),
        *((State.FAILED, call) for call in ("start", "defer", "respond", "succeed")),
    ],
)
def test_a_call_in_the_wrong_state_is_a_usage_error_and_changes_nothing(
    client: Client, state: State, call: str
) -> None:
    exchange = client(one_message)
    if state is not State.NEW:
        exchange.start()
    if state is State.DONE:
        exchange.succeed()
    if state is State.FAILED:
        exchange.cancel()
    with pytest.raises(sasl.UsageError, match=state.value) as caught:
        CALLS[call](exchange)
    assert exchange.state is state
    assert caught.value.mechanism == "X-TEST"


def test_an_exchange_that_is_done_cannot_be_cancelled(client: Client) -> None:
    exchange = client(one_message)
    exchange.start()
    exchange.succeed()
    with pytest.raises(sasl.UsageError):
        exchange.cancel()
    assert exchange.state is State.DONE


@pytest.mark.parametrize(
    "message", ["text", bytearray(b"x"), memoryview(b"x"), None, 7], ids=lambda m: type(m).__name__
)
def test_a_challenge_is_bytes(client: Client, message: Any) -> None:
    exchange = client(endless)
    exchange.start()
    with pytest.raises(sasl.UsageError, match="a message is bytes"):
        exchange.respond(message)
    assert exchange.respond(b"") == b"more"


def test_success_data_is_bytes(client: Client) -> None:
    exchange = client(mutual)
    exchange.start()
    with pytest.raises(sasl.UsageError, match="a message is bytes, not str"):
        exchange.succeed("data")  # type: ignore[arg-type]
    assert exchange.state is State.OPEN


def test_a_live_exchange_is_neither_pickled_nor_copied(client: Client) -> None:
    exchange = client(one_message)
    exchange.start()
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            attempt(exchange)


# --- rule 3: after the credential left


@pytest.mark.parametrize("script", [one_message, explained], ids=lambda script: script.__name__)
def test_an_empty_challenge_after_the_credential_is_no_error_challenge(client: Client, script: Any) -> None:
    exchange = client(script)
    exchange.start()
    with pytest.raises(sasl.ProtocolError, match="empty challenge"):
        exchange.respond(b"")
    assert exchange.state is State.FAILED


def test_an_empty_challenge_after_a_deferred_credential_is_no_error_challenge(client: Client) -> None:
    exchange = client(explained)
    exchange.start()
    exchange.defer()
    exchange.respond(b"")
    with pytest.raises(sasl.ProtocolError, match="empty challenge"):
        exchange.respond(b"")


def test_an_error_challenge_gets_the_answer_of_the_mechanism(client: Client) -> None:
    exchange = client(explained)
    assert not exchange.explained
    exchange.start()
    assert not exchange.explained
    assert exchange.respond(b"401") == b"\x01"
    assert exchange.explained
    error = exchange.fail("no")
    assert isinstance(error, sasl.AuthenticationFailed)
    assert error.detail == {"status": "401"}
    assert exchange.explained  # stays so for whoever asks after the end


@pytest.mark.parametrize("challenge", [b"", b"again"])
def test_after_an_error_challenge_only_a_no_may_follow(client: Client, challenge: bytes) -> None:
    exchange = client(explained)
    exchange.start()
    exchange.respond(b"401")
    with pytest.raises(sasl.ProtocolError, match="went on") as caught:
        exchange.respond(challenge)
    assert caught.value.detail == {"status": "401"}  # what the server explained is not lost


def test_what_an_error_challenge_explained_is_text(client: Client) -> None:
    def untidy(c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
        yield Complete(b"")
        yield ErrorAnswer(b"", {"status": 401, 5: None})  # type: ignore[dict-item]

    exchange = client(untidy)
    exchange.start()
    exchange.respond(b"no")
    assert exchange.fail().detail == {"status": "401", "5": "None"}


@pytest.mark.parametrize(
    ("announced", "told", "kind"),
    [
        ("unavailable", "credentials", "unavailable"),
        ("unavailable", "expired", "expired"),
        ("policy", "unavailable", "unavailable"),
        ("no such kind", "credentials", "credentials"),
        (None, "disabled", "disabled"),
    ],
)
def test_an_error_challenge_may_say_what_kind_of_no_it_is_where_the_reply_does_not(
    client: Client, announced: str | None, told: str, kind: str
) -> None:
    def busy(c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
        yield Complete(b"")
        yield ErrorAnswer(b"", kind=announced)

    exchange = client(busy)
    exchange.start()
    exchange.respond(b"no")
    error = exchange.fail("no", kind=told)
    assert error.kind == kind
    assert isinstance(error, sasl.TemporaryFailure) is (kind == "unavailable")


# --- rule 4: cancelling, and which error wins


def test_a_cancelled_exchange_fails_as_cancelled(client: Client) -> None:
    exchange = client(one_message)
    exchange.start()
    exchange.cancel()
    error = exchange.fail("AUTHENTICATE cancelled", kind="malformed")
    assert type(error) is sasl.Cancelled
    assert (exchange.state, error.mechanism) == (State.FAILED, "X-TEST")


def test_an_exchange_can_be_cancelled_before_it_starts_and_more_than_once(client: Client) -> None:
    exchange = client(one_message)
    exchange.cancel()
    error = exchange.fail()
    exchange.cancel()
    assert exchange.fail() is error
    assert type(error) is sasl.Cancelled


@pytest.mark.parametrize("challenge", [b"", b"x"])
def test_the_error_of_the_exchange_wins_over_the_no_and_over_a_cancel(client: Client, challenge: bytes) -> None:
    exchange = client(one_message)
    exchange.start()
    with pytest.raises(sasl.ProtocolError) as caught:
        exchange.respond(challenge)
    exchange.cancel()
    assert exchange.fail("NO", kind="credentials") is caught.value


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, GeneratorExit, SystemExit])
def test_an_interrupt_in_a_script_passes_through_and_ends_the_exchange(
    client: Client, interrupt: type[BaseException]
) -> None:
    def interrupted(c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
        yield Complete(b"credential")
        raise interrupt

    exchange = client(interrupted)
    exchange.start()
    with pytest.raises(interrupt):
        exchange.respond(b"challenge")
    assert exchange.state is State.FAILED
    assert type(exchange.fail()) is sasl.Cancelled


# --- the server's no


@pytest.mark.parametrize(
    ("kind", "family"),
    [(kind, sasl.AuthenticationFailed) for kind in sasl.KINDS if kind not in ("authorization", "unavailable")]
    + [("authorization", sasl.AuthorizationFailed), ("unavailable", sasl.TemporaryFailure)],
)
def test_each_kind_of_no_has_its_error(client: Client, kind: str, family: type[sasl.SASLError]) -> None:
    exchange = client(one_message)
    exchange.start()
    error = exchange.fail("the server's words", kind=kind, response_code="CODE")
    assert type(error) is family
    assert (str(error), error.server_text, error.response_code) == ("the server's words", "the server's words", "CODE")
    assert (error.kind, error.mechanism, error.detail) == (kind, "X-TEST", {})
    assert exchange.state is State.FAILED
    assert exchange.fail("again") is error


@pytest.mark.parametrize("kind", ["credentials", "authorization", "unavailable"])
def test_a_silent_no_is_still_said_in_words(client: Client, kind: str) -> None:
    exchange = client(one_message)
    exchange.start()
    error = exchange.fail(kind=kind)
    assert str(error).startswith("the server ")
    assert error.server_text == ""


def test_a_kind_that_does_not_exist_is_a_usage_error(client: Client) -> None:
    exchange = client(one_message)
    exchange.start()
    with pytest.raises(sasl.UsageError, match="no such kind"):
        exchange.fail(kind="whatever")
    assert exchange.state is State.OPEN


@pytest.mark.parametrize("arguments", [{"text": b"no"}, {"text": None}, {"text": 5}, {"response_code": 535}], ids=repr)
def test_a_no_that_is_no_text_is_a_usage_error(
    client: Client, arguments: dict[str, Any], secret: str, leaks: Leaks
) -> None:
    """imaplib and its like hand out bytes."""
    exchange = client(one_message)
    exchange.start()
    with pytest.raises(sasl.UsageError, match="are text") as caught:
        exchange.fail(**arguments)
    assert leaks(caught.value) == []
    assert exchange.state is State.OPEN


def test_a_no_may_come_at_any_time(client: Client) -> None:
    for script in SCRIPTS:
        exchange = client(script)
        exchange.start()
        assert isinstance(exchange.fail("no"), sasl.AuthenticationFailed)


def test_a_server_that_says_the_credential_back_does_not_get_it_into_the_error(
    client: Client, secret: str, leaks: Leaks
) -> None:
    exchange = client(explained)
    exchange.start()
    exchange.respond(f"status of {secret}".encode())
    error = exchange.fail(f"535 bad password {secret}, go away")
    assert str(error) == error.server_text == "535 bad password ***, go away"
    assert error.detail == {"status": "status of ***"}
    assert leaks(error) == []


def test_a_server_that_says_back_a_part_of_it_does_not_either(client: Client, secret: str) -> None:
    exchange = client(one_message)
    exchange.start()
    assert str(exchange.fail(f"unknown: {secret[:15]}...")) == "unknown: ***..."


@pytest.mark.parametrize(("password", "shown"), [("his", "this is it"), ("this", "*** is it")])
def test_a_credential_of_three_characters_does_not_tear_holes_into_what_the_server_says(
    client: Client, password: str, shown: str
) -> None:
    exchange = client(one_message, sasl.Password("user", password))
    exchange.start()
    assert str(exchange.fail("this is it")) == shown


@pytest.mark.parametrize(
    ("challenge", "kind", "helps"),
    [
        (None, "credentials", True),
        (None, "expired", True),
        (None, "disabled", False),
        (None, "policy", False),
        (b"400", "credentials", True),
        (b"401", "credentials", True),
        (b"invalid_token", "credentials", True),
        (b"403", "credentials", False),
        (b"insufficient_scope", "credentials", False),
    ],
)
def test_a_new_token_may_help_where_the_old_one_was_refused_for_its_age(
    client: Client, secret: str, challenge: bytes | None, kind: str, helps: bool
) -> None:
    exchange = client(explained, sasl.Bearer("user@example.com", secret))
    exchange.start()
    if challenge is not None:
        exchange.respond(challenge)
    error = exchange.fail("no", kind=kind)
    assert isinstance(error, sasl.AuthenticationFailed)
    assert error.new_token_may_help is helps


def test_a_new_token_does_not_help_where_none_was_refused(client: Client, secret: str) -> None:
    password = client(explained)
    password.start()
    unsent = client(explained, sasl.Bearer("user@example.com", secret))
    unsent.start()
    unsent.defer()
    not_allowed = client(explained, sasl.Bearer("user@example.com", secret))
    not_allowed.start()
    unasked = client(server_first, sasl.Bearer("user@example.com", secret))
    unasked.start()
    for exchange in (password, unsent, unasked, not_allowed):
        error = exchange.fail("no", kind="authorization" if exchange is not_allowed else "credentials")
        assert isinstance(error, sasl.AuthenticationFailed)
        assert not error.new_token_may_help


def test_an_exchange_made_by_hand_is_about_no_token(secret: str) -> None:
    exchange = sasl.ClientExchange("LOGIN", explained(sasl.Password("joe", secret), sasl.Options("LOGIN")))
    exchange.start()
    error = exchange.fail("no")
    assert isinstance(error, sasl.AuthenticationFailed)
    assert error.new_token_may_help is False


# --- rule 5: limits


def test_a_message_of_the_limit_passes_and_a_larger_one_does_not(client: Client) -> None:
    exchange = client(endless)
    exchange.start()
    assert exchange.respond(bytes(65_536)) == b"more"
    with pytest.raises(sasl.LimitExceeded, match="65536 octets"):
        exchange.respond(bytes(65_537))
    assert exchange.state is State.FAILED


def test_success_data_larger_than_the_limit_is_refused(client: Client) -> None:
    exchange = client(mutual)
    exchange.start()
    exchange.respond(b"nonce")
    with pytest.raises(sasl.LimitExceeded):
        exchange.succeed(bytes(65_537))


def test_a_challenge_over_the_limit_is_refused_although_a_response_is_deferred(client: Client) -> None:
    exchange = client(one_message)
    exchange.start()
    exchange.defer()
    with pytest.raises(sasl.LimitExceeded):
        exchange.respond(bytes(65_537))


def test_sixteen_messages_pass_and_the_seventeenth_does_not(client: Client) -> None:
    exchange = client(endless)
    exchange.start()
    for _ in range(16):
        assert exchange.respond(b"") == b"more"
    with pytest.raises(sasl.LimitExceeded, match="more than 16 messages"):
        exchange.respond(b"")


def test_limits_are_configurable(client: Client) -> None:
    exchange = client(endless, limits=sasl.Limits(message=3, steps=2))
    exchange.start()
    exchange.respond(b"123")
    with pytest.raises(sasl.LimitExceeded, match="3 octets"):
        exchange.respond(b"1234")


# --- nothing but a SASLError leaves


def crash_before(c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
    password = c.password.reveal()
    raise ValueError(password)
    yield Complete(b"")


def crash_after(c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
    password = c.password.reveal()
    yield Complete(password.encode())
    raise ValueError(password)


def crash_server_first(c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
    yield None
    (c.password.reveal() + "\ud800").encode()


def chained(c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
    yield b"hello"
    try:
        (c.password.reveal() + "\ud800").encode()
    except UnicodeEncodeError as error:
        raise sasl.ProtocolError("cannot be encoded") from error


def unusable(c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
    password = c.password.reveal()
    if password:
        raise sasl.UsageError("not this password")
    yield Complete(b"")


def too_long(c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
    password = c.password.reveal()
    if password:
        raise sasl.LimitExceeded("a password of more than 3 characters")
    yield Complete(b"")


def empty(c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
    yield from ()


def garbage(c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
    yield c.password.reveal()  # type: ignore[misc]


def garbage_complete(c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
    yield Complete(c.password.reveal())  # type: ignore[arg-type]


def empty_complete(_c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
    yield Complete(None)  # type: ignore[arg-type]


def empty_harmless(_c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
    yield Harmless(None)  # type: ignore[arg-type]


def empty_error_answer(_c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
    yield ErrorAnswer(None)  # type: ignore[arg-type]


def late_garbage(c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
    yield b"hello"
    yield c.password.reveal()  # type: ignore[misc]


def late_silence(c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
    yield None
    yield None


def bad_detail(c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
    yield Complete(b"")
    yield ErrorAnswer(b"", c.password.reveal())  # type: ignore[arg-type]


def no_generator(c: sasl.Password, _: sasl.Options) -> Any:
    return c.password.reveal()


@pytest.mark.parametrize(
    ("script", "text"),
    [
        (crash_before, "failed with ValueError"),
        (unusable, "not this password"),
        (too_long, "more than 3 characters"),
        (empty, "nothing to say"),
        (garbage, "sent str where octets belong"),
        (garbage_complete, "sent str where octets belong"),
        (empty_complete, "sent NoneType where octets belong"),
        (empty_harmless, "sent NoneType where octets belong"),
        (empty_error_answer, "sent NoneType where octets belong"),
        (no_generator, "failed with AttributeError"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_goes_wrong_before_the_first_challenge_is_a_usage_error(
    client: Client, leaks: Leaks, script: Any, text: str
) -> None:
    exchange = client(script)
    with pytest.raises(sasl.UsageError, match=text) as caught:
        exchange.start()
    assert (exchange.state, caught.value.mechanism) == (State.FAILED, "X-TEST")
    assert leaks(caught.value) == []
    assert exchange.fail("no") is caught.value


@pytest.mark.parametrize(
    ("script", "text"),
    [
        (crash_after, "failed with ValueError"),
        (crash_server_first, "failed with UnicodeEncodeError"),
        (chained, "cannot be encoded"),
        (late_garbage, "sent str where octets belong"),
        (late_silence, "sent NoneType where octets belong"),
        (bad_detail, "failed with AttributeError"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_goes_wrong_later_is_a_protocol_error(client: Client, leaks: Leaks, script: Any, text: str) -> None:
    exchange = client(script)
    exchange.start()
    with pytest.raises(sasl.ProtocolError, match=text) as caught:
        exchange.respond(b"challenge")
    assert (exchange.state, caught.value.mechanism) == (State.FAILED, "X-TEST")
    assert leaks(caught.value) == []


@pytest.mark.parametrize("script", [crash_after, late_garbage], ids=lambda script: script.__name__)
def test_what_goes_wrong_with_the_success_data_is_not_a_login(client: Client, leaks: Leaks, script: Any) -> None:
    exchange = client(script)
    exchange.start()
    with pytest.raises(sasl.ProtocolError) as caught:
        exchange.succeed(b"data")
    assert exchange.state is State.FAILED
    assert leaks(caught.value) == []


def test_a_usage_error_of_a_script_stays_one_after_the_first_challenge(client: Client, leaks: Leaks) -> None:
    def late(c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
        yield None
        password = c.password.reveal()
        raise sasl.UsageError(f"a password of {len(password)} characters does not do")

    exchange = client(late)
    exchange.start()
    with pytest.raises(sasl.UsageError, match="does not do") as caught:
        exchange.respond(b"")
    assert leaks(caught.value) == []


@pytest.mark.parametrize("challenge", [b"", b"challenge"])
def test_an_error_of_the_exchange_does_not_carry_the_initial_response(
    client: Client, leaks: Leaks, challenge: bytes
) -> None:
    for deferred in (False, True):
        exchange = client(one_message)
        exchange.start()
        if deferred:
            exchange.defer()
            exchange.respond(b"")
        with pytest.raises(sasl.ProtocolError) as caught:
            exchange.respond(challenge)
        assert leaks(caught.value) == []


def test_a_script_that_objects_to_its_end_is_ended_all_the_same(client: Client) -> None:
    def stubborn(c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
        try:
            yield Complete(b"")
        except GeneratorExit:
            yield b"not yet"

    def loud(c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
        try:
            yield Complete(b"")
        finally:
            raise ValueError(c.password.reveal())

    for script in (stubborn, loud):
        failed = client(script)
        failed.start()
        assert isinstance(failed.fail("no"), sasl.AuthenticationFailed)
        done = client(script)
        done.start()
        done.succeed()
        assert done.state is State.DONE


def test_an_error_of_a_script_keeps_what_it_tells(client: Client) -> None:
    def telling(c: sasl.Password, _: sasl.Options) -> sasl.ClientSteps:
        yield b"hello"
        raise sasl.ProtocolError("no", detail={"e": "invalid-proof"}, server_text="e=invalid-proof")

    exchange = client(telling)
    exchange.start()
    with pytest.raises(sasl.ProtocolError) as caught:
        exchange.respond(b"x")
    assert (caught.value.detail, caught.value.server_text) == ({"e": "invalid-proof"}, "e=invalid-proof")


# --- nothing of the credential stays behind


ENDINGS: dict[str, Callable[[sasl.ClientExchange], object]] = {
    "succeed": lambda exchange: exchange.succeed(),
    "fail": lambda exchange: exchange.fail(),
    "cancel": lambda exchange: exchange.cancel(),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("deferred", [False, True])
def test_an_exchange_that_is_over_holds_no_credential(
    client: Client, ending: str, deferred: bool, secret: str, reachable: Callable[[object], list[object]]
) -> None:
    exchange = client(one_message)
    exchange.start()
    if deferred:
        exchange.defer()
    assert any(isinstance(each, sasl.Secret) for each in reachable(exchange))
    if deferred and ending == "succeed":
        exchange.respond(b"")
    ENDINGS[ending](exchange)
    held = reachable(exchange)
    assert not any(isinstance(each, sasl.Secret) for each in held)
    assert not any(isinstance(each, str | bytes) and secret in str(each) for each in held)


def test_the_credential_can_be_had_until_the_end_by_whoever_takes_it_out_of_what_a_server_says(
    client: Client, secret: str
) -> None:
    exchange = client(one_message)
    assert exchange.secret == secret
    exchange.start()
    assert exchange.secret == secret
    exchange.fail()
    assert exchange.secret is None


def test_no_repr_of_an_exchange_shows_the_credential(client: Client, secret: str) -> None:
    exchange = client(explained)
    shown = [repr(exchange)]
    exchange.start()
    shown.append(repr(exchange))
    exchange.respond(b"401")
    shown.append(f"{exchange} {exchange!r}")
    exchange.fail()
    shown.append(repr(exchange))
    assert shown[0] == "<ClientExchange X-TEST new>"
    assert not [text for text in shown if secret in text]
    with pytest.raises(TypeError):
        vars(exchange)


# --- what has left


@pytest.mark.parametrize(
    ("steps", "revealed"),
    [
        ([None, b"proof"], [False, True]),
        ([sasl.Harmless(b"name"), b"proof"], [False, True]),
        ([sasl.Harmless(b"name"), sasl.Harmless(b"more"), sasl.Complete(b"")], [False, False, True]),
        ([sasl.Complete(b"secret")], [True]),
        ([b"", sasl.Complete(b"")], [True, True]),
        ([sasl.Harmless(b"name"), sasl.ErrorAnswer(b"")], [False, False]),
    ],
)
def test_an_exchange_tells_whether_something_revealing_has_left(
    client: Client, steps: list[Any], revealed: list[bool]
) -> None:
    def script(*_: object) -> Any:
        for step in steps:  # noqa: UP028 -- a list takes no answers
            yield step

    exchange = client(script)
    assert exchange.revealed is False
    exchange.start()
    seen = [exchange.revealed]
    for _ in steps[1:]:
        exchange.respond(b"challenge")
        seen.append(exchange.revealed)

    assert seen == revealed
    exchange.cancel()
    assert exchange.revealed is revealed[-1]


def test_a_deferred_response_has_not_left(client: Client) -> None:
    def script(*_: object) -> Any:
        yield sasl.Complete(b"secret")

    cancelled, sent = client(script), client(script)
    for exchange in (cancelled, sent):
        exchange.start()
        exchange.defer()
        assert exchange.revealed is False

    cancelled.fail("no such mechanism", kind="unsupported")
    assert cancelled.revealed is False
    assert sent.respond(b"") == b"secret"
    assert sent.revealed is True


def test_a_yes_to_a_harmless_message_is_not_a_login(client: Client) -> None:
    def script(*_: object) -> Any:
        yield sasl.Harmless(b"name")

    exchange = client(script)
    exchange.start()

    with pytest.raises(sasl.ServerNotProven, match="before the exchange was complete"):
        exchange.succeed()
    assert repr(sasl.Harmless(b"name")) == "Harmless(<4 octets>)"
