"""What a session tells of itself: its events, and the errors that only a session has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, final

from sasl.errors import ConnectionLost, SASLError, TokenError
from sasl.value import value

if TYPE_CHECKING:
    from collections.abc import Callable

Kind: TypeAlias = Literal[
    "connected",  # a new connection is logged in
    "restored",  # what was selected and enabled before is so on it
    "renewed",  # it has taken the place of one that was about to end
    "stays",  # one that is about to end goes on: there is no new one, or no new token for it
    "lost",  # the server has ended the session, or does not answer
    "reconnecting",  # a new connection will be tried, after so many seconds
    "gave_up",  # no more connections are tried in this call
    "left",  # the caller has ended the session
]


@final
@value
class Event:
    """Something that has happened to a session. It holds no secret, no user name and no text of a server's.

    Attributes:
        kind: what; see `Kind`.
        server: the service and the server's name: "imap at imap.example.com"; "" before the first connection.
        error: what has led to it: the error's class, and its text where that is ours; for a refusal the word for its
            reason: `refusal` or `kind`, a TokenError's `code`.
        attempt: how many connections were tried in this call, with this one.
        seconds: how long the session waits before it tries.
    """

    kind: Kind
    server: str = ""
    error: str = ""
    attempt: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        parts = [f"session {self.server}: {self.kind}" if self.server else f"session: {self.kind}"]
        if self.attempt:
            parts.append(f"attempt {self.attempt}")
        if self.seconds:
            parts.append(f"in {self.seconds:.1f} s")
        if self.error:
            parts.append(self.error)
        return ", ".join(parts)


@final
@value
class Mailbox:
    """A mailbox that a session has selected, and selects again on each new connection.

    Attributes:
        name: as it was given.
        readonly: whether it was opened by EXAMINE.
        uidvalidity: what its UIDs are valid for (RFC 9051 section 2.3.1.1); None if the server did not say.
    """

    name: str
    readonly: bool
    uidvalidity: int | None


class NotRestored(SASLError):
    """On a new connection something is not as it was on the one before; the session goes on with what there is.

    It is raised once, before the call runs for which the session has connected: where threads or tasks share a session,
    to one of them. The others had better look at `mailbox.uidvalidity` in each call that uses UIDs.
    """


@final
class MailboxChanged(NotRestored):
    """The mailbox is gone, is another one by the same name, or can only be read now.

    Attributes:
        before: what it was. UIDs of it are void.
        now: what it is, and what is selected now; None if nothing is.
    """

    def __init__(self, message: str, *, before: Mailbox, now: Mailbox | None) -> None:
        super().__init__(message)
        self.before = before
        self.now = now


@final
class DeliveryUnknown(ConnectionLost):
    """The session was lost after all of a message had left, and before the server has said whether it has taken it.

    Nobody can tell whether it will be delivered, so it was not sent again. The library's error is its `__cause__`.
    """


_WORD: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def describe(error: BaseException | None) -> str:
    """Return what an event may say of an error: its text where that is ours, else its class, and a word on the reason.

    Servers repeat in their texts what they were given, and authorization servers write about users.
    """
    if error is None:
        return ""
    name = type(error).__name__
    if not isinstance(error, SASLError):
        return name
    if isinstance(error, TokenError):
        said = _word(error.code)
    else:
        said = _word(error.refusal or error.kind) if error.server_text else str(error)
    return f"{name}: {said}" if said else name


def _word(said: str | None) -> str:
    return said if said is not None and _WORD.fullmatch(said) else ""


Listener: TypeAlias = "Callable[[Event], object]"
