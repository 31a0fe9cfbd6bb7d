r"""The messages of DIGEST-MD5 (RFC 2831 section 2.1): pure parse and print, in linear time.

    name=token, name="string with \" and \\", ...

What the grammar has as a token may come in quotes, as Dovecot sends algorithm and charset; what it has in quotes must.
"""

from __future__ import annotations

import re

from sasl.errors import LimitExceeded, ProtocolError, UsageError
from sasl.prep import has_controls
from sasl.typed import TYPE_CHECKING, final
from sasl.value import value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Final, TypeAlias

CHALLENGE_LIMIT: Final = 2_048  # octets; a challenge is smaller (section 2.1.1)
RESPONSE_LIMIT: Final = 4_096  # octets; a response is smaller (section 2.1.2)
AUTH: Final = b"auth"
FIRST_USE: Final = b"00000001"

_Forms: TypeAlias = "Mapping[bytes, tuple[bool, re.Pattern[bytes]]]"

# Section 7.1, without CTL in what is quoted. Possessive, and no two parts begin alike: nothing is tried twice.
_SPACE: Final = rb"(?:\r\n[ \t]|[ \t])*+"
_TOKEN: Final = rb"[!#-'*+\-.0-9A-Z^-z|~]++"
_STRING: Final = rb'"((?:[^\0-\x1f\x7f"\\]|\\[ -~])*+)"'
_ELEMENT: Final = re.compile(
    rb"%s(?:(%s)%s=%s(?:(%s)|%s)%s)?(?:,|\Z)" % (_SPACE, _TOKEN, _SPACE, _SPACE, _TOKEN, _STRING, _SPACE)
)
_PAIR: Final = re.compile(rb"\\(.)")
_ESCAPED: Final = re.compile(rb'["\\]')
_URI: Final = re.compile(r"([!-.0-~]{1,64})/([!-.0-~]{1,255})(?:/[!-~]{1,255})?")  # serv-type / host [/ serv-name]
_TARGET: Final = re.compile(r"([!-.0-~]{1,64})/(?:([!-.0-~]{1,255})(?:/[!-~]{1,255})?)?")

_ANY: Final = re.compile(rb".*")
_SOME: Final = re.compile(rb".+")
_ONE: Final = re.compile(_TOKEN)
_HEX: Final = re.compile(rb"[0-9a-f]{32}")
_NUMBER: Final = re.compile(rb"[0-9]{1,10}")
_UTF_8: Final = re.compile(rb"(?i)utf-8")

# Directive: whether it has to come in quotes, and what it may hold. All others are ignored.
_CHALLENGE: Final[_Forms] = {
    b"realm": (True, _ANY),
    b"nonce": (True, _SOME),
    b"qop": (True, re.compile(rb"[ ,!#-'*+\-.0-9A-Z^-z|~]+")),
    b"cipher": (True, _ANY),
    b"stale": (False, re.compile(rb"(?i)true")),
    b"maxbuf": (False, _NUMBER),
    b"charset": (False, _UTF_8),
    b"algorithm": (False, re.compile(rb"(?i)md5-sess")),
}
_RESPONSE: Final[_Forms] = {
    b"username": (True, _SOME),
    b"realm": (True, _ANY),
    b"nonce": (True, _SOME),
    b"cnonce": (True, _SOME),
    b"nc": (False, re.compile(rb"[0-9a-f]{8}")),
    b"qop": (False, _ONE),
    b"digest-uri": (True, _SOME),
    b"response": (False, _HEX),
    b"maxbuf": (False, _NUMBER),
    b"charset": (False, _UTF_8),
    b"cipher": (False, _ONE),
    b"authzid": (True, _ANY),
}
_RSPAUTH: Final[_Forms] = {b"rspauth": (False, _HEX)}


@final
@value
class Challenge:
    """A digest-challenge that offers qop=auth, which is all that is spoken here.

    Attributes:
        realms: those that are offered, in their order.
        nonce: the server's, without quotes and escapes.
        utf8: whether the server takes names in UTF-8; else they are ISO 8859-1.
    """

    realms: tuple[str, ...]
    nonce: bytes
    utf8: bool = True

    def encode(self) -> bytes:
        """Print it, with algorithm and charset as the grammar has them: curl takes no others."""
        realms = b"".join(b"realm=%s," % _quote(realm.encode("utf-8")) for realm in self.realms)
        return b'%snonce=%s,qop="auth",algorithm=md5-sess,charset=utf-8' % (realms, _quote(self.nonce))


@final
@value
class Response:
    """A digest-response without its response-value. Octets are without quotes and escapes.

    Attributes:
        username, realm: the account; an absent realm is "".
        nonce, cnonce: the server's and the client's.
        uri: the digest-uri, "service/host".
        authzid: whom to act as, or None.
        utf8: whether user name and realm are sent in UTF-8.
        nc, qop: how often the nonce was used, and what for.
    """

    username: str
    realm: str
    nonce: bytes
    cnonce: bytes
    uri: bytes
    authzid: str | None
    utf8: bool
    nc: bytes = FIRST_USE
    qop: bytes = AUTH

    def encode(self, value: bytes) -> bytes:
        """Print it with its response-value. Raises UsageError if it is too long to be sent."""
        charset = "utf-8" if self.utf8 else "latin-1"
        parts = [
            b"charset=utf-8" if self.utf8 else b"",
            b"username=%s" % _quote(self.username.encode(charset)),
            b"realm=%s" % _quote(self.realm.encode(charset)),
            b"nonce=%s" % _quote(self.nonce),
            b"nc=%s" % self.nc,
            b"cnonce=%s" % _quote(self.cnonce),
            b"digest-uri=%s" % _quote(self.uri),
            b"response=%s" % value,
            b"qop=%s" % self.qop,
            b"authzid=%s" % _quote(self.authzid.encode("utf-8")) if self.authzid is not None else b"",
        ]
        message = b",".join(filter(None, parts))
        if len(message) >= RESPONSE_LIMIT:
            raise UsageError("names that are too long for DIGEST-MD5 (RFC 2831 section 2.1.2)")
        return message


def digest_uri(service: str, host: str) -> bytes:
    """Print what the client means to reach (section 2.1.2). Raises UsageError for a name that cannot stand there."""
    uri = f"{service}/{host}"
    if not _URI.fullmatch(uri) or uri.count("/") != 1:
        raise UsageError("DIGEST-MD5 wants service and host of the channel in ASCII, without spaces and slashes")
    return uri.encode("ascii")


def target(uri: bytes) -> tuple[str, str]:
    """Return service and host of a digest-uri, in lower case. Raises ProtocolError.

    An empty host is read: clients that make the uri of the realm (curl) send one where the realm is empty.
    """
    match = _TARGET.fullmatch(uri.decode("latin-1"))
    if match is None:
        raise ProtocolError("not a digest-uri (RFC 2831 section 2.1.2)")
    service, host = match.groups()
    return service.lower(), (host or "").lower()


def parse_challenge(message: bytes) -> Challenge:
    """Parse a digest-challenge. Raises ProtocolError, LimitExceeded."""
    pairs = list(_directives(message, _CHALLENGE, CHALLENGE_LIMIT))
    found = _once(pair for pair in pairs if pair[0] != b"realm")
    if b"nonce" not in found or b"algorithm" not in found:
        raise ProtocolError("a challenge without nonce or algorithm (RFC 2831 section 2.1.1)")
    if AUTH not in (offered.strip().lower() for offered in found.get(b"qop", AUTH).split(b",")):
        raise ProtocolError("the server wants a security layer, and there is none here (qop)")
    _check_maxbuf(found)
    utf8 = b"charset" in found
    realms = tuple(_text(octets, utf8=utf8) for name, octets in pairs if name == b"realm")
    return Challenge(realms, found[b"nonce"], utf8)


def parse_response(message: bytes) -> tuple[Response, bytes]:
    """Parse a digest-response; return it and its response-value. Raises ProtocolError, LimitExceeded."""
    found = _once(_directives(message, _RESPONSE, RESPONSE_LIMIT))
    required = (b"username", b"nonce", b"cnonce", b"nc", b"digest-uri", b"response")
    if any(name not in found for name in required):
        raise ProtocolError("a response that lacks a directive (RFC 2831 section 2.1.2)")
    _check_maxbuf(found)
    utf8 = b"charset" in found
    username, realm = (_text(found.get(name, b""), utf8=utf8) for name in (b"username", b"realm"))
    authzid = _text(found[b"authzid"], utf8=True) if b"authzid" in found else None
    if any(map(has_controls, (username, realm, authzid or ""))):
        raise ProtocolError("a control character in a name")
    nonce, cnonce, uri = found[b"nonce"], found[b"cnonce"], found[b"digest-uri"]
    qop = found.get(b"qop", AUTH)
    return Response(username, realm, nonce, cnonce, uri, authzid, utf8, found[b"nc"], qop), found[b"response"]


def parse_rspauth(message: bytes) -> bytes:
    """Parse the server's proof (section 2.1.3). Raises ProtocolError, LimitExceeded."""
    found = _once(_directives(message, _RSPAUTH, CHALLENGE_LIMIT))
    if b"rspauth" not in found:
        raise ProtocolError("no rspauth where the server has to prove itself (RFC 2831 section 2.1.3)")
    return found[b"rspauth"]


def _directives(message: bytes, forms: _Forms, limit: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield name, in lower case, and value of the directives that are known."""
    if not message.strip(b" \t,"):
        raise ProtocolError("a message without a directive (RFC 2831 section 2.1)")
    if len(message) >= limit:
        raise LimitExceeded(f"a DIGEST-MD5 message of {limit} octets or more (RFC 2831 section 2.1)")
    place = 0
    while place < len(message):
        element = _ELEMENT.match(message, place)
        if element is None:
            raise ProtocolError("not a list of directives (RFC 2831 section 7.1)")
        place = element.end()
        name, token, string = element.groups()
        quoted, form = forms.get((name or b"").lower(), (False, None))
        if form is None:
            continue  # section 2.1: a client or server ignores what it does not know; and nothing between two commas
        text = token if string is None else _PAIR.sub(rb"\1", string)
        if (quoted and string is None) or not form.fullmatch(text):
            raise ProtocolError(f"not what {name.decode('ascii')} may be (RFC 2831 section 2.1)")
        yield name.lower(), text


def _once(pairs: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for name, text in pairs:
        if name in found:
            raise ProtocolError(f"{name.decode('ascii')} comes twice (RFC 2831 section 2.1)")
        found[name] = text
    return found


def _check_maxbuf(found: Mapping[bytes, bytes]) -> None:
    if not 16 < int(found.get(b"maxbuf", b"65536")) < 1 << 24:
        raise ProtocolError("maxbuf is out of its range (RFC 2831 section 2.1.1)")


def _text(octets: bytes, *, utf8: bool) -> str:
    try:
        return octets.decode("utf-8" if utf8 else "latin-1")
    except UnicodeDecodeError:
        pass
    raise ProtocolError("a name that is not UTF-8")


def _quote(octets: bytes) -> bytes:
    return b'"%s"' % _ESCAPED.sub(rb"\\\g<0>", octets)
