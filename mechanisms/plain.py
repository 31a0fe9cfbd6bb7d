"""PLAIN (RFC 4616): the user name and the password, in one message."""

from __future__ import annotations

from sasl.errors import ProtocolError, UsageError
from sasl.secret import Secret
from sasl.steps import Challenge, CheckPassword, Complete, Verified, ask
from sasl.typed import TYPE_CHECKING

from ._password import check_preparable, decoded, prepared, utf8

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
        check_preparable(names, options.limits.prep_characters)
    yield Complete(utf8(message))


def plain_server(options: Options, *, prepare: bool = True) -> ServerSteps:
    """Ask CheckPassword for the prepared user name and password; `prepare=False` passes them as they came."""
    authzid, authcid, password = _parse((yield Challenge(b"")))
    if prepare:
        limit = options.limits.prep_characters
        authzid, authcid, password = (prepared(part, limit) for part in (authzid, authcid, password))
    identity = yield from ask(CheckPassword(authcid, Secret(password)))
    return Verified(identity, authzid or None)


def _parse(message: bytes) -> tuple[str, str, str]:
    """[authzid] NUL authcid NUL password: exactly two NULs, nothing empty but the authzid, all of it UTF-8."""
    text = decoded(message)
    parts = text.split("\0") if text is not None else []
    if len(parts) != 3 or not parts[1] or not parts[2]:
        raise ProtocolError("not a PLAIN message (RFC 4616 section 2)")
    authzid, authcid, password = parts
    return authzid, authcid, password
