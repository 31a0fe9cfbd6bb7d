"""Every mechanism that Dovecot has, by the bindings and by `sasl login`: with the right credential and a wrong one."""

from __future__ import annotations

import base64
import hashlib
import imaplib
import json
import poplib
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import sasl
import sasl.adapters.cli
import sasl.adapters.imaplib
import sasl.adapters.poplib
import sasl.adapters.smtplib

from ..support.protocols import PROTOCOLS
from ..support.servers import HOST
from . import dovecot as dovecot_module

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .dovecot import Dovecot

    Start = Callable[..., Iterator[Any]]

SaslLogin = Callable[..., tuple[int, dict[str, Any], str]]

YES: dict[str, object] = {"imap": ("OK", [b"Logged in"]), "pop": b"+OK Logged in.", "smtp": (235, b"2.7.0 Logged in.")}
CODES = {"imap": "AUTHENTICATIONFAILED", "pop": "AUTH", "smtp": "535 5.7.8"}

OFF = ("CRAM-MD5", "DIGEST-MD5", "ANONYMOUS", "POP-APOP")
ALLOWED = sasl.Policy(allow=OFF)
PASSWORD = ("PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256")
SERVER_FIRST = ("LOGIN", "CRAM-MD5", "DIGEST-MD5")
# Lines that the client sends, the command among them, without an initial response.
TURNS = {
    "PLAIN": 2,
    "LOGIN": 3,
    "CRAM-MD5": 2,
    "DIGEST-MD5": 3,
    "SCRAM-SHA-1": 4,
    "SCRAM-SHA-256": 4,
    "EXTERNAL": 2,
    "ANONYMOUS": 2,
    "POP-APOP": 1,
}
REFUSED_EXIT = 77

# Submission has no ANONYMOUS, whatever Dovecot's auth offers.
CASES = [
    (name, protocol)
    for protocol in PROTOCOLS
    for name in TURNS
    if (name, protocol) != ("ANONYMOUS", "smtp") and (protocol == "pop" or name != "POP-APOP")
]
cases = pytest.mark.parametrize(("mechanism", "protocol"), CASES)
checked = pytest.mark.parametrize(("mechanism", "protocol"), [case for case in CASES if case[0] != "ANONYMOUS"])
passwords = pytest.mark.parametrize(
    ("mechanism", "protocol"), [case for case in CASES if case[0] in (*PASSWORD, OFF[3])]
)
off = pytest.mark.parametrize(("mechanism", "protocol"), [case for case in CASES if case[0] in OFF])
protocols = pytest.mark.parametrize("protocol", PROTOCOLS)
tls = pytest.mark.parametrize("implicit", [True, False], ids=["implicit-tls", "starttls"])
initials = pytest.mark.parametrize("initial", [None, False], ids=["initial-response", "no-initial-response"])


@contextmanager
def connected(
    server: Dovecot, protocol: str, *, implicit: bool = True, certificate: str | None = None, drop_in: bool = False
) -> Iterator[Any]:
    """A connection over TLS, of the library's class or of ours, with a certificate of the client's or without one."""
    spoken, context = PROTOCOLS[protocol], server.context(certificate)
    module, port = spoken.binding if drop_in else None, server.port(protocol, implicit=implicit)
    with spoken.connected(port, context, module, implicit=implicit, host=HOST) as conn:
        yield conn


def right(server: Dovecot, mechanism: str) -> sasl.Password | sasl.External | sasl.Anonymous:
    if mechanism == "EXTERNAL":
        return sasl.External()
    if mechanism == "ANONYMOUS":
        return sasl.Anonymous("trace")
    return sasl.Password("alice", server.users["alice"])


def wrong(mechanism: str) -> sasl.Password | sasl.External:
    """What alice is not to log in with: another password, or another name than her certificate's."""
    return sasl.External("bob") if mechanism == "EXTERNAL" else sasl.Password("alice", "looking-glass")


def shown_certificate(mechanism: str) -> str | None:
    return "alice" if mechanism == "EXTERNAL" else None


def entry(user: str, mechanism: str) -> str:
    """What Dovecot logs of a login."""
    name = {"POP-APOP": "APOP"}.get(mechanism, mechanism)
    return f"Login: user=<{user}>, method={name}, "


def identity(mechanism: str) -> str:
    return "anonymous" if mechanism == "ANONYMOUS" else "alice"


def is_logged_in(conn: Any) -> bool:
    """Whether the session takes what only an authenticated one may do."""
    if isinstance(conn, imaplib.IMAP4):
        return conn.state == "AUTH" and conn.select() == ("OK", [b"0"])
    if isinstance(conn, poplib.POP3):
        return conn.stat() == (0, 0)
    return conn.mail("alice@example.org")[0] == 250


def still_answers(conn: Any) -> bool:
    """Whether a connection that is not authenticated is in step with its server."""
    if isinstance(conn, poplib.POP3):
        return "SASL" in conn.capa()
    return conn.noop()[0] in ("OK", 250)


# --- the bindings


@tls
@initials
@cases
def test_the_right_credential_logs_in(
    dovecot: Dovecot, *, mechanism: str, protocol: str, initial: bool | None, implicit: bool
) -> None:
    before = len(dovecot.log())
    with connected(dovecot, protocol, implicit=implicit, certificate=shown_certificate(mechanism)) as conn:
        answer = PROTOCOLS[protocol].binding.authenticate(
            conn, right(dovecot, mechanism), mechanism=mechanism, initial_response=initial, policy=ALLOWED
        )

        assert answer == YES[protocol]
        assert is_logged_in(conn)
    assert dovecot.logs(entry(identity(mechanism), mechanism), after=before)


@checked
def test_a_wrong_credential_is_refused_and_the_right_one_serves_then(
    dovecot: Dovecot, *, mechanism: str, protocol: str
) -> None:
    authenticate = PROTOCOLS[protocol].binding.authenticate
    with connected(dovecot, protocol, certificate=shown_certificate(mechanism)) as conn:
        with pytest.raises(PROTOCOLS[protocol].refused) as refused:
            authenticate(conn, wrong(mechanism), mechanism=mechanism, policy=ALLOWED)

        assert_refused(refused.value, protocol, mechanism)
        assert still_answers(conn)
        assert authenticate(conn, right(dovecot, mechanism), mechanism=mechanism, policy=ALLOWED) == YES[protocol]
        assert is_logged_in(conn)


def assert_refused(error: Any, protocol: str, mechanism: str, kind: str = "credentials") -> None:
    assert isinstance(error, sasl.AuthenticationFailed)
    assert error.mechanism == mechanism
    assert (error.kind, error.response_code) == (kind, CODES[protocol])
    assert error.server_text == "Authentication failed."
    assert error.detail == {}
    assert not error.new_token_may_help
    assert "looking-glass" not in repr(error) + str(error)


def kind_of_early_refusal(mechanism: str) -> str:
    """What a no is that Dovecot gives to SCRAM's first message, which holds nothing of the password."""
    return "unsupported" if mechanism.startswith("SCRAM-") else "credentials"


@passwords
def test_a_user_whom_nobody_knows_is_refused_in_the_same_words(
    dovecot: Dovecot, *, mechanism: str, protocol: str
) -> None:
    with connected(dovecot, protocol) as conn, pytest.raises(PROTOCOLS[protocol].refused) as refused:
        PROTOCOLS[protocol].binding.authenticate(
            conn, sasl.Password("nobody", "looking-glass"), mechanism=mechanism, policy=ALLOWED
        )

    assert_refused(refused.value, protocol, mechanism, kind_of_early_refusal(mechanism))


@off
def test_what_is_off_is_not_used_unless_it_is_allowed_by_name(
    dovecot: Dovecot, *, mechanism: str, protocol: str
) -> None:
    who = right(dovecot, mechanism)
    with connected(dovecot, protocol) as conn:
        with pytest.raises(sasl.PolicyViolation) as refused:
            PROTOCOLS[protocol].binding.authenticate(conn, who, mechanism=mechanism)
        assert still_answers(conn)

        policy = sasl.Policy(allow=[mechanism])
        assert PROTOCOLS[protocol].binding.authenticate(conn, who, mechanism=mechanism, policy=policy) == YES[protocol]

    assert mechanism in refused.value.passed_over


@cases
def test_the_drop_in_class_logs_in(dovecot: Dovecot, *, mechanism: str, protocol: str) -> None:
    who = right(dovecot, mechanism)
    with connected(dovecot, protocol, certificate=shown_certificate(mechanism), drop_in=True) as conn:
        conn.mechanism, conn.policy = mechanism, ALLOWED
        assert conn.login("alice", who.password.reveal() if isinstance(who, sasl.Password) else who) == YES[protocol]
        assert is_logged_in(conn)


def test_the_drop_in_apop_logs_in_where_the_policy_allows_it(dovecot: Dovecot) -> None:
    with connected(dovecot, "pop", drop_in=True) as conn:
        with pytest.raises(sasl.PolicyViolation):
            conn.apop("alice", dovecot.users["alice"])
        conn.policy = ALLOWED
        with pytest.raises(poplib.error_proto) as refused:
            conn.apop("alice", "looking-glass")

        assert_refused(refused.value, "pop", "POP-APOP")
        assert conn.apop("alice", dovecot.users["alice"]) == YES["pop"]


@pytest.mark.parametrize("policy", [sasl.Policy(), ALLOWED], ids=["default", "all-allowed"])
@protocols
def test_a_password_goes_by_the_strongest_that_the_server_has(
    dovecot: Dovecot, *, protocol: str, policy: sasl.Policy
) -> None:
    before = len(dovecot.log())
    with connected(dovecot, protocol) as conn:
        PROTOCOLS[protocol].binding.authenticate(conn, right(dovecot, "PLAIN"), policy=policy)

    assert dovecot.logs(entry("alice", "SCRAM-SHA-256"), after=before)


@passwords
def test_what_does_not_send_the_password_needs_no_tls(dovecot: Dovecot, *, mechanism: str, protocol: str) -> None:
    port = dovecot.port(protocol, implicit=False)
    with PROTOCOLS[protocol].connected(port, host=HOST) as conn:
        who, authenticate = right(dovecot, mechanism), PROTOCOLS[protocol].binding.authenticate
        if mechanism in ("PLAIN", "LOGIN"):
            with pytest.raises(sasl.PolicyViolation):
                authenticate(conn, who, mechanism=mechanism, policy=ALLOWED)
            assert still_answers(conn)
        else:
            assert authenticate(conn, who, mechanism=mechanism, policy=ALLOWED) == YES[protocol]


@protocols
def test_the_certificate_says_who_logs_in_by_external(dovecot: Dovecot, protocol: str) -> None:
    before = len(dovecot.log())
    for authzid in (None, "bob"):
        with connected(dovecot, protocol, certificate="bob") as conn:
            PROTOCOLS[protocol].binding.authenticate(conn, sasl.External(authzid), mechanism="EXTERNAL")

    assert dovecot.logs(entry("bob", "EXTERNAL"), after=before)


@pytest.mark.parametrize("certificate", [None, "stranger"])
def test_external_is_refused_without_a_certificate_that_the_server_trusts(
    dovecot: Dovecot, certificate: str | None
) -> None:
    with (
        connected(dovecot, "imap", certificate=certificate) as conn,
        pytest.raises(PROTOCOLS["imap"].refused) as refused,
    ):
        sasl.adapters.imaplib.authenticate(conn, sasl.External("alice"))

    assert_refused(refused.value, "imap", "EXTERNAL")


def test_external_is_nothing_without_tls(dovecot: Dovecot) -> None:
    with PROTOCOLS["imap"].connected(dovecot.port("imap", implicit=False), host=HOST) as conn:
        with pytest.raises(sasl.MechanismUnavailable):
            sasl.adapters.imaplib.authenticate(conn, sasl.External("alice"))
        assert still_answers(conn)


@pytest.mark.parametrize("trace", ["", "trace", "alice@example.org", "j\u00f6rg"])
@initials
def test_anonymous_may_leave_any_trace(dovecot: Dovecot, *, trace: str, initial: bool | None) -> None:
    with connected(dovecot, "imap") as conn:
        answer = sasl.adapters.imaplib.authenticate(
            conn, sasl.Anonymous(trace), initial_response=initial, policy=ALLOWED
        )

    assert answer == YES["imap"]


def test_submission_has_no_anonymous(dovecot: Dovecot) -> None:
    with connected(dovecot, "smtp") as conn, pytest.raises(sasl.MechanismUnavailable):
        sasl.adapters.smtplib.authenticate(conn, sasl.Anonymous("trace"), policy=ALLOWED)


@pytest.mark.parametrize(
    ("mechanism", "user"),
    [
        (name, user)
        for name in PASSWORD
        for user in ("joerg", "j\u00f6rg", "white rabbit")
        if (name, user) != ("DIGEST-MD5", "j\u00f6rg")
    ],
)
def test_user_and_password_may_hold_any_letters_and_a_space(dovecot: Dovecot, *, mechanism: str, user: str) -> None:
    who = sasl.Password(user, dovecot.users[user])
    with connected(dovecot, "imap") as conn:
        assert sasl.adapters.imaplib.authenticate(conn, who, mechanism=mechanism, policy=ALLOWED) == YES["imap"]
        assert is_logged_in(conn)


@pytest.mark.parametrize("user", ["joerg", "j\u00f6rg"])
def test_apop_takes_any_letters_but_no_space(dovecot: Dovecot, user: str) -> None:
    with connected(dovecot, "pop") as conn:
        authenticate = sasl.adapters.poplib.authenticate
        with pytest.raises(sasl.UsageError):
            authenticate(conn, sasl.Password("white rabbit", "late again"), mechanism="POP-APOP", policy=ALLOWED)

        who = sasl.Password(user, dovecot.users[user])
        assert authenticate(conn, who, mechanism="POP-APOP", policy=ALLOWED) == YES["pop"]


def test_dovecot_hashes_utf_8_where_digest_md5_wants_iso_8859_1(dovecot: Dovecot) -> None:
    """RFC 2831 section 2.1.2.1: what ISO 8859-1 can write is hashed in it, although it is sent in UTF-8."""
    who = sasl.Password("j\u00f6rg", dovecot.users["j\u00f6rg"])
    with connected(dovecot, "imap") as conn, pytest.raises(PROTOCOLS["imap"].refused) as refused:
        sasl.adapters.imaplib.authenticate(conn, who, mechanism="DIGEST-MD5", policy=ALLOWED)

    assert_refused(refused.value, "imap", "DIGEST-MD5")


@pytest.mark.parametrize("mechanism", ["PLAIN", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"])
def test_an_authzid_that_is_oneself_is_accepted_and_another_refused(dovecot: Dovecot, mechanism: str) -> None:
    password = dovecot.users["alice"]
    with connected(dovecot, "imap") as conn:

        def authenticate(authzid: str) -> object:
            who = sasl.Password("alice", password, authzid=authzid)
            return sasl.adapters.imaplib.authenticate(conn, who, mechanism=mechanism, policy=ALLOWED)

        with pytest.raises(PROTOCOLS["imap"].refused) as refused:
            authenticate("bob")
        assert authenticate("alice") == YES["imap"]

    assert_refused(refused.value, "imap", mechanism, kind_of_early_refusal(mechanism))


# --- the command line


@pytest.fixture
def sasl_login(dovecot: Dovecot, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> SaslLogin:
    """Run `sasl login` in this process, which spares its start; give its exit code, its report and its trace."""

    def run(
        protocol: str, mechanism: str, *options: str, user: str = "alice", secret: str = "wonderland", implicit: bool
    ) -> tuple[int, dict[str, Any], str]:
        monkeypatch.setenv("SECRET", secret)
        url = dovecot.url(protocol, user, implicit=implicit)
        command = ["login", url, "--ca", str(dovecot.ca), "--json", "--mechanism", mechanism, *options]
        if mechanism == "EXTERNAL":
            command += ["--client-cert", str(dovecot.certificate("alice"))]
        elif mechanism != "ANONYMOUS":
            command += ["--password-env", "SECRET"]

        code = sasl.adapters.cli.main(command)

        output, errors = capsys.readouterr()
        for form in (secret, base64.b64encode(secret.encode()).decode()):
            assert form not in output + errors
        return code, json.loads(output), errors

    return run


@tls
@initials
@cases
def test_sasl_login_returns_0_for_the_right_credential(
    sasl_login: SaslLogin, *, mechanism: str, protocol: str, initial: bool | None, implicit: bool
) -> None:
    options = () if initial is None else ("--no-initial-response",)

    code, report, _ = sasl_login(protocol, mechanism, *options, implicit=implicit)

    assert code == 0, report
    assert report["ok"] is True
    assert report["mechanism"] == mechanism
    assert report["tls"]["version"] in ("TLSv1.2", "TLSv1.3")
    speaks_first = mechanism not in SERVER_FIRST
    if mechanism != "POP-APOP":
        assert report["initial_response"] == (initial is None and speaks_first)
    assert report["turns"] == TURNS[mechanism] - (report["initial_response"] and mechanism != "POP-APOP")
    assert report["server_text"].rstrip(".") == "Logged in"
    assert report["error"] is None


@checked
def test_sasl_login_returns_77_for_a_wrong_credential(sasl_login: SaslLogin, *, mechanism: str, protocol: str) -> None:
    user = "bob" if mechanism == "EXTERNAL" else "alice"

    code, report, _ = sasl_login(protocol, mechanism, user=user, secret="looking-glass", implicit=True)

    assert code == REFUSED_EXIT, report
    assert report["ok"] is False
    assert report["mechanism"] == mechanism
    assert report["server_text"] == "Authentication failed."
    error = report["error"]
    assert (error["type"], error["kind"], error["detail"]) == ("AuthenticationFailed", "credentials", {})
    assert error["advice"]


@cases
def test_a_trace_shows_the_messages_by_their_size_only(sasl_login: SaslLogin, *, mechanism: str, protocol: str) -> None:
    code, report, trace = sasl_login(protocol, mechanism, "--trace", implicit=True)

    assert code == 0, trace
    lines = trace.splitlines()
    name = mechanism.removeprefix("POP-")
    (begin,) = (number for number, line in enumerate(lines) if re.match(rf"C: .*\b{name}\b", line))
    assert re.fullmatch(r"C: (\S+ AUTHENTICATE |AUTH |)[A-Z0-9-]+( <\d+ octets>)*", lines[begin])
    sent = [line for line in lines[begin + 1 :] if line.startswith("C: ")]
    challenges = [line for line in lines[begin + 1 :] if re.match(r"S: (\+ |\+\Z|334)", line)]
    assert all(re.fullmatch(r"C: <\d+ octets>", line) for line in sent)
    assert all(re.fullmatch(r"S: (\+|334) <\d+ octets>", line) for line in challenges)
    assert len(sent) == len(challenges) == report["turns"] - 1


@pytest.mark.parametrize("mechanism", ["CRAM-MD5", "DIGEST-MD5"])
def test_sasl_login_uses_what_is_off_only_where_it_is_named(
    dovecot: Dovecot, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mechanism: str
) -> None:
    monkeypatch.setenv("SECRET", dovecot.users["alice"])
    url = dovecot.url("imap", "alice", implicit=True)

    code = sasl.adapters.cli.main(["login", url, "--ca", str(dovecot.ca), "--password-env", "SECRET", "--trace"])

    assert code == 0
    shown = capsys.readouterr().err
    assert f"AUTH={mechanism}" in shown
    assert "AUTHENTICATE SCRAM-SHA-256" in shown
    assert f"AUTHENTICATE {mechanism}" not in shown


# --- what is stored in the place of a password

STORED = "through the looking-glass"
FOLDED = "\ufb01sh"  # SASLprep makes two letters of its first one


@pytest.fixture(scope="module")
def stored(start: Start) -> Iterator[Dovecot]:
    """A server that has the keys of its users, by `ScramKeys` and by `sasl mkpasswd`, and no password."""
    users = {
        "sha-1": sasl.ScramKeys.derive(STORED, "sha1").dovecot(),
        "sha-256": sasl.ScramKeys.derive(STORED).dovecot(),
        "slow": sasl.ScramKeys.derive(STORED, iterations=20_000).dovecot(),
        "kept": sasl.ScramKeys.derive(STORED).dovecot(),
        "folded": sasl.ScramKeys.derive(FOLDED).dovecot(),
        "made-sha-1": mkpasswd("--scheme", "scram-sha-1"),
        "made-sha-256": mkpasswd(),
        "made-argon2id": mkpasswd("--scheme", "argon2id", "--format", "dovecot"),
    }
    yield from start(dovecot_module.running, stored=users)


def mkpasswd(*options: str) -> str:
    command = [str(Path(sys.executable).with_name("sasl")), "mkpasswd", *options]
    run = subprocess.run(command, input=STORED + "\n", capture_output=True, text=True, timeout=30)
    assert run.returncode == 0, run.stderr
    return run.stdout.rstrip("\n")


def log_in(server: Dovecot, user: str, password: str, mechanism: str | None, protocol: str = "imap") -> object:
    with connected(server, protocol) as conn:
        return PROTOCOLS[protocol].binding.authenticate(
            conn, sasl.Password(user, password), mechanism=mechanism, policy=ALLOWED
        )


@pytest.mark.parametrize(
    ("user", "mechanism"),
    [
        *((user, name) for user in ("sha-1", "made-sha-1") for name in ("SCRAM-SHA-1", "PLAIN", "LOGIN")),
        *((user, name) for user in ("sha-256", "made-sha-256") for name in ("SCRAM-SHA-256", "PLAIN", "LOGIN")),
        ("slow", "SCRAM-SHA-256"),
        ("slow", "PLAIN"),
        ("made-argon2id", "PLAIN"),
        ("made-argon2id", "LOGIN"),
    ],
)
def test_what_is_stored_serves_its_own_mechanism_and_those_that_send_the_password(
    stored: Dovecot, *, user: str, mechanism: str
) -> None:
    with pytest.raises(sasl.AuthenticationFailed) as refused:
        log_in(stored, user, "looking-glass", mechanism)

    assert_refused(refused.value, "imap", mechanism)
    assert log_in(stored, user, STORED, mechanism) == YES["imap"]


@pytest.mark.parametrize(
    ("user", "mechanism"),
    [
        ("sha-1", "SCRAM-SHA-256"),
        ("sha-256", "SCRAM-SHA-1"),
        ("sha-256", "CRAM-MD5"),
        ("sha-256", "DIGEST-MD5"),
        ("made-argon2id", "SCRAM-SHA-256"),
    ],
)
def test_what_is_stored_serves_no_other_mechanism(stored: Dovecot, *, user: str, mechanism: str) -> None:
    with pytest.raises(sasl.AuthenticationFailed) as refused:
        log_in(stored, user, STORED, mechanism)

    assert_refused(refused.value, "imap", mechanism, kind_of_early_refusal(mechanism))


def test_scram_takes_a_password_that_saslprep_changes_and_plain_its_prepared_form(stored: Dovecot) -> None:
    """Dovecot prepares nothing: what came in the clear it hashes as it came."""
    for password in (FOLDED, "fish"):
        assert log_in(stored, "folded", password, "SCRAM-SHA-256") == YES["imap"]
    assert log_in(stored, "folded", "fish", "PLAIN") == YES["imap"]
    with pytest.raises(sasl.AuthenticationFailed):
        log_in(stored, "folded", FOLDED, "PLAIN")


def test_a_second_login_costs_no_pbkdf2_and_a_changed_password_is_noticed(
    stored: Dovecot, monkeypatch: pytest.MonkeyPatch
) -> None:
    derived = []
    pbkdf2 = hashlib.pbkdf2_hmac

    def counted(*arguments: Any) -> bytes:
        derived.append(arguments[0])
        return pbkdf2(*arguments)

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", counted)
    log_in(stored, "kept", STORED, "SCRAM-SHA-256")
    assert derived == ["sha256"]

    for protocol in PROTOCOLS:
        assert log_in(stored, "kept", STORED, "SCRAM-SHA-256", protocol) == YES[protocol]
    assert derived == ["sha256"]

    with pytest.raises(sasl.AuthenticationFailed):
        log_in(stored, "kept", "looking-glass", "SCRAM-SHA-256")
    assert derived == ["sha256", "sha256"]

    assert log_in(stored, "kept", STORED, "SCRAM-SHA-256") == YES["imap"]
    assert derived == ["sha256", "sha256"]
