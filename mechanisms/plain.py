"""PLAIN (RFC 4616): the user name and the password, in one message."""

from __future__ import annotations

from sasl.errors import ProtocolError, UsageError
from sasl.secret import Secret
from sasl.steps import EMPTY_CHALLENGE, CheckPassword, Complete, Verified
from sasl.typed import TYPE_CHECKING

from ._password import check_preparable, is_prepared, prepare_all, text_of, utf8

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sasl.credentials import Password
    from sasl.steps import ClientSteps, Options, ServerSteps


def plain_client(credentials: Password, options: Options, *, prepare: bool = True) -> ClientSteps:
    """Send [authzid] NUL authcid NUL password, each as it was given, in UTF-8.

    What the server could not prepare (RFC 4616 section 2) is refused here, unless `prepare` is False: then
    only NUL, empty names and text that has no UTF-8 are.
    """
    authcid, password = credentials.authcid, credentials.password.reveal()
    names = (credentials.authzid or "", authcid, password)
    if not authcid or not password:
        raise UsageError("PLAIN needs a user name and a password that are not empty (RFC 4616 section 2)")
    message = "\0".join(names)
    if not is_prepared("".join(names), options.limits.prep_characters):
        if message.count("\0") != 2:  # printable ASCII holds none
            raise UsageError("PLAIN cannot carry a NUL (RFC 4616 section 2)")
        if prepare:
            check_preparable(names, options.limits.prep_characters)
    yield Complete(utf8(message))


def plain_server(options: Options, *, prepare: bool = True) -> ServerSteps:
    """Ask CheckPassword for the prepared user name and password; `prepare=False` passes them as they came."""
    parts = _parse((yield EMPTY_CHALLENGE))
    if prepare:
        parts = prepare_all(parts, options.limits.prep_characters)
    authzid, authcid, password = parts
    identity = yield CheckPassword(authcid, Secret(password))
    return Verified(identity, authzid or None)


def _parse(message: bytes) -> Sequence[str]:
    """[authzid] NUL authcid NUL password: exactly two NULs, nothing empty but the authzid, all of it UTF-8."""
    text = text_of(message)
    parts = text.split("\0") if text is not None else []
    if len(parts) != 3 or not parts[1] or not parts[2]:
        raise ProtocolError("not a PLAIN message (RFC 4616 section 2)")
    return parts
