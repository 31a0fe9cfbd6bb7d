"""Certificate authorities, the certificate of the servers and those of users, made on the spot (RFC 5280)."""

from __future__ import annotations

import os
import secrets
import ssl
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, final

from sasl.errors import UsageError
from sasl.value import value

from ..documents import replace_file
from ..verifiers.certificate import SMTP_UTF8_MAILBOX
from .exporter import Exporters

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

NAMES: Final = ("localhost",)
ADDRESSES: Final = ("127.0.0.1", "::1")

LOCAL: Final = "localhost"
"""The domain of mailboxes in client certificates for users whose names have none."""

_AUTHORITY: Final = "saslkit reference CA"
_CLIENT: Final = "saslkit reference client"
_LIFE: Final = timedelta(days=30)
_LEAST: Final = timedelta(days=1)  # what is left of it when certificates are used again
_SKEW: Final = timedelta(hours=1)  # clocks that are a little behind


@final
@value
class Certificates:
    """What `issue` made.

    Attributes:
        authority: the CA's certificate, PEM.
        chain: the server's certificate, PEM.
        key: its private key, PEM; not in the repr.
    """

    authority: bytes
    chain: bytes
    key: bytes

    def __repr__(self) -> str:
        return f"Certificates(for {', '.join(NAMES + ADDRESSES)})"

    def write(self, directory: Path) -> None:
        """Write ca.pem, server.pem and server.key, the key for the owner's eyes only."""
        replace_file(directory / "ca.pem", self.authority, mode=0o644)
        replace_file(directory / "server.pem", self.chain, mode=0o644)
        replace_file(directory / "server.key", self.key)

    def write_for_now(self, directory: Path) -> None:
        """Do what `write` does in a new directory that only its owner can enter, without waiting for the disk."""
        for name, octets in (("ca.pem", self.authority), ("server.pem", self.chain), ("server.key", self.key)):
            (directory / name).touch(mode=0o600, exist_ok=False)
            (directory / name).write_bytes(octets)


def keep(directory: Path, name: str = "") -> None:
    """Leave certificates in a directory: those of an earlier run if they are good for a day, else new ones.

    They are good for `name` too, as `issue` makes them.

    A directory that is not there is made, for the owner only. Raises UsageError if files of these names are not
    from here, OSError if the directory cannot be used.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_our_own(directory):
        raise UsageError("it is another user's, or others may write into it: the key in it would be theirs, too")
    with _lock(directory):
        if not _is_good(directory, name):
            issue(name).write(directory)


def _is_our_own(directory: Path) -> bool:
    """Whether nobody else can have put a key there: directory and files are ours, and only we write into it."""
    if not hasattr(os, "geteuid"):
        return True  # Windows says who may what in another way
    about = directory.stat()
    files = [path.lstat() for name in ("ca.pem", "server.pem", "server.key") if (path := directory / name).exists()]
    return not about.st_mode & 0o022 and all(each.st_uid == os.geteuid() for each in (about, *files))


def issue(name: str = "") -> Certificates:
    """Make a new CA and a certificate for localhost, 127.0.0.1 and ::1; the CA's own key is thrown away.

    The certificate is for `name` too: of a host, or an address; "" for none.
    """
    return Authority(_AUTHORITY).server(name)


def of_the_day() -> tuple[Certificates, Authority]:
    """Return the certificates of the servers of this process, and the CA of their clients; others each day."""
    return _of_day(_today())


@lru_cache(maxsize=1)
def _of_day(_day: int) -> tuple[Certificates, Authority]:
    return issue(), Authority("saslkit reference CA of clients")


def _today() -> int:
    return int(time.monotonic() // _LEAST.total_seconds())


@final
class Authority:
    """A CA, made on the spot, whose key is in no file.

    Attributes:
        certificate: the CA's certificate, PEM.
    """

    def __init__(self, name: str) -> None:
        from cryptography import x509  # 40 ms, and only whoever starts a server pays it
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._begin(self._name, self._key.public_key(), signs_certificates=True)
        self.certificate = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def server(self, name: str = "") -> Certificates:
        """Return this CA's certificate and a new one for localhost, 127.0.0.1 and ::1, and for one name more."""
        from cryptography.x509.oid import ExtendedKeyUsageOID

        hosts: list[str] = [*NAMES, *ADDRESSES]
        if name and name not in hosts:
            hosts.append(name)
        names = [_host(host) for host in hosts]
        return Certificates(self.certificate, *self._issue("localhost", names, ExtendedKeyUsageOID.SERVER_AUTH))

    def client(self, user: str, *, common_name: bool = False) -> tuple[bytes, bytes]:
        """Return a new certificate that names a user, and its key, both PEM.

        It names the mailbox (RFC 5280 section 4.2.1.6, RFC 8398), at localhost where the user's name has no "@"; with
        `common_name`, the subject's commonName alone is the user's name. Raises UsageError for one that it cannot hold.
        """
        from cryptography.x509.oid import ExtendedKeyUsageOID

        usage = ExtendedKeyUsageOID.CLIENT_AUTH
        try:
            return self._issue(user, [], usage) if common_name else self._issue(_CLIENT, [_mailbox(user)], usage)
        except ValueError:
            pass
        raise UsageError(f"no certificate can name {user!r}")

    def __repr__(self) -> str:
        return "Authority(***)"

    def _issue(
        self, common_name: str, names: list[x509.GeneralName], purpose: x509.ObjectIdentifier
    ) -> tuple[bytes, bytes]:
        """Return a new certificate and its key, PEM. Raises ValueError for a name that is too long or empty."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        builder = self._begin(subject, key.public_key(), signs_certificates=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        pem = serialization.Encoding.PEM
        return (
            builder.sign(self._key, hashes.SHA256()).public_bytes(pem),
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        )

    def _begin(
        self, subject: x509.Name, public_key: ec.EllipticCurvePublicKey, *, signs_certificates: bool
    ) -> x509.CertificateBuilder:
        from cryptography import x509

        now = datetime.now(UTC)
        usage = x509.KeyUsage(
            digital_signature=not signs_certificates,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=signs_certificates,
            crl_sign=signs_certificates,
            encipher_only=False,
            decipher_only=False,
        )
        constraints = x509.BasicConstraints(ca=signs_certificates, path_length=0 if signs_certificates else None)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SKEW)
            .not_valid_after(now + _LIFE)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(issuer, critical=False)
            .add_extension(constraints, critical=True)
            .add_extension(usage, critical=True)
        )


def _host(name: str) -> x509.GeneralName:
    """Return a host as a certificate names it."""
    from cryptography import x509

    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _mailbox(user: str) -> x509.GeneralName:
    """Return a mailbox as a certificate names it. Raises ValueError for what is none."""
    from cryptography import x509

    if not user:
        raise ValueError
    mailbox = user if "@" in user else f"{user}@{LOCAL}"
    mailbox.encode("utf-8")  # what has no UTF-8 is a ValueError here; pyasn1 has an error of its own
    if mailbox.rpartition("@")[0].isascii():
        return x509.RFC822Name(mailbox)
    from pyasn1.codec.der.encoder import encode
    from pyasn1.type.char import UTF8String

    return x509.OtherName(x509.ObjectIdentifier(SMTP_UTF8_MAILBOX), encode(UTF8String(mailbox)))


@final
class ServerContext(ssl.SSLContext):
    """The server's side of TLS, which also knows its own certificate: channel binding is about that one.

    Attributes:
        certificate: DER.
        exporters: for the keying material of its connections; None where there is none.
    """

    certificate: bytes
    exporters: Exporters | None = None


def server_context(directory: Path, *, clients: Authority | None = None) -> ServerContext:
    """Return the server's side of TLS, for what `Certificates.write` left in a directory.

    With `clients`, a client may show a certificate of that CA; one without a certificate connects all the same.
    """
    context = _server_context(directory, clients)
    context.exporters = Exporters(context, lambda: _server_context(directory, clients))
    return context


def _server_context(directory: Path, clients: Authority | None) -> ServerContext:
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(directory / "server.pem", directory / "server.key", password="")  # never asks for one
    context.certificate = ssl.PEM_cert_to_DER_cert((directory / "server.pem").read_text("ascii"))
    if clients is not None:
        context.load_verify_locations(cadata=clients.certificate.decode("ascii"))
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def write_pair(directory: Path, certificate: bytes, key: bytes) -> tuple[Path, Path]:
    """Write a certificate and its key into a directory, beside those that are there; return the two files."""
    serial = secrets.token_hex(8)
    paths = directory / f"client-{serial}.pem", directory / f"client-{serial}.key"
    replace_file(paths[0], certificate, mode=0o644)
    replace_file(paths[1], key)
    return paths


def _is_good(directory: Path, name: str) -> bool:
    """Whether a directory holds certificates of `issue` that belong together and are good for this name and a while."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    key = directory / "server.key"
    if not _is_ours(directory):
        return False
    try:
        authority, server = (
            x509.load_pem_x509_certificate((directory / name).read_bytes()) for name in ("ca.pem", "server.pem")
        )
        server.verify_directly_issued_by(authority)
        server_context(directory)
        mode = key.stat().st_mode
        names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    if name and _host(name) not in names:
        return False
    read_by_others = os.name == "posix" and mode & 0o077
    return not read_by_others and datetime.now(UTC) + _LEAST < min(
        authority.not_valid_after_utc, server.not_valid_after_utc
    )


def _is_ours(directory: Path) -> bool:
    """Whether a CA of ours is in a directory, so that what else is there may be replaced; False for an empty one."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    if not any((directory / name).exists() for name in ("ca.pem", "server.pem", "server.key")):
        return False
    try:
        authority = x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes())
        names = [name.value for name in authority.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    except (FileNotFoundError, ValueError):
        names = []
    if names != [_AUTHORITY]:
        raise UsageError("it holds a ca.pem, server.pem or server.key that is not from here")
    return True


@contextmanager
def _lock(directory: Path) -> Iterator[None]:
    """Let no other process that keeps certificates there do so at the same time."""
    if sys.platform == "win32":  # pragma: no cover -- has no such locks
        yield
        return
    import fcntl

    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
