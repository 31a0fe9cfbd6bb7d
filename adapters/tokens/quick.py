"""`sasl token get` where the token at hand is good: printed from its file with json, os and time, and nothing else.

Mail programs ask for a token at each login and wait for it. So this reads the file itself, and checks what the store
of files checks. Whatever is not as it should be is left to the command line, which renews the token or says what is
wrong.
"""

from __future__ import annotations

import os
import stat
import sys
import time

from .stores.names import name_of, state_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

LEEWAY: Final = 300.0
"""Seconds for which a token has to be good to be printed as it is."""

_DONE: Final = 0
_IO: Final = 74  # sysexits.h
_LARGEST: Final = 65_536  # octets of a record; a larger one is not read whole
_FARTHEST: Final = 253_402_300_800  # the year 10000: a time beyond that is none


def folder_of(named: str | None) -> str:
    """Return the folder with the records of accounts: the one named, that of $SASLKIT_TOKENS, or this user's own.

    Raises KeyError as `state_folder` does.
    """
    return named or os.environ.get("SASLKIT_TOKENS") or state_folder() + os.sep + "tokens"


def print_stored(arguments: Sequence[str]) -> int | None:
    """Print the token that `sasl token get` is asked for and return the exit code; None if this is not so simple.

    A terminal gets it with --force alone.
    """
    asked = _parse(arguments)
    if asked is None or not hasattr(os, "geteuid"):
        return None
    account, named, force = asked
    if not force and os.isatty(1):
        return None
    token = _read(folder_of(named) + os.sep + name_of(account), account)
    return None if token is None else _print(token.encode("ascii") + b"\n")


def _parse(arguments: Sequence[str]) -> tuple[str, str | None, bool] | None:
    """Return account, folder and whether --force is there; None for other arguments."""
    account: str | None = None
    named: str | None = None
    force = False
    words = iter(arguments)
    for word in words:
        if word == "--force":
            force = True
        elif word == "--store":
            named = next(words, None)
            if not named:
                return None
        elif word.startswith("-") or account is not None:
            return None
        else:
            account = word
    return (account, named, force) if account else None


def _read(path: str, account: str) -> str | None:
    """Return the token in a file that holds the account; None if it is not good for long."""
    import json

    octets = _load(path)
    try:
        document = None if octets is None else json.loads(octets)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("format") != 1 or document.get("key") != account:
        return None
    token, ends = document.get("access_token"), document.get("expires_at")
    if not isinstance(token, str) or not _is_token(token) or not isinstance(ends, int | float):
        return None
    came = document.get("renewed_at", document.get("granted_at", 0))
    if not isinstance(came, int | float) or not came <= time.time() + LEEWAY:
        return None  # the clock was ahead when the token came, and so is what it says of its end
    return token if time.time() + LEEWAY < ends < _FARTHEST else None  # not of True, of a NaN neither


def _load(path: str) -> bytes | None:
    """Return what is in a file, if it is this user's alone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077 or found.st_uid != os.geteuid():
            return None
        octets = os.read(descriptor, _LARGEST + 1)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return octets if len(octets) == found.st_size else None


def _is_token(text: str) -> bool:
    return text.isascii() and text.isprintable() and text != "" and " " not in text


def _print(line: bytes) -> int:
    """Write a line past Python's buffers: a failure has to be noticed here."""
    try:
        while line:
            line = line[os.write(1, line) :]
    except OSError as error:
        if not isinstance(error, BrokenPipeError) and sys.stderr is not None:
            print(f"sasl: I/O error: {error.strerror}", file=sys.stderr)
        return _IO
    return _DONE
