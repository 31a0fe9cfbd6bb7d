"""SASLprep (RFC 4013): the form in which user names and passwords are compared.

What is printable ASCII is prepared already. The tables for the rest, which take 3 ms to load, are in `sasl.unicode`.
"""

from __future__ import annotations

from .errors import LimitExceeded, SASLError, UsageError
from .limits import DEFAULT_LIMITS
from .secret import Secret
from .typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T", str, Secret)


def saslprep(text: str, *, stored: bool = False, limit: int = DEFAULT_LIMITS.prep_characters) -> str:
    """Return the prepared form of `text`; it may be empty, which callers have to refuse.

    `stored` asks for the form that is kept in a database: code points that Unicode 3.2 does not assign are
    prohibited there and pass in a query (RFC 4013 section 2.5). `limit` bounds the characters before and
    after normalization.
    Raises LimitExceeded if it is longer, UsageError if it cannot be prepared; neither shows the text.
    """
    if len(text) > limit:
        raise LimitExceeded(f"SASLprep of more than {limit} characters")
    if text.isascii() and text.isprintable():
        return text
    from . import unicode

    prepared = unicode.prepare(text, limit=limit)
    if stored:
        unicode.check_assigned(prepared)
    return prepared


def prepared_secret(secret: Secret, *, stored: bool = False, limit: int = DEFAULT_LIMITS.prep_characters) -> Secret:
    """Return the prepared form of a secret, as `saslprep` does; the secret itself keeps it for the next call.

    So it costs once for each credential, and is gone with it.
    """
    text = secret.reveal()
    if text.isascii() and text.isprintable() and len(text) <= limit:
        return secret
    memo = secret.prepared
    if memo is None or max(len(memo.reveal()), len(text)) > limit:
        memo = secret.prepared = Secret(saslprep(text, limit=limit))
    if stored and not memo.reveal().isascii():
        from . import unicode

        unicode.check_assigned(memo.reveal())
    return memo


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
    if isinstance(value, str):
        value = Secret(value)
    if not isinstance(value, Secret):
        return None
    try:
        return (prepared_secret(value, limit=limit) if prepare else value) or None
    except SASLError:
        return None  # its frames hold the password


def has_controls(text: str) -> bool:
    """Whether a text holds control characters (RFC 3454 tables C.2.1 and C.2.2) or cannot be encoded in UTF-8."""
    if text.isascii():
        return not text.isprintable()
    from . import unicode

    return unicode.has_controls(text)
