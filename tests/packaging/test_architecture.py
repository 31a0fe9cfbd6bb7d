"""docs/architecture.md is true: its names are there, its example runs, its state tables are what the exchanges do."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

import sasl
from sasl import registry

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text()
FENCES = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLE = "\n".join(code for kind, code in FENCES.findall(TEXT) if kind == "python")
FOLDERS = {"sasl": "sasl", "mechanisms": "sasl.mechanisms", "adapters": "sasl.adapters", "spec": "sasl.spec"}


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone with it."""
    monkeypatch.setattr(registry, "_registered", {})


def tables() -> list[list[list[str]]]:
    """Every table of the page as rows of cells, the head first, without the line below it."""
    found: list[list[list[str]]] = [[]]
    for line in FENCES.sub("", TEXT).splitlines():
        if line.startswith("|"):
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        elif found[-1]:
            found.append([])
    return [[table[0], *table[2:]] for table in found if table]


def test_every_path_is_there() -> None:
    paths = re.findall(r"`((?:sasl|mechanisms|adapters|spec)/[\w/.]*)`", TEXT)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_name_is_there() -> None:
    names = set(re.findall(r"`(?:sasl\.)?([A-Z]\w+|choose|resolve|settle|offer|server|client)(?:\([^`]*\))?`", TEXT))
    names |= set(re.findall(r"sasl\.(\w+)", EXAMPLE)) | set(re.findall(r"^sasl\.(\w+)\(", TEXT, re.MULTILINE))
    assert len(names) > 20
    assert [name for name in sorted(names) if not hasattr(sasl, name)] == []


@pytest.mark.parametrize("cls", [sasl.ClientExchange, sasl.ServerExchange], ids=lambda cls: cls.__name__)
def test_the_calls_of_an_exchange_are_all_there(cls: type) -> None:
    section = TEXT.partition(f"-> {cls.__name__}\n")[2].partition("```")[0]
    named = set(re.findall(r"^    \.(\w+)", section, re.MULTILINE))
    public = {name for name in dir(cls) if not name.startswith("_")}
    assert named <= public
    assert public - named <= {"name", "state", "secret", "explained", "explanation", "prompts", "derives"}


def test_the_picture_shows_every_folder_of_the_adapters() -> None:
    picture = next(code for kind, code in FENCES.findall(TEXT) if kind == "mermaid")
    folders = [path.name for path in (ROOT / "adapters").iterdir() if (path / "__init__.py").exists()]
    assert [name for name in folders if f"{name}/" not in picture] == []
    modules = re.findall(r"^    (\w+)\[\"\1<br>", picture, re.MULTILINE)
    assert [name for name in modules if not (ROOT / "sasl" / f"{name}.py").exists()] == []


def test_the_arrows_between_folders_are_the_imports() -> None:
    for folder in ("mechanisms", "adapters"):
        for path in (ROOT / folder).rglob("*.py"):
            for module in re.findall(r"^ *from (sasl[\w.]*) import", path.read_text(), re.MULTILINE):
                home = module.partition(".")[2].partition(".")[0]
                assert home not in FOLDERS, f"{path}: {module}"
                importlib.import_module(module)


# --- the state tables


def client_in(state: str) -> sasl.ClientExchange:
    exchange = sasl.client("PLAIN", sasl.Password("tim", "tanstaaf"))
    if state != "NEW":
        exchange.start()
    if state == "DONE":
        exchange.succeed()
    if state == "FAILED":
        exchange.fail("no")
    return exchange


def server_in(state: str) -> sasl.ServerExchange:
    exchange = sasl.server("PLAIN")
    if state in ("OPEN, a challenge is out", "DONE"):
        exchange.start()
    if state == "OPEN, a question is open":
        exchange.start(b"\0tim\0tanstaaf")
    if state == "DONE":
        exchange.receive(b"\0tim\0tanstaaf")
        exchange.answer(sasl.Accepted("tim"))
        exchange.answer(NotImplemented)
    if state == "FAILED":
        exchange.cancel()
    return exchange


CALLS: dict[str, Any] = {
    "start": lambda exchange: exchange.start(),
    "defer": lambda exchange: exchange.defer(),
    "succeed": lambda exchange: exchange.succeed(),
    "fail": lambda exchange: exchange.fail("no"),
    "cancel": lambda exchange: exchange.cancel(),
    "receive": lambda exchange: exchange.receive(b"\0tim\0tanstaaf"),
    "answer": lambda exchange: exchange.answer(sasl.Accepted("tim")),
}


def cells() -> list[Any]:
    """Each cell of the state tables: side, state, call and what it comes to."""
    found = []
    for head, *rows in tables():
        if head[0] == "state":
            side = "server" if "receive" in head else "client"
            found += [(side, row[0], call, cell) for row in rows for call, cell in zip(head[1:], row[1:], strict=True)]
    return found


@pytest.mark.parametrize(("side", "state", "call", "outcome"), cells())
def test_a_cell_of_the_state_tables_is_true(side: str, state: str, call: str, outcome: str) -> None:
    exchange: Any = client_in(state) if side == "client" else server_in(state)
    act = CALLS.get(call)
    if call == "respond":
        if state == "OPEN":
            exchange.defer()  # a client-first mechanism of one message responds only so
        act = lambda exchange: exchange.respond(b"")  # noqa: E731 -- as the others are

    assert exchange.state.name == state.partition(",")[0]
    if outcome == "UsageError":
        with pytest.raises(sasl.UsageError):
            act(exchange)
    elif outcome == "the error kept":
        assert act(exchange) is act(exchange)
        assert exchange.state is sasl.State.FAILED
    else:
        act(exchange)
        assert exchange.state.name == outcome


def test_the_tables_cover_every_state_and_every_call() -> None:
    assert {state.partition(",")[0] for _, state, _, _ in cells()} == {state.name for state in sasl.State}
    assert len(cells()) == 4 * 6 + 5 * 4


# --- what the client sent last


SENT: dict[str, list[Any]] = {
    "None: the server speaks first": [None],
    "`Harmless(octets)` or bytes": [sasl.Harmless(b"x")],
    "`Complete(octets)`": [sasl.Complete(b"x")],
    "`ErrorAnswer(octets)`": [b"x", sasl.ErrorAnswer(b"y", {"status": "401"})],
    "anything, deferred": [sasl.Complete(b"x")],
}


def turns() -> list[Any]:
    """Each row about what the script yielded."""
    head, *rows = next(table for table in tables() if table[0][0] == "the script yielded")
    assert head[1:] == ["a challenge", "a yes", "a no"]
    return rows


@pytest.mark.parametrize(("sent", "challenge", "yes", "no"), turns(), ids=lambda cell: cell[:20])
def test_a_row_about_what_was_sent_last_is_true(sent: str, challenge: str, yes: str, no: str) -> None:
    def begun() -> sasl.ClientExchange:
        def script(*_: object) -> Any:
            for step in [*SENT[sent], sasl.Complete(b"answer")]:  # noqa: UP028 -- a list takes no answers
                yield step

        row = sasl.Mechanism("X-ROW", script, None, sasl.Password, client_first=True, plaintext=False, rank=1)
        sasl.register(row, replace=True)
        exchange = sasl.client("X-ROW", sasl.Password("tim", "tanstaaf"))
        exchange.start()
        for _ in SENT[sent][1:]:
            exchange.respond(b"challenge")
        if "deferred" in sent:
            exchange.defer()
        return exchange

    if challenge == "ProtocolError":
        with pytest.raises(sasl.ProtocolError):
            begun().respond(b"challenge")
    else:
        assert begun().respond(b"challenge") == (b"x" if "deferred" in challenge else b"answer")
    if "an empty one is ProtocolError" in challenge:
        with pytest.raises(sasl.ProtocolError):
            begun().respond(b"")
    if yes == "login":
        begun().succeed()
    else:
        with pytest.raises(sasl.ServerNotProven):
            begun().succeed()
    error = begun().fail("no")
    assert type(error) is sasl.AuthenticationFailed
    assert bool(error.detail) is ("detail" in no)


# --- the example


def test_the_mechanism_of_the_page_logs_in() -> None:
    names: dict[str, Any] = {}
    exec(EXAMPLE, names)
    sasl.register(names["ROW"], replace=True)
    client = sasl.choose(["X-GREETING"], sasl.Password("tim", "tanstaaf"), channel=sasl.Channel(tls=True)).client(
        sasl.Password("tim", "tanstaaf")
    )
    server = sasl.server("X-GREETING")

    def check(question: sasl.Question) -> Any:
        if isinstance(question, sasl.CheckPassword):
            right = question.authcid == "tim" and question.password == "tanstaaf"
            return sasl.Accepted("tim") if right else sasl.Rejected("no")
        return NotImplemented

    event = sasl.settle(server, server.start(client.start()), check)
    assert isinstance(event, sasl.Challenge)
    event = sasl.settle(server, server.receive(client.respond(event.data)), check)
    client.succeed()

    assert event == sasl.Success("tim", "tim")
