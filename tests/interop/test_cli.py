"""`sasl login` as a process of its own, at Dovecot: what it says, its JSON object, its exit code."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .dovecot import Dovecot

MECHANISMS = ("PLAIN", "XOAUTH2", "OAUTHBEARER")
PROTOCOLS = ("imap", "pop", "smtp")
UNAVAILABLE, TRY_LATER, PROTOCOL, REFUSED, POLICY = 69, 75, 76, 77, 78
# A command has 255 octets in POP3 and 512 in SMTP.
LONGEST_INITIAL_TOKEN = {"imap": 3000, "pop": 0, "smtp": 300}

protocols = pytest.mark.parametrize("protocol", PROTOCOLS)
mechanisms = pytest.mark.parametrize("mechanism", MECHANISMS)


def login(server: Dovecot, url: str, *arguments: str, secret: str) -> subprocess.CompletedProcess[str]:
    """Run the command with the secret in its environment; nothing of it may come out again."""
    kind = "--token-env" if len(secret) > 100 else "--password-env"
    command = [str(Path(sys.executable).with_name("sasl")), "login", url, "--ca", str(server.ca), kind, "SECRET"]
    environment = {**os.environ, "SECRET": secret, "PYTHONWARNINGS": "error", "PYTHONUTF8": "1"}
    run = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, timeout=30)
    assert secret not in run.stdout + run.stderr
    assert "Traceback" not in run.stderr, run.stderr
    return run


def login_with(server: Dovecot, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command with no secret but the one that its arguments tell how to get."""
    command = [str(Path(sys.executable).with_name("sasl")), "login", url, "--ca", str(server.ca)]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=30)


def report(run: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found = json.loads(run.stdout)
    assert isinstance(found, dict)
    return found


def who(server: Dovecot, mechanism: str, kind: str = "good", length: int = 300) -> tuple[str, str]:
    if mechanism == "PLAIN":
        return "alice", server.users["alice"] if kind == "good" else "looking-glass"
    return server.mailbox, server.token(kind, length)


WAYS = {
    "implicit-tls": (True, 300, ()),
    "long-token": (True, 3000, ()),
    "starttls": (False, 300, ("--no-initial-response",)),
}


@pytest.mark.parametrize(
    ("mechanism", "way"),
    [(name, way) for name in MECHANISMS for way in WAYS if (name, way) != ("PLAIN", "long-token")],
)
@protocols
def test_a_good_credential_exits_with_0_and_reports_what_happened(
    dovecot: Dovecot, protocol: str, mechanism: str, way: str
) -> None:
    implicit, length, options = WAYS[way]
    user, secret = who(dovecot, mechanism, length=length)
    url = dovecot.url(protocol, user, implicit=implicit)

    run = login(dovecot, url, "--mechanism", mechanism, "--json", *options, secret=secret)

    assert run.returncode == 0, run.stderr
    found = report(run)
    assert found["ok"] is True
    assert found["protocol"] == protocol
    assert found["host"] == "localhost"
    assert found["port"] == dovecot.port(protocol, implicit=implicit)
    assert found["mechanism"] == mechanism
    assert found["tls"]["version"] in ("TLSv1.2", "TLSv1.3")
    fits = mechanism == "PLAIN" or length <= LONGEST_INITIAL_TOKEN[protocol]
    assert found["initial_response"] == (fits and not options)
    assert found["turns"] == (1 if found["initial_response"] else 2)
    assert found["server_text"].rstrip(".") == "Logged in"
    assert found["error"] is None


@pytest.mark.parametrize(
    ("mechanism", "kind"),
    [("PLAIN", "wrong"), *((name, kind) for name in MECHANISMS[1:] for kind in ("badsig", "expired"))],
)
@protocols
def test_a_refused_credential_exits_with_77_and_says_why(
    dovecot: Dovecot, protocol: str, mechanism: str, kind: str
) -> None:
    user, secret = who(dovecot, mechanism, kind)
    url = dovecot.url(protocol, user, implicit=kind != "badsig")

    run = login(dovecot, url, "--mechanism", mechanism, "--json", secret=secret)

    assert run.returncode == REFUSED, run.stderr
    found = report(run)
    assert found["ok"] is False
    assert found["server_text"] == "Authentication failed."
    assert found["error"]["type"] == "AuthenticationFailed"
    assert found["error"]["kind"] == "credentials"
    assert found["error"]["detail"] == dovecot.refusals.get(mechanism, {})
    assert found["error"]["advice"]


@protocols
def test_the_answer_for_a_person_names_mechanism_tls_and_what_the_server_said(dovecot: Dovecot, protocol: str) -> None:
    user, secret = who(dovecot, "PLAIN")

    run = login(dovecot, dovecot.url(protocol, user, implicit=True), secret=secret)

    assert run.returncode == 0, run.stderr
    for word in ("SCRAM-SHA-256", "TLS", "Logged in"):
        assert word in run.stdout


@protocols
def test_the_answer_for_a_person_explains_a_refused_token(dovecot: Dovecot, protocol: str) -> None:
    user, secret = who(dovecot, "XOAUTH2", "expired")

    run = login(dovecot, dovecot.url(protocol, user, implicit=True), "--mechanism", "XOAUTH2", secret=secret)

    assert run.returncode == REFUSED
    shown = run.stdout + run.stderr
    for word in ("401", "Authentication failed", "token"):
        assert word in shown


@mechanisms
@protocols
def test_a_trace_shows_the_exchange_without_the_credential(dovecot: Dovecot, protocol: str, mechanism: str) -> None:
    user, secret = who(dovecot, mechanism)

    run = login(dovecot, dovecot.url(protocol, user, implicit=True), "--mechanism", mechanism, "--trace", secret=secret)

    assert run.returncode == 0, run.stderr
    shown = run.stdout + run.stderr
    assert f"{'AUTHENTICATE' if protocol == 'imap' else 'AUTH'} {mechanism}" in shown
    assert " octets>" in shown
    assert base64.b64encode(b"\0alice\0wonderland").decode("ascii") not in shown
    assert not re.search(r"[A-Za-z0-9+/_-]{60}", shown)  # a token, in whatever form


def test_a_password_that_is_not_ascii_and_a_user_that_is_not_either(dovecot: Dovecot) -> None:
    url = dovecot.url("imap", "j%C3%B6rg", implicit=True)

    run = login(dovecot, url, secret=dovecot.users["j\u00f6rg"])

    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(("authzid", "code"), [("alice", 0), ("bob", REFUSED)])
def test_the_authzid_is_sent(dovecot: Dovecot, authzid: str, code: int) -> None:
    user, secret = who(dovecot, "PLAIN")

    run = login(dovecot, dovecot.url("imap", user, implicit=True), "--authzid", authzid, secret=secret)

    assert run.returncode == code, run.stderr


def test_a_password_command_gives_the_password(dovecot: Dovecot) -> None:
    url = dovecot.url("imap", "alice", implicit=True)

    run = login_with(dovecot, url, "--password-command", "printf wonderland")

    assert run.returncode == 0, run.stderr


@protocols
def test_a_refused_token_is_replaced_once_by_what_the_token_command_gives_next(
    dovecot: Dovecot, tmp_path: Path, protocol: str
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{dovecot.token('expired')}\n{dovecot.token()}\n")
    command = f"sed -i -e '1w /dev/stdout' -e 1d {tokens}"
    url = dovecot.url(protocol, dovecot.mailbox, implicit=True)

    run = login_with(dovecot, url, "--token-command", command, "--json")

    assert run.returncode == 0, run.stderr
    assert report(run)["ok"] is True
    assert tokens.read_text() == ""


@protocols
def test_a_token_that_is_refused_twice_is_not_tried_again(dovecot: Dovecot, tmp_path: Path, protocol: str) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("".join(f"{dovecot.token('expired', length)}\n" for length in (300, 304, 308)))
    command = f"sed -i -e '1w /dev/stdout' -e 1d {tokens}"
    url = dovecot.url(protocol, dovecot.mailbox, implicit=True)

    run = login_with(dovecot, url, "--token-command", command, "--json")

    assert run.returncode == REFUSED, run.stderr
    assert len(tokens.read_text().splitlines()) == 1


@protocols
def test_a_server_that_cannot_check_a_token_is_75(cannot_tell: Dovecot, protocol: str) -> None:
    user, secret = who(cannot_tell, "XOAUTH2")

    run = login(cannot_tell, cannot_tell.url(protocol, user, implicit=True), "--json", secret=secret)

    assert run.returncode == TRY_LATER, run.stderr
    found = report(run)["error"]
    assert (found["type"], found["kind"]) == ("TemporaryFailure", "unavailable")


@pytest.mark.parametrize("protocol", ["imap", "pop"])
def test_a_password_goes_into_the_login_command_where_no_mechanism_takes_it(
    commands_only: Dovecot, protocol: str
) -> None:
    run = login(commands_only, commands_only.url(protocol, "alice", implicit=True), "--json", secret="wonderland")

    assert run.returncode == 0, run.stderr
    assert report(run)["mechanism"] == {"imap": "IMAP-LOGIN", "pop": "POP-USER"}[protocol]


@pytest.mark.parametrize("protocol", ["imap", "smtp"])
def test_a_server_that_takes_tokens_only_is_69_for_a_password(tokens_only: Dovecot, protocol: str) -> None:
    run = login(tokens_only, tokens_only.url(protocol, "alice", implicit=True), "--json", secret="wonderland")

    assert run.returncode == UNAVAILABLE, run.stderr
    assert report(run)["error"]["type"] == "MechanismUnavailable"


@protocols
def test_a_certificate_that_nobody_vouches_for_is_76_and_nothing_is_sent(dovecot: Dovecot, protocol: str) -> None:
    url = dovecot.url(protocol, "nobody-knows", implicit=True)
    command = [str(Path(sys.executable).with_name("sasl")), "login", url, "--password-env", "SECRET", "--json"]

    run = subprocess.run(
        command, env={**os.environ, "SECRET": "wonderland"}, capture_output=True, text=True, timeout=30
    )

    assert run.returncode == PROTOCOL, run.stderr
    assert report(run)["ok"] is False
    assert "nobody-knows" not in dovecot.log()


@protocols
def test_starttls_is_insisted_on_unless_plaintext_is_allowed(dovecot: Dovecot, protocol: str) -> None:
    url = dovecot.url(protocol, "alice", implicit=False)

    refused = login(dovecot, url, "--no-starttls", secret="wonderland")
    allowed = login(dovecot, url, "--no-starttls", "--allow-plaintext", "--json", secret="wonderland")

    assert refused.returncode == POLICY, refused.stderr
    assert allowed.returncode == 0, allowed.stderr
    assert not report(allowed)["tls"]
