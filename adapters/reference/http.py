"""HTTP of the reference authority (RFC 9112), parsed by h11: one request in, one answer out, and the connection ends.

    async with serving_http(answer, host="127.0.0.1", port=0, deadline=10.0) as port:
        ...

`answer` gets a `Request` and the connection, for answers that are none, and returns an `Answer`, or None if it has said
all itself. A request is bounded: 16 KB of head, 64 KB of body, one deadline for all of it and one for its answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, final
from urllib.parse import parse_qsl

from sasl.errors import TokenError, place_of
from sasl.value import field, value

from ..tokens._extra import load
from .listening import Listeners

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from .connection import Connection

_LONGEST_HEAD: Final = 16_384  # octets
_LONGEST_BODY: Final = 65_536
_MOST_AT_ONCE: Final = 4_096  # h11 bounds a head only while it is not whole
_MOST_LEFT: Final = 1_048_576  # octets that are read after a refusal, so that whoever sends them gets to see it

_log: Final = logging.getLogger("sasl")


@final
@value
class Request:
    """What a client asks. Its parts may hold secrets: the repr has none of them.

    Attributes:
        method: "GET" or "POST".
        path: up to the question mark.
        query: behind it.
        headers: by their names in small letters; of several of one name the last.
        body: as it came.
    """

    method: str
    path: str = field(hidden=True)
    query: str = field(hidden=True)
    headers: Mapping[str, str] = field(hidden=True)
    body: bytes = field(hidden=True)

    def is_form(self) -> bool:
        """Whether the body says that it is a form."""
        kind = self.headers.get("content-type", "").partition(";")[0]
        return kind.strip().lower() == "application/x-www-form-urlencoded"


@final
@value
class Answer:
    """What it gets: a status, a body, and headers beyond the usual ones."""

    status: int
    body: bytes = field(hidden=True)
    headers: Mapping[str, str] = field(default_factory=dict, hidden=True)


class HttpError(Exception):
    """What is no request that is answered here, by its status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def json_answer(document: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Return an answer that is a document of JSON."""
    return Answer(status, json.dumps(document).encode(), headers or {})


def fields_of(text: str) -> tuple[dict[str, str], bool]:
    """Return the fields of a form or query, and whether one is there twice.

    One without a value is none (RFC 6749 section 3.1 and 3.2).
    """
    pairs = parse_qsl(text)
    fields = dict(pairs)
    return fields, len(fields) < len(pairs)


@contextlib.asynccontextmanager
async def serving_http(
    answer: Callable[[Request, Connection], Awaitable[Answer | None]],
    *,
    host: str,
    port: int,
    deadline: float,
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[int]:
    """Serve HTTP, or HTTPS with a TLS context, until the block ends, and give the port.

    Raises TokenError (missing_extra) without h11, OSError if the port cannot be had.
    """
    load("h11", "serve")

    async def hold(connection: Connection) -> None:
        with contextlib.suppress(TimeoutError):
            await _hold(connection, answer, deadline, context)
        await connection.close(grace=deadline)

    listeners = Listeners()
    try:
        yield await listeners.open(hold, host, port)
    finally:
        await listeners.stop()


async def _hold(
    connection: Connection,
    answer: Callable[[Request, Connection], Awaitable[Answer | None]],
    deadline: float,
    context: ssl.SSLContext | None,
) -> None:
    """Read a request and answer it."""
    try:
        async with asyncio.timeout(deadline):
            if context is not None and not await connection.start_tls(context, grace=deadline):
                return
            request = await _read(connection)
    except HttpError as no:
        connection.write(encode(_plain(no.status)))
        await _discard(connection, deadline)
        return
    if request is None:
        return
    if (said := await _said(answer, request, connection)) is not None:
        connection.write(encode(said))


async def _said(
    answer: Callable[[Request, Connection], Awaitable[Answer | None]], request: Request, connection: Connection
) -> Answer | None:
    """Return what is answered: 500 where an extra is missing, nothing where we have failed. The log has the reason."""
    try:
        return await answer(request, connection)
    except TokenError as error:
        _log.error("the token endpoint failed: %s", error)
        return _plain(500)
    except Exception as error:
        _log.error("the token endpoint failed with %s at %s", type(error).__name__, place_of(error))
    return None


def _plain(status: int) -> Answer:
    """Return an answer that is its status and no more."""
    return Answer(status, f"{status} {HTTPStatus(status).phrase}\n".encode(), {"Content-Type": "text/plain"})


def encode(answer: Answer) -> bytes:
    """Return the octets of an answer. A Content-Length of its own is not compared with the body."""
    h11: Any = load("h11", "serve")
    kind = "application/json" if answer.body.startswith(b"{") else "text/html; charset=utf-8"
    usual = {
        "Server": "saslkit-reference",
        "Content-Type": kind,
        "Content-Length": str(len(answer.body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Connection": "close",
    }
    writer = h11.Connection(h11.SERVER)
    headers = list({**usual, **answer.headers}.items())
    phrase = HTTPStatus(answer.status).phrase.encode("ascii")
    head: bytes = writer.send(h11.Response(status_code=answer.status, headers=headers, reason=phrase))
    body: bytes = writer.send(h11.Data(data=answer.body))
    return head + body


async def _read(connection: Connection) -> Request | None:
    """Return a request, None if the client goes away before its end. Raises HttpError."""
    h11: Any = load("h11", "serve")
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=_LONGEST_HEAD)
    head, body = None, bytearray()
    while True:
        event = _next(h11, parser)
        if event is h11.NEED_DATA:
            if parser.they_are_waiting_for_100_continue:
                connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if not (octets := await connection.read(_MOST_AT_ONCE)):
                return None
            parser.receive_data(octets)
        elif isinstance(event, h11.Request):
            head = event
            _check(head)
        elif isinstance(event, h11.Data):
            body += event.data
        else:
            break
    if head is None:
        return None
    path, _, query = head.target.decode("utf-8", "replace").partition("?")
    headers = {name.decode("ascii"): content.decode("latin-1") for name, content in head.headers}
    return Request(head.method.decode("ascii"), path, query, headers, bytes(body))


def _next(h11: Any, parser: Any) -> Any:
    status = 400
    try:
        return parser.next_event()
    except h11.RemoteProtocolError as error:
        status = error.error_status_hint
    except ValueError:
        pass  # older ones, for a length of thousands of digits
    raise HttpError(status)


def _check(head: Any) -> None:
    """Refuse what is not for here, and a body whose length is not clear (RFC 9112 section 6.3)."""
    headers = dict(head.headers)
    length = headers.get(b"content-length")
    if head.http_version not in (b"1.0", b"1.1"):
        raise HttpError(505)
    if head.method not in (b"GET", b"POST"):
        raise HttpError(501)
    if length is not None and (b"transfer-encoding" in headers or not re.fullmatch(rb"[0-9]+", length)):
        raise HttpError(400)  # who frames it otherwise than a proxy before it takes a part of one request for another
    if length is None and (head.method == b"POST" or b"transfer-encoding" in headers):
        raise HttpError(411)
    if length is not None and int(length) > _LONGEST_BODY:
        raise HttpError(413)


async def _discard(connection: Connection, seconds: float) -> None:
    """Read what comes still: a connection that closes before is reset, and the answer lost."""
    connection.end()
    left = _MOST_LEFT
    async with asyncio.timeout(min(seconds, 1.0)):
        while left > 0 and (octets := await connection.read(_MOST_AT_ONCE)):
            left -= len(octets)
