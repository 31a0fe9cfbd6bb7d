"""`sasl VERB` and `python -m sasl VERB`: hands over to the command line in `sasl.adapters.cli`."""

from __future__ import annotations

import sys
from importlib import import_module


def main() -> int:
    """Run the command line on sys.argv and return its exit code (sysexits.h)."""
    try:
        code: int = import_module("sasl.adapters.cli").main(sys.argv[1:])
    except KeyboardInterrupt:  # while it was being imported
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
