"""Django's e-mail backend mails by Dovecot's submission and by Postfix, or is refused there."""

from __future__ import annotations

import smtplib
from typing import TYPE_CHECKING, Any, Final

import django
import pytest
from django.conf import settings

import sasl
from sasl.adapters.django import EmailBackend

from ..support.servers import HOST
from .postfix import Postfix

if TYPE_CHECKING:
    from .dovecot import Dovecot

if not settings.configured:
    settings.configure(SECRET_KEY="of-this-test")
    django.setup()

MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "XOAUTH2", "OAUTHBEARER")
BEARERS: Final = MECHANISMS[2:]


@pytest.fixture(params=["dovecot", "postfix"])
def at(request: pytest.FixtureRequest) -> Dovecot | Postfix:
    """Each server in turn."""
    found: Dovecot | Postfix = request.getfixturevalue(request.param)
    return found


class Tokens:
    """A source whose first token has expired."""

    def __init__(self, users: Dovecot) -> None:
        self.asked = 0
        self._users = users

    def token(self, *, stale: str | None = None) -> sasl.AccessToken:
        self.asked += 1
        return sasl.AccessToken(self._users.token("expired" if stale is None else "good"))


def users_of(at: Dovecot | Postfix) -> Dovecot:
    return at.dovecot if isinstance(at, Postfix) else at


def backend(at: Dovecot | Postfix, mechanism: str, secret: Any, *, implicit: bool) -> EmailBackend:
    """A backend as Django makes one of MAILERS, that trusts the server."""
    made = EmailBackend(
        alias="default",
        host=HOST,
        port=at.port(implicit=implicit) if isinstance(at, Postfix) else at.port("smtp", implicit=implicit),
        use_tls=not implicit,
        use_ssl=implicit,
        username=users_of(at).mailbox if mechanism in BEARERS else "alice",
        timeout=10,
        mechanism=mechanism,
        **{"password" if isinstance(secret, str) else "token_source": secret},
    )
    made.ssl_context = at.context()
    return made


@pytest.mark.parametrize("implicit", [True, False], ids=["implicit-tls", "starttls"])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_right_credential_logs_in(at: Dovecot | Postfix, mechanism: str, implicit: bool) -> None:
    users = users_of(at)
    secret = (lambda: users.token("good")) if mechanism in BEARERS else users.users["alice"]
    with backend(at, mechanism, secret, implicit=implicit) as opened:
        assert opened.connection.noop()[0] == 250


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_wrong_credential_is_refused(at: Dovecot | Postfix, mechanism: str) -> None:
    users = users_of(at)
    secret = (lambda: users.token("badsig")) if mechanism in BEARERS else "looking-glass"
    with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
        backend(at, mechanism, secret, implicit=True).open()
    assert isinstance(caught.value, sasl.AuthenticationFailed)


@pytest.mark.parametrize("mechanism", BEARERS)
def test_an_expired_token_is_replaced_by_a_new_one(at: Dovecot | Postfix, mechanism: str) -> None:
    source = Tokens(users_of(at))
    with backend(at, mechanism, source, implicit=True) as opened:
        assert opened.connection.noop()[0] == 250
    assert source.asked == 2
