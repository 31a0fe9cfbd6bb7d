"""Grants in a folder of files, each a record of JSON for its owner only; the lock is of filelock (extra `tokens`).

    store = FileStore()
    tokens = OAuthTokens(store, "google:123.apps:alice@example.org")

The name of a file is `names.name_of` its key. It is replaced in one step, so that reading needs no lock; it is on the
disk before `save` and `put` return, and so is its name. What a killed writer leaves behind begins with ".new-".
"""

from __future__ import annotations

import os
import stat
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from sasl.errors import TokenError, bare, hide_frames

from ...documents import replace_file, sync_folder
from ..record import LARGEST, parse_record
from ..store import to_put, to_save
from .locks import FileLocks, default_folder
from .names import is_digest, key_of, name_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..record import Record
    from ..store import Lease
    from .locks import HeldLock

_OLD: Final = 60.0  # seconds; nobody writes a file for that long
_FLAGS: Final = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # a pipe makes nobody wait


@final
class FileStore:
    """Keeps each record in a file: by default in $XDG_STATE_HOME/saslkit/tokens, where a user's programs find them.

    That is ~/.local/state/saslkit/tokens if the variable is not set; on macOS it is in ~/Library/Application Support,
    on Windows in %LOCALAPPDATA%. The folder is made with mode 0700, files have 0600. A file that others may read is
    refused, and a folder into which others may write, except on Windows.
    """

    __slots__ = ("_folder", "_is_swept", "_locks")

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        """Raise UsageError where no folder is given and the system names none."""
        self._folder = default_folder("tokens") if folder is None else Path(folder)
        self._locks = FileLocks(self._folder)
        self._is_swept = False

    def __repr__(self) -> str:
        return f"FileStore({str(self._folder)!r})"

    def load(self, key: str) -> Record | None:
        """Return the record, or None. Raises TokenError: bad_record, store_unreachable."""
        record = self._read(name_of(key)) if key else None
        if record is not None and record.key != key:
            raise _bad("is of another account")
        return record

    @contextmanager
    def locked(self, key: str, seconds: float) -> Iterator[HeldLock]:
        """Keep others from renewing an account's token; wait for whoever does, at most that many seconds.

        Raises TokenError: locked, not_stored if the folder is not to be written, missing_extra without filelock.
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
        path = self._folder / name_of(key)
        if not key or not os.path.lexists(path):
            return
        with self._locks.writing(key):
            try:
                path.unlink(missing_ok=True)
                sync_folder(self._folder)
                self._sweep()
                return
            except OSError as error:
                failure = TokenError(f"a record cannot be deleted: {error.strerror}", code="not_stored")
        raise bare(failure)

    def keys(self) -> list[str]:
        """Return the keys of all records, sorted. Raises TokenError: store_unreachable."""
        try:
            names = [path.name for path in self._folder.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            failure = _unreachable(error)
        else:
            return sorted(key for name in names if (key := self._key_of(name)) is not None)
        raise bare(failure)

    def _key_of(self, name: str) -> str | None:
        if not is_digest(name):
            return key_of(name) or None
        try:
            record = self._read(name)
        except TokenError:
            return None
        return record.key if record is not None and name_of(record.key) == name else None

    def _legible(self, key: str) -> Record | None:
        """Return the record, or None also where what is stored is none."""
        try:
            return self.load(key)
        except TokenError as error:
            if error.code != "bad_record":
                raise
        return None

    def _read(self, name: str) -> Record | None:
        path = self._folder / name
        try:
            descriptor = os.open(path, os.O_RDONLY | _FLAGS)
            try:
                wrong = _what_is_wrong(os.fstat(descriptor).st_mode)
                if wrong is None:
                    with open(descriptor, "rb", closefd=False) as file:
                        return parse_record(file.read(LARGEST + 1))
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            return None
        except OSError as error:
            failure = _unreachable(error)
        else:
            failure = _bad(wrong, f"chmod 600 '{path}', and if somebody may have read it, sign in again.")
        raise bare(failure)

    def _write(self, record: Record) -> Record:
        try:
            if not self._is_swept:
                self._sweep()
            _replace(self._folder / name_of(record.key), record)
            return record
        except OSError as error:
            failure = TokenError(f"a record cannot be written: {error.strerror}", code="not_stored")
        raise bare(failure)

    def _sweep(self) -> None:
        """Delete what killed writers have left: there may be tokens in it."""
        self._is_swept = True
        for path in self._folder.glob(".new-*"):
            try:
                if path.stat().st_mtime < time.time() - _OLD:
                    path.unlink()
            except OSError:
                continue  # somebody else has done it, or will


def _what_is_wrong(mode: int) -> str | None:
    if not stat.S_ISREG(mode):
        return "is no regular file"
    if sys.platform != "win32" and stat.S_IMODE(mode) & 0o077:
        return "can be read by others"
    return None


@hide_frames
def _replace(path: Path, record: Record) -> None:
    replace_file(path, record.encode())


def _bad(what: str, hint: str = "Sign in again.") -> TokenError:
    return TokenError(f"the stored record {what}", code="bad_record", hint=hint)


def _unreachable(error: OSError) -> TokenError:
    return TokenError(f"a record cannot be read: {error.strerror}", code="store_unreachable", retryable=True)
