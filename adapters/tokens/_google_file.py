"""Google's file of an authorized user: read, locked, and replaced in one step, so that no refresh token is lost.

Its members are those that google-auth and gcloud write: type, client_id, client_secret, refresh_token, and perhaps
token_uri, scopes, token and expiry.
"""

from __future__ import annotations

import json
import stat
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

from sasl.errors import TokenError, bare

from ..documents import parse_object, replace_file
from .stores.locks import hold

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_LARGEST: Final = 65_536  # octets


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
    """Keep others that ask for this lock out, in this process and in all others; wait for it so many seconds at most.

    The lock is a file of its own beside the one with the credentials. Where no such file can be made, in a folder that
    is mounted for reading for instance, nobody can store anything either: there is no lock then.
    Raises TokenError: locked; missing_extra without filelock.
    """
    path = path.resolve()  # all links to one file lead to one lock
    with ExitStack() as held:
        try:
            held.enter_context(hold(path.with_name(f"{path.name}.lock"), seconds))
        except TokenError as error:
            failure = None if error.code == "not_stored" else bare(error)
        else:
            failure = None
        if failure is None:
            yield
            return
    raise failure
