"""The peers, through their own public API; a peer that is not installed has no column."""

from __future__ import annotations

import smtplib
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Contenders = dict[str, Callable[[], object]]


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


def _smtplib() -> Callable[[], object]:
    smtp = smtplib.SMTP()
    smtp.user, smtp.password = "tim", "tanstaaftanstaaf"  # type: ignore[attr-defined]  # as its login() sets them
    return smtp.auth_plain
