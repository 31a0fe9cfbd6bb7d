"""What a caller gives: a credential, or a bare password in the place of one, which no traceback may show."""

from __future__ import annotations

from collections.abc import Mapping

from sasl.credentials import Bearer, Password, TokenSource, is_credentials
from sasl.errors import UsageError
from sasl.secret import Secret
from sasl.typed import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from typing import Any, TypeVar

    from sasl.credentials import Credentials, Token

    T = TypeVar("T")


class _Unusable:
    """Stands for what was passed where a credential belongs, which may be a bare password: tracebacks show locals."""

    __slots__ = ("kind",)

    def __init__(self, value: object) -> None:
        self.kind = type(value).__name__


def veil(value: T) -> T:
    """Return what is a credential, a source of one or a callback; in the place of anything else, only its type.

    A function of ours that takes one rebinds it to this first, so that no frame of an error shows a bare password.
    """
    harmless = value is None or callable(value) or isinstance(value, Secret | _Unusable | TokenSource)
    known = harmless or is_credentials(value)
    return cast("T", value if known else _Unusable(value))


def veil_password(value: Credentials | Token | bytes) -> Credentials | Token:
    """Return a password as a Secret, one in octets as the text that they are in UTF-8; anything else as `veil` does.

    Octets that are no UTF-8 are veiled: no mechanism has a text for them.
    """
    if isinstance(value, bytes):
        value = _decode(value)
    return Secret(value) if isinstance(value, str) else veil(cast("Credentials", value))


def _decode(octets: bytes) -> str | bytes:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return octets


class _Options(dict[str, object]):
    """The options of a mechanism, shown by their names only: a password may have gone astray there."""

    def __repr__(self) -> str:
        return f"<options {', '.join(self)}>"


def veil_options(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options of a mechanism so that no traceback shows what they hold; anything else as `veil` does."""
    if isinstance(value, Mapping) and not [name for name in value if not isinstance(name, str)]:
        return _Options(value)
    return value if isinstance(value, _Unusable) else cast("Mapping[str, Any]", _Unusable(value))


def type_of(value: object) -> str:
    """Return the name of a value's type, as it was before it was veiled."""
    return value.kind if isinstance(value, _Unusable) else type(value).__name__


def credentials_of(user: str, secret: Credentials | Token) -> Credentials:
    """Return what the second argument of a library's login() stands for, veiled.

    A `Secret` is the user's password; a callable or a `TokenSource` gives the user's token. Credentials are
    taken as they are, with the user name that is in them.
    """
    if isinstance(secret, Secret):
        return Password(user, secret)
    if is_credentials(secret):
        return secret
    if callable(secret) or isinstance(secret, TokenSource):
        return Bearer(user, secret)
    raise UsageError(f"a password, credentials or a token source, not {type_of(secret)}")
