"""The floor: what the octets of one exchange cost when somebody writes them by hand and checks next to nothing."""

from __future__ import annotations

import hmac

PASSWORD = b"tanstaaftanstaaf"


def plain_client(authcid: str, password: str) -> bytes:
    """Return a PLAIN message."""
    return f"\0{authcid}\0{password}".encode()


def plain_server(message: bytes) -> bool:
    """Check a PLAIN message."""
    _, authcid, password = message.decode().split("\0")
    return authcid == "tim" and hmac.compare_digest(password.encode(), PASSWORD)


def xoauth2(user: str, token: str, expected: bytes) -> bool:
    """Make an XOAUTH2 message and check it."""
    message = f"user={user}\x01auth=Bearer {token}\x01\x01".encode()
    first, second, _, _ = message.split(b"\x01")
    return first == b"user=" + user.encode() and hmac.compare_digest(second[12:], expected)


def oauthbearer(user: str, token: str, expected: bytes, host: str, port: int) -> bool:
    """Make an OAUTHBEARER message and check it."""
    escaped = user.replace("=", "=3D").replace(",", "=2C")
    message = f"n,a={escaped},\x01host={host}\x01port={port}\x01auth=Bearer {token}\x01\x01".encode()
    header, *pairs = message[:-2].split(b"\x01")
    named = dict(pair.split(b"=", 1) for pair in pairs)
    authzid = header.split(b",")[1][2:].replace(b"=2C", b",").replace(b"=3D", b"=").decode()
    meant_here = named[b"host"] == host.encode() and int(named[b"port"]) == port
    return meant_here and authzid == user and hmac.compare_digest(named[b"auth"][7:], expected)
