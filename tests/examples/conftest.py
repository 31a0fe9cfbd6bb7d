"""Servers for the examples, in a thread each, which lie where a test wants it. Real ones are in tests/interop."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sasl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

USER, PASSWORD, TOKEN = "alice", "wonderland", "a-good-token"
LIES = ("signature", "at once", "half way")
"""A signature of somebody who has not the password; a yes in place of the first challenge, and one that carries it."""

_KEYS = sasl.ScramKeys.derive(PASSWORD, iterations=4_096)
_ANOTHERS = b"v=" + b"A" * 43 + b"="


class Answers:
    """What a server says to the messages of a client, whatever the protocol; it knows one user.

    Each answer is a verdict, None as long as there is none, and data, None if there are none.
    """

    def __init__(self, name: str, *, lie: str = "") -> None:
        self._exchange = sasl.server(name, success_data=True)
        self._lie = lie

    def first(self, message: bytes | None) -> tuple[bool | None, bytes | None]:
        return self._answer(self._exchange.start(message))

    def next(self, message: bytes) -> tuple[bool | None, bytes | None]:
        return self._answer(self._exchange.receive(message))

    def _answer(self, event: Any) -> tuple[bool | None, bytes | None]:
        event = sasl.settle(self._exchange, event, check)
        if isinstance(event, sasl.Success):
            return True, _ANOTHERS if self._lie == "signature" else event.data
        if isinstance(event, sasl.Failure):
            return False, None
        if self._lie == "at once":
            return True, None
        return (True if self._lie == "half way" else None), event.data


def check(question: object) -> object:
    if isinstance(question, sasl.FindKeys):
        return sasl.Record(USER, _KEYS) if question.authcid == USER else None
    if isinstance(question, sasl.CheckPassword):
        right = (question.authcid, question.password.reveal()) == (USER, PASSWORD)
        return sasl.Accepted(USER) if right else sasl.Rejected("wrong")
    if isinstance(question, sasl.CheckToken):
        right = (question.username, question.token.reveal()) == (USER, TOKEN)
        return sasl.Accepted(USER) if right else sasl.Rejected("expired", detail={"status": "invalid_token"})
    return NotImplemented


@contextmanager
def served(serve: Callable[[socket.socket], None]) -> Iterator[socket.socket]:
    """Give a socket that is connected to a server: a function, which runs in a thread until the client goes away."""
    ours, theirs = socket.socketpair()
    with ours, _running(serve, lambda: theirs):
        ours.settimeout(10)
        yield ours
        ours.close()


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Give the port of a server: a function, which runs in a thread and serves one connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        with _running(serve, lambda: server.accept()[0]):
            yield server.getsockname()[1]


@contextmanager
def _running(serve: Callable[[socket.socket], None], connect: Callable[[], socket.socket]) -> Iterator[None]:
    """Run a server; what fails in it fails the test, but that the client goes away."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            with connect() as sock:
                sock.settimeout(10)
                serve(sock)
        except (ConnectionError, EOFError):
            pass
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert failures == []
