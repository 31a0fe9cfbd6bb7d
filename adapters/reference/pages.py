"""What the reference authority serves besides tokens: metadata, keys, registration, sign-ins, revocation and more.

RFC 8414, OpenID Connect Discovery, RFC 7517, RFC 7591, RFC 6749 section 3.1, RFC 8628, RFC 7009 and RFC 7662.
"""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_plus

from ..documents import parse_object
from .grants import ASSERTION, Asked
from .http import Answer, fields_of, json_answer
from .sign_in import DEVICE, Asking
from .signed import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .clients import Registered
    from .grants import TokenEndpoint
    from .http import Request

GRANTS: Final = ("authorization_code", "refresh_token", "client_credentials", ASSERTION, DEVICE)
"""All grant types."""

_PAGE: Final = """<!DOCTYPE html>
<html lang="en"><title>Reference authority</title>
<h1>{heading}</h1>
{body}
"""
_BUTTONS: Final = """<form method="post" action="/authorize">
<p>{client} asks for: {scope}</p>
<input type="hidden" name="ticket" value="{ticket}">
<button name="answer" value="allow">Allow</button> <button name="answer" value="deny">Deny</button>
</form>"""
_ACTIVATE: Final = """<form method="post" action="/activate">
<p><label>The code that your device shows: <input name="user_code" value="{code}"></label></p>
<button name="answer" value="allow">Allow</button> <button name="answer" value="deny">Deny</button>
</form>"""
_GUARD: Final = {  # nobody else's page holds this one in a frame and lets a person click on it
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}


def form_of(request: Request) -> dict[str, str]:
    """Return the form of a request. Raises Refusal for what is none, and for a field that is there twice."""
    form, duplicates = fields_of(request.body.decode("utf-8", "replace"))
    if not request.is_form() or duplicates:
        raise Refusal("invalid_request", "a form is wanted, and each of its fields once")
    return form


def basic_of(request: Request) -> tuple[str, str] | None:
    """Return client id and secret of the header (RFC 6749 section 2.3.1), None without one."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, secret = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
    except ValueError:
        return "", ""
    return unquote_plus(user), unquote_plus(secret)


def metadata(endpoint: TokenEndpoint) -> dict[str, Any]:
    """Return the metadata (RFC 8414 section 2)."""
    issuer = endpoint.issuer
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": endpoint.url,
        "device_authorization_endpoint": f"{issuer}/device",
        "revocation_endpoint": f"{issuer}/revoke",
        "introspection_endpoint": f"{issuer}/introspect",
        "registration_endpoint": f"{issuer}/register",
        "jwks_uri": f"{issuer}/jwks",
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "grant_types_supported": list(GRANTS),
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": [
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt",
            "none",
        ],
        "token_endpoint_auth_signing_alg_values_supported": ["RS256", "PS256"],
        "authorization_response_iss_parameter_supported": True,
    }


# --- what a browser gets


def _page(heading: str, body: str = "", status: int = 200) -> Answer:
    return Answer(status, _PAGE.format(heading=escape(heading), body=body).encode(), _GUARD)


def _authorize(endpoint: TokenEndpoint, request: Request) -> Answer:
    """Ask the person, or answer instead (RFC 6749 section 3.1)."""
    fields, duplicates = fields_of(request.query)
    if duplicates:
        raise Refusal("invalid_request", "each parameter once")
    asked = endpoint.sign_ins.ask(fields)
    if not isinstance(asked, Asking):
        return _sent(asked)
    if endpoint.answers is not None:
        return _sent(endpoint.sign_ins.answer(asked, endpoint.user if endpoint.answers == "allow" else None))
    ticket = endpoint.sign_ins.ticket(asked)
    body = _BUTTONS.format(client=escape(asked.client.client_id), scope=escape(asked.scope), ticket=ticket)
    return _page(f"Sign in as {endpoint.user}?", body)


def _decide(endpoint: TokenEndpoint, request: Request) -> Answer:
    """Take the button that a person has pressed."""
    form = form_of(request)
    asked = endpoint.sign_ins.by_ticket(form.get("ticket", ""))
    return _sent(endpoint.sign_ins.answer(asked, endpoint.user if form.get("answer") == "allow" else None))


def _sent(location: str) -> Answer:
    return Answer(303, b"", {"Location": location, **_GUARD})


def _activate(_endpoint: TokenEndpoint, request: Request) -> Answer:
    code = fields_of(request.query)[0].get("user_code", "")
    return _page("Connect a device", _ACTIVATE.format(code=escape(code)))


def _connect(endpoint: TokenEndpoint, request: Request) -> Answer:
    form = form_of(request)
    user = endpoint.user if form.get("answer") == "allow" else None
    if not endpoint.sign_ins.decide(form.get("user_code", ""), user):
        return _page("No device waits for this code", status=400)
    return _page("The device is connected" if user else "The device is refused")


# --- what programs get


def _device(endpoint: TokenEndpoint, request: Request) -> Answer:
    form = form_of(request)
    client = endpoint.client(form, basic_of(request))
    return json_answer(endpoint.sign_ins.device(client, form.get("scope", "")))


def _register(endpoint: TokenEndpoint, request: Request) -> Answer:
    return json_answer(endpoint.clients.register(parse_object(request.body, unique=True)), 201)


def _revoke(endpoint: TokenEndpoint, request: Request) -> Answer:
    endpoint.revoke_for(*_client_and_token(endpoint, request))
    return Answer(200, b"")


def _introspect(endpoint: TokenEndpoint, request: Request) -> Answer:
    return json_answer(endpoint.introspect(*_client_and_token(endpoint, request)))


def _client_and_token(endpoint: TokenEndpoint, request: Request) -> tuple[Registered, str]:
    form = form_of(request)
    client = endpoint.client(form, basic_of(request))
    if "token" not in form:
        raise Refusal("invalid_request", "no token")
    return client, form["token"]


_GETS: Final[Mapping[str, Callable[[TokenEndpoint, Request], Answer]]] = {
    "/.well-known/oauth-authorization-server": lambda endpoint, _request: json_answer(metadata(endpoint)),
    "/.well-known/openid-configuration": lambda endpoint, _request: json_answer(metadata(endpoint)),
    "/jwks": lambda endpoint, _request: json_answer(endpoint.signer.jwks()),
    "/authorize": _authorize,
    "/activate": _activate,
}
_POSTS: Final[Mapping[str, Callable[[TokenEndpoint, Request], Answer]]] = {
    "/authorize": _decide,
    "/activate": _connect,
    "/device": _device,
    "/register": _register,
    "/revoke": _revoke,
    "/introspect": _introspect,
}


def answer(endpoint: TokenEndpoint, request: Request) -> Answer:
    """Answer what is no request for a token. Raises Refusal."""
    table, other = (_GETS, _POSTS) if request.method == "GET" else (_POSTS, _GETS)
    if request.path in table:
        said = table[request.path](endpoint, request)
        endpoint.requests.append(Asked(request.path, "", "answered"))
        return said
    if request.path in other:
        endpoint.requests.append(Asked(request.path, "", "method"))
        return Answer(405, b"<h1>Another method</h1>", {"Allow": "POST" if request.method == "GET" else "GET"})
    raise Refusal("not_found", "there is nothing", 404)
