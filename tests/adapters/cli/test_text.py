"""Text that others wrote, on a terminal."""

from __future__ import annotations

import pytest

from sasl.adapters.cli.text import shown


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
    assert shown(text) == seen
