"""The commands for messages of the selected mailbox: FETCH, STORE, SEARCH, COPY and others (RFC 3501 section 6.4)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ..mail.fetch import FLAGS, MODSEQ, parse_items, render, sets_seen
from ..mail.grammar import BadArguments, atom, compact, flags, number
from ..mail.search import BadCharset, answer, matches, parse_search
from ..mail.store import Full
from .mailboxes import check_flags
from .session import CONDSTORE, No, Session
from .view import flag_items

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..mail.fetch import Item
    from ..mail.grammar import Word
    from ..mail.store import Mailbox, Message
    from .session import Responses
    from .view import View

_SEEN: Final = "\\Seen"
_DELETED: Final = "\\Deleted"
_LARGEST_MODSEQ: Final = 2**63 - 1
_SECTION: Final = "BODY["  # what an item is called that tells octets of the message
_TIMES: Final = 8  # how often a message may be in one response
_MOST_ITEMS: Final = 1_000
_MOST_LABELS: Final = 64  # of one message
_LONGEST_LABEL: Final = 255
_MOST_KEYS: Final = 1_000  # with what they look for
_TURN: Final = 50  # messages, after which others get a turn
_WORK: Final = 4_194_304  # octets that SEARCH looks through, after which others get a turn
_MOST_WORK: Final = 134_217_728  # octets of one message, counted for each text that is looked for in it
_LARGE: Final = 100_000  # octets of a message after which they do so, too
_GONE: Final = "[EXPUNGEISSUED] Some of these messages are gone"
_STORE: Final = re.compile(r"([+-]?)(FLAGS|X-GM-LABELS)(\.SILENT)?")
_LABELS: Final = "X-GM-LABELS"


def fetch(session: Session, words: Sequence[Word], *, uid: bool = False) -> Responses:
    """FETCH and UID FETCH (RFC 3501 sections 6.4.5 and 6.4.8, RFC 7162 section 3.1.4)."""
    since = _modifier(words[2:], "CHANGEDSINCE")
    items = parse_items(words[1], uid=uid, gmail=session.gmail)
    if len(items) > _MOST_ITEMS:
        raise BadArguments("That is too much at once")
    if since is not None and MODSEQ not in items:
        items += (MODSEQ,)
    if MODSEQ in items:
        session.enabled.add(CONDSTORE)
    for turn, (found, message) in enumerate(session.view.choose(words[0], uid=uid), 1):
        if since is None or message.modseq > since:
            yield from _fetched(session, found, message, items)
        if turn % _TURN == 0 or len(message.raw) > _LARGE:
            yield b""
    return ""


def _fetched(session: Session, found: int, message: Message, items: tuple[Item, ...]) -> Iterator[bytes]:
    """Yield the response for one message, which may have been seen by this; several if it is far larger than that."""
    view = session.view
    if sets_seen(items) and _mark(view, message, message.flags | {_SEEN}):
        more = flag_items(uid=False, modseq=session.condstore)
        items += tuple(item for item in more if item not in items)
    if FLAGS in items:
        view.told(message)
    at, size = 0, 0
    for end, item in enumerate(items):
        size += len(message.raw) if item.name == _SECTION else 0
        if size > _TIMES * len(message.raw):
            yield render(found, message, items[at:end])
            at, size = end, len(message.raw)
    yield render(found, message, items[at:])


def _mark(view: View, message: Message, wanted: frozenset[str]) -> bool:
    return not view.read_only and message in view.mailbox and view.mailbox.mark(message, wanted)


def store(session: Session, words: Sequence[Word], *, uid: bool = False) -> Responses:
    """STORE and UID STORE (RFC 3501 section 6.4.6, RFC 7162 section 3.1.3)."""
    view = session.writable()
    rest = list(words[1:])
    unchanged_since = _modifier([rest.pop(0)], "UNCHANGEDSINCE") if isinstance(rest[0], list) else None
    if len(rest) < 2:
        raise BadArguments("STORE takes messages, what to do, and flags")
    sign, what, silent = _what(rest[0])
    given = rest[1] if len(rest) == 2 else rest[1:]
    if what == _LABELS and session.gmail:
        labels = _labels(session, given)
        return (yield from _store_labels(session, view.choose(words[0], uid=uid), sign, labels, uid=uid, silent=silent))
    named = check_flags(flags(given))
    if unchanged_since is not None:
        session.enabled.add(CONDSTORE)
    chosen = view.choose(words[0], uid=uid)
    items = flag_items(uid=uid, modseq=session.condstore)
    modified: list[int] = []
    for turn, (found, message) in enumerate(chosen, 1):
        if unchanged_since is not None and message.modseq > unchanged_since:
            modified.append(message.uid if uid else found)
            continue
        known = view.knows(message)
        _mark(view, message, _changed(message.flags, sign, named))
        tells = not silent or session.condstore
        if known or tells:  # else somebody else has changed it, too
            view.told(message)
        if tells:
            yield render(found, message, items)  # with its modseq, which a silent one tells, too
        elif turn % _TURN == 0:
            yield b""
    if any(message not in view.mailbox for _, message in chosen):
        raise No(_GONE)
    return f"[MODIFIED {compact(modified).decode('ascii')}]" if modified else ""


def _what(word: Word) -> tuple[str, str, bool]:
    """Return what STORE is to do: "+", "-" or ""; to what; and whether it is not to tell. Raises BadArguments."""
    match = _STORE.fullmatch(bytes(word).decode("latin-1").upper()) if isinstance(word, bytes) else None
    if match is None:
        raise BadArguments("FLAGS, +FLAGS or -FLAGS is missing")
    return match[1], match[2], bool(match[3])


def _labels(session: Session, given: Word) -> frozenset[str]:
    labels = frozenset(session.name(word) for word in (given if isinstance(given, list) else [given]))
    if len(labels) > _MOST_LABELS or any(len(label) > _LONGEST_LABEL for label in labels):
        raise No("[LIMIT] Too many labels, or too long ones")
    return labels


def _store_labels(
    session: Session,
    chosen: Sequence[tuple[int, Message]],
    sign: str,
    named: frozenset[str],
    *,
    uid: bool,
    silent: bool,
) -> Responses:
    """STORE of X-GM-LABELS (developers.google.com/workspace/gmail/imap/imap-extensions)."""
    items = parse_items([_LABELS.encode("ascii")], uid=uid, gmail=True)
    for found, message in chosen:
        before = message.labels
        wanted = before | named if sign == "+" else before - named if sign == "-" else named
        if len(wanted) > _MOST_LABELS:
            raise No("[LIMIT] Too many labels, or too long ones")
        known = session.view.knows(message)
        if message in session.view.mailbox:
            session.view.mailbox.label(message, wanted)
        if known:
            session.view.told(message)
        yield b"" if silent else render(found, message, items)
    return ""


def _changed(before: frozenset[str], sign: str, named: frozenset[str]) -> frozenset[str]:
    if not sign:
        return named
    if sign == "-":
        return frozenset(flag for flag in before if flag.lower() not in {each.lower() for each in named})
    there = {flag.lower() for flag in before}
    return check_flags(before.union(flag for flag in named if flag.lower() not in there))


def search(session: Session, words: Sequence[Word], *, uid: bool = False) -> Responses:
    """SEARCH and UID SEARCH (RFC 3501 section 6.4.4, RFC 4731, RFC 5032, RFC 7162 section 3.1.5)."""
    view = session.view
    if _count(words) > _MOST_KEYS:
        raise BadArguments("Too many keys")
    try:
        asked = parse_search(
            list(words),
            now=session.now(),
            last=len(view),
            last_uid=view.last_uid,
            utf8=session.utf8,
            whole_words=session.whole_words,
            gmail=session.gmail,
        )
    except BadCharset:
        raise No("[BADCHARSET (US-ASCII UTF-8)] That charset is not known here") from None
    if asked.asks_modseq:
        session.enabled.add(CONDSTORE)
    found: list[tuple[int, Message]] = []
    work = 0
    for place, message in view:
        octets = asked.texts * len(message.raw)
        if octets > _MOST_WORK:
            raise No("[LIMIT] Too many words to look for in so large a message")
        work += octets
        if place % _TURN == 0 or work > _WORK or len(message.raw) > _LARGE:
            work = 0
            yield b""
        if matches(asked, place, message):
            found.append((place, message))
    yield answer(asked, found, uid=uid, tag=session.tag)
    return ""


def _count(words: Sequence[Word]) -> int:
    return sum(1 + _count(word) if isinstance(word, list) else 1 for word in words)


def copy(session: Session, words: Sequence[Word], *, uid: bool = False) -> str:
    """COPY and UID COPY (RFC 3501 section 6.4.7, RFC 4315)."""
    chosen, target = _chosen(session, words, uid=uid)
    try:
        copies = target.copy(chosen)
    except Full:
        raise No("[OVERQUOTA] There is no room for them") from None
    return _copied(target, chosen, copies)


def move(session: Session, words: Sequence[Word], *, uid: bool = False) -> Responses:
    """MOVE and UID MOVE (RFC 6851)."""
    session.writable()
    chosen, target = _chosen(session, words, uid=uid)
    moved = session.view.mailbox.move(chosen, target)
    if code := _copied(target, chosen, moved):
        yield f"OK {code} Moved".encode("ascii")
    return ""


def _chosen(session: Session, words: Sequence[Word], *, uid: bool) -> tuple[list[Message], Mailbox]:
    """Return the messages that a command names, and the mailbox that they are to go to. Raises No if some are gone."""
    chosen = [message for _, message in session.view.choose(words[0], uid=uid)]
    target = session.mailbox(words[1], code="TRYCREATE")
    if any(message not in session.view.mailbox for message in chosen):
        raise No(_GONE)
    return chosen, target


def _copied(target: Mailbox, chosen: Sequence[Message], copies: Sequence[Message]) -> str:
    if not copies:
        return ""
    before, after = (compact(message.uid for message in messages).decode("ascii") for messages in (chosen, copies))
    return f"[COPYUID {target.uidvalidity} {before} {after}]"


def expunge(session: Session, words: Sequence[Word], *, uid: bool = False) -> str:
    """EXPUNGE (RFC 3501 section 6.4.3) and UID EXPUNGE (RFC 4315): the numbers come with the news of the mailbox."""
    mailbox = session.writable().mailbox
    chosen = [message for _, message in session.view.choose(words[0], uid=True)] if uid else mailbox.messages
    gone = [message for message in chosen if message in mailbox and _DELETED in message.flags]
    if gone:
        mailbox.remove(gone)
    return ""


def check(session: Session, words: Sequence[Word]) -> str:  # noqa: ARG001 -- it takes none
    """CHECK (RFC 3501 section 6.4.1): all is well."""
    return ""


def _modifier(words: Sequence[Word], name: str) -> int | None:
    """Return the number of a modifier, (CHANGEDSINCE 7); None if there is none. Raises BadArguments."""
    if not words:
        return None
    word = words[0]
    if not isinstance(word, list) or len(word) != 2 or atom(word[0]) != name:
        raise BadArguments(f"({name} and a number) is all that may stand there")
    return number(word[1], _LARGEST_MODSEQ)
