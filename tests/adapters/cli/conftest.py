"""Runs the command line, in the process or as one of its own, and watches that no secret comes out of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from sasl.adapters.cli import main
from sasl.adapters.reference import running

from ...support.leaks import seen
from ...support.tls import servers_keep_to_tls_1_2

if TYPE_CHECKING:
    from collections.abc import Iterator

    import trustme

    from sasl.adapters.reference import Servers

PASSWORD = "wonderland"
SCRIPT = str(Path(sys.executable).with_name("sasl"))


@dataclass(frozen=True)
class Result:
    """What a run left."""

    code: int
    out: str
    err: str

    def report(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    def error(self) -> dict[str, Any]:
        found = self.report()["error"]
        assert isinstance(found, dict), self
        return found


class Run(Protocol):
    """Calls `main` with a secret in the variable SECRET."""

    def __call__(self, *arguments: str, secret: str = PASSWORD) -> Result: ...


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def call(*arguments: str, secret: str = PASSWORD) -> Result:
        monkeypatch.setenv("SECRET", secret)
        capsys.readouterr()
        code = main(arguments)
        captured = capsys.readouterr()
        assert seen(captured, secret) == []
        assert "Traceback" not in captured.out + captured.err
        return Result(code, captured.out, captured.err)

    return call


def start(*arguments: str, secret: str = PASSWORD, **settings: Any) -> subprocess.Popen[str]:
    """Start the installed script."""
    environment = {**os.environ, "SECRET": secret, "PYTHONWARNINGS": "error", "PYTHONUTF8": "1"}
    environment |= settings.pop("environment", {})
    settings = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings}
    return subprocess.Popen([SCRIPT, *arguments], text=True, env=environment, **settings)


def script(*arguments: str, secret: str = PASSWORD, **settings: Any) -> Result:
    """Run the installed script to its end."""
    with start(*arguments, secret=secret, **settings) as process:
        out, err = (text or "" for text in process.communicate(timeout=20))
    assert seen([out, err], secret) == []
    assert "Traceback" not in err, err
    return Result(process.returncode, out, err)


@pytest.fixture(scope="session", autouse=True)
def signals() -> Iterator[None]:
    """A run under nohup ignores SIGHUP, one in the background SIGINT; the commands that it starts would as well."""
    defaults = {signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in defaults.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The reference servers; alice's password is `PASSWORD`."""
    with running({"alice": PASSWORD, "j\u00f6rg": "k\u00f6nigin", "bob@example.org": "builder"}) as servers:
        yield servers


@pytest.fixture(scope="session")
def older() -> Iterator[Servers]:
    """The same, up to TLS 1.2: what they offer can be bound to the connection."""
    with ExitStack() as stack:
        with servers_keep_to_tls_1_2():
            servers = stack.enter_context(running({"alice": PASSWORD}))
        yield servers  # others, which start while these run, speak what they like


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port of 127.0.0.1 that is taken and where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture(scope="session")
def ca(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The CA of the scripted servers, as a file."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def at(servers: Servers, protocol: str, user: str = "alice", *, implicit: bool = True) -> list[str]:
    """The arguments to log in at one of the reference servers."""
    endpoint = getattr(servers, protocol)
    port = endpoint.tls_port if implicit else endpoint.port
    return ["login", f"{protocol}{'s' * implicit}://{user}@localhost:{port}", "--ca", str(servers.ca_file)]
