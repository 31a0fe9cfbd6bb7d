"""What one session sees of its mailbox: its own numbers of messages, what it was told (RFC 3501 section 7.4)."""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import TYPE_CHECKING, final

from ..mail.fetch import FLAGS, MODSEQ, UID, render
from ..mail.grammar import BadArguments, octets_of, sequence

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ..mail.fetch import Item
    from ..mail.grammar import Word
    from ..mail.store import Mailbox, Message


def flag_items(*, uid: bool, modseq: bool) -> tuple[Item, ...]:
    """Return the items of a FETCH response that tells the flags of a message."""
    return (*[UID] * uid, FLAGS, *[MODSEQ] * modseq)


@final
class View:
    """A selected mailbox.

    A message keeps its number here until the client was told that it is gone, whatever others do meanwhile.

    Attributes:
        mailbox: the mailbox.
        read_only: whether nothing may be changed through this view.
    """

    def __init__(self, mailbox: Mailbox, *, read_only: bool) -> None:
        self.mailbox = mailbox
        self.read_only = read_only
        self._messages = list(mailbox.messages)
        self._uids = [message.uid for message in self._messages]
        self._modseq = mailbox.modseq  # of the last change that was looked at
        self._removed = mailbox.removed  # the same, of those that took messages away
        self._told: dict[int, int] = {}  # uid to modseq, of what was told since

    def __len__(self) -> int:
        """How many messages the client knows of."""
        return len(self._messages)

    def __iter__(self) -> Iterator[tuple[int, Message]]:
        """The messages that the client knows of, with their numbers."""
        return enumerate(list(self._messages), 1)

    @property
    def last_uid(self) -> int:
        """The highest uid that the client knows of; 0 if there is none."""
        return self._uids[-1] if self._uids else 0

    def choose(self, word: Word, *, uid: bool) -> list[tuple[int, Message]]:
        """Return the messages of a set of numbers, or of uids, with their numbers.

        Raises BadArguments for what is no set, and for numbers that no message has; uids may be unknown ones.
        """
        chosen = sequence(word)
        if uid:
            places = [bisect_left(self._uids, found) for found in chosen.choose(self._uids)]
        else:
            numbers = range(1, len(self._messages) + 1)
            if not numbers or _highest(word) > len(numbers):
                raise BadArguments("Invalid messageset")
            places = [number - 1 for number in chosen.choose(numbers)]
        return [(place + 1, self._messages[place]) for place in places]

    def knows(self, message: Message) -> bool:
        """Whether the client was told of the last change of a message."""
        return message.modseq <= self._modseq or self._told.get(message.uid) == message.modseq

    def told(self, message: Message) -> None:
        """Note that the client knows the flags of a message."""
        if message.modseq > self._modseq:
            self._told[message.uid] = message.modseq

    def news(self, *, expunges: bool, uid: bool = False, modseq: bool = False) -> Iterator[bytes]:
        """Yield what the client has to be told: fewer messages, if that may be told now, more messages, other flags."""
        if expunges and self.mailbox.removed > self._removed:
            self._removed = self.mailbox.removed
            yield from self._expunges()
        if self.mailbox.modseq > self._modseq:
            changes = self.mailbox.changes(self._modseq)
            self._modseq = self.mailbox.modseq
            told, self._told = self._told, {}
            known = self.last_uid
            yield from self._arrivals([message for message in changes if message.uid > known])
            other = [each for each in changes if each.uid <= known and told.get(each.uid) != each.modseq]
            yield from self._changes(other, flag_items(uid=uid, modseq=modseq))

    def _expunges(self) -> Iterator[bytes]:
        left = [message in self.mailbox for message in self._messages]
        yield from [b"%d EXPUNGE" % number for number in range(len(left), 0, -1) if not left[number - 1]]
        self._messages = [message for message, stays in zip(self._messages, left, strict=True) if stays]
        self._uids = [message.uid for message in self._messages]

    def _arrivals(self, messages: Collection[Message]) -> Iterator[bytes]:
        if not messages:
            return
        self._messages += messages
        self._uids += [message.uid for message in messages]
        yield b"%d EXISTS" % len(self._messages)

    def _changes(self, messages: Collection[Message], items: tuple[Item, ...]) -> Iterator[bytes]:
        for message in messages:
            yield render(bisect_left(self._uids, message.uid) + 1, message, items)


def _highest(word: Word) -> int:
    """Return the highest number in what is a sequence set."""
    return max(map(int, re.findall(rb"[0-9]+", octets_of(word))), default=0)
