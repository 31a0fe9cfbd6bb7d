"""SASLprep (RFC 4013): the form in which user names and passwords are compared.

What is printable ASCII is prepared already. The tables for the rest, which take 3 ms to load, are in `sasl.unicode`.
"""

from __future__ import annotations

from .errors import LimitExceeded, SASLError, UsageError
from .limits import DEFAULT_LIMITS
from .secret import Secret
from .typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final, TypeVar

    T = TypeVar("T", str, Secret)

_CONTROLS: Final = frozenset(map(chr, (*range(0x20), *range(0x7F, 0xA0))))
_LONGEST_NAME: Final = 1_024  # characters; a mail address has 254


def saslprep(text: str, *, stored: bool = False, limit: int = DEFAULT_LIMITS.prep_characters) -> str:
    """Return the prepared form of `text`; it may be empty, which callers have to refuse.

    `stored` asks for the form that is kept in a database: code points that Unicode 3.2 does not assign are
    prohibited there and pass in a query (RFC 4013 section 2.5). `limit` bounds the characters before and
    after normalization; printable ASCII, which needs none, may be as long as a message.
    Raises LimitExceeded if it is longer, UsageError if it cannot be prepared; neither shows the text.
    """
    if is_prepared(text):
        if len(text) > DEFAULT_LIMITS.message:
            raise LimitExceeded(f"SASLprep of more than {DEFAULT_LIMITS.message} characters")
        return text
    if len(text) > limit:
        raise LimitExceeded(f"SASLprep of more than {limit} characters, which is for ASCII alone")
    from . import unicode

    prepared = unicode.prepare(text, limit=limit)
    if stored:
        unicode.check_assigned(prepared)
    return prepared


def is_prepared(text: str) -> bool:
    """Whether a text, or several in one, is printable ASCII: nearly all names and passwords are."""
    return text.isascii() and text.isprintable()


def prepared_secret(secret: Secret, *, stored: bool = False, limit: int = DEFAULT_LIMITS.prep_characters) -> Secret:
    """Return the prepared form of a secret, as `saslprep` does; the secret itself keeps it for the next call.

    So it costs once for each credential, and is gone with it.
    """
    text = secret.reveal()
    if is_prepared(text):
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


def prepare_or_keep(password: Secret, *, limit: int = DEFAULT_LIMITS.prep_characters) -> Secret:
    """Return what a verifier keeps of a password: its prepared form, or the text as it was typed if it has none.

    Raises UsageError for one that no client sends: that is empty, or of which SASLprep leaves nothing, or that holds a
    control character.
    """
    if controls_in(password.reveal()) or not _has_utf8(password):
        raise UsageError("a password with a control character, or one that has no UTF-8")
    try:
        prepared = prepared_secret(password, stored=True, limit=limit)
    except SASLError:
        return password  # its frames hold the password
    if not prepared:
        raise UsageError("a password that is empty, or of which SASLprep leaves nothing (RFC 4013)")
    return prepared


def forms_of(password: Secret, *, limit: int = DEFAULT_LIMITS.prep_characters) -> tuple[str, ...]:
    """Return what may be kept of a password that was presented: its prepared form and the text as it was typed.

    One where they are the same, which is always so for printable ASCII, and where it has no prepared form. How many
    says nothing about what is kept. Raises nothing.
    """
    text = password.reveal() if password.typed is None else password.typed.reveal()
    if is_prepared(text):
        return (text,)
    prepared = prepare_kept(password, limit=limit)
    form = "" if prepared is None else prepared.reveal()
    return (text,) if form in ("", text) else (form, text)


def check_length(name: str) -> None:
    """Raise LimitExceeded for a name that nobody has, before it costs anything."""
    if len(name) > _LONGEST_NAME:
        raise LimitExceeded(f"a name of more than {_LONGEST_NAME} characters")


def controls_in(text: str) -> bool:
    """Whether a text holds a control character: C0, DEL or C1. Joiners and the like are none: SASLprep drops them."""
    return not text.isprintable() and not _CONTROLS.isdisjoint(text)


def control_error(what: str) -> UsageError:
    """Return the error for a name or a password of this side's user in which a control character stands."""
    return UsageError(f"{what} with a control character; did a line end or a tab come with it?")


def _has_utf8(password: Secret) -> bool:
    try:
        password.reveal().encode("utf-8")
    except UnicodeEncodeError:
        return False  # the exception holds the password
    return True


def has_controls(text: str) -> bool:
    """Whether a text holds control characters (RFC 3454 tables C.2.1 and C.2.2) or cannot be encoded in UTF-8."""
    if text.isascii():
        return not text.isprintable()
    from . import unicode

    return unicode.has_controls(text)
