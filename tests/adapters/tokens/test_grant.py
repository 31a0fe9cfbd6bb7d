"""What was granted, as a record to keep."""

from __future__ import annotations

import pytest

import sasl
from sasl.adapters.tokens.grant import grant_record, not_granted
from sasl.adapters.tokens.messages import Answer, Client
from sasl.adapters.tokens.record import parse_record
from sasl.adapters.tokens.store import MemoryStore

from .signing_in import ISSUER, SCOPE, metadata


def answer(scope: str | None = SCOPE, expires_in: float | None = 3600.0) -> Answer:
    return Answer(sasl.Secret("access-0123456789"), expires_in, sasl.Secret("refresh-0123456789"), scope)


def test_a_record_holds_all_that_a_renewal_needs() -> None:
    client = Client("id", secret="very-secret", basic=True)
    record = grant_record("key", "a@b.example", metadata(), client, answer(), provider="Some", clock=lambda: 1000.0)
    assert (record.key, record.user, record.provider, record.issuer) == ("key", "a@b.example", "Some", ISSUER)
    assert (record.token_endpoint, record.revocation_endpoint) == (f"{ISSUER}/token", f"{ISSUER}/revoke")
    assert (record.client_id, record.client_secret, record.client_basic) == ("id", "very-secret", True)
    assert (record.refresh_token, record.access_token) == ("refresh-0123456789", "access-0123456789")
    assert (record.expires_at, record.granted_at) == (4600.0, 1000.0)
    assert (record.scope, record.granted_scope) == (None, SCOPE)
    assert parse_record(record.encode()) == record


def test_a_server_that_does_not_say_how_long_is_not_guessed_at() -> None:
    assert grant_record("k", "u", metadata(), Client("id"), answer(expires_in=None)).expires_at is None


def test_a_token_that_was_over_before_it_began_is_kept_so() -> None:
    record = grant_record("k", "u", metadata(), Client("id"), answer(expires_in=-1e9), clock=lambda: 1000.0)
    assert record.expires_at == 0.0
    assert parse_record(record.encode()) == record


def test_a_new_sign_in_replaces_what_is_stored() -> None:
    store = MemoryStore()
    first = store.put(grant_record("k", "u", metadata(), Client("id"), answer()))
    second = store.put(grant_record("k", "u", metadata(), Client("id"), answer()))
    assert (second.version, second.fence) > (first.version, first.fence)


def test_a_server_without_a_token_endpoint_grants_nothing() -> None:
    with pytest.raises(sasl.TokenError):
        grant_record("k", "u", metadata(token_endpoint=None), Client("id"), answer())


@pytest.mark.parametrize(
    ("asked", "granted", "missing"),
    [
        ("imap smtp", "smtp imap", ()),
        ("imap smtp offline_access openid", "imap smtp", ()),
        ("imap smtp pop", "smtp extra", ("imap", "pop")),
        ("imap", "IMAP", ("imap",)),
        ("imap", None, ()),
        ("", "imap", ()),
    ],
)
def test_what_was_not_granted_is_told(asked: str, granted: str | None, missing: tuple[str, ...]) -> None:
    assert not_granted(asked, answer(granted)) == missing
