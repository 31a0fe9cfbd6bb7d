"""The maildrop of a POP3 session: the messages that there were at the login, and the commands about them (RFC 1939)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .mail.store import Mailbox, Message

COMMANDS: Final = frozenset({b"STAT", b"LIST", b"UIDL", b"RETR", b"TOP", b"DELE", b"RSET", b"NOOP", b"LAST"})
"""What can be said to a maildrop. LAST is of RFC 1460 and gone since; fetchmail still asks."""

NO_SUCH_MESSAGE: Final = "-ERR No such message"

_NUMBER: Final = re.compile(rb"[0-9]{1,10}")
_TWO_NUMBERS: Final = re.compile(rb"([0-9]{1,10}) +([0-9]{1,10})")
_HEADER: Final = re.compile(rb"(?:\A|\n)\r?\n")  # where it ends
_PIECE: Final = 65_536


@final
class Maildrop:
    """The messages of a mailbox as they were when this was made, by numbers from 1.

    What comes or goes in the mailbox later changes nothing here.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._messages = dict(enumerate(mailbox.messages, 1))
        self._deleted: dict[int, Message] = {}
        self._last = 0  # the highest number of a message that the client has asked for

    def commit(self) -> None:
        """Take out of the mailbox what was deleted."""
        if self._deleted:
            self._mailbox.remove(list(self._deleted.values()))

    def answer(self, verb: bytes, argument: bytes) -> tuple[list[str], bytes | None]:
        """Return the lines of the answer to one of `COMMANDS`, and what is to follow them as `pieces` and a dot."""
        if verb in (b"LIST", b"UIDL"):
            return self._list(_size if verb == b"LIST" else self._unique_id, argument), None
        if verb == b"TOP":
            return self._top(argument)
        if verb in (b"RETR", b"DELE"):
            return self._retrieve(argument) if verb == b"RETR" else (self._delete(argument), None)
        if argument:
            return [f"-ERR {verb.decode('ascii')} takes no argument"], None
        return [self._state(verb)], None

    def _state(self, verb: bytes) -> str:
        match verb:
            case b"STAT":
                left = self._left
                return f"+OK {len(left)} {sum(map(_size, left.values()))}"
            case b"LAST":
                return f"+OK {self._last}"
            case b"RSET":
                self._deleted.clear()
                self._last = 0
        return "+OK"

    def _list(self, shown: Callable[[Message], object], argument: bytes) -> list[str]:
        if not argument:
            return ["+OK", *(f"{number} {shown(message)}" for number, message in self._left.items()), "."]
        number, message = self._find(argument)
        return [NO_SUCH_MESSAGE if message is None else f"+OK {number} {shown(message)}"]

    def _retrieve(self, argument: bytes) -> tuple[list[str], bytes | None]:
        message = self._access(argument)
        return ([NO_SUCH_MESSAGE], None) if message is None else (["+OK"], message.raw)

    def _top(self, argument: bytes) -> tuple[list[str], bytes | None]:
        numbers = _TWO_NUMBERS.fullmatch(argument)
        if numbers is None:
            return ["-ERR TOP takes the number of a message and how many lines"], None
        message = self._access(numbers[1])
        return ([NO_SUCH_MESSAGE], None) if message is None else (["+OK"], _top(message.raw, int(numbers[2])))

    def _delete(self, argument: bytes) -> list[str]:
        message = self._access(argument)
        if message is None:
            return [NO_SUCH_MESSAGE]
        self._deleted[int(argument)] = message
        return ["+OK"]

    @property
    def _left(self) -> Mapping[int, Message]:
        if not self._deleted:
            return self._messages
        return {number: message for number, message in self._messages.items() if number not in self._deleted}

    def _find(self, argument: bytes) -> tuple[int, Message | None]:
        number = int(argument) if _NUMBER.fullmatch(argument) else 0
        return number, None if number in self._deleted else self._messages.get(number)

    def _access(self, argument: bytes) -> Message | None:
        number, message = self._find(argument)
        if message is not None:
            self._last = max(self._last, number)
        return message

    def _unique_id(self, message: Message) -> str:
        return f"{self._mailbox.uidvalidity}.{message.uid}"


def pieces(message: bytes) -> Iterator[bytes]:
    """Yield a message in pieces: lines that begin with a dot have another one in front, the last line has its end.

    A bare LF counts as the end of a line here: clients take it for one, and a dot behind it would end the message.
    """
    if message.startswith(b"."):
        yield b"."
    begin = 0
    while begin < len(message):
        end = begin + _PIECE
        if message[end - 1 : end] == b"\n":
            end -= 1  # it belongs to what follows, which may be a dot
        yield message[begin:end].replace(b"\n.", b"\n..")
        begin = end
    if message and not message.endswith(b"\n"):
        yield b"\r\n"


def _size(message: Message) -> int:
    return len(message.raw)


def _top(message: bytes, lines: int) -> bytes:
    """Return the header, the empty line behind it and so many lines of the body."""
    header = _HEADER.search(message)
    if header is None:
        return message
    end = header.end()
    # In pieces: a body may have millions of lines, and a client may want as many of a body of three.
    while (found := message.count(b"\n", end, end + _PIECE)) < lines:
        lines, end = lines - found, end + _PIECE
        if end >= len(message):
            return message
    for _ in range(lines):
        end = message.find(b"\n", end) + 1 or len(message)
    return message[:end]
