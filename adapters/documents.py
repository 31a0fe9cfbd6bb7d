"""Objects of JSON that others wrote, and files that are written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

_PAUSES: Final = (0.001, 0.01, 0.05, 0.2, 0.5)  # seconds; reading a small file takes far less


def parse_object(octets: bytes, *, unique: bool = False) -> dict[str, Any] | None:
    """Return the object that a text of JSON in UTF-8 stands for; None if it is no such text, or of something else.

    With `unique`, also if an object in it names a member twice; otherwise the last one counts.
    """
    try:
        document = json.loads(octets.decode("utf-8"), object_pairs_hook=unique_members if unique else None)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the members of an object of JSON; for `object_pairs_hook`. Raises ValueError if one is there twice."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member that is named twice")
    return members


def replace_file(path: Path, octets: bytes, *, mode: int = 0o600) -> None:
    """Write a file in place of whatever stands there, be it a link: who reads it has the old content or the new one.

    The new one is on the disk then. Raises OSError if it cannot be written; what stood there is still there then,
    unless the disk failed at the very last.
    """
    from tempfile import mkstemp

    descriptor, name = mkstemp(prefix=".new-", dir=path.parent)  # for the owner only
    temporary = path.with_name(name.rpartition(os.sep)[2])
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(descriptor)
        temporary.chmod(mode)
        _rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _rename(temporary: Path, path: Path) -> None:
    """Put a file in place of another one. On Windows that fails while somebody reads the other: it is tried again."""
    for pause in _PAUSES if sys.platform == "win32" else ():
        try:
            temporary.replace(path)
            return
        except PermissionError:
            time.sleep(pause)
    temporary.replace(path)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder written to the disk: until then the crash of a machine undoes what was done there.

    Windows does that by itself, and some file systems cannot. Raises OSError.
    """
    if sys.platform == "win32":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        return  # who may only write into it does what can be done
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
