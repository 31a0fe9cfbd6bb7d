"""Header fields, and what addresses and MIME values say, however badly they are written (RFC 5322, RFC 2045, RFC 2231).

`email` of the standard library answers otherwise in each Python, and loses groups, routes and parameters that are
broken. Where the RFCs leave open what broken fields mean, this is what Dovecot makes of them.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Final, final

from sasl.value import value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MOST_FIELDS: Final = 10_000
"""Fields of one header that are looked at."""

LINE: Final = re.compile(rb"[^\n]*\n?(?:[ \t][^\n]*\n?)*")
"""A field with its continuation lines."""

_FOLD: Final = re.compile(rb"\r?\n")
_SPACE: Final = re.compile(rb"[ \t\r\n]*")
_SKIPPED: Final = frozenset({b" ", b"\t", b"\r", b"\n", b"("})
_IN_COMMENT: Final = re.compile(rb"[^()\\]*")
_QUOTED: Final = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_ATEXT: Final = rb"A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\x80-\xff"
_ATOM: Final = re.compile(rb"[%b]+" % _ATEXT)
_ATOM_OR_DOT: Final = re.compile(rb"[%b.]*" % _ATEXT)
_TOKEN: Final = re.compile(rb"[A-Za-z0-9!#$%&'*+\-^_`{|}~.\x80-\xff]*")
_ENCODED_WORD: Final = re.compile(rb"[^; \t\r\n]*")
_DOMAIN_LITERAL: Final = re.compile(rb"\[[^\]\\]*(?:\\.[^\]\\]*)*\]", re.DOTALL)
_SECTION: Final = re.compile(rb"([^*]+)(?:\*([0-9]{0,9}))?(\*)?")


@final
@value
class Address:
    """A mailbox, or where a group begins (only its name, as `mailbox`) and ends (nothing)."""

    name: bytes | None = None
    route: bytes | None = None
    mailbox: bytes | None = None
    domain: bytes | None = None


@final
@value
class MimeValue:
    """What Content-Type and Content-Disposition are made of; parameters in their order, RFC 2231 not decoded."""

    value: bytes
    parameters: tuple[tuple[bytes, bytes], ...] = ()

    def parameter(self, name: bytes) -> bytes | None:
        """Return the first parameter of a name in lower case."""
        return next((content for key, content in self.parameters if key.lower() == name), None)


PLAIN_TEXT: Final = MimeValue(b"text/plain")


def lines_of(header: bytes) -> Iterator[bytes]:
    """Give the fields of a header as they stand, each with its continuation lines and the ends of lines."""
    return (match[0] for match in LINE.finditer(header) if match[0] not in (b"", b"\n", b"\r\n"))


def name_of(line: bytes) -> bytes:
    """Return the name of a field in lower case; the whole line if it has no colon."""
    return line.partition(b"\n")[0].partition(b":")[0].strip(b" \t\r").lower()


def parse_fields(header: bytes) -> Mapping[bytes, list[bytes]]:
    """Return the unfolded contents of the fields by their names in lower case; those without a colon say nothing."""
    found: dict[bytes, list[bytes]] = {}
    for line in islice(lines_of(header), MOST_FIELDS):
        name, colon, content = line.partition(b":")
        if colon and b"\n" not in name:
            found.setdefault(name.rstrip(b" \t").lower(), []).append(unfold(content))
    return found


def unfold(content: bytes) -> bytes:
    """Put the contents of a field on one line."""
    content = content.removesuffix(b"\n").removesuffix(b"\r")
    if b"\n" in content:
        content = _FOLD.sub(b"", content)
    return content.lstrip(b" \t") or content[1:]


def parse_content_type(content: bytes) -> MimeValue:
    """Return the type, as b"text/plain", and its parameters; what is no type is text/plain (RFC 2045 section 5.2)."""
    scanner = _Scanner(content)
    try:
        scanner.skip()
        main = scanner.match(_TOKEN)
        scanner.skip()
        scanner.expect(b"/")
        scanner.skip()
        sub = scanner.match(_TOKEN)
        scanner.skip()
    except _Broken:
        return PLAIN_TEXT
    return MimeValue(b"%b/%b" % (main, sub), _parameters(scanner)) if main and sub else PLAIN_TEXT


def parse_disposition(content: bytes) -> MimeValue | None:
    """Return how a part is to be shown; None if that cannot be read."""
    scanner = _Scanner(content)
    try:
        scanner.skip()
        kind = scanner.match(_TOKEN)
        scanner.skip()
    except _Broken:
        return None
    return MimeValue(kind, _parameters(scanner))


def parse_token(content: bytes) -> bytes | None:
    """Return the token that a field consists of, with comments around it; None if it is anything else."""
    scanner = _Scanner(content)
    try:
        scanner.skip()
        token = scanner.match(_TOKEN)
        scanner.skip()
    except _Broken:
        return None
    return token if token and scanner.at_end else None


def parse_languages(content: bytes) -> list[bytes]:
    """Return the languages that a field names (RFC 3282), up to what is none."""
    scanner = _Scanner(content)
    found = []
    try:
        scanner.skip()
        while atom := scanner.match(_ATOM):
            found.append(atom)
            scanner.skip()
            scanner.expect(b",")
            scanner.skip()
    except _Broken:
        pass
    return found


def parse_addresses(content: bytes, *, missing: bytes | None = None) -> list[Address]:
    """Return the addresses of a field.

    What cannot be read of them is SYNTAX_ERROR, what is missing MISSING_MAILBOX and MISSING_DOMAIN, or `missing`.
    """
    return _Addresses(content, missing).parse()


class _Broken(Exception):
    """What stands here is not what the grammar wants."""


@final
class _Scanner:
    """Reads the words of a structured field from left to right."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.at = 0
        self.comment = b""  # the last one

    @property
    def at_end(self) -> bool:
        return self.at >= len(self.text)

    def sees(self, *octets: bytes) -> bool:
        return self.text.startswith(octets, self.at)

    def expect(self, octet: bytes) -> None:
        if not self.sees(octet):
            raise _Broken
        self.at += 1

    def match(self, pattern: re.Pattern[bytes]) -> bytes:
        match = pattern.match(self.text, self.at)
        if match is None:
            return b""
        self.at = match.end()
        return match[0]

    def skip(self) -> None:
        """Go past white space and comments."""
        if self.text[self.at : self.at + 1] not in _SKIPPED:
            return
        self.match(_SPACE)
        while self.sees(b"("):
            self._skip_comment()
            self.match(_SPACE)

    def _skip_comment(self) -> None:
        depth, start = 0, self.at + 1
        while True:
            self.match(_IN_COMMENT)
            octet = self.text[self.at : self.at + 1]
            self.at = min(self.at + 1 + (octet == b"\\"), len(self.text))
            if octet == b"(":
                depth += 1
            elif octet == b")":
                depth -= 1
                if not depth:
                    self.comment = _ESCAPED.sub(rb"\1", self.text[start : self.at - 1])
                    return
            elif self.at_end:
                raise _Broken

    def quoted_string(self) -> bytes:
        quoted = self.match(_QUOTED)
        if not quoted:
            self.at = len(self.text)
            raise _Broken
        return _ESCAPED.sub(rb"\1", quoted[1:-1])


def _parameters(scanner: _Scanner) -> tuple[tuple[bytes, bytes], ...]:
    """Read what follows a MIME value; go on behind what is broken."""
    found: list[tuple[bytes, bytes]] = []
    while not scanner.at_end and len(found) < MOST_FIELDS:
        try:
            found.append(_parameter(scanner))
        except _Broken:
            scanner.at += 1
    return _joined(found)


def _parameter(scanner: _Scanner) -> tuple[bytes, bytes]:
    scanner.expect(b";")
    scanner.skip()
    key = scanner.match(_TOKEN)
    scanner.skip()
    scanner.expect(b"=")
    scanner.skip()
    if scanner.sees(b'"'):
        content = scanner.quoted_string()
    elif scanner.sees(b"="):
        return key, scanner.match(_ENCODED_WORD)  # name==?utf-8?b?...?= is what some send
    else:
        content = scanner.match(_TOKEN)
    scanner.skip()
    return key, content


def _joined(parameters: list[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    """Put the pieces of a parameter together (RFC 2231 section 3), behind the others and by their names."""
    whole: list[tuple[bytes, bytes]] = []
    pieces: dict[bytes, list[tuple[int, bool, bytes]]] = {}
    for key, content in parameters:
        match = _SECTION.fullmatch(key)
        if match is None or b"*" not in key:
            whole.append((key, content))
        else:
            number = int(match[2] or 0)
            extended = match[3] is not None or not match[2]
            pieces.setdefault(match[1], []).append((number, extended, content))
    for key, found in sorted(pieces.items()):
        whole += _join(key, sorted(found, key=lambda piece: piece[0]))
    return tuple(whole)


def _join(key: bytes, pieces: list[tuple[int, bool, bytes]]) -> list[tuple[bytes, bytes]]:
    if [number for number, _, _ in pieces] != list(range(len(pieces))):  # one is missing: nothing can be put together
        return [(b"%b*%d%b" % (key, number, b"*" * extended), content) for number, extended, content in pieces]
    if not any(extended for _, extended, _ in pieces):
        return [(key, b"".join(content for _, _, content in pieces))]
    start = b"" if pieces[0][1] else b"''"
    contents = [content if extended else content.replace(b"%", b"%25") for _, extended, content in pieces]
    return [(key + b"*", start + b"".join(contents))]


@final
class _Addresses:
    """Reads a list of addresses (RFC 5322 section 3.4, and what section 4.4 still allows)."""

    def __init__(self, content: bytes, missing: bytes | None) -> None:
        self._scanner = _Scanner(content)
        self._found: list[Address] = []
        self._no_mailbox = b"MISSING_MAILBOX" if missing is None else missing
        self._no_domain = b"MISSING_DOMAIN" if missing is None else missing

    def parse(self) -> list[Address]:
        scanner = self._scanner
        try:
            scanner.skip()
            while not scanner.at_end:
                self._address()
                scanner.expect(b",")
                scanner.skip()
        except _Broken:
            pass
        return self._found

    def _address(self) -> None:
        start = self._scanner.at
        name = self._phrase()
        if name is None or not self._scanner.sees(b":"):
            self._scanner.at = start
            self._mailbox()
            return
        self._scanner.at += 1
        self._found.append(Address(mailbox=name))
        try:
            self._members()
        except _Broken:
            pass
        self._found.append(Address())

    def _members(self) -> None:
        """Read a group up to its end."""
        scanner = self._scanner
        scanner.skip()
        while not scanner.sees(b";"):
            self._mailbox()
            if scanner.sees(b";"):
                break
            scanner.expect(b",")
            scanner.skip()
        scanner.at += 1
        scanner.skip()

    def _phrase(self) -> bytes | None:
        """Read the words before an address or a group; None if there is something else."""
        scanner, words = self._scanner, []
        if scanner.sees(b"."):
            return None
        try:
            while True:
                words.append(scanner.quoted_string() if scanner.sees(b'"') else scanner.match(_ATOM_OR_DOT))
                scanner.skip()
                if not (scanner.sees(b'"', b".") or _ATOM.match(scanner.text, scanner.at)):
                    return b" ".join(words)
        except _Broken:
            return None

    def _mailbox(self) -> None:
        scanner, start = self._scanner, self._scanner.at
        name = self._phrase()
        if name is not None and scanner.sees(b"<"):
            self._in_angles(name or None)
            return
        end, scanner.at = scanner.at, start
        mailbox, domain = self._bare()
        if domain is None and name and name != mailbox:  # it is a name, without an address
            scanner.at = end
            self._add(name, None, None)
        else:
            self._add(scanner.comment or None, mailbox, domain)

    def _bare(self) -> tuple[bytes | None, bytes | None]:
        """Read an address without angles, as far as it can be read; a comment in it is its name."""
        scanner = self._scanner
        scanner.comment = b""
        mailbox = domain = None
        try:
            is_quoted = scanner.sees(b'"')
            mailbox = None if scanner.sees(b"@") else self._local_part()
            domain = self._domain() if scanner.sees(b"@") else None
            mailbox = None if is_quoted and domain is None else mailbox
        except _Broken:
            pass
        return mailbox, domain

    def _in_angles(self, name: bytes | None) -> None:
        scanner = self._scanner
        route = mailbox = domain = None
        try:
            scanner.at += 1
            scanner.skip()
            route = self._route() if scanner.sees(b"@") else None
            mailbox = None if scanner.sees(b"@", b">") else self._local_part()
            domain = self._domain() if scanner.sees(b"@") else None
            scanner.expect(b">")
            scanner.skip()
        except _Broken:
            domain = b"SYNTAX_ERROR"
        self._add(name, mailbox, domain, route)

    def _add(self, name: bytes | None, mailbox: bytes | None, domain: bytes | None, route: bytes | None = None) -> None:
        self._found.append(Address(name, route, mailbox or self._no_mailbox, domain or self._no_domain))

    def _route(self) -> bytes:
        """Read what an address once began with: @one,@two: (RFC 5322 section 4.4)."""
        scanner, hosts = self._scanner, []
        try:
            while scanner.sees(b"@"):
                hosts.append(b"@" + self._domain())
                while scanner.sees(b","):
                    scanner.at += 1
                    scanner.skip()
            scanner.expect(b":")
            scanner.skip()
        except _Broken:
            return b"INVALID_ROUTE"
        return b",".join(hosts)

    def _local_part(self) -> bytes:
        scanner = self._scanner
        if scanner.sees(b'"'):
            part = scanner.quoted_string()
            scanner.skip()
            return part
        return self._dot_atom()

    def _dot_atom(self) -> bytes:
        """Read atoms with dots between them, and white space and comments around those."""
        scanner = self._scanner
        pieces = [scanner.match(_ATOM_OR_DOT)]
        scanner.skip()
        while pieces[-1] and (scanner.sees(b".") or pieces[-1].endswith(b".")):
            pieces.append(scanner.match(_ATOM_OR_DOT))
            scanner.skip()
        if not pieces[0]:
            raise _Broken
        return b"".join(pieces)

    def _domain(self) -> bytes:
        scanner = self._scanner
        scanner.expect(b"@")
        scanner.skip()
        if not scanner.sees(b"["):
            name = self._dot_atom()
            if b"" in name.split(b"."):
                raise _Broken
            return name
        literal = scanner.match(_DOMAIN_LITERAL)
        if not literal:
            raise _Broken
        scanner.skip()
        return literal
