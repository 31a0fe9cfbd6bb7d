"""`sasl login --google`: tokens by google-auth at a token endpoint on loopback, a second one on a new connection."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from sasl.adapters.cli import main
from sasl.adapters.reference import running, token_endpoint
from sasl.adapters.tokens import _google_file
from sasl.adapters.tokens import http as _http

from .conftest import at, script

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sasl.adapters.reference import Servers
    from sasl.adapters.reference.token_endpoint import Fault, TokenEndpoint

    from .conftest import Run

ACCOUNT = "robot@project.example"

protocols = pytest.mark.parametrize("protocol", ["imap", "pop", "smtp"])


@pytest.fixture(scope="module")
def _running() -> Iterator[tuple[Servers, TokenEndpoint]]:
    with token_endpoint.running() as endpoint, running(checks=endpoint.checks) as servers:
        yield servers, endpoint


@pytest.fixture
def servers(_running: tuple[Servers, TokenEndpoint]) -> Servers:
    return _running[0]


@pytest.fixture
def endpoint(_running: tuple[Servers, TokenEndpoint]) -> TokenEndpoint:
    endpoint = _running[1]
    endpoint.requests.clear()
    endpoint.faults.clear()
    return endpoint


class File:
    """A file of a user's, with a token that the servers may or may not take."""

    def __init__(self, folder: Path, endpoint: TokenEndpoint) -> None:
        self.path = folder / "token.json"
        self.info: dict[str, Any] = endpoint.authorized_user("alice")
        self.path.write_text(json.dumps(self.info))

    def keep(self, token: str) -> None:
        """Put an access token into it that looks good."""
        self.path.write_text(json.dumps({**self.info, "token": token, "expiry": "2999-01-01T00:00:00Z"}))


@pytest.fixture
def file(endpoint: TokenEndpoint, tmp_path: Path) -> File:
    return File(tmp_path, endpoint)


def outcomes(servers: Servers, protocol: str, connections: int) -> list[list[str]]:
    sessions = list(getattr(servers, protocol).sessions)[-connections:]
    return [[attempt.outcome for attempt in session.attempts] for session in sessions]


@protocols
def test_a_users_file_gives_the_token(
    run: Run, servers: Servers, endpoint: TokenEndpoint, file: File, protocol: str
) -> None:
    result = run(*at(servers, protocol), "--google", str(file.path), "--json", secret=file.info["refresh_token"])
    assert (result.code, result.err) == (0, "")
    assert result.report()["mechanism"] == "OAUTHBEARER"
    assert [asked.user for asked in endpoint.requests] == ["alice"]


@protocols
def test_a_revoked_token_is_replaced_once_on_a_new_connection(
    run: Run, servers: Servers, endpoint: TokenEndpoint, file: File, protocol: str
) -> None:
    token = endpoint.issue("alice")
    endpoint.revoke(token)
    file.keep(token)
    result = run(*at(servers, protocol), "--google", str(file.path), secret=token)
    assert (result.code, "the first was refused" in result.out, "logged in" in result.out) == (0, True, True)
    assert outcomes(servers, protocol, 2) == [["credentials"], ["accepted"]]
    assert [asked.outcome for asked in endpoint.requests] == ["granted"]


@pytest.mark.parametrize(
    ("fault", "code", "kind", "says"),
    [
        ("invalid_grant", 77, "invalid_grant", "Sign in again"),
        ("503", 75, "http_503", "Try later"),
        ("garbage", 78, "bad_response", "token_uri"),
    ],
)
def test_without_a_token_nobody_logs_in_and_the_reason_is_told(
    run: Run, servers: Servers, endpoint: TokenEndpoint, file: File, *, fault: Fault, code: int, kind: str, says: str
) -> None:
    endpoint.faults.append(fault)
    result = run(*at(servers, "imap"), "--google", str(file.path), "--json", secret=file.info["client_secret"])
    error = result.error()
    assert (result.code, error["type"], error["kind"]) == (code, "TokenError", kind)
    assert says in error["advice"]
    assert not servers.imap.sessions[-1].attempts


def test_a_refused_token_whose_consent_is_gone_wants_the_user(
    run: Run, servers: Servers, endpoint: TokenEndpoint, file: File
) -> None:
    token = endpoint.issue("alice")
    endpoint.revoke(token)
    file.keep(token)
    endpoint.revoke(file.info["refresh_token"])
    result = run(*at(servers, "imap"), "--google", str(file.path))
    assert result.code == 77
    assert "invalid_grant" in result.err
    assert "Sign in again" in result.err
    assert outcomes(servers, "imap", 1) == [["credentials"]]


def test_the_time_out_is_for_the_token_too(run: Run, servers: Servers, endpoint: TokenEndpoint, file: File) -> None:
    endpoint.faults.append("hang")
    result = run(*at(servers, "imap"), "--google", str(file.path), "--timeout", "0.3", "--json")
    assert (result.code, result.error()["kind"]) == (75, "timeout")


@pytest.mark.parametrize("holds", ["lock", "endpoint"])
def test_the_lock_the_token_and_the_login_share_the_time_out(
    run: Run, servers: Servers, endpoint: TokenEndpoint, file: File, holds: str
) -> None:
    begun = time.monotonic()
    if holds == "endpoint":
        endpoint.faults += ["hang", "hang"]
    with _google_file.lock(file.path, 0) if holds == "lock" else contextlib.nullcontext():
        result = run(*at(servers, "imap"), "--google", str(file.path), "--timeout", "0.5", "--json")
    kind = "locked" if holds == "lock" else "timeout"
    assert (result.code, result.error()["type"], result.error()["kind"]) == (75, "TokenError", kind)
    assert time.monotonic() - begun < 30


def test_a_lock_that_is_given_back_late_leaves_the_rest_of_the_time(
    run: Run, servers: Servers, endpoint: TokenEndpoint, file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[float] = []
    seconds_of = _http.seconds_of

    def noted(request: object) -> float:
        left.append(seconds_of(request))
        return left[-1]

    monkeypatch.setattr(_http, "seconds_of", noted)
    with contextlib.ExitStack() as lock:
        lock.enter_context(_google_file.lock(file.path, 0))
        timer = threading.Timer(0.5, lock.pop_all().close)
        timer.start()
        result = run(*at(servers, "imap"), "--google", str(file.path), "--timeout", "30", "--json")
        timer.join()
    assert result.code == 0
    assert 0 < left[-1] < 29.8  # the clock may have begun after the timer


def test_a_name_that_takes_long_to_look_up_is_a_time_out(
    run: Run, servers: Servers, file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_up(host: str, port: Any, *arguments: Any, **named: Any) -> Any:
        return original(host, port, *arguments, **named) if port == servers.imap.tls_port else time.sleep(60)

    original = socket.getaddrinfo
    monkeypatch.setattr("socket.getaddrinfo", look_up)
    begun = time.monotonic()
    result = run(*at(servers, "imap"), "--google", str(file.path), "--timeout", "1", "--json")
    assert (result.code, result.error()["type"], result.error()["kind"]) == (75, "TokenError", "timeout")
    assert time.monotonic() - begun < 30


# --- a service account


@pytest.fixture(scope="module")
def account(_running: tuple[Servers, TokenEndpoint], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The key file of a service account that may act for alice."""
    path = tmp_path_factory.mktemp("account") / "account.json"
    path.write_text(json.dumps(_running[1].service_account(ACCOUNT, ["alice"])))
    return str(path)


@pytest.mark.parametrize("subject", [(), ("--google-subject", "alice")], ids=["by the URL", "by the option"])
def test_a_service_account_acts_for_the_user(
    run: Run, servers: Servers, endpoint: TokenEndpoint, account: str, subject: tuple[str, ...]
) -> None:
    assert run(*at(servers, "imap"), "--google", account, *subject).code == 0
    assert [(asked.grant, asked.user) for asked in endpoint.requests] == [("jwt-bearer", "alice")]


def test_a_service_account_that_may_not_act_for_a_user_wants_the_admin(
    run: Run, servers: Servers, endpoint: TokenEndpoint, account: str
) -> None:
    result = run(*at(servers, "imap"), "--google", account, "--google-subject", "bob", "--json")
    assert (result.code, result.error()["kind"]) == (78, "unauthorized_client")
    assert "delegation" in result.error()["advice"]


def test_a_token_for_another_mailbox_is_refused_once(
    run: Run, servers: Servers, endpoint: TokenEndpoint, account: str
) -> None:
    result = run(*at(servers, "imap"), "--google", account, "--google-subject", ACCOUNT, "--json")
    assert (result.code, result.error()["type"]) == (77, "AuthorizationFailed")
    assert len(endpoint.requests) == 1


# --- how it is called


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--google", "{file}", "--google-subject", "alice"], 78, "only a service account"),
        (["--google-subject", "alice"], 64, "wants the --google file"),
        (["--google-subject", "alice", "--password-env", "SECRET"], 64, "wants the --google file"),
        (["--google", "{account}", "--google-subject", ""], 64, "a subject is the name of a user"),
        (["--google", "{file}", "--token-env", "SECRET"], 64, "not allowed with"),
        (["--google", "{file}", "--authzid", "bob"], 64, "--authzid"),
        (["--google", "/nowhere/token.json"], 78, "cannot be read: No such file"),
        (["--google", "/"], 78, "no regular file"),
        (["--google", __file__], 78, "no object of JSON"),
        (["--google", "{file}", "--mechanism", "PLAIN"], 69, "PLAIN"),
    ],
    ids=lambda value: " ".join(value)[-40:] if isinstance(value, list) else None,
)
def test_what_makes_no_sense_is_told(
    run: Run, servers: Servers, file: File, account: str, *, options: list[str], code: int, says: str
) -> None:
    result = run(*at(servers, "imap"), *(option.format(file=file.path, account=account) for option in options))
    assert (result.code, says in result.err) == (code, True), result


def test_without_the_extra_it_is_named(
    file: File, servers: Servers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name == "google" or name.startswith("google.")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "google.oauth2.credentials", None)
    assert main([*at(servers, "imap"), "--google", str(file.path)]) == 69
    assert "pip install 'saslkit[google]'" in capsys.readouterr().err


def test_as_a_process_it_shows_no_secret_in_its_trace(servers: Servers, endpoint: TokenEndpoint, file: File) -> None:
    token = endpoint.issue("alice")
    endpoint.revoke(token)
    file.keep(token)
    for secret in (token, file.info["refresh_token"], file.info["client_secret"]):
        result = script(*at(servers, "imap"), "--google", str(file.path), "--trace", secret=secret)
        assert result.code == 0
    assert "AUTHENTICATE" in result.err
