"""A real Postfix on loopback: submission with STARTTLS and with implicit TLS (RFC 6409, RFC 8314), over Dovecot's auth.

Its master wants to be root. It keeps to a folder of its own, and delivers nothing: what it takes, it discards.
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..support.servers import CannotStart, Running, free_ports, program, started, url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .dovecot import Dovecot

# The folders of the queue: for the owner of the mail, for whoever hands mail in, and the master's own.
_QUEUE = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace")
_HANDED_IN = {"maildrop": 0o730, "public": 0o710}


@dataclass(frozen=True, repr=False)
class Postfix(Running):
    """One running server.

    Attributes:
        ports: whether TLS begins with the connection, to port.
        dovecot: who checks the credentials. Users, tokens and the certificate are its.
        folder: where its config, log and queue are.
    """

    ports: dict[bool, int]
    dovecot: Dovecot
    folder: Path

    logs_in = ("master.log", "maillog")

    def port(self, *, implicit: bool) -> int:
        return self.ports[implicit]

    def url(self, user: str, *, implicit: bool) -> str:
        return url("smtp" + "s" * implicit, user, self.port(implicit=implicit))

    def context(self) -> ssl.SSLContext:
        return self.dovecot.context()

    def is_up(self) -> bool:
        """Whether it greets."""
        try:
            with socket.create_connection(("127.0.0.1", self.port(implicit=False)), 5) as connection:
                return connection.recv(4) == b"220 "
        except OSError:
            return False  # not yet


@contextmanager
def running(dovecot: Dovecot) -> Iterator[Postfix]:
    """Start a Postfix that asks this Dovecot; stop it and all that it started at the end."""
    daemons = _daemons()
    folder = Path(tempfile.mkdtemp(prefix="saslkit-postfix-"))
    try:
        _lay_out(folder)

        def configure() -> tuple[Postfix, list[str]]:
            server = Postfix(dict(zip((False, True), free_ports(2), strict=True)), dovecot, folder)
            _configure(server)
            return server, [str(daemons / "master"), "-d", "-c", str(folder / "conf")]

        with started("postfix", configure) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _daemons() -> Path:
    """Return the folder of Postfix's programs."""
    found = program("SASLKIT_POSTCONF", "postconf")
    if os.geteuid() != 0:
        raise CannotStart("postfix has to be started by root")
    # The built-in values: the machine's own config, if there is one, is not read.
    shown = subprocess.run([found, "-d", "-h", "daemon_directory"], capture_output=True, text=True, check=True)
    return Path(shown.stdout.strip())


def _lay_out(folder: Path) -> None:
    """Make the folders, each for whom Postfix wants it."""
    folder.chmod(0o755)
    for name in ("conf", "queue", "queue/pid"):
        (folder / name).mkdir(mode=0o755)
    for name in ("data", *(f"queue/{name}" for name in _QUEUE)):
        (folder / name).mkdir(mode=0o700)
        shutil.chown(folder / name, "postfix")
    for name, mode in _HANDED_IN.items():
        (folder / "queue" / name).mkdir()
        (folder / "queue" / name).chmod(mode)
        shutil.chown(folder / "queue" / name, "postfix", "postdrop")


def _configure(server: Postfix) -> None:
    folder = server.folder
    (folder / "conf/main.cf").write_text(
        f"""\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file_prefixes = {folder}
maillog_file = {folder}/maillog
myhostname = localhost
mydestination =
mynetworks =
local_recipient_maps =
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
default_transport = discard
local_transport = discard
relay_transport = discard
smtpd_tls_chain_files = {server.dovecot.folder}/server.pem
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{server.dovecot.auth_port}
smtpd_sasl_security_options = noanonymous
smtpd_relay_restrictions = permit_sasl_authenticated, reject
in_flow_delay = 0
smtpd_error_sleep_time = 0
smtpd_client_connection_rate_limit = 0
smtpd_client_connection_count_limit = 0
"""
    )
    smtpd = "inet n - n - - smtpd"
    (folder / "conf/master.cf").write_text(
        f"""\
127.0.0.1:{server.port(implicit=False)} {smtpd}
127.0.0.1:{server.port(implicit=True)} {smtpd} -o smtpd_tls_wrappermode=yes
postlog unix-dgram n - n - 1 postlogd
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
discard unix - - n - - discard
"""
    )
