"""What a person sees: rows of a name and a text, wrapped and coloured where there is a terminal."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

RED: Final = "31"
GREEN: Final = "32"
BOLD: Final = "1"

_COLUMN: Final = 12  # characters of a row's name, with the space behind it
_NARROWEST: Final = 40  # columns in which rows are still wrapped
_PATIENCE: Final = 2.0  # seconds before somebody is told what takes so long


def print_row(name: str, text: str, *, file: TextIO | None, colour: str = "") -> None:
    """Print a name and a text in two columns; a long name has a line of its own."""
    label = f"  {name.ljust(_COLUMN)}"
    if len(name) >= _COLUMN:
        print_line(f"  {name}", file=file)
        label = " " * (_COLUMN + 2)
    first, *more = _wrap(label + text, file)
    shown = label + paint(first[len(label) :], colour, file=file)
    print_line("\n".join([shown, *(paint(line, colour, file=file) for line in more)]), file=file)


def print_headline(verdict: str, text: str, *, file: TextIO | None) -> None:
    """Print what became of it, and why."""
    first, *more = _wrap(verdict + text, file)
    print_line("\n".join([paint(first[: len(verdict)], RED, file=file) + first[len(verdict) :], *more]), file=file)


def print_line(text: str, *, file: TextIO | None) -> None:
    """Print a line. A stream that was closed from the start (>&-) is None, and nobody wants to read it."""
    if file is not None:
        print(text, file=file)


def end_line() -> None:
    """Begin a new line on the terminal, where a prompt or a ^C stands on the last one."""
    if is_terminal(sys.stderr):
        print_line("", file=sys.stderr)


def paint(text: str, colour: str, *, file: TextIO | None) -> str:
    """Return a text in a colour, if the stream is a terminal that shows one (https://no-color.org)."""
    return f"\x1b[{colour}m{text}\x1b[0m" if text and colour and _shows_colours(file) else text


def is_terminal(file: TextIO | None) -> bool:
    """Whether somebody looks at a stream."""
    return file is not None and file.isatty()


@contextmanager
def told_what_takes_long(what: str, *, wanted: bool) -> Iterator[None]:
    """Say on stderr what is waited for, once it took two seconds."""
    if not wanted:
        yield
        return
    timer = threading.Timer(_PATIENCE, print_line, (f"sasl: waiting for {what}",), {"file": sys.stderr})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _wrap(text: str, file: TextIO | None) -> list[str]:
    """Return the lines of a row: as wide as the terminal is, or one where there is none."""
    width = shutil.get_terminal_size().columns if is_terminal(file) else 0
    if width < _NARROWEST:
        return [text]
    return textwrap.wrap(
        text,
        width - 1,  # some terminals wrap by themselves after the last column
        subsequent_indent=" " * (_COLUMN + 2),
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    ) or [""]


def _shows_colours(file: TextIO | None) -> bool:
    return is_terminal(file) and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
