"""LIST and LSUB (RFC 3501 section 6.3.8, RFC 5258, RFC 5819, RFC 6154)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from sasl.value import value

from ..mail.grammar import BadArguments, atom, matches
from ..mail.store import DELIMITER
from .mailboxes import STATUS_ITEMS, status_of
from .session import names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from ..mail.grammar import Word
    from ..mail.store import Mailbox
    from .session import Responses, Session

_SELECT: Final = ("SUBSCRIBED", "REMOTE", "RECURSIVEMATCH", "SPECIAL-USE")
_RETURN: Final = ("SUBSCRIBED", "CHILDREN", "SPECIAL-USE")
_LONGEST: Final = 1_000  # characters of all patterns
_MOST_PATTERNS: Final = 20
_TURN: Final = 20  # names, after which others get a turn


@final
@value
class _Question:
    """What a LIST asks for; `status` are the items of STATUS that it wants with each mailbox."""

    patterns: tuple[str, ...]
    select: frozenset[str] = frozenset()
    give: frozenset[str] = frozenset()
    status: tuple[str, ...] = ()
    extended: bool = False


def list_mailboxes(session: Session, words: Sequence[Word]) -> Responses:
    """LIST, with its selection and return options."""
    question = _question(session, words)
    if question.patterns == ("",) and not question.extended:
        yield b'LIST (\\Noselect) "%b" ""' % DELIMITER.encode("ascii")  # asks for the delimiter
        return ""
    account = session.account
    mailboxes, subscribed = account.mailboxes, frozenset(account.subscriptions)
    parents, ancestors = _parents(mailboxes), _parents(subscribed)
    for turn, name in enumerate(_in_order(_candidates(question, mailboxes, subscribed)), 1):
        if turn % _TURN == 0:
            yield b""
        mailbox = mailboxes.get(name)
        if "SPECIAL-USE" in question.select and not (mailbox and mailbox.use):
            continue
        attributes = _attributes(question, mailbox, parent=name in parents, subscribed=name in subscribed)
        tells_children = "RECURSIVEMATCH" in question.select and name in ancestors
        children = b' ("CHILDINFO" ("SUBSCRIBED"))' if tells_children else b""
        yield b'LIST (%b) "/" %b%b' % (" ".join(attributes).encode("ascii"), session.encode(name), children)
        if question.status and mailbox is not None:
            yield status_of(session, mailbox, question.status)
    return ""


def list_subscriptions(session: Session, words: Sequence[Word]) -> Responses:
    """LSUB (RFC 3501 section 6.3.9): a name above one in the list is told where "%" hides the one in the list."""
    patterns = _patterns(session, words[0], [words[1]])
    mailboxes, listed = session.account.mailboxes, frozenset(session.account.subscriptions)
    for name in _in_order(_fitting(patterns, listed) | _hidden(patterns, listed)):
        told = b"" if name in mailboxes and name in listed else b"\\Noselect"
        yield b'LSUB (%b) "/" %b' % (told, session.encode(name))
    return ""


# --- what is asked


def _question(session: Session, words: Sequence[Word]) -> _Question:
    """Read the arguments of LIST. Raises BadArguments."""
    rest = list(words)
    selecting = isinstance(rest[0], list)
    select = names(rest.pop(0), _SELECT) if selecting else []
    if len(rest) < 2:
        raise BadArguments("LIST takes a reference and a pattern")
    reference, pattern, *rest = rest
    several = isinstance(pattern, list)
    patterns = _patterns(session, reference, pattern if isinstance(pattern, list) else [pattern])
    give, items = _returns(rest)
    if "RECURSIVEMATCH" in select and "SUBSCRIBED" not in select:
        raise BadArguments("RECURSIVEMATCH goes with SUBSCRIBED")
    extended = selecting or several or bool(rest)
    return _Question(patterns, frozenset(select), frozenset(give), tuple(items), extended)


def _patterns(session: Session, reference: Word, words: Iterable[Word]) -> tuple[str, ...]:
    before = session.name(reference)
    patterns = tuple(dict.fromkeys(before + session.name(word) for word in words))
    if len(patterns) > _MOST_PATTERNS or sum(map(len, patterns)) > _LONGEST:
        raise BadArguments("Too much of a pattern")
    return patterns


def _returns(rest: Sequence[Word]) -> tuple[list[str], list[str]]:
    """Return what RETURN (...) asks for: options, and the items of STATUS."""
    if not rest:
        return [], []
    if len(rest) != 2 or atom(rest[0]) != "RETURN" or not isinstance(rest[1], list):
        raise BadArguments("RETURN and a list may follow")
    options = list(rest[1])
    items: list[str] = []
    for at, option in enumerate(options[:-1]):
        if isinstance(options[at + 1], list) and atom(option) == "STATUS":
            items = names(options[at + 1], STATUS_ITEMS)
            del options[at : at + 2]
            break
    return names(options, _RETURN), items


# --- what is told


def _attributes(question: _Question, mailbox: Mailbox | None, *, parent: bool, subscribed: bool) -> list[str]:
    attributes = ["\\HasChildren" if parent else "\\HasNoChildren"]
    if mailbox is None:
        attributes += ["\\NonExistent", "\\Noselect"] if question.extended else ["\\Noselect"]
    elif mailbox.use:
        attributes.append(mailbox.use)
    if subscribed and "SUBSCRIBED" in question.select | question.give:
        attributes.append("\\Subscribed")
    return attributes


# --- which names


def _candidates(question: _Question, mailboxes: Collection[str], subscribed: Collection[str]) -> frozenset[str]:
    """Return the names to tell of: of mailboxes and of what has some below it, or those in the user's list."""
    if "SUBSCRIBED" not in question.select:
        return _fitting(question.patterns, frozenset(mailboxes) | _parents(mailboxes))
    fitting = _fitting(question.patterns, subscribed)
    return fitting | _hidden(question.patterns, subscribed) if "RECURSIVEMATCH" in question.select else fitting


def _fitting(patterns: Collection[str], listed: Iterable[str]) -> frozenset[str]:
    """Return the names that a pattern fits."""
    return frozenset(name for name in listed if any(matches(pattern, name, DELIMITER) for pattern in patterns))


def _hidden(patterns: Collection[str], listed: Collection[str]) -> frozenset[str]:
    """Return the names that a pattern fits and that stand above one in the list that none fits."""
    return _fitting(patterns, _parents(frozenset(listed) - _fitting(patterns, listed)))


def _parents(listed: Iterable[str]) -> frozenset[str]:
    """Return the names that others stand below."""
    levels = [name.split(DELIMITER) for name in listed]
    return frozenset(DELIMITER.join(parts[:depth]) for parts in levels for depth in range(1, len(parts)))


def _in_order(listed: Iterable[str]) -> list[str]:
    """Return names with INBOX first."""
    return sorted(listed, key=lambda name: (name != "INBOX", name))
