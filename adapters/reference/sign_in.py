"""The sign-ins of the reference authority: authorization codes with PKCE, and device codes.

RFC 6749 section 4.1, RFC 7636 (S256 only), RFC 9207, RFC 8628. It knows no HTTP: `pages` speaks that.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets
import threading
from typing import TYPE_CHECKING, Any, Final, final
from urllib.parse import urlencode

from .signed import Refusal, base64url, digest, new_token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .clients import Registered
    from .consents import Consent
    from .grants import TokenEndpoint

DEVICE: Final = "urn:ietf:params:oauth:grant-type:device_code"
_LIFE: Final = 60.0  # seconds of a code
_LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"  # RFC 8628 section 6.1
_SLOWER: Final = 5.0  # seconds, section 3.5
_MOST: Final = 1_000  # sign-ins under way
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_MICROSOFT: Final = {"access_denied": "authorization_declined", "invalid_grant": "bad_verification_code"}


class Asking:
    """What a client asks a person for; and the code, once there is one."""

    def __init__(self, client: Registered, fields: Mapping[str, str], since: float) -> None:
        self.client = client
        self.redirect_uri = fields["redirect_uri"]
        self.state = fields.get("state")
        self.scope = fields.get("scope", "")
        self.challenge = fields.get("code_challenge", "")
        self.since = since
        self.user = ""
        self.is_used = False
        self.consent: Consent | None = None


class Device:
    """A device that waits for a person."""

    def __init__(self, client: Registered, scope: str, user_code: str, until: float, interval: float) -> None:
        self.client = client
        self.scope = scope
        self.user_code = user_code
        self.until = until
        self.interval = interval
        self.asked = -math.inf
        self.user: str | None = None
        self.is_denied = False

    def waits(self, now: float) -> bool:
        """Whether a person can answer still."""
        return self.user is None and not self.is_denied and now < self.until


@final
class SignIns:
    """All that are under way. What comes out is granted by the endpoint."""

    def __init__(self, endpoint: TokenEndpoint) -> None:
        self._endpoint = endpoint
        self._askings: dict[bytes, Asking] = {}  # by their ticket: a page is shown
        self._codes: dict[bytes, Asking] = {}
        self._devices: dict[bytes, Device] = {}
        self._lock = threading.RLock()

    # --- authorization codes

    def ask(self, fields: Mapping[str, str]) -> Asking | str:
        """Take what a browser brings; return what a person is asked, or where the browser is sent with a refusal.

        Raises Refusal where it must be sent nowhere (RFC 6749 section 4.1.2.1).
        """
        client = self._endpoint.clients.find(fields.get("client_id"))
        if client is None or not client.may_redirect(fields.get("redirect_uri", "")):
            raise Refusal("invalid_request", "no such client, or a redirect_uri that it has not registered")
        asking = Asking(client, fields, self._endpoint.clock())
        if fields.get("response_type") != "code":
            return self._sent(asking, error="unsupported_response_type")
        if fields.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(asking.challenge):
            return self._sent(asking, error="invalid_request", error_description="PKCE by S256 is wanted")
        return asking

    def ticket(self, asking: Asking) -> str:
        """Return what the page of two buttons brings back: good once."""
        ticket = new_token()
        with self._lock:
            _put(self._askings, digest(ticket), asking)
        return ticket

    def by_ticket(self, ticket: str) -> Asking:
        """Return what was asked on a page. Raises Refusal if it was answered, or never asked."""
        with self._lock:
            asking = self._askings.pop(digest(ticket), None)
        if asking is None:
            raise Refusal("invalid_request", "this page was answered, or is not from here")
        return asking

    def answer(self, asking: Asking, user: str | None) -> str:
        """Return where the browser is sent: with a code for that user, or the refusal of a person who said no."""
        if user is None:
            return self._sent(asking, error="access_denied")
        code = new_token()
        asking.user, asking.since = user, self._endpoint.clock()
        with self._lock:
            _put(self._codes, digest(code), asking)
        return self._sent(asking, code=code)

    def _sent(self, asking: Asking, **answer: str) -> str:
        fields = {**answer, "iss": self._endpoint.issuer}
        if asking.state is not None:
            fields["state"] = asking.state
        return f"{asking.redirect_uri}{'&' if '?' in asking.redirect_uri else '?'}{urlencode(fields)}"

    def by_code(self, form: Mapping[str, str], client: Registered) -> tuple[str, dict[str, Any]]:
        """Return whose code it is, and the tokens for it. Raises Refusal; a second use revokes what the first gave."""
        with self._lock:
            asking = self._codes.get(digest(form.get("code", "")))
            if asking is None or asking.client.client_id != client.client_id:
                raise Refusal("invalid_grant", "No such code.")
            if asking.is_used:
                if asking.consent is not None:
                    self._endpoint.end(asking.consent)  # RFC 6749 section 4.1.2
                raise Refusal("invalid_grant", "The code was used already.")
            asking.is_used = True  # whoever has it without its verifier gets no second try
            if self._endpoint.clock() >= asking.since + _LIFE:
                raise Refusal("invalid_grant", "The code is too old.")
            if form.get("redirect_uri") != asking.redirect_uri:
                raise Refusal("invalid_grant", "The code went to another redirect_uri.")
            if not _fits(form.get("code_verifier", ""), asking.challenge):
                raise Refusal("invalid_grant", "The code_verifier is another one.")
            asking.consent, answer = self._endpoint.consent(asking.user, client.client_id, asking.scope)
        return asking.user, answer

    # --- device codes

    def device(self, client: Registered, scope: str) -> dict[str, Any]:
        """Return what a device shows to a person (RFC 8628 section 3.2)."""
        endpoint = self._endpoint
        code = new_token()
        letters = "".join(secrets.choice(_LETTERS) for _ in range(8))
        user_code = f"{letters[:4]}-{letters[4:]}"
        device = Device(client, scope, user_code, endpoint.clock() + endpoint.device_lifetime, endpoint.interval)
        with self._lock:
            _put(self._devices, digest(code), device)
        place = f"{endpoint.issuer}/activate"
        answer: dict[str, Any] = {"device_code": code, "user_code": user_code, "verification_uri": place}
        if endpoint.microsoft:
            answer["message"] = f"Open {place} and enter the code {user_code}."
        else:
            answer["verification_uri_complete"] = f"{place}?user_code={user_code}"
        return {**answer, "expires_in": endpoint.device_lifetime, "interval": endpoint.interval}

    def decide(self, user_code: str, user: str | None) -> bool:
        """Let a person who has typed a code in say yes, or no; return whether a device waits for it."""
        with self._lock:
            for device in self._devices.values():
                if device.user_code == user_code.strip().upper() and device.waits(self._endpoint.clock()):
                    device.user, device.is_denied = user, user is None
                    return True
        return False

    def by_device(self, form: Mapping[str, str], client: Registered) -> tuple[str, dict[str, Any]]:
        """Return who signed in, and the tokens. Raises Refusal, by Microsoft's names if they are wanted."""
        try:
            return self._by_device(form, client)
        except Refusal as refusal:
            if self._endpoint.microsoft:
                refusal.error = _MICROSOFT.get(refusal.error, refusal.error)
            raise

    def _by_device(self, form: Mapping[str, str], client: Registered) -> tuple[str, dict[str, Any]]:
        hashed, now = digest(form.get("device_code", "")), self._endpoint.clock()
        with self._lock:
            device = self._devices.get(hashed)
            if device is None or device.client.client_id != client.client_id:
                raise Refusal("invalid_grant", "No such device code.")
            asked, device.asked = device.asked, now
            if now >= device.until:
                raise Refusal("expired_token", "The device code is too old.")
            if now < asked + device.interval:
                device.interval += _SLOWER
                raise Refusal("slow_down", "Ask less often.")
            if device.is_denied:
                raise Refusal("access_denied", "The person said no.")
            if device.user is None:
                raise Refusal("authorization_pending", "The person has not answered.")
            del self._devices[hashed]
            return device.user, self._endpoint.consent(device.user, client.client_id, device.scope)[1]


def _put(kept: dict[bytes, Any], key: bytes, thing: object) -> None:
    """Keep a thing, and of all only the last ones."""
    kept[key] = thing
    while len(kept) > _MOST:
        del kept[next(iter(kept))]


def _fits(verifier: str, challenge: str) -> bool:
    """Whether a code verifier is that of a challenge (RFC 7636 section 4.6)."""
    made = base64url(hashlib.sha256(verifier.encode("utf-8", "replace")).digest())
    return _VERIFIER.fullmatch(verifier) is not None and hmac.compare_digest(made, challenge)
