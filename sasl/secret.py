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
        typed: the text as its owner typed it, where this is the prepared form of that and differs; else None. The two
            are one password: it is equal to either.

    Raises UsageError if given anything but a str or another Secret.
    """

    __slots__ = ("_forms", "_spelt", "_text", "prepared", "typed")

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
        self.typed: Secret | None = text.typed if isinstance(text, Secret) else None
        self._forms: _Forms | None = None
        self._spelt = True

    @classmethod
    def line(cls, text: str) -> Secret:
        """Return what stood on a line: `scrubbed` looks for it as it is, for nobody makes base64 or the like of it."""
        secret = cls(text)
        secret._spelt = False
        return secret

    def reveal(self) -> str:
        """Return the text. The one way to it, so that every use can be found."""
        return self._text

    def forms(self) -> _Forms:
        """Return in which forms `scrubbed` looks for it; they are made once, and gone with it."""
        if self._forms is None:
            self._forms = _Forms(self._text, spelt=self._spelt)
        return self._forms

    def __eq__(self, other: object) -> bool:
        """Compare with a Secret or a str, in time that does not depend on where they differ."""
        typed = None
        if not isinstance(other, str):
            if not isinstance(other, Secret):
                return NotImplemented
            typed = other.typed
            other = other.reveal()
        same = _is_same(self._text, other)
        if typed is not None:
            same = _is_same(self._text, typed.reveal()) or same
        if self.typed is not None:
            same = _is_same(self.typed.reveal(), other) or same
        return same

    __hash__ = None  # type: ignore[assignment]  # a hash would be a fingerprint of the secret

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret is neither pickled nor copied")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a Secret is neither pickled nor copied")


def _is_same(one: str, two: str) -> bool:
    """Compare two texts in constant time. One that no charset can encode is still a password of somebody."""
    if one.isascii() and two.isascii():
        return bool(_hmac().compare_digest(one, two))
    return bool(_hmac().compare_digest(one.encode("utf-8", "surrogatepass"), two.encode("utf-8", "surrogatepass")))


def scrubbed(text: str, secret: Secret) -> str:
    """Return a text in which the secret is "***", and so is every part of it that is long enough to be told.

    Servers say back what they were sent, and shorten it: its beginning, its end, both with dots in between, or on two
    lines. Letters of ASCII count in either case, and what was made of the secret counts as well: its base64, its
    hexadecimal digits, its percent-encoding, what it looks like where UTF-8 is taken for Latin-1 or Latin-1 for UTF-8,
    and what SASLprep makes of it. A secret of less than 4 characters stands in any text by chance, as does a part of
    less than 12. See docs/decisions/0028-what-is-scrubbed.md.
    """
    whole = secret.reveal()
    if len(whole) < _SHORTEST_SECRET or (len(text) < min(len(whole), _SHORTEST_PART) and whole.isascii()):
        return text  # it is shorter than every form
    forms = secret.forms()
    folded = _fold(text)
    for form in forms.all:
        if form in folded:
            text, folded = _replace(text, folded, form)
    if len(forms.joined) < _SHORTEST_PART or len(text) < _SHORTEST_PART:
        return text
    if " " in forms.joined:
        return _mask(text, folded, forms)
    # No part of a form without spaces goes over a space, and most words are shorter than a part.
    words = text.split(" ")
    for at, word in enumerate(folded.split(" ")):
        if len(word) >= _SHORTEST_PART:
            words[at] = _mask(words[at], word, forms)
    return " ".join(words)


def _mask(text: str, folded: str, forms: _Forms) -> str:
    """Mask the parts of a secret in a text that is as long as one or longer; `folded` is it with small letters.

    Whatever part begins at a place, or at one of the six behind it, has the same 6 characters in it: where no form has
    these, seven places are passed over at once.
    """
    last = len(text) - _SHORTEST_PART
    kept: list[str] = []
    at = shown = 0
    while at <= last:
        if not forms.have(folded[at + _STEP - 1 : at + _SHORTEST_PART]):
            at += _STEP
        elif (end := forms.end_of_part(folded, at)) > at:
            kept += [text[shown:at], _MASK]
            shown = at = end
        else:
            at += 1
    return "".join([*kept, text[shown:]]) if kept else text


class _Forms:
    """In which forms a secret may stand in a text: each as `_fold` makes it.

    Attributes:
        all: the forms, the longest first.
        joined: all in one text, with what stands in none of them in between.
    """

    __slots__ = ("_collected", "_left", "all", "joined")

    def __init__(self, text: str, *, spelt: bool) -> None:
        made = _spell(text) if spelt else {text}
        self.all = sorted(filter(None, map(_fold, made)), key=len, reverse=True)
        self.joined = _BETWEEN.join(self.all)
        self._left = _FEW
        self._collected: dict[int, frozenset[str]] = {}

    def have(self, part: str) -> bool:
        """Whether a text stands in one of the forms; those that are asked for have one of two lengths.

        A search takes as long as the forms are, so after a few of them all parts of that length are collected once.
        """
        collected = self._collected.get(len(part))
        if collected is not None:
            return part in collected
        self._left -= 1
        if self._left < 0:
            self._collected[len(part)] = _parts(self.joined, len(part))
        return part in self.joined

    def end_of_part(self, text: str, at: int) -> int:
        """Return where what begins at a place in a text stops being parts of the forms; that place if none does."""
        end = at
        while at + _SHORTEST_PART <= len(text) and self.have(text[at : at + _SHORTEST_PART]):
            end = at + _SHORTEST_PART
            if _SHORTEST_PART not in self._collected:  # it goes on as the form does, which saves many a search
                end += _length_in_common(text, end, self.joined, self.joined.find(text[at:end]) + _SHORTEST_PART)
            at = end - _SHORTEST_PART + 1
        return end


def _length_in_common(one: str, at: int, two: str, begin: int) -> int:
    """Return how many characters are the same in two texts, from a place in each on."""
    most = min(len(one) - at, len(two) - begin)
    return next((length for length in range(most) if one[at + length] != two[begin + length]), most)


def _spell(text: str) -> set[str]:
    """Return what programs make of a text, and itself."""
    from binascii import b2a_base64  # who is refused nothing has no use for it

    octets = text.encode("utf-8", "surrogatepass")
    made = {text, b2a_base64(octets, newline=False).decode("ascii").rstrip("=")}
    if len(octets) <= _LONGEST_SPELT:
        made.add(octets.hex())
        if octets.translate(None, _UNRESERVED):
            made.add("".join([_SPELT[octet] for octet in octets]))
    if len(octets) <= _LONGEST_PASSWORD:
        made.add("%" + octets.hex("%"))
    return made if text.isascii() else made | _misread(text, octets)


def _misread(text: str, octets: bytes) -> set[str]:
    """Return what a text beyond ASCII looks like in the wrong charset, in capitals, and prepared (RFC 4013)."""
    from .prep import prepare_query

    prepared = prepare_query(text)
    found = {octets.decode("latin-1"), text.upper()} | (set() if prepared is None else {prepared})
    try:
        found.add(text.encode("latin-1").decode("utf-8", "replace"))
    except UnicodeEncodeError:
        pass
    return found


def _fold(text: str) -> str:
    """Return a text with small letters, and in base64's letters where it has base64url's.

    Of what has another length then, only ASCII is changed.
    """
    small = text.lower()
    if len(small) != len(text):
        small = text.translate(_SMALL)
    return small.replace("-", "+").replace("_", "/")


def _replace(text: str, folded: str, form: str) -> tuple[str, str]:
    """Mask a form in a text, and in the same text with small letters."""
    shown, parts, at = [], folded.split(form), 0
    for part in parts:
        shown.append(text[at : at + len(part)])
        at += len(part) + len(form)
    return _MASK.join(shown), _MASK.join(parts)


def scrubbed_code(code: str, secret: Secret) -> str:
    """Return a server's response code as `scrubbed` does. A secret of less than 8 characters stands there by chance."""
    return code if len(secret.reveal().upper()) < _SHORTEST_IN_CODE else scrubbed(code, secret)


def _parts(whole: str, size: int) -> frozenset[str]:
    """Return all parts of a secret that are `size` characters long."""
    return frozenset([whole[at : at + size] for at in range(len(whole) - size + 1)])


_MASK: Final = "***"
_SHORTEST_SECRET: Final = 4  # characters
_SHORTEST_PART: Final = 12  # characters
_PIECE: Final = 6  # characters
_SHORTEST_IN_CODE: Final = 8  # characters
_STEP: Final = _SHORTEST_PART - _PIECE + 1  # characters
_FEW: Final = 512  # searches
_LONGEST_SPELT: Final = 4_096
"""Octets of a secret whose hexadecimal and percent-encoded forms are looked for: a longer one is shown by nobody so."""
_LONGEST_PASSWORD: Final = 256
"""Octets of a secret that is looked for with each of them percent-encoded: nobody does that to a token."""
_BETWEEN: Final = "\0\n\0"
_UNRESERVED: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"  # RFC 3986 section 2.3
_SPELT: Final = [chr(octet) if octet in _UNRESERVED else f"%{octet:02x}" for octet in range(256)]
_SMALL: Final = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


@cache
def _hmac() -> Any:
    """Load hmac: 3 ms that a client never needs, because only servers compare."""
    import hmac

    return hmac


def octets(data: bytes | None) -> str:
    """How data is shown in a repr, a log or a trace: by its size only."""
    return "None" if data is None else f"<{len(data)} octets>"
