"""The rows: complete exchanges, raw octets, a new exchange object each time."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import floor
import peers

import sasl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

USER = "user@example.com"
PASSWORD = sasl.Password("tim", "tanstaaftanstaaf")
CHANNEL = sasl.Channel(tls=True, service="imap", host="server.example.com", port=993)


def rows() -> Iterator[tuple[str, dict[str, Callable[[], object]]]]:
    """Yield title and contenders; each contender returns True for a login."""
    message = floor.plain_client("tim", "tanstaaftanstaaf")
    yield "PLAIN client", {"floor": _floor_client, "saslkit": _plain_client, **peers.plain_client()}
    yield (
        "PLAIN server",
        {
            "floor": lambda: floor.plain_server(message),
            "saslkit": lambda: _plain_server(message),
            **peers.plain_server(),
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

    return {"PLAIN client": _octets(client, count), "PLAIN server": _octets(server, count)}


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
    return type(sasl.settle(exchange, exchange.start(message), _verify)) is sasl.Success


def _bearer(name: str, credentials: sasl.Bearer) -> bool:
    client = sasl.client(name, credentials, channel=CHANNEL)
    server = sasl.server(name, channel=CHANNEL)
    initial_response = client.start()
    event = sasl.settle(server, server.start(initial_response), lambda question: _check(question, credentials))
    client.succeed()
    return type(event) is sasl.Success


def _verify(question: sasl.Question) -> object:
    if type(question) is sasl.CheckPassword:
        right = question.authcid == "tim" and question.password == "tanstaaftanstaaf"
        return sasl.Accepted("tim") if right else sasl.Rejected()
    return NotImplemented


def _check(question: sasl.Question, credentials: sasl.Bearer) -> object:
    if type(question) is sasl.CheckToken:
        return sasl.Accepted(USER) if question.token == credentials.token else sasl.Rejected()
    return NotImplemented
