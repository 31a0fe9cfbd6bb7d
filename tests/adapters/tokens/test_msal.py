"""Tokens by msal itself, over requests and TLS, at a server on loopback that says what Microsoft's says."""

from __future__ import annotations

import base64
import json
import logging
import ssl
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msal
import pytest
import requests
import trustme

import sasl
from sasl.adapters.tokens.msal import MsalTokens

from ...support.leaks import locals_of, seen, shown_by
from .conftest import Scripted, reply

SCOPES = ["https://outlook.office.com/IMAP.AccessAsUser.All"]
SECRET = "client~secret-of-nobody-else"
REFRESH = "0.AXoA-refresh-token-of-alice"


def encoded(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def granted(token: str, lifetime: int = 3600, **more: Any) -> bytes:
    return reply({"access_token": token, "token_type": "Bearer", "expires_in": lifetime, **more})


def signed_in(name: str = "alice", token: str = "", **more: Any) -> bytes:
    """What a sign-in, and each renewal, is answered by: with it msal has an account, and a refresh token."""
    info = encoded({"uid": f"id-of-{name}", "utid": "tenant"})
    claims = {"preferred_username": name, "oid": name, "tid": "tenant", "aud": "client", "sub": name, "exp": 2**32}
    said = ".".join((encoded({"alg": "none"}), encoded({**claims, "iss": "https://issuer", "iat": 1}), ""))
    more = {"scope": SCOPES[0], "refresh_token": REFRESH, "client_info": info, "id_token": said, **more}
    return granted(token or f"first-of-{name}", **more)


def refused_by(error: str = "invalid_grant", said: str = "AADSTS50173: no", status: int = 400, **more: Any) -> bytes:
    return reply({"error": error, "error_description": said, **more}, status)


class Microsoft:
    """An authorization server that gives the answers that it is told to, and msal's applications of it."""

    def __init__(self, server: Scripted, trusted: Path) -> None:
        self.server = server
        self.url = server.url.removesuffix("/token")
        metadata = {"issuer": f"{self.url}/tenant/v2.0", "jwks_uri": f"{self.url}/tenant/keys"}
        for name in ("authorization", "token"):
            metadata[f"{name}_endpoint"] = f"{self.url}/tenant/{name}"
        self.answer(reply(metadata))
        self._settings: dict[str, Any] = {
            "authority": f"{self.url}/tenant",
            "instance_discovery": False,
            "validate_authority": False,
            "verify": str(trusted),
            "timeout": 5,
        }

    def answer(self, *answers: bytes) -> None:
        """Say these next, the last one for ever."""
        self.server._answers[:] = answers

    def daemon(self) -> Any:
        return msal.ConfidentialClientApplication("client", SECRET, **self._settings)

    def program(self, *users: str) -> Any:
        """A public application at which these have signed in."""
        app = msal.PublicClientApplication("client", **self._settings)
        for user in users:
            self.answer(signed_in(user))
            assert "access_token" in app.acquire_token_by_refresh_token("at first", SCOPES)
        return app

    def asked(self) -> list[dict[str, list[str]]]:
        """The forms that the token endpoint got."""
        bodies = [request.partition(b"\r\n\r\n")[2].decode() for request in self.server.requests]
        return [parse_qs(body) for body in bodies if body]


@pytest.fixture
def microsoft(
    scripted: Callable[..., Any],
    server_context: ssl.SSLContext,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Microsoft:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)  # requests looks at these first
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    return Microsoft(scripted(context=server_context), trusted)


def value(source: MsalTokens, **arguments: Any) -> str:
    return source.token(**arguments).value.reveal()


def refused(source: MsalTokens, **arguments: Any) -> sasl.TokenError:
    with pytest.raises(sasl.TokenError) as caught:
        source.token(**arguments)
    shown = [*shown_by(caught.value), *locals_of(caught.value, everywhere=True)]
    assert seen(shown, SECRET, REFRESH, "first-of-alice") == []
    return caught.value


def pass_time(source: MsalTokens, seconds: float) -> None:
    before = source._kept._clock
    source._kept._clock = lambda: before() + seconds


# --- a daemon


def test_a_daemon_asks_for_itself_once(microsoft: Microsoft) -> None:
    source = MsalTokens(microsoft.daemon(), SCOPES)
    microsoft.answer(granted("one"))
    assert value(source) == value(source) == "one"
    end = source.token().expires_at
    assert end is not None
    assert source.held() == source.token()
    [form] = microsoft.asked()
    assert (form["grant_type"], form["client_secret"]) == (["client_credentials"], [SECRET])


def test_a_refused_token_is_not_taken_from_msals_cache_again(microsoft: Microsoft) -> None:
    source = MsalTokens(microsoft.daemon(), SCOPES)
    microsoft.answer(granted("one"), granted("two"))
    assert [value(source), value(source, stale="one"), value(source)] == ["one", "two", "two"]


def test_a_token_that_msal_has_got_meanwhile_costs_no_request(microsoft: Microsoft) -> None:
    app = microsoft.program("alice")
    source = MsalTokens(app, SCOPES)
    assert value(source) == "first-of-alice"
    microsoft.answer(signed_in(token="second"))
    app.acquire_token_silent(SCOPES, app.get_accounts()[0], force_refresh=True)
    assert value(source, stale="first-of-alice") == "second"
    assert len(microsoft.asked()) == 2


# --- somebody's account


@pytest.mark.parametrize("named", [None, "alice", "account"])
def test_an_account_is_renewed_by_its_refresh_token(microsoft: Microsoft, named: str | None) -> None:
    app = microsoft.program("alice")
    source = MsalTokens(app, SCOPES, app.get_accounts()[0] if named == "account" else named)
    assert value(source) == "first-of-alice"
    microsoft.answer(signed_in(token="second", refresh_token="0.next"))
    assert value(source, stale="first-of-alice") == "second"
    assert microsoft.asked()[-1]["refresh_token"] == [REFRESH]
    microsoft.answer(signed_in(token="third"))
    assert value(source, stale="second") == "third"
    assert microsoft.asked()[-1]["refresh_token"] == ["0.next"]


def test_of_two_accounts_one_is_named(microsoft: Microsoft) -> None:
    app = microsoft.program("alice", "bob")
    assert refused(MsalTokens(app, SCOPES)).code == "ambiguous_account"
    assert value(MsalTokens(app, SCOPES, "bob")) == "first-of-bob"


@pytest.mark.parametrize("account", [None, "bob", {"home_account_id": "x", "environment": "y", "username": "z"}])
def test_an_account_that_msal_does_not_have_wants_the_user(microsoft: Microsoft, account: Any) -> None:
    app = microsoft.program()
    failure = refused(MsalTokens(app, SCOPES, account))
    assert (failure.code, failure.retryable, failure.needs_user) == ("no_grant", False, True)
    assert failure.hint


def test_threads_that_ask_at_once_make_one_request(microsoft: Microsoft) -> None:
    """policy_and_state-0026: msal itself lets each of them ask."""
    source = MsalTokens(microsoft.daemon(), SCOPES)
    microsoft.answer(granted("one"), granted("two"))
    barrier = threading.Barrier(4)

    def ask(_number: int) -> str:
        barrier.wait(10)
        return value(source)

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(ask, range(4))) == {"one"}
    assert len(microsoft.asked()) == 1


# --- a no


@pytest.mark.parametrize(
    ("answer", "code", "retryable", "needs_user", "hint"),
    [
        (refused_by(), "invalid_grant", False, True, "password was changed"),
        (refused_by(said="no", error_codes=[700082]), "invalid_grant", False, True, "90 days"),
        (refused_by("interaction_required", suberror="basic_action"), "interaction_required", False, True, ""),
        (refused_by("invalid_client", "AADSTS7000222: over", 401), "invalid_client", False, False, "secret is over"),
        (refused_by("temporarily_unavailable"), "temporarily_unavailable", True, False, ""),
        (reply({}, 503), "http_503", True, False, "later"),
        (reply(b"<h1>Hello</h1>"), "bad_response", False, False, ""),
        (granted("two words"), "bad_response", False, False, ""),
        (reply({"access_token": 7}), "bad_response", False, False, ""),
    ],
    ids=lambda value: str(value)[-40:],
)
def test_a_no_says_what_helps(
    microsoft: Microsoft,
    caplog: pytest.LogCaptureFixture,
    answer: bytes,
    code: str,
    hint: str,
    *,
    retryable: bool,
    needs_user: bool,
) -> None:
    """policy_and_state-0027 and 0028."""
    source = MsalTokens(microsoft.program("alice"), SCOPES)
    microsoft.answer(answer)
    with caplog.at_level(logging.CRITICAL, "msal"):  # msal writes what is no JSON into its log
        failure = refused(source, stale="first-of-alice")
    assert (failure.code, failure.retryable, failure.needs_user) == (code, retryable, needs_user)
    assert hint in failure.hint
    assert len(microsoft.asked()) == 2


@pytest.mark.parametrize("secret", [SECRET, "a.jwt-" + "x" * 60])
def test_what_a_server_says_back_is_not_shown(microsoft: Microsoft, secret: str) -> None:
    source = MsalTokens(microsoft.daemon(), SCOPES)
    microsoft.answer(refused_by("invalid_client", f"the secret {secret} is\x1b[31m wrong"))
    text = str(refused(source))
    assert secret[:12] not in text
    assert r"the secret *** is\x1b[31m wrong" in text


def test_a_refresh_token_that_is_said_back_is_not_shown(microsoft: Microsoft) -> None:
    source = MsalTokens(microsoft.program("alice"), SCOPES)
    microsoft.answer(refused_by(said=f"AADSTS70000: {REFRESH} is malformed"))
    assert "AADSTS70000: *** is malformed" in str(refused(source, stale="first-of-alice"))


def test_a_token_that_is_alive_goes_on_while_nobody_answers(microsoft: Microsoft) -> None:
    """policy_and_state-0028."""
    source = MsalTokens(microsoft.daemon(), SCOPES)
    microsoft.answer(granted("one", 400))
    assert value(source) == "one"
    source._app.remove_tokens_for_client()
    microsoft.server.stop()
    pass_time(source, 250)
    assert value(source) == "one"
    pass_time(source, 200)
    failure = refused(source)
    assert (failure.code, failure.retryable) == ("unreachable", True)


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (requests.exceptions.ConnectTimeout(SECRET), "timeout", True),
        (requests.exceptions.SSLError(SECRET), "certificate", False),
        (TimeoutError(SECRET), "timeout", True),
        (ConnectionResetError(SECRET), "unreachable", True),
        (ValueError(SECRET), "refresh_failed", False),
        (RuntimeError(SECRET), "refresh_failed", False),
    ],
    ids=repr,
)
def test_a_failure_of_msals_transport_is_shown_by_its_type(
    microsoft: Microsoft, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str, *, retryable: bool
) -> None:
    app = microsoft.daemon()

    def post(*_arguments: Any, **_named: Any) -> Any:
        raise error

    monkeypatch.setattr(app.client._http_client, "post", post)
    failure = refused(MsalTokens(app, SCOPES))
    assert (failure.code, failure.retryable, failure.needs_user) == (code, retryable, False)
    assert type(error).__name__ in str(failure)


# --- what it takes


@pytest.mark.parametrize("app", [None, "app", object()], ids=["None", "str", "object"])
def test_what_is_no_application_is_the_callers_mistake(app: Any) -> None:
    with pytest.raises(sasl.UsageError):
        MsalTokens(app, SCOPES)


@pytest.mark.parametrize("scopes", ["scope", [], [7], b"scope"], ids=repr)
def test_what_are_no_scopes_is_the_callers_mistake(microsoft: Microsoft, scopes: Any) -> None:
    with pytest.raises(sasl.UsageError):
        MsalTokens(microsoft.daemon(), scopes)


def test_a_source_shows_no_secret(microsoft: Microsoft) -> None:
    source = MsalTokens(microsoft.daemon(), SCOPES)
    microsoft.answer(granted("one"))
    source.token()
    assert repr(source) == f"MsalTokens(<ConfidentialClientApplication>, {SCOPES!r})"
    with pytest.raises(TypeError):
        source.__reduce_ex__(4)


def test_without_msal_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msal", None)
    with pytest.raises(sasl.TokenError, match=r"saslkit\[msal\]") as caught:
        MsalTokens(object(), SCOPES)
    assert caught.value.code == "missing_extra"
