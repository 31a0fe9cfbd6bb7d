"""SASLprep of what is not printable ASCII, by the tables of RFC 3454; `sasl.prep` loads it for such a text.

Unicode 3.2, from the standard library's tables. U+200B stands in both mapping tables of RFC 3454 and is
dropped (B.1 before C.1.2), as most implementations do; GNU SASL makes it a space.
"""

from __future__ import annotations

import stringprep as tables
import unicodedata
from itertools import groupby

from .errors import LimitExceeded, UsageError
from .typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final

_UNICODE: Final = unicodedata.ucd_3_2_0


def prepare(text: str, *, limit: int) -> str:
    """Return the prepared form of a query. Raises LimitExceeded and UsageError as `sasl.prep.saslprep` does."""
    mapped = "".join(
        " " if tables.in_table_c12(char) else char
        for char in text
        if not tables.in_table_b1(char)
    )  # fmt: skip
    prepared = _normalize(mapped)
    if len(prepared) > limit:
        raise LimitExceeded(f"SASLprep to more than {limit} characters")
    prohibited = (
        tables.in_table_c12,
        tables.in_table_c21_c22,
        tables.in_table_c3,
        tables.in_table_c4,
        tables.in_table_c5,
        tables.in_table_c6,
        tables.in_table_c7,
        tables.in_table_c8,
        tables.in_table_c9,
    )
    for char in prepared:
        if any(prohibits(char) for prohibits in prohibited):
            raise UsageError("a character that SASLprep prohibits (RFC 4013 section 2.3)")
    if any(map(tables.in_table_d1, prepared)):
        ends_right_to_left = tables.in_table_d1(prepared[0]) and tables.in_table_d1(prepared[-1])
        if not ends_right_to_left or any(map(tables.in_table_d2, prepared)):
            raise UsageError("left-to-right and right-to-left text is mixed (RFC 4013 section 2.4)")
    return prepared


def check_assigned(prepared: str) -> None:
    """Raise UsageError for a code point that a stored string may not hold (RFC 4013 section 2.5)."""
    if not prepared.isascii() and any(map(_unassigned, prepared)):
        raise UsageError("a code point that Unicode 3.2 does not assign (RFC 4013 section 2.5)")


def _unassigned(char: str) -> bool:
    """Table A.1 of RFC 3454. Its noncharacters are not in it, but in C.4, and never come here."""
    return _UNICODE.category(char) == "Cn"


def _normalize(text: str) -> str:
    """NFKC as in Unicode 3.2, in linear time.

    A code point that it does not assign has no properties there: it combines with nothing and keeps its place.
    Python knows later properties of it, so the text is normalized between such code points.
    """
    parts = ("".join(part) for _, part in groupby(text, _unassigned))
    return "".join(part if _unassigned(part[0]) else _UNICODE.normalize("NFKC", _put_in_order(part)) for part in parts)


def _put_in_order(text: str) -> str:
    """Decompose, and put the marks behind each letter in canonical order.

    Python sorts them by insertion, which takes a time quadratic in their number where they are out of order.
    """
    decomposed = (mark for char in text for mark in _UNICODE.normalize("NFKD", char))
    runs = groupby(decomposed, lambda char: _UNICODE.combining(char) == 0)
    return "".join(char for _, run in runs for char in sorted(run, key=_UNICODE.combining))


def has_controls(text: str) -> bool:
    """Whether a text holds control characters (RFC 3454 tables C.2.1 and C.2.2) or cannot be encoded in UTF-8."""
    return any(tables.in_table_c21_c22(char) or tables.in_table_c5(char) for char in set(text))
