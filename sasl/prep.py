"""SASLprep (RFC 4013): the form in which user names and passwords are compared.

Unicode 3.2, from the standard library's tables. U+200B stands in both mapping tables of RFC 3454 and is
dropped (B.1 before C.1.2), as most implementations do; GNU SASL makes it a space.
"""

from __future__ import annotations

import unicodedata
from itertools import groupby
from typing import Final, TypeVar

from .errors import LimitExceeded, SASLError, UsageError
from .limits import DEFAULT_LIMITS
from .secret import Secret

_UNICODE: Final = unicodedata.ucd_3_2_0


def saslprep(text: str, *, stored: bool = False, limit: int = DEFAULT_LIMITS.prep_characters) -> str:
    """Return the prepared form of `text`; it may be empty, which callers have to refuse.

    `stored` asks for the form that is kept in a database: code points that Unicode 3.2 does not assign are
    prohibited there and pass in a query (RFC 4013 section 2.5). `limit` bounds the characters before and
    after normalization.
    Raises LimitExceeded if it is longer, UsageError if it cannot be prepared; neither shows the text.
    """
    if _is_prepared(text, limit):
        return text
    if len(text) > limit:
        raise LimitExceeded(f"SASLprep of more than {limit} characters")
    prepared = _prepare(text, limit=limit)
    if stored:
        _check_assigned(prepared)
    return prepared


def prepared_secret(secret: Secret, *, stored: bool = False, limit: int = DEFAULT_LIMITS.prep_characters) -> Secret:
    """Return the prepared form of a secret, as `saslprep` does; the secret itself keeps it for the next call.

    So it costs once for each credential, and is gone with it.
    """
    if _is_prepared(secret.reveal(), limit):
        return secret
    memo = secret.prepared
    if memo is None or max(len(memo.reveal()), len(secret.reveal())) > limit:
        memo = secret.prepared = Secret(saslprep(secret.reveal(), limit=limit))
    if stored:
        _check_assigned(memo.reveal())
    return memo


T = TypeVar("T", str, Secret)


def prepare_own(text: T, *, stored: bool = False, limit: int = DEFAULT_LIMITS.prep_characters) -> T:
    """Return the prepared form of a name or a password of this side's user.

    Raises LimitExceeded or UsageError as `saslprep` does, and UsageError where nothing is left to compare.
    """
    if isinstance(text, Secret):
        what, form = "a password", prepared_secret(text, stored=stored, limit=limit)
    else:
        what, form = "a name or password", saslprep(text, stored=stored, limit=limit)
    if not form:
        raise UsageError(f"{what} that is empty, or of which SASLprep leaves nothing (RFC 4013)")
    return form


def prepare_query(text: str, *, limit: int = DEFAULT_LIMITS.prep_characters) -> str | None:
    """Return the form of what a peer sent, to look for it or to compare it; None where it has none.

    Raises nothing but LimitExceeded.
    """
    try:
        return saslprep(text, limit=limit) or None
    except UsageError:
        return None


def prepare_kept(value: object, *, prepare: bool = True, limit: int = DEFAULT_LIMITS.prep_characters) -> Secret | None:
    """Return the password that a verifier's record holds, as both sides hash it; None where it holds none.

    `prepare=False` takes it as it is. Raises nothing.
    """
    if not isinstance(value, str | Secret):
        return None
    secret = value if isinstance(value, Secret) else Secret(value)
    try:
        return (prepared_secret(secret, limit=limit) if prepare else secret) or None
    except SASLError:
        return None  # its frames hold the password


def has_controls(text: str) -> bool:
    """Whether a text holds control characters (RFC 3454 tables C.2.1 and C.2.2) or cannot be encoded in UTF-8."""
    if text.isascii():
        return not text.isprintable()
    import stringprep

    return any(stringprep.in_table_c21_c22(char) or stringprep.in_table_c5(char) for char in text)


def _is_prepared(text: str, limit: int) -> bool:
    """Whether a text is its own prepared form, as printable ASCII is: nearly all names and passwords."""
    return text.isascii() and text.isprintable() and len(text) <= limit


def _prepare(text: str, *, limit: int) -> str:
    import stringprep as tables  # 3 ms, and nobody with an ASCII name needs it

    mapped = "".join(
        " " if tables.in_table_c12(char) else char
        for char in text
        if not tables.in_table_b1(char)
    )  # fmt: skip
    prepared = _normalized(mapped)
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


def _check_assigned(prepared: str) -> None:
    if not prepared.isascii() and any(map(_unassigned, prepared)):
        raise UsageError("a code point that Unicode 3.2 does not assign (RFC 4013 section 2.5)")


def _unassigned(char: str) -> bool:
    """Table A.1 of RFC 3454. Its noncharacters are not in it, but in C.4, and never come here."""
    return _UNICODE.category(char) == "Cn"


def _normalized(text: str) -> str:
    """NFKC as in Unicode 3.2, in linear time.

    A code point that it does not assign has no properties there: it combines with nothing and keeps its place.
    Python knows later properties of it, so the text is normalized between such code points.
    """
    parts = ("".join(part) for _, part in groupby(text, _unassigned))
    return "".join(part if _unassigned(part[0]) else _UNICODE.normalize("NFKC", _ordered(part)) for part in parts)


def _ordered(text: str) -> str:
    """Decompose, and put the marks behind each letter in canonical order.

    Python sorts them by insertion, which takes a time quadratic in their number where they are out of order.
    """
    decomposed = (mark for char in text for mark in _UNICODE.normalize("NFKD", char))
    runs = groupby(decomposed, lambda char: _UNICODE.combining(char) == 0)
    return "".join(char for _, run in runs for char in sorted(run, key=_UNICODE.combining))
