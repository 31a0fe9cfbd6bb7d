"""FETCH and SEARCH of the mailbox in memory beside Dovecot's, about the messages of CPython's own email tests.

What is sent is not compared but what it says: quoted or a literal, NIL or empty for a part that is not there.
"""

from __future__ import annotations

import imaplib
import re
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pytest

from sasl.adapters.reference.mail import fetch, grammar, search
from sasl.adapters.reference.mail.store import Message, octets_of

from ..support.servers import HOST
from .dovecot import USERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .dovecot import Dovecot

pytestmark = pytest.mark.once  # each Python has other messages

USER: Final = "bob"
FOLDER: Final = "Messages"

ITEMS: Final = (
    "ENVELOPE",
    "BODYSTRUCTURE",
    "BODY",
    "RFC822.SIZE",
    "RFC822.HEADER",
    "BODY[]",
    "BODY[HEADER]",
    "BODY[TEXT]",
    "BODY[1]",
    "BODY[1.MIME]",
    "BODY[1.HEADER]",
    "BODY[1.TEXT]",
    "BODY[1.1]",
    "BODY[1.1.MIME]",
    "BODY[1.1.1]",
    "BODY[1.1.1.1]",
    "BODY[1.2]",
    "BODY[2]",
    "BODY[2.MIME]",
    "BODY[2.HEADER]",
    "BODY[2.1]",
    "BODY[3]",
    "BODY[HEADER.FIELDS (FROM SUBJECT CONTENT-TYPE X-NOBODY)]",
    "BODY[HEADER.FIELDS.NOT (RECEIVED FROM)]",
    "BODY[]<10.20>",
    "BODY[TEXT]<0.40>",
)
QUERIES: Final = """
ALL
SENTON 20-Apr-2001
SENTSINCE 1-Jan-2002
SENTBEFORE 1-Jan-1999
NOT SENTSINCE 1-Jan-2001
SENTSINCE 1-Jan-1970
NOT SENTON 4-May-2001
BODY dingusfish.gif
BODY "text/plain"
BODY "html"
BODY "<a href"
BODY "message"
BODY "THE"
BODY "Subject:"
BODY "Content-Type"
BODY "removed test"
BODY "GIF89"
BODY "R0lGOD"
BODY "mailman"
BODY "MIME-encapsulated"
BODY "This is a Quoted"
BODY "Base64 encoded"
BODY ""
TEXT "subject: "
TEXT "python"
TEXT "mime-version"
TEXT "text/plain"
TEXT "boundary"
TEXT "=?"
TEXT ""
HEADER Subject ""
HEADER X-Nobody ""
HEADER Content-Type "multipart"
HEADER Received "by mail.zzz.org (Postfix, from userid 889) id"
HEADER Message-ID "<15090"
SUBJECT "TEST"
SUBJECT ""
SUBJECT "foo bar"
FROM "barry"
FROM "John X"
FROM "@"
FROM "(John"
TO "dom.ain"
CC "zzz"
BCC "a"
LARGER 1000
SMALLER 500
LARGER 478
OR SUBJECT test FROM barry
OR (LARGER 2000 BODY python) (SMALLER 300)
OR OR SUBJECT fish FROM doe TO zzz
NOT (FROM barry)
NOT NOT FROM barry
1:5
2,4,7:9
1:*
*
UID *
UID 1:3,5
NOT 2:*
SEEN
UNSEEN
NEW
RECENT
DELETED
UNKEYWORD foo
SINCE 1-Jan-2020
BEFORE 1-Jan-2020
YOUNGER 86400
OLDER 86400
CHARSET UTF-8 SUBJECT "\u00e9"
CHARSET UTF-8 TEXT "\u00fc"
CHARSET US-ASCII HEADER From "MAILER"
""".strip().splitlines()

A_TYPE: Final = "'Content-Type: text' is taken for text/plain (RFC 2045 section 5.2); Dovecot sends two empty strings"
DIFFERENCES: Final = {
    ("msg_14.txt", "BODYSTRUCTURE"): A_TYPE,
    ("msg_14.txt", "BODY"): A_TYPE,
    ("msg_14.txt", 'BODY "message"'): A_TYPE + ", and has no text in it",
    ("msg_14.txt", 'BODY "Content-Type"'): A_TYPE + ", and has no text in it",
    ("msg_35.txt", "BODY[HEADER.FIELDS (FROM SUBJECT CONTENT-TYPE X-NOBODY)]"): (
        "without an empty line behind the header none is sent (RFC 3501 section 6.4.5); Dovecot sends one"
    ),
    ("msg_38.txt", "BODY[1]"): "the end of a line before a boundary belongs to that (RFC 2046 section 5.1.1)",
    ("msg_47.txt", "SENTBEFORE 1-Jan-1999"): "'00:01+0000' is a time to `email`, and the message is of 2001",
    ("msg_47.txt", "NOT SENTSINCE 1-Jan-2001"): "'00:01+0000' is a time to `email`, and the message is of 2001",
}
"""What differs, and why. All else is equal."""

_TOKEN: Final = re.compile(
    rb'"((?:[^"\\]|\\.)*)"|\{([0-9]+)\}\r\n|([()])|((?:BODY\[[^\]]*\](?:<[0-9]+>)?)|[^ ()"{]+)| ', re.DOTALL
)
Token: TypeAlias = Any  # bytes for an atom, [bytes] for a string, a tuple for a list


@pytest.fixture(scope="module")
def messages() -> dict[str, bytes]:
    spec = find_spec("test.test_email")
    if spec is None or spec.origin is None:
        pytest.skip("this Python has none of CPython's own tests")
    found = sorted((Path(spec.origin).parent / "data").glob("msg_*.txt"))
    return {path.name: octets_of(path.read_bytes()) for path in found}


@pytest.fixture(scope="module")
def dovecot_with_them(dovecot: Dovecot, messages: dict[str, bytes]) -> Iterator[imaplib.IMAP4]:
    """A client of Dovecot's, in a mailbox with the messages."""
    port = dovecot.port("imap", implicit=True)
    with imaplib.IMAP4_SSL(HOST, port, ssl_context=dovecot.context()) as conn:
        conn.login(USER, USERS[USER])
        conn.create(FOLDER)
        for raw in messages.values():
            conn.append(FOLDER, "", None, raw)  # type: ignore[arg-type]  # of now, without flags
        conn.select(FOLDER)  # they are \Recent to whoever sees them first
        conn.select(FOLDER, readonly=True)
        yield conn
        conn.close()
        conn.delete(FOLDER)


@pytest.fixture
def mailbox(messages: dict[str, bytes]) -> list[Message]:
    now = datetime.now(UTC)
    return [Message(uid, raw, now, frozenset(), 1) for uid, raw in enumerate(messages.values(), 1)]


def test_fetch_says_what_dovecot_says(
    dovecot_with_them: imaplib.IMAP4, mailbox: list[Message], messages: dict[str, bytes]
) -> None:
    wanted = "({})".format(" ".join(ITEMS).replace("BODY[", "BODY.PEEK["))
    items = fetch.parse_items(grammar.words(wanted.encode())[0], uid=False)
    theirs = answers_of(dovecot_with_them, wanted)
    differing = {}
    for number, (name, message) in enumerate(zip(messages, mailbox, strict=True), 1):
        ours = fields_of(fetch.render(number, message, items).partition(b" FETCH ")[2])
        assert ours.keys() == theirs[number].keys()
        assert len(ours) == len(ITEMS)
        for item, asked in zip(ours, ITEMS, strict=True):
            if ours[item] != theirs[number][item]:
                differing[name, asked] = f"Dovecot: {theirs[number][item]!r:.300}\nwe: {ours[item]!r:.300}"
    assert_named(differing, ITEMS)


def test_search_finds_what_dovecot_finds(
    dovecot_with_them: imaplib.IMAP4, mailbox: list[Message], messages: dict[str, bytes]
) -> None:
    names = list(messages)
    differing = {}
    for query in QUERIES:
        _, (numbers,) = dovecot_with_them.search(None, query.encode())  # type: ignore[arg-type]  # bytes as they are
        theirs = {int(number) for number in (numbers or b"").split()}
        asked = search.parse_search(
            grammar.words(query.encode()), now=datetime.now(UTC), last=len(mailbox), last_uid=len(mailbox)
        )
        ours = {number for number, message in enumerate(mailbox, 1) if search.matches(asked, number, message)}
        for number in theirs ^ ours:
            differing[names[number - 1], query] = f"only {'Dovecot' if number in theirs else 'we'}"
    assert_named(differing, QUERIES)


def test_at_least_as_many_answers_are_equal_as_the_facts_ask_for(messages: dict[str, bytes]) -> None:
    answers = len(ITEMS) * len(messages) + len(QUERIES)
    assert answers >= 1_300
    assert answers - len(DIFFERENCES) >= 0.99 * answers


def assert_named(differing: dict[tuple[str, str], str], asked: Any) -> None:
    """All that differs is in the table, and all that is in the table differs."""
    told = "\n".join(
        f"{name} {item}:\n{how}" for (name, item), how in differing.items() if (name, item) not in DIFFERENCES
    )
    assert not told, told
    assert {key for key in DIFFERENCES if key[1] in asked} == differing.keys()


def answers_of(conn: imaplib.IMAP4, wanted: str) -> dict[int, dict[bytes, Token]]:
    """What FETCH says of each message."""
    _, data = conn.fetch("1:*", wanted)
    found, octets = {}, b""
    for piece in data:
        if isinstance(piece, tuple):
            octets += piece[0] + b"\r\n" + piece[1]
        else:
            number, _, answer = (octets + piece).partition(b" ")
            found[int(number)] = fields_of(answer)
            octets = b""
    return found


def fields_of(answer: bytes) -> dict[bytes, Token]:
    (fields,) = tokens(answer)
    values = [None if value in ([b""], b"NIL") else value for value in fields[1::2]]
    return dict(zip(fields[::2], values, strict=True))


def tokens(octets: bytes) -> tuple[Token, ...]:
    levels: list[list[Token]] = [[]]
    at = 0
    while at < len(octets):
        match = _TOKEN.match(octets, at)
        assert match, octets[at : at + 40]
        at = match.end()
        quoted, literal, parenthesis, atom = match.groups()
        if quoted is not None:
            levels[-1].append([re.sub(rb"\\(.)", rb"\1", quoted)])
        elif literal:
            levels[-1].append([octets[at : at + int(literal)]])
            at += int(literal)
        elif parenthesis == b"(":
            levels.append([])
        elif parenthesis:
            inner = tuple(levels.pop())
            levels[-1].append(inner)
        elif atom:
            levels[-1].append(atom)
    return tuple(levels[0])
