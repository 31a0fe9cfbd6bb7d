"""What no single message shows: policy, state, isolation, interruptions, memory, time (corpus policy_and_state)."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import copy
import dataclasses
import gc
import hmac
import logging
import pickle
import ssl
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import trustme

import sasl
import sasl.adapters.imaplib
import sasl.adapters.wire
import sasl.mechanisms
import sasl.spec
from sasl import Bearer, Channel, Password, Policy, Secret
from sasl.adapters.cli import main
from sasl.adapters.reference import running

from ..support.leaks import chain, locals_of, reachable, seen, shown_by
from .conftest import NOBODY, OFF, PASSWORD, PROTOCOLS, TOKENS, USER, WRONG, connect, log_in
from .logins import (
    MECHANISMS,
    PASSWORDS,
    PLAINTEXT,
    TOKEN,
    begun,
    channel_for,
    client,
    credentials_for,
    derived,
    secret_of,
    server,
    steps,
    verifier,
)
from .peer import Dialogue, Peer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sasl.adapters.reference import Servers

CASES: Final = {case.id: case for case in sasl.spec.cases("policy_and_state") if case.family != "leak"}
RUN: Final[set[str]] = set()
TLS: Final = Channel(tls=True)

mechanisms = pytest.mark.parametrize("mechanism", MECHANISMS)


def runs(number: str, expect: str) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """Say which case a test runs, and what it takes for its result."""
    case = CASES[f"policy_and_state-{number}"]
    assert case.expect == expect, f"{case.id} is {case.expect}"
    RUN.add(case.id)
    return lambda test: test


def good(dialogues: dict[str, Dialogue]) -> Iterator[Dialogue]:
    """The dialogues that end in a login."""
    return (dialogue for dialogue in dialogues.values() if not dialogue.verdict)


def test_every_case_is_run() -> None:
    assert set(CASES) == RUN


# --- policy

_REFERRALS: Final = {
    "imap": (
        b"NO [REFERRAL imap://alice;AUTH=*@elsewhere.example/] Specified user is on another server",
        "imap-PLAIN-wrong",
    ),
    "smtp": (b"551 5.7.8 User not local; please try <elsewhere.example>", "smtp-PLAIN-wrong"),
    "pop": (b"-ERR [SYS/PERM] Please use pop://elsewhere.example/", "pop-PLAIN-wrong"),
}


@runs("0033", "reject")
@pytest.mark.parametrize("protocol", _REFERRALS)
def test_a_referral_to_another_host_is_a_refusal_and_is_not_followed(
    dialogues: dict[str, Dialogue], monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    said, name = _REFERRALS[protocol]
    recorded = dialogues[name]
    line, answer = recorded.turns[-1]
    answer = answer.split(b" ")[0] + b" " + said + b"\r\n" if protocol == "imap" else said + b"\r\n"
    dialogue = dataclasses.replace(recorded, turns=(*recorded.turns[:-1], (line, answer)))
    peer = Peer(dialogue)
    conn = connect(dialogue, peer)
    monkeypatch.setattr("socket.create_connection", pytest.fail)
    monkeypatch.setattr("socket.getaddrinfo", pytest.fail)
    with pytest.raises(sasl.AuthenticationFailed) as caught:
        log_in(dialogue, conn)
    assert not isinstance(caught.value, sasl.AuthorizationFailed)
    assert peer.sent.count(dialogue.sent) == 1
    PROTOCOLS[protocol].close(conn)


@runs("0034", "policy")
@pytest.mark.parametrize("mechanism", PLAINTEXT)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_credential_for_tls_is_not_sent_without_it(
    dialogues: dict[str, Dialogue], protocol: str, mechanism: str
) -> None:
    asked = []

    def source() -> str:
        asked.append(True)
        return TOKENS["good"]

    dialogue = next(dialogue for dialogue in good(dialogues) if dialogue.protocol == protocol)
    peer = Peer(dialogue)
    conn = PROTOCOLS[protocol].over(peer)
    credentials = Bearer(USER, source) if mechanism in TOKEN else Password(USER, PASSWORD)
    with pytest.raises(PROTOCOLS[protocol].error_named("PolicyViolation")):
        PROTOCOLS[protocol].binding.authenticate(conn, credentials, mechanism=mechanism)
    assert not asked
    assert b"AUTH" not in peer.sent.replace(b"AUTHENTICATE", b"AUTH")
    PROTOCOLS[protocol].close(conn)


@runs("0035", "protocol")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_certificate_for_another_host_ends_it_before_the_login(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    protocol: str,
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.example").configure_cert(context)
    monkeypatch.setenv("SECRET", PASSWORD)
    with running({USER: PASSWORD}) as servers, _certificate(context, servers, protocol) as (port, heard):
        url = f"{protocol}s://alice@127.0.0.1:{port}"
        assert main(["login", url, "--ca", str(tmp_path / "ca.pem"), "--password-env", "SECRET", "--json"]) == 76
    shown = capsys.readouterr().out
    assert '"type": "ProtocolError", "kind": "certificate"' in shown
    assert heard == []


@contextlib.contextmanager
def _certificate(context: ssl.SSLContext, servers: Servers, protocol: str) -> Iterator[tuple[int, list[bytes]]]:
    """A server under TLS that notes what it hears after the handshake."""
    import socket

    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            listening.settimeout(10)
            with contextlib.suppress(OSError):
                sock, _ = listening.accept()
                with sock, context.wrap_socket(sock, server_side=True) as secure:
                    heard.append(secure.recv(1000))

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1], heard
        thread.join(10)
        assert not thread.is_alive()


@runs("0047", "policy")
@pytest.mark.parametrize(
    ("pin", "offered", "credentials"),
    [
        ("OAUTHBEARER", ["XOAUTH2"], "XOAUTH2"),
        ("SCRAM-SHA-256", ["PLAIN"], "PLAIN"),
        ("SCRAM-SHA-256-PLUS", ["PLAIN", "LOGIN"], "PLAIN"),
    ],
)
def test_an_account_that_is_pinned_is_not_logged_in_by_something_weaker(
    pin: str, offered: list[str], credentials: str
) -> None:
    with pytest.raises(sasl.PolicyViolation, match=f"pinned|{pin}"):
        sasl.choose(offered, credentials_for(credentials), policy=Policy(pin=pin), channel=TLS)
    with pytest.raises(sasl.PolicyViolation):
        sasl.choose(offered, credentials_for(credentials), channel=Channel())


BOUND: Final = dataclasses.replace(channel_for("SCRAM-SHA-256-PLUS"), host="mail.example")
UNBOUND: Final = dataclasses.replace(BOUND, bindings={})
FROM_WEAK_TO_STRONG: Final = (*("LOGIN", "PLAIN", "CRAM-MD5", "DIGEST-MD5"), "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS")


@mechanisms
def test_a_pin_lets_the_mechanism_itself_and_stronger_ones_pass(mechanism: str) -> None:
    policy = Policy(pin=mechanism, allow=OFF)
    choice = sasl.choose(MECHANISMS, credentials_for(mechanism), policy=policy, channel=BOUND)
    assert sasl.registry.lookup(choice.name).rank >= sasl.registry.lookup(mechanism).rank


@pytest.mark.parametrize("used", FROM_WEAK_TO_STRONG)
def test_an_account_is_pinned_by_its_login_and_a_weaker_offer_is_refused_from_then_on(used: str) -> None:
    pins: dict[str, str] = {}
    policy, credentials = Policy(pins=pins, allow=OFF), credentials_for(used)
    choice = sasl.choose([used], credentials, policy=policy, channel=BOUND)
    one = sasl.client(choice.name, credentials, channel=choice.channel, limits=choice.limits)
    assert isinstance(steps(one, server(used), verifier()), sasl.Success)
    policy.remember(choice, credentials)
    pinned = used.removesuffix("-PLUS")  # which is not in reach of every connection
    assert list(pins.values()) == [pinned]
    rank = FROM_WEAK_TO_STRONG.index(pinned)
    for offered in FROM_WEAK_TO_STRONG:
        if FROM_WEAK_TO_STRONG.index(offered) >= rank:
            assert sasl.choose([offered], credentials, policy=policy, channel=BOUND).name == offered
        else:
            with pytest.raises(sasl.PolicyViolation, match=f"weaker than {pinned}, which this account is pinned to"):
                sasl.choose([offered], credentials, policy=policy, channel=BOUND)
    other = Password("bob@example.org", PASSWORD)
    assert sasl.choose(["PLAIN"], other, policy=policy, channel=BOUND).name == "PLAIN"


def test_a_man_in_the_middle_cannot_take_the_binding_from_a_pinned_account() -> None:
    """He has another certificate, or none to bind to: then there is no -PLUS, and without it there is no login."""
    for channel in (BOUND, UNBOUND):
        offered = ["SCRAM-SHA-256", "PLAIN"] + ["SCRAM-SHA-256-PLUS"] * (channel is UNBOUND)
        with pytest.raises(sasl.PolicyViolation):
            sasl.choose(offered, credentials_for("PLAIN"), policy=Policy(pin="SCRAM-SHA-256-PLUS"), channel=channel)


def test_a_plus_that_is_taken_off_the_list_is_noticed_by_the_server() -> None:
    """RFC 5802 section 6: the client says "y", which is in what both sides sign."""
    credentials = credentials_for("SCRAM-SHA-256")
    choice = sasl.choose(["SCRAM-SHA-256", "PLAIN"], credentials, channel=BOUND)
    assert choice.name == "SCRAM-SHA-256"
    one = sasl.client(choice.name, credentials, channel=choice.channel)
    event = steps(one, sasl.server(choice.name, channel=BOUND), verifier())
    assert isinstance(event, sasl.Failure)
    assert event.reason == "server-does-support-channel-binding"


def test_a_plus_that_is_bound_to_another_channel_fails() -> None:
    elsewhere = dataclasses.replace(BOUND, bindings={"tls-exporter": b"another connection"})
    one = sasl.client("SCRAM-SHA-256-PLUS", credentials_for("SCRAM-SHA-256-PLUS"), channel=elsewhere)
    event = steps(one, server("SCRAM-SHA-256-PLUS"), verifier())
    assert isinstance(event, sasl.Failure)
    assert event.reason == "channel-bindings-dont-match"


@runs("0049", "send")
def test_a_client_that_cannot_bind_says_so_although_the_server_could() -> None:
    case = CASES["policy_and_state-0049"]
    credentials = Password(case.params["user"], PASSWORD)
    offered, bindings = case.params["offered"], dict(case.params["bindings"])
    channel = dataclasses.replace(UNBOUND, bindings=bindings)
    choice = sasl.choose(offered, credentials, channel=channel)
    one = sasl.client(choice.name, credentials, channel=choice.channel, nonce=case.params["nonce"].encode())
    assert one.start() == case.output
    with pytest.raises(sasl.PolicyViolation):
        sasl.choose(offered, credentials, channel=channel, policy=Policy(channel_binding="require"))


@pytest.mark.parametrize(
    ("plus", "channel", "wish", "name", "flag"),
    [
        (True, BOUND, "prefer", "SCRAM-SHA-256-PLUS", b"p=tls-exporter"),
        (True, BOUND, "never", "SCRAM-SHA-256", b"n"),
        (True, UNBOUND, "prefer", "SCRAM-SHA-256", b"n"),
        (False, BOUND, "prefer", "SCRAM-SHA-256", b"y"),
        (False, UNBOUND, "prefer", "SCRAM-SHA-256", b"n"),
    ],
)
def test_the_flag_tells_what_both_sides_can(
    plus: bool,
    channel: Channel,
    wish: Any,
    name: str,
    flag: bytes,
) -> None:
    """RFC 5802 section 6. "y" is for a client that can and a server that does not offer it."""
    offered = ["SCRAM-SHA-256", *(["SCRAM-SHA-256-PLUS"] if plus else [])]
    credentials = credentials_for(name)
    choice = sasl.choose(offered, credentials, channel=channel, policy=Policy(channel_binding=wish))
    assert choice.name == name
    message = sasl.client(name, credentials, channel=choice.channel).start()
    assert (message or b"").startswith(flag + b",,n=")


# --- enumeration

_LOOKING: Final = tuple(name for name in PASSWORDS if name not in PLAINTEXT)


@pytest.mark.parametrize("mechanism", _LOOKING)
def test_a_user_that_there_is_not_fails_as_a_wrong_password_does(mechanism: str) -> None:
    """At the same step, with the same text and as many octets; and whoever asks again is told the same salt."""
    told, decoy = [], (b"a secret of sixteen octets or more", 4_096)
    options = {"decoy": decoy} if mechanism.startswith("SCRAM") else {}
    for name, known in ((USER, True), (NOBODY, False), (NOBODY, False)):
        seen_by_the_client: list[Any] = []

        def note(message: bytes | None, event: Any) -> None:
            if isinstance(event, sasl.Challenge):
                seen_by_the_client.append(event.data)  # noqa: B023 -- called in this turn

        answer = verifier() if known else verifier("failure")
        one = client(mechanism, credentials_for(mechanism, WRONG, name))
        event = steps(one, server(mechanism, **options), answer, note)
        assert isinstance(event, sasl.Failure)
        told.append((event.kind, seen_by_the_client))
    known_user, nobody, nobody_again = told
    assert nobody == nobody_again
    assert known_user[0] == nobody[0] == "credentials"
    assert [len(data) for data in known_user[1]] == [len(data) for data in nobody[1]]


@pytest.mark.parametrize("mechanism", [*PASSWORDS, "IMAP-LOGIN"])
def test_a_server_tells_nobody_who_is_known(servers: Servers, mechanism: str) -> None:
    context, told = servers.client_context(), []
    policy = Policy(allow=OFF)
    for name in (USER, NOBODY):
        with sasl.adapters.imaplib.IMAP4_SSL(servers.imap.host, servers.imap.tls_port, ssl_context=context) as conn:
            with pytest.raises(sasl.AuthenticationFailed) as caught:
                sasl.adapters.imaplib.authenticate(conn, Password(name, WRONG), mechanism=mechanism, policy=policy)
            shown = [
                (who, line.split(" ", 1)[1] if who == "S" else "") for who, line in servers.imap.sessions[-1].transcript
            ]
            told.append((caught.value.args, caught.value.server_text, caught.value.response_code, shown[2:]))
    assert told[0] == told[1]


# --- isolation and state


@runs("0036", "isolated")
@pytest.mark.parametrize("mechanism", [*PASSWORDS, *TOKEN])
def test_fifty_sessions_share_credentials_and_nothing_else(servers: Servers, mechanism: str) -> None:
    """A good and a wrong credential, each shared by many sessions at once: each session gets its own verdict."""
    shared = credentials_for(mechanism)
    wrong = credentials_for(mechanism, TOKENS["revoked"] if mechanism in TOKEN else WRONG)
    context, policy = servers.client_context(), Policy(allow=OFF)

    def session(number: int) -> str:
        with sasl.adapters.imaplib.IMAP4_SSL(servers.imap.host, servers.imap.tls_port, ssl_context=context) as conn:
            credentials = wrong if number % 3 == 0 else shared
            try:
                sasl.adapters.imaplib.authenticate(conn, credentials, mechanism=mechanism, policy=policy)
            except sasl.AuthenticationFailed:
                return "refused"
            return str(conn.state)

    known = len(servers.imap.sessions)
    with ThreadPoolExecutor(50) as pool:
        results = list(pool.map(session, range(50)))
    assert results == ["refused" if number % 3 == 0 else "AUTH" for number in range(50)]
    sessions = list(servers.imap.sessions)[known:]
    assert sorted(session.identity or "" for session in sessions) == [""] * 17 + [USER] * 33


@mechanisms
def test_exchanges_that_are_interleaved_do_not_mix_their_users(mechanism: str) -> None:
    secrets = {f"user{number}": f"secret-of-user-{number}" for number in range(20)}
    pairs = {
        name: (client(mechanism, credentials_for(mechanism, secret, name)), server(mechanism))
        for name, secret in secrets.items()
    }
    events: dict[str, Any] = {name: other.start(one.start()) for name, (one, other) in pairs.items()}
    while not all(isinstance(event, sasl.Success) for event in events.values()):
        for name, event in reversed(events.items()):
            one, other = pairs[name]
            if isinstance(event, sasl.Question):
                events[name] = other.answer(verifier(secret=secrets[name])(event))
                asked = getattr(event, "password", None) or getattr(event, "token", None)
                assert asked is None or asked == secrets[name]
            elif isinstance(event, sasl.Challenge):
                events[name] = other.receive(one.respond(event.data))
    assert events == {name: sasl.Success(name, name) for name in secrets}


@runs("0037", "state")
@mechanisms
def test_an_exchange_serves_once(mechanism: str) -> None:
    one, other = client(mechanism), server(mechanism)
    assert isinstance(steps(one, other, verifier()), sasl.Success)
    for call in (one.start, one.defer, lambda: one.respond(b""), one.succeed):
        with pytest.raises(sasl.UsageError):
            call()
    assert one.state.value == "done"
    half = server(mechanism)
    begun(client(mechanism), half)
    with pytest.raises(sasl.UsageError):
        half.start(b"")
    half.cancel()
    for ended, state in ((half, "failed"), (other, "done")):
        for again in (
            ended.start,
            partial(ended.receive, b""),
            partial(ended.answer, None),
            ended.cancel,
        ):
            with pytest.raises(sasl.UsageError):
                again()
        assert ended.state.value == state


@runs("0041", "refuse_local")
@mechanisms
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps], ids=lambda function: function.__name__)
def test_an_exchange_that_is_under_way_is_not_copied(mechanism: str, copied: Callable[[object], object]) -> None:
    one, other = client(mechanism), server(mechanism)
    event = begun(one, other)
    holding = isinstance(event, sasl.CheckPassword | sasl.CheckToken)
    for exchange in (one, other, *([event] if holding and copied is not copy.copy else [])):
        # A question is a value; what is copied of it shares its Secret.
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            copied(exchange)
    one.cancel()
    other.cancel()


# --- callbacks


class Refusing:
    """A token source that fails with a text that it should not have."""

    def token(self, *, stale: str | None = None) -> sasl.AccessToken:
        raise RuntimeError(f"refresh token {TOKENS['good']}")


def refusing() -> str:
    raise RuntimeError(f"refresh token {TOKENS['good']}")


async def refusing_later() -> str:
    raise RuntimeError(f"refresh token {TOKENS['good']}")


@runs("0038", "wrapped")
@pytest.mark.parametrize("source", [Refusing(), refusing], ids=["source", "callable"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_a_token_source_raises_is_wrapped_without_its_text(
    dialogues: dict[str, Dialogue], protocol: str, source: Any
) -> None:
    dialogue = dialogues[f"{protocol}-XOAUTH2-good"]
    peer = Peer(dialogue)
    conn = connect(dialogue, peer)
    with pytest.raises(sasl.TokenError, match="RuntimeError") as caught:
        log_in(dataclasses.replace(dialogue, options={**dialogue.options, "credentials": Bearer(USER, source)}), conn)
    assert list(chain(caught.value)) == [caught.value]
    assert seen([*shown_by(caught.value), *locals_of(caught.value)], TOKENS["good"]) == []
    assert b"XOAUTH2" not in peer.sent
    assert not peer.closed, "nothing was said yet, so the connection is good"
    PROTOCOLS[protocol].close(conn)


def test_what_an_asynchronous_source_raises_is_wrapped_without_its_text() -> None:
    with pytest.raises(sasl.TokenError, match="RuntimeError") as caught:
        asyncio.run(sasl.resolve_async(Bearer(USER, refusing_later)))
    assert list(chain(caught.value)) == [caught.value]
    assert seen([*shown_by(caught.value), *locals_of(caught.value)], TOKENS["good"]) == []


@mechanisms
def test_what_a_verifier_raises_is_unavailable_and_logged_without_its_text(
    mechanism: str, caplog: pytest.LogCaptureFixture
) -> None:
    secret = secret_of(mechanism)

    def verify(question: sasl.Question) -> Any:
        raise RuntimeError(secret)

    with caplog.at_level(logging.DEBUG):
        other = server(mechanism)
        event = sasl.settle(other, begun(client(mechanism), other), verify)
    assert isinstance(event, sasl.Failure)
    assert event.kind == "unavailable"
    assert "RuntimeError" in caplog.text
    assert seen([caplog.text, repr(event), *reachable(event)], secret) == []


# --- interruptions


class Interrupting(Peer):
    """A peer at which the client is interrupted, in its n-th call."""

    def __init__(self, dialogue: Dialogue, call: int, interruption: BaseException) -> None:
        super().__init__(dialogue)
        self.calls_left = call
        self.interruption = interruption
        self.sent_before = b""

    def _work(self, what: str) -> None:
        super()._work(what)
        self.calls_left -= 1
        if self.calls_left == 0:
            self.sent_before = self.sent
            raise self.interruption


class Interruption(BaseException):
    """As asyncio's CancelledError, or a thread's end."""


@runs("0040", "clean")
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, Interruption, asyncio.CancelledError])
def test_an_interruption_at_any_call_closes_sends_nothing_more_and_goes_on(
    dialogues: dict[str, Dialogue], kind: type[BaseException]
) -> None:
    interrupted = 0
    for dialogue in dialogues.values():
        secrets = _secrets_of(dialogue)
        for call in range(1, 4 * len(dialogue.turns)):
            peer = Interrupting(dialogue, call, kind())
            caught: BaseException | None = None
            try:
                conn: Any = connect(dialogue, peer)
            except kind:
                continue  # in the library's greeting
            try:
                log_in(dialogue, conn)
            except BaseException as error:
                caught = error
            if peer.calls_left > 0:  # it was over before
                PROTOCOLS[dialogue.protocol].close(conn)
                break
            assert type(caught) is kind, f"{dialogue}: call {call}"
            assert caught is peer.interruption
            assert PROTOCOLS[dialogue.protocol].is_closed(conn), f"{dialogue}: call {call}"
            assert peer.closed
            assert peer.sent == peer.sent_before
            assert seen(locals_of(caught), *secrets) == [], f"{dialogue}: call {call}"
            interrupted += 1
    assert interrupted > 100


def _secrets_of(dialogue: Dialogue) -> list[str | bytes]:
    """The credential, and what of it was sent."""
    credentials = dialogue.options["credentials"]
    secret = getattr(credentials, "password", None) or getattr(credentials, "token", None)
    return [dialogue.sent, *([secret.reveal()] if secret is not None else [])]


@mechanisms
def test_a_cancelled_task_cancels_its_exchange_and_lets_go_of_the_secret(mechanism: str) -> None:
    other = server(mechanism)

    async def check(question: sasl.Question) -> Any:
        await asyncio.Event().wait()

    async def cancel() -> None:
        event = begun(client(mechanism), other)
        task = asyncio.create_task(sasl.settle_async(other, event, check))
        await asyncio.sleep(0)
        task.cancel()
        del event
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert other.state.value == "failed"
    assert seen(reachable(other), secret_of(mechanism), *derived(PASSWORD)) == []


def test_a_cancelled_token_source_is_not_wrapped() -> None:
    async def source() -> str:
        await asyncio.Event().wait()
        raise AssertionError

    async def cancel() -> None:
        task = asyncio.create_task(sasl.resolve_async(Bearer(USER, source)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())


# --- memory

HALF_OPEN: Final = 10_000
LARGEST: Final = 8 * 1024  # octets
KEPT: Final = 100_000  # octets that may stay behind: Python's own free lists


def half_open_servers(mechanism: str, count: int) -> list[sasl.ServerExchange]:
    """Exchanges that wait for one thing or the other: the client's first message, an answer, the client's proof."""
    calls = Calls(server(mechanism))
    steps(client(mechanism), calls, verifier())  # type: ignore[arg-type]  # it does what the exchange does
    (_, first), *made = calls.made[:-1]
    exchanges = [server(mechanism) for _ in range(count)]
    for number, exchange in enumerate(exchanges):
        exchange.start(first)
        for name, given in made[: number % (len(made) + 1)]:
            getattr(exchange, name)(given)
    return exchanges


def half_open_clients(mechanism: str, count: int) -> list[sasl.ClientExchange]:
    """Exchanges that have answered none of the challenges, or some."""
    challenges: list[bytes] = []

    def note(message: bytes | None, event: Any) -> None:
        if isinstance(event, sasl.Challenge):
            challenges.append(event.data)

    steps(client(mechanism), server(mechanism), verifier(), note)
    credentials = credentials_for(mechanism)
    exchanges = [client(mechanism, credentials) for _ in range(count)]
    for number, exchange in enumerate(exchanges):
        exchange.start()
        for challenge in challenges[: number % (len(challenges) + 1)]:
            exchange.respond(challenge)
    return exchanges


@runs("0044", "bounded")
def test_ten_thousand_half_open_exchanges_of_a_server_are_small_and_go() -> None:
    def half_open(count: int) -> list[sasl.ServerExchange]:
        each = count // len(MECHANISMS)
        return [exchange for mechanism in MECHANISMS for exchange in half_open_servers(mechanism, each)]

    each, ended, left = measured(half_open, HALF_OPEN)
    assert each < LARGEST, f"{each:.0f} octets each"
    assert ended < each
    assert left < KEPT, f"{left} octets are kept"


@mechanisms
@pytest.mark.parametrize("half_open", [half_open_servers, half_open_clients])
def test_half_open_exchanges_of_each_mechanism_are_small_and_go(
    mechanism: str, half_open: Callable[[str, int], list[Any]]
) -> None:
    each, ended, left = measured(partial(half_open, mechanism), HALF_OPEN // 10)
    assert each < LARGEST, f"{each:.0f} octets each"
    assert ended < LARGEST, f"{ended:.0f} octets each"  # a client's holds the error to raise
    assert left < KEPT, f"{left} octets are kept"


class Calls:
    """A server's exchange that takes down what it is told."""

    def __init__(self, exchange: sasl.ServerExchange) -> None:
        self.made: list[tuple[str, Any]] = []
        self._exchange = exchange

    def start(self, message: bytes | None) -> Any:
        self.made.append(("start", message))
        return self._exchange.start(message)

    def receive(self, message: bytes) -> Any:
        self.made.append(("receive", message))
        return self._exchange.receive(message)

    def answer(self, value: object) -> Any:
        self.made.append(("answer", value))
        return self._exchange.answer(value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)


def measured(half_open: Callable[[int], list[Any]], count: int) -> tuple[float, float, float]:
    """Return the octets of each of so many exchanges, of each once it is cancelled, and of all that stays behind."""
    tracemalloc.start()
    try:
        half_open(count // 10)  # what is loaded once, or kept by Python to be used again, is no exchange's
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        exchanges = half_open(count)
        each = (tracemalloc.get_traced_memory()[0] - before) / count
        for exchange in exchanges:
            exchange.cancel()
        ended = (tracemalloc.get_traced_memory()[0] - before) / count
        del exchange
        exchanges.clear()
        gc.collect()
        return each, ended, tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


# --- time

_SECRETS: Final = {
    *(
        "password",
        "token",
        "secret",
        "stale",
        "prepared",
        "typed",
        "presented",
        "value",
        "proof",
        "signature",
        "digest",
    ),
    *("client_key", "server_key", "stored_key", "salted_password", "kept", "keys", "credential"),
    *("response", "rspauth", "theirs", "client_proof", "client_signature", "fingerprint"),
}


def comparisons(source: str) -> list[str]:
    """The comparisons in a program with == or != of what is called like a secret, without the reach of `Secret`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare) and any(
            isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for op in node.ops
        ):
            sides = [node.left, *node.comparators]
            if any(isinstance(side, ast.Constant) and side.value in ("", None, b"") for side in sides):
                continue
            if any(_is_secret(side) for side in (sides if not isinstance(node.left, ast.Constant) else ())):
                found.append(ast.unparse(node))
    return found


def _is_secret(node: ast.expr) -> bool:
    """Whether an expression is a name or attribute that is called like a secret, or reveals one."""
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and node.func.attr == "reveal"
    return name.strip("_") in _SECRETS


def held(source: str) -> set[str]:
    """The names of parameters and fields that are a `Secret` by their annotation."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.arg | ast.AnnAssign)]
    typed = [node for node in nodes if node.annotation and "Secret" in ast.unparse(node.annotation)]
    names = [node.arg if isinstance(node, ast.arg) else ast.unparse(node.target) for node in typed]
    return {name.removeprefix("self.").strip("_") for name in names}


FOLDERS: Final = [
    Path(module.__file__ or "").parent
    for module in (sasl, sasl.mechanisms, sasl.adapters.wire, sasl.adapters.reference)
]
SOURCES: Final = sorted(
    {path for folder in FOLDERS for path in folder.glob("*.py")} | set(FOLDERS[-1].rglob("*.py"))  # with its folders
)
WRAPPED: Final = {
    "token == stale",
    "prepared == credentials.password",
    "token.value == presented",
    "known.value != token.value",
    "credential == form",
    "prepared == typed",
    "credential in self._refused",
    "before != login.credential",
}
"""Comparisons of a `Secret` with a `Secret`, which is hmac.compare_digest. The last two are of digests that are keyed
with what nobody knows, and tell whoever has sent the token."""


@runs("0104", "constant-time")
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_no_secret_is_compared_with_equals(path: Path) -> None:
    assert set(comparisons(path.read_text("utf-8"))) <= WRAPPED


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("password == given", 1),
        ("self._password != given", 1),
        ("credentials.password.reveal() == x", 1),
        ("token in known", 1),
        ("keys.stored_key == given", 1),
        ("client_key != _xor(proof, signature)", 1),
        ("messages.response == theirs", 1),
        ("if token == '': pass", 0),
        ("token is None", 0),
        ("hmac.compare_digest(password, given)", 0),
        ("name == other", 0),
    ],
)
def test_a_comparison_of_a_secret_is_found(source: str, count: int) -> None:
    assert len(comparisons(source)) == count


def test_the_comparison_that_is_left_is_one_of_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    monkeypatch.setattr(hmac, "compare_digest", lambda one, other: compared.append((one, other)) or True)
    assert Secret("one") == Secret("other")
    with pytest.raises(sasl.TokenError):
        sasl.resolve(Bearer(USER, "one"), stale="other")
    assert compared == [("one", "other")] * 2


def test_what_holds_a_secret_is_called_like_one() -> None:
    """Or the search for comparisons would pass it over."""
    found = {name for path in SOURCES for name in held(path.read_text("utf-8"))}
    assert {"password", "token", "secret"} <= found
    # What Secret() is made of, lists and tables of them, and the key of a run, of which Secret is asked.
    assert found <= _SECRETS | {"text", "secrets", "users", "stand_ins", "tokens", "key"}
