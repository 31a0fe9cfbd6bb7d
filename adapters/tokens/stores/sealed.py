"""Encryption at rest around any store: AES-256-GCM (RFC 5116 section 5.2) of whole records.

    store = Sealed(FileStore(), "/run/credentials/saslkit.key")

What the other store is given says in the clear whose record it is (key, user, token endpoint, client id), its version
and its fence, and has all else in the member "sealed": base64 of 12 random octets and of what AES-GCM makes of the
record. The record's key is the associated data, so no record opens in the place of another one. Who may write to the
store may bring an older record back, as without encryption.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

from sasl.errors import TokenError, UsageError, bare, hide_frames
from sasl.value import replace

from ..record import Record, parse_record

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from ..store import Lease, Store

    Key: TypeAlias = bytes | str | os.PathLike[str] | Callable[[], bytes]

_MEMBER: Final = "sealed"
_KEY: Final = 32  # octets
_NONCE: Final = 12  # octets
_LARGEST_FILE: Final = 256  # octets; a key in base64 has 44


@final
class Sealed:
    """A store whose records another store keeps without being able to read them.

    `keys` are one or more keys of 32 octets: the octets, a callable that gives them each time they are needed, or the
    path of a file that holds them as they are or in base64. The first one encrypts; all of them decrypt, so that a key
    can be changed: a record is encrypted anew when it is renewed.
    Raises TokenError as the other store does, and bad_record for what no key opens: a changed record, one that was put
    in the place of another one, or one that was stored without encryption; UsageError for a key that is none.
    """

    __slots__ = ("_keys", "_store")

    def __init__(self, store: Store, *keys: Key) -> None:
        if not keys:
            raise UsageError("encryption needs a key")
        self._store = store
        self._keys: tuple[Callable[[], Any], ...] = tuple([_opener(key) for key in keys])

    def __repr__(self) -> str:
        return f"Sealed({self._store!r})"

    def load(self, key: str) -> Record | None:
        """Return the record, or None. Raises TokenError."""
        outer = self._store.load(key)
        return None if outer is None else self._unseal(outer)

    def locked(self, key: str, seconds: float) -> AbstractContextManager[Lease]:
        """Keep others from renewing an account's token. Raises TokenError."""
        return self._store.locked(key, seconds)

    def save(self, record: Record, lease: Lease) -> Record:
        """Store a record under the lock, and return it as it is stored. Raises TokenError."""
        saved = self._store.save(self._seal(record), lease)
        return replace(record, version=saved.version, fence=saved.fence)

    def put(self, record: Record) -> Record:
        """Store the record of a new sign-in, and return it as it is stored. Raises TokenError."""
        saved = self._store.put(self._seal(record))
        return replace(record, version=saved.version, fence=saved.fence)

    def delete(self, key: str) -> None:
        """Forget an account. Raises TokenError."""
        self._store.delete(key)

    def keys(self) -> list[str]:
        """Return the keys of all records, sorted, also of those that no key opens. Raises TokenError."""
        return self._store.keys()

    def _seal(self, record: Record) -> Record:
        nonce = os.urandom(_NONCE)
        text = b64encode(nonce + _encrypt(self._keys[0], nonce, record)).decode("ascii")
        return Record(
            record.key,
            record.user,
            record.token_endpoint,
            record.client_id,
            version=record.version,
            fence=record.fence,
            unknown={_MEMBER: text},
        )

    def _unseal(self, outer: Record) -> Record:
        octets = _sealed_octets(outer)
        for key in self._keys:
            record = _decrypt(key, octets, outer.key)
            if record is not None and record.key == outer.key:
                return replace(record, version=outer.version, fence=outer.fence)
        raise _bad("no key opens it")


def _sealed_octets(outer: Record) -> bytes:
    text = outer.unknown.get(_MEMBER)
    if isinstance(text, str):
        try:
            octets = b64decode(text, validate=True)
        except ValueError:
            octets = b""
        if len(octets) > _NONCE:
            return octets
    raise bare(_bad("it was stored without encryption" if text is None else "no key opens it"))


@hide_frames
def _encrypt(key: Callable[[], Any], nonce: bytes, record: Record) -> bytes:
    octets: bytes = key().encrypt(nonce, record.encode(), _associated(record.key))
    return octets


@hide_frames
def _decrypt(key: Callable[[], Any], octets: bytes, name: str) -> Record | None:
    from cryptography.exceptions import InvalidTag

    try:
        opened = key().decrypt(octets[:_NONCE], octets[_NONCE:], _associated(name))
    except InvalidTag:
        return None
    return parse_record(opened)


def _associated(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


def _opener(key: Key) -> Callable[[], Any]:
    """Return what gives the cipher. Octets are checked at once; what is asked for them, each time."""
    if isinstance(key, bytes):
        cipher = _cipher(key)
        return lambda: cipher
    if callable(key):
        return lambda: _cipher(key())
    path = Path(key)
    return lambda: _cipher(_read(path))


@hide_frames
def _cipher(key: bytes) -> Any:
    if not isinstance(key, bytes) or len(key) != _KEY:
        raise UsageError(f"a key has {_KEY} octets")
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


@hide_frames
def _read(path: Path) -> bytes:
    """Return the key in a file: 32 octets as they are, or their base64 with spaces and newlines around it."""
    try:
        with path.open("rb") as file:
            octets = file.read(_LARGEST_FILE)
    except OSError as error:
        failure = TokenError(f"the key of the store cannot be read: {error.strerror}", code="bad_key")
    else:
        if len(octets) == _KEY:
            return octets
        try:
            return b64decode(octets.strip(), validate=True)
        except ValueError:
            failure = TokenError("the file with the key of the store holds none", code="bad_key")
    raise bare(failure)


def _bad(why: str) -> TokenError:
    return TokenError(f"the stored record cannot be decrypted: {why}", code="bad_record", hint="Sign in again.")
