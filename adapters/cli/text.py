"""How text that others wrote is shown: nothing in it reaches the terminal as a control."""

from __future__ import annotations


def shown(text: str) -> str:
    r"""Return a text of one line with all that is not printable escaped: ESC as \x1b, a line end as \n."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
