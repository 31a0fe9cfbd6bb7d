"""`sasl token import`: what other programs' files give, what they do not, and that nothing of them is shown."""

from __future__ import annotations

import base64
import io
import json
import os
import sys
import textwrap
from hashlib import pbkdf2_hmac
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.fernet import Fernet

from sasl.adapters.cli.token import foreign
from sasl.adapters.reference import token_endpoint
from sasl.adapters.tokens.stores.file import FileStore

if TYPE_CHECKING:
    from pathlib import Path

    from sasl.adapters.tokens.record import Record

    from .conftest import Result, Run

ACCESS, REFRESH, SECRET = "aCcEsS-0123456789", "rEfReSh-0123456789", "cLiEnT-0123456789"

GOOGLE: dict[str, Any] = {
    "type": "authorized_user",
    "account": "",
    "client_id": "1.apps.googleusercontent.com",
    "client_secret": SECRET,
    "refresh_token": REFRESH,
    "universe_domain": "googleapis.com",
}
GOOGLE_AUTH: dict[str, Any] = {
    "token": ACCESS,
    "refresh_token": REFRESH,
    "token_uri": "https://oauth2.googleapis.com/token",
    "client_id": "1.apps.googleusercontent.com",
    "client_secret": SECRET,
    "scopes": ["https://mail.google.com/"],
    "universe_domain": "googleapis.com",
    "account": "me@gmail.com",
    "expiry": "2030-01-02T03:04:05.678901Z",
}
MUTT: dict[str, Any] = {
    "registration": "microsoft",
    "authflow": "devicecode",
    "email": "me@example.org",
    "access_token": ACCESS,
    "access_token_expiration": "2030-01-02T03:04:05.678901",
    "refresh_token": REFRESH,
    "client_id": "0000-1111",
    "client_secret": "",
}
OAMA: dict[str, Any] = {
    "email": "me@gmail.com",
    "service": "google",
    "scope": "https://mail.google.com/",
    "refresh_token": REFRESH,
    "access_token": ACCESS,
    "token_type": "Bearer",
    "exp_date": "2030-01-02 03:04 UTC",
    "expires_in": 3599,
}
MICROSOFT = "https://login.microsoftonline.com/common/oauth2/v2.0/token"


def proxy(password: str = "local", iterations: int | None = 1_000, account: str = "me@example.org", **more: str) -> str:
    """A configuration of email-oauth2-proxy after its first use."""
    salt = os.urandom(16)
    key = pbkdf2_hmac("sha256", password.encode(), salt, iterations or 100_000, 32)
    fernet = Fernet(base64.urlsafe_b64encode(key))
    members = {
        "permission_url": "https://login.microsoftonline.com/common/oauth2/v2.0/authorize",
        "token_url": MICROSOFT,
        "oauth2_scope": "https://outlook.office365.com/IMAP.AccessAsUser.All offline_access",
        "redirect_uri": "http://localhost",
        "client_id": "0000-1111",
        "token_salt": base64.b64encode(salt).decode(),
        **({} if iterations is None else {"token_iterations": str(iterations)}),
        "access_token": fernet.encrypt(ACCESS.encode()).decode(),
        "access_token_expiry": "1893553445",
        "refresh_token": fernet.encrypt(REFRESH.encode()).decode(),
        **{
            name: fernet.encrypt(text.encode()).decode() if name.endswith("_encrypted") else text
            for name, text in more.items()
        },
    }
    lines = [f"{name} = {text}" for name, text in members.items() if text]
    servers = "[IMAP-1993]\nserver_address = outlook.office365.com\nserver_port = 993\n"
    return f"{servers}\n[{account}]\n" + "\n".join(lines) + "\n\n[emailproxy]\nallow_catch_all_accounts = False\n"


class Import:
    """Runs `sasl token import` on a text, and looks for what is in it."""

    def __init__(self, run: Run, folder: Path) -> None:
        self._run = run
        self.store = FileStore(folder / "tokens")
        self.path = folder / "file"

    def __call__(self, content: object, *arguments: str, name: str | None = None) -> Result:
        text = content if isinstance(content, bytes | str) else json.dumps(content)
        self.path.write_bytes(text.encode() if isinstance(text, str) else text)
        for secret in (ACCESS, REFRESH, SECRET):
            result = self._run("token", "import", name or str(self.path), *arguments, secret=secret)
        assert result.out == ""
        return result

    def record(self) -> Record:
        """The one record that is there then."""
        (key,) = self.store.keys()
        record = self.store.load(key)
        assert record is not None
        return record


@pytest.fixture
def take(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Import:
    monkeypatch.setenv("SASLKIT_TOKENS", str(tmp_path / "tokens"))
    return Import(run, tmp_path)


def test_a_file_of_gcloud(take: Import) -> None:
    result = take(GOOGLE, "--user", "me@gmail.com")
    assert (result.code, "kept as me@gmail.com" in result.err) == (0, True)
    record = take.record()
    assert (record.key, record.user, record.provider) == ("me@gmail.com", "me@gmail.com", "gmail")
    assert record.token_endpoint == "https://oauth2.googleapis.com/token"
    assert (record.client_id, record.client_secret) == (GOOGLE["client_id"], SECRET)
    assert (record.refresh_token, record.access_token, record.expires_at) == (REFRESH, None, None)


def test_an_account_that_is_called_as_an_address_is_that_users(take: Import) -> None:
    assert take(GOOGLE, "--account", "mine").code == 64
    assert take(GOOGLE, "--account", "me@gmail.com").code == 0
    assert (take.record().key, take.record().user) == ("me@gmail.com", "me@gmail.com")


def test_a_file_of_google_auth_brings_its_token_along(take: Import) -> None:
    assert take(GOOGLE_AUTH, "--account", "mine").code == 0
    record = take.record()
    assert (record.key, record.user) == ("mine", "me@gmail.com")
    assert (record.access_token, record.expires_at) == (ACCESS, 1893553445.0)
    assert record.granted_scope == "https://mail.google.com/"


def test_a_token_file_of_mutt(take: Import) -> None:
    assert take(MUTT).code == 0
    record = take.record()
    assert (record.user, record.provider, record.token_endpoint) == ("me@example.org", "microsoft365", MICROSOFT)
    assert (record.client_id, record.client_secret) == ("0000-1111", None)
    assert (record.refresh_token, record.access_token) == (REFRESH, None)


def test_a_record_of_oama_wants_the_client_that_stands_elsewhere(take: Import, tmp_path: Path) -> None:
    assert "--client-id" in take(OAMA).err
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    assert take(OAMA, "--client-id", "the-client", "--client-secret-file", str(tmp_path / "secret")).code == 0
    record = take.record()
    assert (record.client_id, record.client_secret) == ("the-client", SECRET)
    assert (record.refresh_token, record.access_token, record.expires_at) == (REFRESH, ACCESS, 1893553440.0)


@pytest.mark.parametrize("iterations", [None, 1_000], ids=["of old versions", "named"])
def test_a_configuration_of_the_proxy_is_decrypted(take: Import, iterations: int | None) -> None:
    text = proxy(iterations=iterations, client_secret_encrypted=SECRET)
    assert take(text, "--password-command", "echo local").code == 0
    record = take.record()
    assert (record.key, record.token_endpoint, record.client_id) == ("me@example.org", MICROSOFT, "0000-1111")
    assert (record.client_secret, record.refresh_token) == (SECRET, REFRESH)
    assert (record.access_token, record.expires_at) == (ACCESS, 1893553445.0)


def test_of_two_accounts_of_the_proxy_one_has_to_be_named(take: Import) -> None:
    text = (
        proxy(account="one@example.org") + proxy(account="two@example.org").partition("\n\n")[2].partition("[emailp")[0]
    )
    result = take(text, "--password-command", "echo local")
    assert (result.code, "one@example.org, two@example.org" in result.err) == (64, True)
    assert take(text, "--password-command", "echo local", "--user", "two@example.org", "--account", "two").code == 0
    assert (take.record().key, take.record().user) == ("two", "two@example.org")
    assert take(text, "--password-command", "echo local", "--user", "three@example.org").code == 64


def test_another_password_than_the_proxys_is_told(take: Import) -> None:
    result = take(proxy("local"), "--password-command", "echo other")
    assert (result.code, "another password" in result.err) == (78, True)
    assert take.store.keys() == []


def test_without_a_terminal_the_proxys_password_wants_a_command(take: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    result = take(proxy())
    assert (result.code, "--password-command" in result.err) == (64, True)


def test_stdin_is_read(run: Run, take: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(json.dumps(MUTT).encode())))
    assert run("token", "import", "-", secret=REFRESH).code == 0
    assert take.record().refresh_token == REFRESH


def test_a_token_of_the_grant_is_had_then(take: Import, run: Run) -> None:
    with token_endpoint.running() as endpoint:
        assert take({**endpoint.authorized_user("alice"), "type": "authorized_user"}, "--user", "alice").code == 0
        result = run("token", "get", "alice")
        assert result.code == 0
        assert endpoint.state(result.out.removesuffix("\n")) == "good"


@pytest.mark.parametrize(
    ("content", "arguments", "code", "says"),
    [
        (b"\x85\x01\x0c", (), 78, "gpg --decrypt"),
        ("[]", (), 78, "no format known here"),
        ({"a": 1}, (), 78, "no format known here"),
        ({**GOOGLE, "type": "service_account"}, (), 78, "no format known here"),
        ({**GOOGLE, "type": "service_account"}, ("--format", "google"), 78, "authorized_user"),
        ({**GOOGLE_AUTH, "scopes": "all"}, (), 78, "scopes"),
        ({**GOOGLE_AUTH, "refresh_token": None}, (), 78, "no refresh token"),
        ({**GOOGLE_AUTH, "refresh_token": 5}, (), 78, "refresh_token"),
        ({**GOOGLE_AUTH, "client_secret": [SECRET]}, (), 78, "client_secret"),
        ({**GOOGLE_AUTH, "refresh_token": f"{REFRESH}\n"}, (), 78, "refresh_token"),
        ({**GOOGLE_AUTH, "token_uri": "http://example.org/token"}, (), 78, "no https URL"),
        (GOOGLE, (), 64, "--user"),
        (MUTT, ("--token-endpoint", "ftp://x"), 78, "no https URL"),
        ({**MUTT, "registration": "elsewhere"}, (), 64, "--token-endpoint"),
        (json.dumps(MUTT)[:-1] + ', "email": "you@example.org"}', ("--format", "mutt"), 78, "no object"),
        (MUTT, ("--format", "email-oauth2-proxy"), 78, "no configuration of email-oauth2-proxy"),
        (proxy(token_salt="?"), ("--password-command", "echo local"), 78, "token_salt"),
        (proxy(token_iterations="99999999"), ("--password-command", "echo local"), 78, "token_iterations"),
        (proxy(refresh_token=""), ("--format", "email-oauth2-proxy"), 64, "no account with a refresh token"),
        (proxy(client_secret="50%"), ("--password-command", "echo local"), 78, "no configuration"),
        (proxy(), ("--password-command", "false"), 64, "exit code 1"),
        ("x" * (foreign.LARGEST + 1), (), 78, "more than"),
        (OAMA, ("--client-id", "x", "--client-secret-file", "/nowhere"), 64, "--client-secret-file"),
        (OAMA, ("--client-id", "x", "--client-secret-env", "NOT_SET"), 64, "NOT_SET"),
    ],
    ids=lambda value: textwrap.shorten(str(value), 30) if isinstance(value, tuple | str) else None,
)
def test_what_cannot_be_taken_over_is_told_and_not_shown(
    take: Import, content: object, arguments: tuple[str, ...], code: int, says: str
) -> None:
    result = take(content, *arguments)
    assert (result.code, says in result.err) == (code, True), result
    assert take.store.keys() == []


@pytest.mark.parametrize("name", ["/nowhere/file", "/", "a\0b"], ids=ascii)
def test_a_file_that_cannot_be_read_is_told(take: Import, name: str) -> None:
    result = take(MUTT, name=name)
    assert (result.code, "cannot be read" in result.err) == (78, True)
