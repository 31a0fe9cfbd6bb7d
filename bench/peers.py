"""The peers, through their own public API; a peer that is not installed has no column."""

from __future__ import annotations

import base64
import smtplib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import floor

if TYPE_CHECKING:
    from collections.abc import Callable

    Contenders = dict[str, Callable[[], object]]
    Stored = tuple[bytes, int, bytes, bytes]  # salt, iterations, StoredKey, ServerKey


def plain_client() -> Contenders:
    """Return PLAIN clients: the bare smtplib, pysasl, pure-sasl."""
    found: Contenders = {"smtplib": _smtplib()}
    if find_spec("pysasl"):
        from pysasl.creds.client import ClientCredentials
        from pysasl.mechanism.plain import PlainMechanism

        mechanism = PlainMechanism()
        found["pysasl"] = lambda: mechanism.client_attempt(ClientCredentials("tim", "tanstaaftanstaaf"), []).response
    if find_spec("puresasl"):
        from puresasl.client import SASLClient

        def pure() -> object:
            client = SASLClient("h", "imap", mechanism="PLAIN", username="tim", password="tanstaaftanstaaf")
            return client.process()

        found["pure-sasl"] = pure
    return found


def plain_server() -> Contenders:
    """Return a PLAIN server: pysasl."""
    if not find_spec("pysasl"):
        return {}
    from pysasl.identity import ClearIdentity
    from pysasl.mechanism import ChallengeResponse
    from pysasl.mechanism.plain import PlainMechanism

    mechanism = PlainMechanism()
    identity = ClearIdentity("tim", "tanstaaftanstaaf")
    message = b"\0tim\0tanstaaftanstaaf"

    def server() -> object:
        credentials, _ = mechanism.server_attempt([ChallengeResponse(b"", message)])
        return credentials.verify(identity)

    return {"pysasl": server}


def xoauth2(user: str, token: str) -> Contenders:
    """Return an XOAUTH2 client and server: pysasl, whose server leaves the token to the caller."""
    if not find_spec("pysasl"):
        return {}
    from pysasl.creds.client import ClientCredentials
    from pysasl.mechanism.oauth import OAuth2Mechanism

    mechanism = OAuth2Mechanism()

    def both() -> object:
        response = mechanism.client_attempt(ClientCredentials(user, token), [])
        credentials, _ = mechanism.server_attempt([response])
        return credentials is not None  # whether the token is good is left to the caller

    return {"pysasl": both}


def cram_md5(challenge: bytes) -> Contenders:
    """Return a CRAM-MD5 client and server: pysasl."""
    if not find_spec("pysasl"):
        return {}
    from pysasl.creds.client import ClientCredentials
    from pysasl.identity import ClearIdentity
    from pysasl.mechanism import ServerChallenge
    from pysasl.mechanism.crammd5 import CramMD5Mechanism

    mechanism, identity = CramMD5Mechanism(), ClearIdentity("tim", "tanstaaftanstaaf")

    def both() -> object:
        asked = [ServerChallenge(challenge)]
        response = mechanism.client_attempt(ClientCredentials("tim", "tanstaaftanstaaf"), asked)
        credentials, _ = mechanism.server_attempt([response])
        return credentials.verify(identity)

    return {"pysasl": both}


def scram_client(server_first: bytes, signature: bytes, nonce: bytes, stored: Stored) -> Contenders:
    """Return SCRAM-SHA-256 clients that derive the keys each time: scramp, pymongo."""
    found: Contenders = {}
    if find_spec("scramp"):
        from scramp import ScramClient

        challenge, answer, own = server_first.decode(), f"v={signature.decode()}", nonce.decode()

        def scramp() -> object:
            client = ScramClient(["SCRAM-SHA-256"], "tim", "tanstaaftanstaaf", c_nonce=own)
            client.get_client_first()
            client.set_server_first(challenge)
            client.get_client_final()
            client.set_server_final(answer)
            return True

        found["scramp"] = scramp
    if find_spec("pymongo"):
        found["pymongo"] = lambda: _pymongo(stored)(fresh=True)
    return found


def scram_client_with_keys(stored: Stored) -> Contenders:
    """Return SCRAM-SHA-256 clients that keep the keys: pymongo. Its figure includes a hand-written server."""
    if not find_spec("pymongo"):
        return {}
    login = _pymongo(stored)
    return {"pymongo": lambda: login(fresh=False)}


def scram_server(first: bytes, final: bytes, nonce: bytes, stored: Stored) -> Contenders:
    """Return a SCRAM-SHA-256 server with stored keys: scramp."""
    if not find_spec("scramp"):
        return {}
    from scramp import ScramMechanism

    mechanism, messages = ScramMechanism("SCRAM-SHA-256"), (first.decode(), final.decode())
    salt, count, stored_key, server_key = stored

    def server() -> object:
        side = mechanism.make_server(lambda _: (salt, stored_key, server_key, count), s_nonce=nonce.decode())
        side.set_client_first(messages[0])
        side.get_server_first()
        side.set_client_final(messages[1])
        return side.get_server_final()

    return {"scramp": server}


def _pymongo(stored: Stored) -> Callable[..., object]:
    """Return a login by pymongo's SCRAM at a server that is the floor's; `fresh` is one without kept keys."""
    from pymongo.auth_shared import MongoCredential, _Cache
    from pymongo.synchronous.auth import _authenticate_scram

    credentials = MongoCredential("SCRAM-SHA-256", "admin", "tim", "tanstaaftanstaaf", None, _Cache())

    class Connection:
        auth_ctx = None

        def __init__(self) -> None:
            self.first = b""

        def command(self, _: str, message: Any) -> dict[str, Any]:
            payload = bytes(message["payload"])
            if self.first:
                return {"payload": b"v=" + floor.scram_server(self.first, payload, b"theirs", stored), "done": True}
            self.first = payload
            nonce = payload.split(b",r=")[1]
            challenge = b"r=%stheirs,s=%s,i=%d" % (nonce, base64.b64encode(stored[0]), stored[1])
            return {"payload": challenge, "conversationId": 1}

    def login(*, fresh: bool) -> object:
        who = credentials._replace(cache=_Cache()) if fresh else credentials
        _authenticate_scram(who, Connection(), "SCRAM-SHA-256")  # type: ignore[arg-type]  # all of a connection that it uses
        return True

    return login


def _smtplib() -> Callable[[], object]:
    smtp = smtplib.SMTP()
    smtp.user, smtp.password = "tim", "tanstaaftanstaaf"  # type: ignore[attr-defined]  # as its login() sets them
    return smtp.auth_plain
