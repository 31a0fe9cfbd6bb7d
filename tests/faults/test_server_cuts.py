"""The servers' side: a client that goes away after any octet, or sends junk, is not logged in and leaves nothing.

The sessions run as they are, over a transport without a kernel.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import TYPE_CHECKING, Any, Final

import pytest

import sasl.spec
from sasl import Policy
from sasl.adapters.reference import Settings
from sasl.adapters.reference.connection import Connection
from sasl.adapters.reference.imap import ImapSession
from sasl.adapters.reference.pop import PopSession
from sasl.adapters.reference.smtp import SmtpSession

from .conftest import PASSWORD, TOKENS, UNICODE_PASSWORD
from .leaks import reachable, seen
from .peer import CLOSE, EVENTS, GARBAGE, JUNK, RESET, STALL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sasl.adapters.reference import Servers
    from sasl.adapters.reference.session import Session

    from .peer import Dialogue

PIECES: Final = [case for case in sasl.spec.cases("fault_injection") if case.expect == "same-result"]
NAMES: Final = {"imap": "imap", "pop3": "pop", "smtp": "smtp"}
SESSIONS: Final[dict[str, Any]] = {"imap": ImapSession, "pop": PopSession, "smtp": SmtpSession}
SETTINGS: Final = Settings(policy=Policy(plaintext="loopback"), check_port=False, hosts=())
SECRETS: Final = (PASSWORD, UNICODE_PASSWORD, *TOKENS.values())
SCRIPTED: Final = ("two-lines", "gmail", "asked-again")  # said by no server of ours


class Transport(asyncio.Transport):
    """Takes what is written, and is closed when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.connection: Connection | None = None
        self._closing = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing and self.connection is not None:
            self._closing = True
            asyncio.get_running_loop().call_soon(self.connection.connection_lost, None)

    abort = close

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def served(servers: Servers, protocol: str, pieces: Iterator[bytes], event: str) -> tuple[Session, bytes]:
    """Run a session to its end: the client sends some pieces, and then something happens to it."""
    transport, sessions = Transport(), []

    def started(connection: Connection) -> None:
        session = SESSIONS[protocol](connection, servers.verifier, SETTINGS, None, port=0)
        sessions.append((session, asyncio.get_running_loop().create_task(session.run(implicit_tls=False))))

    connection = transport.connection = Connection(started)
    connection.connection_made(transport)
    session, task = sessions[0]
    for piece in pieces:
        await _idle()
        connection.data_received(piece)
    await _idle()
    if event == GARBAGE:
        connection.data_received(JUNK)
    if event == RESET:
        connection.connection_lost(ConnectionResetError())
    else:
        connection.eof_received()
    await asyncio.wait_for(task, 5)
    assert not connection.unread, "half a line is kept"
    return session, transport.written


async def _idle() -> None:
    """Let the session do all that it can."""
    for _ in range(4):
        await asyncio.sleep(0)


def recorded(dialogues: dict[str, Dialogue], protocol: str) -> list[Dialogue]:
    """The dialogues of a protocol that the servers took part in."""
    found = [dialogue for dialogue in dialogues.values() if dialogue.protocol == protocol]
    return [dialogue for dialogue in found if not dialogue.name.endswith(SCRIPTED)]


def outcomes(session: Session) -> list[str]:
    return [attempt.outcome for attempt in session.attempts]


@pytest.mark.parametrize("event", [event for event in EVENTS if event != STALL])  # a deadline is a matter of its own
@pytest.mark.parametrize("protocol", SESSIONS)
def test_a_client_that_goes_away_after_any_octet_is_not_logged_in(
    servers: Servers, dialogues: dict[str, Dialogue], caplog: pytest.LogCaptureFixture, protocol: str, event: str
) -> None:
    seen_outcomes: set[str] = set()

    async def sweep() -> None:
        for dialogue in recorded(dialogues, protocol):
            client = dialogue.client
            for offset in range(dialogue.before(dialogue.command)[0], len(client)):
                where = f"{dialogue}: {event} after {offset} octets"
                session, _ = await served(servers, protocol, iter([client[:offset]]), event)
                seen_outcomes.update(outcomes(session))
                assert session.identity is None, where
                assert set(outcomes(session)) <= {"unfinished", *(_JUNKED if event == GARBAGE else ())}, where
                assert seen(reachable(session.transcript, session.attempts, collect=False), *SECRETS) == [], where
            session, _ = await served(servers, protocol, iter([client]), event)
            wanted = dialogue.options["credentials"]
            name = getattr(wanted, "username", None) or wanted.authcid
            assert session.identity == (None if dialogue.verdict else name), f"{dialogue}: {event} at the end"

    caplog.set_level("DEBUG")
    asyncio.run(sweep())
    assert seen_outcomes >= ({"malformed"} if event == GARBAGE else {"unfinished"})
    assert "failed" not in caplog.text
    assert seen([caplog.text], *SECRETS) == []


_JUNKED: Final = ("malformed", "credentials", "expired", "unsupported")
"""What becomes of an attempt whose line ends in junk."""


@pytest.mark.parametrize("case", PIECES, ids=lambda case: f"{case.id}-{case.params['protocol']}-{case.params['chunk']}")
def test_the_result_does_not_depend_on_the_pieces(
    servers: Servers, dialogues: dict[str, Dialogue], case: sasl.spec.Case
) -> None:
    assert case.role == "both"

    async def compare() -> None:
        protocol = NAMES[case.params["protocol"]]
        for dialogue in recorded(dialogues, protocol):
            lines = iter([line for line, _ in dialogue.turns if line])
            session, said = await served(servers, protocol, lines, CLOSE)
            again, said_again = await served(servers, protocol, pieces(dialogue.client, case.params["chunk"]), CLOSE)
            assert (said, outcomes(session), list(session.transcript)) == (
                said_again,
                outcomes(again),
                list(again.transcript),
            ), dialogue
            assert session.identity == again.identity, dialogue
            assert said == dialogue.server, dialogue

    asyncio.run(compare())


def pieces(octets: bytes, chunk: Any) -> Iterator[bytes]:
    sizes = random.Random(7)
    while octets:
        size = len(octets) if chunk == "all" else sizes.randint(1, 40) if chunk == "random" else chunk
        yield octets[:size]
        octets = octets[size:]


def test_each_protocol_comes_in_pieces() -> None:
    chunks = {(case.params["protocol"], case.params["chunk"]) for case in PIECES}
    assert chunks >= set(itertools.product(NAMES, (1, "all", "random")))
