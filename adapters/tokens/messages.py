"""OAuth messages to a token endpoint and their answers: RFC 6749 sections 2.3.1, 4.1.3, 4.4.2, 5.1 and 6, RFC 8628.

Small, typed and strict: what a mail client needs, and no more.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, final
from urllib.parse import quote_plus, urlencode

from sasl.base64 import encode
from sasl.errors import TokenError, UsageError
from sasl.secret import Secret
from sasl.value import KW_ONLY, value

from ..documents import parse_object

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FORM: Final = "application/x-www-form-urlencoded"
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # b68token, RFC 6750 section 2.1
_FARTHEST: Final = 1e9  # seconds; a lifetime beyond that is none
_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_DEVICE: Final = "urn:ietf:params:oauth:grant-type:device_code"


@final
@value
class Client:
    """A client that is registered at an authorization server, and how it proves that (RFC 6749 section 2.3).

    Attributes:
        client_id: its name there.
        secret: None for a public client.
        assertion: returns a signed JWT for a token endpoint instead of a secret (RFC 7523 section 2.2).
        basic: whether the secret is sent by HTTP Basic instead of in the form.

    Raises UsageError without a client id, and for both a secret and an assertion.
    """

    client_id: str
    _: KW_ONLY
    secret: Secret | None = None
    assertion: Callable[[str], str] | None = None
    basic: bool = False

    def __post_init__(self) -> None:
        fits = isinstance(self.client_id, str) and bool(self.client_id)
        both = self.secret is not None and self.assertion is not None
        if self.secret is not None:
            object.__setattr__(self, "secret", Secret(self.secret))
        if not fits or both:
            del self
            raise UsageError("a client has an id, and a secret or an assertion or neither")


@final
@value
class Answer:
    """What a token endpoint grants (RFC 6749 section 5.1).

    Attributes:
        access_token: the token.
        expires_in: seconds from now, or None if it does not say.
        refresh_token: None where it gives no new one.
        scope: what was granted, or None where that is what was asked for.
    """

    access_token: Secret
    expires_in: float | None
    refresh_token: Secret | None
    scope: str | None


def refresh_form(refresh_token: Secret, scope: str | None = None) -> dict[str, str]:
    """Return the form of a renewal (RFC 6749 section 6)."""
    return _form(grant_type="refresh_token", refresh_token=refresh_token.reveal(), scope=scope)


def client_credentials_form(scope: str | None) -> dict[str, str]:
    """Return the form by which a program asks for itself (RFC 6749 section 4.4.2)."""
    return _form(grant_type="client_credentials", scope=scope)


def code_form(code: Secret, redirect_uri: str, verifier: Secret) -> dict[str, str]:
    """Return the form that redeems an authorization code (RFC 6749 section 4.1.3, RFC 7636 section 4.5)."""
    return _form(
        grant_type="authorization_code", code=code.reveal(), redirect_uri=redirect_uri, code_verifier=verifier.reveal()
    )


def device_form(device_code: Secret) -> dict[str, str]:
    """Return the form that asks whether a person has signed in by now (RFC 8628 section 3.4)."""
    return _form(grant_type=_DEVICE, device_code=device_code.reveal())


def _form(**fields: str | None) -> dict[str, str]:
    return {name: content for name, content in fields.items() if content is not None}


def send(request: Callable[..., Any], endpoint: str, client: Client, form: Mapping[str, str]) -> Answer:
    """Ask a token endpoint, once. `request` sends it: a `Request` of `sasl.adapters.tokens.http`. Raises TokenError."""
    return parse_answer(_post(request, endpoint, client, form))


def post(request: Callable[..., Any], endpoint: str, client: Client, form: Mapping[str, str]) -> dict[str, Any]:
    """Send a form to an endpoint, with what proves the client, and return the object of JSON of its yes.

    An empty answer is an empty object (RFC 7009 section 2.2). Raises TokenError.
    """
    data = _post(request, endpoint, client, form)
    document = parse_object(data) if data.strip() else {}
    del data
    if document is None:
        raise bad_response("said yes with what is no JSON object")
    return document


def _post(request: Callable[..., Any], endpoint: str, client: Client, form: Mapping[str, str]) -> bytes:
    headers = {"Content-Type": FORM, "Accept": "application/json"}
    fields = dict(form)
    del form
    if client.secret is not None and client.basic:
        user, password = quote_plus(client.client_id), quote_plus(client.secret.reveal())
        headers["Authorization"] = "Basic " + encode(f"{user}:{password}".encode()).decode("ascii")
        del password
    else:
        fields["client_id"] = client.client_id
        if client.secret is not None:
            fields["client_secret"] = client.secret.reveal()
    if client.assertion is not None:
        fields |= {"client_assertion_type": _ASSERTION, "client_assertion": client.assertion(endpoint)}
    body = urlencode(fields).encode("ascii")
    del fields
    response = request(endpoint, method="POST", body=body, headers=headers)
    del body, headers
    data: bytes = response.data
    return data


def parse_answer(data: bytes) -> Answer:
    """Return what a yes grants (RFC 6749 section 5.1). Raises TokenError (bad_response) if that is nothing."""
    document = parse_object(data)
    del data
    if document is None:
        raise bad_response("said yes with what is no JSON object")
    given = {"access_token": None, **document}
    problem = next((said for name, (fits, said) in _MEMBERS.items() if name in given and not fits(given[name])), None)
    del given
    if problem is not None:
        del document
        raise bad_response(problem)
    refresh, lifetime = document.get("refresh_token"), document.get("expires_in")
    return Answer(
        Secret(document["access_token"]),
        None if lifetime is None else float(lifetime),
        None if refresh is None else Secret(refresh),
        document.get("scope") or None,
    )


def bad_response(what: str) -> TokenError:
    """What is no answer of a token endpoint. Not retryable: mostly it is the wrong URL."""
    return TokenError(f"the token endpoint {what}", code="bad_response")


def _is_token(content: object) -> bool:
    return isinstance(content, str) and _TOKEN.fullmatch(content) is not None


def _is_bearer(content: object) -> bool:
    return isinstance(content, str) and content.lower() == "bearer"


def _is_lifetime(content: object) -> bool:
    if content is None:  # as programs write what they do not know; to refuse it would lose a new refresh token
        return True
    if isinstance(content, str):  # against the RFC, but seen
        return re.fullmatch(r"[0-9]{1,9}", content) is not None
    return isinstance(content, int | float) and not isinstance(content, bool) and abs(content) <= _FARTHEST


_MEMBERS: Final[Mapping[str, tuple[Callable[[object], bool], str]]] = {
    "access_token": (_is_token, "said yes without an access token"),
    "token_type": (_is_bearer, "gave a token that is no bearer token"),
    "refresh_token": (
        lambda content: isinstance(content, str) and content != "",
        "gave a refresh token that is no text",
    ),
    "expires_in": (_is_lifetime, "gave a lifetime that is no number of seconds"),
    "scope": (lambda content: isinstance(content, str), "gave a scope that is no text"),
}
"""What each member of a yes has to be, and what is said if it is not."""
