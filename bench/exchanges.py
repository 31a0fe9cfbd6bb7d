"""The rows: complete exchanges, raw octets, a new exchange object each time."""

from __future__ import annotations

import base64
import hashlib
import hmac
import tracemalloc
from typing import TYPE_CHECKING

import floor
import gsasl
import peers

import sasl
from sasl.mechanisms.scram import KeyCache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

USER = "user@example.com"
PASSWORD = sasl.Password("tim", "tanstaaftanstaaf")
CHANNEL = sasl.Channel(tls=True, service="imap", host="server.example.com", port=993)


def rows() -> Iterator[tuple[str, dict[str, Callable[[], object]]]]:
    """Yield title and contenders; each contender returns True for a login."""
    message = floor.plain_client("tim", "tanstaaftanstaaf")
    yield (
        "PLAIN client",
        {"floor": _floor_client, "saslkit": _plain_client, **peers.plain_client(), **gsasl.plain_client()},
    )
    yield (
        "PLAIN server",
        {
            "floor": lambda: floor.plain_server(message),
            "saslkit": lambda: _plain_server(message),
            **peers.plain_server(),
            **gsasl.plain_server(message),
        },
    )
    for size in (200, 2500):
        token = "t" * size
        expected = token.encode()
        bearer = sasl.Bearer(USER, token)
        yield (
            f"XOAUTH2 client and server, {size}",
            {
                "floor": lambda t=token, e=expected: floor.xoauth2(USER, t, e),
                "saslkit": lambda b=bearer: _bearer("XOAUTH2", b),
                **peers.xoauth2(USER, token),
            },
        )
        yield (
            f"OAUTHBEARER client and server, {size}",
            {
                "floor": lambda t=token, e=expected: floor.oauthbearer(USER, t, e, "server.example.com", 993),
                "saslkit": lambda b=bearer: _bearer("OAUTHBEARER", b),
            },
        )
    yield (
        "CRAM-MD5 client and server",
        {
            "floor": lambda: floor.cram_md5("tim", CHALLENGE),
            "saslkit": _cram_md5,
            **peers.cram_md5(CHALLENGE),
            **gsasl.cram_md5(),
        },
    )
    yield from _scram_rows()


CHALLENGE = b"<1896.697170952@postoffice.reston.mci.net>"
NONCES = b"rOprNGfwEbeRWgbNEkqO", b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
KEYS = sasl.ScramKeys.derive("tanstaaftanstaaf", salt=b"0123456789abcdef")
STORED = KEYS.salt, KEYS.iterations, KEYS.stored_key, KEYS.server_key


def _scram_rows() -> Iterator[tuple[str, dict[str, Callable[[], object]]]]:
    """Yield the rows of SCRAM-SHA-256, with 4,096 iterations. Nonces are fixed, so that one side can be timed alone."""
    own, theirs = NONCES
    server_first = b"r=%s%s,s=%s,i=4096" % (own, theirs, base64.b64encode(KEYS.salt))
    salted = hashlib.pbkdf2_hmac("sha256", floor.PASSWORD, KEYS.salt, KEYS.iterations)
    keys = hmac.digest(salted, b"Client Key", "sha256"), KEYS.server_key
    final, signature = floor.scram_client("tim", own, server_first, keys)
    first = b"n,,n=tim,r=" + own
    kept = KeyCache()
    yield (
        "SCRAM-SHA-256 client, cold",
        {
            "floor": lambda: floor.scram_client("tim", own, server_first, None)[1] == signature,
            "saslkit": lambda: _scram_client(server_first, signature, None),
            **peers.scram_client(server_first, signature, own, STORED),
        },
    )
    yield (
        "SCRAM-SHA-256 client, keys kept",
        {
            "floor": lambda: floor.scram_client("tim", own, server_first, keys)[1] == signature,
            "saslkit": lambda: _scram_client(server_first, signature, kept),
            **peers.scram_client_with_keys(STORED),
        },
    )
    yield (
        "SCRAM-SHA-256 server, stored keys",
        {
            "floor": lambda: floor.scram_server(first, final, theirs, STORED) == signature,
            "saslkit": lambda: _scram_server(first, final),
            **peers.scram_server(first, final, theirs, STORED),
        },
    )
    yield (
        "SCRAM-SHA-256 both, keys kept",  # of GNU SASL's sides neither can be timed alone: its nonces are its own
        {
            "floor": lambda: _scram_floor(first, server_first, signature, keys),
            "saslkit": lambda: _scram_client(server_first, signature, kept) and _scram_server(first, final),
            **gsasl.scram(STORED, salted),
        },
    )


def idle(count: int = 2000) -> dict[str, int]:
    """Return the octets that an exchange keeps while it waits for the peer."""

    def client() -> object:
        exchange = sasl.client("PLAIN", PASSWORD)
        exchange.start()
        return exchange

    def server() -> object:
        exchange = sasl.server("PLAIN")
        exchange.start()
        return exchange

    def scram_client() -> object:
        exchange = sasl.client("SCRAM-SHA-256", PASSWORD)
        exchange.start()
        return exchange

    def scram_server() -> object:
        exchange = sasl.server("SCRAM-SHA-256")
        sasl.settle(exchange, exchange.start(b"n,,n=tim,r=" + NONCES[0]), verify)
        return exchange

    waiting = {
        "PLAIN client": client,
        "PLAIN server": server,
        "SCRAM-SHA-256 client": scram_client,
        "SCRAM-SHA-256 server": scram_server,
    }
    return {what: _octets(make, count) for what, make in waiting.items()}


def _octets(make: Callable[[], object], count: int) -> int:
    make()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = [make() for _ in range(count)]
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return used // len(kept)


def _floor_client() -> bool:
    return bool(floor.plain_client("tim", "tanstaaftanstaaf"))


def _plain_client() -> bool:
    exchange = sasl.client("PLAIN", PASSWORD)
    exchange.start()
    exchange.succeed()
    return True


def _plain_server(message: bytes) -> bool:
    exchange = sasl.server("PLAIN")
    return type(sasl.settle(exchange, exchange.start(message), verify)) is sasl.Success


def _bearer(name: str, credentials: sasl.Bearer) -> bool:
    client = sasl.client(name, credentials, channel=CHANNEL)
    server = sasl.server(name, channel=CHANNEL)
    initial_response = client.start()
    event = sasl.settle(server, server.start(initial_response), lambda question: check_token(question, credentials))
    client.succeed()
    return type(event) is sasl.Success


def _cram_md5() -> bool:
    client, server = sasl.client("CRAM-MD5", PASSWORD), sasl.server("CRAM-MD5", challenge=CHALLENGE)
    client.start()
    challenge = server.start()
    event = sasl.settle(server, server.receive(client.respond(challenge.data)), verify)  # type: ignore[union-attr]  # it is a Challenge
    client.succeed()
    return type(event) is sasl.Success


def _scram_floor(first: bytes, server_first: bytes, signature: bytes, keys: tuple[bytes, bytes]) -> bool:
    final, expected = floor.scram_client("tim", NONCES[0], server_first, keys)
    return floor.scram_server(first, final, NONCES[1], STORED) == signature == expected


def _scram_client(server_first: bytes, signature: bytes, keys: KeyCache | None) -> bool:
    client = sasl.client("SCRAM-SHA-256", PASSWORD, nonce=NONCES[0], keys=keys)
    client.start()
    client.respond(server_first)
    client.respond(b"v=" + signature)
    client.succeed()
    return True


def _scram_server(first: bytes, final: bytes) -> bool:
    server = sasl.server("SCRAM-SHA-256", nonce=NONCES[1], success_data=True)
    sasl.settle(server, server.start(first), verify)
    return type(sasl.settle(server, server.receive(final), verify)) is sasl.Success


def verify(question: sasl.Question) -> object:
    """Answer as a server does that knows tim."""
    if type(question) is sasl.FindKeys:
        return sasl.Record("tim", KEYS) if question.authcid == "tim" else None
    if type(question) is sasl.FindSecret:
        return sasl.Record("tim", "tanstaaftanstaaf") if question.authcid == "tim" else None
    if type(question) is sasl.CheckPassword:
        right = question.authcid == "tim" and question.password == "tanstaaftanstaaf"
        return sasl.Accepted("tim") if right else sasl.Rejected()
    return NotImplemented


def check_token(question: sasl.Question, credentials: sasl.Bearer) -> object:
    """Answer as a server does that knows one token."""
    if type(question) is sasl.CheckToken:
        return sasl.Accepted(USER) if question.token == credentials.token else sasl.Rejected()
    return NotImplemented
