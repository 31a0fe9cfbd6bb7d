"""What the tests of sign-ins share: an authorization server on paper, what it grants, and a browser of a few lines."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from sasl.adapters.tokens.messages import Client
from sasl.adapters.tokens.metadata import Metadata

from ...support.leaks import locals_of, shown_by

if TYPE_CHECKING:
    from collections.abc import Mapping

ISSUER = "https://issuer.example"
SCOPE = "https://mail.example/ offline_access"
CLIENT = Client("the-client")
GRANTED = {"access_token": "AcCeSs-0123456789", "refresh_token": "ReFrEsH-0123456789", "expires_in": 3600}


def metadata(**changes: Any) -> Metadata:
    """What is known of an authorization server."""
    known: dict[str, Any] = {
        "issuer": ISSUER,
        "authorization_endpoint": f"{ISSUER}/authorize",
        "token_endpoint": f"{ISSUER}/token",
        "device_authorization_endpoint": f"{ISSUER}/device",
        "revocation_endpoint": f"{ISSUER}/revoke",
        "registration_endpoint": None,
        "code_challenge_methods_supported": ("S256",),
        "authorization_response_iss_parameter_supported": False,
    }
    return Metadata(**known | changes)


def fields_of(url: str) -> dict[str, str]:
    """The parameters of a URL, each of them once."""
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def form_of(request: bytes) -> dict[str, str]:
    """The form of a POST."""
    return dict(parse_qsl(request.partition(b"\r\n\r\n")[2].decode(), strict_parsing=True))


def get(url: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> tuple[int, str]:
    """The status and the page that a browser sees."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        connection.request(method, f"{parts.path or '/'}?{parts.query}", headers=dict(headers or {}))
        with connection.getresponse() as response:
            return response.status, response.read().decode()
    finally:
        connection.close()


def redirect(url: str, **answer: str) -> str:
    """Where an authorization server sends the browser, with its answer to an authorization URL."""
    asked = fields_of(url)
    return f"{asked['redirect_uri']}?{urlencode({'state': asked['state']} | answer)}"


def all_of(error: BaseException | None) -> str:
    """What a report of an error could show: the whole chain, each frame with its locals and what is in them."""
    return "\n".join([*shown_by(error), *locals_of(error, everywhere=True)])
