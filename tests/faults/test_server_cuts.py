"""The servers' side: a client that goes away after any octet, or sends junk, is not logged in and leaves nothing.

The sessions run as they are, over a transport without a kernel.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import random
import ssl
from typing import TYPE_CHECKING, Any, Final

import pytest

import sasl.spec
from sasl.adapters.reference.backend import Backend
from sasl.adapters.reference.certificates import ServerContext
from sasl.adapters.reference.connection import Connection
from sasl.adapters.reference.imap import ImapConversation
from sasl.adapters.reference.pop import PopConversation
from sasl.adapters.reference.smtp import SmtpConversation

from ..support.leaks import reachable, seen
from .conftest import PASSWORD, SETTINGS, TOKENS, UNICODE_PASSWORD, WRONG, Checks
from .peer import CLOSE, EVENTS, GARBAGE, JUNK, PEER, RESET, STALL, Secured, sampled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sasl.adapters.reference import Servers
    from sasl.adapters.reference.conversation import Conversation

    from .peer import Dialogue

PIECES: Final = [case for case in sasl.spec.cases("fault_injection") if case.expect == "same-result"]
NAMES: Final = {"imap": "imap", "pop3": "pop", "smtp": "smtp"}
SESSIONS: Final[dict[str, Any]] = {"imap": ImapConversation, "pop": PopConversation, "smtp": SmtpConversation}
SECRETS: Final = (PASSWORD, WRONG, UNICODE_PASSWORD, *TOKENS.values())
SCRIPTED: Final = ("two-lines", "gmail", "asked-again")  # said by no server of ours


class Shown(Secured):
    """What TLS tells the server of a client."""

    def __init__(self, certificate: bytes | None) -> None:
        self.certificate = certificate


class Transport(asyncio.Transport):
    """Takes what is written, and is closed when it is told to. Is under TLS where the dialogue was."""

    def __init__(self, dialogue: Dialogue) -> None:
        secured = {"ssl_object": Shown(dialogue.shown)} if dialogue.certificate else {}
        super().__init__({"peername": PEER, **secured})
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


async def served(
    servers: Servers, dialogue: Dialogue, pieces: Iterator[bytes], event: str
) -> tuple[Conversation, bytes]:
    """Run a session to its end: the client sends some pieces, and then something happens to it."""
    transport, sessions = Transport(dialogue), []
    context = context_with(dialogue.certificate)

    async def start_tls(context: ssl.SSLContext, *, grace: float) -> bool:
        connection.tls = True
        return True

    def started(connection: Connection) -> None:
        connection.start_tls = start_tls  # type: ignore[method-assign]
        backend = Backend(Checks(servers.verifier), SETTINGS, context)
        session = SESSIONS[dialogue.protocol](connection, backend, port=0)
        running = session.run(implicit_tls=dialogue.certificate is not None)
        sessions.append((session, asyncio.get_running_loop().create_task(running)))

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


@functools.cache
def context_with(certificate: bytes | None) -> ServerContext:
    """The server's side of TLS, of which only its certificate is asked for."""
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.certificate = certificate or b""
    return context


async def _idle() -> None:
    """Let the session do all that it can."""
    for _ in range(4):
        await asyncio.sleep(0)


def recorded(dialogues: dict[str, Dialogue], protocol: str) -> list[Dialogue]:
    """The dialogues of a protocol that the servers took part in."""
    found = [dialogue for dialogue in dialogues.values() if dialogue.protocol == protocol]
    return [dialogue for dialogue in found if not dialogue.name.endswith(SCRIPTED)]


def outcomes(session: Conversation) -> list[str]:
    return [attempt.outcome for attempt in session.attempts]


@pytest.mark.cuts
@pytest.mark.parametrize("event", [event for event in EVENTS if event != STALL])  # a deadline is a matter of its own
@pytest.mark.parametrize("protocol", SESSIONS)
def test_a_client_that_goes_away_after_any_octet_is_not_logged_in(
    servers: Servers, dialogues: dict[str, Dialogue], caplog: pytest.LogCaptureFixture, protocol: str, event: str
) -> None:
    seen_outcomes: set[str] = set()

    async def sweep() -> None:
        for dialogue in recorded(dialogues, protocol):
            client, secrets = dialogue.client, (*SECRETS, dialogue.sent.decode("latin-1"))
            for offset in sampled(dialogue, dialogue.before(dialogue.command)[0], len(client)):
                where = f"{dialogue}: {event} after {offset} octets"
                session, _ = await served(servers, dialogue, iter([client[:offset]]), event)
                seen_outcomes.update(outcomes(session))
                assert session.identity is None, where
                assert set(outcomes(session)) <= {"unfinished", *(_JUNKED if event == GARBAGE else ())}, where
                assert seen(reachable(session.transcript, session.attempts, collect=False), *secrets) == [], where
            session, _ = await served(servers, dialogue, iter([client]), event)
            assert session.identity == identity(dialogue), f"{dialogue}: {event} at the end"

    caplog.set_level("DEBUG")
    asyncio.run(sweep())
    assert seen_outcomes >= ({"malformed"} if event == GARBAGE else {"unfinished"})
    assert "failed" not in caplog.text
    assert seen([caplog.text], *SECRETS) == []


def identity(dialogue: Dialogue) -> str | None:
    """Who is logged in at the end."""
    if dialogue.verdict:
        return None
    wanted = dialogue.options["credentials"]
    if isinstance(wanted, sasl.Anonymous):
        return "anonymous"
    return next(getattr(wanted, name) for name in ("username", "authcid", "authzid") if hasattr(wanted, name))


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
            session, said = await served(servers, dialogue, lines, CLOSE)
            again, said_again = await served(servers, dialogue, pieces(dialogue.client, case.params["chunk"]), CLOSE)
            assert (said, outcomes(session), list(session.transcript)) == (
                said_again,
                outcomes(again),
                list(again.transcript),
            ), dialogue
            assert session.identity == again.identity == identity(dialogue), dialogue
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
