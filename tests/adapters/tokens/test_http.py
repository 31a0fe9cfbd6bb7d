"""The request to a token endpoint: certificates, redirects, proxies, time, size, and what HTTP can get wrong."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

import pytest

import sasl
from sasl.adapters.tokens import http as _http
from sasl.adapters.tokens.google import Request

from .conftest import reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import trustme

    from sasl.adapters.reference.token_endpoint import TokenEndpoint

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
BODY = b"grant_type=refresh_token&refresh_token=very-secret"
GOOD = reply({"access_token": "good"})
ENDLESS = 30.0
"""Seconds: far more than anything here takes on a busy machine, and less than what waits in vain would."""


def post(url: str, **settings: Any) -> Any:
    return Request(timeout=5.0, **settings)(url, method="POST", body=BODY, headers=FORM)


def failure(url: str, **settings: Any) -> sasl.TokenError:
    with pytest.raises(sasl.TokenError) as caught:
        post(url, **settings)
    return caught.value


# --- where it goes


def test_the_request_is_plain_http(scripted: Callable[..., Any]) -> None:
    server = scripted(GOOD)
    response = post(server.url + "?a=b")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert (response.status, json.loads(response.data)) == (200, {"access_token": "good"})
    assert response.headers["content-length"] == str(len(response.data))
    assert body == BODY
    port = server.url.split(":")[2].split("/")[0].encode()
    assert sorted(head.split(b"\r\n")) == [
        b"Accept-Encoding: identity",
        b"Connection: close",
        b"Content-Length: %d" % len(BODY),
        b"Content-Type: application/x-www-form-urlencoded",
        b"Host: localhost:" + port,
        b"POST /token?a=b HTTP/1.1",
    ]


def test_a_certificate_that_is_trusted_is_taken(
    scripted: Callable[..., Any], server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    server = scripted(GOOD, context=server_context)
    assert post(server.url, context=client_context).status == 200


def test_a_certificate_that_is_not_trusted_gets_no_request(
    scripted: Callable[..., Any], server_context: ssl.SSLContext
) -> None:
    server = scripted(GOOD, context=server_context)
    error = failure(server.url)
    assert (error.code, error.retryable, error.needs_user) == ("certificate", False, False)
    assert server.requests == []


def test_a_certificate_for_another_name_gets_no_request(
    scripted: Callable[..., Any], authority: trustme.CA, client_context: ssl.SSLContext
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.example").configure_cert(context)
    server = scripted(GOOD, context=context)
    assert failure(server.url, context=client_context).code == "certificate"
    assert server.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(scripted: Callable[..., Any], status: int) -> None:
    elsewhere = scripted(GOOD)
    head = b"HTTP/1.1 %d Elsewhere\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (status, elsewhere.url.encode())
    server = scripted(head)
    assert failure(server.url).code == f"http_{status}"
    assert elsewhere.requests == []


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_sees_nothing(
    scripted: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    proxy, server = scripted(GOOD), scripted(GOOD)
    monkeypatch.setenv(name, proxy.url)
    assert post(server.url).status == 200
    assert proxy.requests == []


def test_debug_output_for_all_of_http_shows_nothing_of_it(
    scripted: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    post(scripted(GOOD).url)
    assert capsys.readouterr() == ("", "")


# --- what comes back


@pytest.mark.parametrize(
    ("answer", "code", "retryable"),
    [
        (b"", "unreachable", True),
        (b"HTTP/1.1 200 OK\r\n", "bad_response", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "unreachable", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", "unreachable", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{", "unreachable", True),
        (b"* OK IMAP4rev1 ready\r\n", "bad_response", False),
        (b"220 mx.example ESMTP\r\n", "bad_response", False),
        (b"\0" * 100, "bad_response", False),
        (b"HTTP/1.1 OK 200\r\n\r\n", "bad_response", False),
        (b"HTTP/1.1 200 " + b"O" * 70_000 + b"\r\n\r\n", "bad_response", False),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "bad_response", False),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", "bad_response", False),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 65_537, "bad_response", False),
        (reply(b" " * 65_537), "bad_response", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n" + b" " * 131_072, "bad_response", False),
    ],
    ids=lambda value: str(value)[:70] if isinstance(value, bytes) else None,
)
def test_what_is_no_answer_is_told(scripted: Callable[..., Any], answer: bytes, code: str, *, retryable: bool) -> None:
    error = failure(scripted(answer).url)
    assert (error.code, error.retryable, error.needs_user) == (code, retryable, False)


@pytest.mark.parametrize(
    "answer",
    [
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{"access\r\n10\r\n_token": "good"}\r\n0\r\n\r\n',
        b'HTTP/1.0 200 OK\r\n\r\n{"access_token": "good"}',
        b'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{"access_token": "good"}',
        b'HTTP/1.1 200\r\nContent-Length: 24\r\n\r\n{"access_token": "good"} and more',
    ],
    ids=["chunked", "to the end", "after 100", "with something behind it"],
)
def test_an_answer_may_be_framed_as_http_allows(scripted: Callable[..., Any], answer: bytes) -> None:
    assert json.loads(post(scripted(answer).url).data) == {"access_token": "good"}


def test_an_answer_shows_only_its_size(scripted: Callable[..., Any]) -> None:
    assert repr(post(scripted(GOOD).url)) == "Response(status=200, <24 octets>)"


@pytest.mark.parametrize(("secret", "shown"), [("q7!", True), ("q7!x", False), ("q7!xy", False)])
def test_a_secret_that_is_said_back_is_not_shown_unless_it_is_as_short_as_what_stands_anywhere(
    scripted: Callable[..., Any], secret: str, *, shown: bool
) -> None:
    server = scripted(reply({"error": "invalid_request", "error_description": f"what is {secret} for"}, 400))
    body = f"grant_type=refresh_token&refresh_token={secret}".encode()
    with pytest.raises(sasl.TokenError) as caught:
        Request(timeout=5.0)(server.url, method="POST", body=body, headers=FORM)
    assert (secret in str(caught.value)) is shown
    assert ("what is *** for" in str(caught.value)) is not shown


GRANT = "1//0gAbCdEfGhIjKlMnOpQrStUvWxYz-0123456789_x"


@pytest.mark.parametrize(
    "said",
    [
        GRANT[:-3],
        GRANT[3:],
        GRANT[5:17],
        f"{GRANT[:20]}...{GRANT[-14:]}",
        base64.b64encode(GRANT.encode()).decode(),
        base64.b64encode(GRANT.encode()).decode()[8:40],
        GRANT.encode().hex(),
        GRANT.upper(),
        quote_plus(GRANT),
        base64.b64encode(f"grant_type=refresh_token&refresh_token={quote_plus(GRANT)}".encode()).decode(),
    ],
)
def test_no_part_of_a_secret_that_is_said_back_is_shown_in_whatever_form(
    scripted: Callable[..., Any], said: str
) -> None:
    server = scripted(reply({"error": "invalid_request", "error_description": f"what is {said}"}, 400))
    body = f"grant_type=refresh_token&refresh_token={quote_plus(GRANT)}".encode()
    with pytest.raises(sasl.TokenError) as caught:
        Request(timeout=5.0)(server.url, method="POST", body=body, headers=FORM)
    text = str(caught.value)
    assert text.startswith("the token endpoint says no: invalid_request: what is ***")
    assert not any(said[at : at + 12] in text for at in range(len(said) - 11))


@pytest.mark.parametrize(("length", "whole"), [(199, True), (200, True), (201, False)])
def test_so_much_of_what_an_endpoint_says_is_shown(scripted: Callable[..., Any], length: int, *, whole: bool) -> None:
    said = "why " * (length // 4) + "." * (length % 4)
    server = scripted(reply({"error": "invalid_request", "error_description": said}, 400))
    assert (said in str(failure(server.url))) is whole
    assert said[:199].rstrip() in str(failure(server.url))


@pytest.mark.parametrize(("length", "is_code"), [(0, False), (1, True), (64, True), (65, False)])
def test_a_code_is_a_short_word(scripted: Callable[..., Any], length: int, *, is_code: bool) -> None:
    server = scripted(reply({"error": "x" * length}, 400))
    assert failure(server.url).code == ("x" * length if is_code else "http_400")


@pytest.mark.parametrize(("lifetime", "taken"), [("", False), ("1", True), ("9" * 9, True), ("9" * 10, False)])
def test_a_lifetime_in_a_text_is_a_number_that_is_not_absurd(
    scripted: Callable[..., Any], lifetime: str, *, taken: bool
) -> None:
    server = scripted(reply({"access_token": "good", "expires_in": lifetime}))
    if taken:
        assert post(server.url).status == 200
    else:
        assert "lifetime" in str(failure(server.url))


@pytest.mark.parametrize(
    ("lifetime", "taken"), [(1e9, True), (-1e9, True), (1e9 + 1, False), (-1e9 - 1, False), (True, False), (None, True)]
)
def test_so_is_one_in_a_number(scripted: Callable[..., Any], lifetime: float | None, *, taken: bool) -> None:
    server = scripted(reply({"access_token": "good", "expires_in": lifetime}))
    if taken:
        assert post(server.url).status == 200
    else:
        assert "lifetime" in str(failure(server.url))


@pytest.mark.parametrize(("token", "taken"), [("", False), ("=", False), ("a", True), ("a=", True), ("a==", True)])
def test_a_token_is_what_a_header_can_carry(scripted: Callable[..., Any], token: str, *, taken: bool) -> None:
    server = scripted(reply({"access_token": token}))
    if taken:
        assert post(server.url).status == 200
    else:
        assert "access token" in str(failure(server.url))


@pytest.mark.parametrize(("size", "taken"), [(65_535, True), (65_536, True), (65_537, False)])
def test_an_answer_has_a_largest_size(scripted: Callable[..., Any], size: int, *, taken: bool) -> None:
    server = scripted(reply(b'{"access_token": "good"}'.ljust(size)))
    if taken:
        assert len(post(server.url).data) == size
    else:
        assert failure(server.url).code == "bad_response"


@pytest.mark.parametrize(("status", "retryable"), [(499, False), (500, True)])
def test_a_fault_of_the_server_may_pass(scripted: Callable[..., Any], status: int, *, retryable: bool) -> None:
    assert failure(scripted(reply({}, status)).url).retryable is retryable


def test_a_no_to_a_question_without_a_body_is_google_auths_matter(scripted: Callable[..., Any]) -> None:
    assert Request(timeout=5.0)(scripted(reply({}, 499)).url).status == 499
    with pytest.raises(sasl.TokenError) as caught:
        Request(timeout=5.0)(scripted(reply({}, 500)).url)
    assert caught.value.retryable


def test_a_url_needs_a_host() -> None:
    assert failure("https://").code == "bad_endpoint"
    assert failure("https:///").code == "bad_endpoint"


# --- time


@pytest.fixture
def dripping() -> Iterator[Callable[[bytes], str]]:
    """dripping(beginning) -> URL of a server that says this, and then an octet every few milliseconds, for ever."""
    stopped = threading.Event()
    with contextlib.ExitStack() as stack:

        def start(beginning: bytes) -> str:
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def drip() -> None:
                with contextlib.suppress(OSError):
                    sock, _ = listening.accept()
                    with sock:
                        sock.sendall(beginning)
                        while not stopped.wait(0.02):
                            sock.sendall(b"x")

            thread = threading.Thread(target=drip, daemon=True)
            thread.start()
            stack.callback(thread.join, 5)
            stack.callback(stopped.set)
            return f"://localhost:{listening.getsockname()[1]}/"

        yield start


@pytest.mark.parametrize(
    ("scheme", "beginning"),
    [
        ("http", b""),
        ("http", b"HTTP/1.1 200 OK\r\nX: "),
        ("http", b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"),
        ("http", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("https", b"\x16\x03\x03\x40\x00\x02"),
    ],
    ids=["status", "header", "body", "chunk", "handshake"],
)
def test_a_slow_answer_has_one_deadline_for_all_of_it(
    dripping: Callable[[bytes], str], scheme: str, beginning: bytes
) -> None:
    url = scheme + dripping(beginning)
    begun = time.monotonic()
    with pytest.raises(sasl.TokenError) as caught:
        Request(timeout=0.2)(url, method="POST", body=BODY, headers=FORM)
    assert (caught.value.code, caught.value.retryable) == ("timeout", True)
    assert 0.15 < time.monotonic() - begun < ENDLESS


def test_a_time_out_of_google_auths_is_kept_where_it_is_the_shorter_one(endpoint: TokenEndpoint) -> None:
    endpoint.faults.append("hang")
    begun = time.monotonic()
    with pytest.raises(sasl.TokenError):
        Request(timeout=60)(endpoint.url, method="POST", body=BODY, headers=FORM, timeout=0.2)
    assert time.monotonic() - begun < ENDLESS


@pytest.fixture
def silent() -> Iterator[tuple[str, int]]:
    """An address that answers no connection: those that it takes are all taken."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address: tuple[str, int] = listening.getsockname()
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(address)
        yield address


@pytest.fixture
def resolves(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """resolves(address, ...): a host that has these addresses, one after the other."""

    def to(*addresses: tuple[str, int]) -> None:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_named: found)

    return to


def test_all_addresses_of_a_host_have_one_deadline(
    silent: tuple[str, int], resolves: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolves(*[silent] * 300)
    begun = time.monotonic()
    with pytest.raises(sasl.TokenError) as caught:
        Request(timeout=0.3)("http://localhost/", method="POST", body=BODY, headers=FORM)
    assert (caught.value.code, caught.value.retryable) == ("timeout", True)
    assert time.monotonic() - begun < ENDLESS  # 90 if each had its own


def test_an_address_that_does_not_answer_leaves_time_for_the_next(
    silent: tuple[str, int], resolves: Callable[..., None], scripted: Callable[..., Any]
) -> None:
    server = scripted(GOOD)
    resolves(silent, ("127.0.0.1", int(server.url.split(":")[2].split("/")[0])))
    assert Request(timeout=1.0)(server.url, method="POST", body=BODY, headers=FORM).status == 200


def test_a_host_without_an_address_cannot_be_reached(resolves: Callable[..., None]) -> None:
    resolves()
    error = failure("http://localhost/")
    assert (error.code, error.retryable) == ("no_connection", True)


def test_a_time_out_may_be_what_is_left_of_another(endpoint: TokenEndpoint) -> None:
    endpoint.faults.append("hang")
    left = [0.2, 0.0]
    begun = time.monotonic()
    for _ in range(2):
        with pytest.raises(sasl.TokenError) as caught:
            Request(timeout=lambda: left.pop(0))(endpoint.url, method="POST", body=BODY, headers=FORM)
        assert (caught.value.code, caught.value.retryable) == ("timeout", True)
    assert time.monotonic() - begun < 8  # 10 if it were the usual one


# --- what google-auth asks besides


@pytest.mark.parametrize("host", ["169.254.169.254", "metadata.google.internal"])
def test_a_machine_at_google_may_be_asked_without_tls_but_told_nothing(host: str) -> None:
    url = f"http://{host}/computeMetadata/v1/instance/service-accounts/robot@project.example/token"
    assert _http._parts(url, "GET").hostname == host
    assert failure(url).code == "bad_endpoint"


@pytest.mark.parametrize("status", [200, 302, 404])
def test_a_question_without_a_body_is_answered_as_it_is(scripted: Callable[..., Any], status: int) -> None:
    response = Request()(scripted(reply(b"project-id", status)).url, method="GET")
    assert (response.status, response.data) == (status, b"project-id")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_google_auth_repeats_nothing_by_itself(scripted: Callable[..., Any], status: int) -> None:
    with pytest.raises(sasl.TokenError) as caught:
        Request()(scripted(reply(b"", status)).url, method="GET")
    assert caught.value.retryable


def test_the_answer_to_a_body_that_is_no_form_is_not_taken_for_that_of_a_token_endpoint(
    scripted: Callable[..., Any],
) -> None:
    server = scripted(reply({"accessToken": "x"}))
    response = Request()(server.url, method="POST", body=b"{}", headers={"content-type": "application/json"})
    assert json.loads(response.data) == {"accessToken": "x"}
