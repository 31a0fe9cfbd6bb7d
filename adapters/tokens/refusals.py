"""What a no of an authorization server means, and what a person should do about it (RFC 6749 section 5.2).

`error` and `suberror` alone decide what is raised. Microsoft: the numbers in a description are for people, and programs
that depend on them will break (its page on AADSTS error codes). So numbers and texts choose the hint, nothing else.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, final

from sasl.errors import TokenError
from sasl.value import KW_ONLY, value

if TYPE_CHECKING:
    from collections.abc import Collection

_SIGN_IN: Final = "Sign in again."
_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NUMBER: Final = re.compile(r"AADSTS([0-9]{5,7})\b")
_LATER_STATUS: Final = frozenset({408, 429})


@final
@value
class _Meaning:
    """What an error code means.

    Attributes:
        hint: what a person should do.
        retryable: whether the same request may succeed later.
        needs_user: whether somebody has to sign in, or give consent.
    """

    hint: str
    _: KW_ONLY
    retryable: bool = False
    needs_user: bool = False


_GRANT: Final = _Meaning(_SIGN_IN, needs_user=True)
_LATER: Final = _Meaning("Try again later.", retryable=True)
_SERVER: Final = _Meaning("Try again later: the authorization server has a problem of its own.", retryable=True)
_CLIENT: Final = _Meaning("Check the client id and its secret or certificate: they are wrong, or over.")
_APPLICATION: Final = _Meaning("Ask the administrator: this application may not do that here, or is switched off.")
_SCOPE: Final = _Meaning("Check the scope: it is misspelt, or of another host than the provider's mail servers.")
_DENIED: Final = _Meaning(
    "Somebody said no, or the administrator does: start again, and give consent.", needs_user=True
)
_ELSEWHERE: Final = _Meaning("Sign in again, in a browser: the provider wants to ask something.", needs_user=True)

_MEANINGS: Final = {
    "invalid_grant": _GRANT,
    "interaction_required": _ELSEWHERE,
    "login_required": _ELSEWHERE,
    "consent_required": _DENIED,
    "account_selection_required": _ELSEWHERE,
    "access_denied": _DENIED,
    "authorization_declined": _DENIED,
    "expired_token": _Meaning("The code is over: start again.", needs_user=True),
    "bad_verification_code": _Meaning("The code is not known: start again.", needs_user=True),
    "admin_policy_enforced": _Meaning(
        "The administrator of this Google Workspace has not allowed this application.", needs_user=True
    ),
    "org_internal": _Meaning("This application is for the users of another organization.", needs_user=True),
    "invalid_client": _CLIENT,
    "unauthorized_client": _APPLICATION,
    "invalid_scope": _SCOPE,
    "invalid_resource": _SCOPE,
    "invalid_target": _SCOPE,
    "unsupported_grant_type": _APPLICATION,
    "redirect_uri_mismatch": _Meaning("Register this redirect URI for the client id."),
    "authorization_pending": _Meaning("Wait for the person to sign in.", retryable=True),
    "slow_down": _Meaning("Wait for the person to sign in; ask less often.", retryable=True),
    "server_error": _SERVER,
    "temporarily_unavailable": _SERVER,
    "internal_failure": _SERVER,
    "rate_limit_exceeded": _LATER,
}
"""By `error`: RFC 6749 sections 4.1.2.1 and 5.2, RFC 8628 section 3.5, RFC 8707 section 2, OpenID Connect Core section
3.1.2.6; `bad_verification_code`, `authorization_declined` and `invalid_resource` are Microsoft's,
`admin_policy_enforced`, `org_internal`, `redirect_uri_mismatch`, `internal_failure` and
`rate_limit_exceeded` Google's."""

_SUBERRORS: Final = {
    "basic_action": "The provider asks for another step: sign in again, in a browser.",
    "additional_action": "The provider asks for another step: sign in again, in a browser.",
    "message_only": "The administrator's rules forbid this: ask the administrator.",
    "consent_required": "Consent is missing: sign in again, and give it.",
    "user_password_expired": "The password is over: change it, then sign in again.",
    "bad_token": "The grant is over: sign in again.",
    "token_expired": "The grant is over: sign in again.",
    "protection_policy_required": "The device has to be managed by the organization: ask the administrator.",
    "client_mismatch": "This grant is of another client id: sign in again with this one.",
    "device_authentication_failed": "The device is not known to the organization: ask the administrator.",
}
"""By `suberror` (Microsoft's page on the handling of errors in MSAL): what to do instead."""

_UNUSED: Final = "It was unused for 90 days, or its time was over: sign in again."
_SECOND_FACTOR: Final = "A second factor is wanted, or to be set up: sign in again, in a browser."
_RULES: Final = "A rule of the organization (Conditional Access, a device rule) forbids it: ask the administrator."
_NOT_HERE: Final = "The application is not in this tenant, or is switched off: check the tenant, ask the administrator."
_NO_RESOURCE: Final = "The tenant has no such resource, or the scope names two: check the scope."

_HINTS: Final = {
    **dict.fromkeys(("70008", "700082"), _UNUSED),
    "70043": "The organization wants a new sign-in every so often (Conditional Access): sign in again.",
    "50173": "The password was changed, or the sessions were revoked: sign in again.",
    **dict.fromkeys(("50076", "50079", "50072", "50074"), _SECOND_FACTOR),
    **dict.fromkeys(("53003", "53000", "53001", "53002", "530035"), _RULES),
    **dict.fromkeys(("65001", "65004"), "Consent is missing or was declined: sign in again, and give it."),
    "90094": "Only the administrator may consent to this application: ask for it.",
    "70000": "The grant is of another client id, or damaged: sign in again with this client id.",
    "700084": "The grant is of a single-page application and good for 24 hours: register as a public client (native).",
    "7000215": "The client secret is wrong or over: make a new one (its value, not its id).",
    "7000222": "The client secret is over: make a new one.",
    "70002": "The client secret is wrong or over: make a new one.",
    "700025": "This client is public: send no secret.",
    "7000218": "This client needs a secret, or has to be allowed public client flows.",
    **dict.fromkeys(("700016", "70001", "7000112"), _NOT_HERE),
    "70011": "The scope is misspelt or has no such form: check it.",
    **dict.fromkeys(("28002", "500011"), _NO_RESOURCE),
    "70016": "Wait for the person to sign in.",
    "70019": "The code is over: start again.",
    **dict.fromkeys(("50033", "90033"), "Try again later: Microsoft has a problem of its own."),
}
"""By Microsoft's number (its pages on AADSTS codes; 90094, 90033 and 7000222 as known, not stated there)."""

_SAYINGS: Final = (
    (
        "token has been expired or revoked",
        "Google ended it (password changed, access revoked, six months unused, 7 days in testing): sign in again.",
    ),
)
"""By what a description says: what to do instead."""


def refusal(
    error: str,
    description: str = "",
    *,
    suberror: str = "",
    numbers: Collection[int] = (),
    status: int = 400,
    retry_after: float | None = None,
) -> TokenError:
    """Return the TokenError of a no. `error` is "" where the answer had none that can be one.

    `description` is shown, so whoever calls has taken secrets out of it and made it printable. `numbers` are those of
    Microsoft's `error_codes`; those that stand in the description count as well. `retry_after` is in seconds.
    """
    code = error if _CODE.fullmatch(error) else ""
    text = (
        f"the token endpoint says no: {code}" if code else f"the token endpoint answers with the HTTP status {status}"
    )
    meaning = _MEANINGS.get(code, _Meaning(""))
    if status >= 500 or status in _LATER_STATUS:
        meaning = _LATER if status in _LATER_STATUS else _SERVER
    return TokenError(
        f"{text}: {description}" if description else text,
        code=code or f"http_{status}",
        retryable=meaning.retryable,
        needs_user=meaning.needs_user,
        hint=_hint(description, suberror, numbers) or meaning.hint,
        retry_after=retry_after,
    )


def _hint(description: str, suberror: str, numbers: Collection[int]) -> str:
    """Return what says more than the error code does, or ""."""
    for number in (*map(str, numbers), *_NUMBER.findall(description)):
        if number in _HINTS:
            return _HINTS[number]
    if suberror in _SUBERRORS:
        return _SUBERRORS[suberror]
    said = description.lower()
    return next((hint for saying, hint in _SAYINGS if saying in said), "")
