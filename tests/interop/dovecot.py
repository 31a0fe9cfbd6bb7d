"""A real Dovecot on loopback: IMAP, POP3, submission and ManageSieve, each with STARTTLS and with implicit TLS.

ManageSieve is there if Debian's package dovecot-managesieved is.

It runs without privileges, in a folder of its own, as whoever runs the tests (as nobody where that is root).
"""

from __future__ import annotations

import base64
import grp
import hashlib
import hmac
import json
import os
import pwd
import re
import shutil
import socket
import socketserver
import ssl
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import trustme

from ..support.servers import HOST, CannotStart, Running, free_ports, program, started, url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROTOCOLS = ("imap", "pop", "smtp")
SERVICES = {"imap": "imap", "pop": "pop3", "smtp": "submission"}  # what Dovecot calls them
if Path("/usr/share/dovecot/protocols.d/managesieved.protocol").exists():
    SERVICES["sieve"] = "managesieve"
_LISTENERS = {"managesieve": "sieve"}
"""What Dovecot calls a service's protocol and listener, where that is not its name: else it takes port 4190, too."""
PASSWORD_MECHANISMS = ("plain", "login", "cram-md5", "digest-md5", "scram-sha-1", "scram-sha-256", "apop")
ALL_MECHANISMS = (*PASSWORD_MECHANISMS, "external", "xoauth2", "oauthbearer", "anonymous")

# Who may log in by password. The second is also who may log in by token; the last two have no ASCII password. Some
# give a token for their password, so one is as long as that.
# alice and bob have a certificate, too.
USERS = {
    "alice": "wonderland",
    "alice@example.org": "wonderland",
    "bob": "builder",
    "white rabbit": "late again",
    "caterpillar": ("who are you? " * 116)[:1500],
    "joerg": "p\u00e4ssw\u00f6rd \u20ac \u2603",
    "j\u00f6rg": "k\u00f6nigin",
}
MAILBOX = "alice@example.org"

_ISSUER = "https://lab.example"
_DISCOVERY = "https://lab.example/.well-known/openid-configuration"
_KEY = b"a key of thirty-two octets: 1234"

# What Dovecot 2.3 says of every refused token, whatever is wrong with it.
REFUSALS = {
    "XOAUTH2": {"status": "401", "schemes": "bearer", "scope": "mail", "openid-configuration": _DISCOVERY},
    "OAUTHBEARER": {"status": "invalid_token", "openid-configuration": _DISCOVERY},
}

# What takes a password in the lists of IMAP and POP3; our TLS begins with the connection, so STARTTLS goes with it.
_LISTED = re.compile(
    rb" (?:STARTTLS|(?:AUTH=)?(?:%s))(?=[ \r])" % b"|".join(name.upper().encode() for name in PASSWORD_MECHANISMS)
)


@dataclass(frozen=True, repr=False)
class Dovecot(Running):
    """One running server.

    Attributes:
        ports: (protocol, whether TLS begins with the connection) to port.
        ca: the file with the certificate of the CA that signed the server's.
        folder: where its config, log and mail are.
        auth_port: where it checks credentials for other servers, in Dovecot's own protocol.
        relayed: the messages that were submitted, each as its octets.
    """

    ports: dict[tuple[str, bool], int]
    ca: Path
    folder: Path
    auth_port: int
    relayed: list[bytes] = field(default_factory=list)

    logs_in = ("master.log", "dovecot.log")
    mailbox = MAILBOX
    users = USERS
    refusals = REFUSALS

    def port(self, protocol: str, *, implicit: bool) -> int:
        return self.ports[protocol, implicit]

    def url(self, protocol: str, user: str, *, implicit: bool) -> str:
        return url(protocol + "s" * implicit, user, self.port(protocol, implicit=implicit))

    def token(self, kind: str = "good", length: int = 300, email: str = MAILBOX) -> str:
        """Make a JWT (RFC 7519) of about `length` octets, at least 260: good, expired or badsig, by another key."""
        now = int(time.time())
        expires = now - 3600 if kind == "expired" else now + 3600
        key = bytes(32) if kind == "badsig" else _KEY
        claims = {"sub": email, "email": email, "iss": _ISSUER, "scope": "mail", "iat": expires - 7200, "exp": expires}
        bare = len(_jwt({**claims, "pad": ""}, key))
        return _jwt({**claims, "pad": "x" * ((length - bare + 1) * 3 // 4)}, key)

    def context(self, certificate: str | None = None) -> ssl.SSLContext:
        """Make a context that trusts the server, and shows it a certificate if one is named."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if certificate is not None:
            context.load_cert_chain(self.certificate(certificate))
        return context

    def certificate(self, name: str) -> Path:
        """Return the file of a certificate and its key: alice's, bob's or a stranger's, who calls himself alice."""
        return self.folder / f"client-{name}.pem"

    def is_up(self) -> bool:
        """Whether it wrote what it writes once its ports are open."""
        return " starting up for " in self.log()


@contextmanager
def running(
    mechanisms: tuple[str, ...] = ALL_MECHANISMS,
    *,
    settings: str = "",
    introspection: str = "",
    stored: Mapping[str, str] | None = None,
    stored_for_scram: Mapping[str, str] | None = None,
) -> Iterator[Dovecot]:
    """Start a Dovecot that offers the mechanisms; stop it and all that it started at the end.

    `settings` are further lines of its configuration. Tokens are checked here, or by a server at the URL
    `introspection` (RFC 7662). `stored` are further users, with what is stored in the place of their passwords;
    SCRAM looks into `stored_for_scram` first.
    """
    binary = _binary()
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    # Not pytest's folder: that is closed to nobody, and the paths of Unix sockets may have 107 octets only.
    folder = Path(tempfile.mkdtemp(prefix="saslkit-dovecot-"))
    try:
        with _relay() as (relay_port, relayed):
            ca = _lay_out(folder, introspection, stored or {}, stored_for_scram or {})

            def configure() -> tuple[Dovecot, list[str]]:
                listeners = [(protocol, implicit) for protocol in SERVICES for implicit in (False, True)]
                auth_port, *free = free_ports(1 + len(listeners))
                ports = dict(zip(listeners, free, strict=True))
                server = Dovecot(ports, ca, folder, auth_port, relayed)
                _configure(server, account, relay_port, mechanisms, settings)
                _own(folder, account)
                return server, [binary, "-F", "-c", str(folder / "dovecot.conf")]

            as_other = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            with started("dovecot", configure, **(as_other if os.geteuid() == 0 else {})) as server:
                yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _jwt(claims: dict[str, object], key: bytes) -> str:
    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")

    header = {"typ": "JWT", "alg": "HS256", "kid": "k1"}
    signed = ".".join(part(json.dumps(value, separators=(",", ":")).encode("ascii")) for value in (header, claims))
    return signed + "." + part(hmac.digest(key, signed.encode("ascii"), hashlib.sha256))


def _binary() -> str:
    found = program("SASLKIT_DOVECOT", "dovecot")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    if not version.startswith("2.3."):
        raise CannotStart(f"these tests know the configuration of Dovecot 2.3, this is {version.strip()}")
    return found


def _lay_out(folder: Path, introspection: str, stored: Mapping[str, str], stored_for_scram: Mapping[str, str]) -> Path:
    """Write what does not depend on the ports; return the CA's file."""
    for name in ("run", "state", "mail", "keys/default/HS256"):
        (folder / name).mkdir(parents=True)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert(HOST, "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    for signed_by, name, who in (
        (authority, "alice", "alice"),
        (authority, "bob", "bob"),
        (trustme.CA(), "stranger", "alice"),
    ):
        certificate = signed_by.issue_cert(f"{who}@example.org", common_name=who)
        certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / f"client-{name}.pem"))
    (folder / "keys/default/HS256/k1").write_bytes(base64.b64encode(_KEY))
    kept = {name: f"{{PLAIN}}{password}" for name, password in USERS.items()} | dict(stored)
    for name, users in (("users", kept), ("users-scram", stored_for_scram)):
        (folder / name).write_text("".join(f"{user}:{what}\n" for user, what in users.items()), "utf-8")
    validation = f"introspection_mode = local\nlocal_validation_key_dict = fs:posix:prefix={folder}/keys/"
    if introspection:
        validation = f"""\
introspection_mode = auth
introspection_url = {introspection}
active_attribute = active
active_value = true"""
    (folder / "oauth2.conf").write_text(
        f"""\
{validation}
issuers = {_ISSUER}
username_attribute = email
openid_configuration_url = {_DISCOVERY}
scope = mail
"""
    )
    return folder / "ca.pem"


def _own(folder: Path, account: pwd.struct_passwd) -> None:
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, account.pw_uid, account.pw_gid)


def _configure(
    server: Dovecot, account: pwd.struct_passwd, relay_port: int, mechanisms: tuple[str, ...], settings: str
) -> None:
    folder, me = server.folder, account.pw_name
    group = grp.getgrgid(account.pw_gid).gr_name
    logins = "".join(
        f"""\
service {service}-login {{
  chroot =
  service_count = 0
  inet_listener {_LISTENERS.get(service, service)} {{
    port = {server.port(protocol, implicit=False)}
  }}
  inet_listener {_LISTENERS.get(service, service)}s {{
    port = {server.port(protocol, implicit=True)}
    ssl = yes
  }}
}}
"""
        for protocol, service in SERVICES.items()
    )
    (folder / "dovecot.conf").write_text(
        f"""\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
auth_verbose = yes
protocols = {" ".join(_LISTENERS.get(service, service) for service in SERVICES.values())}
listen = 127.0.0.1
mail_location = maildir:{folder}/mail/%u
default_internal_user = {me}
default_internal_group = {group}
default_login_user = {me}
first_valid_uid = {account.pw_uid}
first_valid_gid = {account.pw_gid}
ssl = yes
ssl_cert = <{folder}/server.pem
ssl_key = <{folder}/server.pem
ssl_ca = <{folder}/ca.pem
ssl_verify_client_cert = yes
ssl_require_crl = no
auth_ssl_username_from_cert = yes
ssl_cert_username_field = commonName
disable_plaintext_auth = yes
auth_mechanisms = {" ".join(mechanisms)}
auth_username_chars =
auth_anonymous_username = anonymous
auth_failure_delay = 0
auth_cache_size = 0
hostname = localhost
submission_relay_host = 127.0.0.1
submission_relay_port = {relay_port}
submission_relay_trusted = yes
# Authenticates nobody: it only spares a refusal the half second that auth_failure_delay = 0 still takes.
passdb {{
  driver = static
  args = noauthenticate=yes nodelay=yes
}}
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {folder}/oauth2.conf
}}
passdb {{
  driver = passwd-file
  mechanisms = scram-sha-1 scram-sha-256
  args = username_format=%u {folder}/users-scram
}}
passdb {{
  driver = passwd-file
  mechanisms = {" ".join(PASSWORD_MECHANISMS)}
  args = username_format=%u {folder}/users
}}
passdb {{
  driver = static
  mechanisms = external
  args = nopassword=yes
}}
userdb {{
  driver = static
  args = uid={account.pw_uid} gid={account.pw_gid} home={folder}/mail/%u
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
service auth {{
  inet_listener auth-client {{
    address = 127.0.0.1
    port = {server.auth_port}
  }}
}}
service auth-worker {{
  user = {me}
}}
{logins}{settings}
"""
    )


@contextmanager
def _relay() -> Iterator[tuple[int, list[bytes]]]:
    """Run the server to which submission hands its mail; give its port and what it was given."""
    relayed: list[bytes] = []

    class Session(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.reply("220 relay ESMTP")
            for line in self.rfile:
                verb = line[:4].upper().strip()
                if verb == b"EHLO":
                    self.reply("250-relay\r\n250-8BITMIME\r\n250-XCLIENT ADDR PORT PROTO HELO LOGIN\r\n250 PIPELINING")
                elif verb == b"XCLI":
                    self.reply("220 relay ESMTP")
                elif verb == b"DATA":
                    self.reply("354 go on")
                    relayed.append(b"".join(iter(self.rfile.readline, b".\r\n")))
                    self.reply("250 2.0.0 taken")
                elif verb == b"QUIT":
                    self.reply("221 2.0.0 bye")
                    return
                else:
                    self.reply("250 2.0.0 fine")

        def reply(self, text: str) -> None:
            self.wfile.write(text.encode("ascii") + b"\r\n")

    with _Server(("127.0.0.1", 0), Session) as relay, _serving(relay):
        yield relay.server_address[1], relayed


@contextmanager
def without_password_mechanisms(server: Dovecot) -> Iterator[Dovecot]:
    """Stand before IMAP and POP3 with TLS of our own, and take all that is for passwords out of what Dovecot offers.

    LOGIN and USER/PASS go on to work: so do iCloud, Alibaba and Proton Bridge. Dovecot has no setting for it.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(server.folder / "server.pem")
    with ExitStack() as stack:
        ports = {
            (protocol, True): stack.enter_context(_front(context, server.port(protocol, implicit=False)))
            for protocol in ("imap", "pop")
        }
        yield replace(server, ports=ports)


@contextmanager
def broken_web_server() -> Iterator[str]:
    """Run what answers every request by 500; give its URL."""

    class Session(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in iter(self.rfile.readline, b"\r\n"):
                assert line
            self.wfile.write(b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with _Server(("127.0.0.1", 0), Session) as server, _serving(server):
        yield f"http://127.0.0.1:{server.server_address[1]}/introspect"


@contextmanager
def _front(context: ssl.SSLContext, port: int) -> Iterator[int]:
    class Session(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with (
                context.wrap_socket(self.request, server_side=True) as client,
                closing(socket.create_connection(("127.0.0.1", port))) as behind,
            ):
                answers = threading.Thread(target=self.pass_on, args=(behind.makefile("rb"), client))
                answers.start()
                with client.makefile("rb") as lines:
                    for line in lines:
                        behind.sendall(line)
                behind.shutdown(socket.SHUT_RDWR)
                answers.join()

        def pass_on(self, answers: BinaryIO, client: ssl.SSLSocket) -> None:
            with answers, suppress(OSError):  # a client that logs out need not wait for the answer
                for line in answers:
                    client.sendall(_LISTED.sub(b"", line))

    with _Server(("127.0.0.1", 0), Session) as front, _serving(front):
        yield front.server_address[1]


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A session that was cut short is no event."""


@contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
