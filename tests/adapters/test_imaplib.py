"""What is imaplib's own: state and capabilities, LOGIN, PREAUTH, BYE, and what is left for the next command."""

from __future__ import annotations

import base64
import imaplib
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest

import sasl
import sasl.adapters.imaplib
from sasl.adapters.binding import log_in
from sasl.adapters.imaplib import (
    LIBRARY,
    IMAPConnectionLost,
    IMAPMechanismUnavailable,
    IMAPPolicyViolation,
    IMAPProtocolError,
    authenticate,
)

from ..support.leaks import seen

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD = sasl.Password("alice", "wonderland")
PLAIN = base64.b64encode(b"\0alice\0wonderland")
LOOPBACK = sasl.Policy(plaintext="loopback")
ALWAYS = sasl.Policy(plaintext="always")

COMMAND = b"{tag} AUTHENTICATE PLAIN " + PLAIN


# --- state and capabilities


def test_the_state_is_authenticated_and_the_next_command_that_needs_it_is_sent(imap: Any, stage: Any) -> None:
    conn, _ = stage.play(
        imap, [*imap.offer("PLAIN"), (COMMAND, imap.yes), (b"{tag} SELECT INBOX", b"* 3 EXISTS\r\n{tag} OK done\r\n")]
    )
    authenticate(conn, PASSWORD)
    assert conn.state == "AUTH"
    assert conn.select() == ("OK", [b"3"])


ASKED = (b"{tag} CAPABILITY", b"* CAPABILITY IMAP4rev1 after\r\n{tag} OK done\r\n")


@pytest.mark.parametrize(
    "turns",
    [
        [(COMMAND, b"{tag} OK [CAPABILITY IMAP4rev1 after] Logged in\r\n")],
        [(COMMAND, b"* CAPABILITY IMAP4rev1 after\r\n{tag} OK Logged in\r\n")],
        [(COMMAND, b"{tag} OK Logged in\r\n"), ASKED],
    ],
    ids=["in the reply", "untagged", "asked again"],
)
def test_the_capabilities_are_those_after_the_login(imap: Any, stage: Any, turns: Any) -> None:
    conn, _ = stage.play(imap, [*imap.offer("PLAIN"), *turns, imap.noop])
    assert "AUTH=PLAIN" in conn.capabilities
    typ, [text] = authenticate(conn, PASSWORD)
    assert (typ, text.endswith(b"Logged in")) == ("OK", True)
    assert conn.capabilities == ("IMAP4REV1", "AFTER")
    conn.noop()


@pytest.mark.parametrize(
    "answer", [b"{tag} BAD what?\r\n", b"{tag} NO not now\r\n", b"{tag} OK nothing\r\n"], ids=["BAD", "NO", "none"]
)
def test_a_server_that_does_not_name_its_capabilities_leaves_none(imap: Any, stage: Any, answer: bytes) -> None:
    conn, _ = stage.play(
        imap, [*imap.offer("PLAIN"), (COMMAND, b"{tag} OK\r\n"), (b"{tag} CAPABILITY", answer), imap.noop]
    )
    assert authenticate(conn, PASSWORD) == ("OK", [b""])
    assert conn.capabilities == ()
    assert conn.state == "AUTH"
    conn.noop()


def test_capabilities_that_came_unasked_before_the_login_are_not_those_after_it(imap: Any, stage: Any) -> None:
    conn, _ = stage.play(
        imap,
        [
            *imap.offer("PLAIN"),
            (b"{tag} NOOP", b"* CAPABILITY IMAP4rev1 BEFORE\r\n{tag} OK\x20\r\n"),
            (COMMAND, b"{tag} OK done\r\n"),
            (b"{tag} CAPABILITY", b"{tag} OK nothing\r\n"),
        ],
    )
    conn.noop()
    authenticate(conn, PASSWORD)
    assert conn.capabilities == ()


@pytest.mark.parametrize(
    "answer", ["close", [b"* BYE too late\r\n", "close"], [b"* CAPABILITY IMAP", "close"]], ids=["EOF", "BYE", "cut"]
)
def test_a_connection_that_ends_before_the_capabilities_is_lost(imap: Any, stage: Any, answer: Any) -> None:
    conn, _ = stage.play(imap, [*imap.offer("PLAIN"), (COMMAND, b"{tag} OK done\r\n"), (b"{tag} CAPABILITY", answer)])
    with pytest.raises(IMAPConnectionLost):
        authenticate(conn, PASSWORD)
    assert imap.is_closed(conn)


def test_a_server_that_is_silent_when_asked_for_its_capabilities_is_lost(imap: Any, stage: Any) -> None:
    conn, _ = stage.play(imap, [*imap.offer("PLAIN"), (COMMAND, b"{tag} OK done\r\n"), (None, "hang")])
    with pytest.raises(IMAPConnectionLost, match="in time"):
        authenticate(conn, PASSWORD, timeout=0.05)
    assert imap.is_closed(conn)


@pytest.mark.parametrize("untagged", [b"* OK ", b"* NOTE {100000}\r\n"], ids=["line", "literal"])
def test_a_server_that_says_its_capabilities_an_octet_at_a_time_is_lost(imap: Any, stage: Any, untagged: bytes) -> None:
    turns = [*imap.offer("PLAIN"), (COMMAND, b"{tag} OK done\r\n"), (b"{tag} CAPABILITY", [untagged, "drip"])]
    conn, _ = stage.play(imap, turns)
    with pytest.raises(IMAPConnectionLost, match="in time"):
        authenticate(conn, PASSWORD, timeout=0.2)
    assert imap.is_closed(conn)


def test_capabilities_behind_a_literal_are_read_under_a_time_out(imap: Any, stage: Any) -> None:
    answer = b"* NOTE {9}\r\none\r\ntwo\n end\r\n* CAPABILITY IMAP4rev1 after\r\n{tag} OK done\r\n"
    turns = [*imap.offer("PLAIN"), (COMMAND, b"{tag} OK done\r\n"), (b"{tag} CAPABILITY", answer), imap.noop]
    conn, _ = stage.play(imap, turns)
    authenticate(conn, PASSWORD, timeout=5)
    assert conn.capabilities == ("IMAP4REV1", "AFTER")
    conn.noop()


def test_a_refused_login_leaves_state_and_capabilities_as_they_were(imap: Any, stage: Any) -> None:
    conn, _ = stage.play(imap, [*imap.offer("PLAIN"), (COMMAND, imap.no)])
    before = conn.capabilities
    with pytest.raises(imaplib.IMAP4.error) as caught:
        authenticate(conn, PASSWORD)
    assert caught.value.args == ("[AUTHENTICATIONFAILED] Invalid credentials (Failure)",)
    assert str(caught.value) == "Invalid credentials (Failure)"
    assert caught.value.response_code == "AUTHENTICATIONFAILED"
    assert (conn.state, conn.capabilities) == ("NONAUTH", before)


def test_a_refusal_without_text_still_says_something(imap: Any, stage: Any) -> None:
    conn, _ = stage.play(imap, [*imap.offer("PLAIN"), (COMMAND, b"{tag} NO\r\n")])
    with pytest.raises(imaplib.IMAP4.error, match="refused") as caught:
        authenticate(conn, PASSWORD)
    assert caught.value.args == (str(caught.value),)


@pytest.mark.parametrize("state", ["AUTH", "SELECTED", "LOGOUT"])
def test_a_login_in_another_state_is_the_callers_mistake(imap: Any, stage: Any, state: str) -> None:
    conn, server = stage.play(imap, imap.offer("PLAIN"))
    conn.state = state
    with pytest.raises(sasl.UsageError, match=state):
        authenticate(conn, PASSWORD)
    conn.state = "NONAUTH"
    imap.close(conn)
    assert len(server.heard()) == 1


def test_a_second_login_is_the_callers_mistake(imap: Any, stage: Any) -> None:
    conn, _ = stage.play(imap, [*imap.offer("PLAIN"), (COMMAND, imap.yes)])
    authenticate(conn, PASSWORD)
    with pytest.raises(sasl.UsageError):
        authenticate(conn, PASSWORD)


@pytest.mark.parametrize("greeting", [b"* PREAUTH as bob\r\n", b"* PREAUTH [CAPABILITY IMAP4rev1] as bob\r\n"], ids=str)
def test_preauth_is_refused_without_sending_anything(imap: Any, stage: Any, greeting: bytes) -> None:
    conn, server = stage.play(imap, [*imap.offer("PLAIN"), imap.noop], greeting=greeting)
    with pytest.raises(IMAPPolicyViolation, match="PREAUTH"):
        authenticate(conn, PASSWORD)
    conn.noop()
    imap.close(conn)
    assert len(server.heard()) == 2


# --- the exchange


def test_the_tag_of_the_command_cannot_be_guessed(imap: Any, stage: Any) -> None:
    tags = set()
    for _ in range(2):
        conn, server = stage.play(imap, [*imap.offer("PLAIN"), (COMMAND, imap.yes)])
        authenticate(conn, PASSWORD)
        imap.close(conn)
        tag = server.heard()[-1].split()[0]
        assert re.fullmatch(rb"S[0-9a-f]{16}", tag)
        tags.add(tag)
    assert len(tags) == 2


def test_without_sasl_ir_no_initial_response_is_sent(imap: Any, stage: Any) -> None:
    conn, _ = stage.play(
        imap, [*imap.offer("PLAIN", extra=()), (b"{tag} AUTHENTICATE PLAIN", b"+ \r\n"), (PLAIN, imap.yes)]
    )
    authenticate(conn, PASSWORD)


def test_untagged_lines_and_a_bare_plus_do_not_disturb(imap: Any, stage: Any) -> None:
    conn, _ = stage.play(
        imap,
        [
            *imap.offer("PLAIN"),
            (b"{tag} AUTHENTICATE PLAIN", b"* OK [ALERT] be quick\r\n* NOTE {3}\r\n+ x end\r\n+\r\n"),
            (PLAIN, b"* OK nearly\r\n" + imap.yes),
        ],
    )
    authenticate(conn, PASSWORD, initial_response=False)


@pytest.mark.parametrize("announced", [b"* BYE Session expired, please login again.\r\n"])
def test_the_text_of_a_bye_is_kept(imap: Any, stage: Any, announced: bytes) -> None:
    conn, _ = stage.play(imap, [*imap.offer("PLAIN"), (COMMAND, [announced, "close"])])
    with pytest.raises(imaplib.IMAP4.abort, match="Session expired") as caught:
        authenticate(conn, PASSWORD)
    assert isinstance(caught.value, sasl.ConnectionLost)
    assert caught.value.server_text == "Session expired, please login again."
    assert imap.is_closed(conn)


def test_bad_is_no_refusal_of_the_credential(imap: Any, stage: Any) -> None:
    conn, _ = stage.play(imap, [*imap.offer("PLAIN"), (COMMAND, b"{tag} BAD Cannot parse that\r\n"), imap.noop])
    with pytest.raises(sasl.ProtocolError, match="Cannot parse that") as caught:
        authenticate(conn, PASSWORD)
    assert isinstance(caught.value, imaplib.IMAP4.error)
    assert caught.value.args == (str(caught.value),)
    conn.noop()


def test_a_with_block_ends_quietly_after_the_connection_was_lost(imap: Any, stage: Any) -> None:
    conn, _ = stage.play(imap, [*imap.offer("PLAIN"), (COMMAND, "close")])
    with pytest.raises(IMAPConnectionLost), conn:  # at whose end imaplib logs out
        authenticate(conn, PASSWORD)


def test_a_line_that_is_too_long_for_imaplib_is_over_the_limit(
    imap: Any, stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    conn, _ = stage.play(imap, [*imap.offer("PLAIN"), (COMMAND, b"* " + b"x" * 200 + b"\r\n")])
    monkeypatch.setattr(imaplib, "_MAXLINE", 100)
    with pytest.raises(sasl.LimitExceeded) as caught:
        authenticate(conn, PASSWORD)
    assert isinstance(caught.value, imaplib.IMAP4.error)
    assert imap.is_closed(conn)


def test_a_class_whose_readline_aborts_has_lost_the_connection(imap: Any, stage: Any) -> None:
    conn, _ = stage.play(imap, [*imap.offer("PLAIN"), (COMMAND, "hang")])

    def abort() -> bytes:
        raise conn.abort("gone")

    with pytest.raises(IMAPConnectionLost):
        log_in(LIBRARY, conn, PASSWORD, watch=lambda *_: setattr(conn, "readline", abort))


# --- LOGIN


def test_a_password_goes_by_login_where_the_server_has_no_mechanism_for_it(imap: Any, stage: Any) -> None:
    watched = []
    conn, _ = stage.play(
        imap, [*imap.offer("XOAUTH2"), (rb'{tag} LOGIN "al\"ice" "wonder\\land"', imap.yes), imap.noop]
    )
    credentials = sasl.Password('al"ice', "wonder\\land")
    answer = log_in(LIBRARY, conn, credentials, watch=lambda choice, _: watched.append(choice.name))
    assert answer == imap.returned
    assert watched == ["IMAP-LOGIN"]
    assert conn.state == "AUTH"
    conn.noop()


def test_login_sends_what_is_not_ascii_as_a_literal(imap: Any, stage: Any) -> None:
    password = "p\xe4ssw\xf6rd".encode()
    conn, _ = stage.play(
        imap,
        [*imap.offer(), (b"{tag} LOGIN alice {%d}" % len(password), b"+ go on\r\n"), (password, imap.yes)],
        module=sasl.adapters.imaplib,
    )
    assert conn.login("alice", "p\xe4ssw\xf6rd") == imap.returned


@pytest.mark.parametrize("mechanism", [None, "IMAP-LOGIN"])
def test_under_logindisabled_login_is_never_sent(imap: Any, stage: Any, mechanism: str | None) -> None:
    conn, server = stage.play(imap, imap.offer(extra=("LOGINDISABLED",)))
    with pytest.raises(IMAPMechanismUnavailable, match="LOGINDISABLED"):
        authenticate(conn, PASSWORD, mechanism=mechanism)
    imap.close(conn)
    assert len(server.heard()) == 1


def test_login_is_not_sent_without_tls(imap: Any, stage: Any) -> None:
    conn, server = stage.play(imap, imap.offer(), tls=False)
    with pytest.raises(IMAPPolicyViolation):
        authenticate(conn, PASSWORD)
    imap.close(conn)
    assert len(server.heard()) == 1


@pytest.mark.parametrize("level", [4, 5])
def test_the_log_of_commands_that_imaplib_keeps_holds_no_password(
    imap: Any, stage: Any, capsys: pytest.CaptureFixture[str], level: int
) -> None:
    conn, _ = stage.play(imap, [*imap.offer(), (None, b"{tag} OK done\r\n"), ASKED])
    conn.debug = level
    authenticate(conn, PASSWORD)
    conn.print_log()
    printed = capsys.readouterr().err
    assert "CAPABILITY" in printed
    assert "LOGIN <5 octets> <10 octets>" in printed
    assert seen([printed], "wonderland") == []


class Chatty(imaplib.IMAP4):
    """A class that prints what it sends, as people write it to see what goes on."""

    def send(self, data: Any) -> None:
        if self.debug >= 4:
            print(data)
        super().send(data)


def test_the_debug_output_of_a_class_of_the_callers_is_mute_meanwhile(
    imap: Any, stage: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    server = stage.serve(imap, [*imap.offer("PLAIN"), (COMMAND, imap.yes), imap.noop], tls=False)
    conn = Chatty("127.0.0.1", server.port)
    stage.keep(lambda: imap.close(conn))
    conn.debug = 4
    authenticate(conn, PASSWORD, policy=LOOPBACK)
    conn.noop()
    printed = capsys.readouterr()
    assert "NOOP" in printed.out
    assert "AUTHENTICATE PLAIN <17 octets>" in printed.err
    assert PLAIN.decode() not in printed.out + printed.err


@pytest.mark.parametrize(("level", "shown"), [(3, False), (4, True)])
def test_the_exchange_is_printed_from_the_level_where_imaplib_prints_lines(
    imap: Any, stage: Any, capsys: pytest.CaptureFixture[str], level: int, shown: bool
) -> None:
    conn, _ = stage.play(imap, [*imap.offer("PLAIN"), (None, imap.yes)])
    conn.debug = level
    authenticate(conn, PASSWORD)
    assert ("C: " in capsys.readouterr().err) is shown


# --- other kinds of connection

SERVER = r"""
import sys
def say(text): sys.stdout.write(text + "\r\n"); sys.stdout.flush()
say("* OK ready")
for line in sys.stdin:
    tag, command, *_ = line.split()
    if command == "CAPABILITY": say("* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN")
    say(tag + " OK done")
"""


def test_a_connection_over_a_pipe_logs_in_where_the_policy_allows_it(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    conn = imaplib.IMAP4_stream(f"{sys.executable} {script}")
    with conn:
        with pytest.raises(IMAPPolicyViolation):
            authenticate(conn, PASSWORD, policy=LOOPBACK)
        with pytest.raises(sasl.UsageError, match="time-out"):
            authenticate(conn, PASSWORD, policy=ALWAYS, timeout=5)
        assert authenticate(conn, PASSWORD, policy=ALWAYS) == ("OK", [b"done"])


def test_what_came_before_tls_is_forgotten(imap: Any, stage: Any) -> None:
    conn, _ = stage.play(
        imap,
        [
            *imap.offer(extra=("STARTTLS",)),
            (b"{tag} STARTTLS", [b"* OK [ALERT] injected\r\n{tag} OK go\r\n", "tls"]),
            *imap.offer("PLAIN"),
        ],
        tls=False,
        module=sasl.adapters.imaplib,
    )
    conn.starttls(stage.client_context)
    assert conn.response("ALERT") == ("ALERT", [None])
    assert "AUTH=PLAIN" in conn.capabilities


@pytest.mark.parametrize("buffered", [[b"* injected\r\n"], [b""], []], ids=str)
def test_the_buffer_of_python_3_14_is_looked_at(imap: Any, stage: Any, buffered: list[bytes]) -> None:
    conn, _ = stage.play(
        imap,
        [*imap.offer(extra=("STARTTLS",)), (b"{tag} STARTTLS", [b"{tag} OK go\r\n", "tls"]), *imap.offer("PLAIN")],
        tls=False,
        module=sasl.adapters.imaplib,
    )
    conn._readbuf = buffered
    if any(buffered):
        with pytest.raises(IMAPPolicyViolation, match="in the clear"):
            conn.starttls(stage.client_context)
    else:
        conn.starttls(stage.client_context)


def test_under_tls_starttls_is_refused_as_imaplib_does(imap: Any, stage: Any) -> None:
    conn, _ = stage.play(imap, [*imap.offer(extra=("STARTTLS",)), imap.noop], module=sasl.adapters.imaplib)
    with pytest.raises(imaplib.IMAP4.abort, match="already"):
        conn.starttls()
    conn.noop()


def test_starttls_under_preauth_is_a_violation_of_the_policy(imap: Any, stage: Any) -> None:
    turns = imap.offer(extra=("STARTTLS",))
    conn, _ = stage.play(imap, turns, tls=False, module=sasl.adapters.imaplib, greeting=b"* PREAUTH as bob\r\n")
    with pytest.raises(IMAPPolicyViolation):
        conn.starttls(stage.client_context)


def test_no_capabilities_under_tls_is_no_matter_of_the_policy(imap: Any, stage: Any) -> None:
    conn, _ = stage.play(
        imap,
        [
            *imap.offer(extra=("STARTTLS",)),
            (b"{tag} STARTTLS", [b"{tag} OK go\r\n", "tls"]),
            (b"{tag} CAPABILITY", b"{tag} OK done\r\n"),
        ],
        tls=False,
        module=sasl.adapters.imaplib,
    )
    with pytest.raises(IMAPProtocolError, match="CAPABILITY"):
        conn.starttls(stage.client_context)


def test_the_lines_are_audited_as_those_of_imaplib_are(imap: Any, stage: Any) -> None:
    audited: list[Any] = []
    enabled = [True]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if enabled and event == "imaplib.send":
            audited.append(arguments)

    conn, server = stage.play(imap, [*imap.offer("PLAIN"), (COMMAND, imap.yes)])
    sys.addaudithook(hook)
    authenticate(conn, PASSWORD)
    enabled.clear()
    assert [each for each, _ in audited] == [conn] * len(audited)
    assert [line for _, line in audited] == [server.received[-1] + b"\r\n"]
