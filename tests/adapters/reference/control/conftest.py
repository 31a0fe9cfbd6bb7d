"""Servers with a control endpoint, and a client of it."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from sasl.adapters.reference import Servers, serving
from sasl.adapters.reference.control import Control, serving_control
from sasl.adapters.reference.listening import in_thread

from ....support.leaks import seen

API = "/api/v1"
JSON = "application/json"
PASSWORD = "wonderland"


@dataclass(frozen=True)
class Reply:
    """What an endpoint answered."""

    status: int
    headers: dict[str, str]
    octets: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.octets)


@dataclass(frozen=True)
class Controlled:
    """Servers and how they are controlled."""

    servers: Servers
    control: Control
    opened: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        kind: str = JSON,
        key: str | None = "",
        **headers: str,
    ) -> Reply:
        """Send a request with the key, unless another one is given; None is none."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["Authorization"] = f"Bearer {key or self.control.key.reveal()}"
        octets = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if octets is not None:
            sent["Content-Type"] = kind
        connection = http.client.HTTPConnection(urlsplit(self.control.url).netloc, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, octets, sent)
            answer = connection.getresponse()
            got = {name.lower(): value for name, value in answer.getheaders()}
            reply = Reply(answer.status, got, answer.read())
        assert seen([reply.octets.decode("utf-8", "replace")], PASSWORD) == []
        return reply

    def do(self, method: str, path: str, body: object = None, status: int = 200) -> Any:
        """Ask the API; return the document of the answer, None for none."""
        reply = self.ask(method, API + path, body)
        assert reply.status == status, reply
        return reply.document if reply.octets else None


@contextlib.contextmanager
def events(controlled: Controlled) -> Iterator[Callable[[], tuple[str, Any]]]:
    """The events from now on, one for each call."""
    connection = http.client.HTTPConnection(urlsplit(controlled.control.url).netloc, timeout=10)
    with contextlib.closing(connection):
        connection.request(
            "GET", f"{API}/events", headers={"Authorization": f"Bearer {controlled.control.key.reveal()}"}
        )
        with connection.getresponse() as answer:
            assert answer.status == 200
            assert answer.getheader("Content-Type") == "text/event-stream"

            def event() -> tuple[str, Any]:
                topic, data, end = (answer.readline().decode() for _ in range(3))
                assert (topic[:7], data[:6], end) == ("event: ", "data: ", "\n"), (topic, data, end)
                return topic[7:-1], json.loads(data[6:])

            yield event


@contextlib.asynccontextmanager
async def both(**options: Any) -> AsyncIterator[Controlled]:
    async with serving(oauth=True, **options) as servers, serving_control(servers) as control:
        yield Controlled(servers, control)


@pytest.fixture(scope="module")
def running() -> Iterator[Controlled]:
    with in_thread(both(users={"alice": PASSWORD, "bob": "builder"}), "control") as controlled:
        yield controlled


@pytest.fixture
def controlled(running: Controlled) -> Iterator[Controlled]:
    """The servers of the module, with nothing in them; what a test has opened is closed at its end."""
    running.servers.reset()
    with running.opened:
        yield running
