"""Processes that ask for an account's token each, and die, or stop, at a point of the renewal that they are told.

They are forked from one program that has loaded everything, so that many of them cost little. It is started with a list
of JSON as its argument, an object for each process, and prints what becomes of them, line by line.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

POINTS = ("locked", "marked", "sent", "answered", "storing", "stored")
"""Where one can die: the lock is taken; the mark is stored; the request is sent, and the server has answered; the
answer is read; in the middle of storing it; it is stored, and the lock still held. There is one more, "sending": the
lease has been looked at."""


class Crew:
    """Some processes at once, one for each of the settings."""

    def __init__(self, each: Iterable[dict[str, Any]]) -> None:
        settings = list(each)
        command = [sys.executable, __file__, json.dumps(settings)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._found: list[dict[str, Any]] = [{} for _ in settings]

    def wait_until_stopped(self) -> None:
        """Return when each has stopped, or is gone."""
        while not all(found.keys() & {"stopped", "status"} for found in self._found):
            self._read(self._line())

    def go_on(self) -> None:
        """Let those that have stopped go on."""
        for found in self._found:
            if "stopped" in found:
                os.kill(found.pop("stopped"), signal.SIGCONT)

    def is_running(self) -> bool:
        """Whether one of them has not ended."""
        return self._process.poll() is None

    def outcomes(self) -> list[dict[str, Any]]:
        """Return what became of each: its exit status (negative: the signal), and what it said."""
        printed, _ = self._process.communicate(timeout=120)
        for line in printed.splitlines():
            self._read(line)
        return self._found

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self._found
        return line

    def _read(self, line: str) -> None:
        said = json.loads(line)
        self._found[said.pop("number")] |= said


def store_of(settings: dict[str, Any]) -> Any:
    """Open the store that the settings name: a kind and where it is, then for PostgreSQL whether it is pooled."""
    kind, *arguments = settings["store"]
    lease = settings.get("lease", 60.0)
    if kind == "file":
        from sasl.adapters.tokens.stores import FileStore

        return FileStore(Path(arguments[0]))
    if kind == "postgres":
        from sasl.adapters.tokens.stores.postgres import PostgresStore

        return PostgresStore(arguments[0], pooled=bool(arguments[1]), lease=lease)
    from sasl.adapters.tokens.stores.redis import RedisStore

    return RedisStore(arguments[0], lease=lease)


class Doomed:
    """A store that ends, or stops, its process at a point."""

    def __init__(self, store: Any, point: str, number: int) -> None:
        self._store = store
        self._point = point
        self._signal = number
        self._saves = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def reach(self, point: str) -> None:
        if point == self._point:
            self._point = ""
            os.kill(os.getpid(), self._signal)

    def locked(self, key: str, seconds: float) -> Any:
        lock = self._store.locked(key, seconds)
        enter = lock.__enter__

        class Lock:
            def __enter__(_self) -> Any:
                lease = enter()
                self.reach("locked")
                return lease

            def __exit__(_self, *error: object) -> Any:
                return lock.__exit__(*error)

        return Lock()

    def save(self, record: Any, lease: Any) -> Any:
        self._saves += 1
        if self._saves == 2 and self._point == "storing":
            self._die_in_the_middle()
        saved = self._store.save(record, lease)
        if self._saves == 2:
            self.reach("storing")  # a statement that was carried out sooner than that
        self.reach("marked" if self._saves == 1 else "stored")
        return saved

    def _die_in_the_middle(self) -> None:
        """Die when the file is about to be replaced, or soon after the statement is sent."""

        def audit(event: str, _arguments: tuple[Any, ...]) -> None:
            if event == "os.rename":
                self.reach("storing")

        sys.addaudithook(audit)
        threading.Timer(0.002, self.reach, ["storing"]).start()


class Sender:
    """Sends requests, and looks whether an answer is there before it is read."""

    def __init__(self, doomed: Doomed, timeout: float) -> None:
        from sasl.adapters.tokens.http import Request

        self._doomed = doomed
        self.timeout = timeout
        self._request = Request(timeout=timeout)

    def __call__(self, url: str, **arguments: Any) -> Any:
        self._doomed.reach("sending")
        if self._doomed._point == "sent":
            parts = urlsplit(url)
            assert parts.hostname
            connection = HTTPConnection(parts.hostname, parts.port)
            connection.request(arguments["method"], parts.path, arguments["body"], arguments["headers"])
            assert isinstance(connection.sock, socket.socket)
            select.select([connection.sock], [], [], 10)
            self._doomed.reach("sent")
        response = self._request(url, **arguments)
        self._doomed.reach("answered")
        return response


def work(settings: dict[str, Any]) -> dict[str, Any]:
    """Ask once, or for some seconds; return what came of the last time, and how often it worked."""
    import sasl
    from sasl.adapters.tokens.oauth import OAuthTokens

    number = signal.SIGSTOP if settings.get("stop") else signal.SIGKILL
    doomed = Doomed(store_of(settings), settings.get("point", ""), number)
    source = OAuthTokens(doomed, settings["key"], request=Sender(doomed, settings.get("timeout", 10.0)))
    ends = time.monotonic() + settings.get("seconds", 0.0)
    found: dict[str, Any] = {"renewed": 0, "failed": []}
    stale: str | None = settings.get("stale")
    while True:
        try:
            token = source.token(stale=stale).value.reveal()
            found["renewed"] += 1
            found["token"] = stale = token
        except sasl.TokenError as error:
            found["failed"].append(error.code)
            found |= {"needs_user": error.needs_user, "retryable": error.retryable}
            if not error.retryable:
                break
        if time.monotonic() >= ends:
            break
    return found


def say(number: int, **what: object) -> None:
    """Print a line in one piece, beside the lines of others."""
    os.write(1, json.dumps({"number": number} | what).encode() + b"\n")


def fork(number: int, settings: dict[str, Any]) -> int:
    """Return the id of a process that works."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        say(number, **work(settings))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def load(settings: dict[str, Any]) -> None:
    """Import what a worker will use."""
    import sasl.adapters.tokens.oauth  # noqa: F401 -- `work` uses it

    store_of(settings)
    if settings["store"][0] == "postgres":
        import psycopg  # noqa: F401 -- the store imports it when it connects


def main() -> None:
    """Fork the processes, and tell when one stops or ends."""
    each = json.loads(sys.argv[1])
    for settings in each:
        load(settings)
    numbers = {fork(number, settings): number for number, settings in enumerate(each)}
    running = len(numbers)
    while running:
        pid, status = os.waitpid(-1, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            say(numbers[pid], stopped=pid)
            continue
        running -= 1
        say(numbers[pid], status=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
