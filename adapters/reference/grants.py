"""What the reference authority grants, and what has become of it.

Refresh tokens (RFC 6749 section 6), signed assertions (RFC 7523) and client credentials (RFC 6749 section 4.4) get
access tokens; there are revocation (RFC 7009) and introspection (RFC 7662).

What a person signs in to is in `sign_in`. It knows no HTTP: `token_endpoint` speaks that.
"""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, final, get_args

from sasl.errors import UsageError
from sasl.value import value

from .checks import Standing
from .clients import Clients, Registered
from .consents import Access, Consent
from .faults import Faults
from .scopes import MAIL
from .sign_in import DEVICE, SignIns
from .signed import Refusal, Signer, claims_of, digest, new_token
from .token_checks import TokenChecks
from .watchers import Watchers

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from sasl.secret import Secret

    from .checks import Checks
    from .faults import Fault as StandingFault
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

ASSERTION: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_GOOGLE: Final = "https://oauth2.googleapis.com/token"  # what google-auth writes into an assertion, wherever it goes
_KEPT: Final = 1_000  # requests
_MOST_TOKENS: Final = 100_000  # the oldest is forgotten first


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
        rules: what else goes wrong at requests; `on` adds to it.
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
        self.rules = Faults()
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
        self._is_out: Callable[[str], bool] = lambda _user: False
        self._watchers = Watchers()
        self._has_news = False
        self._lock = threading.RLock()

    @property
    def issuer(self) -> str:
        """The root of all its places, and its name (RFC 8414 section 2)."""
        return self.url.removesuffix("/token")

    # --- for whoever tests a client

    def on(self, event: str, **options: Any) -> StandingFault:
        """Have something go wrong at requests; the fault's methods say what: `on("token").status(503)`.

        `event` is the last part of a path, "token", "authorize", "metadata" for both documents of that, or "*".
        `options` are those of `faults.Rule`: nth, times, probability, seed.
        """
        return self.rules.on("oauth", event, **options)

    def authorized_user(self, user: str, *, scope: str = MAIL) -> dict[str, str]:
        """Return the content of a file of Google's type "authorized_user", with a new refresh token of a user's."""
        client_id, client_secret = self._client
        token = new_token()
        with self._lock:
            self._consents.append(Consent(user, client_id, scope, digest(token)))
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

    def issue(self, user: str, lifetime: float | None = None, *, scope: str = MAIL) -> str:
        """Return an access token that nobody had to ask for. It is good for `lifetime` seconds, as others are if None.

        `scope` is what it is for: several are separated by spaces.
        """
        return self._issue(user, self._client[0], scope, None, self.lifetime if lifetime is None else lifetime)

    def adopt(self, token: str, user: str, state: TokenState, *, scope: str = MAIL) -> None:
        """Make a token known that was made elsewhere. One that is good stays so until it is revoked."""
        now = self.clock()
        access = Access(user, self._client[0], scope, now, now if state == "expired" else math.inf)
        access.revoked = state == "revoked"
        with self._lock:
            self._tokens[digest(token)] = access

    def state(self, token: str) -> TokenState | None:
        """Return what has become of an access token, None for one that is not from here."""
        with self._lock:
            access = self._tokens.get(digest(token))
        return None if access is None else access.state(self.clock())

    def expire(self, token: str) -> None:
        """Let an access token be over. Raises UsageError for one that is not from here."""
        with self._lock:
            self._access(token).expires_at = 0.0
            self._has_news = True
        self._tell()

    def revoke(self, token: str) -> None:
        """Revoke an access token, or a refresh token with all that came of it. Raises UsageError for another.

        Sessions that rest on it have been told when this returns; so it is with all that is revoked here.
        """
        with self._lock:
            self.end(self._consent(token) or self._access(token))
        self._tell()

    def revoke_consent(self, user: str, client_id: str | None = None) -> None:
        """Revoke what a user has granted to a client, or to all of them, with all that came of it."""
        with self._lock:
            everything: list[Consent | Access] = [*self._consents, *self._tokens.values()]
            for given in everything:
                if given.user == user and client_id in (None, given.client_id):
                    self.end(given)
        self._tell()

    def end_renewals(self, user: str) -> None:
        """Let no refresh token be good any more that a user has; access tokens are good until they expire."""
        with self._lock:
            for consent in self._consents:
                consent.renews = consent.renews and consent.user != user

    def watch(self, told: Callable[[], object]) -> Callable[[], None]:
        """Have a function called when something was revoked, or has expired early; return what ends that."""
        return self._watchers.add(told)

    def shut_out(self, is_out: Callable[[str], bool]) -> None:
        """Let a function say who gets no tokens."""
        self._is_out = is_out

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
        return TokenChecks(self, verifier)

    # --- for the verifier and the server

    def verdict(self, token: Secret) -> tuple[str, TokenState, str] | None:
        """Return whose an access token is, what has become of it, and its scope; None for one that is not from here."""
        with self._lock:
            access = self._tokens.get(digest(token.reveal()))
        return None if access is None else (access.user, access.state(self.clock()), access.scope)

    def standing(self, hashed: bytes) -> Standing | None:
        """Return how it stands with an access token, by its hash; None for one that is not from here."""
        with self._lock:
            access, now = self._tokens.get(hashed), self.clock()
        return None if access is None else Standing(access.state(now), access.expires_at - now, access.scope)

    def grant(self, form: Mapping[str, str], basic: tuple[str, str] | None) -> tuple[str, dict[str, Any]]:
        """Return whose token was asked for, and the answer. Raises Refusal."""
        try:
            return self._grant(form, basic)
        finally:
            self._tell()  # a token that was used twice revokes others

    def _grant(self, form: Mapping[str, str], basic: tuple[str, str] | None) -> tuple[str, dict[str, Any]]:
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
            self.end(given)
        self._tell()

    def end(self, given: Consent | Access) -> None:
        """Revoke what was given. Whoever watches is told when the request is dealt with."""
        given.revoked = self._has_news = True

    def _tell(self) -> None:
        """Tell whoever watches of what was revoked. Not under the lock: they may wait for somebody who waits for it."""
        if self._has_news:
            self._has_news = False
            self._watchers.tell()

    def introspect(self, client: Registered, token: str) -> dict[str, Any]:
        """Return what a resource server may know of a token (RFC 7662 section 2.2). Raises Refusal for a public one."""
        if client.is_public:
            raise Refusal("invalid_client", "Introspection is for clients that prove who they are.", 401)
        with self._lock:
            consent, access = self._consent(token), self._tokens.get(digest(token))
            given = consent or access
            if given is None or self._is_out(given.user):
                return {"active": False}
            if consent is not None and consent.is_good and self._may_use(consent, digest(token)):
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
                **({"exp": int(access.expires_at)} if access.expires_at < math.inf else {}),
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
                self.end(consent)  # somebody has stolen one of the two
            if consent is None or not consent.is_good:
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
        if self._is_out(user):
            raise Refusal("invalid_grant", "The user is disabled.")
        token = self._issue(user, client_id, scope, consent, self.lifetime)
        return {"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime, "scope": scope}

    def _issue(self, user: str, client_id: str, scope: str, consent: Consent | None, lifetime: float) -> str:
        now = self.clock()
        token = self._signed(user, client_id, scope, now, lifetime) if self.jwt else new_token()
        access = Access(user, client_id, scope, now, now + lifetime)
        access.consent = consent
        with self._lock:
            self._tokens[digest(token)] = access
            if len(self._tokens) > _MOST_TOKENS:
                del self._tokens[next(iter(self._tokens))]
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
