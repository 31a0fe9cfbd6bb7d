"""What the mechanisms share that carry names and passwords as text or hash them."""

from __future__ import annotations

from sasl.errors import UsageError
from sasl.prep import prepare_kept, prepare_own, prepare_query
from sasl.steps import Rejected, Unavailable
from sasl.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from sasl.credentials import Password
    from sasl.secret import Secret

NOT_KEPT: Final = "what is kept of the user is no password, or one that cannot be prepared (RFC 4013)"


def controls_in(text: str) -> bool:
    """Whether a text holds a control character: C0, DEL or C1. Joiners and the like are none: SASLprep drops them."""
    return not text.isprintable() and any(char < " " or "\x7f" <= char <= "\x9f" for char in text)


def check_preparable(texts: Sequence[str], limit: int) -> None:
    """Raise UsageError for a text, unless it is empty, that a server could not prepare (RFC 4013)."""
    for text in texts:
        if text:
            prepare_own(text, limit=limit)


def prepare_one(text: str, limit: int) -> str:
    """The form to compare. What cannot be prepared, or of which nothing is left, fails as a wrong password does."""
    if is_prepared(text, limit):
        return text
    form = prepare_query(text, limit=limit)
    if form is None:
        raise Rejected("a name or password that cannot be prepared (RFC 4013)")
    return form


def prepare_all(texts: Sequence[str], limit: int) -> Sequence[str]:
    """Return the forms to compare, as `prepare_one` does."""
    return texts if is_prepared("".join(texts), limit) else [prepare_one(text, limit) for text in texts]


def prepare_login(credentials: Password, limit: int, *, stored: bool = False, prepare: bool = True) -> tuple[str, str]:
    """Return user name and password as both sides hash them; `stored` prepares the password as it is kept.

    Raises UsageError if one is empty or cannot be prepared.
    """
    username, password = credentials.authcid, credentials.password.reveal()
    if prepare and not is_prepared(username + password, limit):
        username = prepare_own(username, limit=limit)
        password = prepare_own(credentials.password, stored=stored, limit=limit).reveal()
    if not username or not password:
        raise UsageError("a user name and a password are not empty")
    return username, password


def kept_password(value: object, limit: int, *, prepare: bool = True) -> Secret:
    """Return the password that a record holds, as both sides hash it. Raises Unavailable if it holds none."""
    password = prepare_kept(value, prepare=prepare, limit=limit)
    if password is None:
        raise Unavailable(NOT_KEPT)
    return password


def is_prepared(text: str, limit: int) -> bool:
    """Whether a text, or several in one, is printable ASCII and not too long: nearly all names and passwords are."""
    return text.isascii() and text.isprintable() and len(text) <= limit


def utf8(text: str) -> bytes:
    """Return the octets of a text. Raises UsageError if it has none."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        pass  # the exception holds the password
    raise UsageError("a name or password that cannot be encoded in UTF-8")


def text_of(message: bytes) -> str | None:
    """Return the text of a message, None if it is not UTF-8."""
    try:
        return message.decode("utf-8")
    except UnicodeDecodeError:
        return None
