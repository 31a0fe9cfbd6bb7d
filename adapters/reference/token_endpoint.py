"""An OAuth authority on this machine, the token endpoint above all, to test clients against.

    with token_endpoint.running() as endpoint, reference.running(checks=endpoint.checks) as servers:
        Path("token.json").write_text(json.dumps(endpoint.authorized_user("alice")))
        ...  # whoever asks for a token by that file can log in as alice
        endpoint.revoke(token)

It listens at a loopback address only and fails on demand. What it grants is in `grants`, sign-ins with a
person in `sign_in`, its other places in `pages`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import unquote_plus

from . import pages
from .certificates import of_the_day, server_context
from .faults import Place
from .grants import FAULTS, LATE_FAULTS, Asked, Fault, LateFault, TokenEndpoint
from .http import Answer, encode, fields_of, json_answer, serving_http
from .listening import in_thread_of, listening_address
from .pages import GRANTS
from .scopes import MAIL
from .signed import Refusal
from .strike import strike_request

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

    from .connection import Connection
    from .http import Request

__all__ = ["FAULTS", "LATE_FAULTS", "MAIL", "Asked", "Fault", "LateFault", "TokenEndpoint", "running", "serving"]

_PATH: Final = "/token"
_DEADLINE: Final = 10.0  # seconds
_PAUSE: Final = 0.05  # seconds between two octets of a slow answer


@contextlib.asynccontextmanager
async def serving(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    deadline: float = _DEADLINE,
    tls: bool = False,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[TokenEndpoint]:
    """Run an endpoint in this event loop until the block ends. Port 0 is one that is free.

    `deadline` is the seconds that a client has for its whole request, from when it connects, and again for taking
    the answer. With `tls` it is HTTPS, by a certificate of the CA in the endpoint's `ca_file`.
    `clock` returns what the endpoint takes for the time, POSIX seconds.
    Raises UsageError for an address that is not of this machine alone, OSError if the port is taken, TokenError
    (missing_extra) without h11.
    """
    endpoint = TokenEndpoint("", clock)
    async with serving_authority(endpoint, host=host, port=port, deadline=deadline, tls=tls):
        yield endpoint


@contextlib.asynccontextmanager
async def serving_authority(
    endpoint: TokenEndpoint,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    deadline: float = _DEADLINE,
    tls: bool = False,
    remote: str = "",
) -> AsyncIterator[None]:
    """Serve the HTTP of an endpoint that there is, as `serving` does; it has its `url` then.

    `remote` lets other machines in, which call this one by that name.
    """
    address = listening_address(host, "the token endpoint listens", remote=remote)
    with contextlib.ExitStack() as stack:
        context: ssl.SSLContext | None = None
        if tls:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="saslkit-")))
            of_the_day()[0].write_for_now(folder)
            context, endpoint.ca_file = server_context(folder), folder / "ca.pem"
        answer = partial(_meet, endpoint)
        async with serving_http(answer, host=address, port=port, deadline=deadline, context=context) as bound:
            place = remote or (f"[{address}]" if ":" in address else address)
            endpoint.url = f"{'https' if tls else 'http'}://{place}:{bound}{_PATH}"
            yield


running = in_thread_of(serving, "saslkit-token-endpoint")


# --- requests


async def _meet(endpoint: TokenEndpoint, request: Request, connection: Connection) -> Answer | None:
    """Answer a request, or let the fault strike that waits for it."""
    effects = endpoint.rules.strike(Place("oauth"), _events(request.path))
    if not effects:
        return await _answer(endpoint, request, connection)
    act, fail = partial(_answer, endpoint, request, connection), partial(_fail_once, endpoint, request, connection)
    note = partial(_note, endpoint, request)
    await strike_request(effects, connection, act=act, fail=fail, note=note)
    return None


def _events(path: str) -> tuple[str, ...]:
    """Return the names of a request that a rule may strike at."""
    name = path.rpartition("/")[2].upper()
    return (name, "METADATA", "*") if path.startswith("/.well-known/") else (name, "*")


def _note(endpoint: TokenEndpoint, request: Request, effect: str) -> None:
    endpoint.requests.append(Asked(request.path, "", effect))


async def _fail_once(endpoint: TokenEndpoint, request: Request, connection: Connection, fault: str) -> Answer | None:
    """Answer a request by a fault of the endpoint's own."""
    if request.path == _PATH:
        endpoint.faults.appendleft(cast("Fault | LateFault", fault))
        return await _answer(endpoint, request, connection)
    _note(endpoint, request, fault)
    return await _fail(endpoint, fault.removesuffix("-after"), request.body, connection)


async def _answer(endpoint: TokenEndpoint, request: Request, connection: Connection) -> Answer | None:
    """Answer a request."""
    if (request.method, request.path) == ("GET", _PATH):  # a request for a token is a POST (RFC 6749 section 3.2)
        endpoint.requests.append(Asked(request.path, "", "method"))
        return Answer(405, b"<h1>POST only</h1>", {"Allow": "POST"})
    form = fields_of(request.body.decode("utf-8", "replace"))[0]
    grant = form.get("grant_type", "").rpartition(":")[2] if form.get("grant_type") in GRANTS else ""
    try:
        if request.path == _PATH:
            return await _token(endpoint, request, connection, grant)
        return pages.answer(endpoint, request)
    except Refusal as no:
        endpoint.requests.append(Asked(request.path, grant, no.error))
        return _refuse(no)


async def _token(endpoint: TokenEndpoint, request: Request, connection: Connection, grant: str) -> Answer | None:
    """Answer a request for a token, or fail before or after the tokens are granted."""
    await asyncio.sleep(endpoint.delay_before)
    fault = endpoint.faults.popleft() if endpoint.faults else None
    if fault is not None and fault not in LATE_FAULTS:
        endpoint.requests.append(Asked(request.path, grant, fault))
        return await _fail(endpoint, fault, request.body, connection)
    user, document = endpoint.grant(pages.form_of(request), pages.basic_of(request))
    endpoint.requests.append(Asked(request.path, grant, fault or "granted", user))
    await asyncio.sleep(endpoint.delay_after)
    if fault is not None:
        return await _fail(endpoint, fault.removesuffix("-after"), request.body, connection)
    return json_answer(document)


def _refuse(no: Refusal) -> Answer:
    headers = {"WWW-Authenticate": "Basic"} if no.status == 401 else {}
    return json_answer({"error": no.error, "error_description": no.description}, no.status, headers)


# --- faults


async def _fail(endpoint: TokenEndpoint, fault: str, body: bytes, connection: Connection) -> Answer | None:
    """Fail as it is wanted; return an answer to send, or None if nothing is left to say."""
    match fault:
        case "invalid_grant":
            return _refuse(Refusal("invalid_grant", "Token has been expired or revoked."))
        case "429" | "500" | "503":
            wait = {} if endpoint.retry_after is None else {"Retry-After": str(endpoint.retry_after)}
            return Answer(int(fault), b"<h1>Try later</h1>", wait)
        case "garbage":
            return Answer(200, b"<h1>Sign in to this network</h1>")
        case "hang":
            await _gone(connection)
        case "drip":
            await _drip(connection)
        case "huge":
            return Answer(200, b'{"access_token": "' + b"A" * 8_388_608 + b'"}')
        case "redirect":
            return Answer(307, b"<h1>Elsewhere</h1>", {"Location": "/elsewhere"})
        case "cut":
            connection.write(encode(Answer(200, b'{"access_token": "half', {"Content-Length": "1000"})))
        case "echo":
            sent = body.decode("utf-8", "replace")
            return _refuse(Refusal("invalid_request", f"what you sent: {unquote_plus(sent)}, as {sent}"))
    return None


async def _gone(connection: Connection) -> None:
    """Wait until the client sends no more."""
    while await connection.read(65_536):
        pass


async def _drip(connection: Connection) -> None:
    gone = asyncio.ensure_future(_gone(connection))
    try:
        for octet in b"HTTP/1.1 200 " + b"O" * 60_000:
            connection.write(bytes([octet]))
            if (await asyncio.wait({gone}, timeout=_PAUSE))[0]:
                return
    finally:
        gone.cancel()
