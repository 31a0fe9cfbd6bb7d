"""`sasl login` at the reference servers and at scripted ones: what it says, its JSON object, its exit code."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import PASSWORD, at

if TYPE_CHECKING:
    from sasl.adapters.reference import Servers

    from .conftest import Run

PROTOCOLS = ("imap", "pop", "smtp")
PW = ("--password-env", "SECRET")
TOKEN = ("--token-env", "SECRET")

protocols = pytest.mark.parametrize("protocol", PROTOCOLS)
implicitly = pytest.mark.parametrize("implicit", [True, False], ids=["tls", "starttls"])


# --- logged in


@implicitly
@protocols
@pytest.mark.parametrize("mechanism", ["PLAIN", "XOAUTH2", "OAUTHBEARER"])
def test_a_login_is_reported_in_one_json_object(
    run: Run, servers: Servers, protocol: str, mechanism: str, *, implicit: bool
) -> None:
    secret, option = (PASSWORD, PW) if mechanism == "PLAIN" else (servers.tokens["good"], TOKEN)
    where = at(servers, protocol, implicit=implicit)
    result = run(*where, *option, "--mechanism", mechanism.lower(), "--json", secret=secret)
    assert (result.code, result.err, result.out.count("\n")) == (0, "", 1)
    endpoint = getattr(servers, protocol)
    report = result.report()
    tls = report.pop("tls")
    assert report == {
        "ok": True,
        "protocol": protocol,
        "host": "localhost",
        "port": endpoint.tls_port if implicit else endpoint.port,
        "mechanism": mechanism,
        "turns": 1,
        "initial_response": True,
        "server_text": "Authenticated",
        "error": None,
    }
    assert tls["version"] in ("TLSv1.2", "TLSv1.3")
    assert set(tls) == {"version", "cipher"}
    assert servers_attempt(servers, protocol).outcome == "accepted"


@protocols
def test_a_login_is_told_to_a_person(run: Run, servers: Servers, protocol: str) -> None:
    result = run(*at(servers, protocol), *PW)
    assert (result.code, result.err) == (0, "")
    for words in ("localhost port", "TLSv1", "PLAIN", "1 turn, with an initial response", "logged in"):
        assert words in result.out


@protocols
def test_the_server_is_left_politely(run: Run, servers: Servers, protocol: str) -> None:
    run(*at(servers, protocol), *PW)
    said = [text.upper() for side, text in session(servers, protocol).transcript if side == "C"]
    assert said[-1].endswith("LOGOUT" if protocol == "imap" else "QUIT")


@protocols
def test_without_an_initial_response_it_takes_a_turn_more(run: Run, servers: Servers, protocol: str) -> None:
    report = run(*at(servers, protocol), *PW, "--no-initial-response", "--json").report()
    assert (report["ok"], report["turns"], report["initial_response"]) == (True, 2, False)
    assert "2 turns, without" in run(*at(servers, protocol), *PW, "--no-initial-response").out


def test_a_user_and_a_password_that_are_not_ascii(run: Run, servers: Servers) -> None:
    assert run(*at(servers, "imap", "j%C3%B6rg"), *PW, secret="k\u00f6nigin").code == 0


def test_a_user_with_an_at_sign(run: Run, servers: Servers) -> None:
    assert run(*at(servers, "smtp", "bob%40example.org"), *PW, secret="builder").code == 0


def test_an_authzid_that_is_oneself_is_granted(run: Run, servers: Servers) -> None:
    assert run(*at(servers, "imap"), *PW, "--authzid", "alice").code == 0


# --- the trace


@protocols
def test_a_trace_goes_to_stderr_without_the_secret(run: Run, servers: Servers, protocol: str) -> None:
    result = run(*at(servers, protocol), *PW, "--trace", "--json")
    assert result.report()["ok"]
    lines = result.err.splitlines()
    assert lines[0].startswith("connected with TLSv1.")
    assert "passed over XOAUTH2: takes Bearer, not Password" in lines
    assert any("PLAIN <17 octets>" in line for line in lines if line.startswith("C: "))
    assert lines[-1].startswith("S: ")


def test_a_trace_ends_with_its_login(run: Run, servers: Servers) -> None:
    import logging

    before = (logging.getLogger("sasl").level, list(logging.getLogger("sasl").handlers))
    run(*at(servers, "imap"), *PW, "--trace")
    assert (logging.getLogger("sasl").level, list(logging.getLogger("sasl").handlers)) == before
    assert run(*at(servers, "imap"), *PW).err == ""


# --- refused


@protocols
def test_a_wrong_password_is_77_with_advice(run: Run, servers: Servers, protocol: str) -> None:
    result = run(*at(servers, protocol), *PW, "--json", secret="looking-glass")
    assert (result.code, result.err) == (77, "")
    report = result.report()
    error = report.pop("error")
    assert (report["ok"], report["mechanism"], report["server_text"]) == (False, "PLAIN", "Authentication failed")
    assert set(error) == {"type", "kind", "detail", "advice"}
    assert (error["type"], error["kind"], error["detail"]) == ("AuthenticationFailed", "credentials", {})
    assert "app password" in error["advice"]


@protocols
def test_a_wrong_password_is_told_to_a_person(run: Run, servers: Servers, protocol: str) -> None:
    result = run(*at(servers, protocol), *PW, secret="looking-glass")
    assert result.code == 77
    assert "sasl: refused: Authentication failed\n" in result.err
    assert "what to do  Check the user name" in result.err
    assert "it said     Authentication failed" in result.out
    assert "logged in" not in result.out


@protocols
@pytest.mark.parametrize(("mechanism", "status"), [("XOAUTH2", "401"), ("OAUTHBEARER", "invalid_token")])
@pytest.mark.parametrize("state", ["expired", "revoked"])
def test_the_challenge_of_a_refused_token_is_decoded(
    run: Run, servers: Servers, *, protocol: str, mechanism: str, status: str, state: Any
) -> None:
    where, token = at(servers, protocol), servers.tokens[state]
    report = run(*where, *TOKEN, "--mechanism", mechanism, "--json", secret=token).report()
    assert report["turns"] == 2
    detail = report["error"]["detail"]
    assert (detail["status"], detail["scope"]) == (status, "mail")
    assert "get a new one" in report["error"]["advice"]

    result = run(*where, *TOKEN, "--mechanism", mechanism, secret=token)
    assert result.code == 77
    assert f"\n  status      {status}\n" in result.err
    assert "\n  scope       mail\n" in result.err


def test_another_identity_is_refused(run: Run, servers: Servers) -> None:
    result = run(*at(servers, "imap"), *PW, "--authzid", "bob", "--json")
    error = result.error()
    assert (result.code, error["type"], error["kind"]) == (77, "AuthorizationFailed", "authorization")
    assert "--authzid" in error["advice"]


# --- a second token


def tokens(tmp_path: Path, *values: str) -> tuple[str, ...]:
    """A command that gives one token after the other."""
    (tmp_path / "tokens").write_text("".join(value + "\n" for value in values))
    return ("--token-command", f"sed -i -e '1w /dev/stdout' -e 1d {tmp_path / 'tokens'}")


def left(tmp_path: Path) -> int:
    return len((tmp_path / "tokens").read_text().splitlines())


@protocols
def test_a_refused_token_is_replaced_once_on_a_new_connection(
    run: Run, servers: Servers, tmp_path: Path, protocol: str
) -> None:
    before = len(getattr(servers, protocol).sessions)
    command = tokens(tmp_path, servers.tokens["expired"], servers.tokens["good"])
    result = run(*at(servers, protocol), *command)
    assert result.code == 0
    assert "the first was refused" in result.out
    assert len(getattr(servers, protocol).sessions) == before + 2
    assert left(tmp_path) == 0


def test_a_second_refusal_is_final(run: Run, servers: Servers, tmp_path: Path) -> None:
    command = tokens(tmp_path, servers.tokens["expired"], servers.tokens["revoked"], servers.tokens["good"])
    result = run(*at(servers, "imap"), *command, "--json")
    assert (result.code, result.error()["type"]) == (77, "AuthenticationFailed")
    assert left(tmp_path) == 1


def test_a_command_that_has_no_other_token_leaves_the_refusal(run: Run, servers: Servers) -> None:
    before = len(servers.imap.sessions)
    result = run(*at(servers, "imap"), "--token-command", f"echo {servers.tokens['expired']}", "--json")
    assert (result.code, result.error()["type"], result.error()["kind"]) == (77, "AuthenticationFailed", "expired")
    assert len(servers.imap.sessions) == before + 1


def test_a_command_that_fails_the_second_time_leaves_the_refusal(run: Run, servers: Servers, tmp_path: Path) -> None:
    result = run(*at(servers, "imap"), *tokens(tmp_path, servers.tokens["expired"]), "--json")
    assert (result.code, result.error()["type"]) == (77, "AuthenticationFailed")


def test_a_token_of_a_variable_is_tried_once(run: Run, servers: Servers) -> None:
    before = len(servers.imap.sessions)
    assert run(*at(servers, "imap"), *TOKEN, secret=servers.tokens["expired"]).code == 77
    assert len(servers.imap.sessions) == before + 1


def test_a_token_for_somebody_else_is_no_reason_for_a_second(run: Run, servers: Servers, tmp_path: Path) -> None:
    command = tokens(tmp_path, servers.tokens["good"], servers.tokens["good"])
    result = run(*at(servers, "imap", "bob%40example.org"), *command, "--json")
    assert (result.code, result.error()["type"]) == (77, "AuthorizationFailed")
    assert left(tmp_path) == 1


@pytest.mark.parametrize(("status", "code", "kind"), [(75, 75, "try_later"), (1, 77, "command_failed")])
def test_a_token_command_that_fails_is_no_login(
    run: Run, servers: Servers, tmp_path: Path, *, status: int, code: int, kind: str
) -> None:
    before = len(servers.imap.sessions)
    (tmp_path / "command").write_text(f"exit {status}")
    result = run(*at(servers, "imap"), "--token-command", f"sh {tmp_path / 'command'}", "--json")
    assert result.code == code
    assert (result.error()["type"], result.error()["kind"]) == ("TokenError", kind)
    assert len(servers.imap.sessions) == before


# --- the policy


@protocols
def test_no_starttls_is_no_login_unless_plaintext_is_allowed(run: Run, servers: Servers, protocol: str) -> None:
    before = len(getattr(servers, protocol).sessions)
    result = run(*at(servers, protocol, implicit=False), *PW, "--no-starttls", "--json")
    assert (result.code, result.error()["type"], result.error()["kind"]) == (78, "PolicyViolation", "policy")
    assert len(getattr(servers, protocol).sessions) == before


def test_no_starttls_says_nothing_about_tls_from_the_start(run: Run, servers: Servers) -> None:
    report = run(*at(servers, "imap"), *PW, "--no-starttls", "--json").report()
    assert report["ok"]
    assert report["tls"]


@protocols
def test_plaintext_is_a_last_resort_even_where_it_is_allowed(run: Run, servers: Servers, protocol: str) -> None:
    report = run(*at(servers, protocol, implicit=False), *PW, "--allow-plaintext", "--json").report()
    assert report["ok"]
    assert report["tls"]


def test_a_mechanism_that_does_not_fit_the_credential_is_69(run: Run, servers: Servers) -> None:
    before = len(servers.imap.sessions)
    result = run(*at(servers, "imap"), *PW, "--mechanism", "XOAUTH2", "--json")
    error = result.error()
    assert (result.code, error["type"]) == (69, "MechanismUnavailable")
    assert error["detail"]["XOAUTH2"] == "takes Bearer, not Password"
    assert (result.report()["mechanism"], result.report()["tls"] is None) == (None, False)
    assert len(servers.imap.sessions) == before + 1
    assert not servers.imap.sessions[-1].attempts


def test_a_mechanism_that_nobody_knows_is_69_before_anything_is_sent(run: Run, servers: Servers) -> None:
    before = len(servers.imap.sessions)
    result = run(*at(servers, "imap"), *PW, "--mechanism", "X-NOBODY", "--json")
    assert (result.code, result.error()["type"]) == (69, "MechanismUnavailable")
    assert len(servers.imap.sessions) == before


# --- files


@pytest.fixture
def pem(tmp_path: Path, authority: Any) -> Path:
    """A client's certificate with its key, which a passphrase protects."""
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    issued = authority.issue_cert("alice@example.org")
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase"))
    path = tmp_path / "client.pem"
    path.write_bytes(issued.cert_chain_pems[0].bytes() + encrypted)
    (tmp_path / "open.pem").write_bytes(issued.private_key_and_cert_chain_pem.bytes())
    return path


@pytest.mark.parametrize("option", ["--ca", "--client-cert"])
def test_a_file_that_is_not_there_is_64(run: Run, servers: Servers, tmp_path: Path, option: str) -> None:
    result = run(*at(servers, "imap"), *PW, option, str(tmp_path / "none.pem"), "--json")
    assert (result.code, result.error()["type"]) == (64, "UsageError")
    assert option in result.error()["detail"]["message"]


@pytest.mark.parametrize("option", ["--ca", "--client-cert"])
def test_a_file_that_is_something_else_is_65(run: Run, servers: Servers, option: str) -> None:
    result = run(*at(servers, "imap"), *PW, option, __file__, "--json")
    assert (result.code, result.error()["type"]) == (65, "UsageError")


def test_a_client_certificate_is_shown_to_the_server(run: Run, servers: Servers, pem: Path) -> None:
    assert run(*at(servers, "imap"), *PW, "--client-cert", str(pem.with_name("open.pem"))).code == 0


def test_a_key_with_a_passphrase_wants_a_terminal(run: Run, servers: Servers, pem: Path) -> None:
    result = run(*at(servers, "imap"), *PW, "--client-cert", str(pem))
    assert result.code == 64


@pytest.mark.parametrize(("typed", "code"), [("passphrase", 0), ("wrong", 65)])
def test_the_terminal_is_asked_for_a_passphrase(
    run: Run, servers: Servers, pem: Path, monkeypatch: pytest.MonkeyPatch, *, typed: str, code: int
) -> None:
    monkeypatch.setattr("sasl.adapters.cli.credentials.asked", lambda _prompt: typed)
    assert run(*at(servers, "imap"), *PW, "--client-cert", str(pem)).code == code


# --- before there is a connection


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
def test_a_url_with_a_password_is_64_and_nothing_of_it_is_shown(run: Run, options: tuple[str, ...]) -> None:
    result = run("login", "imaps://alice:hunter2@mx.example", *options, secret="hunter2")
    assert result.code == 64
    if options:
        report = result.report()
        assert {name: report[name] for name in ("protocol", "host", "port", "mechanism", "tls")} == dict.fromkeys(
            ("protocol", "host", "port", "mechanism", "tls")
        )
    else:
        assert result.out == ""


def test_a_url_that_is_not_utf8_is_65(run: Run) -> None:
    assert run("login", "imaps://a%FF@mx.example", *PW).code == 65


def test_without_a_terminal_and_an_option_it_is_64(run: Run, servers: Servers) -> None:
    result = run(*at(servers, "imap"))
    assert result.code == 64
    assert "--password-env" in result.err


def test_a_host_that_does_not_exist_is_68(run: Run) -> None:
    result = run("login", "imaps://alice@mx.invalid", *PW, "--json")
    error = result.error()
    assert (result.code, error["type"], error["kind"]) == (68, "ConnectionLost", "no_such_host")
    assert "spelled" in error["advice"]


@protocols
def test_a_port_where_nothing_listens_is_74(run: Run, protocol: str, unused_port: int) -> None:
    result = run("login", f"{protocol}s://alice@127.0.0.1:{unused_port}", *PW, "--json")
    error = result.error()
    assert (result.code, error["type"], error["kind"]) == (74, "ConnectionLost", "unreachable")
    assert error["detail"] == {"message": "cannot connect: Connection refused"}


# --- interrupted


def test_an_interruption_is_130_and_still_one_json_object(
    run: Run, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sasl.adapters.cli.login.connected", interrupt)
    result = run(*at(servers, "imap"), *PW, "--json")
    assert (result.code, result.error()["type"]) == (130, "Cancelled")
    assert run(*at(servers, "imap"), *PW).err == "sasl: cancelled: interrupted\n"


def test_a_deadline_between_two_steps_is_a_timeout(run: Run, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(_connection: object) -> None:
        time.sleep(10)

    monkeypatch.setattr("sasl.adapters.cli.login.tls_facts", late)
    result = run(*at(servers, "imap"), *PW, "--json", "--timeout", "0.3")
    error = result.error()
    assert (result.code, error["type"], error["kind"]) == (74, "ConnectionLost", "timeout")


def session(servers: Servers, protocol: str) -> Any:
    return getattr(servers, protocol).sessions[-1]


def servers_attempt(servers: Servers, protocol: str) -> Any:
    return session(servers, protocol).attempts[-1]
