"""PLAIN (RFC 4616): the user name and the password, in one message."""

from __future__ import annotations

from sasl.errors import ProtocolError, UsageError
from sasl.secret import Secret
from sasl.steps import EMPTY_CHALLENGE, CheckPassword, Complete, Verified
from sasl.typed import TYPE_CHECKING

from ._password import check_password, check_preparable, is_prepared, prepare_all, prepare_password, read_field, utf8

if TYPE_CHECKING:
    from sasl.credentials import Password
    from sasl.steps import ClientSteps, Options, ServerSteps


def plain_client(credentials: Password, options: Options, *, prepare: bool = True) -> ClientSteps:
    """Send [authzid] NUL authcid NUL password, each as it was given, in UTF-8.

    A name that the server could not prepare (RFC 4616 section 2) is refused here, and a password with a control
    character, unless `prepare` is False: then only NUL, empty names and text that has no UTF-8 are.
    """
    authcid, password = credentials.authcid, credentials.password.reveal()
    names = (credentials.authzid or "", authcid, password)
    if not authcid or not password:
        raise UsageError("PLAIN needs a user name and a password that are not empty (RFC 4616 section 2)")
    message = "\0".join(names)
    if not is_prepared("".join(names)):
        if message.count("\0") != 2:  # printable ASCII holds none
            raise UsageError("PLAIN cannot carry a NUL (RFC 4616 section 2)")
        if prepare:
            check_preparable(names[:2], options.limits.prep_characters)
            check_password(password, options.limits.prep_characters)
    yield Complete(utf8(message))


def plain_server(options: Options, *, prepare: bool = True) -> ServerSteps:
    """Ask CheckPassword for the prepared user name and password; `prepare=False` passes them as they came."""
    authzid, authcid, typed = _parse((yield EMPTY_CHALLENGE))
    password = Secret(typed)
    if prepare:
        limit = options.limits.prep_characters
        authzid, authcid = prepare_all((authzid, authcid), limit)
        password = prepare_password(typed, limit)
    identity = yield CheckPassword(authcid, password)
    return Verified(identity, authzid or None)


def _parse(message: bytes) -> tuple[str, str, str]:
    """[authzid] NUL authcid NUL password: exactly two NULs, nothing empty but the authzid, all of it UTF-8."""
    parts = message.split(b"\0")
    if len(parts) != 3:
        found = f"{len(parts) - 1} NULs where two belong" if message else "nothing at all"
        raise ProtocolError(f"not a PLAIN message (RFC 4616 section 2): {found}")
    authzid, authcid, password = parts
    return (
        read_field(authzid, "the authzid") if authzid else "",
        read_field(authcid, "the user name"),
        read_field(password, "the password"),
    )
