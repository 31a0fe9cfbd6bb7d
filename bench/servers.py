"""PLAIN exchanges of an asyncio server on one open connection, by ours and by pysasl's engine: how many in a second.

Both are the same protocol of one line per message (base64, as SMTP frames it) on a loopback connection, with the same
client, which has its line ready: what differs is the engine.
"""

from __future__ import annotations

import asyncio
import base64
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING

import exchanges

import sasl

if TYPE_CHECKING:
    from collections.abc import Callable

EXCHANGES = 3_000
ROUNDS = 3
LINE = base64.b64encode(b"\0tim\0tanstaaftanstaaf") + b"\r\n"


def exchanges_per_second() -> dict[str, float]:
    """Return the best of ROUNDS for each engine that is installed, taken in turns."""
    engines: dict[str, Callable[[bytes], bool]] = {"saslkit": _saslkit}
    if find_spec("pysasl"):
        engines["pysasl"] = _pysasl()
    best = dict.fromkeys(engines, 0.0)
    for _ in range(ROUNDS):
        for name, engine in engines.items():
            best[name] = max(best[name], asyncio.run(_run(engine)))
    return best


async def _run(engine: Callable[[bytes], bool]) -> float:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(b"235 2.7.0 Authenticated\r\n" if engine(base64.b64decode(line)) else b"535 5.7.8 No\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        start = time.perf_counter()
        for _ in range(EXCHANGES):
            writer.write(LINE)
            if not (await reader.readline()).startswith(b"235"):
                raise SystemExit("a server did not let in: the row would compare nothing")
        took = time.perf_counter() - start
        writer.close()
        await writer.wait_closed()
    return EXCHANGES / took


def _saslkit(message: bytes) -> bool:
    exchange = sasl.server("PLAIN")
    return type(sasl.settle(exchange, exchange.start(message), exchanges.verify)) is sasl.Success


def _pysasl() -> Callable[[bytes], bool]:
    from pysasl.identity import ClearIdentity
    from pysasl.mechanism import ChallengeResponse
    from pysasl.mechanism.plain import PlainMechanism

    mechanism, identity = PlainMechanism(), ClearIdentity("tim", "tanstaaftanstaaf")

    def engine(message: bytes) -> bool:
        credentials, _ = mechanism.server_attempt([ChallengeResponse(b"", message)])
        return credentials.verify(identity)

    return engine
