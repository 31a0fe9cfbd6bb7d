"""No secret stands in any place where it could be seen: each sink, for each mechanism, after a yes and after a no.

A life is one login seen from both ends: the exchanges of the engine step by step, the wires, and a library's connection
with its debug output at the highest level. A sink is a way in which something of it is shown.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import cProfile
import dataclasses
import functools
import gc
import io
import json
import marshal
import os
import pickle
import pstats
import shlex
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import pytest

import sasl
import sasl.spec
from sasl import AccessToken, Bearer, CheckPassword, CheckToken, Password, ScramKeys, Secret
from sasl.adapters.binding import log_in
from sasl.adapters.cli import main
from sasl.adapters.wire import imap, pop, smtp
from sasl.adapters.wire.line import Line
from sasl.keys import Key
from sasl.mechanisms._scram_keys import ClientKeys, KeyCache, fingerprint
from sasl.prep import saslprep

from ..support.leaks import chain, locals_of, reachable, seen, shown_by, walked
from ..support.sinks import Sinks, overheard
from .conftest import IN_THE_CLEAR, NOBODY, PASSWORD, PROTOCOLS, TOKENS, USER, WRONG, connect, repeated
from .logins import (
    ITERATIONS,
    MECHANISMS,
    PASSWORDS,
    SALT,
    TOKEN,
    begun,
    channel_for,
    client,
    credentials_for,
    derived,
    proofs,
    secret_of,
    secrets_in,
    server,
    steps,
    verifier,
)
from .peer import Fault, Peer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sasl.adapters.reference import Servers

    from .peer import Dialogue

CASES: Final = [case for case in sasl.spec.cases("policy_and_state") if case.family == "leak"]
OUTCOMES: Final = ("success", "failure")
BESIDES: Final = {"IMAP-LOGIN": "PLAIN", "POP-USER": "PLAIN", "POP-APOP": "CRAM-MD5"}
"""The commands that are no mechanisms, and whose life they are part of."""

WIRES: Final = {"imap": imap, "pop": pop, "smtp": smtp}


@dataclass
class Life(Sinks):
    """What there is to be seen of one login, besides what was said meanwhile (`Sinks`).

    Attributes:
        secret: the password or token, which must not be seen.
        made: nor must what was made of it, on either side.
        credentials: what holds it on purpose.
        values: exchanges, events, lines and wires, and what they showed at each step.
        errors: what was raised.
        ended: exchanges and connections after the end, which have no right to the secret any more.
        steps: repr of the exchanges at each step.
    """

    secret: str
    made: set[bytes] = field(default_factory=set)
    credentials: list[Any] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    ended: list[Any] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)

    def everything(self) -> list[Any]:
        return [*self.credentials, *self.values, *self.errors, *self.ended]

    def secrets(self) -> list[str | bytes]:
        return [self.secret, *self.made]


def engine(life: Life, mechanism: str, outcome: str) -> None:
    """Both ends, without a wire. Each step is kept."""
    credentials = credentials_for(mechanism, life.secret)
    life.credentials.append(credentials)
    one, other = client(mechanism, credentials), server(mechanism)

    def note(message: bytes | None, *things: object) -> None:
        life.made |= set(proofs(message))
        life.values.extend(things)
        life.steps.extend(repr(thing) for thing in (one, other, *things))
        life.steps.extend(str(thing) for thing in (one, other, *things))

    note(None)
    event = steps(one, other, verifier(outcome, life.secret), note)
    if isinstance(event, sasl.Failure):
        known = "it" if isinstance(credentials, sasl.External | sasl.Anonymous) else life.secret
        life.errors.append(one.fail(f"you sent {known}", kind=event.kind))
    note(None)
    life.ended += [one, other, event]


def wires(life: Life, protocol: str, mechanism: str, outcome: str, *, initial: bool) -> None:
    """Both wires, which say what they send and what may be shown of it."""
    module: Any = WIRES[protocol]
    exchange = client(mechanism, credentials_for(mechanism, life.secret))
    options = {"tag": "A1", "capabilities": ["SASL-IR"]} if protocol == "imap" else {}
    one = module.ClientWire(exchange, initial_response=initial, **options)
    other = module.ServerWire([mechanism], channel=channel_for(mechanism), options={"EXTERNAL": {"certificate": b"-"}})
    line = one.command()
    while not one.done:
        life.values.append(line)
        life.steps += [repr(one), repr(other), repr(line), line.shown]
        said = other.receive(line.octets)
        while isinstance(said, sasl.Question):
            life.values.append(said)
            said = other.answered(sasl.settle(other.exchange, said, verifier(outcome, life.secret)))
        life.values.append(said)
        life.steps += [repr(said), said.shown, one.shown(said.octets)]
        line = one.receive(said.octets)
    assert (one.error is None) == (outcome == "success")
    if one.error is not None:
        life.errors.append(one.error)
    life.values += [one, other]
    life.ended += [exchange, other.exchange, other.result]


def binding(life: Life, dialogue: Dialogue, fault: Fault | None = None) -> None:
    """A library's connection, with its debug output at the highest level."""
    peer = Peer(dialogue, fault)
    conn = connect(dialogue, peer)
    if dialogue.protocol == "imap":
        conn.debug = 5
    else:
        conn.set_debuglevel(2)
    watched: list[Any] = []
    try:
        options = dict(dialogue.options)
        options.pop("drop_in", None)
        credentials = options.pop("credentials")
        log_in(
            PROTOCOLS[dialogue.protocol].binding.LIBRARY,
            conn,
            credentials,
            policy=IN_THE_CLEAR,
            watch=lambda *seen: watched.extend(seen),
            **options,
        )
    except Exception as error:
        life.errors.append(error)
    life.values += [*watched, vars(conn)]
    if dialogue.protocol == "imap":
        conn.print_log()
    PROTOCOLS[dialogue.protocol].close(conn)
    peer.sent = b""  # what went out is no sink
    peer._turns = iter(())
    life.ended.append(vars(conn))


@pytest.fixture(scope="module")
def lives(dialogues: dict[str, Dialogue]) -> dict[tuple[str, str], Life]:
    """One life for each mechanism and outcome; the failures have cuts in them as well."""
    found = {}
    for mechanism in MECHANISMS:
        for outcome in OUTCOMES:
            life = found[mechanism, outcome] = Life(secret_of(mechanism))
            with overheard(life), repeated():
                engine(life, mechanism, outcome)
                for protocol in PROTOCOLS:
                    for initial in (True, False):
                        wires(life, protocol, mechanism, outcome, initial=initial)
                for dialogue in dialogues.values():
                    if BESIDES.get(dialogue.mechanism, dialogue.mechanism) == mechanism and is_good(dialogue, life):
                        life.made |= set(secrets_in(*messages(dialogue), password=life.secret))
                        lived_through(life, dialogue, outcome)
            if mechanism in PASSWORDS:
                life.made |= set(derived(life.secret))
            else:
                life.made.clear()  # what looks like a digest in a token's message
    return found


def is_good(dialogue: Dialogue, life: Life) -> bool:
    """Whether a dialogue is one of the life's credential."""
    credentials = dialogue.options["credentials"]
    if isinstance(credentials, Password | Bearer):
        return life.secret == (credentials.password if isinstance(credentials, Password) else credentials.token)
    return dialogue.name.endswith("-right")


def messages(dialogue: Dialogue) -> Iterator[bytes]:
    """What a dialogue holds in base64, and the line of APOP."""
    for word in (dialogue.client + dialogue.server).split():
        with contextlib.suppress(ValueError):
            yield base64.b64decode(word, validate=True)
    yield from (line.strip() for line, _ in dialogue.turns if line.startswith(b"APOP"))


def lived_through(life: Life, dialogue: Dialogue, outcome: str) -> None:
    if outcome == "success":
        binding(life, dialogue)
        return
    sent, said = dialogue.before(dialogue.command)
    for offset in range(said, len(dialogue.server), 31 + len(dialogue.server) // 12):
        for event in ("close", "reset", "stall", "garbage"):
            binding(life, dialogue, Fault(event, "server", offset))
    for offset in range(sent, len(dialogue.client), 25 + len(dialogue.client) // 12):
        binding(life, dialogue, Fault("reset", "client", offset))


lived = [
    pytest.param(mechanism, outcome, id=f"{mechanism}-{outcome}") for mechanism in MECHANISMS for outcome in OUTCOMES
]


# --- the sinks


SENT: Final = (Line, sasl.Complete)
"""What is sent, and is there to give its octets to whoever takes it apart."""


def attempted(life: Life, make: Callable[[Any], object]) -> Iterator[str]:
    """What comes of doing something to each value; what refuses it shows nothing either."""
    for value in [*holders(life), *life.everything()]:
        if isinstance(value, SENT) or (isinstance(value, sasl.Record) and isinstance(value.value, str)):
            continue
        try:
            made = make(value)
        except Exception as error:
            yield from shown_by(error)
        else:
            yield made.decode("latin-1") if isinstance(made, bytes) else repr(made)


def holders(life: Life) -> list[Any]:
    """The credentials, and everything else that holds the secret, or what was made of it, on purpose."""
    secret = life.secret
    made = [Secret(secret), AccessToken(secret), sasl.resolve(Bearer(USER, lambda: secret))]
    asked = [
        CheckPassword(USER, Secret(secret)),
        CheckToken(USER, Secret(secret), None, None),
        sasl.Record(USER, secret),
        sasl.Record(USER, Secret(secret)),
    ]
    _, client_key, server_key, stored_key = derived(secret)
    keys = ScramKeys("sha256", SALT, ITERATIONS, stored_key, server_key)
    cache = KeyCache()
    kept = cache["sha256", USER, SALT, ITERATIONS, fingerprint(secret)] = ClientKeys(client_key, server_key)
    stored = [keys, keys.stored_key, keys.server_key, sasl.Record(USER, keys), kept, cache, Key(client_key)]
    return [*life.credentials, *made, *asked, *stored]


@functools.cache
def unencodable(of: str) -> tuple[str, ...]:
    """A credential that no charset can carry: the exception of its encoding holds it."""

    def refused(call: Callable[[], object]) -> None:
        with pytest.raises(sasl.SASLError) as caught:
            call()
        assert not any(isinstance(link, UnicodeError) for link in chain(caught.value))
        texts.extend((*shown_by(caught.value), *locals_of(caught.value)))

    texts: list[str] = []
    for mechanism in (*PASSWORDS, *TOKEN):
        for user, secret in ((USER, of + "\ud800"), ("al\ud800ice", of)):
            refused(partial(unencoded, mechanism, credentials_for(mechanism, secret, user)))
    refused(partial(ScramKeys.derive, of + "\ud800", prepare=False))
    return tuple(texts)


def unencoded(mechanism: str, credentials: sasl.Credentials) -> None:
    """Go on until it is noticed: in DIGEST-MD5, once the server has said which charset it takes."""
    begun(client(mechanism, credentials), server(mechanism))


@functools.cache
def asynchronous(secret: str) -> tuple[str, ...]:
    """Tasks in debug mode: their repr and stack while they wait, and what asyncio logs of slow ones."""

    async def main() -> list[str]:
        asyncio.get_running_loop().slow_callback_duration = 0
        waiting, go = asyncio.Event(), asyncio.Event()

        async def check(question: sasl.Question) -> Any:
            waiting.set()
            await go.wait()
            raise RuntimeError(f"{question} {secret}")

        async def token() -> str:
            return secret

        texts = []
        for mechanism in MECHANISMS:
            waiting.clear()
            go.clear()
            credentials = credentials_for(mechanism, secret)
            if isinstance(credentials, Bearer):
                credentials = await sasl.resolve_async(Bearer(USER, token))
            other = server(mechanism)
            event = begun(client(mechanism, credentials), other)
            task = asyncio.create_task(sasl.settle_async(other, event, check))
            await waiting.wait()
            stack = io.StringIO()
            task.print_stack(file=stack)
            texts += [repr(task), stack.getvalue(), repr(asyncio.all_tasks())]
            go.set()
            texts.append(repr(await task))
            texts.append(repr(task))
        return texts

    life = Life(secret)
    with overheard(life):
        texts = asyncio.run(main(), debug=True)
    return (*texts, *life.log, *life.printed)


@functools.cache
def profiled(secret: str) -> tuple[str, ...]:
    profile, text = cProfile.Profile(), io.StringIO()
    profile.enable()
    for mechanism in MECHANISMS:
        for outcome in OUTCOMES:
            engine(Life(secret), mechanism, outcome)
    profile.disable()
    pstats.Stats(profile, stream=text).print_stats().print_callers()
    profile.create_stats()
    return text.getvalue(), marshal.dumps(profile.stats).decode("latin-1")  # type: ignore[attr-defined]


@functools.cache
def dropped(secret: str) -> Life:
    """Exchanges of which nobody takes leave."""
    life = Life(secret)
    with overheard(life):
        for mechanism in MECHANISMS:
            one, other = client(mechanism, credentials_for(mechanism, secret)), server(mechanism)
            begun(one, other)
            del one, other
        gc.collect()
    return life


def command_lines() -> Iterator[str]:
    """The arguments of every process, as everybody can read them."""
    if not Path("/proc/self/cmdline").exists():
        yield subprocess.run(["ps", "-A", "-o", "args="], capture_output=True, text=True, check=True).stdout
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            yield path.read_bytes().decode("latin-1")


@functools.cache
def processes(secret: str) -> tuple[str, ...]:
    """What everybody on the machine can see of the command line while it waits for a server."""
    kind = "password" if secret == PASSWORD else "token"
    command = shlex.join([sys.executable, "-c", "import os; print(os.environ['SECRET'])"])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(20)
        url = f"imaps://alice@127.0.0.1:{listening.getsockname()[1]}"
        arguments = [str(Path(sys.executable).with_name("sasl")), "login", url, f"--{kind}-command", command, "--trace"]
        environment = {**os.environ, "SECRET": secret}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(arguments, env=environment, text=True, **streams) as process:  # type: ignore[call-overload]
            sock, _ = listening.accept()
            listed = "\n".join(command_lines())
            assert f"login\0{url}" in listed or f"login {url}" in listed
            sock.close()
            return (listed, *process.communicate(timeout=20))


SINKS: Final[dict[str, Callable[[Life], Iterator[str]]]] = {
    "repr(creds)": lambda life: (repr(value) for value in holders(life)),
    "str(creds)": lambda life: (str(value) for value in holders(life)),
    "format(creds)": lambda life: (f"{value} {value!s:>9} {value!r} {value!a} {[value]}" for value in holders(life)),
    "vars()/__dict__ walk": lambda life: (
        text for value in [*holders(life), *life.everything()] for text in walked(value)
    ),
    "pickle.dumps": lambda life: attempted(life, pickle.dumps),
    "copy.deepcopy then repr": lambda life: attempted(life, copy.deepcopy),
    "dataclasses.asdict": lambda life: attempted(
        life, lambda value: dataclasses.asdict(value) if dataclasses.is_dataclass(value) else None
    ),
    "exceptions: repr, str, format": lambda life: (f"{error} {error!r} {vars(error)}" for error in life.errors),
    "exception args and __cause__/__context__ chain": lambda life: (
        text for error in life.errors for text in shown_by(error)
    ),
    "UnicodeEncodeError.object": lambda life: iter(unencodable(life.secret)),
    "logging at DEBUG of every logger": lambda life: iter(life.log),
    "warnings text": lambda life: iter(life.warned),
    "repr(mechanism) at each step": lambda life: iter(life.steps),
    "repr(exchange/transcript)": lambda life: (repr(value) for value in (life.values, life.ended)),
    "json.dumps(default=str)": lambda life: (
        json.dumps(value, default=str, skipkeys=True) for value in [*holders(life), *life.everything()]
    ),
    "smtplib set_debuglevel(1) output": lambda life: iter(life.printed),
    "imaplib debug=4 output": lambda life: iter(life.printed),
    "poplib set_debuglevel(1) output": lambda life: iter(life.printed),
    "asyncio debug mode task repr": lambda life: iter(asynchronous(life.secret)),
    "faulthandler/Sentry-like frame locals": lambda life: (text for error in life.errors for text in locals_of(error)),
    "cProfile/args": lambda life: iter(profiled(life.secret)),
    "ResourceWarning text": lambda life: iter(dropped(life.secret).warned),
    "__del__ messages": lambda life: iter(dropped(life.secret).unraisable),
    "argv of processes": lambda life: iter(processes(life.secret)),
    "what is reachable after the end": lambda life: reachable(*life.ended, *life.errors),
}


@pytest.mark.parametrize(("mechanism", "outcome"), lived)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.id}-{case.params['sink']}")
def test_no_secret_stands_in_a_sink(
    lives: dict[tuple[str, str], Life], case: sasl.spec.Case, mechanism: str, outcome: str
) -> None:
    assert case.expect == "no-secret"
    life = lives[mechanism, outcome]
    texts, secrets = list(SINKS[case.params["sink"]](life)), life.secrets()
    if seen(texts, *secrets):
        pytest.fail("\n".join(f"{text[:200]}: {found}" for text in texts if (found := seen([text], *secrets))))


def test_every_sink_is_a_case() -> None:
    assert sorted(SINKS) == sorted(case.params["sink"] for case in CASES)


@pytest.mark.parametrize(("mechanism", "outcome"), lived)
def test_a_life_has_something_to_show(lives: dict[tuple[str, str], Life], mechanism: str, outcome: str) -> None:
    """Or the sinks would be clean because they are empty."""
    life = lives[mechanism, outcome]
    first = " <" if sasl.registry.lookup(mechanism).client_first else ""
    assert any(f"AUTHENTICATE {mechanism}{first}" in text for text in life.log)
    assert sum(text.count(f"C: AUTH {mechanism}{first}") for text in life.printed) >= 2
    assert any("octets>" in text for text in life.printed)
    assert len(life.values) > 20
    assert len(life.steps) > 50
    assert len(life.errors) > (20 if outcome == "failure" else -1)
    assert bool(life.made) == (mechanism in PASSWORDS)
    names = {type(error).__name__ for error in life.errors}
    assert outcome == "success" or {"IMAPConnectionLost", "SMTPProtocolError", "POPConnectionLost"} <= names


# --- the search itself


def raised(text: str) -> sasl.SASLError:
    """An error with a frame of the library that holds a text."""
    with pytest.raises(sasl.UsageError) as caught:
        saslprep(text + "\x07")  # a pure function: its argument is a local of its frame
    return caught.value


def with_context(text: str) -> Exception:
    error = ValueError("nothing to see")
    error.__context__ = ValueError(text)
    return error


def with_note(text: str) -> Exception:
    error = ValueError("nothing to see")
    error.add_note(text)
    return error


def of_encoding(text: str) -> UnicodeError:
    with pytest.raises(UnicodeError) as caught:
        (text + "\ud800").encode()
    return caught.value


class Holder:
    """Has an attribute, and a repr that does not show it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return "Holder()"


FINDS: Final[dict[str, Callable[[str], Iterator[str]]]] = {
    "a context": lambda text: shown_by(with_context(text)),
    "a note": lambda text: shown_by(with_note(text)),
    "what could not be encoded": lambda text: shown_by(of_encoding(text)),
    "a local": lambda text: locals_of(raised(text)),
    "an attribute": lambda text: walked([{"a": Holder(text)}]),
    "what an object leads to": lambda text: reachable([(Holder(text),)]),
    "a closure": lambda text: reachable(lambda: text),
    "a script that waits": lambda text: reachable(sasl.client("PLAIN", Password(USER, text))),
    "base64 in a line": lambda text: iter([base64.b64encode(f"\0{USER}\0{text}".encode()).decode()]),
    "base64 in another one": lambda text: iter([base64.b64encode(f"\0{USER}x\0{text}".encode()).decode()]),
    "hex": lambda text: iter([text.encode().hex()]),
    "a URL": lambda text: iter([f"https://example.org/?q={quote(text)}"]),
    "backwards": lambda text: iter([text[::-1]]),
    "octets": lambda text: iter([repr(text.encode())]),
}


@pytest.mark.parametrize("place", FINDS)
@pytest.mark.parametrize("secret", [PASSWORD, TOKENS["good"]])
def test_the_search_finds_a_secret(place: str, secret: str) -> None:
    assert seen(FINDS[place](secret), secret) != []


KEY: Final = derived(PASSWORD)[3]
FINDS_OCTETS: Final[dict[str, Callable[[], Iterator[str]]]] = {
    "as they are": lambda: walked({"key": KEY}),
    "hex": lambda: iter([KEY.hex()]),
    "base64 in a line": lambda: iter([base64.b64encode(b"n,v=" + KEY).decode()]),
    "a text of all characters": lambda: iter([KEY.decode("latin-1")]),
    "keys that are stored": lambda: iter([ScramKeys("sha256", SALT, ITERATIONS, KEY, KEY).dovecot()]),
    "a script that waits": lambda: reachable(waiting_for_the_proof()),
}


def waiting_for_the_proof() -> sasl.ServerExchange:
    other = server("SCRAM-SHA-256")
    begun(client("SCRAM-SHA-256"), other)
    assert isinstance(other.answer(verifier()(sasl.FindKeys(USER, "sha256"))), sasl.Challenge)
    return other


@pytest.mark.parametrize("place", FINDS_OCTETS)
def test_the_search_finds_a_key(place: str) -> None:
    assert seen(FINDS_OCTETS[place](), KEY) != []


# --- the servers and the command line


def test_the_transcripts_of_the_servers_show_no_secret(servers: Servers, dialogues: dict[str, Dialogue]) -> None:
    texts = []
    for endpoint in (servers.imap, servers.pop, servers.smtp):
        assert len(endpoint.sessions) > 5
        for session in list(endpoint.sessions)[-40:]:
            assert session.attempts or not session.transcript
            texts += [repr(session.transcript), repr(session.attempts), *walked(session.attempts), repr(session)]
            texts += reachable(session.transcript, session.attempts, collect=False)
    assert {attempt.mechanism for session in endpoint.sessions for attempt in session.attempts} >= set(MECHANISMS)
    texts += [repr(servers), str(servers), repr(servers.verifier), repr(endpoint)]
    texts += walked(servers.verifier)
    made = [dialogue.sent for dialogue in dialogues.values()]
    for dialogue in dialogues.values():
        made += secrets_in(*messages(dialogue), password=PASSWORD)
    assert seen(texts, PASSWORD, WRONG, *TOKENS.values(), *made) == []


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_command_line_shows_no_secret(
    servers: Servers,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    protocol: str,
    mechanism: str,
    *,
    outcome: str,
) -> None:
    user = NOBODY if mechanism in ("EXTERNAL", "ANONYMOUS") and outcome == "failure" else USER
    source: tuple[str, ...] = ("--password-env", "SECRET")
    secret = PASSWORD if outcome == "success" else WRONG
    if mechanism in TOKEN:
        source, secret = ("--token-env", "SECRET"), TOKENS["good" if outcome == "success" else "expired"]
    elif mechanism not in PASSWORDS:
        source, secret = (), base64.b64encode(user.encode()).decode()
    if mechanism == "EXTERNAL":
        pair = (path.read_text() for path in servers.client_certificate(user))
        (tmp_path / "pair.pem").write_text("".join(pair))
        source = ("--client-cert", str(tmp_path / "pair.pem"))
    monkeypatch.setenv("SECRET", secret)
    monkeypatch.setenv("SASL_DEBUG", "1")
    endpoint, life = getattr(servers, protocol), Life(secret)
    url = f"{protocol}s://{quote(user)}@localhost:{endpoint.tls_port}"
    fixed = ("login", url, "--ca", str(servers.ca_file), *source, "--mechanism", mechanism, "--trace")
    for more in (("--json",), ("--no-initial-response",)):
        with overheard(life):
            code = main([*fixed, *more])
        assert code == (0 if outcome == "success" else 77)
    texts = [*life.printed, *life.log, *life.warned, *life.unraisable]
    assert sum(text.count(f" {mechanism}") for text in texts) > 3
    assert seen(texts, secret) == []
