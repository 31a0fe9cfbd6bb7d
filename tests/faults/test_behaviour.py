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
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import trustme

import sasl
import sasl.adapters.imaplib
import sasl.mechanisms
import sasl.spec
from sasl import Bearer, Channel, Password, Policy, Secret
from sasl.adapters.cli import main
from sasl.adapters.reference import running

from .conftest import PASSWORD, PROTOCOLS, TOKENS, USER, connect, log_in
from .leaks import chain, locals_of, reachable, seen, shown_by
from .peer import Dialogue, Peer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sasl.adapters.reference import Servers

CASES: Final = {case.id: case for case in sasl.spec.cases("policy_and_state") if case.family != "leak"}
RUN: Final[set[str]] = set()
MECHANISMS: Final = ("PLAIN", "XOAUTH2", "OAUTHBEARER")
TLS: Final = Channel(tls=True)

mechanisms = pytest.mark.parametrize("mechanism", MECHANISMS)


def runs(number: str, expect: str) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """Say which case a test runs, and what it takes for its result."""
    case = CASES[f"policy_and_state-{number}"]
    assert case.expect == expect, f"{case.id} is {case.expect}"
    RUN.add(case.id)
    return lambda test: test


def credentials_for(mechanism: str, secret: str | None = None) -> Password | Bearer:
    if mechanism == "PLAIN":
        return Password(USER, secret or PASSWORD)
    return Bearer(USER, secret or TOKENS["good"])


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
@mechanisms
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
    conn = PROTOCOLS[protocol].connect(peer)
    credentials = Password(USER, PASSWORD) if mechanism == "PLAIN" else Bearer(USER, source)
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


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_pin_lets_the_mechanism_itself_and_stronger_ones_pass(mechanism: str) -> None:
    choice = sasl.choose(MECHANISMS, credentials_for(mechanism), policy=Policy(pin=mechanism), channel=TLS)
    assert sasl.registry.lookup(choice.name).rank >= sasl.registry.lookup(mechanism).rank


# --- isolation and state


@runs("0036", "isolated")
@mechanisms
def test_fifty_sessions_share_credentials_and_nothing_else(servers: Servers, mechanism: str) -> None:
    """A good and a wrong credential, each shared by many sessions at once: each session gets its own verdict."""
    shared = credentials_for(mechanism)
    wrong = credentials_for(mechanism, "Looking.G1ass" if mechanism == "PLAIN" else TOKENS["revoked"])
    context = servers.client_context()

    def session(number: int) -> str:
        with sasl.adapters.imaplib.IMAP4_SSL(servers.imap.host, servers.imap.tls_port, ssl_context=context) as conn:
            try:
                sasl.adapters.imaplib.authenticate(conn, wrong if number % 3 == 0 else shared, mechanism=mechanism)
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
    secrets = {f"user{number}": f"secret-of-user-{number}" for number in range(50)}
    pairs = {
        name: (
            sasl.client(mechanism, Password(name, secret) if mechanism == "PLAIN" else Bearer(name, secret)),
            sasl.server(mechanism),
        )
        for name, secret in secrets.items()
    }
    events = {name: server.start(client.start()) for name, (client, server) in pairs.items()}
    for name, event in reversed(events.items()):
        asked = event.password if isinstance(event, sasl.CheckPassword) else event.token  # type: ignore[union-attr]
        assert asked == secrets[name]
        events[name] = pairs[name][1].answer(sasl.Accepted(name))
    for name, event in events.items():
        assert pairs[name][1].answer(NotImplemented) == sasl.Success(name, name)
        assert isinstance(event, sasl.Authorize)


@runs("0037", "state")
@mechanisms
def test_an_exchange_serves_once(mechanism: str) -> None:
    client = sasl.client(mechanism, credentials_for(mechanism))
    server = sasl.server(mechanism)
    server.start(client.start())
    client.succeed()
    for call in (client.start, client.defer, lambda: client.respond(b""), client.succeed):
        with pytest.raises(sasl.UsageError):
            call()
    assert client.state.value == "done"
    with pytest.raises(sasl.UsageError):
        server.start(b"")
    server.cancel()
    for again in (server.start, lambda: server.receive(b""), lambda: server.answer(None), server.cancel):
        with pytest.raises(sasl.UsageError):
            again()
    assert server.state.value == "failed"


@runs("0041", "refuse_local")
@mechanisms
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps], ids=lambda function: function.__name__)
def test_an_exchange_that_is_under_way_is_not_copied(mechanism: str, copied: Callable[[object], object]) -> None:
    client = sasl.client(mechanism, credentials_for(mechanism))
    server = sasl.server(mechanism)
    event = server.start(client.start())
    for exchange in (client, server, event):
        if exchange is event and copied is copy.copy:
            continue  # a question is a value; its Secret is shared, not copied
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            copied(exchange)
    client.cancel()
    server.cancel()


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
    secret = PASSWORD if mechanism == "PLAIN" else TOKENS["good"]

    def verify(question: sasl.Question) -> Any:
        raise RuntimeError(secret)

    with caplog.at_level(logging.DEBUG):
        server = sasl.server(mechanism)
        event = sasl.settle(server, server.start(sasl.client(mechanism, credentials_for(mechanism)).start()), verify)
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
        secret = _secret_of(dialogue)
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
            assert seen(locals_of(caught), secret) == [], f"{dialogue}: call {call}"
            interrupted += 1
    assert interrupted > 100


def _secret_of(dialogue: Dialogue) -> str:
    credentials = dialogue.options["credentials"]
    secret = credentials.password if isinstance(credentials, Password) else credentials.token
    assert isinstance(secret, Secret)
    return secret.reveal()


@mechanisms
def test_a_cancelled_task_cancels_its_exchange_and_lets_go_of_the_secret(mechanism: str) -> None:
    secret = PASSWORD if mechanism == "PLAIN" else TOKENS["good"]
    server = sasl.server(mechanism)

    async def check(question: sasl.Question) -> Any:
        await asyncio.Event().wait()

    async def cancel() -> None:
        event = server.start(sasl.client(mechanism, credentials_for(mechanism)).start())
        task = asyncio.create_task(sasl.settle_async(server, event, check))
        await asyncio.sleep(0)
        task.cancel()
        del event
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert server.state.value == "failed"
    assert seen(reachable(server), secret) == []


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
BOUND: Final = 8 * 1024


@runs("0044", "bounded")
@mechanisms
def test_half_open_exchanges_of_a_server_are_small_and_go(mechanism: str) -> None:
    message = sasl.client(mechanism, credentials_for(mechanism)).start()
    _half_open(mechanism, message, 10)  # what is loaded once is no exchange's
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        exchanges = _half_open(mechanism, message, HALF_OPEN)
        each = (tracemalloc.get_traced_memory()[0] - before) / HALF_OPEN
        for exchange in exchanges:
            exchange.cancel()
        ended = (tracemalloc.get_traced_memory()[0] - before) / HALF_OPEN
        del exchange
        exchanges.clear()
        gc.collect()
        left = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert each < BOUND, f"{each:.0f} octets each"
    assert ended < each
    assert left < HALF_OPEN


def _half_open(mechanism: str, message: bytes | None, count: int) -> list[sasl.ServerExchange]:
    exchanges = [sasl.server(mechanism) for _ in range(count)]
    for number, exchange in enumerate(exchanges):
        exchange.start(message if number % 2 else None)
    return exchanges


# --- time

_SECRETS: Final = {"password", "token", "secret", "stale", "prepared", "presented", "value", "proof", "signature", "digest"}


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


FOLDERS: Final = [Path(module.__file__ or "").parent for module in (sasl, sasl.mechanisms)]
SOURCES: Final = sorted({path for folder in FOLDERS for path in folder.glob("*.py")})
WRAPPED: Final = {"token == stale"}
"""Comparisons of a `Secret` with a `Secret`, which is hmac.compare_digest."""


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
    assert compared == [(b"one", b"other")] * 2


def test_what_holds_a_secret_is_called_like_one() -> None:
    """Or the search for comparisons would pass it over."""
    found = {name for path in SOURCES for name in held(path.read_text("utf-8"))}
    assert {"password", "token", "secret"} <= found
    assert found <= _SECRETS | {"text"}  # what Secret() is made of
