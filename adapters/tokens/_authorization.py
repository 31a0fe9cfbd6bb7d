"""A person's consent: what is asked and what comes back (RFC 6749 section 4.1, PKCE of RFC 7636, issuer of RFC 9207).

Nothing here does I/O: `browser` opens the URL and waits for the answer, `paste` lets a person carry both.
"""

from __future__ import annotations

import re
import secrets
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Final, final
from urllib.parse import parse_qsl, urlencode, urlsplit

from sasl.errors import TokenError, UsageError
from sasl.secret import Secret, scrubbed
from sasl.text import printable

from .grant import redeem
from .http import is_loopback
from .messages import code_form
from .refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .messages import Answer, Client
    from .metadata import Metadata

_LARGEST: Final = 16_384  # characters of the query of an answer
_MOST: Final = 32  # parameters in it
_LONGEST_TEXT: Final = 200  # characters of an answer that an error shows
_CODE: Final = re.compile(r"[ -~]{1,8192}")  # VSCHAR, RFC 6749 appendix A.11
_ERROR: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ADDRESS: Final = re.compile(r"https?://[!-~]{1,8192}", re.IGNORECASE)
_OURS: Final = frozenset(
    {"response_type", "response_mode", "client_id", "redirect_uri", "scope", "state", "login_hint"}
    | {"code_challenge", "code_challenge_method"}
)
"""Parameters that nobody else sets: the answer is checked against them."""


@final
class Attempt:
    """One attempt to get a person's consent: it makes the URL, and knows which answer is the one to it.

    Raises TokenError where the metadata does not allow it, UsageError for a parameter that is not the caller's to set.
    """

    __slots__ = ("_client", "_metadata", "_parameters", "_redirect_uri", "_scope", "_state", "_verifier")

    def __init__(
        self,
        metadata: Metadata,
        client: Client,
        scope: str,
        redirect_uri: str,
        *,
        login_hint: str | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        if taken := sorted(_OURS & (parameters or {}).keys()):
            raise UsageError(f"these parameters are not the caller's to set: {', '.join(taken)}")
        methods = metadata.code_challenge_methods_supported
        if methods and "S256" not in methods:  # without a list: send it all the same, who does not know it ignores it
            raise TokenError("the authorization server does not do PKCE by S256 (RFC 7636)", code="no_pkce")
        self._metadata = metadata
        self._client = client
        self._scope = scope
        self._redirect_uri = redirect_uri
        self._parameters = dict(parameters or {}) | ({"login_hint": login_hint} if login_hint else {})
        self._state = Secret(secrets.token_urlsafe(32))
        self._verifier = Secret(secrets.token_urlsafe(32))

    def url(self) -> str:
        """Return where a person signs in. It holds `state`: for that person's eyes."""
        endpoint = self._metadata.authorization_endpoint
        if endpoint is None:
            raise TokenError("the authorization server has no page to sign in at", code="not_offered")
        check_address(endpoint, "the page to sign in at")
        fields = {
            "response_type": "code",
            "client_id": self._client.client_id,
            "redirect_uri": self._redirect_uri,
            "state": self._state.reveal(),
            "code_challenge": challenge(self._verifier),
            "code_challenge_method": "S256",
            **({"scope": self._scope} if self._scope else {}),
            **self._parameters,
        }
        return endpoint + ("&" if "?" in endpoint else "?") + urlencode(fields)

    def code(self, query: str) -> Secret | None:
        """Return the code in the query of an answer, or None if that is no answer to this attempt.

        Raises TokenError for one that says no, or that another server than the one that was asked has made.
        """
        fields = _fields(query)
        if fields is None or self._state != fields.get("state", ""):
            return None
        self._check_issuer(fields.get("iss"))
        if "error" in fields:
            raise self._refusal(fields["error"], fields.get("error_description", ""))
        if not _CODE.fullmatch(fields.get("code", "")):
            raise TokenError("the authorization server sent no code that can be one", code="bad_response")
        return Secret(fields["code"])

    def redeem(self, request: Callable[..., Any], code: Secret) -> Answer:
        """Return what the token endpoint gives for a code. Raises TokenError."""
        form = code_form(code, self._redirect_uri, self._verifier)
        return redeem(request, self._metadata, self._client, form, self._scope)

    def _check_issuer(self, issuer: str | None) -> None:
        """Raise TokenError for an answer by somebody else (RFC 9207 section 2.4).

        An issuer that comes although none is known says nothing, and is passed over.
        """
        if issuer is None and not self._metadata.authorization_response_iss_parameter_supported:
            return
        if issuer is None:
            problem = "does not say who made it, although the authorization server promises that"
        elif self._metadata.issuer in (None, issuer):
            return
        else:
            problem = "is by another authorization server than the one that was asked"
        raise TokenError(
            f"the answer {problem} (RFC 9207)",
            code="wrong_issuer",
            hint="Nothing was accepted. Start again; if it happens again, somebody may be steering the sign-in.",
        )

    def _refusal(self, error: str, description: str) -> TokenError:
        """What a no at the page means (RFC 6749 section 4.1.2.1)."""
        if not _ERROR.fullmatch(error):
            return TokenError("the authorization server says no, and not why", code="bad_response")
        said = printable(scrubbed(description, self._state), limit=_LONGEST_TEXT)
        meaning = refusal(error, said)
        return TokenError(
            f"the authorization server says no: {error}{f': {said}' if said else ''}",
            code=error,
            retryable=meaning.retryable,
            needs_user=meaning.needs_user,
            hint=meaning.hint,
        )


def challenge(verifier: Secret) -> str:
    """Return the S256 code challenge of a verifier (RFC 7636 section 4.2)."""
    digest = sha256(verifier.reveal().encode("ascii")).digest()
    return urlsafe_b64encode(digest).decode("ascii").rstrip("=")


def check_address(url: str, what: str) -> None:
    """Raise TokenError unless a person can be sent to a URL: it is under https, or on this machine."""
    try:
        parts = urlsplit(url) if _ADDRESS.fullmatch(url) else None
        host = None if parts is None or "@" in parts.netloc or "#" in url else parts.hostname
    except ValueError:
        parts = host = None
    if parts is None or not host or (parts.scheme != "https" and not is_loopback(host)):
        raise TokenError(f"{what} is under no https URL", code="bad_endpoint")


def _fields(query: str) -> dict[str, str] | None:
    """Return the parameters of a query; None if it has none, or one of them twice (RFC 6749 section 3.1)."""
    try:
        if len(query) > _LARGEST:
            return None
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=_MOST)
    except ValueError:
        return None
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else None
