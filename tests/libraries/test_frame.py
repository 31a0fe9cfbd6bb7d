"""What the tests of all libraries stand on: which libraries there are, and event loops that tell what goes wrong."""

from __future__ import annotations

import asyncio
import imaplib
import inspect
import logging
import time
from typing import Any

import pytest

import sasl.adapters.imaplib

from ..support import libraries
from ..support.libraries import Client, Looped, asynchronous, clients, load, names


def test_each_library_has_a_file_that_is_named_after_it_and_a_binding() -> None:
    assert {"imaplib", "poplib", "smtplib"} <= set(names())
    for name in names():
        if isinstance(client := load(name), Client):
            assert client.binding.__name__ == f"sasl.adapters.{client.module}"
            assert name in (client.module, f"{client.module}_{client.service}")
            assert issubclass(client.refused, client.error)
            assert (
                issubclass(client.lost, client.error) or client.lost is ConnectionError
            )  # of streams, which have none


@pytest.mark.parametrize("client", clients())
def test_all_bindings_are_called_alike(client: Client) -> None:
    def takes(authenticate: Any) -> list[tuple[str, Any, Any]]:
        found = inspect.signature(authenticate).parameters.values()
        return [(each.name, each.kind, each.default) for each in found if each.name != "initial_folder"]  # imap_tools'

    assert takes(client.binding.authenticate) == takes(sasl.adapters.imaplib.authenticate)
    assert not client.binding.is_session_lost(ValueError())


def test_a_file_of_ours_does_not_stand_before_the_library() -> None:
    assert "tests" not in imaplib.__name__
    assert hasattr(imaplib, "IMAP4")


def test_a_library_that_is_not_installed_says_so_and_may_be_required(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = ModuleNotFoundError("no", name="nosuchlibrary.part")
    monkeypatch.setattr(libraries.importlib, "import_module", _raising(missing))
    monkeypatch.delenv("SASLKIT_REQUIRE_INTEROP", raising=False)
    assert load.__wrapped__("nosuchlibrary") == "nosuchlibrary.part is not installed"
    monkeypatch.setenv("SASLKIT_REQUIRE_INTEROP", "1")
    with pytest.raises(ModuleNotFoundError):
        load.__wrapped__("nosuchlibrary")


def test_what_is_missing_of_ours_is_never_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = ModuleNotFoundError("no", name="sasl.adapters.nosuchlibrary")
    monkeypatch.setattr(libraries.importlib, "import_module", _raising(missing))
    monkeypatch.delenv("SASLKIT_REQUIRE_INTEROP", raising=False)
    with pytest.raises(ModuleNotFoundError):
        load.__wrapped__("nosuchlibrary")


def _raising(error: Exception) -> Any:
    def fail(*_: Any) -> None:
        raise error

    return fail


# --- asynchronous libraries

CALLS: list[str] = []


async def _connect(host: str, port: int) -> str:
    if not port:
        raise ConnectionRefusedError
    return f"{host}:{port}"


async def _authenticate(conn: str, credentials: str, *, mechanism: str) -> tuple[str, ...]:
    return conn, credentials, mechanism


async def _block(_: str) -> None:
    time.sleep(0.2)


async def _forget(_: str) -> None:
    async def fail() -> None:
        raise RuntimeError("nobody looks")

    task = asyncio.get_running_loop().create_task(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task


async def _close(conn: str) -> None:
    CALLS.append(conn)


def _calls(noop: Any = _block) -> dict[str, Any]:
    return asynchronous(connect=_connect, authenticate=_authenticate, noop=noop, close=_close)


def test_the_calls_of_an_asynchronous_library_run_in_a_loop_of_their_connection() -> None:
    CALLS.clear()
    calls = _calls()
    one, other = (calls["connect"]("mail.example", port) for port in (1, 2))
    assert calls["authenticate"](one, "me", mechanism="PLAIN") == ("mail.example:1", "me", "PLAIN")
    assert calls["authenticate"](other, "me", mechanism="PLAIN")[0] == "mail.example:2"
    for looped in (one, other, one):
        calls["close"](looped)
    assert CALLS == ["mail.example:1", "mail.example:2"]
    assert isinstance(one, Looped)


def test_a_connection_that_is_not_made_leaves_no_loop() -> None:
    with pytest.raises(ConnectionRefusedError):
        _calls()["connect"]("mail.example", 0)


@pytest.mark.parametrize(
    ("noop", "said"), [(_block, "took"), (_forget, "never retrieved")], ids=["blocks", "forgets an error"]
)
def test_a_library_that_blocks_or_forgets_an_error_is_told_of(
    noop: Any, said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(libraries, "SLOW", 0.1)
    calls = _calls(noop)
    looped = calls["connect"]("mail.example", 1)
    calls["noop"](looped)
    calls["close"](looped)
    told = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    caplog.clear()
    assert any(said in text for text in told)
