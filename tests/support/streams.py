"""Plain streams of asyncio, as the tests of all libraries see them: one file of tests/libraries for each protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sasl
from sasl.adapters.asyncio import authenticate, open_connection

from .libraries import Client, asynchronous

if TYPE_CHECKING:
    from sasl.adapters.asyncio import Connection


def streams_client(protocol: Any, noop: bytes, *, yes: bytes, last: bytes = b"") -> Client:
    """Return the streams for a protocol; the answer to `noop` begins with `yes`, and its last line with `last`."""

    async def connect(host: str, port: int, **tls: Any) -> Connection:
        return await open_connection(protocol, host, port, **tls)

    async def ask(connection: Connection) -> None:
        connection.writer.write(noop + b"\r\n")
        said = await connection.reader.readline()
        assert said.startswith(yes), said
        while not said.startswith(last):
            said = await connection.reader.readline()
            if not said:
                raise EOFError

    async def close(connection: Connection) -> None:
        connection.close()

    return Client(
        name=f"asyncio_{protocol}",
        service=protocol,
        distribution="",
        error=sasl.SASLError,
        refused=sasl.AuthenticationFailed,
        lost=ConnectionError,
        **asynchronous(connect=connect, authenticate=authenticate, noop=ask, close=close),
    )
