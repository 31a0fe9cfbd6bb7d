"""DIGEST-MD5 (RFC 2831, historic by RFC 6331): both sides prove that they know the password, with MD5 and two nonces.

    S: realm="REALM",nonce="NONCE",qop="auth",algorithm=md5-sess,charset=utf-8
    C: charset=utf-8,username="USER",realm="REALM",nonce="NONCE",nc=00000001,cnonce="CNONCE",
       digest-uri="imap/HOST",response=VALUE,qop=auth
    S: rspauth=VALUE
    C: (nothing)

Without security layers (qop=auth only) and without subsequent authentication (section 2.2). The grammar is in
`_digest_md5_messages`.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from functools import cache

from sasl.errors import MechanismUnavailable, ServerNotProven, UsageError
from sasl.prep import control_error, has_controls
from sasl.secret import Secret
from sasl.steps import Challenge, Complete, FindSecret, Rejected, Unavailable, Verified
from sasl.typed import TYPE_CHECKING

from . import _digest_md5_messages as messages
from ._hosts import own_names
from ._nonce import new_nonce

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Final

    from sasl.credentials import Password
    from sasl.steps import ClientSteps, Options, ServerSteps

_DECOY: Final = os.urandom(12).hex()
_CONTROL: Final = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]")
_NO_MD5: Final = "this Python has no MD5, without which there is no DIGEST-MD5"


def digest_md5_client(
    credentials: Password, options: Options, *, realm: str | None = None, cnonce: bytes | None = None
) -> ClientSteps:
    """Prove the password to a server of the channel's service and host, and check the server's proof.

    `realm` is one of those that the server offers, by default the first; where it offers none, any, by default the
    host. Names and password are sent and hashed as they are: RFC 2831 prepares nothing. `cnonce` is for tests.
    """
    if not _has_md5():
        raise MechanismUnavailable(_NO_MD5)
    uri = _uri(options)
    password = _password(credentials, realm)

    challenge = messages.parse_challenge((yield None))
    response = messages.Response(
        credentials.authcid,
        _choose_realm(realm, challenge.realms, default=options.channel.host or ""),
        challenge.nonce,
        new_nonce() if cnonce is None else cnonce,
        uri,
        credentials.authzid or None,
        challenge.utf8,
    )
    if not challenge.utf8 and not all(map(_is_latin_1, (response.username, response.realm, password))):
        raise UsageError("the server takes ISO 8859-1 only, in which the name, realm or password cannot be written")
    ours, theirs = _values(response, password)
    if not hmac.compare_digest(messages.parse_rspauth((yield response.encode(ours))), theirs):
        raise ServerNotProven("the server's rspauth is wrong: it does not know the password")
    yield Complete(b"")


def digest_md5_server(
    options: Options, *, realm: str = "", hosts: Collection[str] = (), nonce: bytes | None = None
) -> ServerSteps:
    """Ask FindSecret for the plain password, of a user of `realm`, that the client has to know.

    The service that the client names has to be the channel's; its host one of `hosts` (one or several, in any case),
    or else the channel's. What is not known is not compared, and an empty host is not one. `nonce` is for tests.
    """
    if not _has_md5():
        raise Unavailable(_NO_MD5)
    nonce = new_nonce() if nonce is None else nonce
    response, value = messages.parse_response((yield Challenge(_challenge(realm, nonce))))
    service, host = messages.target(response.uri)
    names = own_names(hosts, options.channel)
    wrong = {
        "another nonce": response.nonce != nonce,
        "the nonce was used before": response.nc != messages.FIRST_USE,
        "another quality of protection": response.qop != messages.AUTH,
        "another realm": response.realm != realm,
        "meant for another service": service != (options.channel.service or service).lower(),
        "meant for another host": bool(names and host) and host not in names,
    }
    for reason, is_wrong in wrong.items():
        if is_wrong:
            raise Rejected(reason)
    record = yield FindSecret(response.username, options.mechanism, realm)
    password = _DECOY if record is None else record.value
    if not isinstance(password, str | Secret):
        raise Unavailable("FindSecret was answered by a record that holds no password")
    text = Secret(password).reveal()
    theirs, rspauth = _values(response, text)
    if not hmac.compare_digest(value, theirs) or not text or record is None:
        raise Rejected("unknown user or wrong password")
    return Verified(record.identity, response.authzid or None, b"rspauth=" + rspauth)


def _uri(options: Options) -> bytes:
    service, host = options.channel.service, options.channel.host
    if not service or not host:
        raise UsageError("DIGEST-MD5 needs service and host of the channel, for the digest-uri (RFC 2831 2.1.2)")
    return messages.digest_uri(service, host)


def _password(credentials: Password, realm: str | None) -> str:
    """Return the password, after it and all names were looked at."""
    password = credentials.password.reveal()
    if not credentials.authcid or not password:
        raise UsageError("DIGEST-MD5 needs a user name and a password that are not empty")
    if any(map(has_controls, (credentials.authcid, credentials.authzid or "", realm or ""))):
        raise UsageError("the names of DIGEST-MD5 hold no control character")
    if _CONTROL.search(password):  # a joiner, a control character to has_controls, is fine in what is only hashed
        raise control_error("a password")
    return password


def _choose_realm(realm: str | None, offered: tuple[str, ...], *, default: str) -> str:
    """Return the realm to name: it should be one of those that are offered, if any is (RFC 2831 section 2.1.2)."""
    if not realm:
        return offered[0] if offered else default
    if offered and realm not in offered:
        raise UsageError("the server does not offer the realm that was asked for")
    return realm


def _challenge(realm: str, nonce: bytes) -> bytes:
    """Print our challenge. A realm that no client can read is the fault of whoever runs the server."""
    if has_controls(realm):
        raise Unavailable("the realm holds a control character")
    challenge = messages.Challenge((realm,), nonce).encode()
    if len(challenge) >= messages.CHALLENGE_LIMIT:
        raise Unavailable("the realm is too long (RFC 2831 section 2.1.1)")
    return challenge


def _values(response: messages.Response, password: str) -> tuple[bytes, bytes]:
    """Return the response-value and the value of rspauth (RFC 2831 section 2.1.2.1 and 2.1.3)."""
    user = _md5(b":".join(map(_octets, (response.username, response.realm, password)))).digest()
    authzid = [] if response.authzid is None else [response.authzid.encode("utf-8")]
    key = _hex(b":".join([user, response.nonce, response.cnonce, *authzid]))
    used = b":".join([response.nonce, response.nc, response.cnonce, response.qop])
    asked, answered = (_hex(verb + b":" + response.uri) for verb in (b"AUTHENTICATE", b""))
    return _hex(b":".join([key, used, asked])), _hex(b":".join([key, used, answered]))


def _octets(text: str) -> bytes:
    """The octets to hash: ISO 8859-1 where that has all the characters, else UTF-8 (RFC 2831 section 2.1.2.1).

    The section does not mention the realm; Cyrus takes it alike. GNU SASL converts the password alone.
    """
    return text.encode("latin-1" if _is_latin_1(text) else "utf-8", "surrogatepass")


def _is_latin_1(text: str) -> bool:
    return all(char <= "\xff" for char in text)


def _hex(data: bytes) -> bytes:
    return _md5(data).hexdigest().encode("ascii")


def _md5(data: bytes) -> hashlib._Hash:
    return hashlib.md5(data, usedforsecurity=False)  # what FIPS builds without it would refuse


@cache
def _has_md5() -> bool:
    """Whether this Python has MD5 for what is no security function to it, which does not change."""
    try:
        _md5(b"")
    except (AttributeError, ValueError):
        return False
    return True
