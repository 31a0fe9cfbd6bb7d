"""The IMAP server over a mailbox, line by line: each command and item that clients send."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from sasl.adapters import reference
from sasl.adapters.reference.clock import Clock
from sasl.adapters.reference.imap.capabilities import CAPABILITIES
from sasl.adapters.reference.imap.commands import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sasl.adapters.reference import Servers

ONE = (
    b"From: Ann <ann@example.org>\r\nTo: alice@example.org\r\nSubject: One\r\nDate: Sun, 1 Feb 2026 09:00:00 +0000\r\n"
)
TEXT = b"\r\nHello, one\r\n"
TWO = b"From: bob@example.org\r\nSubject: =?utf-8?q?Zw=C3=B6lf?=\r\n\r\nHello, two\r\n"
THREE = (
    b"From: bob@example.org\r\nSubject: Three\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
    b"--b\r\nContent-Type: text/plain\r\n\r\nHello, three\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>\r\n--b--\r\n"
)

LOGGED_IN = "S: * OK ...\nC: in AUTHENTICATE PLAIN {good}\nS: in OK ...\n"
SELECTED = r"""C: in SELECT INBOX
S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft)
S: * 3 EXISTS
S: * 0 RECENT
S: * OK [UNSEEN 1] First
S: * OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft \*)] Kept
S: * OK [UIDVALIDITY ...
S: * OK [UIDNEXT 4] Next
S: * OK [HIGHESTMODSEQ 4] Highest
S: in OK [READ-WRITE] Done
"""

DIALOGUES = {
    "LIST tells mailboxes, what for, and what is below them": r"""
        C: a LIST "" *
        S: * LIST (\HasNoChildren) "/" INBOX
        S: * LIST (\HasNoChildren \Archive) "/" Archive
        S: * LIST (\HasNoChildren \Drafts) "/" Drafts
        S: * LIST (\HasNoChildren \Sent) "/" Sent
        S: * LIST (\HasNoChildren \Trash) "/" Trash
        S: a OK Done
        C: a LIST "" "Dr*"
        S: * LIST (\HasNoChildren \Drafts) "/" Drafts
        S: a OK Done
        C: a LIST "" ""
        S: * LIST (\Noselect) "/" ""
        S: a OK Done""",
    "LIST with options": r"""
        C: a LIST "" (INBOX D%) RETURN (STATUS (MESSAGES UNSEEN) SPECIAL-USE CHILDREN SUBSCRIBED)
        S: * LIST (\HasNoChildren \Subscribed) "/" INBOX
        S: * STATUS INBOX (MESSAGES 3 UNSEEN 2)
        S: * LIST (\HasNoChildren \Drafts \Subscribed) "/" Drafts
        S: * STATUS Drafts (MESSAGES 0 UNSEEN 0)
        S: a OK Done
        C: a LIST (SPECIAL-USE) "" * RETURN (SPECIAL-USE)
        S: * LIST (\HasNoChildren \Archive) "/" Archive
        S: * LIST (\HasNoChildren \Drafts) "/" Drafts
        S: * LIST (\HasNoChildren \Sent) "/" Sent
        S: * LIST (\HasNoChildren \Trash) "/" Trash
        S: a OK Done
        C: a CREATE work/2026
        S: a OK Done
        C: a SUBSCRIBE work/2026
        S: a OK Done
        C: a LIST (SUBSCRIBED RECURSIVEMATCH) "" w%
        S: * LIST (\HasChildren) "/" work ("CHILDINFO" ("SUBSCRIBED"))
        S: a OK Done
        C: a LIST (SUBSCRIBED) "" w*
        S: * LIST (\HasNoChildren \Subscribed) "/" work/2026
        S: a OK Done
        C: a LIST (RECURSIVEMATCH) "" *
        S: a BAD RECURSIVEMATCH goes with SUBSCRIBED
        C: a LIST "" * RETURN (COLOURS)
        S: a BAD COLOURS is not known here
        C: a LIST "" * RETURN
        S: a BAD RETURN and a list may follow""",
    "a name stays in the list when its mailbox goes": r"""
        C: a CREATE work/2026
        S: a OK Done
        C: a SUBSCRIBE work/2026
        S: a OK Done
        C: a DELETE work/2026
        S: a OK Done
        C: a LSUB "" work*
        S: * LSUB (\Noselect) "/" work/2026
        S: a OK Done
        C: a LIST (SUBSCRIBED) "" work*
        S: * LIST (\HasNoChildren \NonExistent \Noselect \Subscribed) "/" work/2026
        S: a OK Done
        C: a LSUB "" w%
        S: * LSUB (\Noselect) "/" work
        S: a OK Done
        C: a UNSUBSCRIBE work/2026
        S: a OK Done
        C: a LSUB "" w*
        S: a OK Done
        C: a SUBSCRIBE work/2026
        S: a NO [NONEXISTENT] There is no such mailbox""",
    "STATUS": """
        C: a STATUS INBOX (MESSAGES RECENT UNSEEN UIDNEXT HIGHESTMODSEQ APPENDLIMIT)
        S: * STATUS INBOX (MESSAGES 3 RECENT 0 UNSEEN 2 UIDNEXT 4 HIGHESTMODSEQ 4 APPENDLIMIT 10485760)
        S: a OK Done
        C: a STATUS INBOX (UIDVALIDITY)
        S: * STATUS INBOX (UIDVALIDITY ...
        S: a OK Done
        C: a STATUS INBOX (SIZE)
        S: a BAD SIZE is not known here
        C: a STATUS INBOX MESSAGES
        S: a BAD A list in parentheses is missing""",
    "mailboxes come, go and are renamed": r"""
        C: a CREATE work/2026/
        S: a OK Done
        C: a CREATE work/2026
        S: a NO [ALREADYEXISTS] There is such a mailbox
        C: a CREATE inbox
        S: a NO [ALREADYEXISTS] There is such a mailbox
        C: a CREATE a//b
        S: a NO [CANNOT] A mailbox cannot have that name
        C: a CREATE ""
        S: a NO [CANNOT] A mailbox cannot have that name
        C: a CREATE "a*"
        S: a NO [CANNOT] A mailbox cannot have that name
        C: a RENAME work play/hard
        S: a OK Done
        C: a LIST "" p*
        S: * LIST (\HasChildren) "/" play
        S: * LIST (\HasChildren) "/" play/hard
        S: * LIST (\HasNoChildren) "/" play/hard/2026
        S: a OK Done
        C: a RENAME play Sent
        S: a NO [ALREADYEXISTS] There is such a mailbox
        C: a RENAME nowhere there
        S: a NO [NONEXISTENT] There is no such mailbox
        C: a DELETE play
        S: a OK Done
        C: a LIST "" p%
        S: * LIST (\HasChildren \Noselect) "/" play
        S: a OK Done
        C: a DELETE INBOX
        S: a NO [CANNOT] INBOX cannot be deleted
        C: a RENAME INBOX old
        S: a OK Done
        C: a STATUS old (MESSAGES)
        S: * STATUS old (MESSAGES 3)
        S: a OK Done
        C: a STATUS INBOX (MESSAGES)
        S: * STATUS INBOX (MESSAGES 0)
        S: a OK Done""",
    "names of mailboxes beyond ASCII": r"""
        C: a CREATE "Entw&APw-rfe"
        S: a OK Done
        C: a LIST "" Ent*
        S: * LIST (\HasNoChildren) "/" Entw&APw-rfe
        S: a OK Done
        C: a CREATE "Entw&APwrfe"
        S: a BAD That is no name of a mailbox
        C: a CREATE "Entw{unicode}"
        S: a BAD That is no name of a mailbox
        C: a ENABLE UTF8=ACCEPT
        S: * ENABLED UTF8=ACCEPT
        S: a OK Done
        C: a LIST "" Ent*
        S: * LIST (\HasNoChildren) "/" "Entw&uuml;rfe"
        S: a OK Done
        C: a SELECT "Entw&uuml;rfe"
        S: * FLAGS ...
        S: * 0 EXISTS
        S: * 0 RECENT
        S: * OK [PERMANENTFLAGS ...
        S: * OK [UIDVALIDITY ...
        S: * OK [UIDNEXT 1] Next
        S: * OK [HIGHESTMODSEQ 1] Highest
        S: a OK [READ-WRITE] Done
        C: a SEARCH CHARSET UTF-8 SUBJECT x
        S: a BAD There is no CHARSET after ENABLE UTF8=ACCEPT
        C: a ENABLE CONDSTORE
        S: a BAD That is for the time before a mailbox is selected""",
    "APPEND": r"""
        C: a APPEND Sent (\Seen $Forwarded) " 1-Feb-2026 10:00:00 +0100" {{5}}
        S: + Go ahead
        C: hello
        S: a OK [APPENDUID ...
        C: a APPEND Sent {{3+}}
        C: bye
        S: a OK [APPENDUID ...
        C: a APPEND {{4}}
        S: + Go ahead
        C: Sent \Flagged {{3}}
        S: + Go ahead
        C: bye
        S: a BAD That is no date
        C: a APPEND Nowhere {{5}}
        S: + Go ahead
        C: hello
        S: a NO [TRYCREATE] There is no such mailbox
        C: a APPEND Sent {{0}}
        S: + Go ahead
        C:
        S: a NO [CANNOT] A message has something in it
        C: a APPEND Sent (\Red) {{1}}
        S: + Go ahead
        C: x
        S: a BAD There is no flag \Red
        C: a APPEND Sent "31-Feb-2026 10:00:00 +0100" {{1}}
        S: + Go ahead
        C: x
        S: a BAD There is no such date
        C: a APPEND Sent hello
        S: a BAD The message is no literal
        C: a APPEND Sent UTF8 (~{{5+}}
        C: hello)
        S: a BAD The message is no literal
        C: a EXAMINE Sent
        S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft $Forwarded)
        S: * 2 EXISTS
        S: * 0 RECENT
        S: * OK [UNSEEN 2] First
        S: * OK [PERMANENTFLAGS ()] Kept
        S: * OK [UIDVALIDITY ...
        S: * OK [UIDNEXT 3] Next
        S: * OK [HIGHESTMODSEQ 3] Highest
        S: a OK [READ-ONLY] Done
        C: a FETCH 1:2 (FLAGS INTERNALDATE RFC822)
        S: * 1 FETCH (FLAGS ($Forwarded \Seen) INTERNALDATE "01-Feb-2026 10:00:00 +0100" RFC822 {{5}}
        S: hello)
        S: * 2 FETCH (FLAGS () INTERNALDATE "01-Feb-2026 10:00:...
        S: bye)
        S: a OK Done""",
    "APPEND of UTF-8": """
        C: a ENABLE UTF8=ACCEPT
        S: * ENABLED UTF8=ACCEPT
        S: a OK Done
        C: a APPEND Sent (\\Seen) UTF8 (~{{5+}}
        C: hello)
        S: a OK [APPENDUID ...""",
    "literals that are too large": """
        C: a APPEND Sent {{10485761}}
        S: a NO [TOOBIG] A message may have 10485760 octets
        C: a APPEND Sent {{99999999999999999999}}
        S: a NO [TOOBIG] A message may have 10485760 octets
        C: a NOOP
        S: a OK Done""",
    "a literal on its way that is larger than LITERAL- allows ends the connection": """
        C: a APPEND Sent {{4097+}}
        S: * BYE That literal is too large
        E:""",
    "a literal for a command that takes no large one": """
        C: a STATUS {{999999}}
        S: a BAD That literal is too large
        C: a FETCH {{5}}
        S: a BAD Select a mailbox first
        C: a XYZZY {{5}}
        S: a BAD Unknown command
        C: a NOOP
        S: a OK Done""",
    "FETCH of everything that clients ask for": SELECTED
    + r"""
        C: a FETCH 1 (FLAGS UID RFC822.SIZE INTERNALDATE)
        S: * 1 FETCH (FLAGS () UID 1 RFC822.SIZE 118 INTERNALDATE "01-Feb-2026 10:00:00 +0000")
        S: a OK Done
        C: a UID FETCH 2:* (FLAGS)
        S: * 2 FETCH (UID 2 FLAGS (\Seen))
        S: * 3 FETCH (UID 3 FLAGS (\Flagged))
        S: a OK Done
        C: a FETCH 1:2 FAST
        S: * 1 FETCH (FLAGS () INTERNALDATE "01-Feb-2026 10:00:00 +0000" RFC822.SIZE 118)
        S: * 2 FETCH (FLAGS (\Seen) INTERNALDATE "01-Feb-2026 10:00:00 +0000" RFC822.SIZE 70)
        S: a OK Done
        C: a FETCH 2 BODY.PEEK[TEXT]
        S: * 2 FETCH (BODY[TEXT] {{12}}
        S: Hello, two
        S: )
        S: a OK Done
        C: a FETCH 1 (BODY.PEEK[HEADER.FIELDS (SUBJECT TO)])
        S: * 1 FETCH (BODY[HEADER.FIELDS (SUBJECT TO)] {{39}}
        S: To: alice@example.org
        S: Subject: One
        S:
        S: )
        S: a OK Done
        C: a FETCH 3 BODY.PEEK[1.MIME]
        S: * 3 FETCH (BODY[1.MIME] {{28}}
        S: Content-Type: text/plain
        S:
        S: )
        S: a OK Done
        C: a FETCH 3 BODY.PEEK[1]<0.5>
        S: * 3 FETCH (BODY[1]<0> {{5}}
        S: Hello)
        S: a OK Done
        C: a FETCH 2 ENVELOPE
        S: * 2 FETCH (ENVELOPE (NIL "=?utf-8?q?Zw=C3=B6lf?=" ((NIL NIL "bob" "example.org")) ...
        S: a OK Done
        C: a FETCH 3 BODYSTRUCTURE
        S: * 3 FETCH (BODYSTRUCTURE (("text" "plain" ...
        S: a OK Done
        C: a FETCH 1 RFC822.HEADER
        S: * 1 FETCH (RFC822.HEADER {{106}}
        S: From: ...
        S: To: ...
        S: Subject: One
        S: Date: ...
        S:
        S: )
        S: a OK Done
        C: a FETCH 1 BODY[]<0.4>
        S: * 1 FETCH (BODY[]<0> {{4}}
        S: From FLAGS (\Seen))
        S: a OK Done
        C: a FETCH 4 FLAGS
        S: a BAD Invalid messageset
        C: a UID FETCH 4:9 FLAGS
        S: a OK Done
        C: a UID FETCH 9:* FLAGS
        S: * 3 FETCH (UID 3 FLAGS (\Flagged))
        S: a OK Done
        C: a FETCH 0 FLAGS
        S: a BAD There is no message of that number
        C: a FETCH one FLAGS
        S: a BAD Those are no numbers of messages
        C: a FETCH 1 NOSUCH
        S: a BAD FETCH asks for what is unknown here
        C: a FETCH 1 X-GM-MSGID
        S: a BAD FETCH asks for what is unknown here
        C: a FETCH 1 (FLAGS
        S: a BAD A closing parenthesis is missing""",
    "STORE": SELECTED
    + r"""
        C: a STORE 1 +FLAGS (\Seen red)
        S: * 1 FETCH (FLAGS (\Seen red))
        S: a OK Done
        C: a UID STORE 2,3 -FLAGS.SILENT (\Seen \FLAGGED)
        S: a OK Done
        C: a STORE 1:* FLAGS \Draft
        S: * 1 FETCH (FLAGS (\Draft))
        S: * 2 FETCH (FLAGS (\Draft))
        S: * 3 FETCH (FLAGS (\Draft))
        S: a OK Done
        C: a UID STORE 1 +FLAGS \Seen \Flagged
        S: * 1 FETCH (UID 1 FLAGS (\Draft \Flagged \Seen))
        S: a OK Done
        C: a STORE 1 FLAGS ()
        S: * 1 FETCH (FLAGS ())
        S: a OK Done
        C: a STORE 1 +FLAGS (\Recent)
        S: * 1 FETCH (FLAGS ())
        S: a OK Done
        C: a STORE 1 +FLAGS (\Red)
        S: a BAD There is no flag \Red
        C: a STORE 1 +COLOUR (red)
        S: a BAD FLAGS, +FLAGS or -FLAGS is missing
        C: a STORE 7 +FLAGS (\Seen)
        S: a BAD Invalid messageset
        C: a UID STORE 7 +FLAGS (\Seen)
        S: a OK Done""",
    "SEARCH": SELECTED
    + r"""
        C: a SEARCH UNSEEN
        S: * SEARCH 1 3
        S: a OK Done
        C: a UID SEARCH FROM bob SINCE 1-Feb-2026 NOT FLAGGED
        S: * SEARCH 2
        S: a OK Done
        C: a SEARCH (OR SUBJECT one TEXT three)
        S: * SEARCH 1 3
        S: a OK Done
        C: a SEARCH CHARSET UTF-8 SUBJECT {{6}}
        S: + Go ahead
        C: Zw&ouml;lf
        S: * SEARCH 2
        S: a OK Done
        C: a SEARCH CHARSET KOI8-R SUBJECT x
        S: a NO [BADCHARSET (US-ASCII UTF-8)] That charset is not known here
        C: a SEARCH YOUNGER 3600
        S: * SEARCH 1 2 3
        S: a OK Done
        C: a UID SEARCH RETURN (MIN COUNT ALL) 1:3
        S: * ESEARCH (TAG "a") UID MIN 1 ALL 1:3 COUNT 3
        S: a OK Done
        C: a SEARCH
        S: a BAD Too few arguments, or too many
        C: a SEARCH NOSUCH
        S: a BAD SEARCH looks for what is unknown here""",
    "COPY and MOVE": SELECTED
    + r"""
        C: a COPY 1,3 Archive
        S: a OK [COPYUID ...
        C: a UID COPY 9 Archive
        S: a OK Done
        C: a UID COPY 2 Nowhere
        S: a NO [TRYCREATE] There is no such mailbox
        C: a UID MOVE 1,2 Archive
        S: * OK [COPYUID ...
        S: * 2 EXPUNGE
        S: * 1 EXPUNGE
        S: a OK Done
        C: a MOVE 1 Nowhere
        S: a NO [TRYCREATE] There is no such mailbox
        C: a MOVE 1 Trash
        S: * OK [COPYUID ...
        S: * 1 EXPUNGE
        S: a OK Done
        C: a STATUS Archive (MESSAGES UIDNEXT UNSEEN)
        S: * STATUS Archive (MESSAGES 4 UIDNEXT 5 UNSEEN 3)
        S: a OK Done""",
    "EXPUNGE, CLOSE and UNSELECT": SELECTED
    + r"""
        C: a STORE 1:* +FLAGS.SILENT (\Deleted)
        S: a OK Done
        C: a UID EXPUNGE 2
        S: * 2 EXPUNGE
        S: a OK Done
        C: a STORE 1 -FLAGS.SILENT (\Deleted)
        S: a OK Done
        C: a EXPUNGE
        S: * 2 EXPUNGE
        S: a OK Done
        C: a STORE 1 +FLAGS.SILENT (\Deleted)
        S: a OK Done
        C: a UNSELECT
        S: a OK Done
        C: a STATUS INBOX (MESSAGES)
        S: * STATUS INBOX (MESSAGES 1)
        S: a OK Done
        C: a CLOSE
        S: a BAD Select a mailbox first
        C: a SELECT INBOX
        S: * FLAGS ...
        S: * 1 EXISTS
        S: * 0 RECENT
        S: * OK [UNSEEN 1] First
        S: * OK [PERMANENTFLAGS ...
        S: * OK [UIDVALIDITY ...
        S: * OK [UIDNEXT 4] Next
        S: * OK [HIGHESTMODSEQ ...
        S: a OK [READ-WRITE] Done
        C: a CLOSE
        S: a OK Done
        C: a STATUS INBOX (MESSAGES UIDNEXT)
        S: * STATUS INBOX (MESSAGES 0 UIDNEXT 4)
        S: a OK Done""",
    "a mailbox that was opened to be read stays as it is": SELECTED.replace(
        r"C: in SELECT INBOX", "C: in EXAMINE INBOX"
    )
    .replace(r"(\Answered \Flagged \Deleted \Seen \Draft \*)] Kept", "()] Kept")
    .replace("READ-WRITE", "READ-ONLY")
    + r"""
        C: a FETCH 1 BODY[]<0.4>
        S: * 1 FETCH (BODY[]<0> {{4}}
        S: From)
        S: a OK Done
        C: a FETCH 1 FLAGS
        S: * 1 FETCH (FLAGS ())
        S: a OK Done
        C: a STORE 1 +FLAGS (\Seen)
        S: a NO [READ-ONLY] The mailbox was opened to be read
        C: a EXPUNGE
        S: a NO [READ-ONLY] The mailbox was opened to be read
        C: a MOVE 1 Archive
        S: a NO [READ-ONLY] The mailbox was opened to be read
        C: a COPY 1 Archive
        S: a OK [COPYUID ...
        C: a CLOSE
        S: a OK Done""",
    "CONDSTORE": r"""
        C: a ENABLE CONDSTORE X-NOSUCH
        S: * ENABLED CONDSTORE
        S: a OK Done
        C: a SELECT INBOX (CONDSTORE)
        S: * FLAGS ...
        S: * 3 EXISTS
        S: * 0 RECENT
        S: * OK [UNSEEN 1] First
        S: * OK [PERMANENTFLAGS ...
        S: * OK [UIDVALIDITY ...
        S: * OK [UIDNEXT 4] Next
        S: * OK [HIGHESTMODSEQ 4] Highest
        S: a OK [READ-WRITE] Done
        C: a UID FETCH 1:* (FLAGS MODSEQ)
        S: * 1 FETCH (UID 1 FLAGS () MODSEQ (2))
        S: * 2 FETCH (UID 2 FLAGS (\Seen) MODSEQ (3))
        S: * 3 FETCH (UID 3 FLAGS (\Flagged) MODSEQ (4))
        S: a OK Done
        C: a UID FETCH 1:* (FLAGS) (CHANGEDSINCE 3)
        S: * 3 FETCH (UID 3 FLAGS (\Flagged) MODSEQ (4))
        S: a OK Done
        C: a STORE 1:3 (UNCHANGEDSINCE 3) +FLAGS.SILENT (\Answered)
        S: * 1 FETCH (FLAGS (\Answered) MODSEQ (5))
        S: * 2 FETCH (FLAGS (\Answered \Seen) MODSEQ (6))
        S: a OK [MODIFIED 3] Done
        C: a SEARCH MODSEQ 5
        S: * SEARCH 1 2 (MODSEQ 6)
        S: a OK Done
        C: a FETCH 3 BODY[]<0.4>
        S: * 3 FETCH (BODY[]<0> {{4}}
        S: From FLAGS (\Flagged \Seen) MODSEQ (7))
        S: a OK Done
        C: a FETCH 1 FLAGS (CHANGEDBEFORE 3)
        S: a BAD (CHANGEDSINCE and a number) is all that may stand there""",
    "the rest": r"""
        C: a NAMESPACE
        S: * NAMESPACE (("" "/")) NIL NIL
        S: a OK Done
        C: a ID NIL
        S: * ID ("name" "saslkit")
        S: a OK Done
        C: a ENABLE X-NOSUCH
        S: * ENABLED
        S: a OK Done
        C: a CAPABILITY now
        S: a BAD Too few arguments, or too many
        C: a IDLE now
        S: a BAD Too few arguments, or too many
        C: a IDLE
        S: + idling
        C: done
        S: a OK Done
        C: a IDLE
        S: + idling
        C: b NOOP
        S: a BAD DONE is all that ends IDLE
        C: a NOOP
        S: a OK Done""",
}


@pytest.fixture
def mail() -> Iterator[Servers]:
    """Servers of three messages, at ten o'clock."""
    with reference.running(clock=Clock(datetime(2026, 2, 1, 10, tzinfo=UTC))) as servers:
        when = datetime(2026, 2, 1, 10, tzinfo=UTC)
        servers.deliver("alice", ONE + TEXT, date=when)
        servers.deliver("alice", TWO, flags=["\\Seen"], date=when)
        servers.deliver("alice", THREE, flags=["\\Flagged"], date=when)
        yield servers


@pytest.fixture
def session(mail: Servers, connect: Callable[..., Any]) -> Callable[[str], Any]:
    """session(script) -> Raw: a new client that is logged in and holds a dialogue."""

    def hold(script: str = "") -> Any:
        raw = connect(mail, "imap")
        raw.play(LOGGED_IN + script.replace("&ouml;", "\u00f6").replace("&uuml;", "\u00fc"))
        return raw

    return hold


@pytest.mark.parametrize("name", DIALOGUES)
def test_the_server_answers_as_the_rfcs_say(name: str, session: Callable[[str], Any]) -> None:
    session(DIALOGUES[name])


def test_each_capability_stands_beside_commands_that_there_are() -> None:
    here = {*COMMANDS, "LOGIN", "AUTHENTICATE"}
    assert {command for row in CAPABILITIES for command in row.commands} <= here


@pytest.mark.parametrize("word", ["SORT", "THREAD", "COMPRESS", "GETQUOTA", "GETMETADATA", "GETACL", "UNAUTHENTICATE"])
def test_what_is_not_served_is_not_known(word: str, session: Callable[[str], Any]) -> None:
    assert word not in " ".join(row.name for row in CAPABILITIES)
    session(f"C: a {word} x\nS: a BAD Unknown command")


def test_what_gmail_has_is_served_where_it_is_told(connect: Callable[..., Any]) -> None:
    with reference.running(persona="gmail") as servers:
        message = servers.deliver("alice", ONE + TEXT)
        raw = connect(servers, "imap")
        raw.play("S: * OK ...\nC: in AUTHENTICATE PLAIN {good}\nS: * CAPABILITY ...\nS: in OK ...\nC: in SELECT INBOX")
        while not raw.line().startswith("in OK"):
            pass
        raw.send(b"a UID FETCH 1 (X-GM-MSGID X-GM-THRID X-GM-LABELS)\r\n")
        _, _, told = raw.line().partition("X-GM-MSGID ")
        number, _, thread, _, labels = told.split()
        assert (int(number) < 2**63, int(thread) < 2**63, labels) == (True, True, "())")
        raw.play(
            rf"""S: a OK ...
            C: a STORE 1 +X-GM-LABELS (work "\\Important" Entw&APw-rfe)
            S: * 1 FETCH (X-GM-LABELS (Entw&APw-rfe "\\Important" work))
            S: a OK ...
            C: a UID STORE 1 -X-GM-LABELS.SILENT work
            S: a OK ...
            C: a SEARCH X-GM-MSGID {number} X-GM-THRID {thread} X-GM-LABELS "\\Important" NOT X-GM-LABELS work
            S: * SEARCH 1
            S: a OK ...
            C: a SEARCH X-GM-MSGID 1
            S: * SEARCH
            S: a OK ..."""
        )
        assert message.labels == {"\\Important", "Entw\u00fcrfe"}
