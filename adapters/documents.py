"""Objects of JSON that others wrote, and files that are written whole or not at all."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


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

    Raises OSError if it cannot be written; what stood there is still there then.
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
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
