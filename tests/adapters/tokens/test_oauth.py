"""Tokens of any OAuth server, at a real token endpoint: by a refresh token in a store, or for a program itself."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters.tokens.http import Request
from sasl.adapters.tokens.messages import Client
from sasl.adapters.tokens.oauth import OAuthTokens, client_credentials
from sasl.adapters.tokens.record import Record
from sasl.adapters.tokens.store import MemoryStore
from sasl.adapters.tokens.threaded import Threaded
from sasl.value import replace

from ...support.grants import grant_of
from ...support.leaks import locals_of, seen, shown_by
from .conftest import reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl.adapters.reference.token_endpoint import Fault, TokenEndpoint

    from .conftest import Scripted

KEY = "me@example.com"


def store_of(endpoint: TokenEndpoint) -> MemoryStore:
    """A store with the grant of a sign-in."""
    store = MemoryStore()
    store.put(grant_of(endpoint, KEY))
    return store


def error_of(source: OAuthTokens, stale: str | None = None) -> sasl.TokenError:
    with pytest.raises(sasl.TokenError) as caught:
        source.token(stale=stale)
    return caught.value


@pytest.mark.parametrize("rotates", [False, True])
def test_a_token_is_good_at_the_server_and_renewed_when_it_is_refused(endpoint: TokenEndpoint, rotates: bool) -> None:
    endpoint.rotates = rotates
    source = OAuthTokens(store_of(endpoint), KEY)
    tokens = [source.token().value.reveal()]
    for _ in range(3):
        tokens.append(source.token(stale=tokens[-1]).value.reveal())
    assert len(set(tokens)) == 4
    assert endpoint.state(tokens[-1]) == "good"
    assert len(endpoint.requests) == 4


def test_two_sources_of_one_store_share_what_one_has_renewed(endpoint: TokenEndpoint) -> None:
    endpoint.rotates = True
    store = store_of(endpoint)
    one, other = OAuthTokens(store, KEY), OAuthTokens(store, KEY)
    assert one.token() == other.token()
    assert one.token(stale=one.token().value.reveal()) == other.token(stale=other.token().value.reveal())
    assert len(endpoint.requests) == 2


def test_threads_that_find_the_token_refused_ask_once(endpoint: TokenEndpoint) -> None:
    source = OAuthTokens(store_of(endpoint), KEY)
    stale = source.token().value.reveal()
    start = threading.Barrier(16, timeout=30)

    def ask(_: int) -> str:
        start.wait()
        return source.token(stale=stale).value.reveal()

    with ThreadPoolExecutor(16) as pool:
        tokens = set(pool.map(ask, range(16)))
    assert len(tokens) == 1
    assert len(endpoint.requests) == 2


def test_a_thousand_tasks_ask_once(endpoint: TokenEndpoint) -> None:
    source = Threaded(OAuthTokens(store_of(endpoint), KEY))

    async def scenario() -> tuple[set[str], set[str]]:
        first = await asyncio.gather(*(source.token() for _ in range(1_000)))
        stale = first[0].value.reveal()
        second = await asyncio.gather(*(source.token(stale=stale) for _ in range(1_000)))
        return {token.value.reveal() for token in first}, {token.value.reveal() for token in second}

    first, second = asyncio.run(scenario())
    assert (len(first), len(second), first == second, len(endpoint.requests)) == (1, 1, False, 2)


@pytest.mark.parametrize("fault", ["429", "500", "503", "garbage", "huge", "redirect", "cut", "drip", "hang"])
def test_an_endpoint_that_fails_is_told_as_such_and_costs_nothing(endpoint: TokenEndpoint, fault: Fault) -> None:
    endpoint.rotates = True
    store = store_of(endpoint)
    now = [1_800_000_000.0]
    seconds = 0.2 if fault in ("drip", "hang") else 5
    source = OAuthTokens(store, KEY, request=Request(timeout=seconds), clock=lambda: now[0])
    endpoint.faults.append(fault)
    error = error_of(source)
    assert error.needs_user is False
    assert error.retryable is (fault not in ("garbage", "huge", "redirect"))
    now[0] += 400
    source = OAuthTokens(store, KEY, clock=lambda: now[0])
    assert endpoint.state(source.token().value.reveal()) == "good"


def test_a_life_shorter_than_the_margin_makes_no_loop(endpoint: TokenEndpoint) -> None:
    """spec/corpus: policy_and_state-0032."""
    endpoint.lifetime = 20
    source = OAuthTokens(store_of(endpoint), KEY)
    for _ in range(5):
        source.token()
    assert len(endpoint.requests) == 1


def test_each_change_is_told_once(endpoint: TokenEndpoint) -> None:
    store = store_of(endpoint)
    told: list[tuple[str, str, str | None]] = []

    def tell(kind: str, key: str, error: sasl.TokenError | None) -> None:
        told.append((kind, key, error and error.code))

    source = OAuthTokens(store, KEY, on_event=tell)
    stale = source.token().value.reveal()
    endpoint.faults.append("invalid_grant")
    for _ in range(3):
        error_of(source, stale)
    assert told == [("renewed", KEY, None), ("needs_user", KEY, "invalid_grant")]


def test_who_listens_and_fails_costs_nobody_a_token(endpoint: TokenEndpoint, caplog: pytest.LogCaptureFixture) -> None:
    def tell(*_: object) -> None:
        raise ZeroDivisionError("secret")

    assert OAuthTokens(store_of(endpoint), KEY, on_event=tell).token()
    assert "ZeroDivisionError" in caplog.text
    assert "secret" not in caplog.text


def test_nothing_secret_is_shown(endpoint: TokenEndpoint, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    store = store_of(endpoint)
    record = store.load(KEY)
    assert record is not None
    assert record.refresh_token is not None
    assert record.client_secret is not None
    source = OAuthTokens(store, KEY)
    endpoint.faults.append("echo")
    error = error_of(source, "a-stale-token")
    shown = [*shown_by(error), *locals_of(error), repr(source), repr(store), caplog.text]
    assert not seen(shown, record.refresh_token.reveal(), record.client_secret.reveal(), "a-stale-token")


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_it_is_neither_pickled_nor_copied(copied: Any) -> None:
    with pytest.raises(TypeError):
        copied(OAuthTokens(MemoryStore(), KEY))


# --- client credentials


def test_a_program_asks_for_itself(scripted: Callable[..., Scripted]) -> None:
    server = scripted(
        reply({"access_token": "t1", "expires_in": 3_600}), reply({"access_token": "t2", "expires_in": 1})
    )
    source = client_credentials(server.url, Client("id", secret=sasl.Secret("s&t")), "scope/.default", user="box")
    assert source.token().value.reveal() == "t1"
    assert source.token(stale="t1").value.reveal() == "t2"
    for request in server.requests:
        body = request.partition(b"\r\n\r\n")[2]
        assert body == b"grant_type=client_credentials&scope=scope%2F.default&client_id=id&client_secret=s%26t"


def test_a_client_that_uses_basic_sends_its_secret_there(scripted: Callable[..., Scripted]) -> None:
    server = scripted(reply({"access_token": "t1"}))
    client_credentials(server.url, Client("i d", secret=sasl.Secret("s:t"), basic=True), None).token()
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert b"Authorization: Basic aStkOnMlM0F0\r\n" in head + b"\r\n"
    assert body == b"grant_type=client_credentials"


def test_an_assertion_is_made_for_each_request(scripted: Callable[..., Scripted]) -> None:
    server = scripted(reply({"access_token": "t1"}), reply({"access_token": "t2"}))
    made: list[str] = []

    def assertion(endpoint: str) -> str:
        made.append(endpoint)
        return f"jwt{len(made)}"

    source = client_credentials(server.url, Client("id", assertion=assertion), None)
    source.token()
    source.token(stale="t1")
    assert made == [server.url, server.url]
    assert b"client_assertion=jwt2" in server.requests[1]
    assert (
        b"client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer" in server.requests[1]
    )


def test_processes_share_the_token_of_a_program_and_not_its_secret(scripted: Callable[..., Scripted]) -> None:
    server = scripted(reply({"access_token": "t1", "expires_in": 3_600}))
    store = MemoryStore()
    client = Client("id", secret=sasl.Secret("client-secret"))
    sources = [client_credentials(server.url, client, "mail", store=store) for _ in range(3)]
    assert {source.token().value.reveal() for source in sources} == {"t1"}
    assert len(server.requests) == 1
    (key,) = store.keys()
    record = store.load(key)
    assert record is not None
    assert b"client-secret" not in record.encode()


def test_another_scope_is_another_token(scripted: Callable[..., Scripted]) -> None:
    server = scripted(reply({"access_token": "t1"}), reply({"access_token": "t2"}))
    store, client = MemoryStore(), Client("id", secret=sasl.Secret("s"))
    tokens = [client_credentials(server.url, client, scope, store=store).token() for scope in ("", "b")]
    assert [token.value.reveal() for token in tokens] == ["t1", "t2"]


def test_a_public_client_has_no_credentials() -> None:
    with pytest.raises(sasl.UsageError):
        client_credentials("https://example.com/token", Client("id"), None)


@pytest.mark.parametrize("fields", [{"secret": "s", "assertion": str}, {}])
def test_a_client_is_one_or_nothing(fields: dict[str, Any]) -> None:
    with pytest.raises(sasl.UsageError) as caught:
        Client("id" if fields else "", **fields)
    assert caught.value.args


def test_a_secret_is_hidden_at_once() -> None:
    plain: Any = "hunter2"
    assert "hunter2" not in repr(Client("id", secret=plain))


# --- a process that begins, with nothing in its memory


def test_a_stored_token_that_is_alive_is_given_where_none_can_be_had(endpoint: TokenEndpoint) -> None:
    store = store_of(endpoint)
    record = store.load(KEY)
    assert record is not None
    store.put(replace(record, access_token=sasl.Secret("alive"), expires_at=time.time() + 60))
    endpoint.faults.append("503")
    told: list[str] = []
    source = OAuthTokens(store, KEY, on_event=lambda kind, *_: told.append(kind))
    assert source.token().value == "alive"
    assert told == ["failed"]


def test_a_stored_token_that_is_alive_is_given_while_somebody_else_renews_it(endpoint: TokenEndpoint) -> None:
    store = store_of(endpoint)
    record = store.load(KEY)
    assert record is not None
    store.put(replace(record, access_token=sasl.Secret("alive"), expires_at=time.time() + 60))
    with store.locked(KEY, 0):
        assert OAuthTokens(store, KEY).token().value == "alive"
    assert not endpoint.requests


def test_a_stored_token_that_a_server_has_refused_is_renewed_by_a_source_that_begins(endpoint: TokenEndpoint) -> None:
    store = store_of(endpoint)
    refused = OAuthTokens(store, KEY).token().value
    assert OAuthTokens(store, KEY).token(stale=refused.reveal()).value != refused
    assert len(endpoint.requests) == 2


def test_a_public_client_without_a_refresh_token_asks_for_nothing(scripted: Callable[..., Any]) -> None:
    """As of a record whose rest is encrypted, opened without the key: it is no grant of a program's own."""
    server = scripted()
    store = MemoryStore()
    store.put(Record(KEY, "alice", server.url, "id"))
    error = error_of(OAuthTokens(store, KEY))
    assert (error.code, error.needs_user, server.requests) == ("no_grant", True, [])


def test_a_program_that_asks_for_itself_does_not_replace_the_grant_of_a_person(endpoint: TokenEndpoint) -> None:
    store = store_of(endpoint)
    with pytest.raises(sasl.UsageError):
        client_credentials(endpoint.url, Client("id", secret=sasl.Secret("s")), None, store=store, key=KEY)
    kept = store.load(KEY)
    assert kept is not None
    assert kept.refresh_token is not None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_child_renews_although_a_thread_of_its_parent_did(endpoint: TokenEndpoint) -> None:
    store = store_of(endpoint)
    with store.locked(KEY, 0), store._guard:  # as threads that are not in the child
        child = os.fork()
        if child == 0:
            good = False
            try:
                good = store.keys() == [KEY] and bool(OAuthTokens(store, KEY).token().value)
            finally:
                os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_client_secret_that_was_put_right_is_tried_when_the_program_starts_again(
    scripted: Callable[..., Scripted],
) -> None:
    server = scripted(reply({"error": "invalid_client"}, 401), reply({"access_token": "t1", "expires_in": 3_600}))
    store = MemoryStore()

    def source(secret: str) -> OAuthTokens:
        return client_credentials(server.url, Client("id", secret=sasl.Secret(secret)), "mail", store=store)

    wrong = source("wrong")
    assert (error_of(wrong).code, error_of(wrong).code) == ("invalid_client", "invalid_client")
    assert len(server.requests) == 1
    assert source("right").token().value.reveal() == "t1"


def test_a_lifetime_of_null_is_one_that_nobody_knows_and_loses_no_new_refresh_token(
    scripted: Callable[..., Scripted],
) -> None:
    server = scripted(reply({"access_token": "t1", "expires_in": None, "refresh_token": "new"}))
    store = MemoryStore()
    store.put(Record(KEY, "alice", server.url, "id", refresh_token=sasl.Secret("old")))
    token = OAuthTokens(store, KEY).token()
    assert (token.value.reveal(), token.expires_at) == ("t1", None)
    kept = store.load(KEY)
    assert kept is not None
    assert kept.refresh_token == "new"
