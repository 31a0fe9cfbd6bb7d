"""Clients of node: nodemailer and imapflow, as the example's lock file has them."""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..support.conduct import BEARERS, ITSELF, USER, Conduct
from ..support.documents import ROOT
from ..support.servers import HOST, CannotStart, becomes_true, program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sasl.adapters import reference

EXAMPLE = ROOT / "examples" / "node"
SCRIPT = Path(__file__).with_name("logins.mjs")


@contextmanager
def installed(folder: Path) -> Iterator[Path]:
    """The example with its packages, as the lock file has them."""
    npm = program("SASLKIT_NPM", "npm")
    program("SASLKIT_NODE", "node")
    place = folder / "node"
    shutil.copytree(EXAMPLE, place, ignore=shutil.ignore_patterns("node_modules"))
    done = subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=place, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if done.returncode:
        raise CannotStart(f"npm installs nothing: {done.stderr[-500:]}")
    yield place


class Node:
    """A process that logs in as it is told, by one of the libraries."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process = process
        self._folder = folder

    def ask(self, **what: Any) -> None:
        assert self._process.stdin is not None
        print(json.dumps({"host": HOST, "user": USER, **what}), file=self._process.stdin, flush=True)

    def answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def version(self, name: str) -> str:
        """The release of a package."""
        text = (self._folder / "node_modules" / name / "package.json").read_text("utf-8")
        return str(json.loads(text)["version"])

    def rows(self) -> list[Conduct]:
        """The rows of the table that are theirs."""
        named = [
            *(("nodemailer", "smtp", each) for each in (ITSELF, "XOAUTH2")),
            *(("imapflow", "imap", each) for each in (ITSELF, *BEARERS)),
        ]
        return [self._row(*each) for each in named]

    def _row(self, name: str, protocol: str, mechanism: str) -> Conduct:
        def log_in(servers: reference.Servers, secret: str) -> None:
            if (protocol, mechanism) == ("imap", "XOAUTH2"):
                servers.imap.hide("AUTH=OAUTHBEARER")  # which it takes wherever it is offered
            endpoint: reference.Endpoint = getattr(servers, protocol)
            token = mechanism in BEARERS
            self.ask(act=protocol, port=endpoint.tls_port, ca=str(servers.ca_file), token=token, secret=secret)
            assert self.answer().startswith("done")

        return Conduct("Programs", name, protocol, mechanism, log_in, version=partial(self.version, name))

    def sees_a_delivery(self, servers: reference.Servers) -> str:
        """Let imapflow wait by IDLE; deliver; return what it is told."""
        self.ask(
            act="idle", port=servers.imap.tls_port, ca=str(servers.ca_file), secret=servers.tokens["good"], token=True
        )
        assert becomes_true(lambda: "IDLE" in [each.name for each in servers.log.commands("imap")], within=10)
        servers.deliver(USER, "Subject: tea\n\nAt five.")
        return self.answer()


@contextmanager
def running(folder: Path) -> Iterator[Node]:
    """Start the process in the folder of the example."""
    shutil.copy(SCRIPT, folder)
    command = [program("SASLKIT_NODE", "node"), SCRIPT.name]
    with (folder / "errors").open("wb") as errors:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        yield Node(process, folder)
    finally:
        process.kill()
        process.communicate()
