"""X-KNOCK: the client proves a password without sending it, and so does the server. Only public names are used."""

from __future__ import annotations

import hashlib
import hmac

import sasl


def knock_client(credentials: sasl.Password, options: sasl.Options, *, times: int = 1) -> sasl.ClientSteps:
    """Name oneself, answer the nonce, check the server's proof."""
    if times < 1:
        raise sasl.UsageError("knock at least once")
    nonce = yield credentials.authcid.encode()
    key = credentials.password.reveal().encode()
    proof = yield digest(key, b"client" * times + nonce)
    if not hmac.compare_digest(proof, digest(key, b"server" + nonce)):
        raise sasl.ServerNotProven("the server does not know the password")
    yield sasl.Complete(b"")


def knock_server(options: sasl.Options, *, times: int = 1) -> sasl.ServerSteps:
    """Ask FindSecret, compare with a decoy where there is none."""
    authcid = (yield sasl.Challenge(b"")).decode()
    record = yield from sasl.ask(sasl.FindSecret(authcid, options.mechanism, None))
    key = b"decoy" if record is None else record.value.encode()
    nonce = b"<nonce>"
    answer = yield sasl.Challenge(nonce)
    if not hmac.compare_digest(answer, digest(key, b"client" * times + nonce)) or record is None:
        raise sasl.Rejected("the answer is wrong")
    return sasl.Verified(record.identity, data=digest(key, b"server" + nonce))


def digest(key: bytes, text: bytes) -> bytes:
    """Return the HMAC of a text."""
    return hmac.digest(key, text, hashlib.sha256)


ROW = sasl.Mechanism(
    "X-KNOCK",
    knock_client,
    "sasl_knock:knock_server",
    sasl.Password,
    client_first=True,
    plaintext=False,
    rank=45,
    asks=(sasl.FindSecret,),
)
THIEF = sasl.Mechanism("PLAIN", knock_client, None, sasl.Password, client_first=True, plaintext=False, rank=99)
