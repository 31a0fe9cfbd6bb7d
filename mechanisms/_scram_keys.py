"""What a SCRAM client keeps of a login, so that the next one costs no PBKDF2 (RFC 5802 section 5.1)."""

from __future__ import annotations

import hashlib
import hmac
import os
from threading import Lock

from sasl.errors import UsageError
from sasl.keys import Key
from sasl.typed import TYPE_CHECKING, Protocol, final
from sasl.value import value

if TYPE_CHECKING:
    from typing import Final, NoReturn, TypeAlias

_KEPT_LOGINS: Final = 1_024


@final
@value
class ClientKeys:
    """ClientKey and ServerKey of a login that the server has proved itself in. Who has them can log in."""

    client_key: bytes
    server_key: bytes
    __slots__ = ("_keyed",)  # which is no part of the value

    if TYPE_CHECKING:
        _keyed: tuple[str, hmac.HMAC, hmac.HMAC] | None

    def __init__(self, client_key: bytes, server_key: bytes) -> None:
        object.__setattr__(self, "client_key", Key(client_key))
        object.__setattr__(self, "server_key", Key(server_key))
        object.__setattr__(self, "_keyed", None)

    def sign(self, hash_name: str, message: bytes) -> tuple[bytes, bytes]:
        """Return the proof to send and the signature to expect for an AuthMessage (RFC 5802 section 3).

        What HMAC makes of the keys is kept, which takes longer than the message.
        """
        keyed = self._keyed
        if keyed is None or keyed[0] != hash_name:
            client = hmac.new(digest(hash_name, self.client_key), digestmod=hash_name)
            keyed = hash_name, client, hmac.new(self.server_key, digestmod=hash_name)
            object.__setattr__(self, "_keyed", keyed)
        client, server = keyed[1].copy(), keyed[2].copy()
        client.update(message)
        server.update(message)
        return xor(self.client_key, client.digest()), server.digest()

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


_FINGERPRINT: Final = hashlib.blake2b(key=os.urandom(32), digest_size=16)


def fingerprint(password: str) -> bytes:
    """Return 16 octets by which this process, and no other, tells whether a password is the one it was."""
    hashed = _FINGERPRINT.copy()
    hashed.update(password.encode("utf-8", "surrogatepass"))
    return hashed.digest()


def digest(hash_name: str, octets: bytes) -> bytes:
    """Return the hash of octets, by hashlib's name of it."""
    hashed: bytes = getattr(hashlib, hash_name)(octets).digest()  # takes half as long as hashlib.new
    return hashed


def xor(left: bytes, right: bytes) -> bytes:
    """Return the exclusive or of octets. A peer may send a proof of another length, which is just a wrong one."""
    size = max(len(left), len(right))
    return (int.from_bytes(left) ^ int.from_bytes(right)).to_bytes(size)
