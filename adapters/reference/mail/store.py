"""Messages, mailboxes and accounts, in memory and bounded. Whoever uses it stays in one thread."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import Message as AnyMessage
from functools import cached_property
from itertools import count, takewhile
from typing import TYPE_CHECKING, Final, final

from sasl.errors import UsageError

from .grammar import is_flag
from .message import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from email.message import EmailMessage

SYSTEM_FLAGS: Final = ("\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft")
"""What every mailbox has (RFC 3501 section 2.3.2), but for \\Recent, which nothing is here."""

INBOX: Final = "INBOX"
FOLDERS: Final[Mapping[str, str]] = {
    INBOX: "",
    "Sent": "\\Sent",
    "Drafts": "\\Drafts",
    "Trash": "\\Trash",
    "Archive": "\\Archive",
}
"""What an account begins with, and what for (RFC 6154)."""

DELIMITER: Final = "/"

_MOST_MESSAGES: Final = 100_000
_MOST_OCTETS: Final = 268_435_456
_MOST_MAILBOXES: Final = 1_000
_SPELLINGS: Final = {flag.lower(): flag for flag in SYSTEM_FLAGS}
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")


class Full(Exception):
    """There is no room for another message or mailbox."""


class NoSuchMailbox(Exception):
    """There is no mailbox of that name."""


class MailboxExists(Exception):
    """There is a mailbox of that name already."""


@final
class Message:
    """One message in a mailbox.

    Attributes:
        uid: its number, which no other message of the mailbox ever has.
        raw: its octets; lines end with CRLF if it was delivered here.
        date: when it came.
        flags: the system flags in their usual spelling, keywords as they were first given.
        modseq: the number of its last change (RFC 7162).
        labels: Gmail's, but for the mailbox that it is in.
    """

    def __init__(self, uid: int, raw: bytes, date: datetime, flags: frozenset[str], modseq: int) -> None:
        self.labels: frozenset[str] = frozenset()
        self.uid = uid
        self.raw = raw
        self.date = date
        self.flags = flags
        self.modseq = modseq

    def __repr__(self) -> str:
        return f"Message(uid={self.uid}, {len(self.raw)} octets, flags={sorted(self.flags)})"

    @cached_property
    def part(self) -> Part:
        """What IMAP makes of its octets."""
        return Part(self.raw)

    @property
    def email(self) -> EmailMessage:
        """The message, parsed anew; its lines end with LF, as in those that Python makes."""
        return email_of(self.raw)


@final
class Mailbox:
    r"""Messages in the order in which they came.

    Attributes:
        name: its name, with "/" between levels.
        use: what for, as "\\Sent" (RFC 6154); "" for no special use.
        uidvalidity: another one when a mailbox of the same name is made anew.
        uidnext: the uid of the next message.
        modseq: the number of the last change in it.
        removed: the number of the last change that took messages away.
    """

    def __init__(self, name: str, use: str, uidvalidity: int, room: _Room) -> None:
        self.name = name
        self.use = use
        self.uidvalidity = uidvalidity
        self.uidnext = 1
        self.modseq = 1
        self.removed = 1
        self._messages: dict[int, Message] = {}  # by uid, ascending
        self._changes: dict[int, Message] = {}  # by uid, what changed last at the end
        self._room = room
        self._watchers: list[Callable[[], object]] = []

    def __repr__(self) -> str:
        return f"Mailbox({self.name!r}, {len(self._messages)} messages)"

    def __len__(self) -> int:
        """How many messages there are."""
        return len(self._messages)

    def __bool__(self) -> bool:
        """A mailbox without messages is one, too."""
        return True

    @property
    def messages(self) -> Sequence[Message]:
        """The messages, by ascending uid."""
        return tuple(self._messages.values())

    def __contains__(self, message: Message) -> bool:
        """Whether a message is in it still."""
        return self._messages.get(message.uid) is message

    def changes(self, since: int) -> list[Message]:
        """Return the messages in it that came or changed after the change of that number, by ascending uid."""
        changed = takewhile(lambda message: message.modseq > since, reversed(self._changes.values()))
        return sorted(changed, key=lambda message: message.uid)

    def add(self, raw: bytes, flags: Iterable[str] = (), date: datetime | None = None) -> Message:
        """Put a message into it as it is; return it.

        Raises Full; UsageError for what is no flag, and for what is no date with a time zone.
        """
        flags, date = flags_of(flags), _date_of(date)
        self._room.take([raw])
        message = self._put(raw, flags, date)
        self._tell()
        return message

    def copy(self, messages: Collection[Message]) -> list[Message]:
        """Put copies of messages into it, all of them or none; return them. Raises Full."""
        self._room.take([message.raw for message in messages])
        return self._put_all(messages)

    def move(self, messages: Collection[Message], target: Mailbox) -> list[Message]:
        """Take messages out of it and put them into another mailbox, or behind all others here; return those there."""
        moved = target._put_all(messages)
        self._drop(messages)
        return moved

    def remove(self, messages: Collection[Message]) -> None:
        """Take messages out of it for good."""
        self._room.give_back([message.raw for message in messages if message in self])
        self._drop(messages)

    def mark(self, message: Message, flags: Iterable[str]) -> bool:
        """Give a message exactly these flags; return whether that changed it."""
        wanted = flags_of(flags)
        if wanted == message.flags:
            return False
        message.flags = wanted
        self._touch(message)
        self._tell()
        return True

    def label(self, message: Message, labels: Iterable[str]) -> None:
        """Give a message exactly these labels of Gmail's."""
        message.labels = frozenset(labels)
        self._touch(message)
        self._tell()

    def watch(self, told: Callable[[], object]) -> Callable[[], None]:
        """Have a function called after each change; return what ends that."""
        self._watchers.append(told)
        return lambda: self._watchers.remove(told)

    def _put_all(self, messages: Collection[Message]) -> list[Message]:
        put = [self._put(message.raw, message.flags, message.date) for message in messages]
        for message, other in zip(messages, put, strict=True):
            other.labels = message.labels
        self._tell()
        return put

    def _put(self, raw: bytes, flags: frozenset[str], date: datetime) -> Message:
        message = Message(self.uidnext, raw, date, flags, 0)
        self.uidnext += 1
        self._messages[message.uid] = message
        self._touch(message)
        return message

    def _drop(self, messages: Collection[Message]) -> None:
        if not messages:
            return
        for message in messages:
            if message in self:
                del self._messages[message.uid], self._changes[message.uid]
        self.modseq += 1
        self.removed = self.modseq
        self._tell()

    def _touch(self, message: Message) -> None:
        """Note that a message changed."""
        self.modseq += 1
        message.modseq = self.modseq
        self._changes.pop(message.uid, None)
        self._changes[message.uid] = message

    def _tell(self) -> None:
        for told in list(self._watchers):
            told()


@final
class Account:
    """The mailboxes of one user, by their names; INBOX is the same in any case."""

    def __init__(self, folders: Mapping[str, str], validities: Iterator[int], room: _Room) -> None:
        self._mailboxes: dict[str, Mailbox] = {}
        self._subscriptions: dict[str, None] = {}
        self._validities = validities
        self._room = room
        for name, use in {INBOX: "", **folders}.items():
            self.create(name, use)
            self.subscribe(name)

    @property
    def mailboxes(self) -> Mapping[str, Mailbox]:
        """The mailboxes by their names."""
        return dict(self._mailboxes)

    @property
    def subscriptions(self) -> Collection[str]:
        """The names in the user's list; a name stays there when its mailbox goes (RFC 3501 section 6.3.6)."""
        return tuple(self._subscriptions)

    def mailbox(self, name: str) -> Mailbox:
        """Return a mailbox. Raises NoSuchMailbox."""
        found = self._mailboxes.get(_key(name))
        if found is None:
            raise NoSuchMailbox(name)
        return found

    def create(self, name: str, use: str = "") -> Mailbox:
        """Make a mailbox. Raises MailboxExists; Full if there are a thousand."""
        name = _key(name)
        if name in self._mailboxes:
            raise MailboxExists(name)
        if len(self._mailboxes) >= _MOST_MAILBOXES:
            raise Full(name)
        made = self._mailboxes[name] = Mailbox(name, use, next(self._validities), self._room)
        return made

    def delete(self, name: str) -> None:
        """Take a mailbox away with all in it; those below it stay. Raises NoSuchMailbox."""
        found = self.mailbox(name)
        found.remove(found.messages)
        del self._mailboxes[found.name]

    def rename(self, old: str, new: str) -> None:
        """Name a mailbox, and those below it, otherwise (RFC 3501 section 6.3.5): of INBOX, what is in it moves.

        Raises NoSuchMailbox; MailboxExists if one of the new names is taken.
        """
        moved, new = self.mailbox(old), _key(new)
        if moved.name == INBOX:
            moved.move(moved.messages, self.create(new))
            return
        below = moved.name + DELIMITER
        names = [name for name in self._mailboxes if name == moved.name or name.startswith(below)]
        renamed = {name: new + name[len(moved.name) :] for name in names}
        if taken := sorted(set(renamed.values()) & set(self._mailboxes)):
            raise MailboxExists(taken[0])
        for name, other in renamed.items():
            mailbox = self._mailboxes.pop(name)
            mailbox.name = other
            self._mailboxes[other] = mailbox

    def subscribe(self, name: str) -> None:
        """Put a name into the user's list. Raises Full if there are a thousand."""
        name = _key(name)
        if name not in self._subscriptions and len(self._subscriptions) >= _MOST_MAILBOXES:
            raise Full(name)
        self._subscriptions[name] = None

    def unsubscribe(self, name: str) -> None:
        """Take a name out of the user's list, if it is there."""
        self._subscriptions.pop(_key(name), None)


@final
class Accounts:
    """The accounts of all users; each is made when it is first asked for.

    `folders` are the mailboxes that each begins with, and their uses. All messages together have at most 256 MB and are
    at most 100,000.
    """

    def __init__(self, folders: Mapping[str, str] = FOLDERS) -> None:
        self._folders = folders
        self._room = _Room()
        self._validities = count(int(datetime.now(UTC).timestamp()))  # another one in the next run, too
        self._accounts: dict[str, Account] = {}

    def account(self, user: str) -> Account:
        """Return a user's account."""
        if user not in self._accounts:
            self._accounts[user] = Account(self._folders, self._validities, self._room)
        return self._accounts[user]

    def remove(self, user: str) -> None:
        """Forget a user's mailboxes, with their messages."""
        if (account := self._accounts.pop(user, None)) is not None:
            for name in list(account.mailboxes):
                account.delete(name)

    def clear(self) -> None:
        """Begin anew: no messages, and the mailboxes that there were in the beginning."""
        for account in self._accounts.values():
            for name in list(account.mailboxes):
                account.delete(name)
        self._accounts.clear()


@final
class _Room:
    """How much fits in."""

    def __init__(self) -> None:
        self._messages = _MOST_MESSAGES
        self._octets = _MOST_OCTETS

    def take(self, raws: Collection[bytes]) -> None:
        octets = sum(map(len, raws))
        if len(raws) > self._messages or octets > self._octets:
            raise Full
        self._messages -= len(raws)
        self._octets -= octets

    def give_back(self, raws: Collection[bytes]) -> None:
        self._messages += len(raws)
        self._octets += sum(map(len, raws))


def octets_of(message: bytes | str | AnyMessage) -> bytes:
    """Return a message as octets whose lines end with CRLF. Raises UsageError for what is none."""
    return _LINE_END.sub(b"\r\n", _octets_of(message))


def _octets_of(message: bytes | str | AnyMessage) -> bytes:
    if isinstance(message, bytes):
        return message
    try:
        if isinstance(message, str):
            return message.encode()
        if isinstance(message, AnyMessage):
            return message.as_bytes()
    except (UnicodeError, LookupError):
        raise UsageError("the message has characters that have no octets in its encoding") from None
    raise UsageError(f"a message is bytes, str or an email.message.Message, not {type(message).__name__}")


def email_of(octets: bytes) -> EmailMessage:
    """Return a message parsed, with LF at the end of its lines, so that it compares with one that Python made."""
    return message_from_bytes(octets.replace(b"\r\n", b"\n"), policy=policy.default)


def flags_of(flags: Iterable[str]) -> frozenset[str]:
    """Return flags, the system's in their usual spelling; nobody sets that a message is recent.

    Raises UsageError for what is no flag, and for one string in the place of several.
    """
    if isinstance(flags, str | bytes):
        raise UsageError("flags are a collection of strings, not one string")
    flags = tuple(flags)
    if wrong := [flag for flag in flags if not (isinstance(flag, str) and is_flag(flag))]:
        raise UsageError(f"{wrong[0]!r} is no flag")
    return frozenset(_SPELLINGS.get(flag.lower(), flag) for flag in flags if flag.lower() != "\\recent")


def _date_of(date: datetime | None) -> datetime:
    """Return a date, now for None, in a zone that IMAP can tell of: whole minutes from UTC. Raises UsageError."""
    if date is None:
        return datetime.now(UTC)
    offset = date.utcoffset() if isinstance(date, datetime) else None
    if offset is None:
        raise UsageError("the date of a message is a datetime with its zone")
    return date if offset.total_seconds() % 60 == 0 else date.astimezone(UTC)


def _key(name: str) -> str:
    """Return a mailbox's name, INBOX in capitals."""
    head, delimiter, rest = name.partition(DELIMITER)
    return (INBOX if head.upper() == INBOX else head) + delimiter + rest
