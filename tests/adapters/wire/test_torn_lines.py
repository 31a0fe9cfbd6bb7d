"""A server wire takes lines: CR, LF or NUL within one is refused before anything is made of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sasl
from sasl import registry
from sasl.adapters.deadline import alarm
from sasl.adapters.wire import imap, pop, smtp
from sasl.adapters.wire.imap.arguments import Arguments

SOURCES = Path(sasl.__file__).parents[1]
TLS = sasl.Channel(tls=True)
OFFERED = ["PLAIN", "LOGIN", "IMAP-LOGIN", "POP-USER"]


def wires() -> list[Any]:
    return [make(OFFERED, channel=TLS) for make in (imap.ServerWire, pop.ServerWire, smtp.ServerWire)]


@pytest.mark.parametrize("torn", [b"\r", b"\n", b"\0", b"\n\n", b"\r\r", b"\n\r"])
@pytest.mark.parametrize(
    ("make", "lines"),
    [
        (imap.ServerWire, [b"A1 LOGIN a b%b\r\n"]),
        (imap.ServerWire, [b"A1 LOGIN a%b b\r\n"]),
        (imap.ServerWire, [b"A1 LOGIN%b a b\r\n"]),
        (imap.ServerWire, [b'A1 LOGIN a "b%b"\r\n']),
        (imap.ServerWire, [b"A1 LOGIN {1}\r\n", b"a pw%b\r\n"]),
        (imap.ServerWire, [b"A1 LOGIN {1}\r\n", b"a {1}%b\r\n"]),
        (imap.ServerWire, [b"A1 AUTHENTICATE PLAIN%b\r\n"]),
        (imap.ServerWire, [b"A1 AUTHENTICATE PLAIN AGEAYg==%b\r\n"]),
        (imap.ServerWire, [b"A1 AUTHENTICATE PLAIN\r\n", b"AGEAYg==%b\r\n"]),
        (pop.ServerWire, [b"AUTH PLAIN%b\r\n"]),
        (pop.ServerWire, [b"USER a%b\r\n"]),
        (pop.ServerWire, [b"USER a\r\n", b"PASS b%b\r\n"]),
        (pop.ServerWire, [b"USER a\r\n", b"PASS%b b\r\n"]),
        (smtp.ServerWire, [b"AUTH PLAIN%b\r\n"]),
        (smtp.ServerWire, [b"AUTH%b PLAIN\r\n"]),
        (smtp.ServerWire, [b"AUTH PLAIN\r\n", b"*%b\r\n"]),
    ],
)
def test_a_line_with_a_line_end_or_nul_in_it_is_malformed(make: Any, lines: list[bytes], torn: bytes) -> None:
    wire = make(OFFERED, channel=TLS)
    for line in lines:
        said = wire.receive(line.replace(b"%b", torn))
    assert not isinstance(said, sasl.Question)
    assert wire.result is not None
    assert wire.result.kind == "malformed"


@given(st.lists(st.binary(max_size=60), max_size=4), st.sampled_from([b"A1 LOGIN ", b"USER ", b"AUTH "]))
def test_whatever_stands_in_a_line_a_wire_answers_it(lines: list[bytes], begin: bytes) -> None:
    for wire in wires():
        for line in [begin, *lines]:
            if wire.result is None:
                said = wire.receive(line + b"\r\n")
                if isinstance(said, sasl.Question):
                    wire.answered(wire.exchange.cancel())


@given(st.lists(st.binary(max_size=60) | st.text('ab"\\(){}1+ \n\r\0').map(str.encode), min_size=1, max_size=4))
def test_whatever_stands_in_arguments_they_end(lines: list[bytes]) -> None:
    arguments = Arguments(1_000)
    for line in lines:
        if not arguments.done:
            arguments.receive(line)


def test_no_pattern_takes_a_line_end_for_the_end() -> None:
    """`$` matches before a last LF, too."""
    pattern = re.compile(r"""(?<!\{)\$["'|)]""")
    folders = ("sasl", "mechanisms", "adapters", "spec")
    files = [file for folder in folders for file in (SOURCES / folder).rglob("*.py")]
    found = [
        f"{file}: {line}"
        for file in files
        for line in file.read_text("utf-8").splitlines()
        if "re.compile" in line and pattern.search(line)
    ]
    assert files
    assert found == []


@pytest.mark.parametrize("line", [b'A1 LOGIN "DOMAIN\\user" pw\r\n', b'A1 LOGIN joe "a\\\\b\\c"\r\n'])
def test_a_backslash_that_is_not_doubled_is_named(line: bytes) -> None:
    wire = imap.ServerWire(["IMAP-LOGIN"], channel=TLS)
    said = wire.receive(line)
    assert said.octets == b"A1 BAD A backslash in quotes has to be doubled\r\n"  # type: ignore[union-attr]


@pytest.mark.parametrize("piece", [b'\\"', b'"', b'("', b"\\\\", b' "', b"a)", b" {1", b'"\\x', b'"" '])
@pytest.mark.parametrize("begin", [b'"', b"", b"("])
def test_arguments_take_no_longer_than_they_are_long(begin: bytes, piece: bytes) -> None:
    """Milliseconds; half a minute where each quote was looked at from anew."""
    wire = imap.ServerWire(["IMAP-LOGIN"], channel=TLS)
    line = b"A1 LOGIN " + begin + piece * (80_000 // len(piece)) + b"\r\n"
    with alarm(10):
        assert wire.receive(line).octets.startswith(b"A1 BAD")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("make", "line", "code"),
    [
        (imap.ServerWire, b"A1 AUTHENTICATE X-SLOW\r\n", b"A1 NO"),
        (pop.ServerWire, b"AUTH x-slow\r\n", b"-ERR"),
        (smtp.ServerWire, b"AUTH X-SLOW AAAA\r\n", b"504"),
    ],
)
def test_a_peer_loads_no_plug_in_that_is_not_offered(
    make: Any, line: bytes, code: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str) -> None:
        raise AssertionError(name)

    monkeypatch.setattr(registry, "_load_entry_point", load)
    monkeypatch.setattr(registry, "_entry_points", lambda: {"X-SLOW": None})
    wire = make(["PLAIN"], channel=TLS)
    assert wire.receive(line).octets.startswith(code)
    assert wire.result.kind == "unsupported"


def test_a_plug_in_that_is_offered_and_cannot_be_loaded_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> None:
        raise sasl.MechanismUnavailable(f"the plug-in for {name} cannot be loaded")

    monkeypatch.setattr(registry, "_load_entry_point", load)
    monkeypatch.setattr(registry, "_entry_points", lambda: {"X-SLOW": None})
    wire = smtp.ServerWire(["X-SLOW"], channel=TLS)
    assert wire.receive(b"AUTH X-SLOW\r\n").octets.startswith(b"504")  # type: ignore[union-attr]
    assert wire.result == sasl.Failure("unsupported", "the plug-in for X-SLOW cannot be loaded")


def test_what_is_wrong_with_arguments_is_told_at_once_however_long_they_are() -> None:
    """Quotes and backslashes without end: to search them takes the square of their number."""
    wire = imap.ServerWire(["IMAP-LOGIN"], channel=sasl.Channel(tls=True))
    line = b'A1 LOGIN "' + b'\\"' * 30_000 + b"\r\n"
    assert wire.receive(line).octets.startswith(b"A1 BAD")
