"""SCRAM keys (RFC 5802 section 3): what a server stores instead of a password."""

from __future__ import annotations

import hashlib
import hmac
import os

from . import stored as forms
from .errors import SASLError, UsageError, hide_frames
from .hashes import DIGEST_SIZES, HASHES, ITERATIONS, LONGEST_SALT, MOST_ITERATIONS, SALT
from .prep import forms_of, prepare_own
from .secret import Secret, octets
from .typed import TYPE_CHECKING, final
from .value import value

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final, NoReturn

_NAMES: Final = {name: mechanism for mechanism, name in HASHES.items()}


@final
class Key(bytes):
    """Octets of a key. Shown by their number only, and refused by pickle and copy, whatever holds them."""

    __slots__ = ()

    def __repr__(self) -> str:
        return octets(self)

    __str__ = __repr__

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a key is neither pickled nor copied")


@final
@value
class ScramKeys:
    """What a server keeps to verify a password without knowing it (RFC 5802 section 3, RFC 5803).

    It verifies SCRAM (as the answer to `FindKeys`) and, by `verifies`, a password that came in the clear. Who
    steals it has to guess the password for each user anew, and can act as the server towards that user meanwhile.
    Pickle and copy refuse it: where it has to go somewhere, print it and parse it there.

    Attributes:
        hash: hashlib's name of the hash: "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_512".
        salt: octets; 16 in those that `derive` makes.
        iterations: of PBKDF2.
        stored_key: H(ClientKey).
        server_key: HMAC(SaltedPassword, "Server Key").

    Raises UsageError if a part is not what it has to be.
    """

    hash: str
    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes

    def __init__(self, hash: str, salt: bytes, iterations: int, stored_key: bytes, server_key: bytes) -> None:  # noqa: A002 -- as in FindKeys
        problem = _misfit(hash, salt, iterations)
        if not problem and not (_is_key(stored_key, hash) and _is_key(server_key, hash)):
            problem = f"a key of {hash} has {DIGEST_SIZES[hash]} octets"
        if problem:
            del self, stored_key, server_key  # no frame of the error shows a key, or an object that is half made
            raise UsageError(problem)
        object.__setattr__(self, "hash", hash)
        object.__setattr__(self, "salt", salt)
        object.__setattr__(self, "iterations", iterations)
        object.__setattr__(self, "stored_key", Key(stored_key))
        object.__setattr__(self, "server_key", Key(server_key))

    @classmethod
    @hide_frames
    def derive(
        cls,
        password: str | Secret,
        hash: str = "sha256",  # noqa: A002 -- as in FindKeys
        *,
        salt: bytes | None = None,
        iterations: int = ITERATIONS,
        prepare: bool = True,
    ) -> ScramKeys:
        """Return the keys of a password, prepared as a stored string (RFC 5802 section 2.2), with a new salt or this.

        `prepare=False` takes the password as it was typed, as Dovecot does: a client that prepares another form of it
        does not log in with these keys by SCRAM. Raises UsageError for a password that is empty or that SASLprep
        refuses or leaves empty, and for a hash that SCRAM has not.
        """
        salt = os.urandom(SALT) if salt is None else salt
        text, problem = _text_to_hash(password, prepare=prepare)
        problem = _misfit(hash, salt, iterations) or problem
        if problem:
            del password, text  # no frame of the error shows a password
            raise UsageError(problem)
        client_key, server_key = derive(text, hash, salt, iterations)
        return cls(hash, salt, iterations, hashlib.new(hash, client_key).digest(), server_key)

    @hide_frames
    def verifies(self, password: str | Secret, *, prepare: bool = True) -> bool:
        """Whether this is the password, prepared as a query or as it was typed. False for an empty one.

        Keys are made of either form: RFC 5802 prepares, Dovecot does not, PostgreSQL does where it can. Takes what the
        iterations take, twice where the two forms differ, which never happens to printable ASCII; what these keys were
        made of makes no difference. `prepare=False` looks at the password as it was typed alone. Raises UsageError for
        what is no text at all.
        """
        if problem := _no_text(password):
            del password
            raise UsageError(problem)
        secret = password if isinstance(password, Secret) else Secret(password)
        typed = secret if secret.typed is None else secret.typed
        return self._is_one_of(forms_of(secret) if prepare else (typed.reveal(),))

    def _is_one_of(self, forms: tuple[str, ...]) -> bool:
        """Derive the keys of all forms, whichever is right."""
        found = False
        for text in forms:
            client_key, _ = derive(text, self.hash, self.salt, self.iterations)
            right = hmac.compare_digest(hashlib.new(self.hash, client_key).digest(), self.stored_key)
            found = (right and text != "") or found
        return found

    @property
    def mechanism(self) -> str:
        """The mechanism that they are for, without "-PLUS"."""
        return _NAMES[self.hash]

    # --- as others store them

    @classmethod
    def parse(cls, stored: str | bytes | Mapping[str, Any]) -> ScramKeys:
        """Return the keys of a stored credential, in any form that the methods below print, or in Kafka's or Prosody's.

        Those two may not name the hash: the size of the keys tells it. Of a MongoDB document with several mechanisms,
        SCRAM-SHA-256, its numbers also as mongoexport writes them. Raises UsageError for anything else, and says what
        is wrong, without anything of the credential.
        """
        parts = forms.parse(stored)
        del stored  # no frame of the error shows a credential
        problem = parts if isinstance(parts, str) else ""
        if not isinstance(parts, str):
            mechanism, iterations, salt, stored_key, server_key = parts
            if mechanism not in HASHES:
                problem = "no hash of its mechanism is known"
            else:
                try:
                    return cls(HASHES[mechanism], salt, iterations, stored_key, server_key)
                except UsageError as error:
                    problem = str(error)
            del salt, stored_key, server_key
        del parts
        raise UsageError(f"not a stored SCRAM credential: {problem}")

    def dovecot(self) -> str:
        """Return "{SCRAM-SHA-256}4096,SALT,STOREDKEY,SERVERKEY", as `doveadm pw -s SCRAM-SHA-256` prints it.

        Dovecot 2.3 and GNU SASL 2.2 know sha1 and sha256 only.
        """
        return forms.print_dovecot(self._parts())

    def gsasl(self) -> str:
        """Return what `gsasl --mkpasswd` prints, which is Dovecot's form."""
        return self.dovecot()

    def rfc5803(self) -> str:
        """Return "SCRAM-SHA-256$4096:SALT$STOREDKEY:SERVERKEY", an authPassword value (RFC 5803 section 2)."""
        return forms.print_rfc5803(self._parts())

    def postgresql(self) -> str:
        """Return the form of pg_authid.rolpassword, that of RFC 5803. Raises UsageError for a hash but sha256."""
        if self.hash != "sha256":
            raise UsageError("PostgreSQL has SCRAM-SHA-256 only")
        return self.rfc5803()

    def mongodb(self) -> dict[str, dict[str, Any]]:
        """Return what a user's "credentials" hold in MongoDB. Raises UsageError for a hash but sha256.

        Its SCRAM-SHA-1 is of another password: of an MD5 hash that has the user name in it.
        """
        if self.hash != "sha256":
            raise UsageError("MongoDB has SCRAM-SHA-256, and a SCRAM-SHA-1 of its own")
        return forms.print_mongodb(self._parts())

    def _parts(self) -> forms.Parts:
        return self.mechanism, self.iterations, self.salt, self.stored_key, self.server_key

    # --- as a secret

    def __eq__(self, other: object) -> bool:
        """Compare with other keys, in time that does not depend on where the keys differ."""
        if not isinstance(other, ScramKeys):
            return NotImplemented
        public = (self.hash, self.salt, self.iterations) == (other.hash, other.salt, other.iterations)
        stored = hmac.compare_digest(self.stored_key, other.stored_key)
        return hmac.compare_digest(self.server_key, other.server_key) and stored and public

    __hash__ = None  # type: ignore[assignment]  # a hash would be a fingerprint of the keys

    def __repr__(self) -> str:
        return f"ScramKeys(hash={self.hash!r}, salt={octets(self.salt)}, iterations={self.iterations}, keys=***)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("SCRAM keys are neither pickled nor copied")


def derive(password: str, hash_name: str, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    """Return ClientKey and ServerKey of a prepared password (RFC 5802 section 3). Takes 0.2 us for each iteration."""
    password_octets = password.encode("utf-8", "surrogatepass")  # what has no UTF-8 is the key of nobody's password
    salted_password = hashlib.pbkdf2_hmac(hash_name, password_octets, salt, iterations)
    client_key = hmac.digest(salted_password, b"Client Key", hash_name)
    return Key(client_key), Key(hmac.digest(salted_password, b"Server Key", hash_name))


def pick(secret: bytes, name: str, count: int) -> int:
    """Return which of so many stand-ins a name gets that nobody has: always the same one, which nobody can foresee."""
    if count == 1:
        return 0
    digest = hmac.digest(secret, b"stand-in " + name.encode("utf-8", "surrogatepass"), "sha256")
    return int.from_bytes(digest) % count


def _text_to_hash(password: str | Secret, *, prepare: bool) -> tuple[str, str]:
    """Return the password that is hashed, and what is wrong with it; one of the two is empty."""
    if problem := _no_text(password):
        return "", problem
    secret = password if isinstance(password, Secret) else Secret(password)
    try:
        text = (prepare_own(secret, stored=True) if prepare else secret).reveal()
        text.encode("utf-8")
    except SASLError as error:
        return "", str(error)
    except UnicodeEncodeError:
        return "", "a password that has no UTF-8"
    return text, "" if text else "a password that is empty"


def _no_text(password: object) -> str:
    return "" if isinstance(password, str | Secret) else f"the password is a str, not {type(password).__name__}"


def _misfit(hash_name: str, salt: bytes, iterations: int) -> str:
    """Say what is wrong with the parts that are no secret; nothing where they fit."""
    if not isinstance(hash_name, str) or hash_name not in _NAMES:
        return f"a hash is one of {', '.join(_NAMES)}"
    if not isinstance(salt, bytes) or not 0 < len(salt) <= LONGEST_SALT:
        return f"a salt is octets, 1 to {LONGEST_SALT}"
    if not isinstance(iterations, int) or isinstance(iterations, bool) or not 0 < iterations <= MOST_ITERATIONS:
        return f"iterations are a number from 1 to {MOST_ITERATIONS}"
    return ""


def _is_key(octets: object, hash_name: str) -> bool:
    return isinstance(octets, bytes) and len(octets) == DIGEST_SIZES[hash_name]
