"""What the mechanisms share that carry names and passwords as text or hash them."""

from __future__ import annotations

from sasl.errors import SASLError, UsageError
from sasl.prep import control_error, controls_in, is_prepared, prepare_kept, prepare_own, prepare_query, saslprep
from sasl.secret import Secret
from sasl.steps import Rejected, Unavailable
from sasl.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from sasl.credentials import Password

__all__ = [
    "NOT_KEPT",
    "check_password",
    "check_preparable",
    "control_error",
    "controls_in",
    "is_prepared",
    "kept_password",
    "prepare_all",
    "prepare_login",
    "prepare_one",
    "prepare_password",
    "read_field",
    "text_of",
    "utf8",
]

NOT_KEPT: Final = "what is kept of the user is no password, or one that cannot be prepared (RFC 4013)"


def check_preparable(texts: Sequence[str], limit: int) -> None:
    """Raise UsageError for a text, unless it is empty, that a server could not prepare (RFC 4013)."""
    for text in texts:
        if text:
            prepare_own(text, limit=limit)


def check_password(password: str, limit: int) -> None:
    """Raise UsageError for a password that no server takes: with a control character, or all of which SASLprep drops.

    What else SASLprep refuses, and what is too long for it, is a password where the server keeps what was typed.
    """
    if is_prepared(password):
        return
    if controls_in(password):
        raise control_error("a password")
    form = password
    try:
        form = saslprep(password, limit=limit)
    except SASLError:
        pass  # its frames hold the password
    if not form:
        raise UsageError("a password of which SASLprep leaves nothing (RFC 4013)")


def prepare_one(text: str, limit: int) -> str:
    """The form to compare. What cannot be prepared, or of which nothing is left, fails as a wrong password does."""
    if is_prepared(text):
        return text
    form = prepare_query(text, limit=limit)
    if form is None:
        raise Rejected("a name that cannot be prepared (RFC 4013)")
    return form


def prepare_all(texts: Sequence[str], limit: int) -> Sequence[str]:
    """Return the forms to compare, as `prepare_one` does."""
    return texts if is_prepared("".join(texts)) else [prepare_one(text, limit) for text in texts]


def prepare_password(password: str, limit: int) -> Secret:
    """Return a password that a client sent, for a verifier: in the form to compare, which knows how it was typed.

    What SASLprep refuses is handed on as it was typed: somebody may have set it so. Raises Rejected for what is
    nobody's password: one with a control character, or of which nothing is left (RFC 4616 section 2).
    """
    typed = Secret(password)
    if is_prepared(password):
        return typed
    if controls_in(password):
        raise Rejected("the password holds a control character")
    try:
        form = saslprep(password, limit=limit)
    except UsageError:
        return typed
    if not form:
        raise Rejected("a password of which SASLprep leaves nothing (RFC 4013)")
    prepared = Secret(form)
    if prepared == typed:
        return typed
    prepared.typed = typed
    return prepared


def read_field(octets: bytes, what: str) -> str:
    """Return a name or a password that a client sent. One that is empty or no text is nobody's: Rejected says why."""
    text = text_of(octets)
    if text is None:
        raise Rejected(f"{what} is not UTF-8: a client that sends ISO 8859-1?")
    if not text:
        raise Rejected(f"{what} is empty")
    return text


def prepare_login(credentials: Password, limit: int, *, stored: bool = False, prepare: bool = True) -> tuple[str, str]:
    """Return user name and password as both sides hash them; `stored` prepares the password as it is kept.

    Raises UsageError if one is empty or cannot be prepared.
    """
    username, password = credentials.authcid, credentials.password.reveal()
    if prepare and not is_prepared(username + password):
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
