"""A real Prosody, an XMPP server, on loopback, in a folder of its own.

It runs as prosody where root runs the tests (Debian's package makes that account), else as whoever does. It keeps each
password as it is, so that it offers SCRAM-SHA-1 and SCRAM-SHA-256, with -PLUS up to TLS 1.2, and PLAIN.
"""

from __future__ import annotations

import shutil
import ssl
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trustme

from ..support.servers import HOST, Running, as_account, free_ports, program, started

if TYPE_CHECKING:
    from collections.abc import Iterator

USERS = {"alice": "wonderland", "queen": "off with their heads"}

_ACCOUNT = "prosody"


@dataclass(frozen=True, repr=False)
class Prosody(Running):
    """One running server.

    Attributes:
        port: where it listens; TLS begins by STARTTLS.
        folder: where its configuration, its log, its accounts and its certificate are.
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
        return "Activated service 'c2s'" in self.log()


@contextmanager
def running() -> Iterator[Prosody]:
    """Start a Prosody; stop it at the end."""
    binary = program("SASLKIT_PROSODY", "prosody")
    folder = Path(tempfile.mkdtemp(prefix="saslkit-prosody-"))  # not pytest's: that is closed to other accounts
    try:
        _lay_out(folder)
        how = as_account(_ACCOUNT, folder)

        def configure() -> tuple[Prosody, list[str]]:
            (port,) = free_ports(1)
            _configure(folder, port)
            return Prosody(port, folder), [binary, "-F", "--config", str(folder / "prosody.cfg.lua")]

        with started("prosody", configure, **how) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _lay_out(folder: Path) -> None:
    """Write the certificate and the accounts."""
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(folder / f"{HOST}.key"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / f"{HOST}.crt"))
    accounts = folder / "data" / HOST / "accounts"
    accounts.mkdir(parents=True)
    for user, password in USERS.items():
        (accounts / f"{user}.dat").write_text(f'return {{ ["password"] = "{password}"; }};\n')


def _configure(folder: Path, port: int) -> None:
    (folder / "prosody.cfg.lua").write_text(
        f"""\
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
certificates = "{folder}"
log = {{ debug = "*console" }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
modules_enabled = {{ "saslauth", "tls", "disco" }}
modules_disabled = {{ "s2s" }}
authentication = "internal_plain"
c2s_require_encryption = true
VirtualHost "{HOST}"
"""
    )
