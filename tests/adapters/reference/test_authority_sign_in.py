"""The reference authority's sign-ins with a person: codes with PKCE, device codes; its metadata, keys, registration."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import re
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
import pytest

import sasl
from sasl.adapters.reference import token_endpoint
from sasl.adapters.reference.signed import base64url
from sasl.adapters.tokens.metadata import discover
from sasl.adapters.tokens.registration import register

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sasl.adapters.reference.token_endpoint import TokenEndpoint

FORM = "application/x-www-form-urlencoded"
BACK = "http://127.0.0.1/done"
VERIFIER = "v" * 43
CHALLENGE = base64url(hashlib.sha256(VERIFIER.encode()).digest())
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


@pytest.fixture
def now() -> list[float]:
    return [1_800_000_000.0]


@pytest.fixture
def authority(now: list[float]) -> Iterator[TokenEndpoint]:
    with token_endpoint.running(clock=lambda: now[0]) as running:
        running.register("app", redirect_uris=[BACK, "https://app.example/done"])
        running.register("other", secret="s3cret")
        running.answers = "allow"
        yield running


def ask(
    authority: TokenEndpoint, target: str, form: object = None, kind: str = FORM
) -> tuple[int, http.client.HTTPMessage, str]:
    """Get a page, or post a form or a document; return status, headers and text."""
    connection = http.client.HTTPConnection(urlsplit(authority.url).netloc, timeout=5)
    body = urlencode(form) if isinstance(form, dict) else form
    with contextlib.closing(connection):
        connection.request("GET" if body is None else "POST", target, body, {"Content-Type": kind})  # type: ignore[arg-type]
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()


def post(authority: TokenEndpoint, path: str, **form: str) -> Any:
    return json.loads(ask(authority, path, form)[2] or "{}")


def question(**changes: str) -> str:
    fields = {
        "client_id": "app",
        "response_type": "code",
        "redirect_uri": "http://127.0.0.1:4711/done",
        "scope": "mail",
        "state": "S",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    return "/authorize?" + urlencode({name: text for name, text in (fields | changes).items() if text})


def sent(authority: TokenEndpoint, **changes: str) -> dict[str, str]:
    """What the browser brings back to the client."""
    status, headers, _ = ask(authority, question(**changes))
    assert status == 303
    return dict(parse_qsl(urlsplit(headers["Location"]).query))


def redeem(authority: TokenEndpoint, code: str, /, **changes: str) -> Any:
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": "http://127.0.0.1:4711/done"}
    return post(authority, "/token", **form | {"client_id": "app", "code_verifier": VERIFIER} | changes)


# --- authorization codes


def test_a_code_with_its_verifier_gets_tokens_that_are_renewed(authority: TokenEndpoint) -> None:
    answer = sent(authority)
    assert (answer["state"], answer["iss"]) == ("S", authority.issuer)
    tokens = redeem(authority, answer["code"])
    assert (tokens["scope"], authority.state(tokens["access_token"])) == ("mail", "good")
    asked = authority.requests[-1]
    assert (asked.grant, asked.user) == ("authorization_code", "alice")
    form = {"grant_type": "refresh_token", "client_id": "app", "refresh_token": tokens["refresh_token"]}
    assert post(authority, "/token", **form)["scope"] == "mail"
    assert post(authority, "/token", **form, scope="mail more")["error"] == "invalid_scope"


def test_a_code_whose_answer_was_lost_is_used_up_with_what_it_gave(authority: TokenEndpoint) -> None:
    code = sent(authority)["code"]
    authority.faults.append("500-after")
    form = {"grant_type": "authorization_code", "code": code, "client_id": "app", "code_verifier": VERIFIER}
    assert ask(authority, "/token", form | {"redirect_uri": "http://127.0.0.1:4711/done"})[0] == 500
    assert (authority.requests[-1].outcome, authority.requests[-1].user) == ("500-after", "alice")
    assert redeem(authority, code)["error"] == "invalid_grant"


def test_a_code_that_is_used_twice_revokes_what_it_gave(authority: TokenEndpoint) -> None:
    code = sent(authority)["code"]
    tokens = redeem(authority, code)
    assert redeem(authority, code)["error"] == "invalid_grant"
    assert authority.state(tokens["access_token"]) == "revoked"
    form = {"grant_type": "refresh_token", "client_id": "app", "refresh_token": tokens["refresh_token"]}
    assert post(authority, "/token", **form)["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "change",
    [
        {"code_verifier": "w" * 43},
        {"code_verifier": ""},
        {"code_verifier": CHALLENGE},
        {"redirect_uri": "http://127.0.0.1:4712/done"},
        {"redirect_uri": ""},
        {"client_id": "other", "client_secret": "s3cret"},
        {"code": "guess"},
    ],
    ids=str,
)
def test_a_code_is_good_for_nothing_else(authority: TokenEndpoint, change: dict[str, str]) -> None:
    assert redeem(authority, sent(authority)["code"], **change)["error"] == "invalid_grant"


def test_who_guesses_the_verifier_has_one_try(authority: TokenEndpoint) -> None:
    code = sent(authority)["code"]
    redeem(authority, code, code_verifier="w" * 43)
    assert redeem(authority, code)["error"] == "invalid_grant"


def test_a_code_is_good_for_a_minute(authority: TokenEndpoint, now: list[float]) -> None:
    code = sent(authority)["code"]
    now[0] += 60
    assert redeem(authority, code)["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "change",
    [
        {"client_id": "nobody"},
        {"client_id": ""},
        {"redirect_uri": ""},
        {"redirect_uri": "https://mallory.example/done"},
        {"redirect_uri": "https://app.example/done/more"},
        {"redirect_uri": "https://app.example:444/done"},
        {"redirect_uri": "http://127.0.0.1:4711/elsewhere"},
        {"redirect_uri": "http://127.0.0.1:4711@mallory.example/done"},
        {"redirect_uri": "http://localhost:4711/done"},
    ],
    ids=str,
)
def test_a_browser_is_sent_nowhere_that_is_not_registered(authority: TokenEndpoint, change: dict[str, str]) -> None:
    status, headers, _ = ask(authority, question(**change))
    assert (status, headers["Location"]) == (400, None)


def test_localhost_is_of_any_port_where_it_is_registered(authority: TokenEndpoint) -> None:
    authority.register("outlook", redirect_uris=["http://localhost"])
    asked = {"client_id": "outlook", "redirect_uri": "http://localhost:4711"}
    assert redeem(authority, sent(authority, **asked)["code"], **asked)["scope"] == "mail"
    for elsewhere in ("http://localhost.mallory.example:4711", "http://localhost:4711/more", "http://127.0.0.1:4711"):
        status, headers, _ = ask(authority, question(client_id="outlook", redirect_uri=elsewhere))
        assert (status, headers["Location"]) == (400, None)


def test_who_asks_for_no_scope_is_told_what_he_got(authority: TokenEndpoint) -> None:
    assert redeem(authority, sent(authority, scope="")["code"])["scope"] == token_endpoint.MAIL


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": ""}, "invalid_request"),
    ],
    ids=str,
)
def test_a_wrong_question_is_refused_where_it_came_from(
    authority: TokenEndpoint, change: dict[str, str], error: str
) -> None:
    answer = sent(authority, **change)
    assert (answer["error"], answer["state"], answer["iss"]) == (error, "S", authority.issuer)


def test_a_parameter_that_is_there_twice_is_refused(authority: TokenEndpoint) -> None:
    status, headers, _ = ask(authority, question() + "&state=T")
    assert (status, headers["Location"]) == (400, None)


@pytest.mark.parametrize(("button", "name"), [("allow", "code"), ("deny", "error"), ("", "error")])
def test_a_person_answers_by_a_button_once(authority: TokenEndpoint, button: str, name: str) -> None:
    authority.answers = None
    status, headers, page = ask(authority, question(scope="<b>mail"))
    assert (status, page.count("<button "), headers["X-Frame-Options"]) == (200, 2, "DENY")
    assert "<b>" not in page
    ticket = re.findall(r'name="ticket" value="([^"]+)"', page)[0]
    status, headers, _ = ask(authority, "/authorize", {"ticket": ticket, "answer": button})
    assert status == 303
    assert name in dict(parse_qsl(urlsplit(headers["Location"]).query))
    assert ask(authority, "/authorize", {"ticket": ticket, "answer": "allow"})[0] == 400


def test_it_can_say_no_without_a_browser(authority: TokenEndpoint) -> None:
    authority.answers = "deny"
    assert sent(authority)["error"] == "access_denied"


# --- device codes


def device(authority: TokenEndpoint) -> Any:
    return post(authority, "/device", client_id="app", scope="mail")


def poll(authority: TokenEndpoint, code: str, client_id: str = "app") -> Any:
    return post(authority, "/token", grant_type=DEVICE, device_code=code, client_id=client_id)


def test_a_device_waits_until_the_person_has_signed_in(authority: TokenEndpoint, now: list[float]) -> None:
    asked = device(authority)
    assert poll(authority, asked["device_code"])["error"] == "authorization_pending"
    assert poll(authority, asked["device_code"])["error"] == "slow_down"
    now[0] += 9  # it has to wait for ten now
    assert poll(authority, asked["device_code"])["error"] == "slow_down"
    authority.approve(asked["user_code"], "bob")
    now[0] += 15
    tokens = poll(authority, asked["device_code"])
    assert (tokens["scope"], authority.requests[-1].user) == ("mail", "bob")
    assert poll(authority, asked["device_code"])["error"] == "invalid_grant"
    with pytest.raises(sasl.UsageError):
        authority.approve(asked["user_code"], "bob")


@pytest.mark.parametrize(
    ("microsoft", "denied", "unknown"),
    [(False, "access_denied", "invalid_grant"), (True, "authorization_declined", "bad_verification_code")],
    ids=["RFC 8628", "Microsoft"],
)
def test_a_device_is_refused_in_both_spellings(
    authority: TokenEndpoint, now: list[float], microsoft: bool, denied: str, unknown: str
) -> None:
    authority.microsoft = microsoft
    asked, late = device(authority), device(authority)
    authority.deny(asked["user_code"])
    assert poll(authority, asked["device_code"])["error"] == denied
    assert poll(authority, "guess")["error"] == unknown
    assert poll(authority, late["device_code"], "other")["error"] == "invalid_client"
    now[0] += 600
    assert poll(authority, late["device_code"])["error"] == "expired_token"


def test_a_code_of_a_device_that_is_too_old_connects_nothing(authority: TokenEndpoint, now: list[float]) -> None:
    asked = device(authority)
    now[0] += 600
    with pytest.raises(sasl.UsageError):
        authority.approve(asked["user_code"], "bob")
    assert ask(authority, "/activate", {"user_code": asked["user_code"], "answer": "allow"})[0] == 400


def test_a_person_connects_a_device_on_its_page(authority: TokenEndpoint) -> None:
    asked = device(authority)
    page = ask(authority, asked["verification_uri_complete"].removeprefix(authority.issuer))[2]
    assert asked["user_code"] in page
    assert ask(authority, "/activate", {"user_code": "BBBB-BBBB", "answer": "allow"})[0] == 400
    assert ask(authority, "/activate", {"user_code": asked["user_code"].lower(), "answer": "allow"})[0] == 200
    assert "access_token" in poll(authority, asked["device_code"])


# --- what programs are told


@pytest.mark.parametrize("place", ["oauth-authorization-server", "openid-configuration"])
def test_metadata_is_at_both_places_and_names_what_is_there(authority: TokenEndpoint, place: str) -> None:
    told = json.loads(ask(authority, f"/.well-known/{place}")[2])
    assert told["issuer"] == authority.issuer == discover(authority.issuer).issuer
    for name, url in told.items():
        if name.endswith("_endpoint") or name == "jwks_uri":
            assert ask(authority, url.removeprefix(authority.issuer))[0] != 404, name


def test_access_tokens_are_signed_by_the_key_that_it_shows(authority: TokenEndpoint, now: list[float]) -> None:
    authority.jwt = True
    token = redeem(authority, sent(authority)["code"])["access_token"]
    keys = jwt.PyJWKSet.from_dict(json.loads(ask(authority, "/jwks")[2]))
    key = keys[jwt.get_unverified_header(token)["kid"]]
    options: Any = {"verify_exp": False, "verify_iat": False}
    claims = jwt.decode(token, key, ["ES256"], audience=authority.issuer, issuer=authority.issuer, options=options)
    assert (claims["sub"], claims["client_id"], claims["scope"]) == ("alice", "app", "mail")
    assert (claims["iat"], claims["exp"]) == (now[0], now[0] + 3_600)
    assert "d" not in json.loads(ask(authority, "/jwks")[2])["keys"][0]


def test_a_client_registers_itself_and_signs_in(authority: TokenEndpoint) -> None:
    client = register(discover(authority.issuer), "mail", redirect_uri=BACK)
    code = sent(authority, client_id=client.client_id)["code"]
    assert redeem(authority, code, client_id=client.client_id)["scope"] == "mail"


@pytest.mark.parametrize(
    ("document", "error"),
    [
        (b"[]", "invalid_redirect_uri"),
        (b"{}", "invalid_redirect_uri"),
        (b'{"redirect_uris": []}', "invalid_redirect_uri"),
        (b'{"redirect_uris": ["http://mallory.example/"]}', "invalid_redirect_uri"),
        (b'{"redirect_uris": ["https://a@mallory.example/"]}', "invalid_redirect_uri"),
        (b'{"redirect_uris": ["https://app.example/#x"]}', "invalid_redirect_uri"),
        (b'{"redirect_uris": ["javascript:alert(1)"]}', "invalid_redirect_uri"),
        (b'{"redirect_uris": [5]}', "invalid_redirect_uri"),
        (b'{"redirect_uris": ["https://a/"], "token_endpoint_auth_method": ["x"]}', "invalid_client_metadata"),
    ],
)
def test_what_registers_itself_with_something_else_is_refused(
    authority: TokenEndpoint, document: bytes, error: str
) -> None:
    assert json.loads(ask(authority, "/register", document, "application/json")[2])["error"] == error


# --- attacks on its HTTP


def said(authority: TokenEndpoint, octets: bytes) -> bytes:
    where = urlsplit(authority.url)
    with socket.create_connection((where.hostname, where.port), 5) as sock, sock.makefile("rb") as file:
        sock.sendall(octets)
        return file.read()


def test_a_head_that_is_huge_is_refused(authority: TokenEndpoint) -> None:
    for head in (b"X: " + b"x" * 60_000, b"X: y\r\n" * 10_000):
        answer = said(authority, b"GET /jwks HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 431 ")


def test_one_request_is_answered_and_no_second_one(authority: TokenEndpoint) -> None:
    request = b"GET /jwks HTTP/1.1\r\nHost: x\r\n\r\n"
    assert said(authority, request * 2).count(b"HTTP/1.1 ") == 1


def test_slow_octets_meet_one_deadline() -> None:
    with token_endpoint.running(deadline=0.2) as authority:
        where = urlsplit(authority.url)
        with socket.create_connection((where.hostname, where.port), 0.02) as sock:
            assert any(is_closed(sock, octet) for octet in b"GET /jwks HTTP/1.1\r\nHost: " + b"x" * 1_000)


def is_closed(sock: socket.socket, octet: int) -> bool:
    """Send an octet; return whether the other side has gone."""
    try:
        sock.sendall(bytes([octet]))
        return sock.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True
