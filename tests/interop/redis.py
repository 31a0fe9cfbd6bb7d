"""A real Redis on loopback that writes down what it is told, in a folder of its own (Debian: redis-server)."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..support.servers import as_account, program
from .restartable import Restartable, running_restartable

if TYPE_CHECKING:
    from collections.abc import Iterator

_ACCOUNT = "redis"


@contextmanager
def running(*, durable: bool = True) -> Iterator[Restartable]:
    """Start a Redis, with an append-only file if it is to be durable; stop it at the end."""
    binary = program("SASLKIT_REDIS", "redis-server")
    folder = Path(tempfile.mkdtemp(prefix="saslkit-redis-"))  # not pytest's: that is closed to other accounts
    try:
        how = as_account(_ACCOUNT, folder)
        options = {"bind": "127.0.0.1", "dir": str(folder), "save": "", "appendonly": "yes" if durable else "no"}
        options |= {"appendfsync": "always"}  # else it answers before it writes, while the disk is busy
        written = [part for name, option in options.items() for part in (f"--{name}", option)]
        with running_restartable("redis", [binary, *written, "--port"], folder, _answers, **how) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def url(server: Restartable) -> str:
    """Return what a client connects with."""
    return f"redis://127.0.0.1:{server.port}/0"


def _answers(server: Restartable) -> bool:
    import redis

    try:
        with redis.Redis(port=server.port, socket_timeout=5) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False
