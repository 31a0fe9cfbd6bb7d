"""Throw-away mechanisms: what a test writes as a script becomes an exchange, in a registry of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl import registry

from ..support.leaks import frames_of, is_ours, objects_behind, seen, shown

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

    def leaks(error: BaseException) -> list[str]:
        found = [text for text in shown(error) if seen([text], SECRET)]
        found += [f"its {name}" for name in ("__cause__", "__context__") if getattr(error, name) is not None]
        return found + [f"a frame of {frame.f_code.co_filename}" for frame in frames_of(error) if not is_ours(frame)]

    return leaks


@pytest.fixture
def reachable() -> Callable[[object], list[object]]:
    """Everything that an object holds, however deep; not what belongs to the program: modules, classes, globals."""
    return lambda start: list(objects_behind(start))
