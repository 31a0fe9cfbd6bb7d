"""Text that others wrote, on a terminal."""

from __future__ import annotations

import pytest

from sasl.text import printable


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain text", "plain text"),
        ("j\u00f6rg \u2603", "j\u00f6rg \u2603"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("two\r\nlines\t", r"two\r\nlines\t"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202eevil", r"\u202eevil"),
        ("\udcff", r"\udcff"),
        ("", ""),
    ],
    ids=ascii,
)
def test_text_of_others_reaches_no_terminal_as_a_control(text: str, seen: str) -> None:
    assert printable(text) == seen


def test_only_the_beginning_of_a_long_text_is_shown() -> None:
    assert printable("abc\x1bdef", limit=4) == r"abc\x1b"
    assert printable("abcdef", limit=3) == "abc"
    assert printable("abc", limit=3) == "abc"


def test_what_is_not_printable_can_be_replaced() -> None:
    assert printable("a\r\n\x1bz", instead=" ") == "a   z"
    assert printable("a\x1bz", instead="") == "az"
