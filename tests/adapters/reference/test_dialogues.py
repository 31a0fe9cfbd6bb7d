"""What the servers say, line by line: commands in and out of place, malformed ones, each with its RFC's reply."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from sasl.adapters.reference import Servers

SCRAM = [f"SCRAM-{name}" for name in ("SHA3-512", "SHA-512", "SHA-384", "SHA-256", "SHA-224", "SHA-1")]
OFFERED = [*(f"{name}-PLUS" for name in SCRAM), *SCRAM, "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN"]
"""What is offered over TLS; without it, what sends no secret and is not bound to it."""
BARE = " ".join(SCRAM)
ALL = " ".join(OFFERED)

CLEAR = " ".join(["IMAP4rev1 SASL-IR LITERAL- ID STARTTLS LOGINDISABLED", *(f"AUTH={name}" for name in SCRAM)])
TLS = " ".join(["IMAP4rev1 SASL-IR LITERAL- ID", *(f"AUTH={name}" for name in OFFERED)])
IN = (
    "IMAP4rev1 LITERAL- ID NAMESPACE UNSELECT CHILDREN IDLE UIDPLUS MOVE ENABLE SPECIAL-USE LIST-EXTENDED LIST-STATUS "
    "ESEARCH WITHIN CONDSTORE UTF8=ACCEPT APPENDLIMIT=10485760"
)
IMAP_IN = f"S: * OK ...\nC: a AUTHENTICATE PLAIN {{good}}\nS: a OK [CAPABILITY {IN}] Authenticated\n"

IMAP = {
    "the greeting says what can be done without TLS": ("clear", f"S: * OK [CAPABILITY {CLEAR}] saslkit..."),
    "the greeting says what can be done with TLS": ("TLS", f"S: * OK [CAPABILITY {TLS}] saslkit..."),
    "after STARTTLS the mechanisms are there": ("STARTTLS", f"C: b CAPABILITY\nS: * CAPABILITY {TLS}\nS: b OK Done"),
    "after the login the capabilities are other ones": (
        "TLS",
        IMAP_IN + f"C: b CAPABILITY\nS: * CAPABILITY {IN}\nS: b OK Done",
    ),
    "no password without TLS": (
        "clear",
        """S: * OK ...
        C: a AUTHENTICATE PLAIN {good}
        S: a NO [PRIVACYREQUIRED] Encryption is required first
        C: a LOGIN alice wonderland
        S: a NO [PRIVACYREQUIRED] Encryption is required first
        C: a LOGIN {{5}}
        S: a NO [PRIVACYREQUIRED] Encryption is required first
        C: a LOGIN alice {{10}}
        S: a NO [PRIVACYREQUIRED] Encryption is required first""",
    ),
    "with an initial response, without, and cancelled": (
        "TLS",
        """S: * OK ...
        C: a authenticate plain
        S: + ~
        C: *
        S: a BAD Authentication cancelled
        C: b AUTHENTICATE PLAIN
        S: + ~
        C: {wrong}
        S: b NO [AUTHENTICATIONFAILED] Authentication failed
        C: c AUTHENTICATE PLAIN {nobody}
        S: c NO [AUTHENTICATIONFAILED] Authentication failed
        C: d AUTHENTICATE PLAIN {as_bob}
        S: d NO [AUTHORIZATIONFAILED] Authorization failed
        C: e AUTHENTICATE PLAIN {good}
        S: e OK [CAPABILITY ...""",
    ),
    "malformed logins": (
        "TLS",
        """S: * OK ...
        C: a AUTHENTICATE
        S: a BAD Malformed authentication message
        C: a AUTHENTICATE NOSUCH
        S: a NO Unsupported authentication mechanism
        C: a AUTHENTICATE {{5}}
        S: a BAD Malformed authentication message
        C: PLAIN
        S: * BAD Not a command
        C: a AUTHENTICATE PLAIN {good} x
        S: a BAD Malformed authentication message
        C: a AUTHENTICATE PLAIN =
        S: a BAD Malformed authentication message
        C: a AUTHENTICATE PLAIN !!!!
        S: a BAD Malformed authentication message
        C: a AUTHENTICATE PLAIN
        S: + ~
        C: b LOGOUT
        S: a BAD Malformed authentication message
        C: a AUTHENTICATE PLAIN {long}
        S: a BAD Authentication message too large""",
    ),
    "a long response": (
        "TLS",
        """S: * OK ...
        C: a AUTHENTICATE PLAIN
        S: + ~
        C: {long}
        S: a BAD Authentication message too large
        C: a NOOP
        S: a OK Done""",
    ),
    "a second login": (
        "TLS",
        IMAP_IN
        + """C: b AUTHENTICATE PLAIN {good}
        S: b BAD Authenticated already
        C: b LOGIN alice wonderland
        S: b BAD Authenticated already
        C: b STARTTLS
        S: b BAD Authenticated already""",
    ),
    "no commands": (
        "clear",
        """S: * OK ...
        C:
        S: * BAD Not a command
        C: a
        S: * BAD Not a command
        C: a ~
        S: a BAD Not a command
        C: + NOOP
        S: * BAD Not a command
        C: \x00 NOOP
        S: * BAD Not a command
        C: a NOOP!
        S: a BAD Not a command
        C: a SORT (DATE) UTF-8 ALL
        S: a BAD Unknown command
        C: a UID THREAD REFERENCES UTF-8 ALL
        S: a BAD Unknown command
        C: a NOOP {long}
        S: a BAD Line too long
        C: a NOOP now
        S: a BAD Too few arguments, or too many
        C: a STARTTLS now
        S: a BAD Too few arguments, or too many
        C: a LOGIN alice
        S: a BAD Too few arguments, or too many
        C: a LOGIN "alice
        S: a BAD Not arguments
        C: a LOGIN "al\\ice" x
        S: a BAD A backslash in quotes has to be doubled
        C: a LOGIN alice  x
        S: a BAD Not arguments
        C: a LOGIN alice x{{3}}
        S: a BAD Not arguments
        C: a LOGIN (alice x)
        S: a BAD Too few arguments, or too many
        C: a ID ()
        S: * ID ("name" "saslkit")
        S: a OK Done""",
    ),
    "commands before their time": (
        "clear",
        """S: * OK ...
        C: a SELECT INBOX
        S: a BAD Log in first
        C: a CLOSE
        S: a BAD Log in first
        C: a SELECT {{5}}
        S: a BAD Log in first
        C: a NOSUCH {{5}}
        S: a BAD Unknown command
        C: a ID ("name" "test")
        S: * ID ("name" "saslkit")
        S: a OK Done
        C: a LOGOUT
        S: * BYE Bye
        S: a OK Logged out
        E:""",
    ),
    "TLS once": ("STARTTLS", "C: a STARTTLS\nS: a BAD TLS is in force already"),
    "LOGIN in all its spellings": (
        "TLS",
        r"""S: * OK ...
        C: a LOGIN alice "looking-glass"
        S: a NO [AUTHENTICATIONFAILED] Authentication failed
        C: a LOGIN "" ""
        S: a NO [AUTHENTICATIONFAILED] Authentication failed
        C: a LOGIN {{5}}
        S: + Go ahead
        C: alice {{1}}
        S: + Go ahead
        C: x
        S: a NO [AUTHENTICATIONFAILED] Authentication failed
        C: a LOGIN {{5+}}
        C: alice {{3+}}
        C: a"b
        S: a NO [AUTHENTICATIONFAILED] Authentication failed
        C: a LOGIN {{5}}
        S: + Go ahead
        C: alicex
        S: a BAD Not arguments
        C: a LOGIN {{5000}}
        S: a BAD That literal is too large
        C: a LOGIN {{4096}}
        S: + Go ahead
        C: """
        + "x" * 4096
        + r""" {{1}}
        S: a BAD That literal is too large
        C: a LOGIN "\"quoted\\" x
        S: a NO [AUTHENTICATIONFAILED] Authentication failed
        C: a LOGIN "{unicode}" x
        S: a NO [AUTHENTICATIONFAILED] Authentication failed
        C: a LOGIN "alice" wonderland
        S: a OK [CAPABILITY ...""",
    ),
    "a literal that is on its way and too large ends the connection": (
        "TLS",
        "S: * OK ...\nC: a LOGIN {{5000+}}\nS: * BYE That literal is too large\nE:",
    ),
    "a literal on its way behind what is no argument ends the connection": (
        "TLS",
        'S: * OK ...\nC: a LOGIN "x {{5+}}\nS: * BYE That literal is too large\nE:',
    ),
    "a line behind a literal that is too long": (
        "TLS",
        "S: * OK ...\nC: a LOGIN {{1}}\nS: + Go ahead\nC: x {long}\nS: a BAD Not arguments",
    ),
    "an empty INBOX": (
        "TLS",
        IMAP_IN
        + r"""C: b SEARCH ALL
        S: b BAD Select a mailbox first
        C: b SELECT Nowhere
        S: b NO [NONEXISTENT] There is no such mailbox
        C: b SELECT
        S: b BAD Too few arguments, or too many
        C: b SELECT inbox
        S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft)
        S: * 0 EXISTS
        S: * 0 RECENT
        S: * OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft \*)] Kept
        S: * OK [UIDVALIDITY ...
        S: * OK [UIDNEXT 1] Next
        S: * OK [HIGHESTMODSEQ 1] Highest
        S: b OK [READ-WRITE] Done
        C: b uid search ALL
        S: * SEARCH
        S: b OK Done
        C: b STATUS Nowhere (MESSAGES)
        S: b NO [NONEXISTENT] There is no such mailbox
        C: b CHECK
        S: b OK Done
        C: b FETCH 1:* FLAGS
        S: b BAD Invalid messageset
        C: b UID FETCH 1:* FLAGS
        S: b OK Done
        C: b UNSELECT
        S: b OK Done
        C: b EXPUNGE
        S: b BAD Select a mailbox first
        C: b EXAMINE "INBOX"
        S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft)
        S: * 0 EXISTS
        S: * 0 RECENT
        S: * OK [PERMANENTFLAGS ()] Kept
        S: * OK [UIDVALIDITY ...
        S: * OK [UIDNEXT 1] Next
        S: * OK [HIGHESTMODSEQ 1] Highest
        S: b OK [READ-ONLY] Done
        C: b SELECT Nowhere
        S: b NO [NONEXISTENT] There is no such mailbox
        C: b CLOSE
        S: b BAD Select a mailbox first
        C: b STATUS INBOX (MESSAGES RECENT UIDNEXT UNSEEN)
        S: * STATUS INBOX (MESSAGES 0 RECENT 0 UIDNEXT 1 UNSEEN 0)
        S: b OK Done
        C: b SEARCH ALL
        S: b BAD Select a mailbox first
        C: b LIST "" in%
        S: * LIST (\HasNoChildren) "/" INBOX
        S: b OK Done
        C: b LSUB "" in*
        S: * LSUB () "/" INBOX
        S: b OK Done
        C: b LIST "" [A-Z]*
        S: b OK Done
        C: b NAMESPACE
        S: * NAMESPACE (("" "/")) NIL NIL
        S: b OK Done""",
    ),
}

POP_IN = "S: +OK ...\nC: AUTH PLAIN {good}\nS: +OK Authenticated\n"
CAPA = "S: CAPA\nS: TOP\nS: UIDL\nS: PIPELINING\nS: RESP-CODES\nS: AUTH-RESP-CODE\n"
POP_TLS = f"S: +OK\n{CAPA}S: USER\nS: SASL {ALL}\nS: IMPLEMENTATION saslkit\nS: ."

POP = {
    "what can be done without TLS": (
        "clear",
        f"S: +OK ...\nC: CAPA\nS: +OK\n{CAPA}S: STLS\nS: SASL {BARE}\nS: IMPLEMENTATION...\nS: .",
    ),
    "what can be done with TLS": ("TLS", f"S: +OK ...\nC: CAPA\n{POP_TLS}"),
    "after STLS the mechanisms are there": ("STARTTLS", f"C: CAPA\n{POP_TLS}"),
    "after the login the mechanisms are still listed": ("TLS", f"{POP_IN}C: CAPA\n{POP_TLS}"),
    "no password without TLS": (
        "clear",
        """S: +OK ...
        C: AUTH PLAIN {good}
        S: -ERR Encryption is required first
        C: USER alice
        S: -ERR Encryption is required first
        C: PASS wonderland
        S: -ERR USER comes first""",
    ),
    "with an initial response, without, and cancelled": (
        "TLS",
        """S: +OK ...
        C: auth plain
        S: + ~
        C: *
        S: -ERR Authentication cancelled
        C: AUTH PLAIN
        S: + ~
        C: {wrong}
        S: -ERR [AUTH] Authentication failed
        C: AUTH PLAIN {nobody}
        S: -ERR [AUTH] Authentication failed
        C: AUTH PLAIN {as_bob}
        S: -ERR [AUTH] Authorization failed
        C: AUTH PLAIN {good}
        S: +OK Authenticated""",
    ),
    "malformed logins": (
        "TLS",
        """S: +OK ...
        C: AUTH\tPLAIN {good}
        S: -ERR Malformed authentication message
        C: AUTHX PLAIN {good}
        S: -ERR Unknown command
        C: AUTH NOSUCH
        S: -ERR Unsupported authentication mechanism
        C: AUTH PLAIN =
        S: -ERR Malformed authentication message
        C: AUTH PLAIN
        S: + ~
        C: !!!
        S: -ERR Malformed authentication message
        C: AUTH PLAIN
        S: + ~
        C:
        S: -ERR Malformed authentication message
        C: AUTH PLAIN {long}
        S: -ERR Authentication message too large
        C: AUTH PLAIN
        S: + ~
        C: {long}
        S: -ERR Authentication message too large""",
    ),
    "USER and PASS": (
        "TLS",
        """S: +OK ...
        C: USER
        S: -ERR USER takes a name
        C: USER alice
        S: +OK Now the password
        C: PASS looking-glass
        S: -ERR [AUTH] Authentication failed
        C: PASS wonderland
        S: -ERR USER comes first
        C: USER alice
        S: +OK Now the password
        C: CAPA
        """
        + POP_TLS
        + """
        C: PASS wonderland
        S: -ERR USER comes first
        C: USER alice
        S: +OK Now the password
        C: PASS
        S: -ERR [AUTH] Authentication failed
        C: USER alice
        S: +OK Now the password
        C: PASS a\x00b
        S: -ERR Malformed authentication message
        C: USER alice
        S: +OK Now the password
        C: PASS wonderland
        S: +OK Authenticated""",
    ),
    "a second login": (
        "TLS",
        POP_IN
        + """C: AUTH PLAIN {good}
        S: -ERR Authenticated already
        C: USER alice
        S: -ERR Logged in already
        C: PASS wonderland
        S: -ERR Logged in already
        C: STLS
        S: -ERR Logged in already""",
    ),
    "no commands": (
        "clear",
        """S: +OK ...
        C:
        S: -ERR Unknown command
        C: NOSUCH
        S: -ERR Unknown command
        C: APOP alice 0123456789abcdef
        S: -ERR Unknown command
        C: NOOP {long}
        S: -ERR Line too long
        C: STLS now
        S: -ERR STLS takes no argument
        C: STAT
        S: -ERR Log in first
        C: DELE 1
        S: -ERR Log in first
        C: QUIT
        S: +OK Bye
        E:""",
    ),
    "TLS once": ("STARTTLS", "C: STLS\nS: -ERR TLS is in force already"),
    "an empty maildrop": (
        "TLS",
        POP_IN
        + """C: STAT
        S: +OK 0 0
        C: LIST
        S: +OK
        S: .
        C: UIDL
        S: +OK
        S: .
        C: LIST 1
        S: -ERR No such message
        C: RETR 1
        S: -ERR No such message
        C: DELE 1
        S: -ERR No such message
        C: RSET
        S: +OK
        C: noop
        S: +OK""",
    ),
}

EXTENSIONS = (
    "S: 250-localhost\nS: 250-PIPELINING\nS: 250-8BITMIME\nS: 250-SIZE 10485760\nS: 250-ENHANCEDSTATUSCODES\n"
    "S: 250-DSN\nS: 250-SMTPUTF8\nS: 250-CHUNKING\nS: 250-BINARYMIME\n"
)
EHLO = f"S: 220 ...\nC: EHLO me\n{EXTENSIONS}S: 250 AUTH {ALL}\n"
CLEAR_EHLO = f"S: 220 ...\nC: EHLO me\n{EXTENSIONS}S: 250-STARTTLS\nS: 250 AUTH {BARE}\n"
SMTP_IN = EHLO + "C: AUTH PLAIN {good}\nS: 235 2.7.0 Authenticated\n"

SMTP = {
    "what can be done without TLS": ("clear", CLEAR_EHLO),
    "what can be done with TLS": ("TLS", EHLO),
    "no password without TLS": (
        "clear",
        CLEAR_EHLO
        + """C: AUTH PLAIN {good}
        S: 538 5.7.11 Encryption is required first""",
    ),
    "STARTTLS forgets the EHLO": (
        "clear",
        CLEAR_EHLO
        + """C: STARTTLS
        S: 220 2.0.0 Begin TLS
        T:
        C: AUTH PLAIN {good}
        S: 503 5.5.1 EHLO first
        C: MAIL FROM:<a@example.org>
        S: 503 5.5.1 EHLO first""",
    ),
    "AUTH wants an EHLO": (
        "TLS",
        """S: 220 ...
        C: AUTH PLAIN {good}
        S: 503 5.5.1 EHLO first
        C: HELO me
        S: 250 localhost
        C: AUTH PLAIN {good}
        S: 503 5.5.1 EHLO first""",
    ),
    "with an initial response, without, and cancelled": (
        "TLS",
        EHLO
        + """C: auth plain
        S: 334 ~
        C: *
        S: 501 5.7.0 Authentication cancelled
        C: AUTH PLAIN
        S: 334 ~
        C: {wrong}
        S: 535 5.7.8 Authentication failed
        C: AUTH PLAIN {nobody}
        S: 535 5.7.8 Authentication failed
        C: AUTH PLAIN {as_bob}
        S: 535 5.7.8 Authorization failed
        C: AUTH PLAIN {good}
        S: 235 2.7.0 Authenticated""",
    ),
    "malformed logins": (
        "TLS",
        EHLO
        + """C: AUTH
        S: 501 5.5.2 Malformed authentication message
        C: AUTH ~
        S: 501 5.5.2 Malformed authentication message
        C: AUTH  PLAIN
        S: 501 5.5.2 Malformed authentication message
        C: AUTH PLAIN {good} x
        S: 501 5.5.2 Malformed authentication message
        C: AUTH PLAIN *
        S: 501 5.5.2 Malformed authentication message
        C: AUTH NOSUCH
        S: 504 5.5.4 Unsupported authentication mechanism
        C: AUTH PLAIN
        S: 334 ~
        C: !!!
        S: 501 5.5.2 Malformed authentication message
        C: NOOP
        S: 250 2.0.0 OK
        C: AUTH PLAIN {long}
        S: 500 5.5.6 Authentication message too large""",
    ),
    "no names of a mechanism": (
        "TLS",
        EHLO
        + """C: AUTH\tPLAIN {good}
        S: 501 5.5.2 Malformed authentication message
        C: AUTH=PLAIN {good}
        S: 501 5.5.2 Malformed authentication message
        C: AUTH AAAAAAAAAAAAAAAAAAAAA
        S: 501 5.5.2 Malformed authentication message
        C: AUTH PLAIN\x00 {good}
        S: 501 5.5.2 Malformed authentication message
        C: AUTHX PLAIN {good}
        S: 500 5.5.1 Unknown command""",
    ),
    "a long response": (
        "TLS",
        EHLO
        + """C: AUTH PLAIN
        S: 334 ~
        C: {long}
        S: 500 5.5.6 Authentication message too large
        C: AUTH PLAIN {good}
        S: 235 2.7.0 Authenticated""",
    ),
    "a second login": ("TLS", SMTP_IN + "C: AUTH PLAIN {good}\nS: 503 5.5.1 Authenticated already"),
    "no commands": (
        "clear",
        """S: 220 ...
        C:
        S: 500 5.5.1 Unknown command
        C: NOSUCH
        S: 500 5.5.1 Unknown command
        C: EXPN all
        S: 502 5.5.1 Not implemented
        C: NOOP {long}
        S: 500 5.5.6 Line too long
        C: EHLO
        S: 501 5.5.4 EHLO takes a name
        C: HELO
        S: 501 5.5.4 HELO takes a name
        C: STARTTLS now
        S: 501 5.5.4 STARTTLS takes no argument
        C: VRFY alice
        S: 252 2.5.0 Send it and see
        C: QUIT
        S: 221 2.0.0 Bye
        E:""",
    ),
    "TLS once": ("STARTTLS", "C: STARTTLS\nS: 503 5.5.1 Too late for TLS"),
    "a refused STARTTLS forgets nothing": (
        "TLS",
        EHLO
        + """C: STARTTLS
        S: 503 5.5.1 Too late for TLS
        C: AUTH PLAIN {good}
        S: 235 2.7.0 Authenticated""",
    ),
    "mail wants a login": (
        "TLS",
        """S: 220 ...
        C: MAIL FROM:<a@example.org>
        S: 503 5.5.1 EHLO first
        C: HELO me
        S: 250 localhost
        C: MAIL FROM:<a@example.org>
        S: 530 5.7.0 Authentication required
        C: RCPT TO:<b@example.org>
        S: 503 5.5.1 MAIL first
        C: DATA
        S: 503 5.5.1 RCPT first""",
    ),
    "a message": (
        "TLS",
        SMTP_IN
        + """C: RCPT TO:<b@example.org>
        S: 503 5.5.1 MAIL first
        C: MAIL TO:<a@example.org>
        S: 501 5.1.7 MAIL FROM:<address>
        C: MAIL FROM:a@example.org
        S: 501 5.1.7 MAIL FROM:<address>
        C: MAIL FROM:<a@example.org> SIZE=99999999
        S: 552 5.3.4 Too large
        C: MAIL FROM:<a@example.org> SIZE=10485761
        S: 552 5.3.4 Too large
        C: MAIL FROM:<a@example.org> SIZE=99999999999999999999
        S: 552 5.3.4 Too large
        C: MAIL FROM:<a@example.org> SIZE=999999999999999999999
        S: 501 5.5.4 SIZE is a number of up to 20 digits, and stands there once
        C: MAIL FROM:<a@example.org> SIZE=000000000000000000001
        S: 501 5.5.4 SIZE is a number of up to 20 digits, and stands there once
        C: MAIL FROM:<a@example.org> SIZE
        S: 501 5.5.4 SIZE is a number of up to 20 digits, and stands there once
        C: MAIL FROM:<a@example.org> SIZE=
        S: 501 5.5.4 SIZE is a number of up to 20 digits, and stands there once
        C: MAIL FROM:<a@example.org> size=1 SIZE=99999999
        S: 501 5.5.4 SIZE is a number of up to 20 digits, and stands there once
        C: MAIL FROM:<a@example.org> MT-PRIORITY=3
        S: 555 5.5.4 SIZE, BODY, AUTH, SMTPUTF8, RET and ENVID are all that MAIL takes
        C: MAIL FROM:<a@example.org> AUTH=+zz
        S: 501 5.5.4 The AUTH parameter is an address in xtext, or <>
        C: mail from:<> BODY=8BITMIME SIZE=100 AUTH=<>
        S: 250 2.1.0 OK
        C: MAIL FROM:<a@example.org>
        S: 503 5.5.1 One sender at a time
        C: AUTH PLAIN {good}
        S: 503 5.5.1 Not in a mail transaction
        C: DATA
        S: 503 5.5.1 RCPT first
        C: RCPT TO:<>
        S: 501 5.1.3 RCPT TO:<address>
        C: RCPT TO:<b@example.org> RRVS=2026-01-01T00:00:00Z
        S: 555 5.5.4 NOTIFY and ORCPT are all that RCPT takes
        C: RCPT TO:<b@example.org>
        S: 250 2.1.5 OK
        C: DATA now
        S: 501 5.5.4 DATA takes no argument
        C: DATA
        S: 354 End with a line that is a dot
        C: Subject: {long}
        C: ..
        C:
        C: .
        S: 250 2.0.0 Accepted
        C: RCPT TO:<b@example.org>
        S: 503 5.5.1 MAIL first
        C: MAIL FROM:<a@example.org>
        S: 250 2.1.0 OK
        C: RSET
        S: 250 2.0.0 OK
        C: RCPT TO:<b@example.org>
        S: 503 5.5.1 MAIL first
        C: MAIL FROM:<a@example.org> SIZE=10485760
        S: 250 2.1.0 OK
        C: RSET
        S: 250 2.0.0 OK
        C: MAIL FROM:<a@example.org> SIZE=0
        S: 250 2.1.0 OK""",
    ),
}

DIALOGUES = [
    pytest.param(protocol, over, script, id=f"{protocol}: {name}")
    for protocol, dialogues in (("imap", IMAP), ("pop", POP), ("smtp", SMTP))
    for name, (over, script) in dialogues.items()
]


@pytest.mark.parametrize(("protocol", "over", "script"), DIALOGUES)
def test_the_server_answers_as_its_rfc_says(
    *, protocol: str, over: str, script: str, servers: Servers, context: ssl.SSLContext, connect: Callable[..., object]
) -> None:
    connect(servers, protocol, over).play(script, context)
