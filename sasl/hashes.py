"""The hashes of SCRAM (RFC 5802, RFC 7677) and the bounds of what is stored of a password. One source for all."""

from __future__ import annotations

from .typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

HASHES: Final[Mapping[str, str]] = {
    "SCRAM-SHA-1": "sha1",
    "SCRAM-SHA-224": "sha224",
    "SCRAM-SHA-256": "sha256",
    "SCRAM-SHA-384": "sha384",
    "SCRAM-SHA-512": "sha512",
    "SCRAM-SHA3-512": "sha3_512",
}
"""The mechanisms without channel binding, and what hashlib calls their hash; the weakest first."""

DIGEST_SIZES: Final[Mapping[str, int]] = {
    "sha1": 20,
    "sha224": 28,
    "sha256": 32,
    "sha384": 48,
    "sha512": 64,
    "sha3_512": 64,
}
"""Octets of a key, by hashlib's name. Written down, so that a look at the table of mechanisms loads no hashlib."""

ITERATIONS: Final = 4_096
"""Of PBKDF2, where nobody says how many (RFC 5802 section 5.1 has that as the least)."""
MOST_ITERATIONS: Final = 2**31 - 1
"""What PBKDF2 of OpenSSL counts to."""
SALT: Final = 16
"""Octets of a new salt."""
LONGEST_SALT: Final = 4_096
"""Octets."""
