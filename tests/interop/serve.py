"""`sasl serve` as a process of its own, as those run it who test another client."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..support.servers import Running, started

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, repr=False)
class Serve(Running):
    """One that is running."""

    folder: Path
    logs_in = ("master.log",)

    def is_up(self) -> bool:
        """Whether it has said that all is ready."""
        return "}\n" in self.log()

    @cached_property
    def ready(self) -> dict[str, Any]:
        """What it said: ports, users, tokens, the file of its CA."""
        found = json.loads(next(line for line in self.log().splitlines() if line.startswith("{")))
        assert isinstance(found, dict)
        return found


@contextmanager
def running(*options: str) -> Iterator[Serve]:
    """Run it with these options until the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="saslkit-serve-"))
    command = [str(Path(sys.executable).with_name("sasl")), "serve", "--tls-dir", str(folder / "tls"), *options]
    try:
        with started("sasl serve", lambda: (Serve(folder), command)) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)
