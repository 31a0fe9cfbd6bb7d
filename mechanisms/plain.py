"""PLAIN (RFC 4616): the user name and the password, in one message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl.errors import LimitExceeded, ProtocolError, UsageError
from sasl.prep import saslprep
from sasl.secret import Secret
from sasl.steps import Challenge, CheckPassword, Complete, Rejected, Verified, ask

if TYPE_CHECKING:
    from sasl.credentials import Password
    from sasl.steps import ClientSteps, Options, ServerSteps


def plain_client(credentials: Password, options: Options, *, prepare: bool = True) -> ClientSteps:
    """Send [authzid] NUL authcid NUL password, each as it was given, in UTF-8.

    What the server could not prepare (RFC 4616 section 2) is refused here, unless `prepare` is False: then
    only NUL, empty names and text that has no UTF-8 are.
    """
    names = (credentials.authzid or "", credentials.authcid, credentials.password.reveal())
    _, authcid, password = names
    if not authcid or not password:
        raise UsageError("PLAIN needs a user name and a password that are not empty (RFC 4616 section 2)")
    message = "\0".join(names)
    if message.count("\0") != 2:
        raise UsageError("PLAIN cannot carry a NUL (RFC 4616 section 2)")
    if prepare:
        limit = options.limits.prep_characters
        for name in names:
            if name and not saslprep(name, limit=limit):
                raise UsageError("a name or password of which SASLprep leaves nothing (RFC 4013)")
    yield Complete(_utf8(message))


def plain_server(options: Options, *, prepare: bool = True) -> ServerSteps:
    """Ask CheckPassword for the prepared user name and password; `prepare=False` passes them as they came."""
    authzid, authcid, password = _parse((yield Challenge(b"")))
    if prepare:
        limit = options.limits.prep_characters
        authzid, authcid, password = (_prepared(part, limit) for part in (authzid, authcid, password))
    identity = yield from ask(CheckPassword(authcid, Secret(password)))
    return Verified(identity, authzid or None)


def _parse(message: bytes) -> tuple[str, str, str]:
    """[authzid] NUL authcid NUL password: exactly two NULs, nothing empty but the authzid, all of it UTF-8."""
    text = None
    try:
        text = message.decode("utf-8")
    except UnicodeDecodeError:
        pass
    parts = text.split("\0") if text is not None else []
    if len(parts) != 3 or not parts[1] or not parts[2]:
        raise ProtocolError("not a PLAIN message (RFC 4616 section 2)")
    authzid, authcid, password = parts
    return authzid, authcid, password


def _prepared(part: str, limit: int) -> str:
    """The form to compare. What cannot be prepared, or of which nothing is left, fails as a wrong password does."""
    prepared = ""
    try:
        prepared = saslprep(part, limit=limit)
    except LimitExceeded:
        raise
    except UsageError:
        pass
    if part and not prepared:
        raise Rejected("a name or password that cannot be prepared (RFC 4013)")
    return prepared


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        pass  # the exception holds the password
    raise UsageError("a name or password that cannot be encoded in UTF-8")
