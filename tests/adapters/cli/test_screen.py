"""Rows of a name and a text: where they are wrapped, coloured, or not printed at all."""

from __future__ import annotations

import io
import os
import threading
from typing import Any

import pytest

from sasl.adapters.cli import screen


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal of 50 columns that shows colours."""
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


WORDS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


def test_a_terminal_gets_lines_that_fit_and_whole_words(terminal: Terminal) -> None:
    screen.print_row("what to do", WORDS, file=terminal)
    first, *more = terminal.getvalue().splitlines()
    assert first.startswith("  what to do  one")
    assert max(map(len, [first, *more])) < 50
    assert all(line.startswith(" " * 14) for line in more)
    assert " ".join([first[14:], *(line.strip() for line in more)]) == WORDS


def test_what_is_no_terminal_gets_one_line() -> None:
    file = io.StringIO()
    screen.print_row("what to do", WORDS, file=file, colour=screen.RED)
    screen.print_headline("sasl: refused: ", WORDS, file=file)
    assert file.getvalue() == f"  what to do  {WORDS}\nsasl: refused: {WORDS}\n"


def test_a_narrow_terminal_wraps_by_itself(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    screen.print_row("what to do", WORDS, file=terminal)
    assert terminal.getvalue() == f"  what to do  {WORDS}\n"


def test_a_long_name_has_a_line_of_its_own() -> None:
    file = io.StringIO()
    screen.print_row("openid-configuration", "https://x", file=file)
    assert file.getvalue() == "  openid-configuration\n" + " " * 14 + "https://x\n"


def test_a_row_without_a_text_is_a_row(terminal: Terminal) -> None:
    screen.print_row("code", "", file=terminal)
    assert terminal.getvalue().strip() == "code"


def test_colours_end_with_each_line(terminal: Terminal) -> None:
    screen.print_headline("sasl: refused: ", WORDS, file=terminal)
    screen.print_row("what to do", WORDS, file=terminal, colour=screen.BOLD)
    headline, *_ = terminal.getvalue().splitlines()
    assert headline.startswith("\x1b[31msasl: refused: \x1b[0mone")
    for line in terminal.getvalue().splitlines():
        assert line.count("\x1b[") in (0, 2)


@pytest.mark.parametrize(("name", "content"), [("NO_COLOR", "1"), ("TERM", "dumb"), ("TERM", None)], ids=str)
def test_who_wants_no_colours_gets_none(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, name: str, content: str | None
) -> None:
    monkeypatch.setenv(name, content) if content else monkeypatch.delenv(name)
    assert screen.paint("x", screen.RED, file=terminal) == "x"


def test_an_empty_no_color_is_none(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "")
    assert screen.paint("x", screen.RED, file=terminal) == "\x1b[31mx\x1b[0m"


def test_a_stream_that_was_closed_gets_nothing() -> None:
    screen.print_row("name", "text", file=None, colour=screen.RED)
    screen.print_headline("sasl: ", "text", file=None)
    assert not screen.is_terminal(None)


def test_a_prompt_is_ended_on_a_terminal_alone(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, left in ((terminal, "\n"), (io.StringIO(), "")):
        monkeypatch.setattr("sys.stderr", stream)
        screen.end_line()
        assert stream.getvalue() == left


class Lines(io.StringIO):
    """A stream that another thread writes to. capsys loses what is written while it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.has_one = threading.Event()

    def write(self, text: str) -> int:
        size = super().write(text)
        if "\n" in text:
            self.has_one.set()
        return size


@pytest.mark.parametrize("wanted", [True, False])
def test_what_takes_long_is_told(monkeypatch: pytest.MonkeyPatch, *, wanted: bool) -> None:
    monkeypatch.setattr(screen, "_PATIENCE", 0.01)
    monkeypatch.setattr("sys.stderr", lines := Lines())
    with screen.told_what_takes_long("mx.example port 993 to answer", wanted=wanted):
        assert lines.has_one.wait(20 if wanted else 0.05) == wanted
    assert lines.getvalue() == ("sasl: waiting for mx.example port 993 to answer\n" if wanted else "")


def test_what_takes_no_time_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with screen.told_what_takes_long("nothing", wanted=True):
        pass
    assert capsys.readouterr().err == ""


def test_width_and_colour_are_those_of_the_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"TERM": "xterm", "COLUMNS": "50"})
    file: Any = io.StringIO()
    assert screen.paint("x", screen.RED, file=file) == "x"
