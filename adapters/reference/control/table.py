"""What the table of routes is made of, and what a route may be given: checked against the table, strictly."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar, final
from urllib.parse import unquote_to_bytes

from sasl.value import field, value

from ..http import fields_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from ..servers import Servers
    from .desk import Desk

Kind: TypeAlias = Literal["string", "integer", "number", "boolean", "strings", "object", "any"]

_Entry = TypeVar("_Entry")

PREFIX: Final = "/api/v1"

_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_MOST_PARAMETERS: Final = 32


class Problem(Exception):
    """Why a request is not done: a status of HTTP, a word for programs, a sentence for people. No secret is in it."""

    def __init__(self, status: int, error: str, detail: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.detail = detail


@final
@value
class Member:
    """One member of a body of JSON, or one parameter of a query.

    Attributes:
        name: its name.
        kind: what it is; "strings" is a list of them, "any" is checked by whoever takes it.
        about: what for, in a sentence.
        required: whether it has to be there.
        choices: all that it may be; empty for anything of its kind.
        least, most: the bounds of a number.
    """

    name: str
    kind: Kind
    about: str
    required: bool = False
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None


@final
@value
class Call:
    """A request that has passed the door, taken apart.

    Attributes:
        desk: what it is about.
        path: what stands at the names in the route's path.
        query: the parameters that were given.
        body: the members that were given.
        octets: the body of a route that takes a message.
        most: how many entries of a list are told, the newest; 0 for all.
    """

    desk: Desk
    path: Mapping[str, str] = field(hidden=True)
    query: Mapping[str, Any] = field(hidden=True)
    body: Mapping[str, Any] = field(hidden=True)
    octets: bytes = field(hidden=True)
    most: int = 0

    @property
    def servers(self) -> Servers:
        """The servers."""
        return self.desk.servers

    def newest(self, entries: Iterable[_Entry]) -> Sequence[_Entry]:
        """Return those entries of a list that are told."""
        return list(entries)[-self.most :]

    def number(self, name: str) -> int:
        """Return what stands in the path as a number. Raises Problem: nothing has a name that is none."""
        if not _NUMBER.fullmatch(self.path[name]):
            raise Problem(404, "not_found", f"there is no {name} of that number")
        return int(self.path[name])


@final
@value
class Route:
    """One thing that can be asked for.

    Attributes:
        name: its operationId.
        method: of HTTP.
        path: behind the prefix; a name in braces stands for one segment.
        about: what it does, in a sentence.
        act: does it; what it returns is answered: None for nothing, bytes as a message, all else as JSON.
        gives: the name of the answer's shape; "" for nothing, "message" for the octets of a message.
        takes: the members of its body of JSON; None for no body.
        asks: the parameters of its query.
        message: whether the body may also be a message (message/rfc822).
        status: of the answer.
        refuses: the errors that are its own, by their status.
    """

    name: str
    method: str
    path: str
    about: str
    act: Callable[[Call], Any | Awaitable[Any]]
    gives: str = ""
    takes: tuple[Member, ...] | None = None
    asks: tuple[Member, ...] = ()
    message: bool = False
    status: int = 200
    refuses: Mapping[int, str] = field(default_factory=dict)


def find(routes: Iterable[Route], method: str, path: str) -> tuple[Route, Mapping[str, str]]:
    """Return the route of a request and what stands at the names of its path. Raises Problem."""
    segments = path.removeprefix(PREFIX).split("/")
    allowed: list[str] = []
    for route in routes:
        names = _match(route.path.split("/"), segments)
        if names is None:
            continue
        if route.method == method:
            return route, names
        allowed.append(route.method)
    if allowed:
        raise Problem(405, "method", f"here one may {', '.join(allowed)}")
    raise Problem(404, "not_found", "there is nothing here")


def _match(template: list[str], segments: list[str]) -> dict[str, str] | None:
    """Return what stands at the names of a path, None if it is another path."""
    if len(template) != len(segments):
        return None
    names: dict[str, str] = {}
    for wanted, segment in zip(template, segments, strict=True):
        if wanted.startswith("{"):
            try:
                names[wanted[1:-1]] = unquote_to_bytes(segment).decode("utf-8")
            except UnicodeDecodeError:
                return None
        elif wanted != segment:
            return None
    return names if all(names.values()) else None


def query_of(route: Route, text: str) -> dict[str, Any]:
    """Return the parameters of a query. Raises Problem for one that the route does not know, or not so."""
    if text.count("&") >= _MOST_PARAMETERS:
        raise Problem(400, "bad_request", "too many parameters")
    fields, twice = fields_of(text)
    if twice:
        raise Problem(400, "bad_request", "a parameter that is named twice")
    known = {member.name: member for member in route.asks}
    return _checked({name: _parsed(known.get(name), given) for name, given in fields.items()}, route.asks)


def members_of(route: Route, document: dict[str, Any] | None) -> dict[str, Any]:
    """Return the members of a body. Raises Problem for what is no object, and for members that do not belong there."""
    if document is None:
        raise Problem(400, "bad_request", "the body is to be one object of JSON in UTF-8, each member named once")
    return _checked(document, route.takes or ())


def _parsed(member: Member | None, text: str) -> Any:
    """Return what a parameter says; as it is if it is no number, and then that is found out."""
    if member is None or member.kind not in ("integer", "number") or len(text) > 32:
        return text
    try:
        return int(text) if _NUMBER.fullmatch(text) else float(text)
    except ValueError:
        return text


def _checked(given: dict[str, Any], members: tuple[Member, ...]) -> dict[str, Any]:
    """Return what was given if all of it belongs there. Raises Problem; its text shows names of ours alone."""
    known = {member.name: member for member in members}
    if set(given) - set(known):
        raise Problem(400, "bad_request", f"known here: {', '.join(known) or 'nothing'}")
    for member in members:
        if member.name not in given:
            if member.required:
                raise Problem(400, "bad_request", f"{member.name} is missing")
        elif not _fits(member, given[member.name]):
            raise Problem(400, "bad_request", f"{member.name} is to be {_wanted(member)}")
    return given


def _fits(member: Member, given: Any) -> bool:
    match member.kind:
        case "string":
            return isinstance(given, str) and (not member.choices or given in member.choices)
        case "integer" | "number":
            return _is_number(member, given)
        case "boolean":
            return isinstance(given, bool)
        case "strings":
            return isinstance(given, list) and all(
                isinstance(each, str) and (not member.choices or each in member.choices) for each in given
            )
        case "object":
            return isinstance(given, dict)
    return True


def _is_number(member: Member, given: Any) -> bool:
    if isinstance(given, bool) or not isinstance(given, int if member.kind == "integer" else (int, float)):
        return False
    if isinstance(given, float) and not math.isfinite(given):
        return False
    return (member.least is None or given >= member.least) and (member.most is None or given <= member.most)


def _wanted(member: Member) -> str:
    kinds = {"strings": "a list of strings", "integer": "a whole number", "object": "an object"}
    words = kinds.get(member.kind, f"a {member.kind}")
    if member.choices:
        words = f"{'a list of ' if member.kind == 'strings' else 'one of '}{', '.join(member.choices)}"
    if member.least is not None:
        words += f", {member.least:g} or more"
    if member.most is not None:
        words += f", at most {member.most:g}"
    return words
