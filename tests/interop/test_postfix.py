"""Submission at Postfix, which leaves the credentials to Dovecot: smtplib, our drop-in classes and `sasl login`."""

from __future__ import annotations

import base64
import json
import os
import smtplib
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import sasl
import sasl.adapters.cli
import sasl.adapters.smtplib

from ..support.servers import CannotStart, processes, refuses
from . import dovecot as dovecot_module
from . import postfix as postfix_module

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .dovecot import Dovecot
    from .postfix import Postfix

    Start = Callable[..., Iterator[Any]]

YES = (235, b"2.7.0 Authentication successful")
NO = (535, b"5.7.8 Error: authentication failed: (reason unavailable)")
NO_TEXT = "Error: authentication failed: (reason unavailable)"

LENGTHS = (300, 700, 3000)
LONGEST_COMMAND = 512  # of SMTP, with its CRLF; Postfix itself takes 2,047 octets
LONGEST_INITIAL_TOKEN = 300

# What Postfix passes on of Dovecot's list, in its order: not EXTERNAL, ANONYMOUS or APOP.
OFFERED = ["PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "XOAUTH2", "OAUTHBEARER"]
PASSWORD = OFFERED[:6]
SERVER_FIRST = ("LOGIN", "CRAM-MD5", "DIGEST-MD5")
ALLOWED = sasl.Policy(allow=["CRAM-MD5", "DIGEST-MD5", "ANONYMOUS"])
# Lines that the client sends, the command among them, without an initial response.
TURNS = {"LOGIN": 3, "DIGEST-MD5": 3, "SCRAM-SHA-1": 4, "SCRAM-SHA-256": 4}

# (mechanism, state of the credential, octets of the token)
GOOD = [
    *((name, "good", 0) for name in PASSWORD),
    *((name, "good", size) for name in ("XOAUTH2", "OAUTHBEARER") for size in LENGTHS),
]
BAD = [
    *((name, "wrong", 0) for name in PASSWORD),
    *((name, kind, size) for name in ("XOAUTH2", "OAUTHBEARER") for kind in ("badsig", "expired") for size in LENGTHS),
]

good = pytest.mark.parametrize(("mechanism", "kind", "length"), GOOD)
bad = pytest.mark.parametrize(("mechanism", "kind", "length"), BAD)
initials = pytest.mark.parametrize("initial", [True, False], ids=["initial-response", "no-initial-response"])
tls = pytest.mark.parametrize("implicit", [True, False], ids=["implicit-tls", "starttls"])
classes = pytest.mark.parametrize("drop_in", [False, True], ids=["library-class", "drop-in-class"])


@contextmanager
def connected(server: Postfix, *, implicit: bool = True, drop_in: bool = False) -> Iterator[Any]:
    """A connection over TLS, of the library's class or of ours; `sent` is what went over it after the EHLO."""
    module = sasl.adapters.smtplib if drop_in else smtplib
    port, context = server.port(implicit=implicit), server.context()
    conn: Any
    if implicit:
        conn = module.SMTP_SSL("localhost", port, context=context)
    else:
        conn = module.SMTP("localhost", port)
        conn.starttls(context=context)
    conn.ehlo()
    conn.sent = tapped(conn)
    try:
        yield conn
    finally:
        conn.close()


def tapped(conn: Any) -> list[bytes]:
    """Let through and keep what the client sends."""
    sent: list[bytes] = []
    send = conn.send

    def tap(octets: Any) -> None:
        sent.append(octets.encode("ascii") if isinstance(octets, str) else bytes(octets))
        send(octets)

    conn.send = tap
    return sent


def who(server: Postfix, mechanism: str, kind: str, length: int) -> tuple[str, str]:
    dovecot = server.dovecot
    if mechanism in PASSWORD:
        return "alice", dovecot.users["alice"] if kind == "good" else "looking-glass"
    return dovecot.mailbox, dovecot.token(kind, length)


def log_in(conn: Any, user: str, secret: str, mechanism: str, *, initial: bool, drop_in: bool) -> Any:
    """By our login() on a class of ours, by `authenticate` on one of the library's."""
    if drop_in:
        conn.mechanism, conn.policy = mechanism, ALLOWED
        password = secret if mechanism in PASSWORD else lambda: secret
        return conn.login(user, password, initial_response_ok=initial)
    credentials = sasl.Password(user, secret) if mechanism in PASSWORD else sasl.Bearer(user, secret)
    return sasl.adapters.smtplib.authenticate(
        conn, credentials, mechanism=mechanism, initial_response=None if initial else False, policy=ALLOWED
    )


def had_initial_response(conn: Any) -> bool:
    """Whether the AUTH command, which is one that any server takes, held a message."""
    command: bytes = conn.sent[0]
    assert command.startswith(b"AUTH ")
    assert len(command) <= LONGEST_COMMAND
    return command.count(b" ") > 1


def fits(mechanism: str, length: int) -> bool:
    """Whether there is an initial response that may go with the command."""
    return mechanism not in SERVER_FIRST and length <= LONGEST_INITIAL_TOKEN


def takes_mail(conn: Any) -> bool:
    """Whether the session may do what only an authenticated one may."""
    return [conn.mail("alice@example.org")[0], conn.rcpt("bob@example.org")[0]] == [250, 250]


@tls
@initials
@classes
@good
def test_a_good_credential_logs_in(
    postfix: Postfix, *, mechanism: str, kind: str, length: int, drop_in: bool, initial: bool, implicit: bool
) -> None:
    with connected(postfix, implicit=implicit, drop_in=drop_in) as conn:
        user, secret = who(postfix, mechanism, kind, length)

        assert log_in(conn, user, secret, mechanism, initial=initial, drop_in=drop_in) == YES
        assert had_initial_response(conn) == (initial and fits(mechanism, length))
        assert takes_mail(conn)


@tls
@initials
@classes
@bad
def test_a_bad_credential_is_refused_with_the_reason_that_dovecot_gives_and_a_good_one_serves_then(
    postfix: Postfix, *, mechanism: str, kind: str, length: int, drop_in: bool, initial: bool, implicit: bool
) -> None:
    with connected(postfix, implicit=implicit, drop_in=drop_in) as conn:
        user, secret = who(postfix, mechanism, kind, length)
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            log_in(conn, user, secret, mechanism, initial=initial, drop_in=drop_in)

        error: Any = refused.value
        assert type(error) is sasl.adapters.smtplib.SMTPAuthenticationFailed
        assert (error.smtp_code, error.smtp_error) == error.args == NO
        assert (error.kind, error.response_code, error.server_text) == ("credentials", "535 5.7.8", NO_TEXT)
        assert error.mechanism == mechanism
        assert error.detail == postfix.dovecot.refusals.get(mechanism, {})
        assert error.new_token_may_help == (mechanism not in PASSWORD)
        assert secret not in repr(error) + str(error)
        assert had_initial_response(conn) == (initial and fits(mechanism, length))

        assert not takes_mail(conn)
        conn.rset()
        user, secret = who(postfix, mechanism, "good", length)
        assert log_in(conn, user, secret, mechanism, initial=initial, drop_in=drop_in) == YES
        assert takes_mail(conn)


Login = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def sasl_login(postfix: Postfix, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Login:
    """Run `sasl login` in this process, which spares its start; give its exit code and its report."""

    def run(mechanism: str, kind: str, length: int, *, initial: bool, implicit: bool) -> tuple[int, dict[str, Any]]:
        user, secret = who(postfix, mechanism, kind, length)
        monkeypatch.setenv("SECRET", secret)
        options = ("--mechanism", mechanism, "--password-env" if mechanism in PASSWORD else "--token-env", "SECRET")
        more = () if initial else ("--no-initial-response",)
        url = postfix.url(user, implicit=implicit)

        code = sasl.adapters.cli.main(["login", url, "--ca", str(postfix.dovecot.ca), "--json", *options, *more])

        output, errors = capsys.readouterr()
        assert secret not in output + errors
        return code, json.loads(output)

    return run


@tls
@initials
@good
def test_sasl_login_returns_0_for_a_good_credential(
    sasl_login: Login, *, mechanism: str, kind: str, length: int, initial: bool, implicit: bool
) -> None:
    code, report = sasl_login(mechanism, kind, length, initial=initial, implicit=implicit)

    assert code == 0, report
    assert report["ok"] is True
    assert report["mechanism"] == mechanism
    assert report["tls"]["version"] in ("TLSv1.2", "TLSv1.3")
    assert report["initial_response"] == (initial and fits(mechanism, length))
    assert report["turns"] == TURNS.get(mechanism, 2) - report["initial_response"]
    assert report["server_text"] == "Authentication successful"
    assert report["error"] is None


@tls
@initials
@bad
def test_sasl_login_returns_77_for_a_bad_credential(
    postfix: Postfix, sasl_login: Login, *, mechanism: str, kind: str, length: int, initial: bool, implicit: bool
) -> None:
    code, report = sasl_login(mechanism, kind, length, initial=initial, implicit=implicit)

    assert code == 77, report
    assert report["ok"] is False
    assert report["server_text"] == NO_TEXT
    assert report["initial_response"] == (initial and fits(mechanism, length))
    error = report["error"]
    assert (error["type"], error["kind"]) == ("AuthenticationFailed", "credentials")
    assert error["detail"] == postfix.dovecot.refusals.get(mechanism, {})
    assert error["advice"]


@pytest.mark.parametrize("mechanism", OFFERED)
def test_mail_is_taken_in_the_name_of_who_logged_in(postfix: Postfix, mechanism: str) -> None:
    with connected(postfix, drop_in=True) as conn:
        user, secret = who(postfix, mechanism, "good", 3000)
        log_in(conn, user, secret, mechanism, initial=True, drop_in=True)

        assert conn.sendmail("alice@example.org", ["bob@example.org"], "Subject: hello\r\n\r\nhello\r\n") == {}

    assert postfix.logs(f"sasl_method={mechanism}, sasl_username={user}\n")


def test_what_dovecot_offers_is_offered_but_for_what_postfix_does_not_want(postfix: Postfix) -> None:
    with connected(postfix) as conn:
        assert conn.esmtp_features["auth"].split() == OFFERED
        for who_else in (sasl.External("alice"), sasl.Anonymous("trace")):
            with pytest.raises(sasl.MechanismUnavailable):
                sasl.adapters.smtplib.authenticate(conn, who_else, policy=ALLOWED)
        assert conn.sent == []


@pytest.mark.parametrize("policy", [sasl.Policy(), ALLOWED], ids=["default", "all-allowed"])
def test_a_password_goes_by_the_strongest_that_is_offered(postfix: Postfix, policy: sasl.Policy) -> None:
    with connected(postfix) as conn:
        user, password = who(postfix, "PLAIN", "good", 0)
        assert sasl.adapters.smtplib.authenticate(conn, sasl.Password(user, password), policy=policy) == YES

        assert conn.sent[0].startswith(b"AUTH SCRAM-SHA-256 ")


@pytest.mark.parametrize("mechanism", ["CRAM-MD5", "DIGEST-MD5"])
def test_what_is_off_is_not_used_unless_it_is_allowed_by_name(postfix: Postfix, mechanism: str) -> None:
    with connected(postfix) as conn:
        user, password = who(postfix, mechanism, "good", 0)
        with pytest.raises(sasl.PolicyViolation):
            sasl.adapters.smtplib.authenticate(conn, sasl.Password(user, password), mechanism=mechanism)
        assert conn.sent == []


@pytest.mark.parametrize("user", ["joerg", "j\u00f6rg", "white rabbit"])
@pytest.mark.parametrize("mechanism", ["LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"])
def test_user_and_password_may_hold_any_letters_and_a_space(postfix: Postfix, mechanism: str, user: str) -> None:
    with connected(postfix) as conn:
        password = postfix.dovecot.users[user]
        assert log_in(conn, user, password, mechanism, initial=True, drop_in=False) == YES
        assert takes_mail(conn)


def test_without_a_login_no_mail_is_taken(postfix: Postfix) -> None:
    with connected(postfix) as conn:
        assert not takes_mail(conn)


def test_before_tls_no_auth_is_offered_and_nothing_is_sent(postfix: Postfix) -> None:
    with smtplib.SMTP("localhost", postfix.port(implicit=False)) as conn:
        conn.ehlo()
        sent = tapped(conn)
        with pytest.raises(smtplib.SMTPNotSupportedError) as refused:
            sasl.adapters.smtplib.authenticate(conn, sasl.Password(*who(postfix, "PLAIN", "good", 0)))
        assert sent == []

    assert isinstance(refused.value, sasl.MechanismUnavailable)


def test_postfix_calls_a_long_initial_response_a_refused_credential_so_none_is_sent(postfix: Postfix) -> None:
    user, token = who(postfix, "XOAUTH2", "good", 3000)
    message = base64.b64encode(f"user={user}\x01auth=Bearer {token}\x01\x01".encode("ascii")).decode("ascii")
    with connected(postfix) as conn:
        code, text = conn.docmd("AUTH", f"XOAUTH2 {message}")
        assert (code, b"Invalid base64 data in initial response" in text) == (535, True)

        assert log_in(conn, user, token, "XOAUTH2", initial=True, drop_in=False) == YES


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_a_token_may_be_as_long_as_the_server_takes_it(postfix: Postfix, mechanism: str) -> None:
    with connected(postfix) as conn:
        user, token = who(postfix, mechanism, "good", 8000)

        assert log_in(conn, user, token, mechanism, initial=True, drop_in=False) == YES


def test_a_token_that_is_too_long_for_the_server_is_not_called_a_refused_one(postfix: Postfix) -> None:
    with connected(postfix) as conn:
        user, token = who(postfix, "XOAUTH2", "good", 9500)
        with pytest.raises(sasl.AuthenticationFailed) as refused:
            log_in(conn, user, token, "XOAUTH2", initial=True, drop_in=False)

    assert refused.value.kind == "limit"
    assert refused.value.response_code == "500 5.5.6"
    assert not refused.value.new_token_may_help


def test_a_login_on_a_connection_that_is_logged_in_is_an_error(postfix: Postfix) -> None:
    with connected(postfix) as conn:
        user, password = who(postfix, "PLAIN", "good", 0)
        log_in(conn, user, password, "PLAIN", initial=True, drop_in=False)
        with pytest.raises(sasl.AuthenticationFailed) as refused:
            log_in(conn, user, password, "PLAIN", initial=True, drop_in=False)
        assert takes_mail(conn)

    assert (refused.value.kind, refused.value.response_code) == ("state", "503 5.5.1")


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "XOAUTH2", "OAUTHBEARER"])
def test_a_credential_that_nobody_is_left_to_check_is_not_refused(
    dovecot_and_postfix: tuple[Postfix, ExitStack], mechanism: str
) -> None:
    postfix, dovecot_alone = dovecot_and_postfix
    with connected(postfix) as conn:
        user, secret = who(postfix, mechanism, "good", 300)
        dovecot_alone.close()
        with pytest.raises(smtplib.SMTPAuthenticationError) as failed:
            log_in(conn, user, secret, mechanism, initial=True, drop_in=False)
        assert conn.noop()[0] == 250

    assert isinstance(failed.value, sasl.adapters.smtplib.SMTPTemporaryFailure)
    assert not isinstance(failed.value, sasl.AuthenticationFailed)
    assert (failed.value.kind, failed.value.response_code) == ("unavailable", "454 4.7.0")


@pytest.fixture
def dovecot_and_postfix(postfix: Postfix) -> Iterator[tuple[Postfix, ExitStack]]:
    """A pair of its own; closing the second value ends Dovecot."""
    with ExitStack() as dovecot_alone:
        dovecot = dovecot_alone.enter_context(dovecot_module.running())
        with postfix_module.running(dovecot) as server:
            yield server, dovecot_alone


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_postfix_calls_a_token_refused_that_dovecot_could_not_check_and_only_the_missing_reason_tells(
    postfix_in_vain: Postfix, mechanism: str
) -> None:
    with connected(postfix_in_vain) as conn:
        user, token = who(postfix_in_vain, mechanism, "good", 300)
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            log_in(conn, user, token, mechanism, initial=True, drop_in=False)

    assert isinstance(refused.value, sasl.AuthenticationFailed)
    assert refused.value.args == NO
    assert refused.value.detail == {}
    assert postfix_in_vain.dovecot.logs("500")


@pytest.fixture(scope="module")
def postfix_in_vain(start: Start, cannot_tell: Dovecot) -> Iterator[Postfix]:
    """One whose Dovecot asks another server about tokens, in vain."""
    yield from start(postfix_module.running, cannot_tell)


# --- the fixture itself

ANY_TEST = f"{Path(__file__)}::test_without_a_login_no_mail_is_taken"


@pytest.mark.parametrize(("required", "code"), [("", 0), ("1", 1)])
def test_without_a_postfix_the_tests_are_skipped_or_fail_with_the_reason(required: str, code: int) -> None:
    environment = {**os.environ, "SASLKIT_POSTCONF": "no-such-postconf", "SASLKIT_REQUIRE_INTEROP": required}
    command = [sys.executable, "-P", "-m", "pytest", "-p", "no:cacheprovider", "-q", ANY_TEST]

    run = subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True)

    assert run.returncode == code, run.stdout
    assert "there is no no-such-postconf on this machine" in run.stdout


def test_a_stopped_server_leaves_no_process_no_port_and_no_folder(dovecot: Dovecot, postfix: Postfix) -> None:
    with postfix_module.running(dovecot) as server:
        group = int((server.folder / "queue/pid/master.pid").read_text())
        assert len(processes(group)) > 1

    assert not server.folder.exists()
    assert processes(group) == []
    assert all(map(refuses, server.ports.values()))


def test_only_root_can_start_it(dovecot: Dovecot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(CannotStart, match="root"), postfix_module.running(dovecot):
        pass
