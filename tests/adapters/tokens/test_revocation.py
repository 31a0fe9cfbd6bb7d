"""The end of a grant: told to the server (RFC 7009), forgotten here."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters.tokens import revocation
from sasl.adapters.tokens.http import Response
from sasl.adapters.tokens.messages import Client
from sasl.adapters.tokens.record import Record
from sasl.adapters.tokens.store import MemoryStore
from sasl.value import replace

from .conftest import found_in, reply
from .signing_in import all_of, form_of

if TYPE_CHECKING:
    from collections.abc import Callable

REFRESH = "ReFrEsH-0123456789"


def stored(url: str | None, **changes: Any) -> MemoryStore:
    store = MemoryStore()
    fields = {"refresh_token": sasl.Secret(REFRESH), "access_token": sasl.Secret("AcCeSs-0123456789")} | changes
    endpoint = fields.pop("token_endpoint", "https://issuer.example/token")
    store.put(Record("key", "user", endpoint, "id", revocation_endpoint=url, **fields))
    return store


@pytest.mark.parametrize("yes", [reply(b""), reply({}), reply(b"OK"), reply(b"<html>")])
def test_the_server_is_told_and_the_record_deleted(scripted: Callable[..., Any], yes: bytes) -> None:
    server = scripted(yes)
    store = stored(server.url)
    assert revocation.revoke(store, "key") == revocation.Revoked(at_server=True)
    assert form_of(server.requests[0]) == {"token": REFRESH, "token_type_hint": "refresh_token", "client_id": "id"}
    assert store.keys() == []


def test_a_confidential_client_proves_itself(scripted: Callable[..., Any]) -> None:
    server = scripted(reply(b""))
    revocation.revoke(stored(server.url, client_secret=sasl.Secret("secret-1")), "key")
    revocation.revoke(stored(server.url), "key", client=Client("id", assertion=lambda endpoint: f"jwt-for:{endpoint}"))
    forms = list(map(form_of, server.requests))
    assert (forms[0]["client_secret"], forms[1]["client_assertion"]) == ("secret-1", f"jwt-for:{server.url}")


def test_where_there_is_no_refresh_token_the_access_token_is_revoked(scripted: Callable[..., Any]) -> None:
    server = scripted(reply(b""))
    revocation.revoke(stored(server.url, refresh_token=None), "key")
    form = form_of(server.requests[0])
    assert (form["token"], form["token_type_hint"]) == ("AcCeSs-0123456789", "access_token")


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("https://issuer.example/token", ["issuer.example"]),
        ("https://login.microsoftonline.com/common/oauth2/v2.0/token", ["account.live.com", "myapps.microsoft.com"]),
    ],
)
def test_a_server_that_cannot_be_told_is_left_to_the_person(endpoint: str, words: list[str]) -> None:
    store = stored(None, token_endpoint=endpoint)
    revoked = revocation.revoke(store, "key")
    assert (revoked.at_server, store.keys()) == (False, [])
    assert all(word in revoked.hint for word in words)


def test_a_server_that_revokes_no_such_token_is_left_to_the_person(scripted: Callable[..., Any]) -> None:
    store = stored(scripted(reply({"error": "unsupported_token_type"}, 400)).url)
    assert (revocation.revoke(store, "key").at_server, store.keys()) == (False, [])


@pytest.mark.parametrize("error", ["invalid_token", "invalid_grant"])
def test_a_token_that_is_void_already_is_revoked(scripted: Callable[..., Any], error: str) -> None:
    store = stored(scripted(reply({"error": error}, 400)).url)
    assert (revocation.revoke(store, "key").at_server, store.keys()) == (True, [])


@pytest.mark.parametrize(
    ("answer", "code", "retryable"),
    [
        (reply({}, 503), "http_503", True),
        (b"", "unreachable", True),
        (reply({"error": "invalid_client", "error_description": REFRESH}, 401), "invalid_client", False),
        (b"nonsense\r\n\r\n", "bad_response", False),
        (reply(b"x" * 70_000), "bad_response", False),
    ],
)
def test_a_server_that_was_not_told_leaves_the_record(
    scripted: Callable[..., Any], answer: bytes, code: str, *, retryable: bool
) -> None:
    store = stored(scripted(answer).url)
    with pytest.raises(sasl.TokenError) as caught:
        revocation.revoke(store, "key")
    assert (caught.value.code, caught.value.retryable, store.keys()) == (code, retryable, ["key"])
    assert found_in(all_of(caught.value), [REFRESH]) == []


def test_nothing_to_revoke_is_told() -> None:
    with pytest.raises(sasl.TokenError) as caught:
        revocation.revoke(MemoryStore(), "key")
    assert (caught.value.code, caught.value.needs_user) == ("no_grant", True)


def test_a_renewal_that_is_under_way_is_waited_for(scripted: Callable[..., Any]) -> None:
    """What it brings is what has to be revoked."""
    server = scripted(reply(b""))
    store = stored(server.url)
    with store.locked("key", 0) as lease:
        thread = threading.Thread(target=revocation.revoke, args=(store, "key"))
        thread.start()
        record = store.load("key")
        assert record is not None
        store.save(replace(record, refresh_token=sasl.Secret("the-newest")), lease)
    thread.join(10)
    assert form_of(server.requests[0])["token"] == "the-newest"
    assert store.keys() == []


def test_a_sign_in_while_the_server_is_told_is_not_forgotten() -> None:
    store = stored("https://issuer.example/revoke")

    def request(url: str, **_settings: Any) -> Any:
        record = store.load("key")
        assert record is not None
        store.put(replace(record, refresh_token=sasl.Secret("of-the-new-sign-in")))
        return Response(200, {}, b"")

    assert revocation.revoke(store, "key", request=request) == revocation.Revoked(at_server=True)
    kept = store.load("key")
    assert kept is not None
    assert kept.refresh_token == "of-the-new-sign-in"
