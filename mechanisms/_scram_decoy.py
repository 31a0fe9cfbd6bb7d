"""What a SCRAM server makes up for users that there are not, so that nobody can tell who is known."""

from __future__ import annotations

import os
from hashlib import sha3_512
from typing import Any, Final, NamedTuple

from sasl.errors import UsageError
from sasl.hashes import DIGEST_SIZES, ITERATIONS, LONGEST_SALT, MOST_ITERATIONS, SALT
from sasl.keys import ScramKeys, pick

_LEAST_SECRET: Final = 16  # octets

NOBODY: Final = {
    name: ScramKeys(name, b"-", 1, os.urandom(size), os.urandom(size)) for name, size in DIGEST_SIZES.items()
}
"""Keys in the place of those of an unknown user; nobody can prove that he knows them, and nobody is let in by them."""


class Decoy(NamedTuple):
    """What unknown users are made of: a secret, and (iterations, octets of salt), one of which each of them has."""

    secret: bytes
    pairs: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, secret: object, iterations: object, octets: object = SALT) -> Decoy:
        """Return a decoy; `iterations` may be several pairs of (iterations, octets). Raises UsageError for none."""
        if not isinstance(secret, bytes) or len(secret) < _LEAST_SECRET:
            raise UsageError(f"the secret of a decoy is {_LEAST_SECRET} octets or more")
        pairs: tuple[Any, ...] = tuple(iterations) if isinstance(iterations, list | tuple) else ((iterations, octets),)
        if not pairs or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
            raise UsageError("a decoy has one or more pairs of iterations and octets of salt")
        for count, size in pairs:
            if type(count) is not int or not 0 < count <= MOST_ITERATIONS:
                raise UsageError(f"the iterations of a decoy are a number from 1 to {MOST_ITERATIONS}")
            if type(size) is not int or not 0 < size <= LONGEST_SALT:
                raise UsageError(f"the salt of a decoy has 1 to {LONGEST_SALT} octets")
        return cls(secret, pairs)

    def make(self, authcid: str, hash_name: str) -> tuple[bytes, int]:
        """Return salt and iterations: the same each time and in each release, or they would tell who is unknown.

        SHA-3 takes the secret before the text, where older hashes need HMAC, at three times the cost.
        """
        iterations, octets = self.pairs[pick(self.secret, authcid, len(self.pairs))]
        salt = sha3_512(b"%s%s %s" % (self.secret, hash_name.encode("ascii"), authcid.encode("utf-8"))).digest()
        while len(salt) < octets:
            salt += sha3_512(self.secret + salt).digest()
        return salt[:octets], iterations


DECOY: Final = Decoy(os.urandom(32), ((ITERATIONS, SALT),))
"""Where nobody says which: of this process alone."""
