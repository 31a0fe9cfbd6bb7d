"""What `sasl serve` says: once where everything is, and then a line for each login attempt and each verdict."""

from __future__ import annotations

import json
import sys
import threading
from queue import Full, Queue
from typing import TYPE_CHECKING, Any, Final, final

from sasl.text import printable

from ..reference.journal import Attempt
from ..reference.verdicts import Verdict
from .screen import is_terminal, print_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import TextIO

_MAIL: Final = ("imap", "pop", "smtp", "lmtp")
_COLUMN: Final = 12  # characters of a row's name
_LONGEST: Final = 300  # characters of a line
_WAITING: Final = 1_000  # lines that may wait for a reader
_PATIENCE: Final = 0.5  # seconds for them at the end


def print_ready(ready: Mapping[str, Any]) -> None:
    """Print where everything is: a table where somebody looks at it, else one line of JSON."""
    if not is_terminal(sys.stdout):
        print(json.dumps(ready), flush=True)
        return
    for name, text in _rows(ready):
        print_line(f"  {name.ljust(_COLUMN)}{text}", file=sys.stdout)  # unwrapped: what is copied stays in one piece
    sys.stdout.flush()


def _rows(ready: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Return the rows of the table, each with its name."""
    for name in filter(ready.__contains__, _MAIL):
        place = ready[name]
        yield name, f"{place['host']} port {place['port']}, with TLS from the start {place['tls_port']}"
    if "http" in ready:
        yield "oauth", ready["http"]["url"]
    if "control" in ready:
        yield "control", ready["control"]["page"]
    yield "ca", ready["ca"]
    yield "persona", ready["persona"]
    for user, password in ready["users"].items():
        yield "user", f"{printable(user)}, password {printable(password)}"
    for state, token in ready["tokens"].items():
        yield state, f"{token} (a token of {printable(next(iter(ready['users'])))}'s)"


def line_of(event: object) -> str:
    """Return the line for what has happened; "" for what gets none. Nothing secret is in it."""
    if isinstance(event, Verdict):
        return _shown(str(event))
    if not isinstance(event, Attempt):
        return ""
    where = f"{event.service} session {event.session}: {event.mechanism or 'no mechanism'}"
    over = "over TLS" if event.tls else "in the clear"
    if event.identity is not None:
        return _shown(f"{where} {over}: {event.outcome} as {event.identity}")
    return _shown(f"{where} {over}: {event.outcome}{': ' if event.reason else ''}{event.reason}")


@final
class Lines:
    """Writes lines to a stream, in a thread of its own: a reader that does not read holds no server up.

    Of what such a reader gets too late, a thousand lines wait for it; further ones are dropped, and counted.
    """

    def __init__(self, file: TextIO | None) -> None:
        self._file = file
        self._queue: Queue[str | None] = Queue(_WAITING)
        self._dropped = 0
        self._thread = threading.Thread(target=self._write, name="saslkit-lines", daemon=True)
        self._thread.start()

    def tell(self, event: object) -> None:
        """Write the line for what has happened, if it has one."""
        if line := line_of(event):
            self._put(line)

    def close(self) -> None:
        """Write what waits, as far as somebody reads it."""
        try:
            self._queue.put(None, timeout=_PATIENCE)
        except Full:
            return
        self._thread.join(_PATIENCE)

    def _put(self, line: str) -> None:
        try:
            self._queue.put_nowait(line)
        except Full:
            self._dropped += 1

    def _write(self) -> None:
        while (line := self._queue.get()) is not None:
            self._print(line)
            if self._dropped and self._queue.empty():
                dropped, self._dropped = self._dropped, 0
                self._print(f"{dropped} more lines were not read in time")

    def _print(self, line: str) -> None:
        try:
            print_line(line, file=self._file)
            if self._file is not None:
                self._file.flush()
        except (OSError, ValueError):  # nobody reads any more
            self._file = None


def _shown(text: str) -> str:
    return printable(text, limit=_LONGEST, instead="?")
