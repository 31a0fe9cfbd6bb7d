"""A real OpenLDAP server on loopback, with LDAP and LDAPS, which leaves SASL to the library of Cyrus.

It runs as openldap where root runs the tests (Debian's package makes that account), else as whoever does. It keeps each
password as it is, so that every mechanism of Cyrus works (Debian: slapd, libsasl2-modules).
"""

from __future__ import annotations

import shutil
import ssl
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trustme

from ..support.servers import HOST, CannotStart, Running, as_account, free_ports, program, refuses, started

if TYPE_CHECKING:
    from collections.abc import Iterator

USERS = {"alice": "wonderland", "queen": "off with their heads", "j\u00f6rg": "k\u00f6nigin \u20ac"}
SUFFIX = "dc=example,dc=org"

_ACCOUNT = "openldap"


@dataclass(frozen=True, repr=False)
class Slapd(Running):
    """One running server.

    Attributes:
        port: where it listens for LDAP.
        tls_port: where it listens for LDAP in TLS.
        folder: where its configuration, its log, its data and its certificate are.
    """

    port: int
    tls_port: int
    folder: Path

    logs_in = ("master.log",)

    @property
    def ca(self) -> Path:
        """The file with the certificate of the CA that signed the server's."""
        return self.folder / "ca.pem"

    def context(self) -> ssl.SSLContext:
        """Make a context that trusts the server."""
        return ssl.create_default_context(cafile=self.ca)

    def is_up(self) -> bool:
        return not (refuses(self.port) or refuses(self.tls_port))  # it tells that it starts before it listens


@contextmanager
def running() -> Iterator[Slapd]:
    """Start a slapd; stop it at the end."""
    binary, add = program("SASLKIT_SLAPD", "slapd"), program("SASLKIT_SLAPADD", "slapadd")
    if not any(Path("/usr/lib").glob("*/sasl2/libscram.so")):
        raise CannotStart("slapd has no SCRAM on this machine (Debian: libsasl2-modules)")
    folder = Path(tempfile.mkdtemp(prefix="saslkit-slapd-"))  # not pytest's: that is closed to other accounts
    try:
        _lay_out(folder, add)
        how = as_account(_ACCOUNT, folder)

        def configure() -> tuple[Slapd, list[str]]:
            port, tls_port = free_ports(2)
            listen = f"ldap://127.0.0.1:{port} ldaps://127.0.0.1:{tls_port}"
            # With a level of debugging it stays where it is: 256 tells of connections, requests and results.
            return Slapd(port, tls_port, folder), [binary, "-d", "256", "-f", f"{folder}/slapd.conf", "-h", listen]

        with started("slapd", configure, **how) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _lay_out(folder: Path, add: str) -> None:
    """Write the certificate, the configuration and the users."""
    (folder / "data").mkdir()
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST, "127.0.0.1")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    (folder / "slapd.conf").write_text(
        f"""\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
TLSCertificateFile {folder}/cert.pem
TLSCertificateKeyFile {folder}/key.pem
TLSCACertificateFile {folder}/ca.pem
sasl-host {HOST}
sasl-auxprops slapd
sasl-secprops none
authz-regexp "uid=([^,]*),cn=[^,]*,cn=auth" "uid=$1,{SUFFIX}"
password-hash {{CLEARTEXT}}
database mdb
suffix {SUFFIX}
directory {folder}/data
access to attrs=userPassword by anonymous auth
access to * by * read
"""
    )
    users = "".join(
        f"""
dn: uid={user},{SUFFIX}
objectClass: account
objectClass: simpleSecurityObject
uid: {user}
userPassword: {password}
"""
        for user, password in USERS.items()
    )
    entries = f"dn: {SUFFIX}\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example\n{users}"
    run = subprocess.run(
        [add, "-f", folder / "slapd.conf"], input=entries.encode(), capture_output=True, check=False, timeout=60
    )
    if run.returncode != 0:
        raise CannotStart(f"slapadd failed: {run.stderr.decode('utf-8', 'replace')[-2000:]}")
