"""What an authorization server says of itself: where that is looked for, and what is not taken for it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters.tokens.metadata import Metadata, discover, issuer_of, parse_metadata

from .conftest import reply

if TYPE_CHECKING:
    from collections.abc import Callable

ISSUER = "https://id.example.com/realms/mail"
DOCUMENT: dict[str, Any] = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "device_authorization_endpoint": f"{ISSUER}/device",
    "code_challenge_methods_supported": ["plain", "S256"],
    "authorization_response_iss_parameter_supported": True,
    "something_else": {"x": 1},
}


@dataclass
class Answer:
    status: int
    data: bytes


@dataclass
class Web:
    """What is where, and what was asked for."""

    pages: dict[str, bytes]
    asked: list[str] = field(default_factory=list)

    def __call__(self, url: str, **_: Any) -> Answer:
        self.asked.append(url)
        return Answer(200, self.pages[url]) if url in self.pages else Answer(404, b"")


RFC = "https://id.example.com/.well-known/oauth-authorization-server/realms/mail"
OPENID = f"{ISSUER}/.well-known/openid-configuration"


def test_the_place_of_rfc_8414_comes_before_that_of_openid() -> None:
    document = json.dumps(DOCUMENT).encode()
    web = Web({RFC: document, OPENID: document})
    found = discover(ISSUER, request=web)
    assert (found.issuer, found.token_endpoint, web.asked) == (ISSUER, f"{ISSUER}/token", [RFC])
    assert found.authorization_response_iss_parameter_supported is True
    web = Web({OPENID: document})
    assert discover(ISSUER, request=web) == found
    assert web.asked == [RFC, OPENID]


@pytest.mark.parametrize("named", [f"{ISSUER}/", ISSUER.upper(), "https://evil.example.com", None])
def test_the_document_of_another_issuer_is_none(named: str | None) -> None:
    web = Web({RFC: json.dumps(DOCUMENT | {"issuer": named}).encode()})
    with pytest.raises(sasl.TokenError) as caught:
        discover(ISSUER, request=web)
    assert caught.value.code == "bad_metadata"


@pytest.mark.parametrize("page", [b"", b"[]", b"<html>", b"\xff"])
def test_an_issuer_without_metadata_is_told(page: bytes) -> None:
    with pytest.raises(sasl.TokenError) as caught:
        discover(ISSUER, request=Web({RFC: page, OPENID: page}))
    assert caught.value.code == "no_metadata"


@pytest.mark.parametrize(
    "issuer",
    [
        "http://id.example.com",
        "https://user@id.example.com",
        "https://id.example.com/?a",
        "https://id.example.com/#a",
        "https://id.example.com/a/../b",
        "https://id.example.com/a/.",
        "https://id.example.com/%7Ea",
        "https://id.example.com/%41",
        "https://id.example.com:port",
        "https://[::1",
        "https://",
        "id.example.com",
        "https://id.example.com/ ",
        "https://id.example.com\n",
    ],
)
def test_what_is_no_issuer_is_not_asked(issuer: str) -> None:
    web = Web({})
    with pytest.raises(sasl.UsageError):
        discover(issuer, request=web)
    assert web.asked == []


@pytest.mark.parametrize(
    "members",
    [
        {"token_endpoint": "http://id.example.com/token"},
        {"token_endpoint": "https://a@id.example.com/token"},
        {"token_endpoint": "https://id.example.com/token#x"},
        {"token_endpoint": "https://[::1/"},
        {"token_endpoint": "http://127.0.0.1:631/token"},
        {"token_endpoint": "https://localhost/token"},
        {"registration_endpoint": "https://[::1]/register"},
        {"token_endpoint": 5},
        {"token_endpoint": None},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"code_challenge_methods_supported": ["plain"]},
        {"code_challenge_methods_supported": "S256"},
        {"scopes_supported": [1]},
        {"authorization_response_iss_parameter_supported": "yes"},
    ],
    ids=str,
)
def test_a_document_that_would_lead_astray_is_refused(members: dict[str, Any]) -> None:
    web = Web({RFC: json.dumps(DOCUMENT | members).encode()})
    with pytest.raises(sasl.TokenError) as caught:
        discover(ISSUER, request=web)
    assert caught.value.code == "bad_metadata"


def test_on_this_machine_an_issuer_may_be_without_tls() -> None:
    issuer = "http://127.0.0.1:8080"
    page = json.dumps({"issuer": issuer, "token_endpoint": f"{issuer}/t"}).encode()
    web = Web({f"{issuer}/.well-known/oauth-authorization-server": page})
    assert discover(issuer, request=web).token_endpoint == f"{issuer}/t"


def test_nothing_is_followed_elsewhere(scripted: Callable[..., Any]) -> None:
    target = scripted(reply({}))
    server = scripted(b"HTTP/1.1 307 Elsewhere\r\nLocation: " + target.url.encode() + b"\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(sasl.TokenError) as caught:
        discover(server.url.removesuffix("/token"))
    assert caught.value.code == "no_metadata"
    assert [request.split()[1] for request in server.requests] == [
        b"/.well-known/oauth-authorization-server",
        b"/.well-known/openid-configuration",
    ]
    assert target.requests == []


def test_a_document_has_bounds(scripted: Callable[..., Any]) -> None:
    server = scripted(reply({"issuer": "http://localhost", "x": "x" * 70_000}))
    with pytest.raises(sasl.TokenError) as caught:
        discover(server.url.removesuffix("/token"))
    assert caught.value.code == "bad_response"


def test_nobody_reads_the_issuer_of_an_error_challenge() -> None:
    """A mail server's challenge names a place (RFC 7628 section 3.2.2), which the engine keeps for people to see."""
    root = Path(str(files("sasl.adapters")))
    readers = [path for path in root.rglob("*.py") if "openid-configuration" in path.read_text("utf-8")]
    servers = {"reference"}
    assert {path.relative_to(root).parts[0] for path in readers} - servers == {"tokens"}
    assert [path.name for path in readers if path.parent.name == "tokens"] == ["metadata.py"]  # below an issuer


def test_what_is_not_said_is_absent() -> None:
    assert parse_metadata({}) == Metadata(None)


@pytest.mark.parametrize(
    ("page", "issuer"),
    [
        ({"authentication": {"oauth-public": {"issuer": ISSUER}}}, ISSUER),
        ({"authentication": {"oauth-public": {}}}, None),
        ({"authentication": {"oauth-public": {"issuer": None}}}, None),
        ({"authentication": []}, None),
        ({}, None),
    ],
)
def test_a_domain_may_name_its_issuer(page: dict[str, Any], issuer: str | None) -> None:
    web = Web({"https://example.com/.well-known/user-agent-configuration": json.dumps(page).encode()})
    assert issuer_of("Me@Example.com", request=web) == issuer


@pytest.mark.parametrize("issuer", [5, "", "id.example.com", "http://id.example.com", f"{ISSUER}/?x", ["a"], {}])
def test_a_domain_that_names_no_issuer_that_can_be_one_is_told(issuer: object) -> None:
    page = json.dumps({"authentication": {"oauth-public": {"issuer": issuer}}}).encode()
    with pytest.raises(sasl.TokenError) as caught:
        issuer_of("me@example.com", request=Web({"https://example.com/.well-known/user-agent-configuration": page}))
    assert caught.value.code == "bad_metadata"


@pytest.mark.parametrize("address", ["me", "me@", "me@localhost", "me@exa mple.com", "me@example.com/x", "me@-a.com"])
def test_a_domain_that_can_be_none_is_not_asked(address: str) -> None:
    web = Web({})
    with pytest.raises(sasl.UsageError):
        issuer_of(address, request=web)
    assert web.asked == []
