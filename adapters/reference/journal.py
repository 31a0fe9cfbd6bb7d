"""What clients did, as the servers saw it: sessions, commands, login attempts, verdicts. Bounded, and without secrets.

for attempt in servers.log.attempts:
    print(attempt.session, attempt.mechanism, attempt.outcome)
print(servers.log.dialogue(attempt.session))
servers.assert_token_sent_once()
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections import deque
from typing import TYPE_CHECKING, Final, TypeAlias, final

from sasl.value import field, value

from ..wire.imap import TAG
from .verdicts import VERDICTS, Judge, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .listening import LoopCalls

_KEPT_SESSIONS: Final = 1_000
_KEPT_COMMANDS: Final = 10_000
_KEPT_ATTEMPTS: Final = 1_000
_KEPT_VERDICTS: Final = 1_000
_KEPT_TOKENS: Final = 10_000
_SHOWN_SESSIONS: Final = 3  # in the text of an AssertionError

_VERB: Final = re.compile(
    r"(?:UID )?(?:APPEND|APOP|AUTH|AUTHENTICATE|BDAT|CAPA|CAPABILITY|CHECK|CLOSE|COPY|CREATE|DATA|DELE|DELETE|EHLO"
    r"|ENABLE|ETRN|EXAMINE|EXPN|EXPUNGE|FETCH|HELO|HELP|ID|IDLE|LAST|LHLO|LIST|LOGIN|LOGOUT|LSUB|MAIL|MOVE|NAMESPACE|NOOP"
    r"|PASS|QUIT|RCPT|RENAME|RETR|RSET|SEARCH|SELECT|STARTTLS|STAT|STATUS|STLS|STORE|SUBSCRIBE|TOP|UIDL|UNSELECT|UNSUBSCRIBE"
    r"|USER|VRFY)"
)
"""The commands that are named: anything else may be a secret of a client that is out of step."""

_TAG: Final = re.compile(rb"(%b) " % TAG)


@final
@value
class Session:
    """One connection.

    Attributes:
        number: counted from 1, over all servers.
        service: "imap", "pop", "smtp" or "lmtp".
        port: where the client connected.
        began: POSIX seconds.
        ended: the same, or None while it goes on.
        tls: whether it is under TLS.
        user: who is logged in, or None.
    """

    number: int
    service: str
    port: int
    began: float
    ended: float | None
    tls: bool
    user: str | None


@final
@value
class Command:
    """One command.

    Attributes:
        service, session: where it came.
        tag: IMAP's; "" elsewhere.
        name: in capitals, "UID FETCH"; "" for what is no command that is known.
        line: how it is shown: without what may be a secret.
        user: who was logged in, or None.
        when: POSIX seconds.
    """

    service: str
    session: int
    tag: str
    name: str
    line: str
    user: str | None
    when: float


@final
@value
class Attempt:
    """One login attempt, as the server saw it.

    Attributes:
        mechanism: its name, or "IMAP-LOGIN" or "POP-USER"; "" where the client named none.
        tls: whether it went over TLS.
        initial_response: whether the client sent one with the command.
        turns: how many lines the client sent for it.
        outcome: "accepted", one of `sasl.KINDS`, or "unfinished": the client went away, or was too slow.
        identity: who is logged in now, or None.
        reason: why not, in words that the client was not told.
        service, session: where it was made.
        when: POSIX seconds at its end.
        offered: the mechanisms that the server offered.
        challenge: "" if it got no error challenge, else "unanswered", "answered", "cancelled" (by "*"), or "resent": it
            was the token again.
        credential: the same for the same token, within one run of the servers; "" if no token was sent.

    Of the last six neither repr nor equality takes notice.
    """

    mechanism: str
    tls: bool
    initial_response: bool
    turns: int
    outcome: str
    identity: str | None = None
    reason: str = ""
    service: str = field(default="", hidden=True)
    session: int = field(default=0, hidden=True)
    when: float = field(default=0.0, hidden=True)
    offered: tuple[str, ...] = field(default=(), hidden=True)
    challenge: str = field(default="", hidden=True)
    credential: str = field(default="", hidden=True)


Event: TypeAlias = Session | Command | Attempt | Verdict


@final
class Record:
    """What is kept of one session. It is written by its conversation.

    Attributes:
        number: of the session.
        name: of the last command, "" for what is none that is known.
        tag: of the last command, "*" for what has none, "" where there are no tags.
        shown_tag: how it is shown: "*" where the command is none that is known.
        judge: who follows it.
        transcript: the last lines as (direction, shown).
    """

    def __init__(
        self, journal: Journal, number: int, service: str, port: int, transcript: deque[tuple[str, str]]
    ) -> None:
        self.number = number
        self.transcript = transcript
        self.name = self.tag = self.shown_tag = ""
        self.judge = Judge(service, self._find, journal.digest, journal.refused)
        self.ended: float | None = None
        self.tls = False
        self.user: str | None = None
        self._journal = journal
        self._service = service
        self._port = port
        self._began = journal.clock()
        self._awaited: str | None = None  # the name of the command that the next note is about

    @property
    def session(self) -> Session:
        """The session as it is now."""
        return Session(self.number, self._service, self._port, self._began, self.ended, self.tls, self.user)

    def begin(self, name: str, line: bytes, *, tls: bool) -> None:
        """Take a command line, which is noted next."""
        self.name = self._awaited = name if _VERB.fullmatch(name) else ""
        match = _TAG.match(line) if self._service == "imap" else None
        self.tag = match[1].decode("ascii") if match else "*" if self._service == "imap" else ""
        self.shown_tag = self.tag if self.name or not self.tag else "*"
        self.judge.command(name, line, tls=tls)

    def note(self, shown: str) -> None:
        """Take how what the client sent is shown."""
        name, self._awaited = self._awaited, None
        if name is not None:
            tag = self.shown_tag.removeprefix("*")
            now = self._journal.clock()
            self._journal.add(Command(self._service, self.number, tag, name, shown, self.user, now))

    def change(self, *, tls: bool, user: str | None) -> None:
        """Take it that the session is under TLS now, or somebody is logged in."""
        if (tls, user) != (self.tls, self.user):
            self.tls, self.user = tls, user
            self._journal.tell(self.session)

    def attempt(self, attempt: Attempt, offered: Iterable[str]) -> Attempt:
        """Take a login attempt; return it with all that is known of it."""
        names = tuple(offered)
        login = self.judge.conclude(attempt.outcome, names)
        if login.credential and attempt.outcome in ("credentials", "expired"):
            self._journal.refuse(login.credential)
        elif login.credential and attempt.outcome == "authorization":  # elsewhere it may be right
            self._journal.refuse(f"{self._service} {login.credential}")
        known = Attempt(
            attempt.mechanism, attempt.tls, attempt.initial_response, attempt.turns, attempt.outcome, attempt.identity,
            attempt.reason, self._service, self.number, self._journal.clock(), names, login.challenge, login.credential,
        )  # fmt: skip
        self._journal.add(known)
        return known

    def struck(self, offered: Iterable[str], *, tls: bool, refused: bool) -> list[Attempt]:
        """Take it that a fault has answered the command; return the attempt, if it was one that nobody knows yet."""
        if (login := self.judge.login) is None:
            return []
        outcome = "credentials" if refused else "unfinished"
        turns = max(login.messages, 1)
        attempt = Attempt(login.name, tls, login.initial, turns, outcome, reason="a fault has struck")
        return [self.attempt(attempt, offered)]

    def end(self) -> None:
        """Take it that the session is over; once."""
        if self.ended is not None:
            return
        self.ended = self._journal.clock()
        self._journal.tell(self.session)

    def _find(self, name: str) -> None:
        self._journal.add(Verdict(name, VERDICTS[name], self.number, self._service, self._journal.clock()))


@final
class Journal:
    """What clients did. It is used in the servers' event loop alone; `Log` is for everybody else.

    Attributes:
        clock: what time it is.
        attempts, commands, verdicts: the last ones, the newest last.
        refused: the digests of tokens that were refused, behind a service those that were refused there alone.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.attempts: deque[Attempt] = deque(maxlen=_KEPT_ATTEMPTS)
        self.commands: deque[Command] = deque(maxlen=_KEPT_COMMANDS)
        self.verdicts: deque[Verdict] = deque(maxlen=_KEPT_VERDICTS)
        self.refused: dict[str, None] = {}
        self._records: deque[Record] = deque(maxlen=_KEPT_SESSIONS)
        self._count = 0
        self._salt = secrets.token_bytes(32)
        self._watchers: list[Callable[[Event], object]] = []

    @property
    def sessions(self) -> list[Session]:
        """The last sessions, the newest last."""
        return [record.session for record in self._records]

    def transcript(self, number: int) -> tuple[tuple[str, str], ...]:
        """Return the last lines of a session as (direction, shown); nothing if it is not kept."""
        return next((tuple(record.transcript) for record in self._records if record.number == number), ())

    def watch(self, told: Callable[[Event], object]) -> Callable[[], None]:
        """Have a function called in the event loop for whatever is new; return what ends that.

        That is a session when it begins, changes and ends, a command, an attempt, a verdict.
        """
        self._watchers.append(told)
        return lambda: self._watchers.remove(told)

    def clear(self) -> None:
        """Forget all but the sessions that go on, and what was refused."""
        for kept in (self.attempts, self.commands, self.verdicts, self.refused):
            kept.clear()
        self._records = deque((record for record in self._records if record.ended is None), _KEPT_SESSIONS)

    # --- for conversations

    def open(self, service: str, port: int, transcript: deque[tuple[str, str]]) -> Record:
        """Return the record of a new session."""
        self._count += 1
        record = Record(self, self._count, service, port, transcript)
        self._records.append(record)
        self.tell(record.session)
        return record

    def add(self, event: Command | Attempt | Verdict) -> None:
        """Keep what has happened, and tell of it."""
        if isinstance(event, Command):
            self.commands.append(event)
        elif isinstance(event, Attempt):
            self.attempts.append(event)
        else:
            self.verdicts.append(event)
        self.tell(event)

    def tell(self, event: Event) -> None:
        """Tell whoever watches."""
        for told in list(self._watchers):
            told(event)

    def digest(self, token: bytes) -> str:
        """Return what a token is known by in this journal alone."""
        return hashlib.blake2b(token, key=self._salt, digest_size=16).hexdigest()

    def refuse(self, credential: str) -> None:
        """Keep it that a token was refused."""
        self.refused[credential] = None
        if len(self.refused) > _KEPT_TOKENS:
            del self.refused[next(iter(self.refused))]


@final
class Log:
    """What clients did, for any thread: each of its members looks at the journal as it is then."""

    def __init__(self, journal: Journal, call: LoopCalls) -> None:
        self._journal = journal
        self._call = call

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The last sessions, the newest last."""
        return self._call(lambda: tuple(self._journal.sessions))

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The last login attempts, the newest last."""
        return self._call(lambda: tuple(self._journal.attempts))

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """What clients did that they should not have done, the newest last."""
        return self._call(lambda: tuple(self._journal.verdicts))

    def commands(self, service: str | None = None) -> tuple[Command, ...]:
        """Return the last commands, the newest last; of one service, or of all."""
        return self._call(lambda: tuple(each for each in self._journal.commands if service in (None, each.service)))

    def transcript(self, session: int) -> tuple[tuple[str, str], ...]:
        """Return the last lines of a session as (direction, shown), "C" from the client and "S" from the server."""
        return self._call(lambda: self._journal.transcript(session))

    def dialogue(self, session: int) -> str:
        """Return the last lines of a session as text, a line each."""
        return "\n".join(f"{direction}: {shown}" for direction, shown in self.transcript(session))

    # --- what tests assert

    def assert_token_sent_once(self) -> None:
        """Raise AssertionError if a client sent a token again that was refused, or none sent any."""
        self._assert_some("no client sent a token", [bool(attempt.credential) for attempt in self.attempts])
        self._assert_none("token-after-challenge", "refused-token")

    def assert_no_cleartext_credential(self) -> None:
        """Raise AssertionError if a client sent a password or token without TLS."""
        self._assert_none("cleartext-credential")

    def assert_error_challenge_answered(self) -> None:
        """Raise AssertionError if a client did not answer an error challenge as it should, or none got one."""
        self._assert_some("no client got an error challenge", [bool(attempt.challenge) for attempt in self.attempts])
        self._assert_none("challenge-unanswered", "challenge-cancelled", "token-after-challenge")

    def _assert_some(self, complaint: str, found: Sequence[bool]) -> None:
        if not any(found):
            raise AssertionError(complaint)

    def _assert_none(self, *names: str) -> None:
        found = [verdict for verdict in self.verdicts if verdict.name in names]
        if not found:
            return
        told = [str(verdict) for verdict in found]
        for session in list(dict.fromkeys(verdict.session for verdict in found))[:_SHOWN_SESSIONS]:
            told += ["", f"session {session}:", self.dialogue(session)]
        raise AssertionError("\n".join(told))
