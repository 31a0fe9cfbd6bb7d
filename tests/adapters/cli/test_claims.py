"""What a refused token says of itself: read for advice, never believed, and never a reason to fail."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl.adapters.cli.claims import Claims, advise, read_claims

NOW = 1_800_000_000.0


def segment(data: Any) -> str:
    octets = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def token(payload: Any) -> str:
    return f"{segment({'alg': 'RS256'})}.{segment(payload)}.{segment(b'signature')}"


def read(**payload: Any) -> Claims:
    return read_claims(token(payload), NOW)


def test_it_tells_since_when_it_is_expired() -> None:
    assert read(exp=0).expired == "1970-01-01 00:00:00"
    assert read(exp=NOW + 1).expired == ""
    assert "expired at 1970-01-01 00:00:00 (UTC): get a new one" in advise(read(exp=0), "alice")


def test_it_tells_from_when_it_is_good() -> None:
    assert read(nbf=NOW + 60).not_yet == "2027-01-15 08:01:00"
    assert read(nbf=NOW).not_yet == ""
    assert "not good before 2027-01-15 08:01:00 (UTC): check this machine's clock" in advise(read(nbf=NOW + 60), None)


def test_it_tells_for_whom_it_is_and_what_it_allows() -> None:
    said = advise(read(aud=["imap", "smtp"], scp="IMAP.AccessAsUser.All"), "alice")
    assert "audience imap smtp, scope IMAP.AccessAsUser.All" in said
    assert "scope mail" in advise(read(scope=["mail"]), "alice")


@pytest.mark.parametrize("name", ["upn", "email", "preferred_username", "sub"])
def test_it_tells_that_it_is_about_somebody_else(name: str) -> None:
    assert "about bob@example.org, and the user in the URL is alice" in advise(
        read(**{name: "bob@example.org"}), "alice"
    )


@pytest.mark.parametrize("user", ["alice@example.org", "Alice@EXAMPLE.org", "alice", None])
def test_it_does_not_where_it_may_be_about_the_user(user: str | None) -> None:
    assert advise(read(upn="alice@example.org"), user) == ""


def test_a_subject_that_is_a_number_is_nobodys_name() -> None:
    assert read(sub="102938471").user == ""


def test_nothing_else_of_it_is_told() -> None:
    said = advise(read(exp=0, jti="hunter2", name="hunter2", iss="hunter2", nested={"aud": "hunter2"}), "alice")
    assert "hunter2" not in said


def test_controls_in_it_reach_no_terminal() -> None:
    assert advise(read(aud="\x1b[2J\r\n\u202e" + "x" * 9999, scope="\x00"), "a").isprintable()
    assert len(read(aud="x" * 9999).audience) <= 1000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "opaque",
        "ya29.a0Af.x",
        "a.b",
        "a.b.c.d",
        "é.é.é",
        token([1]),
        token("text"),
        token(b"{"),
        token(b"\xff"),
        token(b"[" * 50_000),
        token(b'{"a":' * 20 + b"1" + b"}" * 20),
        token(b'{"exp":' + b"9" * 5000 + b"}"),
        token({"aud": "x" * 70_000}),
        token({"aud": "x" * 16_384}),
        token(b'\\"' * 8000),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_opaque_or_not_sound_says_nothing(text: str) -> None:
    assert read_claims(text, NOW) == Claims()
    assert advise(Claims(), "alice") == ""


@pytest.mark.parametrize("claim", [True, "soon", None, -1, 1e300, [0], {}, float("nan"), float("inf")], ids=repr)
def test_a_time_that_is_none_is_passed_over(claim: Any) -> None:
    assert read(exp=claim, nbf=claim) == Claims()


@pytest.mark.parametrize("claim", [1, [1], {}, None, [["x"]]], ids=repr)
def test_a_text_that_is_none_is_passed_over(claim: Any) -> None:
    assert read(aud=claim, scope=claim, upn=claim) == Claims()


def test_brackets_in_a_text_are_not_deep() -> None:
    assert read(aud="[" * 100).audience == "[" * 100


@given(st.binary(max_size=200), st.text(max_size=60))
def test_it_never_fails(payload: bytes, text: str) -> None:
    assert isinstance(advise(read_claims(token(payload), NOW), text), str)
    read_claims(text, NOW)
