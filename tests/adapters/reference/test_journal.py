"""What the servers keep of what clients did, and what tests can assert of it."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters import reference
from sasl.adapters.reference import Attempt, Command, Session
from sasl.adapters.reference.clock import Clock
from sasl.adapters.reference.journal import Journal

from ...support.protocols import PROTOCOLS
from .test_verdicts import GOOD, NEW, OLD, REFUSED, WRONG, play

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl.adapters.reference import Servers

    from .conftest import Raw


def test_sessions_commands_and_attempts_are_kept_without_secrets(watched: Servers, connect: Callable[..., Raw]) -> None:
    before = time.time()
    play(watched, connect(watched, "imap"), "imap", f'C: t1 AUTHENTICATE PLAIN {GOOD}\nS: t1 OK...\nC: t2 LIST "" *\n')
    (session,) = watched.log.sessions
    assert (session.service, session.port, session.tls, session.user) == ("imap", watched.imap.tls_port, True, "alice")
    assert session.ended is not None
    assert before - 1 < session.began <= session.ended < time.time() + 1
    first, second = watched.log.commands("imap")
    assert (first.session, first.tag, first.name, first.line, first.user) == (
        session.number,
        "t1",
        "AUTHENTICATE",
        "t1 AUTHENTICATE PLAIN <17 octets>",
        None,
    )
    assert (second.tag, second.name, second.line, second.user) == ("t2", "LIST", 't2 LIST "" *', "alice")
    assert watched.log.commands("pop") == ()
    assert watched.log.commands() == (first, second)
    (attempt,) = watched.attempts
    assert attempt == Attempt("PLAIN", True, True, 1, "accepted", "alice")
    assert (attempt.service, attempt.session, attempt.challenge, attempt.credential) == ("imap", session.number, "", "")
    assert "PLAIN" in attempt.offered
    assert before - 1 < attempt.when < time.time() + 1
    dialogue = watched.log.dialogue(session.number)
    assert dialogue.splitlines()[1] == "C: t1 AUTHENTICATE PLAIN <17 octets>"
    assert dialogue.splitlines()[2].startswith("S: t1 OK ")
    assert GOOD not in dialogue
    assert watched.log.dialogue(0) == ""


def test_what_is_no_command_has_no_name_and_its_line_is_not_shown(
    watched: Servers, connect: Callable[..., Raw]
) -> None:
    for protocol in ("pop", "smtp"):
        play(watched, connect(watched, protocol), protocol, "C: wonderland\n")
        command = watched.log.commands(protocol)[-1]
        assert (command.name, command.line) == ("", "<10 octets>")
    play(watched, connect(watched, "imap"), "imap", "C: secret wonderland\n")
    command = watched.log.commands("imap")[-1]
    assert (command.tag, command.name, command.line) == ("", "", "<0 octets>")


@pytest.mark.parametrize(
    ("script", "challenge"),
    [
        (f"C: a AUTHENTICATE XOAUTH2 {NEW}\nS: a OK ...", ""),
        (f"C: a AUTHENTICATE XOAUTH2 {OLD}\nS: + ...\nC: \n{REFUSED}", "answered"),
        (f"C: a AUTHENTICATE XOAUTH2 {OLD}\nS: + ...\nC: *\n{REFUSED}", "cancelled"),
        (f"C: a AUTHENTICATE XOAUTH2 {OLD}\nS: + ...\nC: {OLD}\n{REFUSED}", "resent"),
        (f"C: a AUTHENTICATE XOAUTH2 {OLD}\nS: + ...", "unanswered"),
    ],
)
def test_an_attempt_tells_what_became_of_the_error_challenge(
    script: str, challenge: str, watched: Servers, connect: Callable[..., Raw]
) -> None:
    play(watched, connect(watched, "imap"), "imap", script)
    (attempt,) = watched.attempts
    assert attempt.challenge == challenge
    assert re.fullmatch("[0-9a-f]{32}", attempt.credential)


def test_the_same_token_is_known_again_and_by_nothing_else(watched: Servers, connect: Callable[..., Raw]) -> None:
    for token in (NEW, NEW, OLD):
        play(watched, connect(watched, "smtp"), "smtp", f"C: AUTH XOAUTH2 {token}\n")
    first, second, third = (attempt.credential for attempt in watched.attempts)
    assert first == second != third
    other = Journal(Clock())
    assert other.digest(b"good-token") != Journal(Clock()).digest(b"good-token")


def test_a_login_that_a_fault_has_answered_is_an_attempt_too(watched: Servers, connect: Callable[..., Raw]) -> None:
    watched.imap.on("AUTH").drop()
    play(watched, connect(watched, "imap"), "imap", f"C: a AUTHENTICATE XOAUTH2 {NEW}\nE:")
    watched.imap.on("AUTH").reply("NO [AUTHENTICATIONFAILED] Invalid")
    play(watched, connect(watched, "imap"), "imap", f"C: a AUTHENTICATE XOAUTH2 {NEW}\n{REFUSED}")
    assert [attempt.outcome for attempt in watched.attempts] == ["unfinished", "credentials"]
    watched.assert_token_sent_once()
    play(watched, connect(watched, "imap"), "imap", f"C: a AUTHENTICATE XOAUTH2 {NEW}\nS: a OK ...")
    with pytest.raises(AssertionError, match="refused token again"):
        watched.assert_token_sent_once()


def test_a_token_that_is_sent_again_fails_the_test_with_the_dialogue(
    watched: Servers, connect: Callable[..., Raw]
) -> None:
    with pytest.raises(AssertionError, match="no client sent a token"):
        watched.assert_token_sent_once()
    play(watched, connect(watched, "imap"), "imap", f"C: a AUTHENTICATE XOAUTH2 {OLD}\nS: + ...\nC: \n{REFUSED}")
    watched.assert_token_sent_once()
    play(watched, connect(watched, "imap"), "imap", f"C: b AUTHENTICATE XOAUTH2 {OLD}\nS: + ...\nC: \nS: b NO ...")
    with pytest.raises(AssertionError) as failed:
        watched.assert_token_sent_once()
    number = watched.log.sessions[-1].number
    lines = str(failed.value).splitlines()
    assert lines[:3] == [f"imap session {number}: sent the refused token again", "", f"session {number}:"]
    assert "C: b AUTHENTICATE XOAUTH2 <38 octets>" in lines
    assert "expired-token" not in str(failed.value)
    assert OLD not in str(failed.value)


def test_a_credential_in_the_clear_fails_the_test(watched: Servers, connect: Callable[..., Raw]) -> None:
    watched.assert_no_cleartext_credential()
    play(watched, connect(watched, "pop"), "pop", f"C: AUTH PLAIN {GOOD}\nS: +OK ...")
    watched.assert_no_cleartext_credential()
    play(watched, connect(watched, "pop", "clear"), "pop", f"C: AUTH PLAIN {GOOD}\nS: -ERR ...")
    with pytest.raises(AssertionError, match="sent a credential in the clear"):
        watched.assert_no_cleartext_credential()


def test_an_error_challenge_without_an_answer_fails_the_test(watched: Servers, connect: Callable[..., Raw]) -> None:
    with pytest.raises(AssertionError, match="no client got an error challenge"):
        watched.assert_error_challenge_answered()
    play(watched, connect(watched, "imap"), "imap", f"C: a AUTHENTICATE XOAUTH2 {OLD}\nS: + ...\nC: \n{REFUSED}")
    watched.assert_error_challenge_answered()
    play(watched, connect(watched, "imap"), "imap", f"C: a AUTHENTICATE XOAUTH2 {OLD}\nS: + ...")
    with pytest.raises(AssertionError, match="never answered the error challenge"):
        watched.assert_error_challenge_answered()


def test_whoever_watches_is_told_of_everything_in_order(watched: Servers, connect: Callable[..., Raw]) -> None:
    told: list[Any] = []
    journal = watched._backend.journal
    stop = watched.call(lambda: journal.watch(told.append))
    play(watched, connect(watched, "imap"), "imap", f"C: a AUTHENTICATE PLAIN {GOOD}\nS: a OK ...")
    watched.call(stop)
    play(watched, connect(watched, "imap"), "imap", "C: a NOOP\nS: a OK ...")
    assert [type(event) for event in told] == [Session, Session, Command, Attempt, Session, Session]
    assert [(event.tls, event.user, event.ended is None) for event in told if isinstance(event, Session)] == [
        (False, None, True),
        (True, None, True),
        (True, "alice", True),
        (True, "alice", False),
    ]


def test_what_is_kept_is_bounded() -> None:
    journal = Journal(Clock())
    for number in range(12_000):
        record = journal.open("imap", 1, deque())
        record.begin("NOOP", b"a NOOP\r\n", tls=True)
        record.note("a NOOP")
        record.attempt(Attempt("PLAIN", True, True, 1, "credentials"), ())
        record.judge.speak_early("before-greeting")
        journal.refuse(str(number))
        record.end()
    assert (len(journal.sessions), len(journal.commands), len(journal.attempts)) == (1_000, 10_000, 1_000)
    assert (len(journal.verdicts), len(journal.refused)) == (1_000, 10_000)
    assert journal.sessions[-1].number == 12_000
    journal.clear()
    assert (journal.sessions, list(journal.commands), list(journal.verdicts), journal.refused) == ([], [], [], {})


def test_times_are_those_of_the_clock(connect: Callable[..., Raw]) -> None:
    with reference.running() as servers:
        raw = connect(servers, "imap")
        raw.play("S: * OK ...\nC: a NOOP\nS: a OK ...")
        servers.clock.advance(hours=2)
        raw.play("C: b NOOP\nS: b OK ...")
        first, second = servers.log.commands()
    assert 7_199 < second.when - first.when < 7_260


def test_the_log_can_be_read_in_any_thread_while_clients_work(watched: Servers, connect: Callable[..., Raw]) -> None:
    stop = threading.Event()
    failed: list[BaseException] = []

    def read() -> None:
        try:
            while not stop.is_set():
                _ = (watched.attempts, watched.verdicts, watched.log.commands(), watched.log.sessions)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    for _ in range(10):
        play(watched, connect(watched, "smtp"), "smtp", f"C: AUTH PLAIN {WRONG}\nS: 535 ...")
    stop.set()
    thread.join()
    assert failed == []
    assert len(watched.attempts) == 10


@pytest.mark.parametrize("protocol", ["imap", "pop", "smtp"])
@pytest.mark.parametrize("token", ["good", "expired"])
@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_our_own_clients_get_no_verdict_with_a_token(
    protocol: str, token: str, mechanism: str, watched: Servers, client: Callable[..., Any]
) -> None:
    endpoint = getattr(watched, protocol)
    with client(endpoint, "TLS", watched.client_context()) as conn:
        try:
            bearer = sasl.Bearer("alice", watched.tokens[token])  # type: ignore[index]
            PROTOCOLS[protocol].binding.authenticate(conn, bearer, mechanism=mechanism)
        except sasl.AuthenticationFailed:
            assert token == "expired"
    assert watched.verdicts == ()
    watched.assert_token_sent_once()
    if token == "expired":
        watched.assert_error_challenge_answered()
