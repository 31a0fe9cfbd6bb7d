"""The GS2 header (RFC 5801 section 4), as SCRAM and OAUTHBEARER use it: pure parse and print."""

from __future__ import annotations

from .errors import ProtocolError, UsageError
from .typed import TYPE_CHECKING, final
from .value import value

if TYPE_CHECKING:
    from typing import Final, Literal

_BINDING: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-"  # RFC 5056 section 7


@final
@value
class Gs2Header:
    """A parsed header.

    Attributes:
        flag: "n" (no channel binding), "y" (the client could, the server does not offer it) or "p" (used).
        binding: the channel-binding type where the flag is "p", else None.
        authzid: whom to act as, unescaped, or None.
    """

    flag: Literal["n", "y", "p"]
    binding: str | None = None
    authzid: str | None = None

    def encode(self) -> bytes:
        """Return the octets. Raises UsageError if the authzid cannot stand in a saslname."""
        flag = f"p={self.binding}" if self.flag == "p" else self.flag
        authzid = b"" if self.authzid is None else b"a=" + escape(self.authzid)
        return b"%s,%s," % (flag.encode("ascii"), authzid)


_USUAL: Final = Gs2Header("n")


def parse(message: bytes) -> tuple[Gs2Header, bytes]:
    """Split a message into its header and the rest. Raises ProtocolError if it does not begin with a header."""
    if message.startswith(b"n,,"):
        return _USUAL, message[3:]
    flag, _, after = message.partition(b",")
    authzid, comma, rest = after.partition(b",")
    # The "F," of mechanisms that are not GSS-API's own is legal in neither SCRAM nor OAUTHBEARER.
    binding = flag[2:] if flag.startswith(b"p=") and not flag[2:].translate(None, _BINDING) else b""
    right = binding or flag in (b"n", b"y")
    if not comma or not right or (authzid and (len(authzid) < 3 or not authzid.startswith(b"a="))):
        raise ProtocolError("no GS2 header (RFC 5801 section 4)")
    name = unescape(authzid[2:]) if authzid else None
    if binding:
        return Gs2Header("p", binding.decode("ascii"), name), rest
    return Gs2Header("y" if flag == b"y" else "n", None, name), rest


def escape(name: str) -> bytes:
    """Encode a saslname: "=" as =3D and "," as =2C. Raises UsageError for NUL, lone surrogates and an empty name."""
    try:
        octets = name.encode("utf-8")
    except UnicodeEncodeError:
        octets = b""
    if not octets or 0 in octets:
        raise UsageError("a name that cannot be sent: empty, with a NUL, or not encodable in UTF-8")
    return octets.replace(b"=", b"=3D").replace(b",", b"=2C")


def unescape(name: bytes) -> str:
    """Decode a saslname. Raises ProtocolError for any other "=", an empty name, a NUL, or what is not UTF-8."""
    text = None
    # Octets are found faster than bytes.
    if name and 0 not in name and 0x2C not in name and (0x3D not in name or _is_escaped(name)):
        try:
            text = name.replace(b"=2C", b",").replace(b"=3D", b"=").decode("utf-8")
        except UnicodeDecodeError:
            text = None
    if text is None:
        raise ProtocolError("a malformed saslname (RFC 5801 section 4)")
    return text


def _is_escaped(name: bytes) -> bool:
    """Whether each "=" begins an escape."""
    return all(part[:2] in (b"2C", b"3D") for part in name.split(b"=")[1:])
