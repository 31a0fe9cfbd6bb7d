"""Locks of files, by filelock: between threads and processes, freed by whoever holds them or by its death.

The locked file is one of its own, which is never replaced and never deleted: of two that wait for one lock, both wait
for the same file.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager
from math import inf
from pathlib import Path
from stat import S_IWGRP, S_IWOTH
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, final
from weakref import WeakValueDictionary

from sasl.errors import TokenError, UsageError, bare

from .._extra import load
from ..store import locked
from .names import name_of, state_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

_PAUSE: Final = 0.02  # seconds between two looks at a lock that somebody else has
_SHORT: Final = 10.0  # seconds; who compares and replaces takes milliseconds
_WANTED: Final = {
    "fallback_to_soft": False,  # such a lock outlives its holder
    "preserve_lock_file": True,
}


@final
class HeldLock:
    """A lock that is held until it is given back, or its holder dies.

    Attributes:
        fence: counts the sign-ins there were when the lock was taken, where the holder has looked for them.
    """

    __slots__ = ("_process", "fence")

    def __init__(self) -> None:
        self.fence = 0
        self._process = os.getpid()

    def left(self) -> float:
        """Return for how many seconds it is held: inf; 0.0 when it was given back, and in a forked process."""
        return inf if self._process == os.getpid() else 0.0

    def end(self) -> None:
        """Say that it is no longer held."""
        self._process = 0


@contextmanager
def hold(path: Path, seconds: float) -> Iterator[HeldLock]:
    """Keep all other threads and processes that ask for a lock out, after waiting for it that many seconds at most.

    The file of the lock is made if it is not there; its folder has to be. Who holds the lock does not get it again.
    Raises TokenError: "locked", "not_stored" if the file cannot be opened, "missing_extra".
    """
    deadline = monotonic() + seconds
    mutex = _mutexes.get(path)
    # Between threads too: where flock is made of locks of whole processes (NFS), it lets all threads of one in.
    if not mutex.acquire(timeout=min(max(seconds, 0.0), threading.TIMEOUT_MAX)):
        raise locked()
    try:
        lock = _acquire(path, deadline - monotonic())
        lease = HeldLock()
        try:
            yield lease
        finally:
            lease.end()
            _release(lock)
    finally:
        mutex.release()


def _acquire(path: Path, seconds: float) -> Any:
    filelock = load("filelock", "tokens")
    lock = _new(filelock.FileLock, path)
    try:
        lock.acquire(timeout=max(seconds, 0.0), poll_interval=_PAUSE)
        return lock
    except filelock.Timeout:
        failure = locked()
    except OSError as error:
        failure = TokenError(f"the lock of a record cannot be taken: {error.strerror}", code="not_stored")
    raise bare(failure)


def _new(kind: Any, path: Path) -> Any:
    """Return a lock that is not taken, with those of the options that this version of filelock knows."""
    from inspect import signature

    known = signature(kind.__init__).parameters
    options = {name: choice for name, choice in _WANTED.items() if name in known}
    return kind(path, mode=0o600, thread_local=False, **options)


def _release(lock: Any) -> None:
    try:
        lock.release()
    except OSError:
        pass  # the file is closed all the same, and with that nobody has the lock


@final
class FileLocks:
    """The two locks of each account, as files in a folder that only its owner may look into.

    Attributes:
        folder: where they are; it is made when it is first needed.
    """

    __slots__ = ("folder",)

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def renewing(self, key: str, seconds: float) -> Iterator[HeldLock]:
        """Keep others from renewing an account's token. Raises TokenError as `hold` does, UsageError for no key."""
        with hold(self._path(key, ".lock"), seconds) as lease:
            yield lease

    @contextmanager
    def writing(self, key: str) -> Iterator[None]:
        """Keep others from writing an account's record. That takes milliseconds, whoever renews a token meanwhile."""
        with hold(self._path(key, ".put.lock"), _SHORT):
            yield

    def _path(self, key: str, suffix: str) -> Path:
        if not key:
            raise UsageError("the key of a record is not empty")
        make_folder(self.folder)
        return self.folder / (name_of(key) + suffix)


def default_folder(name: str) -> Path:
    """Return the folder with that name among what is kept with saslkit. Raises UsageError if there is no place."""
    try:
        return Path(state_folder()) / name
    except KeyError:
        pass
    raise UsageError("LOCALAPPDATA is not set: name a folder")


def make_folder(folder: Path) -> None:
    """Make a folder for its owner only. Raises TokenError if that is impossible, or if others may write into it."""
    try:
        for missing in (*_missing(folder.parent), folder):  # `parents` would make them as the umask has it
            missing.mkdir(mode=0o700, exist_ok=True)
        mode = folder.stat().st_mode
    except OSError as error:
        failure = TokenError(f"the folder for tokens cannot be made: {error.strerror}", code="not_stored")
    else:
        if sys.platform == "win32" or not mode & (S_IWGRP | S_IWOTH):
            return
        failure = TokenError(
            "others may write into the folder for tokens", code="bad_record", hint=f"chmod 700 '{folder}'"
        )
    raise bare(failure)


def _missing(folder: Path) -> list[Path]:
    """Return which of a folder and those above it are not there, the topmost first."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    return missing[::-1]


@final
class _Mutexes:
    """The lock between threads for each file that one of them has or wants."""

    __slots__ = ("_guard", "_known")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, as in a forked process: a thread that is not there gives nothing back."""
        self._guard = threading.Lock()
        self._known: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()

    def get(self, path: Path) -> threading.Lock:
        place = os.path.normcase(os.path.realpath(path))
        with self._guard:
            mutex = self._known.get(place)
            if mutex is None:
                mutex = self._known[place] = threading.Lock()
            return mutex


_mutexes: Final = _Mutexes()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_mutexes.forget)
