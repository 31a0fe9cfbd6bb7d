"""A token in a variable of the environment; and how a token looks that another program has written down."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

import sasl
from sasl.adapters.tokens._text import LARGEST, parse_token
from sasl.adapters.tokens.environment import EnvironmentTokens

from ...support.leaks import locals_of, seen, shown_by

SECRET = "ya29.a0AfH6SMBx-_very~secret"


@pytest.fixture
def source() -> EnvironmentTokens:
    return EnvironmentTokens("MAIL_TOKEN")


def refused(source: Any, **arguments: Any) -> sasl.TokenError:
    with pytest.raises(sasl.TokenError) as caught:
        source.token(**arguments)
    assert seen([*shown_by(caught.value), *locals_of(caught.value, everywhere=True)], SECRET) == []
    return caught.value


def test_the_variable_is_read_at_each_call(source: EnvironmentTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    for token in ("first", "second"):
        monkeypatch.setenv("MAIL_TOKEN", token)
        assert source.token() == sasl.AccessToken(token)


def test_a_bearer_takes_it(source: EnvironmentTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_TOKEN", "tok\n")
    assert sasl.resolve(sasl.Bearer("alice", source)) == sasl.Bearer("alice", "tok")


@pytest.mark.parametrize("content", [SECRET, json.dumps({"access_token": SECRET, "expires_at": 1})])
def test_a_token_that_is_over_wants_the_user(
    source: EnvironmentTokens, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setenv("MAIL_TOKEN", content)
    failure = refused(source, stale=SECRET)
    assert (failure.code, failure.retryable, failure.needs_user) == ("stale_token", False, True)
    assert "MAIL_TOKEN" in failure.hint
    monkeypatch.setenv("MAIL_TOKEN", "new")
    assert source.token(stale=SECRET).value == "new"


@pytest.mark.parametrize(
    ("content", "code"), [(None, "variable_not_set"), ("", "variable_not_set"), ("\n", "no_token")]
)
def test_a_variable_without_a_token_is_a_matter_of_configuration(
    source: EnvironmentTokens, monkeypatch: pytest.MonkeyPatch, content: str | None, code: str
) -> None:
    monkeypatch.delenv("MAIL_TOKEN", raising=False)
    if content is not None:
        monkeypatch.setenv("MAIL_TOKEN", content)
    failure = refused(source)
    assert (failure.code, failure.retryable, failure.needs_user) == (code, False, False)


@pytest.mark.parametrize("name", ["", "A B", "1A", "A=B", f"{SECRET}", "\u00c4", 7, None])
def test_what_is_no_name_of_a_variable_is_the_callers_mistake_and_not_shown(name: Any) -> None:
    with pytest.raises(sasl.UsageError) as caught:
        EnvironmentTokens(name)
    assert seen([*shown_by(caught.value), *locals_of(caught.value, everywhere=True)], SECRET) == []


def test_a_source_shows_the_name_alone(source: EnvironmentTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_TOKEN", SECRET)
    source.token()
    assert repr(source) == "EnvironmentTokens('MAIL_TOKEN')"


# --- a token as others write it


NOW = 1_800_000_000.0
END = datetime(2027, 1, 15, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("octets", "end", "scope"),
    [
        (b"tok", None, None),
        (b"tok\r\nuser: alice\n", None, None),
        (b'{"access_token": "tok"}', None, None),
        (b'{\n  "access_token": "tok",\n  "scope": "a b",\n  "more": [1]\n}\n', None, "a b"),
        (b'{"access_token": "tok", "expires_at": 1800003600}', END, None),
        (b'{"access_token": "tok", "expires_at": "2027-01-15T10:00:00+01:00"}', END, None),
        (b'{"access_token": "tok", "expires_at": "2027-01-15T09:00:00Z", "expires_in": 7}', END, None),
        (b'{"access_token": "tok", "expires_in": 3600, "scope": ""}', END, None),
    ],
)
def test_a_token_stands_on_a_line_or_in_an_object(octets: bytes, end: datetime | None, scope: str | None) -> None:
    assert parse_token(octets, "it", now=NOW) == sasl.AccessToken("tok", end, scope)


def test_a_lifetime_from_nobody_knows_when_says_nothing() -> None:
    assert parse_token(b'{"access_token": "tok", "expires_in": 3600}', "it").expires_at is None


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\n" + SECRET.encode(),
        SECRET.encode() + b" ",
        b"Error: sign in",
        b"\xff\xfe",
        b"{",
        b"{" + b" " * LARGEST + b"}",
        b"a" * (LARGEST + 1),
        b'{"access_token": "%s", "access_token": "b"}' % SECRET.encode(),
        *(
            json.dumps({"access_token": SECRET, **members}).encode()
            for members in (
                {"access_token": ""},
                {"access_token": 7},
                {"access_token": f"{SECRET} x"},
                {"access_token": f"{SECRET}\u00e4"},
                {"scope": ["a"]},
                {"expires_at": True},
                {"expires_at": -1},
                {"expires_at": 1e300},
                {"expires_at": float("nan")},
                {"expires_at": 1_800_003_600_000},
                {"expires_at": "soon"},
                {"expires_at": "2027-01-15T09:00:00"},
                {"expires_at": "0001-01-01T00:00:00+05:00"},
                {"expires_in": "3600"},
                {"expires_in": float("nan")},
                {"expires_in": 1e10},
                {"expires_in": False},
            )
        ),
    ],
    ids=lambda octets: str(octets[-40:]),
)
def test_what_is_no_token_is_told_without_showing_it(octets: bytes) -> None:
    with pytest.raises(sasl.TokenError, match=r"^it ") as caught:
        parse_token(octets, "it", now=NOW)
    assert caught.value.code == "no_token"
    assert seen([*shown_by(caught.value), *locals_of(caught.value, everywhere=True)], SECRET) == []
