"""Whatever a client says after the login, an IMAP command is answered by OK, NO or BAD."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from hypothesis import given, settings, strategies

from sasl.adapters.reference.imap.commands import COMMANDS, arguments, responses
from sasl.adapters.reference.imap.session import Session
from sasl.adapters.reference.mail.grammar import BadArguments
from sasl.adapters.reference.mail.store import Accounts

if TYPE_CHECKING:
    from sasl.adapters.reference.mail.grammar import Word

VERBS: Final = sorted(verb for verb, command in COMMANDS.items() if command.run is not None)
WORDS: Final = (
    *(
        "1",
        "1:*",
        "*",
        "2,1",
        "0",
        "4294967295",
        "INBOX",
        "Sent",
        "a/b",
        "a/b/c",
        "%",
        "*",
        '""',
        '"\\\\"',
        "NIL",
        "&-",
        "&AA",
    ),
    *("FLAGS", "+FLAGS", "-FLAGS.SILENT", "X-GM-LABELS", "\\Seen", "\\Deleted", "\\Nope", "red", "()", "(\\Seen red)"),
    *("BODY[]", "BODY.PEEK[1.MIME]", "BODY[TEXT]<0.5>", "BODY[HEADER.FIELDS (a)]", "ENVELOPE", "(FLAGS UID)", "FULL"),
    *(
        "ALL",
        "NOT",
        "OR",
        "TEXT",
        "x",
        "UID",
        "KEYWORD",
        "SINCE",
        "1-Feb-2026",
        "HEADER",
        "LARGER",
        "MODSEQ",
        "YOUNGER",
    ),
    *("RETURN", "(STATUS (MESSAGES))", "(SUBSCRIBED RECURSIVEMATCH)", "(SPECIAL-USE)", "(ALL MIN)", "CHARSET", "UTF-8"),
    *("(MESSAGES UNSEEN)", "(CONDSTORE)", "(CHANGEDSINCE 1)", "(UNCHANGEDSINCE 3)", "CONDSTORE", "UTF8=ACCEPT", "UTF8"),
    *("{1}\r\nx", "(~{1}\r\nx)", '" 1-Feb-2026 10:00:00 +0000"', "(", ")", '"', "{9}", "\x00", "\xe9", "[", "]"),
)
RESULT: Final = re.compile(r"(OK|NO|BAD) [^\r\n]+\Z")

_command = strategies.tuples(
    strategies.sampled_from(VERBS),
    strategies.lists(strategies.sampled_from(WORDS), max_size=5).map(" ".join) | strategies.text(max_size=30),
)


@settings(max_examples=150, deadline=None)
@given(strategies.lists(_command, max_size=12))
def test_each_command_is_answered(commands: list[tuple[str, str]]) -> None:
    accounts = Accounts()
    inbox = accounts.account("alice").mailbox("INBOX")
    for _ in range(3):
        inbox.add(b"Subject: x\r\n\r\nHello\r\n")
    session = Session(accounts, "alice", lambda: datetime(2026, 2, 1, tzinfo=UTC), largest=1000)
    session.gmail = True
    session.select(inbox, read_only=False)
    for verb, text in commands:
        try:
            found = arguments(verb, text.encode("utf-8", "surrogatepass"))
        except BadArguments as refused:
            found, result = None, f"BAD {refused}"
        if found is not None:
            result, told = answer(session, verb, found)
            assert not any(re.search(rb"[\r\n]", without_literals(response)) for response in told), (verb, text, told)
        assert RESULT.match(result), (verb, text)


def answer(session: Session, verb: str, words: list[Word]) -> tuple[str, list[bytes]]:
    """The result of a command in a selected mailbox, and what was told before it."""
    if not session.selected:
        session.select(session.account.mailbox("INBOX"), read_only=False)
    given_back = responses(session, verb, words)
    told = []
    try:
        while True:
            told.append(next(given_back))
    except StopIteration as end:
        return end.value, told


def without_literals(response: bytes) -> bytes:
    kept = b""
    while match := re.search(rb"\{([0-9]+)\}\r\n", response):
        kept += response[: match.start()]
        response = response[match.end() + int(match[1]) :]
    return kept + response
