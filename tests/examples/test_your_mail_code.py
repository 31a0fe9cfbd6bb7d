"""The example project: a program and its tests, run as whoever copies it runs them, and shown to fail for a reason."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ..support.code import code_lines
from ..support.examples import FOLDER

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = FOLDER / "test_your_mail_code"
READS, RENEWS, ASKS, SENDS, ENDS, EXPIRES = TESTS = (
    "test_it_reads_a_message_once",
    "test_it_renews_a_token_that_was_refused",
    "test_it_asks_for_a_sign_in_when_consent_was_withdrawn",
    "test_what_it_sends_arrives_as_it_is",
    "test_it_goes_on_when_the_server_ends_the_session",
    "test_it_goes_on_when_its_token_has_expired",
)
MISTAKES = {
    "it never marks a message as read": ("(\\\\Seen)", "(\\\\Answered)"),
    "it never asks for another token": (
        "sasl.Bearer(user, tokens)",
        "sasl.Bearer(user, tokens.token().value.reveal())",
    ),
}
"""What a programmer may get wrong, and what then stands in place of what."""


def run(folder: Path) -> tuple[set[str], set[str], str]:
    """Run the tests in a folder; return those that passed, those that did not, and all that was printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "--tb=short", "-p", "no:cacheprovider", "-p", "no:xdist"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    words = [line.split() for line in done.stdout.splitlines()]
    named = [(each[0], each[1].partition("::")[2]) for each in words if len(each) > 1 and "::" in each[1]]
    passed = {name for outcome, name in named if outcome == "PASSED"}
    return passed, {name for outcome, name in named if outcome in ("FAILED", "ERROR")}, done.stdout + done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the example."""
    return shutil.copytree(PROJECT, tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__"))


def test_the_six_tests_of_the_example_pass(project: Path) -> None:
    passed, failed, told = run(project)
    assert (passed, failed) == ({*TESTS}, set()), told


@pytest.mark.once
def test_mistakes_in_the_program_are_noticed_by_the_tests_that_are_for_them(project: Path) -> None:
    program = project / "mailapp.py"
    for right, wrong in MISTAKES.values():
        assert right in program.read_text()
        program.write_text(program.read_text().replace(right, wrong))
    passed, failed, told = run(project)
    assert (passed, failed) == ({SENDS, ENDS}, {READS, RENEWS, ASKS, EXPIRES}), told


def test_the_program_is_short() -> None:
    assert code_lines((PROJECT / "mailapp.py").read_text("utf-8")) <= 60
