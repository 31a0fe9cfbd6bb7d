"""A real PostgreSQL on loopback, with and without TLS, in a folder of its own.

It does not run as root: where that is who runs the tests, it runs as postgres. Debian's package keeps the programs in a
folder for each version; SASLKIT_POSTGRESQL names another one.
"""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trustme

from ..support.servers import HOST, CannotStart, Running, as_account, free_ports, started
from .restartable import Restartable, running_restartable

if TYPE_CHECKING:
    from collections.abc import Iterator

# Who has keys for SCRAM-SHA-256, made of the password as SASLprep changes it (the queen's).
USERS = {
    "alice": "wonderland",
    "j\u00f6rg": "k\u00f6nigin \u20ac",
    "queen": "off with \u00bd her head",
}
UNPREPARED = {"caterpillar": "who are \U0001f41b you"}
"""Who has keys made of the password as it is, since SASLprep knows no caterpillar (Unicode 3.2 had none)."""
DATABASE = "postgres"
OLD, TRUSTED, TURNED_AWAY = "old", "trusted", "turned_away"
"""Users whose password is kept in MD5, who need none, and who may not connect."""

_ACCOUNT = "postgres"


@dataclass(frozen=True, repr=False)
class PostgreSQL(Running):
    """One running server.

    Attributes:
        port: where it listens.
        folder: where its data, its log and its certificate are.
    """

    port: int
    folder: Path

    logs_in = ("master.log",)

    def context(self, version: ssl.TLSVersion) -> ssl.SSLContext:
        """Make a context that trusts the server and speaks no later version of TLS than this."""
        context = ssl.create_default_context(cafile=self.folder / "ca.pem")
        context.maximum_version = version
        return context

    def is_up(self) -> bool:
        return "ready to accept connections" in self.log()


@contextmanager
def running() -> Iterator[PostgreSQL]:
    """Start a PostgreSQL; stop it and all that it started at the end."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="saslkit-postgresql-"))  # not pytest's: that is closed to other accounts
    try:
        how = _lay_out(folder, programs)

        def configure() -> tuple[PostgreSQL, list[str]]:
            (port,) = free_ports(1)
            command = [str(programs / "postgres"), "-D", str(folder / "data"), "-p", str(port)]
            return PostgreSQL(port, folder), command

        with started("postgresql", configure, **how) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def restartable() -> Iterator[Restartable]:
    """Start a PostgreSQL that can be killed and started again; stop it at the end."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="saslkit-postgresql-"))
    try:
        how = _lay_out(folder, programs)
        # What is not flushed when a commit returns is flushed by nobody for a long time: a kill loses it for certain.
        options = ["-c", "wal_writer_delay=10s", "-c", "ssl=off"]
        command = [str(programs / "postgres"), "-D", str(folder / "data"), *options, "-p"]
        with running_restartable("postgresql", command, folder, _answers, **how) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def conninfo(server: Restartable) -> str:
    """Return what a client connects with, as a user who needs no password and has a schema of its own."""
    return f"host=127.0.0.1 port={server.port} user={TRUSTED} dbname={DATABASE}"


def _answers(server: Restartable) -> bool:
    import psycopg

    try:
        psycopg.connect(conninfo(server), connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def _programs() -> Path:
    """Return the folder of the newest version that is installed."""
    installed = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    newest = max(installed, key=lambda path: int(path.parent.name), default=Path("/usr/lib/postgresql"))
    place = Path(os.environ.get("SASLKIT_POSTGRESQL", newest))
    if not (place / "postgres").exists():
        raise CannotStart(f"there is no PostgreSQL in {place} (Debian: postgresql)")
    return place


def _lay_out(folder: Path, programs: Path) -> dict[str, Any]:
    """Write the certificate, the users and the configuration; return how the server is started."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert(HOST, "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    (folder / "server.pem").chmod(0o600)
    how = as_account(_ACCOUNT, folder)
    data = folder / "data"
    options = ("--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=reject")
    _run([programs / "initdb", "--pgdata", data, *options], how)
    (data / "postgresql.conf").write_text(
        f"""\
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
ssl = on
ssl_cert_file = '{folder}/server.pem'
ssl_key_file = '{folder}/server.pem'
"""
    )
    (data / "pg_hba.conf").write_text(
        f"""\
host all {TURNED_AWAY} 127.0.0.1/32 reject
host all {TRUSTED} 127.0.0.1/32 trust
host all {OLD} 127.0.0.1/32 md5
host all all 127.0.0.1/32 scram-sha-256
"""
    )
    _run([programs / "postgres", "--single", "-D", data, DATABASE], how, "".join(_roles()))
    return how


def _roles() -> Iterator[str]:
    for user, password in (USERS | UNPREPARED).items():
        yield f"CREATE ROLE \"{user}\" LOGIN PASSWORD '{password}'\n"
    yield f"CREATE ROLE {TRUSTED} LOGIN\n"
    yield f"CREATE SCHEMA {TRUSTED} AUTHORIZATION {TRUSTED}\n"
    yield f"CREATE ROLE {TURNED_AWAY} LOGIN\n"
    yield "SET password_encryption = md5\n"
    yield f"CREATE ROLE {OLD} LOGIN PASSWORD 'wonderland'\n"


def _run(command: list[str | Path], how: dict[str, Any], said: str = "") -> None:
    command = [str(part) for part in command]
    run = subprocess.run(command, input=said.encode(), capture_output=True, check=False, timeout=60, cwd="/", **how)
    if run.returncode != 0 or b"ERROR" in run.stderr:
        raise CannotStart(f"{command[0]} failed: {run.stderr.decode('utf-8', 'replace')[-2000:]}")
