"""The messages of SCRAM (RFC 5802 section 7): pure parse and print.

They are tuples with names, which are made in a third of the time that a frozen dataclass takes.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sasl import gs2
from sasl.base64 import decode, encode
from sasl.errors import ProtocolError
from sasl.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final

    from sasl.gs2 import Gs2Header

SERVER_ERRORS: Final = frozenset(
    {
        "invalid-encoding",
        "extensions-not-supported",
        "invalid-proof",
        "channel-bindings-dont-match",
        "server-does-support-channel-binding",
        "channel-binding-not-supported",
        "unsupported-channel-binding-type",
        "unknown-user",
        "invalid-username-encoding",
        "no-resources",
        "other-error",
    }
)
"""What a server may say after "e="; anything else is to be read as "other-error"."""

# Possessive, and no two parts begin alike: nothing is tried twice. Groups are not: a possessive group fails where it
# should match in Python up to 3.11.4, which Debian 12 has.
_NONCE: Final = rb"[!-+\--~]++"
_BASE64: Final = rb"[A-Za-z0-9+/]++={0,2}+"
_MORE: Final = rb"((?:,[A-Za-z]=[^\0,]++)*)"
_MORE_BUT_PROOF: Final = rb"((?:,(?!p=)[A-Za-z]=[^\0,]++)*)"
_CLIENT_FIRST: Final = re.compile(rb"n=([^\0,]++),r=(%s)%s" % (_NONCE, _MORE))
_SERVER_FIRST: Final = re.compile(rb"r=(%s),s=(%s),i=([1-9][0-9]{0,19})%s" % (_NONCE, _BASE64, _MORE))
_CLIENT_FINAL: Final = re.compile(rb"(c=(%s),r=(%s)%s),p=(%s)" % (_BASE64, _NONCE, _MORE_BUT_PROOF, _BASE64))
_KNOWN: Final = frozenset(bytes([octet]) for octet in b"aceimnprsv")  # each has its place (section 5.1)
_MANDATORY: Final = re.compile(rb"(?:^|,)m=")
_ERROR: Final = re.compile(rb"e=([^\0-\x1f\x7f,]++)%s" % _MORE)
_SERVER_FINAL: Final = re.compile(rb"v=(%s)%s" % (_BASE64, _MORE))


class ClientFirst(NamedTuple):
    """The client's first message: its header, and as it was sent (`gs2` and `bare` are octets of the message)."""

    header: Gs2Header
    gs2: bytes
    bare: bytes
    username: str
    nonce: bytes


class ServerFirst(NamedTuple):
    """The server's first message. What else it holds stays in the AuthMessage, unread."""

    nonce: bytes
    salt: bytes
    iterations: int


class ClientFinal(NamedTuple):
    """The client's last message; `unproved` is all of it before the proof."""

    binding: bytes
    nonce: bytes
    proof: bytes
    unproved: bytes

    def __repr__(self) -> str:
        return "ClientFinal(***)"


def client_first_bare(username: str, nonce: bytes) -> bytes:
    """Print the client's first message without its GS2 header. Raises UsageError for a name that cannot be sent."""
    return b"n=%s,r=%s" % (gs2.escape(username), nonce)


def server_first(nonce: bytes, salt: bytes, iterations: int) -> bytes:
    """Print the server's first message."""
    return b"r=%s,s=%s,i=%d" % (nonce, encode(salt), iterations)


def client_final_without_proof(binding: bytes, nonce: bytes) -> bytes:
    """Print the client's last message up to its proof; `binding` is the GS2 header and the data, if any."""
    return b"c=%s,r=%s" % (encode(binding), nonce)


def parse_client_first(message: bytes) -> ClientFirst:
    """Parse a client's first message. Raises ProtocolError."""
    header, bare = gs2.parse(message)
    match = _CLIENT_FIRST.fullmatch(bare)
    if match is None:
        raise _malformed("client-first-message")
    name, nonce, more = match.groups()
    if more:
        _check_more(more, "client-first-message")
    return ClientFirst(header, message[: -len(bare)], bare, gs2.unescape(name), nonce)


def parse_server_first(message: bytes) -> ServerFirst | str:
    """Parse a server's first message; some say there already that they refuse, then the name of the error.

    Raises ProtocolError.
    """
    match = _SERVER_FIRST.fullmatch(message)
    if match is None:
        if error := _ERROR.fullmatch(message):
            return _error(error[1])
        raise _malformed("server-first-message")
    nonce, salt, iterations, more = match.groups()
    if more:
        _check_more(more, "server-first-message")
    return ServerFirst(nonce, decode(salt), int(iterations))


def parse_client_final(message: bytes) -> ClientFinal:
    """Parse a client's last message. Raises ProtocolError."""
    match = _CLIENT_FINAL.fullmatch(message)
    if match is None:
        raise _malformed("client-final-message")
    unproved, binding, nonce, more, proof = match.groups()
    if more:
        _check_more(more, "client-final-message")
    return ClientFinal(decode(binding), nonce, decode(proof), unproved)


def parse_server_final(message: bytes) -> bytes | str:
    """Parse a server's last message: the signature, or the name of its error. Raises ProtocolError."""
    match = _SERVER_FINAL.fullmatch(message)
    error = _ERROR.fullmatch(message) if match is None else None
    found = match or error
    if found is None:
        raise _malformed("server-final-message")
    content, more = found.groups()
    if more:
        _check_more(more, "server-final-message")
    return decode(content) if error is None else _error(content)


def is_extended(message: bytes) -> bool:
    """Whether a message that is none has the attribute m=, which must not be ignored (RFC 5802 section 5.1)."""
    return _MANDATORY.search(message) is not None


def _malformed(what: str) -> ProtocolError:
    return ProtocolError(f"not a {what} (RFC 5802 section 7)")


def _check_more(more: bytes, what: str) -> None:
    """Let attributes that nobody knows pass, but none that comes twice, is out of place, or is not text."""
    names = [attribute[:1] for attribute in more.split(b",")[1:]]
    if len(set(names)) < len(names) or not _KNOWN.isdisjoint(names):
        raise _malformed(what)
    try:
        more.decode("utf-8")
    except UnicodeDecodeError:
        names = []
    if not names:
        raise _malformed(what)


def _error(name: bytes) -> str:
    """Return the name of a server's error as RFC 5802 has it."""
    text = name.decode("ascii", "replace")
    return text if text in SERVER_ERRORS else "other-error"
