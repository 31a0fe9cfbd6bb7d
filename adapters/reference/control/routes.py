"""The table of everything that can be asked for: requests are served by it, and the description is made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..personas import NAMES
from ..servers import SERVICES
from . import course, mail, people
from .table import Member, Route

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ENDS: Final = ("expired", "revoked", "disabled", "limit", "late", "shutdown")
"""As what a session may be ended."""

_USER: Final = {404: "There is no user of that name."}
_MAILBOX: Final = {404: "There is no such user, mailbox or message."}
_SENT: Final = {404: "No message of that id was sent, or it is forgotten."}
_MESSAGES: Final = "/users/{user}/mailboxes/{folder}/messages"

_USERS: Final = (
    Route("listUsers", "GET", "/users", "Tell who can log in.", people.list_users, "Users"),
    Route(
        "addUser",
        "POST",
        "/users",
        "Let another user in from now on.",
        people.add_user,
        "User",
        takes=(
            Member("name", "string", "What the user logs in by.", required=True),
            Member("password", "string", "The password.", required=True),
        ),
        status=201,
        refuses={409: "There is a user of that name."},
    ),
    Route(
        "changeUser",
        "PUT",
        "/users/{user}",
        "Give a user another password, or let the user in no more.",
        people.change_user,
        "User",
        takes=(
            Member("password", "string", "The new password."),
            Member("sign_out", "boolean", "Whether all sessions and tokens end with it; else as the persona does."),
            Member("disabled", "boolean", "Whether the user is let in no more, or is again."),
        ),
        refuses=_USER,
    ),
    Route(
        "removeUser",
        "DELETE",
        "/users/{user}",
        "Forget a user, with all mail; sessions end.",
        people.remove_user,
        refuses=_USER,
    ),
    Route(
        "issueToken",
        "POST",
        "/users/{user}/tokens",
        "Issue an access token. No other answer shows it again.",
        people.issue_token,
        "Token",
        takes=(
            Member("lifetime", "number", "Seconds that it is good; an hour by default.", least=0, most=315_360_000),
            Member("scope", "string", "What it is for; all mail by default."),
            Member("state", "string", "What becomes of it at once.", choices=("good", "expired", "revoked")),
        ),
        status=201,
        refuses=_USER,
    ),
    Route(
        "revokeIssuedToken",
        "DELETE",
        "/tokens/{id}",
        "Revoke a token that was issued here, by its id; sessions that rest on it end.",
        people.revoke_issued,
        refuses={404: "No token of that id was issued here."},
    ),
    Route(
        "revokeToken",
        "POST",
        "/tokens/revoke",
        "Revoke an access token, or a refresh token with all that came of it; sessions end.",
        people.revoke_token,
        takes=(Member("token", "string", "The token.", required=True),),
        refuses={404: "The token is not from here."},
    ),
    Route(
        "revokeConsents",
        "DELETE",
        "/users/{user}/consents",
        "Revoke all that a user has granted, and all tokens; sessions end.",
        people.revoke_consents,
        refuses=_USER,
    ),
)

_MAIL: Final = (
    Route(
        "listMailboxes",
        "GET",
        "/users/{user}/mailboxes",
        "Tell which mailboxes a user has.",
        mail.list_mailboxes,
        "Mailboxes",
        refuses=_USER,
    ),
    Route(
        "listMessages", "GET", _MESSAGES, "Tell what is in a mailbox.", mail.list_messages, "Messages", refuses=_MAILBOX
    ),
    Route(
        "deliver",
        "POST",
        _MESSAGES,
        "Put a message into a mailbox: clients that wait for one hear of it.",
        mail.deliver,
        "Message",
        takes=(
            Member("raw", "string", "The message; lines get CRLF at their ends.", required=True),
            Member("flags", "strings", r"Flags, as \Seen."),
            Member("date", "string", "When it came, as 2026-12-01T00:00:00Z; now by default."),
        ),
        message=True,
        status=201,
        refuses={**_MAILBOX, 507: "There is no room for it."},
    ),
    Route(
        "emptyMailbox", "DELETE", _MESSAGES, "Take all messages out of a mailbox.", mail.empty_mailbox, refuses=_MAILBOX
    ),
    Route(
        "showMessage",
        "GET",
        _MESSAGES + "/{uid}",
        "Tell what a message is.",
        mail.show_message,
        "Message",
        refuses=_MAILBOX,
    ),
    Route(
        "showOctets",
        "GET",
        _MESSAGES + "/{uid}/raw",
        "Return a message, octet by octet.",
        mail.show_octets,
        "message",
        refuses=_MAILBOX,
    ),
    Route(
        "removeMessage",
        "DELETE",
        _MESSAGES + "/{uid}",
        "Take a message out of its mailbox.",
        mail.remove_message,
        refuses=_MAILBOX,
    ),
    Route("listSent", "GET", "/messages", "Tell what clients have sent.", mail.list_sent, "SentMessages"),
    Route("forgetSent", "DELETE", "/messages", "Forget what clients have sent.", mail.forget_sent),
    Route(
        "waitForSent",
        "GET",
        "/messages/wait",
        "Wait until so many messages were sent; return the last of them.",
        mail.wait_for_sent,
        "Sent",
        asks=(
            Member("count", "integer", "How many, with those that are there; 1 by default.", least=1, most=10_000),
            Member("timeout", "number", "Seconds to wait for them; 5 by default.", least=0, most=300),
            Member("to", "string", "An address, or what it has before its @: count those for it alone."),
        ),
        refuses={408: "So many have not come in that time.", 503: "Too many requests wait already."},
    ),
    Route("showSent", "GET", "/messages/{id}", "Tell what a sent message is.", mail.show_sent, "Sent", refuses=_SENT),
    Route(
        "showSentOctets",
        "GET",
        "/messages/{id}/raw",
        "Return a sent message, octet by octet.",
        mail.show_sent_octets,
        "message",
        refuses=_SENT,
    ),
)

_COURSE: Final = (
    Route("ready", "GET", "/ready", "Tell that all is ready.", course.ready, "Ready"),
    Route("info", "GET", "/info", "Tell where the servers are, and whom to trust.", course.info, "Info"),
    Route(
        "reset",
        "POST",
        "/reset",
        "Forget mail, faults and what happened; end all sessions. Users and the clock stay.",
        course.reset,
    ),
    Route("showClock", "GET", "/clock", "Tell what time it is for the servers.", course.show_clock, "Clock"),
    Route(
        "moveClock",
        "POST",
        "/clock",
        "Put the clock forward: tokens and sessions whose time is over then have ended when this answers.",
        course.move_clock,
        "Clock",
        takes=(
            Member("advance", "number", "By so many seconds.", least=0, most=3_155_760_000),
            Member("set", "string", "To this time, as 2026-12-01T00:00:00Z."),
        ),
    ),
    Route(
        "listFaults",
        "GET",
        "/faults",
        "Tell which faults stand, and how often each has struck.",
        course.list_faults,
        "Faults",
    ),
    Route(
        "addFault",
        "POST",
        "/faults",
        "Let something go wrong: by a text, as --fault takes it, or by the members of a rule.",
        course.add_fault,
        "Fault",
        takes=(
            Member("text", "string", "As --fault takes it; then nothing else is given."),
            Member("protocol", "string", "Whose: imap, pop, smtp, lmtp, oauth, or * for all mail servers."),
            Member("on", "string", "At what: a command, greeting, AUTHENTICATE:continuation, DATA:end and so on."),
            Member("nth", "any", "The first of these events that it strikes, from 1."),
            Member("times", "any", "How many of them; null for all that follow."),
            Member("user", "any", "For this user alone."),
            Member("session", "any", "In the session of this number alone."),
            Member("probability", "any", "Of striking, up to 1."),
            Member("seed", "any", "What the random numbers come of."),
            Member("do", "any", 'What happens: {"reply": "NO Later"}.'),
            Member("then", "any", "What happens after that: one more, or a list of them."),
        ),
        status=201,
    ),
    Route("clearFaults", "DELETE", "/faults", "Let nothing go wrong any more.", course.clear_faults),
    Route(
        "removeFault",
        "DELETE",
        "/faults/{id}",
        "Let a fault strike no more.",
        course.remove_fault,
        refuses={404: "There is no fault of that id."},
    ),
    Route("showPersona", "GET", "/persona", "Tell whom the servers play.", course.show_persona, "Persona"),
    Route(
        "changePersona",
        "PUT",
        "/persona",
        "Let the servers play another one, for those who connect from now on.",
        course.change_persona,
        "Persona",
        takes=(Member("persona", "string", "Its id.", required=True, choices=NAMES),),
    ),
    Route(
        "listSessions",
        "GET",
        "/sessions",
        "Tell which connections there are and were.",
        course.list_sessions,
        "Sessions",
    ),
    Route(
        "endSession",
        "POST",
        "/sessions/{id}/end",
        "End a session, as if for this reason.",
        course.end_session,
        takes=(Member("as", "string", "The reason; revoked by default.", choices=ENDS),),
        refuses={404: "No session of that id goes on."},
    ),
    Route("listAttempts", "GET", "/attempts", "Tell who tried to log in, and how.", course.list_attempts, "Attempts"),
    Route(
        "listVerdicts",
        "GET",
        "/verdicts",
        "Tell what clients did wrong, in words.",
        course.list_verdicts,
        "Verdicts",
    ),
    Route(
        "log",
        "GET",
        "/log",
        "Tell what clients have sent, without what is secret in it.",
        course.list_commands,
        "Log",
        asks=(
            Member("protocol", "string", "Of this one alone.", choices=SERVICES),
            Member("since", "string", "Since this time, as 2026-12-01T00:00:00Z."),
        ),
    ),
)

ROUTES: Final = (*_COURSE, *_USERS, *_MAIL)
"""All that is answered at once; the description and the events come on top."""

TOPICS: Final[Mapping[str, Callable[..., object]]] = {
    "clock": course.show_clock,
    "persona": course.show_persona,
    "sessions": course.list_sessions,
    "attempts": course.list_attempts,
    "verdicts": course.list_verdicts,
    "messages": mail.list_sent,
    "faults": course.list_faults,
    "users": people.list_users,
}
"""What the events tell of: each has as its data what a GET of it returns."""
