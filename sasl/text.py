"""Text that others wrote, made harmless: no terminal, log or transcript gets a control character of it."""

from __future__ import annotations


def printable(text: str, *, limit: int | None = None, instead: str | None = None) -> str:
    r"""Return the first `limit` characters of a text on one line, without what a terminal would obey.

    What is not printable stands there escaped, ESC as \x1b and a line end as \n, or as `instead`.
    """
    text = text[:limit]
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) if instead is None else instead for char in text)


def _escape(char: str) -> str:
    return ascii(char)[1:-1]
