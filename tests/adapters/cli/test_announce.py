"""What `sasl serve` says of its clients: a line each, nothing that a terminal obeys, and never in anybody's way."""

from __future__ import annotations

import contextlib
import os

import pytest

from sasl.adapters.cli.announce import Lines, line_of
from sasl.adapters.reference import Attempt, Command, Verdict


def attempt(**members: object) -> Attempt:
    given = {"service": "imap", "session": 7, "mechanism": "PLAIN", "tls": True, "initial_response": True, "turns": 1}
    return Attempt(**{**given, "outcome": "accepted", **members})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (attempt(identity="alice"), "imap session 7: PLAIN over TLS: accepted as alice"),
        (attempt(tls=False, outcome="expired", reason="old"), "imap session 7: PLAIN in the clear: expired: old"),
        (attempt(mechanism="", outcome="unfinished"), "imap session 7: no mechanism over TLS: unfinished"),
        (attempt(identity="a\x1b[2Jb"), "imap session 7: PLAIN over TLS: accepted as a?[2Jb"),
        (Verdict("x", "did it twice", 3, "pop", 0.0), "pop session 3: did it twice"),
        (Command("imap", 3, "a", "NOOP", "a NOOP", None, 0.0), ""),
        (object(), ""),
    ],
)
def test_an_attempt_and_a_verdict_are_a_line_and_nothing_else_is(event: object, line: str) -> None:
    assert line_of(event) == line


def test_a_line_is_never_long() -> None:
    assert len(line_of(attempt(outcome="credentials", reason="x" * 10_000))) == 300


def test_who_reads_no_lines_holds_nothing_up_and_is_told_how_many_are_missing() -> None:
    """A pipe takes some hundred lines, a thousand more wait, and the rest is dropped."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as reader, os.fdopen(writing, "w") as file:
        lines = Lines(file)
        for _ in range(5_000):
            lines.tell(attempt(reason="x" * 200, outcome="credentials"))
        read = 0
        while (line := reader.readline()).startswith("imap session 7: "):
            read += 1
        lines.close()
    assert line == f"{5_000 - read} more lines were not read in time\n"
    assert read >= 1_000


def test_a_reader_that_has_gone_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    file = os.fdopen(writing, "w")
    lines = Lines(file)
    for _ in range(10):
        lines.tell(attempt())
    lines.close()
    with contextlib.suppress(BrokenPipeError):  # what nobody has read is still in it
        file.close()


def test_nobody_to_write_to_is_no_error() -> None:
    lines = Lines(None)
    lines.tell(attempt())
    lines.close()
