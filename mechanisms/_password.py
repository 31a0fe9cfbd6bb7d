"""What the mechanisms share that carry names and passwords as text or hash them."""

from __future__ import annotations

import re

from sasl.errors import UsageError
from sasl.prep import prepare_own, prepare_query
from sasl.steps import Rejected
from sasl.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def controls_in(text: str) -> bool:
    """Whether a text holds a control character: C0, DEL or C1. Joiners and the like are none: SASLprep drops them."""
    return _CONTROL.search(text) is not None


def check_preparable(texts: Sequence[str], limit: int) -> None:
    """Raise UsageError for a text, unless it is empty, that a server could not prepare (RFC 4013)."""
    if _need_no_preparation(texts, limit):
        return
    for text in texts:
        if text:
            prepare_own(text, limit=limit)


def prepared(text: str, limit: int) -> str:
    """The form to compare. What cannot be prepared, or of which nothing is left, fails as a wrong password does."""
    if not text:
        return ""
    form = prepare_query(text, limit=limit)
    if form is None:
        raise Rejected("a name or password that cannot be prepared (RFC 4013)")
    return form


def prepare_all(texts: Sequence[str], limit: int) -> Sequence[str]:
    """Return the forms to compare, as `prepared` does."""
    return texts if _need_no_preparation(texts, limit) else [prepared(text, limit) for text in texts]


def _need_no_preparation(texts: Sequence[str], limit: int) -> bool:
    """Whether all of them are printable ASCII, which is looked at in one go: nearly all names and passwords are."""
    whole = "".join(texts)
    return whole.isascii() and whole.isprintable() and len(whole) <= limit


def utf8(text: str) -> bytes:
    """Return the octets of a text. Raises UsageError if it has none."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        pass  # the exception holds the password
    raise UsageError("a name or password that cannot be encoded in UTF-8")


def decoded(message: bytes) -> str | None:
    """Return the text of a message, None if it is not UTF-8."""
    try:
        return message.decode("utf-8")
    except UnicodeDecodeError:
        return None
