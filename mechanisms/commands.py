"""The commands that log in without SASL: IMAP's LOGIN (RFC 9051 section 6.2.3), POP3's USER and APOP (RFC 1939).

As exchanges they are what they would be as mechanisms; the wires put their messages into the commands. LOGIN and USER:

    C: USER
    C: PASSWORD

APOP is CRAM-MD5 whose challenge stands in the greeting, hashed without a key:

    S: <PROCESS-ID.CLOCK@HOST>
    C: USER SP 32 lower-case hexadecimal digits
"""

from __future__ import annotations

import hashlib
import hmac

from sasl.errors import UsageError
from sasl.secret import Secret
from sasl.steps import (
    EMPTY_CHALLENGE,
    Challenge,
    CheckPassword,
    Complete,
    FindSecret,
    Harmless,
    Rejected,
    Verified,
)
from sasl.typed import TYPE_CHECKING

from ._password import (
    control_error,
    controls_in,
    kept_password,
    prepare_login,
    prepare_one,
    prepare_password,
    read_field,
    utf8,
)

if TYPE_CHECKING:
    from typing import Final

    from sasl.credentials import Password
    from sasl.steps import ClientSteps, Options, ServerSteps

_DECOY: Final = Secret("what is hashed where there is no such user; the engine says no whatever comes of it")


def password_client(credentials: Password, _options: Options) -> ClientSteps:
    """Send the user name, then the password, each as it was given, in UTF-8."""
    if credentials.authzid:
        raise UsageError("a login command cannot ask to act as another user")
    names = (credentials.authcid, credentials.password.reveal())
    if not all(names):
        raise UsageError("a user name and a password are not empty")
    if controls_in("".join(names)):
        raise control_error("a user name" if controls_in(names[0]) else "a password")
    authcid, password = utf8(names[0]), utf8(names[1])
    yield Harmless(authcid)
    yield Complete(password)


def password_server(options: Options, *, prepare: bool = True) -> ServerSteps:
    """Ask CheckPassword for the prepared user name and password; `prepare=False` passes them as they came."""
    authcid = _read((yield EMPTY_CHALLENGE), "the user name")
    typed = _read((yield EMPTY_CHALLENGE), "the password")
    password = Secret(typed)
    if prepare:
        authcid = prepare_one(authcid, options.limits.prep_characters)
        password = prepare_password(typed, options.limits.prep_characters)
    identity = yield CheckPassword(authcid, password)
    return Verified(identity)


def apop_client(credentials: Password, options: Options) -> ClientSteps:
    """Send user name and digest, both of what SASLprep makes (RFC 6856 wants that of who hashes UTF-8).

    The challenge is the greeting's msg-id, which the wire has checked (CVE-2007-1558).
    """
    if credentials.authzid:
        raise UsageError("APOP cannot ask to act as another user")
    user, password = prepare_login(credentials, options.limits.prep_characters)
    if " " in user:
        raise UsageError("a user name of APOP holds no space")

    timestamp = yield None
    yield Complete(b"%b %b" % (utf8(user), _digest(timestamp, password)))


def apop_server(options: Options, *, timestamp: bytes) -> ServerSteps:
    """Ask FindSecret for the password of the prepared user name, a `Secret` or str, and compare the digest.

    `timestamp` is the msg-id in the greeting of this connection, and of no other one ever.
    """
    user, _, digest = (yield Challenge(timestamp, initial=True)).partition(b" ")
    authcid = prepare_one(_read(user, "the user name"), options.limits.prep_characters)
    record = yield FindSecret(authcid, "APOP", None)
    password = kept_password(_DECOY if record is None else record.value, options.limits.prep_characters).reveal()
    if not hmac.compare_digest(_digest(timestamp, password), digest) or record is None:
        raise Rejected("wrong password")
    return Verified(record.identity)


def _read(message: bytes, what: str) -> str:
    """Return a user name or a password. What holds NUL is nobody's, and not worth a question."""
    text = read_field(message, what)
    if "\0" in text:
        raise Rejected(f"{what} holds NUL")
    return text


def _digest(timestamp: bytes, password: str) -> bytes:
    """Return the MD5 of the timestamp with the password behind it, in hexadecimal."""
    return hashlib.md5(timestamp + utf8(password)).hexdigest().encode("ascii")  # noqa: S324 -- APOP
