r"""What a fault does, as values: each can be written in Python, as text on a command line, and as JSON.

    reply NO [THROTTLED] Later                    {"reply": "NO [THROTTLED] Later"}
    split pause=0.1 1                             {"split": {"octets": 1, "pause": 0.1}}
    drop                                          {"drop": true}

In text, what is no printable ASCII is written `\r`, `\n`, `\t` or `\xHH`, and `\;` and `\\` for themselves: a
semicolon stands between two effects. In JSON, octets are characters from U+0000 to U+00FF.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

from sasl.errors import UsageError
from sasl.value import value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_LONGEST: Final = 262_144  # octets of an effect
_MOST_SECONDS: Final = 86_400.0
_DEEPEST: Final = 32  # levels of a document
_SHOWN: Final = 100  # characters of what is refused
MOST_EFFECTS: Final = 100
"""How many effects a rule may have."""
_MOST: Final = 2**31


@final
@value
class Do:
    """An effect that its name says all about.

    Attributes:
        what: "answer": do what should happen; that comes last where no effect stands in its place. "accept": say that
            the login succeeded, whatever has become of it. "drop": close the connection without a word. "reset": reset
            it, so that the client reads an error, not an end (RFC 9293 section 3.5.2). "hang": say nothing more and
            take whatever comes, until the client goes away or the server stops.
    """

    what: str

    def __post_init__(self) -> None:
        if self.what not in _PLAIN:
            raise UsageError(f"one of {', '.join(_PLAIN)}")


_PLAIN: Final = ("answer", "accept", "drop", "reset", "hang")
ANSWER, ACCEPT, DROP, RESET, HANG = map(Do, _PLAIN)


@final
@value
class Reply:
    """Say this instead of the answer: lines, of which IMAP's get the tag unless they begin with "*" or "+"."""

    text: str


@final
@value
class Refuse:
    """Say what the persona says to a refusal of that kind: one of `sasl.KINDS` or of those of personas, "throttled"."""

    kind: str

    def __post_init__(self) -> None:
        from .personas import REFUSALS  # which reads providers' files with it

        if self.kind not in REFUSALS:
            raise UsageError(f"refuse: one of {', '.join(REFUSALS)}")


@final
@value
class Raw:
    """Send these octets instead of the answer."""

    octets: bytes


@final
@value
class Challenge:
    """Send a challenge and wait for the client's line, before the answer.

    Attributes:
        text: what the challenge says, not yet in base64.
        raw: what is sent in its place as it is, or None.
        count: how many challenges, one after the other; None for as long as the client answers.
    """

    text: str = ""
    raw: bytes | None = None
    count: int | None = 1


@final
@value
class SayFirst:
    """Say this before the answer, as it stands."""

    text: str


@final
@value
class Delay:
    """Wait so many seconds of real time."""

    seconds: float


@final
@value
class Split:
    """Send what follows in pieces of so many octets, with a pause in seconds between two."""

    octets: int
    pause: float = 0.0

    def __post_init__(self) -> None:
        if self.octets < 1:
            raise UsageError("split: at least one octet at a time")


@final
@value
class Truncate:
    """Send no more than so many octets of what follows, then close the connection."""

    octets: int


@final
@value
class Close:
    """Say goodbye, in these words or in the protocol's, and close the connection."""

    text: str = ""


@final
@value
class Hide:
    """Leave a capability out: its name, or its first word; "AUTH=X" for one mechanism."""

    capability: str


@final
@value
class Offer:
    """Tell of a capability that is none."""

    capability: str


@final
@value
class Status:
    """Answer a request to the authority with an HTTP status, and a document."""

    code: int
    json: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not 100 <= self.code <= 599:
            raise UsageError("status: 100 to 599")


@final
@value
class Fail:
    """Answer a request to the authority by one of its own faults: a member of `FAULTS` or `LATE_FAULTS`."""

    fault: str

    def __post_init__(self) -> None:
        from .grants import FAULTS, LATE_FAULTS  # which has rules of faults itself

        if self.fault not in FAULTS + LATE_FAULTS:
            raise UsageError(f"fail: one of {', '.join(FAULTS + LATE_FAULTS)}")


Effect: TypeAlias = (
    Do | Reply | Refuse | Raw | Challenge | SayFirst | Delay | Split | Truncate | Close | Hide | Offer | Status | Fail
)

_BY_NAME: Final[Mapping[str, type[Any]]] = {
    "reply": Reply,
    "refuse": Refuse,
    "raw": Raw,
    "challenge": Challenge,
    "say_first": SayFirst,
    "delay": Delay,
    "split": Split,
    "truncate": Truncate,
    "close": Close,
    "hide": Hide,
    "offer": Offer,
    "status": Status,
    "fail": Fail,
}
NAMES: Final = (*_PLAIN, *_BY_NAME)
"""What effects are called."""

_NAME_OF: Final = {kind: name for name, kind in _BY_NAME.items()}
_REQUIRED: Final = object()


# --- JSON


def to_json(effect: Effect) -> dict[str, Any]:
    """Return an effect as an object of one member: its name, and what belongs to it."""
    name, members = name_of(effect), _members(effect)
    if not members:
        return {name: True}
    if list(members) == [next(iter(_fields(name)))]:
        return {name: next(iter(members.values()))}
    return {name: members}


def from_json(document: object) -> Effect:
    """Return the effect that an object stands for. Raises UsageError for anything but what `to_json` returns."""
    if not isinstance(document, dict) or len(document) != 1:
        raise UsageError("an effect is an object of one member")
    ((name, given),) = document.items()
    fields = _fields(name)
    if given is True:
        return _make(name, {})
    if isinstance(given, dict):
        return _make(name, given)
    if not fields:
        raise UsageError(f"{name} takes nothing but true")
    return _make(name, {next(iter(fields)): given})


def _members(effect: Effect) -> dict[str, Any]:
    """Return what is not as it is by default, as it stands in JSON."""
    members = {}
    for member, (_, default) in _fields(name_of(effect)).items():
        content = getattr(effect, member)
        if content != default:
            members[member] = content.decode("latin-1") if isinstance(content, bytes) else content
    return members


def _make(name: str, given: Mapping[str, Any]) -> Effect:
    fields = _fields(name)
    if unknown := [member for member in given if member not in fields]:
        raise UsageError(f"{name} takes no {', '.join(map(repr, unknown))}")
    if missing := [member for member, (_, default) in fields.items() if default is _REQUIRED and member not in given]:
        raise UsageError(f"{name} lacks its {' and '.join(missing)}")
    if empty := [
        member for member, content in given.items() if fields[member][1] is _REQUIRED and content in ("", b"")
    ]:
        raise UsageError(f"{name} needs a {empty[0]}")
    contents = {member: _checked(f"{name} {member}", fields[member][0], content) for member, content in given.items()}
    effect: Effect = Do(name) if name in _PLAIN else _BY_NAME[name](**contents)
    return effect


def name_of(effect: Effect) -> str:
    """Return the name of an effect."""
    return effect.what if isinstance(effect, Do) else _NAME_OF[type(effect)]


def check(effect: object) -> None:
    """Raise UsageError for what is no effect, or has something in it that is not of its type."""
    if not isinstance(effect, Effect):
        raise UsageError("effects are those of sasl.adapters.reference.effects")
    _make(name_of(effect), {member: getattr(effect, member) for member in _fields(name_of(effect))})


def _fields(name: object) -> dict[str, tuple[str, Any]]:
    """Return type and default of each field of an effect, by the field's name. Raises UsageError for no effect."""
    import dataclasses

    if name in _PLAIN:
        return {}
    if not isinstance(name, str) or name not in _BY_NAME:
        raise UsageError(f"no effect is called {name!r}; there are {', '.join(NAMES)}")
    return {
        entry.name: (str(entry.type), _REQUIRED if entry.default is dataclasses.MISSING else entry.default)
        for entry in dataclasses.fields(_BY_NAME[name])
    }


def _checked(what: str, kind: str, content: Any) -> Any:
    """Return the content of a field, if it is of its type."""
    if content is None and kind.endswith("| None"):
        return None
    check, wanted = _CHECKS[kind.removesuffix(" | None")]
    if (checked := check(content)) is None:
        raise UsageError(f"{what} is {wanted}")
    return checked


def _text(content: Any) -> str | None:
    return content if isinstance(content, str) and len(content) <= _LONGEST else None


def _octets(content: Any) -> bytes | None:
    if isinstance(content, bytes):
        return content if len(content) <= _LONGEST else None
    try:
        return content.encode("latin-1") if _text(content) is not None else None
    except UnicodeEncodeError:
        return None


def _whole(content: Any) -> int | None:
    return content if isinstance(content, int) and not isinstance(content, bool) and 0 <= content < _MOST else None


def _seconds(content: Any) -> float | None:
    if isinstance(content, bool) or not isinstance(content, int | float):
        return None
    return float(content) if 0 <= content <= _MOST_SECONDS else None


def _object(content: Any) -> Mapping[str, Any] | None:
    return content if isinstance(content, dict) and _is_json(content, _DEEPEST) else None


def _is_json(content: object, depth: int) -> bool:
    """Whether something can stand in a text of JSON, no deeper than that."""
    if isinstance(content, dict):
        return depth > 0 and all(isinstance(key, str) and _is_json(each, depth - 1) for key, each in content.items())
    if isinstance(content, list):
        return depth > 0 and all(_is_json(each, depth - 1) for each in content)
    if isinstance(content, float):
        return math.isfinite(content)
    return content is None or isinstance(content, str | int)


_CHECKS: Final[Mapping[str, tuple[Callable[[Any], Any], str]]] = {
    "str": (_text, "a text"),
    "bytes": (_octets, "octets"),
    "int": (_whole, "a whole number"),
    "float": (_seconds, "a number of seconds, a day at most"),
    "Mapping[str, Any]": (_object, "an object of JSON"),
}


# --- text

_NAMED: Final = re.compile(r"([a-z]+)=([^ ]*)(?: (.*))?", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(x[0-9A-Fa-f]{2}|.)?", re.DOTALL)
_ESCAPED: Final = {"r": "\r", "n": "\n", "t": "\t", "\\": "\\", ";": ";", "_": " "}
_ESCAPES: Final = {"\r": "\\r", "\n": "\\n", "\t": "\\t", "\\": "\\\\", ";": "\\;"}
_PART: Final = re.compile(r"((?:[^\\;]|\\.)*)(;|\Z)", re.DOTALL)


def to_text(effects: tuple[Effect, ...]) -> str:
    """Return effects as they are written on a command line."""
    return "; ".join(map(_one_to_text, effects))


def from_text(text: str) -> tuple[Effect, ...]:
    """Return the effects that a text stands for. Raises UsageError for anything else."""
    return tuple(_one_from_text(part.strip(" ")) for part in _parts(text))


def _parts(text: str) -> list[str]:
    parts, at = [], 0
    while True:
        match = _PART.match(text, at)
        if match is None:
            raise UsageError("a backslash with nothing behind it")
        parts.append(match[1])
        if len(parts) > MOST_EFFECTS:
            raise UsageError(f"at most {MOST_EFFECTS} effects")
        at = match.end()
        if not match[2]:
            return parts


def _one_to_text(effect: Effect) -> str:
    name, members = name_of(effect), _members(effect)
    first = next(iter(_fields(name)), None)
    named = [f"{member}={escape(_word(content), blank=True)}" for member, content in members.items() if member != first]
    last = [_escape_last(_word(members[first]), more=len(_fields(name)) > 1)] if first in members else []
    return " ".join([name, *named, *last])


def _one_from_text(text: str) -> Effect:
    name, _, rest = text.partition(" ")
    fields = _fields(name)
    first = next(iter(fields), None)
    given: dict[str, Any] = {}
    while (match := _NAMED.fullmatch(rest)) and match[1] in fields and match[1] != first:
        if match[1] in given:
            raise UsageError(f"{name}: {match[1]} stands there twice")
        given[match[1]] = _read(f"{name} {match[1]}", fields[match[1]][0], match[2])
        rest = match[3] or ""
    if rest and first is None:
        raise UsageError(f"{name} takes nothing")
    if rest and first is not None:
        given[first] = _read(f"{name} {first}", fields[first][0], rest)
    return _make(name, given)


def _word(content: Any) -> str:
    if content is None:
        return "*"
    return content if isinstance(content, str) else json.dumps(content, separators=(",", ":"))


def _read(what: str, kind: str, word: str) -> Any:
    """Return what a word of a text stands for in a field of that type."""
    plain = unescape(word)
    if kind in ("str", "bytes", "bytes | None"):
        return plain
    if kind == "int | None" and plain == "*":
        return None
    try:
        return json.loads(plain)
    except (ValueError, RecursionError):
        pass
    raise UsageError(f"{what}: {word[:_SHOWN]!r} is none")


def escape(text: str, *, blank: bool = False) -> str:
    """Return a text as it is written on a command line; `blank` is whether blanks may not stand in it."""
    return "".join(_ESCAPES.get(char) or ("\\_" if char == " " and blank else _hex(char)) for char in text)


def _escape_last(text: str, *, more: bool) -> str:
    """Return what stands at the end: with its blanks at both ends, and not to be taken for one of more fields."""
    core = text.strip(" ")
    before, after = text[: len(text) - len(text.lstrip(" "))], text[len(text.rstrip(" ")) :] if core else ""
    escaped = escape(before, blank=True) + escape(core) + escape(after, blank=True)
    return escaped.replace("=", "\\x3d", 1) if more and _NAMED.fullmatch(escaped) else escaped


def _hex(char: str) -> str:
    return f"\\x{ord(char):02x}" if char < " " or "\x7f" <= char <= "\xff" else char


def unescape(text: str) -> str:
    """Return what `escape` was given. Raises UsageError for an escape that there is not."""

    def char(match: re.Match[str]) -> str:
        escape = match[1] or ""
        if escape.startswith("x") and len(escape) == 3:
            return chr(int(escape[1:], 16))
        if escape not in _ESCAPED:
            raise UsageError(f"no such escape: {match[0]!r}")
        return _ESCAPED[escape]

    return _ESCAPE.sub(char, text)
