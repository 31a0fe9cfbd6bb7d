"""Django: an e-mail backend whose logins are those of `sasl.adapters.smtplib`, with tokens by settings alone.

    EMAIL_BACKEND = "sasl.adapters.django.EmailBackend"
    SASL_TOKEN_SOURCE = "myproject.mail.fetch_token"  # in the place of EMAIL_HOST_PASSWORD

Or, from Django 6.1 on, in MAILERS:

    "BACKEND": "sasl.adapters.django.EmailBackend",
    "OPTIONS": {
        "host": "smtp.example.com",
        "use_tls": True,
        "username": "user@example.com",
        "token_source": "myproject.mail.fetch_token",
    },

All other settings and options are those of Django's own SMTP backend.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail.backends import smtp
from django.utils.module_loading import import_string

from sasl.credentials import Bearer, TokenSource
from sasl.errors import TokenError
from sasl.policy import DEFAULT_POLICY, Policy
from sasl.secret import Secret

from .binding import credentials_of, veil
from .binding.given import type_of, veil_options, veil_password
from .session import with_new_token
from .smtplib import SMTP, SMTP_SSL

if TYPE_CHECKING:
    from sasl.credentials import Credentials, Token

_DOTTED_NAME: Final = re.compile(r"[A-Za-z_]\w{0,59}(?:\.[A-Za-z_]\w{0,59})+", re.ASCII)
"""A dotted name that can be shown: a token that has gone astray has dots as well, but longer parts between them."""


class EmailBackend(smtp.EmailBackend):  # type: ignore[misc]  # Django has no types
    """Django's SMTP backend with the logins of `sasl.adapters.smtplib`, which raise its errors.

    A token that the server refuses is asked for anew once, on a new connection. With `fail_silently`, there is no error
    for a token that cannot be had either.
    """

    password: Any
    fail_silently: bool

    def __init__(
        self,
        host: str | None = None,
        port: int | None = None,
        username: str | None = None,
        password: Credentials | Token | None = None,
        *arguments: Any,
        token_source: Token | None = None,
        mechanism: str | None = None,
        policy: Policy | None = None,
        **options: Any,
    ) -> None:
        """Take what Django's backend takes, and what there is to say about logins, each by default from a setting.

        `token_source` (SASL_TOKEN_SOURCE) gives the user's bearer token at each login. It is the dotted name of a
        callable or of an object with token(), or either itself; the setting is not looked at if there is a `password`.
        `mechanism` (SASL_MECHANISM) is the one mechanism for logins, else it is the strongest that fits.
        `policy` (SASL_POLICY) is a `sasl.Policy`: what logins may do.
        OPTIONS in MAILERS are all there is of a mailer: then no setting is looked at. Raises ImproperlyConfigured for
        what cannot be meant, without any secret.
        """
        password, token_source = _veil(password), _veil(token_source)
        options = cast("dict[str, Any]", veil_options(options))
        super().__init__(host, port, username, password, *arguments, **options)
        self.password = _veil(self.password)
        if options.get("alias") is None:
            mechanism = mechanism or getattr(settings, "SASL_MECHANISM", None)
            policy = policy or getattr(settings, "SASL_POLICY", None)
            if token_source is None and password is None:
                token_source, password = _veil(getattr(settings, "SASL_TOKEN_SOURCE", None)), self.password
        if token_source:
            self.password = _bearer(self.username, token_source, beside=password)
        if not isinstance(policy, Policy | None):
            raise ImproperlyConfigured(f"a policy for logins is a sasl.Policy, not {type(policy).__name__}")
        self.mechanism = mechanism
        self.policy = policy or DEFAULT_POLICY

    @property
    def connection_class(self) -> type[SMTP]:
        """The drop-in class of `sasl.adapters.smtplib`, with the backend's policy and mechanism."""
        base: Any = SMTP_SSL if self.use_ssl else SMTP
        return type(base.__name__, (base,), {"policy": self.policy, "mechanism": self.mechanism})

    def open(self) -> bool | None:
        """Connect and log in, as Django's backend does: also where a token source is in the place of a password."""
        if self.connection or not (self.username and self.password):
            opened: bool | None = super().open()
            return opened
        self.password = given = _veil(self.password)
        try:
            return with_new_token(credentials_of(self.username, given), self._open_with)
        except (OSError, TokenError):  # every error of smtplib is an OSError
            if not self.fail_silently:
                raise
            return None
        finally:
            self.password = given

    def _open_with(self, credentials: Credentials) -> bool | None:
        """Connect and log in with credentials whose token is at hand; after a failure, leave no connection behind.

        Up to 5.2.14, Django keeps one that has not logged in, and takes it for open.
        """
        silently, self.fail_silently = self.fail_silently, False  # a refusal has to be seen: it may want a new token
        self.password = credentials
        try:
            opened: bool | None = super().open()
            return opened
        except BaseException:
            with suppress(OSError):
                self.close()
            raise
        finally:
            self.fail_silently = silently


def _veil(given: Any) -> Any:
    """Return a password, credentials or a token source as no traceback shows it, and None as it is."""
    return veil_password(given)


def _bearer(user: str | None, source: Any, *, beside: object) -> Bearer:
    """Return the credentials of a user whose tokens come from a source, or from what its dotted name stands for."""
    if beside:
        raise ImproperlyConfigured("there are a password and a token source: leave one of them out")
    if not user:
        raise ImproperlyConfigured("a token source wants a user name: in EMAIL_HOST_USER, or in the option username")
    if isinstance(source, Secret):
        source = _import(source)
    if not callable(source) and not isinstance(source, TokenSource):
        raise ImproperlyConfigured(f"a token source is a callable, or has token(); this is {type_of(source)}")
    return Bearer(user, cast("Token", source))


def _import(dotted: Secret) -> object:
    """Return what a dotted name stands for, veiled: it may be a token."""
    name = dotted.reveal()
    if _DOTTED_NAME.fullmatch(name) is None:
        del name
        raise ImproperlyConfigured("a token source is given by its dotted name; this is none")
    try:
        return veil(import_string(name))
    except ImportError as error:
        problem = str(error)
    raise ImproperlyConfigured(f"the token source {name!r} cannot be imported: {problem}")
