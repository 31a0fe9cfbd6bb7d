"""Channel-binding data of a TLS connection (RFC 5929, RFC 9266): what the -PLUS mechanisms bind a login to.

    channel = sasl.Channel(tls=True, service="imap", bindings=bindings(conn.sock))

Python's ssl cannot export keying material, so its connections have tls-server-end-point, and tls-unique below TLS 1.3.
Whoever has another way to tls-exporter gives it to `bindings`, or puts {"tls-exporter": octets} first in
`Channel.bindings` by himself.
"""

from __future__ import annotations

from ssl import CERT_NONE, CERT_REQUIRED

from sasl.channel import END_POINT
from sasl.errors import UsageError
from sasl.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from cryptography.hazmat.primitives.hashes import HashAlgorithm

EXPORTER: Final = "tls-exporter"
UNIQUE: Final = "tls-unique"

_LABEL: Final = "EXPORTER-Channel-Binding"  # RFC 9266 section 2
_LENGTH: Final = 32  # octets
_BEFORE_1_3: Final = ("TLSv1", "TLSv1.1", "TLSv1.2")
_VERIFY_PEER: Final = 1  # OpenSSL's SSL_VERIFY_PEER
_VERSIONS: Final = (*_BEFORE_1_3, "TLSv1.3")


def bindings(
    tls: Any,
    *,
    server_side: bool = False,
    certificate: bytes | None = None,
    exporter: Callable[[str, int], bytes] | None = None,
) -> dict[str, bytes]:
    """Return the octets for each channel-binding type that a connection has, the preferred one first.

    `tls` is an `ssl.SSLSocket` (gevent's, too), an `ssl.SSLObject` (which a transport of asyncio's and a stream of
    anyio's have: "ssl_object"), an `SSLStream` of trio's or a `Connection` of pyOpenSSL, after its handshake; before
    it (where trio raises NeedHandshakeError), and after the end, there are none. `certificate` is the server's, in DER:
    a server has to give its own (`server_side=True`), a client's default is the one that it was shown.
    `exporter` is called with a label (RFC 9266 section 2) and a number of octets and returns so many, exported for an
    empty context. Below TLS 1.3 it is for whoever knows that the extended master secret (RFC 7627) is in force.

    tls-exporter: by `exporter`, and for pyOpenSSL's connections under TLS 1.3. tls-unique: for those of ssl below
    TLS 1.3, where it is defined; not after a resumption, which wants the extended master secret (RFC 7677 section 4),
    and Python does not tell whether that is in force. tls-server-end-point: if it is defined for the certificate; why
    it is not goes to the log. What cannot be had is left out: a login without channel binding does not need it.
    """
    pyopenssl = _is_pyopenssl(tls)
    version = version_of(tls)
    if version not in _VERSIONS:
        return {}
    found: dict[str, bytes | None] = {EXPORTER: None, UNIQUE: None, END_POINT: None}
    if exporter is not None:
        found[EXPORTER] = exporter(_LABEL, _LENGTH)
    elif pyopenssl and version not in _BEFORE_1_3:
        found[EXPORTER] = _export(tls)
    if not pyopenssl and default_of(tls) == UNIQUE:
        found[UNIQUE] = tls.get_channel_binding(UNIQUE)
    if certificate is None and not server_side:
        certificate = _certificate_from_pyopenssl(tls) if pyopenssl else tls.getpeercert(binary_form=True)
    if certificate is not None:
        found[END_POINT] = end_point(certificate)
    return {kind: octets for kind, octets in found.items() if octets}


def version_of(tls: Any) -> str | None:
    """Return the TLS version of a connection, "TLSv1.3"; None before its handshake and after its end.

    Raises UsageError for what is no TLS connection.
    """
    ask = getattr(tls, "get_protocol_version_name" if _is_pyopenssl(tls) else "version", None)
    if ask is None:
        raise UsageError(f"{type(tls).__name__} is no TLS connection: it has no version()")
    if _is_pyopenssl(tls) and tls.get_cipher_name() is None:  # it names one before its handshake as well
        return None
    version: str | None = ask()
    return version


def tls_version(connection: Any) -> str | None:
    """Return the TLS version that a connection speaks; None for one without TLS, or before its handshake.

    What has a version() and no channel binding to go with it may be anything: it is taken for one without TLS.
    """
    try:
        known = _is_pyopenssl(connection) or hasattr(connection, "get_channel_binding")
        version = version_of(connection) if known else None
    except Exception:  # UsageError; what a library has against a question before the handshake
        return None
    return version if version in _VERSIONS else None


def checks_certificate(tls: Any) -> bool:
    """Whether the context of a TLS connection checks the peer's certificate; what cannot be seen does not."""
    if _is_pyopenssl(tls):
        return bool(tls.get_verify_mode() & _VERIFY_PEER)  # a connection may override its context
    return getattr(getattr(tls, "context", None), "verify_mode", CERT_NONE) is CERT_REQUIRED


def default_of(tls: Any) -> str | None:
    """Return the type that is the default for the TLS version of a connection, if it is at hand.

    That is tls-unique before TLS 1.3, which pyOpenSSL does not have, and tls-exporter after it, which ssl does not.
    """
    if _is_pyopenssl(tls):
        return EXPORTER if version_of(tls) == "TLSv1.3" else None
    fits = tls.version() in _BEFORE_1_3 and not tls.session_reused  # under 1.3 Python returns octets as well
    return UNIQUE if fits and tls.get_channel_binding(UNIQUE) else None


def exporter(connection: Any) -> bytes:
    """Return the 32 octets of tls-exporter for a `Connection` of pyOpenSSL (RFC 9266 section 2).

    Under TLS 1.2 they are fit for channel binding only if the extended master secret is in force, which pyOpenSSL does
    not tell. Raises UsageError if there is nothing to export: before the handshake, or after the end.
    """
    octets = _export(connection)
    if octets is None:
        raise UsageError("a connection that exports no keying material: is its handshake over?")
    return octets


def end_point(certificate: bytes) -> bytes | None:
    """Return tls-server-end-point (RFC 5929 section 4): a DER certificate's hash, by the hash of its signature.

    SHA-256 stands in for MD5 and SHA-1. None where it is undefined; `why_not` tells why.
    """
    from cryptography.hazmat.primitives import hashes

    algorithm, why = _hash(certificate)
    if algorithm is None:
        _log(END_POINT, why)
        return None
    digest = hashes.Hash(algorithm)
    digest.update(certificate)
    return digest.finalize()


def why_not(certificate: bytes) -> str:
    """Return why tls-server-end-point is undefined for a DER certificate; empty if it is not."""
    return _hash(certificate)[1]


def _hash(certificate: bytes) -> tuple[HashAlgorithm | None, str]:
    """Return the hash for a certificate, or why there is none."""
    from cryptography import x509  # 40 ms, and only what binds a channel pays it
    from cryptography.hazmat.primitives import hashes

    try:
        parsed = x509.load_der_x509_certificate(certificate)
        algorithm = parsed.signature_hash_algorithm
        name = parsed.signature_algorithm_oid._name  # noqa: SLF001 -- there is no other
    except Exception as error:  # ValueError, UnsupportedAlgorithm, InvalidVersion, ...
        return None, f"the certificate, or its signature's algorithm, cannot be read ({type(error).__name__})"
    if algorithm is None:
        return None, f"the certificate's signature, {name}, has no hash of its own (RFC 5929 section 4.1)"
    return hashes.SHA256() if isinstance(algorithm, hashes.MD5 | hashes.SHA1) else algorithm, ""


def _is_pyopenssl(tls: Any) -> bool:
    return hasattr(tls, "get_protocol_version_name")


def _export(connection: Any) -> bytes | None:
    try:
        octets: bytes = connection.export_keying_material(_LABEL.encode("ascii"), _LENGTH, b"")
    except Exception as error:  # OpenSSL.SSL.Error, of a package that need not be there
        _log(EXPORTER, type(error).__name__)
        return None
    return octets


def _certificate_from_pyopenssl(connection: Any) -> bytes | None:
    """Return the peer's certificate, DER."""
    from cryptography.hazmat.primitives.serialization import Encoding

    certificate = connection.get_peer_certificate()
    if certificate is None:
        return None
    octets: bytes = certificate.to_cryptography().public_bytes(Encoding.DER)
    return octets


def _log(kind: str, why: str) -> None:
    import logging  # 10 ms, and a login by a token or PLAIN never comes here

    logging.getLogger("sasl").debug("no %s: %s", kind, why)
