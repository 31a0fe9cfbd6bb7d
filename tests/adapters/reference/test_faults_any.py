"""Any faults, struck at any lines of a client: no server fails by them, and no journal tells a secret."""

from __future__ import annotations

import errno
import logging
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sasl import Policy
from sasl.adapters import reference
from sasl.adapters.reference import Rule, Settings
from sasl.adapters.reference import effects as does

from .conftest import plain
from .test_verdicts import xoauth2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sasl.adapters.reference import Servers

SECRETS = (
    *("wonderland", "looking-glass", "good-token", "expired-token"),
    plain("alice", "wonderland"),
    xoauth2("good-token"),
)
LINES = [
    f"AUTHENTICATE PLAIN {plain('alice', 'wonderland')}",
    f"AUTHENTICATE XOAUTH2 {xoauth2('expired-token')}",
    "AUTHENTICATE SCRAM-SHA-256",
    f"AUTH PLAIN {plain('alice', 'looking-glass')}",
    f"AUTH XOAUTH2 {xoauth2('good-token')}",
    "AUTH PLAIN",
    plain("alice", "wonderland"),
    xoauth2("good-token"),
    "*",
    "",
    "LOGIN alice wonderland",
    "LOGIN {5+}\r\nalice {10+}\r\nwonderland",
    "LOGIN {5+}\r\nalice",
    "USER alice",
    "PASS wonderland",
    "EHLO me",
    "MAIL FROM:<a@b>",
    "RCPT TO:<alice>",
    "DATA\r\nx\r\n.",
    "BDAT 12 LAST\r\nwonderland\r\n",
    "SELECT INBOX",
    "APPEND INBOX {3+}\r\nx\r\n",
    "IDLE\r\nDONE",
    "CAPABILITY",
    "CAPA",
    "NOOP",
    "wonderland",
    "wonderland wonderland",
    "STARTTLS",
    "STLS",
    "LOGOUT",
    "QUIT",
]
EVENTS = [
    "*",
    "AUTH",
    "LOGIN",
    "PASS",
    "NOOP",
    "DATA",
    "BDAT",
    "APPEND",
    "IDLE",
    "CAPA",
    "MAIL",
    "greeting",
    "STARTTLS",
]
EFFECTS = st.sampled_from(
    [
        does.DROP,
        does.RESET,
        does.ANSWER,
        does.ACCEPT,
        does.Reply("NO [AUTHENTICATIONFAILED] no"),
        does.Reply("* BYE\n+ x\nBAD"),
        does.Raw(b"\xff\x00"),
        does.Challenge('{"status":"400"}'),
        does.Challenge(raw=b"!!!", count=None),
        does.SayFirst("* NO x"),
        does.Delay(0.001),
        does.Split(7),
        does.Truncate(5),
        does.Close(),
        does.Close("* BYE"),
    ]
)
RULES = st.builds(
    Rule,
    st.just("*"),
    st.sampled_from([*EVENTS, "AUTH:continuation", "AUTH:end", "LOGIN:end", "PASS:end", "DATA:end"]),
    st.lists(EFFECTS, max_size=3).map(tuple),
    nth=st.integers(1, 3),
    times=st.none() | st.integers(1, 2),
)


@pytest.fixture(scope="module")
def any_servers() -> Iterator[Servers]:
    tokens = {"good": "good-token", "expired": "expired-token"}
    hurried = Settings(deadline=0.5, grace=0.1, policy=Policy(plaintext="loopback"))
    with reference.running(tokens=tokens, settings=hurried) as servers:  # type: ignore[arg-type]
        yield servers


def test_no_server_fails_by_a_fault_and_no_secret_is_told(
    any_servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    @given(
        protocol=st.sampled_from(["imap", "pop", "smtp", "lmtp"]),
        rules=st.lists(RULES, max_size=3),
        lines=st.lists(st.sampled_from(LINES), max_size=8),
    )
    @settings(max_examples=100, deadline=None)
    def strikes(protocol: str, rules: list[Rule], lines: list[str]) -> None:
        any_servers.call(any_servers._backend.journal.clear)
        caplog.clear()
        for rule in rules:
            any_servers.faults.add(rule)
        told = hold(any_servers, protocol, lines)
        any_servers.faults.clear()
        assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
        for secret in SECRETS:
            assert secret not in told

    strikes()


def hold(servers: Servers, protocol: str, lines: list[str]) -> str:
    """Send lines and read all that comes; return what the servers keep of it."""
    endpoint = getattr(servers, protocol)
    sent = [
        f"t{number} {line}" if protocol == "imap" and line not in ("*", "") else line
        for number, line in enumerate(lines)
    ]
    try:
        with socket.create_connection((endpoint.host, endpoint.port), timeout=5) as sock:
            sock.sendall("".join(f"{line}\r\n" for line in sent).encode())
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65_536):
                pass
    except ConnectionError:
        pass
    except OSError as error:
        if error.errno != errno.ENOTCONN:  # a connection that was reset
            raise
    log = servers.log
    kept = [log.dialogue(session.number) for session in log.sessions]
    kept += map(repr, (log.commands(), log.attempts, [attempt.reason for attempt in log.attempts], log.verdicts))
    return "\n".join(kept)
