"""Google's file of an authorized user: read, locked, and replaced in one step, so that no refresh token is lost.

Its members are those that google-auth and gcloud write: type, client_id, client_secret, refresh_token, and perhaps
token_uri, scopes, token and expiry.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import sys
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Final

from sasl.errors import TokenError

from ..documents import parse_object, replace_file

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_LARGEST: Final = 65_536  # octets
_PAUSE: Final = 0.02  # seconds


def read(path: Path) -> dict[str, Any]:
    """Return the object of JSON in a file. Raises TokenError."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe gives its content once, and makes the next reader wait
            raise bad_file("is no regular file")
        with path.open("rb") as file:
            octets = file.read(_LARGEST + 1)
    except OSError as error:
        failure = bad_file(f"cannot be read: {error.strerror}")
    else:
        document = parse_object(octets) if len(octets) <= _LARGEST else None
        if document is not None:
            return document
        failure = bad_file("holds no object of JSON")
    raise failure


def warn_of_readers(path: Path) -> None:
    """Log a warning where everybody on this machine can read a file; on Windows nobody knows.

    It is used all the same: a key that is mounted into a container has such a mode, and harms nobody there.
    """
    try:
        others = path.stat().st_mode & stat.S_IROTH
    except OSError:
        return  # whoever reads it says so
    if others and sys.platform != "win32":
        logging.getLogger("sasl").warning("everybody here can read %s, which holds a secret of Google's", path)


def bad_file(what: str) -> TokenError:
    """What to raise for a file that is not what it should be."""
    return TokenError(f"the file with Google's credentials {what}", code="bad_file")


def not_stored(why: str) -> TokenError:
    """What to raise where a new refresh token is lost."""
    return TokenError(f"the new refresh token could not be stored ({why}); the old one may be void", code="not_stored")


def replace(path: Path, document: Mapping[str, Any]) -> None:
    """Write a file anew, for the owner's eyes only: whoever reads it has the old text or the new one.

    Raises TokenError if it cannot be written; the old one is still there then.
    """
    path = path.resolve()  # a link stays one
    try:
        replace_file(path, json.dumps(document, indent=2).encode() + b"\n")
        return
    except OSError as error:
        failure = not_stored(str(error.strerror))
    raise failure


@contextmanager
def lock(path: Path, seconds: float) -> Iterator[None]:
    """Keep other processes that ask for this lock out; not on Windows.

    Raises TokenError if one holds it for that many seconds.
    """
    if sys.platform == "win32":
        yield
        return
    deadline = time.monotonic() + seconds
    while (file := _try_lock(path)) is None:
        if time.monotonic() > deadline:
            raise TokenError("another process holds the file with Google's credentials", code="locked", retryable=True)
        time.sleep(_PAUSE)
    with file:
        yield


def _try_lock(path: Path) -> IO[bytes] | None:
    """Return the file under a lock, or None if somebody else has it, or has replaced the file meanwhile."""
    try:
        file = path.open("rb")
    except OSError as error:
        reason = error.strerror
    else:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except (BlockingIOError, FileNotFoundError):
            pass
        except OSError:
            return file  # a file system without locks
        file.close()
        return None
    raise bad_file(f"cannot be read: {reason}")
