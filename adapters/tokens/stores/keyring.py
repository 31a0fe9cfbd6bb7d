"""Grants in the keyring of the operating system: Keychain, Credential Locker, Secret Service (extra `keyring`).

    store = KeyringStore()

Each record is the password of an entry. A keyring knows no locks and does not list its entries: locks are files, and
so is the list of keys, in a folder that holds no secret. It is never a default: servers have no keyring.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from sasl.errors import TokenError, bare, hide_frames

from ...documents import parse_object, replace_file
from .._extra import load
from ..record import parse_record
from ..store import to_put, to_save
from .locks import FileLocks, default_folder
from .names import key_of, name_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from ..record import Record
    from ..store import Lease
    from .locks import HeldLock

_EXTRA: Final = "keyring"


@final
class KeyringStore:
    """Keeps each record in an entry of the keyring, by the name of a service.

    `lock_folder` is where locks and the list of keys are: by default beside the folder of `FileStore`. All processes
    that use one service have to name one folder. How large a record may be is up to the keyring: that of Windows takes
    1,280 characters. Raises TokenError also with the codes no_keyring and keyring_locked (which needs the user).
    """

    __slots__ = ("_locks", "_service")

    def __init__(self, service: str = "saslkit", *, lock_folder: str | os.PathLike[str] | None = None) -> None:
        folder = default_folder("keyring") if lock_folder is None else Path(lock_folder)
        self._service = service
        self._locks = FileLocks(folder / _entry(service))

    def __repr__(self) -> str:
        return f"KeyringStore({self._service!r})"

    def load(self, key: str) -> Record | None:
        """Return the record, or None. Raises TokenError: bad_record, store_unreachable, no_keyring, keyring_locked."""
        record = _load(self._service, _entry(key)) if key else None
        if record is not None and record.key != key:
            raise TokenError("the stored record is of another account", code="bad_record", hint="Sign in again.")
        return record

    @contextmanager
    def locked(self, key: str, seconds: float) -> Iterator[HeldLock]:
        """Keep others from renewing an account's token; wait for whoever does, at most that many seconds.

        Raises TokenError: locked, not_stored if the folder of locks is not to be written, missing_extra.
        """
        with self._locks.renewing(key, seconds) as lease:
            stored = self._legible(key)
            lease.fence = 0 if stored is None else stored.fence
            yield lease

    def save(self, record: Record, lease: Lease) -> Record:
        """Store a record under the lock, and return it as it is stored. Raises TokenError: superseded, not_stored."""
        with self._locks.writing(record.key):
            return self._write(to_save(record, self.load(record.key), lease))

    def put(self, record: Record) -> Record:
        """Store the record of a new sign-in, whatever is there, and return it as it is stored. Raises TokenError."""
        with self._locks.writing(record.key):
            return self._write(to_put(record, self._legible(record.key)))

    def delete(self, key: str) -> None:
        """Forget an account; the files of its locks stay. Raises TokenError."""
        if not key or not self._is_there(key):
            return
        with self._locks.writing(key):
            if self._is_there(key):
                _change("delete_password", self._service, _entry(key))
            (self._locks.folder / name_of(key)).unlink(missing_ok=True)

    def keys(self) -> list[str]:
        """Return the keys of all records, sorted. Raises TokenError."""
        try:
            listed = [_listed(path) for path in self._locks.folder.glob("*.json")]
        except OSError as error:
            failure = TokenError(
                f"the list of keys cannot be read: {error.strerror}", code="store_unreachable", retryable=True
            )
        else:
            return sorted(key for key in listed if key and self._is_there(key))
        raise bare(failure)

    def _is_there(self, key: str) -> bool:
        return _ask(self._service, _entry(key)) is not None

    def _legible(self, key: str) -> Record | None:
        """Return the record, or None also where what is stored is none."""
        try:
            return self.load(key)
        except TokenError as error:
            if error.code != "bad_record":
                raise
        return None

    def _write(self, record: Record) -> Record:
        self._list(record.key)
        _store(self._service, record)
        return record

    def _list(self, key: str) -> None:
        """Have a key in the list before its record is there: what is listed too early does no harm."""
        import json

        path = self._locks.folder / name_of(key)
        try:
            if not path.exists():
                replace_file(path, json.dumps({"key": key}).encode())
            return
        except OSError as error:
            failure = TokenError(f"the list of keys cannot be written: {error.strerror}", code="not_stored")
        raise bare(failure)


def _entry(name: str) -> str:
    """Return a name that every keyring takes: ASCII, without control characters, and not long."""
    return name_of(name).removesuffix(".json")


def _listed(path: Path) -> str | None:
    """Return the key that a file of the list stands for; None if it is no such file."""
    key = key_of(path.name)
    if key is None:
        members = parse_object(path.read_bytes())
        key = members.get("key") if members is not None else None
    return key if isinstance(key, str) and name_of(key) == path.name else None


@hide_frames
def _load(service: str, entry: str) -> Record | None:
    text = _ask(service, entry)
    return None if text is None else parse_record(text.encode("utf-8", "surrogatepass"))


@hide_frames
def _store(service: str, record: Record) -> None:
    _change("set_password", service, _entry(record.key), record.encode().decode("ascii"))


@hide_frames
def _ask(service: str, entry: str) -> str | None:
    """Return the password of an entry, or None. What a keyring raises may hold it."""
    keyring = load("keyring", _EXTRA)
    try:
        found: str | None = keyring.get_password(service, entry)
        return found
    except Exception as error:
        failure = _known(error) or TokenError(
            f"the keyring failed with {type(error).__name__}", code="store_unreachable", retryable=True
        )
    raise failure


@hide_frames
def _change(name: str, *arguments: str) -> None:
    keyring = load("keyring", _EXTRA)
    try:
        getattr(keyring, name)(*arguments)
        return
    except Exception as error:
        failure = _known(error) or TokenError(
            f"the keyring did not take a record: {type(error).__name__}", code="not_stored"
        )
    raise failure


def _known(error: Exception) -> TokenError | None:
    errors: Any = load("keyring.errors", _EXTRA)
    if isinstance(error, errors.NoKeyringError):
        return TokenError("this system has no keyring", code="no_keyring", hint="Keep tokens in files (FileStore).")
    if isinstance(error, errors.KeyringLocked):
        return TokenError("the keyring is locked", code="keyring_locked", needs_user=True, hint="Unlock the keyring.")
    return None
