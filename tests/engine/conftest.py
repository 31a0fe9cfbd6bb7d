"""Throw-away mechanisms: what a test writes as a script becomes an exchange, in a registry of its own."""

from __future__ import annotations

import gc
import traceback
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl import registry

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "pencil-Geheimnis-4711"


@pytest.fixture
def secret() -> str:
    """The text that must not be seen anywhere."""
    return SECRET


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registrations of a test end with it."""
    monkeypatch.setattr(registry, "_registered", {})


@pytest.fixture
def add(own_registry: None) -> Callable[..., sasl.Mechanism]:
    """Register a row; whatever does not matter to the test has a default."""

    def add(name: str = "X-TEST", **fields: Any) -> sasl.Mechanism:
        fields = {
            "client": None,
            "server": None,
            "credentials": sasl.Password,
            "client_first": True,
            "plaintext": False,
            "rank": 1,
            **fields,
        }
        row = sasl.Mechanism(name, **fields)
        sasl.register(row, replace=True)
        return row

    return add


@pytest.fixture
def client(add: Callable[..., sasl.Mechanism]) -> Callable[..., sasl.ClientExchange]:
    """Make a client exchange from a script, with credentials that hold SECRET."""

    def client(script: Any, credentials: Any = None, **options: Any) -> sasl.ClientExchange:
        credentials = sasl.Password("user", SECRET) if credentials is None else credentials
        add(client=script, credentials=type(credentials))
        return sasl.client("X-TEST", credentials, **options)

    return client


@pytest.fixture
def server(add: Callable[..., sasl.Mechanism]) -> Callable[..., sasl.ServerExchange]:
    """Make a server exchange from a script."""

    def server(script: Any, **options: Any) -> sasl.ServerExchange:
        add(server=script)
        return sasl.server("X-TEST", **options)

    return server


@pytest.fixture
def leaks() -> Callable[[BaseException], list[str]]:
    """Where an error shows SECRET: its texts, its chain, its attributes, the locals of our frames."""
    ours = str(Path(sasl.__file__).parent)

    def leaks(error: BaseException) -> list[str]:
        found = [f"{type(error).__name__}.args"] if SECRET in repr((error, str(error), error.args)) else []
        found += [f"attribute {name}" for name, value in vars(error).items() if SECRET in f"{value!r}{value}"]
        found += [f"its {name}" for name in ("__cause__", "__context__") if getattr(error, name) is not None]
        for frame, _ in traceback.walk_tb(error.__traceback__):
            name = frame.f_code.co_filename
            if name.startswith(ours):
                shown = {local: safe_repr(value) for local, value in frame.f_locals.items()}
                found += [f"{local} in {frame.f_code.co_name}()" for local, text in shown.items() if SECRET in text]
            elif "test_" not in name:
                found.append(f"a frame of {name}")
        return found

    return leaks


@pytest.fixture
def reachable() -> Callable[[object], list[object]]:
    """Everything that an object holds, however deep; not what belongs to the program: modules, classes, globals."""

    def reachable(start: object) -> list[object]:
        found: dict[int, object] = {id(start): start}
        todo = [start]
        while todo:
            for other in gc.get_referents(todo.pop()):
                if id(other) not in found and not isinstance(
                    other, type | types.ModuleType | types.FunctionType | dict
                ):
                    found[id(other)] = other
                    todo.append(other)
        return list(found.values())

    return reachable


def safe_repr(value: object) -> str:
    """What a debugger shows of a local; an object that is half made has no repr yet."""
    try:
        return repr(value)
    except AttributeError:
        return "half made"
