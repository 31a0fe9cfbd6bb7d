"""What clients do wrong, each provoked by one that does it, and not told of one that does not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from sasl.adapters import reference
from sasl.adapters.reference.verdicts import VERDICTS

from ...support.protocols import b64
from .conftest import TOKENS, plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl.adapters.reference import Servers

    from .conftest import Raw


def xoauth2(token: str) -> str:
    return b64(f"user=alice\1auth=Bearer {token}\1\1").decode()


def oauthbearer(token: str) -> str:
    return b64(f"n,a=alice,\1auth=Bearer {token}\1\1").decode()


OLD, NEW, ALSO_OLD = xoauth2("expired-token"), xoauth2("good-token"), xoauth2("revoked-token")
GOOD, WRONG = plain("alice", "wonderland"), plain("alice", "looking-glass")
REFUSED = "S: a NO ..."


class Case(NamedTuple):
    """A client that provokes a verdict, and one that does the same right. `over` is how both connect."""

    name: str
    protocol: str
    over: str
    wrong: str
    right: str


CASES = [
    Case(
        "token-after-challenge",
        "imap",
        "TLS",
        f"C: a AUTHENTICATE XOAUTH2 {OLD}\nS: + ...\nC: {OLD}\n{REFUSED}",
        f"C: a AUTHENTICATE XOAUTH2 {OLD}\nS: + ...\nC: \n{REFUSED}",
    ),
    Case(
        "token-after-challenge",
        "smtp",
        "TLS",
        f"C: AUTH OAUTHBEARER {oauthbearer('expired-token')}\nS: 334 ...\nC: {oauthbearer('good-token')}\nS: 535 ...",
        f"C: AUTH OAUTHBEARER {oauthbearer('expired-token')}\nS: 334 ...\nC: AQ==\nS: 535 ...",
    ),
    Case(
        "challenge-unanswered",
        "imap",
        "TLS",
        f"C: a AUTHENTICATE XOAUTH2 {OLD}\nS: + ...",
        f"C: a AUTHENTICATE XOAUTH2\nS: + ~\nC: {OLD}\nS: + ...\nC: \n{REFUSED}",
    ),
    Case(
        "challenge-cancelled",
        "pop",
        "TLS",
        f"C: AUTH XOAUTH2 {OLD}\nS: + ...\nC: *\nS: -ERR ...",
        f"C: AUTH XOAUTH2\nS: + ~\nC: *\nS: -ERR ...\nC: AUTH XOAUTH2 {OLD}\nS: + ...\nC: \nS: -ERR ...",
    ),
    Case(
        "refused-token",
        "imap",
        "TLS",
        f"C: a AUTHENTICATE XOAUTH2 {OLD}\nS: + ...\nC: \n{REFUSED}\n" * 2,
        f"C: a AUTHENTICATE XOAUTH2 {OLD}\nS: + ...\nC: \n{REFUSED}\nC: a AUTHENTICATE XOAUTH2 {NEW}\nS: a OK ...",
    ),
    Case(
        "weaker-mechanism",
        "smtp",
        "TLS",
        f"C: AUTH PLAIN {WRONG}\nS: 535 ...\nC: AUTH LOGIN\nS: 334 ...\nC: *\nS: 501 ...",
        "C: AUTH LOGIN\nS: 334 ...\nC: *\nS: 501 ...\n"
        f"C: AUTH PLAIN {WRONG}\nS: 535 ...\nC: AUTH PLAIN {GOOD}\nS: 235 ...",
    ),
    Case(
        "weaker-mechanism",
        "imap",
        "TLS",
        f"C: a AUTHENTICATE PLAIN {WRONG}\n{REFUSED}\nC: a LOGIN alice looking-glass\n{REFUSED}",
        f"C: a LOGIN alice looking-glass\n{REFUSED}\nC: a AUTHENTICATE PLAIN {WRONG}\n{REFUSED}",
    ),
    Case(
        "star-after-refusal",
        "smtp",
        "TLS",
        f"C: AUTH PLAIN {WRONG}\nS: 535 ...\nC: *\nS: 500 ...",
        f"C: AUTH PLAIN {WRONG}\nS: 535 ...\nC: QUIT\nS: 221 ...",
    ),
    Case(
        "cleartext-credential",
        "smtp",
        "clear",
        f"C: AUTH PLAIN {GOOD}\nS: 538 ...",
        f"C: STARTTLS\nS: 220 ...\nT:\nC: EHLO me\nS: 250-localhost\n{{rest}}C: AUTH PLAIN {GOOD}\nS: 235 ...",
    ),
    Case(
        "cleartext-credential",
        "pop",
        "clear",
        "C: USER alice\nS: -ERR ...\nC: PASS wonderland\nS: -ERR ...",
        "C: USER alice\nS: -ERR ...\nC: QUIT\nS: +OK ...",
    ),
    Case(
        "cleartext-credential",
        "imap",
        "clear",
        "C: a LOGIN alice wonderland\nS: a NO ...",
        "C: a LOGIN {{5}}\nS: a NO ...\nC: b NOOP\nS: b OK ...",
    ),
    Case(
        "cleartext-credential",
        "imap",
        "clear",
        f"C: a AUTHENTICATE XOAUTH2 {NEW}\nS: a NO ...",
        "C: a AUTHENTICATE SCRAM-SHA-256 biwsbj1hbGljZSxyPW5vbmNl\nS: + ...\nC: *\nS: a BAD ...",
    ),
    Case(
        "mechanism-not-offered",
        "imap",
        "clear",
        "C: a AUTHENTICATE PLAIN\nS: a NO ...",
        "C: a AUTHENTICATE SCRAM-SHA-256\nS: + ~\nC: *\nS: a BAD ...",
    ),
    Case(
        "mechanism-not-offered",
        "smtp",
        "TLS",
        "C: AUTH CRAM-MD5\nS: 504 ...",
        "C: AUTH LOGIN\nS: 334 ...\nC: *\nS: 501 ...",
    ),
    Case(
        "after-bye",
        "imap",
        "TLS",
        "C: a CHECK\nS: * BYE soon\nS: a BAD ...\nC: b NOOP\nS: b OK ...",
        "C: a CHECK\nS: * BYE soon\nS: a BAD ...\nC: b LOGOUT\nS: * BYE ...\nS: b OK ...",
    ),
]

OPEN = {"imap": "S: * OK ...\n", "pop": "S: +OK ...\n", "smtp": "S: 220 ...\nC: EHLO me\nS: 250-localhost\n{rest}"}


def ended(servers: Servers) -> None:
    """Wait until the last session is over."""
    until = time.monotonic() + 5
    while servers.log.sessions[-1].ended is None:
        assert time.monotonic() < until
        time.sleep(0.001)


def play(servers: Servers, raw: Raw, protocol: str, script: str) -> None:
    """Hold a dialogue behind the greeting; `{rest}` in it is what is left of the answer to EHLO."""
    first, *more = (OPEN[protocol] + script).split("{rest}")
    raw.play(first, servers.client_context())
    for part in more:
        while raw.line()[3:4] == "-":
            pass
        raw.play(part, servers.client_context())
    raw.close()
    ended(servers)


def found(servers: Servers) -> list[str]:
    return [verdict.name for verdict in servers.verdicts]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}-{case.protocol}")
def test_a_client_that_does_wrong_is_told_of_and_one_that_does_not_is_not(
    case: Case, watched: Servers, connect: Callable[..., Raw]
) -> None:
    watched.imap.on("CHECK").say_first("* BYE soon")
    play(watched, connect(watched, case.protocol, case.over), case.protocol, case.wrong)
    assert case.name in found(watched)
    (verdict, *_) = (verdict for verdict in watched.verdicts if verdict.name == case.name)
    assert str(verdict) == f"{case.protocol} session {verdict.session}: {VERDICTS[case.name]}"
    assert verdict.session == watched.log.sessions[-1].number
    watched.call(watched._backend.journal.clear)
    watched.faults.clear()
    watched.imap.on("CHECK").say_first("* BYE soon")
    play(watched, connect(watched, case.protocol, case.over), case.protocol, case.right)
    assert case.name not in found(watched)


def test_a_client_that_speaks_before_the_greeting(watched: Servers, connect: Callable[..., Raw]) -> None:
    for protocol, line in (("imap", "a NOOP"), ("pop", "QUIT"), ("smtp", "EHLO me")):
        for over in ("clear", "TLS"):
            watched.call(watched._backend.journal.clear)
            getattr(watched, protocol).on("greeting").delay(0.05)
            raw = connect(watched, protocol, over)
            raw.play(f"C: {line}")
            raw.line()
            assert found(watched) == ["before-greeting"], (protocol, over)


def test_a_client_that_waits_for_the_greeting_may_send_all_at_once_then(
    watched: Servers, connect: Callable[..., Raw]
) -> None:
    watched.imap.on("greeting").delay(0.02)
    connect(watched, "imap").play("S: * OK ...\nC: a NOOP\nC: b NOOP\nS: a OK ...\nS: b OK ...")
    assert found(watched) == []


def test_a_client_that_speaks_in_the_clear_where_tls_comes_first(watched: Servers, connect: Callable[..., Raw]) -> None:
    import socket

    with socket.create_connection((watched.imap.host, watched.imap.tls_port)) as sock:
        sock.sendall(b"a CAPABILITY\r\nb CAPABILITY\r\n")
        sock.settimeout(5)
        while sock.recv(100):
            pass
    ended(watched)
    assert found(watched) == ["before-handshake"]


def test_a_client_that_sends_more_behind_starttls(watched: Servers, connect: Callable[..., Raw]) -> None:
    for protocol, line in (("imap", b"a STARTTLS\r\na NOOP\r\n"), ("pop", b"STLS\r\nNOOP\r\n")):
        watched.call(watched._backend.journal.clear)
        raw = connect(watched, protocol, "clear")
        raw.line()
        raw.send(line)
        raw.rest()
        assert found(watched) == ["across-starttls"]
    watched.call(watched._backend.journal.clear)
    connect(watched, "imap", "STARTTLS").play("C: a NOOP\nS: a OK ...")
    assert found(watched) == []


def test_an_initial_response_that_was_not_offered(watched: Servers, connect: Callable[..., Raw]) -> None:
    connect(watched, "imap").play(f"S: * OK ...\nC: a AUTHENTICATE PLAIN {GOOD}\nS: a OK ...")
    assert found(watched) == []
    watched.imap.hide("SASL-IR")
    connect(watched, "imap").play(f"S: * OK ...\nC: a AUTHENTICATE PLAIN\nS: + ~\nC: {GOOD}\nS: a OK ...")
    assert found(watched) == []
    connect(watched, "imap").play(f"S: * OK ...\nC: a AUTHENTICATE PLAIN {GOOD}\nS: a OK ...")
    assert found(watched) == ["initial-response"]


def test_what_was_told_in_the_clear_does_not_hold_under_tls(watched: Servers, connect: Callable[..., Raw]) -> None:
    raw = connect(watched, "imap", "STARTTLS")
    raw.play("C: a CAPABILITY\nS: * CAPABILITY ...\nS: a OK ...")
    raw.play(f"C: a AUTHENTICATE PLAIN {GOOD}\nS: a OK ...")
    assert found(watched) == []
    connect(watched, "imap", "STARTTLS").play(f"C: a AUTHENTICATE PLAIN {GOOD}\nS: a OK ...")
    assert found(watched) == ["initial-response"]


def test_a_token_that_one_server_refused_is_known_at_the_others(watched: Servers, connect: Callable[..., Raw]) -> None:
    play(watched, connect(watched, "imap"), "imap", f"C: a AUTHENTICATE XOAUTH2 {OLD}\nS: + ...\nC: \n{REFUSED}")
    play(watched, connect(watched, "smtp"), "smtp", f"C: AUTH XOAUTH2 {ALSO_OLD}\nS: 334 ...\nC: \nS: 535 ...")
    assert found(watched) == []
    play(watched, connect(watched, "smtp"), "smtp", f"C: AUTH XOAUTH2 {OLD}\nS: 334 ...\nC: \nS: 535 ...")
    assert found(watched) == ["refused-token"]


def test_a_token_for_another_service_is_refused_there_alone(connect: Callable[..., Raw]) -> None:
    with reference.running(tokens=TOKENS, oauth=True) as servers:
        sender = xoauth2(servers.oauth.issue("alice", scope="https://outlook.office.com/SMTP.Send"))
        login = f"C: a AUTHENTICATE XOAUTH2 {sender}\nS: + ...\nC: \n{REFUSED}"
        play(servers, connect(servers, "imap"), "imap", login)
        play(servers, connect(servers, "smtp"), "smtp", f"C: AUTH XOAUTH2 {sender}\nS: 235 ...")
        assert servers.attempts[0].outcome == "authorization"
        assert found(servers) == []
        play(servers, connect(servers, "imap"), "imap", login)
        assert found(servers) == ["refused-token"]


def test_a_temporary_refusal_makes_no_token_a_refused_one(connect: Callable[..., Raw]) -> None:
    def busy(verifier: reference.Verifier) -> object:
        class Busy:
            answers = verifier.answers

            def __call__(self, question: object) -> object:
                raise TimeoutError

        return Busy()

    with reference.running(tokens=TOKENS, checks=busy) as servers:  # type: ignore[arg-type]
        for _ in range(2):
            raw = connect(servers, "imap")
            play(servers, raw, "imap", f"C: a AUTHENTICATE XOAUTH2 {NEW}\nS: a NO [UNAVAILABLE] ...")
        assert found(servers) == []


def test_each_verdict_has_a_test() -> None:
    others = {"before-greeting", "before-handshake", "across-starttls", "initial-response"}
    assert {case.name for case in CASES} | others == set(VERDICTS)


def test_a_mechanism_is_not_offered_where_all_of_them_are_hidden(watched: Servers, connect: Callable[..., Raw]) -> None:
    watched.smtp.hide("AUTH")
    play(watched, connect(watched, "smtp", "TLS"), "smtp", f"C: AUTH PLAIN {GOOD}\nS: 235 ...")
    assert found(watched) == ["mechanism-not-offered"]


def test_a_refused_token_that_is_sent_again_after_the_error_challenge_is_told_of_as_that(
    watched: Servers, connect: Callable[..., Raw]
) -> None:
    login = f"C: a AUTHENTICATE XOAUTH2 {OLD}\nS: + ...\n"
    play(watched, connect(watched, "imap", "TLS"), "imap", f"{login}C: \n{REFUSED}\n{login}C: {OLD}\n{REFUSED}")
    assert found(watched) == ["refused-token", "token-after-challenge"]
