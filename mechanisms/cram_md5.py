"""CRAM-MD5 (RFC 2195): the server gives a text, the client hashes it with the password.

    S: <RANDOM.TIME@HOST>
    C: USER SP 32 lower-case hexadecimal digits

Whoever listens can try passwords, the server has to keep them as they are and proves nothing: SCRAM is for that.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from functools import cache

from sasl.errors import ProtocolError, UsageError
from sasl.steps import Challenge, Complete, FindSecret, Rejected, Unavailable, Verified
from sasl.typed import TYPE_CHECKING

from ._password import NOT_KEPT, controls_in, kept_password, prepare_login, prepare_one, text_of, utf8

if TYPE_CHECKING:
    from typing import Final

    from sasl.credentials import Password
    from sasl.steps import ClientSteps, Options, ServerSteps

# Section 2 has a msg-id here. Servers send other texts, too; none at all or octets would make the hash worth guessing.
_PRINTABLE: Final = bytes(range(0x20, 0x7F))
_HEX: Final = b"0123456789abcdef"
_HOST: Final = re.compile(r"[A-Za-z0-9.-]{1,255}")
_DECOY: Final = secrets.token_bytes(16)  # hashed with where there is no such user
_NO_MD5: Final = "CRAM-MD5 needs MD5, which is switched off here (FIPS)"


def cram_md5_client(credentials: Password, options: Options, *, prepare: bool = True) -> ClientSteps:
    """Send the user name and the keyed hash of the challenge.

    Both sides have to hash the same octets, so user name and password are prepared by SASLprep; RFC 2195 says nothing
    about it. `prepare=False` takes them as they are, for servers that do.
    """
    if credentials.authzid:
        raise UsageError("CRAM-MD5 cannot say whom to act as")
    authcid, password = prepare_login(credentials, options.limits.prep_characters, prepare=prepare)
    if authcid.endswith(" ") or controls_in(authcid):
        raise UsageError("a user name of CRAM-MD5 ends with no space and holds no control character")
    user, key = utf8(authcid), _key(password)
    if not _has_md5():
        raise UsageError(_NO_MD5)

    challenge = yield None
    if not challenge or challenge.translate(None, _PRINTABLE):
        raise ProtocolError("a challenge of CRAM-MD5 is printable ASCII and not empty")
    yield Complete(b"%s %s" % (user, _digest(key, challenge)))


def cram_md5_server(options: Options, *, prepare: bool = True, challenge: bytes | None = None) -> ServerSteps:
    """Ask FindSecret for the password of the prepared user name, a `Secret` or str, and compare the hash.

    `prepare=False` takes the user name as it came and the password as it is kept. `challenge` is for tests: a server
    that gives one twice lets in whoever heard the answer.
    """
    challenge = _new_challenge(options.channel.host) if challenge is None else challenge
    if not challenge or challenge.translate(None, _PRINTABLE):
        raise Unavailable("a challenge of CRAM-MD5 is printable ASCII and not empty")
    if not _has_md5():
        raise Unavailable(_NO_MD5)
    authcid, digest = _parse((yield Challenge(challenge)))
    if prepare:
        authcid = prepare_one(authcid, options.limits.prep_characters)

    record = yield FindSecret(authcid, "CRAM-MD5", None)
    key = _DECOY if record is None else _kept_key(record.value, options, prepare=prepare)
    if not hmac.compare_digest(_digest(key, challenge), digest) or record is None:
        raise Rejected("wrong password")
    return Verified(record.identity)


def _parse(message: bytes) -> tuple[str, bytes]:
    """Return user name and digest, split at the last space: a name may hold one."""
    user, _, digest = message.rpartition(b" ")
    name = text_of(user)
    if not name or name.endswith(" ") or controls_in(name) or len(digest) != 32 or digest.translate(None, _HEX):
        raise ProtocolError("not a response of CRAM-MD5 (RFC 2195 section 2)")
    return name, digest


def _new_challenge(host: str | None) -> bytes:
    """A msg-id that nobody can foresee or has seen before (section 2). A host that has no place in one is left out."""
    name = host if host and _HOST.fullmatch(host) else "localhost"
    return b"<%d.%d@%s>" % (secrets.randbits(128), time.time(), name.encode("ascii"))


def _key(password: str) -> bytes:
    """Return what is hashed with. Raises UsageError for a prepared password that cannot be used."""
    key = utf8(password)
    if 0 in key:
        raise UsageError("a password of CRAM-MD5 holds no NUL, which HMAC takes for padding")
    return key


def _kept_key(value: object, options: Options, *, prepare: bool) -> bytes:
    password = kept_password(value, options.limits.prep_characters, prepare=prepare)
    try:
        return _key(password.reveal())
    except UsageError:
        pass  # its frames hold the password
    raise Unavailable(NOT_KEPT)


def _digest(key: bytes, challenge: bytes) -> bytes:
    return hmac.digest(key, challenge, "md5").hex().encode("ascii")


@cache
def _has_md5() -> bool:
    """Whether this process may use MD5, which does not change."""
    try:
        _digest(b"", b"")
    except ValueError:
        return False
    return True
