"""The lines of AUTHENTICATE in ManageSieve: how they are read and printed (RFC 5804 sections 1.2, 1.3 and 4)."""

from __future__ import annotations

import re

from sasl.errors import LimitExceeded, ProtocolError
from sasl.typed import TYPE_CHECKING, final
from sasl.value import value

from ..client import LONGEST_LINE
from ..line import has_breaks, without_end
from ..text import LONGEST_TEXT, one_line, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

LONGEST_QUOTED: Final = 1024
"""Octets between the quotes of a quoted string (RFC 5804 section 4); what is longer goes into a literal."""

_QUOTED: Final = re.compile(rb'"((?:[^"\\\r\n\0]|\\["\\])*)"')
_ESCAPED: Final = re.compile(rb'\\(["\\])')
_LITERAL: Final = re.compile(rb"\{([0-9]{1,10})\+?\}\r?\n")  # the plus is for clients; some servers send it, too
_ANNOUNCED: Final = re.compile(rb"\{([0-9]{1,10})\+?\}\Z")
_STATUS: Final = re.compile(rb"(OK|NO|BYE)(?= |\r?\n)", re.IGNORECASE)
_ATOM: Final = re.compile(rb"[!#-'*-\[\]-z|-~]+")
_SPACE: Final = re.compile(rb" ")
_OPEN: Final = re.compile(rb"\(")
_CLOSE: Final = re.compile(rb"\)")
_END: Final = re.compile(rb"\r?\n\Z")


@final
@value
class Reply:
    """What ends a command, or the connection.

    Attributes:
        status: "OK", "NO" or "BYE".
        code: the name of the response code, in upper case; None if there is none.
        arguments: what stands behind that name: strings as what they stand for, numbers and names as they are.
        text: what is said to a person.
    """

    status: str
    code: str | None
    arguments: tuple[bytes, ...]
    text: str


@final
class Response:
    """Collects the lines of one response: a literal in it is counted in octets, whatever lines these are.

    `receive` returns True when it is complete; ProtocolError is raised for a line that holds CR, LF or NUL outside of
    literals, LimitExceeded for a response of more than `LONGEST_LINE` octets, and for a literal that would make it one.

    Attributes:
        octets: all lines, as they came.
    """

    def __init__(self) -> None:
        self.octets = bytearray()
        self._begin = 0  # where the last literal ends, and lines go on

    def receive(self, line: bytes) -> bool:
        """Take a line with its end."""
        before = len(self.octets)
        self.octets += line
        self._check_size(len(self.octets))
        rest = line[max(0, self._begin - before) :]
        if not rest:  # the literal goes on, or what follows it is still to come
            return False
        rest = without_end(rest)
        if has_breaks(rest):
            raise _error("a line that holds CR, LF or NUL", line)
        announced = _ANNOUNCED.search(rest)
        if announced is None:
            return True
        self._begin = len(self.octets) + int(announced[1])
        self._check_size(self._begin)
        return False

    def _check_size(self, octets: int) -> None:
        if octets > LONGEST_LINE:
            raise LimitExceeded(f"a response of more than {LONGEST_LINE} octets")


def parse(octets: bytes) -> Reply | list[bytes]:
    """Return what a complete response says: a reply, or the strings of a challenge or a capability.

    Raises ProtocolError for what is neither (RFC 5804 section 4).
    """
    reader = _Reader(octets)
    status = reader.take(_STATUS)
    found = _strings(reader) if status is None else _reply(text_of(status[1]).upper(), reader)
    reader.expect(_END)
    return found


def mechanisms(capabilities: Mapping[str, str]) -> list[str]:
    """Return the SASL mechanisms of a server's capabilities (RFC 5804 section 1.7)."""
    return capabilities.get("SASL", "").split()


def quote(text: bytes) -> bytes:
    """Return ASCII without quotes and backslashes as a string: a quoted one, or a literal if it is too long for that.

    The server does not have to be asked for the literal: it is a non-synchronizing one (RFC 5804 section 4).
    """
    if len(text) <= LONGEST_QUOTED:
        return b'"%b"' % text
    return b"{%d+}\r\n%b" % (len(text), text)


# --- helpers


def _reply(status: str, reader: _Reader) -> Reply:
    """Read what follows a status."""
    code: str | None = None
    arguments: list[bytes] = []
    text = b""
    space = reader.take(_SPACE)
    if space and reader.take(_OPEN):
        code = text_of(reader.expect(_ATOM)).upper()
        arguments = _arguments(reader)
        space = reader.take(_SPACE)
    if space:
        text = reader.string()
    return Reply(status, code, tuple(arguments), text_of(text))


def _arguments(reader: _Reader) -> list[bytes]:
    """Read what stands behind the name of a response code, which may be lists in lists, and the end of the code."""
    found: list[bytes] = []
    depth = 1
    while depth:
        if reader.take(_CLOSE):
            depth -= 1
        elif reader.take(_OPEN):
            depth += 1
        elif word := reader.take(_ATOM):
            found.append(word[0])
        elif not reader.take(_SPACE):
            found.append(reader.string())
    return found


def _strings(reader: _Reader) -> list[bytes]:
    found = [reader.string()]
    while reader.take(_SPACE):
        found.append(reader.string())
    return found


class _Reader:
    """Reads a response from its beginning on."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    def take(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """Read what matches, if it comes next."""
        match = pattern.match(self._octets, self._at)
        if match is not None:
            self._at = match.end()
        return match

    def expect(self, pattern: re.Pattern[bytes]) -> bytes:
        """Read what has to come next."""
        match = self.take(pattern)
        if match is None:
            raise self._error()
        return match[0]

    def string(self) -> bytes:
        """Read a string, which has to come next: a quoted one, or a literal."""
        if quoted := self.take(_QUOTED):
            return _ESCAPED.sub(rb"\1", quoted[1])
        if (announced := self.take(_LITERAL)) is None:
            raise self._error()
        begin = self._at
        self._at += int(announced[1])
        return self._octets[begin : self._at]

    def _error(self) -> ProtocolError:
        return _error("not a response of ManageSieve (RFC 5804 section 4)", self._octets)


def _error(why: str, octets: bytes) -> ProtocolError:
    return ProtocolError(why, server_text=one_line(text_of(octets[:LONGEST_TEXT])))
