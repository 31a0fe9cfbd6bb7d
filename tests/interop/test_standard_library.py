"""imaplib, poplib and smtplib as they are, beside our drop-in classes: whoever gets in there gets in here."""

from __future__ import annotations

import imaplib
import poplib
import smtplib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ..support.protocols import PROTOCOLS
from ..support.servers import HOST
from .dovecot import USERS
from .postfix import Postfix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .dovecot import Dovecot

REFUSALS = {"imap": imaplib.IMAP4.error, "pop": poplib.error_proto, "smtp": smtplib.SMTPAuthenticationError}
# Whom the libraries cannot log in, by the call: imaplib and smtplib send ASCII only, imaplib puts no name in quotes,
# and Dovecot takes no LOGIN and no PASS of 1,500 octets.
CANNOT = {
    "login of imaplib": ("white rabbit", "joerg", "j\u00f6rg", "caterpillar"),
    "authenticate": (),
    "user and pass_": ("caterpillar",),
    "login of smtplib": ("joerg", "j\u00f6rg"),
}

tls = pytest.mark.parametrize("implicit", [True, False], ids=["implicit-tls", "starttls"])
users = pytest.mark.parametrize("user", list(USERS))
places = pytest.mark.parametrize(
    ("server", "protocol", "call"),
    [
        ("dovecot", "imap", "login of imaplib"),
        ("dovecot", "imap", "authenticate"),
        ("dovecot", "pop", "user and pass_"),
        ("dovecot", "smtp", "login of smtplib"),
        ("postfix", "smtp", "login of smtplib"),
    ],
    ids=["imap", "imap-authenticate", "pop", "submission", "postfix"],
)


@pytest.fixture
def at(request: pytest.FixtureRequest, server: str) -> Dovecot | Postfix:
    found: Dovecot | Postfix = request.getfixturevalue(server)
    return found


@contextmanager
def connected(at: Dovecot | Postfix, protocol: str, *, implicit: bool, drop_in: bool) -> Iterator[Any]:
    spoken = PROTOCOLS[protocol]
    port = at.port(implicit=implicit) if isinstance(at, Postfix) else at.port(protocol, implicit=implicit)
    module = spoken.binding if drop_in else None
    with spoken.connected(port, at.context(), module, implicit=implicit, host=HOST) as conn:
        yield conn


def gets_in(
    at: Dovecot | Postfix, protocol: str, call: str, user: str, password: str, *, implicit: bool, drop_in: bool
) -> bool:
    """Make the library's own call for it."""
    with connected(at, protocol, implicit=implicit, drop_in=drop_in) as conn:
        try:
            if call == "user and pass_":
                conn.user(user)
                conn.pass_(password)
            elif call == "authenticate":
                conn.authenticate("PLAIN", lambda _: f"\0{user}\0{password}".encode())
            else:
                conn.login(user, password)
        except (REFUSALS[protocol], UnicodeEncodeError):
            return False
        return True


@tls
@users
@places
def test_who_gets_in_there_gets_in_here(
    at: Dovecot | Postfix, *, server: str, protocol: str, call: str, user: str, implicit: bool
) -> None:
    there, here = (
        gets_in(at, protocol, call, user, USERS[user], implicit=implicit, drop_in=drop_in) for drop_in in (False, True)
    )

    assert there == (user not in CANNOT[call]), server
    assert here or not there
    assert here or not call.startswith("login")


@tls
@users
@places
def test_a_wrong_password_gets_nobody_in(
    at: Dovecot | Postfix, *, server: str, protocol: str, call: str, user: str, implicit: bool
) -> None:
    wrong = USERS[user][:-1]
    there, here = (
        gets_in(at, protocol, call, user, wrong, implicit=implicit, drop_in=drop_in) for drop_in in (False, True)
    )

    assert not there, server
    assert not here


@tls
@users
def test_the_drop_in_login_of_pop3_gets_everybody_in(dovecot: Dovecot, *, user: str, implicit: bool) -> None:
    with connected(dovecot, "pop", implicit=implicit, drop_in=True) as conn:
        conn.login(user, USERS[user])

        assert conn.stat() == (0, 0)
