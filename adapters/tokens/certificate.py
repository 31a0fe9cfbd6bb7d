"""A client that proves itself by a certificate: private_key_jwt (RFC 7523 section 2.2, OpenID Connect Core section 9).

    assertion = certificate_assertion("client-id", "key.pem", "certificate.pem")
    client = Client("client-id", assertion=assertion)

Microsoft wants to know by which certificate: the header names it by its thumbprints (RFC 7515 sections 4.1.7 and
4.1.8). It is on PyJWT and cryptography, which come with the extra `jwt`.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from base64 import urlsafe_b64encode
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, final

from sasl.errors import TokenError, UsageError, hide_frames
from sasl.secret import Secret

from ._extra import load

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    PEM: TypeAlias = str | os.PathLike[str] | bytes
    """A path, or what a file would hold."""
    Algorithm: TypeAlias = Literal["RS256", "PS256", "ES256"]

_EXTRA: Final = "jwt"
_LARGEST: Final = 65_536  # octets of a file
_ALGORITHMS: Final = ("RS256", "PS256", "ES256")
_FEWEST_BITS: Final = 2048  # of an RSA key (RFC 7518 section 3.3)


@hide_frames
def certificate_assertion(
    client_id: str,
    key: PEM,
    certificate: PEM | None = None,
    *,
    password: str | Secret | None = None,
    algorithm: Algorithm = "RS256",
    key_id: str | None = None,
    lifetime: float = 300.0,
    clock: Callable[[], float] = time.time,
) -> Callable[[str], str]:
    """Return what makes a client's assertion for a token endpoint: a signed JWT, a new one at each call.

    `key` is the private key and `certificate` what was uploaded at the provider, both PEM: the path of a file, or its
    octets. One file may hold both. Files are read at each call, so a key that is replaced needs no restart. `password`
    decrypts the key. `key_id` is the header's "kid", for servers that know keys by a name. An assertion is good for
    `lifetime` seconds; `clock` returns the time in seconds since 1970.
    Raises UsageError for an algorithm that is not known here and for a lifetime that is none; here and in each call
    TokenError: missing_extra, bad_file, bad_key (also where the key does not fit algorithm or certificate), and
    certificate_over.
    """
    if algorithm not in _ALGORITHMS or not isinstance(client_id, str) or not client_id or not 0 < lifetime <= 86_400:
        del key, password
        raise UsageError(f"an assertion has a client id, a lifetime of up to a day and one of {', '.join(_ALGORITHMS)}")
    signer = _Signer(client_id, algorithm, key_id, lifetime, clock)
    signer.key = _File(key)
    signer.certificate = None if certificate is None else _File(certificate)
    signer.password = None if password is None else Secret(password)
    del key, password
    signer.check()
    return signer


@final
class _Signer:
    """Makes assertions."""

    __slots__ = ("_algorithm", "_client_id", "_clock", "_key_id", "_lifetime", "certificate", "key", "password")

    def __init__(
        self, client_id: str, algorithm: Algorithm, key_id: str | None, lifetime: float, clock: Callable[[], float]
    ) -> None:
        self._client_id = client_id
        self._algorithm = algorithm
        self._key_id = key_id
        self._lifetime = lifetime
        self._clock = clock
        self.key: _File
        self.certificate: _File | None
        self.password: Secret | None

    def __repr__(self) -> str:
        return f"<assertions of the client {self._client_id}>"

    @hide_frames
    def check(self) -> None:
        """Read key and certificate. Raises TokenError if they cannot be used."""
        load("jwt", _EXTRA)
        self._load()

    @hide_frames
    def __call__(self, token_endpoint: str) -> str:
        """Return a signed JWT for a token endpoint. Raises TokenError."""
        key, header = self._load()
        now = int(self._clock())
        claims = {
            "iss": self._client_id,
            "sub": self._client_id,
            "aud": token_endpoint,
            "jti": secrets.token_urlsafe(24),
            "iat": now,
            "nbf": now,
            "exp": now + max(1, int(self._lifetime)),
        }
        signed: str = load("jwt", _EXTRA).encode(claims, key, algorithm=self._algorithm, headers=header)
        return signed

    def _load(self) -> tuple[Any, dict[str, str]]:
        """Return the private key, and what the header says of it."""
        key = _load_key(self.key.read(), self.password)
        _check_kind(key, self._algorithm)
        header = {} if self._key_id is None else {"kid": self._key_id}
        if self.certificate is not None:
            header |= _thumbprints(self.certificate.read(), key, self._clock())
        return key, header


@final
class _File:
    """The octets of a PEM file, or where they are."""

    __slots__ = ("_held", "_path")

    def __init__(self, given: PEM) -> None:
        self._held: Secret | None = None
        self._path = Path()
        if isinstance(given, bytes):
            self._held = Secret(given.decode("latin-1"))
        elif isinstance(given, str | os.PathLike) and not str(given).startswith("-----BEGIN"):
            self._path = Path(given).absolute()
        else:
            del given  # it may be the key
            raise UsageError("a key or a certificate is a path, or the octets of a PEM file")

    def read(self) -> bytes:
        """Return the octets. Raises TokenError (bad_file)."""
        if self._held is not None:
            return self._held.reveal().encode("latin-1")
        try:
            with self._path.open("rb") as file:
                return file.read(_LARGEST)
        except OSError as error:
            failure = TokenError(f"{self._path} cannot be read: {error.strerror}", code="bad_file")
        raise failure


def _load_key(octets: bytes, password: Secret | None) -> Any:
    serialization = load("cryptography.hazmat.primitives.serialization", _EXTRA)
    opened = None if password is None else password.reveal().encode()
    try:
        return serialization.load_pem_private_key(octets, opened)
    except TypeError:
        said = "it is encrypted and wants a password, or it is not and got one"
    except Exception:  # ValueError, or cryptography's own
        said = "it is no PEM of a private key, or the password is another"
    raise _bad_key(f"the private key cannot be read: {said}")


def _check_kind(key: Any, algorithm: str) -> None:
    """Raise TokenError where a key does not do what an algorithm wants (RFC 7518 sections 3.3 to 3.5)."""
    if algorithm == "ES256":
        if getattr(getattr(key, "curve", None), "name", "") != "secp256r1" or not hasattr(key, "sign"):
            raise _bad_key("ES256 wants a private key on the curve P-256")
        return
    rsa = load("cryptography.hazmat.primitives.asymmetric.rsa", _EXTRA)
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < _FEWEST_BITS:
        raise _bad_key(f"{algorithm} wants a private key of RSA with {_FEWEST_BITS} bits or more")


def _thumbprints(octets: bytes, key: Any, now: float) -> dict[str, str]:
    """Return what the header says of a certificate, which has to be that of the key and good now."""
    x509 = load("cryptography.x509", _EXTRA)
    serialization = load("cryptography.hazmat.primitives.serialization", _EXTRA)
    try:
        certificate = x509.load_pem_x509_certificate(octets)
    except ValueError:
        certificate = None
    if certificate is None:
        raise TokenError("the certificate cannot be read: it is no PEM", code="bad_file")
    if _public_octets(certificate.public_key()) != _public_octets(key.public_key()):
        raise _bad_key("the certificate is of another key")
    ends = getattr(certificate, "not_valid_after_utc", None)  # of cryptography 42 and later; before, naive
    ends = certificate.not_valid_after.replace(tzinfo=UTC) if ends is None else ends
    if ends.timestamp() <= now:
        raise TokenError(
            f"the certificate is over since {ends:%Y-%m-%d}",
            code="certificate_over",
            hint="Make a new certificate, and upload it at the provider.",
        )
    der = certificate.public_bytes(serialization.Encoding.DER)
    # SHA-1 is only a name here: RFC 7515 wants it, and so does Microsoft of older applications.
    sha1 = hashlib.sha1(der, usedforsecurity=False).digest()
    return {"x5t": _base64url(sha1), "x5t#S256": _base64url(hashlib.sha256(der).digest())}


def _public_octets(key: Any) -> bytes:
    serialization = load("cryptography.hazmat.primitives.serialization", _EXTRA)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    octets: bytes = key.public_bytes(serialization.Encoding.DER, form)
    return octets


def _base64url(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def _bad_key(what: str) -> TokenError:
    return TokenError(what, code="bad_key", hint="Check the private key and the certificate of the client.")
