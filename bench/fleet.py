"""Eight processes share 200 mailboxes whose tokens last an hour; the store's server is killed amid their renewals.

    python bench/fleet.py redis|postgres|file [--hours 1.2] [--speed 30]

The clock of all is as many times as fast as `--speed` says; leases and time-outs are as much shorter, so that a lease
that nobody gives back ends before a token does. The server is killed, and started again, when a quarter of the first
renewals is done. Prints one object of JSON; ends with 1 unless there were as
many renewals as expiries, and no failure. Debian's redis-server and postgresql are started here, on loopback.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sasl
from sasl.adapters.reference import token_endpoint
from sasl.adapters.tokens.http import Request
from sasl.adapters.tokens.oauth import OAuthTokens
from sasl.adapters.tokens.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable

PROCESSES = 8
MAILBOXES = 200
HOUR = 3_600.0
TIMEOUT = 1.0  # seconds of a request
LEASE = 4.0  # seconds
EARLIEST = HOUR - 300 - 120
"""Seconds after which a renewal comes, at the earliest: margin, jitter, and a turn of a loop."""


def store_of(where: list[str]) -> Any:
    """Return the store that a worker is told."""
    kind, place = where
    if kind == "file":
        from sasl.adapters.tokens.stores import FileStore

        return FileStore(Path(place))
    if kind == "redis":
        from sasl.adapters.tokens.stores.redis import RedisStore

        return RedisStore(place, lease=LEASE)
    from sasl.adapters.tokens.stores.postgres import PostgresStore

    return PostgresStore(place)


def work(settings: dict[str, Any]) -> None:
    """Ask for each mailbox's token in turn until the time is over; print when each was first seen, and failures."""
    began, speed = settings["began"], settings["speed"]

    def clock() -> float:
        return float(began + (time.time() - began) * speed)

    store = store_of(settings["store"])
    options: dict[str, Any] = {"clock": clock, "sleep": lambda seconds: time.sleep(seconds / speed)}
    sources = {key: OAuthTokens(store, key, request=Request(timeout=TIMEOUT), **options) for key in settings["keys"]}
    seen: dict[str, dict[str, float]] = {key: {} for key in sources}
    failures: Counter[str] = Counter()
    while clock() < settings["ends"]:
        for key, source in sources.items():
            try:
                token = source.token().value.reveal()
            except sasl.TokenError as error:
                failures[str(error.code)] += 1
            else:
                seen[key].setdefault(token[-12:], clock())
        time.sleep(0.02)
    print(json.dumps({"seen": seen, "failures": failures}))


class Redis:
    """A server that writes before it answers."""

    def __init__(self, folder: Path, port: int) -> None:
        always = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")
        self._command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), *always]
        self.place = f"redis://127.0.0.1:{port}/0"

    def start(self) -> subprocess.Popen[bytes]:
        """Start it."""
        return subprocess.Popen(self._command, stdout=subprocess.DEVNULL)


class Postgres:
    """A server in a folder of its own; it does not run as root."""

    def __init__(self, folder: Path, port: int) -> None:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        self._folder = folder
        self._as = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self._as:
            shutil.chown(folder, "postgres")
        initdb = [*self._as, str(programs / "initdb"), "-A", "trust", "-U", "fleet", "-D", str(folder / "data")]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd="/")
        options = ["-D", str(folder / "data"), "-p", str(port), "-k", str(folder), "-h", "127.0.0.1", "-N", "200"]
        self._command = [*self._as, str(programs / "postgres"), *options]
        self.place = f"host=127.0.0.1 port={port} user=fleet dbname=postgres"

    def start(self) -> subprocess.Popen[bytes]:
        """Start it."""
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(self._command, stdout=log, stderr=log, cwd="/", start_new_session=True)

    def kill(self) -> None:
        """End it at once."""
        number = int((self._folder / "data" / "postmaster.pid").read_text().splitlines()[0])
        os.kill(number, signal.SIGKILL)


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until a call raises nothing; at most half a minute."""
    ends = time.monotonic() + 30
    while True:
        try:
            condition()
            return
        except Exception:
            if time.monotonic() > ends:
                raise
            time.sleep(0.05)


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def run(kind: str, hours: float, speed: float, folder: Path) -> dict[str, Any]:
    """Run the fleet and return what came of it."""
    server = {"redis": Redis, "postgres": Postgres}[kind](folder, free_port()) if kind != "file" else None
    running = server.start() if server is not None else None
    store = store_of([kind, str(folder) if server is None else server.place])
    if kind == "postgres":
        wait_for(store.create)
    wait_for(store.keys)
    keys = [f"user{number}@example.com" for number in range(MAILBOXES)]
    with token_endpoint.running() as endpoint:
        endpoint.rotates = True
        for key in keys:
            info = endpoint.authorized_user(key)
            client = sasl.Secret(info["client_secret"])
            grant = sasl.Secret(info["refresh_token"])
            store.put(Record(key, key, endpoint.url, info["client_id"], client_secret=client, refresh_token=grant))
        began = time.time()
        settings = {"store": [kind, str(folder) if server is None else server.place], "keys": keys, "speed": speed}
        settings |= {"began": began, "ends": began + hours * HOUR}
        command = [sys.executable, __file__, "worker", json.dumps(settings)]
        workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]
        while len(endpoint.requests) < MAILBOXES * 5 // 4 and workers[0].poll() is None:
            time.sleep(0.01)
        if server is not None and running is not None:
            server.kill() if isinstance(server, Postgres) else running.kill()
            running.wait()
            running = server.start()
        found = [json.loads(worker.communicate()[0]) for worker in workers]
        outcomes = Counter(asked.outcome for asked in endpoint.requests)
    if running is not None:
        running.terminate()
        running.wait()
    return summary(found, outcomes, keys) | {"store": kind, "hours": hours, "speed": speed}


def summary(found: list[dict[str, Any]], outcomes: Counter[str], keys: list[str]) -> dict[str, Any]:
    """Count: an expiry is a token whose successor came when its time was nearly over."""
    expiries = early = 0
    for key in keys:
        first: dict[str, float] = {}
        for each in found:
            for token, at in each["seen"][key].items():
                first[token] = min(at, first.get(token, at))
        times = sorted(first.values())
        gaps = [after - before for before, after in pairwise(times)]
        expiries += sum(gap >= EARLIEST for gap in gaps)
        early += sum(gap < EARLIEST for gap in gaps)
    failures: Counter[str] = Counter()
    for each in found:
        failures.update(each["failures"])
    granted = outcomes.pop("granted")
    return {
        "mailboxes": len(keys),
        "processes": len(found),
        "expiries": expiries,
        "renewals": granted - len(keys),  # the first token of each is none
        "early": early,
        "refused": dict(outcomes),
        "failures": dict(failures),
    }


def main() -> int:
    """Run a worker, or all."""
    if sys.argv[1:2] == ["worker"]:
        work(json.loads(sys.argv[2]))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", choices=["redis", "postgres", "file"])
    parser.add_argument("--hours", type=float, default=1.2, help="simulated; five at the most")
    parser.add_argument("--speed", type=float, default=30.0)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="saslkit-fleet-"))
    try:
        result = run(arguments.store, arguments.hours, arguments.speed, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(result))
    good = result["renewals"] == result["expiries"] and not (result["failures"] or result["refused"] or result["early"])
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
