"""Where to log in: `imaps://USER@HOST:PORT` (the grammar of RFC 3986 section 3.2, without password and path).

What is refused is named, never shown: it may hold a password.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, final
from urllib.parse import unquote_to_bytes

from sasl.errors import UsageError
from sasl.prep import has_controls
from sasl.value import value

from .exits import Undecodable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# scheme: the protocol, whether TLS begins with the connection, the port
_SCHEMES: Final[Mapping[str, tuple[str, bool, int]]] = {
    "imap": ("imap", False, 143),
    "imaps": ("imap", True, 993),
    "pop": ("pop", False, 110),
    "pops": ("pop", True, 995),
    "pop3": ("pop", False, 110),
    "pop3s": ("pop", True, 995),
    "smtp": ("smtp", False, 587),
    "smtps": ("smtp", True, 465),
}
_USER: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,=-]|[^\x00-\x7f]|%[0-9A-Fa-f]{2})+")  # ";" begins ";AUTH="
_NAME: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*")
_HOST: Final = re.compile(r"(?P<literal>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>.*))?", re.DOTALL)
_LONGEST_NAME: Final = 253  # RFC 1035 section 2.3.4, as text
_NO_HOST: Final = "the URL names no host (RFC 1123 section 2.1); an IPv6 address stands in brackets: imaps://user@[::1]"


@final
@value
class Target:
    """A mail server and the user to log in as.

    Attributes:
        protocol: "imap", "pop" or "smtp".
        implicit_tls: whether TLS begins with the connection; otherwise STARTTLS is wanted.
        user: the user name, or None where the URL has none.
        host: a name in ASCII, or an address without brackets.
        port: the port.
    """

    protocol: str
    implicit_tls: bool
    user: str | None
    host: str
    port: int


def parse(url: str, host_of: Callable[[str], str] | None = None) -> Target:
    """Return what a URL names. `host_of` gives the host for a protocol where the URL ends behind ://.

    Raises UsageError for what is not scheme://[user@]host[:port], and for a password in it; Undecodable where
    it is not text.
    """
    scheme, separator, rest = url.partition("://")
    row = _SCHEMES.get(scheme.lower())
    if not separator or row is None:
        raise UsageError(f"the URL begins with one of {', '.join(_SCHEMES)} and ://")
    rest = rest.removesuffix("/")  # the empty path, as people and other programs write it
    userinfo, at, authority = rest.rpartition("@")
    if ":" in userinfo:
        raise UsageError("a password does not belong in the URL, where everybody can read it: use --password-env")
    if re.search(r"[/?#]", rest):
        raise UsageError("the URL ends with the host or the port: no path, no query")
    if "@" in userinfo:
        raise UsageError("an @ in the user name is written %40: imaps://user%40example.com@imap.example.com")
    protocol, implicit_tls, default_port = row
    if not rest and host_of is not None:
        return Target(protocol, implicit_tls, None, _name(host_of(protocol)), default_port)
    host, port = _host_and_port(authority, default_port)
    return Target(protocol, implicit_tls, _user(userinfo) if at else None, host, port)


def _user(text: str) -> str:
    if not _USER.fullmatch(text):
        raise UsageError("the user name in the URL is empty, or holds what has to be percent-encoded (RFC 3986)")
    try:
        user = unquote_to_bytes(text.encode("utf-8")).decode("utf-8")
    except UnicodeError:
        user = None
    if user is None:
        raise Undecodable("the user name in the URL is not UTF-8")
    if has_controls(user):
        raise UsageError("the user name in the URL holds control characters")
    return user


def _host_and_port(authority: str, default_port: int) -> tuple[str, int]:
    match = _HOST.fullmatch(authority)
    if match is None:
        raise UsageError(_NO_HOST)
    literal, port = match["literal"], match["port"]
    host = _address(literal[1:-1]) if literal.startswith("[") else _name(literal)
    return host, default_port if port is None else _port(port)


def _address(text: str) -> str:
    from ipaddress import IPv6Address

    try:
        return str(IPv6Address(text.replace("%25", "%", 1)))  # a zone, as in RFC 6874
    except ValueError:
        pass
    raise UsageError("what stands in brackets in the URL is not an IPv6 address")


def _name(text: str) -> str:
    if not text.isascii():
        try:
            text = text.encode("idna").decode("ascii")
        except UnicodeError:
            text = ""
    if len(text) > _LONGEST_NAME or not _NAME.fullmatch(text):
        raise UsageError(_NO_HOST)
    return text


def _port(text: str) -> int:
    if re.fullmatch(r"[1-9][0-9]{0,4}", text) and int(text) < 65_536:
        return int(text)
    raise UsageError("the port in the URL is a number from 1 to 65535")
