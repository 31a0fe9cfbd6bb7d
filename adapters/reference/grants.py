"""What the token endpoint grants, and what has become of it: by refresh tokens (RFC 6749 section 6) and assertions.

Signed assertions are those of RFC 7523. It knows no HTTP: `token_endpoint` speaks that.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, final, get_args

from sasl.errors import UsageError
from sasl.steps import CheckToken
from sasl.value import value

from ..documents import parse_object
from .checks import hashes_of, options_for
from .verifier import judge_token

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sasl.registry import Mechanism
    from sasl.secret import Secret
    from sasl.steps import Question

    from .checks import Checks
    from .verifier import TokenState

Fault: TypeAlias = Literal[
    "invalid_grant", "429", "500", "503", "garbage", "hang", "drip", "huge", "redirect", "cut", "echo"
]
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)

MAIL: Final = "https://mail.google.com/"
"""The one scope that there is."""

ASSERTION: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_GOOGLE: Final = "https://oauth2.googleapis.com/token"  # what google-auth writes into an assertion, wherever it goes
_LONGEST_ASSERTION: Final = 3_600  # seconds
_LEEWAY: Final = 60  # seconds that two clocks may differ
_KEPT: Final = 1_000  # requests


@final
@value
class Asked:
    """One request, as the endpoint saw it.

    Attributes:
        path: where it went.
        grant: "refresh_token", "jwt-bearer", or "" for neither.
        outcome: "granted", the error code of the refusal, or the fault.
        user: whose token it is, or None.
    """

    path: str
    grant: str
    outcome: str
    user: str | None = None


class _Consent:
    """What a user has granted: the refresh token that is good, and those that were."""

    def __init__(self, user: str, current: bytes) -> None:
        self.user = user
        self.current = current
        self.former: set[bytes] = set()
        self.revoked = False


class _Access:
    """An access token that was given out."""

    def __init__(self, user: str, expires_at: float, consent: _Consent | None) -> None:
        self.user = user
        self.expires_at = expires_at
        self.consent = consent
        self.revoked = False

    @property
    def state(self) -> TokenState:
        if self.revoked or (self.consent is not None and self.consent.revoked):
            return "revoked"
        return "good" if time.time() < self.expires_at else "expired"


@value
class _Account:
    """A service account: its public key, and whom it may act for (None for all)."""

    key_id: str
    key: Any
    subjects: Collection[str] | None


class Refusal(Exception):
    """A refusal (RFC 6749 section 5.2)."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(error)
        self.error = error
        self.description = description
        self.status = status


@final
class TokenEndpoint:
    """What `running` gives. Tokens are kept as their hashes only.

    Attributes:
        url: where to ask, "http://127.0.0.1:PORT/token".
        lifetime: seconds that an access token is good.
        rotates: whether each refresh token is good once. One that is used again revokes all that came of it, as
            RFC 9700 section 4.14.2 wants it.
        faults: what the next requests get instead of an answer, one each: members of `FAULTS`.
        requests: the last requests, the newest last.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.lifetime = 3_600
        self.rotates = False
        self.faults: deque[Fault] = deque()
        self.requests: deque[Asked] = deque(maxlen=_KEPT)
        self._client = ("saslkit-reference", secrets.token_urlsafe(24))
        self._consents: list[_Consent] = []
        self._tokens: dict[bytes, _Access] = {}
        self._accounts: dict[str, _Account] = {}
        self._lock = threading.RLock()

    # --- for whoever tests a client

    def authorized_user(self, user: str) -> dict[str, str]:
        """Return the content of a file of Google's type "authorized_user", with a new refresh token of a user's."""
        client_id, client_secret = self._client
        token = _new_token()
        with self._lock:
            self._consents.append(_Consent(user, _hash(token)))
        return {
            "type": "authorized_user",
            "client_id": client_id,
            "client_secret": client_secret,
            "refresh_token": token,
            "token_uri": self.url,
        }

    def service_account(self, email: str, subjects: Collection[str] | None = None) -> dict[str, str]:
        """Return the content of a key file of a new service account, which may act for `subjects`, or for all."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        account = _Account(secrets.token_hex(20), key.public_key(), subjects)
        with self._lock:
            self._accounts[email] = account
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "type": "service_account",
            "client_email": email,
            "private_key_id": account.key_id,
            "private_key": pem.decode("ascii"),
            "token_uri": self.url,
        }

    def issue(self, user: str, lifetime: float | None = None) -> str:
        """Return an access token that nobody had to ask for."""
        return self._issue(user, None, self.lifetime if lifetime is None else lifetime)

    def state(self, token: str) -> TokenState | None:
        """Return what has become of an access token, None for one that is not from here."""
        with self._lock:
            access = self._tokens.get(_hash(token))
        return None if access is None else access.state

    def expire(self, token: str) -> None:
        """Let an access token be over. Raises UsageError for one that is not from here."""
        with self._lock:
            self._access(token).expires_at = 0.0

    def revoke(self, token: str) -> None:
        """Revoke an access token, or a refresh token with all that came of it. Raises UsageError for another."""
        hashed = _hash(token)
        with self._lock:
            for consent in self._consents:
                if hashed == consent.current:
                    consent.revoked = True
                    return
            self._access(token).revoked = True

    def checks(self, verifier: Checks) -> Checks:
        """Put this endpoint's verdict on tokens before that of a verifier; for `checks=` of the mail servers."""
        return _Checks(self, verifier)

    # --- for the verifier and the server

    def verdict(self, token: Secret) -> tuple[str, TokenState] | None:
        """Return whose an access token is, and what has become of it; None for one that is not from here."""
        with self._lock:
            access = self._tokens.get(_hash(token.reveal()))
        return None if access is None else (access.user, access.state)

    def grant(self, form: Mapping[str, str], basic: tuple[str, str] | None) -> tuple[str, dict[str, Any]]:
        """Return whose token was asked for, and the answer. Raises Refusal."""
        match form.get("grant_type"):
            case None:
                raise Refusal("invalid_request", "no grant_type")
            case "refresh_token":
                return self._by_refresh_token(form, basic or (form.get("client_id"), form.get("client_secret")))
            case grant if grant == ASSERTION:
                return self._by_assertion(form)
            case _:
                raise Refusal("unsupported_grant_type", "only refresh tokens and signed assertions")

    def _by_refresh_token(
        self, form: Mapping[str, str], client: tuple[str | None, str | None]
    ) -> tuple[str, dict[str, Any]]:
        if not hmac.compare_digest(_hash(":".join(part or "" for part in client)), _hash(":".join(self._client))):
            raise Refusal("invalid_client", "The OAuth client was not found.", 401)
        token = form.get("refresh_token")
        if not token:
            raise Refusal("invalid_request", "no refresh_token")
        if form.get("scope", MAIL) != MAIL:
            raise Refusal("invalid_scope", "Some requested scopes were invalid.")
        hashed = _hash(token)
        with self._lock:
            consent = next((one for one in self._consents if hashed == one.current or hashed in one.former), None)
            if consent is not None and hashed in consent.former:
                consent.revoked = True  # somebody has stolen one of the two
            if consent is None or consent.revoked:
                raise Refusal("invalid_grant", "Token has been expired or revoked.")
            answer = self._answer(consent.user, consent)
            if self.rotates:
                answer["refresh_token"] = rotated = _new_token()
                consent.former.add(consent.current)
                consent.current = _hash(rotated)
        return consent.user, answer

    def _by_assertion(self, form: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
        claims = self._claims(form.get("assertion", ""))
        issuer, subject = claims["iss"], claims.get("sub", claims["iss"])
        if not isinstance(subject, str) or not subject:
            raise Refusal("invalid_grant", "Invalid impersonation sub field.")
        if claims.get("scope") != MAIL:
            raise Refusal("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        subjects = self._accounts[issuer].subjects
        if subject != issuer and subjects is not None and subject not in subjects:
            raise Refusal("unauthorized_client", "Client is unauthorized to act for this subject.", 401)
        return subject, self._answer(subject, None)

    def _claims(self, assertion: str) -> dict[str, Any]:
        """Return the claims of an assertion that is signed, meant for here, and of now (RFC 7523 section 3)."""
        match [_base64url(part) for part in assertion.split(".")]:
            case [bytes(header), bytes(payload), bytes(signature)]:
                head, claims = (parse_object(part, unique=True) or {} for part in (header, payload))
            case _:
                raise Refusal("invalid_grant", "Not a valid JWT.")
        issuer = claims.get("iss")
        account = self._accounts.get(issuer) if isinstance(issuer, str) else None
        if head.get("alg") != "RS256" or "crit" in head or account is None or head.get("kid") != account.key_id:
            raise Refusal("invalid_grant", "Invalid JWT: no such account or key, or another algorithm than RS256.")
        if not _is_signed(account.key, signature, assertion.rpartition(".")[0]):
            raise Refusal("invalid_grant", "Invalid JWT Signature.")
        if claims.get("aud") not in (self.url, _GOOGLE):
            raise Refusal("invalid_grant", "Invalid JWT: it is meant for somebody else.")
        issued, expires, now = claims.get("iat"), claims.get("exp"), time.time()
        if type(issued) is not int or type(expires) is not int:
            raise Refusal("invalid_grant", "Invalid JWT: iat and exp are numbers.")
        if not (now - _LEEWAY < expires <= issued + _LONGEST_ASSERTION and issued < now + _LEEWAY):
            raise Refusal("invalid_grant", "Invalid JWT: it must be short-lived and of now. Check your iat and exp.")
        return claims

    def _answer(self, user: str, consent: _Consent | None) -> dict[str, Any]:
        token = self._issue(user, consent, self.lifetime)
        return {"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime, "scope": MAIL}

    def _issue(self, user: str, consent: _Consent | None, lifetime: float) -> str:
        token = _new_token()
        with self._lock:
            self._tokens[_hash(token)] = _Access(user, time.time() + lifetime, consent)
        return token

    def _access(self, token: str) -> _Access:
        access = self._tokens.get(_hash(token))
        if access is None:
            raise UsageError("this token is not from here")
        return access


@final
class _Checks:
    """A verifier that asks the endpoint first."""

    def __init__(self, endpoint: TokenEndpoint, verifier: Checks) -> None:
        self.answers = frozenset(verifier.answers) | {CheckToken}
        self.hashes = hashes_of(verifier)
        self._endpoint = endpoint
        self._verifier = verifier

    def options(self, row: Mechanism) -> Mapping[str, Any]:
        return options_for(self._verifier, row)

    def __call__(self, question: Question) -> Any:
        verdict = self._endpoint.verdict(question.token) if isinstance(question, CheckToken) else None
        return self._verifier(question) if verdict is None else judge_token(*verdict, MAIL)


# --- helpers


def _new_token() -> str:
    return secrets.token_urlsafe(32)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _base64url(text: str) -> bytes | None:
    """Decode a part of a JWT (RFC 7515 section 2); None for what is none."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", text):
        return None
    try:
        octets = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return None
    return octets if base64.urlsafe_b64encode(octets).rstrip(b"=") == text.encode() else None


def _is_signed(key: Any, signature: bytes, text: str) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    try:
        key.verify(signature, text.encode("ascii"), padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True
