"""The token endpoint by itself: what RFC 6749 and RFC 7523 want of it, and that it stops."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import socket
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

import sasl
from sasl.adapters.reference import Verifier, token_endpoint
from sasl.adapters.reference.token_endpoint import MAIL, TokenEndpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

FORM = "application/x-www-form-urlencoded"
JWT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ACCOUNT = "robot@project.example"


def ask(
    endpoint: TokenEndpoint, form: Mapping[str, str] | bytes, path: str = "/token", method: str = "POST", **headers: str
) -> tuple[int, Any]:
    """Send a request; return the status and the document."""
    connection = http.client.HTTPConnection(urlsplit(endpoint.url).netloc, timeout=5)
    body = form if isinstance(form, bytes) else urlencode(form).encode()
    sent = {"Content-Type": FORM, **{name.replace("_", "-"): value for name, value in headers.items()}}
    with contextlib.closing(connection):
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        octets = response.read()
        assert response.getheader("Server") == "saslkit-reference"
        if not octets.startswith(b"{"):
            return response.status, octets.decode()
        assert response.getheader("Cache-Control") == "no-store"
        return response.status, json.loads(octets)


def refresh(info: Mapping[str, str], **more: str) -> dict[str, str]:
    fields = {name: info[name] for name in ("client_id", "client_secret", "refresh_token")}
    return {"grant_type": "refresh_token", **fields, **more}


# --- refresh tokens


def test_a_refresh_token_gets_an_access_token(endpoint: TokenEndpoint) -> None:
    status, answer = ask(endpoint, refresh(endpoint.authorized_user("alice")))
    token = answer.pop("access_token")
    assert (status, answer) == (200, {"token_type": "Bearer", "expires_in": 3600, "scope": MAIL})
    assert endpoint.state(token) == "good"
    asked = endpoint.requests[-1]
    assert (asked.path, asked.grant, asked.outcome, asked.user) == ("/token", "refresh_token", "granted", "alice")


def test_a_client_may_log_in_by_the_header(endpoint: TokenEndpoint) -> None:
    info = endpoint.authorized_user("alice")
    pair = base64.b64encode(f"{info['client_id']}:{info['client_secret']}".encode()).decode()
    form = {"grant_type": "refresh_token", "refresh_token": info["refresh_token"]}
    assert ask(endpoint, form, Authorization=f"Basic {pair}")[0] == 200


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"grant_type": ""}, 400, "invalid_request"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"client_id": "nobody"}, 401, "invalid_client"),
        ({"client_secret": "guess"}, 401, "invalid_client"),
        ({"client_secret": ""}, 401, "invalid_client"),
        ({"refresh_token": ""}, 400, "invalid_request"),
        ({"refresh_token": "guess"}, 400, "invalid_grant"),
        ({"scope": "everything"}, 400, "invalid_scope"),
    ],
    ids=str,
)
def test_a_wrong_request_is_refused_by_its_code(
    endpoint: TokenEndpoint, change: dict[str, str], status: int, error: str
) -> None:
    answer = ask(endpoint, refresh(endpoint.authorized_user("alice")) | change)
    assert (answer[0], answer[1]["error"]) == (status, error)
    assert endpoint.requests[-1].outcome == error


@pytest.mark.parametrize("header", ["Basic !!!", "Basic bm9jb2xvbg==", "Basic " + base64.b64encode(b"\xff:x").decode()])
def test_a_header_that_names_no_client_is_refused(endpoint: TokenEndpoint, header: str) -> None:
    form = refresh(endpoint.authorized_user("alice"))
    assert ask(endpoint, form, Authorization=header)[1]["error"] == "invalid_client"


def test_a_field_that_is_there_twice_is_refused(endpoint: TokenEndpoint) -> None:
    body = urlencode(refresh(endpoint.authorized_user("alice"))).encode()
    assert ask(endpoint, body + b"&scope=a&scope=a")[1]["error"] == "invalid_request"


def test_a_body_of_another_type_is_refused(endpoint: TokenEndpoint) -> None:
    form = refresh(endpoint.authorized_user("alice"))
    assert ask(endpoint, form, Content_Type="application/json")[1]["error"] == "invalid_request"


@pytest.mark.parametrize(
    ("path", "method", "body", "status"),
    [
        ("/elsewhere", "POST", b"", 404),
        ("/token", "GET", b"", 405),
        ("/token", "PUT", b"", 501),
        ("/token", "POST", b"x" * 65_537, 413),
    ],
)
def test_what_is_no_request_for_a_token_is_refused_as_http_has_it(
    endpoint: TokenEndpoint, path: str, method: str, body: bytes, status: int
) -> None:
    assert ask(endpoint, body, path, method)[0] == status


def said(endpoint: TokenEndpoint, octets: bytes) -> bytes:
    """What the endpoint says to octets that are a request, or not quite."""
    where = urlsplit(endpoint.url)
    with socket.create_connection((where.hostname, where.port), 5) as sock, sock.makefile("rb") as file:
        sock.sendall(octets)
        return file.read()


LENGTH = b"Content-Length: %d\r\n"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (b"", 411),
        (b"Transfer-Encoding: chunked\r\n", 411),
        (b"Content-Length: -1\r\n", 400),
        (b"Content-Length: 1x\r\n", 400),
        (b"Content-Length:\r\n", 400),
        (LENGTH % 5 + LENGTH % 6, 400),
        (LENGTH % 5 + b"Transfer-Encoding: chunked\r\n", 400),
        (b"Content-Length: " + b"9" * 15 + b"\r\n", 413),
        (b"Content-Length: " + b"9" * 5_000 + b"\r\n", 400),
    ],
    ids=lambda value: value[:60].decode() if isinstance(value, bytes) else None,
)
def test_a_body_whose_length_is_not_clear_is_refused(endpoint: TokenEndpoint, fields: bytes, status: int) -> None:
    """RFC 9112 section 6.3: who frames it otherwise than a proxy before it takes a part of one request for another."""
    answer = said(endpoint, b"POST /token HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert not endpoint.requests


@pytest.mark.parametrize("fields", [LENGTH % 5 * 2, b"Content-Length: 5, 5\r\n", b"Content-Length: 5 \t\r\n"])
def test_a_length_that_is_clear_is_taken(endpoint: TokenEndpoint, fields: bytes) -> None:
    answer = said(endpoint, b"POST /token HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\na=b&c")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert endpoint.requests[-1].outcome == "invalid_request"


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"nonsense", 400),
        (b"POST /token", 400),
        (b"POST /token SMTP/1.0", 400),
        (b"POST /token HTTP/1.1 and more", 400),
        (b"POST /token HTTP/2.0", 505),
        (b"GET " + b"/" * 70_000, 431),
        (b"GET /token", 400),
    ],
    ids=lambda value: value[:30].decode() if isinstance(value, bytes) else None,
)
def test_a_line_that_is_no_request_gets_an_answer_with_a_status(
    endpoint: TokenEndpoint, line: bytes, status: int
) -> None:
    answer = said(endpoint, line + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_method_that_is_not_allowed_is_told_which_one_is(endpoint: TokenEndpoint) -> None:
    head = said(endpoint, b"GET /token HTTP/1.1\r\nHost: x\r\n\r\n").partition(b"\r\n\r\n")[0]
    assert head.startswith(b"HTTP/1.1 405 ")
    assert b"Allow: POST" in head.split(b"\r\n")


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"POST /token HTTP/1.1\r\nHost: x\r\nX: ",
        b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n",
    ],
    ids=["line", "header", "body"],
)
def test_an_octet_now_and_then_does_not_keep_a_request_open(beginning: bytes) -> None:
    with token_endpoint.running(deadline=0.2) as endpoint:
        where = urlsplit(endpoint.url)
        begun = time.monotonic()
        with socket.create_connection((where.hostname, where.port), 0.02) as sock, contextlib.suppress(OSError):
            sock.sendall(beginning)
            while time.monotonic() < begun + 30:
                sock.sendall(b"x")
                with contextlib.suppress(TimeoutError):  # the pause between two octets
                    assert sock.recv(1) == b""
                    break
        assert time.monotonic() - begun < 30
        assert ask(endpoint, refresh(endpoint.authorized_user("alice")))[0] == 200


def test_an_idle_connection_ends_at_the_deadline() -> None:
    with token_endpoint.running(deadline=0.1) as endpoint:
        assert said(endpoint, b"") == b""


def test_half_a_request_is_not_answered_and_breaks_nothing(
    endpoint: TokenEndpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    where = urlsplit(endpoint.url)
    for octets in (
        b"",
        b"POST",
        b"POST /token HTTP/1.1\r\n",
        b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf",
    ):
        with socket.create_connection((where.hostname, where.port), 5) as sock:
            sock.sendall(octets)
            sock.shutdown(socket.SHUT_WR)
            assert b"200" not in sock.recv(100)
    assert ask(endpoint, refresh(endpoint.authorized_user("alice")))[0] == 200
    assert capsys.readouterr() == ("", "")


def test_a_rotated_refresh_token_is_good_once_and_its_second_use_revokes_the_family(endpoint: TokenEndpoint) -> None:
    endpoint.rotates = True
    first = refresh(endpoint.authorized_user("alice"))
    _, answer = ask(endpoint, first)
    second = {**first, "refresh_token": answer["refresh_token"]}
    _, newer = ask(endpoint, second)
    assert (endpoint.state(answer["access_token"]), endpoint.state(newer["access_token"])) == ("good", "good")
    assert ask(endpoint, first)[1]["error"] == "invalid_grant"
    assert ask(endpoint, {**first, "refresh_token": newer["refresh_token"]})[1]["error"] == "invalid_grant"
    assert (endpoint.state(answer["access_token"]), endpoint.state(newer["access_token"])) == ("revoked", "revoked")


# --- what becomes of a token


def test_a_token_is_good_expired_or_revoked(endpoint: TokenEndpoint) -> None:
    good, old, expired, revoked = (endpoint.issue("alice", lifetime) for lifetime in (None, -1, None, None))
    endpoint.expire(expired)
    endpoint.revoke(revoked)
    states = [endpoint.state(token) for token in (good, old, expired, revoked, "unknown")]
    assert states == ["good", "expired", "expired", "revoked", None]


def test_a_revoked_consent_takes_its_tokens_along_and_no_others(endpoint: TokenEndpoint) -> None:
    info, other = endpoint.authorized_user("alice"), endpoint.authorized_user("alice")
    token = ask(endpoint, refresh(info))[1]["access_token"]
    endpoint.revoke(info["refresh_token"])
    assert endpoint.state(token) == "revoked"
    assert ask(endpoint, refresh(info))[1]["error"] == "invalid_grant"
    assert ask(endpoint, refresh(other))[0] == 200


def test_what_is_not_from_here_cannot_be_changed(endpoint: TokenEndpoint) -> None:
    for change in (endpoint.expire, endpoint.revoke):
        with pytest.raises(sasl.UsageError):
            change("unknown")


def test_the_verifier_of_the_mail_servers_asks_it_first(endpoint: TokenEndpoint) -> None:
    verifier = Verifier({"alice": "wonderland"})
    verifier.add_token("of-the-verifier", "alice")
    checks: Any = endpoint.checks(verifier)
    good, expired, revoked = (endpoint.issue("alice") for _ in range(3))
    endpoint.expire(expired)
    endpoint.revoke(revoked)

    def answer(token: str) -> Any:
        return checks(sasl.CheckToken("alice", sasl.Secret(token), None, None))

    assert answer(good) == sasl.Accepted("alice") == answer("of-the-verifier")
    assert (answer(expired).kind, answer(revoked).kind, answer("unknown").kind) == (
        "expired",
        "credentials",
        "credentials",
    )
    assert checks(sasl.CheckPassword("alice", sasl.Secret("wonderland"))) == sasl.Accepted("alice")
    assert set(checks.answers) == set(verifier.answers)
    assert checks.hashes == verifier.hashes
    row = sasl.lookup("SCRAM-SHA-256")
    assert checks.options(row) == verifier.options(row) == {"decoy": verifier.decoy}


def test_it_keeps_no_token(endpoint: TokenEndpoint) -> None:
    endpoint.rotates = True
    info = endpoint.authorized_user("alice")
    answer = ask(endpoint, refresh(info))[1]
    seen = repr(vars(endpoint)) + repr([vars(thing) for thing in (*endpoint._consents, *endpoint._tokens.values())])
    assert [
        token for token in (info["refresh_token"], answer["access_token"], answer["refresh_token"]) if token in seen
    ] == []


# --- assertions


def b64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


class Signer:
    """A service account that may act for alice."""

    def __init__(self, endpoint: TokenEndpoint) -> None:
        self.endpoint = endpoint
        info = endpoint.service_account(ACCOUNT, ["alice"])
        self.key_id = info["private_key_id"]
        self.key: Any = serialization.load_pem_private_key(info["private_key"].encode(), None)

    def assertion(self, header: dict[str, Any] | None = None, claims: dict[str, Any] | None = None) -> str:
        """A signed assertion; a member that is None is left out."""
        now = int(time.time())
        head = {"alg": "RS256", "typ": "JWT", "kid": self.key_id, **(header or {})}
        body = {"iss": ACCOUNT, "sub": "alice", "scope": MAIL, "aud": self.endpoint.url, "iat": now, "exp": now + 3600}
        parts = [
            b64url(json.dumps({name: value for name, value in part.items() if value is not None}).encode())
            for part in (head, body | (claims or {}))
        ]
        return self.signed(*parts)

    def signed(self, *parts: str) -> str:
        text = ".".join(parts)
        return f"{text}.{b64url(self.key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def ask(self, assertion: str) -> tuple[int, Any]:
        return ask(self.endpoint, {"grant_type": JWT, "assertion": assertion})


@pytest.fixture(scope="module")
def _signer(_token_endpoint: TokenEndpoint) -> Signer:
    return Signer(_token_endpoint)


@pytest.fixture
def signer(_signer: Signer, endpoint: TokenEndpoint) -> Signer:
    assert endpoint is _signer.endpoint
    return _signer


@pytest.mark.parametrize(
    ("claims", "user"),
    [
        ({}, "alice"),
        ({"sub": None}, ACCOUNT),
        ({"sub": ACCOUNT}, ACCOUNT),
        ({"aud": "https://oauth2.googleapis.com/token"}, "alice"),
    ],
    ids=["delegated", "itself", "itself by name", "as google-auth has it"],
)
def test_a_signed_assertion_gets_a_token_for_its_subject(signer: Signer, claims: dict[str, Any], user: str) -> None:
    status, answer = signer.ask(signer.assertion(claims=claims))
    asked = signer.endpoint.requests[-1]
    assert (status, asked.user, asked.grant) == (200, user, "jwt-bearer")
    assert signer.endpoint.state(answer["access_token"]) == "good"
    assert "refresh_token" not in answer


@pytest.mark.parametrize(
    ("header", "claims", "error"),
    [
        ({"alg": "none"}, {}, "invalid_grant"),
        ({"alg": "HS256"}, {}, "invalid_grant"),
        ({"alg": "RS512"}, {}, "invalid_grant"),
        ({"alg": ["RS256"]}, {}, "invalid_grant"),
        ({"kid": "another"}, {}, "invalid_grant"),
        ({"kid": None}, {}, "invalid_grant"),
        ({"crit": ["exp"]}, {}, "invalid_grant"),
        ({}, {"iss": "somebody@else.example"}, "invalid_grant"),
        ({}, {"iss": ["x"]}, "invalid_grant"),
        ({}, {"iss": None}, "invalid_grant"),
        ({}, {"aud": "https://elsewhere.example/token"}, "invalid_grant"),
        ({}, {"aud": None}, "invalid_grant"),
        ({}, {"aud": ["https://oauth2.googleapis.com/token"]}, "invalid_grant"),
        ({}, {"exp": None}, "invalid_grant"),
        ({}, {"iat": None}, "invalid_grant"),
        ({}, {"exp": True}, "invalid_grant"),
        ({}, {"iat": 1.5}, "invalid_grant"),
        ({}, {"sub": ""}, "invalid_grant"),
        ({}, {"sub": ["alice"]}, "invalid_grant"),
        ({}, {"sub": "bob"}, "unauthorized_client"),
        ({}, {"scope": None}, "invalid_scope"),
        ({}, {"scope": "everything"}, "invalid_scope"),
    ],
    ids=lambda part: re.sub(r"\d{10}", "TIME", str(part)),  # the same ones in each run
)
def test_an_assertion_that_says_something_else_is_refused(
    signer: Signer, header: dict[str, Any], claims: dict[str, Any], error: str
) -> None:
    assert signer.ask(signer.assertion(header, claims))[1]["error"] == error


@pytest.mark.parametrize(
    ("issued", "expires"),
    [(-7_200, -3_600), (600, 4_200), (0, 86_400)],
    ids=["over", "not yet", "for a whole day"],
)
def test_an_assertion_of_another_time_is_refused(signer: Signer, issued: int, expires: int) -> None:
    now = int(time.time())
    answer = signer.ask(signer.assertion(claims={"iat": now + issued, "exp": now + expires}))[1]
    assert answer["error"] == "invalid_grant"


def test_an_assertion_whose_times_are_texts_is_refused(signer: Signer) -> None:
    assert signer.ask(signer.assertion(claims={"exp": str(int(time.time()) + 600)}))[1]["error"] == "invalid_grant"


def test_an_assertion_by_another_key_is_refused(signer: Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signer, "key", rsa.generate_private_key(public_exponent=65_537, key_size=2_048))
    answer = signer.ask(signer.assertion())[1]
    assert answer == {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: "a.b",
        lambda text: text + ".x",
        lambda text: text.rpartition(".")[0] + ".",
        lambda text: text.rpartition(".")[0] + ".AAAA",
        lambda text: text + "=",
        lambda text: text[:-1] + "!",
        lambda text: text.replace(".", "..", 1),
        lambda text: "\u0430" + text,
        lambda text: "bm90IGpzb24." + text.partition(".")[2],
        lambda text: b64url(b'{"alg":"none","alg":"RS256"}') + "." + text.partition(".")[2],
        lambda text: b64url(b"[" * 9_000) + "." + text.partition(".")[2],
        lambda text: b64url(b"\xff") + "." + text.partition(".")[2],
    ],
)
def test_an_assertion_that_is_no_jwt_is_refused(signer: Signer, change: Any) -> None:
    assert signer.ask(change(signer.assertion()))[1]["error"] == "invalid_grant"


@pytest.mark.parametrize("part", [0, 1], ids=["header", "claims"])
def test_a_member_that_is_there_twice_is_refused_although_it_is_signed(signer: Signer, part: int) -> None:
    parts = signer.assertion().split(".")[:2]
    text = base64.urlsafe_b64decode(parts[part] + "=" * (-len(parts[part]) % 4)).decode()
    assert signer.ask(signer.signed(*parts))[0] == 200
    parts[part] = b64url(('{"kid": "x", "sub": "bob", ' + text.removeprefix("{")).encode())
    assert signer.ask(signer.signed(*parts))[1]["error"] == "invalid_grant"


def test_each_octet_of_an_assertion_counts(signer: Signer) -> None:
    good = signer.assertion()
    for place in range(0, len(good), 41):
        changed = good[:place] + ("A" if good[place] != "A" else "B") + good[place + 1 :]
        assert signer.ask(changed)[1]["error"] == "invalid_grant", place


def test_a_bug_of_ours_is_logged_by_its_place_and_not_shown_to_the_client(
    endpoint: TokenEndpoint,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def grant(*_arguments: object) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(TokenEndpoint, "grant", grant)
    with pytest.raises(http.client.RemoteDisconnected):
        ask(endpoint, refresh(endpoint.authorized_user("alice")))
    [record] = caplog.records
    assert record.getMessage().startswith("the HTTP server failed with ZeroDivisionError at ")
    assert "a secret" not in caplog.text
    assert capsys.readouterr() == ("", "")
    caplog.clear()


# --- starting and stopping


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "192.0.2.1", "example.org", "127.0.0.2"])
def test_it_is_for_this_machine_only(host: str) -> None:
    with pytest.raises(sasl.UsageError), token_endpoint.running(host=host):
        pass


def test_it_can_be_had_by_ipv6() -> None:
    with token_endpoint.running(host="::1") as endpoint:
        assert endpoint.url.startswith("http://[::1]:")
        assert ask(endpoint, refresh(endpoint.authorized_user("alice")))[0] == 200


def test_a_port_that_is_taken_is_an_error() -> None:
    with token_endpoint.running() as endpoint:
        port = urlsplit(endpoint.url).port or 0
        with pytest.raises(OSError), token_endpoint.running(port=port):
            pass


def test_it_stops_at_once_whatever_its_clients_do() -> None:
    before = threading.active_count()
    begun = time.monotonic()
    with contextlib.ExitStack() as stack, token_endpoint.running() as endpoint:
        where = urlsplit(endpoint.url)
        endpoint.faults += ["hang", "drip"]
        body = urlencode(refresh(endpoint.authorized_user("alice"))).encode()
        request = b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        for octets in (request, request, b"", b"POST /tok", request[:-1]):
            sock = stack.enter_context(socket.create_connection((where.hostname, where.port), 5))
            sock.sendall(octets)
        while len(endpoint.requests) < 2:
            assert time.monotonic() < begun + 30
    assert time.monotonic() - begun < 30  # its own deadlines are longer
    assert threading.active_count() == before


def test_nothing_is_left_when_the_block_fails() -> None:
    with pytest.raises(ZeroDivisionError), token_endpoint.running() as endpoint:
        raise ZeroDivisionError
    with pytest.raises(OSError):
        ask(endpoint, b"")
