"""What real servers and clients have in common: how they are found, started, waited for, read and ended."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOST: Final = "localhost"

Started = TypeVar("Started")


class CannotStart(Exception):
    """This machine cannot run the server; the text says why."""


class Running:
    """A server that keeps its log in files of its folder.

    Attributes:
        folder: where its config, log and data are.
        logs_in: the names of the files.
    """

    folder: Path
    logs_in: tuple[str, ...]

    def log(self) -> str:
        """What the server wrote: who was refused, and why."""
        files = [self.folder / name for name in self.logs_in]
        return "".join(file.read_text("utf-8", "replace") for file in files if file.exists())

    def logs(self, text: str, *, after: int = 0) -> bool:
        """Whether this comes in the log behind so many characters: another process writes it, about now."""
        return becomes_true(lambda: text in self.log()[after:], within=10)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.folder.name}>"


def url(scheme: str, user: str, port: int) -> str:
    """The URL that `sasl login` takes."""
    return f"{scheme}://{user.replace('@', '%40')}@{HOST}:{port}"


def program(variable: str, name: str) -> str:
    """The path of a program, under another name if the environment says so; servers often are not on the PATH."""
    places = os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"))
    name = os.environ.get(variable, name)
    found = shutil.which(name, path=places)
    if found is None:
        raise CannotStart(f"there is no {name} on this machine")
    return found


def as_account(name: str, folder: Path) -> dict[str, Any]:
    """Return with what `started` lets a server run as this account, which then owns the folder, if root starts it."""
    if os.geteuid() != 0:
        return {}
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        account = None
    if account is None:
        raise CannotStart(f"there is no account {name} on this machine")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that were free a moment ago."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def started(name: str, configure: Callable[[], tuple[Started, list[str]]], **how: Any) -> Iterator[Started]:
    """Run a server until the end of the block.

    `configure` chooses ports and writes the configuration; it returns the server, a `Running` with `is_up()`, and its
    command. A port that was free a moment ago may be taken when the server starts: then it is asked again.
    """
    server: Any = None
    for _ in range(3):
        server, command = configure()
        with process_group(command, server.folder, **how) as process:
            if _comes_up(process, server.is_up):
                yield server
                return
    raise CannotStart(f"{name} does not start: {server.log()[-2000:]}")


def _comes_up(process: subprocess.Popen[bytes], is_up: Callable[[], bool]) -> bool:
    """Wait until the server says so, or has ended."""
    return becomes_true(lambda: process.poll() is not None or is_up(), within=15) and process.poll() is None


@contextmanager
def process_group(command: list[str], folder: Path, **how: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in a process group of its own, and end the group at once: a master alone sees its children off."""
    with (folder / "master.log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0, **how
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def becomes_true(condition: Callable[[], bool], *, within: float) -> bool:
    """Whether something is true within so many seconds."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


def processes(group: int) -> list[str]:
    """The processes of a group, without the dead that wait for init to take notice."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of_group = stat.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(of_group) == group and state != "Z":
            found.append(stat.parent.name)
    return found


def refuses(port: int) -> bool:
    """Whether nobody listens at a port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    return False
