"""What the reference authority knows by hashes and signatures: secrets, signed assertions (RFC 7523), its own JWTs."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from typing import TYPE_CHECKING, Any, Final, final

from ..documents import parse_object
from ..tokens._extra import load

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_LONGEST: Final = 3_600  # seconds that an assertion lives
_LEEWAY: Final = 60  # seconds that two clocks may differ


class Refusal(Exception):
    """A refusal (RFC 6749 section 5.2)."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(error)
        self.error = error
        self.description = description
        self.status = status


def new_token() -> str:
    """Return a text that nobody can guess."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> bytes:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def claims_of(
    assertion: str,
    find: Callable[[dict[str, Any], dict[str, Any]], Any],
    audiences: Collection[str],
    now: float,
    algorithms: Collection[str] = ("RS256",),
) -> dict[str, Any]:
    """Return the claims of an assertion that is signed, meant for here, and of now (RFC 7523 section 3).

    `find` returns the public key for a header and claims, or None. Raises Refusal (invalid_grant).
    """
    match [_base64url(part) for part in assertion.split(".")]:
        case [bytes(header), bytes(payload), bytes(signature)]:
            head, claims = (parse_object(part, unique=True) or {} for part in (header, payload))
        case _:
            raise Refusal("invalid_grant", "Not a valid JWT.")
    algorithm = head.get("alg")
    key = find(head, claims) if isinstance(algorithm, str) and algorithm in algorithms and "crit" not in head else None
    if key is None:
        raise Refusal("invalid_grant", f"Invalid JWT: no such account or key, or none of {', '.join(algorithms)}.")
    if not _is_signed(key, str(algorithm), signature, assertion.rpartition(".")[0]):
        raise Refusal("invalid_grant", "Invalid JWT Signature.")
    if claims.get("aud") not in audiences:
        raise Refusal("invalid_grant", "Invalid JWT: it is meant for somebody else.")
    issued, expires = claims.get("iat"), claims.get("exp")
    if type(issued) is not int or type(expires) is not int:
        raise Refusal("invalid_grant", "Invalid JWT: iat and exp are numbers.")
    if not (now - _LEEWAY < expires <= issued + _LONGEST and issued < now + _LEEWAY):
        raise Refusal("invalid_grant", "Invalid JWT: it must be short-lived and of now. Check your iat and exp.")
    return claims


@final
class Signer:
    """Signs the access tokens that are JWTs (RFC 9068), by a key of its own that is made when it is needed."""

    def __init__(self) -> None:
        self._key: Any = None
        self._id = secrets.token_hex(8)

    def sign(self, claims: dict[str, Any]) -> str:
        """Return a JWT. Raises TokenError (missing_extra) without PyJWT."""
        headers = {"kid": self._id, "typ": "at+jwt"}
        signed: str = load("jwt", "jwt").encode(claims, self._private(), algorithm="ES256", headers=headers)
        return signed

    def jwks(self) -> dict[str, Any]:
        """Return the public key (RFC 7517 section 5)."""
        numbers = self._private().public_key().public_numbers()
        point = {name: base64url(getattr(numbers, name).to_bytes(32, "big")) for name in ("x", "y")}
        return {"keys": [{"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self._id, **point}]}

    def _private(self) -> Any:
        from cryptography.hazmat.primitives.asymmetric import ec

        self._key = self._key or ec.generate_private_key(ec.SECP256R1())
        return self._key


def _base64url(text: str) -> bytes | None:
    """Decode a part of a JWT (RFC 7515 section 2); None for what is none."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", text):
        return None
    try:
        octets = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return None
    return octets if base64url(octets) == text else None


def base64url(octets: bytes) -> str:
    """Encode without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def _is_signed(key: Any, algorithm: str, signature: bytes, text: str) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    sha = hashes.SHA256()
    pad = padding.PKCS1v15() if algorithm == "RS256" else padding.PSS(padding.MGF1(sha), sha.digest_size)
    try:
        key.verify(signature, text.encode("ascii"), pad, sha)
    except InvalidSignature:
        return False
    return True
