"""A source that blocks, in an event loop: the loop goes on, and the source is told what it would be told otherwise."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

import sasl
from sasl.adapters.session import with_new_token_async
from sasl.adapters.tokens import google as tokens
from sasl.adapters.tokens.threaded import Threaded

from ...support.leaks import locals_of, seen

if TYPE_CHECKING:
    from pathlib import Path

    from sasl.adapters.reference.token_endpoint import TokenEndpoint


def test_the_loop_goes_on_while_the_source_waits() -> None:
    class Source:
        """Has its token only when the loop has done something else."""

        def __init__(self) -> None:
            self.other = threading.Event()

        def token(self, *, stale: str | None = None) -> sasl.AccessToken:
            return sasl.AccessToken(f"{self.other.wait(5)} {stale}")

    async def scenario() -> str:
        source = Source()
        asked = asyncio.create_task(sasl.resolve_async(sasl.Bearer("alice", Threaded(source)), stale="old"))
        await asyncio.sleep(0)
        source.other.set()
        token = (await asked).token
        assert isinstance(token, sasl.Secret)
        return token.reveal()

    assert asyncio.run(scenario()) == "True old"


def test_a_refused_token_of_googles_is_renewed(endpoint: TokenEndpoint, user_file: Path) -> None:
    given: list[str] = []

    async def attempt(ready: sasl.Credentials) -> str:
        assert isinstance(ready, sasl.Bearer)
        assert isinstance(ready.token, sasl.Secret)
        given.append(ready.token.reveal())
        if len(given) == 2:
            return "logged in"
        error = sasl.AuthenticationFailed("refused", kind="credentials")
        error.token = True
        raise error

    bearer = sasl.Bearer("alice", Threaded(tokens.from_file(user_file)))
    assert asyncio.run(with_new_token_async(bearer, attempt)) == "logged in"
    assert [endpoint.state(token) for token in given] == ["good", "good"]
    assert len(set(given)) == 2


def test_its_failure_is_that_of_the_source(endpoint: TokenEndpoint, user_file: Path) -> None:
    endpoint.faults.append("500")
    with pytest.raises(sasl.TokenError) as caught:
        asyncio.run(sasl.resolve_async(sasl.Bearer("alice", Threaded(tokens.from_file(user_file)))))
    assert (caught.value.code, caught.value.retryable) == ("http_500", True)


def test_who_waits_for_nothing_cannot_use_it(user_file: Path) -> None:
    with pytest.raises(sasl.UsageError, match="resolve_async"):
        sasl.resolve(sasl.Bearer("alice", Threaded(tokens.from_file(user_file))))


def test_who_does_not_use_it_loads_no_asyncio() -> None:
    code = "import sys, sasl, sasl.adapters.tokens.google; sys.exit('asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-I", "-c", code], check=False).returncode == 0


def test_a_task_that_is_cancelled_shows_no_token_in_its_frames() -> None:
    asked = threading.Event()
    go_on = threading.Event()

    class Source:
        def token(self, *, stale: str | None = None) -> sasl.AccessToken:
            asked.set()
            go_on.wait(5)
            return sasl.AccessToken("new")

    async def run() -> list[str]:
        source = Threaded(Source())
        task = asyncio.create_task(sasl.resolve_async(sasl.Bearer("alice", source), stale="ya29.a-stale-token"))
        await asyncio.to_thread(asked.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        go_on.set()
        return seen(locals_of(caught.value, everywhere=True), "ya29.a-stale-token")

    assert asyncio.run(run()) == []
