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
import gc
import io
import json
import logging
import marshal
import os
import pickle
import pstats
import shlex
import socket
import subprocess
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import pytest

import sasl
import sasl.spec
from sasl import AccessToken, Bearer, CheckPassword, CheckToken, Password, Secret
from sasl.adapters.cli import main
from sasl.adapters.wire import imap, pop, smtp
from sasl.adapters.wire.line import Line
from sasl.prep import saslprep

from .conftest import PASSWORD, PROTOCOLS, TOKENS, USER, connect
from .leaks import chain, is_dataclass_value, locals_of, reachable, seen, shown_by, walked
from .peer import Fault, Peer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sasl.adapters.reference import Servers

    from .peer import Dialogue

CASES: Final = [case for case in sasl.spec.cases("policy_and_state") if case.family == "leak"]
MECHANISMS: Final = ("PLAIN", "XOAUTH2", "OAUTHBEARER")
OUTCOMES: Final = ("success", "failure")
SECRETS: Final = {"PLAIN": PASSWORD, "XOAUTH2": TOKENS["good"], "OAUTHBEARER": TOKENS["good"]}

WIRES: Final = {"imap": imap, "pop": pop, "smtp": smtp}


@dataclass
class Life:
    """What there is to be seen of one login.

    Attributes:
        secret: what must not be seen.
        credentials: what holds it on purpose.
        values: exchanges, events, lines and wires, and what they showed at each step.
        errors: what was raised.
        ended: exchanges and connections after the end, which have no right to the secret any more.
        log: what all loggers were told.
        printed: what the libraries' debug output and ours said.
        warned: the text of warnings.
        unraisable: what __del__ and the like had to say.
        steps: repr of the exchanges at each step.
    """

    secret: str
    credentials: list[Any] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    ended: list[Any] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    unraisable: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)

    def everything(self) -> list[Any]:
        return [*self.credentials, *self.values, *self.errors, *self.ended]


def credentials_for(mechanism: str, secret: str) -> Password | Bearer:
    return Password(USER, secret) if mechanism == "PLAIN" else Bearer(USER, secret)


def verifier(outcome: str) -> Callable[[sasl.Question], Any]:
    def check(question: sasl.Question) -> Any:
        if isinstance(question, CheckPassword | CheckToken):
            return sasl.Accepted(USER) if outcome == "success" else sasl.Rejected("no", "expired")
        return NotImplemented

    return check


def engine(life: Life, mechanism: str, outcome: str) -> None:
    """Both ends, without a wire. Each step is kept."""
    credentials = credentials_for(mechanism, life.secret)
    life.credentials.append(credentials)
    client, server = sasl.client(mechanism, credentials), sasl.server(mechanism)

    def note(*things: object) -> None:
        life.values.extend(things)
        life.steps.extend(repr(thing) for thing in (client, server, *things))
        life.steps.extend(str(thing) for thing in (client, server, *things))

    note()
    event: Any = server.start(client.start())
    while not isinstance(event, sasl.Success | sasl.Failure):
        note(event)
        if isinstance(event, sasl.Question):
            event = sasl.settle(server, event, verifier(outcome))
        else:
            event = server.receive(client.respond(event.data))
    note(event)
    if isinstance(event, sasl.Success):
        client.succeed(event.data)
    else:
        life.errors.append(client.fail(f"you sent {life.secret}", kind=event.kind))
    note()
    life.ended += [client, server, event]


def wires(life: Life, protocol: str, mechanism: str, outcome: str, *, initial: bool) -> None:
    """Both wires, which say what they send and what may be shown of it."""
    module: Any = WIRES[protocol]
    credentials = credentials_for(mechanism, life.secret)
    exchange = sasl.client(mechanism, credentials)
    options = {"tag": "A1", "capabilities": ["SASL-IR"]} if protocol == "imap" else {}
    client = module.ClientWire(exchange, initial_response=initial, **options)
    server = module.ServerWire([mechanism], channel=sasl.Channel(tls=True))
    line = client.command()
    while not client.done:
        life.values.append(line)
        life.steps += [repr(client), repr(server), repr(line), line.shown]
        said = server.receive(line.octets)
        while isinstance(said, sasl.Question):
            life.values.append(said)
            said = server.answered(sasl.settle(server.exchange, said, verifier(outcome)))
        life.values.append(said)
        life.steps += [repr(said), said.shown, client.shown(said.octets)]
        line = client.receive(said.octets)
    if client.error is not None:
        life.errors.append(client.error)
    life.values += [client, server]
    life.ended += [exchange, server.exchange, server.result]


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
        run = PROTOCOLS[dialogue.protocol].binding.run
        run(
            conn,
            credentials,
            policy=sasl.Policy(plaintext="always"),
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


@contextlib.contextmanager
def watched(life: Life) -> Iterator[None]:
    """Take down what is logged, printed, warned of, and said by __del__."""

    class Everything(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            life.log.extend(
                (record.getMessage(), repr(record.args), repr(vars(record)), logging.Formatter().format(record))
            )

    handler, root = Everything(logging.DEBUG), logging.getLogger()
    level, known = root.level, [logging.getLogger(name) for name in logging.root.manager.loggerDict]
    levels = [logger.level for logger in known]
    out, err = io.StringIO(), io.StringIO()
    hook = sys.unraisablehook
    sys.unraisablehook = lambda said: life.unraisable.extend((repr(said), repr(said.object), *shown_by(said.exc_value)))
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    for logger in known:
        logger.setLevel(logging.DEBUG)
    try:
        with (
            warnings.catch_warnings(record=True) as warned,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            warnings.simplefilter("always")
            yield
            gc.collect()
        life.warned += [f"{warning} {warning.message!r} {warning.source!r}" for warning in warned]
    finally:
        sys.unraisablehook = hook
        root.removeHandler(handler)
        root.setLevel(level)
        for logger, before in zip(known, levels, strict=True):
            logger.setLevel(before)
        life.printed += [out.getvalue(), err.getvalue()]


@pytest.fixture(scope="module")
def lives(dialogues: dict[str, Dialogue]) -> dict[tuple[str, str], Life]:
    """One life for each mechanism and outcome; the failures have cuts in them as well."""
    found = {}
    for mechanism in MECHANISMS:
        for outcome in OUTCOMES:
            life = found[mechanism, outcome] = Life(SECRETS[mechanism])
            with watched(life):
                engine(life, mechanism, outcome)
                for protocol in PROTOCOLS:
                    for initial in (True, False):
                        wires(life, protocol, mechanism, outcome, initial=initial)
                for dialogue in dialogues.values():
                    recorded = dialogue.options["credentials"]
                    options = {**dialogue.options, "credentials": credentials_for(mechanism, life.secret)}
                    good = (
                        getattr(recorded, "password", None) == life.secret
                        or getattr(recorded, "token", None) == life.secret
                    )
                    if dialogue.mechanism not in (
                        mechanism,
                        *(("IMAP-LOGIN", "POP-USER") if mechanism == "PLAIN" else ()),
                    ):
                        continue
                    if not good:
                        continue
                    same = dataclasses.replace(dialogue, options=options)
                    if outcome == "success":
                        binding(life, same)
                        continue
                    sent, said = dialogue.before(dialogue.command)
                    for offset in range(said, len(dialogue.server), 31):
                        for event in ("close", "reset", "stall", "garbage"):
                            binding(life, same, Fault(event, "server", offset))
                    for offset in range(sent, len(dialogue.client), 25):
                        binding(life, same, Fault("reset", "client", offset))
    return found


lived = [
    pytest.param(mechanism, outcome, id=f"{mechanism}-{outcome}") for mechanism in MECHANISMS for outcome in OUTCOMES
]


# --- the sinks


SENT: Final = (Line, sasl.Complete)
"""What is sent, and is there to give its octets to whoever takes it apart."""


def attempted(life: Life, make: Callable[[Any], object]) -> Iterator[str]:
    """What comes of doing something to each value; what refuses it shows nothing either."""
    for value in [*holders(life), *life.everything()]:
        if isinstance(value, (*SENT, sasl.Record)):
            continue
        try:
            made = make(value)
        except Exception as error:
            yield from shown_by(error)
        else:
            yield made.decode("latin-1") if isinstance(made, bytes) else repr(made)


def holders(life: Life) -> list[Any]:
    """The credentials, and everything else that holds the secret on purpose."""
    secret = life.secret
    made = [Secret(secret), AccessToken(secret), sasl.resolve(Bearer(USER, lambda: secret))]
    asked = [
        CheckPassword(USER, Secret(secret)),
        CheckToken(USER, Secret(secret), None, None),
        sasl.Record(USER, secret),
    ]
    return [*life.credentials, *made, *asked]


def unencodable(life: Life) -> Iterator[str]:
    """A credential that no charset can carry: the exception of its encoding holds it."""
    for mechanism in MECHANISMS:
        for user, secret in ((USER, life.secret + "\ud800"), ("al\ud800ice", life.secret)):
            credentials = Password(user, secret) if mechanism == "PLAIN" else Bearer(user, secret)
            with pytest.raises(sasl.UsageError) as caught:
                sasl.client(mechanism, credentials).start()
            assert not any(isinstance(link, UnicodeError) for link in chain(caught.value))
            yield from (*shown_by(caught.value), *locals_of(caught.value))


def asynchronous(life: Life) -> Iterator[str]:
    """Tasks in debug mode: their repr and stack while they wait, and what asyncio logs of slow ones."""

    async def main() -> list[str]:
        asyncio.get_running_loop().slow_callback_duration = 0
        waiting, go = asyncio.Event(), asyncio.Event()

        async def check(question: sasl.Question) -> Any:
            waiting.set()
            await go.wait()
            raise RuntimeError(f"{question} {life.secret}")

        async def token() -> str:
            return life.secret

        texts = []
        for mechanism in MECHANISMS:
            waiting.clear()
            go.clear()
            credentials = (
                await sasl.resolve_async(Bearer(USER, token)) if mechanism != "PLAIN" else Password(USER, life.secret)
            )
            server = sasl.server(mechanism)
            event = server.start(sasl.client(mechanism, credentials).start())
            task = asyncio.create_task(sasl.settle_async(server, event, check))
            await waiting.wait()
            stack = io.StringIO()
            task.print_stack(file=stack)
            texts += [repr(task), stack.getvalue(), repr(asyncio.all_tasks())]
            go.set()
            texts.append(repr(await task))
            texts.append(repr(task))
        return texts

    with watched(life):
        texts = asyncio.run(main(), debug=True)
    return iter([*texts, *life.log, *life.printed])


def profiled(life: Life) -> Iterator[str]:
    profile, text = cProfile.Profile(), io.StringIO()
    profile.enable()
    engine(Life(life.secret), "PLAIN", "failure")
    engine(Life(life.secret), "XOAUTH2", "success")
    profile.disable()
    pstats.Stats(profile, stream=text).print_stats().print_callers()
    profile.create_stats()
    yield text.getvalue()
    yield marshal.dumps(profile.stats).decode("latin-1")  # type: ignore[attr-defined]


def dropped(life: Life) -> Iterator[str]:
    """Exchanges and connections of which nobody takes leave."""
    with watched(life):
        for mechanism in MECHANISMS:
            client, server = sasl.client(mechanism, credentials_for(mechanism, life.secret)), sasl.server(mechanism)
            server.start(client.start())
            del client, server
        gc.collect()
    yield from life.warned
    yield from life.unraisable


def command_lines() -> Iterator[str]:
    """The arguments of every process, as everybody can read them."""
    if not Path("/proc/self/cmdline").exists():
        yield subprocess.run(["ps", "-A", "-o", "args="], capture_output=True, text=True, check=True).stdout
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            yield path.read_bytes().decode("latin-1")


def processes(life: Life) -> Iterator[str]:
    """What everybody on the machine can see of the command line while it waits for a server."""
    kind = "password" if life.secret == PASSWORD else "token"
    command = shlex.join([sys.executable, "-c", "import os; print(os.environ['SECRET'])"])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(20)
        url = f"imaps://alice@127.0.0.1:{listening.getsockname()[1]}"
        arguments = [str(Path(sys.executable).with_name("sasl")), "login", url, f"--{kind}-command", command, "--trace"]
        environment = {**os.environ, "SECRET": life.secret}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(arguments, env=environment, text=True, **streams) as process:  # type: ignore[call-overload]
            sock, _ = listening.accept()
            listed = "\n".join(command_lines())
            assert f"login\0{url}" in listed or f"login {url}" in listed
            sock.close()
            yield from (listed, *process.communicate(timeout=20))


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
        life, lambda value: dataclasses.asdict(value) if is_dataclass_value(value) else None
    ),
    "exceptions: repr, str, format": lambda life: (f"{error} {error!r} {vars(error)}" for error in life.errors),
    "exception args and __cause__/__context__ chain": lambda life: (
        text for error in life.errors for text in shown_by(error)
    ),
    "UnicodeEncodeError.object": unencodable,
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
    "asyncio debug mode task repr": asynchronous,
    "faulthandler/Sentry-like frame locals": lambda life: (text for error in life.errors for text in locals_of(error)),
    "cProfile/args": profiled,
    "ResourceWarning text": dropped,
    "__del__ messages": dropped,
    "argv of processes": processes,
    "what is reachable after the end": lambda life: reachable(*life.ended, *life.errors),
}


@pytest.mark.parametrize(("mechanism", "outcome"), lived)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.id}-{case.params['sink']}")
def test_no_secret_stands_in_a_sink(
    lives: dict[tuple[str, str], Life], case: sasl.spec.Case, mechanism: str, outcome: str
) -> None:
    assert case.expect == "no-secret"
    life = lives[mechanism, outcome]
    shown = [text for text in SINKS[case.params["sink"]](life) if seen([text], life.secret)]
    assert [f"{text[:200]}: {seen([text], life.secret)}" for text in shown] == []


def test_every_sink_is_a_case() -> None:
    assert sorted(SINKS) == sorted(case.params["sink"] for case in CASES)


@pytest.mark.parametrize(("mechanism", "outcome"), lived)
def test_a_life_has_something_to_show(lives: dict[tuple[str, str], Life], mechanism: str, outcome: str) -> None:
    """Or the sinks would be clean because they are empty."""
    life = lives[mechanism, outcome]
    assert any(f"AUTHENTICATE {mechanism} <" in text for text in life.log)
    assert sum(text.count(f"C: AUTH {mechanism} <") for text in life.printed) >= 2
    assert len(life.values) > 20
    assert len(life.steps) > 50
    assert len(life.errors) > (20 if outcome == "failure" else -1)
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


# --- the servers and the command line


def test_the_transcripts_of_the_servers_show_no_secret(servers: Servers, dialogues: dict[str, Dialogue]) -> None:
    texts = []
    for endpoint in (servers.imap, servers.pop, servers.smtp):
        assert len(endpoint.sessions) > 5
        for session in list(endpoint.sessions)[-40:]:
            assert session.attempts or not session.transcript
            texts += [repr(session.transcript), repr(session.attempts), *walked(session.attempts), repr(session)]
            texts += reachable(session.transcript, session.attempts, collect=False)
    texts += [repr(servers), str(servers), repr(servers.verifier), repr(endpoint)]
    assert seen(texts, PASSWORD, *TOKENS.values()) == []


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_command_line_shows_no_secret(
    servers: Servers,
    monkeypatch: pytest.MonkeyPatch,
    protocol: str,
    mechanism: str,
    outcome: str,
) -> None:
    kind, good, bad = (
        ("password", PASSWORD, "Looking.G1ass")
        if mechanism == "PLAIN"
        else ("token", TOKENS["good"], TOKENS["expired"])
    )
    secret = good if outcome == "success" else bad
    monkeypatch.setenv("SECRET", secret)
    monkeypatch.setenv("SASL_DEBUG", "1")
    endpoint, life = getattr(servers, protocol), Life(secret)
    url = f"{protocol}s://{quote(USER)}@localhost:{endpoint.tls_port}"
    for more in (("--json",), ("--no-initial-response",)):
        arguments = (
            "login",
            url,
            "--ca",
            str(servers.ca_file),
            f"--{kind}-env",
            "SECRET",
            "--mechanism",
            mechanism,
            "--trace",
        )
        with watched(life):
            code = main([*arguments, *more])
        assert code == (0 if outcome == "success" else 77)
    texts = [*life.printed, *life.log, *life.warned, *life.unraisable]
    assert sum(text.count(f" {mechanism}") for text in texts) > 3
    assert seen(texts, secret) == []
