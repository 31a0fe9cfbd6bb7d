"""An access token in a file that another program keeps: a sidecar, a cron job, the secret of a container platform.

    token = sasl.adapters.tokens.file.FileTokens("/run/secrets/mail-token")
    sasl.adapters.imaplib.authenticate(conn, sasl.Bearer("me@example.com", token))

The file holds the token on its first line, or an object of JSON: {"access_token": ..., "expires_at": ...}. A grant,
from which new tokens are made, is another thing: see `sasl.adapters.tokens.oauth`.
"""

from __future__ import annotations

import logging
import os
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from sasl.errors import TokenError, hide_frames
from sasl.text import printable

from ._text import LARGEST, is_over, parse_token

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl.credentials import AccessToken

_LONGEST_NAME: Final = 200  # characters of a path that an error shows


@final
class FileTokens:
    """Gives the token that stands in a file, which is read again when it has changed.

    `path` may be a link, or lead over one: the file that it leads to then counts. A warning is logged once where
    everybody on this machine can read it. `clock` returns the time in seconds since 1970.
    """

    __slots__ = ("_clock", "_path", "_read", "_warned")

    def __init__(self, path: str | os.PathLike[str], *, clock: Callable[[], float] = time.time) -> None:
        self._path = Path(path).absolute()
        self._clock = clock
        self._read: tuple[tuple[int, ...], AccessToken] | None = None  # one reference: threads see both or neither
        self._warned = False

    def __repr__(self) -> str:
        return f"FileTokens({str(self._path)!r})"

    @hide_frames
    def token(self, *, stale: str | None = None) -> AccessToken:
        """Return the token that the file holds.

        Raises TokenError: bad_file if it cannot be read, retryable where it is not there (yet); no_token if it holds
        something else; stale_token, retryable, if it holds the token in `stale`, which a server has just refused, or
        one that says itself that it is over: whoever keeps the file has not renewed it.
        """
        token = self._load(again=stale is not None)
        if (stale is not None and token.value == stale) or is_over(token, self._clock()):
            raise TokenError(
                f"{self._called()} holds a token that is over, and nobody has renewed it yet",
                code="stale_token",
                retryable=True,
                hint="Look at the program that keeps the file.",
            )
        return token

    def _load(self, *, again: bool) -> AccessToken:
        """Return what the file holds. It is read only if it looks other than the last time, or by all means `again`."""
        known = self._read
        try:
            if known is not None and not again and _look(self._path.stat()) == known[0]:
                return known[1]
            look, octets = self._octets()
        except OSError as error:
            failure = self._failure(error)
        else:
            token = parse_token(octets, self._called())
            self._read = look, token
            return token
        raise failure

    def _octets(self) -> tuple[tuple[int, ...], bytes]:
        """Return how the file looks and what it holds, of the same file, although the path may lead elsewhere soon."""
        # Somebody's pipe would make whoever opens it wait.
        descriptor = os.open(self._path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise TokenError(f"{self._called()} is no regular file", code="bad_file")
            if not self._warned:
                self._warned = True
                warn_of_readers(self._path, found.st_mode, "an access token")
            with open(descriptor, "rb", closefd=False) as file:
                return _look(found), file.read(LARGEST + 1)
        finally:
            os.close(descriptor)

    def _failure(self, error: OSError) -> TokenError:
        return TokenError(
            f"{self._called()} cannot be read: {error.strerror}",
            code="bad_file",
            retryable=isinstance(error, FileNotFoundError),
            hint="Look at the program that keeps the file.",
        )

    def _called(self) -> str:
        return f"the file {printable(str(self._path), limit=_LONGEST_NAME)}"


def warn_of_readers(path: Path, mode: int, holds: str) -> None:
    """Log a warning where everybody on this machine can read a file with that mode; on Windows nobody knows.

    It is used all the same: a file that is mounted into a container has such a mode, and harms nobody there.
    """
    if mode & stat.S_IROTH and sys.platform != "win32":
        logging.getLogger("sasl").warning("everybody here can read %s, which holds %s", path, holds)


def _look(found: os.stat_result) -> tuple[int, ...]:
    """Return what tells one state of a file from another."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
