"""SCRAM keys (RFC 5802 section 3): what a server stores instead of a password, and what a client may keep of one."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from threading import Lock

from .base64 import decode, encode
from .errors import ProtocolError, SASLError, UsageError
from .prep import prepared_secret
from .secret import Secret, octets
from .typed import TYPE_CHECKING, Protocol, final
from .value import value

if TYPE_CHECKING:
    from typing import Any, Final, NoReturn, TypeAlias

HASHES: Final[Mapping[str, str]] = {
    "SCRAM-SHA-1": "sha1",
    "SCRAM-SHA-224": "sha224",
    "SCRAM-SHA-256": "sha256",
    "SCRAM-SHA-384": "sha384",
    "SCRAM-SHA-512": "sha512",
    "SCRAM-SHA3-512": "sha3_512",
}
"""The mechanisms without channel binding, and what hashlib calls their hash; the weakest first."""

_NAMES: Final = {name: mechanism for mechanism, name in HASHES.items()}
_SIZES: Final = {name: hashlib.new(name).digest_size for name in _NAMES}
_SALT: Final = 16  # octets of a new salt
_MOST_ITERATIONS: Final = 2**31 - 1  # what PBKDF2 of OpenSSL counts to
_LONGEST: Final = 4_096  # octets of a salt, and characters of one stored field
_KEPT_LOGINS: Final = 1_024

_B64: Final = r"[A-Za-z0-9+/]+={0,2}"
_TEXT: Final = re.compile(_B64)
_DOVECOT: Final = re.compile(
    rf"\{{(?P<mechanism>SCRAM-[A-Z0-9-]+)\}}(?P<iterations>[1-9][0-9]{{0,9}})"
    rf",(?P<salt>{_B64}),(?P<stored>{_B64}),(?P<server>{_B64})"
    r"(?:,(?:[0-9a-f]{2})+)?"  # SaltedPassword, which gsasl --verbose adds and nobody should keep
)
_RFC_5803: Final = re.compile(
    rf" *(?P<mechanism>SCRAM-[A-Z0-9-]+) *\$ *(?P<iterations>[1-9][0-9]{{0,9}})"
    rf":(?P<salt>{_B64}) *\$ *(?P<stored>{_B64}):(?P<server>{_B64}) *"
)


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
            problem = f"a key of {hash} has {_SIZES[hash]} octets"
        if problem:
            del self, stored_key, server_key  # no frame of the error shows a key, or an object that is half made
            raise UsageError(problem)
        object.__setattr__(self, "hash", hash)
        object.__setattr__(self, "salt", salt)
        object.__setattr__(self, "iterations", iterations)
        object.__setattr__(self, "stored_key", Key(stored_key))
        object.__setattr__(self, "server_key", Key(server_key))

    @classmethod
    def derive(
        cls,
        password: str | Secret,
        hash: str = "sha256",  # noqa: A002 -- as in FindKeys
        *,
        salt: bytes | None = None,
        iterations: int = 4_096,
        prepare: bool = True,
    ) -> ScramKeys:
        """Return the keys of a password, prepared as a stored string (RFC 5802 section 2.2), with a new salt or this.

        `prepare=False` takes the password as it is, as Dovecot does. Raises UsageError for a password that is empty
        or that SASLprep refuses or leaves empty, and for a hash that SCRAM has not.
        """
        salt = os.urandom(_SALT) if salt is None else salt
        text, problem = _prepared(password, stored=True, prepare=prepare)
        problem = _misfit(hash, salt, iterations) or problem
        if problem:
            del password, text  # no frame of the error shows a password
            raise UsageError(problem)
        client_key, server_key = derive(text, hash, salt, iterations)
        return cls(hash, salt, iterations, hashlib.new(hash, client_key).digest(), server_key)

    def verifies(self, password: str | Secret, *, prepare: bool = True) -> bool:
        """Whether this is the password, prepared as a query. False for an empty one and for what SASLprep refuses.

        Takes as long for any password: what the iterations take. `prepare=False` takes it as it is. Raises UsageError
        for what is no text at all.
        """
        if problem := _no_text(password):
            del password
            raise UsageError(problem)
        text, problem = _prepared(password, stored=False, prepare=prepare)
        client_key, _ = derive(text, self.hash, self.salt, self.iterations)
        return hmac.compare_digest(hashlib.new(self.hash, client_key).digest(), self.stored_key) and not problem

    @property
    def mechanism(self) -> str:
        """The mechanism that they are for, without "-PLUS"."""
        return _NAMES[self.hash]

    # --- as others store them

    @classmethod
    def parse(cls, stored: str | Mapping[str, Any]) -> ScramKeys:
        """Return the keys that a stored credential holds, in any form that the methods below print.

        Of a MongoDB document with several mechanisms, SCRAM-SHA-256. Raises UsageError for anything else.
        """
        keys = _parsed(stored)
        if keys is None:
            del stored  # no frame of the error shows a credential
            raise UsageError("not a stored SCRAM credential of Dovecot, PostgreSQL, RFC 5803, MongoDB or GNU SASL")
        return keys

    def dovecot(self) -> str:
        """Return "{SCRAM-SHA-256}4096,SALT,STOREDKEY,SERVERKEY", as `doveadm pw -s SCRAM-SHA-256` prints it.

        Dovecot 2.3 and GNU SASL 2.2 know sha1 and sha256 only.
        """
        return f"{{{self.mechanism}}}{self.iterations},{','.join(self._texts())}"

    def gsasl(self) -> str:
        """Return what `gsasl --mkpasswd` prints, which is Dovecot's form."""
        return self.dovecot()

    def rfc5803(self) -> str:
        """Return "SCRAM-SHA-256$4096:SALT$STOREDKEY:SERVERKEY", an authPassword value (RFC 5803 section 2)."""
        salt, stored, server = self._texts()
        return f"{self.mechanism}${self.iterations}:{salt}${stored}:{server}"

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
        salt, stored, server = self._texts()
        document = {"iterationCount": self.iterations, "salt": salt, "storedKey": stored, "serverKey": server}
        return {self.mechanism: document}

    def _texts(self) -> tuple[str, str, str]:
        salt, stored, server = (encode(part).decode("ascii") for part in (self.salt, self.stored_key, self.server_key))
        return salt, stored, server

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
    salted_password = hashlib.pbkdf2_hmac(hash_name, password.encode("utf-8"), salt, iterations)
    client_key = hmac.digest(salted_password, b"Client Key", hash_name)
    return Key(client_key), Key(hmac.digest(salted_password, b"Server Key", hash_name))


def _prepared(password: str | Secret, *, stored: bool, prepare: bool) -> tuple[str, str]:
    """Return the password that is hashed, and what is wrong with it; one of the two is empty."""
    if problem := _no_text(password):
        return "", problem
    secret = password if isinstance(password, Secret) else Secret(password)
    try:
        text = (prepared_secret(secret, stored=stored) if prepare else secret).reveal()
        text.encode("utf-8")
    except SASLError as error:
        return "", str(error)
    except UnicodeEncodeError:
        return "", "a password that has no UTF-8"
    return text, "" if text else "a password that is empty, or of which SASLprep leaves nothing (RFC 4013)"


def _no_text(password: object) -> str:
    return "" if isinstance(password, str | Secret) else f"the password is a str, not {type(password).__name__}"


def _misfit(hash_name: str, salt: bytes, iterations: int) -> str:
    """Say what is wrong with the parts that are no secret; nothing where they fit."""
    if not isinstance(hash_name, str) or hash_name not in _NAMES:
        return f"a hash is one of {', '.join(_NAMES)}"
    if not isinstance(salt, bytes) or not 0 < len(salt) <= _LONGEST:
        return f"a salt is octets, 1 to {_LONGEST}"
    if not isinstance(iterations, int) or isinstance(iterations, bool) or not 0 < iterations <= _MOST_ITERATIONS:
        return f"iterations are a number from 1 to {_MOST_ITERATIONS}"
    return ""


def _is_key(octets: object, hash_name: str) -> bool:
    return isinstance(octets, bytes) and len(octets) == _SIZES[hash_name]


# --- the forms


def _parsed(stored: object) -> ScramKeys | None:
    mechanism, iterations, *texts = _of_document(stored) if isinstance(stored, Mapping) else _of_text(stored)
    if mechanism not in HASHES:
        return None
    try:
        salt, stored_key, server_key = (decode(text.encode("ascii"), limit=_LONGEST) for text in texts)
        return ScramKeys(HASHES[mechanism], salt, iterations, stored_key, server_key)
    except (ProtocolError, UsageError):
        return None


_NOTHING: Final = ("", 0)


def _of_text(stored: object) -> tuple[Any, ...]:
    match = (_DOVECOT.fullmatch(stored) or _RFC_5803.fullmatch(stored)) if isinstance(stored, str) else None
    if match is None:
        return _NOTHING
    mechanism, iterations, *texts = match.group("mechanism", "iterations", "salt", "stored", "server")
    return (mechanism, int(iterations), *texts)


def _of_document(stored: Mapping[str, Any]) -> tuple[Any, ...]:
    """Of MongoDB's document of a user, or its "credentials". SCRAM-SHA-1 is left out: see `ScramKeys.mongodb`."""
    credentials = stored.get("credentials", stored)
    keys = credentials.get("SCRAM-SHA-256") if isinstance(credentials, Mapping) else None
    if not isinstance(keys, Mapping):
        return _NOTHING
    texts = [keys.get(field) for field in ("salt", "storedKey", "serverKey")]
    if not all(isinstance(text, str) and _TEXT.fullmatch(text) for text in texts):
        return _NOTHING
    return ("SCRAM-SHA-256", keys.get("iterationCount"), *texts)


# --- what a client keeps


@final
@value
class ClientKeys:
    """ClientKey and ServerKey of a login that the server has proved itself in. Who has them can log in."""

    client_key: bytes
    server_key: bytes

    def __init__(self, client_key: bytes, server_key: bytes) -> None:
        object.__setattr__(self, "client_key", Key(client_key))
        object.__setattr__(self, "server_key", Key(server_key))

    def __repr__(self) -> str:
        return "ClientKeys(***)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("client keys are neither pickled nor copied")


Login: TypeAlias = tuple[str, str, bytes, int, bytes]
"""What keys belong to: hash, user name, salt, iterations, and a fingerprint of the password."""


class Keys(Protocol):
    """Where a SCRAM client keeps keys: a `KeyCache`, a dict, or another mapping in the memory of this process."""

    def get(self, login: Login, /) -> ClientKeys | None:
        """Return the keys of a login, or None."""
        ...

    def __setitem__(self, login: Login, keys: ClientKeys, /) -> None:
        """Keep the keys of a login."""
        ...


@final
class KeyCache:
    """Keeps the keys of the last logins, so that the next one costs no PBKDF2 (RFC 5802 section 5.1).

    `bound` is how many are kept; 0 switches it off. The one that was not used for longest goes first. May be shared
    by threads. Raises UsageError for a bound that is no number from 0 on.
    """

    __slots__ = ("_kept", "_lock", "bound")

    def __init__(self, bound: int = _KEPT_LOGINS) -> None:
        if not isinstance(bound, int) or bound < 0:
            raise UsageError("the bound of a key cache is a number of logins, 0 for none")
        self.bound: Final = bound
        self._kept: dict[Login, ClientKeys] = {}  # the last one used stands last
        self._lock = Lock()

    def get(self, login: Login, /) -> ClientKeys | None:
        """Return the keys of a login, or None."""
        with self._lock:
            keys = self._kept.pop(login, None)
            if keys is not None:
                self._kept[login] = keys
            return keys

    def __setitem__(self, login: Login, keys: ClientKeys, /) -> None:
        """Keep the keys of a login."""
        with self._lock:
            self._kept.pop(login, None)
            self._kept[login] = keys
            if len(self._kept) > self.bound:
                del self._kept[next(iter(self._kept))]

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)

    def __bool__(self) -> bool:
        return True  # an empty one is one

    def __repr__(self) -> str:
        return f"<KeyCache of {len(self)} logins>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a key cache is neither pickled nor copied")


_FINGERPRINT_KEY: Final = os.urandom(32)


def fingerprint(password: str) -> bytes:
    """Return 16 octets by which this process, and no other, tells whether a password is the one it was."""
    password_octets = password.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(password_octets, key=_FINGERPRINT_KEY, digest_size=16).digest()
