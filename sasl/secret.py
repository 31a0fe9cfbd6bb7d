"""A string that must not be seen: passwords and tokens.

A `Secret` shows itself only through `reveal()`. It is not in repr or str, has no `__dict__`, refuses
pickle and copy, and compares in constant time.
"""

from __future__ import annotations

from functools import cache

from .errors import UsageError
from .typed import TYPE_CHECKING, final

if TYPE_CHECKING:
    from typing import Any, Final, NoReturn


@final
class Secret:
    """Holds one secret text.

    Attributes:
        prepared: the form that `sasl.prep` made of it, or None; kept so that it is made once.

    Raises UsageError if given anything but a str or another Secret.
    """

    __slots__ = ("_text", "prepared")

    def __init__(self, text: str | Secret) -> None:
        if isinstance(text, str):
            self._text = text
        elif isinstance(text, Secret):
            self._text = text.reveal()
        else:
            kind = type(text).__name__
            del self, text  # a password in bytes is a password too: no frame of the error shows it
            raise UsageError(f"a secret is a str, not {kind}")
        self.prepared: Secret | None = None

    def reveal(self) -> str:
        """Return the text. The one way to it, so that every use can be found."""
        return self._text

    def __eq__(self, other: object) -> bool:
        """Compare with a Secret or a str, in time that does not depend on where they differ."""
        if not isinstance(other, str):
            if not isinstance(other, Secret):
                return NotImplemented
            other = other.reveal()
        one: str | bytes = self._text
        two: str | bytes = other
        if not (self._text.isascii() and other.isascii()):
            # A text that no charset can encode is still a password of somebody.
            one, two = self._text.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass")
        same: bool = _hmac().compare_digest(one, two)
        return same

    __hash__ = None  # type: ignore[assignment]  # a hash would be a fingerprint of the secret

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret is neither pickled nor copied")


def scrubbed(text: str, secret: Secret) -> str:
    """Return a text in which the secret is "***", and so is every part of it that is long enough to be told.

    Servers say back what they were sent, and shorten it: its beginning, its end, both with dots in between, or on two
    lines. A secret of less than 4 characters stands in any text by chance, as does a part of less than 12.
    """
    whole = secret.reveal()
    if len(whole) < _SHORTEST_SECRET:
        return text
    text = text.replace(whole, _MASK)
    if len(whole) < _SHORTEST_PART or len(text) < _SHORTEST_PART:
        return text
    # No part of a secret without spaces goes over a space, and most words are shorter than a part.
    words = [text] if " " in whole else text.split(" ")
    long = [at for at, word in enumerate(words) if len(word) >= _SHORTEST_PART]
    if not long:
        return text
    # A part that begins at any place holds one of the pieces of 6 characters that begin at every 7th place. Where the
    # secret has none of them, it has no part in the word. A search takes as long as the secret is, so for many of them
    # all its pieces are collected once.
    pieces = whole if len(text) <= _FEW * _STEP else _parts(whole, _PIECE)
    suspects = {
        at
        for at in long
        for begin in range(_PIECE, len(words[at]) - _PIECE + 1, _STEP)
        if words[at][begin : begin + _PIECE] in pieces
    }
    if not suspects:
        return text
    parts = whole if sum([len(words[at]) for at in suspects]) <= _FEW else _parts(whole, _SHORTEST_PART)
    for at in suspects:
        words[at] = _mask(words[at], parts)
    return " ".join(words)


def scrubbed_code(code: str, secret: Secret) -> str:
    """Return a server's response code as `scrubbed` does, with the secret in whatever case: protocols fold that.

    A secret of less than 8 characters stands in a code by chance.
    """
    whole = secret.reveal().upper()
    return code if len(whole) < _SHORTEST_IN_CODE else scrubbed(code, Secret(whole))


def _parts(whole: str, size: int) -> frozenset[str]:
    """Return all parts of a secret that are `size` characters long."""
    return frozenset([whole[at : at + size] for at in range(len(whole) - size + 1)])


def _mask(text: str, parts: str | frozenset[str]) -> str:
    """Mask the parts of a secret in a text that is as long as one or longer."""
    last = len(text) - _SHORTEST_PART
    kept, at, shown = [], 0, 0
    while at <= last:
        if text[at : at + _SHORTEST_PART] not in parts:
            at += 1
            continue
        kept += [text[shown:at], _MASK]
        while at <= last and text[at : at + _SHORTEST_PART] in parts:
            at += 1
        shown = at = at - 1 + _SHORTEST_PART
    return "".join([*kept, text[shown:]])


_MASK: Final = "***"
_SHORTEST_SECRET: Final = 4  # characters
_SHORTEST_PART: Final = 12  # characters
_PIECE: Final = 6  # characters
_SHORTEST_IN_CODE: Final = 8  # characters
_STEP: Final = _SHORTEST_PART - _PIECE + 1  # characters
_FEW: Final = 256  # look-ups


@cache
def _hmac() -> Any:
    """Load hmac: 3 ms that a client never needs, because only servers compare."""
    import hmac

    return hmac


def octets(data: bytes | None) -> str:
    """How data is shown in a repr, a log or a trace: by its size only."""
    return "None" if data is None else f"<{len(data)} octets>"
