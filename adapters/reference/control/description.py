"""The description of the control endpoint (OpenAPI 3.1), made of the table of routes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from .shapes import SHAPES
from .table import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .table import Member, Route

_KINDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "strings": {"type": "array", "items": {"type": "string"}},
    "object": {"type": "object"},
    "any": {},
}
_OF_ALL: Final[Mapping[int, str]] = {
    401: "The key is missing or wrong.",
    403: "Host is no name of this machine's own.",
}
_MESSAGE: Final = {"message/rfc822": {"schema": {"type": "string", "format": "binary"}}}


def describe(routes: Iterable[Route], events: Iterable[str]) -> dict[str, Any]:
    """Return the description of these routes, of itself, and of the events on these topics."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(PREFIX + route.path, {})[route.method.lower()] = _operation(route)
    paths[f"{PREFIX}/openapi.json"] = {"get": _own("describe", "Return this description.", _json("Description"))}
    paths[f"{PREFIX}/events"] = {
        "get": _own(
            "watch",
            f"Tell of changes, as server-sent events: {', '.join(events)}. The data of each is what its GET returns, "
            "but for the older entries of long lists, and sessions that have ended.",
            {"text/event-stream": {"schema": {"type": "string"}}},
            {503: "Too many requests look on already."},
        )
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "saslkit reference servers: control",
            "version": "1",
            "description": "Users, tokens, mail, time and faults of the servers of `sasl serve`, for tests.",
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "The key of the run, from the JSON line."}
            },
            "schemas": dict(SHAPES),
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{([a-z]+)\}", route.path)
    ]
    parameters += [
        {
            "name": member.name,
            "in": "query",
            "required": member.required,
            "description": member.about,
            "schema": _schema(member),
        }
        for member in route.asks
    ]
    gives = _MESSAGE if route.gives == "message" else _json(route.gives) if route.gives else None
    refuses = dict(route.refuses)
    if route.takes is not None or route.asks:
        refuses[400] = "Something is missing, unknown, or not as it is to be."
    operation = _own(route.name, route.about, gives, refuses, route.status)
    if parameters:
        operation["parameters"] = parameters
    if route.takes is not None:
        operation["requestBody"] = _body(route, route.takes)
    return operation


def _body(route: Route, takes: tuple[Member, ...]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {member.name: {"description": member.about, **_schema(member)} for member in takes},
        "required": [member.name for member in takes if member.required],
        "additionalProperties": False,
    }
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    return {"required": True, "content": content | (_MESSAGE if route.message else {})}


def _own(
    name: str,
    about: str,
    gives: Mapping[str, Any] | None,
    refuses: Mapping[int, str] | None = None,
    status: int = 200,
) -> dict[str, Any]:
    done: dict[str, Any] = {"description": "Done."}
    if gives is not None:
        done = {"description": "The answer.", "content": gives}
    no = {
        str(number): {"description": why, "content": _json("Error")}
        for number, why in sorted({**_OF_ALL, **(refuses or {})}.items())
    }
    return {"operationId": name, "summary": about, "responses": {str(status if gives else 204): done, **no}}


def _json(shape: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{shape}"}}}


def _schema(member: Member) -> dict[str, Any]:
    schema = dict(_KINDS[member.kind])
    if member.choices:
        choices = {"type": "string", "enum": list(member.choices)}
        schema = {"type": "array", "items": choices} if member.kind == "strings" else choices
    if member.least is not None:
        schema["minimum"] = member.least
    if member.most is not None:
        schema["maximum"] = member.most
    return schema
