"""Who is let in to the control endpoint, and what is said to everybody else."""

from __future__ import annotations

import contextlib
import json
import socket
from urllib.parse import urlsplit

import pytest

from sasl.adapters.reference.control.routes import ROUTES

from .conftest import API, Controlled

GUARDED = sorted(
    {(route.method, API + route.path) for route in ROUTES} | {("GET", f"{API}/events"), ("GET", f"{API}/openapi.json")}
)


def raw(controlled: Controlled, octets: bytes) -> bytes:
    """Send octets; return all that comes."""
    place = urlsplit(controlled.control.url)
    with socket.create_connection((place.hostname, place.port), 10) as sock:
        sock.sendall(octets)
        got = b""
        with contextlib.suppress(ConnectionError):
            while piece := sock.recv(65_536):
                got += piece
    return got


# --- the key


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize("key", [None, "x" * 43, "x"], ids=["no key", "another key", "a short key"])
def test_without_the_key_nothing_is_told(controlled: Controlled, method: str, path: str, key: str | None) -> None:
    reply = controlled.ask(method, path, b"{}" if method in ("POST", "PUT") else None, key=key)
    assert reply.status == 401
    assert reply.document["error"] == "key"
    assert reply.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("scheme", ["Basic {}", "{}", "Bearer", "Bearer x{}", "Bearer {}, Bearer {}"])
def test_the_key_comes_as_a_bearer_token_and_not_otherwise(controlled: Controlled, scheme: str) -> None:
    key = controlled.control.key.reveal()
    reply = controlled.ask("GET", f"{API}/ready", key=None, Authorization=scheme.format(key, key))
    assert reply.status == 401


def test_the_key_is_not_taken_from_the_address(controlled: Controlled) -> None:
    key = controlled.control.key.reveal()
    assert controlled.ask("GET", f"{API}/ready?key={key}&access_token={key}", key=None).status == 401


def test_the_key_of_each_run_is_another_one_and_is_not_shown(controlled: Controlled) -> None:
    key = controlled.control.key.reveal()
    assert len(key) >= 43
    assert key not in repr(controlled.control)


# --- the host


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST:80", "127.0.0.1:65535"])
def test_a_name_of_this_machines_own_is_taken(controlled: Controlled, host: str) -> None:
    assert controlled.ask("GET", f"{API}/ready", Host=host).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "rebound.example",
        "localhost.rebound.example",
        "127.0.0.1.rebound.example",
        "localhost:80:80",
        "127.0.0.2",
        "localhost@rebound.example",
        "::1",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/", f"{API}/ready"])
def test_a_page_that_has_rebound_its_name_gets_nothing(controlled: Controlled, host: str, path: str) -> None:
    reply = controlled.ask("GET", path, Host=host)
    assert reply.status == 403
    assert reply.document["error"] == "host"


def test_without_a_host_nothing_is_told(controlled: Controlled) -> None:
    key = controlled.control.key.reveal()
    answer = raw(controlled, f"GET {API}/ready HTTP/1.0\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 403 ")


# --- other origins


@pytest.mark.parametrize("path", ["/", f"{API}/users", f"{API}/events"])
def test_a_page_of_another_origin_is_not_let_in_by_a_question_before(controlled: Controlled, path: str) -> None:
    asked = {"Origin": "https://elsewhere.example", "Access_Control_Request_Method": "POST"}
    reply = controlled.ask("OPTIONS", path, **asked)
    assert reply.status == 405
    assert [name for name in reply.headers if name.startswith("access-control-")] == []


def test_no_answer_is_for_other_origins(controlled: Controlled) -> None:
    for path in ("/", "/page.js", f"{API}/ready", f"{API}/nothing"):
        reply = controlled.ask("GET", path, Origin="https://elsewhere.example")
        assert [name for name in reply.headers if name.startswith("access-control-")] == []
        assert reply.headers["cross-origin-resource-policy"] == "same-origin"


# --- the page


def test_the_page_needs_no_key_and_tells_nothing_of_the_run(controlled: Controlled) -> None:
    key = controlled.control.key.reveal()
    for path, kind in (("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")):
        reply = controlled.ask("GET", path, key=None)
        assert reply.status == 200
        assert reply.headers["content-type"].startswith(kind)
        text = reply.octets.decode()
        assert not any(told in text for told in (key, "alice", controlled.servers.tokens["good"]))


def test_the_page_loads_nothing_from_elsewhere_and_stands_in_no_frame(controlled: Controlled) -> None:
    reply = controlled.ask("GET", "/", key=None)
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert b"http:" not in reply.octets
    assert b"https:" not in reply.octets


# --- bounds


def test_who_has_no_key_may_send_nothing_large(controlled: Controlled) -> None:
    answer = raw(
        controlled, f"POST {API}/reset HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16000000\r\n\r\n".encode()
    )
    assert answer.startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("Content-Length: 16777217", 413),
        ("Transfer-Encoding: chunked", 411),
        ("Content-Length: 2\r\nTransfer-Encoding: chunked", 400),
    ],
)
def test_a_body_is_bounded_and_its_length_is_clear(controlled: Controlled, head: str, status: int) -> None:
    key = controlled.control.key.reveal()
    for method in ("POST", "PUT"):
        request = f"{method} {API}/users HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n{head}\r\n\r\n"
        answer = raw(controlled, request.encode())
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"] == "http"


def test_what_has_no_length_has_no_body(controlled: Controlled) -> None:
    """As curl -X POST sends it."""
    key = controlled.control.key.reveal()
    request = f"POST {API}/reset HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n"
    assert raw(controlled, request.encode()).startswith(b"HTTP/1.1 204 ")


@pytest.mark.once
def test_a_message_of_ten_megabytes_is_taken(controlled: Controlled) -> None:
    message = b"Subject: large\r\n\r\n" + b"x" * 998 + b"\r\n" + b"y" * 10_000_000
    path = f"{API}/users/alice/mailboxes/INBOX/messages"
    reply = controlled.ask("POST", path, message, kind="message/rfc822")
    assert reply.status == 201
    assert controlled.ask("GET", f"{path}/{reply.document['uid']}/raw").octets == message


# --- what does not belong


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("GET", "/elsewhere", None, 404, "not_found"),
        ("GET", f"{API}/nothing", None, 404, "not_found"),
        ("GET", f"{API}/users/", None, 404, "not_found"),
        ("GET", f"{API}/users/%ff/mailboxes", None, 404, "not_found"),
        ("GET", f"{API}/users/mallory/mailboxes", None, 404, "not_found"),
        ("GET", f"{API}/users/alice/mailboxes/Nothing/messages", None, 404, "not_found"),
        ("GET", f"{API}/messages/1e3", None, 404, "not_found"),
        ("GET", f"{API}/messages/{'9' * 4000}", None, 404, "not_found"),
        ("DELETE", f"{API}/clock", None, 405, "method"),
        ("PUT", "/", {}, 404, "not_found"),
        ("PATCH", f"{API}/users", {}, 405, "method"),
        ("GET", f"{API}/ready?x=1", None, 400, "bad_request"),
        ("GET", f"{API}/messages/wait?count=0", None, 400, "bad_request"),
        ("GET", f"{API}/messages/wait?count=1.5", None, 400, "bad_request"),
        ("GET", f"{API}/messages/wait?timeout=nan", None, 400, "bad_request"),
        ("GET", f"{API}/messages/wait?timeout=301", None, 400, "bad_request"),
        ("GET", f"{API}/messages/wait?count=1&count=1", None, 400, "bad_request"),
        ("GET", f"{API}/log?since=yesterday", None, 400, "bad_request"),
        ("GET", f"{API}/log?protocol=ldap", None, 400, "bad_request"),
        ("POST", f"{API}/users", b"", 415, "content_type"),
        ("POST", f"{API}/users", b"{", 400, "bad_request"),
        ("POST", f"{API}/users", b"[]", 400, "bad_request"),
        ("POST", f"{API}/users", b'{"name": "a", "name": "b", "password": "c"}', 400, "bad_request"),
        ("POST", f"{API}/users", b"[" * 100_000, 400, "bad_request"),
        ("POST", f"{API}/users", {"name": "carol"}, 400, "bad_request"),
        ("POST", f"{API}/users", {"name": "carol", "password": 1}, 400, "bad_request"),
        ("POST", f"{API}/users", {"name": "carol", "password": "x", "role": "queen"}, 400, "bad_request"),
        ("POST", f"{API}/users", {"name": "carol", "password": "a\u0007"}, 400, "bad_request"),
        ("POST", f"{API}/users", {"name": "\u00e9" * 70_000, "password": "x"}, 400, "bad_request"),
        ("POST", f"{API}/users", {"name": "alice", "password": "x"}, 409, "conflict"),
        ("POST", f"{API}/clock", {}, 400, "bad_request"),
        ("POST", f"{API}/clock", {"advance": -1}, 400, "bad_request"),
        ("POST", f"{API}/clock", {"advance": True}, 400, "bad_request"),
        ("POST", f"{API}/clock", {"advance": 10**400}, 400, "bad_request"),
        ("POST", f"{API}/clock", {"advance": 1, "set": "2036-01-01T00:00:00Z"}, 400, "bad_request"),
        ("POST", f"{API}/clock", {"set": "2006-01-01T00:00:00Z"}, 400, "bad_request"),
        ("POST", f"{API}/clock", {"set": "2036-01-01"}, 400, "bad_request"),
        ("POST", f"{API}/clock", {"set": "tomorrow"}, 400, "bad_request"),
        ("POST", f"{API}/faults", {"text": "imap:FETCH juggle"}, 400, "bad_request"),
        ("POST", f"{API}/faults", {"text": "hang", "on": "FETCH"}, 400, "bad_request"),
        ("POST", f"{API}/faults", {"protocol": "imap", "on": "FETCH", "do": "drop"}, 400, "bad_request"),
        ("POST", f"{API}/faults", {"text": "x" * 2_000_000}, 400, "bad_request"),
        ("POST", f"{API}/faults", {"text": "imap:X delay " + "9" * 400}, 400, "bad_request"),
        ("POST", f"{API}/faults", {"protocol": "imap", "on": "X", "x" * 2_000_000: 1}, 400, "bad_request"),
        ("DELETE", f"{API}/faults/7", None, 404, "not_found"),
        ("PUT", f"{API}/persona", {"persona": "/etc/passwd"}, 400, "bad_request"),
        ("POST", f"{API}/sessions/999/end", {}, 404, "not_found"),
        ("POST", f"{API}/users/alice/tokens", {"state": "late"}, 400, "bad_request"),
        ("POST", f"{API}/users/alice/tokens", {"lifetime": "1h"}, 400, "bad_request"),
        ("POST", f"{API}/tokens/revoke", {"token": "strange"}, 404, "not_found"),
        ("DELETE", f"{API}/tokens/strange", None, 404, "not_found"),
        ("POST", f"{API}/users/alice/mailboxes/INBOX/messages", {"raw": ""}, 400, "bad_request"),
        ("POST", f"{API}/users/alice/mailboxes/INBOX/messages", {"raw": "a", "flags": [1]}, 400, "bad_request"),
        ("POST", f"{API}/users/alice/mailboxes/INBOX/messages", {"raw": "a", "flags": ["a b"]}, 400, "bad_request"),
        ("POST", f"{API}/users/alice/mailboxes/INBOX/messages", {"raw": "\ud800"}, 400, "bad_request"),
        ("POST", f"{API}/users/alice/mailboxes/INBOX/messages", {"raw": "a", "date": "now"}, 400, "bad_request"),
    ],
)
def test_what_does_not_belong_is_refused_with_a_word_and_a_sentence(
    controlled: Controlled, method: str, path: str, *, body: object, status: int, error: str
) -> None:
    kind = "text/plain" if status == 415 else "application/json"
    reply = controlled.ask(method, path, body, kind=kind)
    assert (reply.status, reply.document["error"]) == (status, error), reply
    assert set(reply.document) == {"error", "detail"}
    assert 0 < len(reply.document["detail"]) <= 300
