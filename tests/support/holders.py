"""A process that holds the lock of one account, or counts under it, at a store that others share.

It is started as a program, with one object of JSON as its argument. It tells what it does line by line, and goes on
when it is sent a line.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "an account"


def store_of(settings: dict[str, Any]) -> Any:
    """Open the store that the settings name."""
    options = {"lease": settings.get("lease", 60.0)}
    if settings["kind"] in ("postgres", "postgres_pooled"):
        from sasl.adapters.tokens.stores.postgres import PostgresStore

        return PostgresStore(settings["at"], table=settings["name"], pooled=settings["kind"] != "postgres", **options)
    from sasl.adapters.tokens.stores import FileStore
    from sasl.adapters.tokens.stores.redis import RedisStore

    grants = FileStore(Path(settings["folder"])) if settings["kind"] == "redis_beside_a_file" else None
    return RedisStore(settings["at"], prefix=settings["name"], grants=grants, **options)


class Holder:
    """A process that does one of two things, "hold" or "count"."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self._to: IO[str] = process.stdin
        self._from: IO[str] = process.stdout

    def told(self) -> str:
        """What it tells next."""
        return self._from.readline().strip()

    def go_on(self) -> None:
        self._to.write("\n")
        self._to.flush()


@contextmanager
def holder(settings: dict[str, Any], what: str = "hold") -> Iterator[Holder]:
    """Start one, and end it after the block."""
    command = [sys.executable, __file__, json.dumps(settings | {"what": what})]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Holder(process)
        finally:
            process.kill()


def hold(store: Any) -> None:
    """Take the lock, wait to be told, and save."""
    import sasl
    from sasl.value import replace

    with store.locked(KEY, 5) as lease:
        record = store.load(KEY)
        print("held", flush=True)
        sys.stdin.readline()
        try:
            store.save(replace(record, scope="late"), lease)
            print("saved", flush=True)
        except sasl.TokenError as error:
            print(error.code, flush=True)


def count(store: Any, number: int) -> None:
    """Count under the lock."""
    from sasl.value import replace

    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(number):
        with store.locked(KEY, 60) as lease:
            record = store.load(KEY)
            store.save(replace(record, failures=record.failures + 1), lease)
    print("counted", flush=True)


def main() -> None:
    settings = json.loads(sys.argv[1])
    store = store_of(settings)
    if settings["what"] == "hold":
        hold(store)
    else:
        count(store, settings["number"])


if __name__ == "__main__":
    main()
