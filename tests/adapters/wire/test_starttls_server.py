"""STARTTLS and STLS on the server's side: one command line, a yes with nothing behind it, or a refusal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl.adapters.wire import imap, pop, smtp
from sasl.errors import PolicyViolation, UsageError

if TYPE_CHECKING:
    from tests.adapters.wire.conftest import Protocol

COMMANDS = {imap: b"A1 STARTTLS\r\n", pop: b"STLS\r\n", smtp: b"STARTTLS\r\n"}
YES = {imap: b"A1 OK Begin TLS\r\n", pop: b"+OK Begin TLS\r\n", smtp: b"220 2.0.0 Begin TLS\r\n"}
NO = {imap: b"A1 BAD ", pop: b"-ERR ", smtp: b"50"}
FAREWELL = {imap: b"* BYE ", pop: b"-ERR ", smtp: b"421 4.7.0 "}

protocols = pytest.mark.parametrize("module", [imap, pop, smtp], ids=["imap", "pop", "smtp"])


def server(module: Any, *, tls: bool = False, authenticated: bool = False) -> Any:
    return module.StartTlsServerWire(tls=tls, authenticated=authenticated)


@protocols
@pytest.mark.parametrize("change", [bytes.upper, bytes.lower, lambda line: line.replace(b"\r\n", b"\n")])
def test_the_command_in_the_clear_gets_a_yes(module: Any, change: Any) -> None:
    wire = server(module)

    said = wire.receive(change(COMMANDS[module]))

    assert said.octets.lower() == YES[module].lower()
    assert (wire.done, wire.failure, wire.must_close) == (True, None, False)


@protocols
def test_the_clients_end_takes_the_servers_yes(module: Any) -> None:
    client, wire = module.StartTlsWire(), server(module)

    client.receive(wire.receive(client.command().octets).octets)

    assert (client.done, client.error, wire.failure) == (True, None, None)


@protocols
@pytest.mark.parametrize(
    "state", [{"tls": True}, {"authenticated": True}, {"tls": True, "authenticated": True}], ids=str
)
def test_it_is_refused_under_tls_and_after_a_login(module: Any, state: dict[str, bool]) -> None:
    client, wire = module.StartTlsWire(), server(module, **state)

    said = wire.receive(client.command().octets)
    client.receive(said.octets)

    assert said.octets.startswith(NO[module])
    assert (wire.done, wire.failure.kind, wire.must_close) == (True, "state", False)
    assert type(client.error) is PolicyViolation


@protocols
@pytest.mark.parametrize("behind", [b"x", b"\r\n", b"\0", b"A2 NOOP\r\n", b"\x16\x03\x01"])
def test_octets_in_the_clear_behind_it_end_the_connection(module: Any, behind: bytes) -> None:
    client, wire = module.StartTlsWire(), server(module)

    said = wire.receive(client.command().octets, behind)
    client.receive(said.octets)

    assert said.octets.startswith(FAREWELL[module])
    assert (wire.done, wire.must_close) == (True, True)
    assert "CVE-2011-0411" in wire.failure.reason
    assert type(client.error) is PolicyViolation


@protocols
@pytest.mark.parametrize("state", [{"tls": True}, {"authenticated": True}], ids=str)
def test_commands_behind_one_that_is_refused_anyway_are_pipelined(module: Any, state: dict[str, bool]) -> None:
    wire = server(module, **state)

    wire.receive(COMMANDS[module], b"A2 NOOP\r\n")

    assert (wire.failure.kind, wire.must_close) == ("state", False)


@protocols
def test_a_space_behind_it_is_no_argument(module: Any) -> None:
    wire = server(module)

    assert wire.receive(COMMANDS[module].replace(b"\r\n", b" \r\n")).octets == YES[module]
    assert wire.failure is None


@protocols
@pytest.mark.parametrize("argument", [b" now", b" \0", b"X", b" {5}"])
def test_it_takes_no_argument(module: Any, argument: bytes) -> None:
    wire = server(module)

    said = wire.receive(COMMANDS[module].replace(b"\r\n", argument + b"\r\n"))

    assert said.octets.startswith(NO[module])
    assert (wire.failure.kind, wire.must_close) == ("malformed", False)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"a1.B STARTTLS", b"a1.B OK Begin TLS\r\n"),
        (b"STARTTLS", b"STARTTLS BAD STARTTLS takes no argument\r\n"),
        (b"+ STARTTLS", b"* BAD STARTTLS takes no argument\r\n"),
        (b"\xff STARTTLS", b"* BAD STARTTLS takes no argument\r\n"),
        (b"x" * 65 + b" STARTTLS", b"* BAD STARTTLS takes no argument\r\n"),
        (b"", b"* BAD STARTTLS takes no argument\r\n"),
    ],
)
def test_imap_answers_under_the_tag_of_the_command_if_it_is_one(line: bytes, said: bytes) -> None:
    assert imap.StartTlsServerWire(tls=False).receive(line + b"\r\n").octets == said


@protocols
def test_it_answers_once(module: Any) -> None:
    wire = server(module)
    assert not wire.done
    wire.receive(COMMANDS[module])

    with pytest.raises(UsageError):
        wire.receive(COMMANDS[module])


BEGINS = {
    "imap": re.compile(rb"[A-Za-z0-9.!#$&',/:;<=>?@^_`|~-]{1,64} STARTTLS ?\r?\n?", re.IGNORECASE),
    "pop": re.compile(rb"STLS ?\r?\n?", re.IGNORECASE),
    "smtp": re.compile(rb"STARTTLS(?: [ \t]*)?\r?\n?", re.IGNORECASE),
}
lines = st.one_of(
    st.binary(max_size=30),
    st.lists(st.sampled_from([b"A1", b" ", b"STARTTLS", b"STLS", b"\r\n", b"\n", b"\t", b"x"]), max_size=5).map(
        b"".join
    ),
)


@given(
    line=lines, behind=st.one_of(st.just(b""), st.binary(max_size=5)), tls=st.booleans(), authenticated=st.booleans()
)
def test_whatever_comes_tls_begins_only_after_the_plain_command(
    protocol: Protocol, *, line: bytes, behind: bytes, tls: bool, authenticated: bool
) -> None:
    wire = server(protocol.module, tls=tls, authenticated=authenticated)

    said = wire.receive(line, behind).octets

    plain = BEGINS[protocol.name].fullmatch(line) is not None and not tls and not authenticated
    assert wire.done
    assert (wire.failure is None) == (plain and not behind)
    assert wire.must_close == (plain and bool(behind))
    assert (said.endswith(b"Begin TLS\r\n"), said.count(b"\n")) == (wire.failure is None, 1)
