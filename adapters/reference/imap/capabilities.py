"""What the IMAP server says that it can do, beside the commands that do it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from sasl.value import value

if TYPE_CHECKING:
    from collections.abc import Collection

LARGEST_MESSAGE: Final = 10_485_760
"""Octets of a message that APPEND takes (RFC 7889)."""


@final
@value
class Capability:
    """One that is served.

    Attributes:
        name: as it is told.
        rfc: which says what it stands for.
        commands: the commands that it adds, or changes.
        before: whether it is told before the login.
        after: whether it is told after the login.
        instead: whether it is told only where a persona names it, as it says more than another one does.
    """

    name: str
    rfc: str
    commands: Collection[str]
    before: bool = False
    after: bool = True
    instead: bool = False


CAPABILITIES: Final = (
    Capability("IMAP4rev1", "RFC 3501", ("CAPABILITY", "NOOP", "LOGOUT"), before=True),
    Capability("SASL-IR", "RFC 4959", ("AUTHENTICATE",), before=True, after=False),
    Capability("LITERAL-", "RFC 7888 section 5", ("LOGIN", "APPEND"), before=True),
    Capability("LITERAL+", "RFC 7888", ("APPEND",), instead=True),
    Capability("ID", "RFC 2971", ("ID",), before=True),
    Capability("STARTTLS", "RFC 3501 section 6.2.1", ("STARTTLS",), before=True, after=False),
    Capability("LOGINDISABLED", "RFC 3501 section 6.2.3", ("LOGIN",), before=True, after=False),
    Capability("NAMESPACE", "RFC 2342", ("NAMESPACE",)),
    Capability("UNSELECT", "RFC 3691", ("UNSELECT",)),
    Capability("CHILDREN", "RFC 3348", ("LIST",)),
    Capability("IDLE", "RFC 2177", ("IDLE",)),
    Capability("UIDPLUS", "RFC 4315", ("UID EXPUNGE", "APPEND", "COPY", "UID COPY")),
    Capability("MOVE", "RFC 6851", ("MOVE", "UID MOVE")),
    Capability("ENABLE", "RFC 5161", ("ENABLE",)),
    Capability("SPECIAL-USE", "RFC 6154", ("LIST",)),
    Capability("LIST-EXTENDED", "RFC 5258", ("LIST",)),
    Capability("LIST-STATUS", "RFC 5819", ("LIST", "STATUS")),
    Capability("ESEARCH", "RFC 4731", ("SEARCH", "UID SEARCH")),
    Capability("WITHIN", "RFC 5032", ("SEARCH", "UID SEARCH")),
    Capability("CONDSTORE", "RFC 7162", ("SELECT", "FETCH", "UID FETCH", "STORE", "UID STORE", "SEARCH", "STATUS")),
    Capability("UTF8=ACCEPT", "RFC 6855", ("ENABLE", "APPEND")),
    Capability(f"APPENDLIMIT={LARGEST_MESSAGE}", "RFC 7889", ("APPEND", "STATUS")),
    Capability("X-GM-EXT-1", "developers.google.com/workspace/gmail/imap", ("FETCH", "STORE", "SEARCH"), instead=True),
)
"""All of them, in the order in which they are told."""


def served(*, authenticated: bool, tls: bool, login: bool) -> tuple[list[str], list[str]]:
    """Return what is served now and told by itself, and what a persona may tell as well, of which some is yet to come.

    `login` says whether LOGIN may be used.
    """
    hidden = {"STARTTLS"} if tls else set()
    if login:
        hidden.add("LOGINDISABLED")
    rows = [row for row in CAPABILITIES if row.name not in hidden]
    told = [row for row in rows if (row.after if authenticated else row.before) and not row.instead]
    return [row.name for row in told], [row.name for row in rows if row not in told]
