"""Whatever several IMAP sessions do to a mailbox: uids are never used again, and what each was told fits."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sasl.adapters.reference.imap.commands import arguments, responses
from sasl.adapters.reference.imap.session import QUIET, Session
from sasl.adapters.reference.mail.store import Accounts

SESSIONS: Final = 3
FLAGS: Final = ("\\Deleted", "\\Seen", "red")

_which = strategies.integers(0, SESSIONS - 1)
_number = strategies.integers(1, 6)
_flag = strategies.sampled_from(FLAGS)


class Client:
    """A client that believes what it is told."""

    def __init__(self, accounts: Accounts) -> None:
        self.session = Session(accounts, "alice", lambda: datetime(2026, 2, 1, tzinfo=UTC), largest=1000)
        self.uids: list[int | None] = []  # by sequence number; None for one that it has not asked for
        self.flags: dict[int, set[str]] = {}
        self.ask("SELECT", b"INBOX")

    def ask(self, verb: str, octets: bytes = b"") -> str:
        """Give a command, believe what is told, and return the result."""
        given = responses(self.session, verb, arguments(verb, octets))
        try:
            while True:
                self._believe(verb, next(given))
        except StopIteration as end:
            return str(end.value)

    def _believe(self, verb: str, told: bytes) -> None:
        if match := re.fullmatch(rb"([0-9]+) EXPUNGE", told):
            assert verb not in QUIET
            del self.uids[int(match[1]) - 1]
        elif match := re.fullmatch(rb"([0-9]+) EXISTS", told):
            assert int(match[1]) >= len(self.uids)
            self.uids += [None] * (int(match[1]) - len(self.uids))
        elif match := re.fullmatch(rb"([0-9]+) FETCH \((?:UID ([0-9]+) ?)?(?:FLAGS \((.*)\))?\)", told):
            place = int(match[1]) - 1
            if match[2]:
                assert self.uids[place] in (None, int(match[2]))
                self.uids[place] = int(match[2])
            uid = self.uids[place]
            if match[3] is not None and uid is not None:
                self.flags[uid] = set(match[3].decode().split())

    def learn(self) -> None:
        """Ask for all uids, and for the flags of what is new."""
        if self.uids:
            self.ask("FETCH", b"1:* (UID FLAGS)")


class Sessions(RuleBasedStateMachine):
    """Clients at one INBOX, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.accounts = Accounts()
        self.inbox = self.accounts.account("alice").mailbox("INBOX")
        self.clients = [Client(self.accounts) for _ in range(SESSIONS)]
        self.seen: set[int] = set()
        self.alive: list[int] = []

    @rule()
    def deliver(self) -> None:
        assert self.inbox.add(b"x").uid not in self.seen

    @rule(which=_which)
    def append(self, which: int) -> None:
        assert "APPENDUID" in self.clients[which].ask("APPEND", b"INBOX {1}\r\nx")

    @rule(which=_which, number=_number, flag=_flag, sign=strategies.sampled_from("+-"))
    def store(self, which: int, number: int, flag: str, sign: str) -> None:
        client = self.clients[which]
        known = len(client.uids)
        result = client.ask("STORE", f"{number} {sign}FLAGS ({flag})".encode())
        assert result.startswith("BAD Invalid") == (number > known)

    @rule(which=_which, number=_number, flag=_flag)
    def store_silently(self, which: int, number: int, flag: str) -> None:
        client = self.clients[which]
        client.learn()
        uid = client.uids[number - 1] if number <= len(client.uids) else None
        if uid is not None and client.ask("UID STORE", f"{uid} +FLAGS.SILENT ({flag})".encode()).startswith("OK"):
            client.flags[uid].add(flag)

    @rule(which=_which)
    def expunge(self, which: int) -> None:
        self.clients[which].ask("EXPUNGE")

    @rule(which=_which, number=_number)
    def copy_here(self, which: int, number: int) -> None:
        self.clients[which].ask("COPY", f"{number} INBOX".encode())

    @rule(which=_which, number=_number)
    def move(self, which: int, number: int) -> None:
        self.clients[which].ask("UID MOVE", f"{number} INBOX".encode())

    @rule(which=_which)
    def search(self, which: int) -> None:
        self.clients[which].ask("SEARCH", b"DELETED")

    @rule(which=_which)
    def learn(self, which: int) -> None:
        self.clients[which].learn()

    @precondition(lambda self: len(self.inbox) > 4)
    @rule(which=_which)
    def fetch_by_uid(self, which: int) -> None:
        self.clients[which].ask("UID FETCH", b"1:* (FLAGS)")

    @rule(which=_which)
    def rest(self, which: int) -> None:
        client = self.clients[which]
        client.ask("CHECK")
        assert len(client.uids) == len(self.inbox)
        flags = {message.uid: message.flags for message in self.inbox.messages}
        for uid in client.uids:
            assert uid is None or uid not in client.flags or client.flags[uid] == flags[uid]
        client.learn()
        assert client.uids == [message.uid for message in self.inbox.messages]
        for message in self.inbox.messages:
            assert client.flags[message.uid] == message.flags

    @invariant()
    def no_uid_comes_again(self) -> None:
        now = [message.uid for message in self.inbox.messages]
        assert now == sorted(set(now))
        new = set(now) - set(self.alive)
        assert not new & self.seen
        self.seen |= new
        self.alive = now
        assert all(uid < self.inbox.uidnext for uid in now)

    @invariant()
    def each_knows_its_own_numbers(self) -> None:
        for client in self.clients:
            assert len(client.uids) == len(client.session.view)
            for (_, message), uid in zip(client.session.view, client.uids, strict=True):
                assert uid in (None, message.uid)


TestSessions = Sessions.TestCase
TestSessions.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
