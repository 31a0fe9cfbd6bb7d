"""When another mechanism may follow a no: each row of the table in docs/decisions/0006, at scripted servers.

Each login is driven twice: by calls, and by calls that are awaited.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import logging
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters.binding import log_in, login_steps, perform, perform_async
from sasl.adapters.binding import log_in_async as log_in_async_by
from sasl.adapters.binding.fallback import Course
from sasl.adapters.binding.memory import MEMORY, Attempt, Memory, wait_for, wait_for_async
from sasl.value import replace

from ..support.leaks import seen, shown_by
from ..support.protocols import PROTOCOLS, b64
from .conftest import CLOSE, HANG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..support.protocols import Protocol, Turn
    from .conftest import Server, Stage

PASSWORD = sasl.Password("alice", "wonderland")
PLAIN = b"\0alice\0wonderland"
NAMES = ("SCRAM-SHA-256", "PLAIN")


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    MEMORY.forget()
    yield
    MEMORY.forget()


def library_of(protocol: Protocol) -> Any:
    """The library as our binding describes it, with one port for all servers: by it the memory knows an account."""
    library = protocol.binding.LIBRARY
    return replace(library, channel=lambda conn: replace(library.channel(conn), host="mail.example", port=993))


def log_in_sync(protocol: Protocol, conn: Any, credentials: Any = PASSWORD, **options: Any) -> Any:
    return log_in(library_of(protocol), conn, credentials, **options)


def log_in_async(protocol: Protocol, conn: Any, credentials: Any = PASSWORD, **options: Any) -> Any:
    """Log in as a binding of an asynchronous library would: every call is awaited, none blocks the loop."""
    return asyncio.run(steps_async(protocol, conn, credentials, **options))


async def steps_async(protocol: Protocol, conn: Any, credentials: Any = PASSWORD, **options: Any) -> Any:
    library = library_of(protocol)

    def later(call: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: asyncio.to_thread(call, *args)

    def dialogue(conn: Any) -> Any:
        made = library.dialogue(conn)
        made.readline, made.close, made._send = later(made.readline), later(made.close), later(made._send)
        return made

    def offer(conn: Any, _dialogue: Any) -> Any:
        return asyncio.to_thread(library.offer, conn, library.dialogue(conn))  # poplib's asks by it for CAPA

    bound = replace(library, dialogue=dialogue, offer=offer, finish=later(library.finish))
    return await log_in_async_by(bound, conn, credentials, **options)


@pytest.fixture(params=[log_in_sync, log_in_async], ids=["sync", "async"])
def drive(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return request.param


def line_of(protocol: Protocol, mechanism: str) -> bytes | None:
    """The command line of a mechanism; None for SCRAM, whose nonce nobody knows."""
    return protocol.command("PLAIN", PLAIN) if mechanism == "PLAIN" else None


def refusals(*replies: tuple[str, str]) -> list[Any]:
    return [pytest.param(PROTOCOLS[name], line.encode() + b"\r\n", id=f"{name}-{line}") for name, line in replies]


GO_ON = refusals(
    ("imap", "{tag} NO [AUTHENTICATIONFAILED] Authentication failed."),
    ("imap", "{tag} NO bad protocol / cancel"),
    ("imap", "{tag} NO [CANNOT] Unsupported authentication mechanism"),
    ("imap", "{tag} BAD command unknown"),
    ("pop", "-ERR [AUTH] Authentication failed."),
    ("pop", "-ERR unsupported mechanism"),
    ("smtp", "535 5.7.8 Authentication failed."),
    ("smtp", "504 5.5.4 Unrecognized authentication type"),
    ("smtp", "500 5.5.1 Command unrecognized"),
    ("smtp", "501 5.5.2 Syntax error"),
    ("smtp", "553 5.3.0 Auth failure"),
)
TEMPORARY = refusals(
    ("imap", "{tag} NO [UNAVAILABLE] Temporary authentication failure."),
    ("imap", "{tag} NO [LIMIT] Too many"),
    ("imap", "{tag} NO [INUSE] Mailbox in use"),
    ("imap", "{tag} NO [OVERQUOTA] Too much"),
    ("imap", "{tag} NO [ALERT] Too many simultaneous connections. (Failure)"),
    ("pop", "-ERR [SYS/TEMP] Temporary authentication failure."),
    ("pop", "-ERR [IN-USE] Mailbox in use"),
    ("pop", "-ERR [LOGIN-DELAY] Wait"),
    ("smtp", "454 4.7.0 Temporary authentication failure"),
    ("smtp", "432 4.3.2 Concurrent connections limit exceeded"),
    ("smtp", "421 4.7.0 Try again later, closing connection."),
)
OWN_KIND = [
    pytest.param(PROTOCOLS[name], line.encode() + b"\r\n", kind, id=f"{name}-{line}")
    for name, line, kind in (
        ("imap", "{tag} NO [EXPIRED] Password expired", "expired"),
        ("imap", "{tag} NO [CONTACTADMIN] Ask", "disabled"),
        ("imap", "{tag} NO [AUTHORIZATIONFAILED] No", "authorization"),
        ("imap", "{tag} NO [PRIVACYREQUIRED] Begin TLS", "policy"),
        ("smtp", "525 5.7.13 Account disabled", "disabled"),
        ("smtp", "530 5.7.0 Must issue a STARTTLS command first", "policy"),
        ("smtp", "534 5.7.9 Application-specific password required", "policy"),
        ("smtp", "538 5.7.11 Encryption required", "policy"),
        ("smtp", "503 5.5.1 Already authenticated", "state"),
    )
]


def heard(server: Server) -> list[bytes]:
    return [line for line in server.received if b"CAPA" not in line and not line.startswith(b"ehlo")]


def count_secret(server: Server) -> int:
    return sum(b64(PLAIN) in line or b64("wonderland") in line or b"wonderland" in line for line in server.received)


@pytest.mark.parametrize(("protocol", "reply"), GO_ON)
def test_a_login_goes_on_after_a_no_that_saw_no_password(
    stage: Stage, drive: Callable[..., Any], protocol: Protocol, reply: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sasl")
    choices: list[sasl.Choice] = []
    turns = [*protocol.offer(*NAMES), (None, reply), (line_of(protocol, "PLAIN"), protocol.yes)]
    conn, server = stage.play(protocol, turns)

    assert drive(protocol, conn, watch=lambda choice, _wire: choices.append(choice)) == protocol.returned

    assert count_secret(server) == 1
    assert [(choice.name, choice.fallback) for choice in choices] == [
        ("SCRAM-SHA-256", None),
        ("PLAIN", "SCRAM-SHA-256"),
    ]
    assert choices[1].passed_over["SCRAM-SHA-256"].startswith("the server refused SCRAM-SHA-256")
    assert "refused the mechanism SCRAM-SHA-256" in caplog.text


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=list(PROTOCOLS))
def test_the_next_login_begins_with_what_worked(stage: Stage, drive: Callable[..., Any], protocol: Protocol) -> None:
    turns = [*protocol.offer(*NAMES), (None, protocol.no), (None, protocol.yes)]
    drive(protocol, stage.play(protocol, turns)[0])
    conn, server = stage.play(protocol, [*protocol.offer(*NAMES), (line_of(protocol, "PLAIN"), protocol.yes)])

    drive(protocol, conn)

    assert len(heard(server)) == 1


@pytest.mark.parametrize(("protocol", "reply"), TEMPORARY)
def test_not_now_is_no_reason_to_go_on(
    stage: Stage, drive: Callable[..., Any], protocol: Protocol, reply: bytes
) -> None:
    conn, server = stage.play(protocol, [*protocol.offer(*NAMES), (None, reply)])

    with pytest.raises(sasl.TemporaryFailure) as caught:
        drive(protocol, conn)

    assert (caught.value.kind, count_secret(server), len(heard(server))) == ("unavailable", 0, 1)
    assert_nothing_was_learned()


@pytest.mark.parametrize(("protocol", "reply", "kind"), OWN_KIND)
def test_a_no_about_the_account_or_tls_is_that(
    stage: Stage, drive: Callable[..., Any], protocol: Protocol, reply: bytes, kind: str
) -> None:
    conn, server = stage.play(protocol, [*protocol.offer(*NAMES), (None, reply)])

    with pytest.raises(sasl.AuthenticationFailed) as caught:
        drive(protocol, conn)

    assert (caught.value.kind, count_secret(server), len(heard(server))) == (kind, 0, 1)
    assert_nothing_was_learned()


@pytest.mark.parametrize("code", ["REFERRAL imap://mail2.example/", "ALERT", "WEBALERT https://mail.example/unlock"])
def test_what_the_server_wants_read_is_not_gone_over(stage: Stage, drive: Callable[..., Any], code: str) -> None:
    imap = PROTOCOLS["imap"]
    turns = [*imap.offer(*NAMES), (None, b"{tag} NO [%s] Look there\r\n" % code.encode())]
    conn, server = stage.play(imap, turns)

    with pytest.raises(sasl.AuthenticationFailed):
        drive(imap, conn)

    assert (count_secret(server), len(heard(server))) == (0, 1)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=list(PROTOCOLS))
@pytest.mark.parametrize(
    "error", ["unknown-user", "invalid-username-encoding", "other-error", "extensions-not-supported"]
)
def test_an_error_of_scram_is_answered_and_the_login_goes_on(
    stage: Stage, drive: Callable[..., Any], protocol: Protocol, error: str
) -> None:
    turns = [
        *protocol.offer(*NAMES),
        (None, protocol.challenge(b"e=" + error.encode())),
        (b"", protocol.no),
        (line_of(protocol, "PLAIN"), protocol.yes),
    ]
    conn, server = stage.play(protocol, turns)

    assert drive(protocol, conn) == protocol.returned
    assert count_secret(server) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=list(PROTOCOLS))
@pytest.mark.parametrize(
    ("error", "kind"), [("no-resources", "unavailable"), ("channel-bindings-dont-match", "policy")]
)
def test_an_error_of_scram_that_is_not_about_the_user_ends_the_login(
    stage: Stage, drive: Callable[..., Any], protocol: Protocol, error: str, kind: str
) -> None:
    turns = [*protocol.offer(*NAMES), (None, protocol.challenge(b"e=" + error.encode())), (b"", protocol.no)]
    conn, server = stage.play(protocol, turns)

    with pytest.raises(sasl.SASLError) as caught:
        drive(protocol, conn)

    assert (caught.value.kind, count_secret(server)) == (kind, 0)
    assert_nothing_was_learned()


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=list(PROTOCOLS))
def test_a_server_first_message_that_is_refused_here_ends_the_login(
    stage: Stage, drive: Callable[..., Any], protocol: Protocol
) -> None:
    turns = [*protocol.offer(*NAMES), (None, protocol.challenge(b"r=x,s=eA==,i=1")), (b"*", protocol.cancelled)]
    conn, server = stage.play(protocol, turns)

    with pytest.raises(sasl.ProtocolError):
        drive(protocol, conn)

    assert count_secret(server) == 0
    assert_nothing_was_learned()


@pytest.mark.parametrize("ending", ["bye", "end", "silence"])
def test_a_refusal_before_a_hang_up_is_left_to_the_next_connection(
    stage: Stage, drive: Callable[..., Any], ending: str
) -> None:
    imap = PROTOCOLS["imap"]
    after = {"bye": [b"* BYE Closing\r\n", CLOSE], "end": [CLOSE], "silence": [HANG]}[ending]
    no = b"* NO [AUTHENTICATIONFAILED] Authentication failed.\r\n"
    conn, server = stage.play(imap, [*imap.offer(*NAMES), (None, [no, *after])])
    options = {"timeout": 0.5} if ending == "silence" else {}

    with pytest.raises(sasl.AuthenticationFailed) as caught:
        drive(imap, conn, **options)

    assert (caught.value.kind, imap.is_closed(conn), count_secret(server)) == ("unsupported", True, 0)
    conn, server = stage.play(imap, [*imap.offer(*NAMES), (line_of(imap, "PLAIN"), imap.yes)])
    assert drive(imap, conn) == imap.returned


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=list(PROTOCOLS))
@pytest.mark.parametrize("ending", ["end", "silence"])
def test_an_end_without_a_no_is_a_lost_connection(
    stage: Stage, drive: Callable[..., Any], protocol: Protocol, ending: str
) -> None:
    conn, server = stage.play(protocol, [*protocol.offer(*NAMES), (None, CLOSE if ending == "end" else HANG)])

    with pytest.raises(sasl.ConnectionLost):
        drive(protocol, conn, timeout=0.5)

    assert count_secret(server) == 0
    assert_nothing_was_learned()


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=list(PROTOCOLS))
def test_a_yes_before_any_proof_is_no_login(stage: Stage, drive: Callable[..., Any], protocol: Protocol) -> None:
    conn, server = stage.play(protocol, [*protocol.offer(*NAMES), (None, protocol.yes)])

    with pytest.raises(sasl.ServerNotProven):
        drive(protocol, conn)

    assert (protocol.is_closed(conn), count_secret(server)) == (True, 0)


@pytest.mark.parametrize(
    ("name", "reply", "following"),
    [
        ("imap", b"{tag} BAD Unknown authentication mechanism\r\n", None),
        ("smtp", b"504 5.5.4 Unrecognized authentication type\r\n", b"AUTH LOGIN"),
        ("pop", b"-ERR Unknown authentication mechanism\r\n", b"USER alice"),
    ],
)
def test_who_has_the_password_already_and_does_not_know_the_mechanism_gets_it_once_more(
    stage: Stage, drive: Callable[..., Any], name: str, reply: bytes, following: bytes | None
) -> None:
    protocol = PROTOCOLS[name]
    rest: dict[str, list[Turn]] = {
        "imap": [(None, protocol.yes)],
        "smtp": [(following, protocol.challenge(b"Username:")), (b64("alice"), protocol.challenge(b"Password:"))],
        "pop": [(following, b"+OK\r\n"), (b"PASS wonderland", protocol.yes)],
    }
    if name == "smtp":
        rest["smtp"].append((b64("wonderland"), protocol.yes))
    offered = ("PLAIN", "LOGIN") if name == "smtp" else ("PLAIN",)
    conn, server = stage.play(protocol, [*protocol.offer(*offered), (line_of(protocol, "PLAIN"), reply), *rest[name]])

    assert drive(protocol, conn) == protocol.returned
    assert count_secret(server) == 2


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=list(PROTOCOLS))
def test_a_refused_password_is_not_sent_again(stage: Stage, drive: Callable[..., Any], protocol: Protocol) -> None:
    conn, server = stage.play(protocol, [*protocol.offer("PLAIN", "LOGIN"), (line_of(protocol, "PLAIN"), protocol.no)])

    with pytest.raises(sasl.AuthenticationFailed) as caught:
        drive(protocol, conn)

    assert (caught.value.kind, count_secret(server)) == ("credentials", 1)
    assert_nothing_was_learned()


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=list(PROTOCOLS))
def test_the_second_no_is_the_error_and_names_the_first(
    stage: Stage, drive: Callable[..., Any], protocol: Protocol
) -> None:
    names = (*NAMES, "LOGIN")
    turns = [*protocol.offer(*names), (None, protocol.no), (line_of(protocol, "PLAIN"), protocol.no)]
    conn, server = stage.play(protocol, turns)

    with pytest.raises(sasl.AuthenticationFailed) as caught:
        drive(protocol, conn)

    assert (caught.value.mechanism, caught.value.kind) == ("PLAIN", "credentials")
    assert set(caught.value.passed_over) == {"SCRAM-SHA-256"}
    assert isinstance(caught.value, protocol.refused)
    assert count_secret(server) == 1
    assert_nothing_was_learned()


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=list(PROTOCOLS))
@pytest.mark.parametrize(
    "options",
    [
        {"mechanism": "SCRAM-SHA-256"},
        {"policy": sasl.Policy(fallback=False)},
        {"policy": sasl.Policy(pin="SCRAM-SHA-256")},
        {"policy": sasl.Policy(pin="SCRAM-SHA-1")},
    ],
    ids=str,
)
def test_who_wants_one_mechanism_gets_no_other(
    stage: Stage, drive: Callable[..., Any], protocol: Protocol, options: dict[str, Any]
) -> None:
    conn, server = stage.play(protocol, [*protocol.offer(*NAMES), (None, protocol.no)])

    with pytest.raises(sasl.AuthenticationFailed) as caught:
        drive(protocol, conn, **options)

    assert (caught.value.kind, count_secret(server), len(heard(server))) == ("unsupported", 0, 1)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=list(PROTOCOLS))
def test_without_tls_nothing_follows(stage: Stage, drive: Callable[..., Any], protocol: Protocol) -> None:
    conn, server = stage.play(protocol, [*protocol.offer(*NAMES), (None, protocol.no)], tls=False)

    with pytest.raises(sasl.AuthenticationFailed) as caught:
        drive(protocol, conn, policy=sasl.Policy(plaintext="always"))

    assert (caught.value.kind, count_secret(server)) == ("unsupported", 0)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=list(PROTOCOLS))
def test_no_other_hash_of_the_same_family_follows(stage: Stage, drive: Callable[..., Any], protocol: Protocol) -> None:
    turns = [
        *protocol.offer("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"),
        (None, protocol.no),
        (line_of(protocol, "PLAIN"), protocol.yes),
    ]
    assert drive(protocol, stage.play(protocol, turns)[0]) == protocol.returned


# --- channel binding


def log_in_bound(drive: Callable[..., Any], protocol: Protocol, conn: Any, **options: Any) -> Any:
    """Log in on a connection that has the default channel binding of its TLS version."""
    library = protocol.binding.LIBRARY

    def bound(conn: Any) -> Any:
        return replace(library.channel(conn), tls_version="TLSv1.3", bindings={"tls-exporter": b"x" * 32})

    with_bindings = dataclasses.replace(protocol, binding=_Module(protocol.binding, replace(library, channel=bound)))
    return drive(with_bindings, conn, **options)


class _Module:
    def __init__(self, module: Any, library: Any) -> None:
        self._module = module
        self.LIBRARY = library

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def flags(server: Server) -> list[bytes]:
    """The beginnings of what SCRAM sent."""
    words = [line.split(b" ")[-1] for line in heard(server)]
    return [base64.b64decode(word).partition(b",")[0] for word in words if word.startswith((b"cD", b"bi", b"eS"))]


@pytest.mark.parametrize("name", ["imap", "smtp"])
def test_binding_unasked_that_is_refused_without_a_word_is_followed_by_the_twin(
    stage: Stage, drive: Callable[..., Any], name: str
) -> None:
    protocol = PROTOCOLS[name]
    turns = [
        *protocol.offer("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN"),
        (None, protocol.no),
        (None, protocol.no),
        (line_of(protocol, "PLAIN"), protocol.yes),
    ]
    conn, server = stage.play(protocol, turns)

    assert log_in_bound(drive, protocol, conn) == protocol.returned
    assert flags(server) == [b"p=tls-exporter", b"n"]
    assert count_secret(server) == 1


@pytest.mark.parametrize(
    "options", [{"policy": sasl.Policy(channel_binding="require")}, {"mechanism": "SCRAM-SHA-256-PLUS"}], ids=str
)
def test_binding_that_was_asked_for_is_followed_by_nothing(
    stage: Stage, drive: Callable[..., Any], options: dict[str, Any]
) -> None:
    imap = PROTOCOLS["imap"]
    conn, server = stage.play(imap, [*imap.offer("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN"), (None, imap.no)])

    with pytest.raises(sasl.AuthenticationFailed):
        log_in_bound(drive, imap, conn, **options)

    assert len(heard(server)) == 1


def test_a_pin_of_channel_binding_is_named_where_the_server_refuses_it(stage: Stage, drive: Callable[..., Any]) -> None:
    imap = PROTOCOLS["imap"]
    conn, _ = stage.play(imap, [*imap.offer("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN"), (None, imap.no)])

    with pytest.raises(sasl.AuthenticationFailed, match="pinned to SCRAM-SHA-256-PLUS") as caught:
        log_in_bound(drive, imap, conn, policy=sasl.Policy(pin="SCRAM-SHA-256-PLUS"))

    assert caught.value.kind == "policy"


# --- what a provider is known to want


def test_a_provider_may_be_known_to_want_a_command_first(stage: Stage, drive: Callable[..., Any]) -> None:
    imap = PROTOCOLS["imap"]
    library = imap.binding.LIBRARY
    at_apple = replace(library, channel=lambda conn: replace(library.channel(conn), host="imap.mail.me.com"))
    protocol = dataclasses.replace(imap, binding=_Module(imap.binding, at_apple))
    for policy, offered in ((None, "PLAIN"), (sasl.Policy(pin="SCRAM-SHA-1"), "SCRAM-SHA-1")):
        conn, server = stage.play(imap, [*imap.offer(offered), (None, imap.no)])
        with pytest.raises(sasl.AuthenticationFailed) as caught:
            _log_in_there(drive, protocol, conn, policy)
        assert caught.value.mechanism == ("IMAP-LOGIN" if policy is None else "SCRAM-SHA-1")
        assert len(heard(server)) == 1


def _log_in_there(drive: Callable[..., Any], protocol: Protocol, conn: Any, policy: sasl.Policy | None) -> Any:
    if drive is log_in_sync:
        return log_in(protocol.binding.LIBRARY, conn, PASSWORD, policy=policy)
    return asyncio.run(perform_async(login_steps(protocol.binding.LIBRARY, conn, PASSWORD, policy=policy)))


# --- the memory


def assert_nothing_was_learned() -> None:
    assert MEMORY._learned == {}


def test_the_memory_lasts_for_a_day_and_is_bounded() -> None:
    now = [0.0]
    memory = Memory(clock=lambda: now[0], most=2)
    memory.leave("one", None, frozenset({"SCRAM"}))
    memory.leave("two", None, frozenset())
    assert memory.enter("one") == memory.recall("one") == {"SCRAM"}
    assert (memory.enter("two"), memory.enter("three")) == (frozenset(), [])
    memory.leave("three", None, frozenset())
    assert memory.enter("one") == []
    now[0] = 86_399.0
    assert memory.enter("two") == frozenset()
    now[0] = 86_400.0
    assert memory.enter("two") == []


def test_logins_that_never_end_are_bounded_too() -> None:
    memory = Memory(most=2)
    assert [memory.enter(name) for name in "abc"] == [[], [], []]
    assert isinstance(memory.enter("c"), Attempt)
    assert memory.enter("a") == []


def test_one_attempt_is_made_and_the_others_wait_for_it() -> None:
    memory = Memory()
    turn = memory.enter("alice")
    attempt = memory.enter("alice")
    assert isinstance(turn, list)
    assert isinstance(attempt, Attempt)
    waiting = threading.Thread(target=wait_for, args=[attempt])
    waiting.start()
    memory.leave("alice", None, None)  # of another login that was not the first
    assert isinstance(memory.enter("alice"), Attempt)
    memory.leave("alice", turn, None)
    waiting.join(5)
    assert not waiting.is_alive()
    wait_for(attempt)  # which is over
    assert memory.recall("alice") is None
    assert memory.enter("alice") == []


def test_an_attempt_that_takes_too_long_is_not_waited_for_again() -> None:
    now = [0.0]
    memory = Memory(clock=lambda: now[0])
    slow = memory.enter("alice")
    now[0] = 31.0
    assert memory.enter("alice") == []
    assert isinstance(slow, list)
    memory.leave("alice", slow, None)
    assert isinstance(memory.enter("alice"), Attempt)


def test_nobody_waits_longer_than_there_is_time() -> None:
    memory = Memory()
    memory.enter("alice")
    attempt = memory.enter("alice")
    assert isinstance(attempt, Attempt)
    wait_for(attempt, 0.01)
    asyncio.run(wait_for_async(attempt, 0.01))


def test_a_loop_that_is_closed_is_not_woken() -> None:
    memory = Memory()
    turn = memory.enter("alice")
    attempt = memory.enter("alice")
    assert isinstance(turn, list)
    assert isinstance(attempt, Attempt)
    asyncio.run(wait_for_async(attempt, 0.01))
    memory.leave("alice", turn, frozenset())
    assert memory.recall("alice") == frozenset()


def test_a_login_that_waits_keeps_to_its_time(stage: Stage) -> None:
    imap = PROTOCOLS["imap"]
    library = library_of(imap)
    conn, _ = stage.play(imap, [*imap.offer(*NAMES), (None, imap.no), (None, imap.yes)])
    channel = library.channel(conn)
    memory = Memory()
    memory.enter((channel.service, channel.host, channel.port, "alice", True))
    begun = time.monotonic()
    assert perform(login_steps(library, conn, PASSWORD, timeout=1.0, memory=memory)) == imap.returned
    assert time.monotonic() - begun < 5


def test_what_a_connection_without_a_checked_certificate_said_is_not_believed_of_another() -> None:
    imap = PROTOCOLS["imap"]
    choose = sasl.choose
    channel = sasl.Channel(tls=True, service="imap", host="mail.example", port=993)
    accounts = {
        Course(partial(choose, NAMES), PASSWORD, sasl.Policy(), channel, mechanism=None, checked=checked).account
        for checked in (True, False)
    }
    assert len(accounts) == 2
    assert imap.name == "imap"


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=list(PROTOCOLS))
def test_what_the_first_mechanism_sent_is_hidden_in_what_is_said_to_the_second(
    stage: Stage, drive: Callable[..., Any], protocol: Protocol, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "sasl")
    unknown = {"imap": b"{tag} BAD Unknown", "pop": b"-ERR Unknown", "smtp": b"504 5.5.4 Unknown"}[protocol.name]
    echo = {"imap": b"{tag} NO ", "pop": b"-ERR ", "smtp": b"535 5.7.8 "}[protocol.name] + b64(PLAIN) + b"\r\n"
    prompt = [protocol.challenge(b"Username:"), protocol.challenge(b"Password:")]
    offered = ("PLAIN", "LOGIN")
    turns = [
        *protocol.offer(*offered),
        (None, unknown + b" authentication mechanism\r\n"),
        (b"{tag} AUTHENTICATE LOGIN" if protocol.name == "imap" else b"AUTH LOGIN", prompt[0]),
        (None, prompt[1]),
        (None, echo),
    ]
    conn, _ = stage.play(protocol, turns)

    with pytest.raises(sasl.AuthenticationFailed) as caught:
        drive(protocol, conn)

    shown = [caplog.text, *shown_by(caught.value), str(vars(caught.value))]
    assert seen(shown, b64(PLAIN).decode(), "wonderland") == []


def test_each_command_of_imap_has_a_tag_of_its_own(stage: Stage, drive: Callable[..., Any]) -> None:
    """So that a second reply to the first command is none to the second."""
    imap = PROTOCOLS["imap"]
    early = [imap.no, b"{tag} OK early\r\n"]
    conn, server = stage.play(imap, [*imap.offer(*NAMES), (None, early), (None, imap.no)])

    with pytest.raises(sasl.ProtocolError):
        drive(imap, conn)

    assert len({line.split()[0] for line in heard(server)}) == len(heard(server))


def test_a_pin_that_stops_a_login_is_named(stage: Stage, drive: Callable[..., Any]) -> None:
    imap = PROTOCOLS["imap"]
    conn, _ = stage.play(imap, [*imap.offer(*NAMES), (None, imap.no)])

    with pytest.raises(sasl.AuthenticationFailed, match="pinned to SCRAM-SHA-256") as caught:
        drive(imap, conn, policy=sasl.Policy(pin="SCRAM-SHA-256"))

    assert caught.value.kind == "unsupported"


def test_of_threads_that_begin_together_one_tries(stage: Stage) -> None:
    imap = PROTOCOLS["imap"]
    seen = threading.Event()

    def watch(choice: sasl.Choice, _wire: object) -> None:
        if choice.name != "PLAIN":
            seen.set()
            started.wait(5)

    started = threading.Event()
    first, _ = stage.play(imap, [*imap.offer(*NAMES), (None, imap.no), (None, imap.yes)])
    others = [stage.play(imap, [*imap.offer(*NAMES), (line_of(imap, "PLAIN"), imap.yes)])[0] for _ in range(3)]
    results: list[object] = []
    threads = [
        threading.Thread(target=lambda conn=conn: results.append(log_in_sync(imap, conn, watch=watch)))
        for conn in [first, *others]
    ]
    threads[0].start()
    assert seen.wait(5)
    for thread in threads[1:]:
        thread.start()
    started.set()
    for thread in threads:
        thread.join(10)
    assert results == [imap.returned] * 4


def test_of_tasks_that_begin_together_one_tries(stage: Stage) -> None:
    imap = PROTOCOLS["imap"]
    first, _ = stage.play(imap, [*imap.offer(*NAMES), (None, imap.no), (None, imap.yes)])
    others = [stage.play(imap, [*imap.offer(*NAMES), (line_of(imap, "PLAIN"), imap.yes)])[0] for _ in range(3)]

    async def go() -> list[object]:
        begun = asyncio.Event()

        def watch(_choice: object, _wire: object) -> None:
            begun.set()

        one = asyncio.create_task(steps_async(imap, first, watch=watch))
        await begun.wait()
        return list(await asyncio.gather(one, *(steps_async(imap, conn) for conn in others)))

    assert asyncio.run(go()) == [imap.returned] * 4


def test_a_memory_that_leaves_nothing_is_not_followed(stage: Stage, drive: Callable[..., Any]) -> None:
    """The server has changed: what was refused yesterday is all that it offers today."""
    imap = PROTOCOLS["imap"]
    drive(imap, stage.play(imap, [*imap.offer(*NAMES), (None, imap.no), (None, imap.yes)])[0])
    conn, server = stage.play(imap, [*imap.offer("SCRAM-SHA-256", extra=("SASL-IR", "LOGINDISABLED")), (None, imap.no)])

    with pytest.raises(sasl.AuthenticationFailed):
        drive(imap, conn)

    assert len(heard(server)) == 1


def test_what_is_remembered_binds_nobody_who_names_a_mechanism(stage: Stage, drive: Callable[..., Any]) -> None:
    imap = PROTOCOLS["imap"]
    drive(imap, stage.play(imap, [*imap.offer(*NAMES), (None, imap.no), (None, imap.yes)])[0])
    conn, _ = stage.play(imap, [*imap.offer(*NAMES), (None, imap.no)])

    with pytest.raises(sasl.AuthenticationFailed) as caught:
        drive(imap, conn, mechanism="SCRAM-SHA-256")

    assert caught.value.mechanism == "SCRAM-SHA-256"


def test_who_has_not_imported_logging_is_told_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "logging")
    imap = PROTOCOLS["imap"]
    conn, _ = stage.play(imap, [*imap.offer(*NAMES), (None, imap.no), (None, imap.yes)])
    assert log_in_sync(imap, conn) == imap.returned
