"""What IMAP makes of the octets of a message: its header, its body and its parts (RFC 3501 section 6.4.5, RFC 2046).

Every answer is a slice of the octets as they came. Whatever they are, they are read once, in time that grows with
their number.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, final

from sasl.value import value

from .headers import PLAIN_TEXT, MimeValue, lines_of, name_of, parse_content_type, parse_fields

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_LEVELS: Final = 100
"""How deep parts are looked for in parts."""
MOST_PARTS: Final = 10_000
"""How many parts are looked for in a message; the last has the rest in it."""

_MOST_DASHES: Final = 200_000  # lines that begin with two dashes, so may be a boundary
_END_OF_HEADER: Final = re.compile(rb"\n\r?\n")
_EMPTY_LINE: Final = re.compile(rb"\r?\n")
_DASHES: Final = re.compile(rb"\n--")
_MESSAGE: Final = MimeValue(b"message/rfc822")


@final
@value
class Fields:
    """What HEADER.FIELDS asks for: names in lower case; `without` them is HEADER.FIELDS.NOT."""

    names: frozenset[bytes]
    without: bool = False


@final
class Part:
    """A message, or a part of one.

    Attributes:
        octets: those of the whole message.
        start: where it begins in them.
        middle: where its body begins.
        stop: where it ends.
        within: "multipart" or "digest" for a part of one, "" for a message.
        answers: what was made of it once, by what that is.
    """

    __slots__ = ("_fields", "_type", "answers", "children", "message", "middle", "octets", "start", "stop", "within")

    def __init__(self, octets: bytes, start: int = 0, within: str = "") -> None:
        self.octets = octets
        self.start = start
        self.middle = start if start else _find_body(octets, 0, len(octets)) or len(octets)
        self.stop = max(self.middle, len(octets))
        self.within = within
        self.children: list[Part] | None = None  # None until somebody asks
        self.message: Part | None = None
        self.answers: dict[str, bytes] = {}
        self._fields: Mapping[bytes, list[bytes]] | None = None
        self._type: MimeValue | None = None

    def __repr__(self) -> str:
        return f"Part({self.stop - self.start} octets)"

    @property
    def raw(self) -> bytes:
        """All of it."""
        return self.octets[self.start : self.stop]

    @property
    def header(self) -> bytes:
        """The header, with the empty line behind it."""
        return self.octets[self.start : self.middle]

    @property
    def body(self) -> bytes:
        """What follows the header."""
        return self.octets[self.middle : self.stop]

    @property
    def size(self) -> int:
        """The octets of the body."""
        return self.stop - self.middle

    @property
    def lines(self) -> int:
        """The lines of the body."""
        return self.octets.count(b"\n", self.middle, self.stop)

    @property
    def parts(self) -> Sequence[Part]:
        """The parts of a multipart."""
        if self.children is None:
            self.children = _Reader(self).read()
        return self.children

    @property
    def embedded(self) -> Part | None:
        """The message in a message/rfc822."""
        if self.children is None:
            self.children = _Reader(self).read()
        return self.message

    @property
    def content_type(self) -> MimeValue:
        """The type as it is written, and its parameters; the default where there is none (RFC 2045 section 5.2)."""
        if self._type is None:
            content = self.field(b"content-type")
            default = _MESSAGE if self.within == "digest" else PLAIN_TEXT
            self._type = default if content is None else parse_content_type(content)
        return self._type

    @property
    def is_multipart(self) -> bool:
        """Whether it is one by its type, even if no part is found in it."""
        return self.content_type.value[:10].lower() == b"multipart/"

    @property
    def is_mime(self) -> bool:
        """Whether its fields Content-* mean anything (RFC 2045 section 4)."""
        return bool(self.within or self.field(b"mime-version") is not None or self.field(b"content-type") is not None)

    @property
    def fields(self) -> Mapping[bytes, list[bytes]]:
        """The contents of the fields, unfolded, by their names in lower case."""
        if self._fields is None:
            self._fields = parse_fields(self.header)
        return self._fields

    def field(self, name: bytes) -> bytes | None:
        """Return the contents of the first field of a name in lower case."""
        found = self.fields.get(name)
        return found[0] if found else None

    def section(self, numbers: Sequence[int] = (), what: str | Fields = "") -> bytes | None:
        """Return the octets of BODY[numbers.what] (RFC 3501 section 6.4.5); None if there are none.

        `what` is "", "HEADER", "TEXT", "MIME" or fields of the header.
        """
        part = self._find(numbers)
        if part is None:
            return None
        if what == "MIME":
            return part.header
        if not what:
            return part.body if numbers else part.raw
        message = part.embedded if numbers else part
        if message is None:
            return None
        if isinstance(what, Fields):
            return message.select(what)
        return message.header if what == "HEADER" else message.body

    def _find(self, numbers: Sequence[int]) -> Part | None:
        part, is_repeated = self, False
        for level, number in enumerate(numbers):
            if level and part.embedded is not None:
                part, is_repeated = part.embedded, False
            if part.is_multipart:
                if number > len(part.parts):
                    return None
                part, is_repeated = part.parts[number - 1], False
            # A part that has none in it is its own part 1, for Dovecot in a multipart as well; but it has no 1.1.
            elif number != 1 or is_repeated:
                return None
            else:
                is_repeated = True
        return part

    def select(self, fields: Fields) -> bytes:
        """Return some fields of the header as they stand."""
        chosen = [line for line in lines_of(self.header) if (name_of(line) in fields.names) is not fields.without]
        # RFC 3501 section 6.4.5: the empty line belongs to it, unless there is none.
        return b"".join(chosen) + (b"\r\n" if _find_body(self.octets, self.start, self.middle) else b"")


@final
@value
class _Boundary:
    """A line that separates parts.

    Attributes:
        level: the place among the open multiparts of the one that it belongs to.
        before: where the line before ends; its end belongs to the boundary.
        start: where it begins.
        after: where the next line begins; None if there is none.
        is_last: whether no part follows it in that multipart.
    """

    level: int
    before: int
    start: int
    after: int | None
    is_last: bool


@final
@value
class _Multipart:
    """A multipart whose last boundary has not been seen yet."""

    part: Part
    children: list[Part]
    kind: str


@final
class _Reader:
    """Finds all parts of a message, from its beginning to its end."""

    def __init__(self, message: Part) -> None:
        self.octets = message.octets
        self._message = message
        self._multiparts: list[_Multipart] = []  # each within the one before
        self._boundaries: tuple[bytes, ...] = ()
        self._open: list[Part] = []  # the parts that have not ended yet, each within the one before
        self._parts_left = MOST_PARTS
        self._dashes_left = _MOST_DASHES

    def read(self) -> list[Part]:
        """Return the parts of the message; those have theirs already."""
        boundary = self._begin(self._message)
        while boundary is not None:
            self._end(boundary)
            after = boundary.after
            if after is None or not self._parts_left:
                break
            if boundary.is_last:
                boundary = self._next_boundary(after)
                continue
            multipart = self._multiparts[-1]
            part = self._new(after, multipart.kind)
            multipart.children.append(part)
            boundary = self._begin(part)
        return self._message.children or []

    def _new(self, start: int, within: str) -> Part:
        self._parts_left -= 1
        return Part(self.octets, start, within)

    def _begin(self, part: Part) -> _Boundary | None:
        """Read the header of a part, and of messages in it; return the boundary that follows."""
        while True:
            children = part.children = []
            self._open.append(part)
            boundary = self._next_boundary(part.start)
            has_end = self._read_header(part, boundary)
            kind = part.content_type
            name = kind.value.lower()
            if len(self._open) > MOST_LEVELS or not self._parts_left:
                return boundary
            if name.startswith(b"multipart/"):
                separator = kind.parameter(b"boundary") if has_end else None
                if separator is None:
                    return boundary
                within = "digest" if name == b"multipart/digest" else "multipart"
                self._multiparts.append(_Multipart(part, children, within))
                self._boundaries += (separator,)
                return self._next_boundary(part.middle)
            if name != b"message/rfc822":
                return boundary
            part.message = part = self._new(part.middle, "")

    def _read_header(self, part: Part, boundary: _Boundary | None) -> bool:
        """Set where the body begins; return whether an empty line ends the header."""
        limit = len(self.octets) if boundary is None else boundary.start
        body = _find_body(self.octets, part.start, limit)
        part.middle = limit if body is None else body
        return body is not None

    def _end(self, boundary: _Boundary) -> None:
        """End the parts that a boundary ends."""
        multipart = self._multiparts[boundary.level].part
        while self._open[-1] is not multipart:
            part = self._open.pop()
            if part.middle == boundary.start:
                part.middle = max(part.start, boundary.before)  # even the empty line is the boundary's
            part.stop = max(part.middle, boundary.before)
        kept = boundary.level + (not boundary.is_last)
        del self._multiparts[kept:]
        self._boundaries = self._boundaries[:kept]

    def _next_boundary(self, start: int) -> _Boundary | None:
        """Return the next boundary from the beginning of a line on."""
        octets = self.octets
        if not self._boundaries:
            return None
        for match in _DASHES.finditer(octets, start - 1):
            if not self._dashes_left:
                return None
            self._dashes_left -= 1
            if octets.startswith(self._boundaries, match.end()):
                return self._boundary_at(match.end() - 2)
        return None

    def _boundary_at(self, start: int) -> _Boundary:
        """Return the boundary that a line is.

        It begins with two dashes and what its multipart names, whatever follows (RFC 2046 section 5.1.1). If it begins
        so for several, it is the innermost one's that is all of it, else the one's with the longest name.
        """
        octets, names = self.octets, self._boundaries
        line_end = octets.find(b"\n", start)
        end = len(octets) if line_end < 0 else line_end - octets.startswith(b"\r", line_end - 1)

        def rank(level: int) -> tuple[bool, int, int]:
            behind = start + 2 + len(names[level])
            is_whole = behind == end or (behind + 2 == end and octets.startswith(b"--", behind))
            return is_whole, 0 if is_whole else len(names[level]), level

        level = max((level for level, name in enumerate(names) if octets.startswith(name, start + 2)), key=rank)
        before = start - 1 - octets.startswith(b"\r", start - 2)
        after = None if line_end < 0 else line_end + 1
        return _Boundary(level, before, start, after, octets.startswith(b"--", start + 2 + len(names[level])))


def _find_body(octets: bytes, start: int, stop: int) -> int | None:
    """Return where the first empty line of a header ends; None if there is none."""
    match = _EMPTY_LINE.match(octets, start, stop) or _END_OF_HEADER.search(octets, start, stop)
    return match.end() if match else None
