"""Each target under atheris, which goes by what the code does: SASLKIT_FUZZ_SECONDS for each (`tox -e fuzz`)."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from .targets import PIECES, TARGETS

HARNESS = Path(__file__).with_name("harness.py")
SECONDS = int(os.environ.get("SASLKIT_FUZZ_SECONDS", "60"))

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        find_spec("atheris") is None,
        reason="atheris is not installed; `tox -e fuzz` does that where it has wheels (Python 3.11 and 3.12, Linux)",
    ),
]


@pytest.mark.parametrize("name", TARGETS)
def test_no_octets_are_found_that_break_what_has_to_hold(name: str, tmp_path: Path) -> None:
    words = tmp_path / "words"
    words.write_text("".join(f'"{spelt(piece)}"\n' for piece in sorted(set(PIECES))))
    found = tmp_path / "found"
    found.mkdir()
    command = [sys.executable, str(HARNESS), name, f"-max_total_time={SECONDS}", f"-dict={words}"]
    command += ["-max_len=2048", "-timeout=10", "-rss_limit_mb=1024", f"-artifact_prefix={found}/", str(found)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    inputs = {path.name: path.read_bytes()[:2048] for path in found.iterdir() if path.name.startswith(FINDINGS)}
    assert (done.returncode, inputs) == (0, {}), done.stderr[-4_000:]


def spelt(piece: bytes) -> str:
    return "".join([f"\\x{octet:02x}" for octet in piece])


FINDINGS = ("crash-", "timeout-", "oom-", "slow-unit-", "leak-")
