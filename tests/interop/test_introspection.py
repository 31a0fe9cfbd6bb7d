"""Dovecot asks a server about tokens (RFC 7662): what it says of good and bad ones, and of those nobody can check."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

import sasl
import sasl.adapters.imaplib
import sasl.adapters.poplib
import sasl.adapters.smtplib

from ..support.protocols import PROTOCOLS
from ..support.servers import HOST
from . import dovecot as dovecot_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .dovecot import Dovecot

    Start = Callable[..., Iterator[Any]]

MAILBOX = "alice@example.org"
CLAIMS = {"active": True, "email": MAILBOX, "scope": "mail", "iss": "https://lab.example"}
YES: dict[str, object] = {"imap": ("OK", [b"Logged in"]), "pop": b"+OK Logged in.", "smtp": (235, b"2.7.0 Logged in.")}
REFUSED = {"imap": "AUTHENTICATIONFAILED", "pop": "AUTH", "smtp": "535 5.7.8"}
TRY_LATER = {"imap": "UNAVAILABLE", "pop": "SYS/TEMP", "smtp": "454 4.7.0"}
protocols = pytest.mark.parametrize("protocol", list(YES))
mechanisms = pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])


class Endpoint(ThreadingHTTPServer):
    """Says of a token what `answers` has: a status and a body. Of any other one, that it is not active."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Question)
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/introspect"

    def knows(self, token: str) -> str:
        self.says(token, 200, CLAIMS)
        return token

    def says(self, token: str, status: int, body: object) -> None:
        self.answers[token] = status, json.dumps(body).encode("ascii")


class Question(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Endpoint

    def do_GET(self) -> None:
        token = self.headers["Authorization"].removeprefix("Bearer ")
        self.server.asked.append(token)
        status, body = self.server.answers.get(token, (200, b'{"active": false}'))
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def asking(start: Callable[..., Iterator[Dovecot]], endpoint: Endpoint) -> Iterator[Dovecot]:
    """A Dovecot that asks the endpoint."""
    yield from start(dovecot_module.running, introspection=endpoint.url)


@contextmanager
def connected(server: Dovecot, protocol: str) -> Iterator[Any]:
    port = server.port(protocol, implicit=True)
    with PROTOCOLS[protocol].connected(port, server.context(), host=HOST) as conn:
        yield conn


def log_in(conn: Any, protocol: str, mechanism: str, token: str, user: str = MAILBOX) -> object:
    answer: object = PROTOCOLS[protocol].binding.authenticate(conn, sasl.Bearer(user, token), mechanism=mechanism)
    return answer


@pytest.mark.parametrize("length", [20, 300, 3000])
@mechanisms
@protocols
def test_a_token_that_the_endpoint_knows_logs_in(
    asking: Dovecot, endpoint: Endpoint, protocol: str, mechanism: str, length: int
) -> None:
    token = endpoint.knows("good-" + "t" * (length - 5))
    with connected(asking, protocol) as conn:
        assert log_in(conn, protocol, mechanism, token) == YES[protocol]

    assert endpoint.asked[-1] == token


# What is wrong with the token: what the endpoint says of it, or None where it does not know it.
BAD = {
    "unknown": None,
    "expired-or-revoked": (200, {"active": False}),  # RFC 7662 section 2.2: no more is said of one
    "of-another-user": (200, {**CLAIMS, "email": "bob"}),
    "for-another-scope": (200, {**CLAIMS, "scope": "calendar"}),
}


@pytest.mark.parametrize("bad", list(BAD))
@mechanisms
@protocols
def test_a_token_that_the_endpoint_does_not_vouch_for_is_refused_and_another_serves_then(
    asking: Dovecot, endpoint: Endpoint, protocol: str, mechanism: str, bad: str
) -> None:
    token, said = f"bad-{bad}", BAD[bad]
    if said is not None:
        endpoint.says(token, *said)
    with connected(asking, protocol) as conn:
        with pytest.raises(PROTOCOLS[protocol].refused) as refused:
            log_in(conn, protocol, mechanism, token)
        assert endpoint.asked[-1] == token

        assert log_in(conn, protocol, mechanism, endpoint.knows("good-token")) == YES[protocol]

    error: Any = refused.value
    assert isinstance(error, sasl.AuthenticationFailed)
    assert (error.kind, error.response_code) == ("credentials", REFUSED[protocol])
    assert error.detail == asking.refusals[mechanism]
    assert error.new_token_may_help


DOWN: dict[str, tuple[int, object]] = {
    "500": (500, {}),
    "503-with-a-verdict-in-it": (503, {**CLAIMS, "active": False}),
    "401-without-a-user": (401, {"error": "invalid_token"}),
    "no-object": (200, "what?"),
    "no-claims": (200, {}),
}


@pytest.mark.parametrize("down", list(DOWN))
@mechanisms
@protocols
def test_a_token_that_nobody_can_check_is_not_refused_and_logs_in_once_the_endpoint_works_again(
    asking: Dovecot, endpoint: Endpoint, protocol: str, mechanism: str, down: str
) -> None:
    token = f"later-{down}-{protocol}-{mechanism}"
    endpoint.says(token, *DOWN[down])
    with connected(asking, protocol) as conn:
        with pytest.raises(PROTOCOLS[protocol].refused) as failed:
            log_in(conn, protocol, mechanism, token)
        assert endpoint.asked[-1] == token

        endpoint.knows(token)
        assert log_in(conn, protocol, mechanism, token) == YES[protocol]

    error: Any = failed.value
    assert isinstance(error, sasl.TemporaryFailure)
    assert not isinstance(error, sasl.AuthenticationFailed)
    assert (error.kind, error.response_code) == ("unavailable", TRY_LATER[protocol])
    assert error.detail == {}
