"""Who is let in to the control endpoint, and what each request gets."""

from __future__ import annotations

import inspect
import json
import logging
import re
from functools import partial
from http import HTTPStatus
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, final

from sasl.errors import place_of
from sasl.secret import Secret

from ...documents import parse_object
from ..http import Answer, HttpError
from .description import describe
from .live import while_there
from .routes import ROUTES, TOPICS
from .table import PREFIX, Call, Problem, find, members_of, query_of

if TYPE_CHECKING:
    from ..connection import Connection
    from ..http import Request
    from .desk import Desk
    from .table import Route

_LARGEST_BODY: Final = 16_777_216  # octets: the largest message as JSON
_MOST_TOLD: Final = 200  # entries of a list, to who looks on
_METHODS: Final = ("GET", "POST", "PUT", "DELETE")
_HOST: Final = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE)
_PACKAGE: Final = __name__.rpartition(".")[0]
_PAGE: Final = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_GUARD: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_log: Final = logging.getLogger("sasl")


@final
class Door:
    """Lets in who has the key, and answers."""

    def __init__(self, desk: Desk, key: Secret) -> None:
        self._desk = desk
        self._key = key

    def admit(self, request: Request) -> int:
        """Return how many octets a request's body may have. Raises HttpError for one that is not let in at all."""
        try:
            self._check(request)
        except Problem as problem:
            refusal = _refuse(problem)
        else:
            return _LARGEST_BODY
        raise HttpError(refusal.status, refusal)

    def _check(self, request: Request) -> None:
        """Raise Problem for who may not ask. The page tells nothing of the run and needs no key: its script does."""
        if not _HOST.fullmatch(request.headers.get("host", "")):
            raise Problem(403, "host", "Host is to be localhost, 127.0.0.1 or [::1]")
        if request.method not in _METHODS:
            raise Problem(405, "method", f"here one may {', '.join(_METHODS)}")
        if request.path in _PAGE and request.method == "GET":
            return
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or Secret(key.strip()) != self._key:
            raise Problem(401, "key", "Authorization: Bearer KEY is wanted, with the key of this run")

    async def answer(self, request: Request, connection: Connection) -> Answer | None:
        """Answer a request that was let in."""
        if request.path in _PAGE and request.method == "GET":
            return _page(request.path)
        try:
            return await self._do(request, connection)
        except Problem as problem:
            return _refuse(problem)
        except Exception as error:
            _log.error("control: %s failed with %s at %s", request.method, type(error).__name__, place_of(error))
        return _refuse(Problem(500, "broken", "something is wrong here"))

    async def _do(self, request: Request, connection: Connection) -> Answer | None:
        if (request.method, request.path) == ("GET", f"{PREFIX}/openapi.json"):
            return _json(describe(ROUTES, TOPICS))
        if (request.method, request.path) == ("GET", f"{PREFIX}/events"):
            await self._watch(connection)
            return None
        if not request.path.startswith(PREFIX + "/"):
            raise Problem(404, "not_found", "there is nothing here")
        route, names = find(ROUTES, request.method, request.path)
        given = route.act(self._call(route, names, request))
        done = await while_there(given, connection) if inspect.isawaitable(given) else given
        if request.method != "GET":
            self._desk.live.tell()
        if done is None:
            return Answer(204, b"", _GUARD)
        if isinstance(done, bytes):
            return Answer(200, done, {"Content-Type": "message/rfc822", **_GUARD})
        return _json(done, route.status)

    def _call(self, route: Route, names: Any, request: Request) -> Call:
        """Take a request apart. Raises Problem."""
        query = query_of(route, request.query)
        if route.takes is None:
            if request.body:
                raise Problem(400, "bad_request", "no body is wanted here")
            return Call(self._desk, names, query, {}, b"")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if route.message and kind == "message/rfc822":
            return Call(self._desk, names, query, {}, request.body)
        if kind != "application/json":
            raise Problem(415, "content_type", "Content-Type: application/json is wanted")
        return Call(self._desk, names, query, members_of(route, parse_object(request.body, unique=True)), b"")

    async def _watch(self, connection: Connection) -> None:
        call = Call(self._desk, {}, {}, {}, b"", most=_MOST_TOLD)
        with self._desk.live.place() as admitted:
            if not admitted:
                raise Problem(503, "busy", "too many look on already")
            await self._desk.live.stream(connection, {name: partial(view, call) for name, view in TOPICS.items()})


def _page(path: str) -> Answer:
    name, kind = _PAGE[path]
    return Answer(200, (files(_PACKAGE) / name).read_bytes(), {"Content-Type": kind, **_GUARD})


def refuse(status: int) -> Answer:
    """Return the answer to what is no request that can be read."""
    return _refuse(Problem(status, "http", HTTPStatus(status).phrase))


def _refuse(problem: Problem) -> Answer:
    wants = {"WWW-Authenticate": "Bearer"} if problem.status == 401 else {}
    wants |= {"Allow": ", ".join(_METHODS)} if problem.status == 405 else {}
    return _json({"error": problem.error, "detail": problem.detail}, problem.status, wants)


def _json(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    octets = json.dumps(document).encode()
    return Answer(status, octets, {"Content-Type": "application/json", **_GUARD, **(headers or {})})
