"""The examples in other languages, each run as its readers run it, at `sasl serve`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..support.documents import ROOT
from ..support.servers import program

EXAMPLES = ROOT / "examples"
PAGE = ROOT / "docs" / "howto" / "test-from-another-language.md"
SECRETS = ("wonderland", "looking-glass")


def environment() -> dict[str, str]:
    """With the script `sasl` on the PATH."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}


def run(command: list[str], folder: Path, seconds: int) -> str:
    """Run a command to its end; return what it wrote."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def curl(start: Callable[..., Iterator[str]]) -> Iterator[str]:
    from contextlib import contextmanager

    yield from start(contextmanager(lambda: iter([program("SASLKIT_CURL", "curl")])))


@pytest.mark.once
def test_an_app_in_node_is_tested(node_example: Path) -> None:
    shown = run(["node", "--test", "--test-reporter=tap"], node_example, 60)
    assert re.findall(r"^not ok .*", shown, re.MULTILINE) == []
    assert len(re.findall(r"^ok ", shown, re.MULTILINE)) == 6, shown
    for outcome in ("accepted as alice", "credentials", "expired"):
        assert outcome in shown, f"the log says nothing of {outcome}"
    assert [secret for secret in SECRETS if secret in shown] == []


@pytest.mark.once
def test_mail_by_curl_is_tested_in_a_shell(curl: str, tmp_path: Path) -> None:
    shown = run(["sh", str(EXAMPLES / "shell" / "mail.sh")], tmp_path, 60)
    assert shown.splitlines() == [
        "ok: the right password reads",
        "ok: the right password sends",
        "ok: a wrong password is refused",
        "ok: a token sends",
        "ok: an hour later it has expired; curl hangs up where it is told why",
    ]


def test_what_the_page_shows_stands_in_the_examples() -> None:
    text = PAGE.read_text("utf-8")
    shown = re.findall(r"^```(sh|js)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    sources = [path.read_text("utf-8") for path in (*EXAMPLES.glob("node/*.mjs"), *EXAMPLES.glob("shell/*.sh"))]
    strange = [code for _, code in shown if not any(code in source for source in sources)]
    assert [code.split()[0] for code in strange] == ["pip", "python"], "what a person types; all else is an example's"
