"""Tokens by google-auth's own refresh, at an endpoint on loopback: when it asks, and what it makes of the answer."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import google.auth.credentials
import google.auth.exceptions
import google.oauth2.credentials
import pytest

import sasl
from sasl.adapters.reference.token_endpoint import MAIL
from sasl.adapters.tokens import google as tokens

from .conftest import ACCOUNT, reply

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sasl.adapters.reference.token_endpoint import Fault, TokenEndpoint
    from sasl.adapters.tokens.google import GoogleTokens

IMPATIENT = 0.3
"""Seconds to wait for an endpoint that never answers."""


def value(source: GoogleTokens, **arguments: Any) -> str:
    return source.token(**arguments).value.reveal()


def refused(source: GoogleTokens, **arguments: Any) -> sasl.TokenError:
    with pytest.raises(sasl.TokenError) as caught:
        source.token(**arguments)
    return caught.value


def outcomes(endpoint: TokenEndpoint) -> list[str]:
    return [asked.outcome for asked in endpoint.requests]


# --- when it asks


def test_a_token_comes_with_its_end_in_utc(endpoint: TokenEndpoint, user_file: Path) -> None:
    token = tokens.from_file(user_file).token()
    assert isinstance(token, sasl.AccessToken)
    assert endpoint.state(token.value.reveal()) == "good"
    assert token.expires_at is not None
    assert token.expires_at.tzinfo is UTC
    assert abs(token.expires_at - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=1)


def test_a_source_is_what_a_bearer_takes(endpoint: TokenEndpoint, user_file: Path) -> None:
    bearer = sasl.Bearer("alice", tokens.from_file(user_file))
    ready = sasl.resolve(bearer)
    assert isinstance(ready.token, sasl.Secret)
    assert endpoint.state(ready.token.reveal()) == "good"


def test_nothing_is_asked_before_somebody_logs_in(endpoint: TokenEndpoint, user_file: Path) -> None:
    tokens.from_file(user_file)
    assert outcomes(endpoint) == []


def test_a_token_that_is_good_is_given_again(endpoint: TokenEndpoint, user_file: Path) -> None:
    source = tokens.from_file(user_file)
    assert value(source) == value(source)
    assert outcomes(endpoint) == ["granted"]


def pass_time(source: GoogleTokens, seconds: float) -> None:
    """Let the keeper's clock go on."""
    before = source._kept._clock
    source._kept._clock = lambda: before() + seconds


@pytest.mark.parametrize(
    ("lifetime", "after", "requests"), [(3600, 3280, 1), (3600, 3320, 2), (300, 140, 1), (300, 160, 2)]
)
def test_a_token_that_ends_within_five_minutes_or_half_of_its_life_is_renewed(
    endpoint: TokenEndpoint, user_file: Path, lifetime: int, after: int, requests: int
) -> None:
    endpoint.lifetime = lifetime
    source = tokens.from_file(user_file)
    source.token()
    pass_time(source, after)
    source.token()
    assert len(endpoint.requests) == requests


def test_a_token_that_is_over_when_it_comes_is_given_and_not_asked_for_in_a_loop(
    endpoint: TokenEndpoint, user_file: Path
) -> None:
    """policy_and_state-0032."""
    endpoint.lifetime = -60  # a clock of ours that is ahead looks like that
    source = tokens.from_file(user_file)
    assert value(source)
    assert outcomes(endpoint) == ["granted"]


def test_a_refused_token_is_renewed_at_once(endpoint: TokenEndpoint, user_file: Path) -> None:
    source = tokens.from_file(user_file)
    first = value(source)
    second = value(source, stale=first)
    assert second != first
    assert value(source) == second
    assert outcomes(endpoint) == ["granted", "granted"]


def test_a_refused_token_that_was_replaced_already_costs_no_request(endpoint: TokenEndpoint, user_file: Path) -> None:
    source = tokens.from_file(user_file)
    first = value(source)
    second = value(source, stale=first)
    assert value(source, stale=first) == second
    assert len(endpoint.requests) == 2


def test_a_token_that_was_refused_is_not_given_again_although_the_endpoint_fails(
    endpoint: TokenEndpoint, user_file: Path
) -> None:
    source = tokens.from_file(user_file)
    first = value(source)
    endpoint.faults += ["503", "503"]
    assert refused(source, stale=first).retryable
    assert refused(source).retryable
    assert value(source) != first


def test_the_same_token_again_is_no_new_token(scripted: Callable[..., Any], tmp_path: Path) -> None:
    server = scripted(reply({"access_token": "the-same", "expires_in": 3600}))
    source = tokens.from_file(written(tmp_path, server.url))
    assert value(source) == "the-same"
    failure = refused(source, stale="the-same")
    assert (failure.code, failure.needs_user) == ("stale_token", True)
    assert len(server.requests) == 2


def test_a_token_without_an_end_is_good_until_it_is_refused(scripted: Callable[..., Any], tmp_path: Path) -> None:
    server = scripted(reply({"access_token": "one"}), reply({"access_token": "two"}))
    source = tokens.from_file(written(tmp_path, server.url))
    assert [value(source), value(source), value(source, stale="one")] == ["one", "one", "two"]
    assert source.token().expires_at is None


def test_a_token_that_is_still_good_is_given_while_the_endpoint_is_down(
    endpoint: TokenEndpoint, user_file: Path
) -> None:
    source = tokens.from_file(user_file)
    first = value(source)
    pass_time(source, 3400)
    endpoint.faults.append("500")
    assert value(source) == value(source) == first  # policy_and_state-0028: nobody is asked at each call
    pass_time(source, 3)
    assert value(source) != first
    assert outcomes(endpoint) == ["granted", "500", "granted"]


def test_a_token_that_is_over_is_not_given_while_the_endpoint_is_down(endpoint: TokenEndpoint, user_file: Path) -> None:
    endpoint.lifetime = -1
    source = tokens.from_file(user_file)
    source.token()
    endpoint.faults.append("500")
    assert refused(source).retryable


def test_a_consent_that_was_withdrawn_is_told_once_the_token_is_over(
    endpoint: TokenEndpoint, user_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "sasl")
    source = tokens.from_file(user_file)
    first = value(source)
    endpoint.revoke(json.loads(user_file.read_text())["refresh_token"])
    pass_time(source, 3400)
    assert value(source) == first
    assert "not renewed yet: invalid_grant" in caplog.text
    pass_time(source, 201)
    assert refused(source).needs_user


def test_what_is_asked_for_is_the_grant_of_the_file_and_its_scopes(
    scripted: Callable[..., Any], tmp_path: Path
) -> None:
    server = scripted(reply({"access_token": "one", "scope": MAIL}))
    token = tokens.from_file(written(tmp_path, server.url, scopes=[MAIL])).token()
    assert token.scope == MAIL
    body = server.requests[0].partition(b"\r\n\r\n")[2].decode()
    assert body == (
        "grant_type=refresh_token&client_id=id&client_secret=client-secret&refresh_token=refresh-token"
        "&scope=https%3A%2F%2Fmail.google.com%2F"
    )


@pytest.mark.parametrize("asked", [{}, {"scopes": [MAIL]}], ids=["not asked for", "asked for"])
def test_a_token_has_the_scope_that_the_endpoint_names(
    scripted: Callable[..., Any], tmp_path: Path, asked: dict[str, Any]
) -> None:
    server = scripted(reply({"access_token": "one", "scope": f"{MAIL} other"}))
    assert tokens.from_file(written(tmp_path, server.url, **asked)).token().scope == f"{MAIL} other"


@pytest.mark.parametrize("answer", [{}, {"scope": ""}], ids=["unsaid", "empty"])
def test_a_scope_that_the_endpoint_does_not_name_is_what_was_asked_for(
    scripted: Callable[..., Any], tmp_path: Path, answer: dict[str, Any]
) -> None:
    server = scripted(reply({"access_token": "one", **answer}))
    assert tokens.from_file(written(tmp_path, server.url, scopes=[MAIL])).token().scope == MAIL
    assert tokens.from_file(written(tmp_path, server.url)).token().scope is None


def test_a_scope_of_another_transport_is_taken_where_it_is_one(endpoint: TokenEndpoint) -> None:
    class Answer:
        status, headers, data = 200, {}, b'{"access_token": "one", "scope": "mail"}'

    source = tokens.GoogleTokens(user_credentials(endpoint), request=lambda **_arguments: Answer)
    assert source.token().scope == "mail"
    Answer.data = b'{"access_token": "two", "scope": ["mail"]}'
    assert source.token(stale="one").scope is None


def test_scopes_may_be_narrowed(scripted: Callable[..., Any], tmp_path: Path) -> None:
    server = scripted(reply({"access_token": "one"}))
    tokens.from_file(written(tmp_path, server.url, scopes=f"{MAIL} other"), scopes=["other"]).token()
    assert server.requests[0].endswith(b"&scope=other")


# --- one at a time


class Turnstile:
    """A lock that lets the first thread through when all of them stand in front of it."""

    def __init__(self, threads: int) -> None:
        self._lock = threading.Lock()
        self._all_here = threading.Barrier(threads)

    def __enter__(self) -> None:
        self._all_here.wait(5)
        self._lock.acquire()

    def __exit__(self, *_error: object) -> None:
        self._lock.release()


def at_once(source: GoogleTokens, threads: int = 8) -> list[Any]:
    """What as many threads get that ask at the same time."""
    source._kept._lock = Turnstile(threads)  # type: ignore[assignment]
    results: list[Any] = []

    def ask() -> None:
        try:
            results.append(value(source))
        except sasl.TokenError as error:
            results.append(error)

    running = [threading.Thread(target=ask) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(10)
    assert len(results) == threads
    return results


@pytest.mark.parametrize("lifetime", [3600, 30], ids=["long", "shorter than the leeway"])
def test_threads_that_ask_at_once_share_one_request(endpoint: TokenEndpoint, user_file: Path, lifetime: int) -> None:
    """policy_and_state-0026."""
    endpoint.lifetime = lifetime
    assert len(set(at_once(tokens.from_file(user_file)))) == 1
    assert outcomes(endpoint) == ["granted"]


def test_threads_that_ask_at_once_share_a_failure_each_with_an_error_of_its_own(
    endpoint: TokenEndpoint, user_file: Path
) -> None:
    endpoint.faults.append("500")
    errors = at_once(tokens.from_file(user_file))
    assert {(error.code, error.retryable) for error in errors} == {("http_500", True)}
    assert len(set(map(id, errors))) == len(errors)
    assert outcomes(endpoint) == ["500"]


# --- what the endpoint says


FAULTS: dict[Fault, tuple[str, bool, bool]] = {
    # code, retryable, needs_user
    "invalid_grant": ("invalid_grant", False, True),
    "429": ("http_429", True, False),
    "500": ("http_500", True, False),
    "503": ("http_503", True, False),
    "garbage": ("bad_response", False, False),
    "hang": ("timeout", True, False),
    "drip": ("timeout", True, False),
    "huge": ("bad_response", False, False),
    "redirect": ("http_307", False, False),
    "cut": ("unreachable", True, False),
    "echo": ("invalid_request", False, False),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failure_says_whether_waiting_or_the_user_helps_and_is_not_asked_for_again(
    endpoint: TokenEndpoint, user_file: Path, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", pytest.fail)  # google-auth alone waits three seconds in all after a 500
    endpoint.faults.append(fault)
    source = tokens.from_file(user_file, request=tokens.Request(timeout=IMPATIENT))
    failure = refused(source)
    assert (failure.code, failure.retryable, failure.needs_user) == FAULTS[fault]
    assert outcomes(endpoint) == [fault]
    assert endpoint.state(value(source)) == "good"


def test_every_fault_of_the_endpoint_is_tried() -> None:
    from sasl.adapters.reference.token_endpoint import FAULTS as ALL

    assert set(FAULTS) == set(ALL)


@pytest.mark.parametrize(
    ("status", "document", "code", "retryable", "needs_user"),
    [
        (400, {"error": "invalid_grant", "error_description": "Bad Request"}, "invalid_grant", False, True),
        (400, {"error": "invalid_grant", "error_subtype": "invalid_rapt"}, "invalid_grant", False, True),
        (401, {"error": "invalid_client"}, "invalid_client", False, False),
        (401, {"error": "unauthorized_client"}, "unauthorized_client", False, False),
        (400, {"error": "invalid_scope"}, "invalid_scope", False, False),
        (400, {"error": "unsupported_grant_type"}, "unsupported_grant_type", False, False),
        (403, {"error": "access_denied"}, "access_denied", False, True),
        (400, {"error": "admin_policy_enforced"}, "admin_policy_enforced", False, True),
        (400, {"error": "temporarily_unavailable"}, "temporarily_unavailable", True, False),
        (400, {"error": "server_error"}, "server_error", True, False),
        (500, {"error": "internal_failure"}, "internal_failure", True, False),
        (503, {"error": "invalid_grant"}, "invalid_grant", True, False),
        (408, {}, "http_408", True, False),
        (502, b"<h1>Bad gateway</h1>", "http_502", True, False),
        (404, b"<h1>Not found</h1>", "http_404", False, False),
        (400, b"", "http_400", False, False),
        (400, b"\xff\xfe", "http_400", False, False),
        (400, b"[" * 20_000, "http_400", False, False),
        (400, [1, 2], "http_400", False, False),
        (400, {"error": ["invalid_grant"]}, "http_400", False, False),
        (400, {"error": "\x1b[31mred", "error_description": 7}, "http_400", False, False),
        (400, {"error": "a" * 65}, "http_400", False, False),
        (400, {"error": "b\nc"}, "http_400", False, False),
        (403, {"error": {"code": 403, "status": "PERMISSION_DENIED"}}, "PERMISSION_DENIED", False, False),
        (302, b"", "http_302", False, False),
        (204, b"", "http_204", False, False),
    ],
)
def test_a_no_is_told_by_its_code(
    scripted: Callable[..., Any],
    tmp_path: Path,
    status: int,
    document: object,
    code: str,
    *,
    retryable: bool,
    needs_user: bool,
) -> None:
    server = scripted(reply(document, status))
    failure = refused(tokens.from_file(written(tmp_path, server.url)))
    assert (failure.code, failure.retryable, failure.needs_user) == (code, retryable, needs_user)
    assert len(server.requests) == 1


def test_what_the_endpoint_explains_is_on_one_line_and_has_an_end(scripted: Callable[..., Any], tmp_path: Path) -> None:
    said = "Look\r\nhere: \x1b]0;title\x07 \u202edlrow" + "x" * 60_000
    server = scripted(reply({"error": "invalid_grant", "error_description": said}, 400))
    text = str(refused(tokens.from_file(written(tmp_path, server.url))))
    assert text.startswith(r"the token endpoint says no: invalid_grant: Look\r\nhere: \x1b]0;title\x07 \u202edlrow")
    assert text.isprintable()
    assert len(text) < 300


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"null",
        b"true",
        b'"text"',
        b"\xff",
        b"[" * 20_000,
        b"<h1>Hello</h1>",
        ["access_token"],
        {},
        {"access_token": None},
        {"access_token": ""},
        {"access_token": 7},
        {"access_token": {"value": "x"}},
        {"access_token": "two words"},
        {"access_token": "\u0430bc"},
        {"access_token": "a\x01b"},
        {"access_token": "t", "token_type": "mac"},
        {"access_token": "t", "token_type": None},
        {"access_token": "t", "expires_in": "soon"},
        {"access_token": "t", "expires_in": [3600]},
        {"access_token": "t", "expires_in": True},
        {"access_token": "t", "expires_in": 1e300},
        b'{"access_token": "t", "expires_in": NaN}',
        b'{"access_token": "t", "expires_in": 1' + b"0" * 5_000 + b"}",
        {"access_token": "t", "refresh_token": None},
        {"access_token": "t", "refresh_token": ""},
        {"access_token": "t", "refresh_token": 7},
        {"access_token": "t", "scope": ["mail"]},
    ],
    ids=lambda document: str(document)[:60],
)
def test_a_yes_that_grants_nothing_is_no_token_and_changes_nothing(
    scripted: Callable[..., Any], tmp_path: Path, document: object
) -> None:
    server = scripted(reply(document), reply({"access_token": "good"}))
    path = written(tmp_path, server.url)
    before = path.read_bytes()
    source = tokens.from_file(path)
    failure = refused(source)
    assert (failure.code, failure.retryable, failure.needs_user) == ("bad_response", False, False)
    assert path.read_bytes() == before
    assert value(source) == "good"
    assert b"refresh_token=refresh-token" in server.requests[1]


@pytest.mark.parametrize("expires_in", [3600, 3600.5, "3600", None], ids=repr)
def test_a_lifetime_may_be_a_number_or_digits_or_null(
    scripted: Callable[..., Any], tmp_path: Path, expires_in: object
) -> None:
    server = scripted(reply({"access_token": "t", "token_type": "bearer", "expires_in": expires_in}))
    token = tokens.from_file(written(tmp_path, server.url)).token()
    assert (token.expires_at is None) == (expires_in is None)


def test_an_endpoint_that_is_not_there_is_told_as_retryable(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        source = tokens.from_file(written(tmp_path, f"http://127.0.0.1:{taken.getsockname()[1]}/token"))
        failure = refused(source)
    assert (failure.code, failure.retryable, failure.needs_user) == ("no_connection", True, False)


# --- a service account


def test_a_service_account_acts_for_its_subject(endpoint: TokenEndpoint, account_file: Path) -> None:
    token = tokens.from_file(account_file, subject="alice").token()
    assert (token.scope, endpoint.requests[-1].user, endpoint.requests[-1].grant) == (MAIL, "alice", "jwt-bearer")
    assert endpoint.state(token.value.reveal()) == "good"


def test_a_service_account_without_a_subject_acts_for_itself(endpoint: TokenEndpoint, account_file: Path) -> None:
    tokens.from_file(account_file).token()
    assert endpoint.requests[-1].user == ACCOUNT


def test_a_subject_without_a_name_is_the_callers_mistake(
    account_file: Path, user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be the service account itself, which is somebody else."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account_file))
    for path in (account_file, user_file):
        with pytest.raises(sasl.UsageError):
            tokens.from_file(path, subject="")
    with pytest.raises(sasl.UsageError):
        tokens.from_service_account_file(account_file, subject="")
    with pytest.raises(sasl.UsageError):
        tokens.default(subject="")


def test_a_subject_that_it_may_not_act_for_is_refused_for_good(endpoint: TokenEndpoint, account_file: Path) -> None:
    failure = refused(tokens.from_file(account_file, subject="bob"))
    assert (failure.code, failure.retryable, failure.needs_user) == ("unauthorized_client", False, False)


def test_a_service_account_asks_for_the_scopes_that_it_is_told(endpoint: TokenEndpoint, account_file: Path) -> None:
    assert refused(tokens.from_file(account_file, scopes=["https://example.org/other"])).code == "invalid_scope"


def test_an_assertion_by_another_key_is_refused(endpoint: TokenEndpoint, account_file: Path, tmp_path: Path) -> None:
    old = tokens.from_file(account_file)
    endpoint.service_account(ACCOUNT)
    assert refused(old).code == "invalid_grant"


# --- other credentials


def test_the_default_credentials_are_those_of_the_environment(
    endpoint: TokenEndpoint, account_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account_file))
    token = tokens.default(subject="alice").token()
    assert (token.scope, endpoint.requests[-1].user) == (MAIL, "alice")
    tokens.default().token()
    assert endpoint.requests[-1].user == ACCOUNT


def test_without_default_credentials_the_user_has_to_sign_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(sasl.TokenError, match="gcloud auth application-default login") as caught:
        tokens.default()
    assert (caught.value.code, caught.value.needs_user) == ("no_credentials", True)


def test_default_credentials_that_cannot_act_for_somebody_else_say_so(
    user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(user_file))
    with pytest.raises(sasl.TokenError) as caught:
        tokens.default(subject="alice")
    assert caught.value.code == "no_delegation"


def user_credentials(endpoint: TokenEndpoint, **settings: Any) -> Any:
    info = endpoint.authorized_user("alice")
    fields = {name: info[name] for name in ("refresh_token", "token_uri", "client_id", "client_secret")}
    return google.oauth2.credentials.Credentials(settings.pop("token", None), **{**fields, **settings})


def test_any_credentials_of_google_auth_are_a_source(endpoint: TokenEndpoint) -> None:
    source = tokens.GoogleTokens(user_credentials(endpoint))
    assert endpoint.state(value(source)) == "good"
    assert value(source) == value(source)


def test_a_token_that_the_credentials_have_is_given_first(endpoint: TokenEndpoint) -> None:
    expiry = datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)
    source = tokens.GoogleTokens(user_credentials(endpoint, token="given", expiry=expiry))
    assert value(source) == "given"
    assert value(source, stale="given") != "given"
    assert outcomes(endpoint) == ["granted"]


def test_a_refused_token_of_credentials_that_nobody_has_asked_yet_is_renewed(endpoint: TokenEndpoint) -> None:
    source = tokens.GoogleTokens(user_credentials(endpoint, token="given"))
    assert value(source, stale="given") != "given"


@pytest.mark.parametrize(("minutes", "given"), [(60, True), (-60, False)], ids=["good", "over"])
@pytest.mark.parametrize("hours_east", [0, 5])
def test_an_aware_expiry_is_understood(endpoint: TokenEndpoint, minutes: int, hours_east: int, *, given: bool) -> None:
    from datetime import timezone

    expiry = datetime.now(timezone(timedelta(hours=hours_east))) + timedelta(minutes=minutes)
    source = tokens.GoogleTokens(user_credentials(endpoint, token="given", expiry=expiry))
    assert (value(source) == "given") is given


def test_credentials_without_a_refresh_token_want_the_user() -> None:
    source = tokens.GoogleTokens(google.oauth2.credentials.Credentials("given"))
    assert value(source) == "given"
    failure = refused(source, stale="given")
    assert (failure.code, failure.retryable, failure.needs_user) == ("not_refreshable", False, True)


@pytest.mark.parametrize(
    "answer",
    [
        ("token", datetime(2100, 1, 1, tzinfo=UTC)),  # aware: google-auth compares it with a naive one
        ("token", None),
        (7, datetime(2100, 1, 1)),  # noqa: DTZ001
        ("token", datetime(2000, 1, 1)),  # noqa: DTZ001
        None,
    ],
    ids=repr,
)
def test_what_google_auth_trips_over_is_a_failure_of_the_source(answer: Any) -> None:
    credentials = google.oauth2.credentials.Credentials(None, refresh_handler=lambda _request, scopes: answer)
    failure = refused(tokens.GoogleTokens(credentials))
    assert (failure.retryable, failure.code in ("refresh_failed", "not_refreshable")) == (False, True)


class Odd(google.auth.credentials.Credentials):
    """Credentials of somebody's own, with a part that fails or is of another kind."""

    def __init__(self, **parts: Any) -> None:
        super().__init__()
        self.parts = parts

    def refresh(self, request: Any) -> None:
        vars(self).update(self.parts)


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({}, "no_token"),
        ({"token": 7}, "no_token"),
        ({"token": b""}, "no_token"),
        ({"token": "one", "scopes": 7}, "refresh_failed"),
        (7, "refresh_failed"),
    ],
    ids=str,
)
def test_credentials_of_somebodys_own_class_fail_as_a_source_does(parts: Any, code: str) -> None:
    credentials = Odd()
    credentials.parts = parts
    assert refused(tokens.GoogleTokens(credentials)).code == code


def test_a_token_of_octets_and_scopes_in_one_text_are_understood() -> None:
    token = tokens.GoogleTokens(Odd(token=b"one", scopes="a b", expiry="soon")).token()
    assert (token.value.reveal(), token.scope, token.expires_at) == ("one", "a b", None)


@pytest.mark.parametrize(
    ("error", "code"),
    [(google.auth.exceptions.TransportError("no way there"), "unreachable"), (TimeoutError(), "timeout")],
    ids=repr,
)
def test_a_failure_of_another_transport_is_retryable(error: Exception, code: str) -> None:
    def request(**_arguments: Any) -> Any:
        raise error

    failure = refused(
        tokens.GoogleTokens(
            google.oauth2.credentials.Credentials(
                None, refresh_token="r", token_uri="https://unused.example", client_id="i", client_secret="s"
            ),
            request=request,
        )
    )
    assert (failure.code, failure.retryable) == (code, True)


@pytest.mark.parametrize("other", [None, "token", 7, sasl.Password("alice", "wonderland")], ids=repr)
def test_what_are_no_credentials_of_google_auth_is_the_callers_mistake(other: object) -> None:
    with pytest.raises(sasl.UsageError):
        tokens.GoogleTokens(other)


# --- files


def written(folder: Path, url: str, **more: Any) -> Path:
    """A file of a user for an endpoint."""
    path = folder / "written.json"
    info = {"type": "authorized_user", "client_id": "id", "client_secret": "client-secret"}
    path.write_text(json.dumps({**info, "refresh_token": "refresh-token", "token_uri": url, **more}))
    return path


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b"[" * 20_000,
        b"{" + b" " * 70_000 + b"}",
        b"{}",
        b'{"type": "external_account"}',
        b'{"type": ["service_account"]}',
        b'{"installed": {"client_id": "x"}}',
        b'{"type": "authorized_user"}',
        b'{"type": "authorized_user", "client_id": "x", "client_secret": "y", "refresh_token": ""}',
        b'{"type": "authorized_user", "client_id": "x", "client_secret": 7, "refresh_token": "z"}',
        b'{"type": "authorized_user", "client_id": "x", "client_secret": "y", "refresh_token": "z", "token_uri": 7}',
        b'{"type": "authorized_user", "client_id": "x", "client_secret": "y", "refresh_token": "z", "scopes": 7}',
        b'{"type": "authorized_user", "client_id": "x", "client_secret": "y", "refresh_token": "z", "scopes": [7]}',
        b'{"type": "service_account"}',
        b'{"type": "service_account", "client_email": "a@b", "token_uri": "https://x.example", "private_key": "none"}',
        b'{"type": "service_account", "client_email": "a@b", "token_uri": "https://x.example", "private_key": 7}',
    ],
    ids=lambda content: str(content[:75]),
)
def test_a_file_that_cannot_be_used_is_told_at_once(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(sasl.TokenError) as caught:
        tokens.from_file(path)
    assert (caught.value.code, caught.value.retryable, caught.value.needs_user) == ("bad_file", False, False)


@pytest.mark.parametrize(("size", "read"), [(65_536, True), (65_537, False)])
def test_a_file_has_a_largest_size(user_file: Path, size: int, *, read: bool) -> None:
    user_file.write_bytes(user_file.read_bytes().ljust(size))
    if read:
        assert value(tokens.from_file(user_file))
    else:
        with pytest.raises(sasl.TokenError) as caught:
            tokens.from_file(user_file)
        assert caught.value.code == "bad_file"


@pytest.mark.parametrize(
    "constructor", [tokens.from_file, tokens.from_authorized_user_file, tokens.from_service_account_file]
)
def test_a_file_that_is_not_there_is_told_at_once(tmp_path: Path, constructor: Callable[..., Any]) -> None:
    with pytest.raises(sasl.TokenError, match="No such file") as caught:
        constructor(tmp_path / "file.json")
    assert caught.value.code == "bad_file"


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(sasl.TokenError, match="no regular file"):
        tokens.from_file(tmp_path / "pipe")


def test_a_users_file_has_no_subject(user_file: Path) -> None:
    with pytest.raises(sasl.TokenError) as caught:
        tokens.from_file(user_file, subject="alice")
    assert caught.value.code == "no_delegation"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/token",
        "http://127.0.0.1.example.org/token",
        "http://169.254.169.254/token",
        "ftp://localhost/token",
        "file:///etc/passwd",
        "https://user:secret@example.org/token",
        "https://",
        "https://exa mple.org/token",
        "https://example.org:port/token",
        "https://example.org:99999/token",
        "https://example.org/\r\nX: y",
        "https://ex\u00e4mple.org/token",
        "https://[::1/token",
        "https://a..example/token",
        "https://" + "a" * 64 + ".example/token",
        "token",
        "",
    ],
)
def test_a_refresh_token_goes_nowhere_but_under_https_or_on_this_machine(tmp_path: Path, url: str) -> None:
    failure = refused(tokens.from_file(written(tmp_path, url)))
    assert (failure.code, failure.retryable, failure.needs_user) == ("bad_endpoint", False, False)


# --- the extra


@pytest.mark.parametrize("kind", ["user", "account", "default", "object"])
def test_without_google_auth_the_extra_is_named(
    user_file: Path, account_file: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for name in [name for name in sys.modules if name == "google" or name.startswith("google.")]:
        monkeypatch.setitem(sys.modules, name, None)
    ways: dict[str, Callable[[], object]] = {
        "user": lambda: tokens.from_file(user_file),
        "account": lambda: tokens.from_file(account_file),
        "default": tokens.default,
        "object": lambda: tokens.GoogleTokens(object()),
    }
    with pytest.raises(sasl.TokenError, match=r"saslkit\[google\]") as caught:
        ways[kind]()
    assert (caught.value.code, caught.value.retryable, caught.value.needs_user) == ("missing_extra", False, False)


@pytest.mark.parametrize("module", ["sasl.adapters.tokens", "sasl.adapters.tokens.google", "sasl.adapters.session"])
def test_importing_it_loads_no_google_auth(module: str) -> None:
    code = f"import sys; before = set(sys.modules); import {module}; print(*sorted(set(sys.modules) - before))"
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in run.stdout.split()}
    assert "sasl" in loaded
    assert loaded & {"google", "cryptography", "requests", "asyncio"} == set()
