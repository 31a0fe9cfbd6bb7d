"""`sasl token list`: which accounts are kept."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from sasl.text import printable

from .. import exits, screen
from .account import add_store, store_of

if TYPE_CHECKING:
    import argparse

_EPILOG: Final = """\
example:
  sasl token list

--json prints one object: accounts [names].
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.description = "List the accounts that are kept, one a line."
    parser.epilog = _EPILOG
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_store(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the names."""
    names = store_of(arguments.store).keys()
    if arguments.json:
        import json

        print(json.dumps({"accounts": names}))
        return exits.DONE
    for name in names:
        screen.print_line(printable(name), file=sys.stdout)
    return exits.DONE
