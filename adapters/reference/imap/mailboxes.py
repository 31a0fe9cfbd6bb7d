"""The commands for whole mailboxes: SELECT, STATUS, CREATE, APPEND and their like (RFC 3501 section 6.3)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ..mail.grammar import BadArguments, atom, date_time, flags, octets_of
from ..mail.store import DELIMITER, INBOX, SYSTEM_FLAGS, Full, MailboxExists, NoSuchMailbox, flags_of
from .session import CONDSTORE, UTF8, No, Session, names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ..mail.grammar import Word
    from ..mail.store import Account, Mailbox
    from .session import Responses

STATUS_ITEMS: Final = (
    "MESSAGES",
    "RECENT",
    "UIDNEXT",
    "UIDVALIDITY",
    "UNSEEN",
    "HIGHESTMODSEQ",
    "APPENDLIMIT",
)

_LONGEST_NAME: Final = 255  # characters
_LONGEST_FLAG: Final = 64
_MOST_FLAGS: Final = 64  # of one message
_SEEN: Final = "\\Seen"
_IMPOSSIBLE: Final = re.compile(r"[*%\x00-\x1f\x7f]|//|\A/|\A\Z|\A[#&]")


def select(session: Session, words: Sequence[Word], *, read_only: bool = False) -> Responses:
    """SELECT and EXAMINE (RFC 3501 sections 6.3.1 and 6.3.2): the mailbox that was selected is so no more."""
    condstore = len(words) > 1 and names(words[1], [CONDSTORE]) == [CONDSTORE]
    session.name(words[0])  # a malformed one changes nothing
    session.leave()
    mailbox = session.mailbox(words[0])
    if condstore:
        session.enabled.add(CONDSTORE)
    view = session.select(mailbox, read_only=read_only)
    keywords = sorted({flag for _, message in view for flag in message.flags if not flag.startswith("\\")})
    known = " ".join([*SYSTEM_FLAGS, *keywords[: 10 * _MOST_FLAGS]]).encode()
    yield b"FLAGS (%b)" % known
    yield b"%d EXISTS" % len(view)
    yield b"0 RECENT"
    unseen = next((number for number, message in view if _SEEN not in message.flags), 0)
    if unseen:
        yield b"OK [UNSEEN %d] First" % unseen
    yield b"OK [PERMANENTFLAGS (%b)] Kept" % (b"" if read_only else known + b" \\*")
    yield b"OK [UIDVALIDITY %d] Valid" % mailbox.uidvalidity
    yield b"OK [UIDNEXT %d] Next" % mailbox.uidnext
    yield b"OK [HIGHESTMODSEQ %d] Highest" % mailbox.modseq
    return "[READ-ONLY]" if read_only else "[READ-WRITE]"


def unselect(session: Session, words: Sequence[Word]) -> str:  # noqa: ARG001 -- it takes none
    """UNSELECT (RFC 3691): leave the mailbox as it is."""
    session.leave()
    return ""


def close(session: Session, words: Sequence[Word]) -> str:  # noqa: ARG001 -- it takes none
    """CLOSE (RFC 3501 section 6.4.2): take away what is marked as deleted, tell nobody of it, and leave the mailbox."""
    view = session.view
    if not view.read_only:
        view.mailbox.remove([message for message in view.mailbox.messages if "\\Deleted" in message.flags])
    session.leave()
    return ""


def status(session: Session, words: Sequence[Word]) -> Responses:
    """STATUS (RFC 3501 section 6.3.10, RFC 7889, RFC 7162)."""
    wanted = names(words[1], STATUS_ITEMS)
    mailbox = session.mailbox(words[0])
    yield status_of(session, mailbox, wanted)
    return ""


def status_of(session: Session, mailbox: Mailbox, wanted: Iterable[str]) -> bytes:
    """Return the STATUS response of a mailbox."""
    items = dict.fromkeys(wanted)
    if "HIGHESTMODSEQ" in items:
        session.enabled.add(CONDSTORE)
    told = " ".join(f"{item} {_status_item(session, mailbox, item)}" for item in items)
    return b"STATUS %b (%b)" % (session.encode(mailbox.name), told.encode("ascii"))


def _status_item(session: Session, mailbox: Mailbox, item: str) -> int:
    match item:
        case "MESSAGES":
            return len(mailbox)
        case "UIDNEXT":
            return mailbox.uidnext
        case "UIDVALIDITY":
            return mailbox.uidvalidity
        case "UNSEEN":
            return sum(_SEEN not in message.flags for message in mailbox.messages)
        case "HIGHESTMODSEQ":
            return mailbox.modseq
        case "APPENDLIMIT":
            return session.largest
        case _:
            return 0  # RECENT: nothing is


def create(session: Session, words: Sequence[Word]) -> str:
    """CREATE (RFC 3501 section 6.3.3), with the levels above that there are not yet."""
    _make(session.account, _new_name(session, words[0]))
    return ""


def _make(account: Account, name: str) -> None:
    """Make a mailbox, and those above it that there are not; all of them or none. Raises No."""
    made: list[Mailbox] = []
    try:
        made.append(account.create(name))
        made.extend(account.create(each) for each in _above(name) if not _exists(account, each))
    except MailboxExists:
        raise No("[ALREADYEXISTS] There is such a mailbox") from None
    except Full:
        for mailbox in made:
            account.delete(mailbox.name)
        raise No("[LIMIT] There are too many mailboxes") from None


def delete(session: Session, words: Sequence[Word]) -> str:
    """DELETE (RFC 3501 section 6.3.4); what is below it stays."""
    mailbox = session.mailbox(words[0])
    if mailbox.name == INBOX:
        raise No("[CANNOT] INBOX cannot be deleted")
    session.account.delete(mailbox.name)
    return ""


def rename(session: Session, words: Sequence[Word]) -> str:
    """RENAME (RFC 3501 section 6.3.5)."""
    old, new = session.mailbox(words[0]), _new_name(session, words[1])
    if max(len(name) for name in session.account.mailboxes) - len(old.name) + len(new) > 2 * _LONGEST_NAME:
        raise No("[CANNOT] A mailbox below it would have too long a name")
    for each in _above(new):
        if not _exists(session.account, each):
            _make(session.account, each)
    try:
        session.account.rename(old.name, new)
    except MailboxExists:
        raise No("[ALREADYEXISTS] There is such a mailbox") from None
    except Full:
        raise No("[LIMIT] There are too many mailboxes") from None
    return ""


def subscribe(session: Session, words: Sequence[Word]) -> str:
    """SUBSCRIBE (RFC 3501 section 6.3.6)."""
    mailbox = session.mailbox(words[0])
    try:
        session.account.subscribe(mailbox.name)
    except Full:
        raise No("[LIMIT] There are too many names in the list") from None
    return ""


def unsubscribe(session: Session, words: Sequence[Word]) -> str:
    """UNSUBSCRIBE (RFC 3501 section 6.3.7), also from what is there no more."""
    session.account.unsubscribe(session.name(words[0]))
    return ""


def append(session: Session, words: Sequence[Word]) -> str:
    """APPEND (RFC 3501 section 6.3.11, RFC 4315, RFC 6855)."""
    name, *rest = words
    wanted: tuple[str, ...] = ()
    date = session.now()
    raw = _appended(session, rest)
    if rest and isinstance(rest[0], list):
        wanted = flags(rest.pop(0))
    if rest:
        date = date_time(rest.pop(0))
    if rest:
        raise BadArguments("APPEND takes a mailbox, flags, a date and a literal")
    mailbox = session.mailbox(name, code="TRYCREATE")
    if not raw:
        raise No("[CANNOT] A message has something in it")
    try:
        message = mailbox.add(raw, check_flags(wanted), date)
    except Full:
        raise No("[OVERQUOTA] There is no room for it") from None
    return f"[APPENDUID {mailbox.uidvalidity} {message.uid}]"


def _appended(session: Session, rest: list[Word]) -> bytes:
    """Take the message from the end of the arguments of APPEND. Raises BadArguments."""
    last = rest.pop()
    if not isinstance(last, list):
        return octets_of(last)
    if not session.utf8 or len(last) != 1 or not rest or atom(rest.pop()) != "UTF8":
        raise BadArguments("The message is no literal")
    return octets_of(last[0])


def check_flags(wanted: Iterable[str]) -> frozenset[str]:
    """Return flags in their usual spelling.

    Raises BadArguments for a system flag that there is not, No for too many or too long ones.
    """
    checked = flags_of(wanted)
    if unknown := sorted(flag for flag in checked if flag.startswith("\\") and flag not in SYSTEM_FLAGS):
        raise BadArguments(f"There is no flag {unknown[0][:_LONGEST_FLAG]}")
    if len(checked) > _MOST_FLAGS or any(len(flag) > _LONGEST_FLAG for flag in checked):
        raise No("[LIMIT] Too many flags, or too long ones")
    return checked


def namespace(session: Session, words: Sequence[Word]) -> Responses:  # noqa: ARG001 -- all have the same
    """NAMESPACE (RFC 2342): the user's own, and no other."""
    yield b'NAMESPACE (("" "%b")) NIL NIL' % DELIMITER.encode("ascii")
    return ""


def enable(session: Session, words: Sequence[Word]) -> Responses:
    """ENABLE (RFC 5161): what is not known is passed over."""
    if session.selected:
        raise BadArguments("That is for the time before a mailbox is selected")
    enabled = [name for name in dict.fromkeys(atom(word) for word in words) if name in (CONDSTORE, UTF8)]
    session.enabled.update(enabled)
    yield " ".join(["ENABLED", *enabled]).encode("ascii")
    return ""


def _new_name(session: Session, word: Word) -> str:
    """Return the name that a mailbox shall have. Raises No for one that none can have."""
    name = session.name(word).removesuffix(DELIMITER)
    if _IMPOSSIBLE.search(name) or len(name) > _LONGEST_NAME:
        raise No("[CANNOT] A mailbox cannot have that name")
    return name


def _above(name: str) -> Iterator[str]:
    """The names of the levels above a name."""
    levels = name.split(DELIMITER)
    return (DELIMITER.join(levels[:depth]) for depth in range(1, len(levels)))


def _exists(account: Account, name: str) -> bool:
    try:
        account.mailbox(name)
    except NoSuchMailbox:
        return False
    return True
