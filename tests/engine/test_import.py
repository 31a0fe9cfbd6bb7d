"""What `import sasl` costs: nothing third-party and none of the heavy parts of the standard library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("google", "cryptography", "pyasn1", "jwt", "asyncio", "importlib.metadata", "logging", "ssl", "socket", "json")


def modules_after(code: str, where: Path) -> set[str]:
    """Run code in a fresh process outside the checkout and return the modules it loaded."""
    script = f"import sys; before = set(sys.modules); {code}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", script], cwd=where, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import sasl",
        "import sasl; sasl.client('PLAIN', sasl.Password('joe', 'pencil')).start()",
        "import sasl; sasl.choose(['PLAIN'], sasl.Password('joe', 'pencil'), channel=sasl.Channel(tls=True))",
        "import sasl; sasl.server('PLAIN').start(bytes([0]) + b'joe' + bytes([0]) + b'pencil')",
    ],
)
def test_the_engine_loads_nothing_heavy(tmp_path: Path, code: str) -> None:
    loaded = modules_after(code, tmp_path)
    assert "sasl.exchange" in loaded
    assert (
        sorted(name for name in loaded if name.startswith(tuple(f"{heavy}." for heavy in HEAVY)) or name in HEAVY) == []
    )


def test_importing_the_engine_loads_no_mechanism_and_no_adapter(tmp_path: Path) -> None:
    loaded = modules_after("import sasl", tmp_path)
    assert sorted(name for name in loaded if name.startswith(("sasl.mechanisms", "sasl.adapters", "sasl.spec"))) == []


def test_every_public_name_is_there() -> None:
    import sasl

    assert sorted(sasl.__all__) == sorted(set(sasl.__all__))
    assert [name for name in sasl.__all__ if not hasattr(sasl, name)] == []
