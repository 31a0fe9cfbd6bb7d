"""`sasl demo`: every mechanism over every protocol, a refusal in plain words, and an exit code that CI can trust."""

from __future__ import annotations

import argparse
import logging
import re
import socket
import sys
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters import reference
from sasl.adapters.cli import demo, main
from sasl.adapters.reference import token_endpoint
from sasl.value import replace

from ...support.leaks import seen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sasl.adapters.reference import Verifier
    from sasl.steps import Answer

MECHANISMS = [row.name for row in sasl.known_mechanisms()]
TOKENS = ("OAUTHBEARER", "XOAUTH2")
STRONGEST = "SCRAM-SHA3-512"
ROWS = 3 * (len(MECHANISMS) + 1)
TURNS = {"LOGIN": "3", "CRAM-MD5": "2", "DIGEST-MD5": "3"}


def over_which(mechanism: str) -> str:
    """Python's ssl has no channel binding that is expected under TLS 1.3."""
    return "TLS 1.2" if mechanism.endswith("-PLUS") else "TLS"


def table(out: str) -> list[list[str]]:
    """The rows of the table, as cells."""
    lines = out.split("\n\n")[1].splitlines()
    return [re.split(r" {2,}", line.strip()) for line in lines]


def test_every_mechanism_logs_in_over_every_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 0
    out = capsys.readouterr().out
    heading, *rows = table(out)
    assert heading == ["protocol", "over", "mechanism", "turns", "milliseconds", "outcome"]
    assert [tuple(row[:3]) for row in rows] == [
        (protocol, over, mechanism)
        for protocol in ("IMAP", "POP3", "SMTP")
        for over, mechanism in [*((over_which(name), name) for name in MECHANISMS), ("STARTTLS", STRONGEST)]
    ]
    for _, _, mechanism, turns, milliseconds, outcome in rows:
        assert turns == TURNS.get(mechanism, "3" if mechanism.startswith("SCRAM-") else "1")
        assert 0 < float(milliseconds) < 3000
        assert outcome == "logged in"


def test_what_ends_in_plus_goes_over_tls_1_2_and_the_demo_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module("sasl.adapters.cli.demo")
    seen_versions: dict[str, set[str]] = {}
    log_in = module.log_in

    def watched(library: Any, conn: Any, credentials: Any, *, mechanism: str, **options: Any) -> Any:
        seen_versions.setdefault(conn.sock.version(), set()).add(mechanism)
        return log_in(library, conn, credentials, mechanism=mechanism, **options)

    monkeypatch.setattr(module, "log_in", watched)
    assert main(["demo"]) == 0
    bound = {name for name in MECHANISMS if name.endswith("-PLUS")}
    assert seen_versions == {"TLSv1.2": bound, "TLSv1.3": set(MECHANISMS) - bound}
    rows = table(capsys.readouterr().out)[1:]
    assert {row[2] for row in rows if row[1] == "TLS 1.2"} == bound


def test_the_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    main(["demo"])
    out = capsys.readouterr().out
    lines = out.split("\n\n")[1].splitlines()
    assert len({line.index(word) for line, word in zip(lines, ["outcome"] + ["logged in"] * ROWS, strict=True)}) == 1
    assert max(map(len, out.splitlines())) <= 100


def test_the_refusal_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    main(["demo"])
    told = " ".join(capsys.readouterr().out.split("A token that has expired")[1].split())
    for part in (
        " AUTHENTICATE XOAUTH2 <",
        "server + <",
        "client <0 octets>",
        " NO [EXPIRED] The credential has expired",
        "status '401', schemes 'bearer', scope 'mail'",
        "Then it refused: EXPIRED, 'The credential has expired'.",
        "AuthenticationFailed, which is an imaplib.IMAP4.error too: kind 'expired', new_token_may_help True",
        "what to do The token",
    ):
        assert part in told


def test_a_revoked_token_of_google_auths_is_refused_replaced_and_good(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 0
    out = capsys.readouterr().out
    assert "Tokens come through google-auth, from http://127.0.0.1:" in out
    told = out.split("A token of google-auth's that was revoked")[1].splitlines()
    lines = [line.split() for line in told if line.startswith(("  client  ", "  server  "))]
    assert [[words[0], *words[2:4]] for words in lines] == [
        ["client", "AUTHENTICATE", "XOAUTH2"],
        ["server", "<70", "octets>"],
        ["client", "octets>"],
        ["server", "NO", "[AUTHENTICATIONFAILED]"],
        ["client", "AUTHENTICATE", "XOAUTH2"],
        ["server", "OK", "[CAPABILITY"],
    ]
    for word in ("refused", "renewed", "retried"):
        assert any(line.startswith(f"  {word} ") for line in told)


def test_without_the_extra_it_is_named_and_the_rest_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ["google.oauth2.credentials", *(name for name in sys.modules if name.split(".")[0] == "google")]:
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["demo"]) == 0
    out = capsys.readouterr().out
    assert [row[5] for row in table(out)[1:]] == ["logged in"] * ROWS
    assert "pip install 'saslkit[google]'" in out.splitlines()[-1]
    assert "through google-auth" not in out
    assert "Then it refused: EXPIRED" in " ".join(out.split())


def test_without_h11_its_extra_is_named_and_the_rest_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h11", None)
    assert main(["demo"]) == 0
    out = capsys.readouterr().out
    assert [row[5] for row in table(out)[1:]] == ["logged in"] * ROWS
    assert "pip install 'saslkit[serve]'" in out.splitlines()[-1]


@pytest.mark.parametrize("fault", ["500", "invalid_grant"])
def test_a_token_that_cannot_be_had_is_seen_by_ci(
    fault: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = token_endpoint.running

    @contextmanager
    def failing() -> Iterator[token_endpoint.TokenEndpoint]:
        with start() as endpoint:
            endpoint.faults += [fault] * 100
            yield endpoint

    monkeypatch.setattr(token_endpoint, "running", failing)
    assert main(["demo"]) == 70
    out = capsys.readouterr().out
    assert [row[5].startswith("FAILED: TokenError") for row in table(out)[1:]] == [
        row[2] in TOKENS for row in table(out)[1:]
    ]
    assert out.splitlines()[-1].startswith("FAILED: TokenError: the token endpoint")


def test_no_secret_is_printed_or_logged(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    tokens = {"good": "a-token-that-is-good", "expired": "a-token-of-yesterday", "revoked": "x"}
    served(monkeypatch, tokens=tokens)
    assert main(["demo"]) == 0
    printed = "".join(capsys.readouterr()) + caplog.text
    for secret in ("wonderland", "a-token-that-is-good", "a-token-of-yesterday"):
        assert seen([printed], secret) == []


def test_nothing_leaves_the_machine(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    look_up = socket.getaddrinfo

    def watched(host: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(host)
        return look_up(host, *arguments, **options)

    def forbidden(*_: Any) -> str:
        raise AssertionError("asks the network for its own name")

    monkeypatch.setattr(socket, "getaddrinfo", watched)
    monkeypatch.setattr(socket, "getfqdn", forbidden)
    assert main(["demo"]) == 0
    assert set(asked) == {"127.0.0.1"}


class Verdict:
    """A verifier that overrules the servers' own for tokens."""

    def __init__(self, verifier: Verifier, answer: Answer) -> None:
        self.verifier = verifier
        self.answers = verifier.answers
        self.answer = answer

    def __call__(self, question: sasl.Question) -> Answer:
        answer: Answer = self.answer if isinstance(question, sasl.CheckToken) else self.verifier(question)
        return answer


def served(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
    """Have the demo start its servers with other settings."""
    running = reference.running
    monkeypatch.setattr(reference, "running", lambda **own: running(**{**own, **settings}))


@pytest.mark.parametrize(
    ("answer", "expired"),
    [
        (sasl.Rejected("no", "disabled"), "A token that has expired, by XOAUTH2 over IMAP:\n\n  client"),
        (sasl.Unavailable("down"), "FAILED: IMAPTemporaryFailure: Cannot authenticate now, try later"),
    ],
    ids=["rejected", "unavailable"],
)
def test_a_login_that_must_succeed_and_does_not_is_seen_by_ci(
    answer: Answer, expired: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    served(monkeypatch, checks=lambda verifier: Verdict(verifier, answer))
    assert main(["demo"]) == 70
    out = capsys.readouterr().out
    rows = table(out)[1:]
    assert [row[5].startswith("FAILED: ") for row in rows] == [row[2] in TOKENS for row in rows]
    assert expired in out


def test_a_token_that_must_be_refused_and_is_not_is_seen_by_ci(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    served(monkeypatch, checks=lambda verifier: Verdict(verifier, sasl.Accepted("alice")))
    assert main(["demo"]) == 70
    assert "FAILED: the server took it" in capsys.readouterr().out


def test_a_server_that_is_gone_is_a_row_that_failed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: Any) -> Any:
        raise ConnectionRefusedError(111, "Connection refused")

    module = import_module("sasl.adapters.cli.demo")
    monkeypatch.setitem(module._LIBRARIES, "POP3", replace(module._LIBRARIES["POP3"], open=nobody))
    assert main(["demo"]) == 70
    rows = table(capsys.readouterr().out)[1:]
    assert [row[3:] for row in rows if row[0] == "POP3"] == [
        ["-", row[4], "FAILED: ConnectionRefusedError: [Errno 111] Connection refused"]
        for row in rows
        if row[0] == "POP3"
    ]


@pytest.fixture
def plugged_in() -> Iterator[None]:
    """A mechanism of somebody else's, with a server only."""
    from sasl import registry

    row = sasl.Mechanism(
        "X-SERVER", None, lambda options: iter(()), sasl.Bearer, client_first=True, plaintext=True, rank=99
    )
    sasl.register(row)
    yield
    registry._registered.pop("X-SERVER")


@pytest.mark.usefixtures("plugged_in")
def test_a_mechanism_without_a_client_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 0
    assert "X-SERVER" not in capsys.readouterr().out


def test_it_takes_nothing_and_its_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter)
    demo.configure(parser)
    assert vars(parser.parse_args([])) == {}
    assert "example:\n  sasl demo\n" in parser.format_help()
