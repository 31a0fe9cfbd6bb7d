"""The Dockerfile is in step with what it builds and calls; hadolint looks at the rest."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import sysconfig
from fnmatch import fnmatch
from pathlib import Path

import pytest

from sasl.adapters.cli import serve

Instructions = list[tuple[str, str]]


@pytest.fixture
def instructions(root: Path) -> Instructions:
    """Each instruction and what it is given; lines that go on are joined."""
    text = re.sub(r"\\\n\s*", "", (root / "Dockerfile").read_text("utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines)]


def given(instructions: Instructions, name: str) -> list[str]:
    return [rest for each, rest in instructions if each == name]


def test_it_builds_from_the_sdist_and_sees_nothing_else(root: Path, instructions: Instructions, sdist: Path) -> None:
    pattern = given(instructions, "COPY")[0].split()[0]
    assert fnmatch(f"dist/{sdist.name}", pattern)
    assert (root / ".dockerignore").read_text("utf-8").split() == ["*", f"!{pattern}"]
    assert "[serve]" in given(instructions, "RUN")[0]


def test_it_calls_sasl_serve_as_it_can_be_called(instructions: Instructions) -> None:
    words = [*json.loads(given(instructions, "ENTRYPOINT")[0]), *json.loads(given(instructions, "CMD")[0])]
    assert words[:2] == ["/opt/saslkit/bin/sasl", "serve"]
    parser = argparse.ArgumentParser(exit_on_error=False)
    serve.configure(parser)
    arguments = vars(parser.parse_args(words[2:]))
    exposed = {int(port) for port in given(instructions, "EXPOSE")[0].split()}
    assert {port for port in arguments.values() if type(port) is int} == exposed
    assert arguments["control"] is None, "it would listen where nobody outside of the container gets"
    assert arguments["allow_remote"]


def test_it_is_nobody_in_particular_and_ends_by_the_signal_that_is_an_end(instructions: Instructions) -> None:
    assert given(instructions, "USER") == ["10001"]
    assert given(instructions, "STOPSIGNAL") == ["SIGTERM"]


@pytest.mark.once
@pytest.mark.skipif(sys.platform == "win32", reason="hadolint has no wheel for Windows")
def test_the_dockerfile_is_as_those_are_written(root: Path) -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    run = subprocess.run([hadolint, root / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (run.stdout, run.returncode) == ("", 0)
