"""A server that can be killed at any moment and started again, at the same port and with what it had written down."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..support.servers import CannotStart, Running, becomes_true, free_ports, process_group

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator


class Restartable(Running):
    """One server.

    Attributes:
        port: where it listens on 127.0.0.1.
        folder: where its log and its data are.
    """

    logs_in = ("master.log",)

    def __init__(self, port: int, folder: Path, command: list[str], answers: Callable[[Any], bool], **how: Any) -> None:
        self.port = port
        self.folder = folder
        self._command = command
        self._answers = answers
        self._how = how
        self._runs = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> bool:
        """Start it; return whether it came up."""
        self._process = process = self._runs.enter_context(process_group(self._command, self.folder, **self._how))
        becomes_true(lambda: process.poll() is not None or self._answers(self), within=15)
        return process.poll() is None

    def kill(self) -> None:
        """Kill it and all of its children, by SIGKILL."""
        self._signal(signal.SIGKILL)
        self._runs.close()

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        assert self.start(), self.log()[-2000:]

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Let it take connections but answer nothing until the end of the block."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        """Send a signal to it and to its children, which PostgreSQL gives groups of their own."""
        if self._process is None or self._process.poll() is not None:
            return
        for process in (self._process.pid, *_children(self._process.pid)):
            with suppress(ProcessLookupError):
                os.kill(process, number)


def _children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


@contextmanager
def running_restartable(
    name: str, command: list[str], folder: Path, answers: Callable[[Restartable], bool], **how: Any
) -> Iterator[Restartable]:
    """Run a server, whose command wants its port as the last argument, until the end of the block."""
    for _ in range(3):  # a port that was free a moment ago may be taken
        (port,) = free_ports(1)
        server = Restartable(port, folder, [*command, str(port)], answers, **how)
        try:
            if server.start():
                yield server
                return
        finally:
            server.kill()
    raise CannotStart(f"{name} does not start: {server.log()[-2000:]}")
