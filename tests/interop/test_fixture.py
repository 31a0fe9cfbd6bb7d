"""The fixtures themselves: a missing server is a skip, or a failure where it is required; nothing is left behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..support.servers import processes, refuses
from .dovecot import running

if TYPE_CHECKING:
    from .dovecot import Dovecot

ANY_TEST = f"{Path(__file__)}::test_a_token_has_the_length_that_was_asked_for"


def run_without_dovecot(required: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SASLKIT_DOVECOT": "no-such-dovecot", "SASLKIT_REQUIRE_INTEROP": required}
    command = [sys.executable, "-P", "-m", "pytest", "-p", "no:cacheprovider", "-q", ANY_TEST]
    return subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True)


@pytest.mark.parametrize("length", [300, 700, 3000])
def test_a_token_has_the_length_that_was_asked_for(dovecot: Dovecot, length: int) -> None:
    assert len(dovecot.token(length=length)) == length


def test_without_a_dovecot_the_tests_are_skipped_with_the_reason() -> None:
    run = run_without_dovecot("")

    assert run.returncode == 0, run.stdout
    assert "3 skipped" in run.stdout
    assert "there is no no-such-dovecot on this machine" in run.stdout


def test_a_skip_is_a_failure_where_the_tests_are_required() -> None:
    run = run_without_dovecot("1")

    assert run.returncode == 1, run.stdout
    assert "skipped: Skipped: there is no no-such-dovecot on this machine" in run.stdout


def test_a_stopped_server_leaves_no_process_no_port_and_no_folder(dovecot: Dovecot) -> None:
    with running() as server:
        group = int((server.folder / "run" / "master.pid").read_text())
        with socket.create_connection(("127.0.0.1", server.port("imap", implicit=False)), 5) as connection:
            assert connection.recv(4) == b"* OK"

    assert not server.folder.exists()
    assert processes(group) == []
    assert all(map(refuses, server.ports.values()))
