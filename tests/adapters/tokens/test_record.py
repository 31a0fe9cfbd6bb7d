"""The document that is kept of an account: what goes in comes out, and nothing else is one."""

from __future__ import annotations

import json
from typing import Any

import pytest

import sasl
from sasl.adapters.tokens.record import LARGEST, Pending, Record, Refused, parse_record
from sasl.value import replace

from ...support.leaks import locals_of, seen, shown_by

FULL = Record(
    "k\u00e9y",
    "me@example.com",
    "https://example.com/token",
    "client",
    client_secret=sasl.Secret("client-secret"),
    client_basic=True,
    provider="gmail",
    issuer="https://example.com",
    revocation_endpoint="https://example.com/revoke",
    scope="mail",
    refresh_token=sasl.Secret("refresh-token"),
    access_token=sasl.Secret("access-token"),
    renewed_at=1.5,
    expires_at=3_601.5,
    granted_scope="mail other",
    granted_at=1.0,
    version=7,
    fence=3,
    pending=Pending("id", 1.0, 11.0),
    refused=Refused("invalid_grant", "no", "Sign in again.", needs_user=True, at=2.0, grant="digest"),
    retry_at=4.0,
    failures=2,
    unknown={"later": {"x": [1]}},
)
LEAST = Record("key", "user", "https://example.com/token", "client")


@pytest.mark.parametrize("record", [FULL, LEAST])
def test_what_is_written_is_read(record: Record) -> None:
    again = parse_record(record.encode())
    assert again == record
    assert again.unknown == record.unknown


def test_members_that_nobody_knows_are_kept() -> None:
    document = json.loads(LEAST.encode()) | {"of a later version": [1, {"a": None}]}
    again = parse_record(json.dumps(document).encode())
    assert json.loads(replace(again, version=1).encode())["of a later version"] == [1, {"a": None}]


@pytest.mark.parametrize("content", [None, [], {}, "", -1, 1e300, 10**400, True, {"id": 1}, float("nan")], ids=str)
def test_a_member_of_another_type_makes_no_record(content: Any) -> None:
    document = json.loads(FULL.encode())
    for name in document.keys() - {"later"}:
        if name == "client_basic" and content is True:
            continue
        octets = json.dumps(document | {name: content}).encode()
        with pytest.raises(sasl.TokenError) as caught:
            parse_record(octets)
        assert caught.value.code == "bad_record", name
        assert not seen([*shown_by(caught.value), *locals_of(caught.value)], "refresh-token", "client-secret"), name


@pytest.mark.parametrize(
    "octets",
    [
        *(b"", b"[]", b"{}", b'{"format": 2}', b"\xff", b"{" * 70_000, b'{"format": 1, "format": 1}'),
        FULL.encode()[:-1],
        LEAST.encode().replace(b'"user"', b'"usr"'),
        b'{"format":1,"x":"' + b"a" * LARGEST + b'"}',
    ],
    ids=range(10),
)
def test_what_is_no_record_is_told_as_such(octets: bytes) -> None:
    with pytest.raises(sasl.TokenError) as caught:
        parse_record(octets)
    assert caught.value.code == "bad_record"


def test_a_record_that_is_too_large_is_not_written() -> None:
    with pytest.raises(sasl.TokenError) as caught:
        replace(FULL, access_token=sasl.Secret("access-token" * 9_999)).encode()
    assert caught.value.code == "not_stored"
    assert not seen(
        [*shown_by(caught.value), *locals_of(caught.value)], "refresh-token", "client-secret", "access-token"
    )


def test_no_secret_is_shown() -> None:
    assert not seen([repr(FULL), str(FULL), f"{FULL}"], "refresh-token", "client-secret", "access-token")


def test_the_digest_of_a_grant_changes_with_what_is_sent() -> None:
    changed = [
        replace(FULL, refresh_token=sasl.Secret("other")),
        replace(FULL, client_secret=None),
        replace(FULL, scope=None),
        replace(FULL, client_id="other"),
        replace(FULL, token_endpoint="https://example.org/"),
    ]
    assert len({each.grant() for each in (FULL, *changed)}) == 6
    assert replace(FULL, access_token=None, version=9).grant() == FULL.grant()


def test_a_token_has_the_scope_that_was_granted() -> None:
    token = FULL.token()
    assert token is not None
    assert (token.value.reveal(), token.scope) == ("access-token", "mail other")
    assert token.expires_at is not None
    assert token.expires_at.timestamp() == 3_601.5
    assert LEAST.token() is None


@pytest.mark.parametrize(
    "changes", [{"user": ""}, {"scope": ""}, {"expires_at": -1.0}, {"refresh_token": sasl.Secret("")}]
)
def test_what_could_not_be_read_again_is_not_written(changes: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"user": "alice", "refresh_token": sasl.Secret("r3fr3sh")} | changes
    record = Record("key", fields.pop("user"), "https://example.org/token", "client", **fields)
    (name,) = changes
    with pytest.raises(sasl.TokenError, match=name) as caught:
        record.encode()
    assert caught.value.code == "not_stored"
