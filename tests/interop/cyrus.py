"""A real Cyrus IMAP server on loopback: IMAP and POP3, each with STARTTLS and with implicit TLS.

Its master wants to be root or cyrus. It keeps to a folder of its own, passwords to the database of Cyrus SASL.
Debian's packages of it exclude Dovecot's: SASLKIT_CYRUS names the folder where imapd and pop3d were unpacked.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import ssl
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trustme

from ..support.servers import HOST, CannotStart, Running, free_ports, program, started

if TYPE_CHECKING:
    from collections.abc import Iterator

PROTOCOLS = ("imap", "pop")
USERS = {"alice": "wonderland", "queen": "off with \u00bd her head"}

_ACCOUNT = "cyrus"
_DAEMONS = Path(os.environ.get("SASLKIT_CYRUS", "/usr/lib/cyrus/bin"))


@dataclass(frozen=True, repr=False)
class Cyrus(Running):
    """One running server.

    Attributes:
        ports: (protocol, whether TLS begins with the connection) to port.
        folder: where its config, log, passwords and mail are.
    """

    ports: dict[tuple[str, bool], int]
    folder: Path

    logs_in = ("master.log",)
    users = USERS

    def port(self, protocol: str, *, implicit: bool) -> int:
        return self.ports[protocol, implicit]

    def context(self, version: ssl.TLSVersion) -> ssl.SSLContext:
        """Make a context that trusts the server and speaks no later version of TLS than this."""
        context = ssl.create_default_context(cafile=self.folder / "ca.pem")
        context.maximum_version = version
        return context

    def is_up(self) -> bool:
        """Whether it greets."""
        try:
            with socket.create_connection(("127.0.0.1", self.port("imap", implicit=False)), 5) as connection:
                return connection.recv(4) == b"* OK"
        except OSError:
            return False  # not yet


@contextmanager
def running() -> Iterator[Cyrus]:
    """Start a Cyrus; stop it and all that it started at the end."""
    if os.geteuid() != 0:
        raise CannotStart("cyrus has to be started by root")
    if not all((_DAEMONS / name).exists() for name in ("imapd", "pop3d")):
        raise CannotStart(f"there is no cyrus in {_DAEMONS} (Debian: cyrus-common, and what .ci/run unpacks)")
    master, set_password = program("SASLKIT_CYRMASTER", "cyrmaster"), program("SASLKIT_SASLPASSWD2", "saslpasswd2")
    # Not pytest's folder: that is closed to cyrus, and the paths of Unix sockets may have 107 octets only.
    folder = Path(tempfile.mkdtemp(prefix="saslkit-cyrus-"))
    try:
        _lay_out(folder, set_password)

        def configure() -> tuple[Cyrus, list[str]]:
            keys = ((protocol, implicit) for protocol in PROTOCOLS for implicit in (False, True))
            server = Cyrus(dict(zip(keys, free_ports(4), strict=True)), folder)
            _configure(server)
            account = pwd.getpwnam(_ACCOUNT)
            for path in (folder, *folder.rglob("*")):
                os.chown(path, account.pw_uid, account.pw_gid)
            files = ("-C", folder / "imapd.conf", "-M", folder / "cyrus.conf", "-p", folder / "master.pid")
            return server, [master, "-D", *map(str, files)]

        with started("cyrus", configure) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _lay_out(folder: Path, set_password: str) -> None:
    for name in ("conf/socket", "spool", "sieve", "sock", "proc", "lock"):
        (folder / name).mkdir(parents=True)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate = authority.issue_cert(HOST, "127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    for user, password in USERS.items():
        command = [set_password, "-p", "-c", "-f", str(folder / "sasldb2"), "-u", HOST, user]
        subprocess.run(command, input=password.encode(), capture_output=True, check=True, timeout=20)


def _configure(server: Cyrus) -> None:
    folder = server.folder
    (folder / "imapd.conf").write_text(
        f"""\
configdirectory: {folder}/conf
partition-default: {folder}/spool
defaultpartition: default
sievedir: {folder}/sieve
lmtpsocket: {folder}/sock/lmtp
idlesocket: {folder}/sock/idle
notifysocket: {folder}/sock/notify
proc_path: {folder}/proc
mboxname_lockpath: {folder}/lock
servername: {HOST}
cyrus_user: {_ACCOUNT}
allowplaintext: no
autocreate_quota: 0
autocreate_post: yes
failedloginpause: 0
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {folder}/sasldb2
sasl_mech_list: PLAIN LOGIN CRAM-MD5 DIGEST-MD5 SCRAM-SHA-1 SCRAM-SHA-256 SCRAM-SHA-512
tls_server_cert: {folder}/server.pem
tls_server_key: {folder}/server.pem
"""
    )
    services = "".join(
        f'  {service}{"s" * implicit} cmd="{_DAEMONS}/{daemon}{" -s" * implicit} -C {folder}/imapd.conf"'
        f' listen="127.0.0.1:{server.port(protocol, implicit=implicit)}" prefork=0\n'
        for protocol, service, daemon in (("imap", "imap", "imapd"), ("pop", "pop3", "pop3d"))
        for implicit in (False, True)
    )
    (folder / "cyrus.conf").write_text(f"START {{\n}}\nSERVICES {{\n{services}}}\nEVENTS {{\n}}\n")
