"""`sasl login` at the reference servers and at scripted ones: what it says, its JSON object, its exit code."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters import reference
from sasl.adapters.cli import login

from .conftest import PASSWORD, at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sasl.adapters.reference import Servers

    from .conftest import Run

PROTOCOLS = ("imap", "pop", "smtp")
PW = ("--password-env", "SECRET")
TOKEN = ("--token-env", "SECRET")
BEST = "SCRAM-SHA3-512"
"""Over TLS 1.3; up to TLS 1.2 it is bound to the connection."""

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
    tls, certificate, offered = (report.pop(name) for name in ("tls", "certificate", "offered"))
    assert report.pop("milliseconds") > 0
    assert report == {
        "ok": True,
        "protocol": protocol,
        "host": "localhost",
        "port": endpoint.tls_port if implicit else endpoint.port,
        "user": "alice",
        "mechanism": mechanism,
        "fallback": None,
        "turns": 1,
        "initial_response": True,
        "server_text": "Authenticated",
        "response_code": None,
        "new_token_may_help": False,
        "error": None,
        "exit": 0,
    }
    assert mechanism in offered
    assert "localhost" in certificate["names"]
    assert set(certificate) == {"subject", "issuer", "names", "not_before", "not_after", "sha256"}
    assert tls["version"] in ("TLSv1.2", "TLSv1.3")
    assert set(tls) == {"version", "cipher"}
    assert servers_attempt(servers, protocol).outcome == "accepted"


@implicitly
def test_apop_is_used_where_it_is_named(run: Run, servers: Servers, *, implicit: bool) -> None:
    settings = reference.Settings(policy=sasl.Policy(allow=["POP-APOP"]))
    with reference.running({"alice": PASSWORD}, settings=settings) as with_apop:
        where = at(with_apop, "pop", implicit=implicit)
        for name in ("POP-APOP", "pop-apop"):
            result = run(*where, *PW, "--mechanism", name, "--json", "--trace")
            report = result.report()
            assert (result.code, report["mechanism"], report["turns"]) == (0, "POP-APOP", 1)
            assert "APOP <5 octets> <32 octets>" in result.err
        assert run(*where, *PW, "--mechanism", "POP-APOP", secret="looking-glass").code == 77
        by_itself = run(*where, *PW, "--trace")
        assert by_itself.code == 0
        assert [each.mechanism for each in with_apop.pop.sessions[0].attempts] == ["POP-APOP"]
    unavailable = run(*at(servers, "pop", implicit=implicit), *PW, "--mechanism", "POP-APOP", "--json")
    assert (unavailable.code, unavailable.error()["type"]) == (69, "MechanismUnavailable")


@protocols
def test_a_login_is_told_to_a_person(run: Run, servers: Servers, protocol: str) -> None:
    result = run(*at(servers, protocol), *PW)
    assert (result.code, result.err) == (0, "")
    for words in ("localhost port", "TLSv1", BEST, "3 turns, with an initial response", "logged in"):
        assert words in result.out
    assert "1 turn, with an initial response" in run(*at(servers, protocol), *PW, "--mechanism", "PLAIN").out


@protocols
def test_a_login_over_tls_1_2_is_bound_to_the_connection(run: Run, older: Servers, protocol: str) -> None:
    for secret, code in ((PASSWORD, 0), ("looking-glass", 77)):
        result = run(*at(older, protocol), *PW, "--json", secret=secret)
        report = result.report()
        assert (result.code, report["tls"]["version"], report["mechanism"]) == (code, "TLSv1.2", f"{BEST}-PLUS")


@protocols
def test_the_server_is_left_politely(run: Run, servers: Servers, protocol: str) -> None:
    run(*at(servers, protocol), *PW)
    said = [text.upper() for side, text in session(servers, protocol).transcript if side == "C"]
    assert said[-1].endswith("LOGOUT" if protocol == "imap" else "QUIT")


@protocols
def test_without_an_initial_response_it_takes_a_turn_more(run: Run, servers: Servers, protocol: str) -> None:
    plain = (*PW, "--mechanism", "PLAIN", "--no-initial-response")
    report = run(*at(servers, protocol), *plain, "--json").report()
    assert (report["ok"], report["turns"], report["initial_response"]) == (True, 2, False)
    assert "2 turns, without" in run(*at(servers, protocol), *plain).out


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
    assert lines[0].startswith({"imap": "S: * OK", "pop": "S: +OK", "smtp": "S: 220 "}[protocol])
    asked = {"imap": "CAPABILITY", "pop": "CAPA", "smtp": "EHLO [127.0.0.1]"}[protocol]
    assert any(line.startswith("C: ") and line.upper().endswith(asked) for line in lines)
    assert [line for line in lines if line.startswith(f"chose {BEST} of ")]
    assert "passed over" not in result.err
    assert any(re.search(rf"{BEST} <\d+ octets>\Z", line) for line in lines if line.startswith("C: "))
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
    assert (report["ok"], report["mechanism"], report["server_text"]) == (False, BEST, "Authentication failed")
    assert set(error) == {"type", "kind", "detail", "advice"}
    assert (error["type"], error["kind"], error["detail"]) == ("AuthenticationFailed", "credentials", {})
    assert "app password" in error["advice"]


def test_a_pin_is_the_least_that_is_used(run: Run, servers: Servers, older: Servers) -> None:
    settings = reference.Settings(mechanisms=["SCRAM-SHA-256", "PLAIN"])
    with reference.running(dict(servers.users), settings=settings) as unbound:
        out_of_reach = run(*at(unbound, "imap"), *PW, "--pin", "SCRAM-SHA-256-PLUS", "--json")
    assert (out_of_reach.code, out_of_reach.error()["type"]) == (78, "PolicyViolation")
    assert "weaker than SCRAM-SHA-256-PLUS" in str(out_of_reach.error()["detail"])
    where = at(older, "imap", implicit=True)
    good = run(*where, *PW, "--pin", "SCRAM-SHA-256-PLUS", "--json")
    assert (good.code, good.report()["mechanism"]) == (0, f"{BEST}-PLUS")
    refused = run(*where, *PW, "--mechanism", "SCRAM-SHA-512", "--pin", "scram-sha-256-plus", "--json")
    assert (refused.code, refused.report()["error"]["type"]) == (78, "PolicyViolation")
    assert run(*where, *PW, "--pin", "no name").code == 64


@protocols
def test_a_wrong_password_is_told_to_a_person(run: Run, servers: Servers, protocol: str) -> None:
    result = run(*at(servers, protocol), *PW, secret="looking-glass")
    assert result.code == 77
    assert "sasl: refused: Authentication failed\n" in result.err
    assert "what to do  Check the user name" in result.err
    assert (result.out + result.err).count("Authentication failed") == 1
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


@pytest.mark.parametrize("protocol", ["pop", "smtp"])
def test_another_identity_is_named_where_the_reply_cannot_tell(run: Run, servers: Servers, protocol: str) -> None:
    refused = run(*at(servers, protocol), *PW, "--mechanism", "PLAIN", "--authzid", "bob", "--json").error()
    assert (refused["type"], refused["kind"]) == ("AuthenticationFailed", "credentials")
    assert "--authzid" in refused["advice"]

    wrong = run(*at(servers, protocol), *PW, "--mechanism", "PLAIN", "--json", secret="looking-glass").error()
    assert "--authzid" not in wrong["advice"]


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
    (tmp_path / "command").write_text(f"exit {status}")
    result = run(*at(servers, "imap"), "--token-command", f"sh {tmp_path / 'command'}", "--json")
    assert result.code == code
    assert (result.error()["type"], result.error()["kind"]) == ("TokenError", kind)
    assert not servers.imap.sessions[-1].attempts


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
def pem(tmp_path: Path, servers: Servers) -> Path:
    """A client's certificate with its key, which a passphrase protects."""
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    certificate, key_file = servers.client_certificate("alice")
    key = load_pem_private_key(key_file.read_bytes(), None)
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase"))
    path = tmp_path / "client.pem"
    path.write_bytes(certificate.read_bytes() + encrypted)
    (tmp_path / "open.pem").write_bytes(key_file.read_bytes() + certificate.read_bytes())
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
    shown = ("--client-cert", str(pem.with_name("open.pem")))
    assert run(*at(servers, "imap"), *PW, *shown).code == 0
    report = run(*at(servers, "imap"), *shown, "--mechanism", "EXTERNAL", "--json").report()
    assert (report["ok"], report["mechanism"]) == (True, "EXTERNAL")
    assert run(*at(servers, "imap", "bob%40example.org"), *shown, "--mechanism", "EXTERNAL").code == 77
    assert run(*at(servers, "imap"), "--mechanism", "EXTERNAL").code == 69  # not offered to who shows none


def test_a_key_with_a_passphrase_wants_a_terminal(run: Run, servers: Servers, pem: Path) -> None:
    result = run(*at(servers, "imap"), *PW, "--client-cert", str(pem))
    assert result.code == 64


@pytest.mark.parametrize(("typed", "code"), [("passphrase", 0), ("wrong", 65)])
def test_the_terminal_is_asked_for_a_passphrase(
    run: Run, servers: Servers, pem: Path, monkeypatch: pytest.MonkeyPatch, *, typed: str, code: int
) -> None:
    monkeypatch.setattr("sasl.adapters.cli.credentials.ask", lambda _prompt: typed)
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

    monkeypatch.setattr("sasl.adapters.cli.look.connect", interrupt)
    result = run(*at(servers, "imap"), *PW, "--json")
    assert (result.code, result.error()["type"]) == (130, "Cancelled")
    assert run(*at(servers, "imap"), *PW).err == "sasl: cancelled: interrupted\n"


def test_a_deadline_between_two_steps_is_a_timeout(run: Run, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(_connection: object) -> None:
        time.sleep(60)

    monkeypatch.setattr("sasl.adapters.cli.look.tls_facts", late)
    result = run(*at(servers, "imap"), *PW, "--json", "--timeout", "0.3")
    error = result.error()
    assert (result.code, error["type"], error["kind"]) == (74, "ConnectionLost", "timeout")


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def spent(run: Run, *arguments: str, **options: Any) -> tuple[float, Any]:
    begun = time.monotonic()
    result = run(*arguments, "--json", **options)
    return time.monotonic() - begun, result


def times_left(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A list that gets the seconds that each look, each login and each goodbye has."""
    left: list[float] = []
    original = login.alarm

    def alarm(seconds: float) -> Any:
        left.append(seconds)
        return original(seconds)

    monkeypatch.setattr(login, "alarm", alarm)
    return left


@pytest.mark.parametrize("option", ["--password-command", "--token-command"])
def test_the_command_and_the_login_share_the_time_out(
    run: Run, servers: Servers, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    left = times_left(monkeypatch)
    secret = "wonderland" if option == "--password-command" else servers.tokens["good"]
    command = (option, f"sh -c 'sleep 0.3; echo {secret}'")
    assert run(*at(servers, "imap"), *command, "--timeout", "30").code == 0
    looking, logging_in, _ = left
    assert 30 >= looking > logging_in + 0.3 > 0


def test_a_server_that_says_nothing_is_left_after_the_time_out(run: Run, silent: int) -> None:
    command = ("--password-command", "echo wonderland")
    seconds, result = spent(run, "login", f"imaps://alice@127.0.0.1:{silent}", *command, "--timeout", "0.5")
    assert (result.code, result.error()["type"], result.error()["kind"]) == (74, "ConnectionLost", "timeout")
    assert 0.4 < seconds < 30


def test_the_second_token_has_what_the_first_login_left(run: Run, servers: Servers, tmp_path: Path) -> None:
    (tmp_path / "command").write_text(f"[ -e {tmp_path}/again ] && sleep 60; touch {tmp_path}/again; echo $SECRET")
    command = ("--token-command", f"sh {tmp_path / 'command'}", "--timeout", "2")
    seconds, result = spent(run, *at(servers, "imap"), *command, secret=servers.tokens["expired"])
    assert (result.code, result.error()["type"], result.error()["kind"]) == (75, "TokenError", "command_timeout")
    assert seconds < 30  # not 60


def test_the_second_login_has_what_the_first_one_left(
    run: Run, servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = times_left(monkeypatch)
    command = tokens(tmp_path, servers.tokens["expired"], servers.tokens["good"])
    assert run(*at(servers, "imap"), *command, "--timeout", "20").code == 0
    first, second, third, fourth, _ = left
    assert 20 >= first > second > third > fourth > 0


def test_a_goodbye_takes_no_longer_than_the_rest(run: Run, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sasl.adapters.imaplib.IMAP4_SSL.logout", lambda _conn: time.sleep(60))
    seconds, result = spent(run, *at(servers, "imap"), *PW, "--timeout", "1")
    assert (result.code, result.report()["ok"]) == (0, True)
    assert seconds < 30  # not 60


def session(servers: Servers, protocol: str) -> Any:
    return getattr(servers, protocol).sessions[-1]


def servers_attempt(servers: Servers, protocol: str) -> Any:
    return session(servers, protocol).attempts[-1]
