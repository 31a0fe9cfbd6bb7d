"""LOGIN (draft-murchison-sasl-login): the user name and the password, each after a prompt.

    S: Username:
    C: USER
    S: Password:
    C: PASSWORD

Older than PLAIN, and worse only in that it takes one turn more and cannot say whom to act as.
"""

from __future__ import annotations

from sasl.errors import ProtocolError, UsageError
from sasl.secret import Secret
from sasl.steps import Challenge, CheckPassword, Complete, Harmless, Verified
from sasl.typed import TYPE_CHECKING

from ._password import check_preparable, controls_in, is_prepared, prepare_all, text_of, utf8

if TYPE_CHECKING:
    from typing import Final

    from sasl.credentials import Password
    from sasl.steps import ClientSteps, Options, ServerSteps

# What Dovecot, Postfix, Exim and Cyrus say. The draft has "User Name" and "Password", each with a NUL behind it.
_USERNAME: Final = Challenge(b"Username:", initial=True)  # which curl does not wait for
_PASSWORD: Final = Challenge(b"Password:")


def login_client(credentials: Password, options: Options, *, prepare: bool = True) -> ClientSteps:
    """Send the user name, then the password, each as it was given, in UTF-8.

    The text of a prompt is not looked at (section 2.1), but a server that asks for the password first is refused:
    what is sent in answer to each prompt would stand in the wrong place. What the server could not prepare is refused
    here, unless `prepare` is False: then only empty names, control characters and text that has no UTF-8 are.
    """
    if credentials.authzid:
        raise UsageError("LOGIN cannot say whom to act as")
    names = (credentials.authcid, credentials.password.reveal())
    if not all(names):
        raise UsageError("LOGIN needs a user name and a password that are not empty")
    if controls_in("".join(names)):
        raise UsageError("a user name or password of LOGIN holds no control character")
    if prepare and not is_prepared("".join(names), options.limits.prep_characters):
        check_preparable(names, options.limits.prep_characters)
    authcid, password = utf8(names[0]), utf8(names[1])

    prompt = yield None
    if prompt == _PASSWORD.data:
        raise ProtocolError("the server asks for the password before the user name")
    yield Harmless(authcid)
    yield Complete(password)


def login_server(options: Options, *, prepare: bool = True) -> ServerSteps:
    """Ask CheckPassword for the prepared user name and password; `prepare=False` passes them as they came.

    The user name may come as initial response, as curl sends it.
    """
    authcid = _parse((yield _USERNAME))
    password = _parse((yield _PASSWORD))
    if prepare:
        authcid, password = prepare_all((authcid, password), options.limits.prep_characters)
    identity = yield CheckPassword(authcid, Secret(password))
    return Verified(identity)


def _parse(message: bytes) -> str:
    text = text_of(message)
    if not text or controls_in(text):
        raise ProtocolError("a user name or password of LOGIN is not empty, is UTF-8 and holds no control character")
    return text
