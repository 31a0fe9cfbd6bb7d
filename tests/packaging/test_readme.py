"""README.md is true: its examples run, at real servers, and its tables say what there is."""

from __future__ import annotations

import logging
import re
import sysconfig
from collections.abc import Iterator
from typing import Any

import pytest

import sasl
import sasl.mechanisms
from sasl.adapters.reference import Servers, running
from sasl.adapters.wire import imap

from ..support.documents import PASSWORD, ROOT, USER, at_servers, blocks, broken_links, outcomes, printed_otherwise

README = (ROOT / "README.md").read_text()


@pytest.fixture
def servers() -> Iterator[Servers]:
    with running(users={USER: PASSWORD}) as servers:
        yield servers


def run(script: str, servers: Servers) -> dict[str, Any]:
    """Run a script of the README with the servers of this machine in place of those of example.com."""
    names: dict[str, Any] = {"token": servers.tokens["good"], "password": PASSWORD, "__name__": "readme"}
    exec(compile(at_servers(script, servers), "README.md", "exec"), names)
    return names


def script_with(text: str) -> str:
    (found,) = [script for script in blocks(README, "python") if text in script]
    return found


def test_the_interactive_examples_print_what_they_show() -> None:
    examples, said = printed_otherwise(README, "README.md")
    assert examples > 10
    assert said == ""


def test_a_token_logs_in_with_each_library(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(servers.ca_file))
    run(script_with("poplib.POP3_SSL("), servers)
    assert outcomes(servers) == [("imap", "accepted"), ("pop", "accepted"), ("smtp", "accepted")]


def test_the_drop_in_classes_log_in(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(servers.ca_file))
    run(script_with("smtp.login("), servers)
    assert outcomes(servers) == [("imap", "accepted"), ("smtp", "accepted")]


def test_a_refusal_says_why(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(servers.ca_file))
    servers.verifier.add_token("an-expired-token", USER, "expired")
    run(script_with("except sasl.AuthenticationFailed as error:\n        assert isinstance"), servers)
    assert outcomes(servers) == [("imap", "expired")]
    assert "invalid_token" in capsys.readouterr().out


@pytest.mark.parametrize("secret", ["password", "token"])
def test_a_log_handler_mails_by_the_drop_in_class(
    secret: str, servers: Servers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(servers.ca_file))
    servers.verifier.add_token("a-token-of-the-user", USER)
    credential: Any = PASSWORD if secret == "password" else lambda: "a-token-of-the-user"
    handler = run(script_with("class MailHandler"), servers)["MailHandler"](
        ("localhost", servers.smtp.port), "log@example.com", ["admin@example.com"], "Subj\u00e9ct", (USER, credential)
    )
    handler.handle(logging.LogRecord("readme", logging.ERROR, __file__, 1, "it is b\u00fcrning", (), None))
    assert capsys.readouterr().err == ""  # where handleError() prints
    assert outcomes(servers) == [("smtp", "accepted")]
    assert ("S", "250 2.0.0 Accepted") in servers.smtp.sessions[-1].transcript


def test_a_tester_sees_what_the_client_did(servers: Servers, capsys: pytest.CaptureFixture[str]) -> None:
    run(script_with("import running"), servers)
    out = capsys.readouterr().out
    assert "At noon." in out
    assert "Session expired, please login again." in out


def test_a_client_of_any_kind_logs_in_at_sasl_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", sysconfig.get_path("scripts"))
    names: dict[str, Any] = {}
    exec(compile(script_with('["sasl", "serve"]'), "README.md", "exec"), names)
    assert names["imap"].state == "LOGOUT"
    assert names["serving"].returncode == 0


@pytest.mark.parametrize(("state", "outcome"), [("good", sasl.Success), ("expired", sasl.Failure)])
def test_the_loop_of_a_binding_carries_a_login(servers: Servers, state: str, outcome: type) -> None:
    """The loop, against the wire of a server."""
    authenticate = run(script_with("def authenticate("), servers)["authenticate"]
    channel = sasl.Channel(tls=True, service="imap")
    server = imap.ServerWire(["XOAUTH2"], channel=channel, capabilities=["IMAP4rev1"])
    replies: list[bytes] = []

    def write(line: bytes) -> None:
        answer = server.receive(line)
        while isinstance(answer, sasl.Question):
            assert server.exchange is not None
            answer = server.answered(sasl.settle(server.exchange, answer, servers.verifier))
        replies.append(answer.octets)

    credentials = sasl.Bearer(USER, servers.tokens[state])  # type: ignore[index]
    closed: list[bool] = []
    offered = ("IMAP4rev1", "SASL-IR", "AUTH=XOAUTH2")
    arguments = (lambda: replies.pop(0), write, lambda: closed.append(True), offered, credentials, channel)
    if outcome is sasl.Success:
        assert authenticate(*arguments) == ("IMAP4rev1",)
    else:
        with pytest.raises(sasl.AuthenticationFailed):
            authenticate(*arguments)
    assert isinstance(server.result, outcome)
    assert closed == []


@pytest.mark.parametrize("answer", [b"", b"A1 OK Logged"], ids=["end", "half a line"])
def test_the_loop_of_a_binding_takes_an_end_for_an_end(servers: Servers, answer: bytes) -> None:
    authenticate = run(script_with("def authenticate("), servers)["authenticate"]
    channel, closed = sasl.Channel(tls=True, service="imap"), [False]
    credentials, offered = sasl.Bearer(USER, "token"), ("SASL-IR", "AUTH=XOAUTH2")

    def close() -> None:
        closed[0] = True

    with pytest.raises(sasl.ConnectionLost):
        authenticate(lambda: answer, lambda _line: None, close, offered, credentials, channel)
    assert closed == [True]


def test_the_table_of_mechanisms_is_the_table() -> None:
    section = README.partition("## Mechanisms\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("|")]
    said = {name: (credentials, sides, tls) for name, credentials, sides, tls, *_ in rows[2:]}
    assert said == {
        row.name + " (off)" * row.off_by_default: (
            f"`{row.credentials.__name__}`",
            ", ".join(side for side in ("client", "server") if getattr(row, side)),
            "yes" if row.plaintext else "no",
        )
        for row in sasl.mechanisms.ROWS
    }


def test_what_is_called_public_is_there() -> None:
    section = README.partition("## Public and stable\n")[2]
    for module in re.findall(r"`(sasl\.[a-z.]+)`", section):
        __import__(module)
    assert all(hasattr(sasl, name) for name in sasl.__all__)


def test_its_links_lead_somewhere() -> None:
    assert broken_links(ROOT / "README.md") == []
