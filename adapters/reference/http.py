"""HTTP for the authority and the control endpoint (RFC 9112), parsed by h11: one request, one answer, and the end.

    async with serving_http(answer, host="127.0.0.1", port=0, deadline=10.0) as port:
        ...

`answer` gets a `Request` and the connection, for answers that are none, and returns an `Answer`, or None if it has said
all itself. A request is bounded: 16 KB of head, 64 KB of body, one deadline for all of it and one for its answer.
`admit` sets other bounds, by what stands in the head.
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
from sasl.value import field, replace, value

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
        method: "GET" or "POST"; others where `admit` lets them in.
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
    """What is no request that is answered here, by its status; what it gets, where that is more than the status."""

    def __init__(self, status: int, answer: Answer | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.answer = answer


def admit(request: Request) -> int:
    """Let GET and POST in, with a body of 64 KB. The request has no body yet. Raises HttpError."""
    if request.method not in ("GET", "POST"):
        raise HttpError(501)
    if request.method == "POST" and "content-length" not in request.headers:
        raise HttpError(411)
    return _LONGEST_BODY


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
    admit: Callable[[Request], int] = admit,
    refuse: Callable[[int], Answer] | None = None,
) -> AsyncIterator[int]:
    """Serve HTTP, or HTTPS with a TLS context, until the block ends, and give the port.

    `admit` gets a request before its body has come; it returns how many octets that may have, or raises HttpError.
    `refuse` makes the answer of a status for what is no request; None for a line of text.
    Raises TokenError (missing_extra) without h11, OSError if the port cannot be had.
    """
    load("h11", "serve")

    async def hold(connection: Connection) -> None:
        with contextlib.suppress(TimeoutError):
            await _hold(connection, answer, admit=admit, refuse=refuse or _plain, deadline=deadline, context=context)
        await connection.close(grace=deadline)

    listeners = Listeners()
    try:
        yield await listeners.open(hold, host, port)
    finally:
        await listeners.stop()


async def _hold(
    connection: Connection,
    answer: Callable[[Request, Connection], Awaitable[Answer | None]],
    *,
    admit: Callable[[Request], int],
    refuse: Callable[[int], Answer],
    deadline: float,
    context: ssl.SSLContext | None,
) -> None:
    """Read a request and answer it."""
    try:
        async with asyncio.timeout(deadline):
            if context is not None and not await connection.start_tls(context, grace=deadline):
                return
            request = await _read(connection, admit)
    except HttpError as no:
        connection.write(encode(no.answer or refuse(no.status)))
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
        _log.error("the HTTP server failed: %s", error)
        return _plain(500)
    except Exception as error:
        _log.error("the HTTP server failed with %s at %s", type(error).__name__, place_of(error))
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
    headers = {**usual, **answer.headers}
    if answer.status == 204:  # has no body, and says nothing of one (RFC 9110 section 8.6)
        del headers["Content-Type"], headers["Content-Length"]
    writer = h11.Connection(h11.SERVER)
    head: bytes = writer.send(_response(h11, answer.status, headers))
    body: bytes = writer.send(h11.Data(data=answer.body))
    return head + body


def stream_head(kind: str) -> bytes:
    """Return the head of an answer of this type whose body goes on until the connection ends."""
    h11: Any = load("h11", "serve")
    usual = {"Content-Type": kind, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    head: bytes = h11.Connection(h11.SERVER).send(_response(h11, 200, {"Server": "saslkit-reference", **usual}))
    return head


def _response(h11: Any, status: int, headers: Mapping[str, str]) -> Any:
    phrase = HTTPStatus(status).phrase.encode("ascii")
    return h11.Response(status_code=status, headers=list(headers.items()), reason=phrase)


async def _read(connection: Connection, admit: Callable[[Request], int]) -> Request | None:
    """Return a request, None if the client goes away before its end. Raises HttpError."""
    h11: Any = load("h11", "serve")
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=_LONGEST_HEAD)
    request: Request | None = None
    body = bytearray()
    while True:
        event = _next(h11, parser)
        if event is h11.NEED_DATA:
            if parser.they_are_waiting_for_100_continue:
                connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if not (octets := await connection.read(_MOST_AT_ONCE)):
                return None
            parser.receive_data(octets)
        elif isinstance(event, h11.Request):
            request = _check(event, admit)
        elif isinstance(event, h11.Data):
            body += event.data
        else:
            break
    return None if request is None else replace(request, body=bytes(body))


def _next(h11: Any, parser: Any) -> Any:
    status = 400
    try:
        return parser.next_event()
    except h11.RemoteProtocolError as error:
        status = error.error_status_hint
    except ValueError:
        pass  # older ones, for a length of thousands of digits
    raise HttpError(status)


def _check(head: Any, admit: Callable[[Request], int]) -> Request:
    """Return a request without its body. Refuse what is not for here, and a body whose length is not clear.

    See RFC 9112 section 6.3.
    """
    headers = {name.decode("ascii"): content.decode("latin-1") for name, content in head.headers}
    length = headers.get("content-length")
    path, _, query = head.target.decode("utf-8", "replace").partition("?")
    if head.http_version not in (b"1.0", b"1.1"):
        raise HttpError(505)
    request = Request(head.method.decode("ascii"), path, query, headers, b"")
    most = admit(request)
    if length is not None and ("transfer-encoding" in headers or not re.fullmatch(r"[0-9]+", length)):
        raise HttpError(400)  # who frames it otherwise than a proxy before it takes a part of one request for another
    if length is None and "transfer-encoding" in headers:
        raise HttpError(411)
    if length is not None and int(length) > most:
        raise HttpError(413)
    return request


async def _discard(connection: Connection, seconds: float) -> None:
    """Read what comes still: a connection that closes before is reset, and the answer lost."""
    connection.end()
    left = _MOST_LEFT
    async with asyncio.timeout(min(seconds, 1.0)):
        while left > 0 and (octets := await connection.read(_MOST_AT_ONCE)):
            left -= len(octets)
