"""What the reference authority grants, and what has become of it.

Refresh tokens (RFC 6749 section 6), signed assertions (RFC 7523) and client credentials (RFC 6749 section 4.4) get
access tokens; there are revocation (RFC 7009) and introspection (RFC 7662).

What a person signs in to is in `sign_in`. It knows no HTTP: `token_endpoint` speaks that.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, final, get_args

from sasl.errors import UsageError
from sasl.steps import CheckToken
from sasl.value import value

from .checks import hashes_of, options_for
from .clients import Clients, Registered
from .sign_in import DEVICE, SignIns
from .signed import Refusal, Signer, claims_of, digest, new_token
from .verifier import judge_token

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from sasl.registry import Mechanism
    from sasl.secret import Secret
    from sasl.steps import Question

    from .checks import Checks
    from .verifier import TokenState

Fault: TypeAlias = Literal[
    "invalid_grant", "429", "500", "503", "garbage", "hang", "drip", "huge", "redirect", "cut", "echo"
]
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)
"""What a request gets instead of an answer; nothing is granted then."""

LateFault: TypeAlias = Literal["500-after", "hang-after", "cut-after"]
LATE_FAULTS: Final[tuple[LateFault, ...]] = get_args(LateFault)
"""What a request gets instead of its answer after all is done: a refresh token is used up, and its successor lost."""

Reuse: TypeAlias = Literal["strict", "grace", "keep"]

MAIL: Final = "https://mail.google.com/"
"""The scope of whatever does not come from a sign-in."""

ASSERTION: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_GOOGLE: Final = "https://oauth2.googleapis.com/token"  # what google-auth writes into an assertion, wherever it goes
_KEPT: Final = 1_000  # requests


@final
@value
class Asked:
    """One request, as the endpoint saw it.

    Attributes:
        path: where it went.
        grant: the last part of the grant type's name, "" for one that is not known.
        outcome: "granted", the error code of the refusal, or the fault.
        user: whose token it is, or None.
    """

    path: str
    grant: str
    outcome: str
    user: str | None = None


class Consent:
    """What a user has granted to a client: the refresh token that is good, and those that were."""

    def __init__(self, user: str, client_id: str, scope: str, current: bytes) -> None:
        self.user = user
        self.client_id = client_id
        self.scope = scope
        self.current = current
        self.before: bytes | None = None
        self.former: set[bytes] = set()
        self.revoked = False

    def rotate(self, used: bytes, current: bytes) -> None:
        """Let another refresh token be the good one, after that one was used."""
        self.former.add(self.current)
        self.before, self.current = used, current

    def knows(self, hashed: bytes) -> bool:
        """Whether a refresh token is of it, or was."""
        return hashed == self.current or hashed in self.former


class Access:
    """An access token that was given out."""

    def __init__(self, user: str, client_id: str, scope: str, issued_at: float, expires_at: float) -> None:
        self.user = user
        self.client_id = client_id
        self.scope = scope
        self.issued_at = issued_at
        self.expires_at = expires_at
        self.consent: Consent | None = None
        self.revoked = False

    def state(self, now: float) -> TokenState:
        """Return what has become of it."""
        if self.revoked or (self.consent is not None and self.consent.revoked):
            return "revoked"
        return "good" if now < self.expires_at else "expired"


@value
class _Account:
    """A service account: its public key, and whom it may act for (None for all)."""

    key_id: str
    key: Any
    subjects: Collection[str] | None


@final
class TokenEndpoint:
    """What `running` gives. Tokens are kept as their hashes only.

    Attributes:
        url: where to ask, "http://127.0.0.1:PORT/token".
        lifetime: seconds that an access token is good.
        rotates: whether each renewal gives a new refresh token.
        reuse: what becomes of the former ones then: "strict", each is good once, and one that is used again revokes all
            that came of it, as RFC 9700 section 4.14.2 wants it; "grace", the last one is good until its successor was
            used; "keep", all stay good.
        faults: what the next requests for a token get instead of an answer, one each: members of `FAULTS`, or of
            `LATE_FAULTS` for after all is done.
        retry_after: seconds that a client is told to wait when it gets 429, 500 or 503, or None.
        delay_before, delay_after: seconds that a request for a token waits before it is looked at, and its answer
            before it is sent.
        user: who signs in, in a browser.
        answers: what a sign-in in a browser gets at once, "allow" or "deny"; None for a page with two buttons.
        interval: seconds that a device has to wait between two questions (RFC 8628 section 3.2).
        device_lifetime: seconds that a person has for a device code.
        microsoft: whether refusals of device codes have Microsoft's names.
        jwt: whether access tokens are signed JWTs (RFC 9068); their keys are at /jwks.
        requests: the last requests, the newest last.
        ca_file: the certificate of the CA that signed its own, PEM; None without TLS.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        self.url = url
        self.clock = clock
        self.clients = Clients()
        self.ca_file: Path | None = None
        self.lifetime = 3_600
        self.rotates = False
        self.reuse: Reuse = "strict"
        self.faults: deque[Fault | LateFault] = deque()
        self.retry_after: int | None = None
        self.delay_before = self.delay_after = 0.0
        self.requests: deque[Asked] = deque(maxlen=_KEPT)
        self.user = "alice"
        self.answers: Literal["allow", "deny"] | None = None
        self.interval = 5
        self.device_lifetime = 600
        self.microsoft = False
        self.jwt = False
        self.signer = Signer()
        self.sign_ins = SignIns(self)
        self._client = ("saslkit-reference", secrets.token_urlsafe(24))
        self.clients.add(Registered(self._client[0], digest(self._client[1])))
        self._consents: list[Consent] = []
        self._tokens: dict[bytes, Access] = {}
        self._accounts: dict[str, _Account] = {}
        self._lock = threading.RLock()

    @property
    def issuer(self) -> str:
        """The root of all its places, and its name (RFC 8414 section 2)."""
        return self.url.removesuffix("/token")

    # --- for whoever tests a client

    def authorized_user(self, user: str) -> dict[str, str]:
        """Return the content of a file of Google's type "authorized_user", with a new refresh token of a user's."""
        client_id, client_secret = self._client
        token = new_token()
        with self._lock:
            self._consents.append(Consent(user, client_id, MAIL, digest(token)))
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
        return self._issue(user, self._client[0], MAIL, None, self.lifetime if lifetime is None else lifetime)

    def state(self, token: str) -> TokenState | None:
        """Return what has become of an access token, None for one that is not from here."""
        with self._lock:
            access = self._tokens.get(digest(token))
        return None if access is None else access.state(self.clock())

    def expire(self, token: str) -> None:
        """Let an access token be over. Raises UsageError for one that is not from here."""
        with self._lock:
            self._access(token).expires_at = 0.0

    def revoke(self, token: str) -> None:
        """Revoke an access token, or a refresh token with all that came of it. Raises UsageError for another."""
        with self._lock:
            given = self._consent(token) or self._access(token)
            given.revoked = True

    def register(
        self,
        client_id: str,
        *,
        secret: str | None = None,
        certificate: bytes | None = None,
        redirect_uris: Collection[str] = (),
    ) -> None:
        """Make a client known: by a secret, by its certificate (PEM, RSA) for private_key_jwt, or public with neither.

        `redirect_uris` are where a browser may be sent after a sign-in; of a loopback address, any port counts.
        Raises UsageError for a certificate of another kind of key.
        """
        key: Any = None
        if certificate is not None:
            from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
            from cryptography.x509 import load_pem_x509_certificate

            key = load_pem_x509_certificate(certificate).public_key()
            if not isinstance(key, RSAPublicKey):
                raise UsageError("the certificate has no RSA key, by which assertions are signed here")
        hashed = None if secret is None else digest(secret)
        with self._lock:
            self.clients.add(Registered(client_id, hashed, key, tuple(redirect_uris)))

    def approve(self, user_code: str, user: str) -> None:
        """Let a person sign in who has typed a device's code. Raises UsageError if none waits for it."""
        if not self.sign_ins.decide(user_code, user):
            raise UsageError("no device waits for this code")

    def deny(self, user_code: str) -> None:
        """Let a person say no who has typed a device's code. Raises UsageError if none waits for it."""
        if not self.sign_ins.decide(user_code, None):
            raise UsageError("no device waits for this code")

    def checks(self, verifier: Checks) -> Checks:
        """Put this endpoint's verdict on tokens before that of a verifier; for `checks=` of the mail servers."""
        return _Checks(self, verifier)

    # --- for the verifier and the server

    def verdict(self, token: Secret) -> tuple[str, TokenState] | None:
        """Return whose an access token is, and what has become of it; None for one that is not from here."""
        with self._lock:
            access = self._tokens.get(digest(token.reveal()))
        return None if access is None else (access.user, access.state(self.clock()))

    def grant(self, form: Mapping[str, str], basic: tuple[str, str] | None) -> tuple[str, dict[str, Any]]:
        """Return whose token was asked for, and the answer. Raises Refusal."""
        match form.get("grant_type"):
            case None:
                raise Refusal("invalid_request", "no grant_type")
            case "refresh_token":
                return self._by_refresh_token(form, self.client(form, basic))
            case "client_credentials":
                return self._by_client_credentials(form, self.client(form, basic))
            case "authorization_code":
                return self.sign_ins.by_code(form, self.client(form, basic))
            case grant if grant == DEVICE:
                return self.sign_ins.by_device(form, self.client(form, basic))
            case grant if grant == ASSERTION:
                return self._by_assertion(form)
            case _:
                raise Refusal("unsupported_grant_type", "the metadata names those that are")

    def client(self, form: Mapping[str, str], basic: tuple[str, str] | None) -> Registered:
        """Return the client that sent a form. Raises Refusal."""
        with self._lock:
            return self.clients.authenticate(form, basic, (self.url,), self.clock())

    def consent(self, user: str, client_id: str, scope: str) -> tuple[Consent, dict[str, Any]]:
        """Note that a user has granted something; return that and the answer, with a refresh token.

        No scope is that of mail (RFC 6749 section 3.3).
        """
        token, scope = new_token(), scope or MAIL
        made = Consent(user, client_id, scope, digest(token))
        with self._lock:
            self._consents.append(made)
            return made, {**self._answer(user, client_id, scope, made), "refresh_token": token}

    def revoke_for(self, client: Registered, token: str) -> None:
        """Revoke what a client says it needs no more (RFC 7009 section 2.1). Raises Refusal if it is another's."""
        with self._lock:
            given = self._consent(token) or self._tokens.get(digest(token))
            if given is None:
                return  # section 2.2: it is good for nothing, as was wanted
            if given.client_id != client.client_id:
                raise Refusal("invalid_grant", "The token was given to another client.")
            given.revoked = True

    def introspect(self, client: Registered, token: str) -> dict[str, Any]:
        """Return what a resource server may know of a token (RFC 7662 section 2.2). Raises Refusal for a public one."""
        if client.is_public:
            raise Refusal("invalid_client", "Introspection is for clients that prove who they are.", 401)
        with self._lock:
            consent, access = self._consent(token), self._tokens.get(digest(token))
            if consent is not None and not consent.revoked and self._may_use(consent, digest(token)):
                return {"active": True, "client_id": consent.client_id, "scope": consent.scope, "sub": consent.user}
            if access is None or access.state(self.clock()) != "good":
                return {"active": False}
            return {
                "active": True,
                "client_id": access.client_id,
                "scope": access.scope,
                "sub": access.user,
                "username": access.user,
                "token_type": "Bearer",
                "iat": int(access.issued_at),
                "exp": int(access.expires_at),
            }

    def _by_refresh_token(self, form: Mapping[str, str], client: Registered) -> tuple[str, dict[str, Any]]:
        token = form.get("refresh_token")
        if not token:
            raise Refusal("invalid_request", "no refresh_token")
        hashed = digest(token)
        with self._lock:
            consent = self._consent(token)
            if consent is not None and consent.client_id != client.client_id:
                consent = None
            if consent is not None and not self._may_use(consent, hashed):
                consent.revoked = True  # somebody has stolen one of the two
            if consent is None or consent.revoked:
                raise Refusal("invalid_grant", "Token has been expired or revoked.")
            scope = form.get("scope", consent.scope)
            if not set(scope.split()) <= set(consent.scope.split()):
                raise Refusal("invalid_scope", "Some requested scopes were invalid.")
            answer = self._answer(consent.user, consent.client_id, scope, consent)
            if self.rotates:
                answer["refresh_token"] = rotated = new_token()
                consent.rotate(hashed, digest(rotated))
        return consent.user, answer

    def _by_client_credentials(self, form: Mapping[str, str], client: Registered) -> tuple[str, dict[str, Any]]:
        if client.is_public:
            raise Refusal("unauthorized_client", "This client proves nothing, and gets nothing for itself.")
        return client.client_id, self._answer(client.client_id, client.client_id, form.get("scope", MAIL), None)

    def _may_use(self, consent: Consent, hashed: bytes) -> bool:
        """Whether a refresh token of a consent is good still."""
        if hashed == consent.current or self.reuse == "keep":
            return True
        return self.reuse == "grace" and hashed == consent.before

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
        return subject, self._answer(subject, issuer, MAIL, None)

    def _claims(self, assertion: str) -> dict[str, Any]:
        def find(head: dict[str, Any], claims: dict[str, Any]) -> Any:
            issuer = claims.get("iss")
            account = self._accounts.get(issuer) if isinstance(issuer, str) else None
            return None if account is None or head.get("kid") != account.key_id else account.key

        return claims_of(assertion, find, (self.url, _GOOGLE), self.clock())

    def _answer(self, user: str, client_id: str, scope: str, consent: Consent | None) -> dict[str, Any]:
        token = self._issue(user, client_id, scope, consent, self.lifetime)
        return {"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime, "scope": scope}

    def _issue(self, user: str, client_id: str, scope: str, consent: Consent | None, lifetime: float) -> str:
        now = self.clock()
        token = self._signed(user, client_id, scope, now, lifetime) if self.jwt else new_token()
        access = Access(user, client_id, scope, now, now + lifetime)
        access.consent = consent
        with self._lock:
            self._tokens[digest(token)] = access
        return token

    def _signed(self, user: str, client_id: str, scope: str, now: float, lifetime: float) -> str:
        """Return an access token that says itself what it is (RFC 9068 section 2.2)."""
        parties = {"iss": self.issuer, "sub": user, "client_id": client_id, "aud": self.issuer, "scope": scope}
        times = {"iat": int(now), "exp": int(now + lifetime)}
        return self.signer.sign({**parties, **times, "jti": secrets.token_urlsafe(16)})

    def _consent(self, token: str) -> Consent | None:
        hashed = digest(token)
        return next((one for one in self._consents if one.knows(hashed)), None)

    def _access(self, token: str) -> Access:
        access = self._tokens.get(digest(token))
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
