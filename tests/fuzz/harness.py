"""Run one target under atheris: `python harness.py TARGET [options of libFuzzer]`; 0 is for nothing found."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["sasl"]):
    sys.path.insert(0, str(Path(__file__).parent))
    import targets


def main() -> None:
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, targets.TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
