"""Text that others wrote, made harmless: no terminal, log or transcript gets a control character of it."""

from __future__ import annotations

from .typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final

_NO_BRACKET: Final = r'(?s)"(?:[^"\\]|\\.?)*"?|[^][{}]'
"""A string of JSON, ended or not, or anything else that is no bracket.

Nothing of a string can fail once its first quotation mark is there, so no text is gone over twice.
"""


def printable(text: str, *, limit: int | None = None, instead: str | None = None) -> str:
    r"""Return the first `limit` characters of a text on one line, without what a terminal would obey.

    What is not printable stands there escaped, ESC as \x1b and a line end as \n, or as `instead`.
    """
    text = text[:limit]
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) if instead is None else instead for char in text)


def nesting(text: str) -> int:
    """Return how deep the brackets of a JSON text nest at most, outside of its strings, without a parser that recurses.

    A string without an end goes on to the end of the text.
    """
    import re  # only a refusal needs it

    deepest = depth = 0
    for bracket in re.sub(_NO_BRACKET, "", text):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _escape(char: str) -> str:
    return ascii(char)[1:-1]
