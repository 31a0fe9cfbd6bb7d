"""LOGIN (draft-murchison-sasl-login): the user name and the password, each after a prompt.

    S: Username:
    C: USER
    S: Password:
    C: PASSWORD

Older than PLAIN, and worse only in that it takes one turn more and cannot say whom to act as.
"""

from __future__ import annotations

from sasl.errors import ProtocolError, UsageError
from sasl.prep import check_length
from sasl.secret import Secret
from sasl.steps import Challenge, CheckPassword, Complete, Harmless, Rejected, Verified
from sasl.typed import TYPE_CHECKING

from ._password import (
    check_password,
    check_preparable,
    control_error,
    controls_in,
    is_prepared,
    prepare_one,
    prepare_password,
    read_field,
    utf8,
)

if TYPE_CHECKING:
    from typing import Final

    from sasl.credentials import Password
    from sasl.steps import ClientSteps, Options, ServerSteps

# What Dovecot, Postfix, Exim and Cyrus say. The draft has "User Name" and "Password", each with a NUL behind it.
_USERNAME: Final = Challenge(b"Username:", initial=True)  # which curl does not wait for
_PASSWORD: Final = Challenge(b"Password:")
_ASKS_FOR_NAME: Final = frozenset({b"username", b"user name", b"user", b"login"})
_ASKS_FOR_PASSWORD: Final = frozenset({b"password", b"pass", b"passwd"})


def login_client(credentials: Password, options: Options, *, prepare: bool = True) -> ClientSteps:
    """Send the user name, then the password, each as it was given, in UTF-8.

    The text of a prompt is not looked at (section 2.1), and may be anything. But a server that asks for the password
    first, or for the user name twice, is refused: what is sent would stand in the wrong place, and in its log. A name
    that the server could not prepare is refused here, and a password with a control character, unless `prepare` is
    False: then only empty names, control characters and text that has no UTF-8 are.
    """
    if credentials.authzid:
        raise UsageError("LOGIN cannot say whom to act as")
    names = (credentials.authcid, credentials.password.reveal())
    if not all(names):
        raise UsageError("LOGIN needs a user name and a password that are not empty")
    if controls_in("".join(names)):
        raise control_error("a user name" if controls_in(names[0]) else "a password")
    if prepare and not is_prepared("".join(names)):
        check_preparable(names[:1], options.limits.prep_characters)
        check_password(names[1], options.limits.prep_characters)
    authcid, password = utf8(names[0]), utf8(names[1])

    prompt = yield None
    if _words_of(prompt) in _ASKS_FOR_PASSWORD:
        raise ProtocolError("the server asks for the password before the user name")
    prompt = yield Harmless(authcid)
    if _words_of(prompt) in _ASKS_FOR_NAME:
        raise ProtocolError("the server asks for the user name twice, and would take the password for one")
    yield Complete(password)


def login_server(options: Options, *, prepare: bool = True) -> ServerSteps:
    """Ask CheckPassword for the prepared user name and password; `prepare=False` passes them as they came.

    The user name may come as initial response, as curl sends it.
    """
    authcid = _parse((yield _USERNAME), "the user name")
    check_length(authcid)
    typed = _parse((yield _PASSWORD), "the password")
    password = Secret(typed)
    if prepare:
        authcid = prepare_one(authcid, options.limits.prep_characters)
        password = prepare_password(typed, options.limits.prep_characters)
    identity = yield CheckPassword(authcid, password)
    return Verified(identity)


def _words_of(prompt: bytes) -> bytes:
    """Return what a prompt asks for, whatever its case and what servers write around it."""
    return prompt.strip(b"\0 :\t\r\n").lower()


def _parse(message: bytes, what: str) -> str:
    text = read_field(message, what)
    if controls_in(text):
        raise Rejected(f"{what} holds a control character")
    return text
