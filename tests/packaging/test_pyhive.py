"""PyHive, which prefers another package of our name, works beside us (docs/decisions/0009-the-import-name.md)."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

LOGIN = """
import sasl
from pyhive import hive
client = hive.get_installed_sasl("localhost", "PLAIN", username="tim", password="tanstaaf")
assert sasl.__all__, "saslkit is installed"
print(type(client).__name__, client.start("PLAIN"))
"""


@pytest.mark.skipif(find_spec("pyhive") is None, reason="PyHive is not installed")
def test_pyhive_falls_back_to_pure_sasl_as_it_does_without_us(tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, "-c", LOGIN], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.stdout == "PureSASLClient (True, 'PLAIN', b'\\x00tim\\x00tanstaaf')\n", run.stderr
