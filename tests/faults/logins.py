"""A login of each mechanism without a wire: its credentials, both ends, who answers the server, and what is secret."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Any, Final

import sasl
from sasl import Anonymous, Bearer, External, Password, ScramKeys

from .conftest import PASSWORD, TOKENS, USER

if TYPE_CHECKING:
    from collections.abc import Callable

PLAINTEXT: Final = ("PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER")
PASSWORDS: Final = ("PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS")
TOKEN: Final = ("XOAUTH2", "OAUTHBEARER")
MECHANISMS: Final = (*PASSWORDS, *TOKEN, "EXTERNAL", "ANONYMOUS")

SALT: Final = bytes(range(100, 116))
ITERATIONS: Final = 4_096
KEYS: Final = ScramKeys.derive(PASSWORD, salt=SALT, iterations=ITERATIONS)
CERTIFICATE: Final = b"a certificate that nobody reads"


def channel_for(mechanism: str) -> sasl.Channel:
    bindings = {"tls-exporter": bytes(32)} if mechanism.endswith("-PLUS") else {}
    return sasl.Channel(tls=True, service="imap", host="mail.example", port=993, bindings=bindings)


def credentials_for(mechanism: str, secret: str | None = None, user: str = USER) -> sasl.Credentials:
    """Return what is right, or what has another password or token."""
    if mechanism == "EXTERNAL":
        return External(user)
    if mechanism == "ANONYMOUS":
        return Anonymous(user)
    if mechanism in TOKEN:
        return Bearer(user, TOKENS["good"] if secret is None else secret)
    return Password(user, PASSWORD if secret is None else secret)


def client(mechanism: str, credentials: sasl.Credentials | None = None, **options: Any) -> sasl.ClientExchange:
    credentials = credentials_for(mechanism) if credentials is None else credentials
    return sasl.client(mechanism, credentials, channel=channel_for(mechanism), **options)


def server(mechanism: str, **options: Any) -> sasl.ServerExchange:
    if mechanism == "EXTERNAL":
        options["certificate"] = CERTIFICATE
    return sasl.server(mechanism, channel=channel_for(mechanism), **options)


def verifier(outcome: str = "success", secret: str = PASSWORD) -> Callable[[sasl.Question], Any]:
    """Answer for any user, with the one password or token; or refuse, and find nobody."""

    def answer(question: sasl.Question) -> Any:
        if isinstance(question, sasl.Authorize):
            return NotImplemented
        if outcome != "success":
            kind = "expired" if isinstance(question, sasl.CheckPassword | sasl.CheckToken) else "credentials"
            return None if question.lookup else sasl.Rejected("no", kind)
        if isinstance(question, sasl.FindKeys):
            return sasl.Record(question.authcid, KEYS if secret == PASSWORD else ScramKeys.derive(secret, salt=SALT))
        if isinstance(question, sasl.FindSecret):
            return sasl.Record(question.authcid, secret)
        if isinstance(question, sasl.CheckAnonymous):
            return sasl.Accepted(question.trace)
        if isinstance(question, sasl.CheckCertificate):
            return sasl.Accepted(question.authzid)
        return sasl.Accepted(question.authcid if isinstance(question, sasl.CheckPassword) else question.username)

    return answer


def steps(
    one: sasl.ClientExchange,
    other: sasl.ServerExchange,
    answer: Callable[[sasl.Question], Any],
    note: Callable[..., object] = lambda *seen: None,
) -> Any:
    """Run a dialogue to the server's last event, and tell the client what it is. `note` sees all that is said."""
    message = one.start()
    event: Any = other.start(message)
    note(message, event)
    while not isinstance(event, sasl.Success | sasl.Failure):
        if isinstance(event, sasl.Question):
            event = sasl.settle(other, event, answer)
        else:
            message = one.respond(event.data)
            event = other.receive(message)
        note(message, event)
    if isinstance(event, sasl.Success):
        one.succeed(event.data)
    return event


def begun(one: sasl.ClientExchange, other: sasl.ServerExchange) -> sasl.Question:
    """Run a dialogue to the server's first question."""
    event: Any = other.start(one.start())
    while not isinstance(event, sasl.Question):
        event = other.receive(one.respond(event.data))
    return event


# --- what must not be seen


def secret_of(mechanism: str) -> str:
    """The password or token; for a mechanism that has none, what it sends: it is shown by its size as well."""
    if mechanism in TOKEN:
        return TOKENS["good"]
    return PASSWORD if mechanism in PASSWORDS else base64.b64encode(USER.encode()).decode()


@functools.cache
def derived(password: str, salt: bytes = SALT, iterations: int = ITERATIONS) -> tuple[bytes, bytes, bytes, bytes]:
    """Return SaltedPassword, ClientKey, ServerKey and StoredKey of a password (RFC 5802 section 3), for SHA-256."""
    salted_password = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client_key, server_key = (hmac.digest(salted_password, text, "sha256") for text in (b"Client Key", b"Server Key"))
    return salted_password, client_key, server_key, hashlib.sha256(client_key).digest()


_PROOF: Final = re.compile(rb"(?:,p=|,response=|^.* )([0-9a-f]{32}|[A-Za-z0-9+/]{27}=|[A-Za-z0-9+/]{43}=)(?:,|\Z)")


def proofs(*messages: bytes | None) -> list[bytes]:
    """Return what clients have sent in the place of a password: SCRAM's proofs, the digests of the others."""
    return [proof for message in messages if message for proof in _PROOF.findall(message)]


_DERIVED_FROM: Final = re.compile(rb"s=([A-Za-z0-9+/=]+),i=([0-9]+)")


def secrets_in(*messages: bytes, password: str) -> list[bytes]:
    """Return the proofs in decoded messages of a dialogue, and the keys that its salt makes of the password."""
    salts = [match for message in messages for match in _DERIVED_FROM.findall(message)]
    keys = [key for salt, count in salts for key in derived(password, base64.b64decode(salt), int(count))]
    return proofs(*messages) + keys
