"""The GS2 header (RFC 5801 section 4), as SCRAM and OAUTHBEARER use it: pure parse and print."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, final

from .errors import ProtocolError, UsageError

# The "F," of mechanisms that are not GSS-API's own is legal in neither SCRAM nor OAUTHBEARER.
_HEADER: Final = re.compile(rb"(?:([ny])|p=([A-Za-z0-9.-]+)),(?:a=([^,]+))?,")
_SASLNAME: Final = re.compile(rb"(?:[^\0=,]++|=2C|=3D)++")


@final
@dataclass(frozen=True, slots=True)
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


BARE: Final = Gs2Header("n")
"""Neither channel binding nor authzid."""
_BARE: Final = b"n,,"


def parse(message: bytes) -> tuple[Gs2Header, bytes]:
    """Split a message into its header and the rest. Raises ProtocolError if it does not begin with a header."""
    if message.startswith(_BARE):  # nearly every message of SCRAM
        return BARE, message[len(_BARE) :]
    match = _HEADER.match(message)
    if match is None:
        raise ProtocolError("no GS2 header (RFC 5801 section 4)")
    flag, binding, authzid = match.groups()
    name = None if authzid is None else unescape(authzid)
    rest = message[match.end() :]
    if binding is not None:
        return Gs2Header("p", binding.decode("ascii"), name), rest
    return Gs2Header("y" if flag == b"y" else "n", None, name), rest


def escape(name: str) -> bytes:
    """Encode a saslname: "=" as =3D and "," as =2C. Raises UsageError for NUL, lone surrogates and an empty name."""
    try:
        octets = name.encode("utf-8")
    except UnicodeEncodeError:
        octets = b""
    if not octets or b"\0" in octets:
        raise UsageError("a name that cannot be sent: empty, with a NUL, or not encodable in UTF-8")
    return octets.replace(b"=", b"=3D").replace(b",", b"=2C")


def unescape(name: bytes) -> str:
    """Decode a saslname. Raises ProtocolError for any other "=", an empty name, a NUL, or what is not UTF-8."""
    text = None
    if _SASLNAME.fullmatch(name):
        try:
            text = name.replace(b"=2C", b",").replace(b"=3D", b"=").decode("utf-8")
        except UnicodeDecodeError:
            text = None
    if text is None:
        raise ProtocolError("a malformed saslname (RFC 5801 section 4)")
    return text
