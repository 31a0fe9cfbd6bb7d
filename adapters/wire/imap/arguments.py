"""The arguments of an IMAP command as a server reads them: astrings, parentheses, literals (RFC 9051, RFC 7888)."""

from __future__ import annotations

import re

from sasl.typed import TYPE_CHECKING, final

from ..line import Line, plain_line, without_end

if TYPE_CHECKING:
    from typing import Final

LONGEST_LITERAL: Final = 4_096
"""Octets of a literal (RFC 7888 section 5), and the most that those of one command have together."""
GO_AHEAD: Final = plain_line("+ Go ahead")
"""What a client waits for before it sends a literal."""
WRONG_NUMBER: Final = "Too few arguments, or too many"
"""What is said to a command that has not as many as it takes."""

_LITERAL: Final = re.compile(rb"(?:^| )\{([0-9]{1,20})(\+?)\}\Z")
_ARGUMENT: Final = re.compile(rb'(\()|(?:"((?:[^"\\\x00\r\n]|\\["\\])*)"|([^"(){\x00-\x20\x7f]+))?(\)*)(?: |\Z)')
_LOOKED_AT: Final = 512  # octets: a user name stands at the beginning
_LONE_BACKSLASH: Final = re.compile(rb'"[^"\\]*(?:\\["\\][^"\\]*)*\\[^"\\]')


@final
class Arguments:
    """Collects the arguments of one command, which goes on over several lines if there are literals in it.

    `longest` is how many octets a line has at most; a reader that cuts longer ones gives one that is longer still.

    Attributes:
        words: the arguments so far; a parenthesis is one too.
        nested: whether there is a parenthesis among them, which a quoted string can look like.
        done: whether there are all of them, or a `refusal`.
        refusal: why they cannot be read; "" if they can.
        waits: whether the client waits for GO_AHEAD, or for a refusal of the command; it sends no literal before.
        must_close: whether a refused literal is on its way, which nobody must take for commands.
    """

    def __init__(self, longest: int) -> None:
        self.words: list[bytes] = []
        self.nested = False
        self.done = False
        self.refusal = ""
        self.waits = False
        self.must_close = False
        self._longest = longest
        self._room = LONGEST_LITERAL
        self._literal: bytes | None = None  # as much as has come of the one that was announced
        self._missing = 0  # octets of it

    def receive(self, line: bytes) -> None:
        """Take what follows the name of the command, without the space before it and without the end of the line.

        Then each line with its end.
        """
        self.waits = False
        fits = len(line) <= self._longest
        if self._literal is None:
            self._take(line, fits=fits)
            return
        self._literal += line[: self._missing]
        line, self._missing = line[self._missing :], max(0, self._missing - len(line))
        if not line:
            return  # the literal goes on, or ends with this line: then the command goes on in the next one
        self.words.append(self._literal)
        self._literal = None
        text = without_end(line)
        self._take(text.removeprefix(b" "), fits=fits and text[:1] in (b" ", b""))

    def answer(self, tag: str) -> Line:
        """Return the line that refuses the command."""
        return plain_line("* BYE That literal is too large" if self.must_close else f"{tag} BAD {self.refusal}")

    def _take(self, text: bytes, *, fits: bool) -> None:
        """Take arguments up to the end or to the next literal."""
        literal = _LITERAL.search(text)
        split = _words(text[: literal.start()] if literal else text) if fits else None
        size = int(literal[1]) if literal else 0
        if split is None or size > self._room:
            self.refusal = _what_is_wrong(text) if split is None else "That literal is too large"
            self.must_close = bool(literal and literal[2])
        words, nested = split or ([], False)
        self.words += words
        self.nested = self.nested or nested
        self.done = bool(self.refusal) or literal is None
        if literal and not self.done:
            self.waits = not literal[2]
            self._literal, self._missing = b"", size
            self._room -= size


def _what_is_wrong(text: bytes) -> str:
    """Say why arguments cannot be read. A Windows domain before the user name is what meets this."""
    at = 0
    while (match := _ARGUMENT.match(text, at)) and match.end() > at:
        at = match.end()
    # Looked for from there alone: from each quote on it would take a second for every 15,000 of them.
    return "A backslash in quotes has to be doubled" if _LONE_BACKSLASH.match(text, at) else "Not arguments"


def _words(text: bytes) -> tuple[list[bytes], bool] | None:
    """Split arguments into atoms, quoted strings and parentheses, and tell whether there are any of the last.

    None for what is none of them.
    """
    words: list[bytes] = []
    nested = False
    at = 0
    while at < len(text):
        match = _ARGUMENT.match(text, at)
        if match is None or match[0] in (b"", b" "):
            return None
        opening, quoted, atom, closing = match.groups()
        if quoted is not None:
            atom = re.sub(rb"\\(.)", rb"\1", quoted)
        words += [word for word in (opening, atom, closing or None) if word is not None]
        nested = nested or bool(opening or closing)
        at = match.end()
    return words, nested
