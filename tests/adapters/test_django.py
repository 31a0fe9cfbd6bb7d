"""Django's e-mail backend: credentials by settings alone, retries, silence, and what its debug page shows."""

from __future__ import annotations

import secrets
import smtplib
import ssl
import sys
from typing import TYPE_CHECKING, Any, Final

import django
import pytest
from django.conf import settings
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.views.debug import ExceptionReporter

import sasl
from sasl.adapters.django import EmailBackend

from ..support.leaks import seen, shown
from ..support.protocols import b64

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sasl.adapters.reference import Servers

if not settings.configured:
    settings.configure(SECRET_KEY="of-this-test")
    django.setup()

BACKEND: Final = "sasl.adapters.django.EmailBackend"
USER: Final = "alice"
SECRET: Final = "wonderland-" + secrets.token_hex(8)
"""Its text is in no line of this file: Django's debug page shows these."""
GOOD, OLD, OLDER, NEW = (f"{name}-token-" + secrets.token_hex(8) for name in ("good", "old", "older", "new"))
LONG: Final = "t" * 4_000
HAS_MAILERS: Final = django.VERSION >= (6, 1)

WITH_MAILERS: Final = pytest.mark.skipif(not HAS_MAILERS, reason="MAILERS are Django 6.1's, for Python 3.12 and later")
pytestmark = [
    pytest.mark.sasl(users={USER: SECRET}),
    *[pytest.mark.filterwarnings("ignore::django.utils.deprecation.RemovedInDjango2028Warning")] * HAS_MAILERS,
]
"""EMAIL_BACKEND and all that goes with it is deprecated then."""

asked: list[str | None] = []


def fetch_token() -> str:
    asked.append(None)
    return GOOD


def fetch_long_token() -> str:
    return LONG


class Tokens:
    """A source whose first token has expired."""

    def token(self, *, stale: str | None = None) -> sasl.AccessToken:
        asked.append(stale)
        return sasl.AccessToken(OLD if stale is None else NEW)


class ExpiredTokens:
    """A source whose tokens have all expired."""

    def token(self, *, stale: str | None = None) -> sasl.AccessToken:
        asked.append(stale)
        return sasl.AccessToken(OLD if stale is None else OLDER)


class NoTokens:
    def token(self, *, stale: str | None = None) -> sasl.AccessToken:
        raise sasl.TokenError("the endpoint is away", code="unreachable", retryable=True)


tokens, no_tokens, expired_tokens = Tokens(), NoTokens(), ExpiredTokens()
not_a_source = GOOD


@pytest.fixture(autouse=True)
def _module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this module be imported by its name, which pytest does not give to everybody, and be asked anew."""
    monkeypatch.setitem(sys.modules, "mysite_mail", sys.modules[__name__])
    asked.clear()


@pytest.fixture
def servers(sasl_servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Servers:
    monkeypatch.setenv("SSL_CERT_FILE", sasl_servers.env()["SSL_CERT_FILE"])
    for token in (GOOD, NEW, LONG):
        sasl_servers.verifier.add_token(token, USER)
    for token in (OLD, OLDER):
        sasl_servers.verifier.add_token(token, USER, "expired")
    return sasl_servers


@pytest.fixture
def site(servers: Servers) -> Iterator[Callable[..., None]]:
    """Has the settings of a site: those that are given, beside where the server is and who logs in."""
    overrides: list[Any] = []

    def configure(**given: Any) -> None:
        by_default = {
            "EMAIL_BACKEND": BACKEND,
            "EMAIL_HOST": "localhost",
            "EMAIL_PORT": servers.smtp.port,
            "EMAIL_USE_TLS": True,
            "EMAIL_HOST_USER": USER,
            "EMAIL_TIMEOUT": 10,
        }
        override = override_settings(**(by_default | given))
        override.enable()
        overrides.append(override)

    yield configure
    for override in reversed(overrides):
        override.disable()


def send(**options: Any) -> int:
    return mail.send_mail("Subj\u00e9ct", "It is b\u00fcrning", "log@example.com", ["admin@example.com"], **options)


def outcomes(servers: Servers) -> list[list[str]]:
    """The outcome of each attempt on each connection."""
    return [[attempt.outcome for attempt in session.attempts] for session in servers.smtp.sessions]


# --- by settings


@pytest.mark.parametrize("tls", [True, False], ids=["STARTTLS", "TLS"])
def test_a_password_logs_in_as_before(servers: Servers, site: Any, tls: bool) -> None:
    port = servers.smtp.port if tls else servers.smtp.tls_port
    site(EMAIL_PORT=port, EMAIL_USE_TLS=tls, EMAIL_USE_SSL=not tls, EMAIL_HOST_PASSWORD=SECRET)
    assert send() == 1
    assert outcomes(servers) == [["accepted"]]
    assert servers.smtp.sessions[-1].attempts[-1].mechanism.startswith("SCRAM-")
    assert servers.smtp.messages[-1].email["Subject"] == "Subj\u00e9ct"
    assert servers.smtp.messages[-1].email.get_content() == "It is b\u00fcrning\n"


@pytest.mark.parametrize("source", ["mysite_mail.fetch_token", fetch_token], ids=["its name", "itself"])
def test_a_token_source_logs_in(servers: Servers, site: Any, source: Any) -> None:
    site(SASL_TOKEN_SOURCE=source)
    assert send() == 1
    assert outcomes(servers) == [["accepted"]]
    assert len(asked) == 1


def test_a_callable_in_the_place_of_the_password_is_a_token_source(servers: Servers, site: Any) -> None:
    site(EMAIL_HOST_PASSWORD=fetch_token)
    assert send() == 1
    assert len(asked) == 1


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"])
def test_the_mechanism_can_be_set(servers: Servers, site: Any, mechanism: str) -> None:
    site(EMAIL_HOST_PASSWORD=SECRET, SASL_MECHANISM=mechanism)
    assert send() == 1
    assert servers.smtp.sessions[-1].attempts[-1].mechanism == mechanism


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
@pytest.mark.parametrize("source", ["fetch_token", "fetch_long_token"])
def test_the_mechanism_for_tokens_can_be_set(servers: Servers, site: Any, mechanism: str, source: str) -> None:
    site(SASL_TOKEN_SOURCE=f"mysite_mail.{source}", SASL_MECHANISM=mechanism)
    assert send() == 1
    assert servers.smtp.sessions[-1].attempts[-1].mechanism == mechanism


@pytest.mark.parametrize("allowed", [False, True])
def test_without_tls_nothing_is_sent_unless_the_policy_says_so(smtp: Any, stage: Any, site: Any, allowed: bool) -> None:
    login = (smtp.command("PLAIN", f"\0{USER}\0{SECRET}".encode()), smtp.yes)
    rest = login if allowed else (b"quit", b"221 bye\r\n")
    server = stage.serve(smtp, [(None, smtp.offer("PLAIN")[0][1]), rest], tls=False)
    policy = {"SASL_POLICY": sasl.Policy(plaintext="loopback")} if allowed else {}
    site(EMAIL_PORT=server.port, EMAIL_USE_TLS=False, EMAIL_HOST_PASSWORD=SECRET, **policy)
    backend = mail.get_connection()
    if allowed:
        assert backend.open() is True
        backend.connection.close()
        return
    with pytest.raises(smtplib.SMTPException) as caught:
        backend.open()
    assert isinstance(caught.value, sasl.PolicyViolation)


def test_nobody_logs_in_without_a_password_or_a_token_source(servers: Servers, site: Any) -> None:
    site()
    with mail.get_connection():
        assert outcomes(servers) == [[]]


def test_what_is_given_for_one_message_wins(servers: Servers, site: Any) -> None:
    site(EMAIL_HOST_USER="nobody", SASL_TOKEN_SOURCE="mysite_mail.no_tokens")
    assert send(auth_user=USER, auth_password=SECRET) == 1
    site(EMAIL_HOST_PASSWORD="wrong")
    with mail.get_connection(token_source=fetch_token) as connection:
        assert connection.connection is not None
    assert outcomes(servers) == [["accepted"], ["accepted"]]


def test_a_connection_that_is_open_is_used_and_no_token_is_asked_for(servers: Servers, site: Any) -> None:
    site(SASL_TOKEN_SOURCE="mysite_mail.fetch_token")
    with mail.get_connection() as connection:
        assert connection.open() is False
        assert send(connection=connection) + send(connection=connection) == 2
    assert outcomes(servers) == [["accepted"]]
    assert len(asked) == 1


def test_djangos_other_settings_count(site: Any, authority: Any, tmp_path: Path) -> None:
    identity = authority.issue_cert("client@example.com")
    identity.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    site(EMAIL_SSL_CERTFILE=str(tmp_path / "client.pem"), EMAIL_SSL_KEYFILE=None, EMAIL_TIMEOUT=7)
    backend = mail.get_connection()
    assert isinstance(backend, EmailBackend)
    assert (backend.timeout, backend.ssl_certfile) == (7, str(tmp_path / "client.pem"))


def test_the_certificate_is_checked(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    site(EMAIL_HOST_PASSWORD=SECRET)
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(ssl.SSLCertVerificationError):
        send()


# --- by MAILERS, of Django 6.1


@WITH_MAILERS
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("how", ["password", "source"])
def test_mailers_take_the_same_as_options(servers: Servers, how: str) -> None:
    secret = {"password": SECRET} if how == "password" else {"token_source": "mysite_mail.fetch_token"}
    mechanism = "SCRAM-SHA-256" if how == "password" else "XOAUTH2"
    options = {"host": "localhost", "port": servers.smtp.port, "use_tls": True, "username": USER, **secret}
    mailers = {"default": {"BACKEND": BACKEND, "OPTIONS": {**options, "mechanism": mechanism, "policy": sasl.Policy()}}}
    with override_settings(MAILERS=mailers):
        assert send() == 1
    assert servers.smtp.sessions[-1].attempts[-1].mechanism == mechanism


@WITH_MAILERS
@pytest.mark.filterwarnings("error")
def test_with_mailers_no_setting_counts(servers: Servers) -> None:
    options = {"host": "localhost", "port": servers.smtp.port, "use_tls": True, "username": USER}
    mailers = {"default": {"BACKEND": BACKEND, "OPTIONS": options}}
    with override_settings(MAILERS=mailers, SASL_TOKEN_SOURCE="mysite_mail.fetch_token", SASL_MECHANISM="PLAIN"):
        backend = mail.mailers.default
        backend.open()
        backend.close()
    assert outcomes(servers) == [[]]


@WITH_MAILERS
@pytest.mark.filterwarnings("error")
def test_an_option_that_nobody_knows_is_told_without_what_it_holds() -> None:
    options = {"host": "localhost", "username": USER, "passwort": SECRET}
    mailers = {"default": {"BACKEND": BACKEND, "OPTIONS": options}}
    with override_settings(MAILERS=mailers), pytest.raises(ImproperlyConfigured, match="'passwort'") as caught:
        mail.mailers["default"]
    assert seen(shown(caught.value), SECRET) == []


# --- what cannot be meant


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("mysite_mail.fetch_tokne", "'mysite_mail.fetch_tokne' cannot be imported: .*fetch_tokne"),
        ("mysite_mial.fetch_token", "'mysite_mial.fetch_token' cannot be imported: No module named"),
        ("mysite_mail.not_a_source", "callable, or has token.*; this is str"),
        ("fetch_token", "is none"),
        (GOOD, "is none"),
        ("eyJ0eXAi.eyJhdWQi" + GOOD, "is none"),
        (f"ya29.{'a' * 100}", "is none"),
        (7, "this is int"),
    ],
    ids=["no such name", "no such module", "a token's name", "no dots", "a token", "a JWT", "Google's", "a number"],
)
def test_a_wrong_token_source_is_told_by_its_name_and_no_secret(site: Any, source: Any, told: str) -> None:
    site(SASL_TOKEN_SOURCE=source)
    with pytest.raises(ImproperlyConfigured, match=told) as caught:
        mail.get_connection()
    assert seen(shown(caught.value), GOOD, "a" * 100) == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"SASL_TOKEN_SOURCE": fetch_token, "EMAIL_HOST_PASSWORD": SECRET}, "leave one of them out"),
        ({"SASL_TOKEN_SOURCE": fetch_token, "EMAIL_HOST_USER": ""}, "EMAIL_HOST_USER"),
        ({"EMAIL_HOST_PASSWORD": SECRET, "SASL_POLICY": {"plaintext": "always"}}, "not dict"),
    ],
    ids=["both", "no user", "policy"],
)
def test_settings_that_cannot_be_meant_are_told(site: Any, given: dict[str, Any], told: str) -> None:
    site(**given)
    with pytest.raises(ImproperlyConfigured, match=told) as caught:
        mail.get_connection()
    assert seen(shown(caught.value), SECRET) == []


def test_a_password_that_is_given_beside_a_token_source_is_told(site: Any) -> None:
    site()
    with pytest.raises(ImproperlyConfigured, match="leave one of them out") as caught:
        mail.get_connection(password=SECRET, token_source=fetch_token)
    assert seen(shown(caught.value), SECRET) == []


# --- refusals


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "XOAUTH2", "OAUTHBEARER"])
def test_a_refusal_is_smtplibs_error_and_ours(servers: Servers, site: Any, mechanism: str) -> None:
    wrong: dict[str, Any] = {"EMAIL_HOST_PASSWORD": "wrong-" + SECRET}
    if "OAUTH" in mechanism:
        wrong = {"SASL_TOKEN_SOURCE": lambda: "nobodys-token"}
    site(SASL_MECHANISM=mechanism, **wrong)
    with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
        send()
    assert isinstance(caught.value, sasl.AuthenticationFailed)
    assert caught.value.smtp_code == 535
    assert outcomes(servers) == [["credentials"]]


def test_a_token_that_is_refused_is_asked_for_anew_once_on_a_new_connection(servers: Servers, site: Any) -> None:
    site(SASL_TOKEN_SOURCE="mysite_mail.tokens")
    backend = mail.get_connection()
    assert send(connection=backend) + send(connection=backend) == 2
    assert asked == [None, OLD, None, OLD]
    assert outcomes(servers) == [["expired"], ["accepted"]] * 2


@pytest.mark.parametrize("silently", [True, False])
def test_a_second_token_that_is_refused_is_the_last(servers: Servers, site: Any, silently: bool) -> None:
    site(SASL_TOKEN_SOURCE="mysite_mail.expired_tokens")
    backend = mail.get_connection(fail_silently=silently)
    if silently:
        assert backend.open() is None
    else:
        with pytest.raises(smtplib.SMTPAuthenticationError):
            backend.open()
    assert outcomes(servers) == [["expired"], ["expired"]]
    assert asked == [None, OLD]


def test_silence_does_not_keep_a_new_token_away(servers: Servers, site: Any) -> None:
    site(SASL_TOKEN_SOURCE="mysite_mail.tokens")
    assert send(fail_silently=True) == 1
    assert outcomes(servers) == [["expired"], ["accepted"]]


@pytest.mark.parametrize(
    "given",
    [{"EMAIL_HOST_PASSWORD": "wrong"}, {"SASL_TOKEN_SOURCE": no_tokens}, {"EMAIL_PORT": 1, "EMAIL_HOST_PASSWORD": "x"}],
    ids=["refused", "no token", "no server"],
)
def test_failures_are_silent_where_that_is_wanted(site: Any, given: dict[str, Any]) -> None:
    site(**given)
    assert send(fail_silently=True) == 0
    with pytest.raises((OSError, sasl.TokenError)):
        send()


def test_after_a_refusal_no_connection_is_taken_for_open(servers: Servers, site: Any) -> None:
    site(EMAIL_HOST_PASSWORD="wrong")
    backend = mail.get_connection()
    for _ in range(2):
        with pytest.raises(sasl.AuthenticationFailed):
            backend.open()
    assert outcomes(servers) == [["credentials"], ["credentials"]]
    backend.password = SECRET
    assert backend.open() is True
    backend.close()


# --- what is shown


def debug_page(caught: pytest.ExceptionInfo[Exception]) -> list[str]:
    """What Django shows of an error where DEBUG is on, as HTML and as text; without the frames of this file."""
    frames = caught.value.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    reporter = ExceptionReporter(None, caught.type, caught.value.with_traceback(frames), frames)
    return [reporter.get_traceback_html(), reporter.get_traceback_text()]


@pytest.fixture
def _trusted(authority: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let Django trust the scripted servers."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


@pytest.fixture
def echoing(smtp: Any, stage: Any, site: Any, _trusted: None) -> Callable[..., None]:
    """Has the settings of a site whose server refuses every login and says back what it was sent."""

    def configure(echo: str, **given: Any) -> None:
        no = b"535 5.7.8 you sent " + b64(echo) + b" or " + echo.encode() + b"\r\n"
        turns = [(None, smtp.offer("PLAIN", "XOAUTH2")[0][1]), (None, no), (None, b"221 bye\r\n")]
        port = stage.serve(smtp, turns).port
        site(EMAIL_HOST="127.0.0.1", EMAIL_PORT=port, EMAIL_USE_TLS=False, EMAIL_USE_SSL=True, DEBUG=True, **given)

    return configure


@pytest.mark.parametrize("mechanism", ["PLAIN", "XOAUTH2"])
@pytest.mark.parametrize(
    "given",
    [{"EMAIL_HOST_PASSWORD": SECRET}, {"SASL_TOKEN_SOURCE": "mysite_mail.fetch_token"}],
    ids=["password", "name"],
)
def test_the_debug_page_shows_no_credential(echoing: Any, given: dict[str, Any], mechanism: str) -> None:
    secret = given.get("EMAIL_HOST_PASSWORD", GOOD)
    echoing(secret, **given, SASL_MECHANISM=mechanism)
    with pytest.raises(smtplib.SMTPException) as caught:
        send()
    page, text = debug_page(caught)
    assert "SASL_MECHANISM" in page
    assert seen([page, text, *shown(caught.value)], secret) == []


@pytest.mark.parametrize(
    "given",
    [{"SASL_TOKEN_SOURCE": GOOD}, {"SASL_TOKEN_SOURCE": "mysite_mail.not_a_source"}],
    ids=["token", "name of a token"],
)
def test_the_debug_page_shows_no_token_that_has_gone_astray(site: Any, given: dict[str, Any]) -> None:
    site(**given, DEBUG=True)
    with pytest.raises(ImproperlyConfigured) as caught:
        send()
    page, text = debug_page(caught)
    assert "SASL_TOKEN_SOURCE" in page
    assert seen([page, text, *shown(caught.value)], GOOD) == []
