"""`sasl VERB` and `python -m sasl VERB`: hands over to the command line in `sasl.adapters.cli`.

A token that is stored and good is printed without it: see `sasl.adapters.tokens.quick`.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def main() -> int:
    """Run the command line on sys.argv and return its exit code (sysexits.h)."""
    try:
        printed: int | None = None
        if sys.argv[1:3] == ["token", "get"]:
            printed = _load("sasl.adapters.tokens.quick").print_stored(sys.argv[3:])
        code: int = _load("sasl.adapters.cli").main(sys.argv[1:]) if printed is None else printed
    except KeyboardInterrupt:  # while it was being imported
        return 130
    return code


def _load(module: str) -> Any:
    """Import a module by its name, without importlib, which the quick way does not need otherwise."""
    __import__(module)
    return sys.modules[module]


if __name__ == "__main__":
    sys.exit(main())
